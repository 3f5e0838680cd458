// Float activations times weights of 8, 4 or 2 bits: the weights become floats inside the kernel.
//
//   y[m, n] = sum over k of a[m, k] * (q[n, k] - z[n, k / block]) * scale[n, k / block] + bias[n], clamped
//
// One scale (and zero point) for every `block_size` neighbouring k of a column; a block of all of K is the
// per-channel scheme. MatMulNBits, and MatMul of a DequantizeLinear.

#pragma once

#include <cstdint>

#include "kernels/gemm/float.h"
#include "kernels/gemm/gemm.h"

namespace zp::kernels {

struct BlockWeightSource {
  // Code (n, k) is number n * column_stride + k * depth_stride in an array of `bits`-bit numbers, the first
  // in the lowest bits of a byte (as ONNX packs int4). MatMulNBits: column_stride = blocks * block_size,
  // depth_stride = 1.
  const void* codes = nullptr;
  int bits = 4;            // 8, 4 or 2
  bool is_signed = false;  // two's complement codes
  int columns = 0;
  int depth = 0;
  std::ptrdiff_t column_stride = 0;
  std::ptrdiff_t depth_stride = 1;
  int block_size = 32;  // a multiple of 16, or >= depth
  // Scale (n, b) is element n * scale_column_stride + b * scale_block_stride; zero points likewise, one byte
  // each, int8 where is_signed and uint8 otherwise, or null: then zero for signed codes, 2^(bits - 1) for
  // unsigned ones.
  const float* scales = nullptr;
  const void* zero_points = nullptr;
  std::ptrdiff_t scale_column_stride = 1;
  std::ptrdiff_t scale_block_stride = 0;
};

// Weights as the kernel reads them: a view into memory of the caller's. The layout is described in
// weight_only.cpp.
struct BlockWeights {
  const std::uint8_t* codes = nullptr;
  const float* scales = nullptr;
  const std::int32_t* zero_points = nullptr;  // null when all are equal:
  std::int32_t common_zero_point = 0;
  int columns = 0;
  int depth = 0;
  int padded_depth = 0;
  int block_size = 0;
  int blocks = 0;
  int bits = 0;
};

std::size_t packed_block_weights_bytes(const BlockWeightSource& source);
BlockWeights pack_block_weights(const BlockWeightSource& source, void* storage);

std::size_t weight_only_gemm_scratch_bytes(const BlockWeights& weights);

// Products of fewer rows than this round their activations to 16 bits (see weight_only.cpp). Ranges that
// split a larger product over threads had better not be that short: their rows would come out rounded a
// little differently.
inline constexpr int kFewRows = 12;

// `input` is plain rows. The output is that of float_gemm; `accumulate` is not supported.
template <class Isa = Best>
void weight_only_gemm(const GemmInput<float>& input, const BlockWeights& weights,
                      const FloatGemmOutput& output, const OutputRange& range, void* scratch);

}  // namespace zp::kernels
