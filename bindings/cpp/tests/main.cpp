// tests [WORD]: runs all tests, or those with the word in their names. VAEKL_TEST_DATA is what
// scripts/hosts/data.py made.
#include "check.hpp"

#ifdef VAEKL_NO_EXCEPTIONS
#define MODE "cpp, no exceptions: "
static void run(const Test &test) { test.run(); }
#else
#define MODE "cpp, exceptions: "
static void run(const Test &test) {
  try {
    test.run();
  } catch (const std::exception &error) {
    failures++;
    std::fprintf(stderr, "%s\n", error.what());
  }
}
#endif

int main(int argc, char **argv) {
  int passed = 0, failed = 0;
  for (const Test &test : tests()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    failures = 0;
    run(test);
    (failures == 0 ? passed : failed)++;
    if (failures != 0) std::printf(MODE "%s failed\n", test.name);
  }
  std::printf(MODE "%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}
