// Orders of dimensions in memory: of a graph (logical), and with the channels last.
#pragma once

#include <cstddef>
#include <vector>

#include "core/tensor.h"
#include "ops/op.h"

namespace zp::runtime {

// Whether channels last and logical order are the same bytes.
bool orders_agree(const Shape& logical);
Shape physical(const Shape& logical, Layout layout);
// The permutation that brings the other order to this one.
std::vector<int> order_to(Layout layout, int rank);
Tensor reordered(const Tensor& t, Layout to);
// With dimensions of 1 in front.
Shape extended(const Shape& dims, size_t rank);
size_t bytes_of_element(DType type);

}  // namespace zp::runtime
