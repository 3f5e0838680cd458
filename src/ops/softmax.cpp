// Softmax and LogSoftmax, with com.microsoft's QLinearSoftmax.
#include "kernels/reduction/softmax.h"

#include <algorithm>
#include <cmath>

#include "core/grain.h"
#include "ops/gradient.h"
#include "ops/known_range.h"
#include "ops/respell.h"
#include "ops/softmax.h"
#include "ops/unary.h"

namespace zp {

void infer_softmax(InferContext& c) {
  if (c.shape(0)) c.axis(c.ints("axis", -1), std::max(1, c.rank(0)));
  infer_same(c);
}

namespace {

// `name` over all dimensions from `axis` on, as opsets before 13 mean it. Gives the output value.
ValueId flattened(Canonicalize& c, std::string_view name, ValueId x, int64_t axis) {
  const SymShape* shape = c.node.input(0) == kNoValue ? nullptr : c.shape(0);
  const auto rank = shape ? static_cast<int64_t>(shape->size()) : int64_t{-1};
  const NewAttributes last{{"axis", int64_t{-1}}};
  if (axis == -1 || (rank > 0 && axis == rank - 1)) return c.add(name, {x}, last);
  const ValueId y = c.add(name, {c.add("Flatten", {x}, {{"axis", axis}})}, last);
  return c.add("Reshape", {y, c.add("Shape", {x})});
}

}  // namespace

void canonicalize_softmax(Canonicalize& c) {
  if (c.version >= 13) return c.keep();
  flattened(c, c.node.op_type, c.node.input(0), c.node.int_attribute("axis", 1));
  c.nodes.back().outputs = {c.node.output(0)};
  c.nodes.back().name = c.node.name;
}

void respell_softmax(Respell& r) {
  if (!r.before(13)) return;
  const int64_t axis = r.node.int_attribute("axis", -1), last = r.rank(0) - 1;
  if (last < 0 || (axis != -1 && axis != last)) return r.need(13);
  r.node.attributes.insert_or_assign("axis", last);
}

namespace {

// One position of `length` elements that are `stride` apart: few models compute probabilities in double.
void softmax_double(const double* x, double* y, int64_t length, int64_t stride, bool logarithm) {
  double max = x[0], sum = 0;
  for (int64_t i = 1; i < length; ++i) max = std::max(max, x[i * stride]);
  for (int64_t i = 0; i < length; ++i) sum += std::exp(x[i * stride] - max);
  const double log_sum = std::log(sum);
  for (int64_t i = 0; i < length; ++i) {
    const double shifted = x[i * stride] - max;
    y[i * stride] = logarithm ? shifted - log_sum : std::exp(shifted) / sum;
  }
}

template <bool kLogarithm>
Kernel prepare(PrepareContext& c) {
  if (c.dtype(0) != DType::kFloat32 && c.dtype(0) != DType::kFloat64) fail_type(c);
  const Shape& dims = c.dims(0);
  const auto rank = static_cast<int>(dims.size());
  const auto axis =
      rank == 0 ? size_t{0} : static_cast<size_t>(c.axis(c.node().int_attribute("axis", -1), rank));
  int64_t outer = 1, length = 1, inner = 1;
  for (size_t d = 0; d < dims.size(); ++d) (d < axis ? outer : d > axis ? inner : length) *= dims[d];
  c.in_place(0);
  const int64_t grain = grain_for({.work = 4 * length * inner});
  if (c.dtype(0) == DType::kFloat64) {
    return [=](const RunContext& r) {
      if (length == 0) return;
      r.parallel_range(outer * inner, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t at = i / inner * length * inner + i % inner;
          softmax_double(r.in<double>(0) + at, r.out<double>(0) + at, length, inner, kLogarithm);
        }
      });
    };
  }
  if (inner == 1) {
    return [=](const RunContext& r) {
      r.parallel_range(outer, grain, [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) {
          kernels::softmax_row(r.in<float>(0) + o * length, r.out<float>(0) + o * length,
                               static_cast<size_t>(length), kLogarithm);
        }
      });
    };
  }
  const int64_t scratch = 2 * inner;  // floats, for each thread
  c.scratch(static_cast<size_t>(scratch) * sizeof(float) * static_cast<size_t>(c.threads()));
  return [=](const RunContext& r) {
    const int64_t pieces = std::min<int64_t>(outer, r.threads());
    r.parallel(pieces, [&](int64_t piece, int thread) {
      float* own = r.scratch<float>() + thread * scratch;
      for (int64_t o = outer * piece / pieces; o < outer * (piece + 1) / pieces; ++o) {
        const int64_t at = o * length * inner;
        kernels::softmax_strided(r.in<float>(0) + at, r.out<float>(0) + at, static_cast<size_t>(length),
                                 static_cast<size_t>(inner), kLogarithm, own);
      }
    });
  };
}

// com.microsoft: X, X_scale, x_zero_point, y_scale, y_zero_point; attribute `opset` says which Softmax is
// meant. It is read and never written: ONNX Runtime 1.32 moves a Transpose through it and leaves its axis as
// it was.
constexpr std::string_view kSoftmaxName = "Softmax", kLogSoftmaxName = "LogSoftmax",
                           kQLinearName = "QLinearSoftmax";

void expand_qlinear(Canonicalize& c) {
  const Node& n = c.node;
  const int64_t opset = n.int_attribute("opset", 13), axis = n.int_attribute("axis", -1);
  const ValueId x = c.add("DequantizeLinear", {n.input(0), n.input(1), n.input(2)});
  const ValueId y =
      opset < 13 ? flattened(c, kSoftmaxName, x, axis) : c.add(kSoftmaxName, {x}, {{"axis", axis}});
  c.finish("QuantizeLinear", {y, n.input(3), n.input(4)});
}

// Softmax: y (dy - sum(dy y)). LogSoftmax: dy - exp(y) sum(dy).
template <bool kLogarithm>
void gradient(Gradient& g) {
  g.give_formulas(
      {kLogarithm ? "Sub(dy, Mul(Exp(y), ReduceSum(dy, p)))" : "Mul(y, Sub(dy, ReduceSum(Mul(dy, y), p)))"},
      {g.integers({g.axis("axis", -1)})});
}

constexpr OpDef softmax(std::string_view name, std::string_view opsets, Kernel (*prepare)(PrepareContext&),
                        void (*gradient)(Gradient&), KnownRange (*range)(const RangeContext&)) {
  return {.name = name,
          .opsets = opsets,
          .infer = infer_softmax,
          .prepare = prepare,
          .layout = any_layout,
          .quant = {.kind = QuantRule::Kind::kFloat,
                    .why_float = "Softmax needs more than 8 bits on its input and output",
                    .range = range},
          .half = {.drowns = true},
          .canonicalize = canonicalize_softmax,
          .respell = respell_softmax,
          .gradient = gradient};
}

constexpr OpDef kSoftmax =
    softmax(kSoftmaxName, "7F 13b", prepare<false>, gradient<false>, always_within<0, 1>);
constexpr OpDef kLogSoftmax = softmax(kLogSoftmaxName, "7F 13b", prepare<true>, gradient<true>,
                                      [](const RangeContext&) { return KnownRange{.hi = 0}; });
constexpr OpDef kQLinearSoftmax = {.domain = kMicrosoft,
                                   .name = kQLinearName,
                                   .inputs = "X X_scale x_zero_point? y_scale y_zero_point?",
                                   .canonicalize = expand_qlinear};
const RegisterOps kRegistered({&kSoftmax, &kLogSoftmax, &kQLinearSoftmax});

}  // namespace
}  // namespace zp
