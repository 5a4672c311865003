/* What the examples share: an end with a reason, and files of floats and of pixels. */
#ifndef VAEKL_EXAMPLES_FILES_H
#define VAEKL_EXAMPLES_FILES_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include <vaekl.h>

/* Prints why a call failed and ends the program; does nothing when it did not. */
static inline void check(vaekl_status status, const vaekl_error *error) {
  if (status < 0) {
    fprintf(stderr, "\n%s: %s\n", vaekl_status_name(status), error->message);
    exit(1);
  }
}

static inline void fail(const char *name, const char *what) {
  fprintf(stderr, "%s: %s\n", name, what);
  exit(1);
}

static inline void *allocate(size_t size) {
  void *memory = malloc(size > 0 ? size : 1);
  if (memory == NULL) {
    fail("malloc", "out of memory");
  }
  return memory;
}

/* A file of raw floats, as numpy's tofile writes it. */
static inline float *read_floats(const char *path, size_t count) {
  float *values = (float *)allocate(count * sizeof *values);
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    fail(path, "cannot be opened");
  }
  if (fread(values, sizeof *values, count, file) != count || fgetc(file) != EOF) {
    fail(path, "not as many floats as width, height and the model's channels ask for");
  }
  fclose(file);
  return values;
}

static inline void write_floats(const char *path, const float *values, size_t count) {
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(values, sizeof *values, count, file) != count || fclose(file) != 0) {
    fail(path, "cannot be written");
  }
}

/* Interleaved 8-bit pixels of their own memory, which the caller frees. */
static inline vaekl_image new_picture(uint32_t width, uint32_t height, uint32_t channels) {
  vaekl_image picture = {NULL, width, height, VAEKL_DTYPE_U8, VAEKL_LAYOUT_HWC, 0, 0};
  picture.row_stride = (size_t)width * channels;
  picture.data = allocate(picture.row_stride * height);
  return picture;
}

/* A binary portable pixmap without comments. */
static inline vaekl_image read_picture(const char *path) {
  vaekl_image picture;
  unsigned width, height;
  int end = 0; /* stays 0 where the last number is not 255 */
  size_t size;
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    fail(path, "cannot be opened");
  }
  if (fscanf(file, "P6 %u %u 255%n", &width, &height, &end) != 2 || end == 0 ||
      !isspace(fgetc(file))) {
    fail(path, "not a binary 8-bit pixmap");
  }
  if (width == 0 || height == 0 || width > 65535 || height > 65535) {
    fail(path, "its size is absurd");
  }
  picture = new_picture(width, height, 3);
  size = picture.row_stride * height;
  if (fread(picture.data, 1, size, file) != size) {
    fail(path, "truncated");
  }
  fclose(file);
  return picture;
}

/* A portable pixmap, or a greymap where there is one channel. */
static inline void write_picture(const char *path, const vaekl_image *picture, uint32_t channels) {
  FILE *file = fopen(path, "wb");
  size_t size = (size_t)picture->width * picture->height * channels;
  if (file == NULL) {
    fail(path, "cannot be written");
  }
  fprintf(file, "P%d\n%u %u\n255\n", channels == 1 ? 5 : 6, picture->width, picture->height);
  if (fwrite(picture->data, 1, size, file) != size || fclose(file) != 0) {
    fail(path, "cannot be written");
  }
}

/* What is known of a model whose pictures are RGB; ends the program for another. */
static inline vaekl_model_info rgb_info(const vaekl_model *model, const char *path) {
  vaekl_model_info info;
  info.struct_size = sizeof info;
  vaekl_model_get_info(model, &info);
  if (info.image_channels != 3 || info.input_channels != 3) {
    fail(path, "its pictures are not RGB");
  }
  return info;
}

/* Latents of raw floats: width x height of them as the command line has it. */
static inline vaekl_latent read_latents(const char *path, const vaekl_model_info *info,
                                        const char *width, const char *height) {
  vaekl_latent latent = {NULL, 1, info->latent_channels, 0, 0, VAEKL_DTYPE_F32, VAEKL_LATENT_RAW};
  latent.width = (uint32_t)strtoul(width, NULL, 10);
  latent.height = (uint32_t)strtoul(height, NULL, 10);
  latent.data = read_floats(path, (size_t)latent.channels * latent.width * latent.height);
  return latent;
}

#endif /* VAEKL_EXAMPLES_FILES_H */
