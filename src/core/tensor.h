// A dense, row-major array with a type and dimensions. Cheap to copy: copies share the data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/function.h"
#include "core/memory.h"

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

class Tensor;

// The smallest and the largest of some numbers; zeros where there are none. `finite`: none is NaN or an
// infinity.
struct Extremes {
  float lo = 0, hi = 0;
  bool finite = true;
};

// Bytes of a tensor that lie in a file, and are read when somebody looks at them.
class FileBytes {
 public:
  virtual ~FileBytes() = default;
  // The bytes, one copy for all who hold it. Throws kIo, kOutOfMemory.
  std::shared_ptr<const std::byte> bytes() const {
    std::shared_ptr<const std::byte> read = read_.lock();
    if (!read) read_ = read = read_all();
    return read;
  }
  // Puts other bytes into a file of the same kind, for what is made from these. Null: there is no such file.
  virtual std::shared_ptr<const FileBytes> put(std::span<const std::byte> bytes) const = 0;
  // The tensors that a program which was stopped had made of these bytes, in the way that `how` names, and
  // noted; empty: none.
  virtual std::vector<Tensor> noted(const std::string& how) const;
  // Notes them for the next program, should this one be stopped.
  virtual void note(const std::string& how, std::span<const Tensor> made) const;

 protected:
  // Aligned, with kReadSlack behind them.
  virtual std::shared_ptr<const std::byte> read_all() const = 0;

 private:
  friend Extremes extremes_of(const Tensor& tensor);
  mutable std::weak_ptr<const std::byte> read_;
  mutable std::optional<Extremes> extremes_;  // of float32
};

class Tensor {
 public:
  Tensor() = default;
  // Allocated, zero-filled. Throws kOutOfMemory.
  Tensor(DType dtype, Shape dims);
  // Shares `data`, which must hold bytes_of(dtype, elements) bytes, aligned for the element type.
  Tensor(DType dtype, Shape dims, std::shared_ptr<const std::byte> data);
  // Its data are in a file: read when they are first asked for, and then kept until forget(). Only the thread
  // that runs the engine may ask.
  Tensor(DType dtype, Shape dims, std::shared_ptr<const FileBytes> file);

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

  const std::byte* raw() const {
    if (file_ && !data_) read();
    return data_.get();
  }
  // What keeps the data, wherever they are: tensors that share them have the same one.
  std::shared_ptr<const void> owner() const {
    if (file_) return file_;
    return data_;
  }
  // An address that tells tensors apart, as owner() does.
  const void* identity() const { return file_ ? static_cast<const void*>(file_.get()) : data_.get(); }
  // One of these keeps the data: memory, or a file. Memory is null where a file was not read.
  const std::shared_ptr<const std::byte>& storage() const { return data_; }
  const std::shared_ptr<const FileBytes>& file() const { return file_; }
  // Gives back the memory of data that can be read again. Nobody may use their address any more.
  void forget() const {
    if (file_) data_.reset();
  }
  bool in_memory() const { return !file_ || data_; }
  // Throws kInternal when T is not the element type.
  template <class T>
  std::span<const T> data() const {
    check_type(dtype_of<T>());
    return {reinterpret_cast<const T*>(raw()), static_cast<size_t>(size_)};
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
  TensorView view() const { return {dtype_, dims_, raw()}; }

  // Element `i` of an integer or bool tensor, widened.
  int64_t integer_at(int64_t i) const;
  // All elements of an integer tensor, widened: how shape arguments are read.
  std::vector<int64_t> integers() const;
  // All elements of a float or integer tensor as float32.
  std::vector<float> floats() const;

 private:
  void check_type(DType type) const;
  void read() const;

  DType dtype_ = DType::kUndefined;
  Shape dims_;
  int64_t size_ = 0;
  mutable std::shared_ptr<const std::byte> data_;
  std::shared_ptr<const FileBytes> file_;
  std::shared_ptr<const std::vector<std::string>> strings_;
};

// For as long as it lives, a tensor may be looked at: what a file has of it is forgotten then, unless it was
// read before.
class Glance {
 public:
  explicit Glance(const Tensor& tensor) : tensor_(tensor), was_there_(tensor.in_memory()) {}
  ~Glance() {
    if (!was_there_) tensor_.forget();
  }
  Glance(const Glance&) = delete;
  Glance& operator=(const Glance&) = delete;

 private:
  const Tensor& tensor_;
  bool was_there_;
};

Extremes extremes_of(std::span<const float> numbers);
// Of float32. A tensor in a file is read and forgotten again, once however often this is asked: a plan asks
// for all weights, and each setting has a plan of its own.
Extremes extremes_of(const Tensor& tensor);

// `made`, with its data in a file beside those of `source` where these are in one, and `made` is large.
Tensor kept_beside(const Tensor& source, Tensor made);
// The tensors that `make` makes of `source` alone, kept beside it. `how` names the work and all that it
// depends on: of a source in a file, the same work that a stopped program has noted is not done again.
std::vector<Tensor> made_beside(const Tensor& source, std::string_view how,
                                FunctionRef<std::vector<Tensor>()> make);

// Aligned bytes with kReadSlack behind them, zero-filled unless the caller fills them itself. Throws
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
