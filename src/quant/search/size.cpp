#include "core/sort.h"
#include "quant/search/search.h"

namespace zp::quant {

void Search::for_size() {
  const auto now = static_cast<double>(best_->report.weight_bytes_after);
  if (now > config_.target_bytes) {
    warnings_.push_back(
        "the model is larger than the target with every layer quantized: try weights of 4 bits");
    return;
  }
  double left = config_.target_bytes - now;
  std::vector<const Effect*> by_worth = worst(effects_.size());
  sort_small(by_worth, [](const Effect* a, const Effect* b) {
    const double x = a->noise * (b->bytes + 1), y = b->noise * (a->bytes + 1);
    return x != y ? x > y : a->node < b->node;
  });
  std::vector<const Effect*> layers;
  for (const Effect* e : by_worth) {
    if (e->bytes > left) continue;
    left -= e->bytes;
    layers.push_back(e);
  }
  if (!layers.empty()) try_once(sparing(layers, false), kBetter);
}

}  // namespace zp::quant
