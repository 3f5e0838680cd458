// Example of docs/contributing/operator.md: an operator of a made-up domain, y = x * x * x. A real one is a
// file of src/ops/, with its tests in tests/unit/ops/.
#include "core/grain.h"
#include "ops/gradient.h"
#include "ops/op.h"
#include "unit/ops/one_node.h"
#include "unit/train/gradient_check.h"

namespace zp {
namespace {

Kernel prepare_cube(PrepareContext& c) {
  const int64_t count = element_count(c.dims(0));
  c.in_place(0);
  return [count](const RunContext& r) {
    r.parallel_range(count, grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      const float* x = r.in<float>(0);
      float* y = r.out<float>(0);
      for (int64_t i = begin; i < end; ++i) y[i] = x[i] * x[i] * x[i];
    });
  };
}

// dL/dx = dL/dy * 3 x * x
void cube_gradient(Gradient& g) { g.give(0, g.formula("Mul(dy, Mul(3, Mul(a, a)))")); }

constexpr OpDef kCube = {
    .domain = "example",
    .name = "Cube",
    .types = "f",                                   // float32 alone
    .infer = infer_same,                            // type and shape are the input's
    .prepare = prepare_cube,                        // called once for each plan
    .layout = any_layout,                           // elements may come in any order
    .unary = true,                                  // so 8-bit values use a table of 256 entries
    .quant = {.kind = QuantRule::Kind::kRescaled},  // its result has a scale of its own
    .gradient = cube_gradient,
};
const RegisterOps kRegistered({&kCube});

}  // namespace

namespace test {
namespace {

TEST(ContributingOperator, ComputesCubes) {
  const std::vector<Tensor> y =
      run({.op = "Cube", .inputs = {floats({2, 2}, {-2, 0, 0.5f, 3})}, .domain = "example"});
  expect_floats(y[0], {2, 2}, {-8, 0, 0.125f, 27});
}

TEST(ContributingOperator, TakesFloatsAlone) {
  EXPECT_TRUE(error_of({.op = "Cube", .inputs = {longs({1}, {2})}, .domain = "example"}, Given::kFed));
}

TEST(ContributingOperator, HasTheGradientOfDifferences) {
  GraphBuilder net;
  const ValueId x = net.input("x", {3, 5});
  check_gradients(net, net.add("Cube", "y", {x}, {}, "example"), {{"x", ramp({3, 5})}}, {.step = 1e-3f});
}

}  // namespace
}  // namespace test
}  // namespace zp
