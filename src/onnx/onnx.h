// ONNX files: bytes to Model and back. Reading checks everything a file says before it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "onnx/external.h"
#include "onnx/written.h"

namespace zp::onnx {

// Reads a ModelProto. Tensors of the result point into `bytes` (which they keep alive) wherever their data is
// stored raw; to align it, data may be moved by a few bytes inside the buffer, so the buffer is the model's
// own. Nodes come out in the form of opset kOpset (OpDef::canonicalize), topologically sorted, with shapes
// inferred. Throws kInvalidModel (not ONNX, truncated, inconsistent), kUnsupportedOperator (a version or
// form), kUnsupportedType (an element type, or a sequence), kShapeMismatch. Operators that no file in ops/
// handles are kept as they are: ops/infer.h's require_supported lists them. `external` gives what
// external_pieces() found in other files; null: a tensor in another file is an error.
Model read(std::shared_ptr<std::byte> bytes, size_t size, ExternalSource* external = nullptr);

// Reads a TensorProto (a .pb file of ONNX's own test cases); the result may point into `bytes`, as for
// read(). Throws kInvalidModel, kUnsupportedType.
Tensor read_tensor(std::shared_ptr<std::byte> bytes, size_t size);

// The lowest opset of ai.onnx that can hold a model, and a node that needs it (empty: no node does). An
// operator that OpDef::expand spells in older operators counts as these. Operators that no file in ops/
// handles keep the form of the file's opset, so that they need at least this one.
struct LowestOpset {
  int64_t opset;
  std::string node, op;
};
LowestOpset lowest_opset(const Model& model);

// What write() declares: `opset` of ai.onnx, or for 0 the lowest that has all operators (and no lower one
// than Model::least_opset), but none newer than the file's
// for the sake of operators that can be spelled out in older ones; and the IR version that came
// with it, or the one that the types of the values need. Throws kInvalidArgument for an opset that is lower
// than the lowest, which names the node that needs more, or one that is not known; kUnsupportedOperator for
// an operator that is not handled and means something else in its file's opset than in this one.
struct Versions {
  int64_t opset, ir;
};
Versions versions_of(const Model& model, int64_t opset = 0);

// How a model is written. With a chunk above 0, tensors of 1 KiB and more may lie in files beside the model,
// `name`_data, `name`_data_1, ..., each of no more bytes than a chunk, or with one larger tensor:
// if the caller asks for them (`external`), and if the model would be larger than the 2 GiB that a protobuf
// message can have.
struct WriteOptions {
  int64_t opset = 0;
  std::string name = {};
  bool external = false;
  uint64_t chunk = 0;
};
// The model's file first. They share the model's tensors. Throws as write() does.
std::vector<WrittenFile> write_files(const Model& model, const WriteOptions& options);

// Writes a ModelProto with those versions, operators in the form of that opset. The other domains a graph
// uses are declared at version 1, or at the version the file had. The same model always gives the same bytes.
// Throws kInvalidArgument beyond the 2 GiB that a protobuf message can have, and what versions_of() throws.
std::vector<std::byte> write(const Model& model, int64_t opset = 0);

// How many bytes write() gives, without a copy of the weights. Throws what write() throws.
size_t size_of(const Model& model, int64_t opset = 0);

}  // namespace zp::onnx
