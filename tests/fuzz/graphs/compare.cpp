#include "compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "onnx/onnx.h"
#include "quant/format.h"
#include "quant/quant.h"
#include "runtime/prepare.h"

namespace zp::fuzz {

std::shared_ptr<const Model> through_bytes(const Model& model) {
  const std::vector<std::byte> bytes = onnx::write(model);
  const std::shared_ptr<std::byte> copy = allocate_bytes(bytes.size());
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return std::make_shared<const Model>(onnx::read(copy, bytes.size()));
}

namespace {

using Outputs = std::vector<std::vector<Tensor>>;  // by sample
using runtime::Feed;

Outputs run(const std::shared_ptr<const Model>& model, const RandomGraph& graph, int threads,
            bool integer = true) {
  runtime::SessionOptions options;
  options.threads = threads;
  options.integer = integer;
  runtime::Session session(model, options);
  Outputs all;
  for (const std::vector<Feed>& feeds : graph.samples) all.push_back(session.run(feeds));
  return all;
}

bool same_bits(const Outputs& a, const Outputs& b) {
  for (size_t s = 0; s < a.size(); ++s)
    for (size_t o = 0; o < a[s].size(); ++o) {
      const Tensor &x = a[s][o], &y = b[s][o];
      if (x.dtype() != y.dtype() || x.dims() != y.dims()) return false;
      if (x.bytes() > 0 && std::memcmp(x.raw(), y.raw(), x.bytes()) != 0) return false;
    }
  return true;
}

// Of one output over all samples.
struct Distance {
  double largest = 0, noise = 0, signal = 0, size = 0;  // size: the largest magnitude
  bool same_form = true, finite = true;
};
Distance distance(const Outputs& got, const Outputs& want, size_t output) {
  Distance d;
  for (size_t s = 0; s < want.size(); ++s) {
    const Tensor &x = got[s][output], &y = want[s][output];
    if (x.dims() != y.dims() || x.dtype() != y.dtype()) {
      d.same_form = false;
      return d;
    }
    const std::vector<float> a = x.floats(), b = y.floats();
    for (size_t i = 0; i < a.size(); ++i) {
      if (std::isfinite(a[i]) != std::isfinite(b[i])) d.finite = false;
      if (!std::isfinite(a[i]) || !std::isfinite(b[i])) continue;
      const double e = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      d.largest = std::max(d.largest, std::fabs(e));
      d.noise += e * e;
      d.signal += static_cast<double>(b[i]) * static_cast<double>(b[i]);
      d.size = std::max(d.size, std::fabs(static_cast<double>(b[i])));
    }
  }
  return d;
}

std::string in_words(const quant::Config& c) {
  std::string s = c.mode + " " + c.format + " " + std::string(name_of(c.weights)) + " " +
                  std::string(name_of(c.activations));
  if (!c.per_channel) s += " per tensor";
  if (!c.symmetric_weights) s += " asymmetric weights";
  if (c.symmetric_activations) s += " symmetric activations";
  for (const std::string& r : c.repairs) s += " " + r;
  return s;
}

quant::Config random_config(Choices& choices) {
  quant::Config c;
  c.mode =
      choices.of(std::vector<std::string>{"static", "static", "static", "dynamic", "weight-only", "float16"});
  c.format = choices.one_in(2) ? "qdq" : "qoperator";
  c.per_channel = !choices.one_in(4);
  c.block_size = 16;
  if (c.mode == "float16") return c;
  c.symmetric_weights = !choices.one_in(4);
  if (choices.one_in(4)) c.weights = DType::kUint8;
  if (c.mode == "weight-only" && choices.one_in(2))
    c.weights = choices.of(std::vector<DType>{DType::kInt4, DType::kUint4, DType::kInt2, DType::kUint2});
  if (bits_of(c.weights) == 2) c.format = "qoperator";  // Q/DQ has no type for them
  if (c.mode == "static") {
    if (choices.one_in(5)) c.weights = DType::kInt4;
    c.symmetric_activations = choices.one_in(5);
    c.activations = choices.of(std::vector<DType>{DType::kUint8, DType::kUint8, DType::kInt8, DType::kInt16});
    if (choices.one_in(3))
      c.repairs = {choices.of(
          std::vector<std::string>{"smooth", "bias-correction", "equalization", "gptq", "adaround"})};
    if (choices.one_in(3)) {
      c.default_repairs = true;
      c.has_samples = true;
    }
    c.options = {{"adaround-iterations", 20}};
    if (std::find(c.repairs.begin(), c.repairs.end(), "adaround") == c.repairs.end()) c.options.clear();
  }
  return c;
}

std::shared_ptr<const Model> quantize(const RandomGraph& graph, const quant::Config& config) {
  quant::Quantizer job(graph.model, config, 1);
  for (;;) {
    while (!job.advance(1e9)) {
    }
    if (job.done()) break;
    for (const std::vector<Feed>& feeds : graph.samples) {
      job.begin_sample(feeds);
      while (!job.advance(1e9)) {
      }
      if (job.enough()) break;
    }
    job.end_samples();
  }
  // Operator formats run once they are read, half precision once it is prepared.
  const std::shared_ptr<const Model> read =
      through_bytes(quant::in_format(job.result(), config.format, config.runtime));
  return config.mode == "float16" ? runtime::prepared(read) : read;
}

std::string float_disagreement(const RandomGraph& graph, const Outputs& plain) {
  if (!same_bits(run(graph.model, graph, 2), plain)) return "float: two threads give other numbers than one";
  if (!same_bits(run(through_bytes(*graph.model), graph, 1), plain))
    return "float: what is written reads as another model";
  const Outputs simplified = run(runtime::prepared(graph.model), graph, 1);
  for (size_t o = 0; o < plain[0].size(); ++o) {
    const Distance d = distance(simplified, plain, o);
    if (!d.same_form || !d.finite) return "float: preparing changes an output's form";
    if (graph.smooth && d.largest > 1e-4 * d.size + 1e-5)
      return "float: preparing changes output " + std::to_string(o) + " by " + std::to_string(d.largest);
  }
  return "";
}

}  // namespace

std::string disagreement(const RandomGraph& graph, Choices& choices, bool numbers) {
  const Outputs plain = run(graph.model, graph, 1);
  if (std::string why = float_disagreement(graph, plain); !why.empty()) return why;

  const quant::Config config = random_config(choices);
  const std::string what = in_words(config) + ": ";
  try {
    const std::shared_ptr<const Model> small = quantize(graph, config);
    const Outputs one = run(small, graph, 1);
    if (!same_bits(run(small, graph, 2), one)) return what + "two threads give other numbers than one";
    if (!same_bits(run(through_bytes(*small), graph, 1), one))
      return what + "what is written reads as another model";
    const Outputs apart = run(small, graph, 1, false);
    for (size_t o = 0; o < plain[0].size(); ++o) {
      const Distance quantization = distance(one, plain, o), kernels = distance(one, apart, o);
      if (!quantization.same_form) return what + "an output has another form than the float model's";
      if (!graph.smooth || !numbers) continue;
      // Kernels round in other places than single Q and DQ do, by a step here and there: that is less than
      // what quantization does.
      if (kernels.noise > 0.5 * quantization.noise + 1e-8 * kernels.signal + 1e-12)
        return what + "output " + std::to_string(o) + ": integer kernels are " +
               std::to_string(kernels.largest) + " from what Q and DQ say, which is " +
               std::to_string(quantization.largest) + " from float";
      const bool fine = bits_of(config.weights) >= 8;
      if (fine && quantization.noise > 0.1 * quantization.signal + 1e-6)
        return what + "output " + std::to_string(o) + " is lost: " + std::to_string(quantization.largest) +
               " off, where values are up to " + std::to_string(quantization.size);
    }
  } catch (const Error& e) {
    return what + std::string(name_of(e.code())) + ": " + e.what() + " (node " + e.details().node + ")";
  }
  return "";
}

}  // namespace zp::fuzz
