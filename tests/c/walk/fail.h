/* Calls to the system that fail on request. fail.c takes the place of the functions themselves. */
#ifndef VAEKL_TESTS_WALK_FAIL_H
#define VAEKL_TESTS_WALK_FAIL_H

#include <stddef.h>

enum kind { NONE, MALLOC, MMAP, THREAD, PREAD, PWRITE, READ, WRITE };

/* What a call that is to fail does beside setting errno. */
enum { SHORT = -1 };

struct failure {
  enum kind kind;
  /* Calls of the kind are counted from 1; this one fails. 0: none, they are counted only. */
  long at;
  /* Allocations of fewer bytes are not counted, nor those of more. */
  size_t least, most;
  /* errno, or SHORT: half of the bytes are read or written, which is no failure. */
  int error;
  /* Where the return addresses of the call that failed go, and their number: what a process leaves
   * that such a call ends. */
  void **trace;
  int *frames;
};

enum { MOST_FRAMES = 32 };

/* Counts from now on. */
void fail_begin(const struct failure *failure);

/* Counts no longer. Gives the number of calls counted. */
long fail_end(void);

/* Memory for what is not counted; it never fails on request. */
void *uncounted(size_t size);

#endif
