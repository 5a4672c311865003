/* threads MODEL: progress, cancelling, and what two threads may do with a session and a model. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>

#include "check.h"

/* A small picture: valgrind is slow at arithmetic. */
enum { SIDE = 6, OUT = SIDE * 8 * SIDE * 8 * CHANNELS };

typedef struct job {
  vaekl_session *session;
  vaekl_latent latent;
  vaekl_image image;
  vaekl_status status;
} job;

/* What a progress callback does, and what it saw. */
typedef struct watcher {
  pthread_t caller;
  vaekl_session *session;
  void *(*other_thread)(void *);
  void *argument;
  int32_t answer;
  uint64_t calls, done;
} watcher;

static float latents[SIDE * SIDE * LATENT_C];

static job make_job(vaekl_session *session, float *out) {
  job j;
  j.session = session;
  j.latent = latent_view(latents, VAEKL_DTYPE_F32);
  j.latent.width = j.latent.height = SIDE;
  j.image = image_view(out, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  j.image.width = j.image.height = SIDE * 8;
  j.status = 99;
  return j;
}

static void *run(void *argument) {
  job *j = (job *)argument;
  j->status = vaekl_decode(j->session, &j->latent, &j->image, NULL);
  return NULL;
}

static void *cancel(void *argument) {
  vaekl_session_cancel((const vaekl_session *)argument);
  return NULL;
}

static int32_t watch(void *user, uint64_t done, uint64_t total) {
  watcher *w = (watcher *)user;
  CHECK(pthread_equal(pthread_self(), w->caller));
  CHECK(done >= w->done && done <= total && total > 0);
  w->done = done;
  if (w->calls++ == 0 && w->other_thread != NULL) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, w->other_thread, w->argument) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  return w->answer;
}

static vaekl_session *watched_session(const vaekl_model *model, watcher *w, uint32_t tile_size) {
  vaekl_session_options options;
  memset(w, 0, sizeof *w);
  w->caller = pthread_self();
  CHECK(vaekl_session_options_init(&options, sizeof options) == VAEKL_OK);
  options.threads = 2;
  options.tiling = tile_size == 0 ? VAEKL_TILING_EXACT : VAEKL_TILING_DIFFUSERS;
  options.tile_size = tile_size;
  options.progress = watch;
  options.progress_user = w;
  CHECK_OK(vaekl_session_new(model, &options, &w->session, &error));
  return w->session;
}

static int untouched(const float *out) {
  int i;
  for (i = 0; i < OUT; i++) {
    if (out[i] != 7.0f) {
      return 0;
    }
  }
  return 1;
}

static void fill(float *out) {
  int i;
  for (i = 0; i < OUT; i++) {
    out[i] = 7.0f;
  }
}

/* A stream whose decode failed, or was cancelled, says the same when it is read again. */
static void failed_streams(const vaekl_model *model) {
  static float row[OUT];
  const int by_session[] = {0, 1};
  vaekl_stream *stream = NULL;
  watcher w;
  vaekl_session *session = watched_session(model, &w, SIDE / 2);
  job j = make_job(session, row);
  uint32_t rows;
  size_t i;
  for (i = 0; i < sizeof by_session / sizeof *by_session; i++) {
    w.calls = w.done = 0;
    w.answer = 0;
    CHECK_OK(vaekl_stream_open(session, &j.latent, VAEKL_DTYPE_F32, &stream, &error));
    CHECK(vaekl_stream_read(stream, row, 0, 1, &rows, NULL) == VAEKL_OK && rows == 1);
    w.answer = !by_session[i];
    w.calls = 0;
    w.other_thread = by_session[i] ? cancel : NULL;
    w.argument = session;
    while (vaekl_stream_read(stream, row, 0, 1, &rows, NULL) == VAEKL_OK) {
    }
    CHECK(w.calls == 1);
    CHECK_FAILS(vaekl_stream_read(stream, row, 0, 1, &rows, &error), VAEKL_ERR_CANCELLED, "");
    vaekl_session_cancel(session);
    CHECK_FAILS(vaekl_stream_read(stream, row, 0, 1, &rows, &error), VAEKL_ERR_CANCELLED, "");
    vaekl_stream_free(stream);
  }
  vaekl_session_free(session);
}

int main(int argc, char **argv) {
  static float first[OUT], second[OUT];
  vaekl_model *model;
  vaekl_session *session, *other;
  watcher w;
  job a, b;
  pthread_t threads[2];
  int i;
  CHECK(argc == 2);
  for (i = 0; i < SIDE * SIDE * LATENT_C; i++) {
    latents[i] = sinf((float)i);
  }
  model = open_model(argv[1]);
  session = watched_session(model, &w, 0);
  a = make_job(session, first);

  /* Progress comes, on this thread, and reaches its end. */
  CHECK_OK(vaekl_decode(session, &a.latent, &a.image, &error));
  CHECK(w.calls > 10 && w.done > 0);

  /* A callback cancels; the session is good for the next call. */
  fill(first);
  w.calls = w.done = 0;
  w.answer = 1;
  CHECK_FAILS(vaekl_decode(session, &a.latent, &a.image, &error), VAEKL_ERR_CANCELLED, "");
  CHECK(w.calls == 1 && untouched(first));

  /* Another thread cancels, in the middle of the call. */
  w.calls = w.done = 0;
  w.answer = 0;
  w.other_thread = cancel;
  w.argument = session;
  CHECK_FAILS(vaekl_decode(session, &a.latent, &a.image, &error), VAEKL_ERR_CANCELLED, "");
  CHECK(w.calls == 1 && untouched(first));

  /* Another thread calls into a session that is in use: refused, and the first call goes on. */
  b = make_job(session, second);
  fill(second);
  w.calls = w.done = 0;
  w.other_thread = run;
  w.argument = &b;
  CHECK_OK(vaekl_decode(session, &a.latent, &a.image, &error));
  CHECK(b.status == VAEKL_ERR_STATE && untouched(second) && !untouched(first));

  /* Cancelling an idle session means nothing to its next call. */
  w.calls = w.done = 0;
  w.other_thread = NULL;
  vaekl_session_cancel(session);
  CHECK_OK(vaekl_decode(session, &a.latent, &a.image, &error));

  failed_streams(model);

  /* Two sessions of one model at the same time, which is freed before they end. */
  w.calls = w.done = 0;
  other = new_session(model, 1);
  vaekl_session_free(session);
  session = new_session(model, 2);
  vaekl_model_free(model);
  a = make_job(session, first);
  b = make_job(other, second);
  CHECK(pthread_create(&threads[0], NULL, run, &a) == 0);
  CHECK(pthread_create(&threads[1], NULL, run, &b) == 0);
  CHECK(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
  CHECK(a.status == VAEKL_OK && b.status == VAEKL_OK);
  CHECK(memcmp(first, second, sizeof first) == 0);

  vaekl_session_free(session);
  vaekl_session_free(other);
  puts("ok");
  return 0;
}
