#include "quant/qdq.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

#include "core/error.h"
#include "graph/subgraphs.h"

namespace zp::quant {

std::string_view operator_of(QdqRole role) {
  for (const OpDef* def : all_ops())
    if (def->role == role && def->domain.empty()) return def->name;
  throw_error(ErrorCode::kInternal, "an operator of Q/DQ pairs is not registered");
}

std::optional<QParams> constant_params(const Graph& graph, const Node& node) {
  if (!is_quantize(node) && !is_dequantize(node)) return std::nullopt;
  const Tensor* scale = graph.constant(node.input(1));
  const Tensor* zero = graph.constant(node.input(2));
  if (!scale || scale->size() != 1 || scale->dtype() != DType::kFloat32) return std::nullopt;
  if (node.input(2) != kNoValue && (!zero || zero->size() != 1)) return std::nullopt;
  const ValueId integers = is_quantize(node) ? node.output(0) : node.input(0);
  QParams p;
  p.dtype = zero ? zero->dtype() : graph[integers].dtype;
  if (p.dtype == DType::kUndefined) return std::nullopt;
  p.scale = scale->data<float>()[0];
  p.zero_point = zero ? static_cast<int32_t>(zero->integer_at(0)) : 0;
  return p;
}

bool is_quantized(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), is_of_qdq_pair);
}

namespace {

void add_stored(const Graph& graph, std::set<TensorKey>& seen, std::vector<Tensor>& stored) {
  std::set<ValueId> used(graph.outputs.begin(), graph.outputs.end());
  for (const Node& node : graph.nodes) {
    for_each_read(node, [&](ValueId v) { used.insert(v); });
    for (const Graph& sub : subgraphs(node)) add_stored(sub, seen, stored);
  }
  for (ValueId v : used)
    if (const Tensor* t = graph.constant(v); t && seen.insert(key_of(*t)).second) stored.push_back(*t);
}

}  // namespace

std::vector<Tensor> stored_constants(const Graph& graph) {
  std::set<TensorKey> seen;
  std::vector<Tensor> stored;
  add_stored(graph, seen, stored);
  return stored;
}

size_t constant_bytes(const Graph& graph) {
  size_t bytes = 0;
  for (const Tensor& t : stored_constants(graph))
    if (t.dtype() != DType::kString) bytes += t.bytes();
  return bytes;
}

}  // namespace zp::quant
