/* jpeg: the narrow door to libjpeg-turbo. Errors jump (setjmp) only inside this file; the caller sees return codes.
 *
 * The settings are the library's defaults (accurate integer IDCT, fancy upsampling), which Pillow uses too: the pixels
 * are the same, bit for bit. */
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>

enum { OK = 0, CORRUPT = 1, TRUNCATED = 2, UNSUPPORTED = 3, NO_MEMORY = 4, TOO_MANY_SCANS = 5, TOO_LONG_A_SIDE = 6 };

/* An ordinary progressive file has about ten scans; one of thousands is an attack on the reader's time. */
enum { MAX_SCANS = 100 };

struct dcpipe_jpeg_info {
  uint32_t width, height;
  char message[JMSG_LENGTH_MAX];
};

struct failure {
  struct jpeg_error_mgr base; /* first, so that a pointer to one is a pointer to the other */
  jmp_buf escape;
  int code;
  int take;    /* a picture that is damaged inside is taken as it is */
  int damaged; /* a warning said that pixels are guessed */
  int ran_out; /* the data ended before the end-of-image marker */
  char *message;
};

static void give_up(j_common_ptr any, int code) {
  struct failure *failure = (struct failure *)any->err;
  failure->code = code;
  failure->base.format_message(any, failure->message);
  longjmp(failure->escape, 1);
}

static void on_error(j_common_ptr any) {
  switch (any->err->msg_code) {
  case JERR_OUT_OF_MEMORY: give_up(any, NO_MEMORY); break;
  case JERR_IMAGE_TOO_BIG: give_up(any, TOO_LONG_A_SIDE); break;
  case JERR_INPUT_EOF: case JERR_INPUT_EMPTY: case JERR_NO_IMAGE: give_up(any, TRUNCATED); break;
  case JERR_SOF_UNSUPPORTED: case JERR_BAD_PRECISION: case JERR_CONVERSION_NOTIMPL: case JERR_CCIR601_NOTIMPL:
  case JERR_FRACT_SAMPLE_NOTIMPL: case JERR_ARITH_NOTIMPL: case JERR_NOTIMPL: case JERR_COMPONENT_COUNT:
    give_up(any, UNSUPPORTED); break;
  case JERR_UNKNOWN_MARKER: /* Hierarchical JPEG has two markers of its own; any other is damage. */
    give_up(any, any->err->msg_parm.i[0] == 0xde || any->err->msg_parm.i[0] == 0xdf ? UNSUPPORTED : CORRUPT); break;
  default: give_up(any, CORRUPT);
  }
}

/* DIVERGES: the published code loads what is left of a truncated file (LOAD_TRUNCATED_IMAGES) and trains on its grey
 * rest; here the file is refused and listed. The warnings named here say that pixels are guessed: where the data goes on
 * behind them the file is damaged inside, which Pillow takes. Other warnings pass: they leave a whole picture. */
static void on_message(j_common_ptr any, int level) {
  struct failure *failure = (struct failure *)any->err;
  if (level >= 0) return;
  switch (any->err->msg_code) {
  case JWRN_HIT_MARKER:
    if (failure->ran_out) give_up(any, TRUNCATED);
    /* fall through */
  case JWRN_HUFF_BAD_CODE: case JWRN_ARITH_BAD_CODE: case JWRN_MUST_RESYNC:
    failure->damaged = 1;
    if (!failure->take) give_up(any, CORRUPT);
  }
}

static void be_silent(j_common_ptr any) { (void)any; }

static void on_progress(j_common_ptr any) {
  j_decompress_ptr reader = (j_decompress_ptr)any;
  if (reader->input_scan_number > MAX_SCANS) give_up(any, TOO_MANY_SCANS);
}

static void nothing(j_decompress_ptr reader) { (void)reader; }

/* The bytes have run out: an end-of-image marker is lent, so that the library comes to its own end. */
static boolean fill(j_decompress_ptr reader) {
  static const JOCTET end[2] = { 0xFF, JPEG_EOI };
  ((struct failure *)reader->err)->ran_out = 1;
  reader->src->next_input_byte = end;
  reader->src->bytes_in_buffer = 2;
  return TRUE;
}

static void skip(j_decompress_ptr reader, long count) {
  if (count <= 0) return;
  if ((unsigned long)count > reader->src->bytes_in_buffer) {
    fill(reader);
  } else {
    reader->src->next_input_byte += count;
    reader->src->bytes_in_buffer -= (size_t)count;
  }
}

static void prepare(struct failure *failure, char *message) {
  memset(failure, 0, sizeof *failure);
  jpeg_std_error(&failure->base);
  failure->base.error_exit = on_error;
  failure->base.emit_message = on_message;
  failure->base.output_message = be_silent;
  failure->message = message;
}

static void read_header(j_decompress_ptr reader, struct jpeg_source_mgr *source, const uint8_t *data, size_t length) {
  jpeg_create_decompress(reader);
  memset(source, 0, sizeof *source);
  source->init_source = nothing;
  source->fill_input_buffer = fill;
  source->skip_input_data = skip;
  source->resync_to_restart = jpeg_resync_to_restart;
  source->term_source = nothing;
  source->next_input_byte = data;
  source->bytes_in_buffer = length;
  reader->src = source;
  jpeg_read_header(reader, TRUE);
}

/* Reads width and height, also where a side is too long for the library, and takes no memory for pixels. */
int dcpipe_jpeg_probe(const uint8_t *data, size_t length, struct dcpipe_jpeg_info *info) {
  struct jpeg_decompress_struct reader;
  struct jpeg_source_mgr source;
  struct failure failure;
  memset(&reader, 0, sizeof reader);
  prepare(&failure, info->message);
  reader.err = &failure.base;
  if (setjmp(failure.escape) == 0) read_header(&reader, &source, data, length);
  info->width = reader.image_width;
  info->height = reader.image_height;
  jpeg_destroy_decompress(&reader);
  return failure.code != OK && failure.ran_out ? TRUNCATED : failure.code;
}

/* Pillow's CMYK to RGB. Four-channel JPEGs hold inverted ink (Adobe's way, which Pillow always assumes), so a stored
 * value is already the light that is left: 255 - ink. */
static void cmyk_to_rgb(const JSAMPLE *in, uint8_t *out, uint32_t width) {
  for (uint32_t x = 0; x < width; x++, in += 4, out += 3) {
    int light = in[3];
    for (int c = 0; c < 3; c++) {
      int product = (255 - in[c]) * light + 128;
      out[c] = (uint8_t)(light - ((product + (product >> 8)) >> 8));
    }
  }
}

static void read_rows(j_decompress_ptr reader, uint8_t *out) {
  size_t stride = (size_t)reader->output_width * 3;
  JSAMPARRAY inks = NULL;
  if (reader->out_color_space == JCS_CMYK)
    inks = reader->mem->alloc_sarray((j_common_ptr)reader, JPOOL_IMAGE, reader->output_width * 4, 1);
  while (reader->output_scanline < reader->output_height) {
    JSAMPROW row = out + stride * reader->output_scanline;
    if (inks != NULL) {
      jpeg_read_scanlines(reader, inks, 1);
      cmyk_to_rgb(inks[0], row, reader->output_width);
    } else {
      jpeg_read_scanlines(reader, &row, 1);
    }
  }
}

/* Writes height x width x 3 bytes of RGB. `info` comes from the probe of the same bytes. */
int dcpipe_jpeg_decode(const uint8_t *data, size_t length, uint8_t *out, int take, struct dcpipe_jpeg_info *info) {
  struct jpeg_decompress_struct reader;
  struct jpeg_source_mgr source;
  struct jpeg_progress_mgr progress;
  struct failure failure;
  memset(&reader, 0, sizeof reader);
  memset(&progress, 0, sizeof progress);
  prepare(&failure, info->message);
  failure.take = take;
  reader.err = &failure.base;
  if (setjmp(failure.escape) == 0) {
    read_header(&reader, &source, data, length);
    progress.progress_monitor = on_progress;
    reader.progress = &progress;
    if (reader.num_components != 1 && reader.num_components != 3 && reader.num_components != 4)
      ERREXIT2(&reader, JERR_COMPONENT_COUNT, reader.num_components, 4);
    reader.out_color_space = reader.num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&reader);
    if (reader.output_width != info->width || reader.output_height != info->height) ERREXIT(&reader, JERR_BAD_STATE);
    read_rows(&reader, out);
    /* A picture sent in several scans that ends early lacks its detail, though no row of it is missing; of
     * one that is damaged too nobody knows what is missing. */
    if (failure.ran_out && (failure.damaged || jpeg_has_multiple_scans(&reader))) ERREXIT(&reader, JERR_INPUT_EOF);
  }
  jpeg_destroy_decompress(&reader);
  return failure.code != OK && failure.ran_out && failure.code == CORRUPT ? TRUNCATED : failure.code;
}

/* Encodes RGB with the library's defaults (4:2:0, as Pillow's). The bytes are the caller's, to be given to
 * dcpipe_jpeg_free. */
int dcpipe_jpeg_encode(const uint8_t *rgb, uint32_t width, uint32_t height, int quality, uint8_t **bytes,
                       size_t *length, struct dcpipe_jpeg_info *info) {
  struct jpeg_compress_struct writer;
  struct failure failure;
  unsigned char *volatile kept = NULL;
  unsigned char *buffer = NULL;
  unsigned long size = 0;
  memset(&writer, 0, sizeof writer);
  prepare(&failure, info->message);
  writer.err = &failure.base;
  if (setjmp(failure.escape) == 0) {
    jpeg_create_compress(&writer);
    jpeg_mem_dest(&writer, &buffer, &size);
    writer.image_width = width;
    writer.image_height = height;
    writer.input_components = 3;
    writer.in_color_space = JCS_RGB;
    jpeg_set_defaults(&writer);
    jpeg_set_quality(&writer, quality, TRUE);
    jpeg_start_compress(&writer, TRUE);
    while (writer.next_scanline < height) {
      JSAMPROW row = (JSAMPROW)(rgb + (size_t)writer.next_scanline * width * 3);
      jpeg_write_scanlines(&writer, &row, 1);
    }
    jpeg_finish_compress(&writer); /* sets buffer and size */
    kept = buffer;
  }
  jpeg_destroy_compress(&writer);
  *bytes = kept;
  *length = kept == NULL ? 0 : size;
  return failure.code;
}

void dcpipe_jpeg_free(uint8_t *bytes) { free(bytes); }
