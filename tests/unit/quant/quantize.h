// Runs a quantization to its end, and looks at what came out.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quant/qdq.h"
#include "quant/quant.h"
#include "unit/graph/graph_builder.h"

namespace zp::test {

// Values in [shift - scale, shift + scale], others for each seed.
inline Tensor noise(Shape dims, uint32_t seed, float scale = 1, float shift = 0) {
  Tensor t(DType::kFloat32, std::move(dims));
  uint32_t state = seed * 2654435761u + 1;
  for (float& v : t.mutable_data<float>()) {
    state = state * 1664525u + 1013904223u;
    v = shift + scale * (static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1.0f);
  }
  return t;
}

using Samples = std::vector<std::vector<runtime::Feed>>;

struct Quantized {
  std::shared_ptr<const Model> model;
  quant::Report report;
  std::map<std::string, quant::Range, std::less<>> ranges;

  const Graph& graph() const { return model->graph; }
  const Node& node(std::string_view name) const {
    for (const Node& n : graph().nodes)
      if (n.name == name) return n;
    throw Error(ErrorCode::kInternal, "no node " + std::string(name));
  }
  const quant::LayerReport& layer(std::string_view name) const {
    for (const quant::LayerReport& l : report.layers)
      if (l.node == name) return l;
    throw Error(ErrorCode::kInternal, "no layer " + std::string(name));
  }
  const Node* producer(ValueId v) const {
    for (const Node& n : graph().nodes)
      if (std::find(n.outputs.begin(), n.outputs.end(), v) != n.outputs.end()) return &n;
    return nullptr;
  }
  // The DQ that makes input i of the node; nullptr when something else does.
  const Node* dq(std::string_view name, size_t i) const {
    const Node* p = producer(node(name).input(i));
    return p && quant::is_dequantize(*p) ? p : nullptr;
  }
  // Name of the float value behind the Q and DQ of input i; empty when there is none.
  std::string quantized_from(std::string_view name, size_t i) const {
    const Node* d = dq(name, i);
    const Node* q = d ? producer(d->input(0)) : nullptr;
    return q && quant::is_quantize(*q) ? graph()[q->input(0)].name : "";
  }
  std::optional<quant::QParams> params(std::string_view name, size_t i) const {
    const Node* d = dq(name, i);
    return d ? quant::constant_params(graph(), *d) : std::nullopt;
  }
  size_t count(QdqRole role) const {
    return static_cast<size_t>(std::count_if(graph().nodes.begin(), graph().nodes.end(),
                                             [&](const Node& n) { return role_of(n) == role; }));
  }
};

inline Quantized quantize(std::shared_ptr<const Model> model, quant::Config config,
                          const Samples& samples = {}, double slice = 5, int threads = 1) {
  quant::Quantizer job(std::move(model), std::move(config), threads);
  for (;;) {
    while (!job.advance(slice)) {
    }
    if (job.done()) break;
    for (const auto& sample : samples) {
      job.begin_sample(sample);
      while (!job.advance(slice)) {
      }
      if (job.enough()) break;
    }
    job.end_samples();
  }
  return {std::make_shared<Model>(job.result()), job.report(), job.ranges()};
}

}  // namespace zp::test
