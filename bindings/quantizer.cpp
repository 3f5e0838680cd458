// Quantizing a model.
#include <emscripten/bind.h>

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "model.h"
#include "quant/conclusions.h"
#include "quant/options.h"
#include "quant/quant.h"
#include "reports.h"
#include "tensors.h"

namespace zp::bindings {
namespace {

quant::OptionValue value_of(const val& v) {
  quant::OptionValue o;
  if (v.isNumber())
    o.number = v.as<double>();
  else if (v.isTrue())
    o.number = 1;
  else if (v.isString())
    o.text = v.as<std::string>();
  else if (v.isArray())
    o.names = emscripten::vecFromJSArray<std::string>(v);
  else if (!v.isFalse() && !v.isUndefined() && !v.isNull())
    for_entries(v, [&](const std::string& name, const val& item) { o.entries[name] = value_of(item); });
  return o;
}

// bindings/ts/engine/module.ts: ConfigIn.
quant::Config config_of(const ModelHandle& model, const val& v) {
  quant::Config c = quant::config_from(value_of(v["options"]), model.shared()->graph);
  c.default_repairs = field<bool>(v, "defaultRepairs") && !c.chosen.contains("repairs");
  c.only_prepares = field<bool>(v, "onlyPrepares");
  c.has_samples = field<bool>(v, "hasSamples");
  c.labels = emscripten::convertJSArrayToNumberVector<int32_t>(v["labels"]);
  c.training.checkpoints = field<bool>(v, "checkpoints");
  if (auto* resume = v["resume"].as<Buffer*>(emscripten::allow_raw_pointers())) {
    const size_t size = resume->size();
    const std::shared_ptr<std::byte> bytes = resume->take();
    c.training.resume = std::make_shared<std::vector<std::byte>>(bytes.get(), bytes.get() + size);
  }
  return c;
}

val plan_of(const ModelHandle& model, const val& config, bool measure_weights) {
  return answer(
      [&] { return report_of(quant::plan_of(model.shared(), config_of(model, config), measure_weights)); });
}

val training_progress(const quant::TrainingProgress& t) {
  Object o;
  o.set("epoch", t.epoch);
  o.set("epochs", t.epochs);
  o.set("step", t.step);
  o.set("steps", t.steps);
  o.set("loss", t.loss);
  o.set("validationLoss", t.validation_loss);
  o.set("bestLoss", t.best_loss);
  o.set("firstLoss", t.first_loss);
  o.set("stepMilliseconds", t.step_milliseconds);
  o.set("remainingMilliseconds", t.remaining_milliseconds);
  o.set("memoryBytes", t.memory_bytes);
  o.set("savedEpoch", t.saved_epoch);
  return o;
}

class QuantizerHandle {
 public:
  QuantizerHandle(const ModelHandle& model, quant::Config config, int threads, quant::Feeding feeding)
      : runtime_(config.runtime), job_(model.shared(), std::move(config), threads, feeding) {}

  val advance(double milliseconds) {
    return answer([&] { return val(job_.advance(milliseconds)); });
  }
  val state() const {
    const quant::Progress p = job_.progress();
    Object s = progress_of(p.done, p.total);
    s.set("phase", p.phase);
    s.set("samples", p.samples);
    s.set("running", p.running);
    s.set("expected", p.expected);
    s.set("finished", job_.done());
    s.set("measures", job_.measures());
    s.set("wanted", job_.wants_samples() ? static_cast<double>(job_.wanted()) : -1.0);
    s.set("sweep", job_.sweep());
    if (p.training) s.set("training", training_progress(*p.training));
    return s;
  }
  double sweeps() const { return static_cast<double>(job_.sweeps()); }
  void stop() { job_.stop(); }
  // Of the training state after its `savedEpoch`; null where there is none.
  val checkpoint() const {
    const quant::Progress p = job_.progress();
    if (!p.training || !p.training->checkpoint) return val::null();
    return copied(p.training->checkpoint->data(), p.training->checkpoint->size());
  }
  val begin_sample(const val& feeds) {
    return answer([&] { job_.begin_sample(feeds_of(feeds)); });
  }
  val end_samples() {
    return answer([&] { job_.end_samples(); });
  }
  // Starts to measure the errors of layers.
  val measure() {
    return answer([&] { job_.measure(); });
  }
  val result() const {
    return answer([&] { return val(std::make_shared<ModelHandle>(job_.result(), runtime_)); });
  }
  val report() const {
    return answer([&] { return report_of(job_.report()); });
  }
  // What the report comes down to: indices of its layers and trials, and sentences.
  val conclusions() const {
    return answer([&] {
      const quant::Report report = job_.report();
      Object o;
      o.set("order", indices(quant::worst_first(report)));
      o.set("tradeoff", indices(quant::tradeoff_of(report.trials)));
      o.set("losses", sentences(quant::losses_of(report, job_.result().graph)));
      return o;
    });
  }
  val ranges() const {
    return answer([&] {
      Object o;
      for (const auto& [name, range] : job_.ranges()) {
        Object r;
        r.set("min", range.min);
        r.set("max", range.max);
        o.set_named(name, r);
      }
      return o;
    });
  }

 private:
  static val indices(const std::vector<size_t>& all) {
    return array_of(all, [](size_t i) { return number(static_cast<int64_t>(i)); });
  }

  std::string runtime_;
  quant::Quantizer job_;
};

// `feeding`: { once, layerErrors }.
val create_quantizer(const ModelHandle& model, const val& config, int threads, const val& feeding) {
  return answer([&] {
    const quant::Feeding f{.keep = true,
                           .once = field<bool>(feeding, "once"),
                           .layer_errors = field<size_t>(feeding, "layerErrors")};
    return val(std::make_shared<QuantizerHandle>(model, config_of(model, config), threads, f));
  });
}

val needs_samples(const ModelHandle& model, const val& config) {
  return answer([&] { return val(quant::needs_samples(model.shared(), config_of(model, config))); });
}

// bindings/ts/engine/module.ts: ExpectedIn.
quant::Expected expected_of(const val& v) {
  quant::Expected e{.samples = field<size_t>(v, "samples"),
                    .dims = {},
                    .layer_errors = field<size_t>(v, "layerErrors"),
                    .once = field<bool>(v, "once")};
  for_entries(v["dims"], [&](const std::string& name, const val& dims) { e.dims[name] = shape_of(dims); });
  return e;
}

val measure_speed(double milliseconds, int threads) {
  return answer([&] {
    const quant::Speed speed = quant::measure_speed(milliseconds, threads);
    Object o;
    o.set("macs", speed.macs);
    o.set("touched", speed.touched);
    return o;
  });
}

// bindings/ts/engine/module.ts: EstimateOut. `speed`: of measure_speed().
val estimate_of(const ModelHandle& model, const val& config, const val& expected, const val& speed) {
  return answer([&] {
    const quant::Estimate e =
        quant::estimate(model.shared(), config_of(model, config), expected_of(expected));
    const quant::Speed here{.macs = field<double>(speed, "macs"), .touched = field<double>(speed, "touched")};
    Object o;
    o.set("phases", array_of(e.phases, [&](const quant::Estimate::Phase& p) {
            Object phase;
            phase.set("name", p.name);
            phase.set("bytes", p.bytes);
            phase.set("milliseconds", quant::milliseconds_of(p, here));
            return phase;
          }));
    o.set("weightBytesBefore", e.weight_bytes_before);
    o.set("weightBytesAfter", e.weight_bytes_after);
    o.set("nodeBytes", e.node_bytes);
    o.set("whole", e.whole);
    return o;
  });
}

// quant/options.h: schema_json.
val schema() {
  return answer([&] { return text(quant::schema_json()); });
}

EMSCRIPTEN_BINDINGS(quantizer) {
  emscripten::class_<QuantizerHandle>("Quantizer")
      .smart_ptr<std::shared_ptr<QuantizerHandle>>("QuantizerPointer")
      .function("advance", &QuantizerHandle::advance)
      .function("state", &QuantizerHandle::state)
      .function("sweeps", &QuantizerHandle::sweeps)
      .function("beginSample", &QuantizerHandle::begin_sample)
      .function("endSamples", &QuantizerHandle::end_samples)
      .function("stop", &QuantizerHandle::stop)
      .function("checkpoint", &QuantizerHandle::checkpoint)
      .function("measure", &QuantizerHandle::measure)
      .function("conclusions", &QuantizerHandle::conclusions)
      .function("result", &QuantizerHandle::result)
      .function("report", &QuantizerHandle::report)
      .function("ranges", &QuantizerHandle::ranges);
  emscripten::function("planOf", &plan_of);
  emscripten::function("createQuantizer", &create_quantizer);
  emscripten::function("needsSamples", &needs_samples);
  emscripten::function("measureSpeed", &measure_speed);
  emscripten::function("estimateOf", &estimate_of);
  emscripten::function("schema", &schema);
}

}  // namespace
}  // namespace zp::bindings
