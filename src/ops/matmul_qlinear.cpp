// QLinearMatMul, and com.microsoft's products of quantized matrices with float results: operator forms of
// DequantizeLinear, MatMul (, QuantizeLinear).
#include "ops/product/qdq.h"

namespace zp {
namespace {

int64_t rank_of(const Canonicalize& c, size_t input) {
  if (const Tensor* t = c.constant(input)) return static_cast<int64_t>(t->dims().size());
  const SymShape* shape = c.shape(input);
  return shape ? static_cast<int64_t>(shape->size()) : 2;
}

// Scales of B are one for each column, those of A one for each row.
ValueId left(Canonicalize& c, size_t value, size_t scale, size_t zero_point) {
  return add_dequantize(c, c.node.input(value), c.node.input(scale), c.node.input(zero_point),
                        rank_of(c, value) - 2);
}
ValueId right(Canonicalize& c, size_t value, size_t scale, size_t zero_point) {
  return add_dequantize(c, c.node.input(value), c.node.input(scale), c.node.input(zero_point),
                        rank_of(c, value) - 1);
}

void product_with_bias(Canonicalize& c, ValueId a, ValueId b, ValueId bias) {
  if (bias == kNoValue) return c.finish("MatMul", {a, b});
  const ValueId product = c.add("MatMul", {a, b});
  c.finish("Add", {product, bias});
}

void qlinear(Canonicalize& c) {
  const Node& n = c.node;
  const ValueId a = left(c, 0, 1, 2);
  const ValueId b = right(c, 3, 4, 5);
  const ValueId y = c.add("MatMul", {a, b});
  c.finish("QuantizeLinear",
           {y, scalar_if_single(c.graph, n.input(6)), scalar_if_single(c.graph, n.input(7))});
}

// A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias
void integer_to_float(Canonicalize& c) {
  const ValueId a = left(c, 0, 2, 4);
  const ValueId b = right(c, 1, 3, 5);
  product_with_bias(c, a, b, c.node.input(6));
}

// A (float), B, b_scale, b_zero_point, bias
void dynamic(Canonicalize& c) {
  const ValueId a = add_dynamic_quantize(c, c.node.input(0));
  const ValueId b = right(c, 1, 2, 3);
  product_with_bias(c, a, b, c.node.input(4));
}

constexpr OpDef kQLinearMatMul = {
    .name = "QLinearMatMul",
    .inputs = "a a_scale a_zero_point b b_scale b_zero_point y_scale y_zero_point",
    .opsets = "10cC 21G",
    .since = 10,
    .canonicalize = qlinear};
constexpr OpDef kMatMulIntegerToFloat = {.domain = kMicrosoft,
                                         .name = "MatMulIntegerToFloat",
                                         .inputs = "A B a_scale b_scale a_zero_point? b_zero_point? bias?",
                                         .canonicalize = integer_to_float};
constexpr OpDef kDynamicQuantizeMatMul = {.domain = kMicrosoft,
                                          .name = "DynamicQuantizeMatMul",
                                          .inputs = "A B b_scale b_zero_point? bias?",
                                          .canonicalize = dynamic};
const RegisterOps kRegistered({&kQLinearMatMul, &kMatMulIntegerToFloat, &kDynamicQuantizeMatMul});

}  // namespace
}  // namespace zp
