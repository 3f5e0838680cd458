// GroupQueryAttention of com.microsoft, the attention of decoders that keep keys and values: several heads of
// the query share one of these, which may be packed with it and rotated inside. It becomes the products,
// masks and Softmax that it is made of.
#include <cmath>
#include <limits>

#include "ops/attention.h"
#include "ops/rotary_embedding.h"

namespace zp {
namespace {

// Inputs.
enum : size_t {
  kQuery,
  kKey,
  kValue,
  kPastKey,
  kPastValue,
  kLastSteps,  // int32 [batch]: the number of the last step, so how many there are but one
  kTotal,      // how many steps there are in the longest sequence
  kCosines,
  kSines,
  kPositions,
  kBias,
  kHeadSink,
  kKeyScale,
  kValueScale,
  kQueryNorm,
  kKeyNorm,
  kGiven  // int32 [batch]: how many of the steps count, the others are pads behind them
};
// Outputs.
enum : size_t { kY, kPresentKey, kPresentValue, kScores };

constexpr float kHidden = -std::numeric_limits<float>::infinity();

struct Heads {
  int64_t queries, shared;
};

Heads heads_of(const Canonicalize& c) {
  const Node& n = c.node;
  const Heads h{n.int_attribute("num_heads", 0), n.int_attribute("kv_num_heads", 0)};
  if (h.queries < 1 || h.shared < 1 || h.queries % h.shared != 0)
    c.fail(ErrorCode::kInvalidModel,
           {h.queries, " heads do not share ", h.shared, " of keys and values (num_heads, kv_num_heads)"});
  return h;
}

void check(const Canonicalize& c) {
  const Node& n = c.node;
  refuse_input(c, kKeyScale, "k_scale");
  refuse_input(c, kValueScale, "v_scale");
  refuse_output(c, kScores, "output_qk");
  if (n.int_attribute("sliding_window_cache", 0) != 0)
    c.fail(ErrorCode::kUnsupportedOperator, "sliding_window_cache is not supported",
           "Export the model with a cache that keeps all steps.");
  for (const std::string_view key : {"k_quant_type", "v_quant_type"})
    if (n.string_attribute(key, "NONE") != "NONE")
      c.fail(ErrorCode::kUnsupportedOperator, {key, " is not supported"},
             "Export the model with a float cache.");
  const auto together = [&](size_t a, size_t b, std::string_view names) {
    if ((n.input(a) == kNoValue) != (n.input(b) == kNoValue))
      c.fail(ErrorCode::kInvalidModel, {names, " need each other"});
  };
  together(kKey, kValue, "key and value");
  together(kPastKey, kPastValue, "past_key and past_value");
  together(kCosines, kSines, "cos_cache and sin_cache");
  together(kQueryNorm, kKeyNorm, "q_norm_weight and k_norm_weight");
  if (n.input(kGiven) != kNoValue) need_inputs(c, {kPastKey});
}

// Lengths [batch] as int64 [batch, 1, 1, 1].
ValueId each(Canonicalize& c, size_t input) {
  const ValueId lengths =
      c.add("Cast", {c.node.inputs[input]}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  return c.add("Reshape", {lengths, add_ints(c, {-1, 1, 1, 1})});
}

// How many steps of each sequence were kept before these.
ValueId add_kept(Canonicalize& c, ValueId all, ValueId query) {
  if (c.node.input(kGiven) == kNoValue)
    return c.add("Max", {c.add("Sub", {all, add_length(c, query, 2)}), add_int(c, 0)});
  const ValueId kept = c.add("Sub", {all, each(c, kGiven)});
  // More steps than there are: no place in any buffer.
  const ValueId nowhere = add_int(c, std::numeric_limits<int32_t>::max());
  return c.add("Where", {c.add("Less", {kept, add_int(c, 0)}), nowhere, kept});
}

ValueId add_total(Canonicalize& c) {
  const ValueId total = c.add("Cast", {c.node.inputs[kTotal]}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  return c.add("Reshape", {total, add_ints(c, {})});
}

// The positions of steps, [batch or 1, steps]. Given positions count as in ONNX Runtime: of a first prompt,
// without earlier steps, the first position alone counts, and all others go on from it.
ValueId add_positions(Canonicalize& c, ValueId query, ValueId kept) {
  const ValueId given = c.node.input(kPositions), steps = add_length(c, query, 2);
  const ValueId range = c.add("Range", {add_int(c, 0), steps, add_int(c, 1)});
  if (given == kNoValue) {
    if (kept == kNoValue) return c.add("Unsqueeze", {range, add_ints(c, {0})});
    return c.add("Add", {c.add("Reshape", {kept, add_ints(c, {-1, 1})}), range});
  }
  const ValueId first = c.add("Gather", {c.add("Reshape", {given, add_ints(c, {-1})}), add_ints(c, {0})});
  const ValueId counted = c.add("Unsqueeze", {c.add("Add", {range, first}), add_ints(c, {0})});
  return c.add("Where", {c.add("Equal", {add_total(c), steps}), counted, given});
}

// Whether a file says that the buffers are as long behind the step as before it.
bool keeps_length(const Canonicalize& c) {
  const ValueId present = c.node.output(kPresentKey);
  const SymShape* past = c.shape(kPastKey);
  if (present == kNoValue || !past || past->size() != 4) return false;
  const std::optional<SymShape>& made = c.graph[present].shape;
  return made && made->size() == 4 && (*past)[2] == (*made)[2] && (*past)[2] != Dim();
}

void expand(Canonicalize& c) {
  check(c);
  const Node& n = c.node;
  const Heads heads = heads_of(c);
  if (const int64_t rank = rank_of(c, kQuery); rank != 3)
    c.fail(ErrorCode::kInvalidModel, {"the query has ", rank, " dimensions, not 3"});
  Attend a(c);
  std::optional<int64_t> size;
  const std::optional<int64_t> width = known_dim(c, kQuery, 2);
  if (n.input(kKey) == kNoValue) {  // heads of the query, of keys, of values, one behind the other
    const int64_t all = heads.queries + 2 * heads.shared;
    if (width) size = *width / all;
    const ValueId packed = add_split_heads(c, n.inputs[kQuery], all);
    const int64_t keys = heads.queries, values = keys + heads.shared;
    a.q = add_slice(c, packed, 1, 0, keys);
    a.k = add_slice(c, packed, 1, keys, values);
    a.v = add_slice(c, packed, 1, values, all);
  } else {
    if (width) size = *width / heads.queries;
    a.q = add_split_heads(c, n.inputs[kQuery], heads.queries);
    a.k = add_split_heads(c, n.inputs[kKey], heads.shared);
    a.v = add_split_heads(c, n.inputs[kValue], heads.shared);
  }
  if (n.input(kQueryNorm) != kNoValue) {
    const float both = n.float_attribute("qk_norm_epsilon", 1e-6f);
    a.q = add_rms_norm(c, a.q, n.inputs[kQueryNorm], n.float_attribute("q_norm_epsilon", both));
    a.k = add_rms_norm(c, a.k, n.inputs[kKeyNorm], n.float_attribute("k_norm_epsilon", both));
  }

  const bool past = n.input(kPastKey) != kNoValue;
  const bool causal = n.int_attribute("causal", 1) != 0;
  const ValueId all = past || !causal ? c.add("Add", {each(c, kLastSteps), add_int(c, 1)}) : kNoValue;
  const ValueId kept = past ? add_kept(c, all, a.q) : kNoValue;
  if (n.int_attribute("do_rotary", 0) != 0) {
    need_inputs(c, {kCosines});
    const auto half = known_dim(c, kCosines, 1);
    const ValueId positions = add_positions(c, a.q, kept);
    const Rotation rotation{.cosines = n.inputs[kCosines],
                            .sines = n.inputs[kSines],
                            .positions = positions,
                            .heads_axis = 1,
                            .size = half ? std::optional(2 * *half) : std::nullopt,
                            .whole = half && size == 2 * *half,
                            .neighbours = n.int_attribute("rotary_interleaved", 0) != 0};
    for (ValueId* x : {&a.q, &a.k})
      *x = c.add("Concat", rotated_parts(c, *x, rotation), {{"axis", int64_t{-1}}});
  }

  if (past) {
    CacheSlots slots{.first = kept};
    if (!keeps_length(c)) {
      slots.length = c.add("Max", {add_total(c), add_length(c, n.inputs[kPastKey], 2)});
    }
    a.k = add_cached(c, a.k, n.inputs[kPastKey], slots, kPresentKey);
    a.v = add_cached(c, a.v, n.inputs[kPastValue], slots, kPresentValue);
  } else {
    a.k = add_past(c, a.k, kPastKey, kPresentKey);
    a.v = add_past(c, a.v, kPastValue, kPresentValue);
  }
  if (causal) {
    const int64_t window = n.int_attribute("local_window_size", -1);
    a.allow(a.in_window(window > 0 ? window - 1 : -1, 0, kept), kHidden);
  } else {
    a.allow(c.add("Less", {a.all_steps(), all}), kHidden);
  }
  if (n.input(kBias) != kNoValue) a.add_bias(add_padded_bias(c, n.inputs[kBias], rank_of(c, kBias), a.k, 0));
  a.k = add_repeated_heads(c, a.k, heads.shared, heads.queries / heads.shared);
  a.v = add_repeated_heads(c, a.v, heads.shared, heads.queries / heads.shared);
  a.softcap = n.float_attribute("softcap", 0);
  if (n.input(kHeadSink) != kNoValue) {
    a.sink = c.add("Reshape", {n.inputs[kHeadSink], add_ints(c, {1, heads.queries, 1, 1})});
  } else if (n.int_attribute("smooth_softmax", 0) != 0) {
    a.sink = a.number(0);
  }
  finish_joined_heads(c, a.add(n.float_attribute("scale", 0), size, false));
}

constexpr OpDef kGroupQuery = {
    .domain = kMicrosoft,
    .name = "GroupQueryAttention",
    .inputs =
        "query key? value? past_key? past_value? seqlens_k total_sequence_length cos_cache? sin_cache? "
        "position_ids? attention_bias? head_sink? k_scale? v_scale? q_norm_weight? k_norm_weight? "
        "query_seqlens?",
    .types = "*",
    .half = {.drowns = true},
    .canonicalize = expand,
    .fused = true};
const RegisterOps kRegistered({&kGroupQuery});

}  // namespace
}  // namespace zp
