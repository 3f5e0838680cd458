// A dense, row-major array with a type and dimensions. Cheap to copy: copies share the data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace zp {

using Shape = std::vector<int64_t>;

// Product of the dimensions. Throws kShapeMismatch if one is negative or the product exceeds 2^40.
int64_t element_count(std::span<const int64_t> dims);
std::string to_string(std::span<const int64_t> dims);  // "[1, 3, 224, 224]"

// A view of elements whose type is known only at run time. Strings are addresses of strings that somebody
// keeps as long as the view is used; a null one is the empty string.
struct TensorView {
  DType dtype = DType::kUndefined;
  std::span<const int64_t> dims;
  const std::byte* data = nullptr;
};

// String `i` of elements that are strings.
std::string_view string_at(const std::byte* data, int64_t i);
// The strings of a view of such, in order.
std::vector<std::string> strings_of(const TensorView& view);

class Tensor {
 public:
  // Kernels may read this many bytes past the last element; every allocation of ours has them.
  static constexpr size_t kReadSlack = 64;
  static constexpr size_t kAlignment = 64;

  Tensor() = default;
  // Allocated, zero-filled. Throws kOutOfMemory.
  Tensor(DType dtype, Shape dims);
  // Shares `data`, which must hold bytes_of(dtype, elements) bytes, aligned for the element type.
  Tensor(DType dtype, Shape dims, std::shared_ptr<const std::byte> data);

  template <class T>
  static Tensor of(Shape dims, std::span<const T> values);
  template <class T>
  static Tensor of(Shape dims, std::initializer_list<T> values) {
    return of<T>(std::move(dims), std::span<const T>(values.begin(), values.size()));
  }
  template <class T>
  static Tensor scalar(T value) {
    return of<T>({}, {value});
  }
  // Keeps strings of its own.
  static Tensor copy_of(const TensorView& view);
  // As many strings as `dims` has elements: missing ones are empty. The data are their addresses, so that
  // what moves elements moves strings like any others.
  static Tensor of_strings(Shape dims, std::vector<std::string> values);

  DType dtype() const { return dtype_; }
  const Shape& dims() const { return dims_; }
  int64_t size() const { return size_; }
  size_t bytes() const { return bytes_of(dtype_, size_); }
  bool defined() const { return dtype_ != DType::kUndefined; }

  const std::byte* raw() const { return data_.get(); }
  const std::shared_ptr<const std::byte>& storage() const { return data_; }
  // Throws kInternal when T is not the element type.
  template <class T>
  std::span<const T> data() const {
    check_type(dtype_of<T>());
    return {reinterpret_cast<const T*>(data_.get()), static_cast<size_t>(size_)};
  }
  // For a tensor that was just allocated and is not yet shared.
  std::byte* mutable_raw() { return const_cast<std::byte*>(data_.get()); }
  template <class T>
  std::span<T> mutable_data() {
    check_type(dtype_of<T>());
    return {reinterpret_cast<T*>(mutable_raw()), static_cast<size_t>(size_)};
  }
  // Of a tensor that was made of strings or copied; in order.
  const std::vector<std::string>& strings() const;

  // The same data under other dimensions with as many elements.
  Tensor reshaped(Shape dims) const;
  TensorView view() const { return {dtype_, dims_, data_.get()}; }

  // Element `i` of a 4-, 8-, 16-, 32- or 64-bit integer or bool tensor, widened.
  int64_t integer_at(int64_t i) const;
  // All elements of an integer tensor, widened: how shape arguments are read.
  std::vector<int64_t> integers() const;
  // All elements of a float or integer tensor as float32.
  std::vector<float> floats() const;

 private:
  void check_type(DType type) const;

  DType dtype_ = DType::kUndefined;
  Shape dims_;
  int64_t size_ = 0;
  std::shared_ptr<const std::byte> data_;
  std::shared_ptr<const std::vector<std::string>> strings_;
};

// Aligned bytes with Tensor::kReadSlack behind them, zero-filled unless the caller fills them itself. Throws
// kOutOfMemory.
enum class Clear : uint8_t { kAll, kSlack };
std::shared_ptr<std::byte> allocate_bytes(size_t bytes, Clear clear = Clear::kAll);

template <class T>
Tensor Tensor::of(Shape dims, std::span<const T> values) {
  Tensor t(dtype_of<T>(), std::move(dims));
  std::span<T> to = t.mutable_data<T>();
  for (size_t i = 0; i < to.size() && i < values.size(); ++i) to[i] = values[i];
  return t;
}

// IEEE half precision and bfloat16, by bits.
float half_to_float(uint16_t bits);
uint16_t float_to_half(float value);  // round to nearest even
inline float bfloat16_to_float(uint16_t bits);

}  // namespace zp

#include <bit>
inline float zp::bfloat16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
