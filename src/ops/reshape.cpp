// Reshape and Flatten: other dimensions for the same values.
#include <algorithm>

#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/rewrite.h"
#include "ops/shape_arguments.h"

namespace zp {
namespace {

// What the target [0, -1, 12] makes of a shape. nullopt: not even the rank is known.
std::optional<SymShape> reshaped(const InferContext& c) {
  const SymShape* in = c.shape(0);
  const auto target = shape_integers(c, 1);
  if (!target) {
    const auto rank = shape_length(c, 1);
    if (!rank) return std::nullopt;
    return SymShape(*rank);
  }
  const bool allow_zero = c.ints("allowzero", 0) != 0;
  const auto wrong = [&] {
    c.fail(ErrorCode::kShapeMismatch,
           {"cannot reshape ", (in ? to_string(*in) : "a tensor"), " to ", *target});
  };

  const auto multiply = [&](int64_t& count, int64_t by) {
    if (by > 0 && count > kLargestDim / by) wrong();
    count *= by;
  };

  SymShape out;
  std::vector<char> copied(in ? in->size() : 0,
                           0);  // dimensions of the input that stand in the output as they are
  std::optional<size_t> rest;   // where -1 is
  int64_t out_count = 1;        // of what is neither copied nor -1
  for (size_t i = 0; i < target->size(); ++i) {
    const int64_t t = (*target)[i];
    if (t == 0 && !allow_zero) {
      if (!in) {
        out.emplace_back();
        continue;
      }
      if (i >= in->size()) wrong();
      copied[i] = 1;
      out.push_back((*in)[i]);
    } else if (t == -1) {
      if (rest) wrong();
      rest = i;
      out.emplace_back();
    } else {
      if (t < 0) wrong();
      out.emplace_back(t);
      multiply(out_count, t);
    }
  }
  if (!in) return out;
  int64_t in_count = 1;
  std::vector<Dim> unknown;
  bool zero = false;
  for (size_t i = 0; i < in->size(); ++i) {
    const Dim& d = (*in)[i];
    zero |= d == Dim(0);
    if (copied[i]) continue;
    if (d.known()) {
      multiply(in_count, d.value());
    } else {
      unknown.push_back(d);
    }
  }
  if (!unknown.empty()) {
    // [N, 3, 4] to [-1, 12] keeps the name of N.
    if (rest && unknown.size() == 1 && in_count == out_count) out[*rest] = unknown[0];
    return out;
  }
  if (rest) {
    if (zero && out_count == 0) wrong();  // 0 / 0
    if (out_count == 0 ? in_count != 0 : in_count % out_count != 0) wrong();
    out[*rest] = out_count == 0 ? 0 : in_count / out_count;
  } else if (in_count != out_count && !(zero && std::find(out.begin(), out.end(), Dim(0)) != out.end())) {
    wrong();
  }
  return out;
}

void infer_reshape(InferContext& c) {
  if (auto out = reshaped(c)) {
    c.output(0, c.dtype(0), std::move(*out));
  } else {
    c.output(0, c.dtype(0));
  }
}

SymShape flattened(const InferContext& c, const SymShape& in) {
  const int rank = static_cast<int>(in.size());
  const int64_t axis = c.ints("axis", 1);
  // Unlike elsewhere, `rank` itself is allowed: everything is in front of it.
  const int at = axis == rank ? rank : c.axis(axis, rank);
  Dim front(1), back(1);
  for (int i = 0; i < rank; ++i)
    (i < at ? front : back) = (i < at ? front : back) * in[static_cast<size_t>(i)];
  return {front, back};
}

void infer_flatten(InferContext& c) {
  const SymShape* in = c.shape(0);
  c.output(0, c.dtype(0), in ? flattened(c, *in) : SymShape(2));
}

LayoutRule reshape_layout(const InferContext& c) {
  const auto out = reshaped(c);
  return reshaping_layout(c.shape(0), out ? &*out : nullptr);
}
LayoutRule flatten_layout(const InferContext& c) { return reshaping_layout(c.shape(0), nullptr); }

Kernel alias(PrepareContext& c) {
  c.alias(0);
  return {};
}

void gradient(Gradient& g) {
  if (g.wanted(0)) g.give(0, g.reshaped_like(g.dy(), g.in(0)));
}

void shape_to_input(Canonicalize& c) {  // an attribute before opset 5
  c.attribute_to_input("shape", 1);
  if (c.node.inputs.size() < 2) c.fail(ErrorCode::kInvalidModel, "the shape is missing");
  c.keep();
}

// Of two changes of dimensions the last one counts, unless it copies dimensions of its input.
bool merge(RewriteContext& r) {
  const Node& second = r.node();
  if (!second.is("Reshape")) return false;
  const int32_t at = r.producer(second.input(0));
  if (at < 0) return false;
  const Node& first = r.node(at);
  if (!first.is("Reshape") && !first.is("Flatten") && !first.is("Squeeze") && !first.is("Unsqueeze"))
    return false;
  const Tensor* target = r.graph.constant(second.input(1));
  if (!target) return false;
  const std::vector<int64_t> dims = target->integers();
  if (std::find(dims.begin(), dims.end(), 0) != dims.end()) return false;
  Node merged = second;
  merged.inputs[0] = first.input(0);
  r.replace({r.at()}, {std::move(merged)});
  return true;
}

const RegisterRewrite kMerge({.name = "merge two reshapes", .apply = merge});
constexpr OpDef kReshape = {.name = "Reshape",
                            .inputs = "data shape:5",
                            .opsets = "7A 13b 19G 21qQ 23m 24e 25pP allowzero:14",
                            .types = "Ti",
                            .infer = infer_reshape,
                            .prepare = alias,
                            .layout = reshape_layout,
                            .quant = {.kind = QuantRule::Kind::kSameScale},
                            .canonicalize = shape_to_input,
                            .gradient = gradient};
constexpr OpDef kFlatten = {.name = "Flatten",
                            .opsets = "7F 9cCsSiIlLot 13b 21qQG 23m 24e 25pP axis<0:11",
                            .infer = infer_flatten,
                            .prepare = alias,
                            .layout = flatten_layout,
                            .quant = {.kind = QuantRule::Kind::kSameScale},
                            .gradient = gradient};
const RegisterOps kRegistered({&kReshape, &kFlatten});

}  // namespace
}  // namespace zp
