// Element types as C++ types: code that is the same for several is written once, and visits them.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace zp {

constexpr bool is_8_bit(DType type) { return type == DType::kInt8 || type == DType::kUint8; }
constexpr bool is_4_bit(DType type) { return type == DType::kInt4 || type == DType::kUint4; }

template <class... T>
struct ElementTypes {};
using IntegerTypes = ElementTypes<int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>;
template <class T>
struct Element {
  using Type = T;
};

template <class... T>
constexpr bool is_one_of(DType type, ElementTypes<T...>) {
  return ((type == dtype_of<T>()) || ...);
}
// Calls f(Element<T>()) with the T of the list that elements of `type` are in C++. False: the list has none.
template <class... T, class F>
constexpr bool visit(DType type, ElementTypes<T...>, F&& f) {
  return ((type == dtype_of<T>() && (f(Element<T>()), true)) || ...);
}

}  // namespace zp
