/* forks MODEL: in a forked child the parent's session and stream are refused at once, are freed
 * without waiting, and a new session on the parent's model works. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { SIDE = 12, OUT = SIDE * 8 * SIDE * 8 * CHANNELS };

static const char refused[] = "make a session here";
static float latents[SIDE * SIDE * LATENT_C], expected[OUT], found[OUT];

static vaekl_latent latent(void) {
  vaekl_latent view = latent_view(latents, VAEKL_DTYPE_F32);
  view.width = view.height = SIDE;
  return view;
}

static vaekl_image image(float *out) {
  vaekl_image view = image_view(out, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  view.width = view.height = SIDE * 8;
  return view;
}

static int32_t no_rows(void *user, uint32_t y, uint32_t count, const void *rows, size_t stride) {
  (void)user, (void)y, (void)count, (void)rows, (void)stride;
  CHECK(0);
  return 1;
}

static vaekl_session *tiled_session(const vaekl_model *model, uint32_t threads,
                                    vaekl_progress_fn progress, void *user) {
  vaekl_session *session = NULL;
  vaekl_session_options options;
  CHECK(vaekl_session_options_init(&options, sizeof options) == VAEKL_OK);
  options.threads = threads;
  options.tiling = VAEKL_TILING_DIFFUSERS;
  options.tile_size = SIDE / 2;
  options.progress = progress;
  options.progress_user = user;
  CHECK_OK(vaekl_session_new(model, &options, &session, &error));
  return session;
}

/* Every call on a session of the parent. */
static void check_refused(vaekl_session *session) {
  float moments[2 * LATENTS * 4];
  vaekl_stream *stream = NULL;
  vaekl_latent from = latent(), to = latent_view(moments, VAEKL_DTYPE_F32);
  vaekl_image picture = image(expected), out = image(found), mask = image(expected);
  int again;
  to.width = to.height = SIDE;
  for (again = 0; again < 2; again++) {
    CHECK_FAILS(vaekl_decode(session, &from, &out, &error), VAEKL_ERR_STATE, refused);
    CHECK_FAILS(vaekl_decode_masked(session, &from, &picture, &mask, &out, &error),
                VAEKL_ERR_STATE, refused);
    CHECK_FAILS(vaekl_decode_rows(session, &from, VAEKL_DTYPE_U8, no_rows, NULL, &error),
                VAEKL_ERR_STATE, refused);
    CHECK_FAILS(vaekl_encode(session, &picture, VAEKL_POSTERIOR_MODE, 0, &to, &error),
                VAEKL_ERR_STATE, refused);
    CHECK_FAILS(vaekl_stream_open(session, &from, VAEKL_DTYPE_U8, &stream, &error),
                VAEKL_ERR_STATE, refused);
    vaekl_session_cancel(session);
    (void)vaekl_session_memory(session);
  }
  CHECK(stream == NULL);
}

static void check_own(const vaekl_model *model, uint32_t threads) {
  vaekl_latent from = latent();
  vaekl_image out = image(found);
  vaekl_session *session = tiled_session(model, threads, NULL, NULL);
  memset(found, 0, sizeof found);
  CHECK_OK(vaekl_decode(session, &from, &out, &error));
  CHECK(memcmp(found, expected, sizeof found) == 0);
  vaekl_session_free(session);
}

/* The child has minutes, under valgrind too: an alarm ends it. */
static pid_t child_begins(void) {
  pid_t child;
  fflush(NULL);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(300);
  }
  return child;
}

static void child_ends_well(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void at_rest(vaekl_model *model, uint32_t threads) {
  vaekl_session *idle = tiled_session(model, threads, NULL, NULL);
  vaekl_session *busy = tiled_session(model, threads, NULL, NULL);
  vaekl_stream *stream = NULL;
  vaekl_latent from = latent();
  vaekl_image out = image(expected);
  uint32_t rows, y = 1;
  pid_t child;
  CHECK_OK(vaekl_decode(idle, &from, &out, &error));
  CHECK_OK(vaekl_stream_open(busy, &from, VAEKL_DTYPE_F32, &stream, &error));
  CHECK_OK(vaekl_stream_read(stream, found, 0, 1, &rows, &error));
  child = child_begins();
  if (child == 0) {
    check_refused(idle);
    check_refused(busy);
    CHECK_FAILS(vaekl_stream_read(stream, found, 0, 1, &rows, &error), VAEKL_ERR_STATE, refused);
    check_own(model, threads);
    vaekl_stream_free(stream);
    vaekl_session_free(busy);
    vaekl_session_free(idle);
    check_own(model, threads);
    vaekl_model_free(model);
    _exit(0);
  }
  child_ends_well(child);
  /* Nothing of that reaches the parent. */
  while (vaekl_stream_read(stream, found, 0, 7, &rows, NULL) == VAEKL_OK) {
    CHECK(memcmp(found, expected + y * SIDE * 8 * CHANNELS, rows * SIDE * 8 * CHANNELS * 4) == 0);
    y += rows;
  }
  CHECK(y == SIDE * 8);
  vaekl_stream_free(stream);
  vaekl_session_free(busy);
  vaekl_session_free(idle);
}

/* A call of another thread, which stands in its callback while the process is forked. */
typedef struct call {
  vaekl_session *session;
  vaekl_stream *stream;
  int begun[2], go_on[2];
  int stands;
} call;

static int32_t stand(void *user, uint64_t done, uint64_t total) {
  call *c = (call *)user;
  char byte = 0;
  (void)done, (void)total;
  if (c->stands) {
    c->stands = 0;
    CHECK(write(c->begun[1], &byte, 1) == 1);
    CHECK(read(c->go_on[0], &byte, 1) == 1);
  }
  return 0;
}

static void *run(void *argument) {
  call *c = (call *)argument;
  vaekl_latent from = latent();
  vaekl_image out = image(found);
  uint32_t rows;
  if (c->stream != NULL) {
    CHECK_OK(vaekl_stream_read(c->stream, found, 0, SIDE * 8, &rows, &error));
  } else {
    CHECK_OK(vaekl_decode(c->session, &from, &out, &error));
  }
  return NULL;
}

static void at_work(vaekl_model *model, int streamed) {
  call c;
  pthread_t thread;
  char byte = 0;
  pid_t child;
  vaekl_latent from = latent();
  CHECK(pipe(c.begun) == 0 && pipe(c.go_on) == 0);
  c.stands = 0;
  c.stream = NULL;
  c.session = tiled_session(model, 3, stand, &c);
  if (streamed) {
    CHECK_OK(vaekl_stream_open(c.session, &from, VAEKL_DTYPE_F32, &c.stream, &error));
  }
  c.stands = 1;
  CHECK(pthread_create(&thread, NULL, run, &c) == 0);
  CHECK(read(c.begun[0], &byte, 1) == 1);
  child = child_begins();
  if (child == 0) {
    check_refused(c.session);
    vaekl_stream_free(c.stream);
    vaekl_session_free(c.session);
    check_own(model, 3);
    vaekl_model_free(model);
    _exit(0);
  }
  child_ends_well(child);
  CHECK(write(c.go_on[1], &byte, 1) == 1);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(memcmp(found, expected, sizeof found) == 0);
  vaekl_stream_free(c.stream);
  vaekl_session_free(c.session);
  close(c.begun[0]), close(c.begun[1]), close(c.go_on[0]), close(c.go_on[1]);
}

int main(int argc, char **argv) {
  vaekl_model *model;
  int i;
  CHECK(argc == 2);
  for (i = 0; i < SIDE * SIDE * LATENT_C; i++) {
    latents[i] = sinf((float)i);
  }
  model = open_model(argv[1]);
  at_rest(model, 1);
  at_rest(model, 3);
  at_work(model, 0);
  at_work(model, 1);
  vaekl_model_free(model);
  puts("ok");
  return 0;
}
