// DeformConv: a convolution that reads each of its inputs at an offset (Dai et al. 2017), perhaps times a
// mask (Zhu et al. 2019). It becomes a GridSample that gathers the inputs and a Conv of one pixel, so that
// its weights are quantized like those of any other product.
#include <algorithm>

#include "ops/cast.h"
#include "ops/expansion.h"

namespace zp {
namespace {

// X [N, C, H, W], W [M, C / group, rows, columns], offsets [N, groups * rows * columns * 2, height, width],
// bias [M], mask [N, groups * rows * columns, height, width].
enum : size_t { kX, kW, kOffset, kBias, kMask };

struct Window {
  int64_t rows, columns, offset_groups;
  std::vector<int64_t> strides, dilations, pads;
  int64_t taps() const { return rows * columns; }
};

Window window_of(const Canonicalize& c) {
  const Node& n = c.node;
  for (const size_t i : {kX, kW, kOffset})
    if (rank_of(c, i) != 4)
      c.fail(ErrorCode::kUnsupportedOperator, {"input ", i, " has ", rank_of(c, i), " dimensions, not 4"});
  std::vector<int64_t> kernel = n.ints_attribute("kernel_shape");
  if (kernel.empty()) {
    for (const size_t axis : {size_t{2}, size_t{3}}) {
      const auto size = known_dim(c, kW, axis);
      if (!size) c.wait("the shape of the weight is not known");
      kernel.push_back(*size);
    }
  }
  const auto positive = [](const std::vector<int64_t>& v, size_t count, int64_t lo) {
    return v.size() == count &&
           std::all_of(v.begin(), v.end(), [&](int64_t k) { return k >= lo && k <= int64_t{1} << 20; });
  };
  Window w{.rows = 0,
           .columns = 0,
           .offset_groups = n.int_attribute("offset_group", 1),
           .strides = n.ints_attribute("strides", {1, 1}),
           .dilations = n.ints_attribute("dilations", {1, 1}),
           .pads = n.ints_attribute("pads", {0, 0, 0, 0})};
  if (!positive(kernel, 2, 1) || !positive(w.strides, 2, 1) || !positive(w.dilations, 2, 1) ||
      !positive(w.pads, 4, 0) || !positive({w.offset_groups}, 1, 1)) {
    c.fail(ErrorCode::kInvalidModel,
           "kernel_shape, strides, dilations, pads or offset_group are missing or out of range");
  }
  w.rows = kernel[0];
  w.columns = kernel[1];
  const auto require = [&](size_t input, size_t axis, int64_t wanted) {
    const auto found = known_dim(c, input, axis);
    if (found && *found != wanted)
      c.fail(ErrorCode::kShapeMismatch,
             {"dimension ", axis, " of input ", input, " should be ", wanted, ", not ", *found});
  };
  require(kW, 2, w.rows);
  require(kW, 3, w.columns);
  require(kOffset, 1, w.offset_groups * w.taps() * 2);
  require(kMask, 1, w.offset_groups * w.taps());
  for (size_t d = 0; d < 2; ++d) {
    const auto in = known_dim(c, kX, d + 2);
    if (!in) continue;
    const int64_t room = *in + w.pads[d] + w.pads[d + 2] - (kernel[d] - 1) * w.dilations[d] - 1;
    if (room < 0) c.fail(ErrorCode::kShapeMismatch, {"a kernel of ", kernel, " does not fit the input"});
    for (const size_t input : {kOffset, kMask}) require(input, d + 2, room / w.strides[d] + 1);
  }
  return w;
}

// A dimension of a value, [1].
ValueId length(Canonicalize& c, ValueId x, int64_t axis) {
  return c.add("Shape", {x}, {{"start", axis}, {"end", axis + 1}});
}

ValueId with_shape(Canonicalize& c, ValueId x, const std::vector<ValueId>& dims) {
  return c.add("Reshape", {x, c.add("Concat", dims, {{"axis", int64_t{0}}})});
}

// [groups * taps, ...] of each image as images of their own, [N * groups, taps, ...]. x: of four dimensions.
ValueId groups_apart(Canonicalize& c, ValueId x, const Window& w) {
  if (w.offset_groups == 1) return x;
  return with_shape(c, x, {add_ints(c, {-1, w.taps()}), length(c, x, 2), length(c, x, 3)});
}

// Positions of the taps without offsets, [taps, height * width, 2], (x, y).
ValueId regular_places(Canonicalize& c, const Window& w) {
  std::vector<float> taps;
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.columns; ++j)
      taps.insert(taps.end(), {static_cast<float>(j * w.dilations[1] - w.pads[1]),
                               static_cast<float>(i * w.dilations[0] - w.pads[0])});
  const DType type = c.graph[c.node.inputs[kOffset]].dtype;
  const auto numbers = [&](Shape dims, std::vector<float> values) {
    return c.constant_value(c.node.name + "_places",
                            cast(Tensor::of<float>(std::move(dims), std::span<const float>(values)), type));
  };
  // Steps along one dimension of the output, as [count, 2] or [count, 1, 2].
  const auto steps = [&](int64_t axis, std::vector<int64_t> new_axes, std::vector<float> stride) {
    const ValueId count = add_length(c, c.node.inputs[kOffset], axis);
    const ValueId at = c.add("Cast", {c.add("Range", {add_int(c, 0), count, add_int(c, 1)})},
                             {{"to", static_cast<int64_t>(type)}});
    return c.add(
        "Mul", {c.add("Unsqueeze", {at, add_ints(c, std::move(new_axes))}), numbers({2}, std::move(stride))});
  };
  const ValueId columns = steps(3, {1}, {static_cast<float>(w.strides[1]), 0}),
                rows = steps(2, {1, 2}, {0, static_cast<float>(w.strides[0])});
  const ValueId all =
      c.add("Add", {numbers({w.taps(), 1, 1, 2}, std::move(taps)), c.add("Add", {rows, columns})});
  return c.add("Reshape", {all, add_ints(c, {0, -1, 2})});
}

void expand(Canonicalize& c) {
  const Node& n = c.node;
  const Window w = window_of(c);
  const DType type = c.graph[n.inputs[kOffset]].dtype;
  if (type == DType::kUndefined) c.wait("the type of the offsets is not known");
  const auto channels = known_dim(c, kX, 1);
  if (!channels) c.wait("the number of channels is not known");
  if (*channels % w.offset_groups != 0)
    c.fail(ErrorCode::kInvalidModel,
           {"offset_group is ", w.offset_groups, ", which does not divide ", *channels, " channels"});

  // Places in GridSample's coordinates: pixel p of n is (2 p + 1) / n - 1.
  const ValueId size = c.add("Cast", {c.add("Gather", {c.add("Shape", {n.inputs[kX]}), add_ints(c, {3, 2})})},
                             {{"to", static_cast<int64_t>(type)}});
  const auto number = [&](float v) {
    return c.constant_value(n.name + "_number", cast(Tensor::scalar(v), type));
  };
  const ValueId pixel = c.add("Div", {number(2), size});
  const ValueId shift = c.add("Sub", {c.add("Div", {number(1), size}), number(1)});
  const ValueId regular = c.add("Add", {c.add("Mul", {regular_places(c, w), pixel}), shift});
  // Offsets are (y, x) of each tap: [N, groups * taps, height * width, 2], (x, y).
  ValueId grid = c.add("Reshape", {n.inputs[kOffset], add_ints(c, {0, w.offset_groups * w.taps(), 2, -1})});
  grid = c.add("Gather", {grid, add_ints(c, {1, 0})}, {{"axis", int64_t{2}}});
  grid = c.add("Transpose", {grid}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}}});
  grid = c.add("Add", {c.add("Mul", {groups_apart(c, grid, w), pixel}), regular});

  ValueId x = n.inputs[kX];
  if (w.offset_groups > 1)
    x = with_shape(c, x, {add_ints(c, {-1, *channels / w.offset_groups}), length(c, x, 2), length(c, x, 3)});
  // [N * groups, C / groups, taps, height * width]
  ValueId gathered = c.add("GridSample", {x, grid}, {{"mode", std::string("linear")}});
  if (n.input(kMask) != kNoValue) {
    ValueId mask = c.add("Reshape", {n.inputs[kMask], add_ints(c, {0, w.offset_groups, w.taps(), -1})});
    if (w.offset_groups > 1) mask = with_shape(c, mask, {add_ints(c, {-1, 1, w.taps()}), length(c, mask, 3)});
    gathered = c.add("Mul", {gathered, mask});
  }
  const ValueId columns = with_shape(c, gathered,
                                     {add_ints(c, {-1, *channels * w.taps()}),
                                      length(c, n.inputs[kOffset], 2), length(c, n.inputs[kOffset], 3)});
  std::vector<ValueId> inputs{columns, c.add("Reshape", {n.inputs[kW], add_ints(c, {0, -1, 1, 1})})};
  if (n.input(kBias) != kNoValue) inputs.push_back(n.inputs[kBias]);
  c.finish("Conv", inputs,
           {{"group", n.int_attribute("group", 1)}, {"kernel_shape", std::vector<int64_t>{1, 1}}});
}

constexpr OpDef kDeformConv = {
    .name = "DeformConv", .inputs = "X W offset B? mask?", .since = 19, .canonicalize = expand};
const RegisterOps kRegistered({&kDeformConv});

}  // namespace
}  // namespace zp
