// RotaryEmbedding (ai.onnx and com.microsoft): pairs of numbers of each head are rotated by angles that grow
// with the position (Su et al. 2021). It becomes slices, products and sums.
#include "ops/rotary_embedding.h"

namespace zp {

namespace {

ValueId add_half(Canonicalize& c, const Rotation& r) {
  if (r.size) return add_ints(c, {*r.size / 2});
  return c.add("Shape", {r.cosines}, {{"start", int64_t{-1}}});
}

}  // namespace

ValueId add_rotated_size(Canonicalize& c, const Rotation& r) {
  return r.size ? add_ints(c, {*r.size}) : c.add("Mul", {add_half(c, r), add_ints(c, {2})});
}

std::vector<ValueId> rotated_parts(Canonicalize& c, ValueId x, const Rotation& r) {
  const auto angles = [&](ValueId table) {
    if (r.positions != kNoValue) table = c.add("Gather", {table, r.positions});
    return c.add("Unsqueeze", {table, add_ints(c, {r.heads_axis})});
  };
  const ValueId cosine = angles(r.cosines), sine = angles(r.sines);
  const ValueId none = add_ints(c, {0}), size = add_rotated_size(c, r);
  ValueId a, b;
  if (r.neighbours) {
    a = add_slice(c, x, 3, {none, size}, 2);
    b = add_slice(c, x, 3, {add_ints(c, {1}), size}, 2);
  } else {
    const ValueId half = add_half(c, r);
    a = add_slice(c, x, 3, {none, half});
    b = add_slice(c, x, 3, {half, size});
  }
  ValueId real = c.add("Sub", {c.add("Mul", {a, cosine}), c.add("Mul", {b, sine})});
  ValueId imaginary = c.add("Add", {c.add("Mul", {a, sine}), c.add("Mul", {b, cosine})});
  std::vector<ValueId> parts = {real, imaginary};
  if (r.neighbours) {
    real = c.add("Unsqueeze", {real, add_ints(c, {4})});
    imaginary = c.add("Unsqueeze", {imaginary, add_ints(c, {4})});
    const ValueId pairs = c.add("Concat", {real, imaginary}, {{"axis", int64_t{-1}}});
    parts = {c.add("Reshape", {pairs, add_ints(c, {0, 0, 0, -1})})};
  }
  if (!r.whole)
    parts.push_back(add_slice(c, x, 3, {size, add_ints(c, {std::numeric_limits<int64_t>::max()})}));
  return parts;
}

namespace {

struct Inputs {
  size_t positions, cosines, sines;
};

// x is [batch, steps, heads * size], or [batch, heads, steps, size].
void expand(Canonicalize& c, const Inputs& at) {
  const Node& n = c.node;
  const int64_t rank = rank_of(c, 0);
  if (rank != 3 && rank != 4)
    c.fail(ErrorCode::kInvalidModel, {"the input should have three or four dimensions, not ", rank});
  std::optional<int64_t> rotated = n.int_attribute("rotary_embedding_dim", 0);
  const bool whole = rotated == 0;
  if (whole) {
    const auto half = known_dim(c, at.cosines, static_cast<size_t>(rank_of(c, at.cosines) - 1));
    rotated = half ? std::optional(2 * *half) : std::nullopt;
  }
  if (rotated && (*rotated < 2 || *rotated % 2 != 0))
    c.fail(ErrorCode::kInvalidModel, {"rotary_embedding_dim is ", *rotated, ", not an even number"});
  const int64_t heads = n.int_attribute("num_heads", 0);
  if (rank == 3 && heads <= 0 && !whole)
    c.fail(ErrorCode::kInvalidModel, "an input of three dimensions needs num_heads");

  Rotation rotation{.cosines = n.inputs[at.cosines],
                    .sines = n.inputs[at.sines],
                    .positions = n.input(at.positions),
                    .heads_axis = rank == 3 ? 2 : 1,
                    .size = rotated,
                    .whole = whole,
                    .neighbours = n.int_attribute("interleaved", 0) != 0};
  // [batch, steps, heads, size], or as it is
  ValueId x = n.inputs[0];
  const NewAttributes first = {{"axis", int64_t{0}}};
  if (rank == 3 && heads > 0) {
    x = c.add("Reshape", {x, add_ints(c, {0, 0, heads, -1})});
  } else if (rank == 3) {
    const ValueId size = add_rotated_size(c, rotation);
    x = c.add("Reshape", {x, c.add("Concat", {add_ints(c, {0, 0, -1}), size}, first)});
  }
  ValueId& positions = rotation.positions;
  if (positions != kNoValue && rank_of(c, at.positions) == 1) {  // one number: where the steps begin
    const ValueId steps =
        c.add("Range", {add_int(c, 0), add_length(c, n.inputs[0], rank - 2), add_int(c, 1)});
    positions = c.add("Unsqueeze", {c.add("Add", {steps, positions}), add_ints(c, {0})});
  }
  const NewAttributes last = {{"axis", int64_t{-1}}};
  const std::vector<ValueId> parts = rotated_parts(c, x, rotation);
  if (rank == 4) return c.finish("Concat", parts, last);
  c.finish("Reshape", {c.add("Concat", parts, last), add_ints(c, {0, 0, -1})});
}

void expand_standard(Canonicalize& c) { expand(c, {.positions = 3, .cosines = 1, .sines = 2}); }

void expand_microsoft(Canonicalize& c) {
  if (c.node.float_attribute("scale", 1) != 1)
    c.fail(ErrorCode::kUnsupportedOperator, "a scale other than 1 is not supported");
  if (c.node.int_attribute("is_packed_batching", 0) != 0)
    c.fail(ErrorCode::kUnsupportedOperator, "packed batches are not supported");
  expand(c, {.positions = 1, .cosines = 2, .sines = 3});
}

constexpr OpDef kStandard = {.name = "RotaryEmbedding",
                             .inputs = "X cos_cache sin_cache position_ids?",
                             .since = 23,
                             .types = "*",
                             .canonicalize = expand_standard,
                             .fused = true};
constexpr OpDef kOfMicrosoft = {.domain = kMicrosoft,
                                .name = "RotaryEmbedding",
                                .inputs = "input position_ids cos_cache sin_cache",
                                .types = "*",
                                .canonicalize = expand_microsoft,
                                .fused = true};
const RegisterOps kRegistered({&kStandard, &kOfMicrosoft});

}  // namespace
}  // namespace zp
