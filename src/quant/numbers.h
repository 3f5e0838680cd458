// The arithmetic of quantization: which scale and zero point a range gives, and arrays to integers and back.
//
//   q = saturate(round_half_even(x / scale) + zero_point)        x = (q - zero_point) * scale
//
// as ONNX's QuantizeLinear and DequantizeLinear have it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/dtype.h"
#include "core/tensor.h"

namespace zp::quant {

// The real numbers [min, max] that a quantized value covers.
struct Range {
  float min = 0, max = 0;
  bool operator==(const Range&) const = default;
  void include(const Range& other) {
    if (other.min < min) min = other.min;
    if (other.max > max) max = other.max;
  }
};

// Scale and zero point of a whole tensor.
struct QParams {
  DType dtype = DType::kUint8;
  float scale = 1;
  int32_t zero_point = 0;
  bool operator==(const QParams&) const = default;
};

// The range is widened to hold 0. Symmetric: the zero point is the middle of the type (0, or 128 for kUint8)
// and the range grows to be as wide on either side. A range of zeros gives a scale as for [0, 1]: it is never
// 0, and a bias at scale s_x * s_w keeps its precision. `dtype` has 4 to 16 bits.
QParams choose_params(Range range, DType dtype, bool symmetric);
// The same with these integers alone.
QParams choose_params(Range range, DType dtype, bool symmetric, IntegerRange codes);
// What the integers of `params` stand for, from the smallest to the largest.
Range covered(const QParams& params);

// Tensor `x` (float32) as integers of params.dtype, with the same dimensions.
Tensor quantize(const Tensor& x, const QParams& params);
// One value. The zero point is added after rounding.
int32_t quantize_one(float x, const QParams& params);
// `count` integers of params.dtype as floats.
void dequantize(const std::byte* integers, size_t count, const QParams& params, float* x);

// The smallest and the largest element; [0, 0] when there are none. `finite` becomes false on a NaN or an
// infinity.
Range range_of(std::span<const float> x, bool* finite = nullptr);
// Of float32. A tensor in a file is read, and forgotten again.
Range range_of(const Tensor& x, bool* finite = nullptr);

// What a mask adds to attention scores or writes over them so that they count for nothing: -1e4, -65504,
// -1e9, the lowest float. Scores themselves are a few dozen at most. A scale that covers such a mask leaves
// all other values one or two integers.
constexpr float kMask = 5000;
// Where no constant explains values of this size: half precision, in which networks are trained, has none
// (IEEE 754-2008: up to 65504), and infinity would be next.
constexpr float kBeyondHalf = 60000;
constexpr float kLargestHalf = 65504;
inline bool beyond(const Range& r, float limit) { return r.min <= -limit || r.max >= limit; }

// How a weight is cut into parts that have a scale each.
struct Grouping {
  int axis = -1;  // -1: one scale for the tensor
  int64_t block_size =
      0;  // 0: one scale for each index along `axis`; else one for each `block_size` along it
  // The dimensions up to `axis` count as one: a scale for each of their elements. Where a weight is cut so,
  // it is stored with that one dimension (Placement::weight).
  bool joined = false;
};

struct WeightSpec {
  DType dtype = DType::kInt8;  // 2, 4 or 8 bits
  bool symmetric = true;
  bool reduce_range = false;  // 8 bits: use 7 of them, so that the sum of two products with uint8 fits int16
  Grouping grouping;
  // One per scale, or empty: lower bounds of the scales. A bias at scale s_x * s_w must fit 32 bits.
  std::vector<float> min_scale;
};

// The integers that such a weight may use.
IntegerRange weight_codes(const WeightSpec& spec);
// The type of the tensor that holds integers of a type: 2 bits are in 4-bit tensors, since ONNX has no
// smaller ones before opset 25. Operator format packs them tightly (ops/matmul_nbits.h).
DType stored_as(DType dtype);
// By element of a weight of these dimensions: the index of its scale.
std::vector<uint32_t> scale_indices(const Shape& dims, const Grouping& grouping);

struct QuantizedWeight {
  Tensor integers;  // of stored_as(spec.dtype), shaped as the weight
  Tensor
      scale;  // float32: scalar, [channels], or the weight's shape with ceil(n / block_size) along the axis
  Tensor zero_point;   // typed as `integers`, shaped as `scale`; undefined when all are 0
  Range range;         // of the float weight
  double sqnr_db = 0;  // infinite when nothing was lost
};

// Symmetric 8 bits: scale = max|w| / 127. Symmetric 4 bits: of several scales around max|w| / 7.5, the one
// with the least squared error, codes -8...7 (or 0...15 around 8); 2 bits likewise. Asymmetric 8 bits: from
// the minimum and maximum, widened to hold 0, or as symmetric where that has less squared error. Asymmetric 4
// and 2 bits: of several ranges within that one, and the scales and zero points that fit their codes best,
// those with the least squared error. `w` is float32 and finite.
QuantizedWeight quantize_weight(const Tensor& w, const WeightSpec& spec);
// The float weight that `q` stands for.
Tensor dequantize_weight(const QuantizedWeight& q, const Grouping& grouping);

// Integers of a type as a tensor of stored_as(dtype). 4 bits are packed two to a byte, low nibble first.
Tensor pack_integers(DType dtype, Shape dims, std::span<const int32_t> values);

}  // namespace zp::quant
