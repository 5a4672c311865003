/* outputs MODEL MOMENTS: what a call that fails leaves in its outputs, and which rows a stream
 * gives. */
#include "check.h"

/* Three pictures of SIDE latents. */
enum { SIDE = 12, BATCH = 3, WIDE = SIDE * 8, ROW = WIDE * CHANNELS, OUT = WIDE * ROW };

static float latents[BATCH * SIDE * SIDE * LATENT_C];
static float whole[BATCH][OUT], found[BATCH][OUT];

/* Cancels at the call `at`, counted from 0. */
typedef struct canceller {
  long calls, at;
} canceller;

static int32_t count(void *user, uint64_t done, uint64_t total) {
  canceller *c = (canceller *)user;
  (void)done, (void)total;
  return c->calls++ == c->at;
}

static vaekl_session *session_of(const vaekl_model *model, canceller *c, vaekl_tiling tiling) {
  vaekl_session *session = NULL;
  vaekl_session_options options;
  CHECK(vaekl_session_options_init(&options, sizeof options) == VAEKL_OK);
  /* So that progress is reported at the same moments each time. */
  options.threads = 1;
  options.tiling = tiling;
  options.tile_size = tiling == VAEKL_TILING_EXACT ? 0 : SIDE / 2;
  options.progress = count;
  options.progress_user = c;
  CHECK_OK(vaekl_session_new(model, &options, &session, &error));
  return session;
}

static void fill(void) {
  float *values = &found[0][0];
  size_t i;
  for (i = 0; i < sizeof found / sizeof *values; i++) {
    values[i] = 7.0f;
  }
}

static int untouched(int picture) {
  int i;
  for (i = 0; i < OUT; i++) {
    if (found[picture][i] != 7.0f) {
      return 0;
    }
  }
  return 1;
}

static vaekl_status decode(vaekl_session *session, float (*out)[OUT], uint32_t side) {
  vaekl_latent from = latent_view(latents, VAEKL_DTYPE_F32);
  vaekl_image images[BATCH];
  int b;
  for (b = 0; b < BATCH; b++) {
    images[b] = image_view(out[b], VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
    images[b].width = images[b].height = side * 8;
  }
  from.batch = BATCH;
  from.width = from.height = SIDE;
  return vaekl_decode(session, &from, images, NULL);
}

/* A batch that is cancelled at so many moments: pictures before are complete, those after
 * untouched. */
static void cancelled_batches(const vaekl_model *model, vaekl_tiling tiling, long moments) {
  canceller c = {0, -1};
  vaekl_session *session = session_of(model, &c, tiling);
  long calls, step, touched = 0;
  CHECK(decode(session, whole, SIDE) == VAEKL_OK);
  calls = c.calls;
  step = calls > moments ? calls / moments : 1;
  for (c.at = 0; c.at < calls; c.at += step) {
    int b = 0;
    c.calls = 0;
    fill();
    CHECK(decode(session, found, SIDE) == VAEKL_ERR_CANCELLED);
    while (b < BATCH && memcmp(found[b], whole[b], sizeof whole[b]) == 0) {
      b++;
    }
    CHECK(b < BATCH && b >= c.at * BATCH / calls - 1);
    /* In tiles the picture at work may have rows already. */
    if (tiling == VAEKL_TILING_EXACT) {
      CHECK(untouched(b));
    } else {
      touched += !untouched(b);
    }
    while (++b < BATCH) {
      CHECK(untouched(b));
    }
  }
  /* Or this would show nothing. */
  CHECK((touched > 0) == (tiling != VAEKL_TILING_EXACT));
  /* An error before the work leaves all of them, in tiles too. */
  c.calls = 0;
  c.at = -1;
  fill();
  CHECK(decode(session, found, SIDE + 1) == VAEKL_ERR_INVALID_ARGUMENT);
  latents[BATCH * SIDE * SIDE * LATENT_C - 1] = (float)INFINITY;
  CHECK(decode(session, found, SIDE) == VAEKL_ERR_INVALID_ARGUMENT);
  latents[BATCH * SIDE * SIDE * LATENT_C - 1] = 0.5f;
  CHECK(c.calls == 0 && untouched(0) && untouched(1) && untouched(2));
  vaekl_session_free(session);
}

/* No row of a stream is lost, whatever fails; what failed fails again alike. */
static void streams(const vaekl_model *model, vaekl_tiling tiling) {
  canceller c = {0, -1};
  vaekl_session *session = session_of(model, &c, tiling);
  vaekl_stream *stream = NULL;
  vaekl_latent from = latent_view(latents, VAEKL_DTYPE_F32);
  vaekl_error first;
  uint32_t rows, y = 0;
  int again;
  from.width = from.height = SIDE;
  CHECK(decode(session, whole, SIDE) == VAEKL_OK);
  CHECK_OK(vaekl_stream_open(session, &from, VAEKL_DTYPE_F32, &stream, &error));
  /* An argument that is wrong costs nothing. */
  while (y < WIDE) {
    rows = 99;
    CHECK_FAILS(vaekl_stream_read(stream, found[0], 0, 0, &rows, &error),
                VAEKL_ERR_INVALID_ARGUMENT, "max_rows");
    CHECK_FAILS(vaekl_stream_read(stream, found[0], 3, 2, &rows, &error),
                VAEKL_ERR_INVALID_ARGUMENT, "");
    CHECK_FAILS(vaekl_stream_read(stream, NULL, 0, 2, &rows, &error), VAEKL_ERR_INVALID_ARGUMENT,
                "dst");
    CHECK(rows == 99);
    CHECK_OK(vaekl_stream_read(stream, found[0] + y * ROW, 0, 5, &rows, &error));
    CHECK(rows > 0);
    y += rows;
  }
  CHECK(vaekl_stream_read(stream, found[0], 0, 5, &rows, NULL) == VAEKL_END && rows == 0);
  CHECK(memcmp(found[0], whole[0], sizeof whole[0]) == 0);
  vaekl_stream_free(stream);

  if (tiling != VAEKL_TILING_EXACT) {
    /* A read that fails after rows gives these, and the next one the error. */
    fill();
    c.calls = 0;
    c.at = -1;
    CHECK_OK(vaekl_stream_open(session, &from, VAEKL_DTYPE_F32, &stream, &error));
    CHECK_OK(vaekl_stream_read(stream, found[0], 0, 1, &rows, &error));
    /* In the next row of tiles. */
    c.at = c.calls;
    CHECK_OK(vaekl_stream_read(stream, found[0] + ROW, 0, WIDE, &rows, &error));
    y = 1 + rows;
    CHECK(rows > 0 && y < WIDE);
    CHECK(memcmp(found[0], whole[0], y * ROW * sizeof(float)) == 0);
    CHECK(found[0][y * ROW] == 7.0f);
    memset(&first, 0, sizeof first);
    rows = 99;
    CHECK(vaekl_stream_read(stream, found[1], 0, 1, &rows, &first) == VAEKL_ERR_CANCELLED);
    for (again = 0; again < 3; again++) {
      CHECK_FAILS(vaekl_stream_read(stream, found[1], 0, WIDE, &rows, &error),
                  VAEKL_ERR_CANCELLED, first.message);
      vaekl_session_cancel(session);
    }
    CHECK(rows == 99 && untouched(1));
    vaekl_stream_free(stream);
  }
  c.at = -1;
  CHECK(decode(session, found, SIDE) == VAEKL_OK);
  CHECK(memcmp(found, whole, sizeof whole) == 0);
  vaekl_session_free(session);
}

int main(int argc, char **argv) {
  const vaekl_tiling tilings[] = {VAEKL_TILING_EXACT, VAEKL_TILING_DIFFUSERS,
                                  VAEKL_TILING_SEAMLESS};
  vaekl_model *model;
  int i;
  CHECK(argc == 3);
  for (i = 0; i < BATCH * SIDE * SIDE * LATENT_C; i++) {
    latents[i] = sinf((float)i);
  }
  model = open_model(argv[1]);
  for (i = 0; i < 3; i++) {
    cancelled_batches(model, tilings[i], atol(argv[2]));
    streams(model, tilings[i]);
  }
  vaekl_model_free(model);
  puts("ok");
  return 0;
}
