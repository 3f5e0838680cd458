// ReduceSum, ReduceMean, ReduceMax, ... over any axes; ArgMax and ArgMin.
#include "kernels/reduction/reduce.h"

#include <algorithm>
#include <memory>

#include "core/element_types.h"
#include "core/grain.h"
#include "kernels/elementwise/wide.h"
#include "ops/gradient.h"
#include "ops/respell.h"
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
  const int64_t grain = shape.grain();
  const DType type = c.dtype(0);
  if (!is_one_of(type,
                 ElementTypes<float, double, bool, int8_t, uint8_t, int32_t, uint32_t, int64_t, uint64_t>()))
    fail_type(c);
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

template <int64_t kSince>
void respell(Respell& r) {
  if (!r.before(kSince)) return;
  const Tensor* axes = r.constant(1);
  const bool given = r.node.input(1) != kNoValue;
  if (given && axes && axes->size() == 0) {
    r.node.inputs[1] = kNoValue;
  } else if (given) {
    r.node.attributes.erase("noop_with_empty_axes");
    r.input_to_attribute(1, "axes", kSince);
    if (axes)
      for (int64_t& axis : std::get<std::vector<int64_t>>(r.node.attributes["axes"]))
        r.from_front(axis, r.rank(0));
  }
}

// p and q: dy and y with the dimensions that were reduced; r, s: elements of x and of y; t: 1 where x is y.
// Elements that are the largest together, as rounded and clamped ones often are, share dy.
constexpr char kSpread[] = "Expand(p, Shape(a))", kMeanOf[] = "Expand(Div(p, Div(r, s)), Shape(a))",
               kTwice[] = "Mul(p, Add(a, a))", kSignOf[] = "Mul(p, Sign(a))",
               kPicked[] = "Mul(t, Div(p, ReduceSum(t, b)))",
               kDirection[] = "Mul(p, Where(Equal(q, 0), 0, Div(a, q)))";

void gradient(Gradient& g, const char* formula) {
  if (!g.wanted(0)) return;
  const Tensor* axes = g.graph.constant(g.in(1));
  const bool nothing = g.node.int_attribute("noop_with_empty_axes", 0) != 0 &&
                       (g.in(1) == kNoValue || (axes && axes->size() == 0));
  std::vector<ValueId> given{g.dy(), g.out()};
  if (!nothing)  // the sum is wanted for its shape alone: no plan computes it
    for (ValueId& v : given) v = g.formula("Reshape(p, Shape(ReduceSum(a, b)))", {v});
  for (ValueId v : {g.in(0), g.out()}) given.push_back(g.count_of(v));
  given.push_back(g.formula("Where(Equal(a, q), 1, 0)", given));
  g.give(0, g.formula(nothing && formula == kPicked ? "p" : formula, given));
}
template <const char* kFormula>
void gradient(Gradient& g) {
  gradient(g, kFormula);
}

using OfSmall = QuantRule::OfSmall;
constexpr OpDef reduction(std::string_view name, std::string_view opsets, Kernel (*prepare)(PrepareContext&),
                          void (*gradient)(Gradient&) = nullptr, HalfRule::Sum sum = HalfRule::Sum::kNone,
                          OfSmall of_small = OfSmall::kKept) {
  return {.name = name,
          .inputs = "data axes?",
          .opsets = opsets,
          .types = "Ti",
          .infer = infer_reduce,
          .prepare = prepare,
          .layout = layout,
          .quant = {.kind = QuantRule::Kind::kFloat,
                    .why_float = "there is no integer form for this reduction",
                    .of_small = of_small},
          .half = {.sum = sum},
          .canonicalize = canonicalize,
          .respell = respell<18>,
          .gradient = gradient};
}

constexpr OpDef sum() {
  OpDef def =
      reduction("ReduceSum", "7FiIlL 13b noop_with_empty_axes:13", prepare<Reduce::kSum>, gradient<kSpread>);
  def.respell = respell<13>;
  return def;
}
constexpr OpDef kSum = sum();
constexpr OpDef kMean = reduction("ReduceMean", "7FiIlL 13b noop_with_empty_axes:18", prepare<Reduce::kMean>,
                                  gradient<kMeanOf>, HalfRule::Sum::kMean);
constexpr OpDef kMax = reduction("ReduceMax", "7FiIlL 12cC 13b 20o noop_with_empty_axes:18",
                                 prepare<Reduce::kMax>, gradient<kPicked>);
constexpr OpDef kMin = reduction("ReduceMin", "7FiIlL 12cC 13b 20o noop_with_empty_axes:18",
                                 prepare<Reduce::kMin>, gradient<kPicked>);
constexpr OpDef kProd = reduction("ReduceProd", "7FiIlL 13b noop_with_empty_axes:18", prepare<Reduce::kProd>);
constexpr OpDef kL1 =
    reduction("ReduceL1", "7FiIlL 13b noop_with_empty_axes:18", prepare<Reduce::kL1>, gradient<kSignOf>);
constexpr OpDef kL2 = reduction("ReduceL2", "7FiIlL 13b noop_with_empty_axes:18", prepare<Reduce::kL2>,
                                gradient<kDirection>, HalfRule::Sum::kSquares);
constexpr OpDef kSumSquare = reduction("ReduceSumSquare", "7FiIlL 13b noop_with_empty_axes:18",
                                       prepare<Reduce::kSumSquare>, gradient<kTwice>);
constexpr OpDef kLogSum =
    reduction("ReduceLogSum", "7FiIlL 13b noop_with_empty_axes:18", prepare<Reduce::kLogSum>, nullptr,
              HalfRule::Sum::kNone, OfSmall::kMagnified);
constexpr OpDef kLogSumExp =
    reduction("ReduceLogSumExp", "7FiIlL 13b noop_with_empty_axes:18", prepare<Reduce::kLogSumExp>, nullptr,
              HalfRule::Sum::kNone, OfSmall::kLost);

// ---- ArgMax, ArgMin

void infer_arg(InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) return c.output(0, DType::kInt64);
  const auto axis = static_cast<size_t>(c.axis(c.ints("axis", 0), static_cast<int>(in->size())));
  c.require(!((*in)[axis] == Dim(0)), "the axis has no elements");
  SymShape out = *in;
  if (c.ints("keepdims", 1) != 0) {
    out[axis] = Dim(1);
  } else {
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  c.output(0, DType::kInt64, std::move(out));
}

Kernel prepare_arg(PrepareContext& c, bool smallest) {
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
    const int64_t grain = grain_for({.work = a.length});
    r.parallel_range(count, grain, [&](int64_t begin, int64_t end) {
      kernels::arg_extreme(a, type, r.inputs[0], r.out<int64_t>(0), begin, end);
    });
  };
}

template <bool kSmallest>
Kernel prepare_arg(PrepareContext& c) {
  return prepare_arg(c, kSmallest);
}

constexpr OpDef kArgMax = {.name = "ArgMax",
                           .opsets = "7N 13b select_last_index:12 axis<0:11",
                           .infer = infer_arg,
                           .prepare = prepare_arg<false>,
                           .layout = layout};
constexpr OpDef kArgMin = {.name = "ArgMin",
                           .opsets = "7N 13b select_last_index:12 axis<0:11",
                           .infer = infer_arg,
                           .prepare = prepare_arg<true>,
                           .layout = layout};
const RegisterOps kRegistered({&kSum, &kMean, &kMax, &kMin, &kProd, &kL1, &kL2, &kSumSquare, &kLogSum,
                               &kLogSumExp, &kArgMax, &kArgMin});

}  // namespace
}  // namespace zp
