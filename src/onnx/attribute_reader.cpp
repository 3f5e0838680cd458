// AttributeProto to Attribute.
#include <cstring>
#include <memory>
#include <optional>

#include "onnx/graph_reader.h"
#include "onnx/schema.h"

namespace zp::onnx {
namespace {

// What the fields of an AttributeProto say.
struct AttributeFields {
  std::string name;
  AttributeType type = AttributeType::kUndefined;
  // By the field that is there: files before IR version 2 have no type.
  AttributeType implied = AttributeType::kUndefined;
  bool mixed = false;  // fields of several types
  std::optional<float> real;
  std::optional<int64_t> integer;
  std::optional<std::string> text;
  std::optional<Message> tensor, graph;
  std::vector<float> reals;
  std::vector<int64_t> integers;
  std::vector<std::string> texts;
  const char* foreign = nullptr;  // what it is, where that is not supported
  bool whole = true;              // no number is cut off

  void imply(AttributeType by_field) {
    mixed |= implied != AttributeType::kUndefined && implied != by_field;
    implied = by_field;
  }
};

AttributeFields read_fields_of(Message message) {
  AttributeFields a;
  while (message.next()) {
    switch (message.tag()) {
      case attribute_field::kName:
        a.name = name_field(message, "the attribute name");
        break;
      case attribute_field::kType:
        a.type = AttributeType{message.integer()};
        break;
      case attribute_field::kFloat:
        a.real = message.float_value(), a.imply(AttributeType::kFloat);
        break;
      case attribute_field::kInt:
        a.integer = message.integer(), a.imply(AttributeType::kInt);
        break;
      case attribute_field::kString:
        a.text = message.bytes(), a.imply(AttributeType::kString);
        break;
      case attribute_field::kTensor:
        if (a.tensor) message.fail("is given twice");
        a.tensor = message.message("TensorProto"), a.imply(AttributeType::kTensor);
        break;
      case attribute_field::kGraph:
        if (a.graph) message.fail("is given twice");
        a.graph = message.message("GraphProto"), a.imply(AttributeType::kGraph);
        break;
      case attribute_field::kFloats: {
        const std::string_view block = message.repeated_fixed(sizeof(float));
        const size_t before = a.reals.size();
        a.reals.resize(before + block.size() / sizeof(float));
        if (!block.empty()) std::memcpy(a.reals.data() + before, block.data(), block.size());
        a.imply(AttributeType::kFloats);
        break;
      }
      case attribute_field::kInts:
        a.whole &= for_each_varint(message.repeated_varint(), [&](int64_t v) { a.integers.push_back(v); });
        a.imply(AttributeType::kInts);
        break;
      case attribute_field::kStrings:
        a.texts.emplace_back(message.bytes()), a.imply(AttributeType::kStrings);
        break;
      case attribute_field::kTensors:
        message.skip(), a.imply(AttributeType::kTensors);
        break;
      case attribute_field::kSparseTensor:
        message.skip(), a.imply(AttributeType::kSparseTensor);
        break;
      case attribute_field::kSparseTensors:
        message.skip(), a.imply(AttributeType::kSparseTensors);
        break;
      case attribute_field::kTypeProto:
        message.skip(), a.imply(AttributeType::kTypeProto);
        break;
      case attribute_field::kTypeProtos:
        message.skip(), a.imply(AttributeType::kTypeProtos);
        break;
      case attribute_field::kGraphs:  // could read values of the graph around it, by their names
        message.skip(), a.foreign = "a list of graphs";
        break;
      case attribute_field::kRefAttrName:
        message.skip(), a.foreign = "a reference to a function's attribute";
        break;
      default:
        message.skip();
    }
  }
  return a;
}

}  // namespace

std::pair<std::string, Attribute> GraphReader::read_attribute(Message message, Scope& scope, int depth) {
  const std::string_view all = message.unread();
  AttributeFields a = read_fields_of(message);
  const std::string shown = "attribute " + quoted(a.name);
  if (a.name.empty()) fail("an attribute has no name");
  if (a.foreign)
    throw_error(ErrorCode::kUnsupportedOperator, {shown, " is ", a.foreign, ", which is not supported"});
  if (!a.whole) fail({shown, " has a number that is cut off"});
  if (a.type == AttributeType::kUndefined) a.type = a.implied;
  const bool list_or_zero = a.implied == AttributeType::kUndefined;  // proto3 writers leave zeros out
  if (a.mixed || (!list_or_zero && a.type != a.implied))
    fail({shown, " has a value of another type than it says"});
  switch (a.type) {
    case AttributeType::kFloat:
      return {std::move(a.name), a.real.value_or(0.0F)};
    case AttributeType::kInt:
      return {std::move(a.name), a.integer.value_or(0)};
    case AttributeType::kString:
      return {std::move(a.name), std::move(a.text).value_or("")};
    case AttributeType::kFloats:
      return {std::move(a.name), std::move(a.reals)};
    case AttributeType::kInts:
      return {std::move(a.name), std::move(a.integers)};
    case AttributeType::kStrings:
      return {std::move(a.name), std::move(a.texts)};
    case AttributeType::kTensor: {
      if (!a.tensor) fail({shown, " has no tensor"});
      Tensor value = read_tensor_message(*a.tensor, file_, a.name).tensor;
      return {std::move(a.name), std::move(value)};
    }
    case AttributeType::kGraph: {
      if (!a.graph) fail({shown, " has no graph"});
      auto subgraph = std::make_shared<Graph>();
      read(*a.graph, *subgraph, &scope, depth + 1);
      return {std::move(a.name), std::move(subgraph)};
    }
    case AttributeType::kTensors:
    case AttributeType::kSparseTensor:
    case AttributeType::kSparseTensors:
    case AttributeType::kTypeProto:
    case AttributeType::kTypeProtos:
      return {std::move(a.name), RawAttribute{std::string(all)}};
    default:
      throw_error(ErrorCode::kUnsupportedOperator,
                  {shown, " has the type ", static_cast<int64_t>(a.type), ", which is not supported"});
  }
}

}  // namespace zp::onnx
