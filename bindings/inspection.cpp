// A description of a model, without a run.
#include <emscripten/bind.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "core/dtype.h"
#include "graph/subgraphs.h"
#include "model.h"
#include "onnx/onnx.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "quant/qdq.h"
#include "runtime/dimensions.h"

namespace zp::bindings {
namespace {

struct Totals {
  std::map<std::string, int64_t> operators;
  int64_t nodes = 0, parameters = 0;
  size_t weight_bytes = 0;
  bool quantized = false;

  // The file's own operators where they are known, which others may have taken the place of here.
  explicit Totals(const Model& model) : operators(model.operators) {
    for (const Tensor& t : quant::stored_constants(model.graph)) {
      parameters += t.size();
      if (t.dtype() != DType::kString) weight_bytes += t.bytes();
    }
    look_at(model.graph, /*count=*/operators.empty());
    for (const auto& [name, count] : operators) nodes += count;
  }

 private:
  void look_at(const Graph& graph, bool count) {
    for (const Node& node : graph.nodes) {
      if (count) ++operators[qualified_name(node)];
      const OpDef* op = find_op(node);
      quantized |= op && op->role != QdqRole::kNone;
      for (const Graph& sub : subgraphs(node)) look_at(sub, count);
    }
  }
};

val inspect_model(const ModelHandle& model) {
  return answer([&] {
    const Model& m = *model.shared();
    const Totals totals(m);
    Object d;
    d.set("name", m.graph.name);
    d.set("producer", m.producer_name);
    d.set("producerVersion", m.producer_version);
    d.set("description", m.doc_string);
    d.set("nodes", totals.nodes);
    d.set("quantized", totals.quantized);
    d.set("warnings", array_of(all_warnings(m.graph), [](const std::string& w) { return text(w); }));
    d.set("parameters", totals.parameters);
    d.set("weightBytes", totals.weight_bytes);
    d.set("operators", array_of(totals.operators, [](const auto& item) {
            Object entry;
            entry.set("op", item.first);
            entry.set("count", item.second);
            return entry;
          }));
    d.set("opsets", array_of(m.opsets, [](const auto& item) {
            Object entry;
            entry.set("domain", item.first.empty() ? "ai.onnx" : std::string_view(item.first));
            entry.set("version", item.second);
            return entry;
          }));
    d.set("lowestOpset", onnx::lowest_opset(m).opset);
    d.set("metadata", array_of(m.metadata, [](const auto& item) {
            Object entry;
            entry.set("key", item.first);
            entry.set("value", item.second);
            return entry;
          }));
    return d;
  });
}

val require_supported(const ModelHandle& model) {
  return answer([&] { zp::require_supported(model.shared()->graph); });
}

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

// `dims`: sizes by the names of dimensions; `shapes`: all sizes of inputs, by their names. JavaScript has
// compared both with what the inputs say. `fold`: nodes that follow from dimensions alone become constants.
val bind_dims(const ModelHandle& model, const val& dims, const val& shapes, bool fold) {
  return answer([&] {
    std::map<std::string, int64_t> by_name;
    for_entries(dims, [&](const std::string& name, const val& n) {
      by_name[name] = static_cast<int64_t>(n.as<double>());
    });
    Model bound = *model.shared();
    bound.graph = with_dims(bound.graph, by_name);
    for_entries(shapes, [&](const std::string& name, const val& sizes) {
      const ValueId id = bound.graph.find(name);
      if (id == kNoValue) throw_error(ErrorCode::kInvalidArgument, {"the model has no input '", name, "'"});
      SymShape shape(field<unsigned>(sizes, "length"));
      for (unsigned i = 0; i < shape.size(); ++i) shape[i] = static_cast<int64_t>(sizes[i].as<double>());
      bound.graph[id].shape = std::move(shape);
    });
    infer_shapes(bound.graph);
    if (fold) runtime::fold_dimensions(bound.graph);
    return val(std::make_shared<ModelHandle>(std::move(bound)));
  });
}

EMSCRIPTEN_BINDINGS(inspection) {
  emscripten::function("inspectModel", &inspect_model);
  emscripten::function("requireSupported", &require_supported);
  emscripten::function("bindDims", &bind_dims);
}

}  // namespace
}  // namespace zp::bindings
