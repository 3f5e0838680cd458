#include "runtime/layout.h"

#include <algorithm>

#include "kernels/movement/transpose.h"

namespace zp::runtime {

bool orders_agree(const Shape& logical) {
  if (logical.size() < 3) return true;
  return logical[1] == 1 || std::all_of(logical.begin() + 2, logical.end(), [](int64_t d) { return d == 1; });
}

Shape physical(const Shape& logical, Layout layout) {
  return layout == Layout::kChannelsLast ? to_channels_last(logical) : logical;
}

std::vector<int> order_to(Layout layout, int rank) {
  if (layout == Layout::kChannelsLast) return channels_last_order(rank);
  std::vector<int> perm(static_cast<size_t>(rank));  // (N, spatial..., C) back to (N, C, spatial...)
  perm[0] = 0;
  perm[1] = rank - 1;
  for (int i = 2; i < rank; ++i) perm[static_cast<size_t>(i)] = i - 1;
  return perm;
}

size_t bytes_of_element(DType type) { return std::max<size_t>(1, static_cast<size_t>(bits_of(type)) / 8); }

Tensor reordered(const Tensor& t, Layout to) {
  const Shape dims = to == Layout::kChannelsLast ? to_channels_last(t.dims()) : to_logical(t.dims());
  if (t.dims().size() < 3) return t;
  Tensor out(t.dtype(), dims);
  const std::vector<int> perm = order_to(to, static_cast<int>(t.dims().size()));
  kernels::transpose(t.raw(), out.mutable_raw(), t.dims(), perm, bytes_of_element(t.dtype()));
  return t.dtype() == DType::kString ? Tensor::copy_of(out.view()) : out;
}

Shape extended(const Shape& dims, size_t rank) {
  Shape wide(rank - dims.size(), 1);
  wide.insert(wide.end(), dims.begin(), dims.end());
  return wide;
}

}  // namespace zp::runtime
