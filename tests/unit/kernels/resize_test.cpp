#include "kernels/movement/resize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace zp::kernels {
namespace {

// [batch, height, width, channels] with rows and columns picked: from the definition.
template <class T>
void check_nearest(int64_t n, int64_t h, int64_t w, int64_t c, std::vector<int64_t> rows,
                   std::vector<int64_t> columns) {
  std::vector<T> in(static_cast<size_t>(n * h * w * c));
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<T>(i * 7 + 1);
  const std::vector<NearestAxis> axes{{n, {}}, {h, rows}, {w, columns}, {c, {}}};
  const NearestPlan plan(axes, sizeof(T));
  const auto out_h = static_cast<int64_t>(rows.empty() ? h : static_cast<int64_t>(rows.size()));
  const auto out_w = static_cast<int64_t>(columns.empty() ? w : static_cast<int64_t>(columns.size()));
  std::vector<T> want, out(static_cast<size_t>(n * out_h * out_w * c)), parts(out.size());
  for (int64_t b = 0; b < n; ++b)
    for (int64_t y = 0; y < out_h; ++y)
      for (int64_t x = 0; x < out_w; ++x)
        for (int64_t k = 0; k < c; ++k) {
          const int64_t from_y = rows.empty() ? y : rows[static_cast<size_t>(y)];
          const int64_t from_x = columns.empty() ? x : columns[static_cast<size_t>(x)];
          want.push_back(in[static_cast<size_t>(((b * h + from_y) * w + from_x) * c + k)]);
        }
  const auto* from = reinterpret_cast<const std::byte*>(in.data());
  plan.run(from, reinterpret_cast<std::byte*>(out.data()), 0, plan.outer());
  EXPECT_EQ(out, want);
  for (int64_t i = plan.outer(); i-- > 0;)
    plan.run(from, reinterpret_cast<std::byte*>(parts.data()), i, i + 1);
  EXPECT_EQ(parts, want) << "in pieces";
}

TEST(NearestPlan, PicksRowsAndColumns) {
  check_nearest<float>(2, 3, 4, 5, {0, 0, 1, 1, 2, 2}, {0, 0, 1, 1, 2, 2, 3, 3});
  check_nearest<uint8_t>(1, 3, 4, 3, {0, 1, 1, 2}, {});
  check_nearest<uint8_t>(3, 3, 4, 1, {}, {3, 0, 0});
  check_nearest<float>(1, 5, 5, 1, {4, 2, 0}, {0, 2, 4});
  check_nearest<int64_t>(1, 2, 1, 4, {1}, {0, 0, 0});
  check_nearest<uint16_t>(2, 1, 1, 8, {0, 0}, {0, 0});
  check_nearest<float>(1, 1, 1, 6, {}, {});
}

template <class Isa, class In, class Out>
std::vector<Out> weigh(const std::vector<In>& in, const WeightedAxis& axis, int64_t outer, int64_t inner) {
  std::vector<Out> out(static_cast<size_t>(outer * axis.out * inner));
  weigh_along<Isa>(in.data(), out.data(), axis, inner, 0, outer * axis.out);
  return out;
}

template <class In, class Out>
void check_weighted(int64_t taps, int64_t inner) {
  std::mt19937 random(11);
  WeightedAxis axis{6, 9, taps, {}, {}};
  for (int64_t i = 0; i < axis.out * taps; ++i) {
    axis.from.push_back(static_cast<int64_t>(random() % 6));
    axis.weights.push_back(static_cast<float>(random() % 100) / 60.0F - 0.3F);
  }
  const int64_t outer = 2;
  std::vector<In> in(static_cast<size_t>(outer * axis.in * inner));
  for (In& v : in) v = static_cast<In>(random() % 120);
  const auto scalar = weigh<Scalar, In, Out>(in, axis, outer, inner);
  VectorIsas::for_each(
      [&]<class Isa>(Isa) { EXPECT_EQ((weigh<Isa, In, Out>(in, axis, outer, inner)), scalar); });
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t r = 0; r < axis.out; ++r) {
      for (int64_t i = 0; i < inner; ++i) {
        double sum = 0;
        for (int64_t k = 0; k < taps; ++k) {
          const auto at = static_cast<size_t>(r * taps + k);
          sum += static_cast<double>(axis.weights[at]) *
                 static_cast<double>(in[static_cast<size_t>((o * axis.in + axis.from[at]) * inner + i)]);
        }
        if (std::is_integral_v<Out>) {
          sum = std::clamp(sum, static_cast<double>(std::numeric_limits<Out>::lowest()),
                           static_cast<double>(std::numeric_limits<Out>::max()));
        }
        ASSERT_NEAR(static_cast<double>(scalar[static_cast<size_t>((o * axis.out + r) * inner + i)]), sum,
                    std::is_integral_v<Out> ? 0.5001 : 1e-3);
      }
    }
  }
}

TEST(WeighAlong, SumsTapsTheSameInEveryInstructionSet) {
  for (int64_t taps : {1, 2, 4, 7}) {
    for (int64_t inner : {1, 4, 7, 32}) {
      check_weighted<float, float>(taps, inner);
      check_weighted<uint8_t, float>(taps, inner);
      check_weighted<int8_t, int8_t>(taps, inner);
      check_weighted<uint8_t, uint8_t>(taps, inner);
      check_weighted<float, uint8_t>(taps, inner);
      check_weighted<float, int8_t>(taps, inner);
    }
  }
}

TEST(WeighAlong, HalvesGoToTheEvenIntegerAndNothingWraps) {
  const WeightedAxis axis{2, 2, 2, {0, 1, 0, 1}, {0.5F, 0.5F, 2.0F, 2.0F}};
  const std::vector<uint8_t> in{1, 3, 100, 2, 6, 200};
  EXPECT_EQ((weigh<Scalar, uint8_t, uint8_t>(in, axis, 1, 3)), (std::vector<uint8_t>{2, 4, 150, 6, 18, 255}));
}

}  // namespace
}  // namespace zp::kernels
