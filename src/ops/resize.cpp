// Resize, and Upsample, which it replaced.
//
// Coordinates are computed in float, as ONNX Runtime computes them, so that a coordinate that falls between
// two pixels falls to the same side. Interpolation is one pass per axis: that is exact for the products of
// weights that the specification asks for, and cheaper.
#include "kernels/movement/resize.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/decimal.h"
#include "core/element_types.h"
#include "core/grain.h"
#include "kernels/movement/copy.h"
#include "ops/cast.h"
#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/respell.h"

namespace zp {
namespace {

using kernels::NearestAxis;
using kernels::NearestPlan;
using kernels::WeightedAxis;

// ---- how much

// Of one axis: the factor, and the part of the input that is wanted, from its first element (0) to its last
// (1).
struct Extent {
  float scale = 1, start = 0, end = 1;
};

struct Target {
  std::vector<char> resized;  // by logical axis
  std::vector<Extent> extent;
  std::vector<int64_t> size;  // of the output
};

// Only this mode of coordinates looks at the region of interest.
bool crops(const Node& node) {
  return node.string_attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize";
}

bool is_given(const Tensor* t) {
  return t && t->size() > 0;
}  // an empty tensor stands for an absent one in opset 11

// scales: floats, or null; sizes: or null; region: of a Resize that crops.
template <class Context>
Target target_of(const Context& c, const Shape& in, const Tensor* scales, const Tensor* sizes,
                 const Tensor* region) {
  const size_t rank = in.size();
  std::vector<int64_t> axes = c.node().ints_attribute("axes");
  if (!c.node().attribute("axes"))
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  const bool by_scale = is_given(scales);
  const Tensor* given = by_scale ? scales : sizes;
  if (given->size() != static_cast<int64_t>(axes.size())) {
    c.fail(ErrorCode::kShapeMismatch, {"there are ", given->size(), " scales or sizes for ", axes.size(),
                                       " axes of an input of shape ", in});
  }
  Target t{std::vector<char>(rank, 0), std::vector<Extent>(rank), in};
  std::vector<float> parts;
  if (crops(c.node())) {
    if (!is_given(region) || region->size() != 2 * static_cast<int64_t>(axes.size()))
      c.fail(ErrorCode::kShapeMismatch, {"a region of ", region ? region->size() : 0, " numbers for ",
                                         axes.size(), " axes, which have two each"});
    parts = region->floats();
    for (float part : parts)
      if (!std::isfinite(part)) c.fail(ErrorCode::kInvalidModel, "the region is not finite");
  }
  const std::string policy = c.node().string_attribute("keep_aspect_ratio_policy", "stretch");
  std::vector<float> factors(axes.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto r = static_cast<int64_t>(rank);
    if (axes[i] < -r || axes[i] >= r)
      c.fail(ErrorCode::kShapeMismatch, {"axis ", axes[i], " does not exist"});
    if (axes[i] < 0) axes[i] += r;
    const int64_t from = in[static_cast<size_t>(axes[i])];
    factors[i] = by_scale ? scales->floats()[i]
                          : static_cast<float>(sizes->integer_at(static_cast<int64_t>(i))) /
                                static_cast<float>(std::max<int64_t>(1, from));
    if (!(factors[i] > 0) || !std::isfinite(factors[i])) {
      c.fail(ErrorCode::kShapeMismatch,
             {"cannot resize an input of shape ", in, " by a factor of ", decimal(factors[i])});
    }
  }
  const bool stretch = by_scale || policy == "stretch";
  if (!stretch && !factors.empty()) {
    const float one = policy == "not_smaller" ? *std::max_element(factors.begin(), factors.end())
                                              : *std::min_element(factors.begin(), factors.end());
    std::fill(factors.begin(), factors.end(), one);
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto at = static_cast<size_t>(axes[i]);
    Extent& extent = t.extent[at];
    extent.scale = factors[i];
    if (!parts.empty()) extent.start = parts[i], extent.end = parts[i + axes.size()];
    const float part = extent.end - extent.start;
    const float wanted = static_cast<float>(in[at]) * (parts.empty() ? factors[i] : part * factors[i]);
    if (!(wanted < 1e9F))
      c.fail(ErrorCode::kShapeMismatch, {"cannot resize an input of shape ", in, " that much"});
    t.size[at] = by_scale  ? static_cast<int64_t>(std::floor(wanted))
                 : stretch ? sizes->integer_at(static_cast<int64_t>(i))
                           : static_cast<int64_t>(std::floor(wanted + 0.5F));
    t.resized[at] = t.size[at] != in[at] || factors[i] != 1.0F || extent.start != 0 || extent.end != 1;
    if (t.size[at] < 0) c.fail(ErrorCode::kShapeMismatch, "a size is negative");
  }
  return t;
}

void infer_resize(InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) return c.output(0, c.dtype(0));
  const Tensor* scales = c.has_input(2) ? c.shape_argument(2) : nullptr;
  const Tensor* sizes = c.has_input(3) ? c.shape_argument(3) : nullptr;
  if (scales && scales->dtype() != DType::kFloat32) c.fail(ErrorCode::kInvalidModel, "scales are not floats");
  SymShape out(in->size());
  if (!is_given(scales) && !is_given(sizes)) return c.output(0, c.dtype(0), std::move(out));
  const Tensor* region = crops(c.node()) && c.has_input(1) ? c.shape_argument(1) : nullptr;
  if (crops(c.node()) && !region) return c.output(0, c.dtype(0), std::move(out));
  if (const auto dims = concrete(*in)) {
    c.output(0, c.dtype(0), symbolic(target_of(c, *dims, scales, sizes, region).size));
    return;
  }
  // Where dimensions are unknown: an axis with a factor of one keeps its dimension, an axis with a size gets
  // this size.
  if (!region && !c.node().attribute("axes") &&
      c.node().string_attribute("keep_aspect_ratio_policy", "stretch") == "stretch") {
    for (size_t i = 0; i < out.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      if (is_given(scales)) {
        if (at < scales->size() && scales->floats()[i] == 1.0F) {
          out[i] = (*in)[i];
        } else if (at < scales->size() && (*in)[i].known()) {
          const float wanted = static_cast<float>((*in)[i].value()) * scales->floats()[i];
          c.require(wanted >= 0 && wanted < 1e9F, {"cannot resize an input of shape ", *in,
                                                   " by a factor of ", decimal(scales->floats()[i])});
          out[i] = static_cast<int64_t>(std::floor(wanted));
        }
      } else if (at < sizes->size() && sizes->integer_at(at) >= 0) {
        out[i] = sizes->integer_at(at);
      }
    }
  }
  c.output(0, c.dtype(0), std::move(out));
}

// ---- where from

float source(const std::string& mode, int64_t i, const Extent& extent, int64_t in, int64_t out) {
  const auto x = static_cast<float>(i);
  const float scale = extent.scale;
  if (mode == "tf_crop_and_resize") {
    const auto last = static_cast<float>(in - 1);
    if (out <= 1) return 0.5F * (extent.start + extent.end) * last;
    return extent.start * last + x * (extent.end - extent.start) * last / static_cast<float>(out - 1);
  }
  if (mode == "asymmetric") return x / scale;
  if (mode == "align_corners")
    return out == 1 ? 0.0F : x * static_cast<float>(in - 1) / static_cast<float>(out - 1);
  if (mode == "pytorch_half_pixel" && out <= 1) return 0.0F;
  if (mode == "tf_half_pixel_for_nn") return (x + 0.5F) / scale;  // opset 11 only
  if (mode != "half_pixel_symmetric") return (x + 0.5F) / scale - 0.5F;
  // A scale that does not divide leaves a rest at the end; this shares it between both ends.
  const float adjustment = static_cast<float>(out) / (scale * static_cast<float>(in));
  const float offset = static_cast<float>(in) / 2.0F * (1.0F - adjustment);
  return offset + (x + 0.5F) / scale - 0.5F;
}

float nearest(const std::string& mode, float x) {
  if (mode == "floor") return std::floor(x);
  if (mode == "ceil") return std::ceil(x);
  if (mode == "round_prefer_ceil") return std::floor(x + 0.5F);
  return std::ceil(x - 0.5F);  // round_prefer_floor
}

float cubic(float x, float a) {  // Keys' kernel
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

WeightedAxis weights_of(const Node& node, int64_t in, int64_t out, const Extent& extent) {
  const std::string coordinates = node.string_attribute("coordinate_transformation_mode", "half_pixel");
  const bool is_cubic = node.string_attribute("mode", "nearest") == "cubic";
  const bool exclude_outside = node.int_attribute("exclude_outside", 0) != 0;
  const float a = node.float_attribute("cubic_coeff_a", -0.75F);
  // Antialiasing widens the kernel when the output is smaller, so that every pixel of the input counts.
  const float squeeze = node.int_attribute("antialias", 0) != 0 ? std::min(extent.scale, 1.0F) : 1.0F;
  if (out == 0) return {.in = in, .out = 0, .from = {}, .weights = {}};  // of a factor as small as one likes
  const float reach = (is_cubic ? 2.0F : 1.0F) / squeeze;
  const auto start = static_cast<int64_t>(std::floor(-reach)) + 1;
  WeightedAxis axis{.in = in, .out = out, .taps = 2 - 2 * start, .from = {}, .weights = {}};
  for (int64_t i = 0; i < out; ++i) {
    const float x = source(coordinates, i, extent, in, out);
    const auto left =
        static_cast<int64_t>(std::ceil(x)) - 1;  // a coordinate on a pixel leans on the one before it
    const float ratio = x - static_cast<float>(left);
    float sum = 0;
    for (int64_t k = 0; k < axis.taps; ++k) {
      const float distance = (static_cast<float>(start + k) - ratio) * squeeze;
      const int64_t at = left + start + k;
      float weight = is_cubic ? cubic(distance, a) : std::max(0.0F, 1.0F - std::fabs(distance));
      if (exclude_outside && (at < 0 || at >= in)) weight = 0;
      sum += weight;
      axis.from.push_back(std::clamp<int64_t>(at, 0, in - 1));
      axis.weights.push_back(weight);
    }
    if ((exclude_outside || squeeze < 1) && sum != 0) {
      for (auto w = axis.weights.end() - axis.taps; w != axis.weights.end(); ++w) *w /= sum;
    }
  }
  return axis;
}

// ---- kernels

Kernel nearest_kernel(const PrepareContext& c, const Target& t, const std::vector<size_t>& physical) {
  const std::string coordinates = c.node().string_attribute("coordinate_transformation_mode", "half_pixel");
  const std::string rounding = c.node().string_attribute("nearest_mode", "round_prefer_floor");
  const Shape& dims = c.dims(0);
  std::vector<NearestAxis> axes(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    NearestAxis& axis = axes[physical[i]];
    const int64_t in = dims[physical[i]];
    axis.in = in;
    if (!t.resized[i]) continue;
    for (int64_t o = 0; o < t.size[i]; ++o) {
      const float x = nearest(rounding, source(coordinates, o, t.extent[i], in, t.size[i]));
      axis.from.push_back(
          static_cast<int64_t>(std::clamp(x, 0.0F, static_cast<float>(std::max<int64_t>(0, in - 1)))));
    }
  }
  const NearestPlan plan(axes, element_bytes(c, 0));
  return [plan](const RunContext& run) {
    const int64_t grain = grain_for({.bytes = plan.outer_bytes()});
    run.parallel_range(plan.outer(), grain, [&](int64_t begin, int64_t end) {
      plan.run(run.inputs[0], run.outputs[0], begin, end);
    });
  };
}

struct Pass {
  WeightedAxis axis;
  int64_t outer, inner;
  size_t from, to;  // where in scratch, in floats; not used for the input and the output
};

template <class In, class Out>
void run_pass(const RunContext& run, const Pass& p, const In* in, Out* out) {
  const int64_t grain = grain_for({.work = p.inner * p.axis.taps});
  run.parallel_range(p.outer * p.axis.out, grain, [&](int64_t begin, int64_t end) {
    kernels::weigh_along<kernels::Best>(in, out, p.axis, p.inner, begin, end);
  });
}

template <class T>
Kernel weighted_kernel(PrepareContext& c, const Target& t, const std::vector<size_t>& physical) {
  Shape dims = c.dims(0);
  auto passes = std::make_shared<std::vector<Pass>>();
  std::vector<size_t> logical(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) logical[physical[i]] = i;
  size_t scratch = 0, from = 0;
  // ONNX Runtime cuts integers after linear interpolation, and rounds them after antialiasing.
  // Between quantized edges the interpolation is one of floats.
  const bool cut = !c.quant(0) && c.node().string_attribute("mode", "nearest") == "linear" &&
                   c.node().int_attribute("antialias", 0) == 0;
  for (size_t at = dims.size(); at-- > 0;) {  // inner axes first: the passes after them have the longer rows
    const size_t i = logical[at];
    if (!t.resized[i]) continue;
    Pass pass{weights_of(c.node(), dims[at], t.size[i], t.extent[i]), element_count(dims, 0, at),
              element_count(dims, at + 1, dims.size()), from, scratch};
    pass.axis.cut = cut;
    dims[at] = t.size[i];
    from = scratch;
    scratch +=
        (static_cast<size_t>(element_count(dims)) + 31) / 16 * 16;  // aligned, with room to read behind
    passes->push_back(std::move(pass));
  }
  if (passes->size() > 1) c.scratch(passes->back().to * sizeof(float));  // the last pass writes the output
  return [passes](const RunContext& run) {
    const size_t last = passes->size() - 1;
    for (size_t i = 0; i <= last; ++i) {
      const Pass& p = (*passes)[i];
      const float* middle = run.scratch<float>() + p.from;
      float* to = run.scratch<float>() + p.to;
      if (i == 0 && i == last)
        run_pass(run, p, run.in<T>(0), run.out<T>(0));
      else if (i == 0)
        run_pass(run, p, run.in<T>(0), to);
      else if (i == last)
        run_pass(run, p, middle, run.out<T>(0));
      else
        run_pass(run, p, middle, to);
    }
  };
}

Kernel kernel_of(PrepareContext& c, const Target& t, const std::vector<size_t>& physical,
                 const std::string& mode) {
  if (mode == "nearest") return nearest_kernel(c, t, physical);
  Kernel kernel;
  if (!visit(c.dtype(0), ElementTypes<float, uint8_t, int8_t>(),
             [&]<class T>(Element<T>) { kernel = weighted_kernel<T>(c, t, physical); })) {
    c.fail(ErrorCode::kUnsupportedType, {"interpolating ", name_of(c.dtype(0)), " is not supported"});
  }
  return kernel;
}

// A region may reach beyond the input. Elements there have a value of their own.
Kernel with_outside(const PrepareContext& c, const Target& t, const std::vector<size_t>& physical,
                    Kernel inside) {
  struct Slice {
    int64_t outer, inner, size;
    std::vector<int64_t> at;  // of `size`
  };
  std::vector<Slice> slices;
  if (crops(c.node())) {
    const Shape& out = c.out_dims(0);
    for (size_t i = 0; i < physical.size(); ++i) {
      const size_t axis = physical[i];
      Slice slice{element_count(out, 0, axis), element_count(out, axis + 1, out.size()), out[axis], {}};
      const int64_t in = c.dims(0)[axis];
      for (int64_t o = 0; t.resized[i] && o < slice.size; ++o) {
        const float x = source("tf_crop_and_resize", o, t.extent[i], in, slice.size);
        if (!(x >= 0 && x <= static_cast<float>(in - 1))) slice.at.push_back(o);
      }
      if (!slice.at.empty()) slices.push_back(std::move(slice));
    }
  }
  if (slices.empty()) return inside;
  float value = c.node().float_attribute("extrapolation_value", 0);
  if (const EdgeQuant* q = c.quant(0)) {
    const IntegerRange range = integer_range(c.dtype(0));
    value = std::clamp(std::nearbyint(value / q->scalar_scale()) + static_cast<float>(q->scalar_zero_point()),
                       static_cast<float>(range.min), static_cast<float>(range.max));
  }
  const Tensor element = cast(Tensor::scalar(value), c.dtype(0));
  return [inside = std::move(inside), slices = std::move(slices), element](const RunContext& run) {
    inside(run);
    const auto bytes = static_cast<int64_t>(element.bytes());
    for (const Slice& s : slices)
      for (int64_t o = 0; o < s.outer; ++o)
        for (int64_t at : s.at)
          kernels::fill(run.outputs[0] + (o * s.size + at) * s.inner * bytes, s.inner, element.raw(),
                        static_cast<size_t>(bytes));
  };
}

void require_one_of(const PrepareContext& c, std::string_view key, std::string_view fallback,
                    std::initializer_list<std::string_view> known) {
  const std::string is = c.node().string_attribute(key, fallback);
  if (std::ranges::find(known, is) == known.end())
    c.fail(ErrorCode::kUnsupportedOperator, {key, " '", is, "' is not supported"});
}

Kernel prepare_resize(PrepareContext& c) {
  const std::string mode = c.node().string_attribute("mode", "nearest");
  require_one_of(c, "mode", "nearest", {"nearest", "linear", "cubic"});
  require_one_of(c, "coordinate_transformation_mode", "half_pixel",
                 {"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric",
                  "tf_half_pixel_for_nn", "tf_crop_and_resize"});
  require_one_of(c, "nearest_mode", "round_prefer_floor",
                 {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"});
  require_one_of(c, "keep_aspect_ratio_policy", "stretch", {"stretch", "not_larger", "not_smaller"});
  const Shape& dims = c.dims(0);
  const Shape logical = c.layout(0) == Layout::kChannelsLast ? to_logical(dims) : dims;
  std::vector<size_t> physical;  // by logical axis
  for (size_t i = 0; i < dims.size(); ++i)
    physical.push_back(static_cast<size_t>(c.axis(static_cast<int64_t>(i), static_cast<int>(dims.size()))));
  const Tensor* scales = c.has_input(2) ? c.constant(2) : nullptr;
  const Tensor* sizes = c.has_input(3) ? c.constant(3) : nullptr;
  if (!is_given(scales) && !is_given(sizes)) {
    c.fail(ErrorCode::kUnsupportedOperator, "scales and sizes are only known while the model runs",
           "export the model with one of them as a constant");
  }
  const Target t = target_of(c, logical, scales, sizes, c.has_input(1) ? c.constant(1) : nullptr);
  if (std::none_of(t.resized.begin(), t.resized.end(), [](char r) { return r != 0; })) {
    c.alias(0);
    return {};
  }
  if (element_count(c.out_dims(0)) > 0 && element_count(dims) == 0)
    c.fail(ErrorCode::kShapeMismatch, "there is nothing to resize");
  return with_outside(c, t, physical, kernel_of(c, t, physical, mode));
}

// Interpolation adds up vectors of channels; nearest neighbours are moved in any order.
LayoutRule resize_layout(const InferContext& c) {
  if (c.rank(0) < 3) return LayoutRule::kLogical;
  return c.node().string_attribute("mode", "nearest") == "nearest" ? LayoutRule::kAny
                                                                   : LayoutRule::kChannelsLast;
}

// ---- older forms

// Resize before opset 11 and Upsample have scales only, and no choice of coordinates. They do not define the
// nearest neighbour: as in ONNX Runtime it is the lower one, and the upper one along axes that shrink.
void expand_scales(Canonicalize& c, ValueId scales) {
  if (scales == kNoValue) c.fail(ErrorCode::kInvalidModel, "the scales are missing");
  std::string mode = c.node.string_attribute("mode", "nearest");
  if (mode == "bilinear") mode = "linear";  // Upsample-1
  const auto attributes = [&](const char* nearest) {
    return NewAttributes{{"mode", mode},
                         {"coordinate_transformation_mode", std::string("asymmetric")},
                         {"nearest_mode", std::string(nearest)}};
  };
  bool shrinks = true, grows = true;
  if (const Tensor* t = c.graph.constant(scales)) {
    const std::vector<float> factors = t->floats();
    shrinks = std::any_of(factors.begin(), factors.end(), [](float f) { return f < 1; });
    grows = std::any_of(factors.begin(), factors.end(), [](float f) { return f > 1; });
  }
  ValueId x = c.node.input(0);
  if (mode == "nearest" && shrinks && grows) {
    const ValueId one = c.constant_value(c.node.name + "_one", Tensor::scalar(1.0F));
    x = c.add("Resize", {x, kNoValue, c.add("Min", {scales, one})}, attributes("ceil"));
    scales = c.add("Max", {scales, one});
    shrinks = false;
  }
  c.finish("Resize", {x, kNoValue, scales}, attributes(shrinks ? "ceil" : "floor"));
}

void canonicalize_resize(Canonicalize& c) {
  if (c.version < 11) return expand_scales(c, c.node.input(1));
  if (c.graph[c.node.input(0)].dtype != DType::kInt32 ||
      c.node.string_attribute("mode", "nearest") != "linear") {
    return c.keep();
  }
  // Integers that are not quantized values: the results are cut, as ONNX Runtime cuts them.
  const auto to = [](DType type) { return NewAttributes{{"to", static_cast<int64_t>(type)}}; };
  Node resize = c.node;
  resize.inputs[0] = c.add("Cast", {c.node.input(0)}, to(DType::kFloat32));
  const ValueId y = c.graph.add_value(c.graph[c.node.outputs[0]].name + "_float");
  resize.outputs = {y};
  c.nodes.push_back(std::move(resize));
  c.finish("Cast", {y}, to(DType::kInt32));
}

void canonicalize_upsample(Canonicalize& c) {
  if (c.version >= 9) return expand_scales(c, c.node.input(1));
  std::vector<float> scales = c.node.floats_attribute("scales");
  if (scales.empty()) {
    scales = {1, 1, c.node.float_attribute("height_scale", 1), c.node.float_attribute("width_scale", 1)};
  }
  expand_scales(c, c.constant_value(c.node.name + "_scales",
                                    Tensor::of<float>({static_cast<int64_t>(scales.size())}, scales)));
}

// Opset 10 has only scales, and the coordinates of expand_scales. Opset 11 wants all inputs before the last;
// opset 18 brought attributes (see `opsets`), opset 19 symmetric coordinates.
void respell(Respell& r) {
  Node& n = r.node;
  const std::string coordinates = n.string_attribute("coordinate_transformation_mode", "half_pixel");
  const std::string mode = n.string_attribute("mode", "nearest");
  if (coordinates == "half_pixel_symmetric") r.need(19);
  if (r.before(13)) {
    const auto none = [&] { return r.graph.add_constant(n.name + "_none", Tensor(DType::kFloat32, {0})); };
    if (!r.before(11)) {
      for (size_t i : {size_t{1}, size_t{2}})
        if (n.input(i) == kNoValue) r.set(i, none());
      return;
    }
    const Tensor* scales = r.constant(2);
    if (!scales || scales->size() == 0 || mode == "cubic" || coordinates != "asymmetric" ||
        n.int_attribute("exclude_outside", 0) != 0) {
      return r.need(11);
    }
    const std::vector<float> factors = scales->floats();
    const bool shrinks = std::any_of(factors.begin(), factors.end(), [](float f) { return f < 1; });
    const bool grows = std::any_of(factors.begin(), factors.end(), [](float f) { return f > 1; });
    const std::string rounding = n.string_attribute("nearest_mode", "round_prefer_floor");
    if (mode == "nearest" && ((shrinks && grows) || rounding != (shrinks ? "ceil" : "floor")))
      return r.need(11);
    n.inputs = {n.inputs[0], n.inputs[2]};
    n.attributes = {{"mode", mode}};
  }
}

// ---- gradient: each pass backwards. Of an interpolation: dy, the shape of x, scales, sizes.

void infer_gradient(InferContext& c) { infer_as_given(c, 1); }

Kernel prepare_gradient(PrepareContext& c) {
  const Shape& x = c.out_dims(0);
  const Target t = target_of(c, x, c.has_input(2) ? c.constant(2) : nullptr,
                             c.has_input(3) ? c.constant(3) : nullptr, nullptr);
  Shape dims = c.dims(0);
  auto passes = std::make_shared<std::vector<Pass>>();
  size_t room = 0;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!t.resized[i]) continue;
    passes->push_back({weights_of(c.node(), x[i], t.size[i], t.extent[i]), element_count(dims, 0, i),
                       element_count(dims, i + 1, dims.size()), 0, 0});
    dims[i] = x[i];
    room = std::max(room, static_cast<size_t>(element_count(dims)));
  }
  if (passes->empty()) {
    c.alias(0);
    return {};
  }
  if (passes->size() > 1) c.scratch(2 * room * sizeof(float));
  return [passes, room](const RunContext& run) {
    const float* from = run.in<float>(0);
    for (size_t i = 0; i < passes->size(); ++i) {
      const Pass& p = (*passes)[i];
      float* to = i + 1 == passes->size() ? run.out<float>(0) : run.scratch<float>() + (i % 2) * room;
      run.parallel_range(p.outer, 1, [&](int64_t begin, int64_t end) {
        std::fill(to + begin * p.axis.in * p.inner, to + end * p.axis.in * p.inner, 0.0F);
        for (int64_t o = begin; o < end; ++o)
          for (int64_t tap = 0; tap < p.axis.out * p.axis.taps; ++tap) {
            const float w = p.axis.weights[static_cast<size_t>(tap)];
            const float* d = from + (o * p.axis.out + tap / p.axis.taps) * p.inner;
            float* sum = to + (o * p.axis.in + p.axis.from[static_cast<size_t>(tap)]) * p.inner;
            for (int64_t k = 0; k < p.inner; ++k) sum[k] += w * d[k];
          }
      });
      from = to;
    }
  };
}

void gradient(Gradient& g) {
  if (!g.wanted(0)) return;
  if (crops(g.node)) g.fail("it resizes a region of its input");
  if (g.node.string_attribute("mode", "nearest") == "nearest") return give_moved(g);
  g.give(0, g.own("ResizeGradient", {g.dy(), g.shape_of(g.in(0)), g.in(2), g.in(3)}, g.attributes()));
}

std::string_view why_not(const InferContext& c) {
  if (c.node().string_attribute("mode", "nearest") == "cubic")
    return "cubic interpolation overshoots the range of its input";
  if (c.node().string_attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize")
    return "elements outside its input have a value of their own";
  return "";
}

constexpr OpDef kResizeGradient = {.domain = kOwn,
                                   .name = "ResizeGradient",
                                   .inputs = "dy shape scales? sizes?",
                                   .types = "fifi",
                                   .infer = infer_gradient,
                                   .prepare = prepare_gradient};
constexpr OpDef kResize = {.name = "Resize",
                           .inputs = "X roi? scales? sizes?",
                           .opsets = "10A 13b antialias:18 axes=:18 keep_aspect_ratio_policy=stretch:18",
                           .since = 10,
                           .types = "TUfi",
                           .infer = infer_resize,
                           .prepare = prepare_resize,
                           .layout = resize_layout,
                           .quant = {.kind = QuantRule::Kind::kSameScale, .blends = true, .why_not = why_not},
                           .canonicalize = canonicalize_resize,
                           .respell = respell,
                           .gradient = gradient};
constexpr OpDef kUpsample = {
    .name = "Upsample", .inputs = "X scales:9", .quant = {}, .canonicalize = canonicalize_upsample};
const RegisterOps kRegistered({&kResize, &kUpsample, &kResizeGradient});

}  // namespace
}  // namespace zp
