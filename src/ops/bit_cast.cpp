// BitCast: the same bits as elements of another type of the same width.
#include "ops/cast.h"
#include "ops/op.h"

namespace zp {
namespace {

void infer(InferContext& c) {
  const DType from = c.dtype(0), to = type_to(c.node());
  if (bits_of(to) == 0 || to == DType::kString || from == DType::kString ||
      (from != DType::kUndefined && bits_of(from) != bits_of(to))) {
    c.fail(ErrorCode::kInvalidModel, {"elements of type ", name_of(from), " cannot be read as ", name_of(to),
                                      ": the two must have as many bits"});
  }
  if (const SymShape* shape = c.shape(0)) return c.output(0, to, *shape);
  c.output(0, to);
}

Kernel prepare(PrepareContext& c) {
  if (c.out_dtype(0) == DType::kBool && c.dtype(0) != DType::kBool) {  // bool has two values
    const int64_t count = element_count(c.dims(0));
    return [count](const RunContext& r) {
      cast_elements(r.inputs[0], DType::kUint8, r.outputs[0], DType::kBool, 0, count);
    };
  }
  c.alias(0);
  return {};
}

constexpr OpDef kBitCast = {.name = "BitCast",
                            .inputs = "input",
                            .opsets = "26NboGqQmepP",
                            .since = 26,
                            .types = "*",
                            .infer = infer,
                            .prepare = prepare,
                            .layout = any_layout,
                            .reads_bits = true};
const RegisterOps kRegistered({&kBitCast});

}  // namespace
}  // namespace zp
