// Weights that lie in files beside the model: TensorProto.external_data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "onnx/wire.h"

namespace zp::onnx {

// Where the bytes of a tensor lie.
struct ExternalPiece {
  std::string tensor;    // its name, for errors
  std::string location;  // a path below the model's folder: parts with '/' between them, none of them ".."
  uint64_t offset = 0, bytes = 0;
  auto place() const { return std::tie(location, offset, bytes); }
};

// Gives a model that is read its pieces.
class ExternalSource {
 public:
  virtual ~ExternalSource() = default;
  // A tensor with these bytes, which it may share with other tensors. Throws kInvalidModel where the bytes
  // are missing.
  virtual Tensor tensor(const ExternalPiece& piece, DType dtype, Shape dims) = 0;
};

// The fields of a TensorProto that say where its bytes lie.
class ExternalFields {
 public:
  void add(Message entry);                           // external_data
  void set_place(int64_t place) { place_ = place; }  // data_location
  bool given() const { return place_ != 0; }
  // The piece, for a tensor of so many bytes. Throws kInvalidModel for a location outside the model's folder,
  // an offset or length that is no number, and a length that is not the tensor's.
  ExternalPiece piece(std::string_view tensor, uint64_t bytes) const;

 private:
  std::string location_, offset_, length_;
  int64_t place_ = 0;
  bool has_location_ = false, has_length_ = false;
};

// The pieces of other files that a model needs, each once, by file and offset. Does not change the model's
// file. Throws kInvalidModel for a wrong piece; read() reports all other faults.
std::vector<ExternalPiece> external_pieces(const std::byte* bytes, size_t size);

}  // namespace zp::onnx
