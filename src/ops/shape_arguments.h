// Arguments that decide shapes: lengths, axes, counts.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/op.h"

namespace zp {

// The integers of an input that decides a shape; nullopt where it is absent or not known yet.
std::optional<std::vector<int64_t>> shape_integers(const InferContext& c, size_t input);
// How many integers that input has, which is the rank of a shape; nullopt where that is not known.
std::optional<size_t> shape_length(const InferContext& c, size_t input);
// The same when a kernel is prepared: everything is known. Throws kUnsupportedOperator where only the run
// would know. Empty where the input is absent.
std::vector<int64_t> prepared_integers(const PrepareContext& c, size_t input);

// Axes of a tensor with `rank` dimensions, brought to [0, rank) and sorted. Throws kShapeMismatch for one
// outside the tensor, or named twice.
std::vector<int64_t> sorted_axes(const InferContext& c, std::vector<int64_t> axes, int rank);

}  // namespace zp
