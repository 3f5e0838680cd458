// Repairs that go through the quantized layers one after the other. For each layer they have its values in
// the float model, and in the model that is quantized and repaired so far, over the same few samples, which
// are spread over the series.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <vector>

#include "quant/piecewise_run.h"
#include "quant/spread.h"
#include "quant/stage.h"

namespace zp::quant {

class LayerwiseStage : public Stage {
 public:
  bool advance(double milliseconds) final;
  bool wants_samples() const final { return !layers_.empty() && !float_; }
  void begin_sample(std::vector<runtime::Feed> feeds) final { keeper_.take(std::move(feeds)); }
  bool wants_next() const final { return keeper_.wants_next(); }
  void skip_sample() final { keeper_.skip(); }
  bool enough() const final { return keeper_.enough(); }
  void end_samples() final;
  size_t done() const final { return at_; }
  size_t total() const final { return layers_.size(); }

 protected:
  enum class Stand : uint8_t { kBefore, kAfter };  // of the quantized walk, while a layer is worked on
  LayerwiseStage(JobState& state, size_t samples, Stand stand);

  struct Layer {
    int32_t node = -1;    // in the prepared graph
    int32_t placed = -1;  // in the quantized one
    size_t weight = 0;    // in state().weights
    ValueId output = kNoValue;
  };
  // Begins with a layer; false: leave it as it is. Then work() until true.
  virtual bool begin(const Layer& layer) = 0;
  virtual bool work(double milliseconds) = 0;
  virtual void conclude() {}  // after the last layer

  JobState& state() { return state_; }
  const JobState& state() const { return state_; }
  Graph& quantized() { return state_.result->graph; }
  const Node& placed_node(const Layer& l) { return quantized().nodes[static_cast<size_t>(l.placed)]; }
  // The layer's data input as the quantized model computes it: the value after its DQ.
  ValueId data_input(const Layer& l);
  // Those that the layer is seen with. Where a model's first values are large, all come together only later.
  size_t samples() const { return float_->samples(); }
  // Of the float model: outputs of the layer. Of the quantized one: its data input, or its output.
  Tensor& float_value(ValueId v, size_t sample) { return float_->value(v, sample); }
  Tensor& quantized_value(ValueId v, size_t sample) { return quantized_->value(v, sample); }

 private:
  size_t room(int32_t node) const;  // for so many samples, from a node of the prepared graph on
  // Lets waiting samples in, if there is room for them from this layer on.
  bool let_in(const Layer& layer);

  JobState& state_;
  SampleKeeper keeper_;
  FeedsOfSamples waiting_, waiting_integers_;
  std::vector<double> largest_;  // by node of the prepared graph: bytes of a value that is met from there on
  Stand stand_;
  std::vector<Layer> layers_;
  std::unique_ptr<PiecewiseRun> float_, quantized_;
  size_t at_ = 0;
  enum class Step : uint8_t { kStart, kJoin, kFloat, kQuantized, kWork } step_ = Step::kStart;
  bool concluded_ = false;
};

// Element (outer, channel, inner) of a layer's output or data input.
struct ChannelView {
  int64_t outer = 1, channels = 1, inner = 1;
  ChannelView(std::span<const int64_t> dims, int channel_dim);
};

// Rows of options: on how many samples such a repair looks, and how many rows of a layer's inputs it keeps.
OptionSpec samples_option(std::string_view name, std::string_view repair, double fallback);
OptionSpec patches_option(std::string_view name, std::string_view repair, double fallback);

// Whether a job that these repairs belong to has samples to give: all but those that calibrate nothing do.
inline bool layerwise_needs_samples(const Config&, const Scheme&) { return true; }

}  // namespace zp::quant
