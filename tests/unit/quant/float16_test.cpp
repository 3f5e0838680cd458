#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "onnx/onnx.h"
#include "ops/cast.h"
#include "quant/report.h"
#include "runtime/prepare.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;

Config float16() {
  Config config;
  config.mode = "float16";
  return config;
}

// Only Casts change the type, and each stands where it has to.
size_t casts(const Graph& graph) {
  size_t count = 0;
  for (const Node& n : graph.nodes) {
    if (n.op_type != "Cast") continue;
    ++count;
    EXPECT_NE(graph[n.inputs[0]].dtype, graph[n.outputs[0]].dtype) << n.name;
  }
  return count;
}

DType type_of(const Quantized& q, std::string_view value) {
  const ValueId v = q.graph().find(value);
  return v == kNoValue ? DType::kUndefined : q.graph()[v].dtype;
}

std::vector<float> run(const std::shared_ptr<const Model>& model, std::vector<runtime::Feed> feeds) {
  return runtime::Session(runtime::prepared(model)).run(std::move(feeds))[0].floats();
}

double sqnr(const std::vector<float>& x, const std::vector<float>& y) {
  quant::ErrorSums sums;
  EXPECT_EQ(x.size(), y.size());
  sums.add(x.data(), y.data(), std::min(x.size(), y.size()));
  return sums.sqnr_db();
}

// What comes out of a file of it.
std::shared_ptr<const Model> read_back(const Model& model) {
  const std::vector<std::byte> file = onnx::write(model);
  const std::shared_ptr<std::byte> copy = allocate_bytes(file.size());
  std::copy(file.begin(), file.end(), copy.get());
  return std::make_shared<Model>(onnx::read(copy, file.size()));
}

TEST(Float16, ValuesAreHalfBetweenTheEdges) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 64});
  const ValueId w = net.constant("w", ramp({64, 64}));
  const ValueId m = net.add("MatMul", "m", {x, w});
  const ValueId again = net.add("MatMul", "again", {net.add("Relu", "r", {m}), w});
  net.output(net.add("Gemm", "g", {again, net.constant("v", ramp({5, 64})), net.constant("b", ramp({5}))},
                     {{"transB", int64_t{1}}}));
  const std::shared_ptr<Model> model = net.build();
  const Quantized q = quantize(model, float16());
  for (const char* layer : {"m", "r", "again", "g"}) {
    EXPECT_TRUE(q.layer(layer).quantized) << layer;
    EXPECT_EQ(q.layer(layer).why, "computes in float16");
  }
  EXPECT_EQ(q.report.layers_quantized, 4u);
  EXPECT_TRUE(q.report.warnings.empty());
  EXPECT_TRUE(all_warnings(q.graph()).empty());
  for (const char* value : {"m", "r", "again", "w", "v", "b"})
    EXPECT_EQ(type_of(q, value), DType::kFloat16) << value;
  for (const char* value : {"x", "g"}) EXPECT_EQ(type_of(q, value), DType::kFloat32) << value;
  EXPECT_EQ(casts(q.graph()), 2u);
  EXPECT_EQ(q.report.weight_bytes_after * 2, q.report.weight_bytes_before);  // the tied weight once
  const Tensor in = noise({2, 64}, 1);
  EXPECT_GT(sqnr(run(model, {{"x", in}}), run(q.model, {{"x", in}})), 60);
  const quant::Report plan = quant::plan_of(model, float16(), true);
  EXPECT_LT(plan.weight_bytes_after, plan.weight_bytes_before);
  EXPECT_EQ(plan.layers_quantized, 4u);
}

TEST(Float16, InputsAndOutputsWhereAsked) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 8});
  const ValueId apart = net.input("apart", {2, 8});
  net.output(net.add("MatMul", "y", {x, net.constant("w", ramp({8, 4}))}));
  net.output(net.add("Sin", "s", {apart}));
  Config config = float16();
  config.quantized_inputs = config.quantized_outputs = true;
  const std::shared_ptr<Model> model = net.build();
  const Quantized q = quantize(model, config);
  EXPECT_EQ(type_of(q, "x"), DType::kFloat16);
  EXPECT_EQ(type_of(q, "y"), DType::kFloat16);
  EXPECT_EQ(type_of(q, "apart"), DType::kFloat32);
  EXPECT_EQ(type_of(q, "s"), DType::kFloat32);
  EXPECT_EQ(casts(q.graph()), 0u);
  EXPECT_EQ(
      q.report.warnings,
      (std::vector<std::string>{
          "input 'apart' stays float32: no float16 layer reads it",
          "output 's' stays float32: no float16 layer makes it",
          "1 of 2 layers that compute with floats stays float32; the report gives the reason for each"}));
  // Feeds of the float model are brought to float16.
  quant::Agreement agreement(model, q.model);
  agreement.begin({{"x", noise({2, 8}, 1)}, {"apart", noise({2, 8}, 2)}});
  while (!agreement.advance(1)) {
  }
  EXPECT_GT(agreement.result().outputs[0].sqnr_db, 55);
}

// What the runtime computes in float32 is measured with the numbers that float16 has.
TEST(Float16, ErrorsAreThoseOfRoundedValues) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 64});
  const ValueId big = net.add("Add", "big", {x, net.constant("c", Tensor::scalar(512.0f))});
  net.output(net.add("Sub", "back", {big, net.constant("d", Tensor::scalar(512.0f))}));
  const std::shared_ptr<Model> model = net.build();
  const Quantized q = quantize(model, float16());
  const std::vector<runtime::Feed> feeds{{"x", noise({1, 64}, 3)}};
  EXPECT_GT(sqnr(run(model, feeds), run(q.model, feeds)), 60);  // the session rounds nothing on the way
  quant::Agreement agreement(model, q.model);
  agreement.begin(feeds);
  while (!agreement.advance(1)) {
  }
  // Between 512 and 1024 the numbers of float16 are a half apart: an error of a quarter at most, to values of
  // up to 1.
  EXPECT_LT(agreement.result().outputs[0].sqnr_db, 20);
  quant::LayerErrors errors(model, q.model);
  errors.begin(feeds);
  while (!errors.advance(1)) {
  }
  const std::vector<quant::LayerError> layers = errors.result();
  ASSERT_EQ(layers.size(), 2u);
  EXPECT_EQ(layers[0].output, "big");
  EXPECT_EQ(layers[0].dtype, DType::kFloat16);
  EXPECT_NEAR(layers[0].own_sqnr_db, layers[0].sqnr_db, 1);
  EXPECT_EQ(layers[1].output, "back");
  EXPECT_LT(layers[1].sqnr_db, 20);
}

// With samples, such a layer is found, and what it reads stays float32.
TEST(Float16, LayersThatMakeLargeErrorsOfSmallOnesStayFloat) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 64});
  const ValueId m = net.add("MatMul", "m", {x, net.constant("w", ramp({64, 64}))});
  const ValueId big = net.add("Add", "big", {m, net.constant("c", Tensor::scalar(512.0f))});
  const ValueId back = net.add("Sub", "back", {big, net.constant("d", Tensor::scalar(512.0f))});
  net.output(net.add("MatMul", "y", {back, net.constant("v", ramp({64, 8}))}));
  Config config = float16();
  config.has_samples = true;
  const std::shared_ptr<Model> model = net.build();
  const Samples samples{{{"x", noise({1, 64}, 3)}}, {{"x", noise({1, 64}, 4)}}};
  const Quantized q = quantize(model, config, samples);
  EXPECT_EQ(q.report.samples, 2u);
  EXPECT_TRUE(q.layer("m").quantized || q.layer("y").quantized);
  EXPECT_FALSE(q.layer("big").quantized);
  EXPECT_FALSE(q.layer("back").quantized);
  EXPECT_NE(q.layer("back").why.find("with rounded inputs, 'back' keeps"), std::string::npos)
      << q.layer("back").why;
  quant::Agreement agreement(model, q.model);
  agreement.begin(samples[0]);
  while (!agreement.advance(1)) {
  }
  EXPECT_GT(agreement.result().outputs[0].sqnr_db, 50);
}

TEST(Float16, WhatOverflowsInTheSamplesStaysFloat) {
  GraphBuilder net;
  const ValueId x = net.input("x", {4, 8});
  const ValueId m = net.add("MatMul", "m", {x, net.constant("w", ramp({8, 8}, 200))});
  const ValueId square = net.add("Mul", "square", {m, m});
  const ValueId root = net.add("Sqrt", "root", {square});
  net.output(net.add("MatMul", "y", {root, net.constant("v", ramp({8, 8}))}));
  const std::shared_ptr<Model> model = net.build();
  EXPECT_TRUE(quantize(model, float16()).layer("square").quantized);  // nobody knows
  Config config = float16();
  config.has_samples = true;
  const Quantized q = quantize(model, config, {{{"x", noise({4, 8}, 1)}}});
  EXPECT_TRUE(q.layer("m").quantized);
  EXPECT_FALSE(q.layer("square").quantized);
  EXPECT_FALSE(q.layer("root").quantized);
  EXPECT_TRUE(q.layer("y").quantized);
  EXPECT_EQ(q.layer("root").why.find("'square' reaches "), 0u) << q.layer("root").why;
  EXPECT_EQ(casts(q.graph()), 4u);  // x, m, root, y
  EXPECT_EQ(q.report.warnings.back(),
            "2 of 4 layers that compute with floats stay float32; the report gives the reason for each");
}

TEST(Float16, SumsInsideCount) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 1, 256, 256});
  net.output(net.add("GlobalAveragePool", "mean", {x}));
  Tensor ones(DType::kFloat32, {1, 1, 256, 256});
  for (float& v : ones.mutable_data<float>()) v = 2;
  Config config = float16();
  config.has_samples = true;
  const Quantized q = quantize(net.build(), config, {{{"x", ones}}});
  EXPECT_EQ(q.layer("mean").why, "sums up to 130000 inside, beyond the largest number of float16 (65504)");
}

TEST(Float16, ConstantsBeyondFloat16AndThoseThatVanish) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 8});
  Tensor huge = ramp({8, 4});
  huge.mutable_data<float>()[3] = 1e6f;
  net.output(net.add("MatMul", "huge", {x, net.constant("h", std::move(huge))}));
  // A vector divided by its norm, as exporters write it.
  const ValueId axes = net.constant("axes", Tensor::of<int64_t>({1}, std::vector<int64_t>{1}));
  const ValueId norm = net.add("ReduceL2", "norm", {x, axes});
  const ValueId kept = net.add("Clip", "kept", {norm, net.constant("eps", Tensor::scalar(1e-12f))});
  const ValueId wide = net.add(
      "Expand", "wide", {kept, net.constant("to", Tensor::of<int64_t>({2}, std::vector<int64_t>{2, 8}))});
  net.output(net.add("MatMul", "y", {net.add("Div", "unit", {x, wide}), net.constant("w", ramp({8, 4}))}));
  // An epsilon that float16 has.
  net.output(net.add("Add", "sum", {x, net.constant("c", Tensor::scalar(1e-5f))}));
  const std::shared_ptr<Model> model = net.build();
  const Quantized q = quantize(model, float16());
  EXPECT_EQ(q.layer("huge").why, "reads 'h', which holds numbers beyond the largest of float16 (65504)");
  EXPECT_TRUE(q.layer("sum").quantized);
  EXPECT_TRUE(q.layer("y").quantized);
  EXPECT_EQ(q.layer("kept").why, "reads 'eps', which is almost 0 in float16");
  for (const char* layer : {"wide", "unit"})
    EXPECT_EQ(q.layer(layer).why, "relies on 'eps', which is almost 0 in float16") << layer;
  // A vector of zeros gives zeros, no NaN.
  Tensor zeros(DType::kFloat32, {2, 8});
  for (const Tensor& t : runtime::Session(runtime::prepared_with_roundings(*q.model)).run({{"x", zeros}}))
    for (const float v : t.floats()) EXPECT_TRUE(std::isfinite(v));
}

TEST(Float16, WhatASmallNumberKeepsFromZeroIsNotInvertedInHalfPrecision) {
  for (const bool quotient : {false, true}) {
    GraphBuilder net;
    const ValueId x = net.input("x", {2, 8});
    const auto inverse = [&](const std::string& name, ValueId of) {
      return quotient ? net.add("Div", name, {x, of}) : net.add("Reciprocal", name, {of});
    };
    const auto product = [&](const std::string& name, ValueId of) {
      net.output(net.add("MatMul", name, {of, net.constant(name + "_w", ramp({8, 4}))}));
    };
    const ValueId above = net.add("Clip", "above", {x, net.constant("least", Tensor::scalar(1e-6f))});
    product("y", inverse("inverse", above));
    // A root of it, and a number that is large enough.
    const ValueId square = net.add("Mul", "square", {x, x});
    const ValueId more = net.add("Add", "more", {square, net.constant("eps", Tensor::scalar(1e-6f))});
    product("z", inverse("of_root", net.add("Sqrt", "root", {more})));
    const ValueId far = net.add("Clip", "far", {x, net.constant("enough", Tensor::scalar(1e-3f))});
    product("t", inverse("of_far", far));
    const std::shared_ptr<Model> model = net.build();
    const Quantized q = quantize(model, float16());
    EXPECT_THAT(q.layer("inverse").why, testing::HasSubstr("divides by as little as 'least'"));
    for (const char* layer : {"of_root", "of_far", "z", "t"})
      EXPECT_EQ(q.layer(layer).why, "computes in float16") << layer;
    Tensor zeros(DType::kFloat32, {2, 8});
    for (const Tensor& t : runtime::Session(runtime::prepared_with_roundings(*q.model)).run({{"x", zeros}}))
      for (const float v : t.floats()) EXPECT_TRUE(std::isfinite(v));
  }
}

TEST(Float16, MasksAreCutOffWhereThatChangesNothing) {
  constexpr float kLowest = -3.4028234663852886e38f;
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 8}), allowed = net.input("allowed", {2, 8}, DType::kBool);
  const ValueId lowest = net.constant("lowest", Tensor::scalar(kLowest));
  const ValueId scores = net.add("MatMul", "scores", {x, net.constant("w", ramp({8, 8}))});
  net.output(net.add("Softmax", "chosen", {net.add("Where", "masked", {allowed, scores, lowest})}));
  // Added, too, whether it is selected, multiplied or moved on its way there: with a score it is no infinity.
  const ValueId mask =
      net.add("Where", "mask", {allowed, net.constant("zero", Tensor::scalar(0.0f)), lowest});
  const ValueId sum = net.add("Add", "sum", {scores, mask});
  net.output(net.add("MatMul", "y", {net.add("Softmax", "added", {sum}), net.constant("v", ramp({8, 8}))}));
  const ValueId ones = net.add("Cast", "ones", {allowed}, {{"to", int64_t{1}}});
  const ValueId hidden = net.add("Sub", "hidden", {net.constant("one", Tensor::scalar(1.0f)), ones});
  const ValueId times = net.add("Mul", "times", {hidden, lowest});
  const ValueId axes = net.constant("axes", Tensor::of<int64_t>({1}, std::vector<int64_t>{0}));
  const ValueId row = net.add("Squeeze", "row", {net.add("Unsqueeze", "column", {times, axes}), axes});
  net.output(net.add("Softmax", "product", {net.add("Add", "total", {row, scores})}));
  // Others see the number.
  net.output(net.add("Sqrt", "other", {net.add("Mul", "seen", {hidden, lowest})}));
  const std::shared_ptr<Model> model = net.build();
  const Quantized q = quantize(model, float16());
  for (const char* layer :
       {"scores", "masked", "chosen", "y", "mask", "sum", "added", "times", "total", "product"})
    EXPECT_TRUE(q.layer(layer).quantized) << layer << ": " << q.layer(layer).why;
  for (const char* layer : {"seen", "other"}) EXPECT_FALSE(q.layer(layer).quantized) << layer;
  // One row with all of it masked, one with a part.
  Tensor feed(DType::kBool, {2, 8});
  for (int i = 0; i < 3; ++i) feed.mutable_data<bool>()[i] = true;
  const std::vector<runtime::Feed> feeds{{"x", noise({2, 8}, 1)}, {"allowed", feed}};
  const std::vector<Tensor> want = runtime::Session(model).run(feeds);
  const std::vector<Tensor> got = runtime::Session(runtime::prepared_with_roundings(*q.model)).run(feeds);
  for (size_t i = 0; i < 3; ++i) EXPECT_GT(sqnr(want[i].floats(), got[i].floats()), 50) << i;
}

TEST(Float16, WhatBecomesIntegersIsComputedInFloat) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 8}), length = net.input("length", {1}, DType::kInt64);
  const auto to = [](DType t) { return GraphBuilder::Attributes{{"to", static_cast<int64_t>(t)}}; };
  const ValueId as_float = net.add("Cast", "as_float", {length}, to(DType::kFloat32));
  const ValueId scaled = net.add("Mul", "scaled", {as_float, net.constant("s", Tensor::scalar(1.5f))});
  net.output(net.add("Cast", "count", {net.add("Floor", "floor", {scaled})}, to(DType::kInt64)));
  const ValueId m = net.add("MatMul", "m", {x, net.constant("w", ramp({8, 8}))});
  net.output(net.add("ArgMax", "best", {m}, {{"axis", int64_t{1}}}));
  const std::shared_ptr<Model> model = net.build();
  const Quantized q = quantize(model, float16());
  for (const char* layer : {"as_float", "scaled", "floor", "count"})
    EXPECT_EQ(q.layer(layer).why, "its result becomes integers, which float16 would change") << layer;
  EXPECT_TRUE(q.layer("m").quantized);
  EXPECT_TRUE(q.layer("best").quantized);
  Tensor n(DType::kInt64, {1});
  n.mutable_data<int64_t>()[0] = 3333;
  const std::vector<Tensor> out = runtime::Session(runtime::prepared_with_roundings(*q.model))
                                      .run({{"x", noise({1, 8}, 1)}, {"length", n}});
  EXPECT_EQ(out[0].integer_at(0), 4999);
}

TEST(Float16, TypesThatOperatorsAskFor) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 2, 4, 4});
  const ValueId c = net.add("Conv", "c", {x, net.constant("w", ramp({2, 2, 1, 1}))});
  const ValueId scales = net.constant("scales", Tensor::of<float>({4}, std::vector<float>{1, 1, 2, 2}));
  const ValueId r = net.add("Resize", "r", {c, kNoValue, scales});
  const ValueId celu = net.add("Celu", "celu", {r});
  net.output(net.add("Conv", "d", {celu, net.constant("v", ramp({2, 2, 1, 1}))}));
  const Quantized q = quantize(net.build(), float16());
  EXPECT_TRUE(q.layer("r").quantized);
  EXPECT_EQ(type_of(q, "scales"), DType::kFloat32);
  EXPECT_EQ(q.layer("celu").why, "its operator has no form for float16");
  EXPECT_TRUE(q.layer("d").quantized);
  EXPECT_TRUE(all_warnings(q.graph()).empty());
}

// No value goes to float16 and back for a node that only moves it, or for a small one.
// The type of what an operator makes is that of an attribute, or float32 where the file leaves that out.
TEST(Float16, TypesThatAFileLeavesOut) {
  GraphBuilder net;
  const ValueId x = net.input("x", {Dim(), 64});
  const ValueId m = net.add("MatMul", "m", {x, net.constant("w", ramp({64, 64}))});
  const ValueId zeros = net.add("ConstantOfShape", "zeros", {net.add("Shape", "shape", {x})});
  net.output(net.add("Add", "y", {zeros, m}));
  const std::shared_ptr<const Model> model = read_back(*net.build());
  const Quantized q = quantize(model, float16());
  EXPECT_EQ(type_of(q, "zeros"), DType::kFloat16);
  EXPECT_GT(sqnr(run(model, {{"x", ramp({3, 64})}}), run(read_back(*q.model), {{"x", ramp({3, 64})}})), 50);
}

TEST(Float16, NoCastsBackAndForth) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 16});
  const ValueId a = net.add("Sin", "a", {x});
  const ValueId shape = net.constant("shape", Tensor::of<int64_t>({2}, std::vector<int64_t>{4, 4}));
  const ValueId moved = net.add("Reshape", "moved", {a, shape});
  const ValueId small = net.add("Mul", "small", {moved, moved});
  const ValueId b = net.add("Cos", "b", {small});
  net.output(net.add("MatMul", "y", {b, net.constant("w", ramp({4, 4}))}));
  const Quantized q = quantize(net.build(), float16());
  EXPECT_EQ(q.layer("moved").why, "moves float32 values");
  EXPECT_EQ(q.layer("small").why, "stands between layers that stay float32");
  EXPECT_EQ(casts(q.graph()), 2u);  // b, y
}

TEST(Float16, BranchesHaveTheTypesOfWhatIsAroundThem) {
  const Tensor tied = ramp({8, 8});
  GraphBuilder inner;
  const ValueId captured = inner.graph().add_value("m", DType::kFloat32, SymShape{2, 8});
  inner.output(inner.add("MatMul", "then", {captured, inner.constant("tied", tied)}));
  const std::shared_ptr<Model> yes = inner.build();
  const ValueId other = inner.graph().add_value("m", DType::kFloat32, SymShape{2, 8});
  inner.output(inner.add("Sin", "else", {other}));
  const std::shared_ptr<Model> no = inner.build();

  GraphBuilder net;
  const ValueId x = net.input("x", {2, 8}), which = net.input("which", {}, DType::kBool);
  const ValueId m = net.add("MatMul", "m", {x, net.constant("tied", tied)});
  const auto branch = [&](const std::shared_ptr<Model>& of, ValueId value) {
    auto graph = std::make_shared<Graph>(clone(of->graph));
    graph->captures = {{m, value}};
    return Attribute(graph);
  };
  const ValueId chosen = net.add(
      "If", "if", {which}, {{"then_branch", branch(yes, captured)}, {"else_branch", branch(no, other)}});
  net.output(net.add("MatMul", "y", {chosen, net.constant("v", ramp({8, 8}))}));
  const std::shared_ptr<Model> model = net.build();
  const Quantized q = quantize(model, float16());
  EXPECT_TRUE(q.layer("if").quantized);
  EXPECT_TRUE(q.layer("then").quantized);
  EXPECT_FALSE(q.layer("else").quantized);
  EXPECT_EQ(type_of(q, "if"), DType::kFloat16);
  EXPECT_TRUE(all_warnings(q.graph()).empty());
  const Node& node = q.node("if");
  for (const auto& [key, attribute] : node.attributes) {
    const Graph& sub = **std::get_if<std::shared_ptr<Graph>>(&attribute);
    EXPECT_EQ(sub[sub.outputs[0]].dtype, DType::kFloat16) << key;
    EXPECT_EQ(casts(sub), key == "else_branch" ? 2u : 0u);
  }
  EXPECT_EQ(q.report.weight_bytes_after, size_t{2 * 2 * 64});  // the tied weight once
  for (const bool taken : {true, false}) {
    const std::vector<runtime::Feed> feeds{{"x", noise({2, 8}, 1)}, {"which", Tensor::scalar(taken)}};
    EXPECT_GT(sqnr(run(model, feeds), run(read_back(*q.model), feeds)), 50) << taken;
  }
}

TEST(Float16, ModelsThatAreHalfAlready) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 8}, DType::kFloat16);
  const ValueId w = net.constant("w", cast(ramp({8, 8}), DType::kFloat16));
  const ValueId m = net.add("MatMul", "m", {x, w});
  net.output(net.add("Relu", "y", {m}));
  const std::shared_ptr<Model> model = net.build();
  const Quantized q = quantize(model, float16());
  EXPECT_EQ(type_of(q, "x"), DType::kFloat16);
  EXPECT_EQ(type_of(q, "y"), DType::kFloat16);
  EXPECT_EQ(type_of(q, "m"), DType::kFloat16);
  EXPECT_EQ(casts(q.graph()), 0u);
  const Tensor in = cast(noise({2, 8}, 1), DType::kFloat16);
  EXPECT_GT(sqnr(run(model, {{"x", in}}), run(q.model, {{"x", in}})), 60);
}

TEST(Float16, ChosenLayersAndThoseOfOperatorsThatNobodyKnows) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 8}), ids = net.input("ids", {2}, DType::kInt64);
  const ValueId m = net.add("MatMul", "m", {x, net.constant("w", ramp({8, 8}))});
  const ValueId strange = net.add("Strange", "strange", {m}, {}, "somewhere");
  net.graph()[strange].dtype = DType::kFloat32;
  net.graph()[strange].shape = SymShape{2, 8};
  const ValueId n = net.add("MatMul", "n", {strange, net.constant("v", ramp({8, 8}))});
  const ValueId row = net.add("Gather", "row", {net.constant("table", ramp({64, 8})), ids});
  net.output(net.add("Add", "y", {n, row}));
  Config config = float16();
  config.exclude_nodes = {"row"};
  const Quantized q = quantize(net.build(), config);
  EXPECT_TRUE(q.layer("m").quantized);
  EXPECT_TRUE(q.layer("n").quantized);
  EXPECT_FALSE(q.layer("row").quantized);
  EXPECT_EQ(q.layer("row").why, "excluded by its name");
  EXPECT_EQ(type_of(q, "strange"), DType::kFloat32);
  EXPECT_EQ(type_of(q, "table"), DType::kFloat32);
  EXPECT_EQ(casts(q.graph()), 5u);  // x, m, strange, row, y
}

// Weights alone: half stored, float32 computed.
TEST(Float16, WeightsAlone) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 64});
  const ValueId w = net.constant("w", ramp({64, 64}));
  const ValueId again = net.add("MatMul", "again", {net.add("MatMul", "m", {x, w}), w});
  net.output(net.add("Gemm", "g", {again, net.constant("v", ramp({5, 64})), net.constant("b", ramp({5}))},
                     {{"transB", int64_t{1}}}));
  Tensor huge = ramp({5, 4});
  huge.mutable_data<float>()[3] = 1e6f;
  net.output(net.add("MatMul", "huge", {net.input("z", {1, 5}), net.constant("h", std::move(huge))}));
  const std::shared_ptr<Model> model = net.build();
  Config config;
  config.mode = "weight-only";
  config.weights = DType::kFloat16;
  const Quantized q = quantize(model, config);
  EXPECT_TRUE(q.layer("m").quantized);
  EXPECT_TRUE(q.layer("again").quantized);
  EXPECT_TRUE(q.layer("g").quantized);
  EXPECT_FALSE(q.layer("huge").quantized);
  size_t count = 0;
  for (const Node& n : q.graph().nodes) {
    if (n.op_type != "Cast") continue;
    ++count;
    EXPECT_EQ(q.graph().constant(n.input(0))->dtype(), DType::kFloat16);
  }
  EXPECT_EQ(count, 2u);  // w is read twice
  EXPECT_EQ(type_of(q, "m"), DType::kFloat32);
  EXPECT_LT(q.report.weight_bytes_after, q.report.weight_bytes_before);
  const quant::Report plan = quant::plan_of(model, config, true);
  EXPECT_LT(plan.weight_bytes_after, plan.weight_bytes_before);
}

// ONNX Runtime's MatmulTransposeFusion ends the process where it meets these in float16: what
// nn.MultiheadAttention does to a batch that comes first.
TEST(Float16, ATransposeThatOnnxRuntimeJoinsWithAProductStaysFloat) {
  const auto type_behind = [](std::vector<int64_t> perm, bool constant) {
    GraphBuilder net;
    const ValueId x = net.input("x", {4, 4, 4});
    const ValueId t = net.add("Transpose", "t", {net.add("Relu", "r", {x})}, {{"perm", std::move(perm)}});
    const ValueId w = constant ? net.constant("w", ramp({4, 4})) : net.input("w", {4, 4});
    net.output(net.add("MatMul", "m", {t, w}));
    const Quantized q = quantize(net.build(), float16());
    EXPECT_TRUE(q.layer("m").quantized);
    EXPECT_TRUE(q.layer("r").quantized);
    return q.layer("t").quantized;
  };
  EXPECT_FALSE(type_behind({1, 0, 2}, true));
  EXPECT_FALSE(type_behind({1, 2, 0}, true));
  EXPECT_TRUE(type_behind({0, 2, 1}, true));
  EXPECT_TRUE(type_behind({1, 0, 2}, false));
}

// Its kernels for scattered sums take float16, and fail in the run.
TEST(Float16, ReductionsOfScattersStayFloat) {
  for (const char* op : {"ScatterElements", "ScatterND"}) {
    for (const char* reduction : {"none", "add", "mul", "max", "min"}) {
      GraphBuilder net;
      const ValueId x = net.add("Relu", "r", {net.input("x", {4, 4})});
      const bool nd = op == std::string("ScatterND");
      const ValueId at = net.constant("at", nd ? Tensor::of<int64_t>({4, 1}, std::vector<int64_t>{0, 1, 2, 3})
                                               : Tensor::of<int64_t>({4, 4}, std::vector<int64_t>(16, 1)));
      net.output(
          net.add("Relu", "last", {net.add(op, "s", {x, at, x}, {{"reduction", std::string(reduction)}})}));
      const Quantized q = quantize(net.build(), float16());
      EXPECT_EQ(q.layer("s").quantized, reduction == std::string("none")) << op << " " << reduction;
      EXPECT_TRUE(q.layer("r").quantized);
    }
  }
}

}  // namespace
}  // namespace zp::test
