// Depthwise convolutions in NHWC: every channel is convolved with a kernel of its own, output channel c sees
// input channel c. (With more outputs than inputs per channel, run a grouped convolution through the GEMM
// kernels.)
//
// `geometry.channels` and `geometry.pixel_stride` describe the whole input; the output has the same channels.
// A call makes the output rows [line_begin, line_end), counted over all images: batch * out_height lines of
// out_width pixels. Weights come as ONNX has them, W[C, 1, height, width].

#pragma once

#include "kernels/conv/geometry.h"
#include "kernels/gemm/float.h"
#include "kernels/gemm/int8.h"

namespace zp::kernels {

struct DepthwiseFloatWeights {
  const float* taps = nullptr;  // [channels / 4][taps][4]
};

// Weights minus their zero points, as int16: [channels / 8][height][(width + 1) / 2][8 channels][2 taps],
// taps in pairs along a line (the last may be alone, with a zero beside it), as i32x4.dot_i16x8_s multiplies
// them.
struct DepthwiseInt8Weights {
  const std::int16_t* taps = nullptr;
};

std::size_t packed_depthwise_float_bytes(const ConvGeometry& geometry);
DepthwiseFloatWeights pack_depthwise_float(const float* weights, const ConvGeometry& geometry, void* storage);

std::size_t packed_depthwise_int8_bytes(const ConvGeometry& geometry);
DepthwiseInt8Weights pack_depthwise_int8(const ConvInt8Source& source, const ConvGeometry& geometry,
                                         void* storage);

// Scratch that one call needs, which may be more than there is; depthwise_float needs none.
std::uint64_t depthwise_int8_scratch_bytes(const ConvGeometry& geometry);

// Of `output.rows` only `stride`, the elements from one pixel to the next, is used. `output.accumulate` is
// not.
template <class Isa = Best>
void depthwise_float(const float* input, const ConvGeometry& geometry, const DepthwiseFloatWeights& weights,
                     const FloatGemmOutput& output, int line_begin, int line_end);

// `input.rows.data` is the first pixel; `input.rows.conv` is not used.
template <class Isa = Best>
void depthwise_int8(const Int8Input& input, const ConvGeometry& geometry, const DepthwiseInt8Weights& weights,
                    const QuantizedOutput& output, int line_begin, int line_end, void* scratch);
template <class Isa = Best>
void depthwise_int8(const Int8Input& input, const ConvGeometry& geometry, const DepthwiseInt8Weights& weights,
                    const FloatOutput& output, int line_begin, int line_end, void* scratch);
template <class Isa = Best>
void depthwise_int8(const Int8Input& input, const ConvGeometry& geometry, const DepthwiseInt8Weights& weights,
                    const Int32Output& output, int line_begin, int line_end, void* scratch);

}  // namespace zp::kernels
