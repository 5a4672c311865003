/* arguments MODEL DATA: what the interface makes of NULL, garbage and unsupported wishes. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"

static void version(void) {
  char text[64];
  CHECK(vaekl_version() ==
        (VAEKL_VERSION_MAJOR << 16 | VAEKL_VERSION_MINOR << 8 | VAEKL_VERSION_PATCH));
  snprintf(text, sizeof text, "%d.%d.%d", VAEKL_VERSION_MAJOR, VAEKL_VERSION_MINOR,
           VAEKL_VERSION_PATCH);
  CHECK(strcmp(vaekl_version_string(), text) == 0);
  CHECK(strcmp(vaekl_status_name(VAEKL_OK), "VAEKL_OK") == 0);
  CHECK(strcmp(vaekl_status_name(VAEKL_ERR_NON_FINITE), "VAEKL_ERR_NON_FINITE") == 0);
  CHECK(strcmp(vaekl_status_name(12345), "unknown vaekl_status") == 0);
  CHECK(strlen(vaekl_cpu_level()) > 0);
  CHECK(sizeof(vaekl_error) == 512);
}

/* Why the system refused comes as its number, of a variant that a folder lacks too. */
static void system_errors(const char *path) {
  vaekl_error error;
  vaekl_model *model = NULL;
  vaekl_model_options o;
  char below[4096];
  snprintf(below, sizeof below, "%s/config.json/weights", path);
  CHECK(vaekl_model_open("/no/such/model", NULL, &model, &error) == VAEKL_ERR_IO);
  CHECK(error.os_error == ENOENT);
  CHECK(vaekl_model_open(below, NULL, &model, &error) == VAEKL_ERR_IO);
  CHECK(error.os_error == ENOTDIR);
  CHECK(vaekl_model_options_init(&o, sizeof o) == VAEKL_OK);
  o.variant = "no-such-variant";
  CHECK(vaekl_model_open(path, &o, &model, &error) == VAEKL_ERR_IO && error.os_error == ENOENT);
  CHECK(vaekl_model_open(NULL, NULL, &model, &error) == VAEKL_ERR_INVALID_ARGUMENT);
  CHECK(error.os_error == 0);
}

static void nulls(const vaekl_model *model) {
  const vaekl_status invalid = VAEKL_ERR_INVALID_ARGUMENT;
  vaekl_model *no_model = NULL;
  vaekl_session *session = new_session(model, 1), *no_session = NULL;
  vaekl_stream *no_stream = NULL;
  vaekl_model_info info;
  vaekl_plan plan;
  float values[LATENTS] = {0};
  vaekl_latent latent = latent_view(values, VAEKL_DTYPE_F32);
  vaekl_image image = image_view(values, VAEKL_DTYPE_F32, VAEKL_LAYOUT_HWC);

  CHECK(vaekl_model_options_init(NULL, sizeof(vaekl_model_options)) == invalid);
  CHECK(vaekl_session_options_init(NULL, sizeof(vaekl_session_options)) == invalid);
  CHECK_FAILS(vaekl_model_open(NULL, NULL, &no_model, &error), invalid, "path: NULL");
  CHECK_FAILS(vaekl_model_open("x", NULL, NULL, &error), invalid, "out: NULL");
  CHECK_FAILS(vaekl_model_open_bytes(NULL, 9, NULL, &no_model, &error), invalid, "bytes: NULL");
  CHECK_FAILS(vaekl_model_open_bytes("", 0, NULL, NULL, &error), invalid, "out: NULL");
  CHECK(vaekl_model_open(NULL, NULL, NULL, NULL) == invalid);
  info.struct_size = sizeof info;
  CHECK(vaekl_model_get_info(NULL, &info) == invalid);
  CHECK(vaekl_model_get_info(model, NULL) == invalid);
  CHECK(vaekl_model_config(NULL) == NULL);
  plan.struct_size = sizeof plan;
  CHECK_FAILS(vaekl_plan_decode(NULL, NULL, 8, 8, &plan, &error), invalid, "model: NULL");
  CHECK_FAILS(vaekl_plan_encode(model, NULL, 8, 8, NULL, &error), invalid, "out: NULL");
  CHECK_FAILS(vaekl_session_new(NULL, NULL, &no_session, &error), invalid, "model: NULL");
  CHECK_FAILS(vaekl_session_new(model, NULL, NULL, &error), invalid, "out: NULL");
  CHECK_FAILS(vaekl_decode(NULL, &latent, &image, &error), invalid, "session: NULL");
  CHECK_FAILS(vaekl_decode(session, NULL, &image, &error), invalid, "latent: NULL");
  CHECK_FAILS(vaekl_decode(session, &latent, NULL, &error), invalid, "out: NULL");
  CHECK_FAILS(vaekl_decode_rows(session, &latent, VAEKL_DTYPE_U8, NULL, NULL, &error), invalid,
              "on_rows: NULL");
  CHECK_FAILS(vaekl_encode(session, NULL, 0, 0, &latent, &error), invalid, "image: NULL");
  CHECK_FAILS(vaekl_encode(session, &image, 0, 0, NULL, &error), invalid, "out: NULL");
  CHECK_FAILS(vaekl_stream_open(session, &latent, 0, NULL, &error), invalid, "out: NULL");
  CHECK_FAILS(vaekl_stream_open(NULL, &latent, 0, &no_stream, &error), invalid, "session: NULL");
  CHECK_FAILS(vaekl_stream_open(session, NULL, 0, &no_stream, &error), invalid, "latent: NULL");
  CHECK_FAILS(vaekl_stream_open(session, &latent, 9, &no_stream, &error), invalid, "rows.dtype");
  CHECK_FAILS(vaekl_stream_read(NULL, values, 0, 1, NULL, &error), invalid, "stream: NULL");
  CHECK(no_model == NULL && no_session == NULL && no_stream == NULL);

  vaekl_model_free(NULL);
  vaekl_session_free(NULL);
  vaekl_stream_free(NULL);
  vaekl_session_cancel(NULL);
  CHECK(vaekl_session_memory(NULL) == 0);
  vaekl_session_free(session);
}

/* One model option at a time. */
static void model_options(const char *path) {
  const vaekl_status invalid = VAEKL_ERR_INVALID_ARGUMENT;
  struct {
    vaekl_model_options known;
    size_t unknown;
  } wide;
  vaekl_model_options o;
  vaekl_model *model = NULL;
#define REFUSED(field, value, status, words)                              \
  do {                                                                    \
    CHECK(vaekl_model_options_init(&o, sizeof o) == VAEKL_OK);            \
    o.field = value;                                                      \
    CHECK_FAILS(vaekl_model_open(path, &o, &model, &error), status, words); \
    CHECK(model == NULL);                                                 \
  } while (0)
  REFUSED(struct_size, 0, invalid, "vaekl_model_options.struct_size");
  REFUSED(struct_size, sizeof o - 1, invalid, "vaekl_model_options.struct_size");
  REFUSED(struct_size, (size_t)-8, invalid, "vaekl_model_options.struct_size");
  REFUSED(device, VAEKL_DEVICE_CUDA, VAEKL_ERR_UNSUPPORTED, "options.device");
  REFUSED(device, 77, invalid, "options.device");
  REFUSED(device_index, 1, invalid, "options.device_index");
  REFUSED(parts, 0, invalid, "options.parts");
  REFUSED(parts, 4, invalid, "options.parts");
  REFUSED(weight_dtype, VAEKL_DTYPE_BF16, VAEKL_ERR_UNSUPPORTED, "options.weight_dtype");
  REFUSED(weight_dtype, VAEKL_DTYPE_U8, invalid, "options.weight_dtype");
  REFUSED(preset, "no such preset", invalid, "no such preset");
  REFUSED(preset, "\xff\xfe", invalid, "options.preset: UTF-8");
  REFUSED(variant, "no-such-variant", VAEKL_ERR_IO, "no-such-variant");
  REFUSED(config_path, "/no/such/config.json", VAEKL_ERR_IO, "/no/such/config.json");
  REFUSED(norm_num_groups, 4, invalid, "norm_num_groups: none expected beside a configuration");
#undef REFUSED

  /* A caller of yesterday, whose struct ended before norm_num_groups. */
  CHECK(vaekl_model_options_init(&o, offsetof(vaekl_model_options, norm_num_groups)) == VAEKL_OK);
  o.norm_num_groups = 7;
  CHECK_OK(vaekl_model_open(path, &o, &model, &error));
  vaekl_model_free(model);
  model = NULL;

  /* A caller of tomorrow: what it leaves zero is fine, what it sets is not known here. */
  CHECK(vaekl_model_options_init(&wide.known, sizeof wide) == VAEKL_OK);
  CHECK(wide.known.struct_size == sizeof wide && wide.unknown == 0);
  CHECK_OK(vaekl_model_open(path, &wide.known, &model, &error));
  vaekl_model_free(model);
  wide.unknown = 1;
  CHECK_FAILS(vaekl_model_open(path, &wide.known, &model, &error), invalid, "does not know");
}

/* A file without a configuration takes from the options what its shapes do not tell. */
static void bare_file(const char *dir) {
  char path[4096];
  vaekl_model_options o;
  vaekl_model *model = NULL;
  vaekl_model_info info;
  snprintf(path, sizeof path, "%s/model.safetensors", dir);
  CHECK_FAILS(vaekl_model_open(path, NULL, &model, &error), VAEKL_ERR_MODEL, "norm_num_groups");
  CHECK(vaekl_model_options_init(&o, sizeof o) == VAEKL_OK);
  o.norm_num_groups = 3;
  CHECK_FAILS(vaekl_model_open(path, &o, &model, &error), VAEKL_ERR_MODEL, "norm_num_groups (3)");
  o.norm_num_groups = 4;
  o.preset = "flux";
  CHECK_FAILS(vaekl_model_open(path, &o, &model, &error), VAEKL_ERR_INVALID_ARGUMENT, "16 latent");
  o.preset = "sdxl";
  o.disable_mmap = 1;
  CHECK_OK(vaekl_model_open(path, &o, &model, &error));
  info.struct_size = sizeof info;
  CHECK(vaekl_model_get_info(model, &info) == VAEKL_OK);
  CHECK(info.parameters == 90847 && fabsf(info.scaling_factor - 0.13025f) < 1e-7f);
  CHECK(info.guessed == 1 && info.mapped == 0 && info.unused_tensors == 0);
  CHECK(strncmp(vaekl_model_notice(model, 0), "guessed act_fn = silu", 21) == 0);
  CHECK(vaekl_model_notice(model, 1) == NULL && vaekl_model_notice(NULL, 0) == NULL);
  vaekl_model_free(model);
}

/* As many values are written as there is room for, and all are counted. */
static void latent_statistics(const vaekl_model *plain, const char *folder) {
  double mean[5] = {9, 9, 9, 9, 9}, std[5] = {9, 9, 9, 9, 9};
  vaekl_model_options o;
  vaekl_model *model = NULL;
  CHECK(vaekl_model_latent_statistics(NULL, mean, std, 5) == 0);
  CHECK(vaekl_model_latent_statistics(plain, mean, std, 5) == 0 && mean[0] == 9);
  CHECK(vaekl_model_options_init(&o, sizeof o) == VAEKL_OK);
  o.preset = "playground-v2.5";
  CHECK_OK(vaekl_model_open(folder, &o, &model, &error));
  CHECK(vaekl_model_latent_statistics(model, NULL, NULL, 5) == 4);
  CHECK(vaekl_model_latent_statistics(model, mean, NULL, 2) == 4);
  CHECK(mean[0] == -1.6574 && mean[1] == 1.886 && mean[2] == 9 && std[0] == 9);
  CHECK(vaekl_model_latent_statistics(model, mean, std, 5) == 4);
  CHECK(mean[3] == 2.5155 && std[0] == 8.4927 && std[3] == 5.2299);
  CHECK(mean[4] == 9 && std[4] == 9);
  vaekl_model_free(model);
}

static void session_options(const vaekl_model *model) {
  const vaekl_status invalid = VAEKL_ERR_INVALID_ARGUMENT;
  char byte = 0;
  vaekl_session_options o;
  vaekl_session *session = NULL;
#define REFUSED(field, value, status)                                          \
  do {                                                                         \
    CHECK(vaekl_session_options_init(&o, sizeof o) == VAEKL_OK);               \
    o.field = value;                                                           \
    CHECK_FAILS(vaekl_session_new(model, &o, &session, &error), status, #field); \
    CHECK(session == NULL);                                                    \
  } while (0)
  REFUSED(struct_size, 8, invalid);
  REFUSED(threads, 1000000, invalid);
  REFUSED(activation_dtype, VAEKL_DTYPE_U8, invalid);
  REFUSED(activation_dtype, 99, invalid);
  REFUSED(tiling, 99, invalid);
  REFUSED(attention, 99, invalid);
  REFUSED(fuse_qkv, 99, invalid);
  REFUSED(workspace, &byte, invalid);
  REFUSED(workspace_size, 64, invalid);
#undef REFUSED
}

static void files(const char *dir) {
  static const char garbage[] = "\xff\xff\xff\xff\xff\xff\xff\x7fnot a checkpoint";
  size_t len, cut;
  char *bytes = (char *)read_file(dir, "model.safetensors", &len);
  char config[4096];
  vaekl_model_options o;
  vaekl_model *model = NULL;
  vaekl_model_info info;

  CHECK_FAILS(vaekl_model_open("/no/such/model", NULL, &model, &error), VAEKL_ERR_IO,
              "/no/such/model");
  CHECK_FAILS(vaekl_model_open_bytes(garbage, sizeof garbage, NULL, &model, &error),
              VAEKL_ERR_FORMAT, "");
  CHECK_FAILS(vaekl_model_open_bytes("", 0, NULL, &model, &error), VAEKL_ERR_FORMAT, "");
  for (cut = 1; cut < len; cut = cut * 2 + 1) {
    CHECK_FAILS(vaekl_model_open_bytes(bytes, cut, NULL, &model, &error), VAEKL_ERR_FORMAT, "");
  }
  CHECK(model == NULL);

  snprintf(config, sizeof config, "%s/config.json", dir);
  CHECK(vaekl_model_options_init(&o, sizeof o) == VAEKL_OK);
  o.config_path = config;
  CHECK_OK(vaekl_model_open_bytes(bytes, len, &o, &model, &error));
  info.struct_size = sizeof info;
  CHECK(vaekl_model_get_info(model, &info) == VAEKL_OK);
  CHECK(info.struct_size == sizeof info);
  CHECK(info.image_channels == 3 && info.input_channels == 3 && info.latent_channels == 4);
  CHECK(info.downscale == 8 && info.parts == (VAEKL_PART_DECODER | VAEKL_PART_ENCODER));
  CHECK(fabsf(info.scaling_factor - 0.18215f) < 1e-7f && info.shift_factor == 0.0f);
  CHECK(info.parameters == 90847 && info.weight_bytes == 4 * info.parameters);
  CHECK(info.guessed == 0);
  CHECK(strstr(vaekl_model_config(model), "\"norm_num_groups\":4") != NULL);
  info.struct_size = 8;
  CHECK(vaekl_model_get_info(model, &info) == VAEKL_ERR_INVALID_ARGUMENT);
  vaekl_model_free(model);
  free(bytes);
}

/* Callers whose header has more than this library knows: of options they may leave it zero, and
 * structs that are filled say how much was. */
static void larger_structs(const vaekl_model *model) {
  vaekl_session *session = NULL;
  struct {
    vaekl_session_options known;
    uint64_t unknown;
  } options;
  struct {
    vaekl_model_info known;
    uint64_t unknown;
  } info;
  struct {
    vaekl_plan known;
    uint64_t unknown;
  } plan;

  CHECK(vaekl_session_options_init(&options.known, sizeof options) == VAEKL_OK);
  CHECK(options.known.struct_size == sizeof options && options.unknown == 0);
  info.known.struct_size = sizeof info;
  info.unknown = 9;
  CHECK(vaekl_model_get_info(model, &info.known) == VAEKL_OK);
  CHECK(info.known.struct_size == sizeof info.known && info.unknown == 9);
  plan.known.struct_size = sizeof plan;
  plan.unknown = 9;
  CHECK_OK(vaekl_plan_decode(model, &options.known, LATENT_W, LATENT_H, &plan.known, &error));
  CHECK(plan.known.struct_size == sizeof plan.known && plan.unknown == 9);
  CHECK_OK(vaekl_session_new(model, &options.known, &session, &error));
  vaekl_session_free(session);
  session = NULL;

  options.unknown = 1;
  CHECK_FAILS(vaekl_session_new(model, &options.known, &session, &error),
              VAEKL_ERR_INVALID_ARGUMENT,
              "vaekl_session_options: a field is set that this library does not know");
  CHECK(session == NULL);
}

static void plans(const vaekl_model *model) {
  vaekl_plan small, large;
  small.struct_size = large.struct_size = sizeof small;
  CHECK_OK(vaekl_plan_decode(model, NULL, LATENT_W, LATENT_H, &small, &error));
  CHECK_OK(vaekl_plan_decode(model, NULL, 64, 64, &large, &error));
  CHECK(small.struct_size == sizeof small && small.exact == 1 && small.scratch_bytes == 0);
  CHECK(small.tiles_x == 1 && small.tiles_y == 1 && small.tile_size == 0);
  CHECK(small.workspace_bytes > 0 && small.workspace_bytes < large.workspace_bytes);
  CHECK(small.peak_bytes > small.workspace_bytes);
  CHECK_OK(vaekl_plan_encode(model, NULL, WIDTH, HEIGHT, &large, &error));
  CHECK_FAILS(vaekl_plan_encode(model, NULL, 0, HEIGHT, &large, &error), VAEKL_ERR_INVALID_ARGUMENT,
              "0x40");
  small.struct_size = 1;
  CHECK_FAILS(vaekl_plan_decode(model, NULL, 8, 8, &small, &error), VAEKL_ERR_INVALID_ARGUMENT,
              "vaekl_plan.struct_size");
}

int main(int argc, char **argv) {
  vaekl_model *model;
  CHECK(argc == 3);
  version();
  model = open_model(argv[1]);
  nulls(model);
  system_errors(argv[1]);
  model_options(argv[1]);
  session_options(model);
  bare_file(argv[2]);
  latent_statistics(model, argv[1]);
  files(argv[2]);
  plans(model);
  larger_structs(model);
  vaekl_model_free(model);
  puts("ok");
  return 0;
}
