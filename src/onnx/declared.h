// The file's declarations of values. Inputs are known by them alone. For other values they may be wrong.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "graph/graph.h"
#include "onnx/wire.h"

namespace zp::onnx {

struct Declared {
  std::string name;
  bool has_type = false;
  ValueKind kind = ValueKind::kTensor;
  const char* foreign = nullptr;  // "a map", ...: the kind of a value that the engine does not have
  int64_t element = 0;            // of a sequence or an optional: of its tensors
  std::optional<SymShape> shape;
};

Declared read_value_info(Message message);

// Declared shapes of values that nodes make. They are kept apart until the operators' rules infer shapes.
using DeclaredShapes = std::map<std::pair<const Graph*, ValueId>, SymShape>;

enum class As : uint8_t { kInput, kOutput, kInner };
// Gives a value of the graph its declaration. The declared shape of a value that a node makes goes to
// `shapes`.
void declare(Graph& graph, ValueId id, const Declared& declared, As as, DeclaredShapes& shapes);
// Inferred shapes count. Where none was inferred, the declared shape may be true.
void compare_declared(Graph& graph, const DeclaredShapes& shapes);

}  // namespace zp::onnx
