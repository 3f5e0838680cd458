#include "ops/byte_edges.h"

#include "core/element_types.h"

namespace zp {

bool is_byte_edge(const EdgeQuant* edge) {
  return edge && !edge->at_run_time() && edge->per_tensor() && is_8_bit(edge->dtype);
}

bool same_quantization(const EdgeQuant& a, const EdgeQuant& b) {
  const auto is_single = [](const EdgeQuant& e) { return !e.at_run_time() && e.scale.size() == 1; };
  return a.dtype == b.dtype && is_single(a) && is_single(b) && a.scalar_scale() == b.scalar_scale() &&
         a.scalar_zero_point() == b.scalar_zero_point();
}

}  // namespace zp
