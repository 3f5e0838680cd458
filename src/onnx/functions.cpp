#include "onnx/functions.h"

#include <algorithm>

#include "onnx/schema.h"

namespace zp::onnx {

std::string function_key(std::string_view domain, std::string_view name, std::string_view overload) {
  return std::string(domain) + "." + std::string(name) + ":" + std::string(overload);
}

ValueId first_output(const Node& node) {
  const auto it = std::ranges::find_if(node.outputs, [](ValueId v) { return v != kNoValue; });
  return it == node.outputs.end() ? kNoValue : *it;
}

Function read_function(Message message) {
  Function f;
  while (message.next()) {
    switch (message.tag()) {
      case function_field::kName:
        f.name = name_field(message, "the name of a function");
        break;
      case function_field::kDomain:
        f.domain = domain_field(message);
        break;
      case function_field::kOverload:
        f.overload = name_field(message, "the overload of a function");
        break;
      case function_field::kInput:
        f.inputs.push_back(name_field(message, "the value name"));
        break;
      case function_field::kOutput:
        f.outputs.push_back(name_field(message, "the value name"));
        break;
      case function_field::kNode:
        f.nodes.push_back(message.message("NodeProto"));
        break;
      case function_field::kAttributeProto:
        f.defaults.push_back(message.message("AttributeProto"));
        break;
      case function_field::kOpsetImport:
        f.opsets.insert(read_opset(message.message("OperatorSetIdProto")));
        break;
      default:
        message.skip();
    }
  }
  return f;
}

std::pair<std::string, int64_t> read_opset(Message message) {
  std::string domain;
  int64_t version = 0;
  while (message.next()) {
    switch (message.tag()) {
      case opset_field::kDomain:
        domain = domain_field(message);
        break;
      case opset_field::kVersion:
        version = message.integer();
        break;
      default:
        message.skip();
    }
  }
  const std::string shown = domain.empty() ? "ai.onnx" : printable(domain);
  if (version < 1) fail({"the model imports version ", version, " of the operator set ", shown});
  if (domain.empty() && version > kNewestOpset) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {"the model uses opset ", version, "; opsets 1 to ", kNewestOpset, " are supported"},
                {.hint = {"export the model again, for opset ", kNewestOpset, " or older"}});
  }
  return {std::move(domain), version};
}

}  // namespace zp::onnx
