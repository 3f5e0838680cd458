#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/cast.h"
#include "runtime/prepare.h"
#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Facts {
  double mean = 0, deviation = 0, lowest = kInfinity, highest = -kInfinity;
};
Facts facts_of(const Tensor& t) {
  Facts f;
  for (const float v : t.floats()) {
    f.mean += v;
    f.lowest = std::min<double>(f.lowest, v);
    f.highest = std::max<double>(f.highest, v);
  }
  f.mean /= static_cast<double>(t.size());
  for (const float v : t.floats()) f.deviation += (v - f.mean) * (v - f.mean);
  f.deviation = std::sqrt(f.deviation / static_cast<double>(t.size()));
  return f;
}

OneNode drawn(const std::string& op, GraphBuilder::Attributes attributes = {}, Shape shape = {100, 1001}) {
  attributes.emplace_back("shape", std::move(shape));
  return {.op = op, .inputs = {}, .attributes = std::move(attributes)};
}

TEST(Random, NormalHasItsMeanAndDeviation) {
  const Facts f = facts_of(run(drawn("RandomNormal", {{"mean", 3.0f}, {"scale", 0.5f}}))[0]);
  EXPECT_NEAR(f.mean, 3, 0.01);
  EXPECT_NEAR(f.deviation, 0.5, 0.01);
  EXPECT_GT(f.highest, 3 + 3.5 * 0.5);
  EXPECT_LT(f.highest, 3 + 7 * 0.5);
}

TEST(Random, UniformFillsItsRange) {
  const Facts f = facts_of(run(drawn("RandomUniform", {{"low", -2.0f}, {"high", 4.0f}}))[0]);
  EXPECT_NEAR(f.mean, 1, 0.03);
  EXPECT_NEAR(f.deviation, 6 / std::sqrt(12), 0.03);
  EXPECT_GE(f.lowest, -2);
  EXPECT_LT(f.lowest, -1.99);
  EXPECT_LT(f.highest, 4);
  EXPECT_GT(f.highest, 3.99);
}

TEST(Random, NeighboursKnowNothingOfEachOther) {
  const std::vector<float> v = run(drawn("RandomNormal"))[0].floats();
  for (const size_t apart : {1, 2, 3, 1001}) {
    double sum = 0;
    for (size_t i = 0; i + apart < v.size(); ++i) sum += static_cast<double>(v[i]) * v[i + apart];
    EXPECT_NEAR(sum / static_cast<double>(v.size()), 0, 0.02) << apart;
  }
}

TEST(Random, LikeTakesShapeAndType) {
  const Tensor like = run({.op = "RandomNormalLike", .inputs = {floats({2, 3}, std::vector<float>(6))}})[0];
  EXPECT_EQ(like.dtype(), DType::kFloat32);
  EXPECT_EQ(like.dims(), (Shape{2, 3}));
  const Tensor of_doubles = run({.op = "RandomUniformLike", .inputs = {Tensor(DType::kFloat64, {4})}})[0];
  EXPECT_EQ(of_doubles.dtype(), DType::kFloat64);
  const Tensor typed = run(
      {.op = "RandomUniformLike", .inputs = {longs({2}, {1, 2})}, .attributes = {{"dtype", int64_t{1}}}})[0];
  EXPECT_EQ(typed.dtype(), DType::kFloat32);
  EXPECT_TRUE(error_of({.op = "RandomNormalLike", .inputs = {longs({2}, {1, 2})}}, Given::kFed));
}

TEST(Random, StreamsFollowSeedsAndNames) {
  const auto values = [](GraphBuilder::Attributes attributes, std::string_view name) {
    GraphBuilder net;
    attributes.emplace_back("shape", std::vector<int64_t>{5});
    net.output(net.add("RandomNormal", name, {}, std::move(attributes)));
    return runtime::Session(net.build()).run({})[0].floats();
  };
  EXPECT_EQ(values({}, "a"), values({}, "a"));
  EXPECT_NE(values({}, "a"), values({}, "b"));
  EXPECT_EQ(values({{"seed", 7.0f}}, "a"), values({{"seed", 7.0f}}, "b"));
  EXPECT_NE(values({{"seed", 7.0f}}, "a"), values({{"seed", 8.0f}}, "a"));
}

TEST(Random, EveryRunDrawsTheSame) {
  const auto model = model_of(drawn("RandomUniform", {}, {7}), Given::kFed);
  runtime::Session session(model);
  EXPECT_TRUE(same_bits(session.run({})[0], session.run({})[0]));
}

// In the model that is quantized and saved the operator is still there.
TEST(Random, IsNoConstant) {
  const OneNode like{.op = "RandomNormalLike", .inputs = {floats({3}, {0, 0, 0})}};
  const auto ready = runtime::prepared_anew(*model_of(like, Given::kConstant));
  ASSERT_EQ(ready->graph.nodes.size(), 1u);
  EXPECT_EQ(ready->graph.nodes[0].op_type, "RandomNormalLike");
}

TEST(Random, BernoulliFollowsProbabilities) {
  std::vector<float> p(40000);
  for (size_t i = 0; i < p.size(); ++i)
    p[i] = i % 4 == 0 ? 0.0f : i % 4 == 1 ? 1.0f : i % 4 == 2 ? 0.25f : std::nanf("");
  const Tensor y = run({.op = "Bernoulli", .inputs = {floats({40000}, p)}, .version = 15})[0];
  double ones[4] = {};
  for (size_t i = 0; i < p.size(); ++i) {
    const float v = y.data<float>()[i];
    EXPECT_TRUE(v == 0 || v == 1);
    ones[i % 4] += static_cast<double>(v) / 10000;
  }
  EXPECT_EQ(ones[0], 0);
  EXPECT_NEAR(ones[1], 1, 1e-6);
  EXPECT_NEAR(ones[2], 0.25, 0.02);
  EXPECT_EQ(ones[3], 0);
}

TEST(Random, BernoulliMakesAnyType) {
  for (const DType type : {DType::kBool, DType::kInt8, DType::kInt64, DType::kFloat64}) {
    const Tensor y = run({.op = "Bernoulli",
                          .inputs = {floats({3}, {0, 1, 0})},
                          .attributes = {{"dtype", static_cast<int64_t>(type)}},
                          .version = 15})[0];
    EXPECT_EQ(y.dtype(), type);
    EXPECT_EQ(cast(y, DType::kInt64).integers(), (std::vector<int64_t>{0, 1, 0}));
  }
}

TEST(Random, MultinomialFollowsLogarithms) {
  const float low = std::log(0.25f), high = std::log(0.75f);
  const Tensor y =
      run({.op = "Multinomial",
           .inputs = {floats({2, 3}, {low + 9, -kInfinity, high + 9, std::nanf(""), 3, -kInfinity})},
           .attributes = {{"sample_size", int64_t{10000}}}})[0];
  EXPECT_EQ(y.dtype(), DType::kInt32);
  ASSERT_EQ(y.dims(), (Shape{2, 10000}));
  double found[2][3] = {};
  for (int64_t i = 0; i < 20000; ++i) found[i / 10000][y.integer_at(i)] += 1e-4;
  EXPECT_NEAR(found[0][0], 0.25, 0.02);
  EXPECT_EQ(found[0][1], 0);
  EXPECT_NEAR(found[0][2], 0.75, 0.02);
  EXPECT_NEAR(found[1][1], 1, 1e-9);
}

TEST(Random, MultinomialOfNothingIsAnError) {
  const OneNode n{.op = "Multinomial", .inputs = {floats({2, 2}, {0, 0, -kInfinity, std::nanf("")})}};
  const auto error = error_of(n, Given::kFed);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::kIndexOutOfRange);
  EXPECT_NE(std::string(error->what()).find("row 1"), std::string::npos);
  EXPECT_TRUE(error_of({.op = "Multinomial", .inputs = {floats({1, 0}, {})}}, Given::kFed));
  EXPECT_TRUE(error_of(
      {.op = "Multinomial", .inputs = {floats({1, 1}, {0})}, .attributes = {{"sample_size", int64_t{0}}}},
      Given::kFed));
}

TEST(Random, RefusesShapesAndTypesThatAreNone) {
  EXPECT_TRUE(error_of(drawn("RandomNormal", {}, {2, -1}), Given::kFed));
  EXPECT_TRUE(error_of(drawn("RandomNormal", {{"dtype", int64_t{7}}}), Given::kFed));
  EXPECT_TRUE(error_of({.op = "RandomNormal", .inputs = {}}, Given::kFed));
}

}  // namespace
}  // namespace zp::test
