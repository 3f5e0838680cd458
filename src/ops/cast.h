// Conversion between element types.
#pragma once

#include <optional>

#include "core/small_float.h"
#include "core/tensor.h"
#include "graph/graph.h"

namespace zp {

// Elements [begin, end) of `x` brought to type `to`. Floats lose their fraction where they become integers
// (values beyond 64 bits saturate, NaN gives 0), integers keep their low bits, anything but 0 is true. Ranges
// start at the first element of a byte of `y`. Both types are numbers.
void cast_elements(const std::byte* x, DType from, std::byte* y, DType to, int64_t begin, int64_t end,
                   Fit fit = {});
// Throws kUnsupportedType for strings.
Tensor cast(const Tensor& tensor, DType to);
// The type that the attribute "to" names; kUndefined: none.
DType type_to(const Node& node);
// The type that a Cast makes; nullopt: the node is none.
std::optional<DType> cast_target(const Node& node);
// A Cast of `from` to the type that `to` has.
Node cast_node(const Graph& graph, ValueId from, ValueId to);

}  // namespace zp
