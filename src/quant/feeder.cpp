#include "quant/feeder.h"

#include <utility>

namespace zp::quant {
namespace {

constexpr double kMostBytes = 256.0 * 1024 * 1024;
constexpr size_t kMostSamples = 256;

}  // namespace

Feeder::Feeder(Job& job, bool once)
    : job_(job),
      once_(once),
      sweeps_(job.sweeps()),
      keeps_(sweeps_ > 1),
      kept_(once ? kUnknown : kMostSamples, 0, kMostBytes) {}

bool Feeder::feed() {
  for (;;) {
    if (next_ == count_ || (given_ > 0 && job_.enough())) {
      close();
      return true;
    }
    if (next_ >= read_) return false;
    const SampleKeeper::Kept* kept = kept_.find(next_);
    if (job_.wants_next() && (kept || !once_)) {
      if (!kept) return false;
      hand(kept->feeds);
      return true;
    }
    job_.skip_sample();
    ++next_;
  }
}

void Feeder::give(std::vector<runtime::Feed> feeds) {
  if (next_ == read_) {
    ++read_;
    if (keeps_) kept_.take(feeds);
  }
  hand(std::move(feeds));
}

void Feeder::hand(std::vector<runtime::Feed> feeds) {
  job_.begin_sample(std::move(feeds));
  ++next_;
  ++given_;
}

void Feeder::end() {
  count_ = next_;
  close();
}

void Feeder::close() {
  job_.end_samples();
  next_ = given_ = 0;
  // What wants them again (a search may) can ask.
  if (++sweep_ == sweeps_ && !once_) kept_ = SampleKeeper(1), keeps_ = false;
}

}  // namespace zp::quant
