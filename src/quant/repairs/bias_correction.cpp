// Bias correction: rounding weights and clipping activations moves the mean of a layer's outputs, and a
// shift of a whole channel harms the layers after it more than noise of the same size. The shift is
// measured on samples, channel by channel, behind an added constant and a ReLU or another function of one
// element where there is one, and taken off the bias if each sample is better off with what the others say;
// layers in order, so that each one is measured behind corrected ones (Nagel et al. 2019, "Data-Free
// Quantization Through Weight Equalization and Bias Correction", section 4.2 and, for the measured form,
// appendix D).
//
// The analytic form takes only the rounding of weights into account: with E = W' - W, outputs shift by E
// times the mean of the inputs. Means of inputs are those of the samples, by channel, rather than what batch
// norms say of them: those are folded by then, and samples know what padding, pooling and residual sums do to
// them. A sum for each channel is all that it needs, so that few samples serve it as well as many.
#include <algorithm>
#include <cmath>
#include <string>

#include "core/decimal.h"
#include "core/stopwatch.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "quant/bias.h"
#include "quant/estimate.h"
#include "quant/layerwise.h"
#include "quant/product_layer.h"

namespace zp::quant {
namespace {

constexpr std::string_view kName = "bias-correction";
constexpr std::string_view kSamples = "bias-samples";
constexpr std::string_view kAnalytic = "bias-analytic";

const QuantRule& rule_of(const Node& node) { return find_op(node)->quant; }

// A product without a bias gets one of zeros, if its operator has a place for one, so that there is
// something to correct.
class MakeRoom : public PiecewiseStage {
 public:
  explicit MakeRoom(JobState& state) : state_(state) {}

 private:
  size_t start() override {
    const auto& asked = state_.config.repairs;
    const bool wanted = std::find(asked.begin(), asked.end(), kName) != asked.end();
    return wanted ? state_.prepared->graph.nodes.size() : 0;
  }
  void piece(size_t i) override {
    Graph& g = state_.prepared->graph;
    Node& n = g.nodes[i];
    const OpDef* def = find_op(n);
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
    look_behind(layer);
    seen_.clear();
    before_.clear();
    after_.clear();
    moved_.clear();
    inputs_.clear();
    count_ = 0;
    sample_ = 0;
    step_ = Step::kMeasure;
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
    while (step_ == Step::kMeasure && sample_ < samples()) {
      measure(sample_++);
      if (watch.over()) return false;
    }
    if (step_ == Step::kMeasure) {
      step_ = Step::kProve;
      sample_ = 0;
    }
    // Of one sample there is no other to prove it.
    while (step_ == Step::kProve && samples() > 1 && sample_ < samples()) {
      prove(sample_++);
      if (watch.over()) return false;
    }
    if (step_ == Step::kProve) {
      step_ = Step::kMove;
      sample_ = 0;
      std::vector<double> shift = shift_without(samples());
      for (size_t c = 0; c < before_.size(); ++c)
        if (after_[c] >= before_[c]) shift[c] = 0;
      if (std::ranges::all_of(shift, [](double m) { return m == 0; })) return true;
      moved_ = correct(layer_, shift);
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

  // The layer with W - W' as its weight, on inputs that are replaced by their means.
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

  // The operators between the layer and its other readers: the addition of a constant for each channel, then
  // a clamp or a function of one element.
  void look_behind(const Layer& layer) {
    offset_.clear();
    clamp_ = {};
    function_.reset();
    Graph& g = state().prepared->graph;
    const GraphIndex index(g);
    const auto reader = [&](ValueId v) -> const Node* {
      const auto& readers = index.consumers[static_cast<size_t>(v)];
      return readers.size() == 1 && !g.is_output(v) ? &g.nodes[static_cast<size_t>(readers[0])] : nullptr;
    };
    ValueId v = layer.output;
    const Node* next = reader(v);
    const Node& product = g.nodes[static_cast<size_t>(layer.node)];
    const OpDef* def = next ? find_op(*next) : nullptr;
    if (def && def->quant.sums && next->inputs.size() == 2) {
      const Tensor* added = g.constant(next->input(next->input(0) == v ? 1 : 0));
      const Tensor& weight = *g.constant(state().weights[layer.weight].weight);
      const auto rank = static_cast<int>(weight.dims().size());
      if (!added || added->dtype() != DType::kFloat32 ||
          !is_channel_bias(product, rank, added->size(), added->dims(), false))
        return;
      offset_ = added->floats();
      v = next->output(0);
      next = reader(v);
      def = next ? find_op(*next) : nullptr;
    }
    if (!def || next->input(0) != v) return;
    if (const auto clamp = def->as_clamp ? def->as_clamp(GraphInferContext(g, *next)) : std::nullopt) {
      clamp_ = *clamp;
    } else if (def->unary && next->inputs.size() == 1) {
      auto model = std::make_shared<Model>();
      Node n = *next;
      n.inputs = {model->graph.add_value(std::string(kLayerInput), DType::kFloat32)};
      n.outputs = {model->graph.add_value("y", DType::kFloat32)};
      model->graph.inputs = n.inputs;
      model->graph.outputs = n.outputs;
      model->graph.nodes.push_back(std::move(n));
      function_ = std::make_unique<runtime::Session>(std::move(model),
                                                     runtime::SessionOptions{.threads = state().threads});
    }
  }
  bool bounded() const { return function_ || std::isfinite(clamp_.lo) || std::isfinite(clamp_.hi); }

  // What others see of a result to which each channel's shift was added.
  Tensor seen_of(const Tensor& result, const std::vector<double>& shift = {}) {
    Tensor y(DType::kFloat32, result.dims());
    const float* from = result.data<float>().data();
    float* to = y.mutable_data<float>().data();
    for_each(result, [&](size_t c, size_t e) {
      float x = from[e];
      if (!offset_.empty()) x += offset_[offset_.size() == 1 ? 0 : c];
      if (!shift.empty()) x += static_cast<float>(shift[c]);
      to[e] = std::clamp(x, clamp_.lo, clamp_.hi);
    });
    return function_ ? function_->run({{std::string(kLayerInput), y}})[0] : y;
  }

  // By channel: sums of what others see more of the sample's float outputs than of the quantized ones, and of
  // how many. An element that is clamped in both has no error, and no shift would change it.
  void measure(size_t s) {
    const Tensor x = seen_of(float_value(layer_.output, s)), y = seen_of(quantized_value(layer_.output, s));
    const ChannelView view(x.dims(), rule_of(placed_node(layer_)).channel_dim);
    const auto channels = static_cast<size_t>(view.channels);
    Seen seen{.sum = std::vector<double>(channels, 0.0), .count = std::vector<double>(channels, 0.0)};
    const float *a = x.data<float>().data(), *b = y.data<float>().data();
    const bool cut = bounded();
    for_each(x, [&](size_t c, size_t e) {
      if (cut && a[e] == b[e]) return;
      seen.sum[c] += static_cast<double>(a[e]) - static_cast<double>(b[e]);
      seen.count[c] += 1;
    });
    seen_.push_back(std::move(seen));
  }

  // By channel: the mean error over all samples but one. Only what samples have in common is a shift: a mean
  // m over samples whose own means have a mean square q counts as m * m^2 / q.
  std::vector<double> shift_without(size_t left_out) const {
    std::vector<double> shift(seen_[0].sum.size(), 0.0);
    for (size_t c = 0; c < shift.size(); ++c) {
      double sum = 0, squares = 0, count = 0;
      for (size_t s = 0; s < seen_.size(); ++s) {
        if (s == left_out || seen_[s].count[c] == 0) continue;
        sum += seen_[s].sum[c];
        squares += seen_[s].sum[c] * seen_[s].sum[c] / seen_[s].count[c];
        count += seen_[s].count[c];
      }
      if (sum == 0) continue;
      const double mean = sum / count;
      shift[c] = mean * mean * mean / (squares / count);
    }
    return shift;
  }

  // By channel: the squared error of a sample, as it is and with what the others would take off.
  void prove(size_t s) {
    const std::vector<double> shift = shift_without(s);
    const Tensor x = seen_of(float_value(layer_.output, s)), y = seen_of(quantized_value(layer_.output, s)),
                 z = seen_of(quantized_value(layer_.output, s), shift);
    before_.resize(shift.size(), 0.0);
    after_.resize(shift.size(), 0.0);
    const float *a = x.data<float>().data(), *b = y.data<float>().data(), *d = z.data<float>().data();
    for_each(x, [&](size_t c, size_t e) {
      const double is = b[e], would = d[e], right = a[e];
      before_[c] += (right - is) * (right - is);
      after_[c] += (right - would) * (right - would);
    });
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
    if (corrected_ == 0) return;
    state().repaired.push_back("bias correction: the biases of " + counted(corrected_, "layer") +
                               " were corrected by the shift of their outputs' means" +
                               (analytic_ ? " that rounded weights cause" : "") + ", over " +
                               counted(samples(), "sample"));
  }

  bool analytic_;
  size_t corrected_ = 0;

  Layer layer_;
  std::vector<double> inputs_;  // by channel: sums
  Shape input_dims_;
  std::vector<float> offset_;                   // by channel, or one for all: added behind the layer
  Clamp clamp_ = {};                            // then this
  std::unique_ptr<runtime::Session> function_;  // or this
  struct Seen {
    std::vector<double> sum, count;
  };
  std::vector<Seen> seen_;              // by sample
  std::vector<double> before_, after_;  // by channel
  std::vector<float> moved_;            // what was added to the bias
  double count_ = 0;
  size_t sample_ = 0;
  enum class Step : uint8_t { kMeasure, kProve, kMove } step_ = Step::kMeasure;
};

const RegisterStage kMakeRoom({.name = "bias-slots", .order = 150, .make = make_stage<MakeRoom>});
const RegisterStage kBiasCorrection({
    .name = kName,
    .title = "Correct biases",
    .sentence = "Corrects biases by the shift that quantization gives to channel means.",
    .more = ZP_MORE("Nagel et al. 2019. A default where activations are calibrated."),
    .order = 700,
    .repair = true,
    .by_default = [](const Config&, const Scheme& scheme) { return scheme.needs_calibration; },
    .checkable = true,
    .corrects_means = true,
    .worth_trying = [](const Config&) { return true; },
    .needs_samples = layerwise_needs_samples,
    .cost =
        [](const Workload& w, const Options& options, StageCost& cost) {
          add_layerwise(w, static_cast<size_t>(options[kSamples]), cost);
          cost.touched *= 2;
        },
    .options = {samples_option(kSamples, kName, 16),
                {.name = kAnalytic,
                 .owner = kName,
                 .fallback = 0,
                 .min = 0,
                 .max = 1,
                 .sentence = "1: the shift is computed from the means of the float model, not measured."}},
    .make = make_stage<BiasCorrection>,
});

}  // namespace
}  // namespace zp::quant
