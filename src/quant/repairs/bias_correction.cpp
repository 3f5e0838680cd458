// Bias correction: rounding weights and clipping activations moves the mean of a layer's outputs, and what
// shifts a whole channel is worth more to the layers after it than noise of the same size. The shift is
// measured on samples, channel by channel, and taken off the bias; layers in order, so that each one is
// measured behind corrected ones (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and
// Bias Correction", section 4.2 and, for the measured form, appendix D).
//
// The analytic form takes only the rounding of weights into account: with E = W' - W, outputs shift by E
// times the mean of the inputs. Means of inputs are those of the samples, by channel, rather than what batch
// norms say of them: those are folded by then, and samples know what padding, pooling and residual sums do to
// them. A sum for each channel is all that it needs, so that few samples serve it as well as many.
#include <algorithm>
#include <cmath>
#include <string>

#include "core/stopwatch.h"
#include "ops/op.h"
#include "quant/bias.h"
#include "quant/layerwise.h"
#include "quant/product_layer.h"

namespace zp::quant {
namespace {

constexpr std::string_view kName = "bias-correction";
constexpr std::string_view kSamples = "bias-samples";
constexpr std::string_view kAnalytic = "bias-analytic";

const QuantRule& rule_of(const Node& node) { return find_op(node.domain, node.op_type)->quant; }

// A product without a bias gets one of zeros, if its operator has a place for one, so that there is
// something to correct.
class MakeRoom : public PiecewiseStage {
 public:
  MakeRoom(JobState& state, Options) : state_(state) {}

 private:
  size_t start() override {
    const auto& asked = state_.config.repairs;
    const bool wanted = std::find(asked.begin(), asked.end(), kName) != asked.end();
    return wanted ? state_.prepared->graph.nodes.size() : 0;
  }
  void piece(size_t i) override {
    Graph& g = state_.prepared->graph;
    Node& n = g.nodes[i];
    const OpDef* def = find_op(n.domain, n.op_type);
    if (!def || def->quant.kind != QuantRule::Kind::kProduct || def->quant.bias < 0) return;
    const auto slot = static_cast<size_t>(def->quant.bias);
    const Tensor* w = g.constant(n.input(static_cast<size_t>(def->quant.weight)));
    if (n.input(slot) != kNoValue || !w || w->dtype() != DType::kFloat32 || !def->quant.channel_axis) return;
    const int axis = def->quant.channel_axis(n, static_cast<int>(w->dims().size()));
    if (axis < 0) return;
    const Shape dims{w->dims()[static_cast<size_t>(axis)]};
    n.inputs.resize(std::max(n.inputs.size(), slot + 1), kNoValue);
    n.inputs[slot] = g.add_constant(n.name + "_bias", Tensor(DType::kFloat32, dims));
  }

  JobState& state_;
};

class BiasCorrection : public LayerwiseStage {
 public:
  BiasCorrection(JobState& s, const Options& options)
      : LayerwiseStage(s, static_cast<size_t>(options[kSamples]),
                       options[kAnalytic] != 0 ? Stand::kBefore : Stand::kAfter),
        analytic_(options[kAnalytic] != 0) {}

 private:
  bool begin(const Layer& layer) override {
    layer_ = layer;
    shift_.clear();
    squares_.clear();
    moved_.clear();
    inputs_.clear();
    count_ = 0;
    sample_ = 0;
    measured_ = false;
    return true;
  }

  bool work(double milliseconds) override {
    const Stopwatch watch(milliseconds);
    if (analytic_) {
      while (sample_ < samples()) {
        add_input(sample_++);
        if (watch.over()) return false;
      }
      corrected_ += !correct(layer_, expected_shift()).empty();
      return true;  // later layers have not been computed yet
    }
    while (!measured_ && sample_ < samples()) {
      measure(sample_++);
      if (watch.over()) return false;
    }
    if (!measured_) {
      measured_ = true;
      sample_ = 0;
      for (size_t c = 0; c < shift_.size(); ++c) {
        double& mean = shift_[c];
        mean /= count_;
        // Only what the samples have in common is a shift.
        if (mean != 0) mean *= mean * mean / (squares_[c] / count_);
      }
      moved_ = correct(layer_, shift_);
      if (moved_.empty()) return true;
      ++corrected_;
    }
    // What later layers are measured behind.
    while (sample_ < samples()) {
      move(sample_++);
      if (sample_ < samples() && watch.over()) return false;
    }
    return true;
  }

  // By channel: sums of the layer's inputs.
  void add_input(size_t s) {
    const Tensor& x = quantized_value(data_input(layer_), s);
    const ChannelView view(x.dims(), rule_of(placed_node(layer_)).channel_dim);
    inputs_.resize(static_cast<size_t>(view.channels), 0.0);
    const float* a = x.data<float>().data();
    for_each(x, [&](size_t c, size_t e) { inputs_[c] += static_cast<double>(a[e]); });
    count_ += static_cast<double>(view.outer * view.inner);
    input_dims_ = x.dims();
  }

  // The layer with W - W' as its weight, on inputs that are nothing but their means.
  std::vector<double> expected_shift() {
    const PlacedWeight& placed = state().weights[layer_.weight];
    const auto constant = [&](ValueId v) { return v == kNoValue ? Tensor() : *quantized().constant(v); };
    const Tensor rounded = dequantize_weight({.integers = constant(placed.integers),
                                              .scale = constant(placed.scale),
                                              .zero_point = constant(placed.zero_point),
                                              .range = {}},
                                             placed.spec.grouping);
    Tensor error =
        Tensor::of<float>(rounded.dims(), state().prepared->graph.constant(placed.weight)->floats());
    const float* w = rounded.data<float>().data();
    for (float& v : error.mutable_data<float>()) v -= *w++;

    Tensor mean(DType::kFloat32, input_dims_);
    float* m = mean.mutable_data<float>().data();
    for_each(mean, [&](size_t c, size_t e) { m[e] = static_cast<float>(inputs_[c] / count_); });
    const std::unique_ptr<runtime::Session> session =
        with_weight(placed_node(layer_), std::move(error), state().threads);
    const Tensor y = session->run({{std::string(kLayerInput), mean}})[0];
    const ChannelView view(y.dims(), rule_of(placed_node(layer_)).channel_dim);
    std::vector<double> shift(static_cast<size_t>(view.channels), 0.0);
    const auto each = static_cast<double>(view.outer * view.inner);
    const float* a = y.data<float>().data();
    for_each(y, [&](size_t c, size_t e) { shift[c] += static_cast<double>(a[e]) / each; });
    return shift;
  }

  // f(channel, element) for a layer's input or output.
  template <class F>
  void for_each(const Tensor& y, F&& f) {
    const ChannelView view(y.dims(), rule_of(placed_node(layer_)).channel_dim);
    size_t e = 0;
    for (int64_t o = 0; o < view.outer; ++o)
      for (int64_t c = 0; c < view.channels; ++c)
        for (int64_t i = 0; i < view.inner; ++i, ++e) f(static_cast<size_t>(c), e);
  }

  // By channel: the mean of the sample's float outputs less the quantized ones.
  void measure(size_t s) {
    const Tensor &x = float_value(layer_.output, s), &y = quantized_value(layer_.output, s);
    const ChannelView view(x.dims(), rule_of(placed_node(layer_)).channel_dim);
    const auto channels = static_cast<size_t>(view.channels);
    const auto elements = static_cast<double>(view.outer * view.inner);
    if (elements == 0) return;
    std::vector<double> sums(channels, 0.0);
    const float *a = x.data<float>().data(), *b = y.data<float>().data();
    for_each(x,
             [&](size_t c, size_t e) { sums[c] += static_cast<double>(a[e]) - static_cast<double>(b[e]); });
    shift_.resize(channels, 0.0);
    squares_.resize(channels, 0.0);
    for (size_t c = 0; c < channels; ++c) {
      shift_[c] += sums[c];
      squares_[c] += sums[c] * sums[c] / elements;
    }
    count_ += elements;
  }

  void move(size_t s) {
    Tensor& y = quantized_value(layer_.output, s);
    float* at = y.mutable_data<float>().data();
    for_each(y, [&](size_t c, size_t e) { at[e] += moved_[c]; });
  }

  // What was really added to the layer's bias; empty: there is none to change.
  std::vector<float> correct(const Layer& layer, const std::vector<double>& shift) {
    const auto place = find_bias(state(), layer.node, layer.placed, static_cast<int64_t>(shift.size()));
    return place ? move_bias(state(), *place, shift) : std::vector<float>();
  }

  void conclude() override {
    state().repaired.push_back("bias correction: the biases of " + std::to_string(corrected_) +
                               " layers were moved by what their outputs' means " +
                               (analytic_ ? "shift as their weights are rounded" : "had shifted") +
                               ", over " + std::to_string(samples()) + " samples");
  }

  bool analytic_;
  size_t corrected_ = 0;

  Layer layer_;
  std::vector<double> inputs_;  // by channel: sums
  Shape input_dims_;
  // By channel: sums of the errors, then the shift; and of squares of the samples' means.
  std::vector<double> shift_, squares_;
  std::vector<float> moved_;  // what was added to the bias
  double count_ = 0;
  size_t sample_ = 0;
  bool measured_ = false;
};

const RegisterStage kMakeRoom({.name = "bias-slots",
                               .order = 150,
                               .make = [](JobState& s, Options o) -> std::unique_ptr<Stage> {
                                 return std::make_unique<MakeRoom>(s, std::move(o));
                               }});
const RegisterStage kBiasCorrection({
    .name = kName,
    .order = 700,
    .repair = true,
    .by_default = [](const Config&, const Scheme& scheme) { return scheme.needs_calibration; },
    .corrects_means = true,
    .needs_samples = layerwise_needs_samples,
    .options = {{.name = kSamples, .owner = kName, .otherwise = 8, .min = 1, .max = 1024},
                {.name = kAnalytic, .owner = kName, .otherwise = 0, .min = 0, .max = 1}},
    .make = [](JobState& s, Options o) -> std::unique_ptr<Stage> {
      return std::make_unique<BiasCorrection>(s, o);
    },
});

}  // namespace
}  // namespace zp::quant
