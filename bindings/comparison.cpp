// Comparing two models.
#include <emscripten/bind.h>

#include <memory>
#include <vector>

#include "model.h"
#include "quant/report.h"
#include "reports.h"
#include "tensors.h"

namespace zp::bindings {
namespace {

// Agreement and LayerErrors are stepped alike and differ in what they give.
template <class Job>
class ComparisonHandle {
 public:
  ComparisonHandle(const ModelHandle& reference, const ModelHandle& candidate, int threads)
      : job_(reference.shared(), candidate.shared(), threads) {}
  val begin(const val& feeds) {
    return answer([&] { job_.begin(feeds_of(feeds)); });
  }
  val advance(double milliseconds) {
    return answer([&] { return val(job_.advance(milliseconds)); });
  }
  val progress() const { return progress_of(job_.done(), job_.total()); }
  val result() const {
    return answer([&] { return result_of(job_.result()); });
  }

 private:
  static val result_of(const quant::AgreementResult& r) {
    Object o;
    o.set("samples", r.samples);
    o.set("referenceMs", r.reference_ms);
    o.set("candidateMs", r.candidate_ms);
    o.set("outputs", array_of(r.outputs, [](const quant::OutputAgreement& a) {
            Object e;
            e.set("output", a.output);
            e.set("sqnr", a.sqnr_db);
            e.set("cosine", a.cosine);
            e.set("maxAbs", a.max_abs);
            e.set("top1", a.top1);
            e.set("rows", a.rows);
            e.set("otherShapes", a.other_shapes);
            return e;
          }));
    return o;
  }
  static val result_of(const std::vector<quant::LayerError>& layers) {
    return array_of(layers, [](const quant::LayerError& l) {
      Object e;
      e.set("node", l.node);
      e.set("op", l.op);
      e.set("output", l.output);
      e.set("quantized", l.quantized);
      e.set("sqnr", l.sqnr_db);
      e.set("ownSqnr", l.own_sqnr_db);
      e.set("cosine", l.cosine);
      e.set("maxAbs", l.max_abs);
      e.set("saturated", l.saturated);
      e.set("outside", l.outside);
      Object histogram;
      histogram.set("left", l.values.left);
      histogram.set("width", l.values.width);
      histogram.set("counts",
                    array_of(l.values.counts, [](uint64_t n) { return val(static_cast<double>(n)); }));
      histogram.set("zeros", static_cast<double>(l.values.zeros));
      e.set("histogram", histogram);
      val clip = val::null();
      if (l.clip) {
        clip = val::object();
        clip.set("min", l.clip->min);
        clip.set("max", l.clip->max);
      }
      e.set("clip", clip);
      e.set("spread", spread_of(l.spread));
      e.set("shifted", l.shifted);
      e.set("findings", findings_of(l.findings));
      return e;
    });
  }

  Job job_;
};

using AgreementHandle = ComparisonHandle<quant::Agreement>;
using LayerErrorsHandle = ComparisonHandle<quant::LayerErrors>;

template <class Handle>
val create_comparison(const ModelHandle& reference, const ModelHandle& candidate, int threads) {
  return answer([&] { return val(std::make_shared<Handle>(reference, candidate, threads)); });
}
template <class Handle>
void bind_comparison(const char* name, const char* pointer) {
  emscripten::class_<Handle>(name)
      .template smart_ptr<std::shared_ptr<Handle>>(pointer)
      .function("begin", &Handle::begin)
      .function("advance", &Handle::advance)
      .function("progress", &Handle::progress)
      .function("result", &Handle::result);
}

EMSCRIPTEN_BINDINGS(comparison) {
  bind_comparison<AgreementHandle>("Agreement", "AgreementPointer");
  bind_comparison<LayerErrorsHandle>("LayerErrors", "LayerErrorsPointer");
  emscripten::function("createAgreement", &create_comparison<AgreementHandle>);
  emscripten::function("createLayerErrors", &create_comparison<LayerErrorsHandle>);
}

}  // namespace
}  // namespace zp::bindings
