#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/search/search.h"

namespace zp::quant {
namespace {

constexpr double kSacrificed = 3;  // dB that no output may lose beside the others

}  // namespace

double Search::macs_of(const LayerReport& l) const {
  const auto known = macs_.find(l.node);
  const double macs = known == macs_.end() ? l.macs : known->second;
  return macs == 0 && l.weight ? static_cast<double>(l.weight->elements) : macs;
}

double Search::time_of(const Report& r) const {
  double time = 0;
  for (const LayerReport& l : r.layers) {
    const bool integers = std::ranges::any_of(l.activations, [](const ActivationReport& a) {
      return a.input && a.dtype != DType::kUndefined && bits_of(a.dtype) == 8;
    });
    time += macs_of(l) * (integers ? 1 : kFloatTime);
  }
  return time;
}

double Search::worth(const Outcome& o) const {
  if (o.report.layers_quantized == 0) return -std::numeric_limits<double>::infinity();
  const double db =
      std::isnan(o.sqnr_db) ? -std::numeric_limits<double>::infinity() : std::min(o.sqnr_db, kGood);
  const double time = first_time_ > 0 ? time_of(o.report) / first_time_ : 1;
  return db - kOfBytes * static_cast<double>(o.report.weight_bytes_after) / first_bytes_ - kOfTime * time;
}

bool Search::sacrifices(const Outcome& o) const {
  const auto heard = [](double db) { return std::isnan(db) ? -kGood : std::min(db, kGood); };
  const double change = std::min(0.0, heard(o.sqnr_db) - heard(best_->sqnr_db));
  for (size_t i = 0; i < o.outputs_db.size() && i < best_->outputs_db.size(); ++i)
    if (heard(o.outputs_db[i]) < heard(best_->outputs_db[i]) + change - kSacrificed) return true;
  return false;
}

}  // namespace zp::quant
