#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "kernels/gradient/optimizer.h"

namespace zp::train {
namespace {

bool is_plain(const Parameter& p) {
  return p.kind == Parameter::Kind::kWeight || p.kind == Parameter::Kind::kBias ||
         p.kind == Parameter::Kind::kRounding;
}

// A sigmoid has gone most of its way at 4, a bias at a part of what a layer computes.
constexpr double kRoundingRate = 20;

// What moves by a step of one: scales in proportion to themselves (d loss / d log s = s d loss / d s), zero
// points by all their codes.
double unit_of(const Parameter& p, size_t i) {
  return p.kind == Parameter::Kind::kScale ? double{p.value.data<float>()[i]}
                                           : static_cast<double>(p.codes.max - p.codes.min);
}

}  // namespace

Optimizer::Optimizer(const quant::Training& settings, const std::vector<Parameter>& parameters, size_t steps)
    : settings_(settings), steps_(std::max<size_t>(1, steps)) {
  for (const Parameter& p : parameters) {
    first_.emplace_back(static_cast<size_t>(p.value.size()), 0.f);
    second_.emplace_back(settings.optimizer == "adam" ? static_cast<size_t>(p.value.size()) : 0, 0.f);
  }
}

std::vector<std::vector<float>*> Optimizer::moments() {
  std::vector<std::vector<float>*> all;
  for (auto* list : {&first_, &second_})
    for (std::vector<float>& m : *list) all.push_back(&m);
  return all;
}

double Optimizer::learning_rate() const {
  const double warm = std::ceil(settings_.warm_up * static_cast<double>(steps_)),
               at = static_cast<double>(at_);
  if (at < warm) return settings_.learning_rate * (at + 1) / (warm + 1);
  if (settings_.schedule == "constant") return settings_.learning_rate;
  const double done = (at - warm) / std::max(1.0, static_cast<double>(steps_) - warm);
  if (settings_.schedule == "step")
    return settings_.learning_rate * (done < 0.5 ? 1 : done < 0.75 ? 0.1 : 0.01);
  return settings_.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * std::min(1.0, done)));
}

void Optimizer::step(std::vector<Parameter>& parameters, const std::vector<Tensor>& gradients) {
  const bool adam = settings_.optimizer == "adam";
  const double rate = learning_rate();
  ++at_;
  double squares = 0;
  for (size_t p = 0; p < gradients.size(); ++p) {
    const std::span<const float> d = gradients[p].data<float>();
    if (is_plain(parameters[p])) {
      squares += kernels::squared_length(d.data(), d.size());
    } else {
      for (size_t i = 0; i < d.size(); ++i) squares += std::pow(double{d[i]} * unit_of(parameters[p], i), 2);
    }
  }
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) {
    throw_error(ErrorCode::kInvalidArgument, "training diverged: a gradient is not finite",
                {.hint = "use a smaller learning rate"});
  }
  const double factor =
      settings_.clip_norm > 0 && norm > settings_.clip_norm ? settings_.clip_norm / norm : 1;
  kernels::AdamStep to{.factor = static_cast<float>(factor),
                       .rate = static_cast<float>(rate),
                       .first = 0.9f,
                       .second = 0.999f,
                       .epsilon = 1e-8f};
  to.first_bias = static_cast<float>(1 - std::pow(double{to.first}, static_cast<double>(at_)));
  to.second_bias = static_cast<float>(1 - std::pow(double{to.second}, static_cast<double>(at_)));
  const auto step_of = [&](const float* d, float* values, float* first, float* second, size_t count) {
    if (adam) return kernels::adam_step(to, d, values, first, second, count);
    kernels::momentum_step({to.factor, to.rate, to.decay, static_cast<float>(settings_.momentum)}, d, values,
                           first, count);
  };
  for (size_t p = 0; p < gradients.size(); ++p) {
    Parameter& of = parameters[p];
    const std::span<const float> d = gradients[p].data<float>();
    const std::span<float> values = of.value.mutable_data<float>();
    to.rate = static_cast<float>(of.kind == Parameter::Kind::kRounding ? kRoundingRate * rate : rate);
    to.decay = of.kind == Parameter::Kind::kWeight ? static_cast<float>(settings_.weight_decay) : 0;
    if (is_plain(of)) {
      step_of(d.data(), values.data(), first_[p].data(), second_[p].data(), d.size());
      continue;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      const double unit = unit_of(of, i);
      float scaled = static_cast<float>(d[i] * unit), moved = 0;  // of a logarithm, or in codes
      step_of(&scaled, &moved, &first_[p][i], adam ? &second_[p][i] : nullptr, 1);
      values[i] =
          static_cast<float>(of.kind == Parameter::Kind::kScale
                                 ? values[i] * std::exp(std::clamp(double{moved}, -0.1, 0.1))
                                 : std::clamp<double>(values[i] + moved * unit, of.codes.min, of.codes.max));
    }
  }
}

}  // namespace zp::train
