// Searches: several quantizations of one model, of which the best is kept.
//
// Mode "auto" starts from static quantization with the default settings and changes one thing at a time (a
// default repair left out, the observer, how strongly activations are smoothed, products of two computed
// factors left in float, each repair), keeping what is worth it on samples that calibration has not seen. It
// is what people get who ask for nothing: it takes a few times as long as one quantization, and measures
// layers only where it may leave some in float and the outputs are not good yet.
//
// The best is so in accuracy, size and speed together. With those of the first candidate as the measure, a
// candidate is worth
//
//   min(signal to noise of the outputs, 40 dB) - 48 dB * bytes / its bytes - 24 dB * time / its time
//
// A byte has to pay what bits pay: an eighth more of them (nine bits for eight) makes 6 dB where everything
// goes well, and less is not worth having. What makes one of several outputs worse by more than 3 dB beside
// all of them together is not kept. Time is counted in multiplications, those of floats as 2.5; twice the
// time has to bring 24 dB. Above 40 dB nobody sees a difference, so that only size and speed count. The bytes
// of small models count as part of 100 kB. What quantized nothing is worth nothing. Layers that "auto" leaves
// in float by itself get float16 weights, and have no more than 5 % of the bytes and of the multiplications.
//
// Then, for "auto" and where a target or sensitivities are asked for, each layer is quantized alone and its
// effect on the outputs measured. The errors of different layers hardly correlate, so that their noise adds
// up, and the layers to spare for a target are found from that list: for a quality, as few of the worst ones
// as reach it (bisected, each step measured); for a size, those that spare the most noise for their bytes.
//
// A layer that is spared costs time (16-bit activations have no integer kernels: as float ones they run on
// float kernels) and bytes, of which float16 weights take half of what float weights do at an error of 2^-11,
// and 16-bit activations none. So those come first where they are enough, and float weights last.
#include "quant/search.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <set>
#include <string>

#include "core/decimal.h"
#include "core/error.h"
#include "core/function.h"
#include "core/sort.h"
#include "core/stopwatch.h"
#include "quant/job.h"
#include "quant/runtimes.h"
#include "quant/scheme.h"
#include "quant/spread.h"

namespace zp::quant {
namespace {

constexpr double kMostBytes = 256.0 * 1024 * 1024;  // of samples kept
constexpr size_t kMostSamples = 128;
// A share of right answers is only as fine as the answers are many.
constexpr size_t kMostSamplesForDrop = 1024;
// A quarter of the samples is held out, and all beyond so many that are not.
constexpr size_t kMostCalibrating = 96;
constexpr size_t kSensitivitySamples = 6;
constexpr size_t kQuickSamples = 2;  // where only a few layers are looked for
constexpr double kBetter = 0.1;      // dB that a change must gain to be kept
constexpr double kWideEnough = 0.1;  // share of a layer's noise that 16 bits may leave, where no sum is known
constexpr double kFewFloat =
    0.05;  // share of operations, and of bytes, that "auto" spends on float by itself
constexpr double kOfBytes = 48, kOfTime = 24;  // dB that twice as much has to bring
constexpr double kFloatTime = 2.5;             // of a multiplication of floats, in those of integers
constexpr double kSmall = 1e5;     // bytes that the bytes of a smaller model are counted as a part of
constexpr double kWorthFloat = 1;  // dB that this must gain
constexpr double kSacrificed = 3;  // dB that no output may lose beside the others
constexpr double kPoor = 25;       // dB below which "auto" also tries other schemes
constexpr double kGood = 40;       // dB above which it leaves nothing in float, and more is worth nothing

constexpr std::string_view kAsConfigured = "as configured";
constexpr std::string_view kSmooth = "smooth";
const std::set<std::string, std::less<>> kChangesGraph{"equalization", std::string(kSmooth)};

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
  Search(std::shared_ptr<const Model> model, Config config, int threads)
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
        throw_error(ErrorCode::kInvalidArgument, "a target is a positive number");
      targets += t > 0;
    }
    if (targets > 1)
      throw_error(ErrorCode::kInvalidArgument, "a quality and a size are two targets",
                  {.hint = "give one; the report lists the points between"});
    if (config_.target_drop >= 1)
      throw_error(ErrorCode::kInvalidArgument, "a drop is a share of all answers",
                  {.hint = "0.005 is half a percent"});
    samples_ = SampleKeeper(config_.target_drop > 0 ? kMostSamplesForDrop : kMostSamples, 0, kMostBytes);
  }

  // The last ones only where there are more samples than are kept.
  size_t sweeps() const override {
    return auto_ ? 1 + make_pipeline(source_, plain(), threads_)->sweeps() : 1;
  }
  bool wants_samples() const override {
    return collecting_ || (anew_ && !measuring_ && job_ && job_->wants_samples());
  }
  void begin_sample(std::vector<runtime::Feed> feeds) override {
    if (anew_) return job_->begin_sample(std::move(feeds));
    if (!config_.labels.empty() && seen_ >= config_.labels.size())
      throw_error(ErrorCode::kInvalidArgument, {"sample ", seen_ + 1, " has no label"},
                  {.hint = "give a label for each sample, in their order"});
    ++seen_;
    samples_.take(std::move(feeds));
  }
  bool enough() const override { return anew_ && job_ && job_->enough(); }
  void end_samples() override {
    if (anew_) return job_->end_samples();
    collecting_ = false;
    const size_t all = samples_.size();
    more_ = seen_ > all;
    single_ = all == 1;
    HeldOut split =
        hold_out(samples_.release(), std::max(held_out_of(all), all - std::min(all, kMostCalibrating)));
    if (single_) {
      warnings_.push_back(
          "one sample cannot show what helps: nothing was tried, and no repair was run by default");
      split.out.push_back(split.rest[0]);
      for (const std::string& repair : by_default_) std::erase(config_.repairs, repair);
      by_default_.clear();
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
    for (auto& feeds : held_out)
      std::erase_if(feeds, [](const runtime::Feed& f) { return is_target(f.name); });
    errors_ = std::make_unique<OutputErrors>(source_, std::move(held_out), std::move(labels), threads_);
    measuring_ = true;
    plan_steps();
  }

  bool advance(double milliseconds) override {
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

  void stop() override {
    stopped_ = true;
    if (job_) job_->stop();
  }
  bool done() const override { return done_; }
  Progress progress() const override {
    if (collecting_) return {.phase = "collect", .samples = seen_};
    if (done_) return {.phase = "done"};
    Progress p{.phase = phase_, .done = tried_, .total = std::max(expected_, tried_ + 1)};
    if (job_) p.training = job_->progress().training;
    return p;
  }
  std::shared_ptr<const Model> result() const override { return finished().model; }
  const Report& report() const override { return finished().report; }
  const std::map<std::string, Range, std::less<>>& ranges() const override { return finished().ranges; }

 private:
  using Step = UniqueFunction<std::optional<Candidate>()>;

  Config plain() const {
    Config c = config_;
    c.target_sqnr = c.target_bytes = c.target_drop = 0;
    c.sensitivity = false;
    c.labels.clear();
    return c;
  }

  const Outcome& finished() const {
    if (!done_) throw_error(ErrorCode::kInvalidArgument, "the quantization is not done yet");
    return *best_;
  }

  // ---- what to try

  void plan_steps() {
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
      for (const char* observer : {"mse", "percentile"})
        if (scheme_named(config_.mode).needs_calibration && config_.observer != observer)
          steps_.push_back([this, observer] {
            Candidate c = changed("observer '" + std::string(observer) + "'");
            c.config.observer = observer;
            return c;
          });
      // Each value is smoothed as much as serves the layers that read it; sometimes one strength for all
      // serves the outputs better.
      for (const double strength : {0.75, 0.95})
        steps_.push_back([this, strength]() -> std::optional<Candidate> {
          if (!smooths_ || config_.options.contains("smooth-strength")) return std::nullopt;
          Candidate c = changed("smooth-strength " + decimal(strength));
          auto& repairs = c.config.repairs;
          if (std::ranges::find(repairs, kSmooth) == repairs.end()) repairs.emplace_back(kSmooth);
          c.config.options["smooth-strength"] = strength;
          return c;
        });
      steps_.push_back([this] { return without_attention(); });
      for (const std::string_view repair :
           {std::string_view("equalization"), kSmooth, std::string_view("adaround"), std::string_view("gptq"),
            std::string_view("bias-correction")})
        steps_.push_back([this, repair]() -> std::optional<Candidate> {
          const auto& has = best_->candidate.config.repairs;
          if (std::find(has.begin(), has.end(), repair) != has.end()) return std::nullopt;
          // Scales for each channel leave channels of 8-bit weights little to be equal in.
          if ((repair == "equalization" && config_.per_channel && bits_of(config_.weights) == 8) ||
              (repair == "gptq" && bits_of(config_.weights) == 8))
            return std::nullopt;
          if (std::ranges::find(by_default_, repair) != by_default_.end()) return std::nullopt;  // see above
          Candidate c = changed(Text({"repair '", repair, "'"}).str());
          c.config.repairs.emplace_back(repair);
          // With 8 bits the single steps that end it find nearly all of what learning does, in a fraction of
          // the time.
          if (bits_of(config_.weights) == 8)
            for (const auto& [name, value] :
                 {std::pair{"adaround-iterations", 0}, {"adaround-samples", 8}, {"adaround-patches", 1024}})
              c.config.options.emplace(name, value);
          return c;
        });
      for (const char* mode : {"dynamic", "weight-only"})
        steps_.push_back([this, mode]() -> std::optional<Candidate> {
          const bool nothing = best_->report.layers_quantized == 0;
          if ((!nothing && (best_->sqnr_db > kPoor || mode != std::string_view("dynamic"))) ||
              bits_of(config_.weights) != 8 || config_.activations != DType::kUint8 ||
              config_.quantized_inputs || config_.quantized_outputs ||
              !takes_mode(runtime_named(config_.runtime), mode))
            return std::nullopt;
          Candidate c{.what = "mode '" + std::string(mode) + "'", .config = plain()};
          c.config.mode = mode;
          c.config.ranges.clear();
          return c;
        });
    }
    if (auto_ || config_.sensitivity || has_target()) steps_.push_back([this] { return plan_effects(); });
    expected_ = steps_.size();
  }

  // Products of two computed factors have no weight to make smaller, and both are rounded for them.
  std::optional<Candidate> without_attention() const {
    Candidate c = changed("products of two computed factors in float");
    for (const LayerReport& l : best_->report.layers) {
      if (!l.quantized || l.weight || macs_of(l) == 0) continue;
      if (c.config.precision.try_emplace(l.node, Precision{DType::kUndefined, DType::kUndefined}).second)
        ++c.float_layers;
    }
    return c.float_layers > 0 ? std::optional(std::move(c)) : std::nullopt;
  }

  bool has_target() const { return for_answers() || config_.target_sqnr > 0 || config_.target_bytes > 0; }
  // Nobody asked what layers do: only those matter that "auto" may leave in float.
  bool only_a_few() const { return !config_.sensitivity && !has_target(); }
  bool for_answers() const { return config_.target_drop > 0; }

  // The best so far with one thing changed; what it is called says what it has.
  Candidate changed(const std::string& what) const {
    Candidate c = best_->candidate;
    c.what = c.what == kAsConfigured ? what : c.what + " + " + what;
    return c;
  }

  void next() {
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

  // What was chosen by some of the samples, from all of them: the widest range may be in one that was not
  // kept. Unless those held out, which it has seen by then, say that it has become worse.
  void make_anew() {
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

  void feed() {
    if (fed_ < calibration_.size() && !(fed_ > 0 && job_->enough())) {
      job_->begin_sample(calibration_[fed_++]);
    } else {
      job_->end_samples();
      fed_ = 0;
    }
  }

  void finish_candidate() {
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

  void check_answers() {
    const auto answers = static_cast<double>(errors_->answers());
    if (answers == 0)
      throw_error(ErrorCode::kInvalidArgument, "a drop needs answers, and no output has rows of two or more",
                  {.hint = "use a target of signal to noise: --target sqnr=30"});
    if (answers * config_.target_drop < 1)
      warnings_.push_back(
          "only " + std::to_string(errors_->answers()) +
          " answers were compared: so few cannot show a drop as small as the target, and none "
          "at all was allowed; give more samples");
  }

  // ---- which is the best

  // Multiplications of a layer: those that shapes tell. Where they do not, each weight counts once, since
  // unknown is not none.
  double macs_of(const LayerReport& l) const {
    const auto known = macs_.find(l.node);
    const double macs = known == macs_.end() ? l.macs : known->second;
    return macs == 0 && l.weight ? static_cast<double>(l.weight->elements) : macs;
  }

  double time_of(const Report& r) const {
    double time = 0;
    for (const LayerReport& l : r.layers) {
      const bool integers = std::ranges::any_of(l.activations, [](const ActivationReport& a) {
        return a.input && a.dtype != DType::kUndefined && bits_of(a.dtype) == 8;
      });
      time += macs_of(l) * (integers ? 1 : kFloatTime);
    }
    return time;
  }

  double worth(const Outcome& o) const {
    if (o.report.layers_quantized == 0) return -std::numeric_limits<double>::infinity();
    const double db =
        std::isnan(o.sqnr_db) ? -std::numeric_limits<double>::infinity() : std::min(o.sqnr_db, kGood);
    const double time = first_time_ > 0 ? time_of(o.report) / first_time_ : 1;
    return db - kOfBytes * static_cast<double>(o.report.weight_bytes_after) / first_bytes_ - kOfTime * time;
  }

  // Whether one output pays for what all of them together gain, or for more than they lose.
  bool sacrifices(const Outcome& o) const {
    const auto heard = [](double db) { return std::isnan(db) ? -kGood : std::min(db, kGood); };
    const double change = std::min(0.0, heard(o.sqnr_db) - heard(best_->sqnr_db));
    for (size_t i = 0; i < o.outputs_db.size() && i < best_->outputs_db.size(); ++i)
      if (heard(o.outputs_db[i]) < heard(best_->outputs_db[i]) + change - kSacrificed) return true;
    return false;
  }

  void keep_if_better(std::unique_ptr<Outcome> o, double gain) {
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

  void note(const Outcome& o, bool kept) {
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

  // ---- the effect of each layer

  // Measures are made on the graph as the repairs that change it leave it: that graph is made first.
  std::optional<Candidate> plan_effects() {
    if (only_a_few() && (single_ || best_->sqnr_db > kGood)) return std::nullopt;
    phase_ = "sensitivity";
    const auto& repairs = best_->candidate.config.repairs;
    const bool graph_changed = std::any_of(repairs.begin(), repairs.end(),
                                           [](const std::string& r) { return kChangesGraph.contains(r); });
    if (!graph_changed) {
      float_source_ = source_;
      plan_layers();
      return std::nullopt;
    }
    Candidate c = best_->candidate;
    std::set<std::string> ops;
    for (const LayerReport& l : best_->report.layers) ops.insert(l.op);
    c.config.exclude_ops.assign(ops.begin(), ops.end());
    c.trial = false;
    c.samples = 1;
    c.config.training.epochs = 0;
    on_outcome_ = [this](std::unique_ptr<Outcome> o) {
      float_source_ = o->model;
      plan_layers();
    };
    return c;
  }

  // The best configuration, for the graph that it has already changed, with the ranges that it found.
  Config on_float_source() const {
    Config c = best_->candidate.config;
    std::erase_if(c.repairs, [](const std::string& r) { return kChangesGraph.contains(r); });
    for (const auto& [name, range] : best_->ranges) c.ranges.emplace(name, range);
    // What a repair added and wants left alone.
    std::set<std::string> known;
    for (const LayerReport& l : best_->report.layers)
      if (l.quantized || !l.by_name) known.insert(l.node);
    for (const Node& n : float_source_->graph.nodes)
      if (!known.contains(n.name)) c.left_float.emplace(n.name, "a repair wants it left alone");
    if (float_source_ == source_) c.left_float = best_->candidate.config.left_float;
    return c;
  }

  // One layer quantized, and nothing else.
  Candidate alone(const std::string& node) const {
    Candidate c{.what = node, .config = on_float_source()};
    c.source = float_source_;
    c.config.repairs.clear();
    c.config.training.epochs = 0;  // what its integers do, not what training makes of them
    c.config.include_nodes = {node};
    c.config.include_ops.clear();
    c.samples = only_a_few() ? kQuickSamples : kSensitivitySamples;
    c.trial = false;
    return c;
  }

  // Bytes that float16 weights add to a layer.
  static double bytes_in_half(const LayerReport& l) {
    return l.weight ? static_cast<double>(l.weight->elements) * (2.0 - bits_of(l.weight->dtype) / 8.0) : 0;
  }
  double most_bytes() const { return kFewFloat * first_bytes_; }

  void plan_layers() {
    std::vector<Step> layers;
    double all = 0;
    for (const LayerReport& l : best_->report.layers) all += l.quantized ? macs_of(l) : 0;
    const double most = only_a_few() ? kFewFloat * all : all;
    for (const LayerReport& l : best_->report.layers) {
      if (!l.quantized || macs_of(l) == 0 || macs_of(l) > most ||
          (only_a_few() && bytes_in_half(l) > most_bytes()))
        continue;
      layers.push_back([this, l]() -> std::optional<Candidate> {
        Candidate c = alone(l.node);
        on_outcome_ = [this, l](std::unique_ptr<Outcome> o) {
          effects_.push_back(
              {.node = l.node, .noise = o->noise, .macs = macs_of(l), .bytes = bytes_in_half(l)});
          sensitivity_[l.node] = {o->sqnr_db, o->cosine};
        };
        return c;
      });
    }
    layers.push_back([this]() -> std::optional<Candidate> {
      plan_mixed();
      return std::nullopt;
    });
    steps_.insert(steps_.begin() + static_cast<std::ptrdiff_t>(at_), std::make_move_iterator(layers.begin()),
                  std::make_move_iterator(layers.end()));
    expected_ = tried_ + layers.size();
  }

  // ---- mixed precision

  Candidate leaving(const std::vector<std::string>& nodes) const {
    // Nodes that the repairs of the graph removed or renamed do not occur: names come from their report.
    Candidate c = best_->candidate;
    for (const std::string& n : nodes)
      c.config.left_float.emplace(n, "left in float by the search, which measured what rounding it costs");
    c.what += " + " + std::to_string(nodes.size()) + (nodes.size() == 1 ? " layer" : " layers") + " in float";
    c.float_layers = nodes.size();
    return c;
  }

  // Those of the worst layers with 16-bit activations for which that is enough, if `wide`; the others with
  // float activations and float16 weights.
  Candidate sparing(const std::vector<const Effect*>& layers, bool wide) const {
    Candidate c = best_->candidate;
    const DType wider = is_signed_integer(c.config.activations) ? DType::kInt16 : DType::kUint16;
    for (const Effect* e : layers) {
      Precision& p = c.config.precision.try_emplace(e->node, Precision{{}, c.config.weights}).first->second;
      if (wide && e->wide) {
        p.activations = wider;
        ++c.wide_layers;
      } else {
        p = {DType::kUndefined, DType::kFloat16};
        ++c.float_layers;
      }
    }
    const auto say = [&](size_t count, std::string_view what) {
      if (count > 0) c.what += Text({" + ", count, count == 1 ? " layer " : " layers ", what}).str();
    };
    say(c.wide_layers, "with 16-bit activations");
    say(c.float_layers, "in float (float16 weights)");
    return c;
  }

  void plan_mixed() {
    phase_ = "mixed precision";
    sort_small(effects_, [](const Effect& a, const Effect& b) { return a.noise > b.noise; });
    if (config_.target_sqnr > 0 || for_answers()) {
      for_quality();
    } else if (config_.target_bytes > 0) {
      for_size();
    } else if (auto_) {
      a_few();
    }
  }

  std::vector<const Effect*> worst(size_t count) const {
    std::vector<const Effect*> layers;
    for (size_t i = 0; i < count; ++i) layers.push_back(&effects_[i]);
    return layers;
  }

  bool reaches(const Outcome& o) const {
    return for_answers() ? o.drop <= config_.target_drop : o.sqnr_db >= config_.target_sqnr;
  }

  void for_quality() {
    if (reaches(*best_) || effects_.empty()) return;
    low_ = 0, high_ = effects_.size();
    try_worst();
  }
  // Sparing more layers is never worse, as far as noise adds up: twice as many until the target is reached,
  // then half the way between what reached it and what did not.
  void try_worst() {
    const size_t all = effects_.size();
    const size_t count = reached_ ? (low_ + high_) / 2 : std::min(all, std::max<size_t>(1, 2 * low_));
    steps_.push_back([this, count, all]() -> std::optional<Candidate> {
      on_outcome_ = [this, count, all](std::unique_ptr<Outcome> o) {
        note(*o, false);
        if (reaches(*o)) {
          high_ = count;
          reached_ = std::move(o);
        } else {
          low_ = count;
          if (!nearest_ || o->sqnr_db > nearest_->sqnr_db) nearest_ = std::move(o);
        }
        if (reached_ ? high_ - low_ > 1 : low_ < all) {
          try_worst();
        } else if (reached_) {
          const DType wider = is_signed_integer(config_.activations) ? DType::kInt16 : DType::kUint16;
          if (runtime_named(config_.runtime).activations.has(wider)) {
            try_wide();
          } else {
            take_mixed();
          }
        } else {
          try_all_float();
        }
      };
      return sparing(worst(count), false);
    });
    ++expected_;
  }

  // Each of the layers that have to be spared alone with 16-bit activations; then all those together for
  // which that is enough.
  void try_wide() {
    for (size_t i = 0; i < high_; ++i) {
      steps_.push_back([this, i]() -> std::optional<Candidate> {
        Candidate c = alone(effects_[i].node);
        const DType wider = is_signed_integer(c.config.activations) ? DType::kInt16 : DType::kUint16;
        c.config.precision[effects_[i].node] = {wider, c.config.weights};
        on_outcome_ = [this, i](std::unique_ptr<Outcome> o) { effects_[i].wide_noise = o->noise; };
        return c;
      });
    }
    steps_.push_back([this]() -> std::optional<Candidate> {
      choose_wide();
      Candidate c = sparing(worst(high_), true);
      if (c.wide_layers == 0) {
        take_mixed();
        return std::nullopt;
      }
      on_outcome_ = [this](std::unique_ptr<Outcome> o) {
        note(*o, false);
        if (reaches(*o)) reached_ = std::move(o);
        take_mixed();
      };
      return c;
    });
    expected_ += high_ + 1;
  }

  // As many as the noise has room for that the target leaves, those with the least first.
  void choose_wide() {
    std::vector<Effect*> layers;
    for (size_t i = 0; i < high_; ++i) layers.push_back(&effects_[i]);
    sort_small(layers, [](const Effect* a, const Effect* b) { return a->wide_noise < b->wide_noise; });
    double room = std::pow(10, -config_.target_sqnr / 10) - reached_->noise;
    for (Effect* e : layers) {
      e->wide = for_answers() ? e->wide_noise <= kWideEnough * e->noise : e->wide_noise <= room;
      if (e->wide) room -= e->wide_noise;
    }
  }

  void try_all_float() {
    steps_.push_back([this]() -> std::optional<Candidate> {
      on_outcome_ = [this](std::unique_ptr<Outcome> o) {
        note(*o, false);
        if (reaches(*o)) reached_ = std::move(o);
        take_mixed();
      };
      std::vector<std::string> nodes;
      for (const Effect& e : effects_) nodes.push_back(e.node);
      return leaving(nodes);
    });
    ++expected_;
  }

  void take_mixed() {
    if (!reached_ && nearest_ && nearest_->sqnr_db > best_->sqnr_db) reached_ = std::move(nearest_);
    if (!reached_) return;
    best_ = std::move(reached_);
    for (Trial& t : trials_) t.kept = t.what == best_->candidate.what;
    if (!reaches(*best_))
      warnings_.push_back("the target was not reached, even with all layers that have weights in float");
  }

  void for_size() {
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

  // Layers that pay for their bytes and their time, those that spare the most noise for them first.
  void a_few() {
    double all = 0, sum = 0;
    for (const LayerReport& l : best_->report.layers) all += l.quantized ? macs_of(l) : 0;
    for (const Effect& e : effects_) sum += e.noise;
    if (!(sum > 0)) return;
    const auto cost = [&](const Effect& e) {
      const double time = first_time_ > 0 ? (kFloatTime - 1) * e.macs / first_time_ : 0;
      return kOfBytes * e.bytes / first_bytes_ + kOfTime * time;
    };
    std::vector<const Effect*> by_worth = worst(effects_.size());
    sort_small(by_worth, [&](const Effect* a, const Effect* b) {
      const double x = a->noise * (cost(*b) + 1e-6), y = b->noise * (cost(*a) + 1e-6);
      return x != y ? x > y : a->node < b->node;
    });
    double macs = 0, bytes = 0, noise = 0, costs = 0, best = 0;
    std::vector<const Effect*> layers;
    size_t count = 0;
    for (const Effect* e : by_worth) {
      if (macs + e->macs > kFewFloat * all || bytes + e->bytes > most_bytes() || e->noise < 0.01 * sum)
        continue;
      macs += e->macs, bytes += e->bytes, noise += e->noise, costs += cost(*e);
      layers.push_back(e);
      const double gain = -10 * std::log10(std::max(1 - noise / sum, 1e-9)) - costs;
      if (gain > best) best = gain, count = layers.size();
    }
    layers.resize(count);
    if (best >= kWorthFloat) try_once(sparing(layers, false), kWorthFloat);
  }

  void try_once(const Candidate& candidate, double gain) {
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

  void conclude() {
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

  std::shared_ptr<const Model> source_, float_source_;
  Config config_;
  int threads_;
  bool auto_ = false;
  std::vector<std::string> by_default_;  // repairs that run because nobody named any

  bool more_ = false, anew_ = false;  // samples than were kept; it is made from all of them
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

}  // namespace

bool is_search(const Config& c) {
  return c.mode == kAuto || c.target_sqnr != 0 || c.target_bytes != 0 || c.target_drop != 0 || c.sensitivity;
}

std::unique_ptr<Job> make_search(std::shared_ptr<const Model> model, Config config, int threads) {
  return std::make_unique<Search>(std::move(model), std::move(config), threads);
}

std::vector<std::string_view> mode_names() {
  std::vector<std::string_view> names = scheme_names();
  names.insert(names.begin(), kAuto);
  return names;
}

}  // namespace zp::quant
