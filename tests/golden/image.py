"""Makes tests/golden/image/: small image files and what Pillow and torchvision make of them.

    python tests/golden/image.py        # needs pillow >= 13, torch, torchvision, numpy, safetensors

files/           small files of every format and of the odd variants (written here, byte by byte where Pillow cannot)
decoded.safetensors   <file name> -> H x W x 3 u8, Image.open(file).convert("RGB")
draws.safetensors     RandomResizedCrop.get_params for a few image sizes: i, j, h, w
golden.json           digests of views and crops of pictures given by a formula; folder order of ImageFolder
"""

import json
import os
import pathlib
import random
import struct
import tempfile
import zlib

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, ImageFilter
from safetensors.numpy import save_file
from torchvision.transforms import functional as F

HERE = pathlib.Path(__file__).parent / "image"
FILES = HERE / "files"


def formula(width, height):
    """A picture that both sides can compute: smooth in part, noisy in part."""
    x, y, c = np.meshgrid(np.arange(width), np.arange(height), np.arange(3), indexing="xy")
    x, y, c = (v.astype(np.uint64) for v in (x, y, c))
    mixed = (x * 40503 + y * 30011 + c * 10007 + (x // 5) * (y // 7) * 977) * 2654435761 % 2**32 >> 24
    return np.where((x // 16 + y // 16) % 2 == 0, mixed, (x * 3 + y * 2 + c * 40) % 256).astype(np.uint8)


def fnv(array):
    """FNV-1a of 64 bits over little-endian 8-byte words, zero-padded."""
    raw = np.ascontiguousarray(array).tobytes()
    value = 0xCBF29CE484222325
    for (word,) in struct.iter_unpack("<Q", raw + b"\0" * (-len(raw) % 8)):
        value = (value ^ word) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, depth, colour, rows, extra=b""):
    """A PNG of any depth and colour type; `rows` are packed rows without filter bytes."""
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def write_files():
    FILES.mkdir(parents=True, exist_ok=True)
    for old in FILES.iterdir():
        old.unlink()
    rgb = Image.fromarray(formula(43, 29))
    photo = rgb.resize((27, 35), Image.BICUBIC)
    rng = np.random.default_rng(1)

    def save(name, image, **options):
        image.save(FILES / name, **options)

    save("420.jpg", photo, quality=88, subsampling=2)
    save("422.jpg", photo, quality=75, subsampling=1)
    save("444.jpg", photo, quality=95, subsampling=0)
    save("grey.jpg", photo.convert("L"), quality=80)
    save("progressive.jpg", photo, quality=80, progressive=True)
    save("progressive_grey.jpg", photo.convert("L"), quality=80, progressive=True)
    save("restart.jpg", photo, quality=80, restart_marker_blocks=2)
    save("cmyk.jpg", photo.convert("CMYK"), quality=90)
    save("keep_rgb.jpg", photo, quality=90, keep_rgb=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("rotated_by_exif.jpg", photo, quality=80, exif=exif)
    save("1x1.jpg", photo.crop((3, 4, 4, 5)))
    save("1x17.jpg", photo.crop((3, 4, 4, 21)), subsampling=2)
    raw = (FILES / "420.jpg").read_bytes()
    # Stray bytes before a marker: libjpeg warns, the picture is whole.
    at = raw.index(b"\xff\xda")
    (FILES / "stray_bytes.jpg").write_bytes(raw[:at] + b"\x00\x01\x02" + raw[at:])
    # YCCK: the Adobe marker's transform byte 2 over the four channels of a CMYK file.
    cmyk = (FILES / "cmyk.jpg").read_bytes()
    at = cmyk.index(b"Adobe") + 11
    (FILES / "ycck.jpg").write_bytes(cmyk[:at] + b"\x02" + cmyk[at + 1:])

    save("rgb.png", rgb)
    save("grey.png", rgb.convert("L"))
    save("bilevel.png", rgb.convert("1"))
    save("palette.png", rgb.quantize(17))
    save("palette2.png", rgb.quantize(3), bits=2)
    save("palette_transparent.png", rgb.quantize(9), transparency=3)
    save("rgb_transparent.png", rgb, transparency=(1, 2, 3))
    save("grey_alpha.png", Image.merge("LA", [rgb.convert("L"), Image.fromarray(formula(43, 29)[:, :, 1])]))
    save("rgba.png", Image.merge("RGBA", [*rgb.split(), Image.fromarray(formula(43, 29)[:, :, 1])]))
    save("animated.png", rgb, save_all=True, append_images=[rgb.rotate(180)])
    save("1x1.png", rgb.crop((3, 4, 4, 5)))
    wide = rng.integers(0, 65536, (11, 13 * 4), dtype=np.uint16)
    wide[:5] >>= 7  # Pillow clips 16-bit greys at 255 instead of scaling them: both sides of 255 must occur
    rows = lambda channels: [row[: 13 * channels].astype(">u2").tobytes() for row in wide]
    (FILES / "grey16.png").write_bytes(png(13, 11, 16, 0, rows(1)))
    (FILES / "grey16_transparent.png").write_bytes(png(13, 11, 16, 0, rows(1), chunk(b"tRNS", rows(1)[7][:2])))
    (FILES / "rgb16.png").write_bytes(png(13, 11, 16, 2, rows(3)))
    (FILES / "grey_alpha16.png").write_bytes(png(13, 11, 16, 4, rows(2)))
    (FILES / "rgba16.png").write_bytes(png(13, 11, 16, 6, rows(4)))
    packed = rng.integers(0, 256, (11, 7), dtype=np.uint8)
    (FILES / "grey2.png").write_bytes(png(13, 11, 2, 0, [row[:4].tobytes() for row in packed]))
    (FILES / "grey4.png").write_bytes(png(13, 11, 4, 0, [row.tobytes() for row in packed]))

    save("rgb.bmp", rgb)
    save("grey.bmp", rgb.convert("L"))
    save("palette.bmp", rgb.quantize(33))
    save("bilevel.bmp", rgb.convert("1"))
    save("rgba.bmp", Image.merge("RGBA", [*rgb.split(), rgb.convert("L")]))
    save("rgb.ppm", rgb)
    save("grey.pgm", rgb.convert("L"))
    save("bilevel.ppm", rgb.convert("1"))
    plain = "P3\n# a comment\n5 3\n255\n" + " ".join(map(str, formula(5, 3).ravel())) + "\n"
    (FILES / "plain.ppm").write_text(plain)
    (FILES / "rgb16.ppm").write_bytes(b"P6 13 11 65535\n" + b"".join(rows(3)))
    (FILES / "grey16.pgm").write_bytes(b"P5 13 11 65535\n" + b"".join(rows(1)))
    save("rgb.tif", rgb)
    save("fax.tif", rgb.convert("1"), compression="group4")
    save("lzw.tif", rgb, compression="tiff_lzw")
    save("deflate.tif", rgb, compression="tiff_adobe_deflate")
    save("packbits.tif", rgb, compression="packbits")
    save("grey.tif", rgb.convert("L"))
    save("bilevel.tif", rgb.convert("1"))
    save("rgba.tif", Image.merge("RGBA", [*rgb.split(), rgb.convert("L")]))
    save("grey16.tif", Image.fromarray(wide[:, :13]))
    save("turned.tif", rgb, tiffinfo={0x0112: 6})
    save("pages.tif", rgb, save_all=True, append_images=[rgb.rotate(180)])
    save("rgb.gif", rgb.quantize(50))
    save("grey.gif", rgb.convert("L"))
    save("interlaced.gif", rgb.quantize(50), interlace=1)
    save("transparent.gif", rgb.quantize(50), transparency=7)
    save("animated.gif", rgb.quantize(50), save_all=True, append_images=[rgb.rotate(180).quantize(50)])
    save("lossless.webp", rgb, lossless=True)
    save("lossless_alpha.webp", Image.merge("RGBA", [*rgb.split(), rgb.convert("L")]), lossless=True, exact=True)
    save("animated.webp", rgb, save_all=True, append_images=[rgb.rotate(180)], lossless=True)
    save("lossy.webp", photo, quality=80)
    save("lossy_alpha.webp", Image.merge("RGBA", [*rgb.split(), rgb.convert("L")]), quality=70)


def write_decoded():
    decoded = {}
    for path in sorted(FILES.iterdir()):
        decoded[path.name] = np.asarray(Image.open(path).convert("RGB")).copy()
    save_file(decoded, HERE / "decoded.safetensors")


def views():
    cases = [(500, 375, 256, 224), (375, 500, 256, 224), (224, 224, 224, 224), (256, 256, 256, 224), (1, 1, 256, 224),
             (1, 1, 1, 1), (1, 300, 64, 64), (300, 1, 64, 64), (100, 900, 64, 56), (900, 100, 64, 56),
             (700, 300, 256, 224), (300, 701, 128, 112), (300, 599, 128, 112), (32, 32, 73, 64), (32, 32, 64, 64),
             (106, 150, 256, 224), (1152, 768, 256, 224), (50, 40, 20, 33), (40, 50, 20, 30), (41, 50, 20, 21),
             (3000, 40, 16, 16), (40, 3000, 16, 16), (2, 3, 5, 4), (3, 2, 7, 4), (640, 480, 48, 47)]
    rng = random.Random(2)
    while len(cases) < 120:
        short = rng.randint(1, 90)
        cases.append((rng.randint(1, 400), rng.randint(1, 400), short, max(1, short + rng.randint(-20, 8))))
    out = []
    for width, height, short, crop in cases:
        image = Image.fromarray(formula(width, height))
        view = F.center_crop(F.resize(image, short, F.InterpolationMode.BILINEAR), crop)
        assert view.size == (crop, crop)
        out.append({"width": width, "height": height, "short_side": short, "crop": crop, "fnv": fnv(np.asarray(view))})
    return out


def crops():
    cases = [(500, 375, 0, 0, 375, 500, 224, False), (500, 375, 100, 57, 228, 200, 224, True),
             (500, 375, 3, 5, 369, 287, 224, False), (500, 375, 80, 1, 262, 243, 224, True),
             (500, 375, 374, 499, 1, 1, 224, True), (500, 375, 151, 276, 224, 224, 224, True),
             (500, 375, 0, 276, 375, 224, 224, False), (500, 375, 151, 0, 224, 500, 224, False)]
    rng = random.Random(3)
    while len(cases) < 160:
        width, height = rng.randint(1, 300), rng.randint(1, 300)
        h, w = rng.randint(1, height), rng.randint(1, width)
        box = (rng.randint(0, height - h), rng.randint(0, width - w), h, w)
        cases.append((width, height, *box, rng.randint(1, 100), rng.random() < 0.5))
    out = []
    for width, height, top, left, h, w, size, flip in cases:
        image = Image.fromarray(formula(width, height))
        crop = F.resized_crop(image, top, left, h, w, [size, size], F.InterpolationMode.BILINEAR)
        crop = F.hflip(crop) if flip else crop
        out.append({"width": width, "height": height, "top": top, "left": left, "h": h, "w": w, "size": size,
                    "flip": flip, "fnv": fnv(np.asarray(crop))})
    return out


def tones():
    """Colours changed by torchvision on Pillow images, by factors on either side of 1, and at the ends."""
    change = {"brightness": F.adjust_brightness, "contrast": F.adjust_contrast, "saturation": F.adjust_saturation,
              "hue": F.adjust_hue, "grey": lambda image, _: F.to_grayscale(image, 3)}
    rng = random.Random(5)
    out = []
    for tone in change:
        ends = [0.0, -0.5, 0.5] if tone == "hue" else [0.0, 1.0, 2.0]
        for factor in [*ends, *(rng.uniform(-0.5, 0.5) if tone == "hue" else rng.uniform(0.0, 2.0) for _ in range(20))]:
            width, height = rng.randint(1, 80), rng.randint(1, 80)
            changed = change[tone](Image.fromarray(formula(width, height)), factor)
            out.append({"tone": tone, "factor": factor, "width": width, "height": height,
                        "fnv": fnv(np.asarray(changed))})
    return out


def every_colour_turned():
    """All 2^24 colours, by red, green, blue, their hue turned by a tenth."""
    number = np.arange(2**24, dtype=np.uint32).reshape(4096, 4096)
    colours = np.stack([number >> 16, number >> 8 & 255, number & 255], axis=2).astype(np.uint8)
    return fnv(np.asarray(F.adjust_hue(Image.fromarray(colours), 0.1)))


def blurs():
    rng = random.Random(6)
    cases = [(1, 1, 2.0), (1, 9, 1.3), (9, 1, 1.3), (3, 2, 5.0), (32, 32, 0.1), (32, 32, 2.0)]
    cases += [(rng.randint(1, 60), rng.randint(1, 60), rng.uniform(0.1, 4.0)) for _ in range(40)]
    blur = lambda width, height, radius: Image.fromarray(formula(width, height)).filter(ImageFilter.GaussianBlur(radius))
    return [{"width": width, "height": height, "radius": radius, "fnv": fnv(np.asarray(blur(width, height, radius)))}
            for width, height, radius in cases]


def draws():
    torch.manual_seed(0)
    out = {}
    for width, height in [(500, 375), (375, 500), (32, 32), (640, 213), (1000, 7), (7, 1000)]:
        image = Image.new("L", (width, height))
        params = torchvision.transforms.RandomResizedCrop.get_params
        boxes = [params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(2000)]
        out[f"{width}x{height}"] = np.asarray(boxes, dtype=np.uint16)
    save_file(out, HERE / "draws.safetensors")


def folder_order():
    """What ImageFolder makes of a tree with names that sort differently by folder and by whole path."""
    paths = ["b/2.jpg", "b/10.jpg", "b/1.JPEG", "a/x/1.png", "a/x-y/1.png", "a/x/z/1.ppm", "a/1.webp", "a/z.bmp",
             "a b/1.jpg", "a-b/1.jpg", "B/1.tif", "é/1.jpg", "z/é.jpg", "z/z.jpg", "z/Z.tiff", "z/.jpg", "z/a.b.Pgm"]
    with tempfile.TemporaryDirectory() as root:
        for path in [*paths, "a/notes.txt", "top.jpg", "z/jpg"]:
            where = pathlib.Path(root, path)
            where.parent.mkdir(parents=True, exist_ok=True)
            where.touch()
        folder = torchvision.datasets.ImageFolder(root)
        return [[os.path.relpath(path, root), folder.classes[label]] for path, label in folder.samples]


def main():
    write_files()
    write_decoded()
    draws()
    golden = {
        "made_with": {"pillow": PIL.__version__, "torchvision": torchvision.__version__.split("+")[0]},
        "formula_37x23": fnv(formula(37, 23)),
        "views": views(),
        "crops": crops(),
        "tones": tones(),
        "every_colour_turned": every_colour_turned(),
        "blurs": blurs(),
        "folder_order": folder_order(),
    }
    text = json.dumps(golden, ensure_ascii=False)
    for mark in ("}, {", '], ["'):
        text = text.replace(mark, mark.replace(", ", ",\n"))
    (HERE / "golden.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
