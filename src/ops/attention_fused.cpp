// MultiHeadAttention, DecoderMaskedMultiHeadAttention, Attention and QAttention of com.microsoft, as
// optimizers of transformers write them. They become the products, masks and Softmax that they were made of.
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>

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

// A length, a scalar or of one element, as an int64 scalar.
ValueId length_in(Canonicalize& c, size_t input) {
  const ValueId length = c.add("Cast", {c.node.inputs[input]}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  return c.add("Reshape", {length, add_ints(c, {})});
}

// Numbers of a mask of one dimension as int64 [batch, 1, 1, 1], the first ones or those behind them.
ValueId each_of(Canonicalize& c, ValueId mask, size_t batch_of) {
  const ValueId batch =
      c.add("Shape", {c.node.inputs[batch_of]}, {{"start", int64_t{0}}, {"end", int64_t{1}}});
  const ValueId dims = c.add("Concat", {batch, add_ints(c, {1, 1, 1})}, {{"axis", int64_t{0}}});
  return c.add("Reshape", {c.add("Cast", {mask}, {{"to", static_cast<int64_t>(DType::kInt64)}}), dims});
}

// The steps that a mask of integers lets a step see. The mask has 0 for hidden steps, [batch, all] or [batch,
// steps, all]; or it has the end of each sequence, [batch], perhaps followed by the starts, [2 batch].
ValueId allowed_by(Canonicalize& c, Attend& a, size_t input, size_t batch_of) {
  const ValueId mask = c.node.inputs[input];
  const int64_t rank = rank_of(c, input);
  if (rank == 1) {
    const auto given = known_dim(c, input, 0), batch = known_dim(c, batch_of, 0);
    if (!given || !batch || *given == *batch)
      return c.add("Less", {a.all_steps(), each_of(c, mask, batch_of)});
    if (*given != 2 * *batch && *given != 3 * *batch + 2) {
      c.fail(ErrorCode::kUnsupportedOperator,
             {"a mask of ", *given, " numbers for ", *batch, " sequences is not supported"});
    }
    const ValueId ends = each_of(c, add_slice(c, mask, 0, 0, *batch), batch_of);
    const ValueId before = c.add("Less", {a.all_steps(), ends});
    if (*given != 2 * *batch) return before;
    const ValueId starts = each_of(c, add_slice(c, mask, 0, *batch, 2 * *batch), batch_of);
    return c.add("And", {before, c.add("GreaterOrEqual", {a.all_steps(), starts})});
  }
  if (rank != 2 && rank != 3)
    c.fail(ErrorCode::kUnsupportedOperator, {"a mask of ", rank, " dimensions is not supported"});
  const ValueId seen = c.add("Cast", {mask}, {{"to", static_cast<int64_t>(DType::kBool)}});
  return c.add("Unsqueeze",
               {seen, add_ints(c, rank == 2 ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{1})});
}

// Adds the mask, which may have fewer steps than buffers of keys (`shared`).
void add_mask(Canonicalize& c, Attend& a, size_t input, const Common& common, size_t batch_of, bool shared) {
  if (c.node.input(input) == kNoValue) return;
  const ValueId bias =
      c.add("Where", {allowed_by(c, a, input, batch_of), a.number(0), a.number(common.hidden)});
  a.add_bias(shared ? add_padded_bias(c, bias, 4, a.k, 0) : bias);
}

void add_bias_input(Canonicalize& c, Attend& a, size_t input, bool shared) {
  if (c.node.input(input) == kNoValue) return;
  const ValueId bias = c.node.inputs[input];
  a.add_bias(shared ? add_padded_bias(c, bias, rank_of(c, input), a.k, 0) : bias);
}

// Hides the part of a buffer of keys after the last step.
void hide_unused(Canonicalize& c, Attend& a, ValueId steps) {
  a.allow(c.add("Less", {a.all_steps(), c.add("Add", {a.past, steps})}),
          -std::numeric_limits<float>::infinity());
}

void hide_later(Canonicalize& c, Attend& a) {
  if (c.node.int_attribute("unidirectional", 0) != 0) a.hide_later(std::numeric_limits<float>::lowest());
}

// ---- MultiHeadAttention

// Inputs.
enum : size_t {
  kQuery,
  kKey,
  kValue,
  kBias,
  kPaddingMask,
  kAttentionBias,
  kPastKey,
  kPastValue,
  kPastLength
};

// Part `index` of what is packed in dimension 3 of [batch, steps, heads, parts, size].
ValueId unpacked(Canonicalize& c, ValueId x, int64_t index) {
  const ValueId part = c.add("Gather", {x, add_int(c, index)}, {{"axis", int64_t{3}}});
  return c.add("Transpose", {part}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
}

// Puts keys and values behind the kept ones, or into buffers where the past has a length. Returns whether
// there are buffers.
bool add_kept(Canonicalize& c, Attend& a, size_t past_key, size_t past_value, size_t past_length) {
  const Node& n = c.node;
  if ((n.input(past_key) == kNoValue) != (n.input(past_value) == kNoValue))
    c.fail(ErrorCode::kInvalidModel, "past_key and past_value need each other");
  const bool past = n.input(past_key) != kNoValue, shared = past && n.input(past_length) != kNoValue;
  if (!shared) {
    a.k = add_past(c, a.k, past_key, 1);
    a.v = add_past(c, a.v, past_value, 2);
    if (past) a.past = add_length(c, n.inputs[past_key], 2);
    return false;
  }
  a.past = length_in(c, past_length);
  const ValueId steps = add_length(c, a.k, 2);
  a.k = add_cached(c, a.k, n.inputs[past_key], {.first = a.past}, 1);
  a.v = add_cached(c, a.v, n.inputs[past_value], {.first = a.past}, 2);
  hide_unused(c, a, steps);
  return true;
}

void expand_multi_head(Canonicalize& c) {
  const Node& n = c.node;
  const Common common = common_of(c);
  refuse_input(c, 9, "cache_indirection");
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
    if (bias && !width) c.wait("the width of the query is not known");
    // The biases of the query, of keys and of values follow one another.
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
  const bool shared = add_kept(c, a, kPastKey, kPastValue, kPastLength);
  add_mask(c, a, kPaddingMask, common, kQuery, shared);
  add_bias_input(c, a, kAttentionBias, shared);
  hide_later(c, a);
  if (n.output(3) != kNoValue) a.gives(Attend::Point::kProduct, 3);
  finish_joined_heads(c, a.add(n.float_attribute("scale", 0), size, false));
}

// ---- DecoderMaskedMultiHeadAttention: one step

struct DecoderInput {
  enum : size_t {
    kQuery,
    kKey,
    kValue,
    kMask,
    kAttentionBias,
    kPastKey,
    kPastValue,
    kPastLength,
    kBeams,
    kIndirection,
    kBias
  };
};

void expand_decoder(Canonicalize& c) {
  using In = DecoderInput;
  const Node& n = c.node;
  const Common common = common_of(c);
  refuse_input(c, In::kIndirection, "cache_indirection");
  Attend a(c);
  const auto width = known_dim(c, In::kQuery, 2);
  if (rank_of(c, In::kQuery) != 3)
    c.fail(ErrorCode::kUnsupportedOperator, "only queries of three dimensions are supported");
  if (!width) c.wait("the width of the query is not known");
  const bool packed = n.input(In::kKey) == kNoValue;
  const int64_t w = packed ? *width / 3 : *width;
  // A part of the packed input, or an input of its own, with its part of the bias.
  const auto part = [&](size_t input, int64_t begin, int64_t end) {
    ValueId x = packed ? add_slice(c, n.inputs[In::kQuery], 2, begin, end) : n.inputs[input];
    if (n.input(In::kBias) != kNoValue)
      x = c.add("Add", {x, add_slice(c, n.inputs[In::kBias], 0, begin, end)});
    return add_split_heads(c, x, common.heads);
  };
  a.q = part(In::kQuery, 0, w);
  bool shared = false;
  if (!packed && rank_of(c, In::kKey) == 4) {
    need_inputs(c, {In::kValue});
    a.k = n.inputs[In::kKey];
    a.v = n.inputs[In::kValue];
    for (const size_t present : {size_t{1}, size_t{2}}) refuse_output(c, present, "present");
  } else {
    if (!packed) need_inputs(c, {In::kValue});
    a.k = part(In::kKey, w, 2 * w);
    a.v = part(In::kValue, 2 * w, std::numeric_limits<int64_t>::max());
    shared = add_kept(c, a, In::kPastKey, In::kPastValue, In::kPastLength);
  }
  add_mask(c, a, In::kMask, common, In::kQuery, shared);
  add_bias_input(c, a, In::kAttentionBias, shared);
  // Buffers also have scores of steps that do not exist.
  if (shared) refuse_output(c, 3, "qk");
  if (n.output(3) != kNoValue) a.gives(Attend::Point::kProduct, 3);
  finish_joined_heads(c, a.add(n.float_attribute("scale", 0), w / common.heads, false));
}

// ---- Attention: the products with the weights of query, key and value are in it, too

// Its inputs, and those of QAttention after its products.
struct SelfInputs {
  ValueId input, weights;
  size_t mask, past, extra_bias, past_length;
};

// Whether the node is the products with the weights and a MultiHeadAttention behind them.
bool is_multi_head(const Canonicalize& c, const SelfInputs& in) {
  const Node& n = c.node;
  if (n.int_attribute("past_present_share_buffer", 0) != 0) return false;
  if (!c.shape(0) || c.shape(0)->size() != 3) return false;
  if (n.input(in.mask) == kNoValue) return true;
  if (rank_of(c, in.mask) != 1) return rank_of(c, in.mask) <= 3;
  const auto given = known_dim(c, in.mask, 0), batch = known_dim(c, 0, 0);
  return given && batch && (*given == *batch || *given == 3 * *batch + 2);
}

// Becomes the pieces of a MultiHeadAttention of `parts`, [batch, steps, width] each.
void finish_as_multi_head(Canonicalize& c, const SelfInputs& in, const ValueId (&parts)[3],
                          std::span<const int64_t> widths) {
  const Node& n = c.node;
  for (size_t i = 0; i < 3; ++i) {
    Value& part = c.graph[parts[i]];
    part.dtype = c.graph[n.inputs[0]].dtype;
    part.shape = *c.shape(0);
    part.shape->back() = widths[i];
  }
  Node whole;
  whole.name = n.name;
  whole.domain = kMicrosoft;
  whole.op_type = "MultiHeadAttention";
  whole.inputs = {parts[0], parts[1], parts[2], kNoValue, n.input(in.mask), n.input(in.extra_bias),
                  kNoValue, kNoValue};
  whole.outputs = {n.outputs[0]};
  for (const std::string_view key : {"num_heads", "mask_filter_value", "scale", "unidirectional"})
    if (const Attribute* a = n.attribute(key)) whole.attributes.emplace(key, *a);
  if (n.input(in.past) != kNoValue) {
    for (const int64_t which : {0, 1}) {
      const ValueId kept = c.add("Gather", {n.inputs[in.past], add_int(c, which)}, {{"axis", int64_t{0}}});
      c.graph[kept].dtype = c.graph[n.inputs[in.past]].dtype;
      if (const SymShape* s = c.shape(in.past); s && !s->empty())
        c.graph[kept].shape = SymShape(s->begin() + 1, s->end());
      whole.inputs[kPastKey + static_cast<size_t>(which)] = kept;
    }
  }
  const bool present = n.output(1) != kNoValue;
  for (const std::string_view part : {"_key", "_value"})
    if (present) whole.outputs.push_back(c.graph.add_value(n.name + std::string(part)));
  const auto fused = std::make_shared<Fused>(Fused{.node = whole, .version = 1});
  Canonicalize inner{.graph = c.graph, .node = std::move(whole), .version = 1, .nodes = {}};
  expand_multi_head(inner);
  fused->pieces = inner.nodes.size();
  for (Node& piece : inner.nodes) {
    piece.fused = fused;
    c.nodes.push_back(std::move(piece));
  }
  if (!present) return;
  const ValueId first = add_ints(c, {0});
  c.add("Concat",
        {c.add("Unsqueeze", {fused->node.outputs[1], first}),
         c.add("Unsqueeze", {fused->node.outputs[2], first})},
        {{"axis", int64_t{0}}});
  gives_output(c, 1);
}

void expand_self(Canonicalize& c, const SelfInputs& in) {
  const Node& n = c.node;
  const Common common = common_of(c);
  if (n.int_attribute("do_rotary", 0) != 0)
    c.fail(ErrorCode::kUnsupportedOperator, "do_rotary is not supported",
           "Export the model with RotaryEmbedding as a node of its own.");
  std::vector<int64_t> widths = n.ints_attribute("qkv_hidden_sizes");
  if (widths.empty()) {
    const auto all = known_dim(c, 1, 1);
    if (!all) c.wait("the shape of the weights is not known");
    widths.assign(3, *all / 3);
  }
  if (widths.size() != 3 || widths[0] < common.heads || widths[2] < common.heads)
    c.fail(ErrorCode::kInvalidModel, {"qkv_hidden_sizes are ", widths});
  ValueId all = c.add("MatMul", {in.input, in.weights});
  if (n.input(2) != kNoValue) all = c.add("Add", {all, n.inputs[2]});
  ValueId parts[3];
  for (size_t i = 0, begin = 0; i < 3; begin += static_cast<size_t>(widths[i++])) {
    const auto at = static_cast<int64_t>(begin);
    parts[i] = add_slice(c, all, 2, at, at + widths[i]);
  }
  if (is_multi_head(c, in)) return finish_as_multi_head(c, in, parts, widths);
  Attend a(c);
  a.q = add_split_heads(c, parts[0], common.heads);
  a.k = add_split_heads(c, parts[1], common.heads);
  a.v = add_split_heads(c, parts[2], common.heads);
  const bool shared = n.int_attribute("past_present_share_buffer", 0) != 0;
  if (shared) need_inputs(c, {in.past, in.past_length});
  if (n.input(in.past) != kNoValue) {
    const auto kept = [&](int64_t which) {
      return c.add("Gather", {n.inputs[in.past], add_int(c, which)}, {{"axis", int64_t{0}}});
    };
    a.past = shared ? length_in(c, in.past_length) : add_length(c, n.inputs[in.past], 3);
    if (shared) {
      const ValueId steps = add_length(c, a.k, 2);
      constexpr size_t kNone = 99;  // no output has one of them alone
      a.k = add_cached(c, a.k, kept(0), {.first = a.past}, kNone);
      a.v = add_cached(c, a.v, kept(1), {.first = a.past}, kNone);
      hide_unused(c, a, steps);
    } else {
      a.k = c.add("Concat", {kept(0), a.k}, {{"axis", int64_t{2}}});
      a.v = c.add("Concat", {kept(1), a.v}, {{"axis", int64_t{2}}});
    }
  }
  if (n.output(1) != kNoValue) {
    const ValueId first = add_ints(c, {0});
    c.add("Concat", {c.add("Unsqueeze", {a.k, first}), c.add("Unsqueeze", {a.v, first})},
          {{"axis", int64_t{0}}});
    gives_output(c, 1);
  }
  add_mask(c, a, in.mask, common, 0, shared);
  add_bias_input(c, a, in.extra_bias, shared);
  hide_later(c, a);
  finish_joined_heads(c, a.add(n.float_attribute("scale", 0), widths[0] / common.heads, false));
}

void expand_attention(Canonicalize& c) {
  expand_self(c, {.input = c.node.inputs[0],
                  .weights = c.node.inputs[1],
                  .mask = 3,
                  .past = 4,
                  .extra_bias = 5,
                  .past_length = 6});
}

// Inputs: integers, weights of integers, a bias of floats; scales and zero points of the first two.
void expand_quantized(Canonicalize& c) {
  const Node& n = c.node;
  const auto floats = [&](size_t integers, size_t scale, size_t zero_point, int64_t axis) {
    return c.add("DequantizeLinear", {n.inputs[integers], n.inputs[scale], n.input(zero_point)},
                 {{"axis", axis}});
  };
  const ValueId input = floats(0, 3, 6, 0), weights = floats(1, 4, 7, 1);
  // From here on it is Attention, of floats.
  c.graph[input].dtype = c.graph[n.inputs[3]].dtype;
  c.graph[input].shape = c.graph[n.inputs[0]].shape;
  c.node.inputs[0] = input;
  constexpr size_t kAbsent = 99;  // QAttention has neither a bias of scores nor the length of a past
  expand_self(c, {.input = input,
                  .weights = weights,
                  .mask = 5,
                  .past = 8,
                  .extra_bias = kAbsent,
                  .past_length = kAbsent});
}

constexpr OpDef kMultiHead = {.domain = kMicrosoft,
                              .name = "MultiHeadAttention",
                              .inputs =
                                  "query key? value? bias? key_padding_mask? attention_bias? past_key? "
                                  "past_value? past_sequence_length? cache_indirection?",
                              .types = "*",
                              .half = {.drowns = true},
                              .canonicalize = expand_multi_head,
                              .fused = true};
constexpr OpDef kAttention = {
    .domain = kMicrosoft,
    .name = "Attention",
    .inputs = "input weights bias? mask_index? past? attention_bias? past_sequence_length?",
    .types = "*",
    .canonicalize = expand_attention};
constexpr OpDef kDecoder = {
    .domain = kMicrosoft,
    .name = "DecoderMaskedMultiHeadAttention",
    .inputs =
        "query key? value? mask_index? attention_bias? past_key? past_value? past_sequence_length? "
        "beam_width? cache_indirection? bias?",
    .types = "*",
    .half = {.drowns = true},
    .canonicalize = expand_decoder,
    .fused = true};
constexpr OpDef kQuantized = {
    .domain = kMicrosoft,
    .name = "QAttention",
    .inputs =
        "input weight bias input_scale weight_scale mask_index? input_zero_point? weight_zero_point? past?",
    .types = "*",
    .canonicalize = expand_quantized};
const RegisterOps kRegistered({&kMultiHead, &kDecoder, &kAttention, &kQuantized});

}  // namespace
}  // namespace zp
