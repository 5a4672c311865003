// stb MODEL PICTURE OUT.png: a picture through the autoencoder, with stb_image and stb_image_write.
//
//     c++ -std=c++17 stb.cpp $(pkg-config --cflags --libs vaekl) -o stb
#include <cstdio>
#include <memory>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>
#include <vaekl.hpp>

// Takes the bytes of a file as stb_image_write makes them.
static void on_bytes(void *context, void *data, int size) {
  std::fwrite(data, 1, static_cast<std::size_t>(size), static_cast<std::FILE *>(context));
}

int main(int argc, char **argv) try {
  if (argc != 4) return std::fputs("usage: stb MODEL PICTURE OUT.png\n", stderr), 2;
  const auto model = vaekl::Model::open(argv[1]);
  auto session = vaekl::Session::create(model);
  if (model.info().image_channels != 3 || model.info().input_channels != 3) {
    return std::fprintf(stderr, "%s: its pictures are not RGB\n", argv[1]), 1;
  }

  constexpr int rgb = 3;
  int width, height, channels_of_file;
  const std::unique_ptr<stbi_uc, void (*)(void *)> loaded(
      stbi_load(argv[2], &width, &height, &channels_of_file, rgb), stbi_image_free);
  if (!loaded) return std::fprintf(stderr, "%s: %s\n", argv[2], stbi_failure_reason()), 1;
  const auto w = static_cast<std::uint32_t>(width), h = static_cast<std::uint32_t>(height);
  const vaekl::Image picture{vaekl::Span(loaded.get(), std::size_t{w} * h * rgb), w, h};

  auto latents = session.encode(picture);
  const auto decoded = session.decode(latents.view());

  std::FILE *out = std::fopen(argv[3], "wb");
  const int out_width = static_cast<int>(decoded.width),
            out_height = static_cast<int>(decoded.height);
  if (!out ||
      !stbi_write_png_to_func(on_bytes, out, out_width, out_height, rgb, decoded.pixels.data(),
                              0) ||
      std::ferror(out) || std::fclose(out) != 0) {
    return std::fprintf(stderr, "%s: cannot be written\n", argv[3]), 1;
  }
} catch (const vaekl::Error &error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
