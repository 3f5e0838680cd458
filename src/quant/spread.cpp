#include "quant/spread.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/sort.h"

namespace zp::quant {

double rank_in_series(size_t index) {
  constexpr double kGolden = 0.61803398874989484820;
  const double at = static_cast<double>(index) * kGolden;
  return at - std::floor(at);
}

SampleKeeper::SampleKeeper(size_t most, size_t series, double bytes)
    : most_(std::max<size_t>(1, most)), most_bytes_(bytes) {
  if (series == 0) return;
  until_ = series;
  if (series <= most_) return;
  std::vector<double> ranks(series);
  for (size_t i = 0; i < series; ++i) ranks[i] = rank_in_series(i);
  sort_small(ranks);
  below_ = ranks[most_];
  while (until_ > 0 && rank_in_series(until_ - 1) >= below_) --until_;
}

void SampleKeeper::take(std::vector<runtime::Feed> feeds) {
  Kept sample{.index = seen_++};
  if (sample.rank() >= below_) return;
  for (const runtime::Feed& f : feeds) sample.bytes += static_cast<double>(f.tensor.bytes());
  sample.feeds = std::move(feeds);
  bytes_ += sample.bytes;
  kept_.push_back(std::move(sample));
  while (kept_.size() > most_ || (bytes_ > most_bytes_ && kept_.size() > 1)) {
    const auto last = std::max_element(kept_.begin(), kept_.end(),
                                       [](const Kept& a, const Kept& b) { return a.rank() < b.rank(); });
    below_ = last->rank();
    bytes_ -= last->bytes;
    kept_.erase(last);
  }
}

const SampleKeeper::Kept* SampleKeeper::find(size_t index) const {
  const auto it =
      std::partition_point(kept_.begin(), kept_.end(), [&](const Kept& k) { return k.index < index; });
  return it != kept_.end() && it->index == index ? &*it : nullptr;
}

std::vector<SampleKeeper::Kept> SampleKeeper::release() { return std::exchange(kept_, {}); }

size_t held_out_of(size_t samples) { return samples < 2 ? 0 : std::max<size_t>(1, samples / 4); }

HeldOut hold_out(std::vector<SampleKeeper::Kept> samples, size_t count) {
  count = samples.empty() ? 0 : std::min(count, samples.size() - 1);
  std::vector<double> ranks;
  for (const auto& s : samples) ranks.push_back(s.rank());
  sort_small(ranks);
  HeldOut split;
  for (auto& s : samples) {
    // Not the first of all: of two samples the second is held out.
    const bool out = count > 0 && s.rank() > ranks[0] && s.rank() <= ranks[count];
    (out ? split.out : split.rest).push_back(std::move(s));
  }
  return split;
}

}  // namespace zp::quant
