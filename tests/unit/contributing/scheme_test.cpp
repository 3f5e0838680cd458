// Example of docs/contributing/scheme.md: weights of layers that have more than a few become integers;
// activations stay float. A real scheme is a file of src/quant/schemes/.
#include "quant/scheme.h"

#include "unit/quant/quantize.h"

namespace zp {
namespace quant {
namespace {

constexpr int64_t kFew = 16;

// Fills the plan: which layers are quantized, and why each other layer stays as it is.
void decide(Planner& planner) {
  for (int32_t i = 0; i < planner.count(); ++i) {
    if (!planner.allowed(i)) continue;
    const ValueId weight = planner.weight(i);
    if (weight == kNoValue) {
      planner.at(i).why = "has no constant weight";
    } else if (planner.graph.constant(weight)->size() <= kFew) {
      planner.at(i).why = "has few weights";
    } else {
      planner.quantize_weights(i, planner.precision(i).weights, planner.channels(i),
                               "activations stay float32");
    }
  }
}

// Where the pairs stand: called for each node in order, to emit it after what it needs.
void place(Placement& placement, int32_t i) {
  Node node = placement.node(i);
  if (placement.plan.nodes[static_cast<size_t>(i)].quantized) placement.weights_into(i, node, kNoValue, 0);
  placement.emit(std::move(node));
}

const RegisterScheme kRegistered({.name = "example",
                                  .title = "large weights as integers",
                                  .sentence = "Weights of layers that have more than a few become integers.",
                                  .decide = decide,
                                  .place = place});

}  // namespace
}  // namespace quant

namespace test {
namespace {

TEST(ContributingScheme, QuantizesLargeWeightsAlone) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 8});
  const ValueId large = net.add("MatMul", "large", {x, net.constant("w", ramp({8, 4}))});
  net.output(net.add("MatMul", "small", {large, net.constant("v", ramp({4, 2}))}));
  quant::Config config;
  config.mode = "example";
  const Quantized q = quantize(net.build(), config);
  EXPECT_TRUE(q.layer("large").quantized);
  EXPECT_TRUE(q.dq("large", 1));
  EXPECT_FALSE(q.dq("large", 0));
  EXPECT_FALSE(q.layer("small").quantized);
  EXPECT_EQ(q.layer("small").why, "has few weights");
}

}  // namespace
}  // namespace test
}  // namespace zp
