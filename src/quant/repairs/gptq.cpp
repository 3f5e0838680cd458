// GPTQ: the weights of a row are rounded one after the other, and what rounding one does to the row's outputs
// is made up for by the weights that are still to come (Frantar et al. 2022, "GPTQ: Accurate Post-Training
// Quantization for Generative Pre-trained Transformers"). Made for blocks of 4 and 2 bits; scales stay as
// they are.
//
// With H = X'X of the layer's inputs, split as H = U U' (U upper triangular), the squared error of a row is
// the sum over k of (U_kk e_k + sum over j < k of U_jk e_j)^2, so that weight k is best rounded from
//
//   w_k + (1 / U_kk) * sum over j < k of U_jk e_j        e = w - w~
//
// which is what the paper reaches through the inverse of H. Inputs with the most energy go first.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "core/sort.h"
#include "core/stopwatch.h"
#include "quant/rounding.h"

namespace zp::quant {
namespace {

constexpr std::string_view kName = "gptq";
constexpr std::string_view kSamples = "gptq-samples";
constexpr std::string_view kPatches = "gptq-patches";
// The paper has 0.01. Samples are fewer here, and not always like the data that comes later.
constexpr double kDamping = 0.05;

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
      : RoundingStage(s, static_cast<size_t>(options[kSamples]), static_cast<size_t>(options[kPatches]),
                      kDamping) {}

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
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j) u_[i * n + j] = static_cast<double>(p.g[order_[i] * n + order_[j]]);
    column_ = n;
    row_ = 0;
  }

  bool solve(RoundingProblem& p, double milliseconds) override {
    const Stopwatch watch(milliseconds);
    const auto n = static_cast<size_t>(p.depth);
    // Column after column from the last, each from those behind it.
    while (column_ > 0) {
      const size_t j = --column_, behind = n - j - 1;
      const double* row = u_.data() + j * n + j + 1;
      const double square = u_[j * n + j] - dot(row, row, behind);
      const double pivot = std::sqrt(std::max(square, 1e-12 * std::max(u_[j * n + j], 1e-30)));
      u_[j * n + j] = pivot;
      for (size_t i = 0; i < j; ++i) {
        double& x = u_[i * n + j];
        x = (x - dot(u_.data() + i * n + j + 1, row, behind)) / pivot;
      }
      if (watch.over()) return false;
    }
    constexpr int64_t kRows = 8;
    while (row_ < p.rows) {
      const int64_t end = std::min(p.rows, row_ + kRows);
      if (pool()) {
        pool()->run(end - row_, [&](int64_t r, int) { round_row(p, row_ + r); });
      } else {
        for (int64_t r = row_; r < end; ++r) round_row(p, r);
      }
      row_ = end;
      if (row_ < p.rows && watch.over()) return false;
    }
    return true;
  }

  void round_row(RoundingProblem& p, int64_t r) const {
    const auto n = static_cast<size_t>(p.depth);
    std::vector<double> owed(n, 0);
    for (size_t k = 0; k < n; ++k) {
      const size_t i = static_cast<size_t>(r) * n + order_[k];
      const auto w = static_cast<double>(p.w[i]), s = static_cast<double>(p.scale[i]);
      const double wanted = (w + owed[k] / u_[k * n + k]) / s;
      p.code[i] = static_cast<int32_t>(std::clamp(std::nearbyint(wanted), static_cast<double>(p.least[i]),
                                                  static_cast<double>(p.most[i])));
      const double e = w - p.code[i] * s;
      const double* row = u_.data() + k * n;
      for (size_t j = k + 1; j < n; ++j) owed[j] += e * row[j];
    }
  }

  void conclude() override {
    state().repaired.push_back("GPTQ: " + in_words() + ", over " + std::to_string(samples()) + " samples");
  }

  std::vector<size_t> order_;
  std::vector<double> u_;
  size_t column_ = 0;
  int64_t row_ = 0;
};

const RegisterStage kGptq({
    .name = kName,
    .order = 600,
    .repair = true,
    .by_default =
        [](const Config& c, const Scheme& scheme) {
          return c.has_samples && !scheme.needs_calibration && bits_of(c.weights) < 8;
        },
    .rounds_weights = true,
    .needs_samples = layerwise_needs_samples,
    .options = {{.name = kSamples, .owner = kName, .otherwise = 32, .min = 1, .max = 1024},
                {.name = kPatches, .owner = kName, .otherwise = 4096, .min = 16, .max = 65536}},
    .make = [](JobState& s, Options o) -> std::unique_ptr<Stage> { return std::make_unique<Gptq>(s, o); },
});

}  // namespace
}  // namespace zp::quant
