#include "kernels/elementwise/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/element_types.h"
#include "kernels/elementwise/lanes.h"
#include "kernels/requantize.h"

namespace zp::kernels {

int32_t quantized_at(const void* x, DType type, size_t i) {
  int32_t q = 0;
  if (visit(type, ElementTypes<uint8_t, int8_t, uint16_t, int16_t, int32_t>(),
            [&]<class T>(Element<T>) { q = static_cast<const T*>(x)[i]; })) {
    return q;
  }
  const int nibble = (static_cast<const uint8_t*>(x)[i / 2] >> (i % 2 * 4)) & 15;
  return type == DType::kInt4 && nibble >= 8 ? nibble - 16 : nibble;
}

namespace {

// Integers of 16 bits fit the rounding trick of requantize.h too: offsets from the zero point stay below
// 2^17.
int32_t quantize_one(float x, float scale, int32_t zero_point, int32_t lo, int32_t hi) {
  const float low = static_cast<float>(lo - zero_point), high = static_cast<float>(hi - zero_point);
  x /= scale;
  x = low < x ? x : low;
  x = high < x ? high : x;
  return std::bit_cast<int32_t>(x + kRoundingMagic) - (kRoundingMagicBits - zero_point);
}

float dequantize_one(int32_t q, float scale, int32_t zero_point) {
  const uint32_t centred = static_cast<uint32_t>(q) - static_cast<uint32_t>(zero_point);
  return static_cast<float>(static_cast<int32_t>(centred)) * scale;
}

void store_one(void* y, DType type, size_t i, int32_t q) {
  if (visit(type, ElementTypes<uint8_t, int8_t, uint16_t, int16_t>(),
            [&]<class T>(Element<T>) { static_cast<T*>(y)[i] = static_cast<T>(q); })) {
    return;
  }
  uint8_t& byte = static_cast<uint8_t*>(y)[i / 2];
  byte = static_cast<uint8_t>(i % 2 ? (byte & 15) | (q & 15) << 4 : q & 15);
}

// Eight elements of 8 or 16 bits as two vectors of int32.
struct Ints8 {
  v128_t low, high;
};
Ints8 load8(const void* x, DType type, size_t i) {
  if (type == DType::kUint8 || type == DType::kUint16) {
    const v128_t wide = type == DType::kUint8 ? wasm_u16x8_load8x8(static_cast<const uint8_t*>(x) + i)
                                              : wasm_v128_load(static_cast<const uint16_t*>(x) + i);
    return {wasm_u32x4_extend_low_u16x8(wide), wasm_u32x4_extend_high_u16x8(wide)};
  }
  const v128_t wide = type == DType::kInt8 ? wasm_i16x8_load8x8(static_cast<const int8_t*>(x) + i)
                                           : wasm_v128_load(static_cast<const int16_t*>(x) + i);
  return {wasm_i32x4_extend_low_i16x8(wide), wasm_i32x4_extend_high_i16x8(wide)};
}
// Values fit the type already: their low bytes are the result.
void store8(void* y, DType type, size_t i, v128_t low, v128_t high) {
  if (bits_of(type) == 8) {
    wasm_v128_store64_lane(
        static_cast<uint8_t*>(y) + i,
        wasm_i8x16_shuffle(low, high, 0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28), 0);
  } else {
    wasm_v128_store(static_cast<uint16_t*>(y) + i, wasm_i16x8_shuffle(low, high, 0, 2, 4, 6, 8, 10, 12, 14));
  }
}

bool vectorised(DType type) { return bits_of(type) == 8 || bits_of(type) == 16; }

}  // namespace

template <class Isa>
void quantize(const float* x, float scale, int32_t zero_point, DType type, void* y, size_t first,
              size_t count) {
  const IntegerRange range = integer_range(type);
  size_t i = 0;
  if constexpr (Isa::kVector) {
    if (vectorised(type)) {
      const v128_t divisor = wasm_f32x4_splat(scale), magic = wasm_f32x4_splat(kRoundingMagic);
      const v128_t low = wasm_f32x4_splat(static_cast<float>(range.min - zero_point));
      const v128_t high = wasm_f32x4_splat(static_cast<float>(range.max - zero_point));
      const v128_t unmagic = wasm_i32x4_splat(kRoundingMagicBits - zero_point);
      const auto four = [&](const float* p) {
        v128_t v = wasm_f32x4_div(wasm_v128_load(p), divisor);
        v = wasm_f32x4_pmin(wasm_f32x4_pmax(low, v), high);
        return wasm_i32x4_sub(wasm_f32x4_add(v, magic), unmagic);
      };
      for (; i + 8 <= count; i += 8) store8(y, type, first + i, four(x + i), four(x + i + 4));
    }
  }
  for (; i < count; ++i)
    store_one(y, type, first + i, quantize_one(x[i], scale, zero_point, range.min, range.max));
}

template <class Isa>
void dequantize(const void* x, DType type, float scale, int32_t zero_point, float* y, size_t first,
                size_t count) {
  size_t i = 0;
  if constexpr (Isa::kVector) {
    const v128_t factor = wasm_f32x4_splat(scale), zero = wasm_i32x4_splat(zero_point);
    const auto four = [&](v128_t q) {
      return wasm_f32x4_mul(wasm_f32x4_convert_i32x4(wasm_i32x4_sub(q, zero)), factor);
    };
    if (vectorised(type)) {
      for (; i + 8 <= count; i += 8) {
        const Ints8 q = load8(x, type, first + i);
        wasm_v128_store(y + i, four(q.low));
        wasm_v128_store(y + i + 4, four(q.high));
      }
    } else if (type == DType::kInt32) {
      for (; i + 4 <= count; i += 4) {
        wasm_v128_store(y + i, four(wasm_v128_load(static_cast<const int32_t*>(x) + first + i)));
      }
    }
  }
  for (; i < count; ++i) y[i] = dequantize_one(quantized_at(x, type, first + i), scale, zero_point);
}

template <class Isa>
void quantize_each(const float* x, const float* scales, const int32_t* zero_points, DType type, void* y,
                   size_t first, size_t count) {
  const IntegerRange range = integer_range(type);
  size_t i = 0;
  if constexpr (Isa::kVector) {
    if (vectorised(type)) {
      const v128_t magic = wasm_f32x4_splat(kRoundingMagic),
                   magic_bits = wasm_i32x4_splat(kRoundingMagicBits);
      const v128_t min = wasm_i32x4_splat(range.min), max = wasm_i32x4_splat(range.max);
      const auto four = [&](size_t at) {
        const v128_t zero = zero_points ? wasm_v128_load(zero_points + at) : wasm_i32x4_splat(0);
        v128_t v = wasm_f32x4_div(wasm_v128_load(x + at), wasm_v128_load(scales + at));
        v = wasm_f32x4_pmax(wasm_f32x4_convert_i32x4(wasm_i32x4_sub(min, zero)), v);
        v = wasm_f32x4_pmin(v, wasm_f32x4_convert_i32x4(wasm_i32x4_sub(max, zero)));
        return wasm_i32x4_add(wasm_i32x4_sub(wasm_f32x4_add(v, magic), magic_bits), zero);
      };
      for (; i + 8 <= count; i += 8) store8(y, type, first + i, four(i), four(i + 4));
    }
  }
  for (; i < count; ++i) {
    store_one(y, type, first + i,
              quantize_one(x[i], scales[i], zero_points ? zero_points[i] : 0, range.min, range.max));
  }
}

template <class Isa>
void dequantize_each(const void* x, DType type, const float* scales, const int32_t* zero_points, float* y,
                     size_t first, size_t count) {
  size_t i = 0;
  if constexpr (Isa::kVector) {
    if (vectorised(type)) {
      const auto four = [&](v128_t q, size_t at) {
        if (zero_points) q = wasm_i32x4_sub(q, wasm_v128_load(zero_points + at));
        wasm_v128_store(y + at, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(q), wasm_v128_load(scales + at)));
      };
      for (; i + 8 <= count; i += 8) {
        const Ints8 q = load8(x, type, first + i);
        four(q.low, i);
        four(q.high, i + 4);
      }
    }
  }
  for (; i < count; ++i) {
    y[i] = dequantize_one(quantized_at(x, type, first + i), scales[i], zero_points ? zero_points[i] : 0);
  }
}

template <class Isa>
Extent extent_with_zero(const float* x, size_t count) {
  using L = Lanes<Isa>;
  // A NaN as the second argument is passed over by the select-like min and max.
  auto min = L::splat(0.0f), max = min;
  size_t i = 0;
  for (; i + L::kCount <= count; i += L::kCount) {
    const auto v = L::load(x + i);
    min = L::min(min, v);
    max = L::max(max, v);
  }
  if (i < count) {
    const auto v = L::load_some(x + i, count - i);
    min = L::min(min, v);
    max = L::max(max, v);
  }
  return {L::lowest(min), L::highest(max)};
}

DynamicScale dynamic_scale(Extent extent) {
  const float span = extent.max - extent.min;
  const float scale = span == 0.0f ? 1.0f : span / 255.0f;
  // Of infinity / infinity the highest, as in ONNX Runtime.
  const float zero_point = std::min(std::max(0.0f, 0.0f - extent.min / scale), 255.0f);
  const bool infinite = std::isinf(extent.min) && std::isinf(scale);
  return {scale, static_cast<uint8_t>(infinite ? 255.0f : std::nearbyint(zero_point))};
}

#define ZP_INSTANTIATE(Isa)                                                                            \
  template void quantize<Isa>(const float*, float, int32_t, DType, void*, size_t, size_t);             \
  template void dequantize<Isa>(const void*, DType, float, int32_t, float*, size_t, size_t);           \
  template void quantize_each<Isa>(const float*, const float*, const int32_t*, DType, void*, size_t,   \
                                   size_t);                                                            \
  template void dequantize_each<Isa>(const void*, DType, const float*, const int32_t*, float*, size_t, \
                                     size_t);                                                          \
  template Extent extent_with_zero<Isa>(const float*, size_t);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
