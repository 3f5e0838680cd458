// TensorProto to Tensor, sharing the file's bytes where their form and place allow it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "core/tensor.h"
#include "onnx/wire.h"

namespace zp::onnx {

class ExternalSource;

struct File {
  std::shared_ptr<std::byte> bytes;
  size_t size;
  ExternalSource* external = nullptr;  // of tensors in other files; null: these files are missing
};

// The DType of a TensorProto.DataType. Throws kUnsupportedType for a type of ONNX that the engine does not
// have, and kInvalidModel for a number that is no type; errors name `tensor`.
DType element_type(int64_t data_type, const std::string& tensor);

// The bytes that so many elements take. Throws kInvalidModel for dimensions that no tensor can have.
uint64_t data_bytes(DType type, const Shape& dims, const std::string& tensor);

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// Reads a TensorProto. Bytes of the message that come before its data are overwritten when the data must be
// moved to be aligned: nothing may read the message again. `otherwise_named` names a tensor without a name in
// errors.
NamedTensor read_tensor_message(Message message, const File& file, const std::string& otherwise_named);

}  // namespace zp::onnx
