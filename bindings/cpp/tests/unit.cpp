// A unit that every test program has twice, once in each mode of the header, and that includes it
// twice.
#include <vaekl.hpp>
#include <vaekl.hpp>

#ifdef VAEKL_NO_EXCEPTIONS
std::vector<std::uint8_t> decode_without_exceptions(const std::string &path,
                                                    const std::vector<float> &latents) {
  auto model = vaekl::Model::open(path);
  if (!model) return {};
  auto session = vaekl::Session::create(model.value());
  if (!session) return {};
  auto picture = session.value().decode(vaekl::Latents{latents, 1, 4, 5, 7});
  return picture ? std::move(picture).value().pixels : std::vector<std::uint8_t>();
}

std::string error_without_exceptions() {
  const auto model = vaekl::Model::open("nowhere");
  return model ? "" : model.error().what();
}
#else
std::vector<std::uint8_t> decode_with_exceptions(const std::string &path,
                                                 const std::vector<float> &latents) {
  auto session = vaekl::Session::create(vaekl::Model::open(path));
  return session.decode(vaekl::Latents{latents, 1, 4, 5, 7}).pixels;
}

std::string error_with_exceptions() {
  try {
    (void)vaekl::Model::open("nowhere");
    return "";
  } catch (const vaekl::Error &error) {
    return error.what();
  }
}
#endif
