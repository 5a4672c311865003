/* families MODELS DATA: the autoencoders beside AutoencoderKL, from the fixtures in the folder
 * MODELS; DATA has their inputs and references as NAME.TENSOR.f32. */
#include <stddef.h>
#include <stdint.h>

#include "check.h"

/* How far f32 may be from the reference in fp64, as a part of the reference's range. */
static const float TOLERANCE = 1e-4f;

typedef struct size {
  uint32_t height, width;
} size;

/* A fixture: what must be known of the model, and the sizes of its tensors. */
typedef struct fixture {
  const char *name, *path, *family, *source;
  uint32_t posterior, masks, patch_size;
  uint32_t latent_channels, downscale, batch;
  size latents, image, encoded;
} fixture;

#define CONFIGURED "/config.json"
#define BARE "tensor "

static const fixture FIXTURES[] = {
    {"flux2", "flux2", "AutoencoderKLFlux2", CONFIGURED, 1, 0, 2, 6, 8, 2, {6, 8}, {32, 48},
     {4, 6}},
    {"flux2_own", "flux2_own/model.safetensors", "AutoencoderKLFlux2", BARE, 1, 0, 2, 4, 2, 1,
     {6, 4}, {13, 16}, {6, 8}},
    {"flux2_small_decoder", "flux2_small_decoder", "AutoencoderKLFlux2", CONFIGURED, 1, 0, 2, 8, 8,
     1, {6, 4}, {53, 50}, {6, 6}},
    {"tiny", "tiny", "AutoencoderTiny", CONFIGURED, 0, 0, 1, 4, 4, 2, {7, 5}, {37, 51}, {10, 13}},
    {"tiny_silu_16", "tiny_silu_16", "AutoencoderTiny", CONFIGURED, 0, 0, 1, 16, 8, 1, {3, 5},
     {42, 30}, {6, 4}},
    {"taesd", "taesd", "AutoencoderTiny", BARE, 0, 0, 1, 4, 8, 1, {5, 7}, {41, 54}, {6, 7}},
    {"taesd_safetensors", "taesd_safetensors/taesd3.safetensors", "AutoencoderTiny", BARE, 0, 0, 1,
     16, 8, 1, {3, 4}, {25, 40}, {4, 5}},
    {"taef2", "taef2", "AutoencoderTiny", BARE, 0, 0, 1, 32, 8, 2, {3, 5}, {43, 26}, {6, 4}},
    {"taef2_diffusers_names", "taef2_diffusers_names/taef2.safetensors", "AutoencoderTiny", BARE, 0,
     0, 1, 32, 8, 1, {4, 3}, {24, 35}, {3, 5}},
    {"taesana", "taesana", "AutoencoderTiny", BARE, 0, 0, 1, 32, 32, 1, {3, 2}, {65, 38}, {3, 2}},
    {"asymmetric", "asymmetric", "AsymmetricAutoencoderKL", CONFIGURED, 1, 1, 1, 4, 8, 1, {5, 7},
     {40, 56}, {5, 7}},
};

static const char *models, *data;

static vaekl_model *open_fixture(const char *path) {
  char whole[4096];
  snprintf(whole, sizeof whole, "%s/%s", models, path);
  return open_model(whole);
}

static float *tensor(const char *name, const char *what, size_t count) {
  char file[256];
  snprintf(file, sizeof file, "%s.%s.f32", name, what);
  return read_floats(data, file, count);
}

static float *floats(size_t count) {
  float *values = (float *)malloc(count * sizeof *values);
  CHECK(values != NULL);
  memset(values, 0xa5, count * sizeof *values);
  return values;
}

static vaekl_latent latents_of(void *values, uint32_t batch, uint32_t channels, size shape) {
  vaekl_latent view = latent_view(values, VAEKL_DTYPE_F32);
  view.batch = batch;
  view.channels = channels;
  view.height = shape.height;
  view.width = shape.width;
  return view;
}

static vaekl_image image_of(void *pixels, vaekl_dtype dtype, vaekl_layout layout, size shape) {
  vaekl_image view = image_view(pixels, dtype, layout);
  view.height = shape.height;
  view.width = shape.width;
  return view;
}

static void check_near(const float *found, const float *expected, size_t count) {
  float low = expected[0], high = expected[0];
  size_t i;
  for (i = 1; i < count; i++) {
    low = expected[i] < low ? expected[i] : low;
    high = expected[i] > high ? expected[i] : high;
  }
  check_close(found, expected, count, TOLERANCE * (high - low));
}

static void describes(const fixture *f, const vaekl_model *model) {
  vaekl_model_info info;
  info.struct_size = sizeof info;
  CHECK(vaekl_model_get_info(model, &info) == VAEKL_OK);
  CHECK(info.posterior == f->posterior && info.masks == f->masks);
  CHECK(info.patch_size == f->patch_size && info.latent_channels == f->latent_channels);
  CHECK(info.downscale == f->downscale && info.image_channels == 3 && info.input_channels == 3);
  CHECK(info.parts == (VAEKL_PART_DECODER | VAEKL_PART_ENCODER));
  CHECK(info.unused_tensors == 0 && info.reserved == 0);
  CHECK(strcmp(vaekl_model_family(model), f->family) == 0);
  CHECK(strstr(vaekl_model_family_source(model), f->source) != NULL);
  CHECK(strstr(vaekl_model_config(model), f->family) != NULL);
}

static void decodes(const fixture *f, vaekl_session *session) {
  const size shape = {f->latents.height * f->downscale, f->latents.width * f->downscale};
  const size_t each = (size_t)3 * shape.height * shape.width, count = f->batch * each;
  const size_t in = (size_t)f->batch * f->latent_channels * f->latents.height * f->latents.width;
  float *latents = tensor(f->name, "latents", in), *found = floats(count);
  float *expected = tensor(f->name, "decoded_f64", count);
  vaekl_latent latent = latents_of(latents, f->batch, f->latent_channels, f->latents);
  vaekl_image out[2];
  uint32_t b;
  for (b = 0; b < f->batch; b++) {
    out[b] = image_of(found + b * each, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, shape);
  }
  CHECK_OK(vaekl_decode(session, &latent, out, &error));
  check_near(found, expected, count);
  free(expected);
  free(found);
  free(latents);
}

/* Mode and moments of a posterior; without one, mode and sample are the latents. */
static void encodes(const fixture *f, vaekl_session *session) {
  const vaekl_status invalid = VAEKL_ERR_INVALID_ARGUMENT;
  const char *what = f->posterior ? "moments" : "encoded";
  const uint32_t channels = f->latent_channels * (f->posterior ? 2 : 1);
  const size_t in = (size_t)3 * f->image.height * f->image.width;
  const size_t area = (size_t)f->encoded.height * f->encoded.width;
  const size_t count = f->batch * channels * area, latents = f->latent_channels * area;
  float *pixels = tensor(f->name, "image", f->batch * in);
  float *expected = tensor(f->name, what, count), *found = floats(count);
  float *again = floats(count);
  vaekl_latent out = latents_of(found, f->batch, channels, f->encoded);
  vaekl_image image[2];
  uint32_t b;
  for (b = 0; b < f->batch; b++) {
    image[b] = image_of(pixels + b * in, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, f->image);
  }
  if (f->posterior) {
    CHECK_OK(vaekl_encode(session, image, VAEKL_POSTERIOR_MOMENTS, 0, &out, &error));
    check_near(found, expected, count);
    out = latents_of(again, f->batch, f->latent_channels, f->encoded);
    CHECK_OK(vaekl_encode(session, image, VAEKL_POSTERIOR_MODE, 0, &out, &error));
    for (b = 0; b < f->batch; b++) {
      const float *mean = found + b * channels * area;
      CHECK(memcmp(again + b * latents, mean, latents * sizeof *mean) == 0);
    }
  } else {
    CHECK_OK(vaekl_encode(session, image, VAEKL_POSTERIOR_MODE, 0, &out, &error));
    check_near(found, expected, count);
    out.data = again;
    out.channels *= 2;
    CHECK_FAILS(vaekl_encode(session, image, VAEKL_POSTERIOR_MOMENTS, 0, &out, &error), invalid,
                "posterior: VAEKL_POSTERIOR_MODE expected of an AutoencoderTiny");
    out.channels /= 2;
    CHECK_OK(vaekl_encode(session, image, VAEKL_POSTERIOR_SAMPLE, 7, &out, &error));
    CHECK(memcmp(found, again, count * sizeof *found) == 0);
    /* Odd sides are rounded up, so that a size of other families is too small. */
    if (f->image.height % f->downscale != 0) {
      out.height--;
      CHECK_FAILS(vaekl_encode(session, image, VAEKL_POSTERIOR_MODE, 0, &out, &error), invalid,
                  "(width x height) expected");
    }
  }
  free(again);
  free(found);
  free(expected);
  free(pixels);
}

/* Scaled latents of a Flux2 folded into patches are the same latents. */
static void patches(void) {
  enum { B = 2, C = 6, H = 4, W = 6, COUNT = B * C * H * W, SIDE = 8 };
  const vaekl_status invalid = VAEKL_ERR_INVALID_ARGUMENT;
  const size plain = {H, W}, folded = {H / 2, W / 2}, image_size = {32, 48};
  const size_t each = 3 * 32 * 48;
  vaekl_model *model = open_fixture("flux2");
  vaekl_session *session = new_session(model, 2);
  float found[COUNT], patched[COUNT];
  float *expected = tensor("flux2", "patches", COUNT), *pixels = tensor("flux2", "image", B * each);
  float *first = floats(each), *second = floats(each), *row = floats(3 * 48);
  vaekl_latent latent = latents_of(found, B, C, plain);
  vaekl_latent patch = latents_of(patched, B, 4 * C, folded);
  vaekl_image image[B], out;
  vaekl_stream *stream = NULL;
  uint32_t rows;
  int b, c, y, x;

  for (b = 0; b < B; b++) {
    image[b] = image_of(pixels + b * each, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, image_size);
  }
  latent.scale = patch.scale = VAEKL_LATENT_SCALED;
  CHECK_OK(vaekl_encode(session, image, VAEKL_POSTERIOR_MODE, 0, &latent, &error));
  CHECK_OK(vaekl_encode(session, image, VAEKL_POSTERIOR_MODE, 0, &patch, &error));
  check_near(patched, expected, COUNT);
  for (b = 0; b < B; b++) {
    for (c = 0; c < C; c++) {
      for (y = 0; y < H; y++) {
        for (x = 0; x < W; x++) {
          const int channel = 4 * c + 2 * (y % 2) + x % 2;
          const float value = found[((b * C + c) * H + y) * W + x];
          CHECK(value == patched[((b * 4 * C + channel) * (H / 2) + y / 2) * (W / 2) + x / 2]);
        }
      }
    }
  }

  /* Decoded whole and by rows. */
  latent.batch = patch.batch = 1;
  out = image_of(first, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC, image_size);
  CHECK_OK(vaekl_decode(session, &latent, &out, &error));
  out.data = second;
  CHECK_OK(vaekl_decode(session, &patch, &out, &error));
  CHECK(memcmp(first, second, each * sizeof *first) == 0);
  CHECK_OK(vaekl_stream_open(session, &patch, VAEKL_DTYPE_F32, &stream, &error));
  for (y = 0; vaekl_stream_read(stream, row, 0, 1, &rows, NULL) == VAEKL_OK; y++) {
    CHECK(memcmp(row, first + y * 3 * 48, 3 * 48 * sizeof *row) == 0);
  }
  CHECK(y == 32);
  vaekl_stream_free(stream);

  /* Raw latents are not folded, nor are moments, nor latents of odd sides. */
  patch.scale = VAEKL_LATENT_RAW;
  CHECK_FAILS(vaekl_decode(session, &patch, &out, &error), invalid,
              "latent.channels: 6 expected, 24 found");
  patch.scale = VAEKL_LATENT_SCALED;
  CHECK_FAILS(vaekl_encode(session, image, VAEKL_POSTERIOR_MOMENTS, 0, &patch, &error), invalid,
              "out.scale");
  image[0].width = 5 * SIDE;
  CHECK_FAILS(vaekl_encode(session, image, VAEKL_POSTERIOR_MODE, 0, &patch, &error), invalid,
              "out: 5x4 (width x height) expected, 6x4 found");
  latent.width = 5;
  CHECK_FAILS(vaekl_encode(session, image, VAEKL_POSTERIOR_MODE, 0, &latent, &error), invalid,
              "out: sides that are multiples of 2 expected of scaled latents, 5x4");
  CHECK_FAILS(vaekl_decode(session, &latent, &out, &error), invalid,
              "latent: sides that are multiples of 2");
  patch.width = UINT32_MAX;
  CHECK_FAILS(vaekl_decode(session, &patch, &out, &error), invalid, "latent: ");
  vaekl_session_free(session);
  vaekl_model_free(model);
  free(row);
  free(second);
  free(first);
  free(pixels);
  free(expected);
}

/* What a masked decode takes and gives: the fixture asymmetric, of the sizes of sd_like. */
static const size PICTURE = {HEIGHT, WIDTH};

static int32_t stop(void *user, uint64_t done, uint64_t total) {
  (void)user;
  return done > total / 2;
}

static vaekl_session *session_with(const vaekl_model *model, uint64_t budget, vaekl_tiling tiling,
                                   vaekl_progress_fn progress) {
  vaekl_session *session = NULL;
  vaekl_session_options o;
  CHECK(vaekl_session_options_init(&o, sizeof o) == VAEKL_OK);
  o.threads = 2;
  o.memory_budget = budget;
  o.tiling = tiling;
  o.progress = progress;
  CHECK_OK(vaekl_session_new(model, &o, &session, &error));
  return session;
}

/* Every type and layout of picture and mask; bytes between rows are neither read nor written. */
static void masked_in_every_kind(vaekl_session *session, const vaekl_latent *latent) {
  enum { STRIDE = WIDTH + 3, OUT = 3 * WIDTH + 5 };
  static unsigned char u8[VALUES], mask_u8[HEIGHT * STRIDE], out_u8[HEIGHT * OUT];
  static float as_float[VALUES], mask_f32[PIXELS], first[VALUES], found[VALUES];
  vaekl_image picture = image_of(as_float, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, PICTURE);
  vaekl_image mask = image_of(mask_f32, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC, PICTURE);
  vaekl_image out = image_of(first, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, PICTURE);
  int i, c;

  for (i = 0; i < PIXELS; i++) {
    const int at = i / WIDTH * STRIDE + i % WIDTH;
    mask_u8[at] = (unsigned char)(i % 11 == 0 ? 255 : i % 7 == 0 ? 0 : i * 5 % 256);
    mask_f32[i] = (float)mask_u8[at] / 255.0f;
    for (c = 0; c < CHANNELS; c++) {
      u8[i * CHANNELS + c] = (unsigned char)((i * 7 + c * 31) % 256);
      as_float[c * PIXELS + i] = (float)u8[i * CHANNELS + c] / 255.0f * 2.0f - 1.0f;
    }
  }
  CHECK_OK(vaekl_decode_masked(session, latent, &picture, &mask, &out, &error));
  picture = image_of(u8, VAEKL_DTYPE_U8, VAEKL_LAYOUT_HWC, PICTURE);
  mask = image_of(mask_u8, VAEKL_DTYPE_U8, VAEKL_LAYOUT_CHW, PICTURE);
  mask.row_stride = STRIDE;
  out = image_of(found, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC, PICTURE);
  CHECK_OK(vaekl_decode_masked(session, latent, &picture, &mask, &out, &error));
  for (i = 0; i < VALUES; i++) {
    CHECK(found[i] == first[i % CHANNELS * PIXELS + i / CHANNELS]);
  }

  memset(out_u8, 7, sizeof out_u8);
  out = image_of(out_u8, VAEKL_DTYPE_U8, VAEKL_LAYOUT_HWC, PICTURE);
  out.row_stride = OUT;
  CHECK_OK(vaekl_decode_masked(session, latent, &picture, &mask, &out, &error));
  for (i = 0; i < HEIGHT * OUT; i++) {
    CHECK(i % OUT < 3 * WIDTH || out_u8[i] == 7);
  }
  /* Into the picture itself. */
  CHECK_OK(vaekl_decode_masked(session, latent, &picture, &mask, &picture, &error));
  for (i = 0; i < VALUES; i++) {
    CHECK(u8[i] == out_u8[i / (3 * WIDTH) * OUT + i % (3 * WIDTH)]);
  }

  /* Where all is drawn, no picture shines through. */
  for (i = 0; i < PIXELS; i++) {
    mask_f32[i] = 1.0f;
  }
  mask = image_of(mask_f32, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC, PICTURE);
  out = image_of(first, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC, PICTURE);
  CHECK_OK(vaekl_decode_masked(session, latent, &picture, &mask, &out, &error));
  memset(u8, 40, sizeof u8);
  out.data = found;
  CHECK_OK(vaekl_decode_masked(session, latent, &picture, &mask, &out, &error));
  CHECK(memcmp(first, found, sizeof first) == 0);
}

/* A call that fails writes nothing. */
static void masked_refusals(const vaekl_model *model, const vaekl_latent *given, float *pixels,
                            float *masks) {
  const vaekl_status invalid = VAEKL_ERR_INVALID_ARGUMENT;
  static float found[VALUES], untouched[VALUES];
  vaekl_session *session = new_session(model, 2), *other;
  vaekl_latent latent = *given;
  vaekl_image picture, mask, out;
  vaekl_tiling tiling;
  float kept;
  memset(found, 0xa5, sizeof found);
  memset(untouched, 0xa5, sizeof untouched);
#define RESET()                                                                \
  do {                                                                         \
    latent = *given;                                                           \
    picture = image_of(pixels, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, PICTURE);    \
    mask = image_of(masks, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, PICTURE);        \
    out = image_of(found, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, PICTURE);         \
  } while (0)
#define REFUSED(view, field, value, words)                                                      \
  do {                                                                                          \
    RESET();                                                                                    \
    view.field = value;                                                                         \
    CHECK_FAILS(vaekl_decode_masked(session, &latent, &picture, &mask, &out, &error), invalid,  \
                words);                                                                         \
  } while (0)
  REFUSED(picture, width, 55, "picture: 56x40 (width x height) expected, 55x40 found");
  REFUSED(picture, data, NULL, "picture.data: NULL");
  REFUSED(picture, dtype, 9, "picture.dtype");
  REFUSED(picture, layout, 9, "picture.layout");
  REFUSED(mask, height, 41, "mask: 56x40 (width x height) expected, 56x41 found");
  REFUSED(mask, data, NULL, "mask.data: NULL");
  REFUSED(mask, row_stride, 8, "mask.row_stride: at least 224 bytes expected, 8 found");
  REFUSED(out, height, 1, "out: 56x40 (width x height) expected, 56x1 found");
  REFUSED(out, data, NULL, "out.data: NULL");
  REFUSED(latent, batch, 2, "latent.batch: 1 expected");
  REFUSED(latent, channels, 5, "latent.channels: 4 expected, 5 found");
  RESET();
#define MASKED(s) vaekl_decode_masked(s, &latent, &picture, &mask, &out, &error)
  CHECK_FAILS(vaekl_decode_masked(NULL, &latent, &picture, &mask, &out, &error), invalid,
              "session: NULL");
  CHECK_FAILS(vaekl_decode_masked(session, NULL, &picture, &mask, &out, &error), invalid,
              "latent: NULL");
  CHECK_FAILS(vaekl_decode_masked(session, &latent, NULL, &mask, &out, &error), invalid,
              "picture: NULL");
  CHECK_FAILS(vaekl_decode_masked(session, &latent, &picture, NULL, &out, &error), invalid,
              "mask: NULL");
  CHECK_FAILS(vaekl_decode_masked(session, &latent, &picture, &mask, NULL, &error), invalid,
              "out: NULL");
  kept = masks[WIDTH + 2];
  masks[WIDTH + 2] = NAN;
  CHECK_FAILS(MASKED(session), invalid, "mask: NaN at channel 0, row 1, column 2");
  masks[WIDTH + 2] = kept;
  kept = pixels[PIXELS + 3];
  pixels[PIXELS + 3] = INFINITY;
  CHECK_FAILS(MASKED(session), invalid, "picture: inf at channel 1, row 0, column 3");
  pixels[PIXELS + 3] = kept;
  vaekl_session_free(session);

  for (tiling = VAEKL_TILING_DIFFUSERS; tiling <= VAEKL_TILING_SEAMLESS; tiling++) {
    other = session_with(model, 0, tiling, NULL);
    CHECK_FAILS(MASKED(other), invalid, "tiling: exact expected with a mask");
    vaekl_session_free(other);
  }
  other = session_with(model, 0, VAEKL_TILING_EXACT, stop);
  CHECK_FAILS(MASKED(other), VAEKL_ERR_CANCELLED, "");
  vaekl_session_free(other);
  CHECK(memcmp(found, untouched, sizeof found) == 0);
#undef REFUSED
#undef RESET
}

/* Budgets count what the call holds beside its plan, and give the same bytes; one that cannot be
 * kept is refused, and the next call has its own again. */
static void masked_budgets(const vaekl_model *model, const vaekl_latent *latent,
                           const vaekl_image *picture, const vaekl_image *mask,
                           const float *expected) {
  static float found[VALUES];
  vaekl_image out = image_of(found, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, PICTURE);
  vaekl_session *session;
  vaekl_session_options o;
  vaekl_plan plan;
  vaekl_status status = VAEKL_OK;
  uint64_t budget;
  int kept = 0;
  for (budget = 24 << 20; status == VAEKL_OK; budget -= 256 << 10) {
    session = session_with(model, budget, VAEKL_TILING_EXACT, NULL);
    memset(found, 0xa5, sizeof found);
    status = vaekl_decode_masked(session, latent, picture, mask, &out, NULL);
    if (status == VAEKL_OK) {
      CHECK(memcmp(found, expected, sizeof found) == 0);
      kept++;
    } else {
      CHECK_FAILS(vaekl_decode_masked(session, latent, picture, mask, &out, &error),
                  VAEKL_ERR_BUDGET, "latents of 7x5 (width x height): a memory budget of ");
      CHECK(((unsigned char *)found)[0] == 0xa5 && ((unsigned char *)found)[VALUES] == 0xa5);
    }
    vaekl_session_free(session);
  }
  CHECK(kept > 0);

  /* A budget that a decode keeps to the byte is not changed by a masked one before. */
  CHECK(vaekl_session_options_init(&o, sizeof o) == VAEKL_OK);
  o.threads = 2;
  plan.struct_size = sizeof plan;
  CHECK_OK(vaekl_plan_decode(model, &o, LATENT_W, LATENT_H, &plan, &error));
  session = session_with(model, plan.peak_bytes, VAEKL_TILING_EXACT, NULL);
  (void)vaekl_decode_masked(session, latent, picture, mask, &out, NULL);
  CHECK_OK(vaekl_decode(session, latent, &out, &error));
  CHECK(vaekl_session_memory(session) == plan.workspace_bytes);
  vaekl_session_free(session);
}

static void masked(void) {
  static float found[VALUES];
  vaekl_model *model = open_fixture("asymmetric");
  vaekl_session *session = new_session(model, 2);
  float *latents = tensor("asymmetric", "latents", LATENTS);
  float *pixels = tensor("asymmetric", "condition_image", VALUES);
  float *masks = tensor("asymmetric", "mask", PIXELS);
  float *expected = tensor("asymmetric", "decoded_masked_f64", VALUES);
  vaekl_latent latent = latent_view(latents, VAEKL_DTYPE_F32);
  vaekl_image picture = image_of(pixels, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, PICTURE);
  vaekl_image mask = image_of(masks, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, PICTURE);
  vaekl_image out = image_of(found, VAEKL_DTYPE_F32, VAEKL_LAYOUT_CHW, PICTURE);

  CHECK_OK(vaekl_decode_masked(session, &latent, &picture, &mask, &out, &error));
  check_near(found, expected, VALUES);
  masked_in_every_kind(session, &latent);
  vaekl_session_free(session);
  masked_refusals(model, &latent, pixels, masks);
  masked_budgets(model, &latent, &picture, &mask, found);
  vaekl_model_free(model);
  free(expected);
  free(masks);
  free(pixels);
  free(latents);
}

/* Models that take no mask say so, whatever else is wrong; halves have what their half has. */
static void without_masks(void) {
  char path[4096];
  vaekl_model *model = open_fixture("tiny");
  vaekl_session *session = new_session(model, 1);
  vaekl_model_options o;
  vaekl_model_info info;
  uint32_t parts;
  CHECK_FAILS(vaekl_decode_masked(session, NULL, NULL, NULL, NULL, &error),
              VAEKL_ERR_INVALID_ARGUMENT,
              "mask: an AsymmetricAutoencoderKL expected, AutoencoderTiny found");
  vaekl_session_free(session);
  vaekl_model_free(model);

  snprintf(path, sizeof path, "%s/asymmetric", models);
  for (parts = VAEKL_PART_DECODER; parts <= VAEKL_PART_ENCODER; parts++) {
    CHECK(vaekl_model_options_init(&o, sizeof o) == VAEKL_OK);
    o.parts = parts;
    model = NULL;
    CHECK_OK(vaekl_model_open(path, &o, &model, &error));
    info.struct_size = sizeof info;
    CHECK(vaekl_model_get_info(model, &info) == VAEKL_OK);
    CHECK(info.parts == parts && info.masks == (parts == VAEKL_PART_DECODER));
    if (parts == VAEKL_PART_ENCODER) {
      session = new_session(model, 1);
      CHECK_FAILS(vaekl_decode_masked(session, NULL, NULL, NULL, NULL, &error), VAEKL_ERR_MODEL,
                  "decoder");
      vaekl_session_free(session);
    }
    vaekl_model_free(model);
  }
}

/* Callers whose vaekl_model_info ended earlier get what they know, and nothing beyond it. */
static void older_structs(void) {
  const size_t sizes[] = {offsetof(vaekl_model_info, mapped), offsetof(vaekl_model_info, posterior),
                          offsetof(vaekl_model_info, patch_size), sizeof(vaekl_model_info)};
  vaekl_model *model = open_fixture("flux2");
  vaekl_model_info whole, info;
  size_t i, at;
  whole.struct_size = sizeof whole;
  CHECK(vaekl_model_get_info(model, &whole) == VAEKL_OK);
  for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    const unsigned char *bytes = (const unsigned char *)&info;
    memset(&info, 0xa5, sizeof info);
    info.struct_size = sizes[i];
    CHECK(vaekl_model_get_info(model, &info) == VAEKL_OK && info.struct_size == sizes[i]);
    CHECK(memcmp(bytes + sizeof(size_t), (const unsigned char *)&whole + sizeof(size_t),
                 sizes[i] - sizeof(size_t)) == 0);
    for (at = sizes[i]; at < sizeof info; at++) {
      CHECK(bytes[at] == 0xa5);
    }
    info.struct_size = sizes[i] - 4;
    CHECK(vaekl_model_get_info(model, &info) == VAEKL_ERR_INVALID_ARGUMENT);
  }
  vaekl_model_free(model);
  CHECK(vaekl_model_family(NULL) == NULL && vaekl_model_family_source(NULL) == NULL);
}

int main(int argc, char **argv) {
  size_t i;
  CHECK(argc == 3);
  models = argv[1];
  data = argv[2];
  for (i = 0; i < sizeof FIXTURES / sizeof *FIXTURES; i++) {
    const fixture *f = &FIXTURES[i];
    vaekl_model *model = open_fixture(f->path);
    vaekl_session *session = new_session(model, 2);
    describes(f, model);
    decodes(f, session);
    encodes(f, session);
    vaekl_session_free(session);
    vaekl_model_free(model);
  }
  patches();
  masked();
  without_masks();
  older_structs();
  puts("ok");
  return 0;
}
