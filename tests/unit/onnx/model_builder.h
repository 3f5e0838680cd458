// Builds the bytes of ONNX messages, right and wrong ones, for the tests and the fuzzer of src/onnx.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <protozero/pbf_writer.hpp>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/tensor.h"
#include "onnx/schema.h"

namespace zp::onnx::test {

// A message under construction. Empty submessages stay, and nothing is checked.
struct Proto {
  std::string bytes;

  Proto& integer(uint32_t tag, int64_t value) {
    protozero::pbf_writer(bytes).add_int64(tag, value);
    return *this;
  }
  Proto& real(uint32_t tag, float value) {
    protozero::pbf_writer(bytes).add_float(tag, value);
    return *this;
  }
  Proto& text(uint32_t tag, std::string_view value) {
    protozero::pbf_writer(bytes).add_bytes(tag, value.data(), value.size());
    return *this;
  }
  Proto& message(uint32_t tag, const Proto& value) { return text(tag, value.bytes); }
  Proto& messages(uint32_t tag, const std::vector<Proto>& values) {
    for (const Proto& value : values) message(tag, value);
    return *this;
  }
  // A field that says it is `length` bytes long, whatever follows.
  Proto& length_only(uint32_t tag, uint64_t length) {
    protozero::add_varint_to_buffer(&bytes, (tag << 3U) | 2U);
    protozero::add_varint_to_buffer(&bytes, length);
    return *this;
  }
};

template <class T>
std::string raw_bytes(std::initializer_list<T> values) {
  std::string raw(values.size() * sizeof(T), '\0');
  if (values.size() > 0) std::memcpy(raw.data(), values.begin(), raw.size());
  return raw;
}

inline Proto tensor_header(std::string_view name, int64_t type, std::initializer_list<int64_t> dims) {
  Proto p;
  for (int64_t d : dims) p.integer(tensor_field::kDims, d);
  p.integer(tensor_field::kDataType, type);
  if (!name.empty()) p.text(tensor_field::kName, name);
  return p;
}
inline Proto tensor_header(std::string_view name, DType type, std::initializer_list<int64_t> dims) {
  return tensor_header(name, static_cast<int64_t>(type), dims);
}
inline Proto raw_tensor(std::string_view name, DType type, std::initializer_list<int64_t> dims,
                        std::string_view raw) {
  return tensor_header(name, type, dims).text(tensor_field::kRawData, raw);
}
template <class T>
Proto tensor(std::string_view name, std::initializer_list<int64_t> dims, std::initializer_list<T> values) {
  return raw_tensor(name, dtype_of<T>(), dims, raw_bytes(values));
}

// A dimension: a number, a name, or (an empty name) unknown.
using DimSpec = std::variant<int, int64_t, const char*>;
inline Proto shape(std::initializer_list<DimSpec> dims) {
  Proto s;
  for (const DimSpec& d : dims) {
    Proto dim;
    if (const int* n = std::get_if<int>(&d)) dim.integer(dim_field::kValue, *n);
    if (const int64_t* n = std::get_if<int64_t>(&d)) dim.integer(dim_field::kValue, *n);
    if (const char* const* name = std::get_if<const char*>(&d); name && **name)
      dim.text(dim_field::kParam, *name);
    s.message(shape_field::kDim, dim);
  }
  return s;
}
inline Proto tensor_type(int64_t element, const Proto* shape) {
  Proto t;
  t.integer(tensor_type_field::kElemType, element);
  if (shape) t.message(tensor_type_field::kShape, *shape);
  return Proto().message(type_field::kTensor, t);
}
inline Proto value(std::string_view name, DType type, std::initializer_list<DimSpec> dims) {
  const Proto s = shape(dims);
  return Proto()
      .text(value_info_field::kName, name)
      .message(value_info_field::kType, tensor_type(static_cast<int64_t>(type), &s));
}
inline Proto value_without_shape(std::string_view name, DType type) {
  return Proto()
      .text(value_info_field::kName, name)
      .message(value_info_field::kType, tensor_type(static_cast<int64_t>(type), nullptr));
}
inline Proto value_without_type(std::string_view name) { return Proto().text(value_info_field::kName, name); }

inline Proto attribute(std::string_view name, AttributeType type) {
  return Proto()
      .text(attribute_field::kName, name)
      .integer(attribute_field::kType, static_cast<int64_t>(type));
}
inline Proto int_attribute(std::string_view name, int64_t v) {
  return attribute(name, AttributeType::kInt).integer(attribute_field::kInt, v);
}
inline Proto float_attribute(std::string_view name, float v) {
  return attribute(name, AttributeType::kFloat).real(attribute_field::kFloat, v);
}
inline Proto string_attribute(std::string_view name, std::string_view v) {
  return attribute(name, AttributeType::kString).text(attribute_field::kString, v);
}
inline Proto ints_attribute(std::string_view name, std::initializer_list<int64_t> values) {
  Proto a = attribute(name, AttributeType::kInts);
  for (int64_t v : values) a.integer(attribute_field::kInts, v);
  return a;
}
inline Proto floats_attribute(std::string_view name, std::initializer_list<float> values) {
  Proto a = attribute(name, AttributeType::kFloats);
  for (float v : values) a.real(attribute_field::kFloats, v);
  return a;
}
inline Proto strings_attribute(std::string_view name, std::initializer_list<std::string_view> values) {
  Proto a = attribute(name, AttributeType::kStrings);
  for (std::string_view v : values) a.text(attribute_field::kStrings, v);
  return a;
}
inline Proto tensor_attribute(std::string_view name, const Proto& t) {
  return attribute(name, AttributeType::kTensor).message(attribute_field::kTensor, t);
}
inline Proto graph_attribute(std::string_view name, const Proto& g) {
  return attribute(name, AttributeType::kGraph).message(attribute_field::kGraph, g);
}

// An operator of a domain in which no operator is known, unless the type is written "domain:type".
inline constexpr std::string_view kNowhere = "zeropoint.test.nowhere";
inline Proto node(std::string_view type, const std::vector<std::string_view>& inputs,
                  const std::vector<std::string_view>& outputs, const std::vector<Proto>& attributes = {},
                  std::string_view name = "") {
  Proto n;
  for (std::string_view i : inputs) n.text(node_field::kInput, i);
  for (std::string_view o : outputs) n.text(node_field::kOutput, o);
  if (!name.empty()) n.text(node_field::kName, name);
  const size_t colon = type.find(':');
  n.text(node_field::kOpType, colon == type.npos ? type : type.substr(colon + 1));
  n.messages(node_field::kAttribute, attributes);
  n.text(node_field::kDomain, colon == type.npos ? kNowhere : type.substr(0, colon));
  return n;
}

struct GraphSpec {
  std::vector<Proto> nodes, initializers, inputs, outputs, infos;
  std::string name = "main";
};
inline Proto graph(const GraphSpec& spec) {
  return Proto()
      .messages(graph_field::kNode, spec.nodes)
      .text(graph_field::kName, spec.name)
      .messages(graph_field::kInitializer, spec.initializers)
      .messages(graph_field::kInput, spec.inputs)
      .messages(graph_field::kOutput, spec.outputs)
      .messages(graph_field::kValueInfo, spec.infos);
}

inline Proto opset(std::string_view domain, int64_t version) {
  return Proto().text(opset_field::kDomain, domain).integer(opset_field::kVersion, version);
}
inline Proto model(const Proto& graph, int64_t version = 21, int64_t ir_version = 10) {
  return Proto()
      .integer(model_field::kIrVersion, ir_version)
      .message(model_field::kGraph, graph)
      .message(model_field::kOpsetImport, opset("", version))
      .message(model_field::kOpsetImport, opset(kNowhere, 1));
}
inline Proto model(const GraphSpec& spec, int64_t version = 21, int64_t ir_version = 10) {
  return model(graph(spec), version, ir_version);
}

// x -> op -> y, of four floats.
inline GraphSpec small_graph() {
  return {.nodes = {node("Work", {"x"}, {"y"}, {}, "work")},
          .initializers = {},
          .inputs = {value("x", DType::kFloat32, {4})},
          .outputs = {value("y", DType::kFloat32, {4})},
          .infos = {}};
}

// A buffer as read() wants it; `shift` bytes off the alignment that allocate_bytes gives.
inline std::shared_ptr<std::byte> buffer(std::string_view bytes, size_t shift = 0) {
  auto whole = allocate_bytes(bytes.size() + shift);
  if (!bytes.empty()) std::memcpy(whole.get() + shift, bytes.data(), bytes.size());
  return {whole, whole.get() + shift};
}

// Small valid models that use every part of the format: where fuzzing starts.
inline std::vector<std::string> valid_models() {
  std::vector<std::string> models;
  models.push_back(model(small_graph()).bytes);
  {  // every way to store a tensor
    GraphSpec g = small_graph();
    g.nodes.push_back(node("Many", {"f", "i8", "i64", "d", "u", "h", "s", "n", "b"}, {"z"}));
    g.initializers = {
        tensor_header("f", DType::kFloat32, {2}).text(tensor_field::kFloatData, raw_bytes({1.F, 2.F})),
        tensor_header("i8", DType::kInt8, {2})
            .integer(tensor_field::kInt32Data, -3)
            .integer(tensor_field::kInt32Data, 4),
        tensor_header("i64", DType::kInt64, {1}).integer(tensor_field::kInt64Data, -5),
        tensor_header("d", DType::kFloat64, {1}).text(tensor_field::kDoubleData, raw_bytes({6.0})),
        tensor_header("u", DType::kUint32, {1}).integer(tensor_field::kUint64Data, 7),
        tensor_header("h", DType::kFloat16, {1}).integer(tensor_field::kInt32Data, 0x3c00),
        tensor_header("s", DType::kString, {2})
            .text(tensor_field::kStringData, "a")
            .text(tensor_field::kStringData, "b"),
        raw_tensor("n", DType::kInt4, {3}, "\x21\x03"),
        raw_tensor("b", DType::kBool, {2}, std::string_view("\1\0", 2)),
    };
    models.push_back(model(g).bytes);
  }
  {  // every kind of attribute, and constants
    GraphSpec g = small_graph();
    g.nodes = {
        node(":Constant", {}, {"c"}, {tensor_attribute("value", tensor<float>("", {4}, {1, 2, 3, 4}))}),
        node(":Constant", {}, {"k"}, {ints_attribute("value_ints", {1, -1})}),
        node("Work", {"x", "", "c", "k"}, {"y", "", "w"},
             {int_attribute("i", -2), float_attribute("f", 0.5F), string_attribute("s", "text"),
              ints_attribute("is", {1, 2}), floats_attribute("fs", {1, 2}),
              strings_attribute("ss", {"a", "b"}), tensor_attribute("t", tensor<int64_t>("", {}, {9})),
              attribute("ts", AttributeType::kTensors)
                  .message(attribute_field::kTensors, tensor<float>("", {1}, {3}))
                  .message(attribute_field::kTensors, tensor<float>("", {2}, {4, 5})),
              attribute("sparse", AttributeType::kSparseTensor)
                  .message(attribute_field::kSparseTensor, Proto().message(1, tensor<float>("", {1}, {3}))),
              attribute("type", AttributeType::kTypeProto)
                  .message(attribute_field::kTypeProto,
                           tensor_type(static_cast<int64_t>(DType::kFloat32), nullptr))})};
    g.infos = {value("w", DType::kInt64, {"N", "", 3})};
    models.push_back(model(g).bytes);
  }
  {  // subgraphs that capture through each other
    const Proto inner = graph({.nodes = {node("Use", {"x", "w", "h"}, {"inner_out"})},
                               .initializers = {},
                               .inputs = {},
                               .outputs = {value_without_shape("inner_out", DType::kFloat32)},
                               .infos = {},
                               .name = "inner"});
    const Proto branch = graph({.nodes = {node("Work", {"x"}, {"h"}), node("Branch", {"h"}, {"branch_out"},
                                                                           {graph_attribute("body", inner)})},
                                .initializers = {},
                                .inputs = {},
                                .outputs = {value_without_type("branch_out")},
                                .infos = {},
                                .name = "branch"});
    GraphSpec g = small_graph();
    g.nodes = {
        node("Branch", {"x"}, {"y"}, {graph_attribute("then", branch), graph_attribute("else", branch)})};
    g.initializers = {tensor<float>("w", {1}, {3})};
    models.push_back(model(g).bytes);
  }
  {  // real operators, of an old opset, with inputs for initializers as IR version 3 has them
    models.push_back(
        model(GraphSpec{.nodes = {node(":Conv", {"x", "w"}, {"c"}, {ints_attribute("pads", {1, 1, 1, 1})}),
                                  node(":Relu", {"c"}, {"r"}),
                                  node(":Clip", {"r"}, {"k"}, {float_attribute("max", 6)}),
                                  node(":Reshape", {"k", "s"}, {"f"}), node(":Softmax", {"f"}, {"y"})},
                        .initializers = {tensor<float>("w", {1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}),
                                         tensor<int64_t>("s", {2}, {1, -1})},
                        .inputs = {value("x", DType::kFloat32, {1, 1, "H", 4}),
                                   value("w", DType::kFloat32, {1, 1, 3, 3}), value("s", DType::kInt64, {2})},
                        .outputs = {value_without_shape("y", DType::kFloat32)},
                        .infos = {}},
              9, 3)
            .text(model_field::kProducerName, "test")
            .bytes);
  }
  {  // Q and DQ
    models.push_back(
        model(GraphSpec{.nodes = {node(":QuantizeLinear", {"x", "xs", "xz"}, {"xq"}),
                                  node(":DequantizeLinear", {"xq", "xs", "xz"}, {"xd"}),
                                  node(":DequantizeLinear", {"wq", "ws"}, {"wd"}, {int_attribute("axis", 1)}),
                                  node(":MatMul", {"xd", "wd"}, {"y"})},
                        .initializers = {tensor<float>("xs", {}, {0.5F}), tensor<uint8_t>("xz", {}, {128}),
                                         tensor<int8_t>("wq", {2, 2}, {1, -2, 3, -4}),
                                         tensor<float>("ws", {2}, {0.1F, 0.2F})},
                        .inputs = {value("x", DType::kFloat32, {"N", 2})},
                        .outputs = {value("y", DType::kFloat32, {"N", 2})},
                        .infos = {}},
              13)
            .bytes);
  }
  return models;
}

}  // namespace zp::onnx::test
