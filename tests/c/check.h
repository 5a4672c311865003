/* What the C tests share: checks that stop with file and line, and files of raw floats. */
#ifndef VAEKL_TESTS_CHECK_H
#define VAEKL_TESTS_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vaekl.h"

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) {                                                      \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);        \
      exit(1);                                                               \
    }                                                                        \
  } while (0)

/* The call fails with `wanted`, in status and error, and says `words`. */
#define CHECK_FAILS(call, wanted, words)                                     \
  do {                                                                       \
    vaekl_error error;                                                       \
    memset(&error, 0x7f, sizeof error);                                      \
    check_failure((call), (wanted), &error, (words), __FILE__, __LINE__);    \
  } while (0)

#define CHECK_OK(call)                                                       \
  do {                                                                       \
    vaekl_error error;                                                       \
    memset(&error, 0, sizeof error);                                         \
    check_success((call), &error, __FILE__, __LINE__);                       \
  } while (0)

static inline void check_failure(vaekl_status found, vaekl_status wanted, const vaekl_error *error,
                                 const char *words, const char *file, int line) {
  const char *end = (const char *)memchr(error->message, 0, sizeof error->message);
  int right = found == wanted && error->status == wanted && end != NULL;
  if (!right || strstr(error->message, words) == NULL) {
    fprintf(stderr, "%s:%d: %s \"%s\" expected, %s \"%.400s\" found\n", file, line,
            vaekl_status_name(wanted), words, vaekl_status_name(found), error->message);
    exit(1);
  }
}

static inline void check_success(vaekl_status found, const vaekl_error *error, const char *file,
                                 int line) {
  if (found != VAEKL_OK) {
    fprintf(stderr, "%s:%d: %s \"%.400s\"\n", file, line, vaekl_status_name(found), error->message);
    exit(1);
  }
}

/* The file `name` of the folder `dir`; its length in bytes goes to `len`. */
static inline void *read_file(const char *dir, const char *name, size_t *len) {
  char path[4096];
  FILE *file;
  char *bytes;
  long end;
  snprintf(path, sizeof path, "%s/%s", dir, name);
  file = fopen(path, "rb");
  CHECK(file != NULL);
  CHECK(fseek(file, 0, SEEK_END) == 0);
  end = ftell(file);
  CHECK(end > 0);
  rewind(file);
  bytes = (char *)malloc((size_t)end);
  CHECK(bytes != NULL);
  CHECK(fread(bytes, 1, (size_t)end, file) == (size_t)end);
  fclose(file);
  *len = (size_t)end;
  return bytes;
}

static inline float *read_floats(const char *dir, const char *name, size_t count) {
  size_t len;
  float *values = (float *)read_file(dir, name, &len);
  CHECK(len == count * sizeof *values);
  return values;
}

static inline void check_close(const float *found, const float *expected, size_t count,
                               float tolerance) {
  size_t i;
  for (i = 0; i < count; i++) {
    CHECK(fabsf(found[i] - expected[i]) <= tolerance);
  }
}

static inline vaekl_model *open_model(const char *path) {
  vaekl_model *model = NULL;
  CHECK_OK(vaekl_model_open(path, NULL, &model, &error));
  CHECK(model != NULL);
  return model;
}

static inline vaekl_session *new_session(const vaekl_model *model, uint32_t threads) {
  vaekl_session *session = NULL;
  vaekl_session_options options;
  CHECK(vaekl_session_options_init(&options, sizeof options) == VAEKL_OK);
  options.threads = threads;
  CHECK_OK(vaekl_session_new(model, &options, &session, &error));
  CHECK(session != NULL);
  return session;
}

/* The fixture `sd_like`: its sizes. */
enum {
  LATENT_W = 7,
  LATENT_H = 5,
  LATENT_C = 4,
  LATENTS = LATENT_W * LATENT_H * LATENT_C,
  WIDTH = 56,
  HEIGHT = 40,
  CHANNELS = 3,
  PIXELS = WIDTH * HEIGHT,
  VALUES = PIXELS * CHANNELS
};

static inline vaekl_latent latent_view(void *data, vaekl_dtype dtype) {
  vaekl_latent view;
  view.data = data;
  view.batch = 1;
  view.channels = LATENT_C;
  view.height = LATENT_H;
  view.width = LATENT_W;
  view.dtype = dtype;
  view.scale = VAEKL_LATENT_RAW;
  return view;
}

static inline vaekl_image image_view(void *data, vaekl_dtype dtype, vaekl_layout layout) {
  vaekl_image view;
  view.data = data;
  view.width = WIDTH;
  view.height = HEIGHT;
  view.dtype = dtype;
  view.layout = layout;
  view.row_stride = 0;
  view.plane_stride = 0;
  return view;
}

#endif /* VAEKL_TESTS_CHECK_H */
