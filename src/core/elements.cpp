#include "core/elements.h"

#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/tensor.h"

namespace zp {
namespace {

template <class T, class W>
void widen(const std::byte* x, int64_t begin, int64_t count, W* out) {
  const T* from = reinterpret_cast<const T*>(x) + begin;
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<W>(from[i]);
}

// A double cut to a signed integer; the lowest one for NaN and for what it cannot hold.
template <class T>
T cut(double v) {
  constexpr T kLowest = std::numeric_limits<T>::min();
  constexpr double kEnd = -static_cast<double>(kLowest);
  // Truncated first: -2147483648.5 is held.
  return std::trunc(v) >= -kEnd && v < kEnd ? static_cast<T>(v) : kLowest;
}

template <class T, class W>
T narrow(W v) {
  if constexpr (std::is_same_v<W, double> && std::is_integral_v<T>) {
    using Signed = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
    if constexpr (std::is_unsigned_v<T> && sizeof(T) >= 4) {
      constexpr T kHalf = T{1} << (8 * sizeof(T) - 1);
      if (v >= static_cast<double>(kHalf))
        return static_cast<T>(cut<Signed>(v - static_cast<double>(kHalf))) ^ kHalf;
    }
    return static_cast<T>(cut<Signed>(v));
  } else {
    return static_cast<T>(v);
  }
}

template <class T, class W>
void put(const W* in, std::byte* y, int64_t begin, int64_t count) {
  T* to = reinterpret_cast<T*>(y) + begin;
  for (int64_t i = 0; i < count; ++i) to[i] = narrow<T>(in[i]);
}

uint16_t to_bfloat16(float v) {
  const auto bits = std::bit_cast<uint32_t>(v);
  if (v != v) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace

template <class W>
void load_elements(const std::byte* x, DType type, int64_t begin, int64_t count, W* out) {
  switch (type) {
    case DType::kFloat32:
      return widen<float>(x, begin, count, out);
    case DType::kFloat64:
      return widen<double>(x, begin, count, out);
    case DType::kBool:
      return widen<bool>(x, begin, count, out);
    case DType::kInt8:
      return widen<int8_t>(x, begin, count, out);
    case DType::kUint8:
      return widen<uint8_t>(x, begin, count, out);
    case DType::kInt16:
      return widen<int16_t>(x, begin, count, out);
    case DType::kUint16:
      return widen<uint16_t>(x, begin, count, out);
    case DType::kInt32:
      return widen<int32_t>(x, begin, count, out);
    case DType::kUint32:
      return widen<uint32_t>(x, begin, count, out);
    case DType::kInt64:
      return widen<int64_t>(x, begin, count, out);
    case DType::kUint64:
      return widen<uint64_t>(x, begin, count, out);
    case DType::kFloat16:
    case DType::kBfloat16: {
      const auto* from = reinterpret_cast<const uint16_t*>(x) + begin;
      for (int64_t i = 0; i < count; ++i) {
        out[i] =
            static_cast<W>(type == DType::kFloat16 ? half_to_float(from[i]) : bfloat16_to_float(from[i]));
      }
      return;
    }
    default:  // 4 bits
      for (int64_t i = 0; i < count; ++i) {
        const int64_t at = begin + i;
        const int nibble = (std::to_integer<int>(x[at / 2]) >> (at % 2 * 4)) & 15;
        out[i] = static_cast<W>(type == DType::kInt4 && nibble >= 8 ? nibble - 16 : nibble);
      }
  }
}

template <class W>
void store_elements(const W* in, std::byte* y, DType type, int64_t begin, int64_t count) {
  switch (type) {
    case DType::kFloat32:
      return put<float>(in, y, begin, count);
    case DType::kFloat64:
      return put<double>(in, y, begin, count);
    case DType::kInt8:
      return put<int8_t>(in, y, begin, count);
    case DType::kUint8:
      return put<uint8_t>(in, y, begin, count);
    case DType::kInt16:
      return put<int16_t>(in, y, begin, count);
    case DType::kUint16:
      return put<uint16_t>(in, y, begin, count);
    case DType::kInt32:
      return put<int32_t>(in, y, begin, count);
    case DType::kUint32:
      return put<uint32_t>(in, y, begin, count);
    case DType::kInt64:
      return put<int64_t>(in, y, begin, count);
    case DType::kUint64:
      return put<uint64_t>(in, y, begin, count);
    case DType::kBool:
      for (int64_t i = 0; i < count; ++i) y[begin + i] = std::byte{in[i] != W{0}};
      return;
    case DType::kFloat16:
    case DType::kBfloat16: {
      auto* to = reinterpret_cast<uint16_t*>(y) + begin;
      for (int64_t i = 0; i < count; ++i) {
        const auto v = static_cast<float>(in[i]);
        to[i] = type == DType::kFloat16 ? float_to_half(v) : to_bfloat16(v);
      }
      return;
    }
    default:  // 4 bits, two to a byte
      for (int64_t i = 0; i < count; i += 2) {
        const int low = narrow<int8_t>(in[i]) & 15, high = i + 1 < count ? narrow<int8_t>(in[i + 1]) & 15 : 0;
        y[(begin + i) / 2] = static_cast<std::byte>(low | high << 4);
      }
  }
}

template void load_elements(const std::byte*, DType, int64_t, int64_t, double*);
template void load_elements(const std::byte*, DType, int64_t, int64_t, int64_t*);
template void store_elements(const double*, std::byte*, DType, int64_t, int64_t);
template void store_elements(const int64_t*, std::byte*, DType, int64_t, int64_t);

}  // namespace zp
