// GPTQ: the weights of a row are rounded one after the other, and the weights that are still to come make up
// for the error of each rounding in the row's outputs (Frantar et al. 2022, "GPTQ: Accurate Post-Training
// Quantization for Generative Pre-trained Transformers"). Made for 4 and 2 bits; there the
// error also chooses the scale of a row that has a scale of its own.
//
// With H = X'X of the layer's inputs, split as H = U U' (U upper triangular), the squared error of a row is
// the sum over k of (U_kk e_k + sum over j < k of U_jk e_j)^2, so that weight k is best rounded from
//
//   w_k + (1 / U_kk) * sum over j < k of U_jk e_j        e = w - w~
//
// which is what the paper reaches through the inverse of H. Inputs with the most energy go first.
//
// The layers before are rounded too. So the float layer's outputs differ, by R, from the outputs that its
// weights give for these inputs. Not w is rounded, but w + R'X / H, the weights that would make up for R,
// with more damping (Li et al. 2025, "GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric
// Calibration").
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "core/decimal.h"
#include "core/sort.h"
#include "core/stopwatch.h"
#include "quant/estimate.h"
#include "quant/rounding.h"

namespace zp::quant {
namespace {

constexpr std::string_view kName = "gptq";
constexpr std::string_view kSamples = "gptq-samples";
constexpr std::string_view kPatches = "gptq-patches";
// Moving a weight for its inputs' sake is a bolder guess than rounding it: it takes as many times more
// damping.
constexpr double kRidge = 5;
// Where a row has its own scale: what is tried besides the one that suits its weights one by one.
constexpr double kFactors[] = {0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.2};
constexpr int kSettleRounds = 4;
constexpr double kMostChange = 0.2;  // of a scale, at a time

double dot(const double* a, const double* b, size_t n) {
  double sum[4] = {0, 0, 0, 0};  // of their own, so that additions need not wait for each other
  size_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (size_t l = 0; l < 4; ++l) sum[l] += a[i + l] * b[i + l];
  for (; i < n; ++i) sum[0] += a[i] * b[i];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

class Gptq : public RoundingStage {
 public:
  Gptq(JobState& s, const Options& options)
      : RoundingStage(s, static_cast<size_t>(options[kSamples]), static_cast<size_t>(options[kPatches])) {}

 private:
  void begin_group(RoundingProblem& p) override {
    const auto n = static_cast<size_t>(p.depth);
    order_.resize(n);
    std::iota(order_.begin(), order_.end(), size_t{0});
    sort_small(order_, [&](size_t a, size_t b) {
      const float x = p.g[a * n + a], y = p.g[b * n + b];
      return x != y ? x > y : a < b;
    });
    u_.resize(n * n);
    target_.assign(p.w.size(), 0);
    begin_step(p, Step::kMove);
  }

  bool solve(RoundingProblem& p, double milliseconds) override {
    const Stopwatch watch(milliseconds);
    for (;;) {
      while (column_ > 0) {
        factor_column();
        if (watch.over()) return false;
      }
      constexpr int64_t kRows = 8;
      while (row_ < p.rows) {
        const int64_t end = std::min(p.rows, row_ + kRows);
        const auto row = [&](int64_t r) { step_ == Step::kMove ? move_row(p, r) : round_row(p, r); };
        if (pool()) {
          pool()->run(end - row_, [&](int64_t r, int) { row(row_ + r); });
        } else {
          for (int64_t r = row_; r < end; ++r) row(r);
        }
        row_ = end;
        if (watch.over() && !(step_ == Step::kRound && row_ == p.rows)) return false;
      }
      if (step_ == Step::kRound) return true;
      begin_step(p, Step::kRound);
    }
  }

  enum class Step : uint8_t { kMove, kRound };
  void begin_step(const RoundingProblem& p, Step step) {
    step_ = step;
    const size_t n = order_.size();
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j) u_[i * n + j] = static_cast<double>(p.g[order_[i] * n + order_[j]]);
    if (step == Step::kMove)
      for (size_t i = 0; i < n; ++i) u_[i * n + i] += (kRidge - 1) * p.damping;
    column_ = n;
    row_ = 0;
  }

  // Column after column from the last, each from those behind it.
  void factor_column() {
    const size_t n = order_.size(), j = --column_, behind = n - j - 1;
    const double* row = u_.data() + j * n + j + 1;
    const double square = u_[j * n + j] - dot(row, row, behind);
    const double pivot = std::sqrt(std::max(square, 1e-12 * std::max(u_[j * n + j], 1e-30)));
    u_[j * n + j] = pivot;
    for (size_t i = 0; i < j; ++i) {
      double& x = u_[i * n + j];
      x = (x - dot(u_.data() + i * n + j + 1, row, behind)) / pivot;
    }
  }

  // target = w + C / H, by way of U z = C and U' (target - w) = z.
  void move_row(const RoundingProblem& p, int64_t r) {
    const size_t n = order_.size(), first = static_cast<size_t>(r) * n;
    std::vector<double> z(n);
    for (size_t k = n; k-- > 0;) {
      const double* row = u_.data() + k * n;
      z[k] = (static_cast<double>(p.c[first + order_[k]]) - dot(row + k + 1, z.data() + k + 1, n - k - 1)) /
             row[k];
    }
    for (size_t k = 0; k < n; ++k) {
      const double* row = u_.data() + k * n;
      z[k] /= row[k];
      for (size_t j = k + 1; j < n; ++j) z[j] -= row[j] * z[k];
      target_[first + order_[k]] = static_cast<double>(p.w[first + order_[k]]) + z[k];
    }
  }

  struct Row {
    std::vector<int32_t> code;
    double factor = 1;  // of the scale
    double error = 0;
  };

  void round_row(RoundingProblem& p, int64_t r) const {
    Row best = rounded(p, r, 1);
    if (p.scales_move)
      for (const double factor : kFactors)
        if (Row tried = rounded(p, r, factor); tried.error < best.error) best = std::move(tried);
    settle(p, r, best);
    const size_t first = static_cast<size_t>(r) * order_.size();
    std::copy(best.code.begin(), best.code.end(), p.code.begin() + static_cast<std::ptrdiff_t>(first));
    if (best.factor == 1) return;
    const auto scale = static_cast<float>(static_cast<double>(p.scale[first]) * best.factor);
    std::fill_n(p.scale.begin() + static_cast<std::ptrdiff_t>(first), order_.size(), scale);
  }

  static int32_t nearest(const RoundingProblem& p, size_t i, double code) {
    return static_cast<int32_t>(
        std::clamp(std::nearbyint(code), static_cast<double>(p.least[i]), static_cast<double>(p.most[i])));
  }

  Row rounded(const RoundingProblem& p, int64_t r, double factor) const {
    const size_t n = order_.size();
    Row made{.code = std::vector<int32_t>(n), .factor = factor};
    std::vector<double> owed(n, 0);
    for (size_t k = 0; k < n; ++k) {
      const size_t i = static_cast<size_t>(r) * n + order_[k];
      const double s = static_cast<double>(p.scale[i]) * factor;
      const double* row = u_.data() + k * n;
      const int32_t code = nearest(p, i, (target_[i] + owed[k] / row[k]) / s);
      const double e = target_[i] - code * s, left = row[k] * e + owed[k];
      for (size_t j = k + 1; j < n; ++j) owed[j] += e * row[j];
      made.code[order_[k]] = code;
      made.error += left * left;
    }
    return made;
  }

  // Single weights move as long as it helps, now that all others are known; then the scale becomes the best
  // for the integers.
  void settle(const RoundingProblem& p, int64_t r, Row& row) const {
    const size_t n = order_.size(), first = static_cast<size_t>(r) * n;
    const auto times_g = [&](const auto& of) {
      std::vector<double> product(n, 0);
      for (size_t k = 0; k < n; ++k) {
        const double x = of(k);
        const float* g = p.g.data() + k * n;
        for (size_t j = 0; x != 0 && j < n; ++j) product[j] += x * static_cast<double>(g[j]);
      }
      return product;
    };
    const auto scale = [&](size_t k) { return static_cast<double>(p.scale[first + k]) * row.factor; };
    std::vector<double> slope =
        times_g([&](size_t k) { return row.code[k] * scale(k) - target_[first + k]; });
    for (int round = 0; round < kSettleRounds; ++round) {
      bool moved = false;
      for (size_t k = 0; k < n; ++k) {
        const float* g = p.g.data() + k * n;
        const auto own = static_cast<double>(g[k]);
        if (!(own > 0)) continue;
        const int32_t step = nearest(p, first + k, row.code[k] - slope[k] / own / scale(k)) - row.code[k];
        if (step == 0) continue;
        moved = true;
        row.code[k] += step;
        for (size_t j = 0; j < n; ++j) slope[j] += step * scale(k) * static_cast<double>(g[j]);
      }
      if (p.scales_move) {
        const std::vector<double> made = times_g([&](size_t k) { return static_cast<double>(row.code[k]); });
        double square = 0, rise = 0;
        for (size_t k = 0; k < n; ++k) square += row.code[k] * made[k], rise += row.code[k] * slope[k];
        const double unit = static_cast<double>(p.scale[first]);
        const double change = square > 0 ? -rise / square / unit : 0;
        if (!(std::fabs(change) < kMostChange * row.factor)) break;
        row.factor += change;
        for (size_t k = 0; k < n; ++k) slope[k] += change * unit * made[k];
      }
      if (!moved) break;
    }
  }

  void conclude() override {
    state().repaired.push_back("GPTQ: " + in_words() + ", over " + counted(samples(), "sample"));
  }

  std::vector<size_t> order_;
  std::vector<double> u_, target_;
  Step step_ = Step::kMove;
  size_t column_ = 0;
  int64_t row_ = 0;
};

const RegisterStage kGptq({
    .name = kName,
    .title = "GPTQ: rounding errors make up for each other",
    .sentence = "The rounding of one weight makes up for the rounding of others.",
    .more = ZP_MORE("Frantar et al. 2022. A default for weights of 4 or 2 bits where there are samples."),
    .order = 600,
    .repair = true,
    .by_default =
        [](const Config& c, const Scheme& scheme) {
          return (c.has_samples || scheme.needs_calibration) && bits_of(c.weights) < 8;
        },
    .checkable = true,
    .rounds_weights = true,
    .corrects_means = true,
    .worth_trying = [](const Config& c) { return bits_of(c.weights) != 8; },
    .needs_samples = layerwise_needs_samples,
    .cost =
        [](const Workload& w, const Options& options, StageCost& cost) {
          add_rounding(w, static_cast<size_t>(options[kSamples]), static_cast<size_t>(options[kPatches]),
                       {.per_weight = 8, .per_pair = 8, .scalar = 4}, cost);
        },
    .options = {samples_option(kSamples, kName, 32), patches_option(kPatches, kName, 4096)},
    .make = make_stage<Gptq>,
});

}  // namespace
}  // namespace zp::quant
