// Squeeze and Unsqueeze: dimensions of one taken out or put in.

#include "core/sort.h"
#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/respell.h"
#include "ops/rewrite.h"
#include "ops/shape_arguments.h"

namespace zp {
namespace {

std::optional<SymShape> squeezed(const InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) return std::nullopt;
  std::vector<int64_t> axes;
  if (c.has_input(1)) {
    const auto given = shape_integers(c, 1);
    if (!given) return std::nullopt;
    axes = sorted_axes(c, *given, static_cast<int>(in->size()));
  } else {
    for (size_t i = 0; i < in->size(); ++i) {
      if (!(*in)[i].known()) return std::nullopt;
      if ((*in)[i] == Dim(1)) axes.push_back(static_cast<int64_t>(i));
    }
  }
  SymShape out;
  for (size_t i = 0; i < in->size(); ++i) {
    if (!std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(i))) {
      out.push_back((*in)[i]);
    } else if (contradicts((*in)[i], Dim(1))) {
      c.fail(ErrorCode::kShapeMismatch, {"cannot squeeze dimension ", i, " of ", *in});
    }
  }
  return out;
}

std::optional<SymShape> unsqueezed(const InferContext& c) {
  const SymShape* in = c.shape(0);
  const auto given = shape_integers(c, 1);
  if (!in || !given) return std::nullopt;
  const size_t rank = in->size() + given->size();
  const std::vector<int64_t> axes = sorted_axes(c, *given, static_cast<int>(rank));
  SymShape out(rank, Dim(-1));
  for (int64_t a : axes) out[static_cast<size_t>(a)] = 1;
  size_t from = 0;
  for (size_t i = 0; i < rank; ++i)
    if (!std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(i))) out[i] = (*in)[from++];
  return out;
}

template <std::optional<SymShape> (*kRule)(const InferContext&)>
void infer(InferContext& c) {
  if (auto out = kRule(c)) {
    c.output(0, c.dtype(0), std::move(*out));
  } else {
    c.output(0, c.dtype(0));
  }
}

// [N, C, 1, W] to [N, C, W] is no work in channels last order either.
template <std::optional<SymShape> (*kRule)(const InferContext&)>
LayoutRule layout(const InferContext& c) {
  const auto out = kRule(c);
  return reshaping_layout(c.shape(0), out ? &*out : nullptr);
}

Kernel alias(PrepareContext& c) {
  c.alias(0);
  return {};
}

void axes_to_input(Canonicalize& c) {  // an attribute before opset 13
  c.attribute_to_input("axes", 1);
  c.keep();
}

void unsqueeze_axes_to_input(Canonicalize& c) {
  c.attribute_to_input("axes", 1);
  if (c.node.input(1) == kNoValue) c.fail(ErrorCode::kInvalidModel, "the axes are missing");
  c.keep();
}

// Axes put in and taken out again, or the other way round. Both count axes in the longer of the two shapes.
bool cancel(RewriteContext& r) {
  const Node& second = r.node();
  if (!second.is("Squeeze") && !second.is("Unsqueeze")) return false;
  const int32_t at = r.producer(second.input(0));
  if (at < 0 || !r.node(at).is(second.is("Squeeze") ? "Unsqueeze" : "Squeeze")) return false;
  const Tensor* a = r.graph.constant(second.input(1));
  const Tensor* b = r.graph.constant(r.node(at).input(1));
  if (!a || !b) return false;
  std::vector<int64_t> first_axes = b->integers(), second_axes = a->integers();
  sort_small(first_axes);
  sort_small(second_axes);
  if (first_axes != second_axes) return false;
  Node same;
  same.name = second.name;
  same.op_type = "Identity";
  same.inputs = {r.node(at).input(0)};
  same.outputs = second.outputs;
  r.replace({r.at()}, {std::move(same)});
  return true;
}

void gradient(Gradient& g) {
  if (g.wanted(0)) g.give(0, g.reshaped_like(g.dy(), g.in(0)));
}

// Axes are those of the output where dimensions are added (opset 13 made them an input).
template <bool kAdds>
void respell(Respell& r) {
  r.input_to_attribute(1, "axes", 13);
  const auto found = r.node.attributes.find("axes");
  if (found == r.node.attributes.end()) return;
  auto& axes = std::get<std::vector<int64_t>>(found->second);
  const int rank = r.rank(0), more = kAdds ? static_cast<int>(axes.size()) : 0;
  for (int64_t& axis : axes) r.from_front(axis, rank < 0 ? rank : rank + more);
}

const RegisterRewrite kCancel({.name = "Squeeze and Unsqueeze that cancel", .apply = cancel});
constexpr OpDef kSqueeze = {.name = "Squeeze",
                            .inputs = "data axes?",
                            .opsets = "7A 13b 21qQG 23m 24e 25pP",
                            .types = "Ti",
                            .infer = infer<squeezed>,
                            .prepare = alias,
                            .layout = layout<squeezed>,
                            .quant = {.kind = QuantRule::Kind::kSameScale},
                            .canonicalize = axes_to_input,
                            .respell = respell<false>,
                            .gradient = gradient};
constexpr OpDef kUnsqueeze = {.name = "Unsqueeze",
                              .inputs = "data axes:13",
                              .opsets = "7A 13b 21qQG 23m 24e 25pP",
                              .types = "Ti",
                              .infer = infer<unsqueezed>,
                              .prepare = alias,
                              .layout = layout<unsqueezed>,
                              .quant = {.kind = QuantRule::Kind::kSameScale},
                              .canonicalize = unsqueeze_axes_to_input,
                              .respell = respell<true>,
                              .gradient = gradient};
const RegisterOps kRegistered({&kSqueeze, &kUnsqueeze});

}  // namespace
}  // namespace zp
