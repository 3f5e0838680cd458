// Slice: numpy's x[start:end:step] along some axes.
#include <algorithm>
#include <limits>

#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/respell.h"
#include "ops/shape_arguments.h"

namespace zp {
namespace {

struct Range {
  int64_t start = 0, step = 1, count = 0;
};

// Elements that start:end:step takes from `size`. Bounds are clamped as numpy clamps them.
Range range_of(int64_t size, int64_t start, int64_t end, int64_t step) {
  const auto bounded = [&](int64_t i, int64_t lo, int64_t hi) {
    if (i < 0) i = i < -size ? -1 : i + size;  // no overflow at the smallest int64
    return std::clamp(i, lo, hi);
  };
  if (step > 0) {
    start = bounded(start, 0, size);
    end = bounded(end, 0, size);
    return {start, step, end > start ? (end - start - 1) / step + 1 : 0};
  }
  start = bounded(start, -1, size - 1);
  end = bounded(end, -1, size - 1);
  if (start <= end) return {0, step, 0};
  const uint64_t back = uint64_t{0} - static_cast<uint64_t>(step);
  return {start, step, static_cast<int64_t>(static_cast<uint64_t>(start - end - 1) / back + 1)};
}

// Axes default to 0, 1, ...; steps to 1.
std::vector<int64_t> or_default(std::vector<int64_t> values, size_t count, bool counting) {
  if (!values.empty()) return values;
  values.assign(count, 1);
  if (counting)
    for (size_t i = 0; i < count; ++i) values[i] = static_cast<int64_t>(i);
  return values;
}

void infer_slice(InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) return c.output(0, c.dtype(0));
  const auto rank = static_cast<int>(in->size());
  const auto starts = shape_integers(c, 1), ends = shape_integers(c, 2);
  const auto given_axes = shape_integers(c, 3), given_steps = shape_integers(c, 4);
  const bool known = starts && ends && (given_axes || !c.has_input(3)) && (given_steps || !c.has_input(4));
  SymShape out = *in;
  if (!known) {
    // Which axes are cut may be known where the bounds are not.
    for (size_t i = 0; i < out.size(); ++i) {
      const bool cut = !given_axes || std::any_of(given_axes->begin(), given_axes->end(), [&](int64_t a) {
        return c.axis(a, rank) == static_cast<int>(i);
      });
      if (cut) out[i] = Dim();
    }
    return c.output(0, c.dtype(0), std::move(out));
  }
  const std::vector<int64_t> axes =
      or_default(given_axes.value_or(std::vector<int64_t>{}), starts->size(), true);
  const std::vector<int64_t> steps =
      or_default(given_steps.value_or(std::vector<int64_t>{}), starts->size(), false);
  c.require(ends->size() == starts->size() && axes.size() == starts->size() && steps.size() == starts->size(),
            "starts, ends, axes and steps have different lengths");
  sorted_axes(c, axes, rank);  // in range, and none twice
  for (size_t i = 0; i < axes.size(); ++i) {
    c.require(steps[i] != 0, "a step is 0");
    Dim& d = out[static_cast<size_t>(c.axis(axes[i], rank))];
    if (d.known()) {
      d = range_of(d.value(), (*starts)[i], (*ends)[i], steps[i]).count;
    } else if ((*starts)[i] != 0 || steps[i] != 1 || (*ends)[i] < std::numeric_limits<int32_t>::max()) {
      d = Dim();  // not all of it
    }
  }
  c.output(0, c.dtype(0), std::move(out));
}

Kernel prepare_slice(PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const Shape& out = c.out_dims(0);
  const int rank = static_cast<int>(dims.size());
  const std::vector<int64_t> starts = prepared_integers(c, 1), ends = prepared_integers(c, 2);
  const std::vector<int64_t> axes = or_default(prepared_integers(c, 3), starts.size(), true);
  const std::vector<int64_t> steps = or_default(prepared_integers(c, 4), starts.size(), false);
  const size_t bytes = element_bytes(c, 0);

  std::vector<kernels::BoxDimension> box(dims.size());
  int64_t in_stride = 1, out_stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    box[i] = {out[i], in_stride, out_stride};
    in_stride *= dims[i];
    out_stride *= out[i];
  }
  int64_t first = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto at = static_cast<size_t>(c.axis(axes[i], rank));
    const Range r = range_of(dims[at], starts[i], ends[i], steps[i]);
    first += r.start * box[at].in_stride;
    box[at].in_stride *= r.count > 1 ? r.step : 1;
  }
  if (dims == out && first == 0) {
    c.alias(0);
    return {};
  }
  return box_copy(box, bytes, first);
}

void bounds_to_inputs(Canonicalize& c) {  // attributes before opset 10
  c.attribute_to_input("starts", 1);
  c.attribute_to_input("ends", 2);
  c.attribute_to_input("axes", 3);
  if (c.node.input(1) == kNoValue || c.node.input(2) == kNoValue) {
    c.fail(ErrorCode::kInvalidModel, "starts or ends are missing");
  }
  c.keep();
}

// Bounds were attributes before opset 10, and without steps; axes and steps may be negative since opset 11.
void respell(Respell& r) {
  if (!r.before(11)) return;
  std::optional<std::vector<int64_t>> axes = r.integers(3), steps = r.integers(4);
  const auto computed = [&](size_t i) { return r.node.input(i) != kNoValue && !r.constant(i); };
  if (computed(3) || computed(4)) return r.need(11);
  if (steps) {
    for (int64_t step : *steps)
      if (step != 1) r.need(step < 0 ? 11 : 10);
  }
  if (axes) {
    for (int64_t& axis : *axes) r.from_front(axis, r.rank(0));
    r.set(3, std::move(*axes));
  }
  if (!r.before(10)) return;
  if (steps) r.node.inputs[4] = kNoValue;
  r.input_to_attribute(1, "starts", 10);
  r.input_to_attribute(2, "ends", 10);
  r.input_to_attribute(3, "axes", 10);
}

// Of a table, rows may have scales of their own: it becomes floats before it is cut.
int row_axis(const Node&, int rank) { return rank > 1 ? 0 : -1; }
void gradient(Gradient& g) { give_moved(g); }

constexpr OpDef kSlice = {.name = "Slice",
                          .inputs = "data starts:10 ends:10 axes? steps?",
                          .opsets = "7A 13b",
                          .types = "Ti",
                          .infer = infer_slice,
                          .prepare = prepare_slice,
                          .layout = any_layout,
                          .quant = {.kind = QuantRule::Kind::kSameScale, .channel_axis = row_axis},
                          .canonicalize = bounds_to_inputs,
                          .respell = respell,
                          .gradient = gradient};
const RegisterOps kRegistered({&kSlice});

}  // namespace
}  // namespace zp
