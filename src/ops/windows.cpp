// HannWindow, HammingWindow, BlackmanWindow: weights of the samples of a frame, which an STFT takes. They are
// written with operators of one element, in double, and are constants wherever their length is one.
#include <numbers>

#include "ops/op.h"

namespace zp {
namespace {

NewAttributes to(DType type) { return {{"to", static_cast<int64_t>(type)}}; }

// first + second * cos(angle) + third * cos(2 * angle), where the angle goes once around in `size` steps, or
// (not periodic) in one less.
void expand(Canonicalize& c, double first, double second, double third) {
  const Node& n = c.node;
  const auto number = [&](double v) { return c.constant_value(n.name + "_number", Tensor::scalar(v)); };
  // 0, 1, 2, ... of `size` ones, so that a negative size is refused.
  const ValueId shape = c.add("Reshape", {c.add("Cast", {n.input(0)}, to(DType::kInt64)),
                                          c.constant_value(n.name + "_one", Tensor::of<int64_t>({1}, {1}))});
  const ValueId ones = c.add("ConstantOfShape", {shape}, {{"value", Tensor::of<double>({1}, {1.0})}});
  const ValueId at = c.add("CumSum", {ones, c.constant_value(n.name + "_axis", Tensor::scalar<int64_t>(0))},
                           {{"exclusive", int64_t{1}}});
  const ValueId size = c.add("Cast", {shape}, to(DType::kFloat64));
  const bool periodic = n.int_attribute("periodic", 1) != 0;
  const ValueId steps = periodic ? size : c.add("Sub", {size, number(1)});
  const ValueId angle = c.add("Div", {c.add("Mul", {at, number(2 * std::numbers::pi)}), steps});
  ValueId sum = c.add("Add", {c.add("Mul", {c.add("Cos", {angle}), number(second)}), number(first)});
  if (third != 0) {
    const ValueId twice = c.add("Cos", {c.add("Mul", {angle, number(2)})});
    sum = c.add("Add", {sum, c.add("Mul", {twice, number(third)})});
  }
  c.finish("Cast", {sum},
           {{"to", n.int_attribute("output_datatype", static_cast<int64_t>(DType::kFloat32))}});
}

constexpr OpDef window(std::string_view name, void (*canonicalize)(Canonicalize&)) {
  return {.name = name, .inputs = "size", .since = 17, .types = "i", .canonicalize = canonicalize};
}

constexpr OpDef kHann = window("HannWindow", [](Canonicalize& c) { expand(c, 0.5, -0.5, 0); });
constexpr OpDef kHamming =
    window("HammingWindow", [](Canonicalize& c) { expand(c, 25.0 / 46, -21.0 / 46, 0); });
constexpr OpDef kBlackman = window("BlackmanWindow", [](Canonicalize& c) { expand(c, 0.42, -0.5, 0.08); });
const RegisterOps kRegistered({&kHann, &kHamming, &kBlackman});

}  // namespace
}  // namespace zp
