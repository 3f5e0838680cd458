// The ways exporters write Gelu.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "runtime/prepare.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

enum class Cube { kPow, kMul, kNested, kInside };

// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, as PyTorch, TensorFlow and JAX write it.
std::shared_ptr<Model> tanh_gelu(Cube cube, bool half_of_x, float coefficient = 0.044715f) {
  GraphBuilder net;
  const auto number = [&](const char* name, float v) { return net.constant(name, Tensor::scalar<float>(v)); };
  const auto mul = [&](const char* name, ValueId a, ValueId b) { return net.add("Mul", name, {a, b}); };
  const ValueId x = net.input("x", {4, 8});
  const ValueId c = number("c", coefficient), one = number("one", 1), half = number("half", 0.5f);
  ValueId inner = kNoValue;
  switch (cube) {
    case Cube::kPow:
      inner = mul("cx3", c, net.add("Pow", "x3", {x, number("three", 3)}));
      break;
    case Cube::kMul:
      inner = mul("cx3", mul("x3", mul("x2", x, x), x), c);
      break;
    default:
      inner = mul("x2", x, mul("cx", c, x));
      if (cube == Cube::kNested) inner = mul("cx3", x, inner);
  }
  inner = cube == Cube::kInside ? mul("poly", x, net.add("Add", "sum", {inner, one}))
                                : net.add("Add", "sum", {x, inner});
  const ValueId tanh = net.add("Tanh", "tanh", {mul("u", number("k", 0.7978845608f), inner)});
  const ValueId plus = net.add("Add", "plus", {one, tanh});
  net.output(half_of_x ? mul("y", mul("x_half", half, x), plus) : mul("y", x, mul("cdf", half, plus)));
  return net.build();
}

size_t count(const Model& m, std::string_view op) {
  return static_cast<size_t>(std::ranges::count_if(m.graph.nodes, [&](const Node& n) { return n.is(op); }));
}

TEST(Gelu, IsFoundWhereItIsWrittenWithTanh) {
  const std::vector<runtime::Feed> feed{{"x", noise({4, 8}, 3, 4)}};
  for (const Cube cube : {Cube::kPow, Cube::kMul, Cube::kNested, Cube::kInside}) {
    for (const bool half_of_x : {false, true}) {
      const auto model = tanh_gelu(cube, half_of_x);
      const auto prepared = runtime::prepared(model);
      ASSERT_EQ(prepared->graph.nodes.size(), 1U) << static_cast<int>(cube) << half_of_x;
      EXPECT_EQ(prepared->graph.nodes[0].string_attribute("approximate", "none"), "tanh");
      const std::vector<float> x = feed[0].tensor.floats(), y = runtime::Session(model).run(feed)[0].floats();
      for (size_t i = 0; i < x.size(); ++i) {
        const double u = 0.7978845608 * (x[i] + 0.044715 * x[i] * x[i] * x[i]);
        EXPECT_NEAR(y[i], 0.5 * x[i] * (1 + std::tanh(u)), 1e-5);
      }
    }
  }
}

TEST(Gelu, IsNotFoundWhereTheNumbersAreOthers) {
  const auto prepared = runtime::prepared(tanh_gelu(Cube::kMul, false, 0.05f));
  EXPECT_EQ(count(*prepared, "Gelu"), 0U);
  EXPECT_EQ(count(*prepared, "Tanh"), 1U);
}

}  // namespace
}  // namespace zp::test
