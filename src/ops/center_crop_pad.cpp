// CenterCropPad: brings dimensions to given lengths, around their middle. It becomes Pad and Slice.
#include "ops/expansion.h"

namespace zp {
namespace {

// a - b, and half of it, rounded down. Of lengths where the difference is not negative.
struct Split {
  ValueId whole, half;
};
Split difference(Canonicalize& c, ValueId a, ValueId b) {
  const ValueId whole = c.add("Sub", {a, b});
  return {whole, c.add("Div", {whole, add_ints(c, {2})})};
}

void expand(Canonicalize& c) {
  const Node& n = c.node;
  const ValueId x = n.inputs[0];
  ValueId wanted = n.inputs[1], axes = kNoValue;
  if (c.graph[wanted].dtype != DType::kInt64)
    wanted = c.add("Cast", {wanted}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  ValueId lengths = c.add("Shape", {x});
  const std::vector<int64_t> given = n.ints_attribute("axes");
  const int64_t count = n.attribute("axes") ? std::ssize(given) : rank_of(c, 0);
  if (const auto asked = known_dim(c, 1, 0); asked && *asked != count)
    c.fail(ErrorCode::kShapeMismatch, {*asked, " lengths for ", count, " dimensions"});
  if (n.attribute("axes")) {
    axes = add_ints(c, given);
    lengths = c.add("Gather", {lengths, axes});
  }
  // A dimension that is too short gets zeros on both sides, one more behind; a dimension that is too long is
  // cut.
  const ValueId padded = c.add("Max", {lengths, wanted});
  const Split zeros = difference(c, padded, lengths), rest = difference(c, padded, wanted);
  const ValueId behind = c.add("Sub", {zeros.whole, zeros.half});
  std::vector<ValueId> pad{x, c.add("Concat", {zeros.half, behind}, {{"axis", int64_t{0}}})};
  if (axes != kNoValue) pad.insert(pad.end(), {kNoValue, axes});
  std::vector<ValueId> slice{c.add("Pad", pad), rest.half, c.add("Add", {rest.half, wanted})};
  if (axes != kNoValue) slice.push_back(axes);
  c.finish("Slice", slice);
}

constexpr OpDef kCenterCropPad = {.name = "CenterCropPad",
                                  .inputs = "input_data shape",
                                  .since = 18,
                                  .types = "Ti",
                                  .canonicalize = expand};
const RegisterOps kRegistered({&kCenterCropPad});

}  // namespace
}  // namespace zp
