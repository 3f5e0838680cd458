#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>

#include "core/error.h"
#include "malformed.h"
#include "model_builder.h"
#include "onnx/onnx.h"
#include "ops/infer.h"
#include "ops/op.h"

namespace zp::onnx::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Model read_bytes(std::string_view bytes, size_t shift = 0) {
  return read(buffer(bytes, shift), bytes.size());
}
Model read_graph(const GraphSpec& g, int64_t version = 21, int64_t ir = 10) {
  return read_bytes(model(g, version, ir).bytes);
}

const Value& value_of(const Graph& g, std::string_view name) {
  const ValueId id = g.find(name);
  EXPECT_NE(id, kNoValue) << name;
  return g[id];
}
const Tensor& constant_of(const Graph& g, std::string_view name) {
  const Value& v = value_of(g, name);
  EXPECT_TRUE(v.constant.has_value()) << name;
  return *v.constant;
}
std::vector<std::string> names(const Graph& g, const std::vector<ValueId>& ids) {
  std::vector<std::string> out;
  for (ValueId id : ids) out.push_back(id == kNoValue ? "-" : g[id].name);
  return out;
}
const Graph& subgraph(const Node& n, std::string_view key) {
  return *std::get<std::shared_ptr<Graph>>(*n.attribute(key));
}

Model read_initializers(std::vector<Proto> initializers) {
  GraphSpec g = small_graph();
  g.initializers = std::move(initializers);
  return read_graph(g);
}

// ---- errors

TEST(OnnxReader, EveryMalformedFileSaysWhatIsWrong) {
  for (const Malformed& file : malformed_models()) {
    SCOPED_TRACE(file.name);
    try {
      read_bytes(file.bytes);
      ADD_FAILURE() << "was read";
    } catch (const Error& e) {
      EXPECT_EQ(name_of(e.code()), name_of(file.code)) << e.what();
      const ErrorDetails& d = e.details();
      const std::string all =
          std::string(e.what()) + "|" + d.node + "|" + d.op + "|" + d.tensor + "|" + d.hint;
      for (const std::string& part : file.says) EXPECT_THAT(all, HasSubstr(part));
      // Who reads this may never have seen Python.
      for (const char* program : {"onnx.", "torch.", "tf2onnx", "optimum", "python", "pip "})
        EXPECT_THAT(d.hint, ::testing::Not(HasSubstr(program)));
    }
  }
}

// Any prefix of a file, and a file with any byte changed, is read or refused with an Error, never anything
// else.
TEST(OnnxReader, EveryPrefixAndEveryChangedByteIsReadOrRefused) {
  size_t refused = 0;
  const auto attempt = [&](const std::string& bytes) {
    try {
      read_bytes(bytes);
    } catch (const Error& e) {
      EXPECT_NE(e.code(), ErrorCode::kInternal) << e.what();
      EXPECT_NE(e.code(), ErrorCode::kOutOfMemory) << e.what();
      ++refused;
    }
  };
  for (const std::string& whole : valid_models()) {
    for (size_t size = 0; size < whole.size(); ++size) attempt(whole.substr(0, size));
    for (size_t at = 0; at < whole.size(); ++at) {
      for (const int flip : {0x01, 0x80, 0xff}) {
        std::string changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ flip);
        attempt(changed);
      }
    }
  }
  EXPECT_GT(refused, 1000U);
}

TEST(OnnxReader, ErrorsInNodesNameTheOperatorWithItsVersion) {
  GraphSpec g = small_graph();
  g.nodes = {node("Work", {"x"}, {"y"}, {int_attribute("", 1)}, "work")};
  try {
    read_graph(g);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.details().node, "work");
    EXPECT_EQ(e.details().op, std::string(kNowhere) + ".Work-1");
  }
}

// ---- structure

TEST(OnnxReader, KeepsWhatTheFileSaysOfItself) {
  Proto m = model(small_graph());
  m.text(model_field::kProducerName, "maker")
      .text(model_field::kProducerVersion, "1.2")
      .text(model_field::kDocString, "caf\xe9");
  m.message(model_field::kMetadataProps, Proto().text(entry_field::kKey, "k").text(entry_field::kValue, "v"));
  const Model read = read_bytes(m.bytes);
  EXPECT_EQ(read.producer_name, "maker");
  EXPECT_EQ(read.producer_version, "1.2");
  EXPECT_EQ(read.doc_string, "caf?");
  EXPECT_THAT(read.metadata, ElementsAre(std::pair<std::string, std::string>("k", "v")));
  EXPECT_EQ(read.opsets.at(""), 21);
  EXPECT_EQ(read.opsets.at(std::string(kNowhere)), 1);
}

TEST(OnnxReader, KeepsSymbolicAndUnknownDimensions) {
  GraphSpec g = small_graph();
  g.inputs = {value("x", DType::kFloat32, {"batch", "", -1, 3})};
  const Model m = read_graph(g);
  EXPECT_EQ(to_string(*value_of(m.graph, "x").shape), "[batch, ?, ?, 3]");
}

TEST(OnnxReader, ASymbolOfOneSpellingIsOneDimensionEverywhere) {
  GraphSpec g = small_graph();
  g.inputs = {value("x", DType::kFloat32, {"n"})};
  g.outputs = {value("y", DType::kFloat32, {"n"})};
  const Model m = read_graph(g);
  EXPECT_EQ((*value_of(m.graph, "x").shape)[0], (*value_of(m.graph, "y").shape)[0]);
}

TEST(OnnxReader, SortsNodesAndKeepsAbsentInputs) {
  GraphSpec g = small_graph();
  g.nodes = {node("Last", {"b", "", "a", ""}, {"y"}, {}, "last"),
             node("Second", {"a"}, {"", "b"}, {}, "second"), node("First", {"x"}, {"a"}, {}, "first")};
  const Model m = read_graph(g);
  ASSERT_EQ(m.graph.nodes.size(), 3U);
  EXPECT_EQ(m.graph.nodes[0].name, "first");
  EXPECT_EQ(m.graph.nodes[1].name, "second");
  EXPECT_THAT(names(m.graph, m.graph.nodes[1].outputs), ElementsAre("-", "b"));
  EXPECT_THAT(names(m.graph, m.graph.nodes[2].inputs), ElementsAre("b", "-", "a"));
}

TEST(OnnxReader, NamesNodesAfterTheirOutputsAndNoTwoAlike) {
  GraphSpec g = small_graph();
  g.nodes = {node("Work", {"x"}, {"", "a"}), node("Work", {"x"}, {"b"}, {}, "a"),
             node("Work", {"x"}, {"c"}, {}, "a"), node("Work", {"x"}, {"y"})};
  const Model m = read_graph(g);
  EXPECT_EQ(m.graph.nodes[0].name, "a_1");
  EXPECT_EQ(m.graph.nodes[1].name, "a");
  EXPECT_EQ(m.graph.nodes[2].name, "a_2");
  EXPECT_EQ(m.graph.nodes[3].name, "y");
}

TEST(OnnxReader, InputsThatAreInitializersAreConstants) {
  for (const int64_t ir : {3, 10}) {
    GraphSpec g = small_graph();
    g.inputs.push_back(value("w", DType::kFloat32, {2}));
    g.initializers = {tensor<float>("w", {2}, {1, 2})};
    const Model m = read_graph(g, 21, ir);
    EXPECT_THAT(names(m.graph, m.graph.inputs), ElementsAre("x"));
    EXPECT_THAT(constant_of(m.graph, "w").floats(), ElementsAre(1, 2));
  }
}

// What a file says of values that it computes, or has, is hearsay.
TEST(OnnxReader, WrongDeclarationsAreWarnings) {
  const auto warnings = [](const std::function<void(GraphSpec&)>& change) {
    GraphSpec g = small_graph();
    change(g);
    return read_graph(g).graph.warnings;
  };
  const auto one = [](const char* name, const char* declared, const char* is) {
    return testing::ElementsAre(
        testing::AllOf(testing::HasSubstr(name), testing::HasSubstr(declared), testing::HasSubstr(is)));
  };
  EXPECT_THAT(warnings([](GraphSpec& g) {
                g.initializers = {tensor<float>("w", {1}, {1})};
                g.inputs.push_back(value("w", DType::kInt64, {1}));
              }),
              one("'w'", "int64", "float32"));
  EXPECT_THAT(warnings([](GraphSpec& g) {
                g.initializers = {tensor<float>("w", {1}, {1})};
                g.inputs.push_back(value("w", DType::kFloat32, {2}));
              }),
              one("'w'", "[2]", "[1]"));
  EXPECT_THAT(warnings([](GraphSpec& g) { g.infos = {value("y", DType::kFloat32, {5})}; }),
              one("'y'", "[4]", "[5]"));
}

TEST(OnnxReader, WhatOperatorsSayCountsMoreThanWhatIsDeclared) {
  const auto relu = [](const Proto& declared) {
    GraphSpec g;
    g.nodes = {node(":Relu", {"x"}, {"h"}), node(":Relu", {"h"}, {"y"})};
    g.inputs = {value("x", DType::kFloat32, {"n", 4})};
    g.outputs = {declared};
    g.infos = {value("h", DType::kFloat32, {4})};
    return read_graph(g).graph;
  };
  const Graph wrong = relu(value("y", DType::kInt32, {5, 4, 1}));
  EXPECT_EQ(wrong[wrong.find("h")].shape, (SymShape{Dim::symbol("n"), 4}));
  EXPECT_EQ(wrong[wrong.find("y")].shape, (SymShape{Dim::symbol("n"), 4}));
  EXPECT_EQ(wrong[wrong.find("y")].dtype, DType::kFloat32);
  EXPECT_EQ(wrong.warnings.size(), 3u);
  const Graph untyped = relu(value_without_type("y"));
  EXPECT_EQ(untyped[untyped.find("y")].dtype, DType::kFloat32);
  const Graph map = relu(Proto()
                             .text(value_info_field::kName, "y")
                             .message(value_info_field::kType, Proto().message(type_field::kMap, Proto())));
  EXPECT_EQ(map[map.find("y")].dtype, DType::kFloat32);
  EXPECT_THAT(map.warnings, testing::Contains(HasSubstr("'y' is declared a map but is a tensor")));
}

// Some exporters write this name wherever they do not know.
TEST(OnnxReader, AQuestionMarkIsNoName) {
  GraphSpec g;
  g.nodes = {node(":Relu", {"x"}, {"y"})};
  g.inputs = {value("x", DType::kFloat32, {"?", 4})};
  g.outputs = {value("y", DType::kFloat32, {"?", 4})};
  const Graph read = read_graph(g).graph;
  EXPECT_EQ(read[read.inputs[0]].shape, (SymShape{Dim(), 4}));
}

TEST(OnnxReader, TypesAreCheckedWhereAnOperatorReadsThem) {
  GraphSpec g;
  g.nodes = {node(":MatMul", {"x", "w"}, {"y"}, {}, "product")};
  g.initializers = {raw_tensor("w", DType::kUint32, {1, 1}, std::string(4, '\1'))};
  g.inputs = {value("x", DType::kFloat32, {1, 1})};
  g.outputs = {value("y", DType::kFloat32, {1, 1})};
  try {
    read_graph(g);
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidModel);
    EXPECT_THAT(e.what(), testing::AllOf(testing::HasSubstr("float32"), testing::HasSubstr("uint32")));
    EXPECT_EQ(e.details().node, "product");
  }
}

TEST(OnnxReader, FilesBeforeIrVersion3HaveOpset1) {
  const Model m = read_bytes(
      Proto().integer(model_field::kIrVersion, 2).message(model_field::kGraph, graph(small_graph())).bytes);
  EXPECT_EQ(m.opsets.at(""), 1);
}

TEST(OnnxReader, ValueInfoDeclaresWhatInferenceDoesNotKnow) {
  GraphSpec g = small_graph();
  g.nodes = {node("Work", {"x"}, {"m"}), node("Work", {"m"}, {"y"})};
  g.infos = {value("m", DType::kInt8, {1, "k"}), value("nobody", DType::kInt8, {1})};
  const Model m = read_graph(g);
  EXPECT_EQ(value_of(m.graph, "m").dtype, DType::kInt8);
  EXPECT_EQ(to_string(*value_of(m.graph, "m").shape), "[1, k]");
  EXPECT_EQ(m.graph.find("nobody"), kNoValue);
}

TEST(OnnxReader, TrainingInfoAndUnusedFunctionsAreIgnored) {
  Proto m = model(small_graph());
  m.message(20, Proto().text(1, "garbage that nobody parses"));
  m.message(model_field::kFunctions,
            Proto().text(function_field::kName, "Unused").text(function_field::kDomain, "d"));
  EXPECT_EQ(read_bytes(m.bytes).graph.nodes.size(), 1U);
}

// ---- attributes

TEST(OnnxReader, ReadsEveryKindOfAttribute) {
  GraphSpec g = small_graph();
  g.nodes = {node(
      "Work", {"x"}, {"y"},
      {int_attribute("i", -2), float_attribute("f", 0.5F), string_attribute("s", "text"),
       ints_attribute("is", {1, -2}), floats_attribute("fs", {1, 2.5F}), strings_attribute("ss", {"a", "b"}),
       tensor_attribute("t", tensor<int64_t>("", {1}, {9})), ints_attribute("none", {})})};
  const Model m = read_graph(g);
  const Node& n = m.graph.nodes[0];
  EXPECT_EQ(n.int_attribute("i", 0), -2);
  EXPECT_EQ(n.float_attribute("f", 0), 0.5F);
  EXPECT_EQ(n.string_attribute("s", ""), "text");
  EXPECT_THAT(n.ints_attribute("is"), ElementsAre(1, -2));
  EXPECT_THAT(n.floats_attribute("fs"), ElementsAre(1, 2.5F));
  EXPECT_THAT(std::get<std::vector<std::string>>(*n.attribute("ss")), ElementsAre("a", "b"));
  EXPECT_THAT(std::get<Tensor>(*n.attribute("t")).integers(), ElementsAre(9));
  EXPECT_THAT(n.ints_attribute("none", {7}), ElementsAre());
}

TEST(OnnxReader, AttributesWithoutATypeHaveThatOfTheirField) {
  GraphSpec g = small_graph();
  g.nodes = {
      node("Work", {"x"}, {"y"},
           {Proto().text(attribute_field::kName, "i").integer(attribute_field::kInt, 5),
            Proto().text(attribute_field::kName, "is").text(attribute_field::kInts, "\1\2")})};  // packed
  const Model m = read_graph(g);
  EXPECT_EQ(m.graph.nodes[0].int_attribute("i", 0), 5);
  EXPECT_THAT(m.graph.nodes[0].ints_attribute("is"), ElementsAre(1, 2));
}

TEST(OnnxReader, AttributesWithoutAFieldAreZero) {  // as proto3 writes them
  GraphSpec g = small_graph();
  g.nodes = {node("Work", {"x"}, {"y"},
                  {attribute("i", AttributeType::kInt), attribute("f", AttributeType::kFloat),
                   attribute("s", AttributeType::kString)})};
  const Model m = read_graph(g);
  EXPECT_EQ(m.graph.nodes[0].int_attribute("i", 5), 0);
  EXPECT_EQ(m.graph.nodes[0].float_attribute("f", 5), 0);
  EXPECT_EQ(m.graph.nodes[0].string_attribute("s", "x"), "");
}

TEST(OnnxReader, ConstantNodesBecomeConstants) {
  GraphSpec g = small_graph();
  const auto constant = [&](const char* name, const Proto& a) {
    g.nodes.push_back(node(":Constant", {}, {name}, {a}));
  };
  constant("t", tensor_attribute("value", tensor<int8_t>("", {2}, {1, 2})));
  constant("f", float_attribute("value_float", 1.5F));
  constant("fs", floats_attribute("value_floats", {1, 2}));
  constant("i", int_attribute("value_int", -3));
  constant("is", ints_attribute("value_ints", {4, 5}));
  constant("s", string_attribute("value_string", "a"));
  constant("ss", strings_attribute("value_strings", {"b", "c"}));
  const Model m = read_graph(g);
  EXPECT_EQ(m.graph.nodes.size(), 1U);
  EXPECT_THAT(constant_of(m.graph, "t").integers(), ElementsAre(1, 2));
  EXPECT_EQ(constant_of(m.graph, "t").dtype(), DType::kInt8);
  EXPECT_THAT(constant_of(m.graph, "f").floats(), ElementsAre(1.5F));
  EXPECT_THAT(constant_of(m.graph, "f").dims(), ElementsAre());
  EXPECT_THAT(constant_of(m.graph, "fs").dims(), ElementsAre(2));
  EXPECT_THAT(constant_of(m.graph, "i").integers(), ElementsAre(-3));
  EXPECT_THAT(constant_of(m.graph, "is").integers(), ElementsAre(4, 5));
  EXPECT_THAT(constant_of(m.graph, "s").strings(), ElementsAre("a"));
  EXPECT_THAT(constant_of(m.graph, "ss").strings(), ElementsAre("b", "c"));
}

// ---- tensors

TEST(OnnxReader, ReadsTypedDataOfEveryType) {
  const auto ints = [](Proto header, std::initializer_list<int64_t> values) {
    for (int64_t v : values) header.integer(tensor_field::kInt32Data, v);
    return header;
  };
  const Model m = read_initializers({
      tensor_header("f32", DType::kFloat32, {2}).text(tensor_field::kFloatData, raw_bytes({1.F, -2.F})),
      tensor_header("f32s", DType::kFloat32, {2})
          .real(tensor_field::kFloatData, 1)
          .real(tensor_field::kFloatData, 2),
      tensor_header("f64", DType::kFloat64, {1}).text(tensor_field::kDoubleData, raw_bytes({0.25})),
      tensor_header("i64", DType::kInt64, {2})
          .text(tensor_field::kInt64Data, "\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
      tensor_header("u64", DType::kUint64, {1}).integer(tensor_field::kUint64Data, -1),
      tensor_header("u32", DType::kUint32, {1}).integer(tensor_field::kUint64Data, 4000000000),
      ints(tensor_header("i32", DType::kInt32, {2}), {-5, 6}),
      ints(tensor_header("i16", DType::kInt16, {1}), {-300}),
      ints(tensor_header("u16", DType::kUint16, {1}), {65535}),
      ints(tensor_header("i8", DType::kInt8, {2}), {-128, 127}),
      ints(tensor_header("u8", DType::kUint8, {2}), {0, 255}),
      ints(tensor_header("bool", DType::kBool, {3}), {0, 1, 7}),
      ints(tensor_header("f16", DType::kFloat16, {1}), {0x3c00}),
      ints(tensor_header("bf16", DType::kBfloat16, {1}), {0x3f80}),
      ints(tensor_header("i4", DType::kInt4, {3}), {0xf1, 0x08}),
      ints(tensor_header("u4", DType::kUint4, {3}), {0xf1, 0x08}),
      tensor_header("str", DType::kString, {2})
          .text(tensor_field::kStringData, "a")
          .text(tensor_field::kStringData, ""),
  });
  const Graph& g = m.graph;
  EXPECT_THAT(constant_of(g, "f32").floats(), ElementsAre(1, -2));
  EXPECT_THAT(constant_of(g, "f32s").floats(), ElementsAre(1, 2));
  EXPECT_THAT(constant_of(g, "f64").data<double>(), ElementsAre(0.25));
  EXPECT_THAT(constant_of(g, "i64").integers(), ElementsAre(5, -1));
  EXPECT_EQ(constant_of(g, "u64").data<uint64_t>()[0], UINT64_MAX);
  EXPECT_THAT(constant_of(g, "u32").integers(), ElementsAre(4000000000));
  EXPECT_THAT(constant_of(g, "i32").integers(), ElementsAre(-5, 6));
  EXPECT_THAT(constant_of(g, "i16").integers(), ElementsAre(-300));
  EXPECT_THAT(constant_of(g, "u16").integers(), ElementsAre(65535));
  EXPECT_THAT(constant_of(g, "i8").integers(), ElementsAre(-128, 127));
  EXPECT_THAT(constant_of(g, "u8").integers(), ElementsAre(0, 255));
  EXPECT_THAT(constant_of(g, "bool").integers(), ElementsAre(0, 1, 1));
  EXPECT_THAT(constant_of(g, "f16").floats(), ElementsAre(1));
  EXPECT_THAT(constant_of(g, "bf16").floats(), ElementsAre(1));
  EXPECT_THAT(constant_of(g, "i4").integers(), ElementsAre(1, -1, -8));
  EXPECT_THAT(constant_of(g, "u4").integers(), ElementsAre(1, 15, 8));
  EXPECT_THAT(constant_of(g, "str").strings(), ElementsAre("a", ""));
}

TEST(OnnxReader, RawBoolsAreZeroOrOne) {
  const Model m = read_initializers({raw_tensor("b", DType::kBool, {3}, std::string_view("\0\1\7", 3)),
                                     raw_tensor("many", DType::kBool, {200}, std::string(200, '\xff'))});
  EXPECT_THAT(constant_of(m.graph, "b").integers(), ElementsAre(0, 1, 1));
  EXPECT_EQ(constant_of(m.graph, "many").integer_at(199), 1);
}

TEST(OnnxReader, EmptyTensorsNeedNoData) {
  const Model m =
      read_initializers({tensor_header("a", DType::kFloat32, {0, 3}), raw_tensor("b", DType::kInt64, {0}, ""),
                         tensor_header("s", DType::kString, {0})});
  EXPECT_EQ(constant_of(m.graph, "a").size(), 0);
  EXPECT_THAT(constant_of(m.graph, "a").dims(), ElementsAre(0, 3));
  EXPECT_EQ(constant_of(m.graph, "b").size(), 0);
}

// Large tensors share the buffer, whatever the alignment of their bytes, and end before its last 64 bytes.
TEST(OnnxReader, LargeTensorsPointIntoTheFile) {
  constexpr size_t kFloats = 1000;
  std::string raw(kFloats * 4, '\0');
  for (size_t i = 0; i < kFloats; ++i) {
    const auto v = static_cast<float>(i);
    std::memcpy(raw.data() + i * 4, &v, 4);
  }
  for (size_t shift = 0; shift < 8; ++shift) {
    GraphSpec g = small_graph();
    g.initializers = {raw_tensor("w", DType::kFloat32, {1000}, raw),
                      raw_tensor("d", DType::kFloat64, {500}, raw),
                      tensor_header("p", DType::kFloat32, {1000}).text(tensor_field::kFloatData, raw)};
    Proto file = model(g);
    file.text(model_field::kDocString, std::string(kReadSlack, ' '));
    const auto bytes = buffer(file.bytes, shift);
    const Model m = read(bytes, file.bytes.size());
    for (const char* name : {"w", "p", "d"}) {
      const Tensor& t = constant_of(m.graph, name);
      EXPECT_GE(t.raw(), bytes.get());
      EXPECT_LE(t.raw() + t.bytes() + kReadSlack, bytes.get() + file.bytes.size());
      EXPECT_EQ(reinterpret_cast<uintptr_t>(t.raw()) % (t.dtype() == DType::kFloat64 ? 8 : 4), 0U);
      EXPECT_EQ(std::memcmp(t.raw(), raw.data(), raw.size()), 0) << name << " shifted " << shift;
    }
  }
}

TEST(OnnxReader, TensorsAtTheEndOfTheFileAreCopied) {
  GraphSpec g = small_graph();
  g.inputs.clear();
  g.outputs.clear();
  const Proto last = raw_tensor("w", DType::kFloat32, {100}, std::string(400, '\1'));
  const std::string bytes =
      Proto()
          .integer(model_field::kIrVersion, 8)
          .message(model_field::kOpsetImport, opset("", 21))
          .message(model_field::kGraph, Proto()
                                            .message(graph_field::kOutput, value("w", DType::kFloat32, {100}))
                                            .message(graph_field::kInitializer, last))
          .bytes;
  const auto file = buffer(bytes);
  const Model m = read(file, bytes.size());
  const Tensor& t = constant_of(m.graph, "w");
  EXPECT_TRUE(t.raw() < file.get() || t.raw() >= file.get() + bytes.size());
}

TEST(OnnxReader, TheModelKeepsTheBufferAlive) {
  GraphSpec g = small_graph();
  g.initializers = {raw_tensor("w", DType::kInt8, {1000}, std::string(1000, '\5'))};
  Proto file = model(g);
  file.text(model_field::kDocString, std::string(kReadSlack, ' '));
  auto bytes = buffer(file.bytes);
  const std::weak_ptr<std::byte> watch = bytes;
  {
    const Model m = read(std::move(bytes), file.bytes.size());
    EXPECT_FALSE(watch.expired());
    EXPECT_EQ(constant_of(m.graph, "w").integer_at(999), 5);
  }
  EXPECT_TRUE(watch.expired());
}

TEST(OnnxReader, ReadsTensorFiles) {
  const Proto t = tensor<int64_t>("whatever", {2, 1}, {3, -4});
  const Tensor read = read_tensor(buffer(t.bytes), t.bytes.size());
  EXPECT_THAT(read.dims(), ElementsAre(2, 1));
  EXPECT_THAT(read.integers(), ElementsAre(3, -4));
  EXPECT_THROW(read_tensor(buffer("\x08"), 1), Error);
}

// ---- subgraphs

TEST(OnnxReader, SubgraphsCaptureThroughEachOther) {
  const Proto inner = graph({.nodes = {node("Use", {"x", "h", "w"}, {"i"})},
                             .initializers = {},
                             .inputs = {},
                             .outputs = {value_without_type("i")},
                             .infos = {}});
  const Proto branch = graph({.nodes = {node("Branch", {"h"}, {"b"}, {graph_attribute("body", inner)}),
                                        node("Work", {"late"}, {"h"})},
                              .initializers = {},
                              .inputs = {},
                              .outputs = {value_without_type("b")},
                              .infos = {}});
  GraphSpec g = small_graph();
  g.nodes = {node("Branch", {}, {"y"}, {graph_attribute("body", branch)}, "outer"),
             node("Work", {"x"}, {"late"}, {}, "late")};
  g.initializers = {tensor<float>("w", {1}, {3})};
  const Model m = read_graph(g);
  ASSERT_EQ(m.graph.nodes.size(), 2U);
  EXPECT_EQ(m.graph.nodes[0].name, "late");  // before the node whose subgraph reads it

  const auto captured = [](const Graph& outer, const Graph& inner) {
    std::vector<std::string> pairs;
    for (const Capture& c : inner.captures) {
      EXPECT_EQ(outer[c.outer].name, inner[c.inner].name);
      pairs.push_back(inner[c.inner].name);
    }
    return pairs;
  };
  const Graph& b = subgraph(m.graph.nodes[1], "body");
  EXPECT_THAT(captured(m.graph, b), ::testing::UnorderedElementsAre("late", "x"));
  EXPECT_EQ(b.nodes[0].op_type, "Work");
  const Graph& i = subgraph(b.nodes[1], "body");
  EXPECT_THAT(captured(b, i), ElementsAre("x", "h"));
  // Constants are not captured: they are the same constants inside, and share their data.
  EXPECT_EQ(constant_of(i, "w").raw(), constant_of(m.graph, "w").raw());
  // What is known of a captured value is known inside.
  EXPECT_EQ(to_string(*value_of(i, "x").shape), "[4]");
}

TEST(OnnxReader, SubgraphsSeeConstantNodesThatComeLater) {
  const Proto body = graph({.nodes = {node("Use", {"c"}, {"o"})},
                            .initializers = {},
                            .inputs = {},
                            .outputs = {value_without_type("o")},
                            .infos = {}});
  GraphSpec g = small_graph();
  g.nodes = {node("Branch", {"x"}, {"y"}, {graph_attribute("body", body)}),
             node(":Constant", {}, {"c"}, {float_attribute("value_float", 2)})};
  const Model m = read_graph(g);
  EXPECT_THAT(constant_of(subgraph(m.graph.nodes[0], "body"), "c").floats(), ElementsAre(2));
}

TEST(OnnxReader, ANameOfASubgraphHidesThatOfTheGraphAroundIt) {
  const Proto body = graph({.nodes = {node("Use", {"x"}, {"t"}), node("Use", {"t"}, {"o"})},
                            .initializers = {},
                            .inputs = {},
                            .outputs = {value_without_type("o")},
                            .infos = {}});
  GraphSpec g = small_graph();
  g.nodes = {node("Work", {"x"}, {"t"}), node("Branch", {"t"}, {"y"}, {graph_attribute("body", body)})};
  const Model m = read_graph(g);
  const Graph& b = subgraph(m.graph.nodes[1], "body");
  ASSERT_EQ(b.captures.size(), 1U);
  EXPECT_EQ(b[b.captures[0].inner].name, "x");
}

// ---- canonical form

constexpr std::string_view kDomain = "zeropoint.test.canonical";

// Old(x) with attribute k, before version 3, is Scale(x, k) and Shift of that since.
constexpr OpDef kOld = {.domain = kDomain, .name = "Old", .since = 2, .canonicalize = [](Canonicalize& c) {
                          if (c.version >= 3) return c.keep();
                          EXPECT_NE(c.shape(0), nullptr);
                          c.attribute_to_input("k", 1);
                          const ValueId scaled =
                              c.add("Same", {c.node.input(0), c.node.input(1)}, {}, kDomain);
                          c.finish("Same", {scaled}, {{"bias", 1.0F}}, kDomain);
                        }};
constexpr OpDef kSame = {
    .domain = kDomain, .name = "Same", .inputs = "X scale?", .types = "*", .infer = infer_same};
constexpr OpDef kDrops = {.domain = kDomain, .name = "Drops", .canonicalize = [](Canonicalize& c) {
                            c.finish("Same", {c.node.input(0)}, {}, kDomain);
                          }};
const RegisterOps kRegistered({&kOld, &kSame, &kDrops});

Model read_canonical(const GraphSpec& g, int64_t version) {
  return read_bytes(model(g).message(model_field::kOpsetImport, opset(kDomain, version)).bytes);
}
const std::string kOldName = std::string(kDomain) + ":Old";
const std::string kDropsName = std::string(kDomain) + ":Drops";

TEST(OnnxReader, NodesComeOutInTheirPresentForm) {
  GraphSpec g = small_graph();
  g.outputs = {value_without_shape("y", DType::kFloat32)};
  g.nodes = {node(kOldName, {"b"}, {"y"}, {ints_attribute("k", {5})}, "second"),
             node(kOldName, {"x"}, {"b"}, {ints_attribute("k", {4})}, "first")};
  const Model m = read_canonical(g, 2);
  ASSERT_EQ(m.graph.nodes.size(), 4U);
  EXPECT_EQ(m.graph.nodes[1].name, "first");
  EXPECT_EQ(m.graph.nodes[3].name, "second");
  EXPECT_EQ(m.graph.nodes[3].float_attribute("bias", 0), 1);
  EXPECT_THAT(m.graph.constant(m.graph.nodes[0].input(1))->integers(), ElementsAre(4));
  EXPECT_EQ(to_string(*value_of(m.graph, "y").shape), "[4]");  // inferred through all four
}

TEST(OnnxReader, NewNodesAreKept) {
  GraphSpec g = small_graph();
  g.nodes = {node(kOldName, {"x"}, {"y"})};
  const Model m = read_canonical(g, 3);
  ASSERT_EQ(m.graph.nodes.size(), 1U);
  EXPECT_EQ(m.graph.nodes[0].op_type, "Old");
}

void expect_refused(const Model& m, std::string_view node, std::string_view why) {
  EXPECT_EQ(m.graph.nodes[0].name, node);  // as the file has it
  try {
    require_supported(m.graph);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupportedOperator);
    EXPECT_EQ(e.details().node, node);
    EXPECT_THAT(e.what(), HasSubstr(std::string(why)));
  }
}

TEST(OnnxReader, VersionsBeforeAnOperatorsOldestAreRefused) {
  GraphSpec g = small_graph();
  g.nodes = {node(kOldName, {"x"}, {"y"}, {}, "old")};
  expect_refused(read_canonical(g, 1), "old", "since version 2 of its operator set");
}

TEST(OnnxReader, AnOutputThatAnExpansionDropsMustNotBeRead) {
  GraphSpec g = small_graph();
  g.nodes = {node(kDropsName, {"x"}, {"a", "mask"}, {}, "drops"),
             node("Work", {"a", "mask"}, {"y"}, {}, "reader")};
  expect_refused(read_canonical(g, 1), "drops", "'mask'");
}

TEST(OnnxReader, SubgraphsComeOutInTheirPresentFormWithShapesFromOutside) {
  const Proto body = graph({.nodes = {node(kOldName, {"h"}, {"o"}, {ints_attribute("k", {1})})},
                            .initializers = {},
                            .inputs = {},
                            .outputs = {value_without_type("o")},
                            .infos = {}});
  GraphSpec g = small_graph();
  g.nodes = {node(kOldName, {"x"}, {"h"}, {ints_attribute("k", {1})}),
             node("Branch", {}, {"y"}, {graph_attribute("body", body)})};
  const Model m = read_canonical(g, 2);
  const Graph& b = subgraph(m.graph.nodes.back(), "body");
  EXPECT_EQ(b.nodes.size(), 2U);
  EXPECT_EQ(to_string(*value_of(b, "o").shape), "[4]");
  EXPECT_EQ(value_of(b, "o").dtype, DType::kFloat32);
}

TEST(OnnxReader, UnknownOperatorsAreKeptAndListed) {
  const Model m = read_graph(small_graph());
  try {
    require_supported(m.graph);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupportedOperator);
    EXPECT_THAT(e.what(), HasSubstr(std::string(kNowhere) + ".Work"));
  }
}

TEST(OnnxReader, ThousandsOfEqualNamesTakeNoQuadraticTime) {
  GraphSpec g = small_graph();
  std::vector<std::string> outputs;
  for (int i = 0; i < 20000; ++i) outputs.push_back("o" + std::to_string(i));
  for (const std::string& o : outputs) g.nodes.push_back(node("Work", {"x"}, {o}, {}, "same"));
  const Model m = read_graph(g);
  EXPECT_EQ(m.graph.nodes.back().name, "same_19999");
}

}  // namespace
}  // namespace zp::onnx::test
