// Half-quadratic quantization: better scales for weights, from the weights alone (Badri and Shaji 2023,
// "Half-Quadratic Quantization of Large Machine Learning Models"). The error that counts is an l_p norm with
// p < 1, which lets a few outliers be wrong so that the many are right. It is split by an extra variable e
// into two problems with closed solutions, taken in turn:
//
//   e = shrink(w - w~)                          what is given up as outliers
//   z = mean of c + z - (w - e) / s             the zero point, and
//   s = sum of (w - e) c / sum of c^2           the scale, that serve the rest, with codes c = round(w / s)
//
// The paper moves a zero point that is a float, and no scale. ONNX's zero points are integers, and symmetric
// weights have none, so here the scale moves too. A scale can give up too much: of all that are met on the
// way, the ones with the least squared error are kept. Only for up to 4 bits, and where activations stay
// float: there no bias hangs on the scale.
//
// A smaller error of the weights does not always mean a smaller error of the outputs, least of all at 2 bits.
// If there are samples and they show a larger error, it is taken back.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <span>
#include <string>

#include "core/decimal.h"
#include "quant/estimate.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

constexpr std::string_view kName = "hqq";
constexpr double kNorm = 0.7;
constexpr double kSharp = 10;  // beta
constexpr int kRounds = 6;
// Of the scale that the largest weight asks for. Where the turns end depends on where they begin.
constexpr std::array<double, 3> kStarts{1, 0.8, 0.6};
constexpr size_t kSlab = 4096;  // elements that are worked on at once

// Elements [begin, end) of one weight, which hold whole groups.
struct Slab {
  size_t weight, begin, end;
};

// x^p from a table, for the sizes that nearly all errors have: it is asked for some twenty times for each
// weight.
double power(double x) {
  constexpr double kTo = 1, kSteps = 4096;
  static const std::vector<double> table = [] {
    std::vector<double> t;
    for (int i = 0; i <= static_cast<int>(kSteps); ++i)
      t.push_back(std::pow((i + 0.5) / kSteps * kTo, kNorm));
    return t;
  }();
  return x < kTo ? table[static_cast<size_t>(x * (kSteps / kTo))] : std::pow(x, kNorm);
}

class Hqq : public PiecewiseStage {
 public:
  explicit Hqq(JobState& state) : state_(state) {}

 private:
  size_t start() override {
    std::set<ValueId> seen;
    for (size_t i = 0; i < state_.weights.size(); ++i) {
      const PlacedWeight& placed = state_.weights[i];
      const bool floats =
          state_.plan.nodes[static_cast<size_t>(placed.node)].activations == DType::kUndefined;
      if (!floats || bits_of(placed.spec.dtype) > 4 || !seen.insert(placed.integers).second) continue;
      cut(i);
      ++weights_;
    }
    return slabs_.size();
  }

  void cut(size_t i) {
    const PlacedWeight& placed = state_.weights[i];
    const std::vector<uint32_t> group =
        scale_indices(state_.prepared->graph.constant(placed.weight)->dims(), placed.spec.grouping);
    std::vector<size_t> last(group.empty() ? 0 : 1 + *std::max_element(group.begin(), group.end()));
    for (size_t e = 0; e < group.size(); ++e) last[group[e]] = e;
    size_t begin = 0, open = 0;  // until `open` a group goes on
    for (size_t e = 0; e < group.size(); ++e) {
      open = std::max(open, last[group[e]]);
      if (e < open || (e + 1 - begin < kSlab && e + 1 < group.size())) continue;
      slabs_.push_back({i, begin, e + 1});
      begin = e + 1;
    }
  }

  void open(size_t weight) {
    const PlacedWeight& placed = state_.weights[weight];
    const Graph& g = state_.result->graph;
    const Shape& dims = state_.prepared->graph.constant(placed.weight)->dims();
    group_ = scale_indices(dims, placed.spec.grouping);
    scale_ = g.constant(placed.scale)->floats();
    const std::vector<int64_t> integers = g.constant(placed.integers)->integers();
    integers_.assign(integers.begin(), integers.end());
    const Tensor* zero = g.constant(placed.zero_point);
    zeros_.assign(scale_.size(), 0);
    for (size_t i = 0; zero && i < zeros_.size(); ++i)
      zeros_[i] = static_cast<double>(zero->integer_at(static_cast<int64_t>(zero->size() == 1 ? 0 : i)));
  }

  void piece(size_t at) override {
    const Slab& slab = slabs_[at];
    const PlacedWeight& placed = state_.weights[slab.weight];
    if (at == 0 || slabs_[at - 1].weight != slab.weight) open(slab.weight);
    const std::span<const float> w = state_.prepared->graph.constant(placed.weight)->data<float>();
    const IntegerRange codes = weight_codes(placed.spec);
    const bool moves_zero = !placed.spec.symmetric && state_.result->graph.constant(placed.zero_point);
    struct Sums {
      double error = 0, dot = 0, square = 0, zero = 0, count = 0;
    };
    struct Group {
      double unit = 0, first = 0;  // scale and zero point as they were
      double s = 0, z = 0;         // as tried now
      double best = 0, best_zero = 0;
      double least = HUGE_VAL;
      Sums sums;
    };
    const auto code_of = [&](size_t e, double s, double z) {  // less the zero point
      return std::clamp(std::nearbyint(static_cast<double>(w[e]) / s), codes.min - z, codes.max - z);
    };
    std::map<uint32_t, Group> found;
    std::vector<Group*> of(slab.end - slab.begin);
    for (size_t e = slab.begin; e < slab.end; ++e) {
      Group& k = found[group_[e]];
      k.unit = k.best = static_cast<double>(scale_[group_[e]]);
      k.first = k.best_zero = zeros_[group_[e]];
      of[e - slab.begin] = &k;
    }
    for (double start : kStarts) {
      for (auto& [index, k] : found) k.s = start * k.unit, k.z = k.first;
      for (int round = 0; round <= kRounds; ++round) {
        for (size_t e = slab.begin; e < slab.end; ++e) {
          Group& k = *of[e - slab.begin];
          // In units of the first scale, so that beta means the same for every weight.
          const auto x = static_cast<double>(w[e]);
          const double c = code_of(e, k.s, k.z), off = (x - c * k.s) / k.unit;
          const double size = std::fabs(off);
          const double given =
              size > 0 ? std::copysign(std::max(0.0, size - power(size) / size / kSharp), off) : 0;
          const double rest = x - given * k.unit;
          k.sums.error += size * size;
          k.sums.dot += rest * c;
          k.sums.square += c * c;
          k.sums.zero += c + k.z - rest / k.s;
          k.sums.count += 1;
        }
        for (auto& [index, k] : found) {
          const Sums& sums = k.sums;
          if (sums.error < k.least) k.least = sums.error, k.best = k.s, k.best_zero = k.z;
          // One of the two at a time: each is the best for the other.
          if (moves_zero && round % 2 == 0) {
            k.z = std::clamp(std::nearbyint(sums.zero / sums.count), static_cast<double>(codes.min),
                             static_cast<double>(codes.max));
          } else if (sums.square > 0 && sums.dot > 0) {
            k.s = sums.dot / sums.square;
          }
          k.sums = {};
        }
      }
    }
    for (const auto& [index, k] : found) {
      scale_[index] = static_cast<float>(k.best);
      zeros_[index] = k.best_zero;
    }
    for (size_t e = slab.begin; e < slab.end; ++e) {
      const double z = zeros_[group_[e]];
      integers_[e] = static_cast<int32_t>(code_of(e, static_cast<double>(scale_[group_[e]]), z) + z);
    }
    if (at + 1 == slabs_.size() || slabs_[at + 1].weight != slab.weight) close(slab.weight, w);
  }

  void close(size_t weight, std::span<const float> w) {
    PlacedWeight& placed = state_.weights[weight];
    Graph& g = state_.result->graph;
    double signal = 0, noise = 0;
    for (size_t e = 0; e < w.size(); ++e) {
      const auto x = static_cast<double>(w[e]);
      const double d = x - (integers_[e] - zeros_[group_[e]]) * static_cast<double>(scale_[group_[e]]);
      signal += x * x, noise += d * d;
    }
    placed.sqnr_db = noise > 0 ? 10 * std::log10(signal / noise) : HUGE_VAL;
    const Tensor scale = *g.constant(placed.scale), integers = *g.constant(placed.integers);
    g[placed.scale].constant = Tensor::of<float>(scale.dims(), scale_);
    g[placed.integers].constant = pack_integers(integers.dtype(), integers.dims(), integers_);
    if (const Tensor* zero = g.constant(placed.zero_point); zero && zero->size() == scale.size()) {
      const std::vector<int32_t> zeros(zeros_.begin(), zeros_.end());
      Tensor moved = pack_integers(zero->dtype(), zero->dims(), zeros);
      g[placed.zero_point].constant = std::move(moved);
    }
  }

  void end() override {
    state_.repaired.push_back(weights_ > 0 ? "HQQ: new scales for " + counted(weights_, "weight")
                                           : "HQQ: it can choose scales for no weight of this model");
  }

  JobState& state_;
  std::vector<Slab> slabs_;
  size_t weights_ = 0;
  // Of the weight that is open.
  std::vector<uint32_t> group_;
  std::vector<float> scale_;
  std::vector<int32_t> integers_;
  std::vector<double> zeros_;
};

const RegisterStage kHqq({.name = kName,
                          .title = "HQQ: scales that suit most weights",
                          .sentence = "Chooses scales that suit most weights, not the outliers.",
                          .more = ZP_MORE("Badri and Shaji 2023. The only repair that needs no samples."),
                          .order = 550,
                          .repair = true,
                          .checkable = true,
                          .doubtful = true,
                          .rounds_weights = true,
                          .cost =
                              [](const Workload& w, const Options&, StageCost& cost) {
                                cost.bytes = (sizeof(uint32_t) + sizeof(int32_t)) * w.largest_weight;
                                cost.touched =
                                    2 * kRounds * static_cast<double>(kStarts.size()) * w.quantized;
                              },
                          .make = make_stage<Hqq>});

}  // namespace
}  // namespace zp::quant
