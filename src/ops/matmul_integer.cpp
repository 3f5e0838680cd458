// MatMulInteger: the int32 sums of (a - z_a)(b - z_b).
#include "ops/matmul.h"

namespace zp {
namespace {

void infer(InferContext& c) {
  require_8_bit_operands(c);
  infer_matmul(c, 0, 1, DType::kInt32);
}

Kernel prepare(PrepareContext& c) {
  const int64_t columns = matmul_columns(c.dims(1));
  if (c.has_input(2) && element_count(c.dims(2)) != 1) {
    c.fail(ErrorCode::kUnsupportedOperator, "one zero point for each row of A is not supported",
           "quantize A with one zero point");
  }
  if (c.has_input(3) && element_count(c.dims(3)) != 1 && element_count(c.dims(3)) != columns) {
    c.fail(ErrorCode::kShapeMismatch,
           {"B has ", columns, " columns but its zero points have shape ", c.dims(3)});
  }
  return integer_product(c, matmul_product(c.dims(0), c.dims(1)), operand_at(c, 0, 2), weights_at(c, 1, 3),
                         Epilogue8());
}

constexpr OpDef kMatMulInteger = {
    .name = "MatMulInteger",
    .inputs = "A B a_zero_point? b_zero_point?",
    .opsets = "10cC",
    .since = 10,
    .types = "TUTU",
    .infer = infer,
    .prepare = prepare,
    .macs = matmul_macs,
    .quant = {.why_float = "It computes in integers already"},
};
const RegisterOps kRegistered({&kMatMulInteger});

}  // namespace
}  // namespace zp
