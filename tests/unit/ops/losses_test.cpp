// NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss. Values are those of ONNX Runtime 1.32.
#include <gmock/gmock.h>

#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using testing::HasSubstr;

const Tensor kLogarithms = floats({2, 3}, {-1, -2, -3, -4, -5, -6}), kLabels = longs({2}, {2, 0}),
             kWeights = floats({3}, {1, 2, 3});

OneNode loss(std::string_view reduction, const Tensor& labels, const Tensor& weights = {},
             std::optional<int64_t> ignored = {}) {
  OneNode one{
      "NegativeLogLikelihoodLoss", {kLogarithms, labels}, {{"reduction", std::string(reduction)}}, 1, 13};
  if (weights.defined()) one.inputs.push_back(weights);
  if (ignored) one.attributes.emplace_back("ignore_index", *ignored);
  return one;
}

TEST(NegativeLogLikelihoodLoss, TakesTheLogarithmOfTheLabel) {
  expect_floats(run(loss("none", kLabels))[0], {2}, {3, 4});
  expect_floats(run(loss("sum", kLabels))[0], {}, {7});
  expect_floats(run(loss("mean", kLabels))[0], {}, {3.5f});
  expect_floats(run(loss("mean", Tensor::of<int32_t>({2}, {2, 0})))[0], {}, {3.5f});
}

TEST(NegativeLogLikelihoodLoss, WeighsLabels) {
  expect_floats(run(loss("none", kLabels, kWeights))[0], {2}, {9, 4});
  expect_floats(run(loss("sum", kLabels, kWeights))[0], {}, {13});
  expect_floats(run(loss("mean", kLabels, kWeights))[0], {}, {3.25f});
}

TEST(NegativeLogLikelihoodLoss, IgnoresALabel) {
  expect_floats(run(loss("none", kLabels, {}, 2))[0], {2}, {0, 4});
  expect_floats(run(loss("mean", kLabels, {}, 2))[0], {}, {4});
  expect_floats(run(loss("mean", kLabels, kWeights, 0))[0], {}, {3});
  const Tensor outside = longs({2}, {-7, 1});
  expect_floats(run(loss("sum", outside, kWeights, -7))[0], {}, {10});
  expect_floats(run(loss("mean", outside, {}, -7))[0], {}, {5});
  // The mean of none.
  expect_floats(run(loss("mean", longs({2}, {1, 1}), {}, 1))[0], {}, {NAN});
}

TEST(NegativeLogLikelihoodLoss, HasALossForEachPlace) {
  OneNode one = loss("none", longs({1, 2}, {1, 0}));
  one.inputs[0] = floats({1, 2, 2}, {-1, -2, -3, -4});
  expect_floats(run(one)[0], {1, 2}, {3, 2});
}

TEST(NegativeLogLikelihoodLoss, RefusesWhatDoesNotFit) {
  const auto outside = error_of(loss("sum", longs({2}, {1, 3})), Given::kFed);
  ASSERT_TRUE(outside);
  EXPECT_EQ(outside->code(), ErrorCode::kIndexOutOfRange);
  const std::pair<OneNode, const char*> cases[] = {
      {loss("most", kLabels), "reduction is 'most'"},
      {loss("sum", longs({3}, {0, 1, 2})), "labels of shape [3]"},
      {loss("sum", longs({2, 1}, {0, 1})), "labels of shape [2, 1]"},
      {loss("sum", kLabels, floats({2}, {1, 1})), "weights of shape [2]"},
  };
  for (const auto& [one, words] : cases) {
    const auto error = error_of(one, Given::kFed);
    ASSERT_TRUE(error);
    EXPECT_THAT(error->what(), HasSubstr(words));
  }
}

TEST(SoftmaxCrossEntropyLoss, IsTheLossOfLogSoftmax) {
  const float half = -std::log(2.0f);
  OneNode one{"SoftmaxCrossEntropyLoss", {floats({2, 2}, {5, 5, -1, -1}), longs({2}, {0, 1})}, {}, 2, 12};
  const std::vector<Tensor> y = run(one);
  expect_floats(y[0], {}, {-half}, 1e-6f);
  expect_floats(y[1], {2, 2}, {half, half, half, half}, 1e-6f);
  one.outputs = 1;
  one.attributes = {{"reduction", std::string("none")}, {"ignore_index", int64_t{1}}};
  expect_floats(run(one)[0], {2}, {-half, 0}, 1e-6f);
}

}  // namespace
}  // namespace zp::test
