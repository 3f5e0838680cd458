// ConvInteger: the int32 sums of (x - z_x)(w - z_w); the padding is z_x.
#include "ops/conv.h"

namespace zp {
namespace {

void infer(InferContext& c) {
  require_8_bit_operands(c);
  infer_conv(c, 0, 1, DType::kInt32);
}

Kernel prepare(PrepareContext& c) {
  if (c.has_input(2) && element_count(c.dims(2)) != 1) {
    c.fail(ErrorCode::kShapeMismatch, {"the zero point of x has shape ", c.dims(2)});
  }
  if (c.has_input(3) && element_count(c.dims(3)) != 1 && element_count(c.dims(3)) != c.dims(1)[0]) {
    c.fail(ErrorCode::kShapeMismatch,
           {"there are ", c.dims(1)[0], " output channels but the zero points of w have shape ", c.dims(3)});
  }
  return integer_conv(c, operand_at(c, 0, 2), weights_at(c, 1, 3), Epilogue8());
}

constexpr OpDef kConvInteger = {
    .name = "ConvInteger",
    .inputs = "x w x_zero_point? w_zero_point?",
    .opsets = "10cC",
    .since = 10,
    .types = "TUTU",
    .infer = infer,
    .prepare = prepare,
    .layout = channels_last,
    .macs = conv_macs,
    .quant = {.why_float = "It computes in integers already"},
};
const RegisterOps kRegistered({&kConvInteger});

}  // namespace
}  // namespace zp
