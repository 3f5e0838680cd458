#include "kernels/elementwise/codes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "unit/kernels/elementwise_random.h"

namespace zp::kernels {
namespace {

constexpr IntegerRange kCodes[] = {{-8, 7}, {0, 15}, {-2, 1}, {-64, 63}, {0, 255}, {-32768, 32767}};
constexpr size_t kCount = 103;

// Weights with ties and numbers beyond all codes, and a scale and a zero point for each.
struct Weights {
  Padded<float> x = random_floats(kCount, -20, 20), scales = Padded<float>(kCount);
  std::vector<int32_t> zeros = std::vector<int32_t>(kCount);

  explicit Weights(IntegerRange codes) {
    for (size_t i = 0; i < kCount; ++i) {
      if (i < 40) x[i] = static_cast<float>(static_cast<int>(i) - 20) * 0.5f;
      scales[i] = i < 40 ? 1.0f : 0.01f * static_cast<float>(i % 7 + 1);
      zeros[i] = codes.min + static_cast<int32_t>(i % static_cast<size_t>(codes.max - codes.min + 1));
    }
    x[50] = 1e30f;
    x[51] = -1e30f;
  }
};

double steps_of(float x, float scale, int32_t zero, IntegerRange codes) {
  return std::clamp(std::nearbyint(static_cast<double>(x / scale)), static_cast<double>(codes.min) - zero,
                    static_cast<double>(codes.max) - zero);
}

TEST(CodesKernels, CodesAreThoseOfTheDefinition) {
  for (const IntegerRange codes : kCodes) {
    const Weights w(codes);
    std::vector<int32_t> one(kCount), each(kCount);
    encode<Simd128>(w.x.data(), 0.1f, w.zeros[3], codes, kCount, one.data());
    encode_each<Simd128>(w.x.data(), w.scales.data(), w.zeros.data(), codes, kCount, each.data());
    for (size_t i = 0; i < kCount; ++i) {
      ASSERT_EQ(one[i], steps_of(w.x[i], 0.1f, w.zeros[3], codes) + w.zeros[3]) << w.x[i];
      ASSERT_EQ(each[i], steps_of(w.x[i], w.scales[i], w.zeros[i], codes) + w.zeros[i]) << w.x[i];
    }
  }
}

// Bit for bit, for every length of a tail.
TEST(CodesKernels, SumsAreTheSameInEveryInstructionSet) {
  for (const IntegerRange codes : kCodes) {
    const Weights w(codes);
    for (const size_t count : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{4}, size_t{7}, kCount}) {
      const Fit a = fit<Scalar>(w.x.data(), 0.1f, w.zeros[3], codes, count),
                b = fit<Simd128>(w.x.data(), 0.1f, w.zeros[3], codes, count);
      ASSERT_EQ(a.error, b.error);
      ASSERT_EQ(a.dot, b.dot);
      ASSERT_EQ(a.square, b.square);
      std::vector<double> sums[2][3];
      for (auto& set : sums)
        for (std::vector<double>& s : set) s.assign(kCount, 0.25);
      add_fit_each<Scalar>(w.x.data(), w.scales.data(), w.zeros.data(), codes, count, sums[0][0].data(),
                           sums[0][1].data(), sums[0][2].data());
      add_fit_each<Simd128>(w.x.data(), w.scales.data(), w.zeros.data(), codes, count, sums[1][0].data(),
                            sums[1][1].data(), sums[1][2].data());
      for (int k = 0; k < 3; ++k) ASSERT_EQ(sums[0][k], sums[1][k]);
      std::vector<int32_t> c(kCount, 9), d(kCount, 9);
      const Noise n = encode<Scalar>(w.x.data(), 0.1f, w.zeros[3], codes, count, c.data()),
                  m = encode<Simd128>(w.x.data(), 0.1f, w.zeros[3], codes, count, d.data());
      ASSERT_EQ(n.signal, m.signal);
      ASSERT_EQ(n.noise, m.noise);
      ASSERT_EQ(c, d);
    }
  }
}

TEST(CodesKernels, SumsAreThoseOfTheDefinition) {
  for (const IntegerRange codes : kCodes) {
    Weights w(codes);
    w.x[50] = w.x[51] = 3;
    double error = 0, dot = 0, square = 0;
    for (size_t i = 0; i < kCount; ++i) {
      const double steps = steps_of(w.x[i], 0.1f, w.zeros[3], codes), x = w.x[i];
      const double d = x - steps * static_cast<double>(0.1f);
      error += d * d, dot += x * steps, square += steps * steps;
    }
    const Fit sums = fit(w.x.data(), 0.1f, w.zeros[3], codes, kCount);
    EXPECT_NEAR(sums.error, error, 1e-9 * error);
    EXPECT_NEAR(sums.dot, dot, 1e-9 * std::fabs(dot) + 1e-9);
    EXPECT_NEAR(sums.square, square, 1e-9 * square);
  }
}

TEST(CodesKernels, EndsPassOverDenormalNumbersAndNaNs) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  Padded<float> x(11);
  for (size_t i = 0; i < 11; ++i) x[i] = i % 2 ? 1e-40f : nan;
  for (const size_t count : {size_t{0}, size_t{3}, size_t{11}}) {
    EXPECT_EQ(ends_of<Scalar>(x.data(), count).min, 0);
    EXPECT_EQ(ends_of<Simd128>(x.data(), count).max, 0);
  }
  for (const size_t at : {size_t{1}, size_t{10}}) {
    for (const float value : {-3.0f, 4.0f, inf, -inf}) {
      Padded<float> y = x;
      y[at] = value;
      const Ends a = ends_of<Scalar>(y.data(), 11), b = ends_of<Simd128>(y.data(), 11);
      EXPECT_EQ(a.min, std::min(value, 0.0f));
      EXPECT_EQ(a.max, std::max(value, 0.0f));
      EXPECT_EQ(a.min, b.min);
      EXPECT_EQ(a.max, b.max);
    }
  }
}

TEST(CodesKernels, PacksNibbles) {
  std::vector<int32_t> x(37);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int32_t>(i % 16) - 8;
  for (size_t count = 0; count <= x.size(); ++count) {
    std::vector<uint8_t> a(20, 0xEE), b = a;
    pack_nibbles<Scalar>(x.data(), count, a.data());
    pack_nibbles<Simd128>(x.data(), count, b.data());
    ASSERT_EQ(a, b) << count;
    for (size_t i = 0; i < count; ++i) ASSERT_EQ((a[i / 2] >> (i % 2 * 4)) & 15, x[i] & 15);
    ASSERT_EQ(a[(count + 1) / 2], 0xEE) << "it wrote beyond " << count;
  }
}

TEST(CodesKernels, UnpacksNibbles) {
  const Padded<uint8_t> packed = random_bytes(40);
  for (const uint8_t flipped : {0, 8}) {
    for (const size_t count : {size_t{0}, size_t{1}, size_t{31}, size_t{32}, size_t{79}}) {
      std::vector<uint8_t> a(81, 0xEE), b = a;
      unpack_nibbles<Scalar>(packed.data(), count, flipped, a.data());
      unpack_nibbles<Simd128>(packed.data(), count, flipped, b.data());
      ASSERT_EQ(a, b);
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(a[i], ((packed[i / 2] >> (i % 2 * 4)) & 15) ^ flipped);
      ASSERT_EQ(a[count], 0xEE);
    }
  }
}

TEST(CodesKernels, PacksColumns) {
  for (const int bits : {2, 4, 8}) {
    for (const bool transposed : {false, true}) {
      for (const size_t rows : {1, 3, 4, 33}) {
        for (const size_t columns : {1, 5, 70}) {
          const CodeMatrix m{.rows = rows, .columns = columns, .transposed = transposed};
          const size_t stride = (rows * static_cast<size_t>(bits) + 7) / 8 + 2;
          Padded<uint8_t> codes = random_bytes(rows * columns);
          for (uint8_t& c : codes.storage) c = static_cast<uint8_t>(c & ((1 << bits) - 1));
          std::vector<uint8_t> packed(columns * stride, 0xEE), back(rows * columns);
          pack_columns(codes.data(), m, bits, packed.data(), stride);
          for (size_t column = 0; column < columns; ++column) {
            for (size_t row = 0; row < rows; ++row) {
              const size_t bit = row * static_cast<size_t>(bits);
              const int code = (packed[column * stride + bit / 8] >> (bit % 8)) & ((1 << bits) - 1);
              ASSERT_EQ(code, codes[transposed ? column * rows + row : row * columns + column]);
            }
            ASSERT_EQ(packed[column * stride + stride - 2], 0xEE);
          }
          unpack_columns(packed.data(), stride, bits, m, back.data());
          ASSERT_EQ(back, codes.values());
        }
      }
    }
  }
}

}  // namespace
}  // namespace zp::kernels
