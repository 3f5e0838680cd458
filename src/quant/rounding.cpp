#include "quant/rounding.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/decimal.h"
#include "core/stopwatch.h"
#include "quant/matrix.h"

namespace zp::quant {
namespace {

constexpr size_t kGroupBytes = size_t{96} << 20;  // of patches, over all groups

// Patches of one sample resemble each other: more of them than this count no further.
constexpr double kPatchesThatCount = 16;
// Of G's mean diagonal, for each input of a row that there is to a patch: what patches say little about, they
// do not move much.
constexpr double kDamping = 1, kLeastDamping = 0.003;

// Takes the mean off each of `count` columns of [rows, columns], or rows of its transpose.
std::vector<double> take_means(float* values, size_t count, size_t of, size_t step, size_t stride) {
  std::vector<double> means(count);
  for (size_t i = 0; i < count; ++i) {
    float* at = values + i * step;
    double sum = 0;
    for (size_t k = 0; k < of; ++k) sum += static_cast<double>(at[k * stride]);
    means[i] = of > 0 ? sum / static_cast<double>(of) : 0;
    for (size_t k = 0; k < of; ++k) at[k * stride] -= static_cast<float>(means[i]);
  }
  return means;
}

}  // namespace

RoundingStage::RoundingStage(JobState& state, size_t samples, size_t patches)
    : LayerwiseStage(state, samples, Stand::kBefore),
      patches_(patches),
      pool_(runtime::shared_pool(state.threads)) {}

std::string RoundingStage::in_words() const {
  if (layers_ == 0) return "it can round the weights of no layer";
  const int percent = weights_ > 0 ? static_cast<int>(std::lround(100 * moved_ / weights_)) : 0;
  return std::to_string(percent) + " % of the weights of " + counted(layers_, "layer") +
         " are not rounded to the nearest integer";
}

bool RoundingStage::begin(const Layer& layer) {
  layer_ = layer;
  const PlacedWeight& placed = state().weights[layer.weight];
  if (!changed_.insert(placed.integers).second) return false;
  const Node& node = state().prepared->graph.nodes[static_cast<size_t>(layer.node)];
  const Tensor& w = *state().prepared->graph.constant(placed.weight);
  const auto product = ProductLayer::of(node, w);
  if (!product || quantized().constant(data_input(layer))) return false;
  product_ = *product;
  // The bias must be known, to be taken off the layer's outputs.
  if (const int slot = op_of(node).quant.bias; slot >= 0) {
    const ValueId added = node.input(static_cast<size_t>(slot));
    const Tensor* bias = state().prepared->graph.constant(added);
    if (added != kNoValue &&
        !(bias && (bias->size() == 1 || is_channel_bias(node, static_cast<int>(w.dims().size()),
                                                        product_.channels(), bias->dims(), true))))
      return false;
  }
  const size_t most = std::min(
      patches_, kGroupBytes / (sizeof(float) * static_cast<size_t>(product_.groups * product_.depth)));
  bias_ = find_bias(state(), layer.node, layer.placed, product_.channels());
  shift_.clear();
  reader_ = std::make_unique<PatchReader>(node, w, product_, std::max<size_t>(most, 16), samples(),
                                          state().threads);
  sample_ = 0;
  group_ = 0;
  problem_.reset();
  return true;
}

bool RoundingStage::work(double milliseconds) {
  const Stopwatch watch(milliseconds);
  while (sample_ < samples()) {
    read(sample_++);
    if (watch.over()) return false;
  }
  if (reader_) start();
  if (seen_.count == 0) return true;  // NaN everywhere, or no samples of it
  while (group_ < product_.groups) {
    if (!problem_) {
      set_up(group_);
      if (watch.over()) return false;
    }
    if (gram_) {
      if (!add_up(std::max(0.0, milliseconds - watch.milliseconds()))) return false;
      begin_group(*problem_);
      if (watch.over()) return false;
    }
    if (!solve(*problem_, std::max(0.0, milliseconds - watch.milliseconds()))) return false;
    take(group_++);
    if (watch.over()) return false;
  }
  finish();
  return true;
}

void RoundingStage::read(size_t s) {
  const Node& node = state().prepared->graph.nodes[static_cast<size_t>(layer_.node)];
  const auto slot = static_cast<int>(op_of(node).quant.bias);
  const Tensor* bias =
      slot < 0 ? nullptr : state().prepared->graph.constant(node.input(static_cast<size_t>(slot)));
  std::vector<float> b;
  if (bias) b = bias->floats();
  // Another repair may have moved the bias: the rest of the error is relative to its present values.
  if (bias && bias_) b = bias_values(state(), *bias_);
  if (bias && b.size() == 1) b.assign(static_cast<size_t>(product_.channels()), b[0]);
  reader_->read(quantized_value(data_input(layer_), s), float_value(layer_.output, s),
                bias ? b.data() : nullptr);
}

void RoundingStage::start() {
  seen_ = reader_->release();
  reader_.reset();
  const PlacedWeight& placed = state().weights[layer_.weight];
  const Tensor& w = *state().prepared->graph.constant(placed.weight);
  indices_ = scale_indices(w.dims(), placed.spec.grouping);
  scales_ = quantized().constant(placed.scale)->floats();
  const Tensor* zero = quantized().constant(placed.zero_point);
  zeros_.assign(scales_.size(), 0);
  for (size_t i = 0; zero && i < zeros_.size(); ++i)
    zeros_[i] = static_cast<int32_t>(zero->integer_at(static_cast<int64_t>(zero->size() == 1 ? 0 : i)));
  const std::vector<int64_t> integers = quantized().constant(placed.integers)->integers();
  codes_.assign(integers.begin(), integers.end());
  scales_before_ = scales_;
  scales_move_ = scales_can_move();
}

// True if only this layer's rows (each with its own scale) and its bias depend on the scales.
bool RoundingStage::scales_can_move() const {
  const PlacedWeight& placed = state().weights[layer_.weight];
  const auto same = [&](const PlacedWeight& other) { return other.integers == placed.integers; };
  if (bits_of(placed.spec.dtype) > 4 ||
      std::count_if(state().weights.begin(), state().weights.end(), same) != 1)
    return false;
  std::vector<bool> taken(scales_.size(), false);
  for (int64_t m = 0; m < product_.channels(); ++m) {
    const uint32_t own = indices_[product_.element(m, 0)];
    if (taken[own]) return false;
    taken[own] = true;
    for (int64_t k = 1; k < product_.depth; ++k)
      if (indices_[product_.element(m, k)] != own) return false;
  }
  const auto channels = static_cast<size_t>(product_.channels());
  return std::none_of(state().biases.begin(), state().biases.end(), [&](const PlacedBias& b) {
    const Tensor* scale = state().result->graph.constant(b.scale);
    return b.node == layer_.node &&
           !(bias_ && bias_->integers == &b && static_cast<size_t>(scale->size()) == channels);
  });
}

void RoundingStage::set_up(int64_t q) {
  const PlacedWeight& placed = state().weights[layer_.weight];
  const std::span<const float> w = state().prepared->graph.constant(placed.weight)->data<float>();
  const IntegerRange range = weight_codes(placed.spec);
  problem_ = std::make_unique<RoundingProblem>();
  RoundingProblem& p = *problem_;
  p.scales_move = scales_move_;
  p.rows = product_.rows, p.depth = product_.depth;
  // Weights of a large layer take hundreds of megabytes: not twice as many while they grow.
  const auto weights = static_cast<size_t>(p.rows * p.depth);
  for (std::vector<float>* v : {&p.w, &p.scale}) v->reserve(weights);
  for (std::vector<int32_t>* v : {&p.least, &p.most, &p.code}) v->reserve(weights);
  for (int64_t r = 0; r < p.rows; ++r)
    for (int64_t k = 0; k < p.depth; ++k) {
      const size_t e = product_.element(q * p.rows + r, k);
      const int32_t z = zeros_[indices_[e]];
      p.w.push_back(w[e]);
      p.scale.push_back(scales_[indices_[e]]);
      p.least.push_back(range.min - z);
      p.most.push_back(range.max - z);
      p.code.push_back(codes_[e] - z);
    }
  std::vector<float>& x = seen_.x[static_cast<size_t>(q)];
  const auto n = static_cast<size_t>(seen_.count), rows = static_cast<size_t>(p.rows),
             depth = static_cast<size_t>(p.depth);
  std::vector<float> made(n * rows), rest(rows * n + kReadSlack);
  {
    std::vector<float> padded(x);
    padded.resize(x.size() + kReadSlack);
    RightMatrix(p.w.data(), p.depth, p.rows, true).multiply(padded.data(), seen_.count, made.data(), pool());
  }
  for (size_t i = 0; i < n; ++i)
    for (size_t r = 0; r < rows; ++r)
      rest[r * n + i] =
          seen_.y[i * static_cast<size_t>(product_.channels()) + static_cast<size_t>(q) * rows + r] -
          made[i * rows + r];
  mean_.clear();
  if (bias_) {
    mean_ = take_means(x.data(), depth, n, 1, depth);
    const std::vector<double> means = take_means(rest.data(), rows, n, n, 1);
    shift_.insert(shift_.end(), means.begin(), means.end());
  }
  p.c.resize(rows * depth);
  RightMatrix(x.data(), seen_.count, p.depth).multiply(rest.data(), p.rows, p.c.data(), pool());
  p.g.resize(depth * depth);
  gram_ = std::make_unique<Gram>(x, seen_.count, p.depth);
}

// The largest product of all, in pieces.
bool RoundingStage::add_up(double milliseconds) {
  const Stopwatch watch(milliseconds);
  RoundingProblem& p = *problem_;
  while (gram_->advance(p.g.data(), pool()))
    if (watch.over()) return false;
  gram_.reset();
  const auto depth = static_cast<size_t>(p.depth);
  const auto seen = static_cast<double>(samples());
  const double patches = std::min(static_cast<double>(seen_.count), kPatchesThatCount * seen);
  double trace = 0;
  for (size_t k = 0; k < depth; ++k) trace += static_cast<double>(p.g[k * depth + k]);
  p.damping = std::max(kLeastDamping, kDamping * static_cast<double>(depth) / std::max(patches, 1.0)) *
              trace / static_cast<double>(depth);
  for (size_t k = 0; k < depth; ++k) p.g[k * depth + k] += static_cast<float>(p.damping);
  return true;
}

void RoundingStage::take(int64_t q) {
  for (int64_t r = 0; r < product_.rows; ++r)
    for (int64_t k = 0; k < product_.depth; ++k) {
      const size_t e = product_.element(q * product_.rows + r, k);
      const auto i = static_cast<size_t>(r * product_.depth + k);
      codes_[e] = problem_->code[i] + zeros_[indices_[e]];
      scales_[indices_[e]] = problem_->scale[i];
    }
  if (bias_)
    for (int64_t r = 0; r < product_.rows; ++r)
      for (int64_t k = 0; k < product_.depth; ++k)
        shift_[static_cast<size_t>(q * product_.rows + r)] -=
            static_cast<double>(problem_->error(static_cast<size_t>(r * product_.depth + k))) *
            mean_[static_cast<size_t>(k)];
  problem_.reset();
}

void RoundingStage::finish() {
  const PlacedWeight& placed = state().weights[layer_.weight];
  const Tensor& old = *quantized().constant(placed.integers);
  const std::vector<int64_t> before = old.integers();
  for (size_t i = 0; i < before.size(); ++i) moved_ += before[i] != codes_[i];
  weights_ += static_cast<double>(before.size());
  ++layers_;
  quantized()[placed.integers].constant = pack_integers(old.dtype(), old.dims(), codes_);
  if (scales_ != scales_before_) {
    const Tensor old_scale = *quantized().constant(placed.scale);
    quantized()[placed.scale].constant = Tensor::of<float>(old_scale.dims(), scales_);
    std::vector<double> factors;
    for (int64_t m = 0; m < product_.channels(); ++m) {
      const size_t i = indices_[product_.element(m, 0)];
      factors.push_back(static_cast<double>(scales_[i]) / static_cast<double>(scales_before_[i]));
    }
    if (bias_ && bias_->integers) rescale_bias(state(), *bias_->integers, factors);
  }
  if (bias_) move_bias(state(), *bias_, shift_);
  seen_ = {};
}

}  // namespace zp::quant
