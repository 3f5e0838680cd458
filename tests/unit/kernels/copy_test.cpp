#include "kernels/movement/copy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace zp::kernels {
namespace {

template <class T>
const std::byte* bytes(const std::vector<T>& v) {
  return reinterpret_cast<const std::byte*>(v.data());
}
template <class T>
std::byte* bytes(std::vector<T>& v) {
  return reinterpret_cast<std::byte*>(v.data());
}

// Every way of stepping, for one element type.
template <class T>
void check_steps() {
  std::vector<T> in(60);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<T>(i + 1);
  struct Case {
    std::vector<BoxDimension> dims;
    int64_t offset;
  };
  const std::vector<Case> cases{
      {{{3, 20, 20}, {4, 5, 5}, {5, 1, 1}}, 0},     // everything: merges to one run
      {{{2, 20, 9}, {3, 5, 3}, {3, 1, 1}}, 6},      // a box out of the middle
      {{{3, -20, 20}, {4, 5, 5}, {5, -1, 1}}, 44},  // backwards
      {{{3, 20, 6}, {2, 10, 3}, {3, 2, 1}}, 0},     // every second
      {{{2, 0, 15}, {3, 5, 5}, {5, 0, 1}}, 0},      // repeated
      {{{1, 7, 7}, {1, 9, 9}}, 59},                 // one element
  };
  for (const Case& c : cases) {
    const BoxCopy copy(c.dims, sizeof(T));
    std::vector<T> out(60, T{0}), want(60, T{0}), parts(60, T{0});
    copy.run(bytes(in) + c.offset * static_cast<int64_t>(sizeof(T)), bytes(out));
    for (int64_t i = copy.outer(); i-- > 0;) {
      copy.run(bytes(in) + c.offset * static_cast<int64_t>(sizeof(T)), bytes(parts), i, i + 1);
    }
    std::vector<BoxDimension> d = c.dims;
    d.resize(3, BoxDimension{1, 0, 0});
    for (int64_t i = 0; i < d[0].size; ++i) {
      for (int64_t j = 0; j < d[1].size; ++j) {
        for (int64_t k = 0; k < d[2].size; ++k) {
          want[static_cast<size_t>(i * d[0].out_stride + j * d[1].out_stride + k * d[2].out_stride)] =
              in[static_cast<size_t>(c.offset + i * d[0].in_stride + j * d[1].in_stride +
                                     k * d[2].in_stride)];
        }
      }
    }
    EXPECT_EQ(out, want) << sizeof(T) << " bytes";
    EXPECT_EQ(parts, want) << sizeof(T) << " bytes, in pieces";
  }
}

TEST(BoxCopy, StepsInEveryDirection) {
  check_steps<uint8_t>();
  check_steps<uint16_t>();
  check_steps<float>();
  check_steps<int64_t>();
}

TEST(BoxCopy, MergesWhatIsOneRun) {
  const std::vector<BoxDimension> dims{{3, 20, 20}, {4, 5, 5}, {5, 1, 1}};
  EXPECT_EQ(BoxCopy(dims, 4).outer(), 60);
  EXPECT_EQ(BoxCopy(dims, 4).outer_bytes(), 4);
}

TEST(BoxCopy, NothingToCopy) {
  const std::vector<BoxDimension> dims{{3, 20, 20}, {0, 5, 5}};
  EXPECT_EQ(BoxCopy(dims, 4).outer(), 0);
}

TEST(Fill, WritesCountElementsOfAnySize) {
  for (size_t size : {1, 2, 3, 4, 8, 12}) {
    const std::vector<std::byte> value{std::byte{1}, std::byte{2},  std::byte{3},  std::byte{4},
                                       std::byte{5}, std::byte{6},  std::byte{7},  std::byte{8},
                                       std::byte{9}, std::byte{10}, std::byte{11}, std::byte{12}};
    for (int64_t count : {0, 1, 2, 7, 1000, 5000}) {
      std::vector<std::byte> out(static_cast<size_t>(count) * size + 1, std::byte{99});
      fill(out.data(), count, value.data(), size);
      for (size_t i = 0; i + 1 < out.size(); ++i)
        ASSERT_EQ(out[i], value[i % size]) << size << " bytes, " << count;
      EXPECT_EQ(out.back(), std::byte{99});
    }
  }
}

TEST(Copy, DenormalsBecomeZero) {
  constexpr float kSmallest = std::numeric_limits<float>::min(),
                  kDenormal = std::numeric_limits<float>::denorm_min();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> values{1,         -2, 0, kSmallest, -kSmallest, kDenormal, -kDenormal, kSmallest / 2,
                            kInfinity, NAN};
  flush_denormals(bytes(values), values.size() * sizeof(float));
  const std::vector<float> expected{1, -2, 0, kSmallest, -kSmallest, 0, 0, 0, kInfinity};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(values[i], expected[i]) << i;
  EXPECT_TRUE(std::isnan(values.back()));
}

}  // namespace
}  // namespace zp::kernels
