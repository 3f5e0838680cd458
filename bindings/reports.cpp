#include "reports.h"

#include "core/dtype.h"
#include "quant/quant.h"

namespace zp::bindings {

val spread_of(const quant::ChannelSpread& s) {
  if (s.channel < 0) return val::null();
  Object o;
  o.set("ratio", s.ratio);
  o.set("channel", s.channel);
  return o;
}

val findings_of(const std::vector<quant::Finding>& findings) {
  return array_of(findings, [](const quant::Finding& f) {
    Object numbers;
    for (const auto& [name, value] : f.numbers) numbers.set_named(std::string(name), val(value));
    Object o;
    o.set("code", f.code);
    o.set("numbers", numbers);
    o.set("remedies", array_of(f.remedies, [](const quant::Remedy& r) {
            Object remedy;
            remedy.set("option", r.option);
            remedy.set("value", r.value);
            return remedy;
          }));
    return o;
  });
}

val layer_error_of(const quant::LayerError& l) {
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
  histogram.set("counts", array_of(l.values.counts, [](uint64_t n) { return val(static_cast<double>(n)); }));
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
}

namespace {

val weight_report(const quant::WeightReport& w) {
  Object o;
  o.set("name", w.name);
  o.set("type", name_of(w.dtype));
  o.set("granularity", w.granularity);
  o.set("elements", w.elements);
  o.set("scales", w.scales);
  o.set("blockSize", w.block_size);
  o.set("min", w.min);
  o.set("max", w.max);
  o.set("sqnr", w.sqnr_db);
  o.set("spread", spread_of(w.spread));
  return o;
}

val activation_report(const quant::ActivationReport& a) {
  Object o;
  o.set("value", a.value);
  o.set("input", a.input);
  o.set("type", name_of(a.dtype));
  o.set("min", a.min);
  o.set("max", a.max);
  o.set("scale", a.scale);
  o.set("zeroPoint", a.zero_point);
  o.set("dynamic", a.dynamic);
  return o;
}
val layer_report(const quant::LayerReport& layer) {
  Object o;
  o.set("node", layer.node);
  o.set("op", layer.op);
  o.set("output", layer.output);
  o.set("quantized", layer.quantized);
  o.set("why", layer.why);
  std::vector<quant::Finding> findings = layer.findings;
  if (layer.error) {
    findings.insert(findings.end(), layer.error->findings.begin(), layer.error->findings.end());
    o.set("error", layer_error_of(*layer.error));
  }
  o.set("findings", findings_of(findings));
  o.set("weight", layer.weight ? weight_report(*layer.weight) : val::null());
  o.set("activations", array_of(layer.activations, activation_report));
  o.set("macs", layer.macs);
  o.set("macsShare", layer.macs_share);
  if (layer.sensitivity) {
    Object s;
    s.set("sqnr", layer.sensitivity->sqnr_db);
    s.set("cosine", layer.sensitivity->cosine);
    o.set("sensitivity", s);
  }
  return o;
}

// What makes a trial again, in the package's own words: SchemeOptions.
val options_of(const quant::Config& c) {
  const auto type = [](DType t) { return t == DType::kUndefined ? text("float") : text(name_of(t)); };
  Object o;
  o.set("mode", c.mode);
  o.set("observer", c.observer);
  o.set("repairs", sentences(c.repairs));
  Object parameters;
  for (const auto& [name, number] : c.options) parameters.set_named(name, val(number));
  o.set("parameters", parameters);
  std::vector<std::string> exclude = c.exclude_ops;
  exclude.insert(exclude.end(), c.exclude_nodes.begin(), c.exclude_nodes.end());
  for (const auto& [node, why] : c.left_float) exclude.push_back(node);
  o.set("exclude", sentences(exclude));
  Object precision;
  for (const auto& [node, p] : c.precision) {
    Object own;
    own.set("activations", type(p.activations));
    own.set("weights", type(p.weights));
    precision.set_named(node, own);
  }
  o.set("precision", precision);
  o.set("target", val::undefined());
  o.set("sensitivity", false);
  return o;
}

val trial_report(const quant::Trial& t) {
  Object e;
  e.set("what", t.what);
  e.set("sqnr", t.sqnr_db);
  e.set("cosine", t.cosine);
  e.set("drop", t.drop);
  e.set("accuracy", t.accuracy);
  e.set("weightBytes", t.weight_bytes);
  e.set("floatLayers", t.float_layers);
  e.set("wideLayers", t.wide_layers);
  e.set("kept", t.kept);
  e.set("options", options_of(*t.config));
  return e;
}

}  // namespace

val report_of(const quant::Report& report) {
  Object o;
  o.set("mode", report.mode);
  o.set("format", report.format);
  o.set("layers", array_of(report.layers, layer_report));
  o.set("warnings", sentences(report.warnings));
  o.set("repairs", sentences(report.repairs));
  o.set("repairsRun", sentences(report.repairs_run));
  o.set("trials", array_of(report.trials, trial_report));
  o.set("layersQuantized", report.layers_quantized);
  o.set("weightBytesBefore", report.weight_bytes_before);
  o.set("weightBytesAfter", report.weight_bytes_after);
  o.set("macs", report.macs);
  o.set("macsQuantized", report.macs_quantized);
  o.set("samples", report.samples);
  return o;
}
}  // namespace zp::bindings
