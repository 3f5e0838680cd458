#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "ops/infer.h"
#include "train/backward.h"

namespace zp::train {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// SplitMix64 (Steele et al. 2014): the same numbers on every machine, which std::shuffle does not promise.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  void shuffle(std::vector<size_t>& list) {
    for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[next() % i]);
  }

 private:
  uint64_t state_;
};

// Of the validation sets, one is enough to tell epochs apart.
constexpr size_t kFewestForValidation = 20, kMostForValidation = 1000;
constexpr double kLossMemory = 0.95;  // of the running mean that is shown

}  // namespace

class Trainer::Impl {
 public:
  Impl(Problem problem, Samples samples, const quant::Training& settings, int threads)
      : settings_(settings),
        samples_(std::move(samples)),
        parameters_(copied(problem.parameters)),  // theirs may be a model's
        random_(settings.seed) {
    if (samples_.count() == 0) throw Error(ErrorCode::kInvalidArgument, "there are no samples to train on");
    build(std::move(problem.graph), problem.loss, threads);
    split();
    batch_ = std::min<size_t>(static_cast<size_t>(std::max(1, settings.batch)), order_.size());
    per_epoch_ = std::max<size_t>(1, order_.size() / batch_);
    steps_ = per_epoch_ * static_cast<size_t>(settings.epochs);
    optimizer_ = std::make_unique<Optimizer>(settings, parameters_, steps_);
    best_ = copied(parameters_);
    progress_.epochs = settings.epochs;
    progress_.steps = steps_;
    begin_validation();
  }

  bool advance(double milliseconds) {
    const auto start = Clock::now();
    while (phase_ != Phase::kDone) {
      runtime::Session& session = phase_ == Phase::kStep ? *training_ : *evaluation_;
      if (!session.advance(std::max(0.1, milliseconds - since(start)))) return false;
      if (phase_ == Phase::kStep) {
        end_part();
      } else {
        end_validation_batch();
      }
      if (since(start) >= milliseconds) break;
    }
    return phase_ == Phase::kDone;
  }

  void stop() { stopped_ = true; }
  bool done() const { return phase_ == Phase::kDone; }
  const std::vector<Parameter>& best() const { return best_; }
  quant::TrainingProgress progress() const {
    quant::TrainingProgress p = progress_;
    p.remaining_milliseconds = p.step_milliseconds * static_cast<double>(steps_ - std::min(steps_, step_));
    return p;
  }

 private:
  enum class Phase : uint8_t { kValidation, kStep, kDone };

  static std::vector<Parameter> copied(const std::vector<Parameter>& from) {
    std::vector<Parameter> to = from;
    for (Parameter& p : to) p.value = Tensor::of<float>(p.value.dims(), p.value.data<float>());
    return to;
  }

  void build(Graph graph, ValueId loss, int threads) {
    infer_shapes(graph);
    const auto evaluation = std::make_shared<Model>();
    evaluation->graph = graph;
    evaluation->graph.outputs = {loss};
    remove_unused(evaluation->graph);
    std::vector<ValueId> values;
    for (const Parameter& p : parameters_) values.push_back(graph.find(p.name));
    if (settings_.freeze) freeze(graph, loss, values);
    const std::vector<ValueId> gradients = add_gradients(graph, loss, values);
    // What the loss does not depend on is not trained.
    std::vector<Parameter> trained, idle;
    graph.outputs = {loss};
    for (size_t i = 0; i < parameters_.size(); ++i) {
      (gradients[i] == kNoValue ? idle : trained).push_back(std::move(parameters_[i]));
      if (gradients[i] != kNoValue) graph.outputs.push_back(gradients[i]);
    }
    if (trained.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "there is nothing to train: no parameter has an influence on the loss");
    }
    parameters_ = std::move(trained);
    idle_ = std::move(idle);
    remove_unused(graph);
    const auto training = std::make_shared<Model>();
    training->graph = std::move(graph);
    const runtime::SessionOptions options{.threads = threads, .integer = false, .taps = {}};
    training_ = std::make_unique<runtime::Session>(training, options);
    evaluation_ = std::make_unique<runtime::Session>(evaluation, options);
  }

  // Leaves out of `of` what reaches the loss through an operator without a gradient.
  void freeze(const Graph& graph, ValueId loss, std::vector<ValueId>& of) {
    std::vector<Parameter> kept;
    std::vector<ValueId> values;
    for (size_t i = 0; i < of.size(); ++i) {
      const bool open = without_gradient(graph, loss, {of[i]}).empty();
      if (open) values.push_back(of[i]);
      (open ? kept : idle_).push_back(std::move(parameters_[i]));
    }
    parameters_ = std::move(kept);
    of = std::move(values);
  }

  void split() {
    order_.resize(samples_.count());
    std::iota(order_.begin(), order_.end(), size_t{0});
    random_.shuffle(order_);
    size_t aside = static_cast<size_t>(static_cast<double>(order_.size()) * settings_.validation);
    if (order_.size() < kFewestForValidation) aside = 0;
    aside = std::min(aside, kMostForValidation);
    validation_.assign(order_.end() - static_cast<std::ptrdiff_t>(aside), order_.end());
    order_.resize(order_.size() - aside);
    if (validation_.empty()) {
      validation_.assign(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(
                                                              std::min(order_.size(), kMostForValidation)));
    }
  }

  std::vector<runtime::Feed> feeds(const std::vector<size_t>& which) const {
    std::vector<runtime::Feed> list = samples_.batch(which);
    for (const std::vector<Parameter>* from : {&parameters_, &idle_})
      for (const Parameter& p : *from) list.push_back({p.name, p.value});
    return list;
  }

  // ---- steps: one run of a batch, or as many runs as it has samples

  void begin_step() {
    phase_ = Phase::kStep;
    step_start_ = Clock::now();
    if (step_ % per_epoch_ == 0) random_.shuffle(order_);
    const size_t first = step_ % per_epoch_ * batch_;
    step_samples_.assign(order_.begin() + static_cast<std::ptrdiff_t>(first),
                         order_.begin() + static_cast<std::ptrdiff_t>(first + batch_));
    part_ = 0;
    parts_ = samples_.stackable() ? 1 : step_samples_.size();
    begin_part();
  }

  void begin_part() {
    training_->begin(feeds(samples_.stackable() ? step_samples_ : std::vector<size_t>{step_samples_[part_]}));
  }

  void end_part() {
    std::vector<Tensor> out = training_->outputs();
    const double loss = out[0].floats()[0];
    out.erase(out.begin());
    if (part_ == 0) {
      gradients_ = std::move(out);
      step_loss_ = loss;
    } else {
      step_loss_ += loss;
      for (size_t p = 0; p < out.size(); ++p) {
        const std::span<float> sum = gradients_[p].mutable_data<float>();
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += out[p].data<float>()[i];
      }
    }
    if (++part_ < parts_) return begin_part();
    if (parts_ > 1) {
      for (Tensor& g : gradients_)
        for (float& v : g.mutable_data<float>()) v /= static_cast<float>(parts_);
    }
    end_step(step_loss_ / static_cast<double>(parts_));
  }

  void end_step(double loss) {
    if (!std::isfinite(loss)) {
      throw Error(ErrorCode::kInvalidArgument, "training diverged: the loss is not finite",
                  {.node = {}, .op = {}, .tensor = {}, .hint = "use a smaller learning rate"});
    }
    optimizer_->step(parameters_, gradients_);
    ++step_;
    progress_.step = step_;
    progress_.epoch = static_cast<int>((step_ - 1) / per_epoch_) + 1;
    progress_.loss = step_ == 1 ? loss : kLossMemory * progress_.loss + (1 - kLossMemory) * loss;
    const double spent = since(step_start_);
    progress_.step_milliseconds =
        step_ == 1 ? spent : kLossMemory * progress_.step_milliseconds + (1 - kLossMemory) * spent;
    if (stopped_ || step_ % per_epoch_ == 0) {
      begin_validation();
    } else {
      begin_step();
    }
  }

  // ---- validation

  void begin_validation() {
    phase_ = Phase::kValidation;
    validated_ = 0;
    validation_sum_ = 0;
    begin_validation_batch();
  }

  void begin_validation_batch() {
    const size_t most = samples_.stackable() ? batch_ : 1;
    const size_t end = std::min(validation_.size(), validated_ + most);
    pending_ = end - validated_;
    evaluation_->begin(feeds({validation_.begin() + static_cast<std::ptrdiff_t>(validated_),
                              validation_.begin() + static_cast<std::ptrdiff_t>(end)}));
  }

  void end_validation_batch() {
    validation_sum_ += evaluation_->outputs()[0].floats()[0] * static_cast<double>(pending_);
    validated_ += pending_;
    if (validated_ < validation_.size()) return begin_validation_batch();
    const double loss = validation_sum_ / static_cast<double>(validation_.size());
    progress_.validation_loss = loss;
    if (step_ == 0) {
      progress_.first_loss = progress_.best_loss = progress_.loss = loss;
    } else if (loss < progress_.best_loss) {
      progress_.best_loss = loss;
      best_ = copied(parameters_);
    }
    if (stopped_ || step_ >= steps_) {
      phase_ = Phase::kDone;
    } else {
      begin_step();
    }
  }

  quant::Training settings_;
  Samples samples_;
  std::vector<Parameter> parameters_, idle_, best_;
  Random random_;
  std::unique_ptr<runtime::Session> training_, evaluation_;
  std::unique_ptr<Optimizer> optimizer_;

  std::vector<size_t> order_, validation_;
  size_t batch_ = 1, per_epoch_ = 1, steps_ = 0;
  Phase phase_ = Phase::kValidation;
  bool stopped_ = false;
  size_t step_ = 0, part_ = 0, parts_ = 1;
  std::vector<size_t> step_samples_;
  std::vector<Tensor> gradients_;
  double step_loss_ = 0, validation_sum_ = 0;
  size_t validated_ = 0, pending_ = 0;
  Clock::time_point step_start_;
  quant::TrainingProgress progress_;
};

Trainer::Trainer(Problem problem, Samples samples, const quant::Training& settings, int threads)
    : impl_(std::make_unique<Impl>(std::move(problem), std::move(samples), settings, threads)) {}
Trainer::~Trainer() = default;
bool Trainer::advance(double milliseconds) { return impl_->advance(milliseconds); }
void Trainer::stop() { impl_->stop(); }
bool Trainer::done() const { return impl_->done(); }
quant::TrainingProgress Trainer::progress() const { return impl_->progress(); }
const std::vector<Parameter>& Trainer::best() const { return impl_->best(); }

}  // namespace zp::train
