/* budget: what a decode needs, known before it is done, and kept.
 *
 *     budget MODEL WIDTH HEIGHT [SCRATCH]
 *
 * Prints what a decode of WIDTH x HEIGHT latents would need without a limit and under
 * ever smaller budgets, until none can be kept, and says the least. SCRATCH is a folder
 * where activations may go. Nothing is decoded: plans take milliseconds.
 *
 *     cc -std=c99 budget.c $(pkg-config --cflags --libs vaekl) -o budget
 */
#include "files.h"

static double mebibytes(uint64_t bytes) { return (double)bytes / (1024.0 * 1024.0); }

int main(int argc, char **argv) {
  vaekl_error error;
  vaekl_model *model;
  vaekl_session_options options;
  vaekl_plan plan;
  vaekl_status status;
  uint32_t width, height;

  if (argc != 4 && argc != 5) {
    fputs("usage: budget MODEL WIDTH HEIGHT [SCRATCH]\n", stderr);
    return 2;
  }
  check(vaekl_model_open(argv[1], NULL, &model, &error), &error);
  width = (uint32_t)strtoul(argv[2], NULL, 10);
  height = (uint32_t)strtoul(argv[3], NULL, 10);
  vaekl_session_options_init(&options, sizeof options);
  options.scratch_dir = argc == 5 ? argv[4] : NULL;

  printf("%12s %12s %12s %12s\n", "budget", "peak", "workspace", "scratch file");
  for (;;) {
    plan.struct_size = sizeof plan;
    status = vaekl_plan_decode(model, &options, width, height, &plan, &error);
    if (status == VAEKL_ERR_BUDGET) { /* the message has the least that can be kept */
      printf("%8.1f MiB refused: %s\n", mebibytes(options.memory_budget), error.message);
      break;
    }
    check(status, &error);
    printf("%8.1f MiB %8.1f MiB %8.1f MiB %8.1f MiB\n", mebibytes(options.memory_budget),
           mebibytes(plan.peak_bytes), mebibytes(plan.workspace_bytes),
           mebibytes(plan.scratch_bytes));
    options.memory_budget = plan.peak_bytes / 10 * 9;
  }
  vaekl_model_free(model);
  return 0;
}
