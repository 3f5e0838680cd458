#include "model.h"

#include <emscripten/bind.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "onnx/onnx.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "quant/format.h"
#include "quant/qdq.h"
#include "quant/report.h"
#include "quant/runtimes.h"
#include "tensors.h"

namespace zp::bindings {
namespace {

// Numbers, names, and '?' for what is unknown; null when not even the rank is known.
val symbolic_dims(const std::optional<SymShape>& shape) {
  if (!shape) return val::null();
  return array_of(*shape, [](const Dim& d) {
    if (d.known()) return number(d.value());
    return text(d.symbol().empty() ? "?" : std::string_view(d.symbol()));
  });
}

val value_info(const Value& value) {
  Object info;
  info.set("name", value.name);
  info.set("type", name_of(value.dtype));
  info.set("dims", symbolic_dims(value.shape));
  return info;
}

val values_of(const Graph& graph, const std::vector<ValueId>& ids) {
  return array_of(ids, [&](ValueId id) { return value_info(graph[id]); });
}

struct Totals {
  std::map<std::string, int64_t> operators;
  int64_t nodes = 0, parameters = 0;
  size_t weight_bytes = 0;
  bool quantized = false;

  explicit Totals(const Graph& graph) {
    for (const Tensor& t : quant::stored_constants(graph)) {
      parameters += t.size();
      if (t.dtype() != DType::kString) weight_bytes += t.bytes();
    }
    add(graph);
  }

 private:
  void add(const Graph& graph) {
    for (const Node& node : graph.nodes) {
      ++nodes;
      ++operators[qualified_name(node)];
      const OpDef* op = find_op(node.domain, node.op_type);
      quantized |= op && op->role != QdqRole::kNone;
      for (const auto& [key, attribute] : node.attributes) {
        if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) add(**sub);
      }
    }
  }
};

}  // namespace

val ModelHandle::describe() const {
  return answer([&] {
    const Graph& graph = model_->graph;
    Object d;
    d.set("inputs", values_of(graph, graph.inputs));
    d.set("outputs", values_of(graph, graph.outputs));
    d.set("optionalInputs", values_of(graph, graph.defaults));
    return d;
  });
}

val ModelHandle::inspect() const {
  return answer([&] {
    const Totals totals(model_->graph);
    Object d;
    d.set("name", model_->graph.name);
    d.set("producer", model_->producer_name);
    d.set("producerVersion", model_->producer_version);
    d.set("description", model_->doc_string);
    d.set("nodes", totals.nodes);
    d.set("quantized", totals.quantized);
    d.set("warnings", array_of(all_warnings(model_->graph), [](const std::string& w) { return text(w); }));
    d.set("parameters", totals.parameters);
    d.set("weightBytes", totals.weight_bytes);
    d.set("operators", array_of(totals.operators, [](const auto& item) {
            Object entry;
            entry.set("op", item.first);
            entry.set("count", item.second);
            return entry;
          }));
    d.set("opsets", array_of(model_->opsets, [](const auto& item) {
            Object entry;
            entry.set("domain", item.first.empty() ? "ai.onnx" : std::string_view(item.first));
            entry.set("version", item.second);
            return entry;
          }));
    d.set("lowestOpset", onnx::lowest_opset(*model_).opset);
    d.set("metadata", array_of(model_->metadata, [](const auto& item) {
            Object entry;
            entry.set("key", item.first);
            entry.set("value", item.second);
            return entry;
          }));
    return d;
  });
}

val ModelHandle::require_supported() const {
  return answer([&] { zp::require_supported(model_->graph); });
}

val ModelHandle::broken_rules(const std::string& format, const std::string& runtime, int opset) const {
  return answer([&] {
    const std::vector<std::string> all =
        quant::broken_rules(quant::runtime_named(runtime), quant::in_format(*model_, format), opset);
    return array_of(all, [](const std::string& s) { return text(s); });
  });
}
val ModelHandle::write(const std::string& format, int opset) const {
  return answer([&] {
    const std::vector<std::byte> bytes = onnx::write(quant::in_format(*model_, format), opset);
    return copied(bytes.data(), bytes.size());
  });
}

val ModelHandle::measure(const std::string& format, int opset) const {
  return answer([&] {
    const Model written = quant::in_format(*model_, format);
    Object d;
    d.set("size", onnx::write(written, opset).size());
    d.set("opset", onnx::versions_of(written, opset).opset);
    return d;
  });
}

val ModelHandle::add_metadata(const std::string& key, const std::string& value) {
  return answer([&] {
    Model more = *model_;
    const auto taken = [&](const std::string& name) {
      return std::ranges::any_of(more.metadata, [&](const auto& entry) { return entry.first == name; });
    };
    std::string name = key;
    for (int i = 2; taken(name); ++i) name = key + "_" + std::to_string(i);
    more.metadata.emplace_back(std::move(name), value);
    model_ = std::make_shared<const Model>(std::move(more));
  });
}

namespace {

// A graph whose named dimensions are numbers; subgraphs, which copies of a graph share, are copied too.
Graph with_dims(const Graph& graph, const std::map<std::string, int64_t>& dims) {
  Graph bound = graph;
  for (Value& value : bound.values) {
    if (!value.shape) continue;
    for (Dim& dim : *value.shape) {
      const auto it = dims.find(dim.symbol());
      if (it != dims.end()) dim = it->second;
    }
  }
  for (Node& node : bound.nodes) {
    for (auto& [key, attribute] : node.attributes) {
      if (auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) {
        *sub = std::make_shared<Graph>(with_dims(**sub, dims));
      }
    }
  }
  return bound;
}

val bind_dims(const ModelHandle& model, const val& dims) {
  return answer([&] {
    std::map<std::string, int64_t> by_name;
    for_entries(dims, [&](const std::string& name, const val& n) {
      by_name[name] = static_cast<int64_t>(n.as<double>());
    });
    Model bound = *model.shared();
    bound.graph = with_dims(bound.graph, by_name);
    infer_shapes(bound.graph);
    return val(std::make_shared<ModelHandle>(std::move(bound)));
  });
}
val read_model(Buffer& buffer) {
  return answer([&] {
    const size_t size = buffer.size();
    return val(std::make_shared<ModelHandle>(onnx::read(buffer.take(), size)));
  });
}

EMSCRIPTEN_BINDINGS(model) {
  emscripten::class_<ModelHandle>("Model")
      .smart_ptr<std::shared_ptr<ModelHandle>>("ModelPointer")
      .function("describe", &ModelHandle::describe)
      .function("inspect", &ModelHandle::inspect)
      .function("requireSupported", &ModelHandle::require_supported)
      .function("write", &ModelHandle::write)
      .function("measure", &ModelHandle::measure)
      .function("addMetadata", &ModelHandle::add_metadata)
      .function("brokenRules", &ModelHandle::broken_rules);
  emscripten::function("readModel", &read_model);
  emscripten::function("bindDims", &bind_dims);
}

}  // namespace
}  // namespace zp::bindings
