// Where ranges come from: observed in samples, or known beforehand; never assumed.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/known_range.h"
#include "quant/observer.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;
using quant::Range;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> run(const std::shared_ptr<const Model>& model, const std::vector<runtime::Feed>& feeds,
                       size_t output = 0) {
  runtime::Session session(model, {});
  return session.run(feeds)[output].floats();
}

double sqnr(const std::vector<float>& x, const std::vector<float>& y) {
  quant::ErrorSums sums;
  sums.add(x.data(), y.data(), x.size());
  return sums.sqnr_db();
}

bool says(const std::vector<std::string>& sentences, std::string_view words) {
  return std::any_of(sentences.begin(), sentences.end(),
                     [&](const std::string& s) { return s.find(words) != std::string::npos; });
}

Attribute ints(std::vector<int64_t> values) { return values; }

// ---- what is known

TEST(KnownRanges, OfEachOperatorHoldWhatItGives) {
  GraphBuilder net;
  const ValueId x = net.input("x", {4, 6});
  const ValueId axes = net.constant("axes", Tensor::of<int64_t>({1}, {-1}));
  const ValueId one = net.constant("one", Tensor::scalar(1.f)),
                two = net.constant("two", Tensor::scalar(2.f));
  const ValueId eps = net.constant("eps", Tensor::scalar(1e-6f));
  const ValueId softmax = net.add("Softmax", "softmax", {x}, {{"axis", int64_t{-1}}});
  const ValueId sigmoid = net.add("Sigmoid", "sigmoid", {x});
  const ValueId tanh = net.add("Tanh", "tanh", {x});
  const ValueId norm = net.add("ReduceL2", "norm", {x, axes});
  const ValueId squares = net.add("ReduceSum", "squares", {net.add("Mul", "xx", {x, x}), axes});
  const ValueId root = net.add("Sqrt", "root", {net.add("Add", "squares_eps", {squares, eps})});
  const ValueId positive =
      net.add("Cast", "positive", {net.add("Greater", "greater", {x, eps})}, {{"to", int64_t{1}}});
  struct Case {
    ValueId v;
    float lo, hi;
    bool reached;
  };
  const std::vector<Case> cases{
      {softmax, 0, 1, true},
      {net.add("Transpose", "moved", {softmax}, {{"perm", ints({1, 0})}}), 0, 1, true},
      {net.add("LogSoftmax", "logs", {x}), -kInf, 0, false},
      {sigmoid, 0, 1, true},
      {net.add("HardSigmoid", "hard", {x}), 0, 1, true},
      {tanh, -1, 1, true},
      {net.add("Softsign", "softsign", {x}), -1, 1, true},
      {net.add("Erf", "erf", {x}), -1, 1, true},
      {net.add("Sin", "sin", {x}), -1, 1, true},
      {net.add("Cos", "cos", {x}), -1, 1, true},
      {net.add("Relu", "relu", {x}), 0, kInf, false},
      {net.add("Relu", "relu_tanh", {tanh}), 0, 1, true},
      {net.add("Clip", "clip", {x, eps, two}), 1e-6f, 2, false},
      {positive, 0, 1, true},
      {net.add("Sub", "inverse", {one, sigmoid}), 0, 1, true},
      {net.add("Mul", "doubled", {tanh, two}), -2, 2, true},
      {net.add("Mul", "gated", {tanh, sigmoid}), -1, 1, false},
      {net.add("Add", "sum", {tanh, sigmoid}), -1, 2, false},
      {net.add("Div", "halved", {tanh, two}), -0.5f, 0.5f, true},
      {net.add("Where", "where", {net.add("Greater", "g2", {x, eps}), tanh, two}), -1, 2, true},
      {net.add("Concat", "both", {tanh, sigmoid}, {{"axis", int64_t{0}}}), -1, 1, true},
      {net.add("Pad", "pad", {tanh, net.constant("pads", Tensor::of<int64_t>({4}, {0, 0, 1, 1})), two}), -1,
       2, true},
      {net.add("Div", "unit", {x, norm}), -1, 1, true},
      {net.add("Div", "unit_eps", {x, net.add("Max", "norm_eps", {norm, eps})}), -1, 1, true},
      {net.add("Div", "unit_root", {x, root}), -1, 1, true},
      {net.add("Mul", "unit_inverse", {x, net.add("Reciprocal", "inverse_root", {root})}), -1, 1, true},
      // Not norms of what they divide, or not along its rows.
      {net.add("Div", "not_unit", {tanh, norm}), -kInf, kInf, false},
      {net.add("Div", "mean", {x, net.add("ReduceMean", "m", {x, axes})}), -kInf, kInf, false},
      {net.add("Add", "unknown", {x, one}), -kInf, kInf, false},
  };
  for (const Case& c : cases) net.output(c.v);
  const auto model = net.build();
  const GraphIndex index(model->graph);
  const KnownRanges known(model->graph, index);
  runtime::Session session(model, {});
  const auto outputs = session.run({{"x", noise({4, 6}, 3, 9)}});
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string& name = model->graph[cases[i].v].name;
    EXPECT_EQ(known.of(cases[i].v), (KnownRange{cases[i].lo, cases[i].hi, cases[i].reached})) << name;
    for (const float v : outputs[i].floats()) {
      EXPECT_GE(v, cases[i].lo) << name;
      EXPECT_LE(v, cases[i].hi) << name;
    }
  }
}

// Attention over few keys, calibrated with scores that are all alike and used with others.
TEST(Ranges, KnownOnesHoldForInputsThatNoSampleIsLike) {
  GraphBuilder net;
  const ValueId x = net.input("x", {4, 16});
  const ValueId p = net.add("Softmax", "p", {x}, {{"axis", int64_t{-1}}});
  net.output(net.add("MatMul", "y", {p, net.constant("w", noise({16, 8}, 2))}));
  const auto model = net.build();
  for (const std::string_view observer : quant::observer_names()) {
    Config config;
    config.observer = observer;
    const Quantized q = quantize(model, config, {{{"x", noise({4, 16}, 1, 0.5f)}}});
    EXPECT_EQ(q.params("y", 0), quant::choose_params({0, 1}, DType::kUint8, false)) << observer;
    EXPECT_EQ(q.ranges.at("p"), (Range{0, 1})) << observer;
    const std::vector<runtime::Feed> sharp{{"x", noise({4, 16}, 5, 12)}};
    EXPECT_GT(sqnr(run(model, sharp), run(q.model, sharp)), 35) << observer;
  }
}

TEST(Ranges, AKnownOneIsNotTakenWhereItLeavesNothingOfTheSamples) {
  GraphBuilder net;
  const ValueId x = net.input("x", {4, 2000});
  const ValueId p = net.add("Softmax", "p", {x}, {{"axis", int64_t{-1}}});
  net.output(net.add("MatMul", "y", {p, net.constant("w", noise({2000, 8}, 2))}));
  const auto model = net.build();
  const std::vector<runtime::Feed> sample{{"x", noise({4, 2000}, 1)}};
  const Quantized q = quantize(model, {}, {sample});
  EXPECT_LT(q.ranges.at("p").max, 0.01f);  // a row sums to 1: 0.0005 each, 0.0012 at most
  EXPECT_GT(sqnr(run(model, sample), run(q.model, sample)), 25);
}

// ---- what is observed

TEST(Ranges, WhatIsReadFromATableIsObserved) {
  GraphBuilder net;
  const ValueId ids = net.input("ids", {6}, DType::kInt64);
  const ValueId x = net.add("Gather", "x", {net.constant("table", noise({512, 16}, 1, 6)), ids});
  net.output(net.add("MatMul", "y", {x, net.constant("w", noise({16, 8}, 2))}));
  const auto model = net.build();
  const std::vector<runtime::Feed> sample{{"ids", Tensor::of<int64_t>({6}, {0, 100, 200, 300, 400, 511})}};
  const Quantized q = quantize(model, {}, {sample});
  EXPECT_TRUE(q.layer("y").quantized);
  EXPECT_GT(q.ranges.at("x").max, 5.5f);
  EXPECT_GT(sqnr(run(model, sample), run(q.model, sample)), 35);
}

TEST(Ranges, HoldWhatIsPaddedWith) {
  for (const bool computed : {false, true}) {
    GraphBuilder net;
    const ValueId x = net.input("x", {1, 2, 6, 6});
    const ValueId value = computed ? net.input("value", {}) : net.constant("value", Tensor::scalar(5.f));
    const ValueId c1 = net.add("Conv", "c1", {x, net.constant("w1", noise({3, 2, 1, 1}, 1, 0.5f))});
    const ValueId pad = net.add(
        "Pad", "pad", {c1, net.constant("pads", Tensor::of<int64_t>({8}, {0, 0, 1, 1, 0, 0, 1, 1})), value});
    net.output(net.add("Conv", "c2", {pad, net.constant("w2", noise({2, 3, 3, 3}, 2))}));
    const auto model = net.build();
    std::vector<runtime::Feed> sample{{"x", noise({1, 2, 6, 6}, 3)}};
    if (computed) sample.push_back({"value", Tensor::scalar(5.f)});
    const Quantized q = quantize(model, {}, {sample});
    EXPECT_EQ(q.layer("pad").quantized, !computed);
    EXPECT_NEAR(quant::covered(*q.params("c2", 0)).max, 5, 0.05);
    EXPECT_GT(sqnr(run(model, sample), run(q.model, sample)), 30);
  }
}

TEST(Ranges, OfACubicResizeAreItsOwn) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 2, 6, 6});
  const ValueId c1 = net.add("Conv", "c1", {x, net.constant("w1", noise({3, 2, 1, 1}, 1))});
  const ValueId up =
      net.add("Resize", "up", {c1, kNoValue, net.constant("scales", Tensor::of<float>({4}, {1, 1, 2, 2}))},
              {{"mode", std::string("cubic")}});
  net.output(net.add("Conv", "c2", {up, net.constant("w2", noise({2, 3, 3, 3}, 2))}));
  const auto model = net.build();
  const std::vector<runtime::Feed> sample{{"x", noise({1, 2, 6, 6}, 3)}};
  const Quantized q = quantize(model, {}, {sample});
  EXPECT_EQ(q.layer("up").why, "cubic interpolation overshoots the range of its input");
  ASSERT_TRUE(q.ranges.contains("up"));
  EXPECT_GT(sqnr(run(model, sample), run(q.model, sample)), 30);
}

// ---- what no sample has

// Keys of earlier steps, of which there are none in the samples, before those of this one.
TEST(Ranges, WhatTheSamplesHaveNoElementOfStaysFloat) {
  GraphBuilder net;
  const ValueId x = net.input("x", {4, 8});
  const ValueId past = net.input("past", {Dim::symbol("past"), 8});
  const ValueId k = net.add("MatMul", "k", {x, net.constant("wk", noise({8, 8}, 1))});
  const ValueId present = net.add("Concat", "present", {past, k}, {{"axis", int64_t{0}}});
  const ValueId transposed = net.add("Transpose", "transposed", {present}, {{"perm", ints({1, 0})}});
  const ValueId scores = net.add("MatMul", "scores", {x, transposed});
  net.output(scores);
  net.output(present);
  const auto model = net.build();
  const Quantized q =
      quantize(model, {}, {{{"x", noise({4, 8}, 3)}, {"past", Tensor(DType::kFloat32, {0, 8})}}});
  EXPECT_TRUE(q.layer("k").quantized);
  for (const char* layer : {"present", "transposed", "scores"})
    EXPECT_FALSE(q.layer(layer).quantized) << layer;
  EXPECT_TRUE(says(q.report.warnings, "without elements in every sample")) << q.report.warnings.front();
  EXPECT_TRUE(says(q.report.warnings, "'past'"));
  const std::vector<runtime::Feed> later{{"x", noise({4, 8}, 4)}, {"past", noise({5, 8}, 5, 50)}};
  EXPECT_GT(sqnr(run(model, later), run(q.model, later)), 40);
}

TEST(Ranges, LeaveOutWhatIsNotFiniteWithEachObserver) {
  GraphBuilder net;
  const ValueId x = net.input("x", {Dim::symbol("N"), 8});
  net.output(net.add("Gemm", "y", {x, net.constant("w", noise({8, 4}, 1))}));
  const auto model = net.build();
  const Tensor good = noise({64, 8}, 2);
  Tensor more(DType::kFloat32, {66, 8});
  std::copy_n(good.data<float>().begin(), 64 * 8, more.mutable_data<float>().begin());
  for (size_t i = 0; i < 16; ++i) more.mutable_data<float>()[64 * 8 + i] = i % 3 == 0 ? kInf : kNaN;
  for (const std::string_view observer : quant::observer_names()) {
    Config config;
    config.observer = observer;
    const Quantized a = quantize(model, config, {{{"x", good}}});
    const Quantized b = quantize(model, config, {{{"x", good}}, {{"x", more}}});
    const Range first = a.ranges.at("x"), second = b.ranges.at("x");
    EXPECT_NEAR(first.min, second.min, 2e-3) << observer;
    EXPECT_NEAR(first.max, second.max, 2e-3) << observer;
    EXPECT_TRUE(b.layer("y").quantized);
    EXPECT_TRUE(
        says(b.report.warnings, "16 elements of 1 value were NaN or infinite, first in 'x' in sample 2"))
        << observer;
  }
}

TEST(Ranges, OfWhatIsNowhereFiniteAreNone) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 8});
  const ValueId zero = net.constant("zero", Tensor::scalar(0.f));
  // 0 / 0
  const ValueId nan = net.add("Div", "nan", {net.add("Mul", "zeros", {x, zero}), zero});
  net.output(net.add("MatMul", "lost", {nan, net.constant("w", noise({8, 4}, 1))}));
  net.output(net.add("MatMul", "fine", {x, net.constant("v", noise({8, 4}, 2))}));
  const Quantized q = quantize(net.build(), {}, {{{"x", noise({2, 8}, 3)}}});
  EXPECT_FALSE(q.layer("lost").quantized);
  EXPECT_EQ(q.layer("lost").why, "reads a value that calibration found no range for");
  EXPECT_TRUE(q.layer("fine").quantized);
  EXPECT_TRUE(says(q.report.warnings,
                   "values that are nowhere finite in the samples, so that their readers stay float: 'nan'"));
}

TEST(Ranges, AWeightThatIsNotFiniteStaysFloat) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 8});
  Tensor w = noise({8, 4}, 1);
  w.mutable_data<float>()[3] = kNaN;
  net.output(net.add("MatMul", "broken", {x, net.constant("w", w)}));
  net.output(net.add("MatMul", "fine", {x, net.constant("v", noise({8, 4}, 2))}));
  const auto model = net.build();
  for (const char* mode : {"static", "dynamic", "weight-only"}) {
    Config config;
    config.mode = mode;
    const Quantized q = quantize(model, config, {{{"x", noise({2, 8}, 3)}}});
    EXPECT_FALSE(q.layer("broken").quantized) << mode;
    EXPECT_TRUE(q.layer("fine").quantized) << mode;
    EXPECT_TRUE(says(q.report.warnings, "weight 'w' holds NaN or infinity: 'broken' stays float")) << mode;
  }
}

// ---- masks

// What is padded is pushed far down before the largest of each window is taken, and before a Softmax.
std::shared_ptr<Model> masked_net(float mask, bool where) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 2, 4, 4}), keep = net.input("keep", {1, 1, 4, 4});
  const ValueId c1 = net.add("Conv", "c1", {x, net.constant("w1", noise({4, 2, 1, 1}, 1))});
  const ValueId one = net.constant("one", Tensor::scalar(1.f)),
                huge = net.constant("huge", Tensor::scalar(mask));
  const ValueId half = net.constant("half", Tensor::scalar(0.5f));
  const ValueId masked =
      where ? net.add("Where", "masked", {net.add("Greater", "kept", {keep, half}), c1, huge})
            : net.add("Add", "masked",
                      {c1, net.add("Mul", "far", {net.add("Sub", "gone", {one, keep}), huge})});
  const ValueId pool =
      net.add("MaxPool", "pool", {masked}, {{"kernel_shape", ints({2, 2})}, {"strides", ints({2, 2})}});
  net.output(net.add("Conv", "c2", {pool, net.constant("w2", noise({3, 4, 1, 1}, 2))}));
  net.output(net.add("Softmax", "p", {masked}, {{"axis", int64_t{-1}}}));
  return net.build();
}

TEST(Masks, BlowNoRangeUpAndStillMask) {
  for (const float mask : {-1e4f, -65504.f, -1e9f, -3.4028235e38f, -kInf}) {
    for (const bool where : {false, true}) {
      if (!where && std::isinf(mask)) continue;  // 0 times infinity
      const auto model = masked_net(mask, where);
      Tensor keep(DType::kFloat32, {1, 1, 4, 4});
      for (size_t i = 0; i < 16; ++i) keep.mutable_data<float>()[i] = i % 4 == 1 || i % 4 == 2 ? 0.f : 1.f;
      const std::vector<runtime::Feed> sample{{"x", noise({1, 2, 4, 4}, 3)}, {"keep", keep}};
      const Quantized q = quantize(model, {}, {sample});
      EXPECT_TRUE(q.layer("c1").quantized) << mask;
      EXPECT_TRUE(q.layer("c2").quantized) << mask;
      EXPECT_FALSE(q.layer("masked").quantized) << mask;
      EXPECT_GT(sqnr(run(model, sample), run(q.model, sample)), 30) << mask << where;
      const std::vector<float> p = run(q.model, sample, 1);
      EXPECT_GT(sqnr(run(model, sample, 1), p), 30) << mask << where;
      for (size_t i = 0; i < p.size(); ++i)
        if (i % 4 == 1 || i % 4 == 2) EXPECT_EQ(p[i], 0) << mask << where;
    }
  }
}

// Large activations that no constant explains are none.
TEST(Masks, AreNotWhatNetworksCompute) {
  GraphBuilder net;
  const ValueId x = net.input("x", {4, 16});
  net.output(net.add("MatMul", "y", {x, net.constant("w", noise({16, 8}, 2))}));
  const auto model = net.build();
  Tensor t = noise({4, 16}, 1);
  t.mutable_data<float>()[5] = 8000;
  const Quantized q = quantize(model, {}, {{{"x", t}}});
  EXPECT_EQ(q.ranges.at("x").max, 8000);
  EXPECT_TRUE(q.report.warnings.empty());
}

}  // namespace
}  // namespace zp::test
