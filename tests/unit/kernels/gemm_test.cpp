// Matrix products against plain loops over the unpacked operands: every remainder of M, N and K, strides,
// zero points, clamps, extremes; in every instruction set and with every meaning of the relaxed dot product.

#include "kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "aligned.h"
#include "kernels/gemm/float.h"
#include "kernels/gemm/int8.h"

namespace zp::kernels {
namespace {

// A buffer with exactly the slack that kernels may read, so that AddressSanitizer sees anything more.
template <class T>
std::vector<T> with_slack(std::size_t count) {
  return std::vector<T>(count + kReadSlack / sizeof(T));
}

// ---------------------------------------------------------------------------------------------------------------
// Integers

enum class Values { kRandom, kAllLow, kAllHigh, kAlternating, kSmallWeights };

struct Int8Case {
  int rows, columns, depth;
  bool a_signed = false;
  bool w_unsigned = false;
  int a_zero_point = 0;
  int w_zero_points = 0;  // 0: none, 1: one, 2: one per column
  Values values = Values::kRandom;
  int stride_extra = 0;
  bool transposed = false;
};

struct Int8Problem {
  Int8Case c;
  std::vector<std::uint8_t> a, w, w_points;
  std::vector<std::int32_t> bias, sums;  // sums without bias
  std::vector<float> multipliers, float_bias;

  explicit Int8Problem(const Int8Case& the_case, unsigned seed = 1) : c(the_case) {
    std::mt19937 random(seed);
    const std::size_t stride = c.depth + c.stride_extra;
    a = with_slack<std::uint8_t>(stride * c.rows);
    w = with_slack<std::uint8_t>(std::size_t(c.depth) * c.columns);
    const auto value = [&](std::size_t i, bool is_signed, bool weight) -> std::uint8_t {
      const std::uint8_t low = is_signed ? 0x80 : 0, high = is_signed ? 0x7f : 0xff;
      switch (c.values) {
        case Values::kAllLow:
          return low;
        case Values::kAllHigh:
          return high;
        case Values::kAlternating:
          return weight ? (i % 2 ? low : high) : (i / 2 % 2 ? low : high);
        case Values::kSmallWeights:
          if (weight) return static_cast<std::uint8_t>(int(random() % 129) - 64 + (is_signed ? 0 : 128));
          [[fallthrough]];
        case Values::kRandom:
          return static_cast<std::uint8_t>(random());
      }
      return 0;
    };
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = value(i, c.a_signed, false);
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = value(i, !c.w_unsigned, true);
    w_points.resize(c.w_zero_points == 0 ? 0 : c.w_zero_points == 1 ? 1 : c.columns);
    for (auto& p : w_points) p = static_cast<std::uint8_t>(random());
    for (int n = 0; n < c.columns; ++n) {
      bias.push_back(static_cast<std::int32_t>(random() % 20001) - 10000);
      multipliers.push_back(std::ldexp(float(random() % 1000 + 1), -22));
      float_bias.push_back(float(random() % 1000) * 0.01F - 5.0F);
    }
    for (int m = 0; m < c.rows; ++m) {
      for (int n = 0; n < c.columns; ++n) {
        std::int64_t sum = 0;
        for (int k = 0; k < c.depth; ++k) {
          const std::uint8_t x = a[m * stride + k];
          const std::uint8_t y =
              w[c.transposed ? std::size_t(n) * c.depth + k : std::size_t(k) * c.columns + n];
          const std::uint8_t p = w_points.empty() ? 0 : w_points[w_points.size() == 1 ? 0 : n];
          const int xa = (c.a_signed ? std::int8_t(x) : x) - c.a_zero_point;
          const int yw = c.w_unsigned ? y - p : std::int8_t(y) - std::int8_t(p);
          sum += xa * yw;
        }
        sums.push_back(static_cast<std::int32_t>(sum));
      }
    }
  }

  Int8WeightSource source() const {
    Int8WeightSource s;
    s.data = w.data();
    s.is_unsigned = c.w_unsigned;
    s.layout = c.transposed ? WeightLayout::transposed_matrix(c.depth, c.columns)
                            : WeightLayout::matrix(c.depth, c.columns);
    s.zero_points = w_points.data();
    s.zero_point_count = static_cast<int>(w_points.size());
    return s;
  }
  Int8Input input() const {
    return {{a.data(), c.depth + c.stride_extra, nullptr}, c.a_signed, c.a_zero_point};
  }
};

std::int32_t expected_quantized(std::int32_t sum, float multiplier, const QuantizedRange& range) {
  const float x = static_cast<float>(sum) * multiplier;
  const double rounded = std::nearbyint(static_cast<double>(x));
  return static_cast<std::int32_t>(
      std::clamp(rounded + range.zero_point, double(range.lo), double(range.hi)));
}

// Packs for `Isa` on `machine`, multiplies with `Run`, with all three epilogues, and compares bit for bit.
template <class Isa, class Run>
void check_int8(const Int8Problem& p, const MachineReport& machine, const std::string& where) {
  SCOPED_TRACE(where + " " + Run::kName + " M=" + std::to_string(p.c.rows) +
               " N=" + std::to_string(p.c.columns) + " K=" + std::to_string(p.c.depth) +
               " values=" + std::to_string(int(p.c.values)));
  auto storage = aligned_bytes(packed_int8_weights_bytes(p.source().layout));
  const Int8Weights weights = pack_int8_weights<Isa>(p.source(), storage.data(), machine);
  auto scratch = aligned_bytes(int8_gemm_scratch_bytes(weights));
  const Int8Input input = p.input();
  const int rows = p.c.rows, columns = p.c.columns;
  const std::ptrdiff_t stride = columns + 3;
  const OutputRange all{0, rows, 0, columns};

  std::vector<std::int32_t> y32(rows * stride, -7);
  Int32Output raw{y32.data(), {stride}};
  // In two parts each way, as threads would.
  const int row_cut = rows / 2, column_cut = columns / 2 / kColumnTile * kColumnTile;
  int8_gemm<Run>(input, weights, raw, {0, row_cut, 0, columns}, scratch.data());
  int8_gemm<Run>(input, weights, raw, {row_cut, rows, 0, column_cut}, scratch.data());
  int8_gemm<Run>(input, weights, raw, {row_cut, rows, column_cut, columns}, scratch.data());
  for (int m = 0; m < rows; ++m) {
    for (int n = 0; n < stride; ++n) {
      ASSERT_EQ(y32[m * stride + n], n < columns ? p.sums[m * columns + n] : -7) << "m=" << m << " n=" << n;
    }
  }

  for (const bool is_signed : {false, true}) {
    for (const bool narrow : {false, true}) {
      std::vector<std::uint8_t> y8(rows * stride, 99);
      QuantizedOutput out;
      out.data = y8.data();
      out.rows = {stride};
      out.is_signed = is_signed;
      out.range = is_signed ? QuantizedRange{narrow ? 5 : -3, narrow ? -9 : -128, narrow ? 77 : 127}
                            : QuantizedRange{narrow ? 128 : 3, narrow ? 128 : 0, narrow ? 200 : 255};
      out.bias = narrow ? nullptr : p.bias.data();
      out.multipliers = p.multipliers.data();
      out.per_column = !narrow;
      int8_gemm<Run>(input, weights, out, all, scratch.data());
      for (int m = 0; m < rows; ++m) {
        for (int n = 0; n < stride; ++n) {
          std::int32_t want = 99;
          if (n < columns) {
            const std::int32_t sum = p.sums[m * columns + n] + (narrow ? 0 : p.bias[n]);
            want = expected_quantized(sum, p.multipliers[narrow ? 0 : n], out.range);
          }
          ASSERT_EQ(y8[m * stride + n], static_cast<std::uint8_t>(want)) << "m=" << m << " n=" << n;
        }
      }
    }
  }

  for (const bool clamped : {false, true}) {
    std::vector<float> yf(rows * stride, 99);
    FloatOutput out;
    out.data = yf.data();
    out.rows = {stride};
    out.bias = clamped ? nullptr : p.float_bias.data();
    out.multipliers = p.multipliers.data();
    out.per_column = !clamped;
    out.multiplier_scale = 0.37F;
    if (clamped) out.lo = 0, out.hi = 6;
    int8_gemm<Run>(input, weights, out, all, scratch.data());
    for (int m = 0; m < rows; ++m) {
      for (int n = 0; n < stride; ++n) {
        float want = 99;
        if (n < columns) {
          const float multiplier = p.multipliers[clamped ? 0 : n] * 0.37F;
          const float product = static_cast<float>(p.sums[m * columns + n]) * multiplier;
          want = product + (clamped ? 0.0F : p.float_bias[n]);
          if (clamped) want = std::clamp(want, 0.0F, 6.0F);
        }
        ASSERT_EQ(yf[m * stride + n], want) << "m=" << m << " n=" << n;
      }
    }
  }
}

void check_int8_everywhere(const Int8Case& c, unsigned seed = 1) {
  const Int8Problem p(c, seed);
  check_int8<Simd128, Scalar>(p, {}, "dot16");
  check_int8<Simd128, Simd128>(p, {}, "dot16");
#if ZEROPOINT_HAS_RELAXED_KERNELS
#if defined(__wasm__)
  check_int8<Relaxed, Relaxed>(p, probe(), name_of(probe().relaxed_dot));
  check_int8<Relaxed, Scalar>(p, probe(), name_of(probe().relaxed_dot));
#else
  for (const RelaxedDot meaning : {RelaxedDot::kUnsigned, RelaxedDot::kSigned, RelaxedDot::kSaturating}) {
    native_relaxed_dot = meaning;
    check_int8<Relaxed, Relaxed>(p, probe_now(), name_of(meaning));
    check_int8<Relaxed, Scalar>(p, probe_now(), name_of(meaning));
  }
  native_relaxed_dot = RelaxedDot::kUnsigned;
#endif
#endif
}

TEST(Int8Gemm, AllRemaindersOfRowsAndColumns) {
  for (int rows = 1; rows <= 13; ++rows) {
    for (int columns : {1, 3, 4, 5, 7, 8, 9, 12, 16, 17}) check_int8_everywhere({rows, columns, 12}, rows);
  }
}

TEST(Int8Gemm, OneRowTakesSeveralStripsOfColumns) {
  for (int rows = 1; rows <= 2; ++rows) {
    for (int columns = 18; columns <= 75; ++columns) check_int8_everywhere({rows, columns, 19});
  }
}

TEST(Int8Gemm, AllRemaindersOfDepth) {
  for (int depth = 1; depth <= 36; ++depth) {
    Int8Case c{7, 9, depth};
    c.a_zero_point = 131;
    check_int8_everywhere(c, depth);
    c.a_signed = true;
    c.a_zero_point = -5;
    check_int8_everywhere(c, depth);
  }
}

TEST(Int8Gemm, ZeroPointsOfEveryKind) {
  for (const bool a_signed : {false, true}) {
    for (const bool w_unsigned : {false, true}) {
      for (int points : {0, 1, 2}) {
        for (int zero_point : {-128, -1, 0, 1, 127, 128, 255}) {
          if (a_signed ? zero_point > 127 : zero_point < 0) continue;
          check_int8_everywhere({5, 11, 19, a_signed, w_unsigned, zero_point, points});
        }
      }
    }
  }
}

TEST(Int8Gemm, Extremes) {
  for (const Values values :
       {Values::kAllLow, Values::kAllHigh, Values::kAlternating, Values::kSmallWeights}) {
    for (const bool a_signed : {false, true}) {
      for (const bool w_unsigned : {false, true}) {
        for (int zero_point : {0, 127}) {
          check_int8_everywhere({8, 10, 260, a_signed, w_unsigned, zero_point, w_unsigned ? 1 : 0, values});
        }
      }
    }
  }
}

TEST(Int8Gemm, StridesAndLayouts) {
  for (int extra : {0, 1, 5, 16}) {
    for (const bool transposed : {false, true}) {
      Int8Case c{9, 13, 23};
      c.stride_extra = extra;
      c.transposed = transposed;
      c.a_zero_point = 7;
      check_int8_everywhere(c);
    }
  }
}

TEST(Int8Gemm, MoreThanOneBlockOfRows) { check_int8_everywhere({205, 24, 300, true, false, 3}); }

TEST(Int8Gemm, SumsWrapModulo32Bits) {
  // 70000 * 255 * 127 leaves int32: every instruction set wraps alike.
  check_int8_everywhere({2, 3, 70000, false, false, 0, 0, Values::kAllHigh});
}

TEST(Int8Gemm, NoDepthGivesBias) { check_int8_everywhere({3, 5, 0}); }

TEST(Requantize, RoundsHalfToEvenAndSaturates) {
  const QuantizedRange range{10, 0, 255};
  EXPECT_EQ(requantize(1, 0.5F, range), 10);
  EXPECT_EQ(requantize(3, 0.5F, range), 12);
  EXPECT_EQ(requantize(5, 0.5F, range), 12);
  EXPECT_EQ(requantize(-1, 0.5F, range), 10);
  EXPECT_EQ(requantize(-3, 0.5F, range), 8);
  EXPECT_EQ(requantize(std::numeric_limits<std::int32_t>::max(), 1e30F, range), 255);
  EXPECT_EQ(requantize(std::numeric_limits<std::int32_t>::min(), 1e30F, range), 0);
  EXPECT_EQ(requantize(0, std::numeric_limits<float>::infinity(), range), 0);
  EXPECT_EQ(requantize(-7, 1.0F, {-128, -128, 127}), -128);
}

// ---------------------------------------------------------------------------------------------------------------
// Floats

struct FloatCase {
  int rows, columns, depth;
  bool transposed = false;
  int stride_extra = 0;
};

template <class Isa>
void check_float(const FloatCase& c) {
  SCOPED_TRACE(std::string(Isa::kName) + " M=" + std::to_string(c.rows) + " N=" + std::to_string(c.columns) +
               " K=" + std::to_string(c.depth));
  std::mt19937 random(c.rows * 1000 + c.columns * 100 + c.depth);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const std::ptrdiff_t a_stride = c.depth + c.stride_extra;
  auto a = with_slack<float>(a_stride * c.rows);
  auto b = with_slack<float>(std::size_t(c.depth) * c.columns);
  std::vector<float> bias(c.columns);
  for (auto& x : a) x = uniform(random);
  for (auto& x : b) x = uniform(random);
  for (auto& x : bias) x = uniform(random);

  const WeightLayout layout = c.transposed ? WeightLayout::transposed_matrix(c.depth, c.columns)
                                           : WeightLayout::matrix(c.depth, c.columns);
  auto storage = aligned_bytes(packed_float_weights_bytes(layout));
  const FloatWeights weights = pack_float_weights(b.data(), layout, storage.data());
  const GemmInput<float> input{a.data(), a_stride, nullptr};
  auto scratch = aligned_bytes(float_gemm_scratch_bytes(input, weights));
  const std::ptrdiff_t stride = c.columns + 2;

  for (int variant = 0; variant < 3; ++variant) {  // bias; clamp; accumulate
    std::vector<float> y(c.rows * stride, 0.25F);
    FloatGemmOutput out;
    out.data = y.data();
    out.rows = {stride};
    if (variant == 0) out.bias = bias.data();
    if (variant == 1) out.lo = 0, out.hi = 0.5F;
    out.accumulate = variant == 2;
    const int row_cut = c.rows / 2, column_cut = c.columns / 2 / kColumnTile * kColumnTile;
    float_gemm<Isa>(input, weights, out, {0, row_cut, 0, c.columns}, scratch.data());
    float_gemm<Isa>(input, weights, out, {row_cut, c.rows, 0, column_cut}, scratch.data());
    float_gemm<Isa>(input, weights, out, {row_cut, c.rows, column_cut, c.columns}, scratch.data());
    for (int m = 0; m < c.rows; ++m) {
      for (int n = 0; n < stride; ++n) {
        double want = 0.25, magnitude = 0;
        if (n < c.columns) {
          want = variant == 0 ? bias[n] : variant == 1 ? 0.0 : 0.25;
          for (int k = 0; k < c.depth; ++k) {
            const double product =
                double(a[m * a_stride + k]) * b[c.transposed ? n * c.depth + k : k * c.columns + n];
            want += product;
            magnitude += std::abs(product);
          }
          if (variant == 1) want = std::clamp(want, 0.0, 0.5);
        }
        // Each of K additions and products may be off by half a unit in the last place of a partial sum.
        ASSERT_NEAR(y[m * stride + n], want, 1e-6 + magnitude * c.depth * 0x1p-24) << "m=" << m << " n=" << n;
      }
    }
  }
}

void check_float_everywhere(const FloatCase& c) {
  AllIsas::for_each([&]<class Isa>(Isa) { check_float<Isa>(c); });
}

TEST(FloatGemm, AllRemaindersOfRowsAndColumns) {
  for (int rows = 1; rows <= 13; ++rows) {
    for (int columns = 1; columns <= 17; ++columns) check_float_everywhere({rows, columns, 9});
  }
}

TEST(FloatGemm, AllRemaindersOfDepth) {
  for (int depth = 0; depth <= 21; ++depth) {
    check_float_everywhere({7, 9, depth});
    check_float_everywhere({1, 8, depth, true});
    check_float_everywhere({2, 11, depth, true, 3});
  }
}

TEST(FloatGemm, FewRowsTakeSeveralStripsOfColumns) {
  for (int rows = 1; rows <= 2; ++rows) {
    for (int columns = 18; columns <= 75; ++columns) check_float_everywhere({2 * rows, columns, 9});
  }
}

// The threads of a product take what rows and columns they get.
template <class Isa>
void check_split() {
  constexpr int kRows = 29, kColumns = 77, kDepth = 50;
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  auto a = with_slack<float>(kRows * kDepth);
  auto b = with_slack<float>(kColumns * kDepth);
  for (auto& x : a) x = uniform(random);
  for (auto& x : b) x = uniform(random);
  const WeightLayout layout = WeightLayout::matrix(kDepth, kColumns);
  auto storage = aligned_bytes(packed_float_weights_bytes(layout));
  const FloatWeights weights = pack_float_weights(b.data(), layout, storage.data());
  const auto product = [&](int rows, int columns) {
    std::vector<float> y(kRows * kColumns);
    const FloatGemmOutput out{.data = y.data(), .rows = {kColumns}};
    for (int m = 0; m < kRows; m += rows) {
      for (int n = 0; n < kColumns; n += columns) {
        float_gemm<Isa>({a.data(), kDepth, nullptr}, weights, out,
                        {m, std::min(m + rows, kRows), n, std::min(n + columns, kColumns)}, nullptr);
      }
    }
    return y;
  };
  const std::vector<float> whole = product(kRows, kColumns);
  for (int rows = 1; rows < kRows; ++rows) {
    for (int columns = kColumnTile; columns <= kColumns; columns += kColumnTile) {
      ASSERT_EQ(product(rows, columns), whole) << rows << " rows, " << columns << " columns at a time";
    }
  }
}

TEST(FloatGemm, DoesNotDependOnHowItIsSplit) {
  AllIsas::for_each([]<class Isa>(Isa) { check_split<Isa>(); });
}

TEST(FloatGemm, MoreThanOneBlockOfRows) {
  check_float_everywhere({203, 40, 130});
  check_float_everywhere({110, 19, 700, true, 1});
}

}  // namespace
}  // namespace zp::kernels
