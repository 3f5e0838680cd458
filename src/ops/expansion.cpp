#include "ops/expansion.h"

namespace zp {

ValueId add_ints(Canonicalize& c, std::vector<int64_t> values) {
  const auto count = static_cast<int64_t>(values.size());
  return c.constant_value(c.node.name + "_numbers", Tensor::of<int64_t>({count}, values));
}

ValueId add_int(Canonicalize& c, int64_t value) {
  return c.constant_value(c.node.name + "_number", Tensor::scalar(value));
}

ValueId gives_output(Canonicalize& c, size_t output) {
  ValueId& made = c.nodes.back().outputs[0];
  if (c.node.output(output) != kNoValue) made = c.node.outputs[output];
  return made;
}

ValueId add_split_heads(Canonicalize& c, ValueId x, int64_t heads) {
  const ValueId apart = c.add("Reshape", {x, add_ints(c, {0, 0, heads, -1})});
  return c.add("Transpose", {apart}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
}

ValueId add_slice(Canonicalize& c, ValueId x, int64_t axis, int64_t begin, int64_t end, int64_t step) {
  return add_slice(c, x, axis, {add_ints(c, {begin}), add_ints(c, {end})}, step);
}

ValueId add_slice(Canonicalize& c, ValueId x, int64_t axis, Bounds bounds, int64_t step) {
  return c.add("Slice", {x, bounds.begin, bounds.end, add_ints(c, {axis}), add_ints(c, {step})});
}

ValueId add_length(Canonicalize& c, ValueId x, int64_t axis) {
  const ValueId dims = c.add("Shape", {x}, {{"start", axis}, {"end", axis + 1}});
  return c.add("Squeeze", {dims, add_ints(c, {0})});
}

ValueId add_rms_norm(Canonicalize& c, ValueId x, ValueId scale, float epsilon) {
  return c.add("RMSNormalization", {x, scale}, {{"axis", int64_t{-1}}, {"epsilon", epsilon}});
}

int64_t rank_of(const Canonicalize& c, size_t input) {
  const SymShape* shape = c.shape(input);
  if (!shape) c.wait({"the rank of input ", input, " is not known"});
  return std::ssize(*shape);
}

std::optional<int64_t> known_dim(const Canonicalize& c, size_t input, size_t axis) {
  const SymShape* shape = c.shape(input);
  if (!shape || axis >= shape->size() || !(*shape)[axis].known()) return std::nullopt;
  return (*shape)[axis].value();
}

void need_inputs(const Canonicalize& c, std::initializer_list<size_t> inputs) {
  for (const size_t input : inputs)
    if (c.node.input(input) == kNoValue) c.fail(ErrorCode::kInvalidModel, {"input ", input, " is missing"});
}

void refuse_input(const Canonicalize& c, size_t input, std::string_view name) {
  if (c.node.input(input) != kNoValue)
    c.fail(ErrorCode::kUnsupportedOperator, {"its input ", input, " (", name, ") is not supported"});
}

void refuse_output(const Canonicalize& c, size_t output, std::string_view name) {
  if (c.node.output(output) != kNoValue)
    c.fail(ErrorCode::kUnsupportedOperator, {"its output ", output, " (", name, ") is not supported"});
}

}  // namespace zp
