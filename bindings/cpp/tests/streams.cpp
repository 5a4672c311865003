// Rows that are pulled, moves, and what threads and callbacks may do.
#include "check.hpp"

#include <atomic>
#include <thread>

/* ---- rows ------------------------------------------------------------------ */

TEST(rows_are_the_picture) {
  auto session = new_session();
  for (const std::uint32_t at_a_time : {0u, 1u, 7u, 40u, 1000u}) {
    std::vector<std::uint8_t> bytes;
    std::uint32_t next = 0;
    auto stream = MUST(session.rows(fixture(), at_a_time));
    for (const auto &rows : stream) {
      CHECK(rows.y == next && rows.count > 0 && rows.pixels.size() == rows.count * width * 3);
      next += rows.count;
      bytes.insert(bytes.end(), rows.pixels.begin(), rows.pixels.end());
    }
    CHECK(next == height && same(bytes, picture()));
    CHECK(!stream.error() && stream.begin() == stream.end());
  }
  const auto expected = MUST(session.decode<float>(fixture()));
  std::vector<float> floats;
  auto stream = MUST(session.rows<float>(fixture()));
  for (const auto &rows : stream)
    floats.insert(floats.end(), rows.pixels.begin(), rows.pixels.end());
  CHECK(same(floats, expected.pixels));
}

TEST(rows_are_read_into_memory_of_the_callers) {
  auto session = new_session();
  auto stream = MUST(session.rows(fixture()));
  CHECK(stream.width() == width && stream.height() == height && stream.channels() == 3);
  constexpr std::size_t row = width * 3, stride = row + 8;
  std::vector<std::uint8_t> bytes(stride * (height - 1) + row);
  FAILS(stream.read({bytes.data(), row - 1}), VAEKL_ERR_INVALID_ARGUMENT,
        "168 expected, 167 found");
  FAILS(stream.read({}), VAEKL_ERR_INVALID_ARGUMENT, "0 found");
  FAILS(stream.read(bytes, row - 1), VAEKL_ERR_INVALID_ARGUMENT, "row_stride");
  // Room for two rows, and for one and a half.
  CHECK(MUST(stream.read({bytes.data(), stride + row}, stride)) == 2);
  CHECK(MUST(stream.read({&bytes[2 * stride], row + row / 2}, stride)) == 1);
  // A loop goes on from there.
  const auto loop = stream.begin();
  CHECK(loop->y == 3 && loop->count == 1);
  std::copy(loop->pixels.begin(), loop->pixels.end(), &bytes[3 * stride]);
  const std::size_t at = 4 * stride;
  CHECK(MUST(stream.read({&bytes[at], bytes.size() - at}, stride)) == height - 4);
  CHECK(MUST(stream.read(bytes, stride)) == 0);
  for (std::size_t y = 0; y < height; y++) {
    CHECK(std::memcmp(&bytes[y * stride], &picture()[y * row], row) == 0);
  }
}

TEST(a_stream_may_end_early) {
  auto session = new_session();
  {
    auto stream = MUST(session.rows(fixture(), 3));
    for (const auto &rows : stream) {
      CHECK(rows.y == 0);
      break;
    }
    // A second loop goes on; the session is in use as long as there is the stream.
    CHECK(stream.begin()->y == 3);
    FAILS(session.decode(fixture()), VAEKL_ERR_STATE, "in use");
  }
  CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
}

TEST(a_stream_may_outlive_its_session) {
  auto session = new_session();
  auto stream = MUST(session.rows(fixture(), height));
  session = new_session();
  CHECK(same(stream.begin()->pixels, picture()));
  stream = MUST(session.rows(fixture(), height));
  auto moved = std::move(stream);
  session = vaekl::Session();
  CHECK(same(moved.begin()->pixels, picture()));
}

TEST(what_was_moved_from_is_an_error) {
  auto model = MUST(vaekl::Model::open(data("model")));
  auto session = MUST(vaekl::Session::create(model));
  auto stream = MUST(session.rows(fixture()));
  const auto other_model = std::move(model);
  auto other_session = std::move(session);
  auto other_stream = std::move(stream);
  std::vector<std::uint8_t> bytes(picture().size());

  CHECK(model.get() == nullptr && session.get() == nullptr && session.memory() == 0);
  session.cancel();
  FAILS(vaekl::Session::create(model), VAEKL_ERR_INVALID_ARGUMENT, "model");
  FAILS(model.plan_decode(8, 8), VAEKL_ERR_INVALID_ARGUMENT, "model");
  FAILS(session.decode(fixture()), VAEKL_ERR_INVALID_ARGUMENT, "session");
  FAILS(session.decode_into(fixture(), vaekl::Image{bytes, width, height}),
        VAEKL_ERR_INVALID_ARGUMENT, "session");
  FAILS(session.encode(vaekl::Image{bytes, width, height}), VAEKL_ERR_INVALID_ARGUMENT, "session");
  FAILS(session.rows(fixture()), VAEKL_ERR_INVALID_ARGUMENT, "session");
  FAILS(stream.read(bytes), VAEKL_ERR_INVALID_ARGUMENT, "stream");

  CHECK(MUST(other_stream.read(bytes)) == height && same(bytes, picture()));
  FAILS(other_session.decode(fixture()), VAEKL_ERR_STATE, "in use");
  other_stream = {};
  CHECK(same(MUST(other_session.decode(fixture())).pixels, picture()));
  CHECK(other_model.get() != nullptr);
}

/* ---- progress -------------------------------------------------------------- */

TEST(threads_progress_comes_here_and_cancels) {
  const auto here = std::this_thread::get_id();
  std::uint64_t calls = 0, last = 0;
  bool right = true, go_on = true;
  vaekl::SessionOptions options;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    right = right && std::this_thread::get_id() == here && done >= last && done <= total;
    calls++;
    last = done;
    return go_on;
  };
  auto session = new_session(options);
  // A session that has moved calls the same function.
  auto moved = std::move(session);
  CHECK(same(MUST(moved.decode(fixture())).pixels, picture()));
  CHECK(right && calls > 1 && last > 0);

  go_on = false;
  calls = last = 0;
  FAILS(moved.decode(fixture()), VAEKL_ERR_CANCELLED, "");
  CHECK(calls == 1);
  go_on = true;
  last = 0;
  CHECK(same(MUST(moved.decode(fixture())).pixels, picture()));
}

/// A session whose streams work while they are read: tile by tile, and a picture of some tiles.
static vaekl::Session tiled_session(const vaekl::Progress &progress) {
  vaekl::SessionOptions options;
  options.tiling = VAEKL_TILING_DIFFUSERS;
  options.tile_size = 8;
  options.progress = progress;
  return new_session(options);
}

static vaekl::Latents<const float> tiles() {
  static const std::vector<float> zeros(channels * 24 * 24);
  return {zeros, 1, channels, 24, 24};
}

TEST(a_loop_may_fail) {
  bool go_on = true;
  std::uint32_t count = 0;
  auto session = tiled_session([&](std::uint64_t, std::uint64_t) { return go_on; });
  auto stream = MUST(session.rows(tiles()));
  const auto loop = [&]() -> vaekl::Fallible<void> {
    for (const auto &rows : stream) {
      count += rows.count;
      go_on = false;
    }
#ifdef VAEKL_NO_EXCEPTIONS
    if (stream.error()) return *stream.error();
#endif
    return vaekl::Fallible<void>();
  };
  FAILS(loop(), VAEKL_ERR_CANCELLED, "");
  CHECK(count > 0 && count < stream.height());
  // It stays failed, and its session is good for more.
  std::vector<std::uint8_t> row(stream.width() * 3);
  FAILS(stream.read(row), VAEKL_ERR_CANCELLED, "");
  go_on = true;
  stream = {};
  stream = MUST(session.rows(tiles(), 1000));
  CHECK(stream.begin()->count == stream.height());
}

#ifndef VAEKL_NO_EXCEPTIONS
/// What a call throws that is not an Error.
template <class Call>
static int thrown_by(const Call &call) {
  try {
    call();
  } catch (int thrown) {
    return thrown;
  }
  return 0;
}

TEST(exceptions_of_progress_come_out_of_the_call) {
  // Halves of the work that are done before it throws; how often it is called depends on the
  // machine.
  std::uint64_t halves = 0;
  vaekl::SessionOptions options;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    return 2 * done >= halves * total ? throw 42 : true;
  };
  auto session = new_session(options);
  const vaekl::Image image{picture(), width, height};
  const auto decode = [&] { (void)session.decode(fixture()); };
  const auto encode = [&] { (void)session.encode(image); };
  const auto rows = [&] { (void)session.rows(fixture()); };
  for (const std::function<void()> &call :
       std::initializer_list<std::function<void()>>{decode, encode, rows}) {
    for (const std::uint64_t part : {0u, 1u}) {
      halves = part;
      CHECK(thrown_by(call) == 42);
      halves = 3;
      CHECK(same(session.decode(fixture()).pixels, picture()));
    }
  }
}

TEST(exceptions_of_progress_come_out_of_a_loop) {
  bool bad = false;
  std::uint32_t count = 0;
  auto session = tiled_session([&](std::uint64_t, std::uint64_t) { return bad ? throw 42 : true; });
  const auto loop = [&] {
    for (const auto &rows : session.rows(tiles())) {
      count += rows.count;
      bad = true;
    }
  };
  CHECK(thrown_by(loop) == 42 && count > 0 && count < 24 * 8);
}
#endif

/* ---- threads --------------------------------------------------------------- */

TEST(threads_cancel_from_another) {
  // The decode waits in its first callback until it is cancelled: there is no race to win.
  std::atomic<bool> begun{false}, cancelled{false};
  vaekl::SessionOptions options;
  options.progress = [&](std::uint64_t, std::uint64_t) {
    begun = true;
    while (!cancelled) std::this_thread::yield();
    return true;
  };
  auto session = new_session(options);
  std::thread other([&] {
    while (!begun) std::this_thread::yield();
    session.cancel();
    cancelled = true;
  });
  const std::vector<float> zeros(4 * 96 * 96);
  FAILS(session.decode(vaekl::Latents{zeros, 1, 4, 96, 96}), VAEKL_ERR_CANCELLED, "");
  other.join();
  // A later call is not affected, nor by a cancel between calls.
  session.cancel();
  CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
}

TEST(threads_give_the_same_bits) {
  constexpr std::size_t side = 24;
  std::vector<float> values(channels * side * side);
  for (std::size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(i % 17) / 8 - 1;
  const vaekl::Latents latents{values, 1, channels, side, side};
  auto alone = new_session();
  auto expected = MUST(alone.decode<float>(latents));
  const auto encoded = MUST(alone.encode(expected.view(), {VAEKL_POSTERIOR_SAMPLE, 3}));

  bool right[2] = {false, false};
  const auto work = [&](bool &result) {
    vaekl::SessionOptions options;
    options.threads = 2;
    auto session = new_session(options);
    result = true;
    for (int round = 0; round < 2; round++) {
      const auto decoded = MUST(session.decode<float>(latents));
      const auto again = MUST(session.encode(expected.view(), {VAEKL_POSTERIOR_SAMPLE, 3}));
      result =
          result && same(decoded.pixels, expected.pixels) && same(again.values, encoded.values);
    }
  };
  std::thread first([&] { work(right[0]); }), second([&] { work(right[1]); });
  first.join();
  second.join();
  CHECK(right[0] && right[1]);
}

TEST(threads_get_a_session_one_at_a_time) {
  std::optional<vaekl::Error> refused;
  vaekl::Session *used = nullptr;
  bool asked = false;
  vaekl::SessionOptions options;
  options.progress = [&](std::uint64_t, std::uint64_t) {
    if (!std::exchange(asked, true)) {
      std::thread([&] { refused = error_of([&] { return used->decode(fixture()); }); }).join();
    }
    return true;
  };
  auto session = new_session(options);
  used = &session;
  CHECK(same(MUST(session.decode(fixture())).pixels, picture()));
  CHECK(refused && refused->status() == VAEKL_ERR_STATE);
}
