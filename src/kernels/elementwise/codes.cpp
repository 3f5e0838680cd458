#include "kernels/elementwise/codes.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/requantize.h"
#include "kernels/simd.h"

namespace zp::kernels {
namespace {

constexpr size_t kLanes = 4;

float steps_of(float x, float scale, int32_t zero_point, IntegerRange codes) {
  const float low = static_cast<float>(codes.min - zero_point),
              high = static_cast<float>(codes.max - zero_point);
  x /= scale;
  x = low < x ? x : low;
  x = high < x ? high : x;
  return (x + kRoundingMagic) - kRoundingMagic;
}

v128_t steps_of(v128_t x, v128_t scale, v128_t low, v128_t high) {
  const v128_t magic = wasm_f32x4_splat(kRoundingMagic);
  x = wasm_f32x4_pmin(wasm_f32x4_pmax(low, wasm_f32x4_div(x, scale)), high);
  return wasm_f32x4_sub(wasm_f32x4_add(x, magic), magic);
}

// The bounds of steps, for elements that have one zero point or one each.
struct Bounds {
  v128_t min, max;
  explicit Bounds(IntegerRange codes) : min(wasm_i32x4_splat(codes.min)), max(wasm_i32x4_splat(codes.max)) {}
  v128_t low(v128_t zero) const { return wasm_f32x4_convert_i32x4(wasm_i32x4_sub(min, zero)); }
  v128_t high(v128_t zero) const { return wasm_f32x4_convert_i32x4(wasm_i32x4_sub(max, zero)); }
};

// Four floats as doubles: two and two.
struct Doubles {
  v128_t low, high;
  explicit Doubles(v128_t x)
      : low(wasm_f64x2_promote_low_f32x4(x)),
        high(wasm_f64x2_promote_low_f32x4(wasm_i32x4_shuffle(x, x, 2, 3, 2, 3))) {}
};
v128_t product(v128_t a, v128_t b) { return wasm_f64x2_mul(a, b); }

// Four sums.
struct Lanes {
  double at[kLanes] = {};
  double sum() const { return (at[0] + at[1]) + (at[2] + at[3]); }
  v128_t half(size_t which) const { return wasm_v128_load(at + 2 * which); }
  void set(v128_t low, v128_t high) { wasm_v128_store(at, low), wasm_v128_store(at + 2, high); }
};

void add_fit(float x, float scale, float steps, double& error, double& dot, double& square) {
  const double d = static_cast<double>(x) - static_cast<double>(steps) * static_cast<double>(scale);
  error += d * d;
  dot += static_cast<double>(x) * static_cast<double>(steps);
  square += static_cast<double>(steps) * static_cast<double>(steps);
}

// Of two elements.
void add_fit(v128_t x, v128_t scale, v128_t steps, v128_t& error, v128_t& dot, v128_t& square) {
  const v128_t d = wasm_f64x2_sub(x, product(steps, scale));
  error = wasm_f64x2_add(error, product(d, d));
  dot = wasm_f64x2_add(dot, product(x, steps));
  square = wasm_f64x2_add(square, product(steps, steps));
}

// Codes, and the sums of Noise. `zero` and `scale` give those of element i, one or (in vectors) four.
template <class Isa, class Zero, class Scale, class Zeros, class Scales>
Noise encode_with(const float* x, IntegerRange codes, size_t count, int32_t* to, const Zero& zero,
                  const Scale& scale, const Zeros& zeros, const Scales& scales) {
  Lanes signal, noise;
  size_t i = 0;
  if constexpr (Isa::kVector) {
    const Bounds bounds(codes);
    v128_t s0 = signal.half(0), s1 = s0, n0 = s0, n1 = s0;
    for (; i + kLanes <= count; i += kLanes) {
      const v128_t v = wasm_v128_load(x + i), by = scales(i), from = zeros(i);
      const v128_t steps = steps_of(v, by, bounds.low(from), bounds.high(from));
      wasm_v128_store(to + i, wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(steps), from));
      const Doubles w(v), back(wasm_f32x4_mul(steps, by));
      const v128_t d0 = wasm_f64x2_sub(w.low, back.low), d1 = wasm_f64x2_sub(w.high, back.high);
      s0 = wasm_f64x2_add(s0, product(w.low, w.low)), s1 = wasm_f64x2_add(s1, product(w.high, w.high));
      n0 = wasm_f64x2_add(n0, product(d0, d0)), n1 = wasm_f64x2_add(n1, product(d1, d1));
    }
    signal.set(s0, s1), noise.set(n0, n1);
  }
  for (; i < count; ++i) {
    const float steps = steps_of(x[i], scale(i), zero(i), codes);
    to[i] = static_cast<int32_t>(steps) + zero(i);
    const double w = x[i], d = w - static_cast<double>(steps * scale(i));
    signal.at[i % kLanes] += w * w;
    noise.at[i % kLanes] += d * d;
  }
  return {signal.sum(), noise.sum()};
}

}  // namespace

template <class Isa>
Ends ends_of(const float* x, size_t count) {
  constexpr float kLeast = std::numeric_limits<float>::min();
  Ends ends;
  size_t i = 0;
  if constexpr (Isa::kVector) {
    const v128_t least = wasm_f32x4_splat(kLeast);
    v128_t lo = wasm_f32x4_splat(0), hi = lo;
    for (; i + kLanes <= count; i += kLanes) {
      v128_t v = wasm_v128_load(x + i);
      v = wasm_v128_andnot(v, wasm_f32x4_lt(wasm_f32x4_abs(v), least));
      lo = wasm_f32x4_pmin(lo, v), hi = wasm_f32x4_pmax(hi, v);  // of a NaN: what there was
    }
    float each[2 * kLanes];
    wasm_v128_store(each, lo), wasm_v128_store(each + kLanes, hi);
    for (size_t l = 0; l < kLanes; ++l) {
      ends.min = std::min(ends.min, each[l]);
      ends.max = std::max(ends.max, each[kLanes + l]);
    }
  }
  for (; i < count; ++i) {
    if (std::fabs(x[i]) < kLeast) continue;
    ends.min = std::min(ends.min, x[i]);
    ends.max = std::max(ends.max, x[i]);
  }
  return ends;
}

template <class Isa>
void pack_nibbles(const int32_t* x, size_t count, uint8_t* to) {
  size_t i = 0;
  if constexpr (Isa::kVector) {
    const v128_t nibble = wasm_i32x4_splat(15);
    const auto four = [&](const int32_t* p) { return wasm_v128_and(wasm_v128_load(p), nibble); };
    for (; i + 16 <= count; i += 16) {
      const v128_t a = wasm_i16x8_narrow_i32x4(four(x + i), four(x + i + 4)),
                   b = wasm_i16x8_narrow_i32x4(four(x + i + 8), four(x + i + 12));
      const v128_t bytes = wasm_u8x16_narrow_i16x8(a, b);                  // an element each
      const v128_t pairs = wasm_v128_or(bytes, wasm_u16x8_shr(bytes, 4));  // low byte of 16 bits: two of them
      wasm_v128_store64_lane(
          to + i / 2, wasm_i8x16_shuffle(pairs, pairs, 0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14),
          0);
    }
  }
  for (; i + 2 <= count; i += 2) to[i / 2] = static_cast<uint8_t>((x[i] & 15) | ((x[i + 1] & 15) << 4));
  if (i < count) to[i / 2] = static_cast<uint8_t>(x[i] & 15);
}

template <class Isa>
void unpack_nibbles(const uint8_t* x, size_t count, uint8_t flipped, uint8_t* to) {
  size_t i = 0;
  if constexpr (Isa::kVector) {
    const v128_t nibble = wasm_i8x16_splat(15), flip = wasm_i8x16_splat(static_cast<int8_t>(flipped));
    for (; i + 32 <= count; i += 32) {
      const v128_t pairs = wasm_v128_load(x + i / 2);
      const v128_t low = wasm_v128_xor(wasm_v128_and(pairs, nibble), flip),
                   high = wasm_v128_xor(wasm_u8x16_shr(pairs, 4), flip);
      wasm_v128_store(to + i,
                      wasm_i8x16_shuffle(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
      wasm_v128_store(to + i + 16, wasm_i8x16_shuffle(low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29,
                                                      14, 30, 15, 31));
    }
  }
  for (; i < count; ++i) to[i] = static_cast<uint8_t>(((x[i / 2] >> (i % 2 * 4)) & 15) ^ flipped);
}

namespace {

// f(row, column) for rows `step` apart, some columns side by side, whose bytes share lines of the cache.
template <class F>
void for_each_in_tiles(const CodeMatrix& m, size_t step, F&& f) {
  constexpr size_t kSide = 32;
  for (size_t left = 0; left < m.columns; left += kSide) {
    const size_t right = std::min(left + kSide, m.columns);
    for (size_t row = 0; row < m.rows; row += step)
      for (size_t column = left; column < right; ++column) f(row, column);
  }
}

// Where the code of a row and a column lies.
struct Steps {
  size_t row, column;
  explicit Steps(const CodeMatrix& m)
      : row(m.transposed ? 1 : m.columns), column(m.transposed ? m.rows : 1) {}
};

template <int kBits>
void pack(const uint8_t* codes, const CodeMatrix& m, uint8_t* to, size_t stride) {
  constexpr size_t kEach = 8 / kBits;
  const Steps by(m);
  const auto pack_byte = [&](size_t row, size_t column, size_t count) {
    const uint8_t* from = codes + row * by.row + column * by.column;
    unsigned byte = 0;
    for (size_t k = 0; k < count; ++k) byte |= static_cast<unsigned>(from[k * by.row]) << (k * kBits);
    to[column * stride + row / kEach] = static_cast<uint8_t>(byte);
  };
  const size_t left = m.rows % kEach, whole = m.rows - left;
  for_each_in_tiles({.rows = whole, .columns = m.columns}, kEach,
                    [&](size_t row, size_t column) { pack_byte(row, column, kEach); });
  for (size_t column = 0; left > 0 && column < m.columns; ++column) pack_byte(whole, column, left);
}

template <int kBits>
void unpack(const uint8_t* packed, size_t stride, const CodeMatrix& m, uint8_t* codes) {
  constexpr size_t kEach = 8 / kBits;
  constexpr unsigned kMask = (1U << kBits) - 1;
  const Steps by(m);
  for_each_in_tiles(m, kEach, [&](size_t row, size_t column) {
    const unsigned byte = packed[column * stride + row / kEach];
    uint8_t* to = codes + row * by.row + column * by.column;
    const size_t count = std::min(kEach, m.rows - row);
    for (size_t k = 0; k < count; ++k) to[k * by.row] = static_cast<uint8_t>((byte >> (k * kBits)) & kMask);
  });
}

}  // namespace

void pack_columns(const uint8_t* codes, const CodeMatrix& m, int bits, uint8_t* to, size_t stride) {
  (bits == 2 ? pack<2> : bits == 4 ? pack<4> : pack<8>)(codes, m, to, stride);
}

void unpack_columns(const uint8_t* packed, size_t stride, int bits, const CodeMatrix& m, uint8_t* codes) {
  (bits == 2 ? unpack<2> : bits == 4 ? unpack<4> : unpack<8>)(packed, stride, m, codes);
}

template <class Isa>
Fit fit(const float* x, float scale, int32_t zero_point, IntegerRange codes, size_t count) {
  Lanes error, dot, square;
  size_t i = 0;
  if constexpr (Isa::kVector) {
    const v128_t by = wasm_f32x4_splat(scale), from = wasm_i32x4_splat(zero_point),
                 step = wasm_f64x2_splat(static_cast<double>(scale));
    const Bounds bounds(codes);
    const v128_t low = bounds.low(from), high = bounds.high(from);
    v128_t e0 = error.half(0), e1 = e0, d0 = e0, d1 = e0, s0 = e0, s1 = e0;
    for (; i + kLanes <= count; i += kLanes) {
      const v128_t v = wasm_v128_load(x + i);
      const Doubles w(v), steps(steps_of(v, by, low, high));
      add_fit(w.low, step, steps.low, e0, d0, s0);
      add_fit(w.high, step, steps.high, e1, d1, s1);
    }
    error.set(e0, e1), dot.set(d0, d1), square.set(s0, s1);
  }
  for (; i < count; ++i) {
    const size_t lane = i % kLanes;
    add_fit(x[i], scale, steps_of(x[i], scale, zero_point, codes), error.at[lane], dot.at[lane],
            square.at[lane]);
  }
  return {error.sum(), dot.sum(), square.sum()};
}

template <class Isa>
void add_fit_each(const float* x, const float* scales, const int32_t* zero_points, IntegerRange codes,
                  size_t count, double* error, double* dot, double* square) {
  size_t i = 0;
  if constexpr (Isa::kVector) {
    const Bounds bounds(codes);
    for (; i + kLanes <= count; i += kLanes) {
      const v128_t v = wasm_v128_load(x + i), by = wasm_v128_load(scales + i),
                   from = wasm_v128_load(zero_points + i);
      const Doubles w(v), step(by), steps(steps_of(v, by, bounds.low(from), bounds.high(from)));
      const auto two = [&](size_t at, v128_t values, v128_t size, v128_t whole) {
        v128_t e = wasm_v128_load(error + at), d = wasm_v128_load(dot + at), s = wasm_v128_load(square + at);
        add_fit(values, size, whole, e, d, s);
        wasm_v128_store(error + at, e), wasm_v128_store(dot + at, d), wasm_v128_store(square + at, s);
      };
      two(i, w.low, step.low, steps.low);
      two(i + 2, w.high, step.high, steps.high);
    }
  }
  for (; i < count; ++i)
    add_fit(x[i], scales[i], steps_of(x[i], scales[i], zero_points[i], codes), error[i], dot[i], square[i]);
}

template <class Isa>
Noise encode(const float* x, float scale, int32_t zero_point, IntegerRange codes, size_t count, int32_t* to) {
  return encode_with<Isa>(
      x, codes, count, to, [&](size_t) { return zero_point; }, [&](size_t) { return scale; },
      [&](size_t) { return wasm_i32x4_splat(zero_point); }, [&](size_t) { return wasm_f32x4_splat(scale); });
}

template <class Isa>
Noise encode_each(const float* x, const float* scales, const int32_t* zero_points, IntegerRange codes,
                  size_t count, int32_t* to) {
  return encode_with<Isa>(
      x, codes, count, to, [&](size_t i) { return zero_points[i]; }, [&](size_t i) { return scales[i]; },
      [&](size_t i) { return wasm_v128_load(zero_points + i); },
      [&](size_t i) { return wasm_v128_load(scales + i); });
}

#define ZP_INSTANTIATE(Isa)                                                                                  \
  template Ends ends_of<Isa>(const float*, size_t);                                                          \
  template void pack_nibbles<Isa>(const int32_t*, size_t, uint8_t*);                                         \
  template void unpack_nibbles<Isa>(const uint8_t*, size_t, uint8_t, uint8_t*);                              \
  template Fit fit<Isa>(const float*, float, int32_t, IntegerRange, size_t);                                 \
  template void add_fit_each<Isa>(const float*, const float*, const int32_t*, IntegerRange, size_t, double*, \
                                  double*, double*);                                                         \
  template Noise encode<Isa>(const float*, float, int32_t, IntegerRange, size_t, int32_t*);                  \
  template Noise encode_each<Isa>(const float*, const float*, const int32_t*, IntegerRange, size_t, int32_t*);
ZP_INSTANTIATE(Scalar)
ZP_INSTANTIATE(Simd128)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
