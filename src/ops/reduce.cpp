// ReduceSum, ReduceMean, ReduceMax, ... over any axes; ArgMax and ArgMin.
#include "kernels/reduce.h"

#include <algorithm>
#include <memory>

#include "kernels/wide.h"
#include "ops/gradient.h"
#include "ops/shape_arguments.h"
#include "ops/unary.h"

namespace zp {
namespace {

using kernels::Reduce;

// Which dimensions go. nullopt: not known yet.
std::optional<std::vector<bool>> reduced_dims(const InferContext& c, int rank) {
  std::vector<bool> reduced(static_cast<size_t>(rank), false);
  std::vector<int64_t> axes;
  if (c.has_input(1)) {
    const auto given = shape_integers(c, 1);
    if (!given) return std::nullopt;
    axes = *given;
  }
  if (axes.empty()) {
    if (c.ints("noop_with_empty_axes", 0) == 0) reduced.assign(reduced.size(), true);
    return reduced;
  }
  for (int64_t a : axes) reduced[static_cast<size_t>(c.axis(a, rank))] = true;
  return reduced;
}

void infer_reduce(InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) return c.output(0, c.dtype(0));
  const auto reduced = reduced_dims(c, static_cast<int>(in->size()));
  const bool keep = c.ints("keepdims", 1) != 0;
  if (!reduced) {
    if (keep) return c.output(0, c.dtype(0), SymShape(in->size(), Dim()));
    return c.output(0, c.dtype(0));
  }
  SymShape out;
  for (size_t d = 0; d < in->size(); ++d) {
    if (!(*reduced)[d]) {
      out.push_back((*in)[d]);
    } else if (keep) {
      out.push_back(Dim(1));
    }
  }
  c.output(0, c.dtype(0), std::move(out));
}

// Channels last, too, if the rank stays.
LayoutRule layout(const InferContext& c) {
  return c.ints("keepdims", 1) != 0 ? LayoutRule::kAny : LayoutRule::kLogical;
}

Kernel prepare(PrepareContext& c, Reduce f) {
  require_inputs(c, 1);
  const Shape& dims = c.dims(0);
  const auto rank = static_cast<int>(dims.size());
  const std::vector<int64_t> axes = prepared_integers(c, 1);
  const bool nothing = axes.empty() && c.node().int_attribute("noop_with_empty_axes", 0) != 0;
  const auto reduced = std::make_unique<bool[]>(dims.size() + 1);
  for (size_t d = 0; d < dims.size(); ++d) reduced[d] = axes.empty() && !nothing;
  for (int64_t a : axes) {
    if (a < -rank || a >= rank) c.fail(ErrorCode::kShapeMismatch, {"axis ", a, " is outside the tensor"});
    reduced[static_cast<size_t>(c.axis(a, rank))] = true;
  }
  const auto found = kernels::ReduceShape::of(dims, {reduced.get(), dims.size()});
  if (!found)
    c.fail(ErrorCode::kUnsupportedOperator, "more dimensions are reduced than the kernels can follow");
  const kernels::ReduceShape shape = *found;
  const int64_t count = element_count(c.out_dims(0));
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, shape.reduced.size()));
  // Bools as bytes.
  const DType type = c.dtype(0) == DType::kBool ? DType::kUint8 : c.dtype(0);
  switch (type) {
    case DType::kFloat32:
    case DType::kFloat64:
    case DType::kInt8:
    case DType::kUint8:
    case DType::kInt32:
    case DType::kUint32:
    case DType::kInt64:
    case DType::kUint64:
      break;
    default:
      fail_type(c);
  }
  return [=](const RunContext& r) {
    r.parallel_range(count, grain, [&](int64_t begin, int64_t end) {
      if (type == DType::kFloat32)
        return kernels::reduce(f, shape, r.in<float>(0), r.out<float>(0), begin, end);
      kernels::reduce_any(f, shape, type, r.inputs[0], r.outputs[0], begin, end);
    });
  };
}

template <Reduce kFunction>
Kernel prepare(PrepareContext& c) {
  return prepare(c, kFunction);
}

// Axes were an attribute before opset 18 (ReduceSum: 13).
void canonicalize(Canonicalize& c) {
  c.attribute_to_input("axes", 1);
  c.keep();
}

// dy spread over what was reduced, times a formula of that (p) and of y spread (q). Without one, dy itself; a
// mean's is divided by how many elements it is of. Elements that are the largest together, as rounded and
// clamped ones often are, share it.
constexpr char kSpread[] = "", kMeanOf[] = "Mean", kTwice[] = "Mul(p, Add(a, a))",
               kSignOf[] = "Mul(p, Sign(a))", kPicked[] = "Where(Equal(a, q), 1, 0)",
               kDirection[] = "Mul(p, Where(Equal(q, 0), 0, Div(a, q)))";

void gradient(Gradient& g, std::string_view formula) {
  if (!g.wanted(0)) return;
  std::vector<int64_t> axes;
  if (g.in(1) != kNoValue) {
    const Tensor* given = g.graph.constant(g.in(1));
    if (!given) g.fail("its axes are computed");
    axes = given->integers();
  }
  const bool nothing = axes.empty() && g.node.int_attribute("noop_with_empty_axes", 0) != 0;
  ValueId d = g.dy(), y = g.out();
  if (!nothing && g.node.int_attribute("keepdims", 1) == 0) {
    // The shape of x with ones where it was reduced.
    const auto rank = static_cast<size_t>(g.rank(0));
    std::vector<int64_t> kept(rank, axes.empty() ? 0 : 1), ones(rank, axes.empty() ? 1 : 0);
    for (int64_t a : axes) {
      const auto at = static_cast<size_t>(a < 0 ? a + static_cast<int64_t>(rank) : a);
      kept[at] = 0;
      ones[at] = 1;
    }
    const ValueId shape =
        g.add("Add", {g.add("Mul", {g.shape_of(g.in(0)), g.integers(kept)}), g.integers(ones)});
    d = g.add("Reshape", {d, shape});
    y = g.add("Reshape", {y, shape});
  }
  if (formula == kMeanOf) d = g.formula("Div(p, Div(q, r))", {d, g.count_of(g.in(0)), g.count_of(g.out())});
  if (formula == kSpread || formula == kMeanOf) return g.give(0, g.add("Expand", {d, g.shape_of(g.in(0))}));
  const ValueId dx = g.formula(formula, {d, y});
  if (formula != kPicked) return g.give(0, dx);
  const ValueId count = nothing ? dx : g.add("ReduceSum", {dx, g.in(1)});
  g.give(0, g.formula("Mul(p, Div(q, r))", {dx, d, count}));
}
template <const char* kFormula>
void gradient(Gradient& g) {
  gradient(g, kFormula);
}

constexpr OpDef reduction(std::string_view name, Kernel (*prepare)(PrepareContext&),
                          void (*gradient)(Gradient&) = nullptr) {
  return {
      .name = name,
      .infer = infer_reduce,
      .prepare = prepare,
      .layout = layout,
      .quant = {.kind = QuantRule::Kind::kFloat, .why_float = "there is no integer form for this reduction"},
      .canonicalize = canonicalize,
      .gradient = gradient};
}

constexpr OpDef kSum = reduction("ReduceSum", prepare<Reduce::kSum>, gradient<kSpread>);
constexpr OpDef kMean = reduction("ReduceMean", prepare<Reduce::kMean>, gradient<kMeanOf>);
constexpr OpDef kMax = reduction("ReduceMax", prepare<Reduce::kMax>, gradient<kPicked>);
constexpr OpDef kMin = reduction("ReduceMin", prepare<Reduce::kMin>, gradient<kPicked>);
constexpr OpDef kProd = reduction("ReduceProd", prepare<Reduce::kProd>);
constexpr OpDef kL1 = reduction("ReduceL1", prepare<Reduce::kL1>, gradient<kSignOf>);
constexpr OpDef kL2 = reduction("ReduceL2", prepare<Reduce::kL2>, gradient<kDirection>);
constexpr OpDef kSumSquare = reduction("ReduceSumSquare", prepare<Reduce::kSumSquare>, gradient<kTwice>);
constexpr OpDef kLogSum = reduction("ReduceLogSum", prepare<Reduce::kLogSum>);
constexpr OpDef kLogSumExp = reduction("ReduceLogSumExp", prepare<Reduce::kLogSumExp>);

// ---- ArgMax, ArgMin

void infer_arg(InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) return c.output(0, DType::kInt64);
  const auto axis = static_cast<size_t>(c.axis(c.ints("axis", 0), static_cast<int>(in->size())));
  c.require(!((*in)[axis] == Dim(0)), "there is no largest of no elements");
  SymShape out = *in;
  if (c.ints("keepdims", 1) != 0) {
    out[axis] = Dim(1);
  } else {
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  c.output(0, DType::kInt64, std::move(out));
}

Kernel prepare_arg(PrepareContext& c, bool smallest) {
  require_inputs(c, 1);
  const Shape& dims = c.dims(0);
  const auto axis =
      static_cast<size_t>(c.axis(c.node().int_attribute("axis", 0), static_cast<int>(dims.size())));
  kernels::ArgExtreme a;
  a.smallest = smallest;
  a.last = c.node().int_attribute("select_last_index", 0) != 0;
  a.length = dims[axis];
  for (size_t d = axis + 1; d < dims.size(); ++d) a.inner *= dims[d];
  const int64_t count = element_count(c.out_dims(0));
  const DType type = c.dtype(0);
  if (type == DType::kBool || type == DType::kFloat16 || kernels::wide_of(type) == kernels::Wide::kNone)
    fail_type(c);
  return [=](const RunContext& r) {
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, a.length));
    r.parallel_range(count, grain, [&](int64_t begin, int64_t end) {
      kernels::arg_extreme(a, type, r.inputs[0], r.out<int64_t>(0), begin, end);
    });
  };
}

template <bool kSmallest>
Kernel prepare_arg(PrepareContext& c) {
  return prepare_arg(c, kSmallest);
}

constexpr OpDef kArgMax = {
    .name = "ArgMax", .infer = infer_arg, .prepare = prepare_arg<false>, .layout = layout};
constexpr OpDef kArgMin = {
    .name = "ArgMin", .infer = infer_arg, .prepare = prepare_arg<true>, .layout = layout};
const RegisterOps kRegistered({&kSum, &kMean, &kMax, &kMin, &kProd, &kL1, &kL2, &kSumSquare, &kLogSum,
                               &kLogSumExp, &kArgMax, &kArgMin});

}  // namespace
}  // namespace zp
