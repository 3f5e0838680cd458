// Swish, x sigmoid(alpha x), and SwiGLU, which multiplies with it. They become products and a Sigmoid.
#include "ops/expansion.h"

namespace zp {
namespace {

// The argument of the Sigmoid is multiplied only where that changes it.
ValueId gate(Canonicalize& c) {
  const ValueId x = c.node.inputs[0];
  const float alpha = c.node.float_attribute("alpha", 1);
  return c.add("Sigmoid", {alpha == 1 ? x : c.add("Mul", {x, c.number(alpha)})});
}

void expand_swish(Canonicalize& c) { c.finish("Mul", {c.node.inputs[0], gate(c)}); }

void expand_gated(Canonicalize& c) {
  const SymShape *a = c.shape(0), *b = c.shape(1);
  if (a && b && !fits(*a, *b))
    c.fail(ErrorCode::kShapeMismatch, {"inputs of shapes ", *a, " and ", *b, " should have one shape"});
  c.finish("Mul", {c.add("Mul", {c.node.inputs[0], gate(c)}), c.node.inputs[1]});
}

constexpr OpDef kSwish = {.name = "Swish", .since = 24, .canonicalize = expand_swish};
constexpr OpDef kSwiGlu = {.name = "SwiGLU", .inputs = "A B", .since = 28, .canonicalize = expand_gated};
const RegisterOps kRegistered({&kSwish, &kSwiGlu});

}  // namespace
}  // namespace zp
