#include "runtime/dimensions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "unit/graph/graph_builder.h"

namespace zp {
namespace {

using test::GraphBuilder;

std::vector<std::string> operators(const Graph& graph) {
  std::vector<std::string> ops;
  for (const Node& n : graph.nodes) ops.push_back(n.op_type);
  return ops;
}

Tensor integers(const std::vector<int64_t>& values) {
  return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values);
}

// The rows of x as the columns of another shape, as exporters write it: [n, -1] of its own first dimension.
ValueId reshaped(GraphBuilder& b, ValueId x) {
  const ValueId dims = b.add("Shape", "dims", {x});
  const ValueId rows =
      b.add("Slice", "rows", {dims, b.constant("begin", integers({0})), b.constant("end", integers({1}))});
  const ValueId shape =
      b.add("Concat", "shape", {rows, b.constant("rest", integers({-1}))}, {{"axis", int64_t{0}}});
  return b.add("Reshape", "flat", {x, shape});
}

TEST(FoldDimensions, OfFixedInputsBecomeConstants) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 3, 4});
  b.output(b.add("Relu", "y", {reshaped(b, x)}));
  const auto model = b.build();
  runtime::fold_dimensions(model->graph);
  EXPECT_THAT(operators(model->graph), testing::ElementsAre("Reshape", "Relu"));
  const Tensor* shape = model->graph.constant(model->graph.nodes[0].input(1));
  ASSERT_TRUE(shape);
  EXPECT_THAT(shape->integers(), testing::ElementsAre(2, -1));
}

TEST(FoldDimensions, OfOpenInputsStay) {
  GraphBuilder b;
  const ValueId x = b.input("x", {Dim::symbol("n"), 3, 4});
  b.output(b.add("Relu", "y", {reshaped(b, x)}));
  const auto model = b.build();
  const std::vector<std::string> before = operators(model->graph);
  runtime::fold_dimensions(model->graph);
  EXPECT_EQ(operators(model->graph), before);
}

// How many numbers are not 0, a run alone knows. The file says 5.
TEST(FoldDimensions, DeclaredOnesProveNothing) {
  GraphBuilder b;
  const ValueId x = b.input("x", {4});
  const ValueId places = b.add("NonZero", "places", {x});
  b.output(b.add("Shape", "y", {places}));
  const auto model = b.build();
  model->graph[places].shape = SymShape{1, 5};
  runtime::fold_dimensions(model->graph);
  EXPECT_THAT(operators(model->graph), testing::ElementsAre("NonZero", "Shape"));
}

TEST(FoldDimensions, AnOutputThatIsOneBecomesAConstant) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 3});
  b.output(b.add("Size", "count", {x}));
  b.output(b.add("Relu", "y", {x}));
  const auto model = b.build();
  runtime::fold_dimensions(model->graph);
  EXPECT_THAT(operators(model->graph), testing::ElementsAre("Relu"));
  ASSERT_TRUE(model->graph.constant(model->graph.outputs[0]));
  EXPECT_EQ(model->graph.constant(model->graph.outputs[0])->integers()[0], 6);
}

}  // namespace
}  // namespace zp
