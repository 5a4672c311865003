/* decode: latents to a picture.
 *
 *     decode MODEL LATENTS WIDTH HEIGHT OUT.ppm
 *
 * MODEL is a diffusers folder or a .safetensors file. LATENTS is a file of raw
 * floats, channel by channel as torch lays them out, of WIDTH x HEIGHT latents.
 *
 *     cc -std=c99 decode.c -lvaekl -o decode
 */
#include <stdio.h>
#include <stdlib.h>

#include <vaekl.h>

/* Prints why a call failed and ends the program; does nothing when it did not. */
static void check(vaekl_status status, const vaekl_error *error) {
  if (status != VAEKL_OK) {
    fprintf(stderr, "\ndecode: %s: %s\n", vaekl_status_name(status), error->message);
    exit(1);
  }
}

static void fail(const char *what, const char *name) {
  fprintf(stderr, "decode: %s: %s\n", name, what);
  exit(1);
}

/* Called by the library on this thread. */
static int32_t on_progress(void *user, uint64_t done, uint64_t total) {
  (void)user;
  fprintf(stderr, "\r%3d %%", (int)(100.0 * (double)done / (double)total));
  return 0; /* anything else would cancel */
}

static void *allocate(size_t size) {
  void *memory = malloc(size);
  if (memory == NULL) {
    fail("out of memory", "malloc");
  }
  return memory;
}

static float *read_floats(const char *path, size_t count) {
  float *values = (float *)allocate(count * sizeof *values);
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    fail("cannot be opened", path);
  }
  if (fread(values, sizeof *values, count, file) != count || fgetc(file) != EOF) {
    fail("not as many floats as width, height and the model's channels ask for", path);
  }
  fclose(file);
  return values;
}

/* A portable pixmap, or a greymap where there is one channel. */
static void write_picture(const char *path, const vaekl_image *picture, uint32_t channels) {
  FILE *file = fopen(path, "wb");
  size_t size = (size_t)picture->width * picture->height * channels;
  if (file == NULL) {
    fail("cannot be written", path);
  }
  fprintf(file, "P%d\n%u %u\n255\n", channels == 1 ? 5 : 6, picture->width, picture->height);
  if (fwrite(picture->data, 1, size, file) != size || fclose(file) != 0) {
    fail("cannot be written", path);
  }
}

int main(int argc, char **argv) {
  vaekl_error error;
  vaekl_model *model;
  vaekl_model_info info;
  vaekl_session_options options;
  vaekl_session *session;
  vaekl_latent latent;
  vaekl_image picture;

  if (argc != 6) {
    fputs("usage: decode MODEL LATENTS WIDTH HEIGHT OUT.ppm\n", stderr);
    return 2;
  }
  check(vaekl_model_open(argv[1], NULL, &model, &error), &error);
  info.struct_size = sizeof info;
  vaekl_model_get_info(model, &info);
  if (info.image_channels != 1 && info.image_channels != 3) {
    fail("its pictures are neither grey nor RGB", argv[1]);
  }

  latent.batch = 1;
  latent.channels = info.latent_channels;
  latent.width = (uint32_t)strtoul(argv[3], NULL, 10);
  latent.height = (uint32_t)strtoul(argv[4], NULL, 10);
  latent.dtype = VAEKL_DTYPE_F32;
  latent.scale = VAEKL_LATENT_RAW; /* _SCALED for what a diffusion model gave */
  latent.data = read_floats(argv[2], (size_t)latent.channels * latent.width * latent.height);

  picture.width = latent.width * info.downscale;
  picture.height = latent.height * info.downscale;
  picture.dtype = VAEKL_DTYPE_U8;
  picture.layout = VAEKL_LAYOUT_HWC;
  picture.row_stride = 0; /* packed */
  picture.plane_stride = 0;
  picture.data = allocate((size_t)picture.width * picture.height * info.image_channels);

  vaekl_session_options_init(&options, sizeof options);
  options.progress = on_progress;
  check(vaekl_session_new(model, &options, &session, &error), &error);
  check(vaekl_decode(session, &latent, &picture, &error), &error);
  write_picture(argv[5], &picture, info.image_channels);
  fprintf(stderr, "\r%s: %ux%u, with %s\n", argv[5], picture.width, picture.height,
          vaekl_cpu_level());

  vaekl_session_free(session);
  vaekl_model_free(model);
  free(picture.data);
  free(latent.data);
  return 0;
}
