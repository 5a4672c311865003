/* Fails the calls of one operation to the system one at a time.
 *
 *   walk OPERATION THREADS KIND LEAST MOST ERRNO INJECTED MODEL FOLDER
 *
 * LEAST and MOST are sizes of allocations, ERRNO is -1 for half of the bytes, INJECTED is how many
 * of the calls fail at most, spread over all. FOLDER is for scratch files and saved models.
 *
 * Each failure has a process of its own, which opens the model anew. Afterwards it does the same
 * without failures on what is left, and its result has to have the bits of a process without any.
 * The first line tells how many calls there are; then there is a line for each that failed:
 *
 *   AT STATUS SAME AGAIN SAME_AGAIN SIGNAL MESSAGE
 *
 * STATUS and AGAIN are those of the two passes, SAME and SAME_AGAIN whether their bits are right
 * (-1: no result), SIGNAL is what ended the process, or 0. WALK_TRACE in the environment adds the
 * addresses of the library that called. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail.h"
#include "vaekl.h"

/* Sides of a latent; tiles of 8 cut it. */
enum { WIDTH = 20, HEIGHT = 12, TILE = 8 };
enum { MOST_RESULT = 16 << 20 };
/* The exit status of a process without a plan of the kind to walk. */
enum { NOTHING = 4 };

/* What a process tells its parent. */
struct report {
  int status, same, again, same_again;
  long count;
  char message[504];
  void *trace[MOST_FRAMES];
  int frames;
  size_t length;
  unsigned char reference[MOST_RESULT];
};

struct walk {
  const char *operation, *model_path, *folder;
  unsigned threads;
  vaekl_model *model;
  vaekl_session *session;
  vaekl_session_options options;
  vaekl_model_info info;
  float *latent, *image, *mask;
  unsigned char *result;
  size_t length;
  char path[4096];
};

static int is(const struct walk *walk, const char *operation) {
  return strcmp(walk->operation, operation) == 0;
}

static float *numbers(size_t count, float least) {
  float *values = uncounted(count * sizeof *values);
  for (size_t i = 0; i < count; i++) {
    uint32_t hash = (uint32_t)(i + 1) * 2654435761u;
    values[i] = least + (float)(hash >> 9) / (float)(1 << 23) * (1 - least);
  }
  return values;
}

static vaekl_status stream(struct walk *walk, vaekl_latent *latent, size_t row,
                           vaekl_error *error) {
  vaekl_stream *rows = NULL;
  vaekl_status status = vaekl_stream_open(walk->session, latent, VAEKL_DTYPE_F32, &rows, error);
  if (status != VAEKL_OK) return status;
  for (size_t y = 0;;) {
    uint32_t read = 0;
    status = vaekl_stream_read(rows, walk->result + y * row, 0, 3, &read, error);
    if (status != VAEKL_OK) break;
    y += read;
  }
  vaekl_stream_free(rows);
  return status == VAEKL_END ? VAEKL_OK : status;
}

/* The operation on a session. Its result is in `walk->result` after a success. */
static vaekl_status work(struct walk *walk, vaekl_error *error) {
  uint32_t scale = walk->info.downscale, channels = walk->info.image_channels;
  vaekl_latent latent = {walk->latent, 1, walk->info.latent_channels, HEIGHT, WIDTH,
                         VAEKL_DTYPE_F32, VAEKL_LATENT_RAW};
  vaekl_image out = {walk->result, WIDTH * scale, HEIGHT * scale, VAEKL_DTYPE_F32,
                     VAEKL_LAYOUT_HWC, 0, 0};
  vaekl_image in = out, mask = out;
  in.data = walk->image;
  mask.data = walk->mask;
  walk->length = (size_t)out.width * out.height * channels * sizeof(float);
  memset(walk->result, 0, walk->length);
  if (is(walk, "encode") || is(walk, "encode_tiles")) {
    latent.data = walk->result;
    walk->length = (size_t)WIDTH * HEIGHT * latent.channels * sizeof(float);
    return vaekl_encode(walk->session, &in, VAEKL_POSTERIOR_SAMPLE, 7, &latent, error);
  }
  if (is(walk, "stream") || is(walk, "stream_tiles")) {
    return stream(walk, &latent, (size_t)out.width * channels * sizeof(float), error);
  }
  if (is(walk, "masked")) {
    return vaekl_decode_masked(walk->session, &latent, &in, &mask, &out, error);
  }
  return vaekl_decode(walk->session, &latent, &out, error);
}

/* Reads the file that was saved. */
static void read_saved(struct walk *walk) {
  FILE *file = fopen(walk->path, "rb");
  if (file == NULL) exit(3);
  walk->length = fread(walk->result, 1, MOST_RESULT, file);
  fclose(file);
}

/* Memory that the operation works in. */
static void prepare(struct walk *walk) {
  size_t scale = walk->info.downscale;
  size_t pixels = (size_t)WIDTH * HEIGHT * scale * scale;
  if (walk->latent != NULL) return;
  walk->latent = numbers((size_t)WIDTH * HEIGHT * walk->info.latent_channels, -1);
  walk->image = numbers(pixels * walk->info.image_channels, -1);
  walk->mask = numbers(pixels, 0);
}

/* What comes before an operation on a session, as far as it is not done yet. */
static vaekl_status begin(struct walk *walk, vaekl_error *error) {
  vaekl_status status = VAEKL_OK;
  if (walk->model == NULL) {
    status = vaekl_model_open(walk->model_path, NULL, &walk->model, error);
    if (status != VAEKL_OK) return status;
    walk->info.struct_size = sizeof walk->info;
    status = vaekl_model_get_info(walk->model, &walk->info);
    if (status != VAEKL_OK) return status;
    prepare(walk);
  }
  if (is(walk, "open")) return status;
  if (is(walk, "save")) return vaekl_model_save(walk->model, walk->path, NULL, error);
  if (is(walk, "plan")) {
    vaekl_plan plan;
    plan.struct_size = sizeof plan;
    return vaekl_plan_decode(walk->model, &walk->options, WIDTH, HEIGHT, &plan, error);
  }
  if (walk->session == NULL) {
    status = vaekl_session_new(walk->model, &walk->options, &walk->session, error);
  }
  return status;
}

/* All of the operation. */
static vaekl_status pass(struct walk *walk, vaekl_error *error) {
  vaekl_status status = begin(walk, error);
  if (status != VAEKL_OK || is(walk, "open") || is(walk, "save") || is(walk, "plan") ||
      is(walk, "session")) {
    return status;
  }
  return work(walk, error);
}

/* A budget that only spilling keeps, near the least. */
static void spill(struct walk *walk) {
  vaekl_plan plan;
  vaekl_model *model = NULL;
  if (vaekl_model_open(walk->model_path, NULL, &model, NULL) != VAEKL_OK) exit(3);
  plan.struct_size = sizeof plan;
  walk->options.scratch_dir = walk->folder;
  if (vaekl_plan_decode(model, &walk->options, WIDTH, HEIGHT, &plan, NULL) != VAEKL_OK) exit(3);
  uint64_t most = plan.peak_bytes, least = most - plan.workspace_bytes;
  for (int part = 1; part < 128; part++) {
    walk->options.memory_budget = least + (most - least) * (uint64_t)part / 64;
    vaekl_status status =
        vaekl_plan_decode(model, &walk->options, WIDTH, HEIGHT, &plan, NULL);
    int spills = status == VAEKL_OK && plan.scratch_bytes > 0;
    /* A mask needs more than is planned, and no plan tells of it: the first that is enough. */
    if (is(walk, "masked")) {
      spills = pass(walk, NULL) == VAEKL_OK;
      vaekl_session_free(walk->session);
      walk->session = NULL;
    }
    if (spills) {
      vaekl_model_free(model);
      return;
    }
  }
  exit(NOTHING);
}

/* One process: a pass with a failure, and one without. */
static void child(struct walk *walk, const struct failure *failure, struct report *report) {
  vaekl_error error;
  memset(&error, 0, sizeof error);
  walk->result = uncounted(MOST_RESULT);
  if (failure->kind == PREAD || failure->kind == PWRITE) spill(walk);
  fail_begin(failure);
  report->status = pass(walk, &error);
  report->count = fail_end();
  snprintf(report->message, sizeof report->message, "%.503s",
           report->status == VAEKL_OK ? "" : error.message);
  int has_result = !is(walk, "open") && !is(walk, "session") && !is(walk, "plan");
  if (is(walk, "save") && report->status == VAEKL_OK) read_saved(walk);
  if (failure->at == 0) {
    if (report->status != VAEKL_OK) return;
  } else if (report->status == VAEKL_OK && has_result) {
    report->same = walk->length == report->length &&
                   memcmp(walk->result, report->reference, walk->length) == 0;
  }
  /* What has no result of its own goes on to a decode. */
  if (!has_result) walk->operation = "decode";
  report->again = pass(walk, &error);
  if (report->again != VAEKL_OK) return;
  if (is(walk, "save")) read_saved(walk);
  if (failure->at == 0) {
    report->length = walk->length;
    memcpy(report->reference, walk->result, walk->length);
  }
  report->same_again = walk->length == report->length &&
                       memcmp(walk->result, report->reference, walk->length) == 0;
  vaekl_session_free(walk->session);
  vaekl_model_free(walk->model);
}

/* Runs one process. Gives the signal that ended it. */
static int run(const struct walk *walk, const struct failure *failure, struct report *report) {
  report->status = report->same = report->same_again = -1;
  report->again = 1000;
  report->count = 0;
  report->frames = 0;
  report->message[0] = 0;
  pid_t process = fork();
  if (process < 0) exit(2);
  if (process == 0) {
    struct walk own = *walk;
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    /* An abort says so itself. */
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(2);
    alarm(60);
    child(&own, failure, report);
    _exit(0);
  }
  int state = 0;
  while (waitpid(process, &state, 0) < 0 && errno == EINTR) {}
  if (WIFSIGNALED(state)) return WTERMSIG(state);
  if (WIFEXITED(state) && WEXITSTATUS(state) != 0) return 1000 + WEXITSTATUS(state);
  return 0;
}

static void trace(const struct report *report) {
  for (int i = 0; i < report->frames; i++) {
    Dl_info info;
    if (dladdr(report->trace[i], &info) == 0 || strstr(info.dli_fname, "vaekl") == NULL) continue;
    printf(" %lx", (unsigned long)((char *)report->trace[i] - (char *)info.dli_fbase));
  }
}

static enum kind kind_of(const char *name) {
  static const char *names[] = {"none", "malloc", "mmap", "thread", "pread", "pwrite", "read",
                                "write"};
  for (int kind = 1; kind < 8; kind++) {
    if (strcmp(names[kind], name) == 0) return (enum kind)kind;
  }
  fprintf(stderr, "kind: %s\n", name);
  exit(2);
}

int main(int count, char **words) {
  if (count != 10) return 2;
  struct walk walk;
  memset(&walk, 0, sizeof walk);
  walk.operation = words[1];
  walk.model_path = words[8];
  walk.folder = words[9];
  snprintf(walk.path, sizeof walk.path, "%s/saved.safetensors", walk.folder);
  vaekl_session_options_init(&walk.options, sizeof walk.options);
  walk.options.threads = (uint32_t)strtoul(words[2], NULL, 10);
  if (is(&walk, "diffusers") || is(&walk, "encode_tiles") || is(&walk, "stream_tiles")) {
    walk.options.tiling = VAEKL_TILING_DIFFUSERS;
    walk.options.tile_size = TILE;
  }
  if (is(&walk, "seamless")) {
    walk.options.tiling = VAEKL_TILING_SEAMLESS;
    walk.options.tile_size = TILE;
  }
  struct failure failure = {kind_of(words[3]), 0, strtoul(words[4], NULL, 10),
                            strtoul(words[5], NULL, 10), atoi(words[6]), NULL, NULL};
  long most = strtol(words[7], NULL, 10);
  /* The parent never calls what starts threads: a fork would lose them. */
  struct report *report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (report == MAP_FAILED) return 2;
  failure.trace = report->trace;
  failure.frames = &report->frames;
  int ended = run(&walk, &failure, report);
  if (ended == 1000 + NOTHING) {
    printf("0\n");
    return 0;
  }
  if (ended != 0 || report->status != VAEKL_OK || report->again != VAEKL_OK) {
    printf("%s\n", report->message);
    fprintf(stderr, "%s: without a failure: signal %d, %s\n", walk.operation, ended,
            report->message);
    return 3;
  }
  long points = report->count, every = most > 0 && points > most ? (points + most - 1) / most : 1;
  printf("%ld\n", points);
  for (failure.at = 1; most > 0 && failure.at <= points; failure.at += every) {
    int signal = run(&walk, &failure, report);
    printf("%ld %d %d %d %d %d %s", failure.at, report->status, report->same, report->again,
           report->same_again, signal, report->message);
    if (getenv("WALK_TRACE") != NULL) trace(report);
    printf("\n");
    fflush(stdout);
  }
  return 0;
}
