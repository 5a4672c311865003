/* roundtrip: a picture to latents and back, and how much was lost.
 *
 *     roundtrip MODEL IN.ppm OUT.ppm
 *
 *     cc -std=c99 roundtrip.c $(pkg-config --cflags --libs vaekl) -lm -o roundtrip
 */
#include <math.h>

#include "files.h"

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
  vaekl_latent latent = {NULL, 1, 0, 0, 0, VAEKL_DTYPE_F32, VAEKL_LATENT_RAW};

  if (argc != 4) {
    fputs("usage: roundtrip MODEL IN.ppm OUT.ppm\n", stderr);
    return 2;
  }
  check(vaekl_model_open(argv[1], NULL, &model, &error), &error);
  check(vaekl_session_new(model, NULL, &session, &error), &error);
  info = rgb_info(model, argv[1]);
  before = read_picture(argv[2]);

  /* Rows and columns beyond a multiple of the factor have no latents. */
  latent.channels = info.latent_channels;
  latent.width = before.width / info.downscale;
  latent.height = before.height / info.downscale;
  latent.data = allocate(sizeof(float) * latent.channels * latent.width * latent.height);
  check(vaekl_encode(session, &before, VAEKL_POSTERIOR_MODE, 0, &latent, &error), &error);

  after = new_picture(latent.width * info.downscale, latent.height * info.downscale, 3);
  check(vaekl_decode(session, &latent, &after, &error), &error);
  write_picture(argv[3], &after, 3);
  printf("%ux%u pixels, %ux%ux%u latents, PSNR %.2f dB\n", after.width, after.height,
         latent.channels, latent.width, latent.height, psnr(&before, &after));

  vaekl_session_free(session);
  vaekl_model_free(model);
  free(after.data);
  free(before.data);
  free(latent.data);
  return 0;
}
