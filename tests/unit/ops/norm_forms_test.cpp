// Norms of root mean squares, as exporters of language models spell them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "ops/rewrite.h"
#include "runtime/session.h"
#include "unit/graph/graph_builder.h"

namespace zp::test {
namespace {

using testing::ElementsAre;

// The graph with its rewrites applied, run beside itself: its operators.
std::vector<std::string> simplified(GraphBuilder& b, const Tensor& x) {
  const auto model = b.build();
  const auto run = [&](const Graph& graph) {
    auto own = std::make_shared<Model>(*model);
    own->graph = graph;
    return runtime::Session(own, {}).run({{"x", x}})[0].floats();
  };
  Graph simple = clone(model->graph);
  simplify(simple);
  const auto before = run(model->graph), after = run(simple);
  EXPECT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(after[i], before[i], 1e-5f);
  std::vector<std::string> operators;
  for (const Node& n : simple.nodes) operators.push_back(n.op_type);
  return operators;
}

struct Spelled {
  GraphBuilder b;
  ValueId x = b.input("x", {2, 3, 8});
  ValueId root(ValueId of) {
    const ValueId square = b.add("Pow", "square", {of, b.constant("two", Tensor::scalar(2.0f))});
    const ValueId mean =
        b.add("ReduceMean", "mean", {square, b.constant("axes", Tensor::of<int64_t>({1}, {-1}))});
    const ValueId plus = b.add("Add", "plus", {mean, b.constant("epsilon", Tensor::scalar(1e-5f))});
    return b.add("Sqrt", "root", {plus});
  }
  ValueId scaled(ValueId v) { return b.add("Mul", "y", {b.constant("gain", ramp({8})), v}); }
};

TEST(RmsNorm, DividedByTheRoot) {
  Spelled s;
  s.b.output(s.scaled(s.b.add("Div", "d", {s.x, s.root(s.x)})));
  EXPECT_THAT(simplified(s.b, ramp({2, 3, 8})), ElementsAre("RMSNormalization"));
}

TEST(RmsNorm, TimesTheInverse) {
  Spelled s;
  const ValueId inverse = s.b.add("Reciprocal", "inverse", {s.root(s.x)});
  s.b.output(s.scaled(s.b.add("Mul", "m", {s.x, inverse})));
  EXPECT_THAT(simplified(s.b, ramp({2, 3, 8})), ElementsAre("RMSNormalization"));
}

TEST(RmsNorm, OneOverTheRootAndNoScale) {
  Spelled s;
  const ValueId inverse = s.b.add("Div", "inverse", {s.b.constant("one", Tensor::scalar(1.0f)), s.root(s.x)});
  s.b.output(s.b.add("Mul", "y", {inverse, s.x}));
  EXPECT_THAT(simplified(s.b, ramp({2, 3, 8})), ElementsAre("RMSNormalization"));
}

TEST(RmsNorm, OfAnotherValueItStays) {
  Spelled s;
  const ValueId other = s.b.add("Neg", "other", {s.x});
  s.b.output(s.b.add("Div", "y", {s.x, s.root(other)}));
  EXPECT_THAT(simplified(s.b, ramp({2, 3, 8})), testing::Contains("Div"));
}

}  // namespace
}  // namespace zp::test
