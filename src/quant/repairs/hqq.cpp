// Half-quadratic quantization: better scales for weights, from the weights alone (Badri and Shaji 2023,
// "Half-Quadratic Quantization of Large Machine Learning Models"). The error that counts is an l_p norm with
// p < 1, which lets a few outliers be wrong so that the many are right. It is split by an extra variable e
// into two problems with closed solutions, taken in turn:
//
//   e = shrink(w - w~)                          what is given up as outliers
//   s = sum of (w - e) c / sum of c^2           the scale that serves the rest, with codes c = round(w / s)
//
// The paper moves a zero point that is a float; ONNX's are integers, so here it is the scale that moves.
// Only where activations stay float: there no bias hangs on the scale.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>

#include "quant/stage.h"

namespace zp::quant {
namespace {

constexpr std::string_view kName = "hqq";
constexpr double kNorm = 0.7;
constexpr double kSharp = 10, kSharper = 1.01;  // beta, and its growth
constexpr int kRounds = 10;
// Of the scale that the largest weight asks for. Where the turns end depends on where they begin.
constexpr std::array<double, 4> kStarts{1, 0.85, 0.7, 0.55};

class Hqq : public PiecewiseStage {
 public:
  Hqq(JobState& state, Options) : state_(state) {}

 private:
  size_t start() override { return state_.weights.size(); }

  void piece(size_t at) override {
    PlacedWeight& placed = state_.weights[at];
    Graph& g = state_.result->graph;
    if (state_.plan.nodes[static_cast<size_t>(placed.node)].activations != DType::kUndefined ||
        !done_.insert(placed.integers).second)
      return;
    const Tensor& weight = *state_.prepared->graph.constant(placed.weight);
    const std::span<const float> w = weight.data<float>();
    const Tensor old_scale = *g.constant(placed.scale), old = *g.constant(placed.integers);
    const Tensor* zero = g.constant(placed.zero_point);
    std::vector<float> scale = old_scale.floats();
    const std::vector<uint32_t> group = scale_indices(weight.dims(), placed.spec.grouping);
    const IntegerRange codes = weight_codes(placed.spec);
    std::vector<double> zeros(scale.size(), 0);
    for (size_t i = 0; zero && i < zeros.size(); ++i)
      zeros[i] = static_cast<double>(zero->integer_at(static_cast<int64_t>(zero->size() == 1 ? 0 : i)));

    const auto code_of = [&](size_t e, double s) {
      const double z = zeros[group[e]];
      return std::clamp(std::nearbyint(static_cast<double>(w[e]) / s), codes.min - z, codes.max - z);
    };
    // By group, with `s` as its scale: the error in the l_p norm, and what the next scale is made of. All in
    // units of the first scale, so that beta means the same for every weight.
    std::vector<double> s(scale.begin(), scale.end()), best = s, least(s.size(), HUGE_VAL);
    std::vector<double> error(s.size()), dot(s.size()), square(s.size());
    for (double start : kStarts) {
      for (size_t k = 0; k < s.size(); ++k) s[k] = start * static_cast<double>(scale[k]);
      double beta = kSharp;
      for (int round = 0; round <= kRounds; ++round, beta *= kSharper) {
        std::fill(error.begin(), error.end(), 0.0);
        std::fill(dot.begin(), dot.end(), 0.0);
        std::fill(square.begin(), square.end(), 0.0);
        for (size_t e = 0; e < w.size(); ++e) {
          const size_t k = group[e];
          const auto unit = static_cast<double>(scale[k]);
          const double c = code_of(e, s[k]), off = (static_cast<double>(w[e]) - c * s[k]) / unit;
          const double size = std::fabs(off);
          error[k] += std::pow(size, kNorm);
          const double given =
              size > 0 ? std::copysign(std::max(0.0, size - std::pow(size, kNorm - 1) / beta), off) : 0;
          dot[k] += (static_cast<double>(w[e]) - given * unit) * c;
          square[k] += c * c;
        }
        for (size_t k = 0; k < s.size(); ++k) {
          if (error[k] < least[k]) least[k] = error[k], best[k] = s[k];
          if (square[k] > 0 && dot[k] > 0) s[k] = dot[k] / square[k];
        }
      }
    }
    std::vector<int32_t> integers(w.size());
    double signal = 0, noise = 0;
    for (size_t k = 0; k < s.size(); ++k) scale[k] = static_cast<float>(best[k]);
    for (size_t e = 0; e < w.size(); ++e) {
      const auto x = static_cast<double>(w[e]), own = static_cast<double>(scale[group[e]]);
      const double c = code_of(e, own);
      integers[e] = static_cast<int32_t>(c + zeros[group[e]]);
      signal += x * x, noise += (x - c * own) * (x - c * own);
    }
    placed.sqnr_db = noise > 0 ? 10 * std::log10(signal / noise) : HUGE_VAL;
    g[placed.scale].constant = Tensor::of<float>(old_scale.dims(), scale);
    g[placed.integers].constant = pack_integers(old.dtype(), old.dims(), integers);
    ++weights_;
  }

  void end() override {
    state_.repaired.push_back("HQQ: new scales for " + std::to_string(weights_) + " weights");
  }

  JobState& state_;
  std::set<ValueId> done_;
  size_t weights_ = 0;
};

const RegisterStage kHqq({.name = kName,
                          .order = 550,
                          .repair = true,
                          .rounds_weights = true,
                          .make = [](JobState& s, Options o) -> std::unique_ptr<Stage> {
                            return std::make_unique<Hqq>(s, std::move(o));
                          }});

}  // namespace
}  // namespace zp::quant
