#include "ops/product/edges.h"

#include <algorithm>
#include <cmath>

#include "core/element_types.h"
#include "ops/product/product.h"

namespace zp {
namespace {

int normalized(int axis, size_t rank) { return axis < 0 ? axis + static_cast<int>(rank) : axis; }

bool fits_channels(const EdgeQuant& edge, const Shape& dims, int channel_axis) {
  if (edge.per_tensor()) return edge.block_size == 0 || edge.scale.size() == 1;
  return edge.block_size == 0 && channel_axis >= 0 && normalized(edge.axis, dims.size()) == channel_axis &&
         edge.scale.size() == dims[static_cast<size_t>(channel_axis)];
}

std::vector<uint8_t> zero_point_bytes(const EdgeQuant& edge) {
  std::vector<uint8_t> bytes;
  if (!edge.zero_point.defined()) return bytes;
  const std::vector<int32_t> points = edge.zero_points();
  if (std::all_of(points.begin(), points.end(), [&](int32_t p) { return p == points[0]; })) {
    bytes.push_back(static_cast<uint8_t>(points[0]));
  } else {
    for (int32_t p : points) bytes.push_back(static_cast<uint8_t>(p));
  }
  return bytes;
}

// Does the edge's zero point fit its scale? Edges come from files.
bool is_consistent(const EdgeQuant& edge) {
  if (edge.at_run_time()) return true;
  if (edge.scale.size() < 1 || edge.scale.dtype() != DType::kFloat32) return false;
  const Tensor& z = edge.zero_point;
  return !z.defined() || (z.dtype() == edge.dtype && (z.size() == 1 || z.size() == edge.scale.size()));
}

float round_half_even(float x) {
  // The default rounding mode is to nearest, ties to even.
  return std::nearbyint(x);
}

int32_t saturated_int32(double x) {
  constexpr double kMax = 2147483647.0;
  if (!(x == x)) return 0;  // of a scale that is zero or not finite
  return static_cast<int32_t>(std::nearbyint(std::clamp(x, -kMax - 1, kMax)));
}

}  // namespace

int int_of(int64_t value) {
  if (value < 0 || value > (int64_t{1} << 30)) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {"a size of ", value, " is more than the kernels of matrix products take"},
                {.hint = "use a smaller input or batch"});
  }
  return static_cast<int>(value);
}

Operand8 Operand8::of(const EdgeQuant& edge) {
  Operand8 o;
  o.is_signed = is_signed_integer(edge.dtype);
  o.scale_slot = edge.scale_slot;
  o.zero_point_slot = edge.zero_point_slot;
  if (!edge.at_run_time()) o.scale = edge.scalar_scale();
  if (edge.zero_point_slot < 0) o.zero_point = edge.scalar_zero_point();
  return o;
}

int32_t Operand8::zero_point_in(const RunContext& r) const {
  if (zero_point_slot < 0) return zero_point;
  const auto slot = static_cast<size_t>(zero_point_slot);
  return is_signed ? int32_t{*r.in<int8_t>(slot)} : int32_t{*r.in<uint8_t>(slot)};
}

bool has_quantized_product(const PrepareContext& c, const QuantizedForms& forms) {
  const EdgeQuant* a = c.quant(0);
  const EdgeQuant* w = c.quant(1);
  const EdgeQuant* y = c.out_quant();
  if (!w || c.clamp().lo > c.clamp().hi) return false;
  const Tensor* constant = c.constant(1);
  for (const EdgeQuant* edge : {a, w, y, c.has_input(2) ? c.quant(2) : nullptr}) {
    if (edge && !is_consistent(*edge)) return false;
  }

  if (c.has_input(2)) {
    const EdgeQuant* b = c.quant(2);
    const Tensor* bias = c.constant(2);
    if (b && (!bias || b->dtype != DType::kInt32 || b->at_run_time() || b->block_size != 0)) return false;
    if (b && b->scale.size() != 1 && b->scale.size() != bias->size()) return false;
    if (!b && (c.dtype(2) != DType::kFloat32 || (y && !bias))) return false;
  }
  if (!a) {  // weight only
    return forms.weight_only && c.dtype(0) == DType::kFloat32 && constant && !y && !w->at_run_time() &&
           (is_8_bit(w->dtype) || is_4_bit(w->dtype));
  }
  if (!is_8_bit(a->dtype) || !a->per_tensor()) return false;
  if (constant && !w->at_run_time()) {
    if (!is_8_bit(w->dtype) && !is_4_bit(w->dtype)) return false;
    if (!fits_channels(*w, c.dims(1), forms.channel_axis)) return false;
  } else if (!is_8_bit(w->dtype) || !w->per_tensor()) {
    return false;
  }
  if (!y) return true;
  // The multipliers and the bias at s_x * s_w are made when the kernel is prepared.
  return is_8_bit(y->dtype) && y->per_tensor() && !y->at_run_time() && !a->at_run_time() &&
         !w->at_run_time() && a->zero_point_slot < 0;
}

Operand8 input_of(const PrepareContext& c) { return Operand8::of(*c.quant(0)); }

Weights8 weights_of(const PrepareContext& c) {
  const EdgeQuant& edge = *c.quant(1);
  Weights8 w;
  w.is_unsigned = !is_signed_integer(edge.dtype);
  if (const Tensor* constant = c.constant(1)) w.constant = widened(*constant);
  w.zero_points = zero_point_bytes(edge);
  if (edge.zero_point_slot >= 0) {
    w.zero_point_slot = edge.zero_point_slot;
    w.zero_point_count = 1;
    w.constant.reset();  // column sums depend on the zero point
  }
  return w;
}

Operand8 operand_at(const PrepareContext& c, size_t value, size_t zero_point) {
  Operand8 o;
  o.is_signed = is_signed_integer(c.dtype(value));
  if (!c.has_input(zero_point)) return o;
  if (const Tensor* t = c.constant(zero_point)) {
    o.zero_point = static_cast<int32_t>(t->integer_at(0));
  } else {
    o.zero_point_slot = static_cast<int>(zero_point);
  }
  return o;
}

Weights8 weights_at(const PrepareContext& c, size_t value, size_t zero_point) {
  Weights8 w;
  w.is_unsigned = !is_signed_integer(c.dtype(value));
  if (const Tensor* t = c.constant(value)) w.constant = *t;
  if (!c.has_input(zero_point)) return w;
  if (const Tensor* t = c.constant(zero_point)) {
    for (int64_t i = 0; i < t->size(); ++i) w.zero_points.push_back(static_cast<uint8_t>(t->integer_at(i)));
  } else {
    w.zero_point_slot = static_cast<int>(zero_point);
    w.zero_point_count = static_cast<int>(element_count(c.dims(zero_point)));
    w.constant.reset();  // column sums depend on the zero points
  }
  return w;
}

Epilogue8 epilogue_of(const PrepareContext& c, float alpha, int columns) {
  const EdgeQuant& a = *c.quant(0);
  const EdgeQuant& w = *c.quant(1);
  Epilogue8 e;
  // s_x * s_w for each column, or for all.
  std::vector<float> scales = w.at_run_time() ? std::vector<float>{1} : w.scale.floats();
  const float s_x = a.at_run_time() ? 1 : a.scalar_scale();
  for (float& s : scales) s = alpha == 1 ? s_x * s : alpha * s_x * s;
  if (a.at_run_time()) e.run_time_scales.push_back(Operand8::of(a));
  if (w.at_run_time()) e.run_time_scales.push_back(Operand8::of(w));

  std::vector<float> bias;  // as floats
  const Tensor* constant = c.has_input(2) ? c.constant(2) : nullptr;
  const EdgeQuant* bias_edge = c.has_input(2) ? c.quant(2) : nullptr;
  const auto per_column = [columns](size_t size, size_t i) { return size == 1 && columns > 1 ? 0 : i; };

  if (const EdgeQuant* y = c.out_quant()) {
    e.kind = Epilogue8::Kind::kQuantized;
    e.is_signed = is_signed_integer(y->dtype);
    const float s_y = y->scalar_scale();
    e.multipliers.clear();
    for (float s : scales) e.multipliers.push_back(s / s_y);
    const IntegerRange type = integer_range(y->dtype);
    e.range.zero_point = y->scalar_zero_point();
    const auto quantized = [&](float v) {
      const float q = round_half_even(v / s_y) + static_cast<float>(e.range.zero_point);
      if (!(q == q)) return e.range.zero_point;
      return static_cast<int32_t>(std::clamp(q, static_cast<float>(type.min), static_cast<float>(type.max)));
    };
    e.range.lo = std::isfinite(c.clamp().lo) ? quantized(c.clamp().lo) : type.min;
    e.range.hi = std::isfinite(c.clamp().hi) ? quantized(c.clamp().hi) : type.max;
    if (constant) {
      const auto size = static_cast<size_t>(constant->size());
      const std::vector<float> floats = bias_edge ? std::vector<float>{} : constant->floats();
      const std::vector<float> bias_scales = bias_edge ? bias_edge->scale.floats() : std::vector<float>{};
      const std::vector<int32_t> bias_points = bias_edge ? bias_edge->zero_points() : std::vector<int32_t>{};
      for (size_t n = 0; n < static_cast<size_t>(columns); ++n) {
        const double s = scales[scales.size() == 1 ? 0 : n];
        const size_t i = per_column(size, n);
        if (!bias_edge) {
          e.bias_sums.push_back(saturated_int32(floats[i] / s));
          continue;
        }
        const size_t at = bias_scales.size() == 1 ? 0 : i;
        const double q = static_cast<double>(constant->integer_at(static_cast<int64_t>(i))) - bias_points[at];
        const double ratio = bias_scales[at] / s;
        // Nearly always the scale is s_x * s_w, up to the rounding of the exporter.
        e.bias_sums.push_back(saturated_int32(std::abs(ratio - 1) < 1e-5 ? q : q * ratio));
      }
    }
    return e;
  }

  e.kind = Epilogue8::Kind::kFloat;
  e.multipliers = std::move(scales);
  e.clamp = c.clamp();
  const FloatBias known = float_bias_of(c);
  e.bias_slot = known.slot;
  for (size_t n = 0; !known.constant.empty() && n < static_cast<size_t>(columns); ++n) {
    e.bias.push_back(known.constant[per_column(known.constant.size(), n)]);
  }
  return e;
}

FloatBias float_bias_of(const PrepareContext& c) {
  FloatBias bias;
  if (!c.has_input(2)) return bias;
  if (const Tensor* constant = c.constant(2)) {
    bias.constant = c.quant(2) ? dequantized(*constant, *c.quant(2)).floats() : constant->floats();
  } else {
    bias.slot = 2;
  }
  return bias;
}

void require_8_bit_operands(const InferContext& c) {
  for (const size_t i : {size_t{0}, size_t{1}}) {
    if (c.dtype(i) != DType::kUndefined && !is_8_bit(c.dtype(i))) {
      c.fail(ErrorCode::kUnsupportedType, {"inputs are int8 or uint8, not ", name_of(c.dtype(i))});
    }
  }
}

void require_operand_types(const PrepareContext& c) {
  const DType wanted = c.quant(0) ? DType::kFloat32 : c.dtype(0);
  for (size_t i = 1; i < 3; ++i) {
    if (!c.has_input(i) || c.quant(i) || c.dtype(i) == wanted) continue;
    c.fail(ErrorCode::kUnsupportedType,
           {"input ", i, " has type ", name_of(c.dtype(i)), ", not ", name_of(wanted)});
  }
}

Kernel any_product(PrepareContext& c, Product product, int columns) {
  require_operand_types(c);
  if (c.quant(0)) {
    Epilogue8 epilogue = epilogue_of(c, product.alpha, columns);
    return integer_product(c, std::move(product), input_of(c), weights_of(c), std::move(epilogue));
  }
  if (c.dtype(0) != DType::kFloat32) return plain_product(c, product);
  FloatBias bias = float_bias_of(c);
  if (bias.constant.size() == 1) bias.constant.resize(static_cast<size_t>(columns), float{bias.constant[0]});
  if (c.quant(1)) return weight_only_product(c, std::move(product), std::move(bias));
  return float_product(c, std::move(product), std::move(bias));
}

Tensor dequantized(const Tensor& quantized, const EdgeQuant& edge) {
  Tensor floats(DType::kFloat32, quantized.dims());
  const std::vector<float> scales = edge.scale.floats();
  const std::vector<int32_t> points = edge.zero_points();
  const Shape& dims = quantized.dims();
  std::span<float> to = floats.mutable_data<float>();
  // Elements after the axis, along it, and scales along it.
  int64_t inner = 1, along = 1, scales_along = 1;
  if (scales.size() > 1) {
    const int axis = normalized(edge.axis, dims.size());
    if (axis < 0 || axis >= static_cast<int>(dims.size())) {
      throw_error(ErrorCode::kShapeMismatch, "the axis of a scale is outside its tensor");
    }
    along = dims[static_cast<size_t>(axis)];
    for (size_t d = static_cast<size_t>(axis) + 1; d < dims.size(); ++d) inner *= dims[d];
    scales_along = edge.block_size > 0 ? (along + edge.block_size - 1) / edge.block_size : along;
    const int64_t outer = quantized.size() / std::max<int64_t>(1, inner * along);
    const int64_t expected = edge.block_size > 0 ? outer * scales_along * inner : along;
    if (static_cast<int64_t>(scales.size()) != expected) {
      throw_error(ErrorCode::kShapeMismatch, {scales.size(), " scales do not fit a tensor of shape ", dims});
    }
  }
  for (int64_t i = 0; i < quantized.size(); ++i) {
    size_t s = 0;
    if (scales.size() > 1) {
      const int64_t at = i / inner % along;
      s = static_cast<size_t>(edge.block_size > 0
                                  ? (i / (inner * along) * scales_along + at / edge.block_size) * inner +
                                        i % inner
                                  : at);
    }
    to[static_cast<size_t>(i)] = static_cast<float>(quantized.integer_at(i) - points[s]) * scales[s];
  }
  return floats;
}

Tensor widened(const Tensor& tensor) {
  if (!is_4_bit(tensor.dtype())) return tensor;
  const bool is_signed = is_signed_integer(tensor.dtype());
  Tensor bytes(is_signed ? DType::kInt8 : DType::kUint8, tensor.dims());
  std::byte* to = bytes.mutable_raw();
  for (int64_t i = 0; i < tensor.size(); ++i)
    to[i] = static_cast<std::byte>(static_cast<uint8_t>(tensor.integer_at(i)));
  return bytes;
}

}  // namespace zp
