// What a caller drives: a job, the road of samples into it, and the errors of layers, which are measured
// last.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/stopwatch.h"
#include "onnx/onnx.h"
#include "ops/fused.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "quant/feeder.h"
#include "quant/quant.h"
#include "quant/quantization_job.h"
#include "quant/runtimes.h"
#include "quant/scheme.h"

namespace zp::quant {

namespace {

// The model with the operators whole that its runtime computes as one.
std::shared_ptr<const Model> with_fused(std::shared_ptr<const Model> model, const Config& config) {
  const RuntimeRules& rules = runtime_named(config.runtime);
  if (!rules.fused || !has_pieces(model->graph)) return model;
  Graph graph = clone(model->graph);
  const std::string why =
      "stays whole, in float: " + std::string(rules.title) + " computes it as one operator";
  const bool ranges = config.mode == kAuto || scheme_named(config.mode).needs_calibration;
  const auto whole = [&](const Node& node) {
    const OpDef* def = find_op(node);
    return rules.takes(node) && !(ranges && def && def->pieces_have_ranges);
  };
  if (!join_fused(graph, why, whole)) return model;
  auto own = std::make_shared<Model>(*model);
  own->graph = std::move(graph);
  own->keeps_fused = true;
  return own;
}

}  // namespace

// A search compares outputs: where an operator is not known here, there are none.
std::unique_ptr<Job> make_job(std::shared_ptr<const Model> model, Config config, int threads) {
  onnx::versions_of(*model);  // throws now where what comes out could not be written
  adapt_to_runtime(config);
  model = with_fused(std::move(model), config);
  if (!is_search(config)) return make_pipeline(std::move(model), std::move(config), threads);
  const bool target = config.target_sqnr > 0 || config.target_bytes > 0 || config.target_drop > 0;
  if (unsupported_operators(model->graph).empty() || target || config.sensitivity || config.mode != kAuto) {
    return make_search(std::move(model), std::move(config), threads);
  }
  config.mode = "static";
  return make_pipeline(std::move(model), std::move(config), threads);
}

bool needs_samples(std::shared_ptr<const Model> model, Config config) {
  return make_job(std::move(model), std::move(config), 1)->sweeps() > 0;
}

namespace {

// The first samples, as the model itself is fed.
class FirstSamples {
 public:
  explicit FirstSamples(size_t most) : most_(most) {}
  // False: there was no room for it.
  bool take(std::vector<runtime::Feed> feeds) {
    if (samples_.size() >= most_) return false;
    std::erase_if(feeds, [](const runtime::Feed& f) { return is_target(f.name); });
    double bytes = bytes_;
    for (const runtime::Feed& f : feeds) bytes += static_cast<double>(f.tensor.bytes());
    if (bytes > kMostBytes) return false;
    bytes_ = bytes;
    samples_.push_back(std::move(feeds));
    return true;
  }
  size_t size() const { return samples_.size(); }
  bool full() const { return samples_.size() == most_; }
  const std::vector<runtime::Feed>& operator[](size_t i) const { return samples_[i]; }
  void clear() { samples_.clear(); }

 private:
  static constexpr double kMostBytes = 64.0 * 1024 * 1024;
  size_t most_;
  double bytes_ = 0;
  std::vector<std::vector<runtime::Feed>> samples_;
};

}  // namespace

class Quantizer::Impl {
 public:
  Impl(std::shared_ptr<const Model> model, Config config, int threads, Feeding feeding)
      : source_(model),
        threads_(threads),
        first_(feeding.layer_errors),
        collects_(feeding.layer_errors > 0 && config.has_samples),
        job_(make_job(std::move(model), std::move(config), threads)) {
    collects_ = collects_ && job_->sweeps() == 0;
    if (feeding.keep) feeder_.emplace(*job_, feeding.once);
  }

  size_t sweeps() const { return job_->sweeps(); }

  bool advance(double milliseconds) {
    const Stopwatch watch(milliseconds);
    const auto left = [&] { return std::max(0.0, milliseconds - watch.milliseconds()); };
    while (stand_ == Stand::kJob) {
      if (!job_->advance(left())) return false;
      running_ = false;
      if (job_->done()) {
        stand_ = collects_ ? Stand::kCollect : first_.size() > 0 ? Stand::kReady : Stand::kDone;
        break;
      }
      if (!feeder_ || !feeder_->feed()) return true;
      running_ = feeder_->given() > 0 && !job_->wants_samples();
      if (watch.over()) return false;
    }
    while (stand_ == Stand::kMeasure) {
      if (!running_) errors_->begin(first_[measured_]);
      running_ = true;
      while (!errors_->advance(left()))
        if (watch.over()) return false;
      running_ = false;
      if (++measured_ == first_.size()) conclude();
      if (watch.over()) return stand_ == Stand::kDone;
    }
    return true;
  }

  bool wants_samples() const {
    return stand_ == Stand::kCollect || (stand_ == Stand::kJob && job_->wants_samples());
  }
  size_t wanted() const {
    return stand_ == Stand::kCollect ? first_.size() : feeder_ ? feeder_->wanted() : 0;
  }
  size_t sweep() const { return feeder_ ? feeder_->sweep() : 0; }
  void begin_sample(std::vector<runtime::Feed> feeds) {
    if (stand_ == Stand::kCollect) {
      if (!first_.take(std::move(feeds)) || first_.full()) end_samples();
      return;
    }
    if (sweep() == 0) first_.take(feeds);
    if (feeder_)
      feeder_->give(std::move(feeds));
    else
      job_->begin_sample(std::move(feeds));
    running_ = !job_->wants_samples();
  }
  bool enough() const { return stand_ == Stand::kJob && job_->enough(); }
  void end_samples() {
    if (stand_ == Stand::kCollect)
      stand_ = first_.size() > 0 ? Stand::kReady : Stand::kDone;
    else if (feeder_)
      feeder_->end();
    else
      job_->end_samples();
  }
  void stop() { job_->stop(); }

  bool measures() const { return stand_ == Stand::kReady; }
  void measure() {
    if (!measures()) throw_error(ErrorCode::kInvalidArgument, "there are no errors to measure now");
    errors_ = std::make_unique<LayerErrors>(source_, job_->result(), threads_);
    stand_ = Stand::kMeasure;
  }

  bool done() const { return stand_ == Stand::kDone; }
  Progress progress() const {
    if (stand_ == Stand::kJob || (stand_ == Stand::kDone && measured_ == 0)) {
      Progress p = job_->progress();
      p.running = running_;
      p.expected = feeder_ ? feeder_->count() : 0;
      return p;
    }
    Progress p{.phase = "measure", .samples = first_.size(), .expected = first_.size()};
    if (stand_ == Stand::kMeasure) {
      p.samples = measured_ + 1;
      p.running = true;
      if (running_) p.done = errors_->done(), p.total = errors_->total();
    }
    if (stand_ == Stand::kDone) p.done = p.total = measured_;
    return p;
  }

  std::shared_ptr<const Model> result() const { return job_->result(); }
  Report report() const {
    Report report = job_->report();
    for (LayerReport& l : report.layers)
      if (const auto it = found_.find(l.output); it != found_.end()) l.error = it->second;
    return report;
  }
  std::map<std::string, Range, std::less<>> ranges() const { return job_->ranges(); }

 private:
  enum class Stand : uint8_t {
    kJob,
    kCollect,  // samples to measure on, which the job did not need
    kReady,    // to measure
    kMeasure,
    kDone,
  };

  void conclude() {
    for (LayerError& e : errors_->result()) found_[e.output] = std::move(e);
    errors_.reset();
    first_.clear();
    stand_ = Stand::kDone;
  }

  std::shared_ptr<const Model> source_;
  int threads_;
  FirstSamples first_;
  bool collects_;
  std::unique_ptr<Job> job_;
  std::optional<Feeder> feeder_;
  Stand stand_ = Stand::kJob;
  bool running_ = false;  // a sample
  std::unique_ptr<LayerErrors> errors_;
  size_t measured_ = 0;
  std::map<std::string, LayerError, std::less<>> found_;  // by output
};

Quantizer::Quantizer(std::shared_ptr<const Model> model, Config config, int threads, Feeding feeding)
    : impl_(std::make_unique<Impl>(std::move(model), std::move(config), threads, feeding)) {}
Quantizer::~Quantizer() = default;
size_t Quantizer::sweeps() const { return impl_->sweeps(); }
bool Quantizer::advance(double milliseconds) { return impl_->advance(milliseconds); }
bool Quantizer::wants_samples() const { return impl_->wants_samples(); }
size_t Quantizer::wanted() const { return impl_->wanted(); }
size_t Quantizer::sweep() const { return impl_->sweep(); }
void Quantizer::begin_sample(std::vector<runtime::Feed> feeds) { impl_->begin_sample(std::move(feeds)); }
bool Quantizer::enough() const { return impl_->enough(); }
void Quantizer::end_samples() { impl_->end_samples(); }
void Quantizer::stop() { impl_->stop(); }
bool Quantizer::measures() const { return impl_->measures(); }
void Quantizer::measure() { impl_->measure(); }
bool Quantizer::done() const { return impl_->done(); }
Progress Quantizer::progress() const { return impl_->progress(); }
Model Quantizer::result() const { return *impl_->result(); }
Report Quantizer::report() const { return impl_->report(); }
std::map<std::string, Range, std::less<>> Quantizer::ranges() const { return impl_->ranges(); }

}  // namespace zp::quant
