#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "core/fnv.h"
#include "core/stopwatch.h"
#include "ops/infer.h"
#include "quant/numbers.h"
#include "train/backward.h"

namespace zp::train {
namespace {

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
  uint64_t& state() { return state_; }

 private:
  uint64_t state_;
};

[[noreturn]] void refuse_checkpoint() {
  throw_error(ErrorCode::kInvalidArgument, "the checkpoint belongs to another training",
              {.hint = "resume with the model, samples and settings that it was saved with"});
}

// Writes numbers, or reads them back in the same order: one description of a checkpoint for both.
class Archive {
 public:
  explicit Archive(std::vector<std::byte>& to) : to_(&to) {}
  explicit Archive(std::span<const std::byte> from) : from_(from) {}
  bool reads() const { return !to_; }
  bool at_end() const { return from_.empty(); }

  void bytes(void* data, size_t count) {
    if (to_) {
      const auto* begin = static_cast<const std::byte*>(data);
      to_->insert(to_->end(), begin, begin + count);
      return;
    }
    if (from_.size() < count) refuse_checkpoint();
    std::memcpy(data, from_.data(), count);
    from_ = from_.subspan(count);
  }
  void number(double& v) { bytes(&v, sizeof v); }
  void number(uint64_t& v) { bytes(&v, sizeof v); }
  // At most `most`; in 64 bits, whatever size_t has.
  void index(size_t& v, size_t most) {
    uint64_t wide = v;
    number(wide);
    if (wide > most) refuse_checkpoint();
    v = static_cast<size_t>(wide);
  }
  void floats(std::span<float> v) { bytes(v.data(), v.size_bytes()); }

 private:
  std::vector<std::byte>* to_ = nullptr;
  std::span<const std::byte> from_;
};

struct Hash : Fnv1a {
  using Fnv1a::add;
  void add(double v) { add(&v, sizeof v); }
};

// Of the validation sets, one is enough to tell epochs apart.
constexpr size_t kFewestForValidation = 20, kMostForValidation = 1000;
constexpr double kLossMemory = 0.95;  // of the running mean that is shown

// Of roundings: the part of the steps up to which there is no penalty, and that from which on all is decided,
// so that the other parameters make the best of it; the penalty in units of the first loss, and its exponent.
constexpr double kRoundingWarm = 0.2, kRoundingDecided = 0.8, kRoundingPenalty = 0.15;
constexpr double kFirstExponent = 10, kLastExponent = 1;  // of the square of the distance to the middle

}  // namespace

class Trainer::Impl {
 public:
  Impl(Problem problem, Samples samples, const quant::Training& settings, int threads)
      : settings_(settings),
        samples_(std::move(samples)),
        parameters_(copied(problem.parameters)),  // theirs may be a model's
        rounding_(problem.rounding),
        random_(settings.seed) {
    if (samples_.count() == 0) throw_error(ErrorCode::kInvalidArgument, "there are no samples to train on");
    differentiate(std::move(problem.graph), problem.loss, problem.following);
    split();
    batch_ = std::min<size_t>(static_cast<size_t>(std::max(1, settings.batch)), order_.size());
    fit_into_memory(threads);
    per_epoch_ = std::max<size_t>(1, order_.size() / batch_);
    steps_ = per_epoch_ * static_cast<size_t>(settings.epochs);
    optimizer_ = std::make_unique<Optimizer>(settings, parameters_, steps_);
    best_ = copied(parameters_);
    progress_.epochs = settings.epochs;
    progress_.steps = steps_;
    fingerprint_ = fingerprint();
    if (settings_.resume) {
      Archive archive{std::span(*settings_.resume)};
      exchange(archive);
      if (!archive.at_end()) refuse_checkpoint();
      settings_.resume.reset();
      go_on();
    } else {
      begin_validation();
    }
  }

  bool advance(double milliseconds) {
    const Stopwatch watch(milliseconds);
    const void* saved = progress_.checkpoint.get();
    while (phase_ != Phase::kDone) {
      runtime::Session& session = phase_ == Phase::kStep ? *training_ : *evaluation_;
      if (!session.advance(std::max(0.1, milliseconds - watch.milliseconds()))) return false;
      if (phase_ == Phase::kStep) {
        end_part();
      } else {
        end_validation_batch();
      }
      // Short epochs, too, are seen one by one by who keeps their checkpoints.
      if (watch.over() || progress_.checkpoint.get() != saved) break;
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

  // Makes the graphs of a step and of validation.
  void differentiate(Graph graph, ValueId loss, const std::vector<Following>& following) {
    infer_shapes(graph);
    evaluated_ = std::make_shared<Model>();
    evaluated_->graph = graph;
    evaluated_->graph.outputs = {loss};
    remove_unused(evaluated_->graph);
    std::vector<Parameter> followers = take_followers(following);
    std::vector<ValueId> values;
    for (const Parameter& p : parameters_) values.push_back(graph.find(p.name));
    if (settings_.freeze) freeze(graph, loss, values);
    const std::vector<ValueId> gradients = add_gradients(graph, loss, values);
    // Parameters that do not change the loss are not trained.
    std::vector<Parameter> trained, idle;
    graph.outputs = {loss};
    for (size_t i = 0; i < parameters_.size(); ++i) {
      (gradients[i] == kNoValue ? idle : trained).push_back(std::move(parameters_[i]));
      if (gradients[i] != kNoValue) graph.outputs.push_back(gradients[i]);
    }
    if (trained.empty()) {
      throw_error(ErrorCode::kInvalidArgument, "there is nothing to train: no parameter changes the loss");
    }
    parameters_ = std::move(trained);
    idle_ = std::move(idle);
    for (Parameter& p : followers) parameters_.push_back(std::move(p));
    for (const Following& f : following) {
      graph.outputs.insert(graph.outputs.end(), {f.low, f.high});
      follow_.push_back(ranges_of(f));
    }
    remove_unused(graph);
    trained_ = std::make_shared<Model>();
    trained_->graph = std::move(graph);
  }

  // ---- scales that follow ranges

  struct Followed {
    Following how;
    size_t scale = 0, zero_point = 0;  // in parameters_
    std::vector<double> low, high;
    bool moves_zero() const { return !how.zero_point.empty(); }
  };

  std::vector<Parameter> take_followers(const std::vector<Following>& following) {
    std::vector<Parameter> taken, kept;
    for (Parameter& p : parameters_) {
      const bool follows = std::any_of(following.begin(), following.end(), [&](const Following& f) {
        return f.scale == p.name || f.zero_point == p.name;
      });
      (follows ? taken : kept).push_back(std::move(p));
    }
    parameters_ = std::move(kept);
    return taken;
  }

  // At first, the ranges that the present scales cover.
  Followed ranges_of(const Following& f) const {
    Followed r{.how = f, .low = {}, .high = {}};
    const auto find = [&](const std::string& name) {
      return static_cast<size_t>(std::find_if(parameters_.begin(), parameters_.end(),
                                              [&](const Parameter& p) { return p.name == name; }) -
                                 parameters_.begin());
    };
    r.scale = find(f.scale);
    if (r.moves_zero()) r.zero_point = find(f.zero_point);
    const double zero = r.moves_zero() ? double{parameters_[r.zero_point].value.floats()[0]} : f.zero;
    for (const float s : parameters_[r.scale].value.data<float>()) {
      r.low.push_back((f.codes.min - zero) * s);
      r.high.push_back((f.codes.max - zero) * s);
    }
    return r;
  }

  void follow() {
    for (size_t i = 0; i < follow_.size(); ++i) {
      Followed& f = follow_[i];
      const std::span<const float> low = seen_[2 * i].data<float>(), high = seen_[2 * i + 1].data<float>();
      const std::span<float> scales = parameters_[f.scale].value.mutable_data<float>();
      for (size_t c = 0; c < scales.size(); ++c) {
        f.low[c] = f.how.memory * f.low[c] + (1 - f.how.memory) * low[c];
        f.high[c] = f.how.memory * f.high[c] + (1 - f.how.memory) * high[c];
        if (f.low[c] >= 0 && f.high[c] <= 0) continue;  // nothing but zeros
        const quant::QParams q =
            quant::choose_params({static_cast<float>(f.low[c]), static_cast<float>(f.high[c])}, f.how.dtype,
                                 !f.moves_zero(), f.how.codes);
        scales[c] = q.scale;
        if (f.moves_zero())
          parameters_[f.zero_point].value.mutable_data<float>()[0] = static_cast<float>(q.zero_point);
      }
    }
  }

  // A batch that needs too much at once goes in parts, whose gradients are averaged.
  void fit_into_memory(int threads) {
    double fixed = static_cast<double>(samples_.bytes());
    for (const Parameter& p : parameters_) {  // the values, the best, gradients, moments
      const double copies = settings_.optimizer == "adam" ? 5 : 4;
      fixed += copies * static_cast<double>(p.value.bytes());
    }
    const double left = settings_.memory_limit - fixed;
    const auto refuse = [&](double least) {
      throw_error(ErrorCode::kOutOfMemory,
                  {"training needs more than ", static_cast<int64_t>(least) >> 20, " MiB of memory, and ",
                   static_cast<int64_t>(settings_.memory_limit) >> 20, " MiB are allowed"},
                  {.hint = "train on fewer or smaller samples, or raise memoryLimit"});
    };
    if (left <= 0) refuse(fixed);
    const runtime::SessionOptions options{
        .threads = threads, .integer = false, .taps = {}, .memory_limit = static_cast<size_t>(left)};
    training_ = std::make_unique<runtime::Session>(trained_, options);
    evaluation_ = std::make_unique<runtime::Session>(evaluated_, options);
    parts_ = samples_.stackable() ? 1 : batch_;
    for (;;) {
      rows_ = batch_ / parts_;
      try {
        training_->begin(feeds({order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(rows_)}));
        break;
      } catch (const Error& e) {
        if (e.code() != ErrorCode::kOutOfMemory) throw;
        if (rows_ == 1) refuse(settings_.memory_limit);
      }
      parts_ = std::min(batch_, parts_ * 2);
    }
    batch_ = rows_ * parts_;
    progress_.memory_bytes = fixed + static_cast<double>(training_->arena_bytes());
  }

  // ---- checkpoints: the state between two epochs

  uint64_t fingerprint() const {
    Hash hash;
    for (const Parameter& p : parameters_) {
      hash.add(p.name.data(), p.name.size());
      hash.add(p.value.raw(), p.value.bytes());
    }
    for (const double v :
         {static_cast<double>(samples_.count()), static_cast<double>(steps_), static_cast<double>(batch_),
          static_cast<double>(settings_.seed), settings_.learning_rate, settings_.weight_decay,
          settings_.momentum, settings_.validation, settings_.warm_up, settings_.clip_norm})
      hash.add(v);
    for (const std::string* s :
         {&settings_.loss, &settings_.optimizer, &settings_.schedule, &settings_.scales})
      hash.add(s->data(), s->size());
    for (const std::string& s : settings_.intermediate) hash.add(s.data(), s.size());
    return hash.value;
  }

  void exchange(Archive& a) {
    uint64_t whose = fingerprint_;
    a.number(whose);
    if (whose != fingerprint_) refuse_checkpoint();
    a.index(step_, steps_);
    if (a.reads()) optimizer_->set_steps_taken(step_);
    a.number(random_.state());
    for (size_t& i : order_) a.index(i, samples_.count() - 1);
    for (std::vector<Parameter>* list : {&parameters_, &best_})
      for (Parameter& p : *list) a.floats(p.value.mutable_data<float>());
    for (std::vector<float>* moments : optimizer_->moments()) a.floats(*moments);
    for (Followed& f : follow_)
      for (std::vector<double>* range : {&f.low, &f.high})
        for (double& v : *range) a.number(v);
    for (double* v : {&progress_.loss, &progress_.validation_loss, &progress_.best_loss,
                      &progress_.first_loss, &progress_.step_milliseconds})
      a.number(*v);
    progress_.step = step_;
    progress_.epoch = progress_.saved_epoch = static_cast<int>(step_ / per_epoch_);
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
    if (rounding_) {
      const bool steps = phase_ == Phase::kStep;
      const double done = static_cast<double>(step_) / static_cast<double>(std::max<size_t>(1, steps_));
      const double at = std::clamp((done - kRoundingWarm) / (kRoundingDecided - kRoundingWarm), 0.0, 1.0);
      const auto scalar = [&](const std::string& name, double v) {
        list.push_back({name, Tensor::scalar(static_cast<float>(v))});
      };
      scalar(rounding_->hard, steps && done < kRoundingDecided ? 0 : 1);
      scalar(rounding_->penalty,
             steps && done >= kRoundingWarm ? kRoundingPenalty * progress_.first_loss : 0);
      scalar(rounding_->square_exponent, kFirstExponent + (kLastExponent - kFirstExponent) * at);
    }
    return list;
  }

  // ---- steps: one run of a batch, or as many runs as it has samples

  void begin_step() {
    phase_ = Phase::kStep;
    step_watch_ = Stopwatch();
    if (step_ % per_epoch_ == 0) random_.shuffle(order_);
    const size_t first = step_ % per_epoch_ * batch_;
    step_samples_.assign(order_.begin() + static_cast<std::ptrdiff_t>(first),
                         order_.begin() + static_cast<std::ptrdiff_t>(first + batch_));
    part_ = 0;
    begin_part();
  }

  void begin_part() {
    const auto first = step_samples_.begin() + static_cast<std::ptrdiff_t>(part_ * rows_);
    training_->begin(feeds({first, first + static_cast<std::ptrdiff_t>(rows_)}));
  }

  void end_part() {
    std::vector<Tensor> out = training_->outputs();
    const double loss = out[0].floats()[0];
    out.erase(out.begin());
    std::vector<Tensor> seen(out.end() - 2 * std::ssize(follow_), out.end());
    out.resize(out.size() - seen.size());
    if (part_ == 0) {
      gradients_ = std::move(out);
      seen_ = std::move(seen);
      step_loss_ = loss;
    } else {
      step_loss_ += loss;
      for (size_t s = 0; s < seen.size(); ++s) {
        const std::span<float> all = seen_[s].mutable_data<float>();
        for (size_t i = 0; i < all.size(); ++i) {
          const float v = seen[s].data<float>()[i];
          all[i] = s % 2 ? std::max(all[i], v) : std::min(all[i], v);
        }
      }
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
      throw_error(ErrorCode::kInvalidArgument, "training diverged: the loss is not finite",
                  {.hint = "use a smaller learning rate"});
    }
    optimizer_->step(parameters_, gradients_);
    follow();
    ++step_;
    progress_.step = step_;
    progress_.epoch = static_cast<int>((step_ - 1) / per_epoch_) + 1;
    progress_.loss = step_ == 1 ? loss : kLossMemory * progress_.loss + (1 - kLossMemory) * loss;
    const double spent = step_watch_.milliseconds();
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
    const size_t end = std::min(validation_.size(), validated_ + rows_);
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
    if (settings_.checkpoints && step_ > 0 && step_ % per_epoch_ == 0) {
      auto bytes = std::make_shared<std::vector<std::byte>>();
      Archive archive{*bytes};
      exchange(archive);
      progress_.checkpoint = std::move(bytes);
    }
    go_on();
  }

  void go_on() {
    if (stopped_ || step_ >= steps_) {
      phase_ = Phase::kDone;
    } else {
      begin_step();
    }
  }

  quant::Training settings_;
  Samples samples_;
  std::vector<Parameter> parameters_, idle_, best_;  // of the first: those with gradients, then the followed
  std::optional<Rounding> rounding_;
  std::vector<Followed> follow_;
  std::vector<Tensor> seen_;  // in a step: lowest and highest of each
  Random random_;
  std::shared_ptr<Model> trained_, evaluated_;
  std::unique_ptr<runtime::Session> training_, evaluation_;
  std::unique_ptr<Optimizer> optimizer_;
  uint64_t fingerprint_ = 0;

  std::vector<size_t> order_, validation_;
  size_t batch_ = 1, per_epoch_ = 1, steps_ = 0;
  Phase phase_ = Phase::kValidation;
  bool stopped_ = false;
  size_t step_ = 0, part_ = 0, parts_ = 1, rows_ = 1;  // a step's batch: parts of so many samples
  std::vector<size_t> step_samples_;
  std::vector<Tensor> gradients_;
  double step_loss_ = 0, validation_sum_ = 0;
  size_t validated_ = 0, pending_ = 0;
  Stopwatch step_watch_;
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
