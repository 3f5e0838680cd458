// The samples of a series that are kept where there is room for a few: as many as fit, spread over all of it,
// though nobody knows its length before its end. A folder is often in order (by class, by length, by day):
// its first samples stand for themselves alone.
//
// Each index has a rank, the fractional part of index * golden ratio; the samples with the smallest ranks are
// kept. They are a Kronecker sequence: between neighbours there are at most three different distances, the
// longest at most 2.7 times the shortest, and no period of the series falls in step with them. The kept
// samples with the smallest ranks are spread as evenly: these are held out.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "runtime/session.h"

namespace zp::quant {

using FeedsOfSamples = std::vector<std::vector<runtime::Feed>>;

double rank_in_series(size_t index);  // 0...1

class SampleKeeper {
 public:
  static constexpr double kBytes = 512.0 * 1024 * 1024;
  // At most so many, and no more than fit the bytes, but one. `series`: how many there will be; 0: not known.
  explicit SampleKeeper(size_t most, size_t series = 0, double bytes = kBytes);

  // The next of the series.
  void take(std::vector<runtime::Feed> feeds);
  // Whether it would be kept; if not, it may be skipped.
  bool wants_next() const { return rank_in_series(seen_) < below_; }
  void skip() { ++seen_; }
  // Of a series of known length: those that come will not be kept.
  bool enough() const { return seen_ >= until_; }
  size_t size() const { return kept_.size(); }

  struct Kept {
    size_t index = 0;  // in the series
    double bytes = 0;
    std::vector<runtime::Feed> feeds = {};
    double rank() const { return rank_in_series(index); }
  };
  // One of the series, if it is kept; null otherwise.
  const Kept* find(size_t index) const;
  // In the order of the series.
  std::vector<Kept> release();

 private:
  size_t most_, until_ = std::numeric_limits<size_t>::max(), seen_ = 0;
  double most_bytes_, bytes_ = 0;
  double below_ = 1;  // ranks from there on are not kept
  std::vector<Kept> kept_;
};

struct HeldOut {
  std::vector<SampleKeeper::Kept> out, rest;  // in the order of the series
};
// So many, at most all but one, spread as they all are.
HeldOut hold_out(std::vector<SampleKeeper::Kept> samples, size_t count);
// How many of so many: a quarter, at least one of two or three, none of one.
size_t held_out_of(size_t samples);

}  // namespace zp::quant
