// Conversion between element types.
#pragma once

#include <optional>

#include "core/tensor.h"
#include "graph/graph.h"

namespace zp {

// Elements [begin, end) of `x` brought to type `to`. Floats lose their fraction where integers are wanted
// (what does not fit 64 bits saturates, NaN gives 0), integers keep their low bits, anything but 0 is true.
// 4-bit ranges start at even elements of `y`. Both types are numbers.
void cast_elements(const std::byte* x, DType from, std::byte* y, DType to, int64_t begin, int64_t end);
// Throws kUnsupportedType for strings.
Tensor cast(const Tensor& tensor, DType to);
// Of whatever width.
bool is_float(DType type);
// The type that a Cast makes; nullopt: the node is none.
std::optional<DType> cast_target(const Node& node);
// A Cast of `from` to the type that `to` has.
Node cast_node(const Graph& graph, ValueId from, ValueId to);

}  // namespace zp
