// Indices outside their axis: an error that names the node, the index and the size, wherever the index comes
// from.
#include <gmock/gmock.h>

#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Case {
  OneNode node;
  size_t input;       // of the indices
  std::string wrong;  // what the error says
};

// Each with one index that is wrong, in one of the two directions.
std::vector<Case> cases() {
  const Tensor data = ramp({3, 4});
  std::vector<Case> all;
  for (const int64_t wrong : {int64_t{3}, int64_t{-4}, INT64_MAX, INT64_MIN}) {
    const std::string text = "index " + std::to_string(wrong) + " is outside an axis of 3 elements";
    all.push_back({{"Gather", {data, longs({3}, {0, -3, wrong})}}, 1, text});
    all.push_back({{"GatherElements", {data, longs({2, 2}, {0, -3, 2, wrong})}}, 1, text});
    all.push_back({{"GatherND", {data, longs({2, 2}, {-3, 3, wrong, 0})}}, 1, text});
    all.push_back({{"ScatterElements", {data, longs({1, 2}, {2, wrong}), ramp({1, 2})}}, 1, text});
    all.push_back({{"ScatterND", {data, longs({2, 1}, {0, wrong}), ramp({2, 4})}}, 1, text});
    all.push_back(
        {{"ScatterND", {data, longs({2, 1}, {0, wrong}), ramp({2, 4})}, {{"reduction", std::string("add")}}},
         1,
         text});
  }
  all.push_back({{"Gather", {data, longs({2}, {3, 4})}, {{"axis", int64_t{1}}}},
                 1,
                 "index 4 is outside an axis of 4 elements"});
  all.push_back(
      {{"GatherND", {data, longs({1, 2}, {0, -5})}}, 1, "index -5 is outside an axis of 4 elements"});
  all.push_back(
      {{"Gather", {data, Tensor::of<int32_t>({2}, {0, 3})}}, 1, "index 3 is outside an axis of 3 elements"});
  return all;
}

TEST(Indices, OutsideTheirAxisAreErrors) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.node.op + ": " + c.wrong);
    for (const Given given : {Given::kFed, Given::kConstant}) {
      const auto error = error_of(c.node, given);
      ASSERT_TRUE(error);
      EXPECT_EQ(error->code(), ErrorCode::kIndexOutOfRange);
      EXPECT_EQ(error->what(), c.wrong);
      EXPECT_EQ(error->details().node, "the " + c.node.op);
      EXPECT_THAT(error->details().op, HasSubstr(c.node.op));
      EXPECT_EQ(error->details().tensor, input_name(c.input));
    }
  }
}

// The same is told with any number of threads, and the next run is as if nothing had been.
TEST(Indices, FirstOfManyIsTold) {
  constexpr int64_t kCount = 300'000;
  OneNode gather{"Gather", {ramp({5, 8}), longs({kCount}, std::vector<int64_t>(kCount, 1))}};
  auto indices = gather.inputs[1].mutable_data<int64_t>();
  for (size_t i = 70'000; i < indices.size(); ++i) indices[i] = static_cast<int64_t>(i);
  for (const int threads : {1, 2, 4}) {
    const auto error = error_of(gather, Given::kFed, threads);
    ASSERT_TRUE(error);
    EXPECT_STREQ(error->what(), "index 70000 is outside an axis of 5 elements");
  }
  gather.inputs[1] = longs({2}, {4, 9});
  OneNode right = gather;
  right.inputs[1] = longs({2}, {4, -5});
  runtime::Session session(model_of(gather, Given::kFed), {.threads = 2});
  EXPECT_THROW(session.run(feeds_of(gather)), Error);
  const Tensor found = session.run(feeds_of(right))[0];
  EXPECT_EQ(found.data<float>()[0], gather.inputs[0].data<float>()[32]);
  EXPECT_EQ(found.data<float>()[8], gather.inputs[0].data<float>()[0]);
}

// OneHot has a rule of its own: off everywhere.
TEST(Indices, OneHotOutsideIsOff) {
  const OneNode one{"OneHot",
                    {longs({4}, {0, -1, 3, -4}), longs({}, {3}), Tensor::of<float>({2}, {-1.0f, 2.0f})}};
  expect_floats(run(one)[0], {4, 3}, {2, -1, -1, -1, -1, 2, -1, -1, -1, -1, -1, -1});
}

}  // namespace
}  // namespace zp::test
