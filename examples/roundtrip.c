/* roundtrip: a picture to latents and back, and how much was lost.
 *
 *     roundtrip MODEL IN.ppm OUT.ppm
 *
 *     cc -std=c99 roundtrip.c -lvaekl -lm -o roundtrip
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <vaekl.h>

static void check(vaekl_status status, const vaekl_error *error) {
  if (status != VAEKL_OK) {
    fprintf(stderr, "roundtrip: %s: %s\n", vaekl_status_name(status), error->message);
    exit(1);
  }
}

static void fail(const char *what, const char *name) {
  fprintf(stderr, "roundtrip: %s: %s\n", name, what);
  exit(1);
}

/* Interleaved 8-bit RGB of its own memory. */
static vaekl_image new_picture(uint32_t width, uint32_t height) {
  vaekl_image picture;
  picture.width = width;
  picture.height = height;
  picture.dtype = VAEKL_DTYPE_U8;
  picture.layout = VAEKL_LAYOUT_HWC;
  picture.row_stride = (size_t)width * 3;
  picture.plane_stride = 0;
  picture.data = malloc(picture.row_stride * height);
  if (picture.data == NULL) {
    fail("out of memory", "malloc");
  }
  return picture;
}

/* A binary portable pixmap without comments. */
static vaekl_image read_picture(const char *path) {
  vaekl_image picture;
  unsigned width, height;
  size_t size;
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    fail("cannot be opened", path);
  }
  if (fscanf(file, "P6 %u %u 255", &width, &height) != 2 || fgetc(file) == EOF) {
    fail("not a binary 8-bit pixmap", path);
  }
  if (width == 0 || height == 0 || width > 65535 || height > 65535) {
    fail("its size is absurd", path);
  }
  picture = new_picture(width, height);
  size = picture.row_stride * height;
  if (fread(picture.data, 1, size, file) != size) {
    fail("truncated", path);
  }
  fclose(file);
  return picture;
}

static void write_picture(const char *path, const vaekl_image *picture) {
  size_t size = picture->row_stride * picture->height;
  FILE *file = fopen(path, "wb");
  if (file == NULL) {
    fail("cannot be written", path);
  }
  fprintf(file, "P6\n%u %u\n255\n", picture->width, picture->height);
  if (fwrite(picture->data, 1, size, file) != size || fclose(file) != 0) {
    fail("cannot be written", path);
  }
}

/* Peak signal-to-noise ratio in dB over the size of `b`, which is within `a`. */
static double psnr(const vaekl_image *a, const vaekl_image *b) {
  double sum = 0.0;
  size_t x, y;
  for (y = 0; y < b->height; y++) {
    const unsigned char *row_a = (const unsigned char *)a->data + y * a->row_stride;
    const unsigned char *row_b = (const unsigned char *)b->data + y * b->row_stride;
    for (x = 0; x < b->row_stride; x++) {
      double difference = (double)row_a[x] - (double)row_b[x];
      sum += difference * difference;
    }
  }
  return 10.0 * log10(255.0 * 255.0 * (double)(b->row_stride * b->height) / sum);
}

int main(int argc, char **argv) {
  vaekl_error error;
  vaekl_model *model;
  vaekl_model_info info;
  vaekl_session *session;
  vaekl_image before, after;
  vaekl_latent latent;

  if (argc != 4) {
    fputs("usage: roundtrip MODEL IN.ppm OUT.ppm\n", stderr);
    return 2;
  }
  check(vaekl_model_open(argv[1], NULL, &model, &error), &error);
  check(vaekl_session_new(model, NULL, &session, &error), &error);
  info.struct_size = sizeof info;
  vaekl_model_get_info(model, &info);
  if (info.input_channels != 3 || info.image_channels != 3) {
    fail("its pictures are not RGB", argv[1]);
  }
  before = read_picture(argv[2]);

  /* Rows and columns beyond a multiple of the factor have no latents. */
  latent.batch = 1;
  latent.channels = info.latent_channels;
  latent.width = before.width / info.downscale;
  latent.height = before.height / info.downscale;
  latent.dtype = VAEKL_DTYPE_F32;
  latent.scale = VAEKL_LATENT_RAW;
  latent.data = calloc((size_t)latent.channels * latent.width * latent.height + 1, sizeof(float));
  if (latent.data == NULL) {
    fail("out of memory", "calloc");
  }
  check(vaekl_encode(session, &before, VAEKL_POSTERIOR_MODE, 0, &latent, &error), &error);

  after = new_picture(latent.width * info.downscale, latent.height * info.downscale);
  check(vaekl_decode(session, &latent, &after, &error), &error);
  write_picture(argv[3], &after);
  printf("%ux%u pixels, %ux%ux%u latents, PSNR %.2f dB\n", after.width, after.height,
         latent.channels, latent.width, latent.height, psnr(&before, &after));

  vaekl_session_free(session);
  vaekl_model_free(model);
  free(after.data);
  free(before.data);
  free(latent.data);
  return 0;
}
