// Tile: a value repeated along its axes.
#include <algorithm>

#include "core/decimal.h"
#include "ops/moving.h"
#include "ops/shape_arguments.h"

namespace zp {
namespace {

void infer_tile(InferContext& c) {
  const SymShape* in = c.shape(0);
  const auto repeats = shape_integers(c, 1);
  if (!in && !repeats) return c.output(0, c.dtype(0));
  if (!in) return c.output(0, c.dtype(0), SymShape(repeats->size()));
  if (!repeats) return c.output(0, c.dtype(0), SymShape(in->size()));
  c.require(
      repeats->size() == in->size() && std::all_of(repeats->begin(), repeats->end(),
                                                   [](int64_t r) { return r >= 0 && r <= int64_t{1} << 40; }),
      {"cannot repeat ", *in, " by ", *repeats});
  SymShape out = *in;
  for (size_t i = 0; i < out.size(); ++i) out[i] = out[i] * Dim((*repeats)[i]);
  c.output(0, c.dtype(0), std::move(out));
}

Kernel prepare_tile(PrepareContext& c) {
  const Shape& in = c.dims(0);
  const Shape& out = c.out_dims(0);
  if (in == out) {
    c.alias(0);
    return {};
  }
  // Every axis is two: the repeats, which read the same again, and the elements.
  std::vector<kernels::BoxDimension> box(in.size() * 2);
  int64_t in_stride = 1, out_stride = 1;
  for (size_t i = in.size(); i-- > 0;) {
    box[2 * i + 1] = {in[i], in_stride, out_stride};
    box[2 * i] = {in[i] ? out[i] / in[i] : 0, 0, out_stride * in[i]};
    in_stride *= in[i];
    out_stride *= out[i];
  }
  return box_copy(box, element_bytes(c, 0));
}

// Before opset 6 there was a number of tiles along one axis, both as inputs.
void canonicalize(Canonicalize& c) {
  if (c.version < 6) {
    const SymShape* in = c.shape(0);
    const Tensor *tiles = c.constant(1), *axis = c.constant(2);
    if (!tiles || !axis || tiles->size() != 1 || axis->size() != 1)
      c.fail(ErrorCode::kUnsupportedOperator, "tiles and axis should be constants");
    if (!in) c.wait("the rank of the input is not known");
    const float count = tiles->floats()[0], along = axis->floats()[0];
    const auto rank = static_cast<int64_t>(in->size());
    if (!(along >= 0 && along < static_cast<float>(rank)) || !(count >= 0 && count < 1e9f)) {
      c.fail(ErrorCode::kShapeMismatch,
             {"cannot repeat ", *in, " ", decimal(count), " times along axis ", decimal(along)});
    }
    std::vector<int64_t> repeats(in->size(), 1);
    repeats[static_cast<size_t>(along)] = static_cast<int64_t>(count);
    c.node.inputs = {c.node.inputs[0],
                     c.constant_value(c.node.name + "_repeats", Tensor::of<int64_t>({rank}, repeats))};
  }
  c.keep();
}

constexpr OpDef kTile = {.name = "Tile",
                         .inputs = "input repeats axis<6",
                         .opsets = "7A 13b",
                         .types = "Ti",
                         .infer = infer_tile,
                         .prepare = prepare_tile,
                         .quant = {.kind = QuantRule::Kind::kSameScale},
                         .canonicalize = canonicalize};
const RegisterOps kRegistered({&kTile});

}  // namespace
}  // namespace zp
