// Training adds two stages to a job. The first gives weights and activations fewer bits, if asked, as soon as
// Q and DQ are placed. The second comes after all repairs: it keeps the samples with the float model's
// outputs, trains the placed graph on them, and writes the result into the graph.
#include "quant/stage.h"

#include <algorithm>
#include <cmath>

#include "core/decimal.h"
#include "core/error.h"
#include "quant/estimate.h"
#include "train/qat/learned.h"

namespace zp::train {
namespace {

bool trains(const quant::Config& config, const quant::Scheme& scheme) {
  return scheme.trains && config.training.epochs > 0 && !config.training.blocks;
}

int64_t classes_of(const Tensor& t) { return t.dims().empty() ? 1 : std::max<int64_t>(1, t.dims().back()); }

bool is_distribution(const Tensor& t) {
  const int64_t classes = classes_of(t);
  const std::span<const float> x = t.data<float>();
  for (int64_t row = 0; row < t.size(); row += classes) {
    double sum = 0;
    for (int64_t i = row; i < row + classes; ++i) {
      if (x[static_cast<size_t>(i)] < 0) return false;
      sum += x[static_cast<size_t>(i)];
    }
    if (std::fabs(sum - 1) > 1e-3) return false;
  }
  return true;
}

Tensor softmax(const Tensor& t) {
  Tensor y(DType::kFloat32, t.dims());
  const int64_t classes = classes_of(t);
  const std::span<const float> x = t.data<float>();
  const std::span<float> out = y.mutable_data<float>();
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(classes)) {
    const auto end = row + static_cast<size_t>(classes);
    const float top = *std::max_element(x.begin() + static_cast<std::ptrdiff_t>(row),
                                        x.begin() + static_cast<std::ptrdiff_t>(end));
    double sum = 0;
    for (size_t i = row; i < end; ++i) sum += out[i] = std::exp(x[i] - top);
    for (size_t i = row; i < end; ++i) out[i] = static_cast<float>(out[i] / sum);
  }
  return y;
}

std::string outcome(const quant::TrainingProgress& p) {
  const std::string steps = "training: " + counted(static_cast<uint64_t>(p.step), "step") + ", ";
  if (!(p.best_loss < p.first_loss))
    return steps +
           "and no epoch did better on the samples kept aside, so that the model stays as before; "
           "try a smaller learning rate";
  const auto fallen = static_cast<int>(std::lround(100 * (1 - p.best_loss / p.first_loss)));
  return steps + "the loss fell by " + std::to_string(fallen) + " %";
}

class Narrow : public quant::PiecewiseStage {
 public:
  explicit Narrow(quant::JobState& state) : state_(state) {}

 protected:
  size_t start() override {
    const quant::Training& t = state_.config.training;
    return state_.scheme->trains && (t.weight_bits || t.activation_bits) ? 1 : 0;
  }
  void piece(size_t) override { Learned(state_).narrow(); }

 private:
  quant::JobState& state_;
};

class Train : public quant::Stage {
 public:
  explicit Train(quant::JobState& state) : state_(state), settings_(state.config.training) {
    active_ = trains(state.config, *state.scheme);
    if (!active_) return;
    learned_ = std::make_unique<Learned>(state);
    const Graph& graph = state.prepared->graph;
    samples_ = std::make_unique<Samples>(is_stackable(graph));
    for (const std::string& name : settings_.intermediate) inside_.push_back({.value = inside(graph, name)});
    std::vector<ValueId> taps;
    for (const Inside& i : inside_) taps.push_back(i.value);
    teacher_ = std::make_unique<runtime::Session>(
        state.prepared,
        runtime::SessionOptions{.threads = state.threads, .integer = false, .taps = std::move(taps)});
    teacher_->set_tap([this](ValueId v, const TensorView& view) {
      for (Inside& i : inside_)
        if (i.value == v && view.dtype == DType::kFloat32) i.seen = Tensor::copy_of(view);
    });
    for (size_t i = 0; i < graph.outputs.size(); ++i) {
      if (graph[graph.outputs[i]].dtype != DType::kFloat32) continue;
      Output o;
      o.at = i;
      o.name = graph[graph.outputs[i]].name;
      o.aim.output = state.result->graph.outputs[i];
      o.aim.feed = quant::target_name(o.name);
      outputs_.push_back(std::move(o));
    }
    for (size_t i = 0; i < inside_.size(); ++i) {
      Output o;
      o.at = graph.outputs.size() + i;  // behind the outputs
      o.name = settings_.intermediate[i];
      o.aim.output = inside_[i].value;
      o.aim.feed = quant::target_name(o.name);
      o.decided = true;
      outputs_.push_back(std::move(o));
    }
  }

  bool wants_samples() const override { return active_ && !ended_; }
  void begin_sample(std::vector<runtime::Feed> feeds) override {
    given_.clear();
    for (runtime::Feed& f : feeds)
      if (quant::is_target(f.name)) given_.push_back(f);
    std::erase_if(feeds, [](const runtime::Feed& f) { return quant::is_target(f.name); });
    add_label();
    kept_ = feeds;
    teacher_->begin(std::move(feeds));
    running_ = true;
  }
  void end_samples() override { ended_ = true; }
  void stop() override {
    stopped_ = true;
    if (trainer_) trainer_->stop();
  }

  bool advance(double milliseconds) override {
    if (!active_) return true;
    if (running_) {
      if (!teacher_->advance(milliseconds)) return false;
      running_ = false;
      std::vector<Tensor> made = teacher_->outputs();
      for (Inside& i : inside_) made.push_back(std::move(i.seen));
      keep(made);
    }
    if (!ended_) return true;
    if (over_) return true;
    if (!trainer_) {
      start();
      state_.training = trainer_->progress();
      return false;  // what it takes is known, and nothing has been done yet
    }
    const bool done = trainer_->advance(milliseconds);
    state_.training = trainer_->progress();
    if (!done) return false;
    learned_->store(trainer_->best());
    state_.repaired.push_back(outcome(*state_.training));
    trainer_.reset();
    over_ = true;
    return true;
  }

  size_t done() const override {
    return trainer_ ? state_.training.value_or(quant::TrainingProgress{}).step : 0;
  }
  size_t total() const override {
    return trainer_ ? state_.training.value_or(quant::TrainingProgress{}).steps : 0;
  }

 private:
  struct Output {
    size_t at = 0;
    std::string name;
    Aim aim;
    bool decided = false, labels = false;
    double squares = 0;  // of all targets
    int64_t elements = 0;
  };

  // Config::labels are what the first output should say of each sample.
  void add_label() {
    const std::vector<int32_t>& labels = state_.config.labels;
    if (labels.empty() || outputs_.empty()) return;
    if (sample_ >= labels.size()) {
      throw_error(
          ErrorCode::kInvalidArgument,
          {"there are more samples than labels: ", static_cast<int64_t>(labels.size()), " labels were given"},
          {.hint = "give the right class of each sample, in their order"});
    }
    given_.push_back({outputs_[0].aim.feed, Tensor::of<int64_t>({1}, {labels[sample_++]})});
  }

  struct Inside {  // a value that is to be as in the float model too
    ValueId value;
    Tensor seen = {};
  };

  static ValueId inside(const Graph& graph, const std::string& name) {
    const ValueId v = graph.find(name);
    const bool computed =
        v != kNoValue && std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& n) {
          return std::find(n.outputs.begin(), n.outputs.end(), v) != n.outputs.end();
        });
    if (!computed || (graph[v].dtype != DType::kFloat32 && graph[v].dtype != DType::kUndefined)) {
      throw_error(
          ErrorCode::kInvalidArgument, {"'", name, "' is not a float value that the model computes"},
          {.tensor = name, .hint = "use the names of the simplified model: inspect() lists its layers"});
    }
    return v;
  }

  // What the sample says the output should be, or null.
  const Tensor* given(const Output& o) const {
    for (const runtime::Feed& f : given_)
      if (f.name == o.aim.feed) return &f.tensor;
    return nullptr;
  }

  void decide(Output& o, const Tensor& y) {
    const Tensor* target = given(o);
    const bool has_target = target != nullptr;
    std::string loss = settings_.loss;
    if (loss == "auto") {
      if (has_target) {
        loss = target->dtype() == DType::kFloat32 ? "mse" : "cross-entropy";
      } else {
        loss = y.dims().size() == 2 && y.dims()[1] > 1 ? "kl" : "mse";
      }
    }
    o.decided = true;
    o.labels = has_target && loss != "kl";
    if (loss == "cross-entropy" && !has_target) {
      throw_error(
          ErrorCode::kInvalidFeed, "cross-entropy needs labels, and a sample has none",
          {.tensor = o.aim.feed, .hint = {"feed class numbers as '", o.aim.feed, "', or use the loss 'kl'"}});
    }
    o.aim.kind = loss == "mse" ? Aim::Kind::kSquares : Aim::Kind::kProbabilities;
    o.aim.is_probability = o.aim.kind == Aim::Kind::kProbabilities && is_distribution(y);
  }

  // What the output should be, shaped as it.
  Tensor target_of(const Output& o, const Tensor& y) const {
    if (!o.labels) return o.aim.kind == Aim::Kind::kSquares || o.aim.is_probability ? y : softmax(y);
    const Tensor* target = given(o);
    const int64_t classes = classes_of(y);
    const bool fits = target && (target->dtype() == DType::kFloat32 ? target->size()
                                                                    : target->size() * classes) == y.size();
    if (!fits) {
      throw_error(ErrorCode::kInvalidFeed, {"a sample's target does not fit the output '", o.name, "'"},
                  {.tensor = o.aim.feed,
                   .hint = {"give a class number for each row, or values of shape ", y.dims()}});
    }
    const Tensor& t = *target;
    if (t.dtype() == DType::kFloat32) return t.reshaped(y.dims());
    Tensor hot(DType::kFloat32, y.dims());
    for (int64_t row = 0; row < t.size(); ++row) {
      const int64_t c = t.integer_at(row);
      if (c < 0 || c >= classes) {
        throw_error(ErrorCode::kInvalidFeed,
                    {"class ", c, " is not one of the ", classes, " classes of output '", o.name, "'"},
                    {.tensor = o.aim.feed});
      }
      hot.mutable_data<float>()[static_cast<size_t>(row * classes + c)] = 1;
    }
    return hot;
  }

  void keep(const std::vector<Tensor>& outputs) {
    for (Output& o : outputs_) {
      const Tensor& y = outputs[o.at];
      if (!o.decided) decide(o, y);
      Tensor target = target_of(o, y);
      for (const float v : target.data<float>()) o.squares += double{v} * v;
      o.elements += target.size();
      kept_.push_back({o.aim.feed, std::move(target)});
    }
    samples_->add(kept_);
    kept_.clear();
    check_memory(static_cast<double>(samples_->bytes()), settings_.memory_limit);
  }

  void start() {
    teacher_.reset();
    std::vector<Aim> aims;
    for (Output& o : outputs_) {
      if (o.aim.kind == Aim::Kind::kSquares && o.squares > 0)
        o.aim.factor = static_cast<double>(o.elements) / o.squares;  // relative to the target's own power
      aims.push_back(o.aim);
    }
    if (aims.empty()) throw_error(ErrorCode::kInvalidArgument, "the model has no float output to train for");
    Problem problem = learned_->problem(aims);
    trainer_ = std::make_unique<Trainer>(std::move(problem), std::move(*samples_), settings_, state_.threads);
    if (stopped_) trainer_->stop();
  }

  quant::JobState& state_;
  const quant::Training& settings_;
  bool active_ = false, running_ = false, ended_ = false, over_ = false, stopped_ = false;
  std::unique_ptr<Learned> learned_;
  std::unique_ptr<runtime::Session> teacher_;
  std::unique_ptr<Samples> samples_;
  size_t sample_ = 0;
  std::vector<Inside> inside_;
  std::vector<Output> outputs_;
  std::vector<runtime::Feed> given_;
  std::vector<runtime::Feed> kept_;
  std::unique_ptr<Trainer> trainer_;
};

void cost_of_training(const quant::Workload& w, const quant::Options&, quant::StageCost& cost) {
  const quant::Training& t = w.config.training;
  const auto samples = static_cast<double>(w.expected.samples);
  const double passes = samples * t.epochs * (1 + t.validation);
  // Values, the best of them, gradients and moments; of a batch every value with its gradient.
  const double parameters = (t.optimizer == "adam" ? 5 : 4) * 4 * w.quantized;
  const double batch = std::min<double>(t.batch, std::max(samples, 1.0)) * (8 * w.values + w.sample_bytes);
  cost.bytes = std::max(w.session(), std::min(t.memory_limit, samples * w.sample_bytes + parameters + batch));
  cost.macs = samples * w.macs + 3 * passes * w.macs;
  cost.touched = 12 * passes * w.values + 10 * passes / t.batch * w.quantized;
}

const quant::RegisterStage kNarrow({
    .name = "narrow",
    .order = 480,
    .make = quant::make_stage<Narrow>,
});
const quant::RegisterStage kTrain({
    .name = "train",
    .order = 800,
    .takes_targets = true,
    .needs_samples = trains,
    .cost = cost_of_training,
    .make = quant::make_stage<Train>,
});

}  // namespace
}  // namespace zp::train
