// Bytes and tensors: files come in through Buffer, filled once by JavaScript and then owned by the engine;
// tensors come in and bytes go out as copies.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "answers.h"
#include "core/tensor.h"
#include "runtime/session.h"

namespace zp::bindings {

// Memory of the engine's that JavaScript fills. Taken by the call that it is passed to.
class Buffer {
 public:
  explicit Buffer(size_t size) : bytes_(allocate_bytes(size, Clear::kSlack)), size_(size) {}
  val view() const { return view_of(bytes_.get(), size_); }
  size_t size() const { return size_; }
  const std::byte* data() const { return bytes_.get(); }
  std::shared_ptr<std::byte> take() {
    if (!bytes_) throw_error(ErrorCode::kInternal, "a buffer was passed to the engine twice");
    return std::move(bytes_);
  }

 private:
  std::shared_ptr<std::byte> bytes_;
  size_t size_;
};

std::vector<std::string> strings_of(const val& object, Name key);
// Of a list of numbers.
Shape shape_of(const val& list);
// [{ name, type, dims, bytes } | { name, type: 'string', dims, strings }]
std::vector<runtime::Feed> feeds_of(const val& list);
val tensor_of(std::string_view name, const TensorView& tensor);

}  // namespace zp::bindings
