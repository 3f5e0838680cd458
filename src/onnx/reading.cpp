#include "onnx/reading.h"

#include <algorithm>

namespace zp::onnx {

void fail(const Text& problem, const ErrorPlace& place) {
  throw_error(ErrorCode::kInvalidModel, problem, place);
}

std::string quoted(std::string_view name) { return "'" + printable(name) + "'"; }

std::string name_field(Message& message, const char* what) {
  const std::string_view text = message.bytes();
  if (!valid_utf8(text)) fail({what, " ", quoted(text), " is not UTF-8"}, {.tensor = printable(text)});
  return std::string(text);
}

std::string domain_field(Message& message) {
  std::string domain = name_field(message, "the domain");
  return domain == "ai.onnx" ? std::string() : domain;
}

std::string free_text(std::string_view text) {
  std::string out(text);
  if (!valid_utf8(out))
    std::ranges::replace_if(out, [](char c) { return static_cast<uint8_t>(c) >= 0x80; }, '?');
  return out;
}

int64_t version_of(const Model& model, const std::string& domain) {
  const auto at = model.opsets.find(domain);
  return at == model.opsets.end() ? 1 : at->second;
}

ErrorDetails where(const Model& model, const Node& node) {
  return {.node = node.name,
          .op = qualified_name(node) + "-" + std::to_string(version_of(model, node.domain))};
}

}  // namespace zp::onnx
