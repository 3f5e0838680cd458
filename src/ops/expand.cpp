// Expand: numpy's broadcast_to, except that the target may also be the smaller one.
#include <algorithm>

#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/shape_arguments.h"

namespace zp {
namespace {

void infer_expand(InferContext& c) {
  const SymShape* in = c.shape(0);
  const auto target = shape_integers(c, 1);
  if (!in) return c.output(0, c.dtype(0));
  if (!target) {
    const auto rank = shape_length(c, 1);
    return rank ? c.output(0, c.dtype(0), SymShape(std::max(in->size(), *rank))) : c.output(0, c.dtype(0));
  }
  c.require(std::all_of(target->begin(), target->end(), [](int64_t d) { return d >= 0; }),
            {"cannot expand to ", *target});
  try {
    c.output(0, c.dtype(0), broadcast(*in, symbolic(*target)));
  } catch (const Error&) {
    c.fail(ErrorCode::kShapeMismatch, {"cannot expand ", *in, " to ", *target});
  }
}

Kernel prepare_expand(PrepareContext& c) {
  const Shape& in = c.dims(0);
  const Shape& out = c.out_dims(0);
  if (element_count(in) == element_count(out)) {
    c.alias(0);
    return {};
  }
  std::vector<kernels::BoxDimension> box(out.size());
  int64_t in_stride = 1, out_stride = 1;
  for (size_t i = out.size(); i-- > 0;) {
    const size_t lead = out.size() - in.size();
    const int64_t size = i >= lead ? in[i - lead] : 1;
    box[i] = {out[i], size == 1 ? 0 : in_stride, out_stride};
    in_stride *= size;
    out_stride *= out[i];
  }
  return box_copy(box, element_bytes(c, 0));
}

void gradient(Gradient& g) {
  if (g.wanted(0)) g.give_summed(0, g.dy());
}

constexpr OpDef kExpand = {.name = "Expand",
                           .inputs = "input shape",
                           .opsets = "8A 13b",
                           .since = 8,
                           .types = "Ti",
                           .infer = infer_expand,
                           .prepare = prepare_expand,
                           .quant = {.kind = QuantRule::Kind::kSameScale},
                           .gradient = gradient};
const RegisterOps kRegistered({&kExpand});

}  // namespace
}  // namespace zp
