// AdaRound learns whether each weight is rounded up or down, so that the layer's outputs stay near the float
// model, not the weights (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training
// Quantization"). A weight becomes
//
//   w~ = s * clamp(floor(w / s) + h(v), lo, hi)        h(v) = clamp(1.2 sigmoid(v) - 0.1, 0, 1)
//
// and v moves (by Adam) so that the squared error of the layer's outputs falls, while a growing penalty
// 1 - |2 h - 1|^beta, beta from 20 to 2, pushes every h to 0 or 1. The layers are taken in order; each one
// sees the inputs that the layers before it, already rounded, give, and aims at the float model's outputs.
//
// The layer is linear, so over a fixed set of patches X its squared error is a quadratic form: with E the
// change of the weights and R the difference of the float model's outputs with these inputs,
//
//   |X E - R|^2 = sum over E * (G E) - 2 E * C + const        G = X'X, C = X'R
//
// The gradient over all patches costs one product with G, instead of two with a batch of them. For the same
// reason the last word can be exact: single steps up or down are taken as long as one of them helps.
#include <algorithm>
#include <cmath>
#include <string>

#include "core/decimal.h"
#include "core/stopwatch.h"
#include "quant/estimate.h"
#include "quant/matrix.h"
#include "quant/rounding.h"

namespace zp::quant {
namespace {

constexpr std::string_view kName = "adaround";
constexpr std::string_view kSamples = "adaround-samples";
constexpr std::string_view kPatches = "adaround-patches";
constexpr std::string_view kIterations = "adaround-iterations";

constexpr float kStretch = 1.2f, kShift = -0.1f;  // h reaches 0 and 1 at finite v
// Of the penalty, where the error of rounding to the nearest is 1 for each weight.
constexpr float kPenalty = 0.1f;
constexpr float kWarm = 0.2f;  // of the iterations: without penalty
constexpr float kRate = 0.02f;
constexpr int kSettleSweeps = 8;
constexpr int64_t kRowsAtATime = 8;
constexpr double kWorthThreads = 1e5;  // multiplications of an iteration

class AdaRound : public RoundingStage {
 public:
  AdaRound(JobState& s, const Options& options)
      : RoundingStage(s, static_cast<size_t>(options[kSamples]), static_cast<size_t>(options[kPatches])),
        iterations_(static_cast<int>(options[kIterations])) {}

 private:
  void begin_group(RoundingProblem& p) override {
    const size_t n = p.w.size();
    v_.resize(n), m_.assign(n, 0), u_.assign(n, 0), slope_.resize(n), low_.resize(n);
    e_.assign(n + kReadSlack, 0), eg_.resize(n);
    for (size_t i = 0; i < n; ++i) {
      low_[i] = std::clamp(std::floor(p.w[i] / p.scale[i]), static_cast<float>(p.least[i]),
                           static_cast<float>(p.most[i]));
      const float part = std::clamp(p.w[i] / p.scale[i] - low_[i], 0.01f, 0.99f);
      const float sigmoid = (part - kShift) / kStretch;
      v_[i] = std::log(sigmoid / (1 - sigmoid));
      e_[i] = p.error(i);
    }
    const double size = static_cast<double>(p.rows) * static_cast<double>(p.depth * p.depth);
    threads_ = size > kWorthThreads ? pool() : nullptr;
    right_ = std::make_unique<RightMatrix>(p.g.data(), p.depth, p.depth);
    multiply(p);
    start_ = loss(p);
    double noise = 0;  // of the rounding alone
    for (size_t i = 0; i < n; ++i) noise += static_cast<double>(e_[i]) * static_cast<double>(eg_[i]);
    norm_ = noise > 0 ? static_cast<float>(static_cast<double>(n) / noise) : 0;
    // Nothing to learn where the inputs are all zero or the weights exact.
    left_ = norm_ > 0 ? iterations_ : 0;
    row_ = -1;
  }

  bool solve(RoundingProblem& p, double milliseconds) override {
    const Stopwatch watch(milliseconds);
    while (left_ > 0) {
      iterate(p, iterations_ - left_);
      --left_;
      if (watch.over()) return false;
    }
    if (row_ < 0) begin_steps(p);
    while (row_ < p.rows) {
      const int64_t count = std::min(p.rows - row_, kRowsAtATime);
      if (threads_ && count > 1) {
        threads_->run(count, [&](int64_t r, int) { take_steps(p, row_ + r); });
      } else {
        for (int64_t r = 0; r < count; ++r) take_steps(p, row_ + r);
      }
      row_ += count;
      if (row_ < p.rows && watch.over()) return false;
    }
    end_steps(p);
    return true;
  }

  void iterate(const RoundingProblem& p, int t) {
    const size_t n = p.w.size();
    for (size_t i = 0; i < n; ++i) {
      const float sigmoid = 1 / (1 + std::exp(-v_[i])), h = kStretch * sigmoid + kShift;
      slope_[i] = h > 0 && h < 1 ? kStretch * sigmoid * (1 - sigmoid) : 0;
      const float code = std::clamp(low_[i] + std::clamp(h, 0.f, 1.f), static_cast<float>(p.least[i]),
                                    static_cast<float>(p.most[i]));
      e_[i] = code * p.scale[i] - p.w[i];
    }
    multiply(p);
    const float at = static_cast<float>(t) / static_cast<float>(iterations_);
    const float penalty = at < kWarm ? 0 : kPenalty;
    const float beta = 20 - 18 * std::max(0.f, (at - kWarm) / (1 - kWarm));
    constexpr float b1 = 0.9f, b2 = 0.999f;
    const float c1 = 1 - std::pow(b1, static_cast<float>(t + 1)),
                c2 = 1 - std::pow(b2, static_cast<float>(t + 1));
    for (size_t i = 0; i < n; ++i) {
      float d = 2 * (eg_[i] - p.c[i]) * norm_ * p.scale[i];
      if (penalty > 0 && slope_[i] > 0) {
        const float x = 2 * (kStretch / (1 + std::exp(-v_[i])) + kShift) - 1;
        d -= penalty * 2 * beta * std::copysign(std::pow(std::fabs(x), beta - 1), x);
      }
      d *= slope_[i];
      m_[i] = b1 * m_[i] + (1 - b1) * d;
      u_[i] = b2 * u_[i] + (1 - b2) * d * d;
      v_[i] -= kRate * (m_[i] / c1) / (std::sqrt(u_[i] / c2) + 1e-8f);
    }
  }

  // Rounds as learned. Keeps what there was for the case that it was better.
  void begin_steps(RoundingProblem& p) {
    before_ = p.code;
    for (size_t i = 0; i < p.w.size(); ++i) {
      if (iterations_ > 0 && norm_ > 0)
        p.code[i] = std::clamp(static_cast<int32_t>(low_[i]) + (v_[i] > 0 ? 1 : 0), p.least[i], p.most[i]);
      e_[i] = p.error(i);
    }
    multiply(p);
    row_ = 0;
  }

  // Single steps of a row's weights, while they help.
  void take_steps(RoundingProblem& p, int64_t r) const {
    const auto depth = static_cast<size_t>(p.depth);
    const size_t first = static_cast<size_t>(r) * depth;
    std::vector<double> slope(depth);
    for (size_t k = 0; k < depth; ++k)
      slope[k] = static_cast<double>(eg_[first + k]) - static_cast<double>(p.c[first + k]);
    for (int sweep = 0; sweep < kSettleSweeps; ++sweep) {
      bool moved = false;
      for (size_t k = 0; k < depth; ++k) {
        const size_t i = first + k;
        const float* column = p.g.data() + k * depth;
        // The one of the two codes around the weight that it does not have now: further ones would fit the
        // few patches rather than the layer.
        const int32_t down = static_cast<int32_t>(low_[i]), up = std::min(down + 1, p.most[i]);
        const int direction = p.code[i] > down ? -1 : 1;
        if (direction > 0 && p.code[i] >= up) continue;
        const double step = direction * static_cast<double>(p.scale[i]);
        if (!(step * (2 * slope[k] + step * static_cast<double>(column[k])) < 0)) continue;
        p.code[i] += direction;
        for (size_t j = 0; j < depth; ++j) slope[j] += step * static_cast<double>(column[j]);
        moved = true;
      }
      if (!moved) break;
    }
  }

  void end_steps(RoundingProblem& p) {
    for (size_t i = 0; i < p.w.size(); ++i) e_[i] = p.error(i);
    multiply(p);
    if (!(loss(p) < start_)) p.code = before_;
  }

  void multiply(const RoundingProblem& p) { right_->multiply(e_.data(), p.rows, eg_.data(), threads_); }
  // Up to a constant.
  double loss(const RoundingProblem& p) const {
    double sum = 0;
    for (size_t i = 0; i < p.w.size(); ++i)
      sum += static_cast<double>(e_[i]) * (static_cast<double>(eg_[i]) - 2 * static_cast<double>(p.c[i]));
    return sum;
  }

  void conclude() override {
    state().repaired.push_back("learned rounding: " + in_words() + ", over " + counted(samples(), "sample"));
  }

  int iterations_, left_ = 0;
  int64_t row_ = -1;  // of the steps at the end; -1: not yet
  std::vector<int32_t> before_;
  std::vector<float> v_, m_, u_, slope_, low_, e_, eg_;
  std::unique_ptr<RightMatrix> right_;
  ThreadPool* threads_ = nullptr;
  double start_ = 0;
  float norm_ = 0;
};

const RegisterStage kAdaRound({
    .name = kName,
    .title = "AdaRound: learned rounding",
    .sentence = "Learns, layer by layer, which weights round up and which round down.",
    .more = ZP_MORE("Nagel et al. 2020."),
    .order = 600,
    .repair = true,
    .rounds_weights = true,
    .corrects_means = true,
    .worth_trying = [](const Config&) { return true; },
    .needs_samples = layerwise_needs_samples,
    .cost =
        [](const Workload& w, const Options& options, StageCost& cost) {
          add_rounding(
              w, static_cast<size_t>(options[kSamples]), static_cast<size_t>(options[kPatches]),
              {.per_weight = 32, .per_pair = 4, .scalar = 2, .macs = std::max(options[kIterations], 1.0)},
              cost);
        },
    .options = {samples_option(kSamples, kName, 32),
                patches_option(kPatches, kName, 2048),
                {.name = kIterations,
                 .owner = kName,
                 .fallback = 200,
                 .min = 0,
                 .max = 20000,
                 .sentence = "Steps of learning for each layer."}},
    .make = make_stage<AdaRound>,
});

}  // namespace
}  // namespace zp::quant
