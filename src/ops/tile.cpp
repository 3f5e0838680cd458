// Tile: a value repeated along its axes.
#include <algorithm>

#include "kernels/copy.h"
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
  const kernels::BoxCopy copy(box, element_bytes(c, 0));
  return [copy](const RunContext& run) {
    const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, copy.outer_bytes()));
    run.parallel_range(copy.outer(), grain, [&](int64_t begin, int64_t end) {
      copy.run(run.inputs[0], run.outputs[0], begin, end);
    });
  };
}

constexpr OpDef kTile = {.name = "Tile",
                         .since = 6,
                         .infer = infer_tile,
                         .prepare = prepare_tile,
                         .quant = {.kind = QuantRule::Kind::kSameScale}};
const RegisterOps kRegistered({&kTile});

}  // namespace
}  // namespace zp
