// Weights wherever exporters leave them, and models of which only a part is ours to quantize.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "onnx/onnx.h"
#include "quant/format.h"
#include "quant/hoist.h"
#include "quant/numbers.h"
#include "quant/runtimes.h"
#include "runtime/prepare.h"
#include "unit/quant/quantize.h"

namespace zp {
namespace {

using quant::Config;
using runtime::Session;
using test::GraphBuilder;
using test::quantize;
using test::Quantized;
using test::ramp;
using test::Samples;

const std::vector<std::string> kModes{"static", "dynamic", "weight-only", "float16"};

Config config_of(const std::string& mode) { return {.mode = mode}; }

Samples samples_of(const std::string& name, const Shape& dims, DType type = DType::kFloat32) {
  Samples samples;
  for (int i = 1; i <= 3; ++i) {
    Tensor t = ramp(dims, static_cast<float>(i));
    if (type == DType::kInt64) {
      t = Tensor(type, dims);
      for (int64_t& v : t.mutable_data<int64_t>()) v = i++ % 100;
    }
    samples.push_back({{name, t}});
  }
  return samples;
}

double sqnr(const std::vector<float>& want, const std::vector<float>& got) {
  EXPECT_EQ(want.size(), got.size());
  double signal = 0, noise = 1e-30;
  for (size_t i = 0; i < want.size(); ++i) {
    signal += static_cast<double>(want[i]) * want[i];
    noise += (static_cast<double>(want[i]) - got[i]) * (static_cast<double>(want[i]) - got[i]);
  }
  return 10 * std::log10(signal / noise);
}

// As it comes back from its file.
std::shared_ptr<const Model> saved(const Model& model, size_t* bytes = nullptr) {
  const std::vector<std::byte> file = onnx::write(model);
  if (bytes) *bytes = file.size();
  const std::shared_ptr<std::byte> copy = allocate_bytes(file.size());
  std::copy(file.begin(), file.end(), copy.get());
  return std::make_shared<const Model>(onnx::read(copy, file.size()));
}

std::vector<float> run(const std::shared_ptr<const Model>& model, std::vector<runtime::Feed> feeds) {
  return Session(runtime::prepared(model)).run(std::move(feeds))[0].floats();
}

size_t size_of(const Model& model) {
  size_t bytes = 0;
  saved(model, &bytes);
  return bytes;
}

TEST(Prepared, OneTableServesTheEmbeddingAndTheLastProduct) {
  GraphBuilder b;
  const ValueId ids = b.input("ids", {Dim::symbol("b"), 3}, DType::kInt64);
  const ValueId table = b.constant("table", ramp({160, 64}));
  const ValueId rows = b.add("Gather", "rows", {table, ids});
  const ValueId transposed =
      b.add("Transpose", "transposed", {table}, {{"perm", std::vector<int64_t>{1, 0}}});
  b.output(b.add("MatMul", "head", {b.add("Tanh", "t", {rows}), transposed}));
  const auto model = b.build();
  const Samples samples = samples_of("ids", {2, 3}, DType::kInt64);
  const std::vector<float> want = run(model, samples[0]);
  for (const std::string& mode : kModes) {
    SCOPED_TRACE(mode);
    const Quantized q = quantize(model, config_of(mode), samples);
    EXPECT_TRUE(q.layer("rows").quantized);
    EXPECT_TRUE(q.layer("head").quantized) << q.layer("head").why;
    const size_t part = mode == "float16" ? 2 : 1;
    EXPECT_LT(size_of(*q.model), 160 * 64 * part + 6000);
    EXPECT_GT(sqnr(want, run(saved(*q.model), samples[0])), mode == "float16" ? 60 : 30);
  }
  Config few = config_of("weight-only");
  few.weights = DType::kInt4;
  EXPECT_LT(size_of(*quantize(model, few).model), 160u * 64 + 6000);  // at 8 bits, once
}

TEST(Prepared, AProductThatReadsATableAsItStandsSharesItsBits) {
  GraphBuilder b;
  const ValueId ids = b.input("ids", {6}, DType::kInt64);
  const ValueId table = b.constant("table", ramp({160, 64}));
  const ValueId rows = b.add("Gather", "rows", {table, ids});
  b.output(b.add("Gemm", "head", {rows, table}, {{"transB", int64_t{1}}}));
  const auto model = b.build();
  for (const DType weights : {DType::kInt8, DType::kInt4}) {
    Config config = config_of("weight-only");
    config.weights = weights;
    EXPECT_LT(size_of(*quantize(model, config).model), 160u * 64 + 4000) << name_of(weights);
  }
}

TEST(Prepared, AWeightOnTheLeftHasAScaleForEachRow) {
  GraphBuilder b;
  const ValueId x = b.input("x", {Dim::symbol("n"), 48, 20});
  Tensor w = ramp({64, 48});
  for (size_t i = 0; i < 48; ++i) w.mutable_data<float>()[i] *= 1e-3f;  // one row much smaller than others
  const ValueId a = b.add("MatMul", "mix1", {b.constant("w1", w), x});
  const ValueId biased = b.add("Add", "bias", {a, b.constant("b1", ramp({64, 1}))});
  const ValueId r = b.add("Relu", "r", {biased});
  b.output(b.add("MatMul", "mix2", {b.constant("w2", ramp({32, 64})), r}));
  const auto model = b.build();
  const Samples samples = samples_of("x", {2, 48, 20});
  const std::vector<float> want = Session(model).run(samples[0])[0].floats();
  const std::vector<float> same = run(model, samples[0]);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(same[i], want[i], 1e-4);
  for (const std::string& mode : kModes) {
    SCOPED_TRACE(mode);
    const Quantized q = quantize(model, config_of(mode), samples);
    for (const char* layer : {"mix1", "mix2"}) {
      EXPECT_TRUE(q.layer(layer).quantized) << q.layer(layer).why;
      ASSERT_TRUE(q.layer(layer).weight);
      if (mode != "float16") EXPECT_EQ(q.layer(layer).weight->granularity, "channel");
    }
    if (mode != "float16") EXPECT_EQ(q.layer("mix1").weight->scales, 64);
    EXPECT_GT(sqnr(want, run(saved(*q.model), samples[0])), 30);
  }
}

// A Gemm that becomes a product with its weight on the right computes what it did, and is quantized.
void expect_transposed(GraphBuilder& b, const std::vector<runtime::Feed>& feeds) {
  const auto model = b.build();
  const std::vector<float> want = Session(model).run(feeds)[0].floats(), got = run(model, feeds);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-4);
  EXPECT_TRUE(quantize(model, config_of("dynamic")).layer("y").quantized);
}

TEST(Prepared, GemmWithItsWeightOnTheLeft) {
  for (const int64_t ta : {0, 1}) {
    for (const int64_t tb : {0, 1}) {
      GraphBuilder b;
      const ValueId x = b.input("x", tb ? SymShape{7, 32} : SymShape{32, 7});
      const ValueId w = b.constant("w", ramp(ta ? Shape{32, 40} : Shape{40, 32}));
      const ValueId c = b.constant("c", ramp({40, 1}));
      b.output(b.add("Gemm", "y", {w, x, c}, {{"transA", ta}, {"transB", tb}, {"beta", 0.5f}}));
      expect_transposed(b, {{"x", ramp(tb ? Shape{7, 32} : Shape{32, 7})}});
    }
  }
}

TEST(Prepared, GemmOnTheLeftWithACThatIsNoBias) {
  GraphBuilder b;
  const ValueId x = b.input("x", {64, 7});
  const ValueId w = b.constant("w", ramp({48, 64})), c = b.constant("c", ramp({7}, 3));
  b.output(b.add("Gemm", "y", {w, x, c}, {{"alpha", 0.5f}, {"beta", 2.0f}}));
  expect_transposed(b, {{"x", ramp({64, 7})}});
}

TEST(Prepared, IntegersThatAreThereAreNotRoundedAgain) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 64});
  const ValueId q = b.fake_quantize("q", x, 0.02f, 128);
  b.output(b.add("MatMul", "y", {q, b.constant("w", ramp({64, 64}))}));
  const Quantized made = quantize(b.build(), config_of("static"), samples_of("x", {2, 64}));
  EXPECT_TRUE(made.layer("y").quantized);
  EXPECT_EQ(made.count(QdqRole::kQuantize), 1u);
  ASSERT_TRUE(made.params("y", 0));
  EXPECT_EQ(made.params("y", 0)->scale, 0.02f);
}

TEST(Prepared, HalfPrecisionModelsAreQuantizedAndKeepTheirEdges) {
  for (const DType type : {DType::kFloat16, DType::kBfloat16}) {
    GraphBuilder b;
    const int64_t to = static_cast<int64_t>(type);
    const ValueId x = b.input("x", {2, 64}, type);
    const auto weight = [&](const char* name, const Shape& dims) {
      const auto ready = [&] {
        GraphBuilder inner;
        inner.input("unused", {1});
        inner.output(inner.add("Cast", "c", {inner.constant("f", ramp(dims))}, {{"to", to}}));
        return Session(inner.build()).run({{"unused", ramp({1})}})[0];
      }();
      return b.constant(name, ready);
    };
    const ValueId h = b.add("Relu", "r", {b.add("MatMul", "fc1", {x, weight("w1", {64, 64})})});
    const ValueId y = b.add("Mul", "scaled", {h, weight("gain", {2, 64 * 1})});
    b.output(b.add("MatMul", "fc2", {y, weight("w2", {64, 32})}));
    const auto model = b.build();
    size_t before = 0;
    saved(*model, &before);
    Tensor in(type, {2, 64});
    for (size_t i = 0; i < 128; ++i)
      reinterpret_cast<uint16_t*>(in.mutable_raw())[i] = type == DType::kFloat16
                                                             ? float_to_half(static_cast<float>(i) / 128)
                                                             : static_cast<uint16_t>(0x3f00 + i % 64);
    const Samples samples{{{"x", in}}};
    const std::vector<float> want = run(model, samples[0]);
    for (const std::string& mode : {"static", "dynamic", "weight-only"}) {
      SCOPED_TRACE(mode);
      const Quantized q = quantize(model, config_of(mode), samples);
      EXPECT_TRUE(q.layer("fc1").quantized) << q.layer("fc1").why;
      EXPECT_LT(size_of(*q.model), before);
      const auto again = saved(*q.model);
      EXPECT_EQ(again->graph[again->graph.inputs[0]].dtype, type);
      EXPECT_EQ(again->graph[again->graph.outputs[0]].dtype, type);
      EXPECT_GT(sqnr(want, run(again, samples[0])), 25);
    }
    // What stays float stays in 16 bits.
    Config excluded = config_of("weight-only");
    excluded.exclude_nodes = {"fc1", "fc2"};
    EXPECT_LT(size_of(*quantize(model, excluded).model), before + 2000);
  }
}

// Two constants in one place, as external data or a folded Reshape leave them, each with dimensions of its
// own.
TEST(Prepared, WhatStaysInHalfPrecisionKeepsItsDimensions) {
  const Tensor numbers = ramp({64, 32});
  Tensor half(DType::kFloat16, {64, 32});
  for (size_t i = 0; i < 64 * 32; ++i)
    reinterpret_cast<uint16_t*>(half.mutable_raw())[i] = float_to_half(numbers.data<float>()[i]);
  GraphBuilder b;
  const ValueId to = b.add("Cast", "to", {b.input("x", {2, 64})}, {{"to", int64_t{10}}});
  const ValueId h = b.add("MatMul", "fc1", {to, b.constant("w1", half)});
  const ValueId y = b.add("MatMul", "fc2", {h, b.constant("w2", half.reshaped({32, 64}))});
  b.output(b.add("Cast", "y", {y}, {{"to", int64_t{1}}}));
  const auto model = b.build();
  Config config = config_of("weight-only");
  config.exclude_nodes = {"fc1", "fc2"};
  const Quantized q = quantize(model, config);
  size_t stored = 0;
  for (const Value& v : q.graph().values) stored += v.constant && v.constant->dtype() == DType::kFloat16;
  EXPECT_EQ(stored, 2u);
  const auto feeds = samples_of("x", {2, 64})[0];
  EXPECT_EQ(run(saved(*q.model), feeds), run(model, feeds));
}

std::shared_ptr<Model> model_with_branches() {
  const Tensor shared = ramp({64, 64});
  const auto branch = [&](const std::string& name) {
    auto sub = std::make_shared<Graph>();
    const ValueId x = sub->add_value(name + "_x", DType::kFloat32);
    sub->captures.push_back({0, x});
    const ValueId w = sub->add_constant("shared", shared);
    const ValueId own = sub->add_constant(name + "_w", ramp({64, 64}, name == "a" ? 1.0f : 2.0f));
    const ValueId h = sub->add_value(name + "_h"), y = sub->add_value(name + "_y");
    Node first, second;
    first.op_type = second.op_type = "MatMul";
    first.name = name + "_shared", first.inputs = {x, w}, first.outputs = {h};
    second.name = name + "_own", second.inputs = {h, own}, second.outputs = {y};
    sub->nodes = {first, second};
    sub->outputs = {y};
    return sub;
  };
  GraphBuilder b;
  b.input("x", {2, 64});
  const ValueId c = b.input("c", {}, DType::kBool);
  b.output(b.add("If", "y", {c}, {{"then_branch", branch("a")}, {"else_branch", branch("b")}}));
  return b.build();
}

size_t count_in_branches(const Graph& graph, std::string_view type) {
  size_t count = 0;
  for (const Node& node : graph.nodes)
    for (const auto& [name, attribute] : node.attributes)
      if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute))
        count += static_cast<size_t>(
            std::ranges::count_if((*sub)->nodes, [&](const Node& n) { return n.op_type == type; }));
  return count;
}

TEST(Prepared, LayersInBranchesAreQuantizedCountedAndShareTheirWeights) {
  const auto model = model_with_branches();
  const Tensor yes = Tensor::of<bool>({}, {true}), no = Tensor::of<bool>({}, {false});
  const Samples samples{{{"x", ramp({2, 64})}, {"c", yes}}, {{"x", ramp({2, 64})}, {"c", no}}};
  for (const std::string& mode : kModes) {
    SCOPED_TRACE(mode);
    const Quantized q = quantize(model, config_of(mode), samples);
    for (const char* layer : {"a_shared", "a_own", "b_shared", "b_own"})
      EXPECT_TRUE(q.layer(layer).quantized) << q.layer(layer).why;
    EXPECT_EQ(q.report.layers_quantized, 4u);
    const bool said = std::ranges::any_of(
        q.report.warnings, [](const std::string& w) { return w.starts_with("4 layers in branches"); });
    EXPECT_EQ(said, mode == "static");
    const size_t bytes = mode == "float16" ? 2 : 1;
    EXPECT_EQ(q.report.weight_bytes_before, 3 * 64 * 64 * 4u);
    EXPECT_LT(q.report.weight_bytes_after, 3 * 64 * 64 * bytes + 3000);
    EXPECT_LT(size_of(*q.model), 3 * 64 * 64 * bytes + 6000);  // the shared one once
    for (const auto& feeds : samples) {
      const std::vector<float> want = run(model, feeds);
      EXPECT_GT(sqnr(want, run(saved(*q.model), feeds)), 30);
    }
    // ONNX Runtime does not take a branch's product with a weight that is dequantized there and kept outside,
    // and makes floats in every run of one that is dequantized outside. Integers are folded into the
    // products.
    const bool weights = mode == "weight-only";
    EXPECT_EQ(std::ranges::any_of(q.graph().nodes, quant::is_dequantize), weights);
    for (const std::string_view format : {quant::kQdq, quant::kQoperator}) {
      SCOPED_TRACE(format);
      const Model written = quant::in_format(*q.model, format, "onnxruntime");
      EXPECT_EQ(quant::hoisted_weights(written.graph).size(), 0u);
      EXPECT_EQ(count_in_branches(written.graph, "MatMulNBits"), weights ? 4u : 0u);
      const bool integers = mode == "static" || mode == "dynamic";
      EXPECT_EQ(count_in_branches(written.graph, "MatMulInteger"), integers ? 4u : 0u);
      EXPECT_LT(size_of(written), 3 * 64 * 64 * bytes + 6000);
      for (const auto& feeds : samples) EXPECT_GT(sqnr(run(model, feeds), run(saved(written), feeds)), 30);
    }
    const Model page = quant::in_format(*q.model, quant::kQdq, "onnxruntime-web");
    EXPECT_EQ(count_in_branches(page.graph, "MatMulNBits"), 0u);
    EXPECT_EQ(count_in_branches(page.graph, "MatMulInteger"),
              mode == "static" || mode == "dynamic" ? 4u : 0u);
    EXPECT_LT(size_of(page), 3 * 64 * 64 * bytes + 6000);
    for (const auto& feeds : samples) EXPECT_GT(sqnr(run(model, feeds), run(saved(page), feeds)), 30);
    const Model elsewhere = quant::in_format(*q.model, quant::kQdq, "openvino");
    EXPECT_EQ(quant::hoisted_weights(elsewhere.graph).size(), weights ? 1u : 0u);
    const auto broken = quant::broken_rules(quant::runtime_named("onnxruntime"), elsewhere);
    EXPECT_EQ(std::ranges::any_of(
                  broken, [](const std::string& s) { return s.find("weights that graphs share") != s.npos; }),
              weights);
    const auto again = runtime::prepared(saved(*q.model));
    if (mode != "float16")
      EXPECT_TRUE(std::none_of(again->graph.nodes.begin(), again->graph.nodes.end(), quant::is_dequantize));
  }
  Config exclude = config_of("dynamic");
  exclude.exclude_nodes = {"b_own"};
  EXPECT_FALSE(quantize(model, exclude).layer("b_own").quantized);
}

// Branches that share the weights of a recurrence, two in one node, and a table, as it stands and transposed.
std::shared_ptr<const Model> model_with_shared_tables() {
  const Tensor w = ramp({1, 64, 32}), r = ramp({1, 64, 16}, 0.3f), table = ramp({48, 32}, 0.5f);
  const auto branch = [&](const std::string& name) {
    auto sub = std::make_shared<Graph>();
    sub->name = name;
    const ValueId ids = sub->add_value(name + "_ids", DType::kInt64, SymShape{Dim(5)});
    sub->captures = {{.outer = 0, .inner = ids}};
    const ValueId words = sub->add_constant("table", table);
    const auto add = [&](const char* type, std::vector<ValueId> inputs, SymShape shape,
                         std::map<std::string, Attribute, std::less<>> attributes = {}) {
      Node n;
      n.op_type = type, n.name = name + "_" + type, n.inputs = std::move(inputs);
      n.outputs = {sub->add_value(n.name + "_y", DType::kFloat32, std::move(shape))};
      n.attributes = std::move(attributes);
      sub->nodes.push_back(n);
      return n.outputs[0];
    };
    const ValueId x = add("Gather", {words, ids}, {Dim(5), Dim(32)});
    const ValueId one = sub->add_constant("one", Tensor::of<int64_t>({1}, {1}));
    const ValueId steps = add("Unsqueeze", {x, one}, {Dim(5), Dim(1), Dim(32)});
    const ValueId h = add("LSTM", {steps, sub->add_constant("w", w), sub->add_constant("r", r)},
                          {Dim(5), Dim(1), Dim(1), Dim(16)}, {{"hidden_size", int64_t{16}}});
    const ValueId half = sub->add_constant("dims", Tensor::of<int64_t>({2}, {5, 16}));
    const ValueId rows = add("Reshape", {h, half}, {Dim(5), Dim(16)});
    const ValueId wide = add("Concat", {rows, rows}, {Dim(5), Dim(32)}, {{"axis", int64_t{1}}});
    const ValueId transposed =
        add("Transpose", {words}, {Dim(32), Dim(48)}, {{"perm", std::vector<int64_t>{1, 0}}});
    ValueId y = add("MatMul", {wide, transposed}, {Dim(5), Dim(48)});
    if (name == "b") y = add("Neg", {y}, {Dim(5), Dim(48)});
    sub->outputs = {y};
    return sub;
  };
  GraphBuilder b;
  b.input("ids", {5}, DType::kInt64);
  const ValueId c = b.input("c", {}, DType::kBool);
  b.output(b.add("If", "y", {c}, {{"then_branch", branch("a")}, {"else_branch", branch("b")}}));
  return b.build();
}

TEST(Prepared, BranchesShareTheWeightsOfRecurrencesAndTurnedTables) {
  const auto model = model_with_shared_tables();
  const Tensor ids = Tensor::of<int64_t>({5}, {3, 7, 40, 0, 21});
  const Samples samples{{{"ids", ids}, {"c", Tensor::of<bool>({}, {true})}},
                        {{"ids", ids}, {"c", Tensor::of<bool>({}, {false})}}};
  for (const std::string& mode : kModes) {
    SCOPED_TRACE(mode);
    const Quantized q = quantize(model, config_of(mode), samples);
    for (const std::string_view format : {quant::kQdq, quant::kQoperator}) {
      for (const std::string runtime : {"onnxruntime", "openvino"}) {
        SCOPED_TRACE(std::string(format) + " " + runtime);
        const Model written = quant::in_format(*q.model, format, runtime);
        for (const auto& feeds : samples) EXPECT_GT(sqnr(run(model, feeds), run(saved(written), feeds)), 25);
        // What ONNX Runtime does not take: a float product in a branch whose pair reads the main graph.
        if (mode == "weight-only") EXPECT_EQ(count_in_branches(written.graph, "DequantizeLinear"), 0u);
      }
    }
  }
}

TEST(Prepared, RecurrencesStoreTheirWeightsAsIntegers) {
  GraphBuilder b;
  const ValueId x = b.input("x", {5, 1, 16});
  Node n;
  n.op_type = "LSTM", n.name = "lstm";
  n.inputs = {x, b.constant("w", ramp({2, 96, 16})), b.constant("r", ramp({2, 96, 24}, 0.3f))};
  n.outputs = {b.graph().add_value("h")};
  n.attributes.emplace("hidden_size", int64_t{24});
  n.attributes.emplace("direction", std::string("bidirectional"));
  b.graph().nodes.push_back(n);
  b.output(n.outputs[0]);
  const auto model = b.build();
  const Samples samples = samples_of("x", {5, 1, 16});
  const std::vector<float> want = run(model, samples[0]);
  for (const std::string& mode : kModes) {
    SCOPED_TRACE(mode);
    const Quantized q = quantize(model, config_of(mode), samples);
    EXPECT_TRUE(q.layer("lstm").quantized) << q.layer("lstm").why;
    const size_t elements = 2 * 96 * (16 + 24);
    EXPECT_EQ(q.layer("lstm").weight->elements, static_cast<int64_t>(elements));
    EXPECT_LT(size_of(*q.model), elements * (mode == "float16" ? 2 : 1) + 5500);
    EXPECT_GT(sqnr(want, run(saved(*q.model), samples[0])), 30);
  }
}

// A DequantizeLinear has scales along one dimension, and an LSTM rows of gates in each direction: both
// directions would share scales if the rows of both were not one dimension of what is stored.
TEST(Prepared, EachDirectionOfARecurrenceHasScalesOfItsOwn) {
  constexpr int64_t kDirections = 2, kRows = 32, kInputs = 6, kHidden = 8;
  GraphBuilder b;
  const ValueId x = b.input("x", {5, 1, kInputs});
  // The weights of the backward direction are small.
  const auto weights = [](int64_t inputs, float backward) {
    Tensor t = ramp({kDirections, kRows, inputs}, 0.5f);
    const std::span<float> w = t.mutable_data<float>();
    for (size_t i = w.size() / 2; i < w.size(); ++i) w[i] *= backward;
    return t;
  };
  Node n;
  n.op_type = "LSTM", n.name = "lstm";
  n.inputs = {x, b.constant("w", weights(kInputs, 0.002f)), b.constant("r", weights(kHidden, 1))};
  n.outputs = {b.graph().add_value("h")};
  n.attributes.emplace("hidden_size", kHidden);
  n.attributes.emplace("direction", std::string("bidirectional"));
  b.graph().nodes.push_back(n);
  b.output(n.outputs[0]);
  const auto model = b.build();
  const Samples samples = samples_of("x", {5, 1, kInputs});
  const auto backward = [&](const std::shared_ptr<const Model>& m) {  // [steps, direction, 1, hidden]
    const std::vector<float> both = run(m, samples[0]);
    std::vector<float> found;
    for (size_t i = 0; i < both.size(); ++i)
      if (i / kHidden % 2 == 1) found.push_back(both[i]);
    return found;
  };
  for (const std::string mode : {"static", "dynamic", "weight-only"}) {
    SCOPED_TRACE(mode);
    const Quantized q = quantize(model, config_of(mode), samples);
    EXPECT_EQ(q.layer("lstm").weight->scales, kDirections * kRows);
    // With one scale for the rows of both, the small weights are all zero: 0 dB.
    EXPECT_GT(sqnr(backward(model), backward(saved(*q.model))), 30);
    // Such a file has nothing left to quantize, and its plan says why.
    Config simplified = config_of("weight-only");
    simplified.only_prepares = true;
    const Quantized again = quantize(saved(*q.model), simplified);
    EXPECT_THAT(again.layer("lstm").why, testing::HasSubstr("already"));
    EXPECT_EQ(run(saved(*again.model), samples[0]), run(saved(*q.model), samples[0]));
  }
  // In operator format they are the scales of DynamicQuantizeLSTM.
  const Quantized q = quantize(model, config_of("dynamic"), samples);
  const Graph folded = quant::in_format(*q.model, "qoperator").graph;
  ASSERT_EQ(folded.nodes.size(), 1U);
  EXPECT_EQ(folded.nodes[0].op_type, "DynamicQuantizeLSTM");
  EXPECT_EQ(folded.constant(folded.nodes[0].input(8))->dims(), (Shape{kDirections, kRows}));
  EXPECT_EQ(folded.constant(folded.nodes[0].input(1))->dims(), (Shape{kDirections, kInputs, kRows}));
}

// Strange stands between two products.
std::shared_ptr<Model> model_with_unknown(const std::string& op = "Strange",
                                          const std::string& domain = "com.example") {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 64});
  const ValueId first = b.add("MatMul", "first", {x, b.constant("w1", ramp({64, 64}))});
  const ValueId u = b.add(op, "strange", {first}, {{"how", std::string("so")}}, domain);
  b.graph()[u].dtype = DType::kFloat32;
  b.graph()[u].shape = SymShape{2, 64};
  b.output(b.add("MatMul", "second", {u, b.constant("w2", ramp({64, 64}))}));
  auto model = b.build();
  model->opsets["com.example"] = 7;
  return model;
}

TEST(Prepared, UnknownOperatorsPassThroughWithAWarning) {
  const auto model = model_with_unknown();
  const Samples samples = samples_of("x", {2, 64});
  for (const std::string& mode : kModes) {
    SCOPED_TRACE(mode);
    const Quantized q = quantize(model, config_of(mode), samples);
    EXPECT_TRUE(q.layer("first").quantized) << q.layer("first").why;
    // Without a run nobody knows what comes after it.
    EXPECT_EQ(q.layer("second").quantized, mode != "static") << q.layer("second").why;
    EXPECT_THAT(q.report.warnings, testing::Contains(testing::HasSubstr("com.example.Strange")));
    const auto again = saved(*q.model);
    EXPECT_EQ(again->opsets.at("com.example"), 7);
    const auto strange = std::find_if(again->graph.nodes.begin(), again->graph.nodes.end(),
                                      [](const Node& n) { return n.op_type == "Strange"; });
    ASSERT_NE(strange, again->graph.nodes.end());
    EXPECT_EQ(strange->string_attribute("how", ""), "so");
  }
  const Quantized q = quantize(model, {.mode = "auto"}, samples);
  EXPECT_TRUE(q.layer("first").quantized);
}

// Its form is that of its file's opset, which is kept where the rest allows.
TEST(Prepared, AnUnknownOperatorKeepsItsOpset) {
  const auto model = model_with_unknown("NobodyKnows", "");
  for (const int64_t opset : {16, 22}) {
    model->opsets[""] = opset;
    EXPECT_EQ(saved(*quantize(model, config_of("weight-only")).model)->opsets.at(""), opset);
  }
}

TEST(Prepared, AnUnknownOperatorMayLackItsFirstInput) {
  const auto model = model_with_unknown();
  for (Node& n : model->graph.nodes)
    if (n.op_type == "Strange") n.inputs.insert(n.inputs.begin(), kNoValue);
  EXPECT_TRUE(quantize(model, config_of("weight-only")).layer("first").quantized);
}

TEST(Prepared, AProductAfterAnUnknownTypeIsQuantized) {
  const auto model = model_with_unknown();
  Graph& g = model->graph;
  for (const char* name : {"strange", "second"}) {
    g[g.find(name)].dtype = DType::kUndefined;
    g[g.find(name)].shape.reset();
  }
  for (const std::string& mode : {"dynamic", "weight-only"}) {
    const Quantized q = quantize(model, config_of(mode));
    EXPECT_TRUE(q.layer("second").quantized) << mode << ": " << q.layer("second").why;
  }
}

// ONNX Runtime's MatMulInteger takes no vector of zero points where weights are batches.
TEST(Prepared, BatchesOfWeightsHaveNoVectorOfZeroPoints) {
  for (const DType weights : {DType::kInt8, DType::kUint8}) {
    GraphBuilder b;
    const ValueId x = b.input("x", {4, 2, 16});
    b.output(b.add("MatMul", "y", {x, b.constant("w", ramp({4, 16, 8}))}));
    Config config = config_of("dynamic");
    config.weights = weights;
    const Quantized q = quantize(b.build(), config);
    const Node* dq = q.dq("y", 1);
    ASSERT_TRUE(dq);
    const Tensor* zero = q.graph().constant(dq->input(2));
    EXPECT_TRUE(!zero || zero->size() == 1) << name_of(weights);
  }
}

// Nor its ConvInteger, for any weights.
TEST(Prepared, ConvIntegerHasOneZeroPoint) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 4, 8, 8});
  b.output(b.add("Conv", "y", {x, b.constant("w", ramp({8, 4, 3, 3}))}));
  const Model folded = quant::in_format(*quantize(b.build(), config_of("dynamic")).model, "qoperator");
  const auto conv = std::find_if(folded.graph.nodes.begin(), folded.graph.nodes.end(),
                                 [](const Node& n) { return n.op_type == "ConvInteger"; });
  ASSERT_NE(conv, folded.graph.nodes.end());
  EXPECT_EQ(folded.graph.constant(conv->input(3))->size(), 1);
}

TEST(Prepared, RepairsThatCannotRunSaySo) {
  Config config{.mode = "static", .repairs = {"bias-correction"}};
  const Quantized q = quantize(model_with_unknown(), config, samples_of("x", {2, 64}));
  EXPECT_THAT(q.report.warnings, testing::Contains(testing::HasSubstr("'bias-correction' did not run")));
}

TEST(Prepared, WhatIsQuantizedAlreadyIsKeptAndTheRestQuantized) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 64});
  const ValueId first = b.add("MatMul", "first", {x, b.constant("w1", ramp({64, 64}))});
  b.output(b.add("MatMul", "second", {first, b.constant("w2", ramp({64, 64}))}));
  const auto model = b.build();
  Config half = config_of("weight-only");
  half.exclude_nodes = {"second"};
  const Samples samples = samples_of("x", {2, 64});
  const std::vector<float> want = run(model, samples[0]);
  const auto part = saved(*quantize(model, half).model);
  for (const std::string& mode : {"static", "dynamic", "weight-only"}) {
    SCOPED_TRACE(mode);
    const Quantized q = quantize(part, config_of(mode), samples);
    EXPECT_TRUE(q.layer("second").quantized) << q.layer("second").why;
    EXPECT_TRUE(q.layer("first").quantized);
    EXPECT_THAT(q.layer("first").why, testing::HasSubstr("already"));
    EXPECT_THAT(q.report.warnings, testing::Contains(testing::HasSubstr("1 layer is kept")));
    EXPECT_GT(sqnr(want, run(saved(*q.model), samples[0])), 30);
  }
  // Nothing is left to do.
  const auto all = saved(*quantize(model, config_of("weight-only")).model);
  EXPECT_THROW(quantize(all, config_of("weight-only")), Error);
}

size_t count_of(const Graph& graph, std::string_view type) {
  return static_cast<size_t>(
      std::ranges::count_if(graph.nodes, [&](const Node& n) { return n.op_type == type; }));
}

// ONNX Runtime makes floats of what is behind a DequantizeLinear in every run, and folds Cast and Mul once.
TEST(Prepared, WeightsOfLayersInFloatAreCastAndScaledWhereRuntimesFoldThat) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 8, 6, 6});
  const ValueId c = b.add("Conv", "conv", {x, b.constant("w", ramp({16, 8, 3, 3}))});
  b.output(b.add("ConvTranspose", "up", {c, b.constant("v", ramp({16, 4, 2, 2}, 2))}));
  const auto model = b.build();
  const auto feeds = samples_of("x", {1, 8, 6, 6})[0];
  const Quantized q = quantize(model, config_of("weight-only"));
  const std::vector<float> want = run(q.model, feeds);
  for (const std::string_view format : {quant::kQdq, quant::kQoperator}) {
    SCOPED_TRACE(format);
    const Model written = quant::in_format(*q.model, format, "onnxruntime");
    EXPECT_EQ(count_of(written.graph, "DequantizeLinear"), 0u);
    EXPECT_EQ(count_of(written.graph, "Cast"), 2u);
    EXPECT_LT(written.least_opset, quant::kOpsetOfPairs);
    EXPECT_LT(size_of(written), (16u * 8 * 9 + 16 * 4 * 4) + 3000);
    // A file that is read again is quantized, and computes the same.
    const auto again = runtime::prepared(saved(written));
    EXPECT_TRUE(quant::is_quantized(again->graph));
    EXPECT_EQ(count_of(again->graph, "DequantizeLinear"), 2u);
    EXPECT_EQ(count_of(again->graph, "Cast"), 0u);
    EXPECT_EQ(run(again, feeds), want);
    // Pairs that a runtime needs stay.
    EXPECT_EQ(count_of(quant::in_format(*q.model, format, "openvino").graph, "DequantizeLinear"), 2u);
  }
}

// ONNX Runtime makes one node of a product and its weight's pair (its DQMatMulToMatMulNBits).
TEST(Prepared, PairsOfMatricesStayWhereRuntimesJoinThem) {
  GraphBuilder b;
  const ValueId m = b.add("MatMul", "m", {b.input("x", {2, 64}), b.constant("w", ramp({64, 64}))});
  b.output(b.add("MatMul", "y", {m, b.constant("v", ramp({1, 64, 32}, 2))}));
  const Quantized q = quantize(b.build(), config_of("weight-only"));
  const Model written = quant::in_format(*q.model, quant::kQdq, "onnxruntime");
  EXPECT_EQ(count_of(written.graph, "DequantizeLinear"), q.layer("y").quantized ? 1u : 2u);
}

// ONNX Runtime Web multiplies floats faster than floats with integers.
TEST(Prepared, WeightsOfProductsBecomeFloatsWhereThoseAreFaster) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 64});
  const ValueId m = b.add("MatMul", "m", {x, b.constant("w", ramp({64, 48}))});
  const ValueId g = b.add("Gemm", "g", {m, b.constant("v", ramp({32, 48}, 2))}, {{"transB", int64_t{1}}});
  b.output(b.add("Relu", "y", {g}));
  const auto model = b.build();
  const auto feeds = samples_of("x", {2, 64})[0];
  const quant::RuntimeRules& web = quant::runtime_named("onnxruntime-web");
  quant::RuntimeRules small = web;
  small.floats_at_load = 4 * (64 * 48 + 32 * 48) - 1;
  for (const DType weights : {DType::kInt8, DType::kUint8, DType::kInt4, DType::kUint4}) {
    for (const bool symmetric : {true, false}) {
      SCOPED_TRACE(std::string(name_of(weights)) + (symmetric ? ", symmetric" : ""));
      Config config = config_of("weight-only");
      config.runtime = "onnxruntime-web";
      config.weights = weights;
      config.symmetric_weights = symmetric;
      const Quantized q = quantize(model, config);
      EXPECT_EQ(q.report.format, quant::kQdq);
      const std::vector<float> want = run(q.model, feeds);
      const Model written = quant::in_format(*q.model, quant::kQdq, &web);
      EXPECT_EQ(count_of(written.graph, "DequantizeLinear"), 0u);
      EXPECT_EQ(count_of(written.graph, "MatMulNBits"), 0u);
      const size_t blocks = bits_of(weights) == 4 ? 2 : 0;
      EXPECT_EQ(count_of(written.graph, "Reshape"), blocks);
      EXPECT_LT(size_of(written), (64u * 48 + 32 * 48) * static_cast<size_t>(bits_of(weights)) / 8 + 4500);
      const auto again = runtime::prepared(saved(written));
      EXPECT_EQ(count_of(again->graph, "DequantizeLinear"), 2u);
      EXPECT_EQ(count_of(again->graph, "Reshape"), 0u);
      EXPECT_EQ(run(again, feeds), want);
      EXPECT_EQ(count_of(runtime::prepared(saved(quant::in_format(*again, quant::kQdq, &web)))->graph,
                         "DequantizeLinear"),
                2u);
      // Beyond what a page has room for, integers stay: as pairs that are joined, or in blocks as one
      // operator.
      const Model large = quant::in_format(*q.model, quant::kQdq, &small);
      EXPECT_EQ(count_of(large.graph, "MatMulNBits"), blocks);
      EXPECT_GT(sqnr(want, run(saved(large), feeds)), 100);
    }
  }
}

TEST(Prepared, PairsOfLayersInIntegersAreNotCast) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 8, 6, 6});
  const ValueId c = b.add("Conv", "conv", {x, b.constant("w", ramp({16, 8, 3, 3}))});
  b.output(b.add("Relu", "y", {b.add("Conv", "last", {c, b.constant("v", ramp({4, 16, 1, 1}, 2))})}));
  const Samples samples = samples_of("x", {1, 8, 6, 6});
  const Quantized q = quantize(b.build(), config_of("static"), samples);
  const Model written = quant::in_format(*q.model, quant::kQdq, "onnxruntime");
  EXPECT_EQ(count_of(written.graph, "Cast"), 0u);
  EXPECT_EQ(count_of(written.graph, "DequantizeLinear"), q.count(QdqRole::kDequantize));
}

TEST(Prepared, CastAndScaledWeightsOfStrangersAreStoredIntegers) {
  Tensor integers(DType::kUint8, {16, 8, 1, 1});
  for (size_t i = 0; i < 128; ++i) integers.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(2 * i);
  const auto model_of = [&](const std::optional<Tensor>& zero, const Tensor& scale) {
    GraphBuilder b;
    const ValueId x = b.input("x", {1, 8, 2, 2});
    ValueId w = b.add("Cast", "float", {b.constant("w", integers)}, {{"to", int64_t{1}}});
    if (zero) w = b.add("Sub", "centred", {w, b.constant("zero", *zero)});
    b.output(b.add("Conv", "y", {x, b.add("Mul", "scaled", {b.constant("scale", scale), w})}));
    return b.build();
  };
  const Tensor one = Tensor::scalar(0.5f), channels = ramp({16, 1, 1, 1});
  Tensor points(DType::kFloat32, {16, 1, 1, 1});
  for (size_t i = 0; i < 16; ++i) points.mutable_data<float>()[i] = static_cast<float>(i * 10);
  const auto feeds = samples_of("x", {1, 8, 2, 2})[0];
  struct Case {
    std::optional<Tensor> zero;
    Tensor scale;
    bool found;
  };
  const std::vector<Case> cases{
      {{}, one, true},
      {{}, channels, true},
      {Tensor::scalar(128.0f), channels, true},
      {points, channels, true},
      {Tensor::scalar(127.5f), channels, false},  // no zero point of these integers
      {Tensor::scalar(300.0f), channels, false},
      {Tensor::scalar(std::numeric_limits<float>::quiet_NaN()), one, false},
      {points, one, false},         // a DequantizeLinear has as many of both
      {{}, ramp({8, 1, 1}), true},  // of inputs
      {{}, ramp({16, 8, 1, 1}), false},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    const auto& [zero, scale, found] = cases[i];
    const auto model = model_of(zero, scale);
    EXPECT_EQ(quant::is_quantized(runtime::prepared(model)->graph), found);
    EXPECT_THAT(run(model, feeds),
                testing::Pointwise(testing::NanSensitiveFloatEq(), Session(model).run(feeds)[0].floats()));
  }
}

TEST(Prepared, MasksThatAreCastAndScaledAreNoWeights) {
  Tensor mask(DType::kUint8, {64, 64});
  for (size_t i = 0; i < 64 * 64; ++i) mask.mutable_data<uint8_t>()[i] = i % 64 > i / 64;
  GraphBuilder b;
  const ValueId hidden = b.add("Mul", "scaled",
                               {b.add("Cast", "float", {b.constant("mask", mask)}, {{"to", int64_t{1}}}),
                                b.constant("far", Tensor::scalar(-1e4f))});
  b.output(b.add("Softmax", "y", {b.add("Add", "masked", {b.input("x", {64, 64}), hidden})}));
  EXPECT_FALSE(quant::is_quantized(runtime::prepared(b.build())->graph));
}

TEST(Prepared, DenormalWeightsBecomeZeros) {
  Tensor w = ramp({4, 8});
  const std::span<float> values = w.mutable_data<float>();
  for (size_t i = 0; i < 8; ++i) values[i] = 1e-40f;  // a whole channel
  values[9] = -1e-39f;
  const quant::QuantizedWeight q = quant::quantize_weight(w, {.grouping = {.axis = 0}, .min_scale = {}});
  const std::vector<int64_t> integers = q.integers.integers();
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(integers[i], 0);
  EXPECT_EQ(integers[9], 0);
  EXPECT_GT(q.scale.floats()[0], 1e-3f);  // of zeros: as wide as the widest
}

}  // namespace
}  // namespace zp
