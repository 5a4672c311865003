// What the tests share: checks that count, calls in either mode of vaekl.hpp, the files to compare
// with.
#ifndef VAEKL_TESTS_CHECK_HPP
#define VAEKL_TESTS_CHECK_HPP

#include <vaekl.hpp>
#include <vaekl.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

struct Test {
  const char *name;
  void (*run)();
};

/// All tests of the program, which TEST adds to.
inline std::vector<Test> &tests() {
  static std::vector<Test> all;
  return all;
}

#define TEST(name)                                                         \
  static void name();                                                      \
  static const bool name##_added = (tests().push_back({#name, name}), true); \
  static void name()

/// Checks of the present test that failed.
inline int failures = 0;

inline void check(bool right, const char *what, const char *file, int line) {
  if (right) return;
  failures++;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what);
}

#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)

/// The error of a call, if it failed.
template <class Call>
std::optional<vaekl::Error> error_of(const Call &call) {
#ifdef VAEKL_NO_EXCEPTIONS
  auto result = call();
  if (!result) return result.error();
#else
  try {
    (void)call();
  } catch (const vaekl::Error &error) {
    return error;
  }
#endif
  return std::nullopt;
}

template <class Call>
void check_fails(const Call &call, vaekl_status wanted, const std::string &words, const char *file,
                 int line) {
  const auto error = error_of(call);
  const std::string found =
      error ? vaekl_status_name(error->status()) + (": " + std::string(error->what())) : "ok";
  const bool right = error && error->status() == wanted && found.find(words) != std::string::npos;
  check(right, (vaekl_status_name(wanted) + (", " + words) + " expected, found " + found).c_str(),
        file, line);
}

/// The call fails with that status, and its message has those words.
#define FAILS(call, wanted, words) \
  check_fails([&] { return call; }, wanted, words, __FILE__, __LINE__)

#ifdef VAEKL_NO_EXCEPTIONS
template <class T>
T must(vaekl::Result<T> &&result) {
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().what());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}
/// The value of a call that must work.
#define MUST(call) must(call)
#else
#define MUST(call) (call)
#endif

inline std::string data(const std::string &name) {
  const char *folder = std::getenv("VAEKL_TEST_DATA");
  return std::string(folder != nullptr ? folder : ".") + "/" + name;
}

/// The file `name` as values of T.
template <class T>
std::vector<T> read(const std::string &name) {
  std::FILE *file = std::fopen(data(name).c_str(), "rb");
  if (file == nullptr) {
    std::fprintf(stderr,
                 "%s cannot be opened: VAEKL_TEST_DATA is what scripts/hosts/data.py made\n",
                 name.c_str());
    std::exit(1);
  }
  std::vector<T> values;
  T value;
  while (std::fread(&value, sizeof value, 1, file) == 1) values.push_back(value);
  std::fclose(file);
  return values;
}

/// The fixture: 4x5x7 latents, 40x56 pixels.
constexpr std::uint32_t channels = 4, latent_height = 5, latent_width = 7, height = 40, width = 56;

inline vaekl::Latents<const float> fixture() {
  static const std::vector<float> values = read<float>("latents.f32");
  return {values, 1, channels, latent_height, latent_width};
}

inline const std::vector<std::uint8_t> &picture() {
  static const std::vector<std::uint8_t> bytes = read<std::uint8_t>("picture.rgb");
  return bytes;
}

inline const vaekl::Model &model() {
  static const vaekl::Model opened = MUST(vaekl::Model::open(data("model")));
  return opened;
}

inline vaekl::Session new_session(const vaekl::SessionOptions &options = {}) {
  return MUST(vaekl::Session::create(model(), options));
}

/// The same bits.
template <class T, class U>
bool same(const T &a, const U &b) {
  const std::size_t size = sizeof *std::data(a);
  return std::size(a) == std::size(b) &&
         std::memcmp(std::data(a), std::data(b), std::size(a) * size) == 0;
}

#endif
