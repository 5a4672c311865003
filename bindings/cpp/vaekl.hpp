// libvaekl for C++17: RAII, views and containers over vaekl.h, header-only. Constants (VAEKL_...),
// fields of options, vaekl_model_info and vaekl_plan are those of vaekl.h, and documented there.
//
// Errors     A function that can fail returns Fallible<T>: a T, and failures are thrown as
//            vaekl::Error. With VAEKL_NO_EXCEPTIONS, which is defined where exceptions are off, it
//            is a Result<T>, of a T or an Error. Each mode has a namespace of its own: units of
//            both may be linked into one program.
// Ownership  Model, Session and Stream own what they stand for: they are moved, not copied, and a
//            call on one that was moved from is an error. Span, Image, Latents and Rows own
//            nothing.
// Threads    Any number of threads may use one Model. A Session is for one call at a time, from any
//            thread; cancel() and memory() may run beside it.
#ifndef VAEKL_HPP
#define VAEKL_HPP

#include <vaekl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if !defined(VAEKL_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define VAEKL_NO_EXCEPTIONS
#endif

namespace vaekl {
#ifdef VAEKL_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

/* ---- errors ---------------------------------------------------------------- */

/// Why a call failed. what() is one line that names the file, tensor or argument.
class Error : public std::runtime_error {
 public:
  Error(vaekl_status status, const std::string &message, int os_error = 0)
      : std::runtime_error(message), status_(status), os_error_(os_error) {}
  /// A VAEKL_ERR constant.
  vaekl_status status() const noexcept { return status_; }
  /// The system's errno for VAEKL_ERR_IO, such as ENOENT; otherwise 0.
  int os_error() const noexcept { return os_error_; }
 private:
  vaekl_status status_;
  int os_error_;
};

#ifdef VAEKL_NO_EXCEPTIONS
/// A T, or an error. Accessing the one that is not there ends the program.
template <class T>
class [[nodiscard]] Result {
  using Value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

 public:
  Result() = default;
  Result(Value &&value) : held_(std::move(value)) {}
  Result(Error error) : held_(std::move(error)) {}
  /// True when there is a value.
  explicit operator bool() const noexcept { return held_.index() == 0; }
  Value &value() & { return std::get<0>(held_); }
  const Value &value() const & { return std::get<0>(held_); }
  Value &&value() && { return std::get<0>(std::move(held_)); }
  const Error &error() const { return std::get<1>(held_); }

 private:
  std::variant<Value, Error> held_;
};

template <class T>
using Fallible = Result<T>;
#define VAEKL_DETAIL_FAIL(...) return Error(__VA_ARGS__)
#define VAEKL_DETAIL_TRY(call) \
  if (auto vaekl_step = call; !vaekl_step) return vaekl_step.error()
#else
template <class T>
using Fallible = T;
#define VAEKL_DETAIL_FAIL(...) throw Error(__VA_ARGS__)
#define VAEKL_DETAIL_TRY(call) call
#endif

/* ---- views and options ----------------------------------------------------- */

namespace detail {
/// Element type of C, a container or an array.
template <class C>
using element_of =
    std::remove_pointer_t<decltype(std::data(std::declval<std::remove_reference_t<C> &>()))>;

template <class T>
T defaults(vaekl_status (*init)(T *, std::size_t)) noexcept {
  T options{};
  init(&options, sizeof options);
  return options;
}
}  // namespace detail

/// A view of `size` values, like C++20's std::span.
template <class T>
class Span {
 public:
  constexpr Span() noexcept = default;
  constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
  /// From a std::vector, a std::array, an array or anything else with data() and size(), but not
  /// from a temporary.
  template <class C,
            class = std::enable_if_t<std::is_convertible_v<detail::element_of<C> (*)[], T (*)[]>>>
  constexpr Span(C &container) noexcept
      : data_(std::data(container)), size_(std::size(container)) {}
  template <class U, class = std::enable_if_t<std::is_convertible_v<U (*)[], T (*)[]>>>
  constexpr Span(const Span<U> &other) noexcept : data_(other.data()), size_(other.size()) {}

  constexpr T *data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr T *begin() const noexcept { return data_; }
  constexpr T *end() const noexcept { return data_ + size_; }
  constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }

 private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

/// IEEE 754 binary16 and bfloat16, as bits.
struct Float16 { std::uint16_t bits; };
struct BFloat16 { std::uint16_t bits; };

/// The VAEKL_DTYPE of an element type; undefined for other types.
template <class T> struct dtype;
template <> struct dtype<float> : std::integral_constant<vaekl_dtype, VAEKL_DTYPE_F32> {};
template <> struct dtype<Float16> : std::integral_constant<vaekl_dtype, VAEKL_DTYPE_F16> {};
template <> struct dtype<BFloat16> : std::integral_constant<vaekl_dtype, VAEKL_DTYPE_BF16> {};
template <> struct dtype<std::uint8_t> : std::integral_constant<vaekl_dtype, VAEKL_DTYPE_U8> {};

/// A picture in the caller's memory, with the model's number of channels. T is std::uint8_t, float,
/// Float16 or BFloat16, const for inputs. Values are nominally in [-1, 1]; bytes map that to 0 to
/// 255.
template <class T>
struct Image {
  /// From the first pixel to at least the last.
  Span<T> pixels;
  std::uint32_t width = 0, height = 0;
  /// VAEKL_LAYOUT_HWC (interleaved) or VAEKL_LAYOUT_CHW (one plane per channel).
  vaekl_layout layout = VAEKL_LAYOUT_HWC;
  /// Bytes from one row to the next, and from one plane to the next (CHW only); 0 = packed.
  std::size_t row_stride = 0, plane_stride = 0;
};
template <class C, class... Rest>
Image(C &&, Rest...) -> Image<detail::element_of<C>>;

/// A batch of latents in the caller's memory, contiguous NCHW. T is float, Float16 or BFloat16,
/// const for inputs. Scaled ones of a model with a patch_size p may be folded: p * p times the
/// channels, sides divided by p.
template <class T>
struct Latents {
  Span<T> values;
  std::uint32_t batch = 0, channels = 0, height = 0, width = 0;
  /// VAEKL_LATENT_RAW or VAEKL_LATENT_SCALED.
  std::uint32_t scale = VAEKL_LATENT_RAW;
};
template <class C, class... Rest>
Latents(C &&, Rest...) -> Latents<detail::element_of<C>>;

/// Decoded pictures, one after the other, packed.
template <class T>
struct ImageBuffer {
  std::vector<T> pixels;
  std::uint32_t batch = 0, channels = 0, height = 0, width = 0;
  vaekl_layout layout = VAEKL_LAYOUT_HWC;

  /// Picture `index` of the batch.
  Image<T> view(std::size_t index = 0) {
    const std::size_t size = std::size_t{channels} * height * width;
    return {{pixels.data() + index * size, size}, width, height, layout};
  }
};

/// Encoded latents, NCHW.
template <class T>
struct LatentBuffer {
  std::vector<T> values;
  std::uint32_t batch = 0, channels = 0, height = 0, width = 0;
  std::uint32_t scale = VAEKL_LATENT_RAW;

  Latents<T> view() { return {values, batch, channels, height, width, scale}; }
};

/// `count` rows of a picture, from row `y` on, packed HWC. Valid until the next are read.
template <class T>
struct Rows {
  Span<const T> pixels;
  std::uint32_t y = 0, count = 0;
};

/// Options for opening a model: the fields of vaekl_model_options at their defaults; strings are
/// owned.
struct ModelOptions : vaekl_model_options {
  std::string config_path, preset, variant;
  ModelOptions() : vaekl_model_options(detail::defaults(vaekl_model_options_init)) {}
};

/// Options for saving a model: the fields of vaekl_save_options at their defaults; the string is
/// owned.
struct SaveOptions : vaekl_save_options {
  std::string variant;
  SaveOptions() : vaekl_save_options(detail::defaults(vaekl_save_options_init)) {}
};

/// Reports progress, on the thread of the call. Return true to go on, false to cancel. It must not
/// use the session. An exception cancels the call, which then throws it.
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

/// Options of a session: the fields of vaekl_session_options at their defaults; string and callback
/// are owned.
struct SessionOptions : vaekl_session_options {
  std::string scratch_dir;
  Progress progress;
  SessionOptions() : vaekl_session_options(detail::defaults(vaekl_session_options_init)) {}
};

/// The value of the posterior to return, such as `{VAEKL_POSTERIOR_SAMPLE, seed}`.
struct Posterior {
  /// VAEKL_POSTERIOR_MODE, _SAMPLE, or _MOMENTS: twice the channels, RAW only.
  vaekl_posterior what = VAEKL_POSTERIOR_MODE;
  std::uint64_t seed = 0;
  std::uint32_t scale = VAEKL_LATENT_RAW;
  /// Whether SCALED latents of a model with a patch_size are folded into patches.
  bool folded = false;
};

namespace detail {
template <auto function>
struct Free {
  template <class T> void operator()(T *object) const noexcept { function(object); }
};

inline Fallible<void> check(vaekl_status status, const vaekl_error &error) {
  if (status < VAEKL_OK) VAEKL_DETAIL_FAIL(status, error.message, error.os_error);
  return Fallible<void>();
}

inline Fallible<void> check_size(const char *name, bool fits, std::size_t expected,
                                 std::size_t found) {
  if (fits) return Fallible<void>();
  const std::string sizes =
      std::to_string(expected) + " expected, " + std::to_string(found) + " found";
  VAEKL_DETAIL_FAIL(VAEKL_ERR_INVALID_ARGUMENT, name + (": " + sizes));
}

/// Sums and products of sizes, SIZE_MAX on overflow, which no memory has.
inline std::size_t sum(std::size_t a, std::size_t b) noexcept {
  return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}
inline std::size_t product(std::size_t a, std::size_t b) noexcept {
  return b != 0 && a > SIZE_MAX / b ? SIZE_MAX : a * b;
}

/// Checks that a view's memory has room for its sizes; the library checks the rest.
template <class T>
Fallible<void> to_c(const Image<T> &image, std::size_t channels, const char *name,
                    vaekl_image &out) {
  const bool planar = image.layout == VAEKL_LAYOUT_CHW;
  const std::size_t row = product(product(image.width, planar ? 1 : channels), sizeof(T));
  const std::size_t row_stride = image.row_stride != 0 ? image.row_stride : row;
  const std::size_t packed = product(image.height, row_stride);
  const std::size_t plane_stride = image.plane_stride != 0 ? image.plane_stride : packed;
  // The memory may end with the last pixel, short of the strides of its row and plane.
  const std::size_t planes = planar ? product(channels - 1, plane_stride) : 0;
  const std::size_t rows = product(std::max(image.height, std::uint32_t{1}) - 1, row_stride);
  const std::size_t expected = sum(planes, sum(rows, row)), found = image.pixels.size() * sizeof(T);
  VAEKL_DETAIL_TRY(check_size(name, expected <= found, expected, found));
  // C has one type of views, and writes to those of outputs only.
  void *data = const_cast<std::remove_const_t<T> *>(image.pixels.data());
  out = {data,         image.width,      image.height,      dtype<std::remove_const_t<T>>::value,
         image.layout, image.row_stride, image.plane_stride};
  return Fallible<void>();
}

template <class T>
Fallible<void> to_c(const Latents<T> &latents, const char *name, vaekl_latent &out) {
  const auto &[values, batch, channels, height, width, scale] = latents;
  const std::size_t expected = product(product(product(batch, channels), height), width);
  VAEKL_DETAIL_TRY(check_size(name, expected == values.size(), expected, values.size()));
  void *data = const_cast<std::remove_const_t<T> *>(values.data());
  out = {data, batch, channels, height, width, dtype<std::remove_const_t<T>>::value, scale};
  return Fallible<void>();
}

/// Side of the patches that latents are folded into, 1 if they are not.
inline std::uint32_t patch_of(const vaekl_latent &latents, const vaekl_model_info &info) noexcept {
  const std::uint32_t patch = info.patch_size;
  const bool folded = patch > 1 && latents.scale == VAEKL_LATENT_SCALED &&
                      latents.channels == info.latent_channels * patch * patch;
  return folded ? patch : 1;
}

/// Side of the latent of a picture's side: what is left over is dropped, or kept by a family
/// without posterior.
inline std::uint32_t encoded_length(std::uint32_t length, const vaekl_model_info &info) noexcept {
  const bool kept = info.posterior == 0 && length % info.downscale != 0;
  return length / info.downscale + (kept ? 1 : 0);
}

inline const char *or_null(const std::string &text) noexcept {
  return text.empty() ? nullptr : text.c_str();
}

/// These borrow the strings of `options`, and leave a session's callback to it.
inline vaekl_model_options to_c(const ModelOptions &options) noexcept {
  vaekl_model_options c = options;
  c.config_path = or_null(options.config_path);
  c.preset = or_null(options.preset);
  c.variant = or_null(options.variant);
  return c;
}

inline vaekl_save_options to_c(const SaveOptions &options) noexcept {
  vaekl_save_options c = options;
  c.variant = or_null(options.variant);
  return c;
}

inline vaekl_session_options to_c(const SessionOptions &options) noexcept {
  vaekl_session_options c = options;
  c.scratch_dir = or_null(options.scratch_dir);
  return c;
}

/// A session at a fixed address, for its callback. Streams share it.
struct SessionState {
  vaekl_model_info info{};
  Progress progress;
  std::exception_ptr thrown;  // by progress
  std::unique_ptr<vaekl_session, Free<vaekl_session_free>> handle;

  /// A vaekl_progress_fn, which must not throw.
  static std::int32_t on_progress(void *user, std::uint64_t done, std::uint64_t total) noexcept {
    auto &self = *static_cast<SessionState *>(user);
#ifdef VAEKL_NO_EXCEPTIONS
    return self.progress(done, total) ? 0 : 1;
#else
    try {
      return self.progress(done, total) ? 0 : 1;
    } catch (...) {
      self.thrown = std::current_exception();
      return 1;
    }
#endif
  }

  Fallible<void> check(vaekl_status status, const vaekl_error &error) {
#ifndef VAEKL_NO_EXCEPTIONS
    if (status == VAEKL_ERR_CANCELLED && thrown)
      std::rethrow_exception(std::exchange(thrown, nullptr));
#endif
    return detail::check(status, error);
  }
};
}  // namespace detail

/* ---- model ----------------------------------------------------------------- */

/// An open autoencoder: immutable, shared by any number of sessions and threads. Sessions may
/// outlive it.
class Model {
 public:
  /// Opens a checkpoint of any format. Its files are mapped: do not change them while the model or
  /// a session of it exists.
  [[nodiscard]] static Fallible<Model> open(const std::string &path,
                                            const ModelOptions &options = {}) {
    const auto c = detail::to_c(options);
    return make([&](auto... out) { return vaekl_model_open(path.c_str(), &c, out...); });
  }

  /// Opens a file of any format in memory. The bytes are not copied: they must stay valid and
  /// unchanged until the model and all its sessions are gone.
  [[nodiscard]] static Fallible<Model> from_bytes(Span<const std::byte> bytes,
                                                  const ModelOptions &options = {}) {
    const auto c = detail::to_c(options);
    return make([&](auto... out) {
      return vaekl_model_open_bytes(bytes.data(), bytes.size(), &c, out...);
    });
  }

  /// Properties of the model: channels, downscale, scaling factor and more.
  const vaekl_model_info &info() const noexcept { return info_; }
  /// The family: the name of diffusers' class, such as "AutoencoderTiny". Valid as long as the
  /// model; NULL if moved from.
  const char *family() const noexcept { return vaekl_model_family(get()); }
  /// What tells the family, for a person: the class in a configuration, or a tensor. Valid as long
  /// as the model; NULL if moved from.
  const char *family_source() const noexcept { return vaekl_model_family_source(get()); }
  /// The configuration as JSON. Valid as long as the model; NULL if moved from.
  const char *config() const noexcept { return vaekl_model_config(get()); }
  /// What to tell the user: guessed parts of the configuration, and weights that it leaves out.
  std::vector<std::string> notices() const {
    std::vector<std::string> lines;
    for (std::uint32_t i = 0; const char *line = vaekl_model_notice(get(), i); ++i)
      lines.emplace_back(line);
    return lines;
  }

  /// Saves the model: to one file, with its configuration, if `path` ends in .safetensors, else to
  /// a diffusers folder. They may be those that it was opened from.
  Fallible<void> save(const std::string &path, const SaveOptions &options = {}) const {
    const auto c = detail::to_c(options);
    vaekl_error error;
    return detail::check(vaekl_model_save(get(), path.c_str(), &c, &error), error);
  }

  /// What a session with `options` needs to decode one latent, or to encode one picture, of this
  /// size.
  [[nodiscard]] Fallible<vaekl_plan> plan_decode(std::uint32_t latent_width,
                                                 std::uint32_t latent_height,
                                                 const SessionOptions &options = {}) const {
    return plan(vaekl_plan_decode, latent_width, latent_height, options);
  }
  [[nodiscard]] Fallible<vaekl_plan> plan_encode(std::uint32_t width, std::uint32_t height,
                                                 const SessionOptions &options = {}) const {
    return plan(vaekl_plan_encode, width, height, options);
  }

  /// The handle for functions of vaekl.h; NULL if moved from.
  vaekl_model *get() const noexcept { return handle_.get(); }

 private:
  template <class Open>
  static Fallible<Model> make(const Open &open) {
    vaekl_error error;
    vaekl_model *handle = nullptr;
    VAEKL_DETAIL_TRY(detail::check(open(&handle, &error), error));
    Model model;
    model.handle_.reset(handle);
    model.info_.struct_size = sizeof model.info_;
    vaekl_model_get_info(handle, &model.info_);
    return model;
  }

  template <class Call>
  Fallible<vaekl_plan> plan(Call call, std::uint32_t w, std::uint32_t h,
                            const SessionOptions &options) const {
    const auto c = detail::to_c(options);
    vaekl_error error;
    vaekl_plan result{};
    result.struct_size = sizeof result;
    VAEKL_DETAIL_TRY(detail::check(call(get(), &c, w, h, &result, &error), error));
    return result;
  }

  vaekl_model_info info_{};
  std::unique_ptr<vaekl_model, detail::Free<vaekl_model_free>> handle_;
};

/* ---- session --------------------------------------------------------------- */

/// A decode whose rows are read as pixels of type T, in a loop, `for (const auto &rows : stream)`,
/// or by read(). The session is in use until the stream is destroyed, at its end or before.
template <class T>
class Stream {
 public:
  std::uint32_t width() const noexcept { return width_; }
  std::uint32_t height() const noexcept { return height_; }
  std::uint32_t channels() const noexcept { return channels_; }
  /// Reads as many HWC rows as fit `out`, `row_stride` bytes apart (0 = packed). Returns their
  /// number, 0 after the last; fewer than fit if what follows failed, which the next read tells,
  /// and each one after it.
  [[nodiscard]] Fallible<std::uint32_t> read(Span<T> out, std::size_t row_stride = 0) {
    const std::size_t row = std::size_t{width_} * channels_ * sizeof(T),
                      found = out.size() * sizeof(T);
    VAEKL_DETAIL_TRY(detail::check_size("out, bytes", row <= found, row, found));
    const std::size_t room = (found - row) / std::max({row_stride, row, std::size_t{1}}) + 1;
    const auto most = static_cast<std::uint32_t>(std::min<std::size_t>(room, height_));
    if (!handle_) VAEKL_DETAIL_FAIL(VAEKL_ERR_INVALID_ARGUMENT, "stream: moved from");
    std::uint32_t count = 0;
    vaekl_error error;
    const auto status =
        vaekl_stream_read(handle_.get(), out.data(), row_stride, most, &count, &error);
    VAEKL_DETAIL_TRY(handle_.get_deleter().session->check(status, error));
    y_ += count;
    return count;
  }

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Rows<T>;
    using difference_type = std::ptrdiff_t;
    using pointer = const Rows<T> *;
    using reference = const Rows<T> &;
    reference operator*() const noexcept { return stream_->rows_; }
    pointer operator->() const noexcept { return &stream_->rows_; }
    Iterator &operator++() { return stream_ = stream_->advance() ? stream_ : nullptr, *this; }
    void operator++(int) { ++*this; }
    bool operator==(const Iterator &other) const noexcept { return stream_ == other.stream_; }
    bool operator!=(const Iterator &other) const noexcept { return stream_ != other.stream_; }
   private:
    friend Stream;
    explicit Iterator(Stream *stream) noexcept : stream_(stream) {}
    Stream *stream_;
  };

  /// Reads the first rows of a loop; a second loop continues where the first ended.
  Iterator begin() { return Iterator(advance() ? this : nullptr); }
  Iterator end() noexcept { return Iterator(nullptr); }

  /// The error that ended a loop, if it was not thrown.
  const std::optional<Error> &error() const noexcept { return error_; }

 private:
  friend class Session;
  struct Free {
    std::shared_ptr<detail::SessionState> session;
    void operator()(vaekl_stream *stream) const noexcept {
      vaekl_stream_free(stream);
#ifndef VAEKL_NO_EXCEPTIONS
      // What progress threw after the last rows that were read is of no later call.
      if (session) session->thrown = nullptr;
#endif
    }
  };

  /// Reads the next rows of a loop; false after the last.
  bool advance() {
    const std::size_t row = std::size_t{width_} * channels_;
    pixels_.resize(row * std::min(rows_at_a_time_, height_));
    rows_.y = y_;
#ifdef VAEKL_NO_EXCEPTIONS
    const auto count = read(pixels_);
    if (!count) error_ = count.error();
    rows_.count = count ? count.value() : 0;
#else
    rows_.count = read(pixels_);
#endif
    rows_.pixels = {pixels_.data(), row * rows_.count};
    return rows_.count != 0;
  }

  std::unique_ptr<vaekl_stream, Free> handle_;
  std::uint32_t width_ = 0, height_ = 0, channels_ = 0, rows_at_a_time_ = 1, y_ = 0;
  std::vector<T> pixels_;
  Rows<T> rows_;
  std::optional<Error> error_;
};

/// Runs a model, one call at a time, with its own threads and workspace.
class Session {
 public:
  Session() = default;
  Session(Session &&) noexcept = default;
  Session &operator=(Session &&) noexcept = default;
  /// Makes a session. The model may be destroyed before it. The options are copied, except for a
  /// workspace.
  [[nodiscard]] static Fallible<Session> create(const Model &model,
                                                const SessionOptions &options = {}) {
    Session session;
    session.state_ = std::make_shared<detail::SessionState>();
    detail::SessionState &state = *session.state_;
    state.info = model.info();
    state.progress = options.progress;
    auto c = detail::to_c(options);
    c.progress = options.progress ? &state.on_progress : nullptr;
    c.progress_user = &state;
    vaekl_error error;
    vaekl_session *handle = nullptr;
    VAEKL_DETAIL_TRY(detail::check(vaekl_session_new(model.get(), &c, &handle, &error), error));
    state.handle.reset(handle);
    return session;
  }

  /// Decodes a batch, to bytes or to a given type: `session.decode<float>(latents)`.
  template <class Out = std::uint8_t, class T>
  [[nodiscard]] Fallible<ImageBuffer<Out>> decode(const Latents<T> &latents,
                                                  vaekl_layout layout = VAEKL_LAYOUT_HWC) {
    vaekl_latent in;
    VAEKL_DETAIL_TRY(prepare(latents, in));
    ImageBuffer<Out> out = room<Out>(in, layout);
    std::vector<Image<Out>> views;
    for (std::size_t i = 0; i < out.batch; i++) views.push_back(out.view(i));
    VAEKL_DETAIL_TRY(decode_into(latents, views));
    return out;
  }

  /// Decodes into one picture per latent, each `downscale` times its width and height. If a latent
  /// of a batch fails, the pictures before it are complete.
  template <class T, class Out>
  Fallible<void> decode_into(const Latents<T> &latents, const Image<Out> &out) {
    return decode_into(latents, std::vector<Image<Out>>{out});
  }
  template <class T, class Out>
  Fallible<void> decode_into(const Latents<T> &latents, const std::vector<Image<Out>> &out) {
    vaekl_latent in;
    VAEKL_DETAIL_TRY(prepare(latents, in));
    static_assert(!std::is_const_v<Out>, "out is written to");
    VAEKL_DETAIL_TRY(
        detail::check_size("out, pictures", out.size() == in.batch, in.batch, out.size()));
    const auto state = state_;
    std::vector<vaekl_image> images(out.size());
    for (std::size_t i = 0; i < out.size(); i++) {
      VAEKL_DETAIL_TRY(detail::to_c(out[i], state->info.image_channels, "out, bytes", images[i]));
    }
    vaekl_error error;
    return state->check(vaekl_decode(get(), &in, images.data(), &error), error);
  }

  /// Decodes one latent, and keeps `picture` where `mask` is 0; only for a model whose info() has
  /// `masks`, without tiles. Both have the size of the result. A mask has one channel: 1 where the
  /// model draws, 0 where it keeps, or any value between; in bytes, 255 is 1.
  template <class Out = std::uint8_t, class T, class P, class M>
  [[nodiscard]] Fallible<ImageBuffer<Out>> decode_masked(const Latents<T> &latents,
                                                         const Image<P> &picture,
                                                         const Image<M> &mask,
                                                         vaekl_layout layout = VAEKL_LAYOUT_HWC) {
    vaekl_latent in;
    VAEKL_DETAIL_TRY(prepare(latents, in));
    ImageBuffer<Out> out = room<Out>(in, layout);
    VAEKL_DETAIL_TRY(decode_masked_into(latents, picture, mask, out.view()));
    return out;
  }
  /// The same into a picture of the caller's, which may be `picture`.
  template <class T, class P, class M, class Out>
  Fallible<void> decode_masked_into(const Latents<T> &latents, const Image<P> &picture,
                                    const Image<M> &mask, const Image<Out> &out) {
    vaekl_latent in;
    VAEKL_DETAIL_TRY(prepare(latents, in));
    static_assert(!std::is_const_v<Out>, "out is written to");
    const auto state = state_;
    const std::uint32_t channels = state->info.image_channels;
    vaekl_image views[3];
    VAEKL_DETAIL_TRY(detail::to_c(picture, channels, "picture, bytes", views[0]));
    VAEKL_DETAIL_TRY(detail::to_c(mask, 1, "mask, bytes", views[1]));
    VAEKL_DETAIL_TRY(detail::to_c(out, channels, "out, bytes", views[2]));
    vaekl_error error;
    const auto status =
        vaekl_decode_masked(get(), &in, &views[0], &views[1], &views[2], &error);
    return state->check(status, error);
  }

  /// Decodes one latent to rows, read a few at a time in a loop: `for (const auto &rows :
  /// session.rows(latents))`.
  template <class Out = std::uint8_t, class T>
  [[nodiscard]] Fallible<Stream<Out>> rows(const Latents<T> &latents,
                                           std::uint32_t rows_at_a_time = 1) {
    vaekl_latent in;
    VAEKL_DETAIL_TRY(prepare(latents, in));
    const auto state = state_;
    vaekl_error error;
    vaekl_stream *handle = nullptr;
    const auto status = vaekl_stream_open(get(), &in, dtype<Out>::value, &handle, &error);
    VAEKL_DETAIL_TRY(state->check(status, error));
    Stream<Out> stream;
    stream.handle_ = {handle, {state}};
    const std::uint32_t factor = state->info.downscale * detail::patch_of(in, state->info);
    stream.width_ = in.width * factor;
    stream.height_ = in.height * factor;
    stream.channels_ = state->info.image_channels;
    stream.rows_at_a_time_ = std::max(rows_at_a_time, std::uint32_t{1});
    return stream;
  }

  /// Encodes a picture, or a batch of pictures of one size, to floats or to a given type. The
  /// result is a value of the posterior, or latents where the model's info() has no `posterior`:
  /// the same for VAEKL_POSTERIOR_MODE and _SAMPLE, and none for _MOMENTS.
  template <class Out = float, class T>
  [[nodiscard]] Fallible<LatentBuffer<Out>> encode(const Image<T> &picture,
                                                   const Posterior &posterior = {}) {
    return encode<Out>(std::vector<Image<T>>{picture}, posterior);
  }
  template <class Out = float, class T>
  [[nodiscard]] Fallible<LatentBuffer<Out>> encode(const std::vector<Image<T>> &pictures,
                                                   const Posterior &posterior = {}) {
    if (!state_) VAEKL_DETAIL_FAIL(VAEKL_ERR_INVALID_ARGUMENT, "session: moved from");
    VAEKL_DETAIL_TRY(detail::check_size("pictures, at least", !pictures.empty(), 1, 0));
    const auto state = state_;
    const vaekl_model_info &info = state->info;
    std::vector<vaekl_image> images(pictures.size());
    for (std::size_t i = 0; i < pictures.size(); i++) {
      VAEKL_DETAIL_TRY(detail::to_c(pictures[i], info.input_channels, "picture, bytes", images[i]));
    }
    const auto batch = static_cast<std::uint32_t>(pictures.size());
    const std::uint32_t patch = posterior.folded ? std::max(info.patch_size, 1u) : 1;
    const std::uint32_t channels = info.latent_channels * patch * patch *
                                   (posterior.what == VAEKL_POSTERIOR_MOMENTS ? 2 : 1);
    // Never empty, so that it is the library which says that a picture is too small.
    const auto side = [&](std::uint32_t length) {
      return std::max(detail::encoded_length(length, info) / patch, std::uint32_t{1});
    };
    const std::uint32_t height = side(pictures[0].height), width = side(pictures[0].width);
    LatentBuffer<Out> out{{}, batch, channels, height, width, posterior.scale};
    out.values.resize(std::size_t{batch} * channels * height * width);
    vaekl_latent latent;
    VAEKL_DETAIL_TRY(detail::to_c(out.view(), "latents, values", latent));
    vaekl_error error;
    const auto status =
        vaekl_encode(get(), images.data(), posterior.what, posterior.seed, &latent, &error);
    VAEKL_DETAIL_TRY(state->check(status, error));
    return out;
  }

  /// Makes the session's current call in the library, if any, fail with VAEKL_ERR_CANCELLED.
  /// Callable from any thread.
  void cancel() const noexcept { vaekl_session_cancel(get()); }

  /// Workspace in bytes that the session holds since its last call ended. Callable from any thread.
  std::uint64_t memory() const noexcept { return vaekl_session_memory(get()); }

  /// The handle for functions of vaekl.h; NULL if moved from.
  vaekl_session *get() const noexcept { return state_ ? state_->handle.get() : nullptr; }

 private:
  template <class T>
  Fallible<void> prepare(const Latents<T> &latents, vaekl_latent &out) const {
    if (!state_) VAEKL_DETAIL_FAIL(VAEKL_ERR_INVALID_ARGUMENT, "session: moved from");
    return detail::to_c(latents, "latents, values", out);
  }

  /// Room for the pictures of `latents`.
  template <class Out>
  ImageBuffer<Out> room(const vaekl_latent &latents, vaekl_layout layout) const {
    const vaekl_model_info &info = state_->info;
    const std::uint32_t factor = info.downscale * detail::patch_of(latents, info);
    ImageBuffer<Out> out{{},     latents.batch, info.image_channels, latents.height * factor,
                         latents.width * factor, layout};
    out.pixels.resize(detail::product(detail::product(out.batch, out.channels),
                                      detail::product(out.height, out.width)));
    return out;
  }

  std::shared_ptr<detail::SessionState> state_;
};

#undef VAEKL_DETAIL_FAIL
#undef VAEKL_DETAIL_TRY
}  // namespace with_exceptions or without_exceptions
}  // namespace vaekl

#endif  // VAEKL_HPP
