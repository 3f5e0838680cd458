// MultiHeadAttention and Attention of com.microsoft, as optimizers of transformers write them. They become
// the products, masks and Softmax that they were made of.
#include <limits>

#include "ops/attention.h"

namespace zp {
namespace {

struct Common {
  int64_t heads;
  float hidden;  // what is added to scores of steps that a mask hides
};

Common common_of(const Canonicalize& c) {
  const int64_t heads = c.node.int_attribute("num_heads", 0);
  if (heads < 1) c.fail(ErrorCode::kInvalidModel, {"num_heads is ", heads});
  return {heads, c.node.float_attribute("mask_filter_value", -10000.0f)};
}

// A mask of integers, 0 for steps that are hidden: [batch, all], [batch, steps, all]; or [batch], how many
// steps are there.
void add_mask(Canonicalize& c, Attend& a, size_t input, const Common& common, size_t batch_of) {
  const ValueId mask = c.node.input(input);
  if (mask == kNoValue) return;
  const int64_t rank = rank_of(c, input);
  if (rank == 1) {
    const auto given = known_dim(c, input, 0), batch = known_dim(c, batch_of, 0);
    if (given && batch && *given != *batch) {
      c.fail(ErrorCode::kUnsupportedOperator,
             {"a mask of ", *given, " numbers for ", *batch, " sequences is not supported"});
    }
    const ValueId lengths = c.add("Cast", {c.add("Reshape", {mask, add_ints(c, {-1, 1, 1, 1})})},
                                  {{"to", static_cast<int64_t>(DType::kInt64)}});
    return a.allow(c.add("Less", {a.all_steps(), lengths}), common.hidden);
  }
  if (rank != 2 && rank != 3)
    c.fail(ErrorCode::kUnsupportedOperator, {"a mask of ", rank, " dimensions is not supported"});
  const ValueId seen = c.add("Cast", {mask}, {{"to", static_cast<int64_t>(DType::kBool)}});
  a.allow(c.add("Unsqueeze",
                {seen, add_ints(c, rank == 2 ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{1})}),
          common.hidden);
}

void hide_later(Canonicalize& c, Attend& a) {
  if (c.node.int_attribute("unidirectional", 0) != 0) a.hide_later(std::numeric_limits<float>::lowest());
}

// ---- MultiHeadAttention

// Inputs.
enum : size_t { kQuery, kKey, kValue, kBias, kPaddingMask, kAttentionBias, kPastKey, kPastValue };

// Part `index` of what is packed in dimension 3 of [batch, steps, heads, parts, size].
ValueId unpacked(Canonicalize& c, ValueId x, int64_t index) {
  const ValueId part = c.add("Gather", {x, add_int(c, index)}, {{"axis", int64_t{3}}});
  return c.add("Transpose", {part}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
}

void expand_multi_head(Canonicalize& c) {
  const Node& n = c.node;
  const Common common = common_of(c);
  refuse_input(c, 8, "past_sequence_length");
  refuse_input(c, 9, "cache_indirection");
  refuse_output(c, 3, "qk");
  const int64_t rank = rank_of(c, kQuery);
  Attend a(c);
  std::optional<int64_t> size;
  const bool bias = n.input(kBias) != kNoValue;
  if (rank == 5) {
    size = known_dim(c, kQuery, 4);
    if (bias) c.fail(ErrorCode::kUnsupportedOperator, "a bias of packed inputs is not supported");
    a.q = unpacked(c, n.inputs[kQuery], 0);
    a.k = unpacked(c, n.inputs[kQuery], 1);
    a.v = unpacked(c, n.inputs[kQuery], 2);
  } else {
    if (rank != 3) c.fail(ErrorCode::kInvalidModel, {"the query has ", rank, " dimensions, not 3 or 5"});
    need_inputs(c, {kKey});
    const auto width = known_dim(c, kQuery, 2);
    if (width) size = *width / common.heads;
    if (bias && !width) c.fail(ErrorCode::kUnsupportedOperator, "the width of the query is not known");
    // Those of the query, of keys, of values, one after the other.
    const auto biased = [&](size_t input, int64_t begin, int64_t end) {
      const ValueId x = n.inputs[input];
      return bias ? c.add("Add", {x, add_slice(c, n.inputs[kBias], 0, begin, end)}) : x;
    };
    a.q = add_split_heads(c, biased(kQuery, 0, width.value_or(0)), common.heads);
    const int64_t of_key = rank_of(c, kKey);
    if (of_key == 5) {
      if (bias) c.fail(ErrorCode::kUnsupportedOperator, "a bias of packed inputs is not supported");
      a.k = unpacked(c, n.inputs[kKey], 0);
      a.v = unpacked(c, n.inputs[kKey], 1);
    } else if (of_key == 4) {  // as they were kept, [batch, heads, steps, size]
      need_inputs(c, {kValue});
      a.k = n.inputs[kKey];
      a.v = n.inputs[kValue];
    } else {
      need_inputs(c, {kValue});
      const int64_t w = width.value_or(0);
      a.k = add_split_heads(c, biased(kKey, w, 2 * w), common.heads);
      a.v = add_split_heads(c, biased(kValue, 2 * w, std::numeric_limits<int64_t>::max()), common.heads);
    }
  }
  a.k = add_past(c, a.k, kPastKey, 1);
  a.v = add_past(c, a.v, kPastValue, 2);
  if (n.input(kPastKey) != kNoValue) a.past = add_length(c, n.inputs[kPastKey], 2);
  add_mask(c, a, kPaddingMask, common, kQuery);
  if (n.input(kAttentionBias) != kNoValue) a.add_bias(n.inputs[kAttentionBias]);
  hide_later(c, a);
  finish_joined_heads(c, a.add(n.float_attribute("scale", 0), size, false));
}

// ---- Attention: the products with the weights of query, key and value are in it, too

// Inputs.
enum : size_t { kInput, kWeights, kBiases, kMaskIndex, kPast, kExtraBias };

void expand_attention(Canonicalize& c) {
  const Node& n = c.node;
  const Common common = common_of(c);
  refuse_input(c, 6, "past_sequence_length");
  for (const std::string_view key : {"do_rotary", "past_present_share_buffer"})
    if (n.int_attribute(key, 0) != 0) c.fail(ErrorCode::kUnsupportedOperator, {key, " is not supported"});
  std::vector<int64_t> widths = n.ints_attribute("qkv_hidden_sizes");
  if (widths.empty()) {
    const auto all = known_dim(c, kWeights, 1);
    if (!all) c.fail(ErrorCode::kUnsupportedOperator, "the shape of the weights is not known");
    widths.assign(3, *all / 3);
  }
  if (widths.size() != 3 || widths[0] < common.heads || widths[2] < common.heads)
    c.fail(ErrorCode::kInvalidModel, {"qkv_hidden_sizes are ", widths});
  ValueId all = c.add("MatMul", {n.inputs[kInput], n.inputs[kWeights]});
  if (n.input(kBiases) != kNoValue) all = c.add("Add", {all, n.inputs[kBiases]});
  Attend a(c);
  ValueId* const parts[] = {&a.q, &a.k, &a.v};
  for (size_t i = 0, begin = 0; i < 3; begin += static_cast<size_t>(widths[i++])) {
    const auto at = static_cast<int64_t>(begin);
    *parts[i] = add_split_heads(c, add_slice(c, all, 2, at, at + widths[i]), common.heads);
  }
  if (n.input(kPast) != kNoValue) {
    const auto kept = [&](int64_t which) {
      return c.add("Gather", {n.inputs[kPast], add_int(c, which)}, {{"axis", int64_t{0}}});
    };
    a.past = add_length(c, n.inputs[kPast], 3);
    a.k = c.add("Concat", {kept(0), a.k}, {{"axis", int64_t{2}}});
    a.v = c.add("Concat", {kept(1), a.v}, {{"axis", int64_t{2}}});
  }
  if (n.output(1) != kNoValue) {
    const ValueId first = add_ints(c, {0});
    c.add("Concat", {c.add("Unsqueeze", {a.k, first}), c.add("Unsqueeze", {a.v, first})},
          {{"axis", int64_t{0}}});
    gives_output(c, 1);
  }
  add_mask(c, a, kMaskIndex, common, kInput);
  if (n.input(kExtraBias) != kNoValue) a.add_bias(n.inputs[kExtraBias]);
  hide_later(c, a);
  finish_joined_heads(c, a.add(n.float_attribute("scale", 0), widths[0] / common.heads, false));
}

constexpr OpDef kMultiHead = {.domain = kMicrosoft,
                              .name = "MultiHeadAttention",
                              .inputs =
                                  "query key? value? bias? key_padding_mask? attention_bias? past_key? "
                                  "past_value? past_sequence_length? cache_indirection?",
                              .types = "*",
                              .canonicalize = expand_multi_head};
constexpr OpDef kAttention = {
    .domain = kMicrosoft,
    .name = "Attention",
    .inputs = "input weights bias? mask_index? past? attention_bias? past_sequence_length?",
    .types = "*",
    .canonicalize = expand_attention};
const RegisterOps kRegistered({&kMultiHead, &kAttention});

}  // namespace
}  // namespace zp
