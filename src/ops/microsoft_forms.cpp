// Operators of com.microsoft that are ONNX's under another name, or with little around them: ExpandDims,
// Trilu, GridSample, NhwcConv, BiasAdd, BiasSplitGelu.
#include "ops/expansion.h"

namespace zp {
namespace {

// The operator that ONNX has under the same name.
void expand_same(Canonicalize& c) {
  c.node.domain.clear();
  c.keep();
}

// ONNX's first GridSample.
void expand_grid_sample(Canonicalize& c) {
  std::string mode = c.node.string_attribute("mode", "bilinear");
  if (mode == "bilinear") mode = "linear";
  if (mode == "bicubic") mode = "cubic";
  c.node.attributes.insert_or_assign("mode", mode);
  expand_same(c);
}

void expand_dims(Canonicalize& c) {
  const ValueId axis = c.add("Cast", {c.node.inputs[1]}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  c.finish("Unsqueeze", {c.node.inputs[0], c.add("Reshape", {axis, add_ints(c, {1})})});
}

// Of an image [N, H, W, C], with weights [M, rows, columns, C / group].
void expand_nhwc_conv(Canonicalize& c) {
  const std::vector<int64_t> first{0, 3, 1, 2}, last{0, 2, 3, 1};
  const ValueId x = c.add("Transpose", {c.node.inputs[0]}, {{"perm", first}});
  std::vector<ValueId> inputs{x, c.add("Transpose", {c.node.inputs[1]}, {{"perm", first}})};
  if (c.node.input(2) != kNoValue) inputs.push_back(c.node.inputs[2]);
  const ValueId y = c.add("Conv", inputs, {c.node.attributes.begin(), c.node.attributes.end()});
  c.finish("Transpose", {y}, {{"perm", last}});
}

void expand_bias_add(Canonicalize& c) {
  c.finish("Add", {c.add("Add", {c.node.inputs[0], c.node.inputs[1]}), c.node.inputs[2]});
}

// Of x + bias: the first half times Gelu of the second.
void expand_bias_split_gelu(Canonicalize& c) {
  const auto width = known_dim(c, 1, 0);
  if (!width) c.wait("the length of the bias is not known");
  if (*width % 2 != 0) c.fail(ErrorCode::kInvalidModel, "the length of the bias is not even");
  const ValueId sum = c.add("Add", {c.node.inputs[0], c.node.inputs[1]});
  const ValueId a = add_slice(c, sum, -1, 0, *width / 2), b = add_slice(c, sum, -1, *width / 2, *width);
  c.finish("Mul", {a, c.add("Gelu", {b})});
}

constexpr OpDef of_microsoft(std::string_view name, std::string_view inputs,
                             void (*canonicalize)(Canonicalize&), std::string_view types = "T") {
  return {.domain = kMicrosoft, .name = name, .inputs = inputs, .types = types, .canonicalize = canonicalize};
}

constexpr OpDef kExpandDims = of_microsoft("ExpandDims", "X axis", expand_dims, "Ti");
constexpr OpDef kTrilu = of_microsoft("Trilu", "X k?", expand_same, "Ti");
constexpr OpDef kGridSample = of_microsoft("GridSample", "X Grid", expand_grid_sample, "TU");
constexpr OpDef kNhwcConv = of_microsoft("NhwcConv", "X W B?", expand_nhwc_conv);
constexpr OpDef kBiasAdd = of_microsoft("BiasAdd", "X bias skip", expand_bias_add);
constexpr OpDef kBiasSplitGelu = of_microsoft("BiasSplitGelu", "X bias", expand_bias_split_gelu);
const RegisterOps kRegistered({&kExpandDims, &kTrilu, &kGridSample, &kNhwcConv, &kBiasAdd, &kBiasSplitGelu});

}  // namespace
}  // namespace zp
