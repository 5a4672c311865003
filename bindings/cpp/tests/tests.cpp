// Decodes, encodes, models, options and errors; units of both modes.
#include "check.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>

static_assert(!std::is_copy_constructible_v<vaekl::Model> &&
              std::is_nothrow_move_constructible_v<vaekl::Model>);
static_assert(!std::is_copy_constructible_v<vaekl::Session> &&
              std::is_nothrow_move_assignable_v<vaekl::Session>);
static_assert(!std::is_copy_constructible_v<vaekl::Stream<float>>);
static_assert(!std::is_constructible_v<vaekl::Span<const float>, std::vector<float>>,
              "it would dangle");
static_assert(!std::is_constructible_v<vaekl::Span<float>, const std::vector<float> &>,
              "it would write to a const");
static_assert(std::is_convertible_v<vaekl::Span<float>, vaekl::Span<const float>>);

// tests/unit.cpp, in either mode.
std::vector<std::uint8_t> decode_with_exceptions(const std::string &path,
                                                 const std::vector<float> &latents);
std::vector<std::uint8_t> decode_without_exceptions(const std::string &path,
                                                    const std::vector<float> &latents);
std::string error_with_exceptions();
std::string error_without_exceptions();

TEST(units_of_both_modes_are_one_program) {
  const auto latents = read<float>("latents.f32");
  CHECK(same(decode_with_exceptions(data("model"), latents), picture()));
  CHECK(same(decode_without_exceptions(data("model"), latents), picture()));
  CHECK(!error_with_exceptions().empty());
  CHECK(error_with_exceptions() == error_without_exceptions());
}

/* ---- decode ---------------------------------------------------------------- */

TEST(decode_gives_what_the_command_gives) {
  auto session = new_session();
  const auto bytes = MUST(session.decode(fixture()));
  CHECK(same(bytes.pixels, picture()));
  CHECK(bytes.batch == 1 && bytes.channels == 3 && bytes.height == height && bytes.width == width);
  const auto floats = MUST(session.decode<float>(fixture(), VAEKL_LAYOUT_CHW));
  CHECK(same(floats.pixels, read<float>("decoded.f32")));
  CHECK(floats.layout == VAEKL_LAYOUT_CHW);
}

TEST(strides_leave_gaps_alone) {
  auto session = new_session();
  // No room after the last pixel, where a whole stride would need it.
  constexpr std::size_t row = width * 3, stride = row + 9;
  std::vector<std::uint8_t> bytes(stride * (height - 1) + row, 7);
  MUST(
      session.decode_into(fixture(), vaekl::Image{bytes, width, height, VAEKL_LAYOUT_HWC, stride}));
  bool right = true;
  for (std::size_t y = 0; y < height; y++) {
    right = right && std::memcmp(&bytes[y * stride], &picture()[y * row], row) == 0;
    for (std::size_t x = row; x < stride && y + 1 < height; x++)
      right = right && bytes[y * stride + x] == 7;
  }
  CHECK(right);

  constexpr std::size_t plane = width * height + 5;
  std::vector<float> planes(plane * 2 + width * height, 7.0f);
  const vaekl::Image planar{planes, width, height, VAEKL_LAYOUT_CHW, 0, plane * sizeof(float)};
  MUST(session.decode_into(fixture(), planar));
  const auto expected = read<float>("decoded.f32");
  for (std::size_t c = 0; c < 3; c++) {
    CHECK(std::memcmp(&planes[c * plane], &expected[c * width * height],
                      width * height * sizeof(float)) == 0);
  }
  CHECK(planes[width * height] == 7.0f);
}

TEST(halves_are_rounded_floats) {
  auto session = new_session();
  const auto expected = read<float>("decoded.f32");
  const auto bf16 = MUST(session.decode<vaekl::BFloat16>(fixture(), VAEKL_LAYOUT_CHW)).pixels;
  const auto f16 = MUST(session.decode<vaekl::Float16>(fixture(), VAEKL_LAYOUT_CHW)).pixels;
  bool right = bf16.size() == expected.size() && f16.size() == expected.size();
  for (std::size_t i = 0; right && i < expected.size(); i++) {
    std::uint32_t bits = std::uint32_t{bf16[i].bits} << 16;
    float widened;
    std::memcpy(&widened, &bits, sizeof widened);
    right = std::fabs(widened - expected[i]) <= std::fabs(expected[i]) / 256;
    // Of f16: sign, five bits of exponent, ten bits of mantissa; these pictures have no infinity.
    const int exponent = f16[i].bits >> 10 & 31, mantissa = f16[i].bits & 1023;
    widened = std::ldexp(static_cast<float>(exponent ? mantissa + 1024 : mantissa),
                         std::max(exponent, 1) - 25);
    widened = f16[i].bits >> 15 ? -widened : widened;
    right = right &&
            std::fabs(widened - expected[i]) <= std::max(std::fabs(expected[i]) / 2048, 3.0e-8f);
  }
  CHECK(right);

  // Latents that are exact in bf16 decode to the same bits from either type.
  std::vector<float> floats(fixture().values.begin(), fixture().values.end());
  std::vector<vaekl::BFloat16> halves(floats.size());
  for (std::size_t i = 0; i < floats.size(); i++) {
    std::uint32_t bits;
    std::memcpy(&bits, &floats[i], sizeof bits);
    halves[i].bits = static_cast<std::uint16_t>(bits >> 16);
    bits &= 0xffff0000u;
    std::memcpy(&floats[i], &bits, sizeof bits);
  }
  const auto of_floats =
      MUST(session.decode(vaekl::Latents{floats, 1, channels, latent_height, latent_width}));
  const auto of_halves =
      MUST(session.decode(vaekl::Latents{halves, 1, channels, latent_height, latent_width}));
  CHECK(same(of_floats.pixels, of_halves.pixels));
}

TEST(a_batch_is_its_pictures) {
  auto session = new_session();
  std::vector<float> twice(fixture().values.begin(), fixture().values.end());
  twice.insert(twice.end(), fixture().values.begin(), fixture().values.end());
  const vaekl::Latents latents{twice, 2, channels, latent_height, latent_width};
  auto pictures = MUST(session.decode(latents));
  CHECK(pictures.batch == 2 && same(pictures.view(0).pixels, picture()) &&
        same(pictures.view(1).pixels, picture()));
  std::vector<std::uint8_t> first(picture().size()), second(picture().size());
  const vaekl::Image a{first, width, height}, b{second, width, height};
  MUST(session.decode_into(latents, std::vector{a, b}));
  CHECK(same(first, picture()) && same(second, picture()));
  FAILS(session.decode_into(latents, a), VAEKL_ERR_INVALID_ARGUMENT, "2 expected, 1 found");
  FAILS(session.rows(latents), VAEKL_ERR_INVALID_ARGUMENT, "batch");

  const auto encoded = MUST(session.encode(std::vector{pictures.view(0), pictures.view(1)}));
  CHECK(encoded.batch == 2 && encoded.values.size() == 2 * fixture().values.size());
  const std::size_t half = encoded.values.size() / 2;
  CHECK(std::memcmp(&encoded.values[0], &encoded.values[half], half * sizeof(float)) == 0);
}

/* ---- encode ---------------------------------------------------------------- */

TEST(encode_gives_what_the_command_gives) {
  auto session = new_session();
  const auto pixels = read<float>("image.f32");
  const vaekl::Image image{pixels, width, height, VAEKL_LAYOUT_CHW};
  auto mode = MUST(session.encode(image));
  CHECK(same(mode.values, read<float>("mode.f32")));
  CHECK(mode.batch == 1 && mode.channels == channels && mode.height == latent_height &&
        mode.width == latent_width);
  CHECK(same(MUST(session.encode(image, {VAEKL_POSTERIOR_SAMPLE, 7})).values,
             read<float>("sample.f32")));
  const auto moments = MUST(session.encode(image, {VAEKL_POSTERIOR_MOMENTS}));
  CHECK(moments.channels == 2 * channels && moments.values.size() == 2 * mode.values.size());
  CHECK(std::memcmp(moments.values.data(), mode.values.data(),
                    mode.values.size() * sizeof(float)) == 0);

  // Scaled latents are the model's own times its factor, and decode to the same picture.
  auto scaled = MUST(session.encode(image, {VAEKL_POSTERIOR_MODE, 0, VAEKL_LATENT_SCALED}));
  const float factor = model().info().scaling_factor;
  CHECK(std::fabs(scaled.values[0] - mode.values[0] * factor) < 1e-6f);
  CHECK(MUST(session.decode(scaled.view())).pixels.size() == picture().size());
  CHECK(MUST(session.encode<vaekl::Float16>(image)).values.size() == mode.values.size());
  const vaekl::Posterior scaled_moments{VAEKL_POSTERIOR_MOMENTS, 0, VAEKL_LATENT_SCALED};
  FAILS(session.encode(image, scaled_moments), VAEKL_ERR_INVALID_ARGUMENT, "moments");
  FAILS(session.encode(image, {9}), VAEKL_ERR_INVALID_ARGUMENT, "posterior");

  const vaekl::Image bytes{picture(), width, height};
  CHECK(MUST(session.encode(bytes)).values.size() == mode.values.size());
}

/* ---- models and options ---------------------------------------------------- */

TEST(a_model_of_bytes) {
  const auto bytes = read<std::byte>("model/diffusion_pytorch_model.safetensors");
  vaekl::ModelOptions options;
  options.config_path = data("model/config.json");
  auto model = MUST(vaekl::Model::from_bytes(bytes, options));
  CHECK(model.info().guessed == 0);
  auto session = MUST(vaekl::Session::create(model));
  model = vaekl::Model();
  CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
  // Without a configuration some of it is guessed, but for what the options tell.
  options = vaekl::ModelOptions();
  options.preset = "sdxl";
  options.norm_num_groups = 4;
  const auto guessed = MUST(vaekl::Model::from_bytes(bytes, options));
  CHECK(guessed.notices().size() == guessed.info().guessed);
  CHECK(guessed.notices()[0].rfind("guessed ", 0) == 0 && model.notices().empty());
  CHECK(guessed.info().guessed > 0 && std::fabs(guessed.info().scaling_factor - 0.13025f) < 1e-6f);
  FAILS(vaekl::Model::from_bytes({}), VAEKL_ERR_INVALID_ARGUMENT, "bytes");
  const auto text = read<std::byte>("model/config.json");
  FAILS(vaekl::Model::from_bytes(text), VAEKL_ERR_FORMAT, "");
}

TEST(options_of_models) {
  const vaekl::ModelOptions defaults;
  CHECK(defaults.struct_size == sizeof(vaekl_model_options));
  CHECK(defaults.parts == (VAEKL_PART_DECODER | VAEKL_PART_ENCODER) && defaults.preset.empty());
  const auto &info = model().info();
  CHECK(info.image_channels == 3 && info.input_channels == 3 && info.latent_channels == channels);
  CHECK(info.downscale == 8 && info.parameters > 0 && info.weight_bytes == 4 * info.parameters);
  CHECK(std::strstr(model().config(), "\"norm_num_groups\"") != nullptr &&
        vaekl::Model().config() == nullptr);

  vaekl::ModelOptions options;
  options.parts = VAEKL_PART_DECODER;
  auto session = MUST(vaekl::Session::create(MUST(vaekl::Model::open(data("model"), options))));
  CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
  options = vaekl::ModelOptions();
  options.device = VAEKL_DEVICE_CUDA;
  FAILS(vaekl::Model::open(data("model"), options), VAEKL_ERR_UNSUPPORTED, "CUDA");
  options = vaekl::ModelOptions();
  options.variant = "fp8";
  FAILS(vaekl::Model::open(data("model"), options), VAEKL_ERR_IO, "fp8");
  options = vaekl::ModelOptions();
  options.preset = "sd9";
  FAILS(vaekl::Model::open(data("model"), options), VAEKL_ERR_INVALID_ARGUMENT, "sd9");
}

TEST(options_of_sessions) {
  CHECK(vaekl::SessionOptions().struct_size == sizeof(vaekl_session_options));
  vaekl::SessionOptions options;
  options.threads = 1;
  options.memory_budget = 64 << 20;
  options.scratch_dir = data("");
  auto session = new_session(options);
  options.scratch_dir = "not read any more";
  CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
  CHECK(session.memory() > 0 && vaekl::Session().memory() == 0);

  // Other arithmetic gives other bits of the same picture.
  for (const bool seamless : {false, true}) {
    vaekl::SessionOptions other;
    if (seamless) {
      other.tiling = VAEKL_TILING_SEAMLESS;
      other.tile_size = 4;
    } else {
      other.activation_dtype = VAEKL_DTYPE_BF16;
      other.attention = VAEKL_ATTENTION_ROW_BY_ROW;
      other.fuse_qkv = 1;
    }
    session = new_session(other);
    const auto bytes = MUST(session.decode(fixture())).pixels;
    int most = 0;
    for (std::size_t i = 0; i < bytes.size(); i++)
      most = std::max(most, std::abs(bytes[i] - picture()[i]));
    CHECK(most <= 4);
  }

  // A workspace of the caller's.
  const auto plan = MUST(model().plan_decode(latent_width, latent_height));
  std::vector<std::byte> memory(plan.workspace_bytes + 64);
  void *workspace = memory.data();
  std::size_t space = memory.size();
  vaekl::SessionOptions lent;
  lent.workspace = std::align(64, plan.workspace_bytes, workspace, space);
  lent.workspace_size = plan.workspace_bytes;
  session = new_session(lent);
  CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
  options = vaekl::SessionOptions();
  options.tiling = 9;
  FAILS(vaekl::Session::create(model(), options), VAEKL_ERR_INVALID_ARGUMENT, "tiling");
}

TEST(plans_know_the_budget) {
  const auto plan = MUST(model().plan_decode(96, 96));
  CHECK(plan.workspace_bytes > 0 && plan.peak_bytes > plan.workspace_bytes && plan.exact == 1);
  CHECK(plan.scratch_bytes == 0 && plan.tiles_x == 1);
  CHECK(MUST(model().plan_encode(768, 768)).workspace_bytes > 0);
  vaekl::SessionOptions options;
  options.tiling = VAEKL_TILING_DIFFUSERS;
  options.tile_size = 64;
  const auto tiled = MUST(model().plan_decode(96, 96, options));
  CHECK(tiled.tiles_x > 1 && tiled.tile_size == 64);
  options.memory_budget = 1 << 20;
  FAILS(model().plan_decode(96, 96, options), VAEKL_ERR_BUDGET, "");
  FAILS(model().plan_encode(0, 8), VAEKL_ERR_INVALID_ARGUMENT, "");
}

/* ---- errors ---------------------------------------------------------------- */

TEST(errors_name_the_file) {
  FAILS(vaekl::Model::open(data("nowhere")), VAEKL_ERR_IO, "nowhere");
  CHECK(error_of([] { return vaekl::Model::open(data("nowhere")); })->os_error() == ENOENT);
  CHECK(error_of([] { return vaekl::Model::open(data("corrupt")); })->os_error() == 0);
  FAILS(vaekl::Model::open(data("corrupt")), VAEKL_ERR_FORMAT,
        "diffusion_pytorch_model.safetensors");
  vaekl::SessionOptions options;
  options.memory_budget = 1 << 20;
  auto session = new_session(options);
  FAILS(session.decode(fixture()), VAEKL_ERR_BUDGET, "budget of 1 MiB");
}

TEST(errors_name_the_wrong_size) {
  auto session = new_session();
  std::vector<float> values(140);
  FAILS(session.decode(vaekl::Latents{values, 1, 4, 5, 8}), VAEKL_ERR_INVALID_ARGUMENT,
        "160 expected, 140 found");
  FAILS(session.decode(vaekl::Latents{values, 1, 4, 5, 6}), VAEKL_ERR_INVALID_ARGUMENT,
        "120 expected, 140 found");
  FAILS(session.decode(vaekl::Latents{values, 1, 5, 4, 7}), VAEKL_ERR_INVALID_ARGUMENT, "channels");
  FAILS(session.decode(vaekl::Latents<float>{}), VAEKL_ERR_INVALID_ARGUMENT, "latent");
  constexpr std::uint32_t most = 0xffffffffu;
  FAILS(session.decode(vaekl::Latents{values, most, most, most, most}), VAEKL_ERR_INVALID_ARGUMENT,
        "140 found");
  // 4 * 2^62 wraps around to 0.
  FAILS(session.decode(vaekl::Latents<float>{{}, 1, 4, 1u << 31, 1u << 31}),
        VAEKL_ERR_INVALID_ARGUMENT, "0 found");
  values[33] = std::nanf("");
  FAILS(session.decode(vaekl::Latents{values, 1, 4, 5, 7}), VAEKL_ERR_INVALID_ARGUMENT, "NaN");

  std::vector<std::uint8_t> bytes(picture().size());
  const auto into = [&](const vaekl::Image<std::uint8_t> &image) {
    return session.decode_into(fixture(), image);
  };
  const vaekl::Span<std::uint8_t> less(bytes.data(), bytes.size() - 1);
  FAILS(into({less, width, height}), VAEKL_ERR_INVALID_ARGUMENT, "6720 expected, 6719 found");
  FAILS(into({bytes, width, height, VAEKL_LAYOUT_HWC, 200}), VAEKL_ERR_INVALID_ARGUMENT,
        "7968 expected");
  FAILS(into({bytes, width, height, VAEKL_LAYOUT_HWC, 100}), VAEKL_ERR_INVALID_ARGUMENT,
        "row_stride");
  FAILS(into({bytes, width, height, VAEKL_LAYOUT_CHW, 0, 3000}), VAEKL_ERR_INVALID_ARGUMENT,
        "8240 expected");
  FAILS(into({bytes, height, width}), VAEKL_ERR_INVALID_ARGUMENT, "56x40");
  FAILS(into({bytes, width, height, 9}), VAEKL_ERR_INVALID_ARGUMENT, "layout");
  FAILS(into({bytes, most, most}), VAEKL_ERR_INVALID_ARGUMENT, "6720 found");
  FAILS(into({}), VAEKL_ERR_INVALID_ARGUMENT, "");
  CHECK(same(bytes, std::vector<std::uint8_t>(bytes.size())));

  FAILS(session.encode(vaekl::Image{bytes, 7, 7}), VAEKL_ERR_INVALID_ARGUMENT, "8x8");
  FAILS(session.encode(vaekl::Image<float>{}), VAEKL_ERR_INVALID_ARGUMENT, "");
  FAILS(session.encode(std::vector<vaekl::Image<float>>{}), VAEKL_ERR_INVALID_ARGUMENT, "pictures");
  const std::vector<vaekl::Image<std::uint8_t>> unequal{{bytes, 40, 40}, {bytes, 40, 32}};
  FAILS(session.encode(unequal), VAEKL_ERR_INVALID_ARGUMENT, "");
  CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
}

TEST(a_saved_model_is_the_same) {
  const std::string path = data("saved-by-cpp.safetensors");
  vaekl::SaveOptions options;
  options.layout = VAEKL_KEYS_ORIGINAL;
  MUST(model().save(path, options));
  {
    const auto saved = MUST(vaekl::Model::open(path));
    CHECK(saved.info().guessed == 0 && std::string(saved.config()) == model().config());
    auto session = MUST(vaekl::Session::create(saved));
    CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
  }
  options.variant = "fp16";
  FAILS(model().save(path, options), VAEKL_ERR_INVALID_ARGUMENT, "variant");
  FAILS(model().save(data("folder"), options), VAEKL_ERR_INVALID_ARGUMENT, "layout");
  FAILS(model().save(data("none/a.safetensors")), VAEKL_ERR_IO, "no folder");
  CHECK(std::remove(path.c_str()) == 0);
}

TEST(a_forked_child_makes_a_session_of_its_own) {
  auto session = new_session();
  CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
  auto streaming = new_session();
  auto stream = MUST(streaming.rows(fixture()));
  std::vector<std::uint8_t> row(stream.width() * 3);
  CHECK(MUST(stream.read(row)) == 1);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    failures = 0;
    FAILS(session.decode(fixture()), VAEKL_ERR_STATE, "make a session here");
    FAILS(stream.read(row), VAEKL_ERR_STATE, "make a session here");
    session.cancel();
    // None of these waits for a thread that this process does not have.
    stream = {};
    streaming = {};
    session = new_session();
    CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
    _exit(failures != 0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  std::uint32_t rows = 1;
  while (MUST(stream.read(row)) == 1) rows++;
  CHECK(rows == height);
}

TEST(versions_and_constants) {
  CHECK(vaekl_version() ==
        (VAEKL_VERSION_MAJOR << 16 | VAEKL_VERSION_MINOR << 8 | VAEKL_VERSION_PATCH));
  CHECK(vaekl::dtype<vaekl::BFloat16>::value == VAEKL_DTYPE_BF16);
}
