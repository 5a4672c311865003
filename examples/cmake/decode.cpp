// decode MODEL: the picture that latents of zeros are, and the library that made it.
#include <cstdio>
#include <vaekl.hpp>

int main(int argc, char **argv) try {
  const std::uint32_t side = 8;
  const auto model = vaekl::Model::open(argc > 1 ? argv[1] : "");
  auto session = vaekl::Session::create(model);
  const std::uint32_t channels = model.info().latent_channels;
  const std::vector<float> zeros(std::size_t{channels} * side * side);
  const auto picture = session.decode(vaekl::Latents{zeros, 1, channels, side, side});
  std::printf("vaekl %s: %ux%u pixels, the first of them begins with %d\n", vaekl_version_string(),
              picture.width, picture.height, picture.pixels[0]);
} catch (const vaekl::Error &error) {
  std::fprintf(stderr, "%s: %s\n", vaekl_status_name(error.status()), error.what());
  return 1;
}
