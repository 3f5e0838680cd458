// OneHot: along a new axis, `on` at the index and `off` elsewhere.
#include <algorithm>
#include <cstring>

#include "core/decimal.h"
#include "core/element_types.h"
#include "core/grain.h"
#include "kernels/movement/copy.h"
#include "ops/known_range.h"
#include "ops/moving.h"

namespace zp {
namespace {

int new_axis(const InferContext& c, int rank) { return c.axis(c.ints("axis", -1), rank + 1); }

void infer_one_hot(InferContext& c) {
  const SymShape* indices = c.shape(0);
  if (!indices) return c.output(0, c.dtype(2));
  SymShape out = *indices;
  Dim depth;
  if (const Tensor* t = c.shape_argument(1)) {
    c.require(t->size() == 1, "depth is not a scalar");
    const float d = t->floats()[0];
    c.require(d >= 0 && d < 1e9F, {"a depth of ", decimal(d)});
    depth = Dim(static_cast<int64_t>(d));
  }
  out.insert(out.begin() + new_axis(c, static_cast<int>(indices->size())), depth);
  c.output(0, c.dtype(2), std::move(out));
}

template <class T>
Kernel one_hot(int64_t outer, int64_t depth, int64_t inner, size_t bytes) {
  return [=](const RunContext& run) {
    const std::byte* off = run.inputs[2];
    const std::byte* on = off + bytes;
    run.parallel_range(
        outer, grain_for({.bytes = depth * inner * static_cast<int64_t>(bytes)}),
        [&](int64_t begin, int64_t end) {
          std::byte* to = run.outputs[0] + static_cast<int64_t>(bytes) * begin * depth * inner;
          kernels::fill(to, (end - begin) * depth * inner, off, bytes);
          for (int64_t o = begin; o < end; ++o) {
            for (int64_t i = 0; i < inner; ++i) {
              const T index = run.in<T>(0)[o * inner + i];
              const auto classes = static_cast<T>(depth);
              // As the specification says: off everywhere. Also for NaN.
              if (!(index >= -classes && index < classes)) continue;
              auto at = static_cast<int64_t>(index);
              if (at < 0) at += depth;
              std::memcpy(run.outputs[0] + static_cast<int64_t>(bytes) * ((o * depth + at) * inner + i), on,
                          bytes);
            }
          }
        });
  };
}

Kernel prepare_one_hot(PrepareContext& c) {
  const Shape& out = c.out_dims(0);
  const int rank = static_cast<int>(out.size());
  const int64_t axis = c.node().int_attribute("axis", -1);
  const auto at = static_cast<size_t>(axis < 0 ? axis + rank : axis);
  const int64_t outer = element_count(out, 0, at), depth = out[at],
                inner = element_count(out, at + 1, out.size());
  if (element_count(c.dims(2)) != 2) c.fail(ErrorCode::kShapeMismatch, "values should be two numbers");
  const size_t bytes = element_bytes(c, 2);
  Kernel kernel;
  if (!visit(c.dtype(0), ElementTypes<int64_t, int32_t, float>(),
             [&]<class T>(Element<T>) { kernel = one_hot<T>(outer, depth, inner, bytes); })) {
    c.fail(ErrorCode::kUnsupportedType, {"indices of type ", name_of(c.dtype(0)), " are not supported"});
  }
  return kernel;
}

constexpr OpDef kOneHot = {.name = "OneHot",
                           .inputs = "indices depth values",
                           .opsets = "@2 11A 28b",
                           .since = 9,
                           .types = "TUV",
                           .infer = infer_one_hot,
                           .prepare = prepare_one_hot,
                           .quant = {.why_float = "writes two values, which need no scale",
                                     .range = [](const RangeContext& c) { return c.of(2); }}};
const RegisterOps kRegistered({&kOneHot});

}  // namespace
}  // namespace zp
