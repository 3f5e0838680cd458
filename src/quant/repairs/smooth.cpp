// SmoothQuant: a few channels of a transformer's activations are many times larger than the others, in every
// token, and one scale for all of them leaves the others no steps. Part of their size is moved into the
// weights that read them, where each output channel sums over all of them (Xiao et al. 2023, "SmoothQuant:
// Accurate and Efficient Post-Training Quantization for Large Language Models"):
//
//   s_j = max|x_j|^a / max|w_j|^(1 - a)        x_j / s_j        w_j * s_j
//
// The division goes into the gamma of the normalization that makes x where nobody else reads it; elsewhere it
// becomes a node of its own, which has to be worth more.
//
// How much is moved (a) is chosen for each value: on rows of it that are kept, its layers are computed in
// integers for each a and for none, with factors and ranges of the other half of the samples. Channels that
// are small in few samples may be large in others; the other half shows it, and a value that no a helps stays
// as it is. No channel counts as smaller than the tenth part of the channels' (as NNCF has it).
//
// Values whose layers share weights (a block that is run several times) are smoothed alike, so that the
// weights stay shared. A weight that others read too would be needed twice: its layers are left alone.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "core/decimal.h"
#include "core/sort.h"
#include "core/text.h"
#include "ops/op.h"
#include "quant/estimate.h"
#include "quant/matrix.h"
#include "quant/spread.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

constexpr std::string_view kName = "smooth";
constexpr std::string_view kStrength = "smooth-strength";
// 0 is no strength that anyone would want: it stands for "choose".
constexpr std::array<double, 6> kStrengths{0.35, 0.5, 0.65, 0.75, 0.85, 0.95};
// What smoothing must leave of a layer's error at most, and where it takes a node of its own.
constexpr double kWorthIt = 0.9, kWorthANode = 0.7;
constexpr double kFloorShare = 0.1;  // of channels: none counts as smaller than the largest of these
constexpr size_t kHalves = 2;
constexpr size_t kMostRows = 256, kFewestRows = 32;
constexpr double kRowBytes = 64.0 * 1024 * 1024;  // of rows, over all values
constexpr int64_t kMostColumns = 128;             // output channels of a layer that are computed

struct Reader {
  int32_t node;
  size_t weight_slot;
  int axis;  // of the weight: input channels
};

struct Row {
  size_t index = 0, half = 0;
  std::vector<float> x;
};

// A value that products read.
struct Smoothed {
  ValueId value = kNoValue;
  std::vector<Reader> readers;
  // By half of the samples, then channel.
  std::array<std::vector<float>, kHalves> least, most;
  std::vector<Row> rows;
  size_t seen = 0;   // rows
  double below = 1;  // ranks of rows that are kept
};

// Values whose layers share weights.
struct Family {
  std::vector<ValueId> values;
  int64_t channels = 0;
};

using Channels = std::vector<double>;

class Smooth : public Stage {
 public:
  Smooth(JobState& state, const Options& options) : state_(state), strength_(options[kStrength]) {
    find();
    if (values_.empty()) return;
    double channels = 0;
    for (const Family& f : families_)
      channels += static_cast<double>(f.values.size() * static_cast<size_t>(f.channels));
    most_rows_ =
        std::clamp(static_cast<size_t>(kRowBytes / (sizeof(float) * channels)), kFewestRows, kMostRows);
    runtime::SessionOptions session;
    session.threads = state_.threads;
    for (const auto& [v, s] : values_) session.taps.push_back(v);
    session_ = std::make_unique<runtime::Session>(state_.prepared, std::move(session));
    session_->set_tap([this](ValueId v, const TensorView& view) { observe(values_.at(v), view); });
  }

  bool wants_samples() const override { return session_ != nullptr; }
  void begin_sample(std::vector<runtime::Feed> feeds) override {
    session_->begin(std::move(feeds));
    running_ = true;
    half_ = rank_in_series(samples_++) < 0.5 ? 0 : 1;
  }
  void end_samples() override { session_.reset(); }

  bool advance(double milliseconds) override {
    if (running_) {
      if (!session_->advance(milliseconds)) return false;
      running_ = false;
    }
    if (session_ || over_) return true;
    if (at_ < families_.size()) {
      const Family& f = families_[at_++];
      if (const double strength = strength_ > 0 ? strength_ : choose(f); strength > 0) apply(f, strength);
      return false;
    }
    over_ = true;
    insert_nodes();
    report();
    return true;
  }
  size_t done() const override { return running_ ? session_->done() : at_; }
  size_t total() const override { return running_ ? session_->total() : families_.size(); }

 private:
  Graph& graph() { return state_.prepared->graph; }
  const Tensor& weight(const Reader& r) {
    return *graph().constant(graph().nodes[static_cast<size_t>(r.node)].input(r.weight_slot));
  }

  // ---- what can be smoothed

  std::optional<Reader> reader(size_t i) {
    Graph& g = graph();
    const Node& n = g.nodes[i];
    const OpDef* def = find_op(n);
    if (!def || def->quant.kind != QuantRule::Kind::kProduct || def->quant.weight < 0 ||
        def->quant.channel_dim != -1 || !def->quant.input_axis || def->quant.data.first() != 0)
      return std::nullopt;
    const Tensor* w = g.constant(n.input(static_cast<size_t>(def->quant.weight)));
    const ValueId x = n.input(0);
    if (!w || w->dtype() != DType::kFloat32 || w->dims().size() != 2 || w->size() == 0 || g.constant(x) ||
        g[x].dtype != DType::kFloat32)
      return std::nullopt;
    const int axis = def->quant.input_axis(n, 2);
    if (axis < 0) return std::nullopt;
    return Reader{static_cast<int32_t>(i), static_cast<size_t>(def->quant.weight), axis};
  }

  void find() {
    Graph& g = graph();
    const GraphIndex index(g);
    std::map<ValueId, std::set<ValueId>> read_by;  // by weight: the values that it is multiplied with
    std::map<ValueId, size_t> uses;
    for (size_t i = 0; i < g.nodes.size(); ++i) {
      const auto r = reader(i);
      if (!r) continue;
      const ValueId x = g.nodes[i].input(0), w = g.nodes[i].input(r->weight_slot);
      Smoothed& s = values_[x];
      s.value = x;
      s.readers.push_back(*r);
      read_by[w].insert(x);
      ++uses[w];
    }
    // Families, by their first value.
    std::map<ValueId, ValueId> first;
    const auto root = [&](ValueId v) {
      while (first.at(v) != v) v = first.at(v);
      return v;
    };
    for (const auto& [v, s] : values_) first[v] = v;
    for (const auto& [w, values] : read_by)
      for (const ValueId v : values) {
        const ValueId a = root(v), b = root(*values.begin());
        first[std::max(a, b)] = std::min(a, b);
      }
    std::map<ValueId, Family> families;
    std::set<ValueId> apart;  // that cannot be smoothed
    for (const auto& [v, s] : values_) {
      Family& f = families[root(v)];
      f.values.push_back(v);
      for (const Reader& r : s.readers) {
        const ValueId w = g.nodes[static_cast<size_t>(r.node)].input(r.weight_slot);
        const int64_t channels = g.constant(w)->dims()[static_cast<size_t>(r.axis)];
        if (f.channels == 0) f.channels = channels;
        // A weight that is read along its other dimension too.
        if (f.channels != channels) apart.insert(root(v));
        if (index.consumers[static_cast<size_t>(w)].size() != uses.at(w) || g.is_output(w)) {
          apart.insert(root(v));
          read_elsewhere_.insert(w);
        }
      }
    }
    for (auto& [v, f] : families) {
      const bool out = apart.contains(v);
      for (const ValueId of : f.values) {
        if (out) {
          values_.erase(of);
          continue;
        }
        Smoothed& s = values_.at(of);
        for (size_t h = 0; h < kHalves; ++h) {
          s.least[h].assign(static_cast<size_t>(f.channels), 0);
          s.most[h] = s.least[h];
        }
      }
      if (!out) families_.push_back(std::move(f));
    }
  }

  void observe(Smoothed& s, const TensorView& view) {
    std::vector<float>&least = s.least[half_], &most = s.most[half_];
    if (view.dtype != DType::kFloat32 || view.dims.empty() ||
        view.dims.back() != static_cast<int64_t>(least.size()))
      return;
    const float* x = reinterpret_cast<const float*>(view.data);
    const size_t channels = least.size();
    for (int64_t left = element_count(view.dims); left > 0;
         left -= static_cast<int64_t>(channels), x += channels) {
      bool finite = true;
      for (size_t c = 0; c < channels; ++c) {
        finite = finite && std::isfinite(x[c]);
        if (x[c] < least[c]) least[c] = x[c];
        if (x[c] > most[c]) most[c] = x[c];
      }
      const size_t index = s.seen++;
      if (!finite || rank_in_series(index) >= s.below) continue;
      s.rows.push_back({index, half_, {x, x + channels}});
      if (s.rows.size() <= most_rows_) continue;
      const auto last = std::max_element(s.rows.begin(), s.rows.end(), [](const Row& a, const Row& b) {
        return rank_in_series(a.index) < rank_in_series(b.index);
      });
      s.below = rank_in_series(last->index);
      s.rows.erase(last);
    }
  }

  // ---- how much

  // By channel, in one half of the samples or (kHalves) in all: the largest |x| of a family's values.
  Channels largest(const Family& f, size_t half) {
    Channels most(static_cast<size_t>(f.channels), 0);
    for (const ValueId v : f.values) {
      const Smoothed& s = values_.at(v);
      for (size_t h = 0; h < kHalves; ++h)
        for (size_t c = 0; c < most.size() && (half == kHalves || h == half); ++c)
          most[c] =
              std::max({most[c], static_cast<double>(s.most[h][c]), -static_cast<double>(s.least[h][c])});
    }
    return most;
  }

  // By channel: the largest weight that it meets.
  Channels weights_of(const Family& f) {
    Channels largest(static_cast<size_t>(f.channels), 0);
    for (const ValueId v : f.values)
      for (const Reader& r : values_.at(v).readers) {
        const std::span<const float> w = weight(r).data<float>();
        for_weights(weight(r), r.axis, [&](size_t c, size_t e) {
          largest[c] = std::max(largest[c], std::fabs(static_cast<double>(w[e])));
        });
      }
    return largest;
  }

  // Empty: there is nothing to go by.
  static Channels factors(Channels x, const Channels& w, double strength) {
    const double largest = *std::max_element(x.begin(), x.end());
    if (!(largest > 0) || !std::isfinite(largest)) return {};
    Channels sorted = x;
    sort_small(sorted);
    const double least =
        std::max(sorted[static_cast<size_t>(kFloorShare * static_cast<double>(x.size()))], 1e-4 * largest);
    Channels factor(x.size(), 1);
    for (size_t c = 0; c < x.size(); ++c)
      if (w[c] > 0)
        factor[c] =
            std::clamp(std::pow(std::max(x[c], least), strength) / std::pow(w[c], 1 - strength), 1e-4, 1e4);
    // Only differences between channels count: the whole tensor keeps its size.
    double mean = 0;
    for (double f : factor) mean += std::log(f);
    for (double& f : factor) f /= std::exp(mean / static_cast<double>(x.size()));
    return factor;
  }

  // Of none and all strengths, the one whose layers err least on the half of the samples that neither factors
  // nor ranges come from; 0: none. Of one sample there is no other half.
  double choose(const Family& f) {
    if (samples_ < 2) return 0;
    std::array<double, kStrengths.size() + 1> errors{};
    const Channels w = weights_of(f);
    for (size_t half = 0; half < kHalves; ++half) {
      const Channels x = largest(f, 1 - half);
      for (const ValueId v : f.values) {
        const Smoothed& s = values_.at(v);
        const std::vector<float> rows = rows_of(s, half);
        if (rows.empty()) continue;
        for (const Reader& r : s.readers) {
          const Columns columns = columns_of(r);
          const std::vector<float> right = product(rows, columns.w, columns.count, f.channels);
          double signal = 0;
          for (const float y : right) signal += static_cast<double>(y) * static_cast<double>(y);
          if (!(signal > 0)) continue;
          for (size_t k = 0; k < errors.size(); ++k) {
            const Channels factor = k == 0 ? Channels(x.size(), 1) : factors(x, w, kStrengths[k - 1]);
            errors[k] += factor.empty() ? 1 : noise(s, 1 - half, rows, columns, factor, right) / signal;
          }
        }
      }
    }
    const auto best = std::min_element(errors.begin() + 1, errors.end());
    const double most = absorbable(f) ? kWorthIt : kWorthANode;
    return *best < most * errors[0] ? kStrengths[static_cast<size_t>(best - errors.begin()) - 1] : 0;
  }

  static std::vector<float> rows_of(const Smoothed& s, size_t half) {
    std::vector<float> rows;
    for (const Row& r : s.rows)
      if (r.half == half) rows.insert(rows.end(), r.x.begin(), r.x.end());
    return rows;
  }

  // Some of a layer's output channels: a matrix [inputs, count]. `largest`: of all of them, by input.
  struct Columns {
    int64_t count = 0;
    std::vector<float> w, largest;
  };
  Columns columns_of(const Reader& r) {
    const Tensor& t = weight(r);
    const std::span<const float> all = t.data<float>();
    const auto inputs = static_cast<size_t>(t.dims()[static_cast<size_t>(r.axis)]);
    const size_t outputs = all.size() / inputs;
    Columns c{.count = std::min<int64_t>(kMostColumns, static_cast<int64_t>(outputs))};
    const auto count = static_cast<size_t>(c.count);
    const auto at = [&](size_t i, size_t o) { return all[r.axis == 0 ? i * outputs + o : o * inputs + i]; };
    c.largest.assign(inputs, 0);
    for (size_t i = 0; i < inputs; ++i) {
      for (size_t k = 0; k < count; ++k) c.w.push_back(at(i, k * outputs / count));
      if (state_.config.per_channel) continue;
      for (size_t o = 0; o < outputs; ++o) c.largest[i] = std::max(c.largest[i], std::fabs(at(i, o)));
    }
    return c;
  }

  std::vector<float> product(const std::vector<float>& rows, const std::vector<float>& w, int64_t columns,
                             int64_t inputs) {
    const int64_t count = static_cast<int64_t>(rows.size()) / inputs;
    std::vector<float> padded(rows), out(static_cast<size_t>(count * columns));
    padded.resize(rows.size() + kReadSlack);
    RightMatrix(w.data(), inputs, columns).multiply(padded.data(), count, out.data(), pool_.get());
    return out;
  }

  // Squared error of the columns, with activations divided and weights multiplied by the factors, both in
  // integers.
  double noise(const Smoothed& s, size_t ranges_of, std::vector<float> rows, const Columns& columns,
               const Channels& factor, const std::vector<float>& right) {
    const size_t inputs = factor.size();
    Range range;
    for (size_t c = 0; c < inputs; ++c)
      range.include({static_cast<float>(s.least[ranges_of][c] / factor[c]),
                     static_cast<float>(s.most[ranges_of][c] / factor[c])});
    const QParams params =
        choose_params(range, state_.config.activations, state_.config.symmetric_activations);
    const Range bounds = covered(params);
    const auto rounded = [](float x, float step) { return std::nearbyint(x / step) * step; };
    for (size_t i = 0; i < rows.size(); ++i)
      rows[i] = rounded(std::clamp(rows[i] / static_cast<float>(factor[i % inputs]), bounds.min, bounds.max),
                        params.scale);

    const auto count = static_cast<size_t>(columns.count);
    std::vector<float> w(columns.w), most(count, 0);
    for (size_t e = 0; e < w.size(); ++e) {
      w[e] *= static_cast<float>(factor[e / count]);
      most[e % count] = std::max(most[e % count], std::fabs(w[e]));
    }
    if (!state_.config.per_channel) {
      float of_all = 0;
      for (size_t i = 0; i < inputs; ++i)
        of_all = std::max(of_all, columns.largest[i] * static_cast<float>(factor[i]));
      most.assign(count, of_all);
    }
    const IntegerRange codes = integer_range(state_.config.weights);
    const float steps = static_cast<float>(codes.max - codes.min) / 2;
    for (size_t e = 0; e < w.size(); ++e)
      if (most[e % count] > 0) w[e] = rounded(w[e], most[e % count] / steps);
    const std::vector<float> made = product(rows, w, columns.count, static_cast<int64_t>(inputs));
    double sum = 0;
    for (size_t i = 0; i < made.size(); ++i) {
      const double d = static_cast<double>(made[i]) - static_cast<double>(right[i]);
      sum += d * d;
    }
    return sum;
  }

  // ---- doing it

  void apply(const Family& f, double strength) {
    const Channels factor = factors(largest(f, kHalves), weights_of(f), strength);
    if (factor.empty()) return;
    least_ = std::min(least_, strength), most_ = std::max(most_, strength);
    std::map<ValueId, ValueId> scaled;  // a constant that several of the family read is written once
    const auto scale = [&](ValueId& slot, auto&& by) {
      const auto [it, added] = scaled.try_emplace(slot, kNoValue);
      if (added) {
        const Tensor& old = *graph().constant(slot);
        std::vector<float> x = old.floats();
        by(old, x);
        Tensor made = Tensor::of<float>(old.dims(), x);
        const std::string name = graph()[slot].name + "_smoothed";
        it->second = graph().add_constant(name, std::move(made));
      }
      slot = it->second;
    };
    std::optional<ValueId> inverse;
    for (const ValueId v : f.values) {
      const Smoothed& s = values_.at(v);
      const std::vector<size_t> slots = slots_of_maker(s);
      if (!slots.empty()) {
        const GraphIndex index(graph());
        Node& n = graph().nodes[static_cast<size_t>(index.producer[static_cast<size_t>(v)])];
        for (const size_t slot : slots)
          scale(n.inputs[slot], [&](const Tensor&, std::vector<float>& x) {
            for (size_t c = 0; c < x.size(); ++c)
              x[c] = static_cast<float>(static_cast<double>(x[c]) / factor[c]);
          });
        graph().rename(v, graph()[v].name + "_smoothed");  // it is not what the model that came in calls so
        ++absorbed_;
      } else {
        if (!inverse) {
          std::vector<float> x(factor.size());
          for (size_t c = 0; c < x.size(); ++c) x[c] = static_cast<float>(1 / factor[c]);
          inverse = graph().add_constant(graph()[v].name + "_smoothing", Tensor::of<float>({f.channels}, x));
        }
        add_node(s, *inverse);
      }
      for (const Reader& r : s.readers)
        scale(graph().nodes[static_cast<size_t>(r.node)].inputs[r.weight_slot],
              [&](const Tensor& old, std::vector<float>& w) {
                for_weights(old, r.axis, [&](size_t c, size_t e) {
                  w[e] = static_cast<float>(static_cast<double>(w[e]) * factor[c]);
                });
              });
    }
  }

  void add_node(const Smoothed& s, ValueId inverse) {
    Graph& g = graph();
    Node n;
    n.name = g[s.value].name + "_smooth";
    n.op_type = "Mul";
    n.inputs = {s.value, inverse};
    n.outputs = {g.add_value(n.name, DType::kFloat32, g[s.value].shape)};
    for (const Reader& r : s.readers) g.nodes[static_cast<size_t>(r.node)].inputs[0] = n.outputs[0];
    state_.config.left_float.emplace(n.name, "makes channels alike: rounding its input would undo this");
    added_.emplace(s.readers[0].node, std::move(n));
  }

  // Inputs of the normalization that makes the value, where nobody else reads it: its gamma and beta.
  // Empty: no.
  std::vector<size_t> slots_of_maker(const Smoothed& s) {
    Graph& g = graph();
    const GraphIndex index(g);
    const int32_t maker = index.producer[static_cast<size_t>(s.value)];
    if (maker < 0 || g.is_output(s.value) ||
        index.consumers[static_cast<size_t>(s.value)].size() != s.readers.size())
      return {};
    const Node& n = g.nodes[static_cast<size_t>(maker)];
    const OpDef* def = find_op(n);
    if (!def || def->gamma < 0 || n.output(0) != s.value) return {};
    std::vector<size_t> slots{static_cast<size_t>(def->gamma)};
    if (def->beta >= 0 && n.input(static_cast<size_t>(def->beta)) != kNoValue)
      slots.push_back(static_cast<size_t>(def->beta));
    for (const size_t slot : slots) {
      const Tensor* t = g.constant(n.input(slot));
      if (!t || t->dtype() != DType::kFloat32 || t->size() != static_cast<int64_t>(s.least[0].size()))
        return {};
    }
    return slots;
  }
  bool absorbable(const Family& f) {
    return std::ranges::all_of(f.values, [&](ValueId v) { return !slots_of_maker(values_.at(v)).empty(); });
  }

  void insert_nodes() {
    nodes_ = added_.size();
    for (auto it = added_.rbegin(); it != added_.rend(); ++it)
      graph().nodes.insert(graph().nodes.begin() + it->first, std::move(it->second));
    added_.clear();
  }

  void report() {
    if (!read_elsewhere_.empty()) {
      double bytes = 0;
      for (const ValueId w : read_elsewhere_) bytes += static_cast<double>(graph().constant(w)->bytes());
      state_.repaired.push_back(Text({"SmoothQuant skipped the layers of ", read_elsewhere_.size(),
                                      read_elsewhere_.size() == 1 ? " weight" : " weights",
                                      " that other nodes read too: a second copy would take ",
                                      decimal(std::round(bytes / 1e5) / 10), " MB"})
                                    .str());
    }
    if (absorbed_ + nodes_ == 0) return;
    const auto of_hundred = [](double s) { return decimal(std::round(100 * s) / 100); };
    state_.repaired.push_back(
        Text({"SmoothQuant: ", absorbed_ + nodes_, " of ", values_.size(), " activations were smoothed, ",
              absorbed_, " of them inside the normalization before them, with strengths of ",
              of_hundred(least_), least_ == most_ ? "" : " to " + of_hundred(most_)})
            .str());
  }

  template <class F>
  static void for_weights(const Tensor& w, int axis, F&& f) {
    const auto columns = static_cast<size_t>(w.dims()[1]);
    for (size_t e = 0; e < static_cast<size_t>(w.size()); ++e) f(axis == 0 ? e / columns : e % columns, e);
  }

  JobState& state_;
  double strength_;
  size_t samples_ = 0, half_ = 0, most_rows_ = kMostRows, at_ = 0;
  std::map<ValueId, Smoothed> values_;
  std::vector<Family> families_;
  std::set<ValueId> read_elsewhere_;  // weights
  std::unique_ptr<runtime::Session> session_;
  std::shared_ptr<ThreadPool> pool_ = runtime::shared_pool(state_.threads);
  std::map<int32_t, Node> added_;  // by the first node that reads them: readers come in order
  bool running_ = false, over_ = false;
  size_t absorbed_ = 0, nodes_ = 0;
  double least_ = 1, most_ = 0;  // strengths
};

const RegisterStage kSmooth({
    .name = kName,
    .title = "SmoothQuant: move outliers from activations into weights",
    .sentence = "For transformers: moves outlier channels of activations into the weights.",
    .more = ZP_MORE("Xiao et al. 2023. A default where activations are calibrated."),
    .order = 120,
    .repair = true,
    .by_default = [](const Config&, const Scheme& scheme) { return scheme.needs_calibration; },
    .worth_trying = [](const Config&) { return true; },
    .needs_samples = [](const Config&, const Scheme&) { return true; },
    .cost =
        [](const Workload& w, const Options& options, StageCost& cost) {
          double channels = 0;
          for (const WeightedLayer& l : w.layers) channels += l.rank == 2 ? l.depth : 0;
          const double row_bytes = 4.0 * kMostRows * channels;
          cost.bytes = w.session() + std::min(kRowBytes, row_bytes);
          cost.macs = static_cast<double>(w.expected.samples) * w.macs;
          cost.touched = static_cast<double>(w.expected.samples) * w.values;
          const double tries = options[kStrength] > 0 ? 0 : 2 + static_cast<double>(kStrengths.size());
          double matrices = 0;
          for (const WeightedLayer& l : w.layers) {
            if (l.rank != 2) continue;
            cost.held += 4 * l.elements();  // weights that channels were moved into
            const double columns = std::min(l.rows, static_cast<double>(kMostColumns));
            cost.macs += tries * kMostRows * columns * l.depth;
            cost.touched += tries * (kMostRows + columns) * l.depth;
            matrices = std::max(matrices, 4 * l.elements());
          }
          cost.bytes += matrices;
          if (matrices == 0) cost = {};
        },
    .options = {{.name = kStrength,
                 .owner = kName,
                 .fallback = 0,
                 .min = 0,
                 .max = 1,
                 .sentence =
                     "How much of an outlier goes into the weights; 0: a search chooses for each value."}},
    .make = make_stage<Smooth>,
});

}  // namespace
}  // namespace zp::quant
