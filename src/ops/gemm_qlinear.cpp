// com.microsoft QGemm: the operator form of DequantizeLinear, Gemm (, QuantizeLinear).
#include "ops/product/qdq.h"

namespace zp {
namespace {

// A, a_scale, a_zero_point, B, b_scale, b_zero_point, C, y_scale, y_zero_point
void canonicalize(Canonicalize& c) {
  const Node& n = c.node;
  const bool transposed = n.int_attribute("transB", 0) != 0;
  std::vector<ValueId> inputs{add_dequantize(c, n.input(0), n.input(1), n.input(2), 1),
                              add_dequantize(c, n.input(3), n.input(4), n.input(5), transposed ? 0 : 1)};
  if (n.input(6) != kNoValue) {
    const Tensor* bias = c.constant(6);
    const SymShape* shape = c.shape(6);
    const size_t rank = bias ? bias->dims().size() : shape ? shape->size() : 1;
    inputs.push_back(add_dequantize(
        c, n.input(6), add_scale_product(c, n.input(1), n.input(4), n.float_attribute("alpha", 1)), kNoValue,
        rank == 0 ? 0 : static_cast<int64_t>(rank) - 1));
  }
  if (n.input(7) == kNoValue) return c.finish("Gemm", std::move(inputs), attributes_of(n));
  const ValueId y = c.add("Gemm", std::move(inputs), attributes_of(n));
  std::vector<ValueId> to{y, scalar_if_single(c.graph, n.input(7))};
  if (n.input(8) != kNoValue) to.push_back(scalar_if_single(c.graph, n.input(8)));
  c.finish("QuantizeLinear", std::move(to));
}

constexpr OpDef kQGemm = {.domain = kMicrosoft,
                          .name = "QGemm",
                          .inputs = "A a_scale a_zero_point B b_scale b_zero_point C? y_scale? y_zero_point?",
                          .canonicalize = canonicalize};
const RegisterOps kRegistered({&kQGemm});

}  // namespace
}  // namespace zp
