// Element types, numbered as ONNX's TensorProto.DataType numbers them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace zp {

enum class DType : uint8_t {
  kUndefined = 0,
  kFloat32 = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kFloat64 = 11,
  kUint32 = 12,
  kUint64 = 13,
  kBfloat16 = 16,
  kFloat8E4M3FN = 17,  // floats of 8 and 4 bits: core/small_float.h
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUint4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  // Weights that are quantized here are 4-bit tensors of four values (quant/numbers.h).
  kUint2 = 25,
  kInt2 = 26,
};

// Bits of one element; 0 for kUndefined. Types below 8 bits are packed, two or four to a byte, the low bits
// first. An element of kString is the address of a string that a tensor keeps (core/tensor.h).
int bits_of(DType type);
// "float32", "uint8", ... as the JavaScript API spells them.
std::string_view name_of(DType type);
// kUndefined when the name is unknown.
DType dtype_named(std::string_view name);

// Bytes that `count` elements of `type` take. Throws kOutOfMemory for more than the address space has, which
// in WebAssembly is 4 GiB: counts come out of models and feeds.
size_t bytes_of(DType type, int64_t count);

// The integer range of a type that quantized values can have.
struct IntegerRange {
  int32_t min, max;
};
// Throws kUnsupportedType for types that are not 2-, 4-, 8-, 16- or 32-bit integers.
IntegerRange integer_range(DType type);
bool is_signed_integer(DType type);
// Of whatever width.
bool is_float(DType type);

// The DType of a C++ element type.
template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::kFloat32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::kFloat64;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::kUint8;
}
template <>
constexpr DType dtype_of<int8_t>() {
  return DType::kInt8;
}
template <>
constexpr DType dtype_of<uint16_t>() {
  return DType::kUint16;
}
template <>
constexpr DType dtype_of<int16_t>() {
  return DType::kInt16;
}
template <>
constexpr DType dtype_of<uint32_t>() {
  return DType::kUint32;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::kInt32;
}
template <>
constexpr DType dtype_of<uint64_t>() {
  return DType::kUint64;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::kInt64;
}
template <>
constexpr DType dtype_of<bool>() {
  return DType::kBool;
}

}  // namespace zp
