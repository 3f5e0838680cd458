#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace zp::train {
namespace {

constexpr double kFirst = 0.9, kSecond = 0.999, kEpsilon = 1e-8;  // of Adam

double span_of(const Parameter& zero_point) {
  return static_cast<double>(zero_point.codes.max - zero_point.codes.min);
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
  // d loss / d log s = s d loss / d s.
  const auto gradient_at = [&](size_t p, size_t i) {
    const double d = gradients[p].data<float>()[i];
    const Parameter& of = parameters[p];
    return of.kind == Parameter::Kind::kScale       ? d * of.value.data<float>()[i]
           : of.kind == Parameter::Kind::kZeroPoint ? d * span_of(of)
                                                    : d;
  };
  double norm = 0;
  for (size_t p = 0; p < gradients.size(); ++p)
    for (size_t i = 0; i < first_[p].size(); ++i) norm += gradient_at(p, i) * gradient_at(p, i);
  norm = std::sqrt(norm);
  if (!std::isfinite(norm)) {
    throw_error(ErrorCode::kInvalidArgument, "training diverged: a gradient is not finite",
                {.hint = "use a smaller learning rate"});
  }
  const double factor =
      settings_.clip_norm > 0 && norm > settings_.clip_norm ? settings_.clip_norm / norm : 1;
  const double first_bias = 1 - std::pow(kFirst, static_cast<double>(at_)),
               second_bias = 1 - std::pow(kSecond, static_cast<double>(at_));
  for (size_t p = 0; p < gradients.size(); ++p) {
    const Parameter::Kind kind = parameters[p].kind;
    const IntegerRange codes = parameters[p].codes;
    const double decay = kind == Parameter::Kind::kWeight ? settings_.weight_decay : 0;
    const std::span<float> values = parameters[p].value.mutable_data<float>();
    for (size_t i = 0; i < values.size(); ++i) {
      const double d = gradient_at(p, i) * factor;
      double move;
      if (adam) {
        first_[p][i] = static_cast<float>(kFirst * first_[p][i] + (1 - kFirst) * d);
        second_[p][i] = static_cast<float>(kSecond * second_[p][i] + (1 - kSecond) * d * d);
        move = first_[p][i] / first_bias / (std::sqrt(second_[p][i] / second_bias) + kEpsilon);
      } else {
        first_[p][i] = static_cast<float>(settings_.momentum * first_[p][i] + d);
        move = first_[p][i];
      }
      const double old = values[i];
      double now = old - rate * (move + decay * old);
      if (kind == Parameter::Kind::kScale) now = old * std::exp(std::clamp(-rate * move, -0.1, 0.1));
      if (kind == Parameter::Kind::kZeroPoint)
        now = std::clamp<double>(old - rate * move * span_of(parameters[p]), codes.min, codes.max);
      values[i] = static_cast<float>(now);
    }
  }
}

}  // namespace zp::train
