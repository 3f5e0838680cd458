#include "runtime/prepare.h"

#include <map>
#include <set>
#include <string>
#include <utility>

#include "graph/subgraphs.h"
#include "ops/fused.h"
#include "ops/infer.h"
#include "ops/rewrite.h"
#include "ops/stored_weight.h"
#include "runtime/folding.h"
#include "runtime/widening.h"

namespace zp::runtime {
namespace {

// Reports, precisions and exclusions speak of nodes by name, of branches too.
void name_nodes(Graph& graph, std::set<std::string>& taken) {
  for (Node& node : graph.nodes) {
    std::string wanted = node.name;
    if (wanted.empty() && node.output(0) != kNoValue) wanted = graph[node.output(0)].name;
    std::string name = wanted;
    for (int i = 1; name.empty() || !taken.insert(name).second; ++i) name = wanted + "_" + std::to_string(i);
    node.name = std::move(name);
    node.fused = nullptr;  // pieces are simplified: they stand for the whole no more
  }
  for (Node& node : graph.nodes)
    for (Graph& sub : subgraphs(node)) name_nodes(sub, taken);
}

// What each model became, while somebody holds it. All calls come from one thread, as for sessions.
using Weak = std::weak_ptr<const Model>;
using Models = std::map<Weak, Weak, std::owner_less<Weak>>;
Models& ready_models() {
  static Models ready;
  return ready;
}
Models& sources() {
  static Models sources;
  return sources;
}

// An entry keeps the memory of the models that it names, if not what they held.
void forget_gone(Models& models) {
  std::erase_if(models, [](const auto& entry) { return entry.first.expired() || entry.second.expired(); });
}

std::shared_ptr<const Model> find(Models& models, const std::shared_ptr<const Model>& key) {
  forget_gone(models);
  const auto it = models.find(key);
  return it == models.end() ? nullptr : it->second.lock();
}

}  // namespace

void prepare(Graph& graph, bool keep_fused) {
  if (!keep_fused) split_fused(graph);
  bool changed = find_spelled_weights(graph);
  ConstantFolder folder(graph);
  changed = folder.fold(graph) || changed;
  changed = widen(graph) || changed;
  if (changed) infer_shapes(graph);
  for (changed = true; changed;) {
    changed = simplify(graph);
    forget_files(graph);
    if (folder.fold(graph)) {
      infer_shapes(graph);
      changed = true;
    }
  }
  std::set<std::string> taken;
  name_nodes(graph, taken);
  forget_files(graph);
}

std::shared_ptr<const Model> prepared_anew(const Model& model) {
  auto ready = std::make_shared<Model>();
  ready->opsets = model.opsets;
  ready->producer_name = model.producer_name;
  ready->producer_version = model.producer_version;
  ready->doc_string = model.doc_string;
  ready->metadata = model.metadata;
  ready->graph = clone(model.graph);
  prepare(ready->graph, model.keeps_fused);
  return ready;
}

std::shared_ptr<const Model> prepared(const std::shared_ptr<const Model>& model) {
  if (auto ready = find(ready_models(), model)) return ready;
  auto ready = prepared_anew(*model);
  forget_gone(sources());
  ready_models()[model] = ready;
  ready_models()[ready] = ready;
  sources()[ready] = model;
  return ready;
}

std::shared_ptr<const Model> prepared_with_roundings(const Model& model) {
  auto rounded = std::make_shared<Model>(model);
  rounded->graph = clone(model.graph);
  round_halves(rounded->graph);
  prepare(rounded->graph);
  return rounded;
}

std::shared_ptr<const Model> source_of(const std::shared_ptr<const Model>& model) {
  auto source = find(sources(), model);
  return source ? source : model;
}

}  // namespace zp::runtime
