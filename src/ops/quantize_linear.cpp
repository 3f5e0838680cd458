// QuantizeLinear and DequantizeLinear (per tensor, per axis, in blocks), also in their com.microsoft forms,
// and DynamicQuantizeLinear. Mostly the planner absorbs them into the operators beside them; these kernels
// run the rest.
#include <algorithm>
#include <functional>
#include <utility>

#include "core/grain.h"
#include "kernels/elementwise/quantize.h"
#include "ops/cast.h"
#include "ops/respell.h"
#include "ops/unary.h"

namespace zp {
namespace {

DType quantized_type(const InferContext& c) {
  if (c.has_input(2)) return c.dtype(2);
  const int64_t given = c.ints("output_dtype", 0);
  return given == 0 ? DType::kUint8 : static_cast<DType>(given);
}

void output_like_input(InferContext& c, DType dtype) {
  if (const SymShape* shape = c.shape(0)) return c.output(0, dtype, *shape);
  c.output(0, dtype);
}
void infer_quantize(InferContext& c) { output_like_input(c, quantized_type(c)); }
void infer_dequantize(InferContext& c) { output_like_input(c, c.dtype(1)); }

// Blocks have scales of the input's rank, which only logical order can follow.
LayoutRule layout(const InferContext& c) {
  return c.ints("block_size", 0) > 0 ? LayoutRule::kLogical : LayoutRule::kAny;
}

// A tensor as [outer][length][inner] with scales along `length` (one for each `block` of it), or one for all.
struct Geometry {
  int64_t outer = 1, length = 1, inner = 1;
  bool per_tensor = true;
  int64_t block = 0;   // 0: scales are per axis
  int64_t blocks = 1;  // along `length`
  int64_t scales = 1;  // in all
  DType zero_point_type = DType::kUndefined;
};

Geometry geometry_of(PrepareContext& c) {
  if (c.dtype(1) != DType::kFloat32) fail_type(c, 1);
  Geometry g;
  const Shape& x = c.dims(0);
  const Shape& scale = c.dims(1);
  g.scales = element_count(scale);
  g.block = c.node().int_attribute("block_size", 0);
  if (g.block < 0) c.fail(ErrorCode::kInvalidModel, "block_size is negative");
  if (c.has_input(2)) {
    g.zero_point_type = c.dtype(2);
    if (element_count(c.dims(2)) != g.scales) {
      c.fail(ErrorCode::kShapeMismatch, {"zero points ", c.dims(2), " do not fit scales ", scale});
    }
  }
  g.per_tensor = g.block == 0 && g.scales == 1;
  if (g.per_tensor) {
    g.length = element_count(x);
    return g;
  }
  const auto rank = static_cast<int>(x.size());
  const int64_t axis = c.node().int_attribute("axis", 1);
  if (axis < -rank || axis >= rank) {
    c.fail(ErrorCode::kShapeMismatch, {"axis ", axis, " is outside a tensor of ", rank, " dimensions"});
  }
  const auto at = static_cast<size_t>(c.axis(axis, rank));
  for (size_t d = 0; d < x.size(); ++d) (d < at ? g.outer : d > at ? g.inner : g.length) *= x[d];
  Shape expected{g.length};
  if (g.block > 0) {
    g.blocks = (g.length + g.block - 1) / g.block;
    expected = x;
    expected[at] = g.blocks;
  }
  if (scale != expected) {
    c.fail(ErrorCode::kShapeMismatch, {"scales have dimensions ", scale, ", not ", expected});
  }
  // Zero points widened to int32, for runs along which they change.
  if (g.zero_point_type != DType::kUndefined) c.scratch(static_cast<size_t>(g.scales) * sizeof(int32_t));
  return g;
}

const int32_t* zero_points(const Geometry& g, const RunContext& r) {
  if (g.zero_point_type == DType::kUndefined) return nullptr;
  int32_t* widened = r.scratch<int32_t>();
  for (int64_t i = 0; i < g.scales; ++i) {
    widened[i] = kernels::quantized_at(r.inputs[2], g.zero_point_type, static_cast<size_t>(i));
  }
  return widened;
}

int32_t one_zero_point(const Geometry& g, const RunContext& r) {
  return g.zero_point_type == DType::kUndefined ? 0
                                                : kernels::quantized_at(r.inputs[2], g.zero_point_type, 0);
}

// Runs of elements that share a scale go to `one`(first element, count, scale index), runs in which every
// element has the next scale to `each`.
template <class One, class Each>
void for_runs(const Geometry& g, const RunContext& r, bool parallel, One&& one, Each&& each) {
  const auto split = [&](int64_t count, int64_t per_item, auto&& body) {
    if (!parallel) return body(int64_t{0}, count);
    r.parallel_range(count, grain_for({.work = per_item}), body);
  };
  if (g.inner == 1 && g.block == 0) {
    return split(g.outer, g.length, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) each(o * g.length, g.length, int64_t{0});
    });
  }
  split(g.outer * g.length, g.inner, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end;) {
      const int64_t o = row / g.length, k = row % g.length;
      if (g.block == 0) {
        one(row * g.inner, g.inner, k);
        ++row;
        continue;
      }
      const int64_t scale = (o * g.blocks + k / g.block) * g.inner;
      if (g.inner > 1) {
        each(row * g.inner, g.inner, scale);
        ++row;
        continue;
      }
      const int64_t count = std::min({g.block - k % g.block, g.length - k, end - row});
      one(row, count, scale);
      row += count;
    }
  });
}

bool is_quantized_type(DType t) {
  return t == DType::kUint8 || t == DType::kInt8 || t == DType::kUint16 || t == DType::kInt16 ||
         t == DType::kUint4 || t == DType::kInt4;
}

Kernel prepare_quantize(PrepareContext& c) {
  const Geometry g = geometry_of(c);
  const DType type = c.out_dtype(0);
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  if (!is_quantized_type(type) || (c.has_input(2) && c.dtype(2) != type)) {
    c.fail(ErrorCode::kUnsupportedType, {"values cannot be quantized to ", name_of(type)});
  }
  const bool parallel = bits_of(type) >= 8;  // two threads must not write halves of a byte
  if (g.per_tensor) {
    return [=](const RunContext& r) {
      const float scale = *r.in<float>(1);
      const int32_t zero_point = one_zero_point(g, r);
      r.parallel_range(g.length, parallel ? grain_for({.work = 1}) : g.length,
                       [&](int64_t begin, int64_t end) {
                         kernels::quantize(r.in<float>(0) + begin, scale, zero_point, type, r.out<void>(0),
                                           static_cast<size_t>(begin), static_cast<size_t>(end - begin));
                       });
    };
  }
  return [=](const RunContext& r) {
    const float *x = r.in<float>(0), *scales = r.in<float>(1);
    const int32_t* zero = zero_points(g, r);
    for_runs(
        g, r, parallel,
        [&](int64_t first, int64_t count, int64_t scale) {
          kernels::quantize(x + first, scales[scale], zero ? zero[scale] : 0, type, r.out<void>(0),
                            static_cast<size_t>(first), static_cast<size_t>(count));
        },
        [&](int64_t first, int64_t count, int64_t scale) {
          kernels::quantize_each(x + first, scales + scale, zero ? zero + scale : nullptr, type,
                                 r.out<void>(0), static_cast<size_t>(first), static_cast<size_t>(count));
        });
  };
}

Kernel prepare_dequantize(PrepareContext& c) {
  const Geometry g = geometry_of(c);
  const DType type = c.dtype(0);
  if (!is_quantized_type(type) && type != DType::kInt32) fail_type(c);
  if (c.has_input(2) && c.dtype(2) != type) fail_type(c, 2);
  if (g.per_tensor) {
    return [=](const RunContext& r) {
      const float scale = *r.in<float>(1);
      const int32_t zero_point = one_zero_point(g, r);
      r.parallel_range(g.length, grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
        kernels::dequantize(r.in<void>(0), type, scale, zero_point, r.out<float>(0) + begin,
                            static_cast<size_t>(begin), static_cast<size_t>(end - begin));
      });
    };
  }
  return [=](const RunContext& r) {
    float* y = r.out<float>(0);
    const float* scales = r.in<float>(1);
    const int32_t* zero = zero_points(g, r);
    for_runs(
        g, r, true,
        [&](int64_t first, int64_t count, int64_t scale) {
          kernels::dequantize(r.in<void>(0), type, scales[scale], zero ? zero[scale] : 0, y + first,
                              static_cast<size_t>(first), static_cast<size_t>(count));
        },
        [&](int64_t first, int64_t count, int64_t scale) {
          kernels::dequantize_each(r.in<void>(0), type, scales + scale, zero ? zero + scale : nullptr,
                                   y + first, static_cast<size_t>(first), static_cast<size_t>(count));
        });
  };
}

// ---- DynamicQuantizeLinear

void infer_dynamic(InferContext& c) {
  output_like_input(c, DType::kUint8);
  c.output(1, DType::kFloat32, SymShape{});
  c.output(2, DType::kUint8, SymShape{});
}

Kernel prepare_dynamic(PrepareContext& c) {
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  const int64_t count = element_count(c.dims(0));
  const int64_t pieces = std::clamp<int64_t>(count / grain_for({.work = 1}), 1, int64_t{c.threads()} * 4);
  c.scratch(static_cast<size_t>(pieces) * sizeof(kernels::Extent));
  const bool scale_out = c.has_output(1), zero_point_out = c.has_output(2), y_out = c.has_output(0);
  return [=](const RunContext& r) {
    const float* x = r.in<float>(0);
    auto* extents = r.scratch<kernels::Extent>();
    r.parallel(pieces, [&](int64_t p, int) {
      const int64_t begin = count * p / pieces, end = count * (p + 1) / pieces;
      extents[p] = kernels::extent_with_zero(x + begin, static_cast<size_t>(end - begin));
    });
    kernels::Extent all;
    for (int64_t p = 0; p < pieces; ++p) {
      all.min = std::min(all.min, extents[p].min);
      all.max = std::max(all.max, extents[p].max);
    }
    const kernels::DynamicScale s = kernels::dynamic_scale(all);
    if (scale_out) *r.out<float>(1) = s.scale;
    if (zero_point_out) *r.out<uint8_t>(2) = s.zero_point;
    if (!y_out) return;
    r.parallel_range(count, grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      kernels::quantize(x + begin, s.scale, s.zero_point, DType::kUint8, r.out<void>(0),
                        static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    });
  };
}

// Brings input i to a type; what is not known from the model alone stays as it is.
void bring_to(Canonicalize& c, size_t i, DType type) {
  ValueId& input = c.node.inputs[i];
  const DType is = c.graph[input].dtype;
  if (is == type || is == DType::kUndefined) return;
  if (const Tensor* constant = c.constant(i)) {
    input = c.constant_value(c.graph[input].name + "_cast", cast(*constant, type));
  } else {
    const ValueId from = input;
    input = c.add("Cast", {from}, {{"to", static_cast<int64_t>(type)}});
    c.graph[input].dtype = type;
    c.graph[input].shape = c.graph[from].shape;
  }
}

// ---- types that no kernel here has

NewAttributes to(DType type) { return {{"to", static_cast<int64_t>(type)}}; }

// Pairs to small floats are spelled in Cast, Div and Mul, with scales that broadcast: along blocks, values
// have a dimension more. Then weights are floats once the model is prepared, and every rule for floats holds.
class SmallFloatPair {
 public:
  explicit SmallFloatPair(Canonicalize& c) : c_(c), block_(c.node.int_attribute("block_size", 0)) {
    const SymShape* scale = c.shape(1);
    if (block_ == 0 && scale && (scale->empty() || (scale->size() == 1 && (*scale)[0] == Dim(1)))) return;
    const SymShape* x = c.shape(0);
    if (!scale || !x) c.wait("the shapes of scales and values are not known");
    rank_ = static_cast<int64_t>(x->size());
    axis_ = c.node.int_attribute("axis", 1);
    if (axis_ < -rank_ || axis_ >= rank_ || block_ < 0)
      c.fail(ErrorCode::kShapeMismatch, {"axis ", axis_, " or block_size ", block_, " do not fit ", *x});
    if (axis_ < 0) axis_ += rank_;
    const Dim length = (*x)[static_cast<size_t>(axis_)];
    if (block_ == 0) {
      if (scale->size() != 1 || (length.known() && (*scale)[0].known() && length != (*scale)[0]))
        c.fail(ErrorCode::kShapeMismatch, {"scales ", *scale, " do not fit ", *x});
      return;
    }
    if (!length.known()) c.wait("the length of the dimension with blocks is not known");
    if (length.value() % block_ != 0) fail("blocks that are cut off");
    SymShape expected = *x;
    expected[static_cast<size_t>(axis_)] = Dim(length.value() / block_);
    if (*scale != expected)
      c.fail(ErrorCode::kShapeMismatch, {"scales ", *scale, " do not fit ", *x, " in blocks of ", block_});
    // Dimensions before the blocks are copied (0); behind them, one may be unknown (-1).
    bool unknown = false;
    for (int64_t d = 0; d < rank_; ++d) {
      const Dim& dim = (*x)[static_cast<size_t>(d)];
      if (d > axis_ && !dim.known() && std::exchange(unknown, true))
        c.wait("dimensions behind the one with blocks are not known");
      const int64_t same = d < axis_ ? 0 : dim.known() ? dim.value() : -1;
      whole_.push_back(same);
      if (d == axis_) blocks_.push_back(length.value() / block_);
      blocks_.push_back(d == axis_ ? block_ : same);
    }
  }

  ValueId in_blocks(ValueId x) { return block_ > 0 ? reshaped(x, blocks_) : x; }
  ValueId whole(ValueId y) { return block_ > 0 ? reshaped(y, whole_) : y; }
  // A scale or zero point, as `type`.
  ValueId factor(size_t input, DType type) {
    bring_to(c_, input, type);
    const ValueId v = c_.node.inputs[input];
    const int64_t first = axis_ + 1, behind = block_ > 0 ? first + 1 : rank_;
    if (first >= behind) return v;
    std::vector<int64_t> axes;
    for (int64_t a = first; a < behind; ++a) axes.push_back(block_ > 0 ? a : a - axis_);
    return c_.add("Unsqueeze", {v, integers(axes)});
  }
  // Whether there is a zero point other than 0.
  bool shifts() const {
    if (c_.node.input(2) == kNoValue) return false;
    const Tensor* zero = c_.constant(2);
    return !zero || !std::ranges::all_of(zero->floats(), [](float z) { return z == 0; });
  }

 private:
  [[noreturn]] void fail(std::string_view what) {
    c_.fail(ErrorCode::kUnsupportedOperator, {"small floats with ", what, " are not supported"});
  }
  ValueId integers(const std::vector<int64_t>& list) {
    return c_.constant_value(c_.node.name + "_list",
                             Tensor::of<int64_t>({static_cast<int64_t>(list.size())}, list));
  }
  ValueId reshaped(ValueId v, const std::vector<int64_t>& dims) {
    return c_.add("Reshape", {v, integers(dims)});
  }

  Canonicalize& c_;
  int64_t block_, rank_ = 0, axis_ = 0;
  std::vector<int64_t> blocks_, whole_;  // dimensions of values
};

// y = Cast(x / scale + zero point)
void quantize_to_small_float(Canonicalize& c, DType type, DType computed) {
  SmallFloatPair pair(c);
  ValueId y = c.add("Div", {pair.in_blocks(c.node.inputs[0]), pair.factor(1, computed)});
  if (pair.shifts()) y = c.add("Add", {y, pair.factor(2, computed)});
  NewAttributes attributes = to(type);
  attributes.emplace_back("saturate", c.node.int_attribute("saturate", 1));
  c.finish("Cast", {pair.whole(y)}, std::move(attributes));
}

// y = (Cast(x) - zero point) * scale
void dequantize_small_float(Canonicalize& c, DType type) {
  SmallFloatPair pair(c);
  bring_to(c, 0, type);
  ValueId x = pair.in_blocks(c.node.inputs[0]);
  if (pair.shifts()) x = c.add("Sub", {x, pair.factor(2, type)});
  const ValueId y = c.add("Mul", {x, pair.factor(1, type)});
  c.finish("Identity", {pair.whole(y)});
}

bool is_2_bit(DType type) { return type == DType::kInt2 || type == DType::kUint2; }

// Rounded to 8 bits, cut off at the range of 2.
void quantize_to_2_bits(Canonicalize& c, DType type) {
  const DType wide = type == DType::kInt2 ? DType::kInt8 : DType::kUint8;
  if (c.node.input(2) != kNoValue) bring_to(c, 2, wide);
  c.node.attributes.insert_or_assign("output_dtype", static_cast<int64_t>(wide));
  Node quantize = c.node;
  quantize.outputs = {c.graph.add_value(c.graph[c.node.outputs[0]].name + "_wide", wide)};
  const ValueId q = quantize.outputs[0];
  c.nodes.push_back(std::move(quantize));
  const IntegerRange range = integer_range(type);
  const auto bound = [&](int32_t value) {
    return c.constant_value(c.node.name + "_bound", cast(Tensor::scalar<int64_t>(value), wide));
  };
  const ValueId cut = c.add("Clip", {q, bound(range.min), bound(range.max)});
  c.finish("Cast", {cut}, to(type));
}

DType type_of(const Canonicalize& c, size_t input) {
  const ValueId v = c.node.input(input);
  return v == kNoValue ? DType::kUndefined : c.graph[v].dtype;
}

// Opset 23 lets values, scales and the division have types of their own (int32 values were always allowed);
// before, and in memory, all have that of the scales. Scales that are powers of two (opset 24) get another.
void canonicalize_quantize(Canonicalize& c) {
  const auto precision = static_cast<DType>(c.node.int_attribute("precision", 0));
  c.node.attributes.erase("precision");
  DType type = precision == DType::kUndefined ? type_of(c, 1) : precision;
  if (type != DType::kUndefined && (is_small_float(type) || !is_float(type)))
    type = bits_of(type_of(c, 0)) == 16 ? type_of(c, 0) : DType::kFloat32;
  if (type != DType::kUndefined)
    for (size_t i : {size_t{0}, size_t{1}}) bring_to(c, i, type);
  const auto given = static_cast<DType>(c.node.int_attribute("output_dtype", 0));
  const DType quantized = c.node.input(2) == kNoValue ? given : type_of(c, 2);
  if (is_2_bit(quantized)) return quantize_to_2_bits(c, quantized);
  if (is_small_float(quantized) && type != DType::kUndefined)
    return quantize_to_small_float(c, quantized, type);
  c.node.attributes.erase("saturate");
  c.keep();
}

// Opset 23 lets the output have another type than the scales.
void canonicalize_dequantize(Canonicalize& c) {
  const auto type = static_cast<DType>(c.node.int_attribute("output_dtype", 0));
  c.node.attributes.erase("output_dtype");
  DType scale = type_of(c, 1);
  if (is_small_float(scale)) {
    if (type == DType::kUndefined)
      c.fail(ErrorCode::kInvalidModel,
             {"scales of type ", name_of(scale), " need the attribute output_dtype"});
    bring_to(c, 1, type);
    scale = type;
  }
  if (is_small_float(type_of(c, 0)) && scale != DType::kUndefined)
    return dequantize_small_float(c, type == DType::kUndefined ? scale : type);
  if (is_2_bit(type_of(c, 0))) {
    const DType four = type_of(c, 0) == DType::kInt2 ? DType::kInt4 : DType::kUint4;
    bring_to(c, 0, four);
    if (c.node.input(2) != kNoValue) bring_to(c, 2, four);
  }
  if (type == DType::kUndefined || type == scale || scale == DType::kUndefined) return c.keep();
  Node dequantize = c.node;
  const ValueId y = c.graph.add_value(c.graph[c.node.outputs[0]].name + "_wide");
  dequantize.outputs = {y};
  c.nodes.push_back(std::move(dequantize));
  c.finish("Cast", {y}, {{"to", static_cast<int64_t>(type)}});
}

// Scales of their own for slices came with opset 13, other types of scales with opset 19, 16 and 4 bits with
// opset 21, 2 bits with opset 25. (Blocks: see `opsets`.)
void respell(Respell& r, DType integers) {
  const DType scale = r.dtype(1);
  if (scale == DType::kFloat16 || scale == DType::kBfloat16) r.need(19);
  if (r.before(13)) {
    if (r.rank(1) != 0) r.need(13);
    r.node.attributes.erase("axis");
  }
  const int bits = integers == DType::kUndefined ? 8 : bits_of(integers);
  if (bits == 16 || bits == 4) r.need(21);
  if (bits == 2) r.need(25);
}
void respell_quantize(Respell& r) {
  Node& n = r.node;
  const auto type = static_cast<DType>(n.int_attribute("output_dtype", 0));
  respell(r, n.input(2) == kNoValue ? type : r.dtype(2));
  if (!r.before(21) || type == DType::kUndefined || n.input(1) == kNoValue) return;
  if (n.input(2) == kNoValue && type != DType::kUint8) {  // before, a zero point said which type
    const std::optional<SymShape>& shape = r.graph[n.input(1)].shape;
    const std::optional<Shape> dims = shape ? concrete(*shape) : std::nullopt;
    if (!dims) return r.need(21);
    r.set(2, r.graph.add_constant(n.name + "_zero_point", Tensor(type, *dims)));
  }
  n.attributes.erase("output_dtype");
}
void respell_dequantize(Respell& r) { respell(r, r.dtype(0)); }

// com.microsoft's forms came before ai.onnx had per-axis scales and 16-bit types; they say the same.
template <void (*kCanonicalize)(Canonicalize&)>
void to_standard(Canonicalize& c) {
  c.node.domain.clear();
  kCanonicalize(c);
}

constexpr OpDef kQuantize = {.name = "QuantizeLinear",
                             .inputs = "x y_scale y_zero_point?",
                             .opsets = "10fi 19hb saturate=1:19 block_size:21 output_dtype=:21",
                             .since = 10,
                             .types = "TUV",
                             .infer = infer_quantize,
                             .prepare = prepare_quantize,
                             .layout = layout,
                             .role = QdqRole::kQuantize,
                             .canonicalize = canonicalize_quantize,
                             .respell = respell_quantize};
constexpr OpDef kDequantize = {.name = "DequantizeLinear",
                               .inputs = "x x_scale x_zero_point?",
                               .opsets = "10cCi 19G 21sSqQ 23m 25pP block_size:21",
                               .since = 10,
                               .types = "TUT",
                               .infer = infer_dequantize,
                               .prepare = prepare_dequantize,
                               .layout = layout,
                               .role = QdqRole::kDequantize,
                               .canonicalize = canonicalize_dequantize,
                               .respell = respell_dequantize};
constexpr OpDef kDynamic = {.name = "DynamicQuantizeLinear",
                            .opsets = "11f",
                            .since = 11,
                            .infer = infer_dynamic,
                            .prepare = prepare_dynamic,
                            .layout = any_layout,
                            .role = QdqRole::kDynamicQuantize};
constexpr OpDef kMicrosoftQuantize = {.domain = kMicrosoft,
                                      .name = "QuantizeLinear",
                                      .inputs = "x y_scale y_zero_point?",
                                      .canonicalize = to_standard<canonicalize_quantize>};
constexpr OpDef kMicrosoftDequantize = {.domain = kMicrosoft,
                                        .name = "DequantizeLinear",
                                        .inputs = "x x_scale x_zero_point?",
                                        .canonicalize = to_standard<canonicalize_dequantize>};
const RegisterOps kRegistered({&kQuantize, &kDequantize, &kDynamic, &kMicrosoftQuantize,
                               &kMicrosoftDequantize});

}  // namespace
}  // namespace zp
