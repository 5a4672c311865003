// The multiply-add rate of this moment: double fma_peak(int threads, long rounds), in GFLOP/s.
// Programs that share the machine change what a thread gets; this tells how much it was.
// No library is needed: the widest registers of the processor are used through vector types.
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define INLINE static inline __attribute__((always_inline))

// Twelve independent sums cover the latency (4 cycles) of two units (8 sums) with some to spare,
// and fit the 16 registers of AVX2 together with the two factors.
#define SUMS 12

#define CHAINS(NAME, BYTES, CONSTRAINT)                                              \
  typedef float NAME##_vector __attribute__((vector_size(BYTES)));                   \
  INLINE double NAME##_chains(long rounds) {                                         \
    NAME##_vector sums[SUMS] = {{0}}, factor = {0}, term = {0};                      \
    factor += 0.999999f;                                                             \
    term += 1e-7f;                                                                   \
    /* Each begins elsewhere: equal sums would be computed once. */                  \
    for (int i = 0; i < SUMS; i++) sums[i] += 0.1f * i;                              \
    for (long round = 0; round < rounds; round++) {                                  \
      for (int i = 0; i < SUMS; i++) sums[i] = sums[i] * factor + term;              \
      /* The factors may have changed, as far as the compiler knows: no folding. */  \
      __asm__ volatile("" : "+" CONSTRAINT(factor), "+" CONSTRAINT(term));           \
    }                                                                                \
    /* The sums are used: they may not be left out. */                               \
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" : : CONSTRAINT(sums[i]));     \
    return 2.0 * SUMS * (BYTES / sizeof(float)) * rounds;                            \
  }

#if defined(__x86_64__)
CHAINS(zmm, 64, "v")
CHAINS(ymm, 32, "x")
CHAINS(xmm, 16, "x")
__attribute__((target("avx512f"))) static double run_zmm(long rounds) { return zmm_chains(rounds); }
__attribute__((target("avx2,fma"))) static double run_ymm(long rounds) {
  return ymm_chains(rounds);
}
static double run_xmm(long rounds) { return xmm_chains(rounds); }

static double operations_of_one_thread(long rounds) {
  if (__builtin_cpu_supports("avx512f")) return run_zmm(rounds);
  if (__builtin_cpu_supports("fma")) return run_ymm(rounds);
  return run_xmm(rounds);
}
#else
CHAINS(neon, 16, "w")
static double operations_of_one_thread(long rounds) { return neon_chains(rounds); }
#endif

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

static void *thread_main(void *rounds) {
  operations_of_one_thread(*(long *)rounds);
  return NULL;
}

double fma_peak(int threads, long rounds) {
  pthread_t *others = calloc(threads, sizeof(pthread_t));
  if (!others) return 0;
  double start = seconds();
  int started = 1;
  while (started < threads && !pthread_create(&others[started], NULL, thread_main, &rounds))
    started++;
  double operations = started * operations_of_one_thread(rounds);
  for (int i = 1; i < started; i++) pthread_join(others[i], NULL);
  free(others);
  return operations / (seconds() - start) / 1e9;
}
