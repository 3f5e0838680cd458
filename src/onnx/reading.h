// Shared by all code that reads an ONNX file: names, errors, and where a node comes from.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "core/error.h"
#include "graph/graph.h"
#include "onnx/wire.h"

namespace zp::onnx {

// Trees: the code of hash tables is larger, and names are few beside weights.
template <class T>
using TextMap = std::map<std::string, T, std::less<>>;
using TextSet = std::set<std::string, std::less<>>;

// Throws kInvalidModel.
[[noreturn]] void fail(const Text& problem, const ErrorPlace& place = {});
std::string quoted(std::string_view name);

// A field that is a name. Throws kInvalidModel where it is not UTF-8; `what` tells in the error which name it
// is.
std::string name_field(Message& message, const char* what);
// "" for ai.onnx.
std::string domain_field(Message& message);
// Text that only people read.
std::string free_text(std::string_view text);

// The version of an operator set that the model imports.
int64_t version_of(const Model& model, const std::string& domain);
ErrorDetails where(const Model& model, const Node& node);

}  // namespace zp::onnx
