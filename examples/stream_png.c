/* stream_png: latents to a PNG, row by row: the picture is never whole in memory.
 *
 *     stream_png MODEL LATENTS WIDTH HEIGHT OUT.png
 *
 *     cc -std=c99 stream_png.c $(pkg-config --cflags --libs vaekl libpng) -o stream_png
 */
#include <png.h>

#include "files.h"

enum { ROWS = 16 };

/* libpng ends the program by itself when the file cannot be written. */
static void write_rows(const char *path, vaekl_stream *stream, uint32_t width, uint32_t height) {
  vaekl_error error;
  FILE *file = fopen(path, "wb");
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
  png_infop info = png_create_info_struct(png);
  unsigned char *rows = (unsigned char *)allocate((size_t)width * 3 * ROWS);
  uint32_t count, row;

  if (file == NULL) {
    fail(path, "cannot be written");
  }
  png_init_io(png, file);
  png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (;;) {
    check(vaekl_stream_read(stream, rows, 0, ROWS, &count, &error), &error);
    if (count == 0) { /* VAEKL_END */
      break;
    }
    for (row = 0; row < count; row++) {
      png_write_row(png, rows + (size_t)row * width * 3);
    }
  }
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  if (fclose(file) != 0) {
    fail(path, "cannot be written");
  }
  free(rows);
}

int main(int argc, char **argv) {
  vaekl_error error;
  vaekl_model *model;
  vaekl_model_info info;
  vaekl_session *session;
  vaekl_stream *stream;
  vaekl_latent latent;

  if (argc != 6) {
    fputs("usage: stream_png MODEL LATENTS WIDTH HEIGHT OUT.png\n", stderr);
    return 2;
  }
  check(vaekl_model_open(argv[1], NULL, &model, &error), &error);
  check(vaekl_session_new(model, NULL, &session, &error), &error);
  info = rgb_info(model, argv[1]);
  latent = read_latents(argv[2], &info, argv[3], argv[4]);

  check(vaekl_stream_open(session, &latent, VAEKL_DTYPE_U8, &stream, &error), &error);
  write_rows(argv[5], stream, latent.width * info.downscale, latent.height * info.downscale);

  vaekl_stream_free(stream); /* before the session, which it uses */
  vaekl_session_free(session);
  vaekl_model_free(model);
  free(latent.data);
  return 0;
}
