#include "kernels/elementwise/binary.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "unit/kernels/elementwise_random.h"

namespace zp::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
using Dims = std::vector<int64_t>;

int64_t product(const Dims& d) {
  int64_t n = 1;
  for (int64_t v : d) n *= v;
  return n;
}

Dims broadcast_dims(const Dims& a, const Dims& b) {
  Dims out(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < out.size(); ++i) {
    const auto at = [&](const Dims& d) {
      return i + d.size() < out.size() ? 1 : d[i + d.size() - out.size()];
    };
    out[i] = at(a) == 1 ? at(b) : at(a);
  }
  return out;
}

// Where element `i` of the output comes from: the definition, one index at a time.
int64_t source(const Dims& in, const Dims& out, int64_t i) {
  int64_t offset = 0, stride = 1;
  for (size_t back = 0; back < out.size(); ++back) {
    const int64_t extent = out[out.size() - 1 - back], at = i % extent;
    i /= extent;
    if (back >= in.size()) continue;
    const int64_t own = in[in.size() - 1 - back];
    if (own > 1) offset += at * stride;
    stride *= own;
  }
  return offset;
}

Broadcast make(const Dims& a, const Dims& b, const Dims& out) {
  const std::span<const int64_t> inputs[] = {a, b};
  const auto shape = Broadcast::of(inputs, out);
  EXPECT_TRUE(shape.has_value());
  return *shape;
}

const std::pair<Dims, Dims> kShapes[] = {
    {{}, {}},
    {{7}, {7}},
    {{1, 3, 5, 7}, {1, 3, 5, 7}},
    {{2, 5, 7, 12}, {12}},           // channels last
    {{2, 12, 5, 7}, {12, 1, 1}},     // channels first
    {{2, 5, 7, 12}, {2, 1, 1, 12}},  // squeeze and excite, channels last
    {{2, 12, 5, 7}, {2, 12, 1, 1}},  // the same, channels first
    {{3, 4, 5}, {}},                 // scalar
    {{}, {3, 4, 5}},
    {{6, 1}, {1, 9}},  // row by column
    {{2, 1, 3, 1, 4}, {5, 1, 6, 1}},
    {{1}, {1, 1, 1}},
    {{4, 0, 3}, {3}},  // nothing at all
    {{17}, {2, 17}},
};

template <class Isa>
class BinaryKernels : public testing::Test {};
TYPED_TEST_SUITE(BinaryKernels, AllSets, SetName);

TYPED_TEST(BinaryKernels, BroadcastAsNumpyDoes) {
  for (const auto& [a_dims, b_dims] : kShapes) {
    const Dims out = broadcast_dims(a_dims, b_dims);
    const Broadcast shape = make(a_dims, b_dims, out);
    ASSERT_EQ(shape.size(), product(out));
    const Padded<float> a = random_floats(static_cast<size_t>(product(a_dims)), 0.1f, 3, 1);
    const Padded<float> b = random_floats(static_cast<size_t>(product(b_dims)), 0.1f, 3, 2);
    for (Binary f : {Binary::kAdd, Binary::kSub, Binary::kMul, Binary::kDiv, Binary::kPow, Binary::kMax,
                     Binary::kMin, Binary::kMod, Binary::kFmod, Binary::kPRelu}) {
      std::vector<float> y(static_cast<size_t>(product(out)), -99);
      // In two parts that meet in the middle of a row.
      const int64_t middle = product(out) * 2 / 5;
      binary<TypeParam>(f, shape, a.data(), b.data(), y.data(), 0, middle, -kInfinity, kInfinity);
      binary<TypeParam>(f, shape, a.data(), b.data(), y.data(), middle, product(out), -kInfinity, kInfinity);
      for (int64_t i = 0; i < product(out); ++i) {
        const float u = a[static_cast<size_t>(source(a_dims, out, i))];
        const float v = b[static_cast<size_t>(source(b_dims, out, i))];
        float want = 0;
        switch (f) {
          case Binary::kAdd:
            want = u + v;
            break;
          case Binary::kSub:
            want = u - v;
            break;
          case Binary::kMul:
            want = u * v;
            break;
          case Binary::kDiv:
            want = u / v;
            break;
          case Binary::kPow:
            want = std::pow(u, v);
            break;
          case Binary::kMax:
            want = std::max(u, v);
            break;
          case Binary::kMin:
            want = std::min(u, v);
            break;
          case Binary::kMod:
          case Binary::kFmod:
            want = std::fmod(u, v);
            break;
          case Binary::kPRelu:
            want = u;
            break;
        }
        ASSERT_EQ(y[static_cast<size_t>(i)], want) << static_cast<int>(f) << " at " << i;
      }
    }
  }
}

TYPED_TEST(BinaryKernels, ClampTheResult) {
  const Dims dims{37};
  const Broadcast shape = make(dims, dims, dims);
  const Padded<float> a = random_floats(37, -3, 3, 1), b = random_floats(37, -3, 3, 2);
  std::vector<float> y(37);
  binary<TypeParam>(Binary::kAdd, shape, a.data(), b.data(), y.data(), 0, 37, 0, 2);
  for (size_t i = 0; i < 37; ++i) EXPECT_EQ(y[i], std::min(std::max(a[i] + b[i], 0.0f), 2.0f));
}

TYPED_TEST(BinaryKernels, PowersWithAConstantExponent) {
  const Dims dims{41};
  for (float exponent : {2.0f, 0.5f, 3.0f, -1.0f, 0.0f}) {
    const Padded<float> a = random_floats(41, 0.1f, 3, 3);
    Padded<float> b(1);
    b[0] = exponent;
    std::vector<float> y(41);
    binary<TypeParam>(Binary::kPow, make(dims, {}, dims), a.data(), b.data(), y.data(), 0, 41, -kInfinity,
                      kInfinity);
    for (size_t i = 0; i < 41; ++i) EXPECT_NEAR(y[i], std::pow(double{a[i]}, exponent), 1e-5) << exponent;
  }
}

TEST(BinaryKernel, TooManyAlternatingDimensionsAreRefused) {
  const Dims a{2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2}, b{1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1};
  const Dims out(11, 2);
  const std::span<const int64_t> inputs[] = {a, b};
  EXPECT_FALSE(Broadcast::of(inputs, out).has_value());
}

TEST(BinaryKernel, IntegersWrapAndNeverTrap) {
  const Dims dims{6};
  const Broadcast shape = make(dims, dims, dims);
  const int32_t a[] = {7, -7, INT32_MIN, INT32_MIN, 5, 3}, b[] = {2, 2, -1, 1, 0, -2};
  int32_t y[6];
  const auto run = [&](Binary f) {
    binary_any(f, shape, DType::kInt32, a, b, y, 0, 6);
    return std::vector<int32_t>(y, y + 6);
  };
  EXPECT_EQ(run(Binary::kAdd), (std::vector<int32_t>{9, -5, INT32_MAX, INT32_MIN + 1, 5, 1}));
  EXPECT_EQ(run(Binary::kMul), (std::vector<int32_t>{14, -14, INT32_MIN, INT32_MIN, 0, -6}));
  EXPECT_EQ(run(Binary::kDiv), (std::vector<int32_t>{3, -3, INT32_MIN, INT32_MIN, 0, -1}));
  EXPECT_EQ(run(Binary::kMod), (std::vector<int32_t>{1, 1, 0, 0, 0, -1}));
  EXPECT_EQ(run(Binary::kFmod), (std::vector<int32_t>{1, -1, 0, 0, 0, 1}));
  EXPECT_EQ(run(Binary::kPow), (std::vector<int32_t>{49, 49, 0, INT32_MIN, 1, 0}));
  const uint16_t big[] = {65535, 65535};
  uint16_t square[2];
  const Dims two{2};
  binary_any(Binary::kMul, make(two, two, two), DType::kUint16, big, big, square, 0, 2);
  EXPECT_EQ(square[0], 1);
}

TEST(BinaryKernel, CompareAndLogic) {
  const Dims dims{3};
  const Broadcast shape = make(dims, dims, dims);
  const int64_t a[] = {1, 2, 3}, b[] = {2, 2, 2};
  bool y[3];
  const auto run = [&](Compare f) {
    compare(f, shape, DType::kInt64, a, b, y, 0, 3);
    return std::vector<bool>(y, y + 3);
  };
  EXPECT_EQ(run(Compare::kEqual), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(run(Compare::kLess), (std::vector<bool>{true, false, false}));
  EXPECT_EQ(run(Compare::kLessOrEqual), (std::vector<bool>{true, true, false}));
  EXPECT_EQ(run(Compare::kGreater), (std::vector<bool>{false, false, true}));
  EXPECT_EQ(run(Compare::kGreaterOrEqual), (std::vector<bool>{false, true, true}));
  const bool p[] = {false, true, true}, q[] = {false, false, true};
  const auto logic = [&](Logical f) {
    logical(f, shape, p, q, y, 0, 3);
    return std::vector<bool>(y, y + 3);
  };
  EXPECT_EQ(logic(Logical::kAnd), (std::vector<bool>{false, false, true}));
  EXPECT_EQ(logic(Logical::kOr), (std::vector<bool>{false, true, true}));
  EXPECT_EQ(logic(Logical::kXor), (std::vector<bool>{false, true, false}));
}

TEST(BinaryKernel, WhereChoosesForEveryElementSize) {
  const Dims c{2, 1}, a{3}, b{}, out{2, 3};
  const std::span<const int64_t> inputs[] = {c, a, b};
  const Broadcast shape = *Broadcast::of(inputs, out);
  const bool condition[] = {true, false};
  const auto run = [&]<class T>(T) {
    const T left[] = {1, 2, 3}, right[] = {9};
    T y[6];
    where(shape, condition, left, right, y, sizeof(T), 0, 6);
    EXPECT_EQ(std::vector<T>(y, y + 6), (std::vector<T>{1, 2, 3, 9, 9, 9}));
  };
  run(uint8_t{});
  run(uint16_t{});
  run(float{});
  run(int64_t{});
}

// ---- 8-bit

struct ByteCase {
  ByteType a, b;
  bool y_signed;
  float scale_a, scale_b, scale_y;
  int32_t zero_a, zero_b, zero_y;
  float lo, hi;
};
const ByteCase kByteCases[] = {
    {ByteType::kUnsigned, ByteType::kUnsigned, false, 0.02f, 0.013f, 0.031f, 120, 7, 133, -kInfinity,
     kInfinity},
    {ByteType::kSigned, ByteType::kSigned, true, 0.02f, 0.5f, 0.31f, 0, -3, 12, -kInfinity, kInfinity},
    {ByteType::kUnsigned, ByteType::kSigned, true, 0.1f, 0.07f, 0.05f, 255, -128, -128, 0, 6},
    {ByteType::kUnsigned, ByteType::kFloat, false, 0.02f, 1, 0.017f, 128, 0, 3, 0, kInfinity},
    {ByteType::kFloat, ByteType::kSigned, true, 1, 0.04f, 0.02f, 0, 5, 0, -kInfinity, kInfinity},
};

template <class Isa>
class ByteKernels : public testing::Test {};
TYPED_TEST_SUITE(ByteKernels, AllSets, SetName);

// DequantizeLinear, the operator, the clamp and QuantizeLinear, as ONNX says them.
TYPED_TEST(ByteKernels, EqualTheFloatOperatorBetweenDequantizeAndQuantize) {
  for (const ByteCase& c : kByteCases) {
    for (const auto& [a_dims, b_dims] : kShapes) {
      const Dims out = broadcast_dims(a_dims, b_dims);
      const Broadcast shape = make(a_dims, b_dims, out);
      const auto count_a = static_cast<size_t>(product(a_dims)),
                 count_b = static_cast<size_t>(product(b_dims));
      const Padded<uint8_t> bytes_a = random_bytes(count_a, 1), bytes_b = random_bytes(count_b, 2);
      const Padded<float> floats_a = random_floats(count_a, -4, 4, 3),
                          floats_b = random_floats(count_b, -4, 4, 4);
      const auto operand = [](ByteType type, const auto& bytes, const auto& floats, float scale,
                              int32_t zero) {
        return ByteOperand{type == ByteType::kFloat ? static_cast<const void*>(floats.data()) : bytes.data(),
                           type, scale, zero};
      };
      const auto value = [](ByteType type, uint8_t byte, float number, float scale, int32_t zero) {
        if (type == ByteType::kFloat) return number;
        const int q = type == ByteType::kSigned ? static_cast<int8_t>(byte) : byte;
        return static_cast<float>(q - zero) * scale;
      };
      for (ByteBinary f : {ByteBinary::kAdd, ByteBinary::kSub, ByteBinary::kMul}) {
        std::vector<uint8_t> y(static_cast<size_t>(product(out)) + 3, 77);
        const ByteResult result{y.data(), c.y_signed, c.scale_y, c.zero_y, c.lo, c.hi};
        const int64_t middle = product(out) * 3 / 7;
        const ByteOperand a = operand(c.a, bytes_a, floats_a, c.scale_a, c.zero_a);
        const ByteOperand b = operand(c.b, bytes_b, floats_b, c.scale_b, c.zero_b);
        binary_bytes<TypeParam>(f, shape, a, b, result, 0, middle);
        binary_bytes<TypeParam>(f, shape, a, b, result, middle, product(out));
        for (int64_t i = 0; i < product(out); ++i) {
          const auto ia = static_cast<size_t>(source(a_dims, out, i)),
                     ib = static_cast<size_t>(source(b_dims, out, i));
          const float u = value(c.a, bytes_a[ia], floats_a[ia], c.scale_a, c.zero_a);
          const float v = value(c.b, bytes_b[ib], floats_b[ib], c.scale_b, c.zero_b);
          float x = f == ByteBinary::kAdd ? u + v : f == ByteBinary::kSub ? u - v : u * v;
          x = std::nearbyint(std::min(std::max(x, c.lo), c.hi) / c.scale_y) + static_cast<float>(c.zero_y);
          x = std::min(std::max(x, c.y_signed ? -128.0f : 0.0f), c.y_signed ? 127.0f : 255.0f);
          ASSERT_EQ(y[static_cast<size_t>(i)], static_cast<uint8_t>(static_cast<int>(x))) << "at " << i;
        }
        for (size_t i = 0; i < 3; ++i) EXPECT_EQ(y[y.size() - 1 - i], 77) << "written behind the end";
      }
    }
  }
}

}  // namespace
}  // namespace zp::kernels
