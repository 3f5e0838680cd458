// What a job is expected to take, beside what is known of it otherwise. How much memory jobs really take, the
// package's tests measure (tests/package/estimate.test.ts).
#include <algorithm>

#include "quant/qdq.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

constexpr int64_t kWidth = 256, kRows = 8;
constexpr double kWeight = 4.0 * kWidth * kWidth;  // bytes

// Products of plain matrices, one behind the other.
std::shared_ptr<const Model> chain(int layers) {
  GraphBuilder net;
  ValueId x = net.input("x", {kRows, kWidth});
  for (int i = 0; i < layers; ++i) {
    const std::string name = "layer" + std::to_string(i);
    x = net.add("MatMul", name,
                {x, net.constant(name + "_w", noise({kWidth, kWidth}, static_cast<uint32_t>(i) + 1, 0.1F))});
    x = net.add("Relu", name + "_relu", {x});
  }
  net.output(x);
  return net.build();
}

const quant::Estimate::Phase* phase(const quant::Estimate& e, std::string_view name) {
  const auto it = std::ranges::find(e.phases, name, &quant::Estimate::Phase::name);
  return it == e.phases.end() ? nullptr : &*it;
}

quant::Config mode(const char* name, DType weights = DType::kInt8) {
  quant::Config c;
  c.mode = name;
  c.weights = weights;
  return c;
}

TEST(Estimate, KnowsWhatTheResultTakes) {
  const auto model = chain(4);
  for (const auto& [config, bits] : {std::pair{mode("weight-only"), 8},
                                     {mode("weight-only", DType::kInt4), 4},
                                     {mode("dynamic"), 8},
                                     {mode("float16"), 16}}) {
    const quant::Estimate e = quant::estimate(model, config, {});
    const Quantized q = quantize(model, config);
    const auto really = static_cast<double>(quant::constant_bytes(q.graph()));
    EXPECT_NEAR(e.result_bytes, really, 0.05 * really) << config.mode << bits;
    EXPECT_GE(e.worst()->bytes, e.result_bytes);
    EXPECT_LE(e.worst()->bytes, e.result_bytes + 3 * kWeight);
    EXPECT_TRUE(e.whole);
  }
}

TEST(Estimate, CountsTheRunsOfSamples) {
  const auto model = chain(4);
  quant::Config config = mode("static");
  const double run = 4.0 * kRows * kWidth * kWidth;
  const quant::Estimate few = quant::estimate(model, config, {.samples = 2}),
                        many = quant::estimate(model, config, {.samples = 20});
  EXPECT_DOUBLE_EQ(few.run_macs, run);
  EXPECT_DOUBLE_EQ(phase(few, "calibrate")->macs, 2 * run);
  EXPECT_DOUBLE_EQ(phase(many, "calibrate")->macs, 20 * run);
  // The values of a run, and packed weights.
  EXPECT_GE(phase(few, "calibrate")->bytes, 4 * kWeight);
  EXPECT_LE(phase(few, "calibrate")->bytes, 6 * kWeight);
  // Of images, say, that are four times as large.
  const quant::Estimate tall =
      quant::estimate(model, config, {.samples = 2, .dims = {{"x", {4 * kRows, kWidth}}}});
  EXPECT_DOUBLE_EQ(tall.run_macs, 4 * run);
}

TEST(Estimate, CountsTheMatricesOfRepairs) {
  const auto model = chain(2);
  quant::Config config = mode("weight-only", DType::kInt4);
  config.has_samples = true;
  const quant::Estimate plain = quant::estimate(model, config, {.samples = 8});
  EXPECT_FALSE(phase(plain, "gptq"));
  config.repairs = {"gptq"};
  const quant::Estimate repaired = quant::estimate(model, config, {.samples = 8});
  ASSERT_TRUE(phase(repaired, "gptq"));
  // G and U, and what it knows of each weight.
  EXPECT_GE(phase(repaired, "gptq")->bytes, 5 * kWeight);
  EXPECT_LE(phase(repaired, "gptq")->bytes, 30 * kWeight);
  EXPECT_GT(repaired.touched(), 2 * plain.touched());
}

TEST(Estimate, OfASearchIsThatOfManyJobs) {
  const auto model = chain(3);
  const quant::Estimate one = quant::estimate(model, mode("static"), {.samples = 24}),
                        all = quant::estimate(model, mode("auto"), {.samples = 24});
  EXPECT_GT(all.macs(), 3 * one.macs());
  EXPECT_GE(all.worst()->bytes, one.worst()->bytes);
}

// An If takes one of its branches: the one that takes most counts.
TEST(Estimate, CountsTheBranchThatTakesMost) {
  GraphBuilder net;
  const ValueId x = net.input("x", {kRows, kWidth});
  const ValueId which = net.input("which", {}, DType::kBool);
  const auto branch = [&](const std::string& name, int layers) {
    auto sub = std::make_shared<Graph>();
    ValueId v = sub->add_value(name + "/x", DType::kFloat32, SymShape{kRows, kWidth});
    sub->captures.push_back({.outer = x, .inner = v});
    for (int i = 0; i < layers; ++i) {
      const std::string own = name + std::to_string(i);
      Node n;
      n.op_type = "MatMul", n.name = own;
      n.inputs = {v,
                  sub->add_constant(own + "_w", noise({kWidth, kWidth}, static_cast<uint32_t>(i) + 1, 0.1F))};
      v = sub->add_value(own + "_y", DType::kFloat32, SymShape{kRows, kWidth});
      n.outputs = {v};
      sub->nodes.push_back(std::move(n));
    }
    sub->outputs = {v};
    return sub;
  };
  net.output(net.add("If", "y", {which}, {{"then_branch", branch("a", 1)}, {"else_branch", branch("b", 3)}}));
  const quant::Estimate e = quant::estimate(net.build(), mode("weight-only"), {});
  EXPECT_TRUE(e.whole);
  EXPECT_EQ(e.run_macs, 3.0 * kRows * kWidth * kWidth);
}

TEST(Estimate, SaysWhatItDoesNotKnow) {
  GraphBuilder net;
  const ValueId x = net.input("x", {kRows, kWidth});
  const ValueId places = net.add("NonZero", "places", {x});
  const ValueId floats = net.add("Cast", "floats", {places}, {{"to", int64_t{1}}});
  net.output(floats);
  EXPECT_FALSE(quant::estimate(net.build(), mode("weight-only"), {}).whole);
}

TEST(Estimate, TimeFollowsFromTheSpeedOfTheMachine) {
  const quant::Speed speed = quant::measure_speed(2, 1);
  EXPECT_GT(speed.macs, 0);
  EXPECT_GT(speed.touched, 0);
  const quant::Estimate::Phase work{.name = "", .bytes = 0, .macs = 1e9, .touched = 1e6};
  const double here = quant::milliseconds_of(work, speed);
  EXPECT_NEAR(quant::milliseconds_of(work, {.macs = 2 * speed.macs, .touched = 2 * speed.touched}), here / 2,
              1e-9 * here);
}

}  // namespace
}  // namespace zp::test
