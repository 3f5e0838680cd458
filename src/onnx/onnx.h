// ONNX files: bytes to Model and back. Reading checks everything a file says before it is used.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "graph/graph.h"

namespace zp::onnx {

// Reads a ModelProto. Tensors of the result point into `bytes` (which they keep alive) wherever their data is stored
// raw; to align it, data may be moved by a few bytes inside the buffer, so the buffer is the model's own. Nodes come out
// in the form of opset kOpset (OpDef::canonicalize), topologically sorted, with shapes inferred.
// Throws kInvalidModel (not ONNX, truncated, inconsistent), kUnsupportedOperator (a version or form), kShapeMismatch.
// Operators that no file in ops/ handles are kept as they are: ops/infer.h's require_supported lists them.
Model read(std::shared_ptr<std::byte> bytes, size_t size);

// Writes a ModelProto of opset kOpset, IR version kIrVersion. The other domains a graph uses are declared at version 1,
// or at the version the file had.
std::vector<std::byte> write(const Model& model);

}  // namespace zp::onnx
