// What expansions of fused operators share: nodes that give another output than the first, and constants.
#pragma once

#include <vector>

#include "ops/op.h"

namespace zp {

// A constant int64 vector.
ValueId add_ints(Canonicalize& c, std::vector<int64_t> values);
ValueId add_int(Canonicalize& c, int64_t value);  // a scalar
// The last node of c.nodes gives output `output` of the original node, if that has one. Returns the last
// node's output.
ValueId gives_output(Canonicalize& c, size_t output);
// [batch, steps, heads * size] as [batch, heads, steps, size].
ValueId add_split_heads(Canonicalize& c, ValueId x, int64_t heads);
// Elements [begin, end) along `axis`.
ValueId add_slice(Canonicalize& c, ValueId x, int64_t axis, int64_t begin, int64_t end, int64_t step = 1);
// The same, between vectors of one element each.
struct Bounds {
  ValueId begin, end;
};
ValueId add_slice(Canonicalize& c, ValueId x, int64_t axis, Bounds bounds, int64_t step = 1);
// The length of dimension `axis`, a scalar.
ValueId add_length(Canonicalize& c, ValueId x, int64_t axis);
// x divided by the root of the mean of its squares along the last dimension, times `scale`.
ValueId add_rms_norm(Canonicalize& c, ValueId x, ValueId scale, float epsilon);
// The rank of an input. Waits where it is not known.
int64_t rank_of(const Canonicalize& c, size_t input);
// A dimension of an input, if it is known.
std::optional<int64_t> known_dim(const Canonicalize& c, size_t input, size_t axis);
// Throws kInvalidModel where an input that the operator needs is missing.
void need_inputs(const Canonicalize& c, std::initializer_list<size_t> inputs);
// Throws kUnsupportedOperator where there is an input or output that the expansion cannot honour.
void refuse_input(const Canonicalize& c, size_t input, std::string_view name);
void refuse_output(const Canonicalize& c, size_t output, std::string_view name);

}  // namespace zp
