// What the operators that move values about have in common: arguments that decide shapes, and which reshapes
// leave a channels last value where it is.
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

// Bytes of an element of an input. Throws kUnsupportedType for strings and for types packed below a byte.
size_t element_bytes(const PrepareContext& c, size_t input);

// A Q or DQ of 8-bit integers with one scale, known before the run.
bool is_byte_edge(const EdgeQuant* edge);
bool same_quantization(const EdgeQuant& a, const EdgeQuant& b);  // of two such edges

int64_t product(const Shape& dims, size_t from, size_t to);

// For operators that only change dimensions: kAny where the change leaves batch and channels alone, kReadsAny
// where the two orders are the same bytes, else kLogical.
LayoutRule reshaping_layout(const SymShape* in, const SymShape* out);

// Axes of a tensor with `rank` dimensions, brought to [0, rank) and sorted. Throws kShapeMismatch for one
// outside the tensor, or named twice.
std::vector<int64_t> sorted_axes(const InferContext& c, std::vector<int64_t> axes, int rank);

}  // namespace zp
