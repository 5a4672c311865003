/* first MODEL DATA: a program of the first header, run against the library of today.
 *
 * Compiled with that header and with the one of today: both print the same, the decoded bytes and
 * the encoded floats in hexadecimal. Every struct is passed with the size that its header has.
 */
#include "../c/check.h"

static uint64_t calls;

static int32_t on_progress(void *user, uint64_t done, uint64_t total) {
  CHECK(user == &calls && done <= total);
  calls++;
  return 0;
}

static int32_t on_rows(void *user, uint32_t y, uint32_t count, const void *rows, size_t stride) {
  CHECK(stride == WIDTH * CHANNELS);
  memcpy((unsigned char *)user + y * stride, rows, count * stride);
  return 0;
}

static void print(const void *bytes, size_t size) {
  size_t i;
  for (i = 0; i < size; i++) {
    printf("%02x", ((const unsigned char *)bytes)[i]);
  }
  putchar('\n');
}

int main(int argc, char **argv) {
  static float encoded[LATENTS];
  static unsigned char picture[VALUES], rows[VALUES];
  float *latents, *pixels;
  vaekl_error error;
  vaekl_model_options model_options;
  vaekl_session_options options;
  vaekl_model_info info;
  vaekl_plan plan;
  vaekl_model *model;
  vaekl_session *session;
  vaekl_latent latent, out = latent_view(encoded, VAEKL_DTYPE_F32);
  vaekl_image image, view = image_view(picture, VAEKL_DTYPE_U8, VAEKL_LAYOUT_HWC);

  CHECK(argc == 3);
  latents = read_floats(argv[2], "latents.f32", LATENTS);
  pixels = read_floats(argv[2], "image.f32", VALUES);
  latent = latent_view(latents, VAEKL_DTYPE_F32);
  image = image_view(pixels, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW);

  CHECK(vaekl_model_options_init(&model_options, sizeof model_options) == VAEKL_OK);
  CHECK(model_options.struct_size == sizeof model_options);
  CHECK(vaekl_model_open(argv[1], &model_options, &model, &error) == VAEKL_OK);
  info.struct_size = sizeof info;
  CHECK(vaekl_model_get_info(model, &info) == VAEKL_OK);
  CHECK(info.struct_size == sizeof info && info.latent_channels == LATENT_C && info.downscale == 8);

  CHECK(vaekl_session_options_init(&options, sizeof options) == VAEKL_OK);
  options.threads = 2;
  options.progress = on_progress;
  options.progress_user = &calls;
  plan.struct_size = sizeof plan;
  CHECK(vaekl_plan_decode(model, &options, LATENT_W, LATENT_H, &plan, &error) == VAEKL_OK);
  CHECK(plan.struct_size == sizeof plan && plan.workspace_bytes > 0 && plan.exact == 1);
  CHECK(vaekl_session_new(model, &options, &session, &error) == VAEKL_OK);

  CHECK(vaekl_decode(session, &latent, &view, &error) == VAEKL_OK);
  CHECK(calls > 0);
  CHECK(vaekl_decode_rows(session, &latent, VAEKL_DTYPE_U8, on_rows, rows, &error) == VAEKL_OK);
  CHECK(memcmp(rows, picture, sizeof rows) == 0);
  CHECK(vaekl_encode(session, &image, VAEKL_POSTERIOR_SAMPLE, 7, &out, &error) == VAEKL_OK);
  print(picture, sizeof picture);
  print(encoded, sizeof encoded);

  CHECK(vaekl_model_open("/no/such", &model_options, &model, &error) == VAEKL_ERR_IO);
  CHECK(error.status == VAEKL_ERR_IO && strstr(error.message, "/no/such") != NULL);
  CHECK(strcmp(vaekl_status_name(error.status), "VAEKL_ERR_IO") == 0);
  CHECK(vaekl_version() >= (VAEKL_VERSION_MAJOR << 16 | VAEKL_VERSION_MINOR << 8));

  vaekl_session_free(session);
  vaekl_model_free(model);
  free(pixels);
  free(latents);
  return 0;
}
