#include "ops/attention.h"

#include <cmath>
#include <limits>

namespace zp {

void Attend::add_bias(ValueId bias) { bias_ = bias_ == kNoValue ? bias : c.add("Add", {bias_, bias}); }

void Attend::allow(ValueId allowed, float hidden) {
  add_bias(c.add("Where", {allowed, number(0), number(hidden)}));
}

ValueId Attend::all_steps() {
  const ValueId steps = c.add("Range", {add_int(c, 0), add_length(c, k, 2), add_int(c, 1)});
  return c.add("Unsqueeze", {steps, add_ints(c, {0})});
}

ValueId Attend::in_window(int64_t before, int64_t after, ValueId first) {
  ValueId from = c.add("Range", {add_int(c, 0), add_length(c, q, 2), add_int(c, 1)});
  from = c.add("Unsqueeze", {from, add_ints(c, {1})});  // [steps, 1]
  if (first != kNoValue) {
    from = c.add("Add", {from, first});
  } else if (past != kNoValue) {
    from = c.add("Add", {from, past});
  }
  const ValueId to = all_steps();
  ValueId allowed = kNoValue;
  if (after >= 0)
    allowed = c.add("LessOrEqual", {to, after == 0 ? from : c.add("Add", {from, add_int(c, after)})});
  if (before >= 0) {
    const ValueId near = c.add("LessOrEqual", {c.add("Sub", {from, add_int(c, before)}), to});
    allowed = allowed == kNoValue ? near : c.add("And", {allowed, near});
  }
  return allowed;
}

// With a sink, Softmax has one more column, which is cut off afterwards.
ValueId Attend::add_softmax(ValueId scores) {
  const NewAttributes last = {{"axis", int64_t{-1}}};
  if (sink == kNoValue) return c.add("Softmax", {scores}, last);
  const ValueId rows = c.add("Shape", {scores}, {{"start", int64_t{0}}, {"end", int64_t{3}}});
  const ValueId column = c.add("Concat", {rows, add_ints(c, {1})}, {{"axis", int64_t{0}}});
  const ValueId more = c.add("Concat", {scores, c.add("Expand", {sink, column})}, last);
  return add_slice(c, c.add("Softmax", {more}, last), -1, 0, -1);
}

ValueId Attend::add(float scale, std::optional<int64_t> size, bool guard) {
  ValueId factor = kNoValue;
  if (scale != 0 || size) {
    factor = number(scale != 0 ? scale : 1 / std::sqrt(static_cast<float>(*size)));
  } else {
    const ValueId length = c.add("CastLike", {add_length(c, q, 3), q});
    factor = c.add("Reciprocal", {c.add("Sqrt", {length})});
  }
  const ValueId transposed = c.add("Transpose", {k}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}}});
  c.add("MatMul", {c.add("Mul", {q, factor}), transposed});
  reached(Point::kProduct);
  if (softcap == 0) reached(Point::kCapped);
  ValueId scores = c.nodes.back().outputs[0];
  if (softcap != 0) {
    const ValueId cap = number(softcap);
    c.add("Mul", {c.add("Tanh", {c.add("Div", {scores, cap})}), cap});
    reached(Point::kCapped);
    scores = c.nodes.back().outputs[0];
  }
  if (bias_ != kNoValue) {
    c.add("Add", {scores, bias_});
    scores = c.nodes.back().outputs[0];
  }
  if (output_ && point_ == Point::kBiased) {
    if (bias_ == kNoValue) c.add("Identity", {scores});
    scores = gives_output(c, *output_);
  }
  const ValueId soft = add_softmax(scores);
  if (guard && bias_ != kNoValue) {
    const ValueId best = c.add("ReduceMax", {bias_, add_ints(c, {-1})});
    const ValueId hidden = c.add("Equal", {best, number(-std::numeric_limits<float>::infinity())});
    c.add("Where", {hidden, number(0), soft});
  }
  reached(Point::kProbabilities);
  return c.add("MatMul", {c.nodes.back().outputs[0], v});
}

ValueId add_past(Canonicalize& c, ValueId x, size_t past, size_t present) {
  if (c.node.input(past) != kNoValue) {
    c.add("Concat", {c.node.inputs[past], x}, {{"axis", int64_t{2}}});
  } else if (c.node.output(present) != kNoValue) {
    c.add("Identity", {x});
  } else {
    return x;
  }
  return gives_output(c, present);
}

ValueId add_cached(Canonicalize& c, ValueId x, ValueId buffer, const CacheSlots& slots, size_t present) {
  if (slots.length != kNoValue) {
    const ValueId more = c.add("Sub", {slots.length, add_length(c, buffer, 2)});
    const ValueId pads = c.add(
        "Concat",
        {add_ints(c, {0, 0, 0, 0, 0, 0}), c.add("Unsqueeze", {more, add_ints(c, {0})}), add_ints(c, {0})},
        {{"axis", int64_t{0}}});
    buffer = c.add("Pad", {buffer, pads});
  }
  ValueId at = c.add("Range", {add_int(c, 0), add_length(c, x, 2), add_int(c, 1)});
  at = c.add("Add", {c.add("Unsqueeze", {at, add_ints(c, {1})}), slots.first});
  at = c.add("Expand", {at, c.add("Shape", {x})});
  c.add("ScatterElements", {buffer, at, x}, {{"axis", int64_t{2}}});
  return gives_output(c, present);
}

ValueId add_repeated_heads(Canonicalize& c, ValueId x, int64_t heads, int64_t times) {
  if (times == 1) return x;
  std::vector<int64_t> from;
  for (int64_t head = 0; head < heads; ++head) from.insert(from.end(), static_cast<size_t>(times), head);
  return c.add("Gather", {x, add_ints(c, from)}, {{"axis", int64_t{1}}});
}

ValueId add_shared_heads(Canonicalize& c, ValueId x, ValueId q) {
  const ValueId heads = add_length(c, q, 1), shared = add_length(c, x, 1);
  const ValueId all = c.add("Range", {add_int(c, 0), heads, add_int(c, 1)});
  const ValueId head = c.add("Div", {all, c.add("Div", {heads, shared})});
  // Heads that do not share evenly are no heads of x: then Gather fails.
  const ValueId none = c.add("Mul", {c.add("Mod", {heads, shared}), shared});
  return c.add("Gather", {x, c.add("Add", {head, none})}, {{"axis", int64_t{1}}});
}

ValueId add_padded_bias(Canonicalize& c, ValueId bias, int64_t rank, ValueId k, float behind) {
  if (rank < 1) return bias;
  // Pads: zeros, and behind the last dimension as many as are missing.
  const ValueId missing = c.add("Sub", {add_length(c, k, 2), add_length(c, bias, rank - 1)});
  const ValueId some = c.add("Unsqueeze", {c.add("Max", {missing, add_int(c, 0)}), add_ints(c, {0})});
  const std::vector<int64_t> none(static_cast<size_t>(2 * rank - 1), 0);
  const ValueId pads = c.add("Concat", {add_ints(c, none), some}, {{"axis", int64_t{0}}});
  return c.add("Pad", {bias, pads, c.number(behind)});
}

void finish_joined_heads(Canonicalize& c, ValueId y) {
  const ValueId together = c.add("Transpose", {y}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  c.finish("Reshape", {together, add_ints(c, {0, 0, -1})});
}

namespace {

// ---- ai.onnx

// Inputs.
enum : size_t { kQ, kK, kV, kMask, kPastKey, kPastValue, kLengths };
// Outputs.
enum : size_t { kY, kPresentKey, kPresentValue, kScores };

constexpr float kHidden = -std::numeric_limits<float>::infinity();

// The mask as an additive one, -inf for steps that it does not reach.
ValueId bias_of_mask(Canonicalize& c, Attend& a) {
  ValueId mask = c.node.inputs[kMask];
  if (c.graph[mask].dtype == DType::kBool) mask = c.add("Where", {mask, a.number(0), a.number(kHidden)});
  return add_padded_bias(c, mask, rank_of(c, kMask), a.k, kHidden);
}

void expand(Canonicalize& c) {
  const Node& n = c.node;
  const int64_t rank = rank_of(c, kQ);
  if (rank != 3 && rank != 4)
    c.fail(ErrorCode::kInvalidModel, {"the inputs should have three or four dimensions, not ", rank});
  if ((n.input(kPastKey) == kNoValue) != (n.input(kPastValue) == kNoValue))
    c.fail(ErrorCode::kInvalidModel, "past_key and past_value need each other");
  int64_t heads = n.int_attribute("q_num_heads", 0), shared = n.int_attribute("kv_num_heads", 0);
  std::optional<int64_t> size;
  Attend a(c);
  a.q = n.inputs[kQ];
  a.k = n.inputs[kK];
  a.v = n.inputs[kV];
  if (rank == 3) {
    if (heads <= 0 || shared <= 0)
      c.fail(ErrorCode::kInvalidModel, "inputs of three dimensions need q_num_heads and kv_num_heads");
    if (const auto width = known_dim(c, kQ, 2)) size = *width / heads;
    a.q = add_split_heads(c, a.q, heads);
    a.k = add_split_heads(c, a.k, shared);
    a.v = add_split_heads(c, a.v, shared);
  } else {
    size = known_dim(c, kQ, 3);
    heads = known_dim(c, kQ, 1).value_or(0);
    shared = known_dim(c, kK, 1).value_or(0);
  }
  const bool known = heads > 0 && shared > 0;
  if (known && heads % shared != 0)
    c.fail(ErrorCode::kInvalidModel, {heads, " heads do not share ", shared, " of keys and values"});
  a.k = add_past(c, a.k, kPastKey, kPresentKey);
  a.v = add_past(c, a.v, kPastValue, kPresentValue);
  for (ValueId* x : {&a.k, &a.v})
    *x = known ? add_repeated_heads(c, *x, shared, heads / shared) : add_shared_heads(c, *x, a.q);
  if (n.input(kPastKey) != kNoValue) a.past = add_length(c, n.inputs[kPastKey], 2);
  a.softcap = n.float_attribute("softcap", 0);

  if (n.input(kMask) != kNoValue) a.add_bias(bias_of_mask(c, a));
  const auto each = [&](ValueId lengths) {  // [batch] as [batch, 1, 1, 1]
    return c.add("Reshape", {lengths, add_ints(c, {-1, 1, 1, 1})});
  };
  ValueId first = kNoValue;
  if (n.input(kLengths) != kNoValue && a.past == kNoValue)
    first = each(c.add("Sub", {n.inputs[kLengths], add_length(c, a.q, 2)}));
  if (n.int_attribute("is_causal", 0) != 0) a.allow(a.in_window(-1, 0, first), kHidden);
  const int64_t before = n.int_attribute("left_window_size", -1),
                after = n.int_attribute("right_window_size", -1);
  if (before >= 0 || after >= 0) a.allow(a.in_window(before, after, first), kHidden);
  if (n.input(kLengths) != kNoValue)
    a.allow(c.add("Less", {a.all_steps(), each(n.inputs[kLengths])}), kHidden);

  if (n.output(kScores) != kNoValue) {
    const int64_t mode = n.int_attribute("qk_matmul_output_mode", 0);
    if (mode < 0 || mode > 3) c.fail(ErrorCode::kInvalidModel, {"qk_matmul_output_mode is ", mode});
    a.gives(static_cast<Attend::Point>(mode), kScores);
  }
  const ValueId y = a.add(n.float_attribute("scale", 0), size, true);
  if (rank == 4) {
    gives_output(c, kY);
    return;
  }
  finish_joined_heads(c, y);
}

constexpr OpDef kAttention = {.name = "Attention",
                              .inputs = "Q K V attn_mask? past_key? past_value? nonpad_kv_seqlen?",
                              .since = 23,
                              .types = "*",
                              .half = {.drowns = true},
                              .canonicalize = expand,
                              .fused = true};
const RegisterOps kRegistered({&kAttention});

}  // namespace
}  // namespace zp
