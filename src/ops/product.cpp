#include "ops/product.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/gemm/weight_only.h"
#include "kernels/movement/copy.h"

namespace zp {
namespace {

using kernels::OutputRange;

constexpr size_t kAlign = 64;
// Below this many multiply-accumulates a piece costs more to hand to a thread than to compute.
constexpr double kSmallestPiece = 64 * 1024;

size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// ---- work for the threads

struct Task {
  int part;
  OutputRange range;
};

int tiles(int count, int tile) { return (count + tile - 1) / tile; }

// Cuts [0, count) into `pieces` of whole tiles, the last of which has the rest too; the end of piece `i`.
// There are at most whole_tiles(count, tile) pieces.
int whole_tiles(int count, int tile) { return std::max(1, count / tile); }
int cut(int count, int tile, int pieces, int i) {
  return i == pieces ? count : static_cast<int>(int64_t{whole_tiles(count, tile)} * i / pieces) * tile;
}

// Float sums are split among more accumulators where a register tile has few rows, so rows are cut where
// every tile height that a build uses (4, 6) begins anew: then a row has the same neighbours, and the same
// bits, in every split.
constexpr int kRowCut = 12;
static_assert(kRowCut >= kernels::kFewRows);

// Rows are cut first: pieces with the same columns share the packed weights, pieces with the same rows gather
// them anew.
std::vector<Task> split(const Product& product, int threads) {
  const auto parts = static_cast<int>(product.parts.size());
  std::vector<Task> tasks;
  for (int p = 0; p < parts; ++p) {
    const ProductPart& part = product.parts[static_cast<size_t>(p)];
    const kernels::WeightLayout& w = product.weights[static_cast<size_t>(part.weights)].layout;
    if (part.rows <= 0 || w.columns <= 0) continue;
    int pieces = 1;
    if (threads > 1 && parts < threads * 3) {
      const double macs = static_cast<double>(part.rows) * w.columns * std::max(1, w.depth());
      pieces = static_cast<int>(std::min<double>(tiles(threads * 3, parts), 1 + macs / kSmallestPiece));
    }
    const int row_pieces = std::min(pieces, whole_tiles(part.rows, kRowCut));
    const int column_pieces =
        std::min(tiles(pieces, row_pieces), whole_tiles(w.columns, kernels::kColumnTile));
    for (int r = 0; r < row_pieces; ++r) {
      for (int c = 0; c < column_pieces; ++c) {
        tasks.push_back({p,
                         {cut(part.rows, kRowCut, row_pieces, r), cut(part.rows, kRowCut, row_pieces, r + 1),
                          cut(w.columns, kernels::kColumnTile, column_pieces, c),
                          cut(w.columns, kernels::kColumnTile, column_pieces, c + 1)}});
      }
    }
  }
  return tasks;
}

// ---- what every kernel below has

struct Frame {
  Product product;
  std::vector<Task> tasks;
  std::vector<size_t> packed_at;  // weights packed in each run: where, in scratch
  size_t transposed_at = 0, gather_at = 0, gather_bytes = 0;

  // Lays out scratch: [left matrix turned][weights packed in each run][rows gathered by each thread].
  void lay_out(PrepareContext& c, size_t element, const std::vector<size_t>& packed_bytes,
               size_t per_thread) {
    size_t at = 0;
    if (product.transposed) {
      at += aligned(static_cast<size_t>(product.transposed->from_rows * product.transposed->from_columns) *
                        element +
                    Tensor::kReadSlack);
    }
    for (size_t bytes : packed_bytes) {
      packed_at.push_back(at);
      at += aligned(bytes + Tensor::kReadSlack);
    }
    gather_at = at;
    gather_bytes = aligned(per_thread);
    at += gather_bytes * static_cast<size_t>(std::max(1, c.threads()));
    if (at > 0) c.scratch(at);
    tasks = split(product, c.threads());
  }

  void* gather(const RunContext& r, int thread) const {
    return r.scratch<std::byte>(gather_at + gather_bytes * static_cast<size_t>(thread));
  }

  // The left matrix, turned if it has to be.
  template <class T>
  const T* input(const RunContext& r) const {
    const T* from = r.in<T>(product.input);
    if (!product.transposed) return from;
    T* to = r.scratch<T>(transposed_at);
    const int64_t rows = product.transposed->from_rows, columns = product.transposed->from_columns;
    r.parallel_range(columns, 16, [&](int64_t begin, int64_t end) {
      for (int64_t k = 0; k < rows; ++k)
        for (int64_t m = begin; m < end; ++m) to[m * rows + k] = from[k * columns + m];
    });
    return to;
  }
};

template <class T>
kernels::GemmInput<T> part_input(const ProductPart& part, const T* input = nullptr) {
  kernels::GemmInput<T> in;
  if (input) in.data = input + part.input_offset;
  if (part.conv && !part.conv->is_pointwise()) {
    in.conv = &*part.conv;
  } else {
    in.row_stride = part.conv ? part.conv->pixel_stride : part.row_stride;
  }
  return in;
}

struct PackedFloat {
  std::shared_ptr<std::byte> storage;
  size_t bytes = 0;
  std::vector<kernels::FloatWeights> views;
};

void scale_packed(void* storage, size_t bytes, float alpha) {
  if (alpha == 1) return;
  auto* values = static_cast<float*>(storage);
  for (size_t i = 0; i < bytes / sizeof(float); ++i) values[i] *= alpha;
}

// Without the slack that the kernels' own size counts behind the last tile.
size_t packed_float_bytes(const kernels::WeightLayout& layout) {
  return kernels::round_up(static_cast<size_t>(layout.columns), kernels::kColumnTile) *
         static_cast<size_t>(layout.depth()) * sizeof(float);
}

std::shared_ptr<const PackedFloat> pack_float(const Product& product, const float* from) {
  auto packed = std::make_shared<PackedFloat>();
  size_t total = 0;
  for (const ProductWeights& w : product.weights)
    total += aligned(kernels::packed_float_weights_bytes(w.layout));
  packed->storage = allocate_bytes(packed->bytes = total);
  std::byte* at = packed->storage.get();
  for (const ProductWeights& w : product.weights) {
    packed->views.push_back(kernels::pack_float_weights(from + w.offset, w.layout, at));
    scale_packed(at, packed_float_bytes(w.layout), product.alpha);
    at += aligned(kernels::packed_float_weights_bytes(w.layout));
  }
  kernels::flush_denormals(packed->storage.get(), packed->bytes);
  return packed;
}

struct FloatFrame : Frame {
  FloatBias bias;
  Clamp clamp;
  std::shared_ptr<const PackedFloat> packed;  // null: packed in each run

  kernels::FloatGemmOutput output(const RunContext& r, const ProductPart& part) const {
    kernels::FloatGemmOutput y;
    y.data = r.out<float>(0) + part.output_offset;
    y.rows = part.output_rows;
    const float* b = bias.in(r);
    y.bias = b ? b + product.weights[static_cast<size_t>(part.weights)].first_column : nullptr;
    y.lo = clamp.lo;
    y.hi = clamp.hi;
    y.accumulate = static_cast<bool>(product.initialize);
    return y;
  }
};

Kernel float_kernel(PrepareContext& c, Product product, FloatBias bias,
                    std::shared_ptr<const PackedFloat> packed) {
  auto frame = std::make_shared<FloatFrame>();
  frame->product = std::move(product);
  frame->bias = std::move(bias);
  frame->clamp = c.clamp();
  frame->packed = std::move(packed);
  std::vector<size_t> packed_bytes;
  if (!frame->packed) {
    for (const ProductWeights& w : frame->product.weights)
      packed_bytes.push_back(kernels::packed_float_weights_bytes(w.layout));
  }
  size_t gather = 0;
  for (const ProductPart& part : frame->product.parts) {
    const kernels::WeightLayout& layout = frame->product.weights[static_cast<size_t>(part.weights)].layout;
    const kernels::FloatWeights shape{nullptr, layout.columns, layout.depth()};
    gather = std::max(gather, kernels::float_gemm_scratch_bytes(part_input<float>(part), shape));
  }
  frame->lay_out(c, sizeof(float), packed_bytes, gather);

  return [f = std::shared_ptr<const FloatFrame>(frame)](const RunContext& r) {
    const Product& p = f->product;
    const float* input = f->input<float>(r);
    if (!f->packed) {
      const float* from = r.in<float>(p.weight_input);
      r.parallel(static_cast<int64_t>(p.weights.size()), [&](int64_t i, int) {
        const ProductWeights& w = p.weights[static_cast<size_t>(i)];
        auto* to = r.scratch<std::byte>(f->packed_at[static_cast<size_t>(i)]);
        kernels::pack_float_weights(from + w.offset, w.layout, to);
        scale_packed(to, packed_float_bytes(w.layout), p.alpha);
      });
    }
    if (p.initialize) p.initialize(r);
    r.parallel(static_cast<int64_t>(f->tasks.size()), [&](int64_t t, int thread) {
      const Task& task = f->tasks[static_cast<size_t>(t)];
      const ProductPart& part = p.parts[static_cast<size_t>(task.part)];
      const auto which = static_cast<size_t>(part.weights);
      const kernels::WeightLayout& layout = p.weights[which].layout;
      const kernels::FloatWeights weights =
          f->packed
              ? f->packed->views[which]
              : kernels::FloatWeights{r.scratch<float>(f->packed_at[which]), layout.columns, layout.depth()};
      kernels::float_gemm(part_input(part, input), weights, f->output(r, part), task.range,
                          f->gather(r, thread));
    });
  };
}

// ---- integer

struct PackedInt8 {
  std::shared_ptr<std::byte> storage;
  size_t bytes = 0;
  std::vector<kernels::Int8Weights> views;
};

kernels::Int8WeightSource weight_source(const ProductWeights& w, const uint8_t* from, bool is_unsigned,
                                        const void* zero_points, int zero_point_count) {
  kernels::Int8WeightSource source;
  source.data = from + w.offset;
  source.is_unsigned = is_unsigned;
  source.layout = w.layout;
  if (zero_point_count > 0) {
    source.zero_points =
        static_cast<const uint8_t*>(zero_points) + (zero_point_count > 1 ? w.first_column : 0);
    source.zero_point_count = zero_point_count > 1 ? w.layout.columns : 1;
  }
  return source;
}

std::shared_ptr<const PackedInt8> pack_int8(const Product& product, const Weights8& weights) {
  auto packed = std::make_shared<PackedInt8>();
  size_t total = 0;
  for (const ProductWeights& w : product.weights)
    total += aligned(kernels::packed_int8_weights_bytes(w.layout));
  packed->storage = allocate_bytes(packed->bytes = total);
  std::byte* at = packed->storage.get();
  const auto* from = reinterpret_cast<const uint8_t*>(weights.constant->raw());
  for (const ProductWeights& w : product.weights) {
    packed->views.push_back(
        kernels::pack_int8_weights(weight_source(w, from, weights.is_unsigned, weights.zero_points.data(),
                                                 static_cast<int>(weights.zero_points.size())),
                                   at));
    at += aligned(kernels::packed_int8_weights_bytes(w.layout));
  }
  return packed;
}

// Scratch for weights that are only packed in the run, by whichever method that turns out to use.
size_t gather_bytes_of(const kernels::WeightLayout& layout) {
  kernels::Int8Weights shape;
  shape.columns = layout.columns;
  shape.depth = layout.depth();
  shape.padded_depth = (layout.depth() + 3) / 4 * 4;
  size_t bytes = 0;
  for (const auto method : {kernels::Int8Method::kDot16, kernels::Int8Method::kDot8,
                            kernels::Int8Method::kDot8Signed, kernels::Int8Method::kDot8Narrow}) {
    shape.method = method;
    bytes = std::max(bytes, kernels::int8_gemm_scratch_bytes(shape));
  }
  return bytes;
}

struct IntegerFrame : Frame {
  Operand8 operand;
  Weights8 weights;
  Epilogue8 epilogue;
  std::shared_ptr<const PackedInt8> packed;
};

// ---- edges

bool is_8_bit(DType type) { return type == DType::kInt8 || type == DType::kUint8; }
bool is_4_bit(DType type) { return type == DType::kInt4 || type == DType::kUint4; }

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

void require_inputs(const InferContext& c, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!c.has_input(i)) c.fail(ErrorCode::kInvalidModel, {"input ", i, " is missing"});
  }
}

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
        // Nearly always the scale is s_x * s_w, up to the rounding of whoever multiplied.
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

void require_operand_types(const PrepareContext& c) {
  const DType wanted = c.quant(0) ? DType::kFloat32 : c.dtype(0);
  for (size_t i = 1; i < 3; ++i) {
    if (!c.has_input(i) || c.quant(i) || c.dtype(i) == wanted) continue;
    c.fail(ErrorCode::kUnsupportedType,
           {"input ", i, " has type ", name_of(c.dtype(i)), ", not ", name_of(wanted)});
  }
}

Kernel float_product(PrepareContext& c, Product product, FloatBias bias) {
  std::shared_ptr<const PackedFloat> packed;
  if (const Tensor* weights = c.constant(product.weight_input)) {
    packed = c.cached<PackedFloat>("float/" + product.cache_kind,
                                   [&] { return pack_float(product, weights->data<float>().data()); });
  }
  return float_kernel(c, std::move(product), std::move(bias), std::move(packed));
}

Kernel integer_product(PrepareContext& c, Product product, Operand8 input, Weights8 weights,
                       Epilogue8 epilogue) {
  auto frame = std::make_shared<IntegerFrame>();
  frame->product = std::move(product);
  frame->operand = input;
  frame->epilogue = std::move(epilogue);
  const Product& p = frame->product;
  std::vector<size_t> packed_bytes;
  size_t gather = 0;
  if (weights.constant) {
    frame->packed = c.cached<PackedInt8>("int8/" + p.cache_kind, [&] { return pack_int8(p, weights); });
    for (const kernels::Int8Weights& w : frame->packed->views) {
      gather = std::max(gather, kernels::int8_gemm_scratch_bytes(w));
    }
    weights.constant.reset();  // packed: the original is the graph's
  } else {
    for (const ProductWeights& w : p.weights) {
      packed_bytes.push_back(kernels::packed_int8_weights_bytes(w.layout));
      gather = std::max(gather, gather_bytes_of(w.layout));
    }
  }
  frame->weights = std::move(weights);
  frame->lay_out(c, 1, packed_bytes, gather);
  // Views of weights packed in each run go behind the gathered rows: nothing is allocated in a run.
  const size_t views_at = aligned(c.scratch_bytes());
  if (!frame->packed) c.scratch(views_at + p.weights.size() * sizeof(kernels::Int8Weights));

  return [f = std::shared_ptr<const IntegerFrame>(frame), views_at](const RunContext& r) {
    const Product& p = f->product;
    const uint8_t* input = f->input<uint8_t>(r);
    const kernels::Int8Weights* views = f->packed ? f->packed->views.data() : nullptr;
    if (!f->packed) {
      auto* made = r.scratch<kernels::Int8Weights>(views_at);
      const uint8_t* from = r.in<uint8_t>(p.weight_input);
      r.parallel(static_cast<int64_t>(p.weights.size()), [&](int64_t i, int) {
        const auto at = static_cast<size_t>(i);
        std::construct_at(made + at, kernels::pack_int8_weights(
                                         weight_source(p.weights[at], from, f->weights.is_unsigned,
                                                       f->weights.zero_points_in(r), f->weights.count()),
                                         r.scratch<std::byte>(f->packed_at[at])));
      });
      views = made;
    }
    const int32_t zero_point = f->operand.zero_point_in(r);
    const float scale = f->epilogue.scale_in(r);
    r.parallel(static_cast<int64_t>(f->tasks.size()), [&](int64_t t, int thread) {
      const Task& task = f->tasks[static_cast<size_t>(t)];
      const ProductPart& part = p.parts[static_cast<size_t>(task.part)];
      const auto which = static_cast<size_t>(part.weights);
      kernels::Int8Input in;
      in.rows = part_input(part, input);
      in.is_signed = f->operand.is_signed;
      in.zero_point = zero_point;
      f->epilogue.with_output(r, scale, part.output_offset, part.output_rows, p.weights[which].first_column,
                              [&](const auto& output) {
                                kernels::int8_gemm(in, views[which], output, task.range,
                                                   f->gather(r, thread));
                              });
    });
  };
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

// ---- weight only

namespace {

struct PackedBlocks {
  std::shared_ptr<std::byte> storage;
  size_t bytes = 0;
  kernels::BlockWeights view;
};

// The weights of a plain product as the weight-only kernel takes them; nullopt: no such form. The vectors
// keep what the source points at.
struct BlockForm {
  kernels::BlockWeightSource source;
  std::vector<float> scales;
  std::vector<uint8_t> zero_points;
};

std::optional<BlockForm> block_form(const Product& product, const Tensor& weights, const EdgeQuant& edge) {
  if (product.weights.size() != 1 || product.weights[0].offset != 0 || weights.dims().size() != 2)
    return std::nullopt;
  const kernels::WeightLayout& layout = product.weights[0].layout;
  if (layout.taps() != 1 || weights.size() != int64_t{layout.columns} * layout.depth() ||
      layout.depth() == 0) {
    return std::nullopt;
  }
  BlockForm form;
  kernels::BlockWeightSource& s = form.source;
  s.codes = weights.raw();
  s.bits = bits_of(weights.dtype());
  s.is_signed = is_signed_integer(weights.dtype());
  s.columns = layout.columns;
  s.depth = layout.depth();
  s.column_stride = layout.column_stride;
  s.depth_stride = layout.channel_stride;
  s.block_size = s.depth;
  const bool columns_first = product.channel_axis == 0;
  const int axis = normalized(edge.axis, 2);
  if (edge.per_tensor()) {
    s.scale_column_stride = s.scale_block_stride = 0;
  } else if (edge.block_size == 0) {
    if (axis != product.channel_axis || edge.scale.size() != s.columns) return std::nullopt;
    s.scale_column_stride = 1;
    s.scale_block_stride = 0;
  } else {
    if (axis == product.channel_axis) return std::nullopt;
    const int64_t blocks = (s.depth + edge.block_size - 1) / edge.block_size;
    if ((edge.block_size % 16 != 0 && edge.block_size < s.depth) || edge.scale.size() != blocks * s.columns) {
      return std::nullopt;
    }
    s.block_size = static_cast<int>(std::min<int64_t>(edge.block_size, (s.depth + 15) / 16 * 16));
    s.scale_column_stride = columns_first ? blocks : 1;
    s.scale_block_stride = columns_first ? 1 : s.columns;
  }
  form.scales = edge.scale.floats();
  for (float& scale : form.scales) scale *= product.alpha;
  // ONNX: an absent zero point is 0, whatever the type.
  for (int32_t p : edge.zero_points()) form.zero_points.push_back(static_cast<uint8_t>(p));
  return form;
}

}  // namespace

Kernel weight_only_product(PrepareContext& c, Product product, FloatBias bias) {
  const Tensor& weights = *c.constant(product.weight_input);
  const EdgeQuant& edge = *c.quant(product.weight_input);
  std::optional<BlockForm> form;
  const bool plain =
      !product.initialize && std::none_of(product.parts.begin(), product.parts.end(),
                                          [](const ProductPart& p) { return p.conv.has_value(); });
  if (plain) form = block_form(product, weights, edge);
  if (!form) {
    // Convolutions use each weight for many pixels: floats packed once are the faster form.
    auto packed = c.cached<PackedFloat>("float/" + product.cache_kind, [&] {
      const Tensor floats = dequantized(weights, edge);
      return pack_float(product, floats.data<float>().data());
    });
    return float_kernel(c, std::move(product), std::move(bias), std::move(packed));
  }
  struct BlockFrame : FloatFrame {
    std::shared_ptr<const PackedBlocks> blocks;
  };
  auto frame = std::make_shared<BlockFrame>();
  frame->blocks = c.cached<PackedBlocks>("blocks/" + product.cache_kind, [&] {
    form->source.scales = form->scales.data();
    form->source.zero_points = form->zero_points.data();
    auto packed = std::make_shared<PackedBlocks>();
    packed->bytes = kernels::packed_block_weights_bytes(form->source);
    packed->storage = allocate_bytes(packed->bytes);
    packed->view = kernels::pack_block_weights(form->source, packed->storage.get());
    return packed;
  });
  frame->product = std::move(product);
  frame->bias = std::move(bias);
  frame->clamp = c.clamp();
  frame->lay_out(c, sizeof(float), {}, kernels::weight_only_gemm_scratch_bytes(frame->blocks->view));
  return [f = std::shared_ptr<const BlockFrame>(frame)](const RunContext& r) {
    const Product& p = f->product;
    const float* input = f->input<float>(r);
    r.parallel(static_cast<int64_t>(f->tasks.size()), [&](int64_t t, int thread) {
      const Task& task = f->tasks[static_cast<size_t>(t)];
      const ProductPart& part = p.parts[static_cast<size_t>(task.part)];
      kernels::weight_only_gemm(part_input(part, input), f->blocks->view, f->output(r, part), task.range,
                                f->gather(r, thread));
    });
  };
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
