#include "ops/known_range.h"

#include <algorithm>

#include "ops/clamp.h"
#include "ops/infer.h"

namespace zp {
namespace {

KnownRange of_constant(const Tensor& t) {
  if (t.dtype() != DType::kFloat32 || t.size() == 0) return {};
  const Extremes found = extremes_of(t);
  if (!found.finite) return {};
  return {.lo = found.lo, .hi = found.hi, .reached = true};
}

}  // namespace

void KnownRange::include(const KnownRange& other) {
  lo = std::min(lo, other.lo);
  hi = std::max(hi, other.hi);
  reached = reached && other.reached;
}

KnownRanges::KnownRanges(Graph& graph, const GraphIndex& index)
    : graph_(graph), index_(index), ranges_(graph.values.size()), found_(graph.values.size(), false) {
  for (const Node& n : graph.nodes) {
    if (n.output(0) == kNoValue) continue;
    ranges_[static_cast<size_t>(n.output(0))] = find(n);
    // An operator that moves values to several outputs (Split) gives all of them the same range.
    const OpDef* def = find_op(n);
    if (!def || def->quant.kind != QuantRule::Kind::kSameScale) continue;
    for (size_t k = 1; k < n.outputs.size(); ++k)
      if (n.outputs[k] != kNoValue && graph[n.outputs[k]].dtype == graph[n.output(0)].dtype)
        ranges_[static_cast<size_t>(n.outputs[k])] = ranges_[static_cast<size_t>(n.output(0))];
  }
}

KnownRange KnownRanges::of(ValueId v) const {
  if (v == kNoValue) return {};
  const auto at = static_cast<size_t>(v);
  if (const Tensor* t = graph_.constant(v); t && !found_[at]) {
    found_[at] = true;
    ranges_[at] = of_constant(*t);
  }
  return ranges_[at];
}

KnownRange KnownRanges::find(const Node& n) const {
  const OpDef* def = find_op(n);
  if (!def) return {};
  const QuantRule& rule = def->quant;
  if (rule.range) return rule.range(RangeContext(*this, n));
  const GraphInferContext context(graph_, n);
  if (def->as_clamp) {
    const std::optional<Clamp> clamp = def->as_clamp(context);
    KnownRange r = of(n.input(0));
    if (!clamp) return {};
    if (bounded_below(*clamp)) r.lo = std::max(r.lo, clamp->lo), r.hi = std::max(r.hi, clamp->lo);
    if (bounded_above(*clamp)) r.lo = std::min(r.lo, clamp->hi), r.hi = std::min(r.hi, clamp->hi);
    return r;
  }
  if (rule.kind != QuantRule::Kind::kSameScale || (rule.why_not && !rule.why_not(context).empty())) return {};
  KnownRange r = of(n.input(static_cast<size_t>(std::max(0, rule.data.first()))));
  if (rule.data.all())
    for (const ValueId v : n.inputs) r.include(of(v));
  if (rule.inserts >= 0) {
    const ValueId inserted = n.input(static_cast<size_t>(rule.inserts));
    r.include(inserted == kNoValue ? KnownRange{.lo = 0, .hi = 0, .reached = true} : of(inserted));
  }
  return r;
}

DType RangeContext::dtype(size_t input) const {
  const ValueId v = node.input(input);
  return v == kNoValue ? DType::kUndefined : ranges_.graph_[v].dtype;
}

const Node* RangeContext::producer(ValueId v) const { return producer_of(ranges_.graph_, ranges_.index_, v); }

}  // namespace zp
