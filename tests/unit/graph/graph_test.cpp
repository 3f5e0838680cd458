#include "graph/graph.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "graph/dim.h"
#include "unit/graph/graph_builder.h"

namespace zp {
namespace {

TEST(Dim, ArithmeticKeepsWhatIsKnown) {
  const Dim n = Dim::symbol("N");
  EXPECT_EQ(Dim(3) + Dim(4), Dim(7));
  EXPECT_EQ(n + Dim(0), n);
  EXPECT_EQ(n * Dim(1), n);
  EXPECT_FALSE((n + Dim(1)).known());
  EXPECT_EQ(floor_div(Dim(7), 2), Dim(3));
  EXPECT_EQ(ceil_div(Dim(7), 2), Dim(4));
  EXPECT_FALSE((Dim(2) - Dim(3)).known());
  EXPECT_THROW(Dim(int64_t{1} << 30) * Dim(int64_t{1} << 30), Error);
}

TEST(Dim, BroadcastsLikeNumpy) {
  const Dim n = Dim::symbol("N");
  EXPECT_EQ(broadcast(SymShape{n, 3, 1}, SymShape{5}), (SymShape{n, 3, 5}));
  EXPECT_EQ(broadcast(SymShape{n}, SymShape{4}), (SymShape{4}));
  EXPECT_EQ(broadcast(SymShape{n}, SymShape{n}), (SymShape{n}));
  EXPECT_THROW(broadcast(Shape{2, 3}, Shape{4}), Error);
}

TEST(Graph, SortsAndKeepsTheOrderWhereItIsFree) {
  test::GraphBuilder b;
  const ValueId x = b.input("x", {1});
  const ValueId first = b.add("Relu", "first", {x});
  b.output(b.add("Neg", "second", {first}));
  Graph& g = b.graph();
  std::swap(g.nodes[0], g.nodes[1]);
  sort_topologically(g);
  EXPECT_EQ(g.nodes[0].name, "first");
}

TEST(Graph, ACycleIsAnErrorThatNamesANode) {
  test::GraphBuilder b;
  const ValueId x = b.input("x", {1});
  const ValueId a = b.add("Add", "a", {x, x});
  const ValueId c = b.add("Relu", "c", {a});
  b.graph().nodes[0].inputs[1] = c;
  try {
    sort_topologically(b.graph());
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidModel);
    EXPECT_EQ(e.details().node, "a");
  }
}

TEST(Graph, AValueMadeTwiceIsAnError) {
  test::GraphBuilder b;
  const ValueId x = b.input("x", {1});
  const ValueId a = b.add("Relu", "a", {x});
  b.add("Neg", "b", {x});
  b.graph().nodes[1].outputs[0] = a;
  EXPECT_THROW(sort_topologically(b.graph()), Error);
}

TEST(Graph, RemovesWhatNobodyNeeds) {
  test::GraphBuilder b;
  const ValueId x = b.input("x", {1});
  const ValueId unused = b.constant("unused", Tensor::scalar(1.0f));
  b.add("Add", "dead", {x, unused});
  b.output(b.add("Relu", "alive", {x}));
  remove_unused(b.graph());
  ASSERT_EQ(b.graph().nodes.size(), 1u);
  EXPECT_EQ(b.graph().nodes[0].name, "alive");
  EXPECT_EQ(b.graph().constant(unused), nullptr);
}

TEST(Graph, NamesAreMadeUnique) {
  Graph g;
  EXPECT_EQ(g[g.add_value("a")].name, "a");
  EXPECT_EQ(g[g.add_value("a")].name, "a_1");
  EXPECT_EQ(g[g.add_value("a")].name, "a_2");
}

}  // namespace
}  // namespace zp
