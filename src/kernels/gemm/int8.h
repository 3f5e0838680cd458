// Integer matrix products and convolutions: 8-bit activations times 8-bit weights, 32-bit sums.
//
//   y[m, n] = epilogue(sum over k of (a[m, k] - z_a) * (w[n, k] - z_w[n]))
//
// expanded to  sum a w  -  z_a sum w  -  z_w (sum a - K z_a), so that the inner loop multiplies raw integers,
// and the zero point of the activations may be known only when the product runs. Sums are exact modulo 2^32.
//
// Packed layout: [columns / 8][K / g][8 columns][g], int8, where a group of g neighbouring k is what one lane
// of the instruction multiplies: g = 4 for the relaxed dot product, g = 2 for the 16-bit one. Behind the last
// column and the last k stand zeros.

#pragma once

#include <cstdint>
#include <limits>

#include "kernels/gemm/gemm.h"
#include "kernels/probe.h"
#include "kernels/requantize.h"

namespace zp::kernels {

// Which instruction multiplies, chosen when weights are packed.
enum class Int8Method : std::uint8_t {
  kDot16,       // i32x4.dot_i16x8_s on widened operands: exact everywhere
  kDot8,        // relaxed dot, activations unsigned: exact with VNNI
  kDot8Signed,  // relaxed dot, activations signed: exact on ARM
  kDot8Narrow,  // relaxed dot, unsigned and saturating; no two neighbouring weights overflow its 16 bits
};

struct Int8WeightSource {
  const void* data = nullptr;
  bool is_unsigned = false;  // uint8: stored as int8 with the top bit flipped, zero points moved along
  WeightLayout layout;
  // One byte per column (zero_point_count == columns), one for all (1), or none (0: zero). Of the weights'
  // type.
  const void* zero_points = nullptr;
  int zero_point_count = 0;
};

// 8-bit weights of a convolution in ONNX's own order, for the kernels that are no products.
struct ConvInt8Source {
  const void* weights = nullptr;
  bool is_unsigned = false;
  const void* zero_points = nullptr;  // of the weights' type: one per output channel, one for all, or none
  int zero_point_count = 0;

  // A weight less its zero point.
  std::int16_t centred(std::ptrdiff_t index, int output_channel) const {
    const auto value = [this](const void* bytes, std::ptrdiff_t at) -> int {
      return is_unsigned ? static_cast<const std::uint8_t*>(bytes)[at]
                         : static_cast<const std::int8_t*>(bytes)[at];
    };
    const int point =
        zero_point_count == 0 ? 0 : value(zero_points, zero_point_count == 1 ? 0 : output_channel);
    return static_cast<std::int16_t>(value(weights, index) - point);
  }
};

// Weights as the kernel reads them: a view into memory of the caller's.
struct Int8Weights {
  const std::int8_t* tiles = nullptr;
  const std::int32_t* column_sums = nullptr;  // sum over k of (w - z_w), per column, padded to whole tiles
  const std::int32_t* zero_points = nullptr;  // per column, padded; null when all are zero
  int columns = 0;
  int depth = 0;         // K
  int padded_depth = 0;  // K as packed
  Int8Method method = Int8Method::kDot16;
};

// Bytes that packing needs at most, and bytes that the packed weights then use (a prefix of the former).
std::size_t packed_int8_weights_bytes(const WeightLayout& layout);

// Packs into `storage` (aligned to kAlignment), for int8_gemm of the same instruction set; Scalar multiplies
// what any of them packed.
template <class Isa = Best>
Int8Weights pack_int8_weights(const Int8WeightSource& source, void* storage,
                              const MachineReport& machine = probe());

struct Int8Input {
  GemmInput<std::uint8_t> rows;  // int8 activations: the same bytes
  bool is_signed = false;
  std::int32_t zero_point = 0;  // z_a, of the activations' own type; what a convolution is padded with
};

// Epilogues. `multipliers` and biases are read per column from index 0, whatever the range.

// The sums themselves: MatMulInteger, ConvInteger.
struct Int32Output {
  std::int32_t* data = nullptr;
  RowLayout rows;
};

// clamp(round_half_even(float(sum + bias) * multiplier) + zero_point): QLinearMatMul, QLinearConv.
struct QuantizedOutput {
  void* data = nullptr;  // uint8 or int8
  RowLayout rows;
  bool is_signed = false;
  QuantizedRange range;
  const std::int32_t* bias = nullptr;  // per column, or null
  const float* multipliers = nullptr;  // s_a * s_w[n] / s_y: one per column, or one for all
  bool per_column = false;
};

// clamp(float(sum) * (multiplier * multiplier_scale) + bias, lo, hi) in float: MatMulInteger with Cast and
// Mul, dynamic quantization, where multiplier_scale is the scale of the activations.
struct FloatOutput {
  float* data = nullptr;
  RowLayout rows;
  const float* bias = nullptr;         // per column, or null
  const float* multipliers = nullptr;  // one per column, or one for all
  bool per_column = false;
  float multiplier_scale = 1.0F;
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();
};

// Scratch that one call needs, for a product of these weights, whatever the range and the rest.
std::size_t int8_gemm_scratch_bytes(const Int8Weights& weights);

template <class Isa = Best>
void int8_gemm(const Int8Input& input, const Int8Weights& weights, const Int32Output& output,
               const OutputRange& range, void* scratch);
template <class Isa = Best>
void int8_gemm(const Int8Input& input, const Int8Weights& weights, const QuantizedOutput& output,
               const OutputRange& range, void* scratch);
template <class Isa = Best>
void int8_gemm(const Int8Input& input, const Int8Weights& weights, const FloatOutput& output,
               const OutputRange& range, void* scratch);

}  // namespace zp::kernels
