#include <cmath>

#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;

TEST(Float16, WeightsAreHalfAndCastOnce) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 64});
  const ValueId w = net.constant("w", ramp({64, 64}));
  const ValueId m = net.add("MatMul", "m", {x, w});
  const ValueId again = net.add("MatMul", "again", {m, w});
  net.output(net.add("Gemm", "g", {again, net.constant("v", ramp({5, 64})), net.constant("b", ramp({5}))},
                     {{"transB", int64_t{1}}}));
  Tensor huge = ramp({5, 4});
  huge.mutable_data<float>()[3] = 1e6f;
  net.output(net.add("MatMul", "huge", {net.input("z", {1, 5}), net.constant("h", std::move(huge))}));
  const std::shared_ptr<Model> model = net.build();
  Config config;
  config.mode = "float16";
  const Quantized q = quantize(model, config);
  EXPECT_TRUE(q.layer("m").quantized);
  EXPECT_TRUE(q.layer("again").quantized);
  EXPECT_TRUE(q.layer("g").quantized);
  EXPECT_FALSE(q.layer("huge").quantized);
  size_t casts = 0;
  for (const Node& n : q.graph().nodes) {
    if (n.op_type != "Cast") continue;
    ++casts;
    EXPECT_EQ(q.graph().constant(n.input(0))->dtype(), DType::kFloat16);
  }
  EXPECT_EQ(casts, 2u);  // w is read twice
  EXPECT_LT(q.report.weight_bytes_after, q.report.weight_bytes_before);
  const quant::Report plan = quant::plan_of(model, config, true);
  EXPECT_LT(plan.weight_bytes_after, plan.weight_bytes_before);
}

}  // namespace
}  // namespace zp::test
