// ONNX files: bytes to Model and back. Reading checks everything a file says before it is used.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "graph/graph.h"

namespace zp::onnx {

// Reads a ModelProto. Tensors of the result point into `bytes` (which they keep alive) wherever their data is
// stored raw; to align it, data may be moved by a few bytes inside the buffer, so the buffer is the model's
// own. Nodes come out in the form of opset kOpset (OpDef::canonicalize), topologically sorted, with shapes
// inferred. Throws kInvalidModel (not ONNX, truncated, inconsistent), kUnsupportedOperator (a version or
// form), kUnsupportedType (an element type, or a sequence), kShapeMismatch. Operators that no file in ops/
// handles are kept as they are: ops/infer.h's require_supported lists them.
Model read(std::shared_ptr<std::byte> bytes, size_t size);

// Reads a TensorProto (a .pb file of ONNX's own test cases); the result may point into `bytes`, as for
// read(). Throws kInvalidModel, kUnsupportedType.
Tensor read_tensor(std::shared_ptr<std::byte> bytes, size_t size);

// What write() declares: opset kOpset of ai.onnx, in whose form operators are in memory. An operator that no
// file in ops/ handles still has the form of its file, and bfloat16 came to many operators with opset 22:
// models with either are written as their file's opset, if that is newer (what is here in the form of kOpset
// means the same there). Throws kUnsupportedOperator for an operator that is not handled and has come to mean
// something else since its file's opset.
struct Versions {
  int64_t opset, ir;
};
Versions versions_of(const Model& model);

// Writes a ModelProto with those versions. The other domains a graph uses are declared at
// version 1, or at the version the file had. The same model always gives the same bytes. Throws
// kInvalidArgument beyond the 2 GiB that a protobuf message can have, and what versions_of() throws.
std::vector<std::byte> write(const Model& model);

}  // namespace zp::onnx
