#include "quant/search/search.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/stopwatch.h"
#include "quant/scheme.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

constexpr double kMostBytes = 256.0 * 1024 * 1024;  // of samples kept
constexpr size_t kMostSamples = 128;
// A share of right answers is only as fine as the answers are many.
constexpr size_t kMostSamplesForDrop = 1024;
// A quarter of the samples is held out, and all beyond so many that are not.
constexpr size_t kMostCalibrating = 96;
constexpr size_t kTooFew = 2;  // to hold one out
// Bytes that the bytes of a smaller model are counted as a part of.
constexpr double kSmall = 1e5;

constexpr std::string_view kAsConfigured = "as configured";

}  // namespace

Search::Search(std::shared_ptr<const Model> model, Config config, int threads)
    : source_(std::move(model)), config_(std::move(config)), threads_(threads) {
  auto_ = config_.mode == kAuto;
  if (auto_) config_.mode = "static";
  const std::vector<std::string> named = config_.repairs;
  config_ = with_default_repairs(std::move(config_));
  for (const std::string& repair : config_.repairs)
    if (std::ranges::find(named, repair) == named.end()) by_default_.push_back(repair);
  make_pipeline(source_, plain(), threads_);  // throws what is wrong with the configuration
  int targets = 0;
  for (const double t : {config_.target_sqnr, config_.target_bytes, config_.target_drop}) {
    if (!(t >= 0) || !std::isfinite(t))
      throw_error(ErrorCode::kInvalidArgument, "target: a positive number is needed");
    targets += t > 0;
  }
  if (targets > 1)
    throw_error(ErrorCode::kInvalidArgument, "target: a quality and a size are two targets",
                {.hint = "give one of them; the report lists the points between"});
  if (config_.target_drop >= 1)
    throw_error(ErrorCode::kInvalidArgument, "target: drop is a share of all answers, below 1",
                {.hint = "0.005 means half a percent"});
  samples_ = SampleKeeper(config_.target_drop > 0 ? kMostSamplesForDrop : kMostSamples, 0, kMostBytes);
}

size_t Search::sweeps() const { return auto_ ? 1 + make_pipeline(source_, plain(), threads_)->sweeps() : 1; }

bool Search::wants_samples() const {
  return collecting_ || (anew_ && !measuring_ && job_ && job_->wants_samples());
}

void Search::begin_sample(std::vector<runtime::Feed> feeds) {
  if (anew_) return job_->begin_sample(std::move(feeds));
  if (!config_.labels.empty() && seen_ >= config_.labels.size())
    throw_error(ErrorCode::kInvalidArgument, {"sample ", seen_ + 1, " has no label"},
                {.hint = "give one label for each sample, in the order of the samples"});
  ++seen_;
  samples_.take(std::move(feeds));
}

void Search::skip_sample() {
  if (anew_ && job_) job_->skip_sample();
}

void Search::end_samples() {
  if (anew_) return job_->end_samples();
  collecting_ = false;
  const size_t all = samples_.size();
  single_ = all == 1;
  HeldOut split =
      hold_out(samples_.release(), std::max(held_out_of(all), all - std::min(all, kMostCalibrating)));
  if (single_) {
    warnings_.push_back("one sample cannot show what helps: auto tried nothing and ran no repair by default");
    split.out.push_back(split.rest[0]);
    for (const std::string& repair : by_default_) std::erase(config_.repairs, repair);
    by_default_.clear();
  } else if (all == kTooFew) {
    // Half of what ranges are made from is worth more than an honest judge.
    warnings_.push_back(
        "no sample was held out, because there are two: both made the ranges and judged the tries, so that "
        "the model may do worse on other samples");
    for (SampleKeeper::Kept& s : split.out) split.rest.push_back(std::move(s));
    split.out = split.rest;
  }
  OutputErrors::Samples held_out;
  std::vector<int32_t> labels;
  for (SampleKeeper::Kept& s : split.out) {
    if (!config_.labels.empty()) labels.push_back(config_.labels[s.index]);
    held_out.push_back(std::move(s.feeds));
  }
  for (SampleKeeper::Kept& s : split.rest) {
    calibration_.push_back(std::move(s.feeds));
    numbers_.push_back(s.index + 1);
  }
  more_ = seen_ > calibration_.size();
  for (auto& feeds : held_out) std::erase_if(feeds, [](const runtime::Feed& f) { return is_target(f.name); });
  errors_ = std::make_unique<OutputErrors>(source_, std::move(held_out), std::move(labels), threads_);
  measuring_ = true;
  plan_steps();
}

bool Search::advance(double milliseconds) {
  const Stopwatch watch(milliseconds);
  while (!collecting_ && !done_) {
    const double left = std::max(0.0, milliseconds - watch.milliseconds());
    if (measuring_) {
      if (!errors_->advance(left)) return false;
      measuring_ = false;
      if (current_) finish_candidate();
    } else if (job_) {
      if (anew_ && !job_->advance(left)) return false;
      if (job_->wants_samples()) {
        if (anew_) return true;
        feed();
      } else if (job_->done()) {
        current_->model = job_->result();
        current_->report = job_->report();
        current_->ranges = job_->ranges();
        job_.reset();
        errors_->begin(current_->model, current_->candidate.samples);
        measuring_ = true;
      } else {
        job_->advance(left);
      }
    } else {
      next();
    }
    if (!done_ && watch.over()) return false;
  }
  return true;
}

void Search::stop() {
  stopped_ = true;
  if (job_) job_->stop();
}

Progress Search::progress() const {
  if (collecting_) return {.phase = "collect", .samples = seen_};
  if (done_) return {.phase = "done"};
  Progress p{.phase = phase_, .done = tried_, .total = std::max(expected_, tried_ + 1)};
  if (job_) p.training = job_->progress().training;
  return p;
}

// All candidates are taken to be like the first; effects of layers are measured where they may be asked for.
Estimate Search::estimate(const Expected& expected) {
  Expected one = expected;
  one.samples = std::min(expected.samples, config_.target_drop > 0 ? kMostSamplesForDrop : kMostSamples);
  const double held_out = std::ceil(0.25 * static_cast<double>(one.samples));
  one.samples = std::min(one.samples - std::min(one.samples, held_out_of(one.samples)), kMostCalibrating);
  one.layer_errors = 0;
  Estimate e = make_pipeline(source_, plain(), threads_)->estimate(one);

  double candidates = 1 + static_cast<double>(by_default_.size());
  if (auto_ && one.samples > 0) {
    constexpr double kSettings = 4;  // two observers, products in float; the last one, from all samples
    candidates += kSettings;
    for (const StageDef* d : all_stages())
      candidates += d->repair && d->worth_trying && d->worth_trying(config_) &&
                    std::ranges::find(config_.repairs, d->name) == config_.repairs.end();
  }
  const bool layers = auto_ || config_.sensitivity || has_target();
  const double runs_of_layers =
      layers ? static_cast<double>(e.layers * (only_a_few() ? kQuickSamples : kSensitivitySamples)) : 0;
  const double kept = std::min(kMostBytes, static_cast<double>(expected.samples) * e.sample_bytes);
  double most = 0;
  for (Estimate::Phase& p : e.phases) {
    p.macs *= candidates, p.touched *= candidates;
    p.bytes += kept + e.result_bytes;  // samples, and the best so far
    most = std::max(most, p.bytes);
  }
  const double runs = held_out * (1 + candidates) + runs_of_layers;
  e.phases.push_back(
      {.name = "search",
       .bytes = most,
       .macs = runs * e.run_macs,
       .touched = runs * e.run_values + (layers ? static_cast<double>(e.layers) * e.result_bytes : 0)});
  return e;
}

Config Search::plain() const {
  Config c = config_;
  c.target_sqnr = c.target_bytes = c.target_drop = 0;
  c.sensitivity = false;
  c.labels.clear();
  return c;
}

const Outcome& Search::finished() const {
  if (!done_) throw_error(ErrorCode::kInvalidArgument, "the quantization is not done yet");
  return *best_;
}

void Search::plan_steps() {
  phase_ = "search";
  steps_.push_back([this] { return Candidate{.what = std::string(kAsConfigured), .config = plain()}; });
  for (const std::string& repair : by_default_)
    steps_.push_back([this, repair]() -> std::optional<Candidate> {
      if (repair == kSmooth && !smooths_) return std::nullopt;
      Candidate c = changed("without '" + repair + "'");
      std::erase(c.config.repairs, repair);
      return c;
    });
  if (auto_ && !single_) {
    plan_settings();
    plan_repairs();
    plan_modes();
  }
  if (auto_ || config_.sensitivity || has_target()) steps_.push_back([this] { return plan_effects(); });
  expected_ = steps_.size();
}

Candidate Search::changed(const std::string& what) const {
  Candidate c = best_->candidate;
  c.what = c.what == kAsConfigured ? what : c.what + " + " + what;
  return c;
}

void Search::next() {
  if (at_ == steps_.size()) return more_ ? make_anew() : conclude();
  const Step step = std::move(steps_[at_++]);
  std::optional<Candidate> c = step();
  if (!c) return;
  if (stopped_) c->config.training.epochs = 0;
  current_ = std::make_unique<Outcome>();
  job_ = make_pipeline(c->source ? c->source : source_, c->config, threads_, numbers_);
  current_->candidate = std::move(*c);
  fed_ = 0;
}

void Search::make_anew() {
  more_ = false;
  const Config& best = best_->candidate.config;
  if (!auto_ || stopped_ || !scheme_named(best.mode).needs_calibration) return;
  phase_ = "all samples";
  anew_ = true;
  current_ = std::make_unique<Outcome>();
  current_->candidate = best_->candidate;
  job_ = make_pipeline(source_, best, threads_);
  on_outcome_ = [this](std::unique_ptr<Outcome> o) {
    anew_ = false;
    if (std::min(o->sqnr_db, kGood) >= std::min(best_->sqnr_db, kGood) - kWorthFloat) best_ = std::move(o);
  };
}

void Search::feed() {
  if (fed_ < calibration_.size() && !(fed_ > 0 && job_->enough())) {
    job_->begin_sample(calibration_[fed_++]);
  } else {
    job_->end_samples();
    fed_ = 0;
  }
}

void Search::finish_candidate() {
  ++tried_;
  Outcome& o = *current_;
  o.noise = errors_->noise(), o.sqnr_db = errors_->sqnr_db(), o.cosine = errors_->cosine();
  o.drop = errors_->drop(), o.accuracy = errors_->accuracy(), o.outputs_db = errors_->outputs_db();
  if (tried_ == 1 && for_answers()) check_answers();
  std::unique_ptr<Outcome> outcome = std::move(current_);
  if (on_outcome_) {
    const auto take = std::exchange(on_outcome_, nullptr);
    take(std::move(outcome));
    return;
  }
  keep_if_better(std::move(outcome), kBetter);
}

void Search::check_answers() {
  const auto answers = static_cast<double>(errors_->answers());
  if (answers == 0)
    throw_error(ErrorCode::kInvalidArgument,
                "target: drop compares answers, and no output has rows of two or more numbers",
                {.hint = "use a target of signal to noise, such as sqnr: 30"});
  if (answers * config_.target_drop < 1)
    warnings_.push_back(
        "only " + std::to_string(errors_->answers()) +
        " answers were compared: so few cannot show a drop as small as the target, so that no "
        "answer was allowed to change; give more samples");
}

void Search::keep_if_better(std::unique_ptr<Outcome> o, double gain) {
  if (!best_) {
    for (const LayerReport& l : o->report.layers) macs_[l.node] = l.macs;
    first_time_ = time_of(o->report);
    first_bytes_ = std::max(kSmall, static_cast<double>(o->report.weight_bytes_after));
    smooths_ = std::ranges::any_of(o->report.repairs,
                                   [](const std::string& r) { return r.starts_with("SmoothQuant:"); });
  }
  const bool better = !best_ || (worth(*o) > worth(*best_) + gain && !sacrifices(*o));
  note(*o, better);
  if (better) best_ = std::move(o);
}

void Search::note(const Outcome& o, bool kept) {
  if (!o.candidate.trial) return;
  trials_.push_back({.what = o.candidate.what,
                     .sqnr_db = o.sqnr_db,
                     .cosine = o.cosine,
                     .weight_bytes = o.report.weight_bytes_after,
                     .drop = o.drop,
                     .accuracy = o.accuracy,
                     .float_layers = o.candidate.float_layers,
                     .wide_layers = o.candidate.wide_layers,
                     .config = std::make_shared<Config>(o.candidate.config),
                     .kept = kept});
}

void Search::try_once(const Candidate& candidate, double gain) {
  steps_.push_back([this, candidate, gain]() -> std::optional<Candidate> {
    on_outcome_ = [this, gain](std::unique_ptr<Outcome> o) {
      const bool fits = config_.target_bytes == 0 ||
                        static_cast<double>(o->report.weight_bytes_after) <= config_.target_bytes;
      if (fits) {
        keep_if_better(std::move(o), gain);
      } else {
        note(*o, false);
      }
    };
    return candidate;
  });
  ++expected_;
}

void Search::conclude() {
  done_ = true;
  Report& r = best_->report;
  if (auto_ && r.layers_quantized == 0)
    warnings_.push_back("nothing in this model could be quantized: the result is the float model");
  if (r.samples == 0) r.samples = seen_;  // it calibrates nothing, and was chosen by them
  r.trials = trials_;
  r.warnings.insert(r.warnings.end(), warnings_.begin(), warnings_.end());
  for (LayerReport& l : r.layers)
    if (const auto it = sensitivity_.find(l.node); it != sensitivity_.end()) l.sensitivity = it->second;
  errors_.reset();
}

bool is_search(const Config& c) {
  return c.mode == kAuto || c.target_sqnr != 0 || c.target_bytes != 0 || c.target_drop != 0 || c.sensitivity;
}

std::unique_ptr<Job> make_search(std::shared_ptr<const Model> model, Config config, int threads) {
  return std::make_unique<Search>(std::move(model), std::move(config), threads);
}

Named about_auto() {
  return {
      kAuto, "the best of several",
      "Tries other observers, each repair and a few float layers, and keeps the best result.",
      ZP_MORE(
          "It starts from `static`, and judges by a quarter of the samples, which calibration does not see. "
          "The report's `trials` list the tries. It takes several times as long.")};
}

}  // namespace zp::quant
