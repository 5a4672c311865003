/* sample: a picture to latents that a diffusion model can go on from (image to image).
 *
 *     sample MODEL IN.ppm SEED OUT.f32
 *
 * Draws from the posterior as diffusers does with torch.Generator().manual_seed(SEED),
 * and scales as the diffusion model wants it. OUT has raw floats, channel by channel.
 *
 *     cc -std=c99 sample.c $(pkg-config --cflags --libs vaekl) -o sample
 */
#include "files.h"

int main(int argc, char **argv) {
  vaekl_error error;
  vaekl_model *model;
  vaekl_model_options options;
  vaekl_model_info info;
  vaekl_session *session;
  vaekl_image picture;
  vaekl_latent latent = {NULL, 1, 0, 0, 0, VAEKL_DTYPE_F32, VAEKL_LATENT_SCALED};
  size_t count;

  if (argc != 5) {
    fputs("usage: sample MODEL IN.ppm SEED OUT.f32\n", stderr);
    return 2;
  }
  vaekl_model_options_init(&options, sizeof options);
  options.parts = VAEKL_PART_ENCODER; /* the decoder need not be in the file */
  check(vaekl_model_open(argv[1], &options, &model, &error), &error);
  check(vaekl_session_new(model, NULL, &session, &error), &error);
  info.struct_size = sizeof info;
  vaekl_model_get_info(model, &info);
  if (info.input_channels != 3) {
    fail(argv[1], "it does not encode RGB pictures");
  }
  picture = read_picture(argv[2]);

  latent.channels = info.latent_channels;
  latent.width = picture.width / info.downscale;
  latent.height = picture.height / info.downscale;
  count = (size_t)latent.channels * latent.width * latent.height;
  latent.data = allocate(count * sizeof(float));
  check(vaekl_encode(session, &picture, VAEKL_POSTERIOR_SAMPLE, strtoull(argv[3], NULL, 10),
                     &latent, &error),
        &error);
  write_floats(argv[4], (const float *)latent.data, count);
  printf("%s: 1x%ux%ux%u, scaled by %g\n", argv[4], latent.channels, latent.height, latent.width,
         (double)info.scaling_factor);

  vaekl_session_free(session);
  vaekl_model_free(model);
  free(picture.data);
  free(latent.data);
  return 0;
}
