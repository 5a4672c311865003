/* cancel: shows progress, and stops at Ctrl-C or at a deadline.
 *
 *     cancel MODEL WIDTH HEIGHT [SECONDS]
 *
 * Decodes WIDTH x HEIGHT latents of zeros. The session is as good as before after a
 * cancelled call: the second decode runs to its end.
 *
 *     cc -std=c99 cancel.c $(pkg-config --cflags --libs vaekl) -o cancel
 */
#include <signal.h>
#include <time.h>

#include "files.h"

static volatile sig_atomic_t interrupted = 0;

static void on_interrupt(int signal_number) {
  (void)signal_number;
  interrupted = 1;
}

/* Called by the library from time to time, on the thread that decodes. Another thread would call
 * vaekl_session_cancel instead. */
static int32_t on_progress(void *user, uint64_t done, uint64_t total) {
  const clock_t *deadline = (const clock_t *)user;
  fprintf(stderr, "\r%3d %%", (int)(100.0 * (double)done / (double)total));
  return interrupted || (*deadline != 0 && clock() > *deadline); /* not 0 cancels */
}

int main(int argc, char **argv) {
  vaekl_error error;
  vaekl_model *model;
  vaekl_model_info info;
  vaekl_session_options options;
  vaekl_session *session;
  vaekl_latent latent = {NULL, 1, 0, 0, 0, VAEKL_DTYPE_F32, VAEKL_LATENT_RAW};
  vaekl_image picture;
  vaekl_status status;
  clock_t deadline = 0; /* of processor time; 0 is none */

  if (argc != 4 && argc != 5) {
    fputs("usage: cancel MODEL WIDTH HEIGHT [SECONDS]\n", stderr);
    return 2;
  }
  check(vaekl_model_open(argv[1], NULL, &model, &error), &error);
  info = rgb_info(model, argv[1]);
  latent.channels = info.latent_channels;
  latent.width = (uint32_t)strtoul(argv[2], NULL, 10);
  latent.height = (uint32_t)strtoul(argv[3], NULL, 10);
  latent.data = calloc((size_t)latent.channels * latent.width * latent.height + 1, sizeof(float));
  if (latent.data == NULL) {
    fail("calloc", "out of memory");
  }
  picture = new_picture(latent.width * info.downscale, latent.height * info.downscale, 3);

  vaekl_session_options_init(&options, sizeof options);
  options.progress = on_progress;
  options.progress_user = &deadline;
  check(vaekl_session_new(model, &options, &session, &error), &error);
  signal(SIGINT, on_interrupt);
  if (argc == 5) {
    deadline = clock() + (clock_t)(strtod(argv[4], NULL) * CLOCKS_PER_SEC);
  }
  status = vaekl_decode(session, &latent, &picture, &error);
  if (status == VAEKL_ERR_CANCELLED) {
    fprintf(stderr, "\n%s; once more, to the end\n", error.message);
    interrupted = 0;
    deadline = 0;
    status = vaekl_decode(session, &latent, &picture, &error);
  }
  check(status, &error);
  fprintf(stderr, "\ndecoded %ux%u\n", picture.width, picture.height);

  vaekl_session_free(session);
  vaekl_model_free(model);
  free(picture.data);
  free(latent.data);
  return 0;
}
