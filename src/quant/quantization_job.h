// What a Quantizer drives: one pass through the stages, or a search that makes many of them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "quant/quant.h"

namespace zp::quant {

// As Quantizer, method by method.
class Job {
 public:
  virtual ~Job() = default;
  virtual size_t sweeps() const = 0;
  virtual bool advance(double milliseconds) = 0;
  virtual bool wants_samples() const = 0;
  virtual void begin_sample(std::vector<runtime::Feed> feeds) = 0;
  // As Stage::wants_next(): the sample that is next may be left out, and counts as one of the series.
  virtual bool wants_next() const = 0;
  virtual void skip_sample() = 0;
  virtual bool enough() const = 0;
  virtual void end_samples() = 0;
  virtual void stop() = 0;
  virtual bool done() const = 0;
  // What it will take: of a job that has not begun, and is for nothing else afterwards.
  virtual Estimate estimate(const Expected& expected) = 0;
  virtual Progress progress() const = 0;
  // When done().
  virtual std::shared_ptr<const Model> result() const = 0;
  virtual const Report& report() const = 0;
  virtual const std::map<std::string, Range, std::less<>>& ranges() const = 0;
};

inline constexpr std::string_view kAuto = "auto";
Named about_auto();

// The same, with the default repairs among `repairs` where they are asked for. The mode is a scheme's.
Config with_default_repairs(Config config);

// `numbers`: which of the caller's samples it will get, counted from 1, where those are not all of them.
std::unique_ptr<Job> make_pipeline(std::shared_ptr<const Model> model, Config config, int threads,
                                   std::vector<size_t> numbers = {});

// Whether a configuration asks for several passes: mode "auto", a target, or sensitivities.
bool is_search(const Config& config);
// What a configuration asks for.
std::unique_ptr<Job> make_job(std::shared_ptr<const Model> model, Config config, int threads);
std::unique_ptr<Job> make_search(std::shared_ptr<const Model> model, Config config, int threads);

}  // namespace zp::quant
