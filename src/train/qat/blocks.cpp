#include "train/qat/blocks.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "core/stopwatch.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "quant/estimate.h"
#include "quant/piecewise_run.h"
#include "quant/stage.h"
#include "train/backward.h"
#include "train/samples.h"

namespace zp::train {

std::vector<Block> find_blocks(const Graph& graph, int products) {
  const GraphIndex index(graph);
  const auto count = static_cast<int32_t>(graph.nodes.size());
  // Values that weights have a part in. Others are made anew in each block that reads them.
  std::vector<bool> heavy(graph.values.size(), false);
  // Of each value: the last node that reads it; behind all of them for an output of the model.
  std::vector<int32_t> last(graph.values.size(), -1);
  for (size_t v = 0; v < last.size(); ++v)
    for (const int32_t reader : index.consumers[v]) last[v] = std::max(last[v], reader);
  for (const ValueId v : graph.outputs) last[static_cast<size_t>(v)] = count;

  std::vector<Block> blocks;
  Block block;
  const auto end_at = [&](int32_t node, ValueId v) {
    block.last = node + 1;
    block.ends = {v};
    blocks.push_back(block);
    block = {.first = node + 1, .start = v};
  };
  std::vector<ValueId> live;
  int seen = 0;  // products in the block
  int32_t cut = -1;
  for (int32_t i = 0; i < count; ++i) {
    const Node& n = graph.nodes[static_cast<size_t>(i)];
    const bool product = op_of(n).quant.kind == QuantRule::Kind::kProduct;
    if (product && seen >= products && cut >= block.first) {
      end_at(cut, graph.nodes[static_cast<size_t>(cut)].output(0));
      seen = 0;
    }
    seen += product;
    const bool carries = product || std::any_of(n.inputs.begin(), n.inputs.end(), [&](ValueId v) {
                           return v != kNoValue && heavy[static_cast<size_t>(v)];
                         });
    std::erase_if(live, [&](ValueId v) { return last[static_cast<size_t>(v)] <= i; });
    for (const ValueId v : n.outputs) {
      if (v == kNoValue) continue;
      heavy[static_cast<size_t>(v)] = carries;
      if (carries && last[static_cast<size_t>(v)] > i) live.push_back(v);
    }
    if (live.size() == 1 && live[0] == n.output(0) && graph[live[0]].dtype == DType::kFloat32) cut = i;
  }
  for (const ValueId v : graph.outputs)
    if (graph[v].dtype == DType::kFloat32) block.ends.push_back(v);
  block.last = count;
  blocks.push_back(block);
  return blocks;
}

namespace {

bool trains_blocks(const quant::Config& config, const quant::Scheme& scheme) {
  return scheme.trains && config.training.epochs > 0 && config.training.blocks;
}

class TrainBlocks : public quant::Stage {
 public:
  explicit TrainBlocks(quant::JobState& state) : state_(state), settings_(state.config.training) {
    active_ = trains_blocks(state.config, *state.scheme);
    if (!active_) return;
    learned_ = std::make_unique<Learned>(state);
    blocks_ = find_blocks(state.prepared->graph);
    check_gradients();
  }

  bool wants_samples() const override { return active_ && !float_; }
  void begin_sample(std::vector<runtime::Feed> feeds) override {
    for (const runtime::Feed& f : feeds) bytes_ += static_cast<double>(f.tensor.bytes());
    check_memory(bytes_, settings_.memory_limit);
    samples_.push_back(std::move(feeds));
  }
  void end_samples() override {
    float_ = std::make_unique<quant::PiecewiseRun>(state_.prepared, samples_, state_.threads);
    quantized_ = std::make_unique<quant::PiecewiseRun>(state_.result, samples_, state_.threads);
  }
  void stop() override {
    stopped_ = true;
    if (trainer_) trainer_->stop();
  }

  bool advance(double milliseconds) override {
    if (!float_ || !active_) return true;
    const Stopwatch watch(milliseconds);
    const auto left = [&] { return std::max(0.1, milliseconds - watch.milliseconds()); };
    while (at_ < blocks_.size() && !(stopped_ && step_ != Step::kTrain)) {
      const Block& block = blocks_[at_];
      switch (step_) {
        case Step::kStart:
          float_->go(block.last, block.ends);
          step_ = Step::kFloat;
          break;
        case Step::kFloat:
          if (!float_->advance(left())) return false;
          if (block.start != kNoValue) {
            const GraphIndex index(state_.result->graph);
            quantized_->go(index.producer[static_cast<size_t>(block.start)] + 1, {block.start});
          }
          step_ = Step::kQuantized;
          break;
        case Step::kQuantized:
          if (block.start != kNoValue && !quantized_->advance(left())) return false;
          begin(block);
          step_ = Step::kTrain;
          break;
        case Step::kTrain: {
          const bool done = !trainer_ || trainer_->advance(left());
          tell();
          if (!done) return false;
          if (trainer_) end();
          ++at_;
          step_ = Step::kStart;
          break;
        }
      }
      if (watch.over()) return false;
    }
    if (!over_) conclude();
    return true;
  }

  size_t done() const override { return at_; }
  size_t total() const override { return blocks_.size(); }

 private:
  // Before anything is trained: whether everything can be.
  void check_gradients() const {
    std::vector<Aim> aims;
    for (const ValueId v : blocks_.back().ends)
      aims.push_back({.output = v, .feed = quant::target_name(state_.prepared->graph[v].name)});
    if (aims.empty()) throw_error(ErrorCode::kInvalidArgument, "the model has no float output to train for");
    Problem problem = learned_->problem(aims);
    infer_shapes(problem.graph);
    std::vector<ValueId> of;
    for (const Parameter& p : problem.parameters) of.push_back(problem.graph.find(p.name));
    const std::vector<ValueId> gradients = add_gradients(problem.graph, problem.loss, of);
    if (std::all_of(gradients.begin(), gradients.end(), [](ValueId v) { return v == kNoValue; }))
      throw_error(ErrorCode::kInvalidArgument, "there is nothing to train: no parameter changes the loss");
  }

  // Where a block has nothing to learn, there is no trainer.
  void begin(const Block& block) {
    const Graph& prepared = state_.prepared->graph;
    std::vector<Aim> aims;
    held_ = bytes_;
    for (const ValueId end : block.ends) {
      double squares = 0, elements = 0;
      for (size_t s = 0; s < samples_.size(); ++s) {
        const Tensor& y = float_->value(end, s);
        for (const float v : y.data<float>()) squares += double{v} * v;
        elements += static_cast<double>(y.size());
        held_ += static_cast<double>(y.bytes());
      }
      aims.push_back({.output = end,
                      .feed = quant::target_name(prepared[end].name),
                      .kind = Aim::Kind::kSquares,
                      .factor = squares > 0 ? elements / squares : 1});
    }
    if (block.start != kNoValue)
      for (size_t s = 0; s < samples_.size(); ++s)
        held_ += static_cast<double>(quantized_->value(block.start, s).bytes());
    check_memory(2 * held_ - bytes_, settings_.memory_limit);  // the trainer has rows of its own
    Problem problem = learned_->problem(aims, &block);
    if (problem.parameters.empty()) return;
    Samples samples(is_stackable(prepared));
    for (size_t s = 0; s < samples_.size(); ++s) {
      std::vector<runtime::Feed> feeds;
      for (const ValueId v : problem.graph.inputs) {
        const std::string& name = problem.graph[v].name;
        if (v == block.start) feeds.push_back({name, quantized_->value(v, s)});
        for (const Aim& aim : aims)
          if (aim.feed == name) feeds.push_back({name, float_->value(aim.output, s)});
        for (const runtime::Feed& f : samples_[s])
          if (f.name == name) feeds.push_back(f);
      }
      samples.add(feeds);
    }
    trainer_ = std::make_unique<Trainer>(std::move(problem), std::move(samples), settings_, state_.threads);
  }

  void tell() {
    if (!trainer_) return;
    quant::TrainingProgress p = trainer_->progress();
    const auto before = static_cast<int>(at_), all = static_cast<int>(blocks_.size());
    first_loss_ = p.first_loss, best_loss_ = p.best_loss;
    p.step += at_ * p.steps;
    p.steps *= blocks_.size();
    p.epoch += before * p.epochs;
    p.epochs *= all;
    p.remaining_milliseconds = p.step_milliseconds * static_cast<double>(p.steps - p.step);
    p.memory_bytes = most_memory_ = std::max(most_memory_, p.memory_bytes + held_);
    state_.training = p;
  }

  void end() {
    learned_->store(trainer_->best());
    trainer_.reset();
    ++trained_;
    before_ += first_loss_;
    after_ += best_loss_;
  }

  void conclude() {
    over_ = true;
    const auto fallen = before_ > 0 ? static_cast<int>(std::lround(100 * (1 - after_ / before_))) : 0;
    state_.repaired.push_back("training in blocks: " + std::to_string(trained_) + " of " +
                              std::to_string(blocks_.size()) + ", the error at their ends fell by " +
                              std::to_string(fallen) + " %");
    float_.reset();
    quantized_.reset();
    samples_.clear();
    active_ = false;
  }

  enum class Step : uint8_t { kStart, kFloat, kQuantized, kTrain };
  quant::JobState& state_;
  const quant::Training& settings_;
  bool active_ = false, over_ = false, stopped_ = false;
  double bytes_ = 0, held_ = 0, most_memory_ = 0;  // of samples; with what goes in and out of the block
  std::unique_ptr<Learned> learned_;
  std::vector<Block> blocks_;
  std::vector<std::vector<runtime::Feed>> samples_;
  std::unique_ptr<quant::PiecewiseRun> float_, quantized_;
  size_t at_ = 0, trained_ = 0;
  Step step_ = Step::kStart;
  std::unique_ptr<Trainer> trainer_;
  double first_loss_ = 0, best_loss_ = 0, before_ = 0, after_ = 0;
};

const quant::RegisterStage kTrainBlocks({
    .name = "train blocks",
    .order = 790,
    .needs_samples = trains_blocks,
    .cost =
        [](const quant::Workload& w, const quant::Options&, quant::StageCost& cost) {
          const quant::Training& t = w.config.training;
          const auto samples = static_cast<double>(w.expected.samples);
          cost.bytes = std::min(t.memory_limit, samples * (w.sample_bytes + 2 * w.largest_value) +
                                                    20 * w.largest_weight + t.batch * 8 * w.largest_value);
          cost.macs = 2 * samples * w.macs + 3 * samples * t.epochs * w.macs;
          cost.touched = 12 * samples * t.epochs * w.values;
        },
    .make = quant::make_stage<TrainBlocks>,
});

}  // namespace
}  // namespace zp::train
