#include "kernels/gemm/attention.h"

#include <cmath>
#include <limits>

#include "unit/kernels/aligned.h"
#include "unit/kernels/elementwise_random.h"

namespace zp::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One row by the definition, in double.
std::vector<double> definition(const Attention& a, int row) {
  std::vector<double> s(static_cast<size_t>(a.steps));
  double highest = a.sink ? *a.sink : -kInfinity;
  for (int n = 0; n < a.steps; ++n) {
    double dot = 0;
    for (int i = 0; i < a.size; ++i)
      dot += double{a.q[row * a.q_row + i]} * a.k[n * a.k_step + i * a.k_element];
    dot *= a.scale;
    if (a.softcap != 0) dot = a.softcap * std::tanh(dot / a.softcap);
    if (a.shown && a.shown[row * a.shown_row + n * a.shown_step] != a.shows) dot = a.hidden;
    if (a.bias) dot += a.bias[row * a.bias_row + n * a.bias_step];
    s[static_cast<size_t>(n)] = dot;
    highest = std::max(highest, dot);
  }
  double sum = a.sink ? std::exp(*a.sink - highest) : 0;
  for (double& e : s) sum += e = std::exp(e - highest);
  std::vector<double> y(static_cast<size_t>(a.value_size));
  for (int n = 0; n < a.steps; ++n)
    for (int i = 0; i < a.value_size; ++i)
      y[static_cast<size_t>(i)] += s[static_cast<size_t>(n)] / sum * a.v[n * a.v_step + i];
  return y;
}

struct Case {
  Case(int rows, int steps, int size, int value_size, bool transposed = false)
      : rows(rows),
        q(random_floats(static_cast<size_t>(rows * (size + 3)), -2, 2, 1)),
        k(random_floats(static_cast<size_t>(steps * (size + 5)), -2, 2, 2)),
        v(random_floats(static_cast<size_t>(steps * (value_size + 1)), -2, 2, 3)),
        y(static_cast<size_t>(rows * (value_size + 2))) {
    a.steps = steps;
    a.size = size;
    a.value_size = value_size;
    a.scale = 1 / std::sqrt(static_cast<float>(size));
    a.q = q.data();
    a.q_row = size + 3;
    a.k = k.data();
    a.k_step = transposed ? 1 : size + 5;
    a.k_element = transposed ? steps : 1;
    a.v = v.data();
    a.v_step = value_size + 1;
    a.y = y.data();
    a.y_row = value_size + 2;
  }
  template <class Isa>
  void run() {
    std::vector<Block> scratch = aligned_bytes(attention_scratch(a) * sizeof(float));
    for (int from = 0; from < rows; from += kAttentionRows)
      attend<Isa>(a, from, std::min(rows, from + kAttentionRows), reinterpret_cast<float*>(scratch.data()));
  }
  template <class Isa>
  void check(double tolerance = 2e-5) {
    run<Isa>();
    for (int row = 0; row < rows; ++row) {
      const std::vector<double> want = definition(a, row);
      for (int i = 0; i < a.value_size; ++i)
        ASSERT_NEAR(at(row, i), want[static_cast<size_t>(i)], tolerance)
            << Isa::kName << ": row " << row << " of " << rows << ", element " << i << " of " << a.value_size
            << ", size " << a.size << ", " << a.steps << " steps";
    }
  }
  float at(int row, int i) const { return y[static_cast<size_t>(row * a.y_row + i)]; }

  int rows;
  Padded<float> q, k, v, y;
  Attention a;
};

template <class Isa>
class AttentionKernel : public testing::Test {};
TYPED_TEST_SUITE(AttentionKernel, AllSets, SetName);

TYPED_TEST(AttentionKernel, ByTheDefinition) {
  for (const int rows : {1, 2, 3, 4, 5, 64, 67})
    for (const int steps : {1, 2, 7, 127, 128, 129, 300})
      for (const int size : {1, 4, 7, 16, 33})
        for (const int value_size : {1, 8, 13, 16, 37}) {
          if (size + value_size > 50 && rows > 5) continue;
          Case(rows, steps, size, value_size).template check<TypeParam>();
        }
}

TYPED_TEST(AttentionKernel, KeysWhoseStepsAreSideBySide) {
  for (const int rows : {1, 3, 9})
    for (const int steps : {1, 8, 133}) Case(rows, steps, 12, 6, true).template check<TypeParam>();
}

TYPED_TEST(AttentionKernel, BiasOfEachStepOrOfAll) {
  for (const int rows : {2, 10}) {
    Case c(rows, 150, 8, 8);
    const Padded<float> bias = random_floats(static_cast<size_t>(rows * 150), -5, 5, 4);
    c.a.bias = bias.data();
    for (const auto [row, step] : {std::pair{150, 1}, {0, 1}, {1, 0}, {0, 0}}) {
      c.a.bias_row = row;
      c.a.bias_step = step;
      c.template check<TypeParam>();
    }
  }
}

TYPED_TEST(AttentionKernel, CapSinkAndScale) {
  for (const int rows : {1, 10}) {
    Case c(rows, 150, 8, 8);
    c.a.scale = -0.7f;
    c.a.softcap = 1.5f;
    c.template check<TypeParam>();
    const float sink = 1.25f;
    c.a.sink = &sink;
    c.template check<TypeParam>();
  }
}

// Steps up to the row's own: most blocks are hidden wholly, with -infinity or with a number that is far.
TYPED_TEST(AttentionKernel, HiddenStepsByBias) {
  for (const float hidden :
       {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::lowest(), -1e4f}) {
    for (const int window : {1, 5, 1000}) {
      constexpr int kRows = 300;
      Case c(kRows, kRows, 8, 8);
      Padded<float> bias(size_t{kRows} * kRows);
      for (int row = 0; row < kRows; ++row)
        for (int n = 0; n < kRows; ++n)
          bias[static_cast<size_t>(row * kRows + n)] = n <= row && n > row - window ? 0.0f : hidden;
      c.a.bias = bias.data();
      c.a.bias_row = kRows;
      c.a.bias_step = 1;
      c.template check<TypeParam>();
    }
  }
}

TYPED_TEST(AttentionKernel, HiddenStepsByBytes) {
  for (const float hidden :
       {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::lowest(), -3.0f}) {
    for (const uint8_t shows : {uint8_t{0}, uint8_t{1}}) {
      Case c(70, 200, 8, 8);
      Padded<uint8_t> shown = random_bytes(70 * 200);
      for (size_t i = 0; i < 70 * 200; ++i) shown[i] &= 1;
      for (size_t row = 0; row < 70; ++row) shown[row * 200 + row] = shows;
      c.a.shown = shown.data();
      c.a.shown_row = 200;
      c.a.shown_step = 1;
      c.a.shows = shows;
      c.a.hidden = hidden;
      c.template check<TypeParam>();
    }
  }
}

// A row that a finite mask hides from wholly sees all steps alike, beside rows that see something.
TYPED_TEST(AttentionKernel, RowsThatAreHiddenWhollyByNumbers) {
  for (const int rows : {2, 20}) {
    Case c(rows, 140, 8, 8);
    Padded<float> bias(static_cast<size_t>(rows) * 140);
    for (size_t i = 0; i < static_cast<size_t>(rows) * 140; ++i) bias[i] = i < 140 ? -3e38f : 0.0f;
    c.a.bias = bias.data();
    c.a.bias_row = 140;
    c.a.bias_step = 1;
    c.template check<TypeParam>();
  }
}

TYPED_TEST(AttentionKernel, RowsThatAreHiddenWholly) {
  using enum Attention::Zeros;
  for (const auto zeros : {kNever, kHidden, kNoNumber}) {
    Case c(3, 140, 8, 8);
    Padded<float> bias(3 * 140);
    for (size_t i = 0; i < 140; ++i) bias[140 + i] = -std::numeric_limits<float>::infinity();
    c.a.bias = bias.data();
    c.a.bias_row = 140;
    c.a.bias_step = 1;
    c.a.zeros = zeros;
    c.template run<TypeParam>();
    for (int i = 0; i < 8; ++i) {
      EXPECT_TRUE(zeros == kNever ? std::isnan(c.at(1, i)) : c.at(1, i) == 0) << c.at(1, i);
      EXPECT_NEAR(c.at(0, i), definition(c.a, 0)[static_cast<size_t>(i)], 2e-5);
    }
  }
}

TYPED_TEST(AttentionKernel, ScoresThatAreNoNumbers) {
  using enum Attention::Zeros;
  for (const auto zeros : {kNever, kHidden, kNoNumber}) {
    for (const int rows : {2, 8}) {
      Case c(rows, 140, 8, 8);
      c.q[3] = std::numeric_limits<float>::quiet_NaN();
      c.a.zeros = zeros;
      c.template run<TypeParam>();
      for (int i = 0; i < 8; ++i) {
        EXPECT_TRUE(zeros == kNoNumber ? c.at(0, i) == 0 : std::isnan(c.at(0, i))) << c.at(0, i);
        EXPECT_NEAR(c.at(1, i), definition(c.a, 1)[static_cast<size_t>(i)], 2e-5);
      }
    }
  }
}

// The highest of some scores does not show a NaN: a row of NaN and -infinity is not one that is hidden.
TYPED_TEST(AttentionKernel, ScoresThatAreNoNumbersOrFarBelow) {
  using enum Attention::Zeros;
  for (const auto zeros : {kNever, kHidden, kNoNumber}) {
    for (const int rows : {2, 8}) {
      for (const int no_number : {0, 1, 5, 129, 139}) {
        Case c(rows, 140, 1, 8);
        for (int row = 0; row < rows; ++row) c.q[static_cast<size_t>(row * c.a.q_row)] = 1;
        for (int n = 0; n < 140; ++n)
          c.k[static_cast<size_t>(n * c.a.k_step)] = n == no_number ? std::numeric_limits<float>::quiet_NaN()
                                                                    : -std::numeric_limits<float>::infinity();
        c.a.zeros = zeros;
        c.template run<TypeParam>();
        for (int row = 0; row < rows; ++row)
          for (int i = 0; i < 8; ++i)
            EXPECT_TRUE(zeros == kNoNumber ? c.at(row, i) == 0 : std::isnan(c.at(row, i))) << c.at(row, i);
      }
    }
  }
}

TYPED_TEST(AttentionKernel, LargeScoresAndNoSteps) {
  Case c(5, 140, 8, 8);
  c.a.scale = 1000;
  c.template check<TypeParam>(1e-3);
  Case none(5, 0, 8, 8);
  none.y[0] = 5;
  none.template run<TypeParam>();
  EXPECT_EQ(none.at(0, 0), 0);
}

}  // namespace
}  // namespace zp::kernels
