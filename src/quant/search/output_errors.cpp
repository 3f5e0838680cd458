#include "quant/search/output_errors.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/stopwatch.h"
#include "quant/qdq.h"
#include "runtime/prepare.h"
#include "runtime/widening.h"

namespace zp::quant {

OutputErrors::OutputErrors(std::shared_ptr<const Model> reference, Samples samples,
                           std::vector<int32_t> labels, int threads)
    : samples_(std::move(samples)), threads_(threads), labels_(std::move(labels)) {
  reference_ = runtime::prepared(reference);
  session_ = std::make_unique<runtime::Session>(reference_, runtime::SessionOptions{.threads = threads});
  most_ = samples_.size();
}

void OutputErrors::begin(std::shared_ptr<const Model> candidate, size_t most) {
  inputs_ = integer_inputs(candidate->graph);
  integers_ = integer_outputs(candidate->graph);
  names_.clear();
  for (ValueId v : candidate->graph.outputs) names_.push_back(candidate->graph[v].name);
  sums_.assign(names_.size(), {});
  answers_ = same_ = right_ = right_before_ = 0;
  is_reference_ = false;
  sample_ = 0;
  most_ = std::min(most, samples_.size());
  session_ = std::make_unique<runtime::Session>(runtime::makes_half(candidate->graph)
                                                    ? runtime::prepared_with_roundings(*candidate)
                                                    : runtime::prepared_anew(*candidate),
                                                runtime::SessionOptions{.threads = threads_});
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
  bool counted = false;
  for (size_t i = 0; i < outputs.size() && i < expected_[sample_].size(); ++i) {
    const Tensor &x = expected_[sample_][i], &y = outputs[i];
    if (x.dtype() == DType::kString) continue;
    std::vector<float> values;
    if (x.dims() != y.dims()) {
      values.resize(static_cast<size_t>(x.size()), 0.0F);  // of another length: nothing of it is right
    } else if (const auto it = integers_.find(names_[i]); it != integers_.end()) {
      values.resize(static_cast<size_t>(y.size()));
      dequantize(y.raw(), values.size(), it->second, values.data());
    } else {
      values = y.floats();
    }
    sums_[i].add(x.floats().data(), values.data(), values.size());
    if (counted || x.dims().empty() || x.dims().back() < 2) continue;
    counted = true;
    count_answers(x, values);
  }
}

void OutputErrors::count_answers(const Tensor& expected, const std::vector<float>& values) {
  const int64_t width = expected.dims().back(), rows = expected.size() / width;
  const std::vector<float> before = expected.floats();
  if (!labels_.empty()) {
    if (rows != 1)
      throw_error(ErrorCode::kInvalidArgument,
                  {"labels are for samples with one answer each: this output has ", rows, " rows of ", width},
                  {.hint = "leave the labels out: then the float model's answers are the reference"});
    if (labels_[sample_] < 0 || labels_[sample_] >= width)
      throw_error(ErrorCode::kInvalidArgument, {"a sample has the label ", labels_[sample_],
                                                ", and the model knows the classes 0 to ", width - 1});
  }
  for (int64_t row = 0; row < rows; ++row) {
    const auto largest = [&](const std::vector<float>& v) {
      const auto begin = v.begin() + static_cast<std::ptrdiff_t>(row * width);
      return std::max_element(begin, begin + static_cast<std::ptrdiff_t>(width)) - begin;
    };
    const auto was = largest(before), is = largest(values);
    ++answers_;
    same_ += was == is;
    if (labels_.empty()) continue;
    right_before_ += was == labels_[sample_];
    right_ += is == labels_[sample_];
  }
}

double OutputErrors::drop() const {
  if (answers_ == 0) return std::numeric_limits<double>::quiet_NaN();
  const int64_t lost = labels_.empty() ? answers_ - same_ : right_before_ - right_;
  return static_cast<double>(lost) / static_cast<double>(answers_);
}

double OutputErrors::accuracy() const {
  return labels_.empty() || answers_ == 0 ? std::numeric_limits<double>::quiet_NaN()
                                          : static_cast<double>(right_) / static_cast<double>(answers_);
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

std::vector<double> OutputErrors::outputs_db() const {
  std::vector<double> all;
  for (const ErrorSums& s : sums_)
    all.push_back(s.count == 0 || s.signal <= 0 ? std::numeric_limits<double>::infinity() : s.sqnr_db());
  return all;
}

double OutputErrors::cosine() const {
  double least = 1;
  for (const ErrorSums& s : sums_)
    if (s.count > 0) least = std::min(least, s.cosine());
  return least;
}

}  // namespace zp::quant
