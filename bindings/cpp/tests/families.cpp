// The autoencoders beside AutoencoderKL; units of both modes.
#include "check.hpp"

#include <cmath>

static vaekl::Model open(const std::string &name) { return MUST(vaekl::Model::open(data(name))); }

TEST(families_are_told) {
  const auto tiny = open("tiny"), flux = open("flux2"), asymmetric = open("asymmetric");
  CHECK(std::string(tiny.family()) == "AutoencoderTiny" && tiny.info().posterior == 0);
  CHECK(std::string(flux.family()) == "AutoencoderKLFlux2" && flux.info().patch_size == 2);
  CHECK(std::string(asymmetric.family()) == "AsymmetricAutoencoderKL" &&
        asymmetric.info().masks == 1);
  CHECK(tiny.info().masks == 0 && tiny.info().patch_size == 1 && flux.info().posterior == 1);
  CHECK(std::strstr(tiny.family_source(), "config.json") != nullptr);
  CHECK(std::string(model().family()) == "AutoencoderKL" && model().info().posterior == 1);
  CHECK(vaekl::Model().family() == nullptr && vaekl::Model().family_source() == nullptr);
}

TEST(families_give_what_the_command_gives) {
  struct {
    const char *name;
    std::uint32_t channels, height, width, pixel_height, pixel_width, encoded_height, encoded_width;
  } const cases[] = {
      {"tiny", 4, 7, 5, 37, 51, 10, 13},  // odd sides are rounded up
      {"flux2", 6, 6, 8, 32, 48, 4, 6},
      {"asymmetric", 4, 5, 7, 40, 56, 5, 7},
  };
  for (const auto &c : cases) {
    const std::string folder = c.name;
    auto session = MUST(vaekl::Session::create(open(folder)));
    const auto values = read<float>(folder + "/latents.f32");
    const vaekl::Latents latents{values, 1, c.channels, c.height, c.width};
    const auto decoded = MUST(session.decode<float>(latents, VAEKL_LAYOUT_CHW));
    CHECK(same(decoded.pixels, read<float>(folder + "/decoded.f32")));

    const auto pixels = read<float>(folder + "/image.f32");
    const vaekl::Image image{pixels, c.pixel_width, c.pixel_height, VAEKL_LAYOUT_CHW};
    const auto encoded = MUST(session.encode(image));
    CHECK(encoded.height == c.encoded_height && encoded.width == c.encoded_width);
    CHECK(same(encoded.values, read<float>(folder + "/encoded.f32")));
  }
}

TEST(latents_without_a_posterior) {
  auto session = MUST(vaekl::Session::create(open("tiny")));
  const auto pixels = read<float>("tiny/image.f32");
  const vaekl::Image image{pixels, 51, 37, VAEKL_LAYOUT_CHW};
  const auto latents = read<float>("tiny/encoded.f32");
  CHECK(same(MUST(session.encode(image, {VAEKL_POSTERIOR_SAMPLE, 7})).values, latents));
  FAILS(session.encode(image, {VAEKL_POSTERIOR_MOMENTS}), VAEKL_ERR_INVALID_ARGUMENT,
        "no posterior");
  // A picture smaller than a latent has one.
  const std::vector<std::uint8_t> pixel(3);
  CHECK(MUST(session.encode(vaekl::Image{pixel, 1, 1})).values.size() == 4);
}

TEST(patches_are_folded_latents) {
  auto session = MUST(vaekl::Session::create(open("flux2")));
  const auto pixels = read<float>("flux2/image.f32");
  const vaekl::Image image{pixels, 48, 32, VAEKL_LAYOUT_CHW};
  const vaekl::Posterior scaled{VAEKL_POSTERIOR_MODE, 0, VAEKL_LATENT_SCALED};
  auto folding = scaled;
  folding.folded = true;
  auto plain = MUST(session.encode(image, scaled));
  auto folded = MUST(session.encode(image, folding));
  CHECK(folded.channels == 24 && folded.height == 2 && folded.width == 3);
  CHECK(plain.channels == 6 && plain.values.size() == folded.values.size());
  bool right = true;
  for (std::size_t c = 0; c < 6; c++)
    for (std::size_t y = 0; y < 4; y++)
      for (std::size_t x = 0; x < 6; x++)
        right = right && plain.values[(c * 4 + y) * 6 + x] ==
                             folded.values[((4 * c + 2 * (y % 2) + x % 2) * 2 + y / 2) * 3 + x / 2];
  CHECK(right);

  const auto picture = MUST(session.decode(plain.view()));
  const auto again = MUST(session.decode(folded.view()));
  CHECK(again.height == 32 && again.width == 48 && same(picture.pixels, again.pixels));
  std::vector<std::uint8_t> rows;
  {
    auto stream = MUST(session.rows(folded.view()));
    CHECK(stream.height() == 32 && stream.width() == 48);
    for (const auto &row : stream) rows.insert(rows.end(), row.pixels.begin(), row.pixels.end());
  }
  CHECK(same(rows, picture.pixels));

  folded.scale = VAEKL_LATENT_RAW;
  FAILS(session.decode(folded.view()), VAEKL_ERR_INVALID_ARGUMENT, "6 expected, 24 found");
  folding.scale = VAEKL_LATENT_RAW;
  FAILS(session.encode(image, folding), VAEKL_ERR_INVALID_ARGUMENT, "6 expected, 24 found");
}

TEST(a_masked_decode_keeps_the_picture) {
  auto session = MUST(vaekl::Session::create(open("asymmetric")));
  const auto values = read<float>("asymmetric/latents.f32");
  const auto condition = read<float>("asymmetric/condition.f32");
  auto masks = read<float>("asymmetric/mask.f32");
  const vaekl::Latents latents{values, 1, channels, latent_height, latent_width};
  const vaekl::Image kept{condition, width, height, VAEKL_LAYOUT_CHW};
  const auto drawn = MUST(session.decode_masked<float>(
      latents, kept, vaekl::Image{masks, width, height}, VAEKL_LAYOUT_CHW));
  const auto expected = read<float>("asymmetric/masked.f32");
  float worst = 0;
  for (std::size_t i = 0; i < expected.size(); i++)
    worst = std::max(worst, std::fabs(drawn.pixels[i] - expected[i]));
  CHECK(drawn.pixels.size() == expected.size() && worst < 1e-4f);

  // Bytes are parts of 255, and the result may take the picture's place.
  std::vector<std::uint8_t> bytes(masks.size());
  for (std::size_t i = 0; i < bytes.size(); i++) {
    bytes[i] = static_cast<std::uint8_t>(masks[i] * 255);
    masks[i] = static_cast<float>(bytes[i]) / 255;
  }
  const auto of_floats =
      MUST(session.decode_masked(latents, kept, vaekl::Image{masks, width, height}));
  const auto of_bytes =
      MUST(session.decode_masked(latents, kept, vaekl::Image{bytes, width, height}));
  CHECK(same(of_floats.pixels, of_bytes.pixels));
  auto place = condition;
  const vaekl::Image in_place{place, width, height, VAEKL_LAYOUT_CHW};
  MUST(session.decode_masked_into(latents, in_place, vaekl::Image{bytes, width, height}, in_place));
  CHECK(!same(place, condition));

  const vaekl::Span<std::uint8_t> less(bytes.data(), bytes.size() - 1);
  const vaekl::Image<std::uint8_t> short_mask{less, width, height};
  FAILS(session.decode_masked(latents, kept, short_mask), VAEKL_ERR_INVALID_ARGUMENT,
        "mask, bytes: 2240 expected, 2239 found");
  FAILS(session.decode_masked(latents, kept, vaekl::Image{bytes, height, width}),
        VAEKL_ERR_INVALID_ARGUMENT, "mask: 56x40 (width x height) expected");
  auto without = new_session();
  FAILS(without.decode_masked(latents, kept, vaekl::Image{bytes, width, height}),
        VAEKL_ERR_INVALID_ARGUMENT, "AsymmetricAutoencoderKL expected, AutoencoderKL found");
  auto gone = vaekl::Session();
  FAILS(gone.decode_masked(latents, kept, vaekl::Image{bytes, width, height}),
        VAEKL_ERR_INVALID_ARGUMENT, "moved from");
}
