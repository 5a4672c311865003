/* unload LIBRARY MODEL ROUNDS: loads the library, uses it, frees everything and unloads it, again
 * and again. Not linked with the library: nothing else may hold it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include "../check.h"

/* The function `name` of the library. */
#define FUNCTION(name)                                  \
  do {                                                  \
    void *symbol = dlsym(library, "vaekl_" #name);      \
    CHECK(symbol != NULL);                              \
    memcpy(&name, &symbol, sizeof symbol);              \
  } while (0)

static void *library;
static const char *model_path;
static uint32_t threads;
static int decodes;

/* In a thread of its own, so that what the library keeps of a thread is gone before. */
static void *use(void *unused) {
  __typeof__(&vaekl_model_open) model_open;
  __typeof__(&vaekl_model_free) model_free;
  __typeof__(&vaekl_session_options_init) session_options_init;
  __typeof__(&vaekl_session_new) session_new;
  __typeof__(&vaekl_session_free) session_free;
  __typeof__(&vaekl_decode) decode;
  static float latents[LATENTS], pixels[VALUES];
  vaekl_latent latent = latent_view(latents, VAEKL_DTYPE_F32);
  vaekl_image image = image_view(pixels, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);
  vaekl_session_options options;
  vaekl_model *model = NULL;
  vaekl_session *session = NULL;
  (void)unused;
  FUNCTION(model_open);
  FUNCTION(model_free);
  FUNCTION(session_options_init);
  FUNCTION(session_new);
  FUNCTION(session_free);
  FUNCTION(decode);
  CHECK(session_options_init(&options, sizeof options) == VAEKL_OK);
  options.threads = threads;
  CHECK(model_open(model_path, NULL, &model, NULL) == VAEKL_OK);
  CHECK(session_new(model, &options, &session, NULL) == VAEKL_OK);
  if (decodes) {
    CHECK(decode(session, &latent, &image, NULL) == VAEKL_OK);
  }
  session_free(session);
  model_free(model);
  return NULL;
}

/* Whether the library is in the memory of this process. */
static int is_mapped(void) {
  char line[8192];
  int mapped = 0;
  FILE *file = fopen("/proc/self/maps", "r");
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    /* Folders may have the name of the project. */
    mapped |= strstr(line, "/libvaekl.so") != NULL;
  }
  fclose(file);
  return mapped;
}

int main(int argc, char **argv) {
  int round, rounds;
  CHECK(argc == 4);
  model_path = argv[2];
  rounds = atoi(argv[3]);
  for (round = 0; round < rounds; round++) {
    pthread_t thread;
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    CHECK(is_mapped());
    threads = 2 + (uint32_t)round % 3;
    /* Mostly threads that have hardly begun when they are told to end. */
    decodes = round % 10 == 0;
    CHECK(pthread_create(&thread, NULL, use, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(dlclose(library) == 0);
    CHECK(!is_mapped());
  }
  /* For a thread that would still run its code. */
  usleep(200000);
  puts("ok");
  return 0;
}
