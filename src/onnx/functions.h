// FunctionProto: a function that the model defines itself. Its calls are inlined when the model is read.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "onnx/reading.h"
#include "onnx/wire.h"

namespace zp::onnx {

// Versions of operator sets, by domain.
using Opsets = std::map<std::string, int64_t>;

struct Function {
  std::string name, domain, overload;
  std::vector<std::string> inputs, outputs;
  std::vector<Message> nodes, defaults;  // `defaults`: of attributes
  Opsets opsets;
};

// By domain, name and overload.
using Functions = std::map<std::string, Function, std::less<>>;
std::string function_key(std::string_view domain, std::string_view name, std::string_view overload);
Function read_function(Message message);

std::pair<std::string, int64_t> read_opset(Message message);

// Versions of operators where a function imports another version than the model, by the node's graph and
// first output.
using NodeVersions = std::map<std::pair<const Graph*, ValueId>, int64_t>;
ValueId first_output(const Node& node);

}  // namespace zp::onnx
