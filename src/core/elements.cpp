#include "core/elements.h"

#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/element_types.h"
#include "core/tensor.h"

namespace zp {
namespace {

using NumberTypes = ElementTypes<float, double, bool, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                                 int64_t, uint64_t>;

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
  if constexpr (std::is_same_v<T, bool>) {
    return v != W{0};
  } else if constexpr (std::is_same_v<W, double> && std::is_integral_v<T>) {
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
  if (visit(type, NumberTypes(), [&]<class T>(Element<T>) { widen<T>(x, begin, count, out); })) return;
  if (type == DType::kFloat16 || type == DType::kBfloat16) {
    const auto* from = reinterpret_cast<const uint16_t*>(x) + begin;
    for (int64_t i = 0; i < count; ++i) {
      out[i] = static_cast<W>(type == DType::kFloat16 ? half_to_float(from[i]) : bfloat16_to_float(from[i]));
    }
    return;
  }
  const int bits = bits_of(type), per_byte = 8 / bits;
  const bool floats = is_float(type), is_signed = is_signed_integer(type);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = begin + i;
    const int code = (std::to_integer<int>(x[at / per_byte]) >> (at % per_byte * bits)) & ((1 << bits) - 1);
    if (floats) {
      out[i] = static_cast<W>(decoded(type, code));
    } else {
      out[i] = static_cast<W>(is_signed && code >> (bits - 1) ? code - (1 << bits) : code);
    }
  }
}

template <class W>
void store_elements(const W* in, std::byte* y, DType type, int64_t begin, int64_t count, Fit fit) {
  if (visit(type, NumberTypes(), [&]<class T>(Element<T>) { put<T>(in, y, begin, count); })) return;
  if (type == DType::kFloat16 || type == DType::kBfloat16) {
    auto* to = reinterpret_cast<uint16_t*>(y) + begin;
    for (int64_t i = 0; i < count; ++i) {
      const auto v = static_cast<float>(in[i]);
      to[i] = type == DType::kFloat16 ? float_to_half(v) : to_bfloat16(v);
    }
    return;
  }
  const int bits = bits_of(type), per_byte = 8 / bits;
  const bool floats = is_float(type);
  for (int64_t i = 0; i < count; i += per_byte) {
    int byte = 0;
    for (int k = 0; k < per_byte && i + k < count; ++k) {
      const int code =
          floats ? encoded(type, static_cast<double>(in[i + k]), fit) : narrow<int8_t>(in[i + k]);
      byte |= (code & ((1 << bits) - 1)) << (k * bits);
    }
    y[(begin + i) / per_byte] = static_cast<std::byte>(byte);
  }
}

template void load_elements(const std::byte*, DType, int64_t, int64_t, double*);
template void load_elements(const std::byte*, DType, int64_t, int64_t, int64_t*);
template void store_elements(const double*, std::byte*, DType, int64_t, int64_t, Fit);
template void store_elements(const int64_t*, std::byte*, DType, int64_t, int64_t, Fit);

}  // namespace zp
