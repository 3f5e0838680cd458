// Searches: several quantizations of one model, of which the best is kept.
//
// Mode "auto" starts from static quantization with the default settings and changes one thing at a time (the
// observer, then each repair), keeping what makes the outputs better on samples that calibration has not
// seen. It is what people get who ask for nothing: it takes a few times as long as one quantization, and
// measures layers only where it may leave them in float and the outputs are not good yet.
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

#include "core/error.h"
#include "core/function.h"
#include "core/sort.h"
#include "core/stopwatch.h"
#include "quant/job.h"
#include "quant/scheme.h"

namespace zp::quant {
namespace {

constexpr double kMostBytes = 256.0 * 1024 * 1024;  // of samples kept
constexpr size_t kMostSamples = 128;
// A share of right answers is only as fine as the answers are many.
constexpr size_t kMostSamplesForDrop = 1024;
constexpr size_t kEvery = 4;             // every fourth sample is held out,
constexpr size_t kMostCalibrating = 96;  // and all that come after so many that are not
constexpr size_t kSensitivitySamples = 6;
constexpr size_t kQuickSamples = 2;  // where only a few layers are looked for
constexpr double kBetter = 0.1;      // dB that a change must gain to be kept
constexpr double kWideEnough = 0.1;  // share of a layer's noise that 16 bits may leave, where no sum is known
constexpr double kFewFloat = 0.05;   // share of the operations that "auto" leaves in float by itself
constexpr double kWorthFloat = 1;    // dB that this must gain
constexpr double kPoor = 25;         // dB below which "auto" also tries other schemes
constexpr double kGood = 40;         // dB above which it leaves nothing in float

constexpr std::string_view kAsConfigured = "as configured";
const std::set<std::string, std::less<>> kChangesGraph{"equalization", "smooth"};

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
    config_ = with_default_repairs(std::move(config_));
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
    most_samples_ = config_.target_drop > 0 ? kMostSamplesForDrop : kMostSamples;
  }

  size_t sweeps() const override { return 1; }
  bool wants_samples() const override { return collecting_; }
  void begin_sample(std::vector<runtime::Feed> feeds) override {
    double bytes = 0;
    for (const runtime::Feed& f : feeds) bytes += static_cast<double>(f.tensor.bytes());
    if (enough() || (!samples_.empty() && bytes_ + bytes > kMostBytes)) {
      full_ = true;
      return;
    }
    if (!config_.labels.empty() && samples_.size() >= config_.labels.size())
      throw_error(ErrorCode::kInvalidArgument, {"sample ", samples_.size() + 1, " has no label"},
                  {.hint = "give a label for each sample, in their order"});
    bytes_ += bytes;
    samples_.push_back(std::move(feeds));
  }
  bool enough() const override { return full_ || samples_.size() >= most_samples_; }
  void end_samples() override {
    collecting_ = false;
    OutputErrors::Samples held_out;
    std::vector<int32_t> labels;
    // With very few samples there is nothing to hold out: then the choice is made on what calibrated.
    const bool few = samples_.size() < kEvery;
    if (few)
      warnings_.push_back("too few samples to hold some out: the best was chosen on those it was made from");
    for (size_t i = 0; i < samples_.size(); ++i) {
      const bool out = i % kEvery == kEvery - 1 || calibration_.size() >= kMostCalibrating;
      if (few || out) {
        held_out.push_back(samples_[i]);
        if (!config_.labels.empty()) labels.push_back(config_.labels[i]);
      }
      if (few || !out) calibration_.push_back(samples_[i]);
    }
    samples_.clear();
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
        if (job_->wants_samples()) {
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
    if (collecting_) return {.phase = "collect", .samples = samples_.size()};
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
    if (auto_) {
      for (const char* observer : {"mse", "percentile"})
        if (scheme_named(config_.mode).needs_calibration && config_.observer != observer)
          steps_.push_back([this, observer] {
            Candidate c = changed("observer '" + std::string(observer) + "'");
            c.config.observer = observer;
            return c;
          });
      for (const std::string_view repair : {"equalization", "smooth", "adaround", "bias-correction"})
        steps_.push_back([this, repair]() -> std::optional<Candidate> {
          const auto& has = best_->candidate.config.repairs;
          if (std::find(has.begin(), has.end(), repair) != has.end()) return std::nullopt;
          // Scales for each channel leave channels of 8-bit weights little to be equal in.
          if (repair == "equalization" && config_.per_channel && bits_of(config_.weights) == 8)
            return std::nullopt;
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
      steps_.push_back([this]() -> std::optional<Candidate> {
        if (best_->sqnr_db > kPoor || bits_of(config_.weights) != 8 || config_.activations != DType::kUint8 ||
            config_.quantized_inputs || config_.quantized_outputs)
          return std::nullopt;
        Candidate c{.what = "mode 'dynamic'", .config = plain()};
        c.config.mode = "dynamic";
        c.config.ranges.clear();
        return c;
      });
    }
    if (auto_ || config_.sensitivity || has_target()) steps_.push_back([this] { return plan_effects(); });
    expected_ = steps_.size();
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
    if (at_ == steps_.size()) return conclude();
    const Step step = std::move(steps_[at_++]);
    std::optional<Candidate> c = step();
    if (!c) return;
    if (stopped_) c->config.training.epochs = 0;
    current_ = std::make_unique<Outcome>();
    job_ = make_pipeline(c->source ? c->source : source_, c->config, threads_);
    current_->candidate = std::move(*c);
    fed_ = 0;
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
    o.drop = errors_->drop(), o.accuracy = errors_->accuracy();
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

  void keep_if_better(std::unique_ptr<Outcome> o, double gain) {
    const bool better = !best_ || o->sqnr_db > best_->sqnr_db + gain ||
                        (std::isinf(o->sqnr_db) && !std::isinf(best_->sqnr_db));
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
    if (only_a_few() && best_->sqnr_db > kGood) return std::nullopt;
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
      if (l.quantized || l.why != kExcluded) known.insert(l.node);
    for (const Node& n : float_source_->graph.nodes)
      if (!known.contains(n.name)) c.exclude_nodes.push_back(n.name);
    if (float_source_ == source_) c.exclude_nodes = best_->candidate.config.exclude_nodes;
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

  void plan_layers() {
    std::vector<Step> layers;
    double all = 0;
    for (const LayerReport& l : best_->report.layers) all += l.quantized ? l.macs : 0;
    const double most = only_a_few() ? kFewFloat * all : all;
    for (const LayerReport& l : best_->report.layers) {
      if (!l.quantized || (l.macs == 0 && !l.weight) || l.macs > most) continue;
      layers.push_back([this, l]() -> std::optional<Candidate> {
        Candidate c = alone(l.node);
        on_outcome_ = [this, l](std::unique_ptr<Outcome> o) {
          Effect e{.node = l.node, .noise = o->noise, .macs = l.macs};
          if (l.weight)
            e.bytes = static_cast<double>(l.weight->elements) * (2.0 - bits_of(l.weight->dtype) / 8.0);
          effects_.push_back(std::move(e));
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
    c.config.exclude_nodes.insert(c.config.exclude_nodes.end(), nodes.begin(), nodes.end());
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
          try_wide();
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

  void a_few() {
    double macs = 0, all = 0, noise = 0, sum = 0;
    for (const LayerReport& l : best_->report.layers) all += l.quantized ? l.macs : 0;
    for (const Effect& e : effects_) sum += e.noise;
    std::vector<std::string> nodes;
    for (const Effect& e : effects_) {
      if (macs + e.macs > kFewFloat * all || e.noise < 0.01 * sum) continue;
      macs += e.macs, noise += e.noise;
      nodes.push_back(e.node);
    }
    if (sum > 0 && -10 * std::log10(std::max(1 - noise / sum, 1e-9)) >= kWorthFloat && !nodes.empty())
      try_once(leaving(nodes), kWorthFloat);
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
    r.trials = trials_;
    r.warnings.insert(r.warnings.end(), warnings_.begin(), warnings_.end());
    for (LayerReport& l : r.layers)
      if (const auto it = sensitivity_.find(l.node); it != sensitivity_.end()) l.sensitivity = it->second;
    errors_.reset();
  }

  static constexpr std::string_view kExcluded = "excluded by its name";

  std::shared_ptr<const Model> source_, float_source_;
  Config config_;
  int threads_;
  bool auto_ = false;
  size_t most_samples_ = kMostSamples;

  bool collecting_ = true, full_ = false, stopped_ = false, done_ = false;
  double bytes_ = 0;
  std::vector<std::vector<runtime::Feed>> samples_, calibration_;

  std::vector<Step> steps_;
  size_t at_ = 0, tried_ = 0, expected_ = 0;
  std::string_view phase_ = "search";
  std::unique_ptr<Job> job_;
  size_t fed_ = 0;
  std::unique_ptr<Outcome> current_, best_;
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
