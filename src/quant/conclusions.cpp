#include "quant/conclusions.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <tuple>

#include "core/decimal.h"
#include "core/sort.h"

namespace zp::quant {
namespace {

// Outputs that agree less with the float model's are no longer the same answers: about 14 dB.
constexpr double kPoorCosine = 0.98;

double or_infinite(double db) { return std::isnan(db) ? std::numeric_limits<double>::infinity() : db; }

// With so many digits behind the point.
std::string fixed(double value, int digits) {
  const double unit = std::pow(10, digits);
  std::string text = decimal(std::round(value * unit) / unit);
  if (!std::isfinite(value)) return text;
  size_t point = text.find('.');
  if (point == std::string::npos) point = text.size(), text += '.';
  text.resize(point + 1 + static_cast<size_t>(digits), '0');
  return text;
}

}  // namespace

std::vector<size_t> worst_first(const Report& report) {
  std::vector<double> loss;
  std::vector<size_t> order;
  for (const LayerReport& l : report.layers) {
    order.push_back(loss.size());
    const double weight = l.weight ? l.weight->sqnr_db : std::numeric_limits<double>::infinity();
    const double output = l.error ? l.error->own_sqnr_db : std::numeric_limits<double>::infinity();
    loss.push_back(std::min(or_infinite(weight), or_infinite(output)));
  }
  sort_small(order, [&](size_t a, size_t b) { return std::tie(loss[a], a) < std::tie(loss[b], b); });
  return order;
}

std::vector<size_t> tradeoff_of(const std::vector<Trial>& trials) {
  const auto beats = [](const Trial& a, const Trial& b) {
    return a.weight_bytes <= b.weight_bytes && a.sqnr_db >= b.sqnr_db &&
           (a.weight_bytes < b.weight_bytes || a.sqnr_db > b.sqnr_db);
  };
  std::vector<size_t> front;
  for (size_t i = 0; i < trials.size(); ++i) {
    const Trial& t = trials[i];
    if (!std::isnan(t.sqnr_db) &&
        std::ranges::none_of(trials, [&](const Trial& other) { return beats(other, t); }))
      front.push_back(i);
  }
  sort_small(front, [&](size_t a, size_t b) {
    return std::tie(trials[a].weight_bytes, a) < std::tie(trials[b].weight_bytes, b);
  });
  return front;
}

std::vector<std::string> losses_of(const Report& report, const Graph& result) {
  const LayerError *worst = nullptr, *first = nullptr;
  for (const LayerReport& l : report.layers) {
    if (!l.error || !(l.error->cosine < kPoorCosine)) continue;
    if (!first) first = &*l.error;
    const bool output =
        std::ranges::any_of(result.outputs, [&](ValueId v) { return result[v].name == l.error->output; });
    if (output && (!worst || l.error->cosine < worst->cosine)) worst = &*l.error;
  }
  if (!worst) return {};
  return {"output '" + worst->output +
          "' has lost the float model's answers: the cosine of the two outputs on the samples is " +
          fixed(worst->cosine, 3) + " (" + fixed(worst->sqnr_db, 1) +
          " dB). The first layer with so large an error is '" + first->node + "' (" + first->op +
          "). Set a target (sqnr: 20) or mode auto, which keep such layers in float, or exclude this layer "
          "and the "
          "layers before it"};
}

}  // namespace zp::quant
