// DepthToSpace and SpaceToDepth: blocks of pixels out of channels, and back. Both are a transposition of six
// dimensions, in whichever order the value is.
#include <algorithm>

#include "core/grain.h"
#include "kernels/movement/transpose.h"
#include "ops/moving.h"
#include "ops/op.h"

namespace zp {
namespace {

int64_t block_of(const InferContext& c) {
  const int64_t b = c.ints("blocksize", 0);
  if (b < 1 || b > 65536) c.fail(ErrorCode::kInvalidModel, {"blocksize is ", b});
  return b;
}

template <bool kToSpace>
void infer_blocks(InferContext& c) {
  const int64_t b = block_of(c);
  const SymShape* in = c.shape(0);
  if (!in) return c.output(0, c.dtype(0), SymShape(4));
  const auto& s = *in;
  c.require(s.size() == 4, {"an input of shape ", s, ", not of four dimensions"});
  const auto divides = [&](const Dim& d, int64_t by) {
    c.require(!d.known() || d.value() % by == 0, {"blocks of ", b, " do not fit ", s});
  };
  if (kToSpace) {
    divides(s[1], b * b);
    c.output(0, c.dtype(0), {s[0], floor_div(s[1], b * b), s[2] * Dim(b), s[3] * Dim(b)});
  } else {
    divides(s[2], b);
    divides(s[3], b);
    c.output(0, c.dtype(0), {s[0], s[1] * Dim(b * b), floor_div(s[2], b), floor_div(s[3], b)});
  }
}

template <bool kToSpace>
Kernel prepare_blocks(PrepareContext& c) {
  const int64_t b = c.node().int_attribute("blocksize", 1);
  const bool last = c.layout(0) == Layout::kChannelsLast;
  const Shape& d = c.dims(0);
  const int64_t n = d[0], channels = last ? d[3] : d[1], h = last ? d[1] : d[2], w = last ? d[2] : d[3];
  Shape dims;
  std::vector<int> perm;
  if (kToSpace) {
    // Which of (block row, block column) and channel is outer.
    const bool crd = c.node().string_attribute("mode", "DCR") == "CRD";
    const int64_t rest = channels / (b * b);
    if (last) {
      dims = crd ? Shape{n, h, w, rest, b, b} : Shape{n, h, w, b, b, rest};
      perm = crd ? std::vector<int>{0, 1, 4, 2, 5, 3} : std::vector<int>{0, 1, 3, 2, 4, 5};
    } else {
      dims = crd ? Shape{n, rest, b, b, h, w} : Shape{n, b, b, rest, h, w};
      perm = crd ? std::vector<int>{0, 1, 4, 2, 5, 3} : std::vector<int>{0, 3, 4, 1, 5, 2};
    }
  } else if (last) {
    dims = {n, h / b, b, w / b, b, channels};
    perm = {0, 1, 3, 2, 4, 5};
  } else {
    dims = {n, channels, h / b, b, w / b, b};
    perm = {0, 3, 5, 1, 2, 4};
  }
  const kernels::TransposePlan plan(dims, perm, element_bytes(c, 0));
  if (plan.is_copy()) {
    c.alias(0);
    return {};
  }
  return [plan](const RunContext& run) {
    const int64_t grain = grain_for({.bytes = 2 * plan.outer_bytes()});
    run.parallel_range(plan.outer(), grain, [&](int64_t begin, int64_t end) {
      plan.run(run.inputs[0], run.outputs[0], begin, end);
    });
  };
}

// Opset 28 lets the channel be outer and the place in the block inner; until then it is the other way round.
void order_blocks(Canonicalize& c) {
  const std::string mode = c.node.string_attribute("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") c.fail(ErrorCode::kInvalidModel, {"mode is '", mode, "'"});
  c.node.attributes.erase("mode");
  if (mode == "DCR") return c.keep();
  const int64_t b = c.node.int_attribute("blocksize", 0);
  const ValueId blocks = c.add("SpaceToDepth", {c.node.input(0)}, {{"blocksize", b}});
  // [N, b * b, C, pixels] to [N, C, b * b, pixels], with one dimension of the four to be found out.
  const ValueId shape = c.add("Shape", {blocks});
  const auto vector = [&](const char* what, std::vector<int64_t> values) {
    return c.constant_value(c.node.name + what,
                            Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
  };
  const ValueId batch = c.add("Slice", {shape, vector("_0", {0}), vector("_1", {1})});
  const ValueId channels =
      c.add("Slice", {c.add("Shape", {c.node.input(0)}), vector("_1", {1}), vector("_2", {2})});
  const ValueId apart =
      c.add("Concat", {batch, vector("_blocks", {b * b}), channels, vector("_pixels", {-1})},
            {{"axis", int64_t{0}}});
  const ValueId transposed =
      c.add("Transpose", {c.add("Reshape", {blocks, apart})}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  c.finish("Reshape", {transposed, shape});
}

constexpr OpDef kDepthToSpace = {.name = "DepthToSpace",
                                 .opsets = "7A 13b mode=DCR:11",
                                 .infer = infer_blocks<true>,
                                 .prepare = prepare_blocks<true>,
                                 .layout = any_layout,
                                 .quant = {.kind = QuantRule::Kind::kSameScale}};
constexpr OpDef kSpaceToDepth = {.name = "SpaceToDepth",
                                 .opsets = "7A 13b",
                                 .infer = infer_blocks<false>,
                                 .prepare = prepare_blocks<false>,
                                 .layout = any_layout,
                                 .quant = {.kind = QuantRule::Kind::kSameScale},
                                 .canonicalize = order_blocks};
const RegisterOps kRegistered({&kDepthToSpace, &kSpaceToDepth});

}  // namespace
}  // namespace zp
