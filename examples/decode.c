/* decode: latents to a picture, in one call.
 *
 *     decode MODEL LATENTS WIDTH HEIGHT OUT.ppm
 *
 * MODEL is a diffusers folder or a .safetensors file. LATENTS is a file of raw
 * floats, channel by channel as torch lays them out, of WIDTH x HEIGHT latents.
 *
 *     cc -std=c99 decode.c $(pkg-config --cflags --libs vaekl) -o decode
 */
#include "files.h"

int main(int argc, char **argv) {
  vaekl_error error;
  vaekl_model *model;
  vaekl_model_info info;
  vaekl_session *session;
  vaekl_latent latent;
  vaekl_image picture;

  if (argc != 6) {
    fputs("usage: decode MODEL LATENTS WIDTH HEIGHT OUT.ppm\n", stderr);
    return 2;
  }
  check(vaekl_model_open(argv[1], NULL, &model, &error), &error);
  check(vaekl_session_new(model, NULL, &session, &error), &error);
  info = rgb_info(model, argv[1]);

  /* RAW is what diffusers' decode takes; a diffusion model's own are VAEKL_LATENT_SCALED. */
  latent = read_latents(argv[2], &info, argv[3], argv[4]);
  picture = new_picture(latent.width * info.downscale, latent.height * info.downscale, 3);
  check(vaekl_decode(session, &latent, &picture, &error), &error);
  write_picture(argv[5], &picture, 3);
  printf("%s: %ux%u, with %s\n", argv[5], picture.width, picture.height, vaekl_cpu_level());

  vaekl_session_free(session);
  vaekl_model_free(model);
  free(picture.data);
  free(latent.data);
  return 0;
}
