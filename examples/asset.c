/* asset: a model out of memory, as an app has it whose checkpoint is one of its assets.
 *
 *     asset MODEL.safetensors NORM_NUM_GROUPS LATENTS WIDTH HEIGHT OUT.ppm
 *
 * Here the bytes are read from a file; an app gets them from its bundle (AAsset_getBuffer,
 * NSDataReadingMappedIfSafe), best mapped and not copied. They are borrowed: the library
 * reads weights out of them as long as the model or a session of it lives.
 *
 * A bare file has no configuration. Shapes tell most of it, options the rest: the groups of
 * the GroupNorms (0 is 32, as in all released models), and the preset, which is the family
 * that scaling factor and shift are taken from.
 *
 *     cc -std=c99 asset.c $(pkg-config --cflags --libs vaekl) -o asset
 */
#include "files.h"

static void *read_all(const char *path, size_t *len) {
  FILE *file = fopen(path, "rb");
  void *bytes;
  long end;
  if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < 0) {
    fail(path, "cannot be read");
    return NULL;
  }
  rewind(file);
  *len = (size_t)end;
  bytes = allocate(*len);
  if (fread(bytes, 1, *len, file) != *len) {
    fail(path, "cannot be read");
  }
  fclose(file);
  return bytes;
}

int main(int argc, char **argv) {
  vaekl_error error;
  vaekl_model_options options;
  vaekl_model *model;
  vaekl_model_info info;
  vaekl_session *session;
  vaekl_latent latent;
  vaekl_image picture;
  void *bytes;
  size_t len;

  if (argc != 7) {
    fputs("usage: asset MODEL.safetensors NORM_NUM_GROUPS LATENTS WIDTH HEIGHT OUT.ppm\n", stderr);
    return 2;
  }
  bytes = read_all(argv[1], &len);
  vaekl_model_options_init(&options, sizeof options);
  options.parts = VAEKL_PART_DECODER;
  options.norm_num_groups = (uint32_t)strtoul(argv[2], NULL, 10);
  options.preset = "sd";
  check(vaekl_model_open_bytes(bytes, len, &options, &model, &error), &error);
  check(vaekl_session_new(model, NULL, &session, &error), &error);
  info.struct_size = sizeof info;
  vaekl_model_get_info(model, &info);
  if (info.image_channels != 3) {
    fail(argv[1], "its pictures are not RGB");
  }
  vaekl_model_free(model); /* the session has its own reference */

  latent = read_latents(argv[3], &info, argv[4], argv[5]);
  picture = new_picture(latent.width * info.downscale, latent.height * info.downscale, 3);
  check(vaekl_decode(session, &latent, &picture, &error), &error);
  write_picture(argv[6], &picture, 3);

  vaekl_session_free(session);
  free(bytes); /* after the last user of the model */
  free(picture.data);
  free(latent.data);
  return 0;
}
