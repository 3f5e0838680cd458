#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "core/stopwatch.h"
#include "ops/infer.h"
#include "quant/findings.h"
#include "quant/integer_io.h"
#include "quant/layerwise.h"
#include "quant/observers/histogram.h"
#include "quant/qdq.h"
#include "quant/report.h"
#include "runtime/prepare.h"
#include "runtime/widening.h"

namespace zp::quant {
namespace {

// A value that both models have.
struct Pair {
  std::string node, op, output;
  std::optional<QParams> params;   // the quantized model holds it as integers
  std::optional<int> channel_dim;  // it has the channels of a product
  ErrorSums sums, own;
  int64_t outside = 0;  // float values beyond what the integers cover
  // Samples for which the two models make as many values. Where a length follows from what layers compute,
  // the quantized model may choose another one, and there is nothing to compare.
  int64_t compared = 0, not_compared = 0;
  Histogram histogram;  // of float values
  // By channel: the largest float magnitude, and the sum of the errors of `per_channel` values.
  std::vector<float> largest;
  std::vector<double> shift;
  double per_channel = 0;
  // The side of the current sample that came first.
  std::vector<float> reference, quantized;
  Shape dims;
  bool has_reference = false, has_quantized = false;
};

bool is_half(const Pair& p) { return p.params && p.params->dtype == DType::kFloat16; }

std::vector<float> copy(const TensorView& view, const std::optional<QParams>& params) {
  const auto count = static_cast<size_t>(element_count(view.dims));
  std::vector<float> x(count);
  if (view.dtype == DType::kFloat32) {
    if (count) std::memcpy(x.data(), view.data, count * sizeof(float));
  } else if (params) {
    dequantize(view.data, count, *params, x.data());
  }
  return x;
}

void add_channels(Pair& p) {
  const ChannelView view(p.dims, *p.channel_dim);
  const auto channels = static_cast<size_t>(view.channels);
  if (p.largest.empty()) p.largest.resize(channels, 0.f), p.shift.resize(channels, 0.0);
  if (p.largest.size() != channels) return;
  const float *x = p.reference.data(), *y = p.quantized.data();
  for (int64_t o = 0; o < view.outer; ++o) {
    for (size_t c = 0; c < channels; ++c) {
      float most = p.largest[c];
      double shift = 0;
      for (int64_t i = 0; i < view.inner; ++i, ++x, ++y) {
        most = std::max(most, std::fabs(*x));
        shift += static_cast<double>(*y) - static_cast<double>(*x);
      }
      p.largest[c] = most;
      p.shift[c] += shift;
    }
  }
  p.per_channel += static_cast<double>(view.outer * view.inner);
}

void absorb(Pair& p) {
  const std::vector<float>&x = p.reference, &y = p.quantized;
  p.has_reference = p.has_quantized = false;
  if (x.size() != y.size()) {
    ++p.not_compared;
    p.reference = {}, p.quantized = {};
    return;
  }
  ++p.compared;
  p.sums.add(x.data(), y.data(), x.size());
  bool finite = true;
  const Range seen = range_of(x, &finite);
  if (finite) p.histogram.add(x, seen);
  if (p.channel_dim) add_channels(p);
  if (is_half(p)) {
    std::vector<float> rounded(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      rounded[i] = half_to_float(float_to_half(x[i]));
      if (std::isfinite(x[i]) && std::isinf(rounded[i])) ++p.outside;
    }
    p.own.add(x.data(), rounded.data(), x.size());
  } else if (p.params) {
    const Range range = covered(*p.params);
    const float half = p.params->scale / 2;
    std::vector<float> rounded(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      rounded[i] = static_cast<float>(quantize_one(x[i], *p.params) - p.params->zero_point) * p.params->scale;
      if (x[i] < range.min - half || x[i] > range.max + half) ++p.outside;
    }
    p.own.add(x.data(), rounded.data(), x.size());
  }
  p.reference = {}, p.quantized = {};
}

// Neighbouring bins together, until there are few enough to draw: widths stay powers of two, so that no bin
// is split between two.
Distribution distribution_of(const Histogram& h) {
  constexpr size_t kMost = 64;
  Distribution d{.zeros = h.zeros()};
  const std::span<const uint64_t> counts = h.counts();
  if (counts.empty()) return d;
  size_t together = 1;
  while ((counts.size() + together - 1) / together > kMost) together *= 2;
  d.left = h.left(0), d.width = h.width() * static_cast<double>(together);
  d.counts.resize((counts.size() + together - 1) / together, 0);
  for (size_t i = 0; i < counts.size(); ++i) d.counts[i / together] += counts[i];
  return d;
}

// The width that the middle half of the values other than 0 covers.
double middle_half(const Histogram& h) {
  const std::span<const uint64_t> counts = h.counts();
  const auto quantile = [&](uint64_t rank) {
    size_t bin = 0;
    uint64_t below = 0;
    while (bin + 1 < counts.size() && below + counts[bin] <= rank) below += counts[bin++];
    return h.center(bin);
  };
  const uint64_t n = h.total() - h.zeros();
  return n < 4 ? 0 : quantile(3 * n / 4) - quantile(n / 4);
}

double shifted_share(const Pair& p) {
  double sum = 0;
  for (const double s : p.shift) sum += s * s;
  return p.sums.noise > 0 && p.per_channel > 0 ? sum / p.per_channel / p.sums.noise : 0;
}

// The dimension that counts the channels of a product whose result this node gives, alone or after functions
// of single elements.
std::optional<int> channel_dim(const Graph& graph, const GraphIndex& index, const Node& node) {
  const Node* n = &node;
  constexpr int kFar = 8;  // Q and DQ between them included
  for (int step = 0; step < kFar; ++step) {
    const OpDef* def = find_op(*n);
    if (!def) return std::nullopt;
    if (def->quant.kind == QuantRule::Kind::kProduct) return def->quant.channel_dim;
    if (def->quant.kind != QuantRule::Kind::kRescaled && def->role == QdqRole::kNone) return std::nullopt;
    n = producer_of(graph, index, n->input(0));
    if (!n) return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

class LayerErrors::Impl {
 public:
  Impl(std::shared_ptr<const Model> reference, std::shared_ptr<const Model> quantized, int threads) {
    runtime::SessionOptions left, right;
    left.threads = right.threads = threads;
    left.integer = false;
    reference = runtime::prepared(reference);
    quantized = runtime::makes_half(quantized->graph) ? runtime::prepared_with_roundings(*quantized)
                                                      : runtime::prepared(quantized);
    find_pairs(reference->graph, quantized->graph, left.taps, right.taps);
    reference_ = std::make_unique<runtime::Session>(std::move(reference), std::move(left));
    quantized_ = std::make_unique<runtime::Session>(std::move(quantized), std::move(right));
    reference_->set_tap([this](ValueId v, const TensorView& view) {
      Pair& p = pairs_[by_reference_.at(v)];
      p.reference = copy(view, std::nullopt);
      p.dims.assign(view.dims.begin(), view.dims.end());
      p.has_reference = true;
      ++seen_reference_;
      if (p.has_quantized) absorb(p);
    });
    quantized_->set_tap([this](ValueId v, const TensorView& view) {
      Pair& p = pairs_[by_quantized_.at(v)];
      p.quantized = copy(view, p.params);
      p.has_quantized = true;
      ++seen_quantized_;
      if (p.has_reference) absorb(p);
    });
  }

  void begin(std::vector<runtime::Feed> feeds) {
    for (Pair& p : pairs_) {
      p.reference = {}, p.quantized = {};
      p.has_reference = p.has_quantized = false;
    }
    seen_reference_ = seen_quantized_ = 0;
    reference_done_ = quantized_done_ = false;
    reference_->begin(feeds);
    quantized_->begin(quantize_feeds(inputs_, std::move(feeds)));
  }

  bool advance(double milliseconds);
  size_t done() const { return reference_->done() + quantized_->done(); }
  size_t total() const { return reference_->total() + quantized_->total(); }

  std::vector<LayerError> result() const {
    std::vector<LayerError> errors;
    for (const Pair& p : pairs_) {
      if (p.not_compared > 0 && p.compared == 0) continue;
      LayerError e{.node = p.node,
                   .op = p.op,
                   .output = p.output,
                   .quantized = p.params.has_value(),
                   .sqnr_db = p.sums.sqnr_db(),
                   .own_sqnr_db = std::numeric_limits<double>::infinity(),
                   .cosine = p.sums.cosine(),
                   .max_abs = p.sums.max_abs};
      if (p.params) {
        e.own_sqnr_db = p.own.sqnr_db();
        e.dtype = p.params->dtype;
        if (!is_half(p)) {
          e.clip = covered(*p.params);
          e.half_steps = middle_half(p.histogram) / static_cast<double>(p.params->scale);
        }
      }
      if (p.sums.count > 0) e.saturated = static_cast<double>(p.outside) / static_cast<double>(p.sums.count);
      e.outside = p.outside;
      e.values = distribution_of(p.histogram);
      e.spread = spread_of(p.largest);
      e.shifted = shifted_share(p);
      e.findings = findings_of(e);
      errors.push_back(std::move(e));
    }
    return errors;
  }

 private:
  void find_pairs(const Graph& reference, const Graph& quantized, std::vector<ValueId>& left,
                  std::vector<ValueId>& right);

  std::vector<Pair> pairs_;
  std::map<ValueId, size_t> by_reference_, by_quantized_;
  std::map<std::string, QParams, std::less<>> inputs_;  // of the quantized model, where they are integers
  std::unique_ptr<runtime::Session> reference_, quantized_;
  size_t seen_reference_ = 0, seen_quantized_ = 0;
  bool reference_done_ = false, quantized_done_ = false;
};

void LayerErrors::Impl::find_pairs(const Graph& reference, const Graph& quantized, std::vector<ValueId>& left,
                                   std::vector<ValueId>& right) {
  std::map<std::string_view, ValueId> names;
  const GraphIndex reference_index(reference);
  for (size_t v = 0; v < reference.values.size(); ++v)
    if (reference_index.producer[v] >= 0) names.emplace(reference.values[v].name, static_cast<ValueId>(v));
  const GraphIndex index(quantized);
  inputs_ = integer_inputs(quantized);
  Graph scratch = clone(quantized);  // rules look at a graph through a context that may write to it
  for (const Node& node : quantized.nodes) {
    if (is_of_qdq_pair(node) || node.output(0) == kNoValue) continue;
    const ValueId v = node.output(0);
    if (quantized[v].dtype != DType::kFloat32) continue;
    std::string name = quantized[v].name;
    ValueId tap = v;
    std::optional<QParams> params;
    const auto& readers = index.consumers[static_cast<size_t>(v)];
    for (int32_t r : readers) {
      const Node& reader = quantized.nodes[static_cast<size_t>(r)];
      if (role_of(reader) == QdqRole::kRound) params = QParams{.dtype = DType::kFloat16};
      // The integers themselves: tapping the float value before them would keep it from being fused away.
      if (is_quantize(reader)) params = constant_params(quantized, reader);
      if (!params) continue;
      tap = reader.output(0);
      // What took the name: an output, a rounding, or what an output is read as.
      if (!names.contains(name)) name = quantized[tap].name;
      for (const int32_t d : index.consumers[static_cast<size_t>(tap)]) {
        const Node& read = quantized.nodes[static_cast<size_t>(d)];
        if (!names.contains(name) && is_dequantize(read)) name = quantized[read.output(0)].name;
      }
      break;
    }
    if (!params && readers.size() == 1 && !quantized.is_output(v)) {
      // A value before a clamp does not exist in the quantized model.
      const Node& next = quantized.nodes[static_cast<size_t>(readers[0])];
      const OpDef* def = find_op(next);
      if (def && def->as_clamp && def->as_clamp(GraphInferContext(scratch, next))) continue;
    }
    const auto found = names.find(name);
    if (found == names.end() || reference[found->second].dtype != DType::kFloat32) continue;
    if (by_reference_.contains(found->second) || by_quantized_.contains(tap)) continue;
    by_reference_.emplace(found->second, pairs_.size());
    by_quantized_.emplace(tap, pairs_.size());
    left.push_back(found->second);
    right.push_back(tap);
    pairs_.push_back({.node = node.name,
                      .op = node.domain.empty() ? node.op_type : qualified_name(node),
                      .output = name,
                      .params = params,
                      .channel_dim = channel_dim(quantized, index, node)});
  }
}

bool LayerErrors::Impl::advance(double milliseconds) {
  Stopwatch watch(milliseconds);
  do {
    // Whichever model is behind goes on, so that few values wait for their other half.
    const bool left = !reference_done_ && (quantized_done_ || seen_reference_ <= seen_quantized_);
    if (left) {
      reference_done_ = reference_->advance(0);
    } else {
      quantized_done_ = quantized_->advance(0);
    }
    if (reference_done_ && quantized_done_) return true;
  } while (!watch.over());
  return false;
}

LayerErrors::LayerErrors(std::shared_ptr<const Model> reference, std::shared_ptr<const Model> quantized,
                         int threads)
    : impl_(std::make_unique<Impl>(std::move(reference), std::move(quantized), threads)) {}
LayerErrors::~LayerErrors() = default;
void LayerErrors::begin(std::vector<runtime::Feed> feeds) { impl_->begin(std::move(feeds)); }
bool LayerErrors::advance(double milliseconds) { return impl_->advance(milliseconds); }
size_t LayerErrors::done() const { return impl_->done(); }
size_t LayerErrors::total() const { return impl_->total(); }
std::vector<LayerError> LayerErrors::result() const { return impl_->result(); }

}  // namespace zp::quant
