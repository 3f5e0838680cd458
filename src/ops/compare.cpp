// Equal, Less, Greater, ... and the logic of bools: And, Or, Xor.
#include "ops/binary.h"
#include "ops/unary.h"

namespace zp {
namespace {

using kernels::Broadcast;
using kernels::Compare;
using kernels::Logical;

constexpr int64_t kGrain = 16384;

void infer_bool(InferContext& c) { infer_broadcast_as(c, DType::kBool); }

template <class T>
Kernel compare_kernel(Compare f, const Broadcast& shape) {
  return [=](const RunContext& r) {
    r.parallel_range(shape.size(), kGrain, [&](int64_t begin, int64_t end) {
      kernels::compare(f, shape, r.in<T>(0), r.in<T>(1), r.out<bool>(0), begin, end);
    });
  };
}

template <Compare kFunction>
Kernel prepare_compare(PrepareContext& c) {
  require_inputs(c, 2);
  require_same_type(c);
  const Broadcast shape = broadcast_of(c);
  switch (c.dtype(0)) {
    case DType::kFloat32:
      return compare_kernel<float>(kFunction, shape);
    case DType::kFloat64:
      return compare_kernel<double>(kFunction, shape);
    case DType::kBool:
      return compare_kernel<bool>(kFunction, shape);
    case DType::kInt8:
      return compare_kernel<int8_t>(kFunction, shape);
    case DType::kUint8:
      return compare_kernel<uint8_t>(kFunction, shape);
    case DType::kInt16:
      return compare_kernel<int16_t>(kFunction, shape);
    case DType::kUint16:
      return compare_kernel<uint16_t>(kFunction, shape);
    case DType::kInt32:
      return compare_kernel<int32_t>(kFunction, shape);
    case DType::kUint32:
      return compare_kernel<uint32_t>(kFunction, shape);
    case DType::kInt64:
      return compare_kernel<int64_t>(kFunction, shape);
    case DType::kUint64:
      return compare_kernel<uint64_t>(kFunction, shape);
    default:
      fail_type(c);
  }
}

template <Logical kFunction>
Kernel prepare_logical(PrepareContext& c) {
  require_inputs(c, 2);
  for (size_t i : {size_t{0}, size_t{1}})
    if (c.dtype(i) != DType::kBool) fail_type(c, i);
  const Broadcast shape = broadcast_of(c);
  return [=](const RunContext& r) {
    r.parallel_range(shape.size(), kGrain, [&](int64_t begin, int64_t end) {
      kernels::logical(kFunction, shape, r.in<bool>(0), r.in<bool>(1), r.out<bool>(0), begin, end);
    });
  };
}

OpDef test(std::string_view name, Kernel (*prepare)(PrepareContext&)) {
  return {.name = name,
          .infer = infer_bool,
          .prepare = prepare,
          .layout = any_layout,
          .broadcasts = true,
          .canonicalize = upgrade_legacy_broadcast};
}

const RegisterOp kEqual(test("Equal", prepare_compare<Compare::kEqual>));
const RegisterOp kLess(test("Less", prepare_compare<Compare::kLess>));
const RegisterOp kLessOrEqual(test("LessOrEqual", prepare_compare<Compare::kLessOrEqual>));
const RegisterOp kGreater(test("Greater", prepare_compare<Compare::kGreater>));
const RegisterOp kGreaterOrEqual(test("GreaterOrEqual", prepare_compare<Compare::kGreaterOrEqual>));
const RegisterOp kAnd(test("And", prepare_logical<Logical::kAnd>));
const RegisterOp kOr(test("Or", prepare_logical<Logical::kOr>));
const RegisterOp kXor(test("Xor", prepare_logical<Logical::kXor>));

}  // namespace
}  // namespace zp
