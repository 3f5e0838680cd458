#include "ops/product/frame.h"

#include <algorithm>

namespace zp {

void ProductFrame::lay_out(PrepareContext& c, size_t element, const std::vector<size_t>& packed_bytes,
                           size_t per_thread) {
  size_t at = 0;
  if (product.transposed) {
    at += cache_aligned(
        static_cast<size_t>(product.transposed->from_rows * product.transposed->from_columns) * element +
        kReadSlack);
  }
  for (size_t bytes : packed_bytes) {
    packed_at.push_back(at);
    at += cache_aligned(bytes + kReadSlack);
  }
  gather_at = at;
  gather_bytes = cache_aligned(per_thread);
  at += gather_bytes * static_cast<size_t>(std::max(1, c.threads()));
  if (at > 0) c.scratch(at);
  tasks = split_product(product, c.threads());
}

}  // namespace zp
