// The file's declarations of values. Of inputs nothing else is known; of other values they are hearsay.
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
  const char* foreign = nullptr;  // "a map", ...: what it is if none of those
  int64_t element = 0;            // of a sequence or an optional: of its tensors
  std::optional<SymShape> shape;
};

Declared read_value_info(Message message);

// Declared shapes of values that nodes make: kept apart until it is known what the operators say.
using DeclaredShapes = std::map<std::pair<const Graph*, ValueId>, SymShape>;

enum class As : uint8_t { kInput, kOutput, kInner };
// Tells the graph what is declared of a value; what a node makes of it goes to `shapes`.
void declare(Graph& graph, ValueId id, const Declared& declared, As as, DeclaredShapes& shapes);
// What the operators say counts; where they say nothing, what is declared may be true.
void compare_declared(Graph& graph, const DeclaredShapes& shapes);

}  // namespace zp::onnx
