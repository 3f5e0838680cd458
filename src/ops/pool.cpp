// MaxPool, AveragePool, LpPool, their global forms, and com.microsoft's QLinearAveragePool and
// QLinearGlobalAveragePool, which are DequantizeLinear -> pool -> QuantizeLinear in one node.
//
// Means have an integer form: kernels/reduction/pool.h says what it computes.
#include "kernels/reduction/pool.h"

#include <algorithm>
#include <cmath>

#include "core/element_types.h"
#include "core/grain.h"
#include "ops/byte_edges.h"
#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/product/qdq.h"
#include "ops/respell.h"

namespace zp {
namespace {

using kernels::PoolGeometry;
using kernels::PoolQuantization;
using kernels::PoolRange;

// ---- geometry

struct Attributes {
  std::vector<int64_t> kernel, stride, dilation, pads;
  std::string auto_pad;
  bool ceil = false;
};

template <class Context>
Attributes attributes_of(const Context& c) {
  Attributes a;
  a.kernel = c.node().ints_attribute("kernel_shape");
  const size_t n = a.kernel.size();
  const auto or_all = [&](std::string_view key, size_t count, int64_t value) {
    std::vector<int64_t> given = c.node().ints_attribute(key);
    if (given.empty()) given.assign(count, value);
    if (given.size() != count) {
      c.fail(ErrorCode::kInvalidModel, {key, " ", given, " does not fit kernel_shape ", a.kernel});
    }
    return given;
  };
  a.stride = or_all("strides", n, 1);
  a.dilation = or_all("dilations", n, 1);
  a.pads = or_all("pads", 2 * n, 0);
  a.auto_pad = c.node().string_attribute("auto_pad", "NOTSET");
  a.ceil = c.node().int_attribute("ceil_mode", 0) != 0;
  const auto within = [](const std::vector<int64_t>& v, int64_t lo) {
    return std::all_of(v.begin(), v.end(), [&](int64_t x) { return x >= lo && x <= int64_t{1} << 30; });
  };
  if (n == 0 || !within(a.kernel, 1) || !within(a.stride, 1) || !within(a.dilation, 1) ||
      !within(a.pads, 0)) {
    c.fail(ErrorCode::kInvalidModel, "kernel_shape, strides, dilations or pads are missing or out of range");
  }
  return a;
}

struct Side {
  Dim out;
  int64_t pad_begin, pad_end;
};

// One spatial dimension. A result below 1 means that the window does not fit.
Side side_of(const Attributes& a, size_t i, const Dim& in) {
  const size_t n = a.kernel.size();
  const int64_t reach = (a.kernel[i] - 1) * a.dilation[i] + 1, stride = a.stride[i];
  if (a.auto_pad == "SAME_UPPER" || a.auto_pad == "SAME_LOWER") {
    const Dim out = ceil_div(in, stride);
    if (!out.known()) return {out, 0, 0};
    const int64_t pads = std::max<int64_t>(0, (out.value() - 1) * stride + reach - in.value());
    const int64_t less = pads / 2, more = pads - less;
    return a.auto_pad == "SAME_UPPER" ? Side{out, less, more} : Side{out, more, less};
  }
  const bool own = a.auto_pad != "VALID";
  const int64_t begin = own ? a.pads[i] : 0, end = own ? a.pads[i + n] : 0;
  if (!in.known()) return {stride == 1 && begin + end == reach - 1 ? in : Dim(), begin, end};
  const int64_t room = in.value() + begin + end - reach;
  if (room < 0) return {Dim(0), begin, end};
  int64_t out = (a.ceil && own ? room + stride - 1 : room) / stride + 1;
  // The last window has to start inside the input or the pads in front of it.
  if (a.ceil && own && (out - 1) * stride >= in.value() + begin) --out;
  return {Dim(out), begin, end};
}

void infer_pool(InferContext& c) {
  const Attributes a = attributes_of(c);
  const SymShape* in = c.shape(0);
  const size_t n = a.kernel.size();
  if (!in) {
    if (c.has_output(1)) c.output(1, DType::kInt64, SymShape(n + 2));
    return c.output(0, c.dtype(0), SymShape(n + 2));
  }
  c.require(in->size() == n + 2, {"kernel_shape ", a.kernel, " does not fit an input of shape ", *in});
  SymShape out{(*in)[0], (*in)[1]};
  for (size_t i = 0; i < n; ++i) {
    out.push_back(side_of(a, i, (*in)[i + 2]).out);
    c.require(!(out.back() == Dim(0)) || (*in)[i + 2] == Dim(0),
              {"a window of ", a.kernel, " does not fit an input of shape ", *in});
  }
  if (c.has_output(1)) c.output(1, DType::kInt64, out);
  c.output(0, c.dtype(0), std::move(out));
}

void infer_global(InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) return c.output(0, c.dtype(0));
  c.require(in->size() >= 2, {"cannot pool an input of shape ", *in});
  SymShape out(in->size(), Dim(1));
  out[0] = (*in)[0];
  out[1] = (*in)[1];
  c.output(0, c.dtype(0), std::move(out));
}

// `dims` are channels last, or (with `planes`) logical: then every channel of every image is an image of its
// own.
PoolGeometry geometry_of(const PrepareContext& c, bool planes, const Shape& dims) {
  const Attributes a = attributes_of(c);
  const size_t n = a.kernel.size();
  if (n > 3)
    c.fail(ErrorCode::kUnsupportedOperator, "pooling over more than three dimensions is not supported");
  PoolGeometry g;
  g.batch = planes ? dims[0] * dims[1] : dims[0];
  g.channels = planes ? 1 : dims.back();
  for (size_t i = 0; i < n; ++i) {
    const size_t at = 3 - n + i;
    const int64_t in = dims[i + (planes ? 2 : 1)];
    const Side side = side_of(a, i, Dim(in));
    g.in[at] = in;
    g.out[at] = side.out.value();
    g.kernel[at] = a.kernel[i];
    g.stride[at] = a.stride[i];
    g.dilation[at] = a.dilation[i];
    g.pad_begin[at] = side.pad_begin;
    g.pad_end[at] = side.pad_end;
  }
  g.count_pads = c.node().int_attribute("count_include_pad", 0) != 0;
  return g;
}

PoolGeometry geometry_of(const PrepareContext& c, bool planes) { return geometry_of(c, planes, c.dims(0)); }

PoolGeometry global_geometry(const PrepareContext& c, const Shape& dims) {
  PoolGeometry g;
  g.batch = dims[0];
  g.channels = dims.back();
  if (dims.size() < 3) return g;  // nothing to pool over
  // A window over everything may have any number of dimensions: they count as one line, or as lines of the
  // last one.
  g.in[2] = g.kernel[2] = dims[dims.size() - 2];
  g.in[1] = g.kernel[1] = element_count(dims, 1, dims.size() - 2);
  if (g.in[1] * g.in[2] == 0)
    c.fail(ErrorCode::kShapeMismatch, {"there is nothing to pool in an input of shape ", dims});
  return g;
}

PoolGeometry global_geometry(const PrepareContext& c) { return global_geometry(c, c.dims(0)); }

// Splits the output among the threads: by pixels or, where there are few, by channels too.
struct Split {
  PoolGeometry g;
  int64_t slices, grain;
  static constexpr int64_t kChannels = 64;  // of one task: whole cache lines, whole vectors

  Split(const PoolGeometry& geometry, int threads) : g(geometry) {
    const bool few = g.pixels() < int64_t{threads} * 4;
    slices = few ? std::max<int64_t>(1, (g.channels + kChannels - 1) / kChannels) : 1;
    // Taps times channels that make a task worth handing over.
    const int64_t work = g.channels / slices * std::min(g.kernel[0], g.in[0]) *
                         std::min(g.kernel[1], g.in[1]) * std::min(g.kernel[2], g.in[2]);
    grain = grain_for({.work = work});
  }
  void run(const RunContext& r, FunctionRef<void(const PoolRange&)> body) const {
    r.parallel_range(g.pixels() * slices, grain, [&](int64_t begin, int64_t end) {
      if (slices == 1) return body(PoolRange{begin, end, 0, g.channels});
      for (int64_t i = begin; i < end; ++i) {
        const int64_t pixel = i / slices, first = i % slices * kChannels;
        body(PoolRange{pixel, pixel + 1, first, std::min(first + kChannels, g.channels)});
      }
    });
  }
};

template <class F>
Kernel in_ranges(const PoolGeometry& g, int threads, F body) {
  return [split = Split(g, threads), body](const RunContext& run) {
    split.run(run, [&](const PoolRange& range) { body(run, split.g, range); });
  };
}

// ---- maximum

template <class T>
Kernel max_kernel(const PrepareContext& c, const PoolGeometry& g) {
  return in_ranges(g, c.threads(),
                   [](const RunContext& run, const PoolGeometry& geometry, const PoolRange& range) {
                     kernels::max_pool<kernels::Best>(run.in<T>(0), run.out<T>(0), geometry, range);
                   });
}

Kernel max_of_type(const PrepareContext& c, const PoolGeometry& g) {
  Kernel kernel;
  if (!visit(c.dtype(0), ElementTypes<float, uint8_t, int8_t>(),
             [&]<class T>(Element<T>) { kernel = max_kernel<T>(c, g); })) {
    c.fail(ErrorCode::kUnsupportedType, {"a maximum of ", name_of(c.dtype(0)), " is not supported"});
  }
  return kernel;
}

Kernel prepare_max(PrepareContext& c) {
  if (!c.has_output(1)) return max_of_type(c, geometry_of(c, false));
  if (c.dtype(0) != DType::kFloat32) {
    c.fail(ErrorCode::kUnsupportedType,
           {"indices of a maximum of ", name_of(c.dtype(0)), " are not supported"});
  }
  const bool column_major = c.node().int_attribute("storage_order", 0) != 0;
  return in_ranges(geometry_of(c, true), c.threads(),
                   [=](const RunContext& run, const PoolGeometry& g, const PoolRange& range) {
                     kernels::max_pool_indices(run.in<float>(0), run.out<float>(0), run.out<int64_t>(1),
                                               column_major, g, range);
                   });
}

Kernel prepare_global_max(PrepareContext& c) { return max_of_type(c, global_geometry(c)); }

LayoutRule max_layout(const InferContext& c) {
  return c.has_output(1) ? LayoutRule::kLogical : LayoutRule::kChannelsLast;
}

LayoutRule global_layout(const InferContext& c) {
  return c.rank(0) >= 3 ? LayoutRule::kChannelsLast : LayoutRule::kLogical;
}

// ---- mean

bool has_integer_mean(const PrepareContext& c) {
  return is_byte_edge(c.quant(0)) && (!c.out_quant() || is_byte_edge(c.out_quant()));
}

Kernel quantized_mean(const PrepareContext& c, const PoolGeometry& g) {
  PoolQuantization q;
  q.in_scale = c.quant(0)->scalar_scale();
  q.in_zero_point = c.quant(0)->scalar_zero_point();
  if (const EdgeQuant* out = c.out_quant()) {
    const IntegerRange range = integer_range(out->dtype);
    q.out_scale = out->scalar_scale();
    q.output = {out->scalar_zero_point(), range.min, range.max};
  }
  return in_ranges(g, c.threads(),
                   [q, from = c.dtype(0), to = c.out_dtype(0)](
                       const RunContext& run, const PoolGeometry& geometry, const PoolRange& range) {
                     kernels::average_pool_quantized<kernels::Best>(run.inputs[0], from, run.outputs[0], to,
                                                                    geometry, q, range);
                   });
}

Kernel mean(const PrepareContext& c, const PoolGeometry& g) {
  if (c.quant(0)) {
    if (g.kernel[0] * g.kernel[1] * g.kernel[2] > int64_t{1} << 22) {
      c.fail(ErrorCode::kUnsupportedOperator, "a mean of more than 2^22 quantized values is not supported");
    }
    return quantized_mean(c, g);
  }
  if (c.dtype(0) != DType::kFloat32)
    c.fail(ErrorCode::kUnsupportedType, {"a mean of ", name_of(c.dtype(0)), " is not supported"});
  return in_ranges(
      g, c.threads(), [](const RunContext& run, const PoolGeometry& geometry, const PoolRange& range) {
        kernels::average_pool<kernels::Best>(run.in<float>(0), run.out<float>(0), geometry, range);
      });
}

Kernel prepare_average(PrepareContext& c) { return mean(c, geometry_of(c, false)); }
Kernel prepare_global_average(PrepareContext& c) { return mean(c, global_geometry(c)); }

// ---- norm

Kernel norm(const PrepareContext& c, const PoolGeometry& g) {
  const int64_t p = c.node().int_attribute("p", 2);
  if (p < 1) c.fail(ErrorCode::kInvalidModel, {"p is ", p});
  if (c.dtype(0) != DType::kFloat32)
    c.fail(ErrorCode::kUnsupportedType, {"a norm of ", name_of(c.dtype(0)), " is not supported"});
  return in_ranges(g, c.threads(),
                   [p](const RunContext& run, const PoolGeometry& geometry, const PoolRange& range) {
                     kernels::lp_pool(run.in<float>(0), run.out<float>(0), p, geometry, range);
                   });
}

// Before opset 2 p was a float.
void whole_power(Canonicalize& c) {
  if (const Attribute* p = c.node.attribute("p"); p && std::holds_alternative<float>(*p)) {
    const float power = std::get<float>(*p);
    if (power < 1 || power > 1e6f || power != std::floor(power))
      c.fail(ErrorCode::kUnsupportedOperator, "norms whose p is not a whole number are not supported");
    c.node.attributes.insert_or_assign("p", static_cast<int64_t>(power));
  }
  c.keep();
}

Kernel prepare_lp(PrepareContext& c) { return norm(c, geometry_of(c, false)); }
Kernel prepare_global_lp(PrepareContext& c) { return norm(c, global_geometry(c)); }

// ---- operator format

// X, x_scale, x_zero_point, y_scale, y_zero_point
void expand(Canonicalize& c, std::string_view pool) {
  const Node& n = c.node;
  if (n.inputs.size() < 4) c.fail(ErrorCode::kInvalidModel, "inputs are missing");
  std::vector<std::pair<std::string, Attribute>> attributes;
  for (const auto& [key, value] : n.attributes)
    if (key != "channels_last") attributes.emplace_back(key, value);
  ValueId x = c.add("DequantizeLinear", {n.input(0), n.input(1), n.input(2)});
  const bool last = n.int_attribute("channels_last", 0) != 0;
  std::vector<int64_t> first_to_last{0}, last_to_first{0};
  if (last) {
    const size_t rank = c.shape(0) ? c.shape(0)->size() : n.ints_attribute("kernel_shape").size() + 2;
    if (rank < 3) c.wait("the channels are last, and the rank of the input is not known");
    last_to_first.push_back(static_cast<int64_t>(rank) - 1);
    for (size_t i = 1; i + 1 < rank; ++i) last_to_first.push_back(static_cast<int64_t>(i));
    for (size_t i = 2; i < rank; ++i) first_to_last.push_back(static_cast<int64_t>(i));
    first_to_last.push_back(1);
    x = c.add("Transpose", {x}, {{"perm", last_to_first}});
  }
  ValueId y = c.add(pool, {x}, std::move(attributes));
  if (last) y = c.add("Transpose", {y}, {{"perm", first_to_last}});
  c.finish("QuantizeLinear", {y, n.input(3), n.input(4)});
}

void expand_average(Canonicalize& c) { expand(c, "AveragePool"); }
void expand_global_average(Canonicalize& c) { expand(c, "GlobalAveragePool"); }

bool fold(Fold& f, std::string_view type) {
  if (!are_plain_8_bit(f)) return false;
  if (f.node.attribute("dilations")) return false;  // the operator format has none
  Node n;
  n.name = f.node.name;
  n.domain = kMicrosoft;
  n.op_type = type;
  n.inputs = {f.inputs[0]->quantized, f.inputs[0]->scale, f.inputs[0]->zero_point, f.output->scale,
              f.output->zero_point};
  n.outputs = {f.output->quantized};
  n.attributes = f.node.attributes;
  n.attributes.emplace("channels_last", int64_t{0});
  f.nodes.push_back(std::move(n));
  return true;
}

bool fold_average(Fold& f) { return fold(f, "QLinearAveragePool"); }
bool fold_global_average(Fold& f) { return fold(f, "QLinearGlobalAveragePool"); }

// ---- gradients

void pool_gradient(Gradient& g, Ids inputs) {
  if (g.wanted(0)) g.give(0, g.own(g.node.op_type + "Gradient", inputs, g.attributes()));
}
void average_gradient(Gradient& g) { pool_gradient(g, {g.dy(), g.shape_of(g.in(0))}); }
void max_gradient(Gradient& g) { pool_gradient(g, {g.in(0), g.out(), g.dy()}); }

void infer_given(InferContext& c) { infer_as_given(c, 1); }

// Images and, where those are few, channels, for the threads.
template <class F>
Kernel in_images(const PoolGeometry& g, int threads, F body) {
  const int64_t slices =
      g.batch >= threads ? 1 : std::min<int64_t>(threads, std::max<int64_t>(1, g.channels / 16));
  return [=](const RunContext& r) {
    r.parallel(g.batch * slices, [&](int64_t task, int) {
      const int64_t image = task / slices, slice = task % slices;
      body(r, g,
           kernels::PoolGradientRange{image, image + 1, g.channels * slice / slices,
                                      g.channels * (slice + 1) / slices});
    });
  };
}

template <bool kGlobal>
Kernel prepare_average_gradient(PrepareContext& c) {
  const Shape& x = c.out_dims(0);
  return in_images(kGlobal ? global_geometry(c, x) : geometry_of(c, false, x), c.threads(),
                   [](const RunContext& r, const PoolGeometry& g, const kernels::PoolGradientRange& range) {
                     kernels::average_pool_gradient(r.in<float>(0), r.out<float>(0), g, range);
                   });
}
template <bool kGlobal>
Kernel prepare_max_gradient(PrepareContext& c) {
  return in_images(kGlobal ? global_geometry(c) : geometry_of(c, false), c.threads(),
                   [](const RunContext& r, const PoolGeometry& g, const kernels::PoolGradientRange& range) {
                     kernels::max_pool_gradient(r.in<float>(0), r.in<float>(1), r.in<float>(2),
                                                r.out<float>(0), g, range);
                   });
}

constexpr OpDef kAverageGradientOp = {.domain = kOwn,
                                      .name = "AveragePoolGradient",
                                      .inputs = "dy shape",
                                      .types = "fi",
                                      .infer = infer_given,
                                      .prepare = prepare_average_gradient<false>,
                                      .layout = global_layout};
constexpr OpDef kGlobalAverageGradientOp = {.domain = kOwn,
                                            .name = "GlobalAveragePoolGradient",
                                            .inputs = "dy shape",
                                            .types = "fi",
                                            .infer = infer_given,
                                            .prepare = prepare_average_gradient<true>,
                                            .layout = global_layout};
constexpr OpDef kMaxGradientOp = {.domain = kOwn,
                                  .name = "MaxPoolGradient",
                                  .inputs = "x y dy",
                                  .types = "f",
                                  .infer = infer_same,
                                  .prepare = prepare_max_gradient<false>,
                                  .layout = all_channels_last};
constexpr OpDef kGlobalMaxGradientOp = {.domain = kOwn,
                                        .name = "GlobalMaxPoolGradient",
                                        .inputs = "x y dy",
                                        .types = "f",
                                        .infer = infer_same,
                                        .prepare = prepare_max_gradient<true>,
                                        .layout = all_channels_last};

// ---- entries

constexpr std::string_view kNoIntegerNorm = "powers and roots have no integer kernel";

// Since opset 22 no window starts behind the input (and its pads in front); before, ceil_mode could make one.
void respell_windows(Respell& r) {
  const ValueId x = r.node.input(0), y = r.node.output(0);
  const std::string auto_pad = r.node.string_attribute("auto_pad", "NOTSET");
  if (!r.before(22) || r.node.int_attribute("ceil_mode", 0) == 0 || auto_pad.starts_with("SAME")) return;
  const std::vector<int64_t> kernel = r.node.ints_attribute("kernel_shape");
  const size_t n = kernel.size();
  const std::vector<int64_t> strides = r.node.ints_attribute("strides", std::vector<int64_t>(n, 1)),
                             dilations = r.node.ints_attribute("dilations", std::vector<int64_t>(n, 1)),
                             pads = r.node.ints_attribute("pads", std::vector<int64_t>(2 * n, 0));
  const std::optional<SymShape>&in = r.graph[x].shape, &out = r.graph[y].shape;
  if (!in || !out || in->size() != n + 2 || out->size() != n + 2) return;
  if (strides.size() != n || dilations.size() != n || pads.size() != 2 * n) return;
  for (size_t i = 0; i < n; ++i) {
    if (!(*in)[i + 2].known() || !(*out)[i + 2].known() || strides[i] < 1) continue;
    const int64_t room = (*in)[i + 2].value() + pads[i] + pads[i + n] - ((kernel[i] - 1) * dilations[i] + 1);
    if ((room + strides[i] - 1) / strides[i] + 1 != (*out)[i + 2].value()) r.need(22);
  }
}
void respell_max(Respell& r) {
  if (r.node.output(1) != kNoValue) r.need(8);  // the places of the largest
  respell_windows(r);
}

constexpr OpDef kMaxPool = {.name = "MaxPool",
                            .opsets = "7F 12cC 22b storage_order:8 ceil_mode:10 dilations=1:10",
                            .infer = infer_pool,
                            .prepare = prepare_max,
                            .layout = max_layout,
                            .quant = {.kind = QuantRule::Kind::kSameScale},
                            .respell = respell_max,
                            .gradient = max_gradient};
constexpr OpDef kGlobalMaxPool = {.name = "GlobalMaxPool",
                                  .opsets = "7F 22b",
                                  .infer = infer_global,
                                  .prepare = prepare_global_max,
                                  .layout = global_layout,
                                  .quant = {.kind = QuantRule::Kind::kSameScale},
                                  .gradient = max_gradient};
constexpr OpDef kAveragePool = {.name = "AveragePool",
                                .opsets = "7F 22b ceil_mode:10 dilations=1:19",
                                .infer = infer_pool,
                                .prepare = prepare_average,
                                .layout = channels_last,
                                .integer = has_integer_mean,
                                .quant = {.kind = QuantRule::Kind::kRescaled},
                                .half = {.sum = HalfRule::Sum::kMean},
                                .respell = respell_windows,
                                .fold = fold_average,
                                .gradient = average_gradient};
constexpr OpDef kGlobalAveragePool = {.name = "GlobalAveragePool",
                                      .opsets = "7F 22b",
                                      .infer = infer_global,
                                      .prepare = prepare_global_average,
                                      .layout = global_layout,
                                      .integer = has_integer_mean,
                                      .quant = {.kind = QuantRule::Kind::kRescaled},
                                      .half = {.sum = HalfRule::Sum::kMean},
                                      .fold = fold_global_average,
                                      .gradient = average_gradient};
constexpr OpDef kLpPool = {.name = "LpPool",
                           .opsets = "7F 22b ceil_mode:18 dilations=1:18",
                           .infer = infer_pool,
                           .prepare = prepare_lp,
                           .layout = channels_last,
                           .quant = {.why_float = kNoIntegerNorm},
                           .half = {.sum = HalfRule::Sum::kSquares},
                           .canonicalize = whole_power,
                           .respell = respell_windows};
constexpr OpDef kGlobalLpPool = {.name = "GlobalLpPool",
                                 .opsets = "7F 22b",
                                 .infer = infer_global,
                                 .prepare = prepare_global_lp,
                                 .layout = global_layout,
                                 .quant = {.why_float = kNoIntegerNorm},
                                 .half = {.sum = HalfRule::Sum::kSquares},
                                 .canonicalize = whole_power};
constexpr OpDef kQLinearAveragePool = {.domain = kMicrosoft,
                                       .name = "QLinearAveragePool",
                                       .inputs = "X x_scale x_zero_point? y_scale y_zero_point?",
                                       .quant = {},
                                       .canonicalize = expand_average};
constexpr OpDef kQLinearGlobalAveragePool = {.domain = kMicrosoft,
                                             .name = "QLinearGlobalAveragePool",
                                             .inputs = "X x_scale x_zero_point? y_scale y_zero_point?",
                                             .quant = {},
                                             .canonicalize = expand_global_average};
const RegisterOps kRegistered({&kMaxPool, &kGlobalMaxPool, &kAveragePool, &kGlobalAveragePool, &kLpPool,
                               &kGlobalLpPool, &kQLinearAveragePool, &kQLinearGlobalAveragePool,
                               &kAverageGradientOp, &kGlobalAverageGradientOp, &kMaxGradientOp,
                               &kGlobalMaxGradientOp});

}  // namespace
}  // namespace zp
