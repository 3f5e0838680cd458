// Where: one of two values, element by element.
#include "core/grain.h"
#include "ops/binary.h"
#include "ops/gradient.h"
#include "ops/known_range.h"
#include "ops/unary.h"

namespace zp {
namespace {

void infer_where(InferContext& c) { infer_broadcast_as(c, c.dtype(1)); }

Kernel prepare_where(PrepareContext& c) {
  if (c.dtype(0) != DType::kBool) fail_type(c);
  require_same_type(c, 1, 2);
  const int bits = bits_of(c.dtype(1));
  if (bits < 8) fail_type(c, 1);
  const kernels::Broadcast shape = broadcast_of(c);
  const auto bytes = static_cast<size_t>(bits) / 8;
  return [=](const RunContext& r) {
    r.parallel_range(shape.size(), grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      kernels::where(shape, r.in<bool>(0), r.in<void>(1), r.in<void>(2), r.out<void>(0), bytes, begin, end);
    });
  };
}

void gradient(Gradient& g) { g.give_formulas({"", "Where(a, dy, 0)", "Where(a, 0, dy)"}); }

KnownRange range(const RangeContext& c) {
  KnownRange r = c.of(1);
  r.include(c.of(2));
  return r;
}

constexpr OpDef kWhere = {.name = "Where",
                          .inputs = "condition X Y",
                          .opsets = "@1 9A 16b",
                          .since = 9,
                          .types = "bT",
                          .infer = infer_where,
                          .prepare = prepare_where,
                          .layout = any_layout,
                          .broadcasts = true,
                          .quant = {.range = range},
                          .half = {.selects = true},
                          .gradient = gradient};
const RegisterOps kRegistered({&kWhere});

}  // namespace
}  // namespace zp
