/* decode_encode MODEL DATA: what decoding and encoding give, in every layout and dtype. */
#include "check.h"

/* What diffusers gives in fp64, and how far f32 may be from it. */
static const float TOLERANCE = 1e-4f;

static void to_chw(const float *hwc, float *chw) {
  int i, c;
  for (i = 0; i < PIXELS; i++) {
    for (c = 0; c < CHANNELS; c++) {
      chw[c * PIXELS + i] = hwc[i * CHANNELS + c];
    }
  }
}

/* As vaekl.h says: [-1, 1] is [0, 255], clamped, half to even. */
static int to_u8(float value) {
  float unit = value * 0.5f + 0.5f;
  unit = unit < 0.0f ? 0.0f : unit > 1.0f ? 1.0f : unit;
  return (int)nearbyintf(unit * 255.0f);
}

/* Strides leave the bytes between rows, planes and around the picture alone. */
static void decode_with_strides(vaekl_session *session, const vaekl_latent *latent,
                                const float *chw) {
  const size_t row = WIDTH * sizeof(float) + 12, plane = HEIGHT * row + 20;
  const size_t len = CHANNELS * plane + 64;
  unsigned char *bytes = (unsigned char *)malloc(len);
  vaekl_image image = image_view(bytes + 32, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW);
  size_t at, touched = 0;
  int c, y;
  CHECK(bytes != NULL);
  memset(bytes, 0xa5, len);
  image.row_stride = row;
  image.plane_stride = plane;
  CHECK_OK(vaekl_decode(session, latent, &image, &error));
  for (c = 0; c < CHANNELS; c++) {
    for (y = 0; y < HEIGHT; y++) {
      unsigned char *found = bytes + 32 + (size_t)c * plane + (size_t)y * row;
      CHECK(memcmp(found, chw + c * PIXELS + y * WIDTH, WIDTH * sizeof(float)) == 0);
      memset(found, 0xa5, WIDTH * sizeof(float));
    }
  }
  for (at = 0; at < len; at++) {
    touched += bytes[at] != 0xa5;
  }
  CHECK(touched == 0);
  free(bytes);
}

typedef struct collector {
  unsigned char *pixels;
  uint32_t next, stop_at;
} collector;

static int32_t collect(void *user, uint32_t y, uint32_t count, const void *rows, size_t row_stride) {
  collector *c = (collector *)user;
  uint32_t i;
  CHECK(y == c->next && count > 0);
  for (i = 0; i < count; i++) {
    memcpy(c->pixels + (size_t)(y + i) * WIDTH * CHANNELS,
           (const unsigned char *)rows + i * row_stride, WIDTH * CHANNELS);
  }
  c->next = y + count;
  return c->next > c->stop_at;
}

static void decode_in_rows(vaekl_session *session, const vaekl_latent *latent,
                           const unsigned char *pixels) {
  static unsigned char found[VALUES];
  collector all = {found, 0, HEIGHT}, some = {found, 0, 10};
  CHECK_OK(vaekl_decode_rows(session, latent, VAEKL_DTYPE_U8, collect, &all, &error));
  CHECK(all.next == HEIGHT && memcmp(found, pixels, VALUES) == 0);
  CHECK_FAILS(vaekl_decode_rows(session, latent, VAEKL_DTYPE_U8, collect, &some, &error),
              VAEKL_ERR_CANCELLED, "");
  CHECK(some.next < HEIGHT);
}

static void decode(vaekl_session *session, const char *dir) {
  static float hwc[VALUES], chw[VALUES], turned[VALUES];
  static unsigned char u8[VALUES];
  static uint16_t half[VALUES];
  float *latents = read_floats(dir, "latents.f32", LATENTS);
  float *expected = read_floats(dir, "decoded.f32", VALUES);
  vaekl_latent latent = latent_view(latents, VAEKL_DTYPE_F32);
  vaekl_image image = image_view(chw, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW);
  int i;

  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  check_close(chw, expected, VALUES, TOLERANCE);
  CHECK(vaekl_session_memory(session) > 0);
  image = image_view(hwc, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  to_chw(hwc, turned);
  CHECK(memcmp(chw, turned, sizeof chw) == 0);
  decode_with_strides(session, &latent, chw);

  image = image_view(u8, VAEKL_DTYPE_U8, VAEKL_LAYOUT_HWC);
  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  for (i = 0; i < VALUES; i++) {
    CHECK(u8[i] == to_u8(hwc[i]));
  }
  decode_in_rows(session, &latent, u8);

  /* bfloat16 is the upper half of a float, rounded. */
  image = image_view(half, VAEKL_DTYPE_BF16, VAEKL_LAYOUT_HWC);
  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  for (i = 0; i < VALUES; i++) {
    uint32_t bits = (uint32_t)half[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    CHECK(fabsf(value - hwc[i]) <= fabsf(hwc[i]) / 256.0f);
  }

  /* What the diffusion model works on is 0.18215 times as large. */
  for (i = 0; i < LATENTS; i++) {
    latents[i] *= 0.18215f;
  }
  latent.scale = VAEKL_LATENT_SCALED;
  image = image_view(hwc, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW);
  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  check_close(hwc, expected, VALUES, TOLERANCE);
  free(expected);
  free(latents);
}

/* A batch gives what its latents give alone. Its latents are bfloat16. */
static void decode_batch(vaekl_session *session) {
  static float out[3][VALUES];
  uint16_t latents[2 * LATENTS];
  vaekl_latent latent = latent_view(latents, VAEKL_DTYPE_BF16);
  vaekl_image images[2];
  int i;
  for (i = 0; i < 2 * LATENTS; i++) {
    latents[i] = (uint16_t)((i % 2 ? 0xbf00 : 0x3f00) + i % 120);
  }
  images[0] = image_view(out[0], VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  images[1] = image_view(out[1], VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  latent.batch = 2;
  CHECK_OK(vaekl_decode(session, &latent, images, &error));
  latent.batch = 1;
  latent.data = latents + LATENTS;
  images[0].data = out[2];
  CHECK_OK(vaekl_decode(session, &latent, images, &error));
  CHECK(memcmp(out[1], out[2], sizeof out[1]) == 0);
  CHECK(memcmp(out[0], out[1], sizeof out[0]) != 0);

  /* A NaN in the second is found before the first is written. */
  latent.batch = 2;
  latent.data = latents;
  latents[LATENTS + LATENT_W * LATENT_H + LATENT_W + 2] = 0x7fc0;
  memset(out[2], 0xa5, sizeof out[2]);
  memset(out[1], 0xa5, sizeof out[1]);
  CHECK_FAILS(vaekl_decode(session, &latent, images, &error), VAEKL_ERR_INVALID_ARGUMENT,
              "batch 1, channel 1, row 1, column 2");
  CHECK(memcmp(out[1], out[2], sizeof out[1]) == 0);
  latent.batch = 1;
  latent.data = latents + LATENTS;
  CHECK_FAILS(vaekl_decode(session, &latent, images, &error), VAEKL_ERR_INVALID_ARGUMENT, "NaN");
  CHECK(memcmp(out[1], out[2], sizeof out[1]) == 0);
}

static void bad_views(vaekl_session *session) {
  const vaekl_status invalid = VAEKL_ERR_INVALID_ARGUMENT;
  static float values[VALUES], latents[LATENTS];
  vaekl_latent latent;
  vaekl_image image;
#define REFUSED(view, field, value, words)                                        \
  do {                                                                            \
    latent = latent_view(latents, VAEKL_DTYPE_F32);                               \
    image = image_view(values, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);                \
    view.field = value;                                                           \
    CHECK_FAILS(vaekl_decode(session, &latent, &image, &error), invalid, words);  \
  } while (0)
  REFUSED(latent, data, NULL, "latent.data: NULL");
  REFUSED(latent, data, (char *)latents + 2, "latent.data");
  REFUSED(latent, batch, 0, "latent: 0x4x5x7");
  REFUSED(latent, channels, 5, "latent.channels: 4 expected, 5 found");
  REFUSED(latent, width, 8, "64x40 (width x height) expected, 56x40 found");
  REFUSED(latent, dtype, VAEKL_DTYPE_U8, "latent.dtype");
  REFUSED(latent, scale, 9, "latent.scale");
  REFUSED(latent, height, UINT32_MAX, "latent");
  REFUSED(image, data, NULL, "out.data: NULL");
  REFUSED(image, data, (char *)values + 1, "out.data");
  REFUSED(image, width, 57, "56x40 (width x height) expected, 57x40 found");
  REFUSED(image, height, 0, "56x0");
  REFUSED(image, dtype, 44, "out.dtype");
  REFUSED(image, layout, 44, "out.layout");
  REFUSED(image, row_stride, 671, "out.row_stride: at least 672 bytes expected, 671 found");
  REFUSED(image, row_stride, 675, "out.row_stride: a multiple of 4");
  REFUSED(image, row_stride, SIZE_MAX - 3, "out: its size does not fit");
#undef REFUSED
  latent = latent_view(latents, VAEKL_DTYPE_F32);
  latent.batch = 2;
  CHECK_FAILS(vaekl_decode_rows(session, &latent, VAEKL_DTYPE_U8, collect, NULL, &error), invalid,
              "latent.batch: 1 expected");
}

static void encode(vaekl_session *session, const char *dir, uint64_t seed) {
  static unsigned char u8[VALUES];
  static float as_float[VALUES];
  float found[2 * LATENTS], again[2 * LATENTS];
  float *pixels = read_floats(dir, "image.f32", VALUES);
  float *moments = read_floats(dir, "moments.f32", 2 * LATENTS);
  float *mode = read_floats(dir, "mode.f32", LATENTS);
  float *sample = read_floats(dir, "sample.f32", LATENTS);
  vaekl_image image = image_view(pixels, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW);
  vaekl_latent latent = latent_view(found, VAEKL_DTYPE_F32);
  int i;

  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_MODE, 0, &latent, &error));
  check_close(found, mode, LATENTS, TOLERANCE);
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_SAMPLE, seed, &latent, &error));
  check_close(found, sample, LATENTS, 10 * TOLERANCE);
  latent.data = again;
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_SAMPLE, seed, &latent, &error));
  CHECK(memcmp(found, again, LATENTS * sizeof(float)) == 0);
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_SAMPLE, seed + 1, &latent, &error));
  CHECK(memcmp(found, again, LATENTS * sizeof(float)) != 0);
  latent.scale = VAEKL_LATENT_SCALED;
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_MODE, 0, &latent, &error));
  for (i = 0; i < LATENTS; i++) {
    CHECK(fabsf(again[i] - mode[i] * 0.18215f) <= TOLERANCE);
  }

  latent.channels = 2 * LATENT_C;
  CHECK_FAILS(vaekl_encode(session, &image, VAEKL_POSTERIOR_MOMENTS, 0, &latent, &error),
              VAEKL_ERR_INVALID_ARGUMENT, "out.scale");
  latent.scale = VAEKL_LATENT_RAW;
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_MOMENTS, 0, &latent, &error));
  check_close(again, moments, 2 * LATENTS, TOLERANCE);

  /* Bytes are v / 255 * 2 - 1, interleaved or not. */
  for (i = 0; i < VALUES; i++) {
    u8[i] = (unsigned char)(i * 7 % 256);
    as_float[i] = (float)u8[i] / 255.0f * 2.0f - 1.0f;
  }
  image = image_view(u8, VAEKL_DTYPE_U8, VAEKL_LAYOUT_HWC);
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_MOMENTS, 0, &latent, &error));
  latent.data = found;
  image = image_view(as_float, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_MOMENTS, 0, &latent, &error));
  CHECK(memcmp(found, again, sizeof found) == 0);

  /* 55 columns halve to 27, 13 and 6. */
  image.width = WIDTH - 1;
  CHECK_FAILS(vaekl_encode(session, &image, VAEKL_POSTERIOR_MOMENTS, 0, &latent, &error),
              VAEKL_ERR_INVALID_ARGUMENT, "out: 6x5 (width x height) expected, 7x5 found");
  image.width = 7;
  CHECK_FAILS(vaekl_encode(session, &image, VAEKL_POSTERIOR_MOMENTS, 0, &latent, &error),
              VAEKL_ERR_INVALID_ARGUMENT, "at least 8x8 pixels");
  CHECK_FAILS(vaekl_encode(session, &image, 3, 0, &latent, &error), VAEKL_ERR_INVALID_ARGUMENT,
              "posterior");
  image.width = WIDTH;
  as_float[WIDTH * CHANNELS + 4] = INFINITY;
  memset(found, 0xa5, sizeof found);
  memset(again, 0xa5, sizeof again);
  CHECK_FAILS(vaekl_encode(session, &image, VAEKL_POSTERIOR_MOMENTS, 0, &latent, &error),
              VAEKL_ERR_INVALID_ARGUMENT, "inf at channel 1, row 1, column 1");
  CHECK(memcmp(found, again, sizeof found) == 0);
  free(sample);
  free(mode);
  free(moments);
  free(pixels);
}

int main(int argc, char **argv) {
  vaekl_model *model;
  vaekl_session *session;
  CHECK(argc == 4);
  model = open_model(argv[1]);
  session = new_session(model, 2);
  /* The session has its own reference. */
  vaekl_model_free(model);
  decode(session, argv[2]);
  decode_batch(session);
  bad_views(session);
  encode(session, argv[2], strtoull(argv[3], NULL, 10));
  vaekl_session_free(session);
  puts("ok");
  return 0;
}
