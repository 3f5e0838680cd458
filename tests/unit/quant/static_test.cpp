// Where static quantization puts Q and DQ, on small networks.
#include <cmath>

#include "quant/format.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;
using quant::Range;

struct Net : GraphBuilder {
  ValueId conv(std::string_view name, ValueId x, int64_t out, int64_t in, int64_t k = 1, bool bias = true) {
    const std::string base(name);
    std::vector<ValueId> inputs{x, constant(base + "_w", ramp({out, in, k, k}, 0.5f))};
    if (bias) inputs.push_back(constant(base + "_b", ramp({out}, 0.25f)));
    return add("Conv", name, inputs,
               {{"kernel_shape", std::vector<int64_t>{k, k}},
                {"pads", std::vector<int64_t>{k / 2, k / 2, k / 2, k / 2}}});
  }
};

std::map<std::string, Range, std::less<>> ranges_for(const Model& model) {
  std::map<std::string, Range, std::less<>> ranges;
  int i = 1;
  for (const Value& v : model.graph.values)
    if (!v.constant && v.dtype == DType::kFloat32) ranges[v.name] = {-1.f, static_cast<float>(++i)};
  return ranges;
}

// With ranges given for every value nothing needs to run.
Quantized place(std::shared_ptr<Model> model, Config config = {}) {
  config.ranges = ranges_for(*model);
  config.runtime = "zeropoint";  // which has an integer kernel wherever there is a form
  return quantize(model, config);
}

TEST(Static, ConvReluMaxPoolConv) {
  Net net;
  const ValueId x = net.input("x", {1, 3, 8, 8});
  const ValueId c1 = net.conv("c1", x, 4, 3);
  const ValueId r1 = net.add("Relu", "r1", {c1});
  const ValueId p1 =
      net.add("MaxPool", "p1", {r1},
              {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}}});
  net.output(net.conv("c2", p1, 5, 4));
  const Quantized q = place(net.build());

  EXPECT_EQ(q.quantized_from("c1", 0), "x");
  ASSERT_TRUE(q.dq("c1", 1));
  ASSERT_TRUE(q.dq("c1", 2));
  // The clamp stays between the convolution and its Q.
  EXPECT_EQ(q.node("r1").input(0), q.node("c1").output(0));
  EXPECT_EQ(q.quantized_from("p1", 0), "r1");
  EXPECT_EQ(q.quantized_from("c2", 0), "p1");
  EXPECT_EQ(q.params("p1", 0), q.params("c2", 0));
  // Nobody reads the last result as integers: it is left in float.
  EXPECT_EQ(q.graph().outputs[0], q.node("c2").output(0));
  EXPECT_EQ(q.count(QdqRole::kQuantize), 3u);
  EXPECT_EQ(q.count(QdqRole::kDequantize), 3u + 4u);
  for (const char* layer : {"c1", "r1", "p1", "c2"}) EXPECT_TRUE(q.layer(layer).quantized) << layer;
  EXPECT_EQ(q.layer("r1").why, "computed as the end of 'c1'");
  EXPECT_EQ(q.layer("c1").macs, 4 * 3 * 64);
  EXPECT_NEAR(q.layer("c1").macs_share + q.layer("c2").macs_share, 1, 1e-12);
}

TEST(Static, ScalesAndBias) {
  Net net;
  const ValueId x = net.input("x", {1, 1, 2, 2});
  const ValueId w = net.constant("w", Tensor::of<float>({2, 1, 1, 1}, {0.5f, -0.25f}));
  const ValueId b = net.constant("b", Tensor::of<float>({2}, {1.f, -3.f}));
  net.output(net.add("Conv", "c", {x, w, b}));
  Config config;
  config.runtime = "zeropoint";
  config.ranges = {{"x", {-1, 1.55f}}};
  const Quantized q = quantize(net.build(), config);

  const float sx = static_cast<float>((static_cast<double>(1.55f) + 1) / 255);
  EXPECT_EQ(q.params("c", 0), (quant::QParams{DType::kUint8, sx, 100}));
  const Node& dw = *q.dq("c", 1);
  EXPECT_EQ(dw.int_attribute("axis", 1), 0);
  const std::vector<float> sw = q.graph().constant(dw.input(1))->floats();
  EXPECT_EQ(sw, (std::vector<float>{static_cast<float>(0.5 / 127), static_cast<float>(0.25 / 127)}));
  EXPECT_EQ(q.graph().constant(dw.input(0))->integers(), (std::vector<int64_t>{127, -127}));
  const Node& db = *q.dq("c", 2);
  EXPECT_EQ(db.int_attribute("axis", 1), 0);
  EXPECT_EQ(q.graph().constant(db.input(0))->dtype(), DType::kInt32);
  EXPECT_EQ(q.graph().constant(db.input(1))->floats(), (std::vector<float>{sx * sw[0], sx * sw[1]}));
  EXPECT_EQ(q.graph().constant(db.input(0))->integers(),
            (std::vector<int64_t>{std::lround(1.f / (sx * sw[0])), std::lround(-3.f / (sx * sw[1]))}));
}

TEST(Static, ABiasBeyond32BitsWidensTheWeightsScale) {
  Net net;
  const ValueId x = net.input("x", {1, 1, 2, 2});
  const ValueId w = net.constant("w", Tensor::of<float>({2, 1, 1, 1}, {1e-9f, 1.f}));
  const ValueId b = net.constant("b", Tensor::of<float>({2}, {1000.f, 1.f}));
  net.output(net.add("Conv", "c", {x, w, b}));
  Config config;
  config.runtime = "zeropoint";
  config.ranges = {{"x", {0, 1}}};
  const Quantized q = quantize(net.build(), config);
  const Tensor integers = *q.graph().constant(q.dq("c", 2)->input(0));
  const std::vector<float> scale = q.graph().constant(q.dq("c", 2)->input(1))->floats();
  EXPECT_LE(std::abs(integers.integer_at(0)), 1 << 30);
  EXPECT_NEAR(static_cast<float>(integers.integer_at(0)) * scale[0], 1000.f, 1e-3f);
  EXPECT_EQ(q.graph().constant(q.dq("c", 1)->input(1))->floats()[1], static_cast<float>(1.0 / 127));
}

TEST(Static, ResidualAdd) {
  Net net;
  const ValueId x = net.input("x", {1, 4, 4, 4});
  const ValueId c1 = net.conv("c1", x, 4, 4);
  const ValueId c2 = net.conv("c2", c1, 4, 4);
  const ValueId sum = net.add("Add", "sum", {c1, c2});
  const ValueId r = net.add("Relu", "r", {sum});
  net.output(net.conv("c3", r, 2, 4));
  const Quantized q = place(net.build());
  EXPECT_EQ(q.quantized_from("sum", 0), "c1");
  EXPECT_EQ(q.quantized_from("sum", 1), "c2");
  EXPECT_EQ(q.quantized_from("c2", 0), "c1");
  // One Q, a DQ for each reader, one scale.
  EXPECT_EQ(q.dq("sum", 0)->input(0), q.dq("c2", 0)->input(0));
  EXPECT_NE(q.dq("sum", 0), q.dq("c2", 0));
  EXPECT_EQ(q.quantized_from("c3", 0), "r");
  EXPECT_EQ(q.node("r").input(0), q.node("sum").output(0));
}

TEST(Static, ConcatGivesItsInputsOneScale) {
  Net net;
  const ValueId x = net.input("x", {1, 2, 4, 4});
  const ValueId a = net.conv("a", x, 2, 2), b = net.conv("b", x, 3, 2);
  const ValueId cat = net.add("Concat", "cat", {a, b}, {{"axis", int64_t{1}}});
  net.output(net.conv("c", cat, 2, 5));
  auto model = net.build();
  Config config;
  config.runtime = "zeropoint";
  config.ranges = {{"x", {-1, 1}}, {"a", {-2, 1}}, {"b", {-1, 3.1f}}};
  const Quantized q = quantize(model, config);
  EXPECT_EQ(q.params("cat", 0), q.params("cat", 1));
  EXPECT_EQ(q.params("cat", 0), q.params("c", 0));
  EXPECT_EQ(q.params("cat", 0)->scale, static_cast<float>((2 + static_cast<double>(3.1f)) / 255));
}

// `a`, in [-lowest, 1], is read by the Concat, whose other part is in [-8, 8], and by a layer.
Quantized part_that_is_read_twice(float lowest, DType reader = DType::kUint8) {
  Net net;
  const ValueId x = net.input("x", {1, 2, 4, 4});
  const ValueId a = net.conv("a", x, 2, 2), b = net.conv("b", x, 3, 2);
  const ValueId pool =
      net.add("MaxPool", "pool", {a},
              {{"kernel_shape", std::vector<int64_t>{3, 3}}, {"pads", std::vector<int64_t>(4, 1)}});
  const ValueId cat = net.add("Concat", "cat", {pool, b, a}, {{"axis", int64_t{1}}});
  net.output(net.conv("c", cat, 2, 7));
  net.output(net.conv("d", a, 2, 2));
  Config config;
  config.runtime = "zeropoint";
  config.ranges = {{"x", {-1, 1}}, {"a", {-lowest, 1}}, {"b", {-8, 8}}};
  if (reader != DType::kUint8) config.precision["d"].activations = reader;
  return quantize(net.build(), config);
}

TEST(Static, APartOfAConcatThatOthersReadKeepsItsFinerScale) {
  const Quantized q = part_that_is_read_twice(1);
  EXPECT_EQ(q.params("d", 0)->scale, static_cast<float>(2.0 / 255));
  EXPECT_EQ(q.params("cat", 0), q.params("d", 0));  // what was pooled from it
  EXPECT_EQ(q.params("cat", 2), q.params("d", 0));
  EXPECT_EQ(q.params("cat", 1)->scale, static_cast<float>(16.0 / 255));  // nothing else reads it
  EXPECT_EQ(q.params("c", 0), q.params("cat", 1));
}

TEST(Static, APartOfAConcatTakesAScaleThatIsLittleWider) {
  const Quantized q = part_that_is_read_twice(40);
  for (size_t part : {0U, 1U, 2U}) EXPECT_EQ(q.params("cat", part), q.params("c", 0));
  EXPECT_EQ(q.params("d", 0), q.params("c", 0));
  EXPECT_EQ(q.params("c", 0)->scale, static_cast<float>(48.0 / 255));
}

// What is joined twice is rounded to the finer of the two scales.
TEST(Static, APartOfTwoConcatsTakesTheFinerScale) {
  Net net;
  const ValueId x = net.input("x", {1, 2, 4, 4});
  const ValueId a = net.conv("a", x, 2, 2), b = net.conv("b", x, 2, 2), c = net.conv("c", x, 2, 2);
  const ValueId fine = net.add("Concat", "fine", {a, b}, {{"axis", int64_t{1}}});
  const ValueId coarse = net.add("Concat", "coarse", {a, c}, {{"axis", int64_t{1}}});
  net.output(net.conv("p", fine, 2, 4));
  net.output(net.conv("q", coarse, 2, 4));
  Config config;
  config.runtime = "zeropoint";
  config.ranges = {{"x", {-1, 1}}, {"a", {-1, 1}}, {"b", {-2, 2}}, {"c", {-8, 8}}};
  const Quantized q = quantize(net.build(), config);
  EXPECT_EQ(q.params("p", 0)->scale, static_cast<float>(4.0 / 255));
  EXPECT_EQ(q.params("fine", 0), q.params("p", 0));
  EXPECT_EQ(q.params("coarse", 0), q.params("p", 0));
  EXPECT_EQ(q.params("coarse", 1), q.params("q", 0));
  EXPECT_EQ(q.params("q", 0)->scale, static_cast<float>(16.0 / 255));
}

TEST(Static, PartsOfAConcatHaveOneType) {
  const Quantized q = part_that_is_read_twice(1, DType::kUint16);
  for (size_t part : {0U, 1U, 2U}) EXPECT_EQ(q.params("cat", part)->dtype, DType::kUint16);
  EXPECT_EQ(q.params("d", 0)->dtype, DType::kUint16);
  EXPECT_EQ(q.params("c", 0)->dtype, DType::kUint16);
}

// As a front end for sound: a transform, powers, a filter bank, a logarithm; then a network.
std::shared_ptr<Model> listener() {
  Net net;
  const ValueId x = net.input("x", {2, 16});
  const auto weight = [&](const char* name, Shape dims) { return net.constant(name, ramp(dims, 0.5f)); };
  const ValueId a = net.add("MatMul", "real", {x, weight("w_real", {16, 8})});
  const ValueId b = net.add("MatMul", "imaginary", {x, weight("w_imaginary", {16, 8})});
  const ValueId power = net.add("Add", "power", {net.add("Mul", "aa", {a, a}), net.add("Mul", "bb", {b, b})});
  const ValueId bank = net.add("MatMul", "bank", {power, weight("w_bank", {8, 8})});
  const ValueId least = net.add("Clip", "least", {bank, net.constant("floor", Tensor::scalar<float>(1e-6f))});
  const ValueId log = net.add("Log", "log", {least});
  const ValueId hidden = net.add("Relu", "r", {net.add("MatMul", "hidden", {log, weight("w_h", {8, 8})})});
  net.output(net.add("MatMul", "out", {hidden, weight("w_out", {8, 2})}));
  return net.build();
}

TEST(Static, WhatALogarithmIsTakenOfStaysFloat) {
  for (const char* mode : {"static", "dynamic"}) {
    Config config;
    config.mode = mode;
    const Quantized q = place(listener(), config);
    for (const char* layer : {"real", "imaginary", "bank"}) {
      EXPECT_TRUE(q.layer(layer).quantized) << layer;  // its weights
      EXPECT_NE(q.layer(layer).why.find("a logarithm follows"), std::string::npos) << q.layer(layer).why;
      EXPECT_EQ(q.dq(layer, 0), nullptr) << layer;
      EXPECT_NE(q.dq(layer, 1), nullptr) << layer;
    }
    for (const char* layer : {"aa", "power"}) EXPECT_FALSE(q.layer(layer).quantized) << layer;
    for (const char* layer : {"hidden", "out"}) EXPECT_NE(q.dq(layer, 0), nullptr) << layer;
  }
  // A precision of its own is meant.
  Config config;
  config.precision["bank"] = {};
  EXPECT_NE(place(listener(), config).dq("bank", 0), nullptr);
}

// The logarithm of 1 + e^x is as large as x; that of what a network's last layer gives begins there.
TEST(Static, LayersBehindALogarithmsOwnAreQuantized) {
  Net net;
  const ValueId x = net.input("x", {1, 4, 4, 4});
  const ValueId one = net.constant("one", Tensor::scalar<float>(1));
  const ValueId a = net.conv("a", x, 4, 4);
  const ValueId soft = net.add("Log", "soft", {net.add("Add", "add", {net.add("Exp", "e", {a}), one})});
  const ValueId b = net.add("Relu", "r", {net.conv("b", soft, 4, 4)});
  net.output(net.add("Log", "log", {net.add("Relu", "r2", {net.conv("c", b, 2, 4)})}));
  const Quantized q = place(net.build());
  EXPECT_NE(q.dq("a", 0), nullptr);
  EXPECT_NE(q.dq("b", 0), nullptr);
  EXPECT_EQ(q.dq("c", 0), nullptr);
}

TEST(Static, SqueezeAndExcite) {
  Net net;
  const ValueId x = net.input("x", {1, 4, 4, 4});
  const ValueId c1 = net.conv("c1", x, 4, 4);
  const ValueId pool = net.add("GlobalAveragePool", "pool", {c1});
  const ValueId f1 = net.add("Relu", "f1r", {net.conv("f1", pool, 2, 4)});
  const ValueId gate = net.add("HardSigmoid", "gate", {net.conv("f2", f1, 4, 2)});
  const ValueId scaled = net.add("Mul", "scaled", {c1, gate});
  net.output(net.conv("c2", scaled, 3, 4));
  const Quantized q = place(net.build());
  EXPECT_EQ(q.quantized_from("pool", 0), "c1");
  EXPECT_EQ(q.quantized_from("gate", 0), "f2");
  EXPECT_EQ(q.quantized_from("scaled", 1), "gate");
  // 0...1 by the operator's own rule, whatever was seen.
  Net again;
  EXPECT_EQ(q.params("scaled", 0)->dtype, DType::kUint8);
  EXPECT_EQ(q.quantized_from("c2", 0), "scaled");
}

TEST(Static, AKnownRangeHoldsWhateverWasSeen) {
  Net net;
  const ValueId x = net.input("x", {1, 4, 4, 4});
  const ValueId gate = net.add("Sigmoid", "gate", {net.conv("c1", x, 4, 4)});
  net.output(net.conv("c2", gate, 3, 4));
  Config config;
  config.runtime = "zeropoint";
  config.ranges = {{"x", {-1, 1}}, {"c1", {-1, 1}}};
  const Quantized q = quantize(net.build(), config, {{{"x", ramp({1, 4, 4, 4}, 0.1f)}}});
  EXPECT_EQ(q.params("c2", 0), quant::choose_params({0, 1}, DType::kUint8, false));
}

TEST(Static, FloatIslandsAreLeftAlone) {
  Net net;
  const ValueId x = net.input("x", {1, 4, 4, 4});
  const ValueId c1 = net.conv("c1", x, 4, 4);
  // Conv -> MaxPool -> Softmax -> Mul -> output: nothing after the convolution has a quantized reader.
  const ValueId p = net.add("MaxPool", "p", {c1}, {{"kernel_shape", std::vector<int64_t>{1, 1}}});
  const ValueId s = net.add("Sqrt", "s", {p});
  const ValueId m = net.add("Mul", "m", {s, p});
  net.output(m);
  const Quantized q = place(net.build());
  EXPECT_EQ(q.count(QdqRole::kQuantize), 1u);
  EXPECT_FALSE(q.layer("p").quantized);
  EXPECT_NE(q.layer("p").why.find("no quantized layer reads"), std::string::npos);
  EXPECT_FALSE(q.layer("s").quantized);
  EXPECT_FALSE(q.layer("m").quantized);
}

TEST(Static, MatMulChainAddsItsConstantBeforeTheOneQ) {
  Net net;
  const ValueId x = net.input("x", {1, 2, 8});
  const ValueId m1 = net.add("MatMul", "m1", {x, net.constant("w1", ramp({8, 6}))});
  const ValueId a1 = net.add("Add", "a1", {m1, net.constant("b1", ramp({6}))});
  const ValueId m2 = net.add("MatMul", "m2", {a1, net.constant("w2", ramp({6, 4}))});
  net.output(m2);
  const Quantized q = place(net.build());
  EXPECT_EQ(q.node("a1").input(0), q.node("m1").output(0));
  EXPECT_FALSE(q.dq("a1", 1));
  EXPECT_EQ(q.quantized_from("m2", 0), "a1");
  EXPECT_EQ(q.count(QdqRole::kQuantize), 2u);
  EXPECT_EQ(q.dq("m1", 1)->int_attribute("axis", 0), 1);
  EXPECT_EQ(q.graph().constant(q.dq("m1", 1)->input(1))->dims(), (Shape{6}));
}

TEST(Static, FunctionsOfOneElementInARowAreOne) {
  Net net;
  const ValueId x = net.input("x", {1, 3, 4, 4});
  const ValueId l = net.add("LeakyRelu", "l", {net.conv("c1", x, 4, 3)});
  const ValueId m = net.add("Mul", "m", {l, net.constant("scale", Tensor::scalar(1.5f))});
  const ValueId a = net.add("Sub", "a", {net.constant("one", Tensor::scalar(1.f)), m});
  net.output(net.conv("c2", a, 3, 4));
  const Quantized q = place(net.build());
  EXPECT_EQ(q.quantized_from("l", 0), "c1");  // from the convolution's integers ...
  EXPECT_EQ(q.node("m").input(0), q.node("l").output(0));
  EXPECT_EQ(q.node("a").input(1), q.node("m").output(0));
  EXPECT_FALSE(q.dq("m", 1));
  EXPECT_EQ(q.quantized_from("c2", 0), "a");  // ... to the next one's, rounded once
  EXPECT_EQ(q.count(QdqRole::kQuantize), 3u);
}

TEST(Static, AConstantThatIsNotAScalarIsAnOperandOfItsOwn) {
  Net net;
  const ValueId x = net.input("x", {1, 3, 4, 4});
  const ValueId l = net.add("LeakyRelu", "l", {net.conv("c1", x, 4, 3)});
  const ValueId m = net.add("Mul", "m", {l, net.constant("scales", ramp({4, 1, 1}))});
  net.output(net.conv("c2", m, 3, 4));
  const Quantized q = place(net.build());
  EXPECT_EQ(q.quantized_from("m", 0), "l");
  ASSERT_TRUE(q.dq("m", 1));
  EXPECT_EQ(q.graph().constant(q.dq("m", 1)->input(0))->dtype(), DType::kUint8);
  EXPECT_EQ(q.params("m", 1),
            quant::choose_params(quant::range_of(ramp({4, 1, 1}).data<float>()), DType::kUint8, false));
}

TEST(Static, AFloatReaderOfAFloatValueReadsItUnrounded) {
  Net net;
  const ValueId x = net.input("x", {2, 8});
  const ValueId e = net.add("Sqrt", "e", {x});
  const ValueId m = net.add("MatMul", "m", {e, net.constant("w", ramp({8, 8}))});
  net.output(net.add("Pow", "p", {e, m}));
  const Quantized q = place(net.build());
  EXPECT_EQ(q.quantized_from("m", 0), "e");
  EXPECT_EQ(q.node("p").input(0), q.node("e").output(0));
}

TEST(Static, AFloatReaderOfAnIntegerValueReadsWhatItStandsFor) {
  Net net;
  const ValueId x = net.input("x", {2, 8});
  const ValueId m1 = net.add("MatMul", "m1", {x, net.constant("w1", ramp({8, 8}))});
  const ValueId m2 = net.add("MatMul", "m2", {m1, net.constant("w2", ramp({8, 8}))});
  net.output(net.add("Pow", "p", {m1, m2}));
  const Quantized q = place(net.build());
  EXPECT_EQ(q.quantized_from("p", 0), "m1");
  EXPECT_EQ(q.node("p").input(1), q.node("m2").output(0));
}

TEST(Static, BothFactorsComputed) {
  Net net;
  const ValueId x = net.input("x", {4, 4});
  const ValueId m = net.add("MatMul", "m", {x, net.add("Sqrt", "s", {x})});
  net.output(m);
  const Quantized q = place(net.build());
  EXPECT_EQ(q.quantized_from("m", 0), "x");
  EXPECT_EQ(q.quantized_from("m", 1), "s");
}

TEST(Static, IntegersAtTheEdges) {
  Net net;
  const ValueId x = net.input("x", {1, 3, 8, 8});
  const ValueId c1 = net.conv("c1", x, 4, 3);
  net.output(net.add("Relu", "y", {c1}));
  auto model = net.build();
  Config config;
  config.quantized_inputs = config.quantized_outputs = true;
  const Quantized q = place(model, config);
  const Graph& g = q.graph();
  EXPECT_EQ(g[g.inputs[0]].name, "x");
  EXPECT_EQ(g[g.inputs[0]].dtype, DType::kUint8);
  EXPECT_EQ(q.dq("c1", 0)->input(0), g.inputs[0]);
  EXPECT_EQ(g[g.outputs[0]].name, "y");
  EXPECT_EQ(g[g.outputs[0]].dtype, DType::kUint8);
  EXPECT_EQ(g[g.outputs[0]].shape, model->graph[model->graph.outputs[0]].shape);
  EXPECT_EQ(q.count(QdqRole::kQuantize), 1u);
  EXPECT_TRUE(quant::is_quantize(*q.producer(g.outputs[0])));
}

TEST(Static, ExcludedAndIncludedNodes) {
  const auto model = [] {
    Net net;
    const ValueId x = net.input("x", {1, 3, 4, 4});
    net.output(net.conv("c2", net.conv("c1", x, 3, 3), 3, 3));
    return net.build();
  };
  Config config;
  config.exclude_nodes = {"c1"};
  Quantized q = place(model(), config);
  EXPECT_FALSE(q.layer("c1").quantized);
  EXPECT_EQ(q.layer("c1").why, "excluded by its name");
  EXPECT_TRUE(q.layer("c2").quantized);
  config = {};
  config.include_nodes = {"c1"};
  q = place(model(), config);
  EXPECT_TRUE(q.layer("c1").quantized);
  EXPECT_FALSE(q.layer("c2").quantized);
  config = {};
  config.exclude_ops = {"Conv"};
  q = place(model(), config);
  EXPECT_EQ(q.count(QdqRole::kQuantize) + q.count(QdqRole::kDequantize), 0u);
  config = {};
  config.exclude_nodes = {"typo"};
  EXPECT_THROW(place(model(), config), Error);
}

TEST(Static, PrecisionOfOneNode) {
  Net net;
  const ValueId x = net.input("x", {1, 3, 4, 4});
  net.output(net.conv("c3", net.conv("c2", net.conv("c1", x, 3, 3), 3, 3), 3, 3));
  Config config;
  config.precision["c2"] = {.activations = DType::kInt16, .weights = DType::kInt8};
  config.precision["c3"] = {.activations = DType::kUndefined, .weights = DType::kUndefined};
  const Quantized q = place(net.build(), config);
  EXPECT_EQ(q.params("c1", 0)->dtype, DType::kUint8);
  EXPECT_EQ(q.params("c2", 0)->dtype, DType::kInt16);
  EXPECT_FALSE(q.dq("c2", 2));  // 32 bits hold no bias at so fine a scale: it stays float
  EXPECT_FALSE(q.dq("c3", 0));
  EXPECT_FALSE(q.dq("c3", 1));
}

TEST(Static, SymmetricSignedActivations) {
  Net net;
  const ValueId x = net.input("x", {1, 3, 4, 4});
  net.output(net.conv("c1", x, 3, 3));
  Config config;
  config.activations = DType::kInt8;
  config.symmetric_activations = true;
  config.runtime = "zeropoint";
  config.ranges = {{"x", {-1, 2}}};
  const Quantized q = quantize(net.build(), config);
  EXPECT_EQ(q.params("c1", 0), (quant::QParams{DType::kInt8, static_cast<float>(2.0 / 127), 0}));
}

TEST(Static, NamesStay) {
  Net net;
  const ValueId x = net.input("x", {1, 3, 8, 8});
  net.output(net.add("Relu", "y", {net.conv("c1", net.conv("c0", x, 3, 3), 4, 3)}));
  auto model = net.build();
  const Quantized q = place(model);
  for (const char* name : {"x", "c0", "c1", "y"}) {
    const ValueId v = q.graph().find(name);
    ASSERT_NE(v, kNoValue) << name;
    EXPECT_EQ(q.graph()[v].dtype, DType::kFloat32);
  }
  // The float model is untouched.
  EXPECT_FALSE(quant::is_quantized(model->graph));
  EXPECT_TRUE(model->graph.constant(model->graph.find("c1_w")));
}

TEST(Static, RefusesWhatMakesNoSense) {
  const auto model = [] {
    Net net;
    net.output(net.conv("c1", net.input("x", {1, 3, 4, 4}), 3, 3));
    return net.build();
  };
  const auto refused = [&](auto&& change) {
    Config config;
    change(config);
    try {
      place(model(), config);
    } catch (const Error& e) {
      return e.code() == ErrorCode::kInvalidArgument && !e.details().hint.empty();
    }
    return false;
  };
  EXPECT_TRUE(refused([](Config& c) { c.mode = "magic"; }));
  EXPECT_TRUE(refused([](Config& c) { c.observer = "magic"; }));
  EXPECT_TRUE(refused([](Config& c) { c.format = "magic"; }));
  EXPECT_TRUE(refused([](Config& c) { c.activations = DType::kFloat32; }));
  EXPECT_TRUE(refused([](Config& c) { c.weights = DType::kInt32; }));
  EXPECT_TRUE(refused([](Config& c) { c.options["magic"] = 1; }));
  EXPECT_TRUE(refused([](Config& c) { c.options["patience"] = -1; }));
  EXPECT_TRUE(refused([](Config& c) { c.repairs = {"magic"}; }));
  EXPECT_TRUE(refused([](Config& c) { c.mode = "dynamic", c.activations = DType::kInt8; }));
  EXPECT_TRUE(
      refused([](Config& c) { c.mode = "weight-only", c.weights = DType::kInt4, c.block_size = 24; }));
}

TEST(Static, AModelThatIsQuantizedAlreadyIsRefused) {
  Net net;
  net.output(net.conv("c1", net.input("x", {1, 3, 4, 4}), 3, 3));
  const Quantized once = place(net.build());
  EXPECT_THROW(quantize(once.model, {}), Error);
}

TEST(Plan, SaysBeforehandWhatTheReportSaysAfterwards) {
  Net net;
  const ValueId x = net.input("x", {1, 3, 8, 8});
  const ValueId c1 = net.conv("c1", x, 4, 3);
  net.output(net.add("Sqrt", "s", {net.conv("c2", net.add("Relu", "r", {c1}), 4, 4)}));
  auto model = net.build();
  const quant::Report plan = quant::plan_of(model, {}, true);
  const Quantized q = place(model);
  ASSERT_EQ(plan.layers.size(), q.report.layers.size());
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    EXPECT_EQ(plan.layers[i].node, q.report.layers[i].node);
    EXPECT_EQ(plan.layers[i].quantized, q.report.layers[i].quantized);
    EXPECT_EQ(plan.layers[i].why, q.report.layers[i].why);
    EXPECT_FALSE(plan.layers[i].why.empty());
    ASSERT_EQ(plan.layers[i].weight.has_value(), q.report.layers[i].weight.has_value());
    if (plan.layers[i].weight) {
      EXPECT_EQ(plan.layers[i].weight->sqnr_db, q.report.layers[i].weight->sqnr_db);
      EXPECT_GT(plan.layers[i].weight->sqnr_db, 35);
    }
  }
  EXPECT_GT(plan.macs, 0);
  EXPECT_EQ(plan.macs, plan.macs_quantized);
  EXPECT_LT(plan.weight_bytes_after, plan.weight_bytes_before);
}

// ONNX Runtime's QLinearConv makes integers, and nothing else of its multiplies them there.
TEST(Static, WhatARuntimeLeavesInFloatIsRoundedForIt) {
  const auto model = [] {
    Net net;
    const ValueId c = net.conv("c", net.input("x", {1, 3, 6, 6}), 4, 3);
    net.output(net.add("Softmax", "s", {c}, {{"axis", int64_t{1}}}));
    net.output(net.add("Relu", "r", {net.conv("d", c, 2, 4)}));
    return net.build();
  }();
  Config config;
  config.ranges = ranges_for(*model);
  const Quantized q = quantize(model, config);
  EXPECT_EQ(q.quantized_from("s", 0), "c");
  const Node* end = q.producer(q.graph().outputs[1]);
  ASSERT_TRUE(end && quant::is_dequantize(*end));
  EXPECT_EQ(q.graph()[q.graph().outputs[1]].name, "r");
  config.runtime = "zeropoint";
  const Quantized own = quantize(model, config);
  EXPECT_EQ(own.producer(own.graph().outputs[1])->op_type, "Relu");
}

TEST(Static, FunctionsAreSpelledInPiecesThatARuntimeFuses) {
  const auto model = [] {
    Net net;
    const ValueId a = net.add("HardSwish", "a", {net.conv("c", net.input("x", {1, 3, 6, 6}), 4, 3)});
    const ValueId b =
        net.add("HardSigmoid", "b", {net.conv("d", a, 4, 4)}, {{"alpha", 0.2f}, {"beta", 0.5f}});
    net.output(net.conv("e", net.add("Mul", "m", {a, b}), 2, 4));
    return net.build();
  }();
  const Samples samples{{{"x", noise({1, 3, 6, 6}, 1, 2)}}, {{"x", noise({1, 3, 6, 6}, 2, 2)}}};
  const auto has = [](const Quantized& q, std::string_view op) {
    return std::ranges::any_of(q.graph().nodes, [&](const Node& n) { return n.op_type == op; });
  };
  Config config;
  const Quantized q = quantize(model, config, samples);
  config.runtime = "zeropoint";
  const Quantized whole = quantize(model, config, samples);
  for (const char* op : {"HardSwish", "HardSigmoid"}) {
    EXPECT_FALSE(has(q, op)) << op;
    EXPECT_TRUE(has(whole, op)) << op;
  }
  // Everything stands between pairs.
  for (const Node& n : q.graph().nodes) {
    if (quant::is_of_qdq_pair(n)) continue;
    for (size_t i = 0; i < n.inputs.size(); ++i) EXPECT_TRUE(q.dq(n.name, i)) << n.name;
  }
  // By itself: what it makes is what 8 bits make of it.
  const std::vector<runtime::Feed> feed{{"x", noise({1, 3, 6, 6}, 3, 2)}};
  const auto run = [&](const std::shared_ptr<const Model>& m) {
    return runtime::Session(m).run(feed)[0].floats();
  };
  const std::vector<float> want = run(model), pieces = run(q.model), plain = run(whole.model);
  const auto noise_of = [&](const std::vector<float>& got) {
    double sum = 0;
    for (size_t i = 0; i < got.size(); ++i) sum += std::pow(static_cast<double>(got[i] - want[i]), 2);
    return sum;
  };
  EXPECT_LT(noise_of(pieces), 2 * noise_of(plain) + 1e-9);
}

}  // namespace
}  // namespace zp::test
