// Normalizations of sums, as optimizers of transformers write them (com.microsoft): SkipLayerNormalization,
// SkipSimplifiedLayerNormalization and EmbedLayerNormalization. They become sums and normalizations.
#include "ops/expansion.h"
#include "ops/normalization.h"

namespace zp {
namespace {

constexpr float kEpsilon = 1e-12f;

NewAttributes attributes_of(const Canonicalize& c) {
  return {{"axis", int64_t{-1}}, {"epsilon", c.node.float_attribute("epsilon", kEpsilon)}};
}

// Inputs: x, skip, gamma, then (Simplified: without) beta, then a bias. Outputs: y, mean and inverse
// deviation, the sum.
ValueId sum_of(Canonicalize& c, size_t bias) {
  ValueId sum = c.add("Add", {c.node.inputs[0], c.node.inputs[1]});
  if (c.node.input(bias) != kNoValue) sum = c.add("Add", {sum, c.node.inputs[bias]});
  return gives_output(c, 3);
}

void expand_skip(Canonicalize& c) {
  const ValueId sum = sum_of(c, 4);
  c.finish("LayerNormalization", {sum, c.node.inputs[2], c.node.input(3)}, attributes_of(c));
  Node& made = c.nodes.back();
  if (made.inputs[2] == kNoValue) made.inputs.pop_back();
  for (size_t i = 1; i < 3 && i < c.node.outputs.size(); ++i) made.outputs.push_back(c.node.outputs[i]);
  while (made.outputs.back() == kNoValue) made.outputs.pop_back();
}

void expand_skip_simplified(Canonicalize& c) {
  refuse_output(c, 1, "mean");
  refuse_output(c, 2, "inv_std_var");
  const ValueId sum = sum_of(c, 3);
  add_rms_norm(c, sum, c.node.inputs[2], c.node.float_attribute("epsilon", kEpsilon));
  gives_output(c, 0);
}

// Inputs: ids and segment ids [batch, steps]; tables of words, positions and segments; gamma, beta; a mask
// [batch, steps]; position ids. Outputs: y, how many ones a row of the mask has, the sum.
void expand_embed(Canonicalize& c) {
  const Node& n = c.node;
  const ValueId ids = n.inputs[0];
  ValueId positions = n.input(8);
  if (positions == kNoValue)
    positions = c.add("Range", {add_int(c, 0), add_length(c, ids, 1), add_int(c, 1)});
  const ValueId words = c.add("Gather", {n.inputs[2], ids});
  const ValueId placed = c.add("Add", {words, c.add("Gather", {n.inputs[3], positions})});
  if (n.input(1) != kNoValue) {
    need_inputs(c, {4});
    c.add("Add", {placed, c.add("Gather", {n.inputs[4], n.inputs[1]})});
  }
  const ValueId sum = gives_output(c, 2);
  if (n.output(1) != kNoValue) {
    ValueId counts = n.input(7);
    if (counts == kNoValue) {  // zeros [batch]
      counts = c.add("Mul", {c.add("Cast", {ids}, {{"to", static_cast<int64_t>(DType::kInt32)}}),
                             c.constant_value(n.name + "_zero", Tensor::scalar(int32_t{0}))});
    }
    c.add("ReduceSum", {counts, add_ints(c, {1})}, {{"keepdims", int64_t{0}}});
    gives_output(c, 1);
  }
  c.finish("LayerNormalization", {sum, n.inputs[5], n.inputs[6]}, attributes_of(c));
}

constexpr OpDef kSkip = {.domain = kMicrosoft,
                         .name = "SkipLayerNormalization",
                         .inputs = "input skip gamma beta? bias?",
                         .types = "*",
                         .fails_in_half = moments_fail_in_half,
                         .canonicalize = expand_skip,
                         .fused = true,
                         .pieces_have_ranges = true};
constexpr OpDef kSkipSimplified = {.domain = kMicrosoft,
                                   .name = "SkipSimplifiedLayerNormalization",
                                   .inputs = "input skip gamma bias?",
                                   .types = "*",
                                   .canonicalize = expand_skip_simplified,
                                   .fused = true,
                                   .pieces_have_ranges = true};
constexpr OpDef kEmbed = {.domain = kMicrosoft,
                          .name = "EmbedLayerNormalization",
                          .inputs =
                              "input_ids segment_ids? word_embedding position_embedding segment_embedding? "
                              "gamma beta mask? position_ids?",
                          .types = "*",
                          .canonicalize = expand_embed};
const RegisterOps kRegistered({&kSkip, &kSkipSimplified, &kEmbed});

}  // namespace
}  // namespace zp
