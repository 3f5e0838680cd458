// QLinearConv: the operator form of DequantizeLinear, Conv, QuantizeLinear.
#include "ops/product/qdq.h"

namespace zp {
namespace {

void canonicalize(Canonicalize& c) {
  const Node& n = c.node;
  if (n.int_attribute("channels_last", 0) != 0) {
    c.fail(ErrorCode::kUnsupportedOperator, "channels last inputs are not supported",
           "quantize the model again from its original, without optimizations for one machine");
  }
  std::vector<ValueId> inputs{add_dequantize(c, n.input(0), n.input(1), n.input(2), 1),
                              add_dequantize(c, n.input(3), n.input(4), n.input(5), 0)};
  if (n.input(8) != kNoValue) {
    // The operator's text: int32 at scale s_x * s_w, zero point 0.
    inputs.push_back(
        add_dequantize(c, n.input(8), add_scale_product(c, n.input(1), n.input(4)), kNoValue, 0));
  }
  const ValueId y = c.add("Conv", std::move(inputs), attributes_of(n, {"channels_last"}));
  c.finish("QuantizeLinear",
           {y, scalar_if_single(c.graph, n.input(6)), scalar_if_single(c.graph, n.input(7))});
}

constexpr OpDef kQLinearConv = {
    .name = "QLinearConv",
    .inputs = "x x_scale x_zero_point w w_scale w_zero_point y_scale y_zero_point B?",
    .opsets = "10cC",
    .since = 10,
    .canonicalize = canonicalize};
constexpr OpDef kMicrosoftQLinearConv = {
    .domain = kMicrosoft,
    .name = "QLinearConv",
    .inputs = "x x_scale x_zero_point w w_scale w_zero_point y_scale y_zero_point B?",
    .canonicalize = canonicalize};
const RegisterOps kRegistered({&kQLinearConv, &kMicrosoftQLinearConv});

}  // namespace
}  // namespace zp
