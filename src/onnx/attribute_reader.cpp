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
  // The type by the field that is set: files before IR version 2 name no type.
  AttributeType implied = AttributeType::kUndefined;
  bool mixed = false;  // fields of several types
  std::optional<float> real;
  std::optional<int64_t> integer;
  std::optional<std::string> text;
  std::optional<Message> tensor, graph;
  std::vector<float> reals;
  std::vector<int64_t> integers;
  std::vector<std::string> texts;
  std::string reference;          // of a function: the attribute of the call whose value it takes
  const char* foreign = nullptr;  // its kind, where that kind is not supported
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
        a.reference = name_field(message, "the attribute name");
        break;
      default:
        message.skip();
    }
  }
  return a;
}

// The attribute of the call that an attribute inside the function refers to.
std::optional<Attribute> referred(const Scope& scope, const AttributeFields& a) {
  if (!scope.call)
    fail({"attribute ", quoted(a.name), " refers to a function's attribute, but is in no function"});
  const auto found = scope.call->attributes.find(a.reference);
  if (found == scope.call->attributes.end()) return std::nullopt;
  const auto* graph = std::get_if<std::shared_ptr<Graph>>(&found->second);
  if (std::holds_alternative<RawAttribute>(found->second) &&
      a.name != a.reference) {  // its bytes contain its name
    throw_error(ErrorCode::kUnsupportedOperator, {"attribute ", quoted(a.name), " is ", quoted(a.reference),
                                                  " of a function, which is not supported"});
  }
  if (!graph) return found->second;
  if (scope.outer) {  // it captures values of the graph of the call
    throw_error(ErrorCode::kUnsupportedOperator,
                {"attribute ", quoted(a.name),
                 " is a graph that a function hands to a node in a subgraph, which "
                 "is not supported"});
  }
  return std::make_shared<Graph>(clone(**graph));
}

}  // namespace

std::optional<std::pair<std::string, Attribute>> GraphReader::read_attribute(Message message, Scope& scope,
                                                                             int depth) {
  const std::string_view all = message.unread();
  AttributeFields a = read_fields_of(message);
  const std::string shown = "attribute " + quoted(a.name);
  if (a.name.empty()) fail("an attribute has no name");
  if (a.foreign)
    throw_error(ErrorCode::kUnsupportedOperator, {shown, " is ", a.foreign, ", which is not supported"});
  if (!a.reference.empty()) {
    std::optional<Attribute> value = referred(scope, a);
    if (!value) return std::nullopt;
    return std::pair{std::move(a.name), std::move(*value)};
  }
  if (!a.whole) fail({shown, " has a number that is cut off"});
  if (a.type == AttributeType::kUndefined) a.type = a.implied;
  const bool list_or_zero = a.implied == AttributeType::kUndefined;  // proto3 writers leave zeros out
  if (a.mixed || (!list_or_zero && a.type != a.implied))
    fail({shown, " has a value of another type than it says"});
  const auto with = [&](Attribute value) { return std::pair{std::move(a.name), std::move(value)}; };
  switch (a.type) {
    case AttributeType::kFloat:
      return with(a.real.value_or(0.0F));
    case AttributeType::kInt:
      return with(a.integer.value_or(0));
    case AttributeType::kString:
      return with(std::move(a.text).value_or(""));
    case AttributeType::kFloats:
      return with(std::move(a.reals));
    case AttributeType::kInts:
      return with(std::move(a.integers));
    case AttributeType::kStrings:
      return with(std::move(a.texts));
    case AttributeType::kTensor: {
      if (!a.tensor) fail({shown, " has no tensor"});
      Tensor value = read_tensor_message(*a.tensor, file_, a.name).tensor;
      return with(std::move(value));
    }
    case AttributeType::kGraph: {
      if (!a.graph) fail({shown, " has no graph"});
      auto subgraph = std::make_shared<Graph>();
      read(*a.graph, *subgraph, &scope, depth + 1);
      return with(std::move(subgraph));
    }
    case AttributeType::kTensors:
    case AttributeType::kSparseTensor:
    case AttributeType::kSparseTensors:
    case AttributeType::kTypeProto:
    case AttributeType::kTypeProtos:
      return with(RawAttribute{std::string(all)});
    default:
      throw_error(ErrorCode::kUnsupportedOperator,
                  {shown, " has the type ", static_cast<int64_t>(a.type), ", which is not supported"});
  }
}

}  // namespace zp::onnx
