// The one road of samples into a job. A job asks for each sample once, keeps it where a later sweep may want
// it, and hands it on by its number, which counts from 0 in the order of the caller's series. Stages and
// searches that keep samples for themselves share the memory.
//
// It keeps at most 256 MB, and at most 256 samples that can be given again, which is more than any stage
// keeps. They are spread over the series by the rule of spread.h. A stage that looks at a few samples chooses
// them by the same rule: it finds them here, and nobody is asked again. Stages that look at all samples ask
// again for the rest.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "quant/quantization_job.h"
#include "quant/spread.h"

namespace zp::quant {

class Feeder {
 public:
  // The job outlives it. `once`: a sample that was given cannot be given again, and stages do without those
  // that are not kept.
  Feeder(Job& job, bool once);

  // For a job that wants samples. True: it was given one that is kept, or was told that there are no more.
  // False: the sample wanted() is needed.
  bool feed();
  size_t wanted() const { return next_; }
  // How many it handed on in this sweep.
  size_t given() const { return given_; }
  // The sample wanted(), or that there is no such sample. Throws what the job throws.
  void give(std::vector<runtime::Feed> feeds);
  void end();

  size_t sweep() const { return sweep_; }
  // How many samples there are; 0: not known.
  size_t count() const { return count_ == kUnknown ? 0 : count_; }

 private:
  static constexpr size_t kUnknown = std::numeric_limits<size_t>::max();
  void hand(std::vector<runtime::Feed> feeds);
  void close();

  Job& job_;
  bool once_;
  size_t sweeps_, sweep_ = 0;  // that the job expects; that are over
  bool keeps_;
  SampleKeeper kept_;
  size_t next_ = 0, given_ = 0;
  size_t read_ = 0;  // so many were there once
  size_t count_ = kUnknown;
};

}  // namespace zp::quant
