// opencv MODEL PICTURE OUT: a picture through the autoencoder, as matrices of OpenCV.
//
//     c++ -std=c++17 opencv.cpp $(pkg-config --cflags --libs vaekl opencv4) -o opencv
#include <cstdio>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <vaekl.hpp>

// The pixels of a matrix of T, where they lie: rows are as far apart as the matrix has them, so
// that this may be a part of a larger one.
template <class T>
static vaekl::Image<T> view(cv::Mat &matrix) {
  vaekl::Image<T> image;
  image.pixels = {matrix.ptr<T>(),
                  static_cast<std::size_t>(matrix.dataend - matrix.data) / sizeof(T)};
  image.width = static_cast<std::uint32_t>(matrix.cols);
  image.height = static_cast<std::uint32_t>(matrix.rows);
  image.row_stride = matrix.step[0];
  return image;
}

int main(int argc, char **argv) try {
  if (argc != 4) return std::fputs("usage: opencv MODEL PICTURE OUT\n", stderr), 2;
  const auto model = vaekl::Model::open(argv[1]);
  auto session = vaekl::Session::create(model);
  if (model.info().image_channels != 3 || model.info().input_channels != 3) {
    return std::fprintf(stderr, "%s: its pictures are not RGB\n", argv[1]), 1;
  }
  const cv::Mat bgr = cv::imread(argv[2], cv::IMREAD_COLOR);
  if (bgr.empty()) return std::fprintf(stderr, "%s: not a picture\n", argv[2]), 1;
  cv::Mat rgb;
  cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);

  auto latents = session.encode(view<std::uint8_t>(rgb));

  // What the latents have of the picture, which may be a few pixels less, goes
  // back to where it came from.
  const int factor = static_cast<int>(model.info().downscale);
  const cv::Rect covered(0, 0, rgb.cols / factor * factor, rgb.rows / factor * factor);
  cv::Mat decoded = rgb(covered);
  session.decode_into(latents.view(), view<std::uint8_t>(decoded));

  cv::Mat out;
  cv::cvtColor(decoded, out, cv::COLOR_RGB2BGR);
  if (!cv::imwrite(argv[3], out))
    return std::fprintf(stderr, "%s: cannot be written\n", argv[3]), 1;
} catch (const std::exception &error) {  // of vaekl or of OpenCV
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
