// Searches: they quantize a model several times and keep the best result.
//
// Mode "auto" starts from static quantization with the default settings and changes one thing at a time (a
// default repair left out, the observer, how strongly activations are smoothed, products of two computed
// factors left in float, each repair). It keeps a change that is worth it on samples that calibration has not
// seen. "auto" is the default with samples: it takes a few times as long as one quantization, and measures
// layers only where it may leave some in float and the outputs are not good yet.
//
// Accuracy, size and speed together make the best candidate. The size and time of the first one are the
// measure: a candidate is worth
//
//   min(signal to noise of the outputs, 40 dB) - 48 dB * bytes / its bytes - 24 dB * time / its time
//
// A byte has to pay what bits pay: an eighth more of them (nine bits for eight) makes 6 dB where everything
// goes well, and less is not worth having. A change that makes one of several outputs worse by more than 3 dB
// beside all of them together is not kept. Time is counted in multiplications, of floats as 2.5; twice the
// time has to bring 24 dB. Above 40 dB nobody sees a difference, so that only size and speed count. The bytes
// of small models count as part of 100 kB. A try without integers is worth nothing. Layers that "auto" leaves
// in float by itself get float16 weights, and have no more than 5 % of the bytes and of the multiplications.
//
// Then, for "auto" and where a target or sensitivities are asked for, each layer is quantized alone and its
// effect on the outputs measured. The errors of different layers hardly correlate, so that their noise adds
// up, and the layers to spare for a target are found from that list: for a quality, as few of the worst ones
// as reach it (bisected, each step measured); for a size, the ones that spare the most noise for their bytes.
//
// A layer that is spared costs time (16-bit activations have no integer kernels: as float ones they run on
// float kernels) and bytes: float16 weights take half the bytes of float weights, at an error of 2^-11, and
// 16-bit activations take none. So 16-bit activations come first where they suffice, and float weights last.
#pragma once

#include <cstddef>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/function.h"
#include "quant/quantization_job.h"
#include "quant/search/output_errors.h"
#include "quant/spread.h"

namespace zp::quant {

// dB that a change must gain to be kept.
inline constexpr double kBetter = 0.1;
// dB that layers which "auto" leaves in float by itself must gain, and the share of the operations and of the
// bytes that they may have.
inline constexpr double kWorthFloat = 1;
inline constexpr double kFewFloat = 0.05;
// dB above which "auto" leaves nothing in float, and more is worth nothing.
inline constexpr double kGood = 40;
// dB that twice as many bytes, and twice the time, have to bring.
inline constexpr double kOfBytes = 48, kOfTime = 24;
// Time of a multiplication of floats, in those of integers.
inline constexpr double kFloatTime = 2.5;

inline constexpr std::string_view kSmooth = "smooth";
// Samples that the effect of a layer is measured on; where only a few layers are looked for.
inline constexpr size_t kSensitivitySamples = 6, kQuickSamples = 2;

struct Candidate {
  std::string what;
  Config config;
  size_t float_layers = 0, wide_layers = 0;
  std::shared_ptr<const Model> source = {};
  size_t samples = std::numeric_limits<size_t>::max();  // to measure on
  bool trial = true;                                    // goes to the report
};

// A candidate, run and measured.
struct Outcome {
  Candidate candidate;
  std::shared_ptr<const Model> model;
  Report report;
  std::map<std::string, Range, std::less<>> ranges;
  double noise = 0, sqnr_db = 0, cosine = 0, drop = 0, accuracy = 0;
  std::vector<double> outputs_db = {};
};

// One layer, quantized alone.
struct Effect {
  std::string node;
  double noise = 0;
  double macs = 0;
  double bytes = 0;       // that float16 weights add
  double wide_noise = 0;  // with 16-bit activations
  bool wide = false;      // that is enough
};

class Search : public Job {
 public:
  Search(std::shared_ptr<const Model> model, Config config, int threads);

  // The last one only if there are more samples than the tries use.
  size_t sweeps() const override;
  bool wants_samples() const override;
  void begin_sample(std::vector<runtime::Feed> feeds) override;
  bool wants_next() const override { return !anew_ || !job_ || job_->wants_next(); }
  void skip_sample() override;
  bool enough() const override { return anew_ && job_ && job_->enough(); }
  void end_samples() override;

  bool advance(double milliseconds) override;

  void stop() override;
  bool done() const override { return done_; }
  Estimate estimate(const Expected& expected) override;
  Progress progress() const override;
  std::shared_ptr<const Model> result() const override { return finished().model; }
  const Report& report() const override { return finished().report; }
  const std::map<std::string, Range, std::less<>>& ranges() const override { return finished().ranges; }

 private:
  using Step = UniqueFunction<std::optional<Candidate>()>;

  // The configuration without what only a search reads.
  Config plain() const;
  const Outcome& finished() const;
  bool has_target() const { return for_answers() || config_.target_sqnr > 0 || config_.target_bytes > 0; }
  // Nobody asked what layers do: only those matter that "auto" may leave in float.
  bool only_a_few() const { return !config_.sensitivity && !has_target(); }
  bool for_answers() const { return config_.target_drop > 0; }

  // search.cpp: candidates one after the other
  void plan_steps();
  // The best so far with one thing changed; its name says what it has.
  Candidate changed(const std::string& what) const;
  void next();
  // What was chosen by some of the samples, from all of them: the widest range may be in one that was held
  // out or not kept. Unless those held out, which it has seen by then, say that it has become worse.
  void make_anew();
  void feed();
  void finish_candidate();
  void check_answers();
  void keep_if_better(std::unique_ptr<Outcome> o, double gain);
  void note(const Outcome& o, bool kept);
  void try_once(const Candidate& candidate, double gain);
  void conclude();

  // worth.cpp: which is the best
  // Multiplications of a layer: those that shapes tell. Where they do not, each weight counts once, since
  // unknown is not none.
  double macs_of(const LayerReport& l) const;
  double time_of(const Report& r) const;
  double worth(const Outcome& o) const;
  // Whether one output pays for what all of them together gain, or for more than they lose.
  bool sacrifices(const Outcome& o) const;
  double most_bytes() const { return kFewFloat * first_bytes_; }

  // auto.cpp: what mode "auto" tries
  void plan_settings();
  void plan_repairs();
  void plan_modes();
  // Products of two computed factors have no weight to make smaller, and both are rounded for them.
  std::optional<Candidate> without_attention() const;
  // Layers that pay for their bytes and their time, those that spare the most noise for them first.
  void a_few();

  // sensitivity.cpp: the effect of each layer, and what follows from it
  // Measures are made on the graph as the repairs that change it leave it: that graph is made first.
  std::optional<Candidate> plan_effects();
  void plan_layers();
  // The best configuration, for the graph that it has already changed, with the ranges that it found.
  Config on_float_source() const;
  // One layer quantized, and nothing else.
  Candidate alone(const std::string& node) const;
  void plan_mixed();
  std::vector<const Effect*> worst(size_t count) const;
  // Those of the worst layers with 16-bit activations for which that is enough, if `wide`; the others with
  // float activations and float16 weights.
  Candidate sparing(const std::vector<const Effect*>& layers, bool wide) const;

  // quality.cpp: as few layers as reach a quality
  bool reaches(const Outcome& o) const;
  void for_quality();
  // Sparing more layers is never worse, as far as noise adds up: twice as many until the target is reached,
  // then halfway between the number that reached it and the number that did not.
  void try_worst();
  // Each of the layers that have to be spared alone with 16-bit activations; then all those together for
  // which that is enough.
  void try_wide();
  // As many as the noise has room for that the target leaves, those with the least first.
  void choose_wide();
  void try_all_float();
  Candidate leaving(const std::vector<std::string>& nodes) const;
  void take_mixed();

  // size.cpp
  void for_size();

  std::shared_ptr<const Model> source_, float_source_;
  Config config_;
  int threads_;
  bool auto_ = false;
  std::vector<std::string> by_default_;  // repairs that run because nobody named any

  bool more_ = false, anew_ = false;  // samples than calibrate; it is made from all of them
  bool collecting_ = true, single_ = false, stopped_ = false, done_ = false;
  SampleKeeper samples_{1};
  size_t seen_ = 0;
  FeedsOfSamples calibration_;
  std::vector<size_t> numbers_;  // of the samples that calibrate, as they came

  std::vector<Step> steps_;
  size_t at_ = 0, tried_ = 0, expected_ = 0;
  std::string_view phase_ = "search";
  std::unique_ptr<Job> job_;
  size_t fed_ = 0;
  std::unique_ptr<Outcome> current_, best_;
  // Of the first candidate.
  std::map<std::string, double, std::less<>> macs_;  // by node
  double first_time_ = 0, first_bytes_ = 1;
  bool smooths_ = false;
  UniqueFunction<void(std::unique_ptr<Outcome>)> on_outcome_;
  std::unique_ptr<OutputErrors> errors_;
  bool measuring_ = false;

  std::vector<Trial> trials_;
  std::vector<std::string> warnings_;
  std::vector<Effect> effects_;
  std::map<std::string, LayerReport::Sensitivity> sensitivity_;
  size_t low_ = 0, high_ = 0;
  std::unique_ptr<Outcome> reached_, nearest_;
};

}  // namespace zp::quant
