/* decode MODEL: the picture that latents of zeros are, and the library that made it. */
#include <stdio.h>
#include <stdlib.h>

#include <vaekl.h>

enum { SIDE = 8 };

static int decode(const char *path, vaekl_model **model, vaekl_session **session,
                  vaekl_error *error) {
  vaekl_model_info info;
  vaekl_latent latent;
  vaekl_image picture;
  vaekl_status status = vaekl_model_open(path, NULL, model, error);
  if (status != VAEKL_OK ||
      (status = vaekl_session_new(*model, NULL, session, error)) != VAEKL_OK) {
    return status;
  }
  info.struct_size = sizeof info;
  vaekl_model_get_info(*model, &info);

  latent.batch = 1;
  latent.channels = info.latent_channels;
  latent.width = latent.height = SIDE;
  latent.dtype = VAEKL_DTYPE_F32;
  latent.scale = VAEKL_LATENT_RAW;
  latent.data = calloc((size_t)SIDE * SIDE * info.latent_channels, sizeof(float));
  picture.width = picture.height = SIDE * info.downscale;
  picture.dtype = VAEKL_DTYPE_U8;
  picture.layout = VAEKL_LAYOUT_HWC;
  picture.row_stride = picture.plane_stride = 0; /* packed */
  picture.data = calloc((size_t)picture.width * picture.height, info.image_channels);

  status = vaekl_decode(*session, &latent, &picture, error);
  if (status == VAEKL_OK) {
    printf("vaekl %s: %ux%u pixels, the first of them begins with %u\n", vaekl_version_string(),
           picture.width, picture.height, *(unsigned char *)picture.data);
  }
  free(latent.data);
  free(picture.data);
  return status;
}

int main(int argc, char **argv) {
  vaekl_error error;
  vaekl_model *model = NULL;
  vaekl_session *session = NULL;
  int status = decode(argc > 1 ? argv[1] : "", &model, &session, &error);
  if (status != VAEKL_OK) {
    fprintf(stderr, "%s: %s\n", vaekl_status_name(status), error.message);
  }
  vaekl_session_free(session);
  vaekl_model_free(model);
  return status != VAEKL_OK;
}
