// The table of everything that can be set: what is registered is in it, and what was chosen gets where it
// belongs.
#include "quant/options.h"

#include <gmock/gmock.h>

#include "quant/stage.h"
#include "unit/quant/made_up/made_up.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;
using quant::OptionValue;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

OptionValue number(double n) { return {.number = n}; }
OptionValue word(std::string text) { return {.text = std::move(text)}; }
OptionValue list(std::vector<std::string> names) { return {.names = std::move(names)}; }
OptionValue record(std::map<std::string, OptionValue, std::less<>> entries) {
  return {.entries = std::move(entries)};
}

std::shared_ptr<const Model> network() {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 4, 8, 8});
  const ValueId c = b.add("Conv", "first", {x, b.constant("w", noise({4, 4, 1, 1}, 1))});
  const ValueId r = b.add("Relu", "relu", {c});
  b.output(b.add("Conv", "second", {r, b.constant("v", noise({4, 4, 1, 1}, 2))}));
  return b.build();
}

Config from(std::map<std::string, OptionValue, std::less<>> entries) {
  return quant::config_from(record(std::move(entries)), network()->graph);
}

TEST(Options, NobodyChoseAnything) {
  const Config c = from({}), plain;
  EXPECT_EQ(c.mode, plain.mode);
  EXPECT_EQ(c.activations, plain.activations);
  EXPECT_EQ(c.weights, plain.weights);
  EXPECT_EQ(c.symmetric_weights, plain.symmetric_weights);
  EXPECT_EQ(c.runtime, plain.runtime);
  EXPECT_EQ(c.training.epochs, plain.training.epochs);
  EXPECT_THAT(c.chosen, IsEmpty());
}

TEST(Options, EachGetsWhereItBelongs) {
  const Config c = from({{"mode", word("qat")},
                         {"activations", word("int8")},
                         {"perChannel", number(0)},
                         {"blockSize", number(64)},
                         {"outputs", word("quantized")},
                         {"include", list({"first", "Conv"})},
                         {"exclude", list({"ai.onnx.Relu", "second", "Gelu"})},
                         {"precision", record({{"first", record({{"activations", word("float")}})}})},
                         {"ranges", record({{"x", record({{"min", number(-1)}, {"max", number(2)}})}})},
                         {"target", record({{"drop", number(0.01)}})},
                         {"parameters", record({{"percentile", number(99)}})},
                         {"repairs", list({"gptq"})},
                         {"weightBits", number(3)},
                         {"training", record({{"epochs", number(7)},
                                              {"loss", word("mse")},
                                              {"zeroPoints", word("learned")},
                                              {"intermediate", list({"relu"})},
                                              {"memoryLimit", number(5e8)},
                                              {"seed", number(9)}})}});
  EXPECT_EQ(c.mode, "qat");
  EXPECT_EQ(c.activations, DType::kInt8);
  EXPECT_FALSE(c.per_channel);
  EXPECT_EQ(c.block_size, 64);
  EXPECT_TRUE(c.quantized_outputs);
  EXPECT_FALSE(c.quantized_inputs);
  EXPECT_THAT(c.include_nodes, ElementsAre("first"));
  EXPECT_THAT(c.include_ops, ElementsAre("Conv"));
  EXPECT_THAT(c.exclude_nodes, ElementsAre("second", "Gelu"));
  EXPECT_THAT(c.exclude_ops, ElementsAre("Relu"));
  EXPECT_EQ(c.precision.at("first").activations, DType::kUndefined);
  EXPECT_EQ(c.precision.at("first").weights, DType::kInt8);
  EXPECT_EQ(c.ranges.at("x"), (quant::Range{-1, 2}));
  EXPECT_EQ(c.target_drop, 0.01);
  EXPECT_EQ(c.target_sqnr, 0);
  EXPECT_EQ(c.options.at("percentile"), 99);
  EXPECT_THAT(c.repairs, ElementsAre("gptq"));
  EXPECT_EQ(c.training.weight_bits, 3);
  EXPECT_EQ(c.training.epochs, 7);
  EXPECT_EQ(c.training.loss, "mse");
  EXPECT_TRUE(c.training.learn_zero_points);
  EXPECT_THAT(c.training.intermediate, ElementsAre("relu"));
  EXPECT_EQ(c.training.memory_limit, 5e8);
  EXPECT_EQ(c.training.seed, 9u);
  EXPECT_TRUE(c.chosen.contains("training"));
  EXPECT_FALSE(c.chosen.contains("symmetric"));
}

TEST(Options, SymmetricWeightsSuitTypeAndMode) {
  const auto symmetric = [](const char* mode, const char* type) {
    return from({{"mode", word(mode)}, {"weights", word(type)}}).symmetric_weights;
  };
  EXPECT_TRUE(symmetric("static", "int8"));
  EXPECT_TRUE(symmetric("static", "int4"));
  EXPECT_FALSE(symmetric("static", "uint8"));
  EXPECT_FALSE(symmetric("auto", "uint8"));
  EXPECT_TRUE(symmetric("dynamic", "uint8"));
  EXPECT_TRUE(symmetric("weight-only", "int8"));
  EXPECT_TRUE(symmetric("weight-only", "float16"));
  EXPECT_FALSE(symmetric("weight-only", "int4"));
  EXPECT_TRUE(from({{"weights", word("uint8")}, {"symmetricWeights", number(1)}}).symmetric_weights);
}

TEST(Options, ARuntimeMayBeATarget) {
  EXPECT_EQ(from({{"target", word("qnn")}}).runtime, "qnn");
  EXPECT_EQ(from({{"target", word("qnn")}, {"runtime", word("webgpu")}}).runtime, "webgpu");
}

TEST(Options, UnknownOnesAreRefused) {
  EXPECT_THROW(from({{"modes", word("static")}}), Error);
  EXPECT_THROW(from({{"epochs", number(3)}}), Error);  // of training
  EXPECT_THROW(from({{"training", record({{"mode", word("static")}})}}), Error);
}

// Each in a file of its own (made_up/), and in none but that.
TEST(Options, WhatIsRegisteredIsThere) {
  const std::string schema = quant::schema_json();
  EXPECT_THAT(
      schema,
      HasSubstr(R"({"name":"made-up","title":"made-up integers","sentence":"What tests quantize with."})"));
  EXPECT_THAT(schema,
              HasSubstr(R"({"name":"made-up-repair","title":"Boast","sentence":"Says that it ran."})"));
  EXPECT_THAT(schema,
              HasSubstr(R"({"name":"madeUpLimit","group":"scheme","kind":"number","title":"Made-up limit",)"
                        R"("sentence":"A number that tests set.","fallback":"none","min":0,"max":10,)"
                        R"("modes":["made-up"]})"));
  EXPECT_THAT(schema, HasSubstr(R"("sentence":"How loud it says so.","owner":"made-up-repair","default":3,)"
                                R"("min":1,"max":11})"));
  // And where they are chosen from.
  EXPECT_THAT(schema, HasSubstr(R"("made-up","qat")"));
  EXPECT_THAT(schema, HasSubstr(R"("equalization","made-up-repair","smooth")"));

  const Config c = from({{"mode", word("made-up")},
                         {"madeUpLimit", number(4)},
                         {"repairs", list({"made-up-repair"})},
                         {"parameters", record({{"made-up-loudness", number(5)}})}});
  EXPECT_EQ(made_up_limit, 4);
  const Quantized q = quantize(network(), c, {{{"x", noise({1, 4, 8, 8}, 3)}}});
  EXPECT_EQ(q.report.mode, "made-up");
  EXPECT_THAT(q.report.repairs, ElementsAre("made-up: as loud as 5"));
  EXPECT_GT(q.report.layers_quantized, 0u);
}

TEST(Options, WhetherARepairChangesTheGraphFollowsFromItsPlace) {
  EXPECT_TRUE(quant::changes_graph("made-up-repair"));
  EXPECT_TRUE(quant::changes_graph("equalization"));
  EXPECT_TRUE(quant::changes_graph("smooth"));
  EXPECT_FALSE(quant::changes_graph("gptq"));
  EXPECT_FALSE(quant::changes_graph("bias-slots"));  // no repair
  EXPECT_FALSE(quant::changes_graph("nothing"));
}

// Texts that a line of help or a label can have.
TEST(Options, EveryRowHasWords) {
  for (const quant::Option* o : quant::all_options()) {
    EXPECT_THAT(std::string(o->title), testing::Not(IsEmpty())) << o->name;
    EXPECT_TRUE(std::string_view(o->sentence).ends_with('.')) << o->name;
  }
  for (const auto& all : {quant::modes(), quant::observers(), quant::repairs()})
    for (const quant::Named& n : all) {
      EXPECT_FALSE(n.title.empty()) << n.name;
      EXPECT_TRUE(n.sentence.ends_with('.')) << n.name;
    }
  for (const quant::OptionSpec& s : quant::option_specs()) EXPECT_TRUE(s.sentence.ends_with('.')) << s.name;
}

}  // namespace
}  // namespace zp::test
