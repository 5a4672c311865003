/* The functions of the C library that fail on request: a program's own come before those of any
 * library, so that all code of the process calls these. */
#define _GNU_SOURCE
#include "fail.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct failure wanted;
static atomic_int counting;
static atomic_long count;

void fail_begin(const struct failure *failure) {
  /* The first trace loads a library. */
  backtrace(failure->trace, MOST_FRAMES);
  *failure->frames = 0;
  wanted = *failure;
  atomic_store(&count, 0);
  atomic_store(&counting, 1);
}

long fail_end(void) {
  atomic_store(&counting, 0);
  return atomic_load(&count);
}

/* Whether this call is the one to fail. */
static int fails(enum kind kind, size_t size) {
  if (!atomic_load(&counting) || kind != wanted.kind) return 0;
  if (kind == MALLOC && (size < wanted.least || size > wanted.most)) return 0;
  if (atomic_fetch_add(&count, 1) + 1 != wanted.at) return 0;
  atomic_store(&counting, 0);
  *wanted.frames = backtrace(wanted.trace, MOST_FRAMES);
  atomic_store(&counting, 1);
  return 1;
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t number, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *uncounted(size_t size) { return __libc_malloc(size); }

static void *none(void) {
  errno = ENOMEM;
  return NULL;
}

void *malloc(size_t size) { return fails(MALLOC, size) ? none() : __libc_malloc(size); }

void *calloc(size_t number, size_t size) {
  return fails(MALLOC, number * size) ? none() : __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
  return fails(MALLOC, size) ? none() : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  return fails(MALLOC, size) ? none() : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
  void *made = aligned_alloc(alignment, size);
  if (made == NULL) return ENOMEM;
  *out = made;
  return 0;
}

/* The function that this program's own hides. */
#define HIDDEN(name)                                      \
  static __typeof__(name) *hidden;                        \
  if (hidden == NULL) *(void **)&hidden = dlsym(RTLD_NEXT, #name)

void *mmap64(void *at, size_t size, int protection, int flags, int file, off64_t offset) {
  HIDDEN(mmap64);
  if (fails(MMAP, size)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return hidden(at, size, protection, flags, file, offset);
}

void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset) {
  return mmap64(at, size, protection, flags, file, offset);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
  HIDDEN(pthread_create);
  return fails(THREAD, 0) ? EAGAIN : hidden(thread, attributes, run, argument);
}

/* What a read or a write of `size` bytes that is to fail does: the rest is for the hidden one. */
#define FAIL(kind, size)                                  \
  if ((size) > 1 && fails(kind, size)) {                  \
    if (wanted.error != SHORT) {                          \
      errno = wanted.error;                               \
      return -1;                                          \
    }                                                     \
    (size) /= 2;                                          \
  }

ssize_t pread64(int file, void *bytes, size_t size, off64_t offset) {
  HIDDEN(pread64);
  FAIL(PREAD, size)
  return hidden(file, bytes, size, offset);
}

ssize_t pread(int file, void *bytes, size_t size, off_t offset) {
  return pread64(file, bytes, size, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t offset) {
  HIDDEN(pwrite64);
  FAIL(PWRITE, size)
  return hidden(file, bytes, size, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset) {
  return pwrite64(file, bytes, size, offset);
}

ssize_t read(int file, void *bytes, size_t size) {
  HIDDEN(read);
  FAIL(READ, size)
  return hidden(file, bytes, size);
}

ssize_t write(int file, const void *bytes, size_t size) {
  HIDDEN(write);
  /* What a dying process says is not the library's. */
  if (file > 2) {
    FAIL(WRITE, size)
  }
  return hidden(file, bytes, size);
}
