// The operands and the epilogue of a product, as the edges of its node say them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/int8.h"
#include "ops/op.h"

namespace zp {

// An 8-bit operand: its scale and zero point are constants, or come with each run.
struct Operand8 {
  bool is_signed = false;
  float scale = 1;
  int32_t zero_point = 0;
  int scale_slot = -1, zero_point_slot = -1;  // RunContext inputs

  static Operand8 of(const EdgeQuant& edge);
  float scale_in(const RunContext& r) const {
    return scale_slot >= 0 ? *r.in<float>(static_cast<size_t>(scale_slot)) : scale;
  }
  int32_t zero_point_in(const RunContext& r) const;
};

// 8-bit weights with their zero points, as bytes of the weights' own type: none, one, or one for each column.
struct Weights8 {
  std::optional<Tensor> constant;  // 8-bit; absent: the weight input is packed in each run
  bool is_unsigned = false;
  std::vector<uint8_t> zero_points;
  int zero_point_slot = -1;  // RunContext input that holds `zero_point_count` zero points
  int zero_point_count = 0;

  const void* zero_points_in(const RunContext& r) const {
    return zero_point_slot >= 0
               ? static_cast<const void*>(r.in<uint8_t>(static_cast<size_t>(zero_point_slot)))
               : zero_points.data();
  }
  int count() const { return zero_point_slot >= 0 ? zero_point_count : static_cast<int>(zero_points.size()); }
};

// What becomes of int32 sums.
struct Epilogue8 {
  enum class Kind : uint8_t { kSums, kQuantized, kFloat };
  Kind kind = Kind::kSums;
  std::vector<float> multipliers = {1};   // one, or one for each column
  std::vector<int32_t> bias_sums;         // kQuantized: one for each column, or empty
  std::vector<float> bias;                // kFloat: likewise
  int bias_slot = -1;                     // kFloat: an input of the run that holds the bias
  bool is_signed = false;                 // kQuantized: the output
  kernels::QuantizedRange range;          // kQuantized
  Clamp clamp;                            // kFloat
  std::vector<Operand8> run_time_scales;  // kFloat: factors known only when the kernel runs

  bool per_column() const { return multipliers.size() > 1; }
  float scale_in(const RunContext& r) const {
    float scale = 1;
    for (const Operand8& o : run_time_scales) scale *= o.scale_in(r);
    return scale;
  }
  // Calls f(kernels::Int32Output | QuantizedOutput | FloatOutput) for output 0, from element `offset` on,
  // with the columns from `first_column` on.
  template <class F>
  void with_output(const RunContext& r, float scale, std::ptrdiff_t offset, const kernels::RowLayout& rows,
                   int first_column, F&& f) const;
};

// A bias of the float kernels: a constant with one element for each column, an input of the run, or none.
struct FloatBias {
  std::vector<float> constant;
  int slot = -1;
  const float* in(const RunContext& r) const {
    return slot >= 0 ? r.in<float>(static_cast<size_t>(slot)) : constant.empty() ? nullptr : constant.data();
  }
};

// A product has the type of its inputs: where the type of one is not known, that of the other.
inline DType type_of_product(const InferContext& c) {
  return c.dtype(0) == DType::kUndefined ? c.dtype(1) : c.dtype(0);
}

// Which quantized forms an operator's products have.
struct QuantizedForms {
  int channel_axis = 0;     // of the weight: counts output channels; -1: weights are per tensor only
  bool weight_only = true;  // float activations with quantized constant weights
};
// Is there a kernel for this node's quantized edges (OpDef::integer)? Inputs: activations, weights, bias.
bool has_quantized_product(const PrepareContext& c, const QuantizedForms& forms);

// The operands of DQ -> op (-> Q), from the node's edges. Bias is input 2.
Operand8 input_of(const PrepareContext& c);
Weights8 weights_of(const PrepareContext& c);
Epilogue8 epilogue_of(const PrepareContext& c, float alpha, int columns);
FloatBias float_bias_of(const PrepareContext& c);

// Operands of an operator that takes integers and zero points as inputs of its own.
Operand8 operand_at(const PrepareContext& c, size_t value, size_t zero_point);
Weights8 weights_at(const PrepareContext& c, size_t value, size_t zero_point);

// Inputs 0 and 1 are integers of 8 bits, or kUnsupportedType.
void require_8_bit_operands(const InferContext& c);
// Operands that are not quantized have one type, float32 beside quantized ones, or kUnsupportedType.
void require_operand_types(const PrepareContext& c);

// (q - zero_point) * scale of a quantized constant.
Tensor dequantized(const Tensor& quantized, const EdgeQuant& edge);
// 4-bit integers one to a byte (kInt8, kUint8); other tensors as they are.
Tensor widened(const Tensor& tensor);

// ------------------------------------------------------------------------------------------------------------
// Inline

template <class F>
void Epilogue8::with_output(const RunContext& r, float scale, std::ptrdiff_t offset,
                            const kernels::RowLayout& rows, int first_column, F&& f) const {
  const float* m = multipliers.data() + (per_column() ? first_column : 0);
  switch (kind) {
    case Kind::kSums: {
      kernels::Int32Output y;
      y.data = r.out<int32_t>(0) + offset;
      y.rows = rows;
      return f(y);
    }
    case Kind::kQuantized: {
      kernels::QuantizedOutput y;
      y.data = r.out<uint8_t>(0) + offset;
      y.rows = rows;
      y.is_signed = is_signed;
      y.range = range;
      y.bias = bias_sums.empty() ? nullptr : bias_sums.data() + first_column;
      y.multipliers = m;
      y.per_column = per_column();
      return f(y);
    }
    case Kind::kFloat: {
      kernels::FloatOutput y;
      y.data = r.out<float>(0) + offset;
      y.rows = rows;
      const float* b = bias_slot >= 0 ? r.in<float>(static_cast<size_t>(bias_slot))
                       : bias.empty() ? nullptr
                                      : bias.data();
      y.bias = b ? b + first_column : nullptr;
      y.multipliers = m;
      y.per_column = per_column();
      y.multiplier_scale = scale;
      y.lo = clamp.lo;
      y.hi = clamp.hi;
      return f(y);
    }
  }
}

}  // namespace zp
