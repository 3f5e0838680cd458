#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/rewrite.h"
#include "quant/qdq.h"
#include "quant/search.h"
#include "quant/stopwatch.h"

namespace zp::quant {

OutputErrors::OutputErrors(std::shared_ptr<const Model> reference, Samples samples, int threads)
    : samples_(std::move(samples)), threads_(threads) {
  auto simple = std::make_shared<Model>(*reference);
  simple->graph = clone(reference->graph);
  simplify(simple->graph);
  reference_ = std::move(simple);
  session_ = std::make_unique<runtime::Session>(reference_, runtime::SessionOptions{.threads = threads});
  most_ = samples_.size();
}

void OutputErrors::begin(std::shared_ptr<const Model> candidate, size_t most) {
  inputs_ = integer_inputs(candidate->graph);
  integers_ = integer_outputs(candidate->graph);
  names_.clear();
  for (ValueId v : candidate->graph.outputs) names_.push_back(candidate->graph[v].name);
  sums_.assign(names_.size(), {});
  is_reference_ = false;
  sample_ = 0;
  most_ = std::min(most, samples_.size());
  session_ =
      std::make_unique<runtime::Session>(std::move(candidate), runtime::SessionOptions{.threads = threads_});
}

bool OutputErrors::advance(double milliseconds) {
  const Stopwatch watch(milliseconds);
  while (session_ && sample_ < most_) {
    if (!running_) {
      session_->begin(is_reference_ ? samples_[sample_] : quantize_feeds(inputs_, samples_[sample_]));
      running_ = true;
    }
    if (!session_->advance(std::max(0.0, milliseconds - watch.milliseconds()))) return false;
    running_ = false;
    std::vector<Tensor> outputs = session_->outputs();
    if (is_reference_) {
      expected_.push_back(std::move(outputs));
    } else {
      compare(outputs);
    }
    ++sample_;
    if (sample_ < most_ && watch.over()) return false;
  }
  session_.reset();
  return true;
}

void OutputErrors::compare(const std::vector<Tensor>& outputs) {
  for (size_t i = 0; i < outputs.size() && i < expected_[sample_].size(); ++i) {
    const Tensor &x = expected_[sample_][i], &y = outputs[i];
    if (x.dtype() == DType::kString || x.dims() != y.dims()) continue;
    std::vector<float> values;
    if (const auto it = integers_.find(names_[i]); it != integers_.end()) {
      values.resize(static_cast<size_t>(y.size()));
      dequantize(y.raw(), values.size(), it->second, values.data());
    } else {
      values = y.floats();
    }
    sums_[i].add(x.floats().data(), values.data(), values.size());
  }
}

double OutputErrors::noise() const {
  double sum = 0, count = 0;
  for (const ErrorSums& s : sums_) {
    if (s.count == 0 || s.signal <= 0) continue;
    // A model that gives NaN is worse than any other.
    sum += std::isfinite(s.noise) ? s.noise / s.signal : std::numeric_limits<double>::infinity();
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

double OutputErrors::sqnr_db() const {
  const double n = noise();
  return n > 0 ? -10 * std::log10(n) : std::numeric_limits<double>::infinity();
}

double OutputErrors::cosine() const {
  double least = 1;
  for (const ErrorSums& s : sums_)
    if (s.count > 0) least = std::min(least, s.cosine());
  return least;
}

}  // namespace zp::quant
