// A file to write: bytes of its own, and bytes of tensors, which are copied when the file is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace zp::onnx {

class WrittenFile {
 public:
  explicit WrittenFile(std::string name) : name_(std::move(name)) {}
  const std::string& name() const { return name_; }
  uint64_t size() const { return size_; }
  // Bytes from `from` on, which has to leave as many. Tensors in files are read, and forgotten after their
  // last byte was copied.
  void read(uint64_t from, std::span<std::byte> to) const;

  // At the end:
  void add(const std::byte* bytes, size_t count);
  void add(Tensor tensor);
  void pad(uint64_t size) { size_ = size; }  // with zeros; nothing of its own may follow

  // For messages whose length is written when they are closed: own bytes, no tensor between them.
  std::byte* own(uint64_t at) { return own_.data() + own_before(at); }
  void erase(uint64_t from, uint64_t to);
  void cut(uint64_t size);  // behind which there is no tensor

 private:
  struct Placed {
    uint64_t offset;
    Tensor tensor;
    uint64_t before;  // bytes of tensors before it
  };
  size_t own_before(uint64_t at) const;

  std::string name_;
  uint64_t size_ = 0;
  std::vector<std::byte> own_;
  std::vector<Placed> tensors_;  // by offset
};

}  // namespace zp::onnx
