#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "quant/qdq.h"
#include "train/qat/codes.h"
#include "train/qat/learned.h"

namespace zp::train {
namespace {

// For each channel, of several steps that reach from a part to all of its largest weight, the one with the
// least squared error.
std::vector<float> best_scales(const Tensor& w, const Channels& channels, size_t count, int32_t zero_point,
                               IntegerRange codes) {
  constexpr int kTries = 40;
  std::vector<float> largest(count, 0.f), best(count, 1.f);
  const std::span<const float> x = w.data<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    float& l = largest[channels.at(static_cast<int64_t>(i))];
    l = std::max(l, std::fabs(x[i]));
  }
  std::vector<double> least(count, std::numeric_limits<double>::infinity());
  const auto reach = static_cast<float>(zero_point - codes.min);
  for (int t = 1; t <= kTries; ++t) {
    std::vector<double> error(count, 0);
    const auto scale_of = [&](size_t c) {
      return largest[c] == 0 ? 1.f : largest[c] * static_cast<float>(t) / (kTries * reach);
    };
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t c = channels.at(static_cast<int64_t>(i));
      const double d = x[i] - rounded(x[i], scale_of(c), zero_point, codes) * scale_of(c);
      error[c] += d * d;
    }
    for (size_t c = 0; c < count; ++c) {
      if (error[c] >= least[c]) continue;
      least[c] = error[c];
      best[c] = scale_of(c);
    }
  }
  return best;
}

}  // namespace

void Learned::narrow() {
  for (Weight& w : weights_) {
    const quant::PlacedWeight& p = state_.weights[w.placed];
    if (!is_narrow(w)) continue;
    w.scales = best_scales(w.value, channels_of(w.value.dims(), p.spec.grouping.axis, w.scales.size()),
                           w.scales.size(), w.zero_points[0], w.codes);
  }
  std::vector<bool> narrowed(state_.params.size(), false);
  for (size_t g = 0; g < state_.params.size(); ++g) {
    quant::QParams& p = state_.params[g];
    const IntegerRange codes = activation_codes(p.dtype), all = integer_range(p.dtype);
    if (codes.min == all.min && codes.max == all.max) continue;
    narrowed[g] = true;
    p = quant::choose_params(quant::covered(p), p.dtype, state_.config.symmetric_activations, codes);
  }
  for (Activation& a : activations_)
    if (narrowed[static_cast<size_t>(a.group)] && !a.moved) add_clip(a);
  sort_topologically(state_.result->graph);
  write();
}

// Saturation to fewer integers than the type has is a Clip before the Q, which every runtime knows.
void Learned::add_clip(Activation& a) {
  Graph& g = state_.result->graph;
  const std::string name = g[a.x].name;
  a.low = g.add_constant(name + "_low", Tensor::scalar(0.f));
  a.high = g.add_constant(name + "_high", Tensor::scalar(0.f));
  const ValueId clipped = g.add_value(name + "_clipped", DType::kFloat32, g[a.x].shape);
  for (Node& n : g.nodes)
    if (quant::is_quantize(n) && n.output(0) == a.integers) n.inputs[0] = clipped;
  Node clip;
  clip.op_type = "Clip";
  clip.name = name + "_clip";
  clip.inputs = {a.x, a.low, a.high};
  clip.outputs = {clipped};
  g.nodes.push_back(std::move(clip));
}

}  // namespace zp::train
