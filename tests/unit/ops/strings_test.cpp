// Operators that move or compare elements take strings like any others.
#include <gmock/gmock.h>

#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using testing::ElementsAre;

Tensor strings(Shape dims, std::vector<std::string> values) {
  return Tensor::of_strings(std::move(dims), std::move(values));
}

const Tensor kWords =
    strings({2, 3}, {"a", "", "a word that is longer than a string keeps inside", "b", "c", "a"});

TEST(Strings, AreMoved) {
  const std::string longest = kWords.strings()[2];
  const auto found = [](const OneNode& one) { return run(one)[0].strings(); };
  const auto ints = [](std::vector<int64_t> v) { return Attribute(std::move(v)); };
  EXPECT_EQ(found({"Identity", {kWords}}), kWords.strings());
  EXPECT_EQ(found({"Reshape", {kWords, longs({2}, {3, 2})}}), kWords.strings());
  EXPECT_EQ(found({"Flatten", {kWords}}), kWords.strings());
  EXPECT_EQ(found({"Unsqueeze", {kWords, longs({1}, {1})}}), kWords.strings());
  EXPECT_EQ(found({"Squeeze", {strings({1, 2}, {"x", "y"})}}), (std::vector<std::string>{"x", "y"}));
  EXPECT_THAT(found({"Gather", {kWords, longs({2}, {2, -3})}, {{"axis", int64_t{1}}}}),
              ElementsAre(longest, "a", "a", "b"));
  EXPECT_THAT(found({"GatherElements", {kWords, longs({1, 3}, {1, 0, -1})}}), ElementsAre("b", "", "a"));
  EXPECT_THAT(found({"GatherND", {kWords, longs({1, 2}, {0, 2})}}), ElementsAre(longest));
  EXPECT_THAT(found({"Where", {Tensor::of<bool>({3}, {true, false, true}), kWords, strings({1}, {"no"})}}),
              ElementsAre("a", "no", longest, "b", "no", "a"));
  EXPECT_THAT(found({"Concat", {kWords, strings({2, 1}, {"x", "y"})}, {{"axis", int64_t{1}}}}),
              ElementsAre("a", "", longest, "x", "b", "c", "a", "y"));
  EXPECT_THAT(found({"Transpose", {kWords}}), ElementsAre("a", "b", "", "c", longest, "a"));
  EXPECT_THAT(
      found({"Slice", {kWords, longs({1}, {-1}), longs({1}, {-9}), longs({1}, {1}), longs({1}, {-2})}}),
      ElementsAre(longest, "a", "a", "b"));
  EXPECT_THAT(found({"Expand", {strings({2, 1}, {"x", "y"}), longs({2}, {2, 2})}}),
              ElementsAre("x", "x", "y", "y"));
  EXPECT_THAT(found({"Tile", {strings({2}, {"x", "y"}), longs({1}, {2})}}), ElementsAre("x", "y", "x", "y"));
  EXPECT_THAT(found({"ScatterElements",
                     {kWords, longs({1, 2}, {1, 0}), strings({1, 2}, {"x", "y"})},
                     {{"axis", int64_t{0}}}}),
              ElementsAre("a", "y", longest, "x", "c", "a"));
  EXPECT_THAT(found({"ScatterND", {kWords, longs({1, 1}, {1}), strings({1, 3}, {"x", "y", "z"})}}),
              ElementsAre("a", "", longest, "x", "y", "z"));
  EXPECT_THAT(found({"ConstantOfShape", {longs({1}, {2})}, {{"value", strings({1}, {"x"})}}}),
              ElementsAre("x", "x"));
  EXPECT_THAT(found({"Transpose", {strings({1, 2, 2}, {"a", "b", "c", "d"})}, {{"perm", ints({2, 1, 0})}}}),
              ElementsAre("a", "c", "b", "d"));
  const std::vector<Tensor> halves = run({"Split", {kWords, longs({2}, {1, 2})}, {{"axis", int64_t{1}}}, 2});
  EXPECT_THAT(halves[0].strings(), ElementsAre("a", "b"));
  EXPECT_THAT(halves[1].strings(), ElementsAre("", longest, "c", "a"));
}

TEST(Strings, AreCompared) {
  const Tensor found = run({"Equal", {kWords, strings({2, 1}, {"a", "c"})}})[0];
  EXPECT_THAT(found.data<bool>(), ElementsAre(true, false, false, false, true, false));
}

TEST(Strings, AreNoNumbers) {
  for (const char* op : {"Less", "Add", "Max"}) {
    const auto error = error_of({op, {kWords, kWords}}, Given::kFed);
    ASSERT_TRUE(error) << op;
    EXPECT_EQ(error->code(), ErrorCode::kUnsupportedType);
  }
  const auto cast = error_of({"Cast", {kWords}, {{"to", int64_t{1}}}}, Given::kFed);
  ASSERT_TRUE(cast);
  EXPECT_EQ(cast->code(), ErrorCode::kUnsupportedType);
}

// A plan that was made for one string is not taken for another one at the same place.
TEST(Strings, DecideABranch) {
  GraphBuilder net;
  const auto branch = [](Shape dims, float value) {
    auto sub = std::make_shared<Graph>();
    Tensor t(DType::kFloat32, std::move(dims));
    for (float& v : t.mutable_data<float>()) v = value;
    sub->outputs = {sub->add_constant("value", t)};
    return sub;
  };
  const ValueId x = net.input("x", symbolic(Shape{1}), DType::kString);
  const ValueId same = net.add("Equal", "same", {x, net.constant("yes", strings({1}, {"yes"}))});
  net.output(
      net.add("If", "choice", {same}, {{"then_branch", branch({1}, 1)}, {"else_branch", branch({2}, 2)}}));
  runtime::Session session(net.build(), {.threads = 1});
  for (const char* word : {"yes", "no!", "yes", "yet"}) {
    const size_t wanted = std::string_view(word) == "yes" ? 1 : 2;
    EXPECT_EQ(session.run({{"x", strings({1}, {word})}})[0].data<float>().size(), wanted) << word;
  }
}

}  // namespace
}  // namespace zp::test
