// CausalConvWithState: a convolution of each channel with the steps before, some of which a state holds from
// the last call. It becomes Concat, Conv and Slice.
#include "ops/expansion.h"

namespace zp {
namespace {

// input [batch, channels, steps], weight [channels, 1, kernel], bias [channels], state [batch, channels,
// kernel - 1].
void expand(Canonicalize& c) {
  const Node& n = c.node;
  const std::string activation = n.string_attribute("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish")
    c.fail(ErrorCode::kInvalidModel, {"activation is '", activation, "'"});
  const auto channels = known_dim(c, 1, 0), kernel = known_dim(c, 1, 2);
  if (!channels || !kernel) c.wait("the shape of the weight is not known");
  if (*kernel < 1) c.fail(ErrorCode::kShapeMismatch, "the weight is empty");
  const int64_t before = *kernel - 1;
  if (const auto past = known_dim(c, 3, 2); past && *past != before)
    c.fail(ErrorCode::kShapeMismatch, {"a state of ", *past, " steps for a kernel of ", *kernel});
  const bool first = n.input(3) == kNoValue;  // zeros came before
  ValueId all = n.inputs[0];
  if (!first) all = c.add("Concat", {n.inputs[3], all}, {{"axis", int64_t{2}}});
  if (n.output(1) != kNoValue) {  // the last steps, which may be none
    constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
    const ValueId padded = first ? c.add("Pad", {all, add_ints(c, {0, 0, before, 0, 0, 0})}) : all;
    add_slice(c, padded, 2, before > 0 ? -before : kEnd, kEnd);
    gives_output(c, 1);
  }
  std::vector<ValueId> inputs{all, n.inputs[1]};
  if (n.input(2) != kNoValue) inputs.push_back(n.inputs[2]);
  const NewAttributes attributes{{"group", *channels},
                                 {"kernel_shape", std::vector<int64_t>{*kernel}},
                                 {"pads", std::vector<int64_t>{first ? before : 0, 0}}};
  if (activation == "none") return c.finish("Conv", inputs, attributes);
  const ValueId y = c.add("Conv", inputs, attributes);
  c.finish("Mul", {y, c.add("Sigmoid", {y})});
}

constexpr OpDef kCausalConv = {.name = "CausalConvWithState",
                               .inputs = "input weight bias? past_state?",
                               .since = 27,
                               .canonicalize = expand};
const RegisterOps kRegistered({&kCausalConv});

}  // namespace
}  // namespace zp
