#include "kernels/elementwise/unary.h"

#include <cmath>
#include <limits>

#include "unit/kernels/elementwise_random.h"

namespace zp::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Case {
  const char* name;
  Unary f;
  double (*reference)(double);
  float lo, hi;
  double absolute = 0;  // allowed beside the relative error, where a result passes through zero
  UnaryParameters parameters = {};
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

const Case kCases[] = {
    {"exp", Unary::kExp, [](double x) { return std::exp(x); }, -87, 88},
    {"log", Unary::kLog, [](double x) { return std::log(x); }, 1e-6f, 1e6f, 1e-7},
    {"log near one", Unary::kLog, [](double x) { return std::log(x); }, 0.9f, 1.1f, 1e-8},
    {"sigmoid", Unary::kSigmoid, sigmoid, -80, 80},
    {"tanh", Unary::kTanh, [](double x) { return std::tanh(x); }, -10, 10},
    {"tanh near zero", Unary::kTanh, [](double x) { return std::tanh(x); }, -0.7f, 0.7f},
    {"erf", Unary::kErf, [](double x) { return std::erf(x); }, -5, 5},
    {"erf near zero", Unary::kErf, [](double x) { return std::erf(x); }, -1e-3f, 1e-3f},
    {"gelu", Unary::kGelu, [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }, -6, 6, 4e-7},
    {"gelu tanh", Unary::kGeluTanh,
     [](double x) {
       return x / 2 * (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
     },
     -6, 6, 4e-7},
    {"softplus", Unary::kSoftplus, [](double x) { return std::log1p(std::exp(x)); }, -80, 80},
    {"softsign", Unary::kSoftsign, [](double x) { return x / (1 + std::fabs(x)); }, -50, 50},
    {"mish", Unary::kMish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, -30, 30},
    // The rounding of 1.5 x is a relative error of the result where that is tiny.
    {"swish", Unary::kSwish, [](double x) { return x * sigmoid(1.5 * x); }, -20, 20, 1e-8, {.a = 1.5f}},
    {"elu", Unary::kElu, [](double x) { return x < 0 ? 0.5 * std::expm1(x) : x; }, -20, 5, 0, {.a = 0.5f}},
    {"selu",
     Unary::kSelu,
     [](double x) { return 1.0625 * (x > 0 ? x : 1.75 * std::expm1(x)); },
     -20,
     5,
     0,
     {.a = 1.75f, .b = 1.0625f}},
    {"celu", Unary::kCelu, [](double x) { return x > 0 ? x : 2 * std::expm1(x / 2); }, -20, 5, 0, {.a = 2}},
    {"leaky relu", Unary::kLeakyRelu, [](double x) { return x < 0 ? 0.25 * x : x; }, -5, 5, 0, {.a = 0.25f}},
    {"thresholded relu", Unary::kThresholdedRelu, [](double x) { return x > 1 ? x : 0; }, -5, 5, 0, {.a = 1}},
    {"clamp",
     Unary::kClamp,
     [](double x) { return std::fmin(std::fmax(x, -1), 2); },
     -5,
     5,
     0,
     {.a = -1, .b = 2}},
    {"hard sigmoid",
     Unary::kHardSigmoid,
     [](double x) { return std::fmin(std::fmax(0.25 * x + 0.5, 0), 1); },
     -5,
     5,
     1e-7,
     {.a = 0.25f, .b = 0.5f}},
    {"hard swish", Unary::kHardSwish, [](double x) { return x * std::fmin(std::fmax(x / 6 + 0.5, 0), 1); },
     -5, 5, 1e-6},
    {"shrink",
     Unary::kShrink,
     [](double x) { return x < -1  ? x + 0.5
                           : x > 1 ? x - 0.5
                                   : 0; },
     -5,
     5,
     0,
     {.a = 1, .b = 0.5f}},
    {"reciprocal", Unary::kReciprocal, [](double x) { return 1 / x; }, 0.1f, 9},
    {"sqrt", Unary::kSqrt, [](double x) { return std::sqrt(x); }, 0, 9},
    {"abs", Unary::kAbs, [](double x) { return std::fabs(x); }, -5, 5},
    {"neg", Unary::kNeg, [](double x) { return -x; }, -5, 5},
    {"floor", Unary::kFloor, [](double x) { return std::floor(x); }, -5, 5},
    {"ceil", Unary::kCeil, [](double x) { return std::ceil(x); }, -5, 5},
    {"round", Unary::kRound, [](double x) { return std::nearbyint(x); }, -5, 5},
    {"sign", Unary::kSign, [](double x) { return static_cast<double>((x > 0) - (x < 0)); }, -5, 5},
    {"sin", Unary::kSin, [](double x) { return std::sin(x); }, -5, 5, 1e-7},
    {"atanh", Unary::kAtanh, [](double x) { return std::atanh(x); }, -0.9f, 0.9f, 1e-7},
};

template <class Isa>
class UnaryKernels : public testing::Test {};
TYPED_TEST_SUITE(UnaryKernels, AllSets, SetName);

TYPED_TEST(UnaryKernels, AgreeWithTheLibraryInDoublePrecision) {
  for (const Case& c : kCases) {
    const size_t count = 4003;  // not a multiple of the vectors' length
    const Padded<float> x = random_floats(count, c.lo, c.hi);
    std::vector<float> y(count, kNaN);
    unary<TypeParam>(c.f, c.parameters, x.data(), y.data(), count);
    for (size_t i = 0; i < count; ++i) {
      const double want = c.reference(x[i]);
      // Below 1e-37 results lose bits to the end of the float range.
      ASSERT_NEAR(y[i], want, c.absolute + 1e-6 * std::fabs(want) + 1e-37) << c.name << "(" << x[i] << ")";
    }
  }
}

TYPED_TEST(UnaryKernels, KeepTheEndsOfTheRange) {
  const auto at = [](Unary f, float x, UnaryParameters p = {}) {
    Padded<float> in(5);
    for (size_t i = 0; i < 5; ++i) in[i] = x;
    std::vector<float> y(5);
    unary<TypeParam>(f, p, in.data(), y.data(), 5);
    EXPECT_TRUE(y[0] == y[4] || (std::isnan(y[0]) && std::isnan(y[4]))) << "vector and rest differ";
    return y[0];
  };
  EXPECT_EQ(at(Unary::kExp, 0), 1);
  EXPECT_EQ(at(Unary::kExp, 100), kInfinity);
  EXPECT_EQ(at(Unary::kExp, kInfinity), kInfinity);
  EXPECT_EQ(at(Unary::kExp, -kInfinity), 0);
  EXPECT_NEAR(at(Unary::kExp, -100) / std::exp(-100.0), 1, 0.02);  // denormal, with few bits
  EXPECT_EQ(at(Unary::kLog, 0), -kInfinity);
  EXPECT_EQ(at(Unary::kLog, kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(at(Unary::kLog, -1)));
  EXPECT_NEAR(at(Unary::kLog, 1e-40f), std::log(1e-40f), 1e-4);
  EXPECT_EQ(at(Unary::kTanh, kInfinity), 1);
  EXPECT_EQ(at(Unary::kTanh, -kInfinity), -1);
  EXPECT_EQ(at(Unary::kErf, kInfinity), 1);
  EXPECT_EQ(at(Unary::kErf, -30), -1);
  EXPECT_EQ(at(Unary::kSigmoid, kInfinity), 1);
  EXPECT_EQ(at(Unary::kSigmoid, -kInfinity), 0);
  EXPECT_EQ(at(Unary::kSoftplus, 100), 100);
  EXPECT_EQ(at(Unary::kMish, kInfinity), kInfinity);
  EXPECT_EQ(at(Unary::kRound, 2.5f), 2);
  EXPECT_EQ(at(Unary::kRound, 3.5f), 4);
  EXPECT_EQ(at(Unary::kClamp, 5, {.a = 3, .b = 1}), 1) << "a range that is upside down gives its upper end";
  for (Unary f : {Unary::kExp, Unary::kLog, Unary::kTanh, Unary::kErf, Unary::kSigmoid, Unary::kSqrt,
                  Unary::kHardSwish, Unary::kElu, Unary::kGelu, Unary::kMish, Unary::kSoftplus}) {
    EXPECT_TRUE(std::isnan(at(f, kNaN, {.a = 1, .b = 1}))) << static_cast<int>(f);
  }
  EXPECT_TRUE(std::isnan(at(Unary::kClamp, kNaN, {.a = 0, .b = 6})));
}

TYPED_TEST(UnaryKernels, WorkInPlaceAndWriteNothingBehindTheEnd) {
  for (size_t count = 0; count < 11; ++count) {
    Padded<float> x = random_floats(count + 4, -2, 2);
    const Padded<float> before = x;
    std::vector<float> y(count);
    unary<TypeParam>(Unary::kTanh, {}, x.data(), y.data(), count);
    unary<TypeParam>(Unary::kTanh, {}, x.data(), x.data(), count);
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(x[i], y[i]);
    for (size_t i = count; i < count + 4; ++i) EXPECT_EQ(x[i], before[i]);
  }
}

TEST(UnaryKernel, VectorsWithoutFusedMultiplyAddGiveTheSpecificationsBits) {
  for (const Case& c : kCases) {
    const size_t count = 1001;
    const Padded<float> x = random_floats(count, c.lo, c.hi, 7);
    std::vector<float> scalar(count), vector(count);
    unary<Scalar>(c.f, c.parameters, x.data(), scalar.data(), count);
    unary<Simd128>(c.f, c.parameters, x.data(), vector.data(), count);
    EXPECT_EQ(scalar, vector) << c.name;
  }
}

}  // namespace
}  // namespace zp::kernels
