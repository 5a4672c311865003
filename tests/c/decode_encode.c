/* decode_encode MODEL DATA: what decoding and encoding give, in every layout and dtype. */
#include "check.h"

/* What diffusers gives in fp64, and how far f32 may be from it. */
static const float TOLERANCE = 1e-4f;

/* A smaller size, for results that are compared with each other: valgrind is slow at arithmetic. */
enum {
  SMALL_LATENT_W = 3,
  SMALL_LATENT_H = 2,
  SMALL_LATENTS = SMALL_LATENT_W * SMALL_LATENT_H * LATENT_C,
  SMALL_W = 8 * SMALL_LATENT_W,
  SMALL_H = 8 * SMALL_LATENT_H,
  SMALL_PIXELS = SMALL_W * SMALL_H,
  SMALL_VALUES = SMALL_PIXELS * CHANNELS
};

static vaekl_latent small_latent(void *data, vaekl_dtype dtype) {
  vaekl_latent view = latent_view(data, dtype);
  view.width = SMALL_LATENT_W;
  view.height = SMALL_LATENT_H;
  return view;
}

static vaekl_image small_image(void *data, vaekl_dtype dtype, vaekl_layout layout) {
  vaekl_image view = image_view(data, dtype, layout);
  view.width = SMALL_W;
  view.height = SMALL_H;
  return view;
}

static void to_chw(const float *hwc, float *chw) {
  int i, c;
  for (i = 0; i < SMALL_PIXELS; i++) {
    for (c = 0; c < CHANNELS; c++) {
      chw[c * SMALL_PIXELS + i] = hwc[i * CHANNELS + c];
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
  const size_t row = SMALL_W * sizeof(float) + 12, plane = SMALL_H * row + 20;
  const size_t len = CHANNELS * plane + 64;
  unsigned char *bytes = (unsigned char *)malloc(len);
  vaekl_image image = small_image(bytes + 32, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW);
  size_t at, touched = 0;
  int c, y;
  CHECK(bytes != NULL);
  memset(bytes, 0xa5, len);
  image.row_stride = row;
  image.plane_stride = plane;
  CHECK_OK(vaekl_decode(session, latent, &image, &error));
  for (c = 0; c < CHANNELS; c++) {
    for (y = 0; y < SMALL_H; y++) {
      unsigned char *found = bytes + 32 + (size_t)c * plane + (size_t)y * row;
      CHECK(memcmp(found, chw + c * SMALL_PIXELS + y * SMALL_W, SMALL_W * sizeof(float)) == 0);
      memset(found, 0xa5, SMALL_W * sizeof(float));
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

static int32_t collect(void *user, uint32_t y, uint32_t count, const void *rows,
                       size_t row_stride) {
  collector *c = (collector *)user;
  uint32_t i;
  CHECK(y == c->next && count > 0);
  for (i = 0; i < count; i++) {
    memcpy(c->pixels + (size_t)(y + i) * SMALL_W * CHANNELS,
           (const unsigned char *)rows + i * row_stride, SMALL_W * CHANNELS);
  }
  c->next = y + count;
  return c->next > c->stop_at;
}

static void decode_in_rows(vaekl_session *session, const vaekl_latent *latent,
                           const unsigned char *pixels) {
  static unsigned char found[SMALL_VALUES];
  collector all = {found, 0, SMALL_H}, some = {found, 0, 10};
  CHECK_OK(vaekl_decode_rows(session, latent, VAEKL_DTYPE_U8, collect, &all, &error));
  CHECK(all.next == SMALL_H && memcmp(found, pixels, SMALL_VALUES) == 0);
  CHECK_FAILS(vaekl_decode_rows(session, latent, VAEKL_DTYPE_U8, collect, &some, &error),
              VAEKL_ERR_CANCELLED, "");
  CHECK(some.next < SMALL_H);
}

/* Pulled rows are those of the picture, few at a time. A stream has its session until it is
 * freed. */
static void decode_by_stream(vaekl_session *session, const vaekl_latent *latent,
                             const unsigned char *pixels) {
  static unsigned char found[SMALL_VALUES + 1];
  const size_t row = SMALL_W * CHANNELS;
  vaekl_stream *stream = NULL, *second = NULL;
  uint32_t rows, y = 0;

  CHECK_OK(vaekl_stream_open(session, latent, VAEKL_DTYPE_U8, &stream, &error));
  CHECK_FAILS(vaekl_stream_open(session, latent, VAEKL_DTYPE_U8, &second, &error),
              VAEKL_ERR_STATE, "in use");
  CHECK_FAILS(vaekl_stream_read(stream, found, 0, 0, &rows, &error), VAEKL_ERR_INVALID_ARGUMENT,
              "max_rows");
  CHECK_FAILS(vaekl_stream_read(stream, found, row - 1, 1, &rows, &error),
              VAEKL_ERR_INVALID_ARGUMENT, "row_stride");
  while (vaekl_stream_read(stream, found + y * row, 0, 5, &rows, NULL) == VAEKL_OK) {
    CHECK(rows > 0 && rows <= 5);
    y += rows;
  }
  CHECK(rows == 0 && y == SMALL_H && memcmp(found, pixels, SMALL_VALUES) == 0);
  CHECK(vaekl_stream_read(stream, found, 0, 5, &rows, NULL) == VAEKL_END && rows == 0);
  vaekl_stream_free(stream);

  /* One that is left half-way. */
  CHECK_OK(vaekl_stream_open(session, latent, VAEKL_DTYPE_U8, &stream, &error));
  CHECK(vaekl_stream_read(stream, found, 0, 3, &rows, NULL) == VAEKL_OK && rows == 3);
  /* A cancel between two reads stops the stream, for good. */
  vaekl_session_cancel(session);
  CHECK_FAILS(vaekl_stream_read(stream, found, 0, 3, &rows, &error), VAEKL_ERR_CANCELLED, "");
  CHECK_FAILS(vaekl_stream_read(stream, found, 0, 3, &rows, &error), VAEKL_ERR_CANCELLED, "");
  vaekl_stream_free(stream);
}

static void decode(vaekl_session *session, const char *dir) {
  static float found[VALUES];
  float *latents = read_floats(dir, "latents.f32", LATENTS);
  float *expected = read_floats(dir, "decoded.f32", VALUES);
  vaekl_latent latent = latent_view(latents, VAEKL_DTYPE_F32);
  vaekl_image image = image_view(found, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW);
  int i;

  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  check_close(found, expected, VALUES, TOLERANCE);
  CHECK(vaekl_session_memory(session) > 0);

  /* What the diffusion model works on is 0.18215 times as large. */
  for (i = 0; i < LATENTS; i++) {
    latents[i] *= 0.18215f;
  }
  latent.scale = VAEKL_LATENT_SCALED;
  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  check_close(found, expected, VALUES, TOLERANCE);
  free(expected);
  free(latents);
}

static void decode_to_every_kind(vaekl_session *session) {
  static float hwc[SMALL_VALUES], chw[SMALL_VALUES], turned[SMALL_VALUES];
  static unsigned char u8[SMALL_VALUES];
  static uint16_t half[SMALL_VALUES];
  float latents[SMALL_LATENTS];
  vaekl_latent latent = small_latent(latents, VAEKL_DTYPE_F32);
  vaekl_image image = small_image(chw, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW);
  int i;

  for (i = 0; i < SMALL_LATENTS; i++) {
    latents[i] = sinf((float)i);
  }
  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  image = small_image(hwc, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  to_chw(hwc, turned);
  CHECK(memcmp(chw, turned, sizeof chw) == 0);
  decode_with_strides(session, &latent, chw);

  image = small_image(u8, VAEKL_DTYPE_U8, VAEKL_LAYOUT_HWC);
  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  for (i = 0; i < SMALL_VALUES; i++) {
    CHECK(u8[i] == to_u8(hwc[i]));
  }
  decode_in_rows(session, &latent, u8);
  decode_by_stream(session, &latent, u8);

  /* bfloat16 is the upper half of a float, rounded. */
  image = small_image(half, VAEKL_DTYPE_BF16, VAEKL_LAYOUT_HWC);
  CHECK_OK(vaekl_decode(session, &latent, &image, &error));
  for (i = 0; i < SMALL_VALUES; i++) {
    uint32_t bits = (uint32_t)half[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    CHECK(fabsf(value - hwc[i]) <= fabsf(hwc[i]) / 256.0f);
  }
}

/* A batch gives what its latents give alone. Its latents are bfloat16. */
static void decode_batch(vaekl_session *session) {
  static float out[3][SMALL_VALUES];
  uint16_t latents[2 * SMALL_LATENTS];
  vaekl_latent latent = small_latent(latents, VAEKL_DTYPE_BF16);
  vaekl_image images[2];
  int i;
  for (i = 0; i < 2 * SMALL_LATENTS; i++) {
    latents[i] = (uint16_t)((i % 2 ? 0xbf00 : 0x3f00) + i % 120);
  }
  images[0] = small_image(out[0], VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  images[1] = small_image(out[1], VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  latent.batch = 2;
  CHECK_OK(vaekl_decode(session, &latent, images, &error));
  latent.batch = 1;
  latent.data = latents + SMALL_LATENTS;
  images[0].data = out[2];
  CHECK_OK(vaekl_decode(session, &latent, images, &error));
  CHECK(memcmp(out[1], out[2], sizeof out[1]) == 0);
  CHECK(memcmp(out[0], out[1], sizeof out[0]) != 0);

  /* A NaN in the second is found before the first is written. */
  latent.batch = 2;
  latent.data = latents;
  latents[SMALL_LATENTS + SMALL_LATENT_W * SMALL_LATENT_H + SMALL_LATENT_W + 2] = 0x7fc0;
  memset(out[2], 0xa5, sizeof out[2]);
  memset(out[1], 0xa5, sizeof out[1]);
  CHECK_FAILS(vaekl_decode(session, &latent, images, &error), VAEKL_ERR_INVALID_ARGUMENT,
              "batch 1, channel 1, row 1, column 2");
  CHECK(memcmp(out[1], out[2], sizeof out[1]) == 0);
  latent.batch = 1;
  latent.data = latents + SMALL_LATENTS;
  CHECK_FAILS(vaekl_decode(session, &latent, images, &error), VAEKL_ERR_INVALID_ARGUMENT, "NaN");
  CHECK(memcmp(out[1], out[2], sizeof out[1]) == 0);
}

/* A workspace of the caller gives the same bytes; a smaller one too, as long as there is a way. */
static void own_workspace(const vaekl_model *model, const vaekl_latent *latent,
                          const vaekl_image *image, const float *expected) {
  const size_t len = sizeof(float) * image->width * image->height * CHANNELS;
  vaekl_session_options o;
  vaekl_session *session;
  vaekl_plan plan;
  unsigned char *memory, *workspace;
  int lean;

  CHECK(vaekl_session_options_init(&o, sizeof o) == VAEKL_OK);
  o.threads = 2;
  o.scratch_dir = "/tmp";
  plan.struct_size = sizeof plan;
  CHECK_OK(vaekl_plan_decode(model, &o, latent->width, latent->height, &plan, &error));
  memory = (unsigned char *)malloc(plan.workspace_bytes + 64);
  CHECK(memory != NULL);
  workspace = memory + (64 - (uintptr_t)memory % 64) % 64;
  o.workspace = workspace;
  for (lean = 0; lean < 2; lean++) {
    o.workspace_size = plan.workspace_bytes - lean;
    CHECK_OK(vaekl_session_new(model, &o, &session, &error));
    memset(image->data, 0xa5, len);
    CHECK_OK(vaekl_decode(session, latent, image, &error));
    CHECK(memcmp(image->data, expected, len) == 0);
    CHECK(vaekl_session_memory(session) == o.workspace_size);
    vaekl_session_free(session);
  }
  o.workspace_size = 64;
  CHECK_OK(vaekl_session_new(model, &o, &session, &error));
  CHECK_FAILS(vaekl_decode(session, latent, image, &error), VAEKL_ERR_INVALID_ARGUMENT,
              "workspace: at least ");
  vaekl_session_free(session);
  free(memory);
}

/* Every budget gives the same bytes. One that cannot be kept is refused before anything is
 * written. */
static void budgets(const vaekl_model *model) {
  /* Large enough for a scratch file to spare more than it takes. */
  enum { SIDE = 9 };
  static float latents[SIDE * SIDE * LATENT_C];
  static float first[64 * SIDE * SIDE * CHANNELS], found[64 * SIDE * SIDE * CHANNELS];
  vaekl_latent latent = latent_view(latents, VAEKL_DTYPE_F32);
  vaekl_image image = image_view(first, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  vaekl_session_options o;
  vaekl_session *session;
  vaekl_plan plan;
  int kept = 0;

  latent.width = latent.height = SIDE;
  image.width = image.height = 8 * SIDE;
  CHECK(vaekl_session_options_init(&o, sizeof o) == VAEKL_OK);
  o.threads = 2;
  o.scratch_dir = "/tmp";
  plan.struct_size = sizeof plan;
  while (vaekl_plan_decode(model, &o, SIDE, SIDE, &plan, NULL) == VAEKL_OK) {
    CHECK(plan.exact == 1);
    CHECK(o.memory_budget == 0 || plan.peak_bytes <= o.memory_budget);
    CHECK_OK(vaekl_session_new(model, &o, &session, &error));
    CHECK_OK(vaekl_decode(session, &latent, &image, &error));
    CHECK(vaekl_session_memory(session) == plan.workspace_bytes);
    CHECK(kept == 0 || memcmp(first, found, sizeof first) == 0);
    vaekl_session_free(session);
    image.data = found;
    o.memory_budget = plan.peak_bytes - 1;
    kept++;
  }
  CHECK(kept > 1 && plan.scratch_bytes > 0);
  own_workspace(model, &latent, &image, first);
  CHECK_OK(vaekl_session_new(model, &o, &session, &error));
  memset(found, 0xa5, sizeof found);
  memcpy(first, found, sizeof first);
  CHECK_FAILS(vaekl_decode(session, &latent, &image, &error), VAEKL_ERR_BUDGET, "at least");
  CHECK(memcmp(first, found, sizeof first) == 0);
  vaekl_session_free(session);
}

/* Seamless tiles, in memory of the library's and of the caller's, whole and by rows. */
static void seamless_tiles(const vaekl_model *model) {
  enum { SIDE = 5 };
  static float latents[SIDE * SIDE * LATENT_C];
  static float first[64 * SIDE * SIDE * CHANNELS], found[64 * SIDE * SIDE * CHANNELS];
  static float row[8 * SIDE * CHANNELS];
  static unsigned char memory[64 << 20];
  vaekl_latent latent = latent_view(latents, VAEKL_DTYPE_F32);
  vaekl_image image = image_view(first, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  vaekl_session_options o;
  vaekl_session *session;
  vaekl_stream *stream;
  vaekl_plan plan;
  uint32_t rows;
  int i, y;

  for (i = 0; i < SIDE * SIDE * LATENT_C; i++) latents[i] = (float)(i * 7 % 31) / 16.0f - 1.0f;
  latent.width = latent.height = SIDE;
  image.width = image.height = 8 * SIDE;
  CHECK(vaekl_session_options_init(&o, sizeof o) == VAEKL_OK);
  o.threads = 2;
  o.tiling = VAEKL_TILING_SEAMLESS;
  o.tile_size = 4;
  plan.struct_size = sizeof plan;
  CHECK_OK(vaekl_plan_decode(model, &o, SIDE, SIDE, &plan, &error));
  CHECK(plan.exact == 0 && plan.tiles_x == 2 && plan.tiles_y == 2 && plan.tile_size == 3);
  CHECK(plan.workspace_bytes < sizeof memory - 64);
  for (i = 0; i < 2; i++) {
    CHECK_OK(vaekl_session_new(model, &o, &session, &error));
    CHECK_OK(vaekl_decode(session, &latent, &image, &error));
    CHECK(vaekl_session_memory(session) == plan.workspace_bytes);
    CHECK(i == 0 || memcmp(first, found, sizeof first) == 0);
    CHECK_OK(vaekl_stream_open(session, &latent, VAEKL_DTYPE_F32, &stream, &error));
    for (y = 0; vaekl_stream_read(stream, row, 0, 1, &rows, NULL) == VAEKL_OK; y++) {
      CHECK(memcmp(row, first + y * 8 * SIDE * CHANNELS, sizeof row) == 0);
    }
    CHECK(y == 8 * SIDE);
    vaekl_stream_free(stream);
    vaekl_session_free(session);
    image.data = found;
    o.workspace = memory + (64 - (uintptr_t)memory % 64) % 64;
    o.workspace_size = plan.workspace_bytes;
  }
  o.tile_overlap = 1;
  CHECK_FAILS(vaekl_plan_decode(model, &o, SIDE, SIDE, &plan, &error),
              VAEKL_ERR_INVALID_ARGUMENT, "tile overlap");

  /* Diffusers' tiles are decoded as their rows are read; what that took is told too. */
  CHECK(vaekl_session_options_init(&o, sizeof o) == VAEKL_OK);
  o.tiling = VAEKL_TILING_DIFFUSERS;
  o.tile_size = 4;
  CHECK_OK(vaekl_session_new(model, &o, &session, &error));
  CHECK_OK(vaekl_stream_open(session, &latent, VAEKL_DTYPE_F32, &stream, &error));
  CHECK(vaekl_stream_read(stream, row, 0, 1, &rows, NULL) == VAEKL_OK && rows == 1);
  vaekl_stream_free(stream);
  CHECK(vaekl_session_memory(session) > 0);
  vaekl_session_free(session);
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
  float found[2 * LATENTS];
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
  latent.scale = VAEKL_LATENT_SCALED;
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_MODE, 0, &latent, &error));
  for (i = 0; i < LATENTS; i++) {
    CHECK(fabsf(found[i] - mode[i] * 0.18215f) <= TOLERANCE);
  }
  latent.channels = 2 * LATENT_C;
  latent.scale = VAEKL_LATENT_RAW;
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_MOMENTS, 0, &latent, &error));
  check_close(found, moments, 2 * LATENTS, TOLERANCE);
  free(sample);
  free(mode);
  free(moments);
  free(pixels);
}

static void encode_from_every_kind(vaekl_session *session, uint64_t seed) {
  static unsigned char u8[SMALL_VALUES];
  static float as_float[SMALL_VALUES];
  float found[2 * SMALL_LATENTS], again[2 * SMALL_LATENTS];
  vaekl_image image = small_image(as_float, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  vaekl_latent latent = small_latent(found, VAEKL_DTYPE_F32);
  int i;

  /* Bytes are v / 255 * 2 - 1, interleaved or not. */
  for (i = 0; i < SMALL_VALUES; i++) {
    u8[i] = (unsigned char)(i * 7 % 256);
    as_float[i] = (float)u8[i] / 255.0f * 2.0f - 1.0f;
  }
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_SAMPLE, seed, &latent, &error));
  latent.data = again;
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_SAMPLE, seed, &latent, &error));
  CHECK(memcmp(found, again, SMALL_LATENTS * sizeof(float)) == 0);
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_SAMPLE, seed + 1, &latent, &error));
  CHECK(memcmp(found, again, SMALL_LATENTS * sizeof(float)) != 0);

  latent.channels = 2 * LATENT_C;
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_MOMENTS, 0, &latent, &error));
  latent.data = found;
  image = small_image(u8, VAEKL_DTYPE_U8, VAEKL_LAYOUT_HWC);
  CHECK_OK(vaekl_encode(session, &image, VAEKL_POSTERIOR_MOMENTS, 0, &latent, &error));
  CHECK(memcmp(found, again, sizeof found) == 0);
}

static void bad_pictures(vaekl_session *session) {
  const vaekl_status invalid = VAEKL_ERR_INVALID_ARGUMENT;
  static float values[VALUES];
  float found[2 * LATENTS], untouched[2 * LATENTS];
  vaekl_image image = image_view(values, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  vaekl_latent latent = latent_view(found, VAEKL_DTYPE_F32);
  const uint32_t kind = VAEKL_POSTERIOR_MOMENTS;
  memset(found, 0xa5, sizeof found);
  memset(untouched, 0xa5, sizeof untouched);

  latent.channels = 2 * LATENT_C;
  latent.scale = VAEKL_LATENT_SCALED;
  CHECK_FAILS(vaekl_encode(session, &image, kind, 0, &latent, &error), invalid, "out.scale");
  latent.scale = VAEKL_LATENT_RAW;
  /* 55 columns halve to 27, 13 and 6. */
  image.width = WIDTH - 1;
  CHECK_FAILS(vaekl_encode(session, &image, kind, 0, &latent, &error), invalid,
              "out: 6x5 (width x height) expected, 7x5 found");
  image.width = 7;
  CHECK_FAILS(vaekl_encode(session, &image, kind, 0, &latent, &error), invalid,
              "at least 8x8 pixels");
  CHECK_FAILS(vaekl_encode(session, &image, 3, 0, &latent, &error), invalid, "posterior");
  image.width = WIDTH;
  values[WIDTH * CHANNELS + 4] = INFINITY;
  CHECK_FAILS(vaekl_encode(session, &image, kind, 0, &latent, &error), invalid,
              "inf at channel 1, row 1, column 1");
  CHECK(memcmp(found, untouched, sizeof found) == 0);
}

int main(int argc, char **argv) {
  vaekl_model *model;
  vaekl_session *session;
  uint64_t seed;
  CHECK(argc == 4);
  model = open_model(argv[1]);
  session = new_session(model, 2);
  budgets(model);
  seamless_tiles(model);
  /* The session has its own reference. */
  vaekl_model_free(model);
  seed = strtoull(argv[3], NULL, 10);
  decode(session, argv[2]);
  decode_to_every_kind(session);
  decode_batch(session);
  bad_views(session);
  encode(session, argv[2], seed);
  encode_from_every_kind(session, seed);
  bad_pictures(session);
  vaekl_session_free(session);
  puts("ok");
  return 0;
}
