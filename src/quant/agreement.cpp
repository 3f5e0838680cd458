#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/stopwatch.h"
#include "quant/integer_io.h"
#include "quant/report.h"
#include "runtime/prepare.h"
#include "runtime/widening.h"

namespace zp::quant {
namespace {

// Of runs that took turns. The first is slower than the others, and counts only where it is the only one: V8
// has not compiled all of it well, and memory is new.
double median(std::vector<double> v) {
  if (v.size() > 1) v.erase(v.begin());
  if (v.empty()) return 0;
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

struct Output {
  std::string name;
  ErrorSums sums;
  int64_t rows = 0, same = 0, other_shapes = 0;
  bool ranked = false;  // rows have a largest element to compare

  void add(const std::vector<float>& x, const std::vector<float>& y, const Shape& dims, bool is_float) {
    sums.add(x.data(), y.data(), x.size());
    if (!is_float) {
      ranked = true;
      rows += static_cast<int64_t>(x.size());
      for (size_t i = 0; i < x.size(); ++i) same += x[i] == y[i];
      return;
    }
    const auto width = dims.empty() ? size_t{1} : static_cast<size_t>(dims.back());
    if (width < 2) return;
    ranked = true;
    for (size_t at = 0; at + width <= x.size(); at += width) {
      const auto largest = [&](const std::vector<float>& v) {
        const auto begin = v.begin() + static_cast<std::ptrdiff_t>(at);
        return std::max_element(begin, begin + static_cast<std::ptrdiff_t>(width)) - begin;
      };
      ++rows;
      same += largest(x) == largest(y);
    }
  }
};

}  // namespace

class Agreement::Impl {
 public:
  Impl(std::shared_ptr<const Model> reference, std::shared_ptr<const Model> candidate, int threads) {
    const Graph &a = reference->graph, &b = candidate->graph;
    inputs_ = integer_inputs(b);
    reference_integers_ = integer_outputs(a);
    candidate_integers_ = integer_outputs(b);
    for (size_t i = 0; i < a.outputs.size(); ++i) {
      const std::string& name = a[a.outputs[i]].name;
      const auto same =
          std::find_if(b.outputs.begin(), b.outputs.end(), [&](ValueId v) { return b[v].name == name; });
      if (same == b.outputs.end()) continue;
      pairs_.push_back({i, static_cast<size_t>(same - b.outputs.begin())});
      outputs_.push_back({.name = name});
    }
    if (outputs_.empty())
      throw_error(ErrorCode::kInvalidArgument, "the two models have no output in common",
                  {.hint = "compare a model with one that was made from it"});
    // Both as sessions run them, so that times can be compared.
    const runtime::SessionOptions options{.threads = threads};
    reference_ = std::make_unique<runtime::Session>(runtime::prepared(reference), options);
    candidate_ = std::make_unique<runtime::Session>(runtime::prepared(candidate), options);
    // Sessions compute half precision in float32: what it loses shows in a run of its own, without a time.
    if (runtime::makes_half(candidate->graph))
      rounded_ = std::make_unique<runtime::Session>(runtime::prepared_with_roundings(*candidate), options);
  }

  void begin(std::vector<runtime::Feed> feeds) {
    // Both check the feeds before either runs.
    reference_->begin(feeds);
    feeds = quantize_feeds(inputs_, std::move(feeds));
    if (rounded_) rounded_->begin(feeds);
    candidate_->begin(std::move(feeds));
    reference_done_ = candidate_done_ = false;
    running_ = true;
    spent_ = 0;
  }

  bool advance(double milliseconds) {
    if (!running_) return true;
    if (candidate_done_) {
      if (!rounded_->advance(milliseconds)) return false;
      running_ = false;
      compare();
      return true;
    }
    const Stopwatch watch(milliseconds);
    runtime::Session& session = reference_done_ ? *candidate_ : *reference_;
    const bool through = session.advance(milliseconds);
    spent_ += watch.milliseconds();
    if (!through) return false;
    (reference_done_ ? candidate_times_ : reference_times_).push_back(spent_);
    spent_ = 0;
    if (!reference_done_) {
      reference_done_ = true;
      return false;
    }
    if (rounded_) {
      candidate_done_ = true;
      return false;
    }
    running_ = false;
    compare();
    return true;
  }

  size_t done() const { return reference_->done() + candidate_->done() + (rounded_ ? rounded_->done() : 0); }
  size_t total() const {
    return reference_->total() + candidate_->total() + (rounded_ ? rounded_->total() : 0);
  }

  AgreementResult result() const {
    AgreementResult r{.samples = samples_,
                      .reference_ms = median(reference_times_),
                      .candidate_ms = median(candidate_times_)};
    for (const Output& o : outputs_) {
      r.outputs.push_back(
          {.output = o.name,
           .sqnr_db = o.sums.sqnr_db(),
           .cosine = o.sums.cosine(),
           .max_abs = o.sums.count > 0 ? o.sums.max_abs : std::numeric_limits<double>::quiet_NaN(),
           .top1 = o.ranked && o.rows > 0 ? static_cast<double>(o.same) / static_cast<double>(o.rows)
                                          : std::numeric_limits<double>::quiet_NaN(),
           .rows = o.rows,
           .other_shapes = o.other_shapes});
    }
    return r;
  }

 private:
  static std::vector<float> floats_of(const Tensor& t, const EdgeParams& integers, const std::string& name) {
    const auto it = integers.find(name);
    if (it == integers.end()) return t.floats();
    std::vector<float> x(static_cast<size_t>(t.size()));
    dequantize(t.raw(), x.size(), it->second, x.data());
    return x;
  }

  void compare() {
    const std::vector<Tensor> a = reference_->outputs(), b = (rounded_ ? rounded_ : candidate_)->outputs();
    for (size_t i = 0; i < pairs_.size(); ++i) {
      const Tensor &x = a[pairs_[i].first], &y = b[pairs_[i].second];
      Output& o = outputs_[i];
      if (x.dtype() == DType::kString || y.dtype() == DType::kString) continue;
      if (x.dims() != y.dims()) {
        ++o.other_shapes;
        continue;
      }
      o.add(floats_of(x, reference_integers_, o.name), floats_of(y, candidate_integers_, o.name), x.dims(),
            is_float(x.dtype()) || reference_integers_.contains(o.name));
    }
    ++samples_;
  }

  EdgeParams inputs_, reference_integers_, candidate_integers_;
  std::vector<std::pair<size_t, size_t>> pairs_;  // indices of outputs in the two models
  std::vector<Output> outputs_;
  std::unique_ptr<runtime::Session> reference_, candidate_, rounded_;
  bool reference_done_ = false, candidate_done_ = false, running_ = false;
  double spent_ = 0;
  std::vector<double> reference_times_, candidate_times_;
  size_t samples_ = 0;
};

Agreement::Agreement(std::shared_ptr<const Model> reference, std::shared_ptr<const Model> candidate,
                     int threads)
    : impl_(std::make_unique<Impl>(std::move(reference), std::move(candidate), threads)) {}
Agreement::~Agreement() = default;
void Agreement::begin(std::vector<runtime::Feed> feeds) { impl_->begin(std::move(feeds)); }
bool Agreement::advance(double milliseconds) { return impl_->advance(milliseconds); }
size_t Agreement::done() const { return impl_->done(); }
size_t Agreement::total() const { return impl_->total(); }
AgreementResult Agreement::result() const { return impl_->result(); }

}  // namespace zp::quant
