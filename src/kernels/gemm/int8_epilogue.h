// What becomes of the sums of integer products: shared by the matrix products and the depthwise convolutions.

#pragma once

#include <cstring>
#include <type_traits>

#include "kernels/gemm/int8.h"

namespace zp::kernels {

// int32 arithmetic modulo 2^32, without undefined behaviour.
constexpr std::int32_t wrap_add(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}
constexpr std::int32_t wrap_mul(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) * static_cast<std::uint32_t>(b));
}

// Epilogues. `store` finishes the sums of eight columns, of which `count` exist, and writes them `at`
// elements after the output's first; `column` is the first of them, counted from the first column of the
// terms.

// What an epilogue reads per column, copied into scratch so that whole tiles can be read: [int32 offsets],
// [multipliers], [float bias], each for the columns of the range, padded.
struct ColumnTerms {
  std::int32_t* offsets = nullptr;  // added to the sums: int32 bias - z_a * column sum
  float* multipliers = nullptr;
  float* bias = nullptr;
};

constexpr std::size_t column_terms_bytes(int columns) {
  return round_up(static_cast<std::size_t>(columns), kColumnTile) *
         (2 * sizeof(float) + sizeof(std::int32_t));
}

// Lays out the terms of columns [begin, begin + count) in `scratch`: offsets hold the int32 bias, or zero.
template <class Output>
ColumnTerms prepare_terms(const Output& output, int begin, int count, void* scratch) {
  const int padded = static_cast<int>(round_up(count, kColumnTile));
  ColumnTerms terms;
  terms.offsets = static_cast<std::int32_t*>(scratch);
  terms.multipliers = reinterpret_cast<float*>(terms.offsets + padded);
  terms.bias = terms.multipliers + padded;
  std::memset(scratch, 0, column_terms_bytes(count));
  if constexpr (!std::is_same_v<Output, Int32Output>) {
    float scale = 1.0F;
    if constexpr (std::is_same_v<Output, FloatOutput>) scale = output.multiplier_scale;
    for (int i = 0; i < count; ++i) {
      terms.multipliers[i] = output.multipliers[output.per_column ? begin + i : 0] * scale;
    }
    if (output.bias != nullptr) {
      if constexpr (std::is_same_v<Output, QuantizedOutput>) {
        std::memcpy(terms.offsets, output.bias + begin,
                    static_cast<std::size_t>(count) * sizeof(std::int32_t));
      } else {
        std::memcpy(terms.bias, output.bias + begin, static_cast<std::size_t>(count) * sizeof(float));
      }
    }
  }
  return terms;
}

// The first `count` of eight columns of four bytes each.
template <class T>
inline void store_columns(T* y, int count, v128_t lo, v128_t hi) {
  static_assert(sizeof(T) == 4);
  if (count >= kColumnTile) {
    wasm_v128_store(y, lo);
    wasm_v128_store(y + 4, hi);
  } else {
    store_bytes(y, lo, static_cast<std::size_t>(count) * 4);
    if (count > 4) store_bytes(y + 4, hi, static_cast<std::size_t>(count - 4) * 4);
  }
}

template <class Output>
struct Epilogue;

// Each is copied into the function that uses it, so that its constants are locals there.

template <>
struct Epilogue<Int32Output> {
  std::int32_t* data;

  struct Columns {};

  Epilogue(const Int32Output& output, const ColumnTerms&) : data(output.data) {}

  Columns columns(int) const { return {}; }

  void store(std::ptrdiff_t at, const Columns&, int count, v128_t lo, v128_t hi) const {
    store_columns(data + at, count, lo, hi);
  }
};

template <>
struct Epilogue<QuantizedOutput> {
  std::uint8_t* data;
  bool is_signed;
  const float* multipliers;
  VectorRequantizer requantizer;

  struct Columns {
    v128_t multipliers[2];
  };

  Epilogue(const QuantizedOutput& output, const ColumnTerms& terms)
      : data(static_cast<std::uint8_t*>(output.data)),
        is_signed(output.is_signed),
        multipliers(terms.multipliers),
        requantizer(output.range) {}

  Columns columns(int column) const {
    return {{wasm_v128_load(multipliers + column), wasm_v128_load(multipliers + column + 4)}};
  }

  void store(std::ptrdiff_t at, const Columns& columns, int count, v128_t lo, v128_t hi) const {
    const v128_t q_lo = requantizer(lo, columns.multipliers[0]);
    const v128_t q_hi = requantizer(hi, columns.multipliers[1]);
    const v128_t q16 = wasm_i16x8_narrow_i32x4(q_lo, q_hi);
    const v128_t q8 = is_signed ? wasm_i8x16_narrow_i16x8(q16, q16) : wasm_u8x16_narrow_i16x8(q16, q16);
    if (count >= kColumnTile) {
      wasm_v128_store64_lane(data + at, q8, 0);
    } else {
      store_bytes(data + at, q8, static_cast<std::size_t>(count));
    }
  }
};

template <>
struct Epilogue<FloatOutput> {
  float* data;
  const float* multipliers;
  const float* bias;
  v128_t lo_bound;
  v128_t hi_bound;

  struct Columns {
    v128_t multipliers[2];
    v128_t bias[2];
  };

  Epilogue(const FloatOutput& output, const ColumnTerms& terms)
      : data(output.data),
        multipliers(terms.multipliers),
        bias(terms.bias),
        lo_bound(wasm_f32x4_splat(output.lo)),
        hi_bound(wasm_f32x4_splat(output.hi)) {}

  Columns columns(int column) const {
    return {{wasm_v128_load(multipliers + column), wasm_v128_load(multipliers + column + 4)},
            {wasm_v128_load(bias + column), wasm_v128_load(bias + column + 4)}};
  }
  // Multiplied and added with two roundings in every build: integer products give the same floats everywhere.
  v128_t finish(v128_t sums, const Columns& columns, int half) const {
    v128_t x = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(sums), columns.multipliers[half]);
    x = wasm_f32x4_add(x, columns.bias[half]);
    return wasm_f32x4_pmin(wasm_f32x4_pmax(x, lo_bound), hi_bound);
  }
  void store(std::ptrdiff_t at, const Columns& columns, int count, v128_t lo, v128_t hi) const {
    store_columns(data + at, count, finish(lo, columns, 0), finish(hi, columns, 1));
  }
};

// The specification.

inline void scalar_store(const Int32Output& output, int m, int n, std::int32_t sum) {
  output.data[output.rows.offset(m) + n] = sum;
}

inline void scalar_store(const QuantizedOutput& output, int m, int n, std::int32_t sum) {
  if (output.bias != nullptr) sum = wrap_add(sum, output.bias[n]);
  static_cast<std::uint8_t*>(output.data)[output.rows.offset(m) + n] =
      static_cast<std::uint8_t>(requantize(sum, output.multipliers[output.per_column ? n : 0], output.range));
}

inline void scalar_store(const FloatOutput& output, int m, int n, std::int32_t sum) {
  const float multiplier = output.multipliers[output.per_column ? n : 0] * output.multiplier_scale;
  float x = static_cast<float>(sum) * multiplier;
  x += output.bias != nullptr ? output.bias[n] : 0.0F;
  x = x < output.lo ? output.lo : x;
  x = output.hi < x ? output.hi : x;
  output.data[output.rows.offset(m) + n] = x;
}

}  // namespace zp::kernels
