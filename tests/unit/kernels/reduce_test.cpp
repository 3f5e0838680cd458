#include "kernels/reduction/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>

#include "unit/kernels/elementwise_random.h"

namespace zp::kernels {
namespace {

using Dims = std::vector<int64_t>;

struct Case {
  Dims dims;
  std::vector<bool> reduced;
};
const Case kCases[] = {
    {{7}, {true}},
    {{2, 3, 5, 7}, {false, false, true, true}},   // spatial, channels first
    {{2, 5, 7, 12}, {false, true, true, false}},  // spatial, channels last
    {{2, 5, 7, 100}, {true, true, true, false}},
    {{4, 33}, {false, true}},
    {{4, 33}, {true, false}},
    {{4, 33}, {false, false}},
    {{3, 4, 5, 6}, {true, false, true, false}},
    {{3, 4, 5, 6}, {false, true, false, true}},
    {{3, 1, 5}, {true, true, true}},
    {{}, {}},
};

struct Shaped {
  ReduceShape shape;
  std::vector<std::vector<size_t>> sources;  // of each output: indices of the input
};
Shaped shaped(const Case& c) {
  const auto flags = std::make_unique<bool[]>(c.dims.size() + 1);
  for (size_t d = 0; d < c.dims.size(); ++d) flags[d] = c.reduced[d];
  const auto shape = ReduceShape::of(c.dims, {flags.get(), c.dims.size()});
  EXPECT_TRUE(shape.has_value());
  int64_t count = 1;
  for (int64_t d : c.dims) count *= d;
  std::map<int64_t, std::vector<size_t>> by_output;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, out = 0, stride = 1;
    for (size_t d = c.dims.size(); d-- > 0;) {
      const int64_t at = rest % c.dims[d];
      rest /= c.dims[d];
      if (c.reduced[d]) continue;
      out += at * stride;
      stride *= c.dims[d];
    }
    by_output[out].push_back(static_cast<size_t>(i));
  }
  Shaped s{*shape, {}};
  for (auto& [out, sources] : by_output) s.sources.push_back(sources);
  return s;
}

double definition(Reduce f, const std::vector<double>& v) {
  double sum = 0, product = 1, max = -1e300, min = 1e300, l1 = 0, squares = 0, exponentials = 0;
  for (double x : v) {
    sum += x;
    product *= x;
    max = std::max(max, x);
    min = std::min(min, x);
    l1 += std::fabs(x);
    squares += x * x;
    exponentials += std::exp(x);
  }
  switch (f) {
    case Reduce::kSum:
      return sum;
    case Reduce::kMean:
      return sum / static_cast<double>(v.size());
    case Reduce::kMax:
      return max;
    case Reduce::kMin:
      return min;
    case Reduce::kProd:
      return product;
    case Reduce::kL1:
      return l1;
    case Reduce::kL2:
      return std::sqrt(squares);
    case Reduce::kSumSquare:
      return squares;
    case Reduce::kLogSum:
      return std::log(sum);
    case Reduce::kLogSumExp:
      return std::log(exponentials);
  }
  return 0;
}

constexpr Reduce kAll[] = {Reduce::kSum,    Reduce::kMean,     Reduce::kMax, Reduce::kMin,
                           Reduce::kProd,   Reduce::kL1,       Reduce::kL2,  Reduce::kSumSquare,
                           Reduce::kLogSum, Reduce::kLogSumExp};

template <class Isa>
class ReduceKernels : public testing::Test {};
TYPED_TEST_SUITE(ReduceKernels, AllSets, SetName);

TYPED_TEST(ReduceKernels, EveryFunctionOverEveryPattern) {
  for (const Case& c : kCases) {
    const Shaped s = shaped(c);
    size_t count = 1;
    for (int64_t d : c.dims) count *= static_cast<size_t>(d);
    const Padded<float> x = random_floats(count, 0.5f, 1.5f);
    for (Reduce f : kAll) {
      const auto outputs = static_cast<int64_t>(s.sources.size());
      std::vector<float> y(s.sources.size() + 1, -7);
      reduce<TypeParam>(f, s.shape, x.data(), y.data(), 0, outputs / 3);
      reduce<TypeParam>(f, s.shape, x.data(), y.data(), outputs / 3, outputs);
      EXPECT_EQ(y.back(), -7) << "written behind the end";
      for (size_t o = 0; o < s.sources.size(); ++o) {
        std::vector<double> v;
        for (size_t i : s.sources[o]) v.push_back(x[i]);
        const double want = definition(f, v);
        ASSERT_NEAR(y[o], want, 1e-5 * std::max(1.0, std::fabs(want)))
            << static_cast<int>(f) << " output " << o;
      }
    }
  }
}

TEST(ReduceKernel, IntegersAndDoubles) {
  for (const Case& c : kCases) {
    const Shaped s = shaped(c);
    size_t count = 1;
    for (int64_t d : c.dims) count *= static_cast<size_t>(d);
    std::vector<int32_t> x(count);
    std::vector<double> d(count);
    for (size_t i = 0; i < count; ++i) {
      x[i] = static_cast<int32_t>(i * 7 % 19) - 9;
      d[i] = x[i];
    }
    for (Reduce f : {Reduce::kSum, Reduce::kMax, Reduce::kMin, Reduce::kL1, Reduce::kSumSquare}) {
      const auto outputs = static_cast<int64_t>(s.sources.size());
      std::vector<int32_t> y(s.sources.size());
      std::vector<double> z(s.sources.size());
      reduce_any(f, s.shape, DType::kInt32, x.data(), y.data(), 0, outputs);
      reduce_any(f, s.shape, DType::kFloat64, d.data(), z.data(), 0, outputs);
      for (size_t o = 0; o < s.sources.size(); ++o) {
        std::vector<double> v;
        for (size_t i : s.sources[o]) v.push_back(x[i]);
        ASSERT_EQ(y[o], definition(f, v));
        ASSERT_EQ(z[o], definition(f, v));
      }
    }
  }
  const int32_t x[] = {-7, -2};
  int32_t mean;
  const int64_t dims[] = {2};
  const bool all[] = {true};
  reduce_any(Reduce::kMean, *ReduceShape::of(dims, all), DType::kInt32, x, &mean, 0, 1);
  EXPECT_EQ(mean, -4) << "toward zero";
}

TEST(ReduceKernel, OfNothing) {
  const int64_t dims[] = {2, 0};
  const bool last[] = {false, true};
  const ReduceShape shape = *ReduceShape::of(dims, last);
  const float x[4] = {};
  float y[2];
  reduce(Reduce::kSum, shape, x, y, 0, 2);
  EXPECT_EQ(y[1], 0);
  reduce(Reduce::kProd, shape, x, y, 0, 2);
  EXPECT_EQ(y[1], 1);
  reduce(Reduce::kMax, shape, x, y, 0, 2);
  EXPECT_EQ(y[1], -std::numeric_limits<float>::infinity());
}

TEST(ArgExtreme, FirstOrLastOfEquals) {
  const float x[] = {1, 5, 5, 2, 0, 7};  // [3][2]
  int64_t y[2];
  arg_extreme({.length = 3, .inner = 2}, DType::kFloat32, x, y, 0, 2);
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 2);
  const int32_t same[] = {4, 4, 4};
  arg_extreme({.length = 3}, DType::kInt32, same, y, 0, 1);
  EXPECT_EQ(y[0], 0);
  arg_extreme({.length = 3, .last = true}, DType::kInt32, same, y, 0, 1);
  EXPECT_EQ(y[0], 2);
  arg_extreme({.length = 6, .smallest = true}, DType::kFloat32, x, y, 0, 1);
  EXPECT_EQ(y[0], 4);
}

TEST(CumulativeSum, AllFourWays) {
  const int64_t x[] = {1, 2, 3, 4, 5, 6};  // [3][2]
  int64_t y[6];
  const auto run = [&](CumulativeSum c) {
    cumulative_sum(c, DType::kInt64, x, y, 0, 2);
    return std::vector<int64_t>(y, y + 6);
  };
  using V = std::vector<int64_t>;
  EXPECT_EQ(run({.length = 3, .inner = 2}), (V{1, 2, 4, 6, 9, 12}));
  EXPECT_EQ(run({.length = 3, .inner = 2, .exclusive = true}), (V{0, 0, 1, 2, 4, 6}));
  EXPECT_EQ(run({.length = 3, .inner = 2, .reverse = true}), (V{9, 12, 8, 10, 5, 6}));
  EXPECT_EQ(run({.length = 3, .inner = 2, .exclusive = true, .reverse = true}), (V{8, 10, 5, 6, 0, 0}));
}

}  // namespace
}  // namespace zp::kernels
