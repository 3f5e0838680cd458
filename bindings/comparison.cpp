// Comparing two models.
#include <emscripten/bind.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "model.h"
#include "quant/report.h"
#include "reports.h"
#include "tensors.h"

namespace zp::bindings {
namespace {

val output_of(const quant::OutputAgreement& a) {
  Object e;
  e.set("output", a.output);
  e.set("sqnr", a.sqnr_db);
  e.set("cosine", a.cosine);
  e.set("maxAbs", a.max_abs);
  e.set("top1", a.top1);
  e.set("rows", a.rows);
  e.set("otherShapes", a.other_shapes);
  return e;
}

// The outputs of two models and, where asked for, those of their layers, over the same samples.
class ComparisonHandle {
 public:
  ComparisonHandle(const ModelHandle& reference, const ModelHandle& candidate, int threads, bool layers)
      : outputs_(reference.shared(), candidate.shared(), threads) {
    if (layers) layers_.emplace(reference.shared(), candidate.shared(), threads);
  }
  val begin(const val& feeds) {
    return answer([&] {
      waiting_ = feeds_of(feeds);
      in_layers_ = false;
      outputs_.begin(waiting_);
    });
  }
  val advance(double milliseconds) {
    return answer([&] {
      if (in_layers_) return val(layers_->advance(milliseconds));
      if (!outputs_.advance(milliseconds)) return val(false);
      if (!layers_) return val(true);
      in_layers_ = true;
      layers_->begin(std::exchange(waiting_, {}));
      return val(false);
    });
  }
  // Of the sample under way.
  val progress() const {
    Object o;
    o.set("done", share(outputs_) + (in_layers_ ? share(*layers_) : 0));
    o.set("total", layers_ ? 2 : 1);
    return o;
  }
  val result() const {
    return answer([&] {
      const quant::AgreementResult r = outputs_.result();
      Object o;
      o.set("samples", r.samples);
      o.set("referenceMs", r.reference_ms);
      o.set("candidateMs", r.candidate_ms);
      o.set("outputs", array_of(r.outputs, output_of));
      o.set("layers",
            array_of(layers_ ? layers_->result() : std::vector<quant::LayerError>(), layer_error_of));
      return o;
    });
  }

 private:
  template <class Job>
  static double share(const Job& job) {
    return job.total() > 0 ? static_cast<double>(job.done()) / static_cast<double>(job.total()) : 0;
  }

  quant::Agreement outputs_;
  std::optional<quant::LayerErrors> layers_;
  std::vector<runtime::Feed> waiting_;  // the sample, until the layers have it
  bool in_layers_ = false;
};

val create_comparison(const ModelHandle& reference, const ModelHandle& candidate, int threads, bool layers) {
  return answer(
      [&] { return val(std::make_shared<ComparisonHandle>(reference, candidate, threads, layers)); });
}

EMSCRIPTEN_BINDINGS(comparison) {
  emscripten::class_<ComparisonHandle>("Comparison")
      .smart_ptr<std::shared_ptr<ComparisonHandle>>("ComparisonPointer")
      .function("begin", &ComparisonHandle::begin)
      .function("advance", &ComparisonHandle::advance)
      .function("progress", &ComparisonHandle::progress)
      .function("result", &ComparisonHandle::result);
  emscripten::function("createComparison", &create_comparison);
}

}  // namespace
}  // namespace zp::bindings
