// The nodes of attention, for the operators that consist of it: Attention of ai.onnx, and Attention,
// MultiHeadAttention, DecoderMaskedMultiHeadAttention, GroupQueryAttention and QAttention of com.microsoft.
//
//   y = softmax(softcap(scale q k^T) + bias) v
//
// q is [batch, heads, steps, size], k and v [batch, heads, all, size], where "all" also counts kept earlier
// steps. A bias broadcasts to [batch, heads, steps, all]; -inf there hides a step.
#pragma once

#include "ops/expansion.h"

namespace zp {

class Attend {
 public:
  explicit Attend(Canonicalize& context) : c(context) {}

  ValueId q = kNoValue, k = kNoValue, v = kNoValue;
  ValueId past = kNoValue;  // how many steps came before these, a scalar; kNoValue: none
  float softcap = 0;        // 0: none
  // The sink: a score of each head beside those of the steps, [1, heads or 1, 1, 1]; kNoValue: none
  ValueId sink = kNoValue;

  // Adds to the bias.
  void add_bias(ValueId bias);
  // Hides the steps that `allowed` (bool) does not allow: their bias becomes `hidden`, or less.
  void allow(ValueId allowed, float hidden);
  // Hides from each step the steps after it.
  void hide_later(float hidden) { allow(in_window(-1, 0, kNoValue), hidden); }
  // Which steps a step sees: `before` earlier and `after` later ones, -1: any number. `first`: the position
  // of the first step of q among all steps, as [batch, 1, 1, 1]; kNoValue: after the past.
  ValueId in_window(int64_t before, int64_t after, ValueId first);
  // [1, all], the numbers of steps
  ValueId all_steps();

  // An intermediate result that is an output, too: the node that makes it gives the output.
  enum class Point : uint8_t { kProduct, kCapped, kBiased, kProbabilities };
  void gives(Point point, size_t output) {
    point_ = point;
    output_ = output;
  }

  // The nodes up to [batch, heads, steps, size]. `scale`: 0 for 1 / sqrt(size). `size`: of a head, if it is
  // known. `guard`: rows that are hidden wholly are zeros.
  ValueId add(float scale, std::optional<int64_t> size, bool guard);

  ValueId number(float value) { return c.number(value); }

 private:
  void reached(Point point) {
    if (output_ && point == point_) gives_output(c, *output_);
  }
  ValueId add_softmax(ValueId scores);

  Canonicalize& c;
  ValueId bias_ = kNoValue;
  Point point_ = Point::kProduct;
  std::optional<size_t> output_;
};

// Keys or values behind those of input `past`, [batch, heads, all, size]; output `present` has them.
ValueId add_past(Canonicalize& c, ValueId x, size_t past, size_t present);
// Buffers of keys and values, which are as long after a step as before it, or longer.
struct CacheSlots {
  ValueId first = kNoValue;   // where the new steps go: a scalar, or [batch, 1, 1, 1]
  ValueId length = kNoValue;  // of the buffers after the step, a scalar; kNoValue: as before it
};
// `buffer` with x [batch, heads, steps, size] written into it; the output has it.
ValueId add_cached(Canonicalize& c, ValueId x, ValueId buffer, const CacheSlots& slots, size_t present);
// Each of `heads` heads (dimension 1) `times` times, one copy beside the other.
ValueId add_repeated_heads(Canonicalize& c, ValueId x, int64_t heads, int64_t times);
// The same, for as many heads as `q` has, where only a run knows their number.
ValueId add_shared_heads(Canonicalize& c, ValueId x, ValueId q);
// A bias whose last dimension may be shorter than `k`, filled up with `behind`.
ValueId add_padded_bias(Canonicalize& c, ValueId bias, int64_t rank, ValueId k, float behind);
// [batch, heads, steps, size] as output 0, [batch, steps, heads * size].
void finish_joined_heads(Canonicalize& c, ValueId y);

}  // namespace zp
