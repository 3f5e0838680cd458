// Convolutions of few input channels in NHWC, with groups or without. As a product (gemm/float.h,
// gemm/int8.h) such a convolution gathers a short piece of the image for each tap, group and output pixel,
// which takes longer than to multiply it. Here whole input lines are copied once, with their padding, and
// read in place by all groups and taps.
//
// A call makes the output rows [line_begin, line_end), counted over all images: batch * out_height lines of
// out_width pixels, each of groups * columns channels.

#pragma once

#include "kernels/conv/geometry.h"
#include "kernels/gemm/float.h"
#include "kernels/gemm/int8.h"

namespace zp::kernels {

struct DirectGeometry {
  ConvGeometry conv;  // `channels` of one group, `pixel_stride` of all
  int groups = 1;
  int columns = 0;  // output channels of one group, a multiple of 4

  int all_columns() const { return groups * columns; }
};

// Whether these kernels are the faster ones. They take no geometry that does not suit.
bool suits_direct_float(const DirectGeometry& geometry);
bool suits_direct_int8(const DirectGeometry& geometry, const MachineReport& machine = probe());

// Packed as [columns of all groups / 8][lines of taps][units][8]. A unit is 32 bits wide: one channel of a
// tap as a float, or two neighbouring ones as int16, less their zero points (the last may be alone, with a
// zero beside it). Where the taps of a line touch each other in memory the whole line is one run of units.
struct DirectWeights {
  const void* units = nullptr;
};

// Weights come as ONNX has them, W[groups * columns, channels, height, width].
std::size_t packed_direct_float_bytes(const DirectGeometry& geometry);
DirectWeights pack_direct_float(const float* weights, const DirectGeometry& geometry, void* storage);

std::size_t packed_direct_int8_bytes(const DirectGeometry& geometry);
DirectWeights pack_direct_int8(const ConvInt8Source& source, const DirectGeometry& geometry, void* storage);

// Scratch that one call needs.
std::size_t direct_float_scratch_bytes(const DirectGeometry& geometry);
std::size_t direct_int8_scratch_bytes(const DirectGeometry& geometry);

// Of `output.rows` only `stride`, the elements from one pixel to the next, is used. `output.accumulate` is
// not.
template <class Isa = Best>
void direct_float(const float* input, const DirectGeometry& geometry, const DirectWeights& weights,
                  const FloatGemmOutput& output, int line_begin, int line_end, void* scratch);

// `input.rows.data` is the first pixel; `input.rows.conv` is not used. Output: QuantizedOutput, FloatOutput
// or Int32Output.
template <class Isa = Best, class Output>
void direct_int8(const Int8Input& input, const DirectGeometry& geometry, const DirectWeights& weights,
                 const Output& output, int line_begin, int line_end, void* scratch);

}  // namespace zp::kernels
