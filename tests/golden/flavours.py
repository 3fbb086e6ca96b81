"""Makes tests/golden/flavours/: small files of the flavours of formats, damaged ones, and what Pillow makes of them.

    python tests/golden/flavours.py        # needs pillow >= 13, numpy, tifffile, imagecodecs, safetensors

files/KIND_WHAT.EXT   synthetic pictures of 23 x 17 pixels; docs/images.md has a row for each, which the suite checks
decoded.safetensors   <file name> -> H x W x 3 u8, Image.open(file).convert("RGB"); absent where Pillow refuses the file
"""

import io
import pathlib
import struct
import warnings
import zlib

import numpy as np
import tifffile
from PIL import Image
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent / "flavours"
FILES = HERE / "files"
W, H = 23, 17
Y, X, C = np.meshgrid(np.arange(H), np.arange(W), np.arange(3), indexing="ij")
RGB = ((X * 9 + Y * 5 + C * 60 + (X * Y) % 7 * 11) % 256).astype(np.uint8)
GREY = RGB[..., 1]
ALPHA = (X[..., 0] * 11).astype(np.uint8)
PICTURE = Image.fromarray(RGB)


def put(name, data):
    (FILES / name).write_bytes(data)


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name, data, crc=None):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) if crc is None else crc)


def png(idat, tail=True):
    head = struct.pack(">IIBBBBB", W, H, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + idat + (chunk(b"IEND", b"") if tail else b"")


def write_png():
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in RGB))
    good = png(chunk(b"IDAT", packed))
    put("png_good.png", good)
    put("png_wrong_checksum_of_pixels.png", png(chunk(b"IDAT", packed, crc=7)))
    put("png_wrong_checksum_of_stream.png", png(chunk(b"IDAT", packed[:-4] + b"\1\2\3\4")))
    put("png_wrong_checksum_of_text.png", png(chunk(b"tEXt", b"a\0b", crc=7) + chunk(b"IDAT", packed)))
    put("png_no_end_marker.png", png(chunk(b"IDAT", packed), tail=False))
    put("png_half_end_marker.png", good[:-6])
    put("png_cut.png", good[: len(good) * 7 // 10])


def bmp(w, h, bpp, comp, data, pal=b"", hdr=40, masks=b"", used=None, off_extra=0):
    n = len(pal) // 4 if used is None else used
    hs = abs(h) if False else h
    info = struct.pack("<IiiHHIIiiII", hdr, w, hs, 1, bpp, comp, len(data), 2835, 2835, n, 0)
    if hdr > 40:
        rest = masks + b"\0" * (hdr - 40 - len(masks)); info += rest; extra = b""
    else: extra = masks
    off = 14 + len(info) + len(extra) + len(pal) + off_extra
    return b"BM" + struct.pack("<IHHI", off + len(data), 0, 0, off) + info + extra + pal + b"\0" * off_extra + data
def pad4(b): return b + b"\0" * (-len(b) % 4)
def rle8(a, eol=True, delta=False):
    out = b""
    for y in range(a.shape[0] - 1, -1, -1):
        row = a[y]; x = 0; w = len(row)
        while x < w:
            run = 1
            while x + run < w and run < 255 and row[x + run] == row[x]: run += 1
            if run > 1 or w - x < 4: out += bytes([run, row[x]]); x += run
            else:
                k = min(w - x, 3 + (x % 5)); lit = bytes(row[x:x + k].tolist())
                out += bytes([0, k]) + lit + (b"\0" if k % 2 else b""); x += k
        out += b"\0\0" if y or eol else b""
    return out + b"\0\1"


def write_bmp():
    up, masks = RGB[::-1], lambda *v: struct.pack(f"<{len(v)}I", *v)
    put("bmp_24.bmp", bmp(W, H, 24, 0, b"".join(pad4(row[:, ::-1].tobytes()) for row in up)))
    put("bmp_24_cut.bmp", bmp(W, H, 24, 0, b"".join(pad4(row[:, ::-1].tobytes()) for row in up))[:700])
    red, green, blue = (up[..., c].astype(np.uint16) for c in range(3))
    rows = lambda v: b"".join(pad4(x.astype("<u2").tobytes()) for x in v)
    put("bmp_16_555.bmp", bmp(W, H, 16, 0, rows(red >> 3 << 10 | green >> 3 << 5 | blue >> 3)))
    put("bmp_16_565.bmp", bmp(W, H, 16, 3, rows(red >> 3 << 11 | green >> 2 << 5 | blue >> 3), masks=masks(0xF800, 0x7E0, 0x1F)))
    put("bmp_16_444.bmp", bmp(W, H, 16, 3, rows(red >> 4 << 8 | green >> 4 << 4 | blue >> 4), masks=masks(0xF00, 0xF0, 0xF)))
    four = np.dstack([up[..., ::-1], ALPHA]).tobytes()
    put("bmp_32.bmp", bmp(W, H, 32, 0, four))
    put("bmp_32_fields.bmp", bmp(W, H, 32, 3, four, masks=masks(0xFF0000, 0xFF00, 0xFF)))
    put("bmp_32_odd_fields.bmp", bmp(W, H, 32, 3, four, masks=masks(0x3FF00000, 0xFFC00, 0x3FF)))
    palette = np.random.default_rng(1).integers(0, 256, (256, 4), dtype=np.uint8).tobytes()
    put("bmp_8.bmp", bmp(W, H, 8, 0, b"".join(pad4(row.tobytes()) for row in GREY[::-1]), pal=palette))
    put("bmp_8_rle.bmp", bmp(W, H, 8, 1, rle8(GREY // 64), pal=palette))
    delta = b"".join(bytes([9, y % 9, 0, 2, 5, 0, 9, 7, 0, 0]) for y in range(H)) + b"\0\1"
    put("bmp_8_rle_delta.bmp", bmp(W, H, 8, 1, delta, pal=palette))
    put("bmp_2.bmp", bmp(W, H, 2, 0, bytes(8 * H), pal=palette[:16]))
    put("bmp_png_inside.bmp", bmp(W, H, 0, 5, encoded(PICTURE, "PNG")))


def gif_lzw(idx, bits):
    """A simple LZW that emits clear codes often (valid, not small)."""
    clear = 1 << bits; size = bits + 1; out = []; acc = 0; n = 0
    codes = []
    for k, v in enumerate(idx):
        if k % ((1 << bits) - 2 or 1) == 0: codes.append(clear)
        codes.append(int(v))
    codes.append(clear + 1)
    for c in codes:
        acc |= c << n; n += size
        while n >= 8: out.append(acc & 255); acc >>= 8; n -= 8
    if n: out.append(acc & 255)
    data = bytes(out)
    return bytes([bits]) + b"".join(bytes([len(data[i:i+255])]) + data[i:i+255] for i in range(0, len(data), 255)) + b"\0"
def gif(sw, sh, frames, gct=None, bg=0, ver=b"GIF89a", tail=b";"):
    n = 0 if gct is None else max(1, int(np.ceil(np.log2(max(2, len(gct) // 3))))) - 1
    out = ver + struct.pack("<HHBBB", sw, sh, (0x80 | 0x70 | n) if gct is not None else 0x70, bg, 0)
    if gct is not None: out += gct + b"\0" * ((2 << n) * 3 - len(gct))
    for f in frames:
        a = f["a"]; h, w = a.shape
        gce = f.get("gce")
        if gce: out += b"\x21\xf9\x04" + struct.pack("<BHB", (gce[0] << 2) | (gce[1] is not None), 10, gce[1] or 0) + b"\0"
        lct = f.get("lct"); il = f.get("il", 0)
        m = 0 if lct is None else max(1, int(np.ceil(np.log2(max(2, len(lct) // 3))))) - 1
        out += b"," + struct.pack("<HHHHB", f.get("x", 0), f.get("y", 0), w, h, (0x80 | m if lct is not None else 0) | (0x40 if il else 0))
        if lct is not None: out += lct + b"\0" * ((2 << m) * 3 - len(lct))
        if il: a = np.concatenate([a[0::8], a[4::8], a[2::4], a[1::2]])
        data = gif_lzw(a.ravel(), max(2, f.get("bits", 8)))
        out += data[:f["cut"]] if f.get("cut") else data
    return out + tail


def write_gif():
    index = GREY // 4
    palette, other = (np.random.default_rng(n).integers(0, 256, 192, dtype=np.uint8).tobytes() for n in (2, 3))
    small = index[3:11, 4:15]
    make = lambda name, *a, **k: put(f"gif_{name}.gif", gif(*a, **k))
    make("plain", W, H, [dict(a=index)], palette)
    make("local_palette", W, H, [dict(a=index, lct=other)], palette)
    make("interlaced", W, H, [dict(a=index, il=1)], palette)
    make("transparent", W, H, [dict(a=index, gce=(0, 10))], palette)
    make("no_palette", W, H, [dict(a=index)])
    make("no_trailer", W, H, [dict(a=index)], palette, tail=b"")
    make("cut", W, H, [dict(a=index, cut=200)], palette, tail=b"")
    make("frame_inside_screen", W, H, [dict(a=small, x=4, y=3)], palette, bg=5)
    make("frame_inside_screen_transparent", W, H, [dict(a=small, x=4, y=3, gce=(0, 3))], palette, bg=5)
    make("frame_beyond_screen", 12, 9, [dict(a=index)], palette)
    make("screen_of_nothing", 0, 0, [dict(a=index)], palette)


def write_tiff():
    def make(name, data, **options):
        out = io.BytesIO()
        tifffile.imwrite(out, data, **{"metadata": None, **options})
        put(f"tiff_{name}.tif", out.getvalue())

    planes, wide = np.moveaxis(RGB, 2, 0).copy(), RGB.astype(np.uint16) * 257 - 13 * (RGB > 0)
    inks = np.dstack([RGB, ALPHA])
    make("rgb", RGB, photometric="rgb")
    make("rgb_lzw", RGB, photometric="rgb", compression="lzw")
    make("rgb_deflate_predictor", RGB, photometric="rgb", compression="deflate", predictor=True)
    make("rgb_tiled", RGB, photometric="rgb", tile=(16, 16))
    make("rgb_planar", planes, photometric="rgb", planarconfig="separate")
    make("rgb_planar_tiled", planes, photometric="rgb", planarconfig="separate", tile=(16, 16))
    make("grey_tiled_lzw", GREY, photometric="minisblack", tile=(16, 16), compression="lzw")
    make("rgb_jpeg", RGB, photometric="rgb", compression="jpeg")
    make("grey_jpeg", GREY, photometric="minisblack", compression="jpeg")
    make("cmyk", inks, photometric="separated")
    make("rgb16", wide.astype(np.uint16), photometric="rgb")
    make("rgb16_planar", np.moveaxis(wide.astype(np.uint16), 2, 0).copy(), photometric="rgb", planarconfig="separate")
    make("grey16", GREY.astype(np.uint16) * 3, photometric="minisblack")
    make("grey16_white_is_zero", GREY.astype(np.uint16) * 200, photometric="miniswhite")
    make("grey_white_is_zero", GREY, photometric="miniswhite")
    make("rgba_premultiplied", inks, photometric="rgb", extrasamples=["assocalpha"])
    make("rgba", inks, photometric="rgb", extrasamples=["unassalpha"])
    make("grey_alpha", np.dstack([GREY, ALPHA]), photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig")
    make("float", GREY.astype(np.float32), photometric="minisblack")
    make("grey32", GREY.astype(np.uint32), photometric="minisblack")
    make("signed16", GREY.astype(np.int16) - 20, photometric="minisblack")
    make("big", RGB, photometric="rgb", bigtiff=True)
    for name, image, options in [
        ("palette", PICTURE.quantize(20), {}),
        ("ycbcr", PICTURE.convert("YCbCr"), {}),
        ("zstd", PICTURE, {"compression": "zstd"}),
        ("fax4", PICTURE.convert("1"), {"compression": "group4"}),
        ("fax4_reversed_bits", PICTURE.convert("1"), {"compression": "group4", "tiffinfo": {266: 2}}),
        ("fax3", PICTURE.convert("1"), {"compression": "group3"}),
    ]:
        put(f"tiff_{name}.tif", encoded(image, "TIFF", **options))
    put("tiff_cut.tif", encoded(PICTURE, "TIFF")[:700])


def riff(chunks, vp8x=None):
    body = b"".join(n + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for n, c in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
def u24(v): return struct.pack("<I", v)[:3]
def webp_chunks(data):
    out, at = [], 12
    while at + 8 <= len(data):
        n, l = data[at:at+4], struct.unpack("<I", data[at+4:at+8])[0]; out.append((n, data[at+8:at+8+l])); at += 8 + l + l % 2
    return out


def write_webp():
    still = encoded(PICTURE, "WEBP", quality=80)
    put("webp_lossy.webp", still)
    put("webp_cut.webp", still[: len(still) * 2 // 3])
    put("webp_size_too_small.webp", still[:4] + struct.pack("<I", len(still) - 30) + still[8:])
    put("webp_bytes_behind.webp", still + b"x" * 99)
    frames = dict(save_all=True, append_images=[PICTURE.rotate(180)], lossless=True)
    put("webp_animated.webp", encoded(PICTURE, "WEBP", **frames))
    faint = PICTURE.copy()
    faint.putalpha(Image.fromarray(ALPHA))
    put("webp_animated_alpha.webp", encoded(faint, "WEBP", **{**frames, "append_images": [faint.rotate(180)]}))

    def animated(name, part, flags, x=4, y=2, big=(40, 30)):
        code, body = webp_chunks(encoded(part, "WEBP", lossless=True))[-1]
        inner = code + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        frame = u24(x // 2) + u24(y // 2) + u24(W - 1) + u24(H - 1) + u24(100) + bytes([flags]) + inner
        screen = bytes([2 | 16, 0, 0, 0]) + u24(big[0] - 1) + u24(big[1] - 1)
        put(name, riff([(b"VP8X", screen), (b"ANIM", bytes([9, 20, 250, 255, 0, 0])), (b"ANMF", frame)]))

    animated("webp_animated_blended_inside.webp", PICTURE, 0)
    animated("webp_animated_replaced_inside.webp", PICTURE, 2)
    animated("webp_animated_blended_whole.webp", PICTURE, 0, 0, 0, (W, H))
    animated("webp_animated_blended_whole_alpha.webp", faint, 0, 0, 0, (W, H))


def write_jpeg():
    good = encoded(PICTURE, "JPEG", quality=90)
    put("jpeg_good.jpg", good)
    put("jpeg_no_end_marker.jpg", good[:-2])
    put("jpeg_half_end_marker.jpg", good[:-1])
    put("jpeg_cut_one_byte.jpg", good[:-3])
    put("jpeg_cut_half.jpg", good[: (len(good) + good.index(b"\xff\xda")) // 2])
    middle = (good.index(b"\xff\xda") + len(good)) // 2
    put("jpeg_end_marker_inside.jpg", good[:middle] + b"\xff\xd9" + good[middle:])
    put("jpeg_byte_changed.jpg", good[:middle] + bytes([good[middle] ^ 0x55]) + good[middle + 1:])
    put("jpeg_zeros_before_end.jpg", good[:-2] + b"\0" * 100 + b"\xff\xd9")
    rst = encoded(PICTURE, "JPEG", quality=90, restart_marker_rows=1)
    marks = [n for n in range(rst.index(b"\xff\xda"), len(rst) - 1) if rst[n] == 0xFF and 0xD0 <= rst[n + 1] <= 0xD7]
    put("jpeg_restart.jpg", rst)
    put("jpeg_restart_byte_lost.jpg", rst[: marks[0] - 1] + rst[marks[0]:])
    put("jpeg_restart_20_bytes_lost.jpg", rst[: marks[0] - 20] + rst[marks[0]:])
    put("jpeg_restart_marker_lost.jpg", rst[: marks[0]] + rst[marks[0] + 2:])
    put("jpeg_restart_marker_wrong.jpg", rst[: marks[0] + 1] + bytes([rst[marks[0] + 1] + 3]) + rst[marks[0] + 2:])
    progressive = encoded(PICTURE, "JPEG", progressive=True)
    put("jpeg_progressive_no_end_marker.jpg", progressive[:-2])
    put("other_avif.jpg", encoded(PICTURE, "AVIF"))
    put("other_jpeg2000.jpg", encoded(PICTURE, "JPEG2000"))
    put("other_ico.png", encoded(PICTURE, "ICO"))
    put("other_jpegxl.jpg", b"\xff\x0a" + bytes(30))
    put("other_heic.jpg", b"\0\0\0\x18ftypheic" + bytes(30))


def write_pnm():
    for largest in (15, 100, 128, 255, 300, 1023, 65535):
        values = (np.arange(W * H) * max(1, largest // 390)) % (largest + 1)
        put(f"pnm_largest_{largest}.pgm", b"P5 %d %d %d\n" % (W, H, largest) + values.astype("u1" if largest < 256 else ">u2").tobytes())
    put("pnm_cut.pgm", b"P5 %d %d 255\n" % (W, H) + bytes(W * H // 2))


def main():
    warnings.simplefilter("ignore")
    FILES.mkdir(parents=True, exist_ok=True)
    for old in FILES.iterdir():
        old.unlink()
    for write in (write_png, write_bmp, write_gif, write_tiff, write_webp, write_jpeg, write_pnm):
        write()
    decoded = {}
    for path in sorted(FILES.iterdir()):
        try:
            decoded[path.name] = np.asarray(Image.open(path).convert("RGB")).copy()
        except Exception:  # Pillow raises errors of many kinds.
            print("Pillow refuses", path.name)
    save_file(decoded, HERE / "decoded.safetensors")


if __name__ == "__main__":
    main()
