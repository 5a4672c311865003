/* save MODEL DATA: a model saved to a folder, to shards and to files opens as the same model. */
#include <stdint.h>

#include "check.h"

static char path[4096];

/* `name` in the folder of the test. */
static const char *in(const char *dir, const char *name) {
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static vaekl_save_options defaults(void) {
  vaekl_save_options options;
  CHECK(vaekl_save_options_init(&options, sizeof options) == VAEKL_OK);
  CHECK(options.struct_size == sizeof options && options.dtype == VAEKL_DTYPE_KEEP);
  CHECK(options.layout == VAEKL_KEYS_DIFFUSERS && options.max_shard_size == 0);
  CHECK(options.variant == NULL);
  return options;
}

static void decode(const vaekl_model *model, float *pixels) {
  vaekl_session *session = new_session(model, 1);
  float values[LATENTS];
  vaekl_latent latent = latent_view(values, VAEKL_DTYPE_F32);
  vaekl_image image = image_view(pixels, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  int i;
  for (i = 0; i < LATENTS; i++) {
    values[i] = (float)(i % 7) / 4 - 0.75f;
  }
  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  vaekl_session_free(session);
}

/* What was saved at `at` decodes to the same bits, and nothing of it was guessed. */
static void check_saved(const char *at, const char *variant, const float *expected) {
  static float pixels[VALUES];
  vaekl_model *model = NULL;
  vaekl_model_info info;
  vaekl_model_options options;
  CHECK(vaekl_model_options_init(&options, sizeof options) == VAEKL_OK);
  options.variant = variant;
  CHECK_OK(vaekl_model_open(at, &options, &model, &error));
  info.struct_size = sizeof info;
  CHECK(vaekl_model_get_info(model, &info) == VAEKL_OK && info.guessed == 0);
  decode(model, pixels);
  CHECK(memcmp(pixels, expected, sizeof pixels) == 0);
  vaekl_model_free(model);
}

int main(int argc, char **argv) {
  static float expected[VALUES];
  const vaekl_status invalid = VAEKL_ERR_INVALID_ARGUMENT;
  vaekl_save_options options = defaults();
  vaekl_model *model, *half;
  vaekl_model_info whole, info;
  const char *dir;
  CHECK(argc == 3);
  dir = argv[2];
  model = open_model(argv[1]);
  decode(model, expected);
  whole.struct_size = info.struct_size = sizeof info;
  CHECK(vaekl_model_get_info(model, &whole) == VAEKL_OK);

  CHECK_OK(vaekl_model_save(model, in(dir, "saved"), NULL, &error));
  check_saved(path, NULL, expected);
  options.max_shard_size = 30000;
  options.variant = "own";
  CHECK_OK(vaekl_model_save(model, in(dir, "saved"), &options, &error));
  check_saved(path, "own", expected);
  options = defaults();
  options.layout = VAEKL_KEYS_ORIGINAL;
  CHECK_OK(vaekl_model_save(model, in(dir, "saved.safetensors"), &options, &error));
  check_saved(path, NULL, expected);
  options = defaults();
  options.dtype = VAEKL_DTYPE_BF16;
  CHECK_OK(vaekl_model_save(model, in(dir, "half.safetensors"), &options, &error));
  half = open_model(path);
  CHECK(vaekl_model_get_info(half, &info) == VAEKL_OK);
  CHECK(info.weight_bytes * 2 == whole.weight_bytes && info.parameters == whole.parameters);
  vaekl_model_free(half);

  CHECK(vaekl_save_options_init(NULL, sizeof options) == invalid);
  CHECK(vaekl_save_options_init(&options, 8) == invalid);
  CHECK_FAILS(vaekl_model_save(NULL, path, NULL, &error), invalid, "model: NULL");
  CHECK_FAILS(vaekl_model_save(model, NULL, NULL, &error), invalid, "path: NULL");
  CHECK_FAILS(vaekl_model_save(model, in(dir, "none/a.safetensors"), NULL, &error), VAEKL_ERR_IO,
              "no folder");
  options = defaults();
  options.dtype = VAEKL_DTYPE_U8;
  CHECK_FAILS(vaekl_model_save(model, in(dir, "no"), &options, &error), invalid, "options.dtype");
  options = defaults();
  options.layout = 2;
  CHECK_FAILS(vaekl_model_save(model, path, &options, &error), invalid, "options.layout");
  options.layout = VAEKL_KEYS_ORIGINAL;
  CHECK_FAILS(vaekl_model_save(model, path, &options, &error), invalid, "layout");
  options = defaults();
  options.variant = "\xff";
  CHECK_FAILS(vaekl_model_save(model, path, &options, &error), invalid, "options.variant");
  options.variant = "a/b";
  CHECK_FAILS(vaekl_model_save(model, path, &options, &error), invalid, "variant");
  vaekl_model_free(model);
  puts("ok");
  return 0;
}
