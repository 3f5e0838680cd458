// Cross-layer equalisation: between layers that make channels and layers that read them, with nothing there
// that knows one scale from another, a channel can be made smaller by s where it is made and larger where it
// is read, without changing what is computed:
//
//   W1_i, b1_i / s_i        W2_i * s_i
//
// Values that are added to each other share their channels' scales, so that a chain of residual blocks is one
// such place: a Space, here.
//
// Where a weight has one scale, channels are to fill the ranges that they share in both (Nagel et al. 2019,
// "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1): s_i = sqrt(r1_i /
// r2_i), of the largest weights that make and that read channel i, again and again until nothing moves.
//
// Where each output channel has a scale, W1 does not mind s. It decides how finely W2_i is rounded next to
// the other inputs of the same row, and how finely the channel itself is, next to the others. Rounding a
// number by steps of d errs by d^2/12, so that the error that a layer gives out is, with channels' ranges and
// mean squares over the samples (variances, where a later repair corrects means),
//
//   sum_rows (max_i |W2_i s_i| / steps)^2 / 12 * sum_i E[x_i^2] / s_i^2
//     + (range of all x_i / s_i, / steps)^2 / 12 * sum_i W2_i^2 s_i^2 * (part of x_i that is not 0)
//
// and s is the best of a family between what serves the one (1 / max |W2_i|) and the other (range of x_i), as
// SmoothQuant's are (Xiao et al. 2023).
//
// A ReLU does not mind the scale; the upper bound of a ReLU6 does. Nagel drops the bound. Here samples show
// which channels come near it: those keep their scale, and the others stay below it, so that the network
// computes what it did.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string>

#include "core/decimal.h"
#include "ops/clamp.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "quant/bias.h"
#include "quant/estimate.h"
#include "quant/layerwise.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

// Scales that are tried for each channel, about: see best_scales().
constexpr double kTriesOfScales = 32;

constexpr std::string_view kName = "equalization";
constexpr int kMostRounds = 40;
constexpr double kStill = 1e-3;  // a round that moves no channel by more than this part is the last
// Unseen values lie further out than those of the samples, and further the rarer a channel's are: a channel
// may come as close to a bound as its largest value seen would be, were it so many times as far from its
// mean.
constexpr double kBoundMargin = 1.25;
// Of channels that the values' range does not come from: how much less than it they reach.
constexpr double kRangeMargin = 1.25;
constexpr double kMostStep = 1e4;
// Where samples decide. A channel that they hardly show is not taken to be as small as it looks.
constexpr double kMostMeasuredStep = 16;
constexpr double kWorthIt = 0.99;  // of the error as it is

// A layer that makes channels or reads them.
struct Layer {
  int32_t node;
  size_t weight;  // its slot
  int axis;       // of the weight, which counts them
};

// A clamp with an upper bound.
struct Bound {
  ValueId before;
  double at;
};

// Values whose channels are the same channels: who makes them, and who reads them.
struct Space {
  int64_t channels = 0;
  int channel_dim = 0;
  std::vector<Layer> makers, readers;
  std::vector<ValueId> values;
  std::vector<Bound> bounds;
};

// What was seen of a value, by channel.
struct Seen {
  int channel_dim = 0;
  std::vector<double> least, most, sum, squares;
  std::vector<double> alive;  // elements that are not 0, which needs no rounding
  double count = 0;           // elements of a channel

  explicit Seen(const Space& s)
      : channel_dim(s.channel_dim),
        least(static_cast<size_t>(s.channels), 0),
        most(least),
        sum(least),
        squares(least),
        alive(least) {}
  double range(size_t c) const { return most[c] - least[c]; }
  double mean(size_t c) const { return count > 0 ? sum[c] / count : 0; }
  double variance(size_t c) const { return std::max(squares[c] / count - mean(c) * mean(c), 0.0); }
};

// f(channel, element) for the elements of w that make (along its axis) channels, or read them.
template <class F>
void for_made(const Tensor& w, int axis, F&& f) {
  int64_t inner = 1;
  for (size_t d = static_cast<size_t>(axis) + 1; d < w.dims().size(); ++d) inner *= w.dims()[d];
  const int64_t extent = w.dims()[static_cast<size_t>(axis)];
  for (int64_t e = 0; e < w.size(); ++e) f(static_cast<size_t>(e / inner % extent), static_cast<size_t>(e));
}
template <class F>
void for_read(const Tensor& w, int axis, int64_t channels, F&& f) {
  const int64_t in = w.dims()[static_cast<size_t>(axis)], groups = std::max<int64_t>(channels / in, 1);
  const int64_t per_group = w.size() / groups;  // with groups, dimension 0 counts outputs, group by group
  for_made(w, axis, [&](size_t c, size_t e) {
    const int64_t group = groups > 1 ? static_cast<int64_t>(e) / per_group : 0;
    f(static_cast<size_t>(group * in) + c, e);
  });
}

// The error that a layer gives out for the rounding of its weights and of the channels that it reads.
class ReadingError {
 public:
  // Steps over the whole range of an integer type; 0: stays float.
  ReadingError(const Tensor& w, int row_axis, int axis, const Seen& seen, double weight_steps,
               double value_steps, bool corrects_means)
      : seen_(&seen),
        inputs_(static_cast<size_t>(w.dims()[static_cast<size_t>(axis)])),
        rows_(row_axis < 0 ? 1 : static_cast<size_t>(w.dims()[static_cast<size_t>(row_axis)])),
        largest_(rows_ * inputs_, 0),
        energy_(seen.most.size(), 0),
        counted_(seen.most.size()),
        weight_steps_(weight_steps),
        value_steps_(value_steps) {
    taps_ = static_cast<double>(w.size()) / static_cast<double>(largest_.size());
    std::vector<size_t> row(static_cast<size_t>(w.size()), 0);
    if (row_axis >= 0) for_made(w, row_axis, [&](size_t r, size_t e) { row[e] = r; });
    const std::span<const float> x = w.data<float>();
    for_read(w, axis, static_cast<int64_t>(energy_.size()), [&](size_t c, size_t e) {
      float& most = largest_[row[e] * inputs_ + c % inputs_];
      most = std::max(most, std::fabs(x[e]));
      energy_[c] += static_cast<double>(x[e]) * static_cast<double>(x[e]);
    });
    for (size_t c = 0; c < counted_.size(); ++c)
      counted_[c] = corrects_means ? seen.variance(c) : seen.squares[c] / seen.count;
    now_ = of(std::vector<double>(energy_.size(), 1));
  }

  // As a share of the error without scaling.
  double relative(const std::vector<double>& s) const { return now_ > 0 ? of(s) / now_ : 1; }
  const std::vector<double>& energy() const { return energy_; }
  const Seen& seen() const { return *seen_; }
  // By channel: the largest weight that reads it.
  std::vector<double> largest() const {
    std::vector<double> all(energy_.size(), 0);
    const size_t per_group = rows_ * inputs_ / all.size();
    for (size_t r = 0; r < rows_; ++r)
      for (size_t i = 0; i < inputs_; ++i) {
        double& most = all[group(r, per_group) * inputs_ + i];
        most = std::max(most, static_cast<double>(largest_[r * inputs_ + i]));
      }
    return all;
  }

 private:
  static size_t group(size_t row, size_t per_group) { return per_group ? row / per_group : 0; }

  double of(const std::vector<double>& s) const {
    const size_t groups = energy_.size() / inputs_, per_group = rows_ / groups;
    const auto squared = [](double x) { return x * x; };
    double least = 0, most = 0;
    for (size_t c = 0; c < s.size(); ++c) {
      least = std::min(least, seen_->least[c] / s[c]);
      most = std::max(most, seen_->most[c] / s[c]);
    }
    const double of_value = value_steps_ > 0 ? squared((most - least) / value_steps_) / 12 : 0;
    double error = 0;
    std::vector<double> spread(groups, 0);
    const std::vector<float> scale(s.begin(), s.end());
    for (size_t c = 0; c < s.size(); ++c) {
      spread[c / inputs_] += counted_[c] / squared(s[c]);
      // A number that is rounded to 0 has an error as large as itself.
      error +=
          energy_[c] * std::min(of_value * squared(s[c]) * seen_->alive[c], seen_->squares[c]) / seen_->count;
    }
    for (size_t r = 0; weight_steps_ > 0 && r < rows_; ++r) {
      const size_t g = group(r, per_group);
      float largest = 0;
      for (size_t i = 0; i < inputs_; ++i)
        largest = std::max(largest, largest_[r * inputs_ + i] * scale[g * inputs_ + i]);
      error += taps_ * spread[g] * squared(2 * static_cast<double>(largest) / weight_steps_) / 12;
    }
    return error;
  }

  const Seen* seen_;
  size_t inputs_, rows_;         // inputs of a group
  std::vector<float> largest_;   // [row][input of its group]: over the taps of a kernel
  std::vector<double> energy_;   // by channel: of all weights that read it
  std::vector<double> counted_;  // by channel: what the rounding of its weights is multiplied by, squared
  double weight_steps_, value_steps_, taps_ = 1, now_ = 0;
};

class Equalize : public Stage {
 public:
  explicit Equalize(JobState& state) : state_(state) {
    find_spaces();
    const bool sampled = state_.scheme->needs_calibration;
    measured_ = sampled && state_.config.per_channel;
    runtime::SessionOptions session;
    session.threads = state_.threads;
    for (const Space& s : spaces_) {
      for (const Bound& b : s.bounds) seen_.try_emplace(b.before, s);
      if (measured_)
        for (const Layer& l : s.readers) seen_.try_emplace(node(l.node).input(0), s);
    }
    if (seen_.empty()) return;
    for (const auto& [v, seen] : seen_) session.taps.push_back(v);
    session_ = std::make_unique<runtime::Session>(state_.prepared, std::move(session));
    session_->set_tap([this](ValueId v, const TensorView& view) { observe(v, view); });
  }

  bool wants_samples() const override { return session_ != nullptr; }
  void begin_sample(std::vector<runtime::Feed> feeds) override {
    session_->begin(std::move(feeds));
    running_ = true;
  }
  void end_samples() override { session_.reset(); }

  bool advance(double milliseconds) override {
    if (running_) {
      if (!session_->advance(milliseconds)) return false;
      running_ = false;
    }
    if (session_ || over_) return true;
    if (measured_) {
      if (done_ < spaces_.size()) scale(spaces_[done_], best_scales(spaces_[done_]));
      over_ = ++done_ >= spaces_.size();
    } else {
      // A round over all places is a pass over the weights: short enough for one slice.
      double moved = 0;
      for (const Space& s : spaces_) moved = std::max(moved, scale(s, equal_scales(s)));
      over_ = moved < kStill || ++done_ == kMostRounds;
    }
    if (over_ && !total_.empty())
      state_.repaired.push_back("equalisation: channels were scaled in " + std::to_string(total_.size()) +
                                (total_.size() == 1 ? " place" : " places") + " between layers, by up to " +
                                factor() + " times");
    return over_;
  }
  size_t done() const override { return done_; }
  size_t total() const override { return measured_ ? spaces_.size() : kMostRounds; }

 private:
  Graph& graph() { return state_.prepared->graph; }
  const Node& node(int32_t i) const { return state_.prepared->graph.nodes[static_cast<size_t>(i)]; }
  const QuantRule& rule(int32_t i) const { return op_of(node(i)).quant; }
  // Of its weight: the dimension that has scales of its own; -1: none.
  int row_axis(const Layer& l) {
    const auto axis = rule(l.node).channel_axis;
    return axis ? axis(node(l.node), static_cast<int>(weight(l).dims().size())) : -1;
  }
  const Tensor& weight(const Layer& l) { return *graph().constant(node(l.node).input(l.weight)); }

  std::string factor() const {
    double most = 1;
    for (const auto& [space, scales] : total_)
      for (double s : scales) most = std::max({most, s, 1 / s});
    return decimal(std::round(10 * most) / 10);
  }

  // A product whose weight is a constant that we may scale: that, or nullptr. One that others read too would
  // be needed twice.
  const Tensor* weight_of(const Node& n, const OpDef* def) const {
    if (!def || def->quant.kind != QuantRule::Kind::kProduct || def->quant.weight < 0) return nullptr;
    const ValueId id = n.input(static_cast<size_t>(def->quant.weight));
    const Tensor* w = state_.prepared->graph.constant(id);
    return w && w->dtype() == DType::kFloat32 && !shared_.contains(id) ? w : nullptr;
  }

  std::optional<Layer> maker(int32_t i) const {
    const OpDef* def = find_op(node(i));
    const Tensor* w = weight_of(node(i), def);
    if (!w || !def->quant.channel_axis) return std::nullopt;
    const int axis = def->quant.channel_axis(node(i), static_cast<int>(w->dims().size()));
    if (axis < 0) return std::nullopt;
    if (def->quant.bias >= 0 && node(i).input(static_cast<size_t>(def->quant.bias)) != kNoValue) {
      const Tensor* b = state_.prepared->graph.constant(node(i).input(static_cast<size_t>(def->quant.bias)));
      const int rank = static_cast<int>(w->dims().size());
      if (!b || b->dtype() != DType::kFloat32 ||
          !is_channel_bias(node(i), rank, w->dims()[static_cast<size_t>(axis)], b->dims(), true))
        return std::nullopt;
    }
    return Layer{i, static_cast<size_t>(def->quant.weight), axis};
  }

  std::optional<Layer> reader(int32_t i) const {
    const OpDef* def = find_op(node(i));
    const Tensor* w = weight_of(node(i), def);
    if (!w || !def->quant.input_axis || def->quant.data.first() != 0) return std::nullopt;
    const int axis = def->quant.input_axis(node(i), static_cast<int>(w->dims().size()));
    return axis < 0 ? std::nullopt : std::optional(Layer{i, static_cast<size_t>(def->quant.weight), axis});
  }

  // Values whose channels are the same channels get one root. What makes or reads a value in any other way
  // fixes its scale.
  void find_spaces() {
    Graph& g = graph();
    const GraphIndex index(g);
    for (ValueId v = 0; v < static_cast<ValueId>(g.values.size()); ++v)
      if (g.constant(v) && index.consumers[static_cast<size_t>(v)].size() > 1) shared_.insert(v);
    std::vector<ValueId> root(g.values.size());
    std::iota(root.begin(), root.end(), 0);
    const auto find = [&](ValueId v) {
      for (; root[static_cast<size_t>(v)] != v; v = root[static_cast<size_t>(v)])
        root[static_cast<size_t>(v)] = root[static_cast<size_t>(root[static_cast<size_t>(v)])];
      return v;
    };
    std::vector<std::optional<Bound>> bounds(g.nodes.size());
    std::vector<bool> links(g.nodes.size(), false);
    for (size_t i = 0; i < g.nodes.size(); ++i) {
      const Node& n = g.nodes[i];
      const OpDef* def = find_op(n);
      if (!def || n.output(0) == kNoValue) continue;
      size_t operands = 0;
      if (def->as_clamp) {
        const std::optional<Clamp> clamp = def->as_clamp(GraphInferContext(g, n));
        if (clamp && (clamp->lo == 0 || !bounded_below(*clamp)) && clamp->hi > 0) {
          operands = 1;
          if (bounded_above(*clamp)) bounds[i] = Bound{n.input(0), static_cast<double>(clamp->hi)};
        }
      } else if (def->homogeneous) {
        operands = 1;
      } else if (def->quant.sums) {
        operands = n.inputs.size();
      }
      const std::span<const ValueId> together(n.inputs.data(), std::min(operands, n.inputs.size()));
      links[i] = !together.empty() && std::ranges::count(together, kNoValue) == 0;
      if (!links[i]) continue;
      for (ValueId v : together) root[static_cast<size_t>(find(v))] = find(n.output(0));
    }

    std::vector<bool> fixed(g.values.size(), false);
    std::map<ValueId, Space> spaces;
    for (ValueId v = 0; v < static_cast<ValueId>(g.values.size()); ++v) {
      const int32_t from = index.producer[static_cast<size_t>(v)];
      const std::vector<int32_t>& readers = index.consumers[static_cast<size_t>(v)];
      if (from < 0 && readers.empty()) continue;  // left behind by a rewrite
      Space& s = spaces[find(v)];
      s.values.push_back(v);
      const auto take = [&](const std::optional<Layer>& l, std::vector<Layer>& side) {
        if (l) side.push_back(*l);
        return l.has_value();
      };
      bool free = from >= 0 && !g.is_output(v) && g[v].dtype == DType::kFloat32;
      if (free && !links[static_cast<size_t>(from)])
        free = node(from).output(0) == v && take(maker(from), s.makers);
      for (size_t k = 0; free && k < readers.size(); ++k) {
        if (links[static_cast<size_t>(readers[k])]) continue;
        const Node& n = node(readers[k]);
        free = n.input(0) == v && std::ranges::count(n.inputs, v) == 1 && take(reader(readers[k]), s.readers);
      }
      if (!free) fixed[static_cast<size_t>(find(v))] = true;
    }
    for (size_t i = 0; i < g.nodes.size(); ++i)
      if (bounds[i]) spaces[find(bounds[i]->before)].bounds.push_back(*bounds[i]);
    for (auto& [v, s] : spaces) {
      if (fixed[static_cast<size_t>(v)] || s.makers.empty() || s.readers.empty() || !agree(s)) continue;
      // Without samples nothing is known about who reaches a bound.
      if (!s.bounds.empty() && !state_.scheme->needs_calibration) continue;
      spaces_.push_back(std::move(s));
    }
  }

  // All sides have as many channels, in the same dimension: where one counts the second and one the last, a
  // reordering that we do not know lies between them.
  bool agree(Space& s) {
    const Layer& first = s.makers.front();
    const size_t rank = weight(first).dims().size();
    s.channels = weight(first).dims()[static_cast<size_t>(first.axis)];
    s.channel_dim = rule(first.node).channel_dim;
    const auto same_dim = [&](const Layer& l) {
      return rule(l.node).channel_dim == s.channel_dim &&
             (s.channel_dim < 0 || weight(l).dims().size() == rank);
    };
    return std::ranges::all_of(s.makers,
                               [&](const Layer& l) {
                                 return same_dim(l) &&
                                        weight(l).dims()[static_cast<size_t>(l.axis)] == s.channels;
                               }) &&
           std::ranges::all_of(s.readers, [&](const Layer& l) {
             const Shape& dims = weight(l).dims();
             const int64_t in = dims[static_cast<size_t>(l.axis)];
             if (!same_dim(l) || in == 0 || s.channels == 0 || s.channels % in != 0) return false;
             const int64_t groups = s.channels / in;
             return groups == 1 || (l.axis == 1 && dims[0] % groups == 0);
           });
  }

  void observe(ValueId v, const TensorView& view) {
    Seen& seen = seen_.at(v);
    const ChannelView by(view.dims, seen.channel_dim);
    if (view.dtype != DType::kFloat32 || by.channels != static_cast<int64_t>(seen.most.size())) return;
    const float* x = reinterpret_cast<const float*>(view.data);
    for (int64_t o = 0; o < by.outer; ++o)
      for (size_t c = 0; c < seen.most.size(); ++c, x += by.inner) {
        float least = 0, most = 0;
        double sum = 0, squares = 0;
        int64_t alive = 0;
        for (int64_t i = 0; i < by.inner; ++i) {
          least = std::min(least, x[i]);
          most = std::max(most, x[i]);
          sum += static_cast<double>(x[i]);
          squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
          alive += x[i] != 0;
        }
        seen.least[c] = std::min(seen.least[c], static_cast<double>(least));
        seen.most[c] = std::max(seen.most[c], static_cast<double>(most));
        seen.sum[c] += sum;
        seen.squares[c] += squares;
        seen.alive[c] += static_cast<double>(alive);
      }
    seen.count += static_cast<double>(by.outer * by.inner);
  }

  // By channel, what has to divide it at least so that it stays below all bounds; 1 and more: it must not be
  // scaled.
  std::vector<double> least_scales(const Space& s) const {
    std::vector<double> least(static_cast<size_t>(s.channels), 0);
    for (const Bound& b : s.bounds) {
      const Seen& seen = seen_.at(b.before);
      for (size_t c = 0; c < least.size(); ++c) {
        const double mean = seen.mean(c);
        least[c] = std::max(least[c], (mean + kBoundMargin * std::max(seen.most[c] - mean, 0.0)) / b.at);
      }
    }
    return least;
  }
  static void keep_below(const std::vector<double>& least, std::vector<double>& s) {
    for (size_t c = 0; c < s.size(); ++c) s[c] = least[c] >= 1 ? 1 : std::max(s[c], least[c]);
  }

  // One channel's range is that of all: no other comes near it, or what is unseen of it would be cut off.
  static void keep_within(const std::vector<double>& reach, const std::vector<double>& least,
                          std::vector<double>& s) {
    size_t top = 0;
    for (size_t c = 0; c < s.size(); ++c)
      if (reach[c] / s[c] > reach[top] / s[top]) top = c;
    const double most = reach[top] / s[top];
    for (size_t c = 0; c < s.size() && most > 0; ++c)
      if (c != top && least[c] < 1) s[c] = std::max(s[c], reach[c] * kRangeMargin / most);
  }

  // Nagel's.
  std::vector<double> equal_scales(const Space& space) {
    const auto channels = static_cast<size_t>(space.channels);
    std::vector<double> r1(channels, 0), r2(channels, 0), s(channels, 1);
    const auto largest = [](std::vector<double>& of, std::span<const float> x) {
      return [&of, x](size_t c, size_t e) { of[c] = std::max(of[c], std::fabs(static_cast<double>(x[e]))); };
    };
    for (const Layer& l : space.makers) for_made(weight(l), l.axis, largest(r1, weight(l).data<float>()));
    for (const Layer& l : space.readers)
      for_read(weight(l), l.axis, space.channels, largest(r2, weight(l).data<float>()));
    for (size_t c = 0; c < channels; ++c)
      if (r1[c] > 0 && r2[c] > 0) s[c] = std::clamp(std::sqrt(r1[c] / r2[c]), 1 / kMostStep, kMostStep);
    keep_below(least_scales(space), s);
    return s;
  }

  // Those of the family that leave the smallest error. All 1: nothing is worth it.
  std::vector<double> best_scales(const Space& space) {
    const auto steps = [](DType type) {
      if (type == DType::kUndefined || type == DType::kFloat16) return 0;  // next to nothing
      const IntegerRange range = integer_range(type);
      return range.max - range.min;
    };
    const auto channels = static_cast<size_t>(space.channels);
    const bool corrects_means = std::ranges::any_of(all_stages(), [&](const StageDef* d) {
      return d->corrects_means && std::ranges::count(state_.config.repairs, d->name) > 0;
    });
    std::vector<ReadingError> errors;
    // Of what the whole model is asked to have: what is decided for single layers later does not change
    // scales.
    for (const Layer& l : space.readers)
      if (const Seen& seen = seen_.at(node(l.node).input(0)); seen.count > 0)
        errors.emplace_back(weight(l), row_axis(l), l.axis, seen, steps(state_.config.weights),
                            steps(state_.config.activations), corrects_means);
    std::vector<double> best(channels, 1);
    if (errors.empty()) return best;
    const auto error = [&](const std::vector<double>& s) {
      return std::accumulate(errors.begin(), errors.end(), 0.0,
                             [&](double sum, const ReadingError& e) { return sum + e.relative(s); });
    };
    double least_error = kWorthIt * error(best);

    // Facts about each channel in its readers, each with a geometric mean of 1: largest weights, weights in
    // the mean square, ranges.
    std::array<std::vector<double>, 2> weights;
    std::vector<double> ranges(channels, 0);
    for (auto& w : weights) w.assign(channels, 0);
    for (const ReadingError& e : errors) {
      const std::vector<double> largest = e.largest();
      const auto most = [](const std::vector<double>& x) {
        return std::max(*std::ranges::max_element(x), 1e-30);
      };
      const double of_all = most(largest), of_energy = most(e.energy());
      for (size_t c = 0; c < channels; ++c) {
        weights[0][c] = std::max(weights[0][c], largest[c] / of_all);
        weights[1][c] = std::max(weights[1][c], std::sqrt(e.energy()[c] / of_energy));
        ranges[c] = std::max(ranges[c], e.seen().range(c));
      }
    }
    const std::vector<double> reach = ranges;
    for (std::vector<double>* x : {&weights[0], &weights[1], &ranges}) {
      double logs = 0;
      size_t count = 0;
      for (double v : *x)
        if (v > 0) {
          logs += std::log(v);
          ++count;
        }
      const double mean = std::exp(logs / static_cast<double>(std::max<size_t>(count, 1)));
      for (double& v : *x) v = v > 0 ? v / mean : 1;
    }

    // Next to channels that keep their scale because of a bound, it matters how large the others are.
    const std::vector<double> least = least_scales(space);
    const bool bounded = std::ranges::any_of(least, [](double l) { return l >= 1; });
    for (const auto& w : weights)
      for (double towards_range : {0.0, 0.25, 0.5, 0.75, 1.0})
        for (double strength : {0.25, 0.5, 0.75, 1.0})
          for (int size = bounded ? -4 : 0; size <= (bounded ? 4 : 0); ++size) {
            std::vector<double> s(channels);
            for (size_t c = 0; c < channels; ++c)
              s[c] = std::clamp(std::ldexp(1.0, size) * std::pow(ranges[c], strength * towards_range) /
                                    std::pow(w[c], strength * (1 - towards_range)),
                                1 / kMostMeasuredStep, kMostMeasuredStep);
            keep_below(least, s);
            keep_within(reach, least, s);
            const double now = error(s);
            if (now < least_error) {
              least_error = now;
              best = std::move(s);
            }
          }
    return best;
  }

  // Gives the largest step |log s| that a channel made.
  double scale(const Space& space, const std::vector<double>& s) {
    double moved = 0;
    for (double step : s) moved = std::max(moved, std::fabs(std::log(step)));
    if (moved == 0) return 0;
    const auto divide = [&s](float& x, size_t c) { x = static_cast<float>(static_cast<double>(x) / s[c]); };
    const auto multiply = [&s](float& x, size_t c) { x = static_cast<float>(static_cast<double>(x) * s[c]); };
    for (const Layer& l : space.makers) {
      std::vector<float> w = weight(l).floats();
      for_made(weight(l), l.axis, [&](size_t c, size_t e) { divide(w[e], c); });
      replace(l.node, l.weight, w);
      if (rule(l.node).bias < 0) continue;
      const size_t bias = static_cast<uint8_t>(rule(l.node).bias);
      if (node(l.node).input(bias) == kNoValue) continue;
      std::vector<float> b = graph().constant(node(l.node).input(bias))->floats();
      for (size_t c = 0; c < b.size(); ++c) divide(b[c], c);
      replace(l.node, bias, b);
    }
    for (const Layer& l : space.readers) {
      std::vector<float> w = weight(l).floats();
      for_read(weight(l), l.axis, space.channels, [&](size_t c, size_t e) { multiply(w[e], c); });
      replace(l.node, l.weight, w);
    }
    for (const Bound& b : space.bounds)
      for (size_t c = 0; c < s.size(); ++c) {
        seen_.at(b.before).most[c] /= s[c];
        seen_.at(b.before).sum[c] /= s[c];
      }
    const auto [total, first] = total_.try_emplace(space.makers.front().node, s.size(), 1.0);
    std::vector<double>& all = total->second;
    // They are not what the model that came in calls so.
    for (size_t i = 0; first && i < space.values.size(); ++i)
      graph().rename(space.values[i], graph()[space.values[i]].name + "_equalized");
    for (size_t c = 0; c < s.size(); ++c) all[c] *= s[c];
    return moved;
  }

  // A constant of one's own from the first change on: others may read the old one.
  void replace(int32_t i, size_t slot, const std::vector<float>& values) {
    ValueId& v = graph().nodes[static_cast<size_t>(i)].inputs[slot];
    Tensor t = Tensor::of<float>(graph().constant(v)->dims(), values);
    if (const auto [it, first] = own_.try_emplace({i, slot}, kNoValue); first) {
      v = it->second = graph().add_constant(graph()[v].name + "_equalized", std::move(t));
    } else {
      graph()[v].constant = std::move(t);
    }
  }

  JobState& state_;
  std::vector<Space> spaces_;
  std::set<ValueId> shared_;  // constants that several nodes read
  std::map<ValueId, Seen> seen_;
  std::map<std::pair<int32_t, size_t>, ValueId> own_;
  std::map<int32_t, std::vector<double>> total_;  // by a space's first maker: its scales
  std::unique_ptr<runtime::Session> session_;
  bool running_ = false, over_ = false, measured_ = false;
  size_t done_ = 0;  // spaces or rounds
};

const RegisterStage kEqualize({
    .name = kName,
    .title = "Equalize channels of neighbouring layers",
    .sentence = "Scales channels between layers so that weights and activations round well.",
    .more = ZP_MORE("After Nagel et al. 2019. It helps 4-bit weights most."),
    .order = 100,
    .repair = true,
    // Scales for each channel leave channels of 8-bit weights little to be equal in.
    .worth_trying = [](const Config& c) { return !c.per_channel || bits_of(c.weights) != 8; },
    .needs_samples = [](const Config&, const Scheme& scheme) { return scheme.needs_calibration; },
    .cost =
        [](const Workload& w, const Options&, StageCost& cost) {
          const auto samples = static_cast<double>(w.expected.samples);
          cost.bytes = w.session();
          cost.macs = samples * w.macs;
          cost.touched = 4 * samples * w.values;
          for (const WeightedLayer& l : w.layers) {
            cost.held += 4 * l.elements();
            cost.touched += kTriesOfScales * l.elements();
          }
        },
    .make = make_stage<Equalize>,
});

}  // namespace
}  // namespace zp::quant
