#include "quant/rounding.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/stopwatch.h"
#include "quant/matrix.h"

namespace zp::quant {
namespace {

constexpr size_t kGroupBytes = size_t{96} << 20;  // of patches, over all groups

}  // namespace

RoundingStage::RoundingStage(JobState& state, size_t samples, size_t patches, double damping)
    : LayerwiseStage(state, samples, Stand::kBefore),
      patches_(patches),
      damping_(damping),
      pool_(runtime::shared_pool(state.threads)) {}

std::string RoundingStage::in_words() const {
  const int percent = weights_ > 0 ? static_cast<int>(std::lround(100 * moved_ / weights_)) : 0;
  return std::to_string(percent) + " % of the weights of " + std::to_string(layers_) +
         " layers are not rounded to the nearest";
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
  const size_t most = std::min(
      patches_, kGroupBytes / (sizeof(float) * static_cast<size_t>(product_.groups * product_.depth)));
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
  const int slot = op_of(node).quant.bias;
  const Tensor* bias =
      slot < 0 ? nullptr : state().prepared->graph.constant(node.input(static_cast<size_t>(slot)));
  std::vector<float> b;
  if (bias) b = bias->floats();
  if (bias && b.size() == 1) b.assign(static_cast<size_t>(product_.channels()), b[0]);
  const bool usable = b.size() == static_cast<size_t>(product_.channels());
  reader_->read(quantized_value(data_input(layer_), s), float_value(layer_.output, s),
                usable ? b.data() : nullptr);
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
}

void RoundingStage::set_up(int64_t q) {
  const PlacedWeight& placed = state().weights[layer_.weight];
  const std::span<const float> w = state().prepared->graph.constant(placed.weight)->data<float>();
  const IntegerRange range = weight_codes(placed.spec);
  problem_ = std::make_unique<RoundingProblem>();
  RoundingProblem& p = *problem_;
  p.rows = product_.rows, p.depth = product_.depth;
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
  const std::vector<float>& x = seen_.x[static_cast<size_t>(q)];
  const auto n = static_cast<size_t>(seen_.count), rows = static_cast<size_t>(p.rows),
             depth = static_cast<size_t>(p.depth);
  std::vector<float> made(n * rows), padded(x), rest(rows * n + Tensor::kReadSlack);
  padded.resize(x.size() + Tensor::kReadSlack);
  RightMatrix(p.w.data(), p.depth, p.rows, true).multiply(padded.data(), seen_.count, made.data(), pool());
  for (size_t i = 0; i < n; ++i)
    for (size_t r = 0; r < rows; ++r)
      rest[r * n + i] =
          seen_.y[i * static_cast<size_t>(product_.channels()) + static_cast<size_t>(q) * rows + r] -
          made[i * rows + r];
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
  // Patches are few: what they say nothing about is not to be moved for nothing.
  const auto depth = static_cast<size_t>(p.depth);
  double trace = 0;
  for (size_t k = 0; k < depth; ++k) trace += static_cast<double>(p.g[k * depth + k]);
  for (size_t k = 0; k < depth; ++k)
    p.g[k * depth + k] += static_cast<float>(damping_ * trace / static_cast<double>(depth));
  return true;
}

void RoundingStage::take(int64_t q) {
  for (int64_t r = 0; r < product_.rows; ++r)
    for (int64_t k = 0; k < product_.depth; ++k) {
      const size_t e = product_.element(q * product_.rows + r, k);
      codes_[e] = problem_->code[static_cast<size_t>(r * product_.depth + k)] + zeros_[indices_[e]];
    }
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
  seen_ = {};
}

}  // namespace zp::quant
