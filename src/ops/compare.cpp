// Equal, Less, Greater, ... and the logic of bools: And, Or, Xor.
#include "core/grain.h"
#include "kernels/elementwise/wide.h"
#include "ops/binary.h"
#include "ops/unary.h"

namespace zp {
namespace {

using kernels::Broadcast;
using kernels::Compare;
using kernels::Logical;

void infer_bool(InferContext& c) { infer_broadcast_as(c, DType::kBool); }

Kernel equal_strings(const Broadcast& shape) {
  return [=](const RunContext& r) {
    const int64_t step_a = shape.inner_moves(0), step_b = shape.inner_moves(1);
    shape.walk(0, shape.size(), [&](const auto& offsets, int64_t out, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        r.out<bool>(0)[out + i] = string_at(r.inputs[0], offsets[0] + i * step_a) ==
                                  string_at(r.inputs[1], offsets[1] + i * step_b);
      }
    });
  };
}

Kernel prepare_compare(PrepareContext& c, Compare f) {
  require_same_type(c);
  const DType type = c.dtype(0);
  const Broadcast shape = broadcast_of(c);
  if (type == DType::kString && f == Compare::kEqual) return equal_strings(shape);
  if (kernels::wide_of(type) == kernels::Wide::kNone) fail_type(c);
  return [=](const RunContext& r) {
    r.parallel_range(shape.size(), grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      kernels::compare(f, shape, type, r.inputs[0], r.inputs[1], r.out<bool>(0), begin, end);
    });
  };
}

template <Compare kFunction>
Kernel prepare_compare(PrepareContext& c) {
  return prepare_compare(c, kFunction);
}

Kernel prepare_logical(PrepareContext& c, Logical f) {
  for (size_t i : {size_t{0}, size_t{1}})
    if (c.dtype(i) != DType::kBool) fail_type(c, i);
  const Broadcast shape = broadcast_of(c);
  return [=](const RunContext& r) {
    r.parallel_range(shape.size(), grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      kernels::logical(f, shape, r.in<bool>(0), r.in<bool>(1), r.out<bool>(0), begin, end);
    });
  };
}

template <Logical kFunction>
Kernel prepare_logical(PrepareContext& c) {
  return prepare_logical(c, kFunction);
}

constexpr OpDef test(std::string_view name, std::string_view opsets, Kernel (*prepare)(PrepareContext&)) {
  return {.name = name,
          .inputs = "A B",
          .opsets = opsets,
          .infer = infer_bool,
          .prepare = prepare,
          .layout = any_layout,
          .broadcasts = true,
          .canonicalize = upgrade_legacy_broadcast};
}

constexpr OpDef kEqual = test("Equal", "7ilo 11FcCsSIL 13b 19t", prepare_compare<Compare::kEqual>);
constexpr OpDef kLess = test("Less", "7F 9cCsSiIlL 13b", prepare_compare<Compare::kLess>);
constexpr OpDef kLessOrEqual = test("LessOrEqual", "12N 16b", prepare_compare<Compare::kLessOrEqual>);
constexpr OpDef kGreater = test("Greater", "7F 9cCsSiIlL 13b", prepare_compare<Compare::kGreater>);
constexpr OpDef kGreaterOrEqual =
    test("GreaterOrEqual", "12N 16b", prepare_compare<Compare::kGreaterOrEqual>);
constexpr OpDef kAnd = test("And", "7o", prepare_logical<Logical::kAnd>);
constexpr OpDef kOr = test("Or", "7o", prepare_logical<Logical::kOr>);
constexpr OpDef kXor = test("Xor", "7o", prepare_logical<Logical::kXor>);
const RegisterOps kRegistered({&kEqual, &kLess, &kLessOrEqual, &kGreater, &kGreaterOrEqual, &kAnd, &kOr,
                               &kXor});

}  // namespace
}  // namespace zp
