// Transpose.
#include "kernels/movement/transpose.h"

#include <algorithm>

#include "core/grain.h"
#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/rewrite.h"

namespace zp {
namespace {

std::vector<int64_t> permutation(const Node& node, int rank) {
  std::vector<int64_t> perm = node.ints_attribute("perm");
  if (!node.attribute("perm"))
    for (int i = rank; i-- > 0;) perm.push_back(i);
  return perm;
}

void infer_transpose(InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) {
    if (!c.node().attribute("perm")) return c.output(0, c.dtype(0));
    return c.output(0, c.dtype(0), SymShape(c.node().ints_attribute("perm").size()));
  }
  const auto rank = static_cast<int64_t>(in->size());
  const std::vector<int64_t> perm = permutation(c.node(), static_cast<int>(rank));
  std::vector<char> seen(in->size(), 0);
  SymShape out;
  bool valid = perm.size() == in->size();
  for (int64_t p : perm) {
    valid = valid && p >= 0 && p < rank && !seen[static_cast<size_t>(p)];
    if (!valid) break;
    seen[static_cast<size_t>(p)] = 1;
    out.push_back((*in)[static_cast<size_t>(p)]);
  }
  c.require(valid, {"perm ", perm, " is not a permutation of the dimensions of ", *in});
  c.output(0, c.dtype(0), std::move(out));
}

// From channels last memory, a transposition to (N, H, W, C) is nothing at all.
LayoutRule transpose_layout(const InferContext& c) {
  return c.rank(0) >= 3 ? LayoutRule::kReadsAny : LayoutRule::kLogical;
}

Kernel prepare_transpose(PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const int rank = static_cast<int>(dims.size());
  std::vector<int> perm;
  for (int64_t p : permutation(c.node(), rank)) perm.push_back(c.axis(p, rank));
  kernels::TransposePlan plan(dims, perm, element_bytes(c, 0));
  if (plan.is_copy()) {
    c.alias(0);
    return {};
  }
  return [plan](const RunContext& run) {
    const std::byte* in = run.inputs[0];
    std::byte* out = run.outputs[0];
    const int64_t grain = grain_for({.bytes = 2 * plan.outer_bytes()});
    run.parallel_range(plan.outer(), grain,
                       [&](int64_t begin, int64_t end) { plan.run(in, out, begin, end); });
  };
}

// Two transpositions are one, or none.
bool merge(RewriteContext& r) {
  const Node& second = r.node();
  if (!second.is("Transpose") || !second.attribute("perm")) return false;
  const int32_t at = r.producer(second.input(0));
  if (at < 0 || !r.node(at).is("Transpose") || !r.node(at).attribute("perm")) return false;
  const std::vector<int64_t> first_perm = r.node(at).ints_attribute("perm");
  std::vector<int64_t> perm = second.ints_attribute("perm");
  if (perm.size() != first_perm.size()) return false;
  bool nothing = true;
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] < 0 || perm[i] >= static_cast<int64_t>(perm.size())) return false;
    perm[i] = first_perm[static_cast<size_t>(perm[i])];
    nothing = nothing && perm[i] == static_cast<int64_t>(i);
  }
  Node merged = second;
  merged.inputs = {r.node(at).input(0)};
  if (nothing) {
    merged.op_type = "Identity";
    merged.attributes.clear();
  } else {
    merged.attributes["perm"] = std::move(perm);
  }
  r.replace({r.at()}, {std::move(merged)});
  return true;
}

// Between two transpositions, a function of single elements can come before both, which are then one or none.
bool pass_function(RewriteContext& r) {
  const Node& function = r.node();
  const OpDef* def = find_op(function);
  if (!def || !def->unary || function.outputs.size() != 1) return false;
  const int32_t before = r.producer(function.input(0)), after = r.only_consumer(function.outputs[0]);
  if (before < 0 || after < 0 || !r.node(before).is("Transpose") || !r.node(after).is("Transpose") ||
      r.only_consumer(function.input(0)) != r.at())
    return false;
  Node first = function, transpose = r.node(before);
  const ValueId x = transpose.input(0);
  first.inputs[0] = x;
  first.outputs[0] = r.graph.add_value(r.graph[function.outputs[0]].name + "_transposed",
                                       r.graph[function.outputs[0]].dtype);
  transpose.inputs[0] = first.outputs[0];
  transpose.outputs[0] = function.outputs[0];
  r.replace({before, r.at()}, {std::move(first), std::move(transpose)});
  return true;
}

int moved_axis(const Node& node, int rank, int axis) {
  const std::vector<int64_t> perm = permutation(node, rank);
  return axis >= 0 && axis < static_cast<int>(perm.size()) ? static_cast<int>(perm[static_cast<size_t>(axis)])
                                                           : -1;
}

void gradient(Gradient& g) {
  if (!g.wanted(0)) return;
  const std::vector<int64_t> perm = permutation(g.node, g.rank(0));
  std::vector<int64_t> back(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) back[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  g.give(0, g.add("Transpose", {g.dy()}, {{"perm", back}}));
}

const RegisterRewrite kMerge({.name = "merge two transpositions", .apply = merge});
const RegisterRewrite kPassFunction({.name = "function between two transpositions", .apply = pass_function});
// ONNX Runtime joins a Transpose that makes one of the last two dimensions of the first with the product
// behind it (core/optimizer/matmul_transpose_fusion.cc). Where it casts float16 to float32 between them, and
// the other factor is a constant matrix, its process crashes: nn.MultiheadAttention has this form.
std::string_view fails_in_half(const Graph& graph, const Node& node,
                               const std::vector<const Node*>& readers) {
  const std::vector<int64_t> perm = node.ints_attribute("perm");
  const size_t rank = perm.size();
  if (rank < 3 || (perm[rank - 1] != 0 && perm[rank - 2] != 0)) return {};
  const auto joins = [&](const Node* reader) {
    return reader->is("MatMul") && std::ranges::any_of(reader->inputs, [&](ValueId v) {
             const Tensor* t = graph.constant(v);
             return t && t->dims().size() == 2;
           });
  };
  return std::ranges::any_of(readers, joins)
             ? "ONNX Runtime crashes when it joins it with the product that reads it, in float16"
             : "";
}

constexpr OpDef kTranspose = {.name = "Transpose",
                              .opsets = "7A 13b 21qQG 23m 24e 25pP",
                              .infer = infer_transpose,
                              .prepare = prepare_transpose,
                              .layout = transpose_layout,
                              .moved_axis = moved_axis,
                              .quant = {.kind = QuantRule::Kind::kSameScale},
                              .fails_in_half = fails_in_half,
                              .canonicalize = [](Canonicalize& c) { keep_unpacked(c, {0}); },
                              .gradient = gradient};
const RegisterOps kRegistered({&kTranspose});

}  // namespace
}  // namespace zp
