// Mathematical functions of one element: Exp, Sqrt, Floor, ... Activation functions are in activations.cpp.
#include "ops/unary.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <type_traits>
#include <utility>

#include "core/elements.h"
#include "core/grain.h"
#include "kernels/elementwise/unary.h"
#include "kernels/elementwise/wide.h"
#include "ops/gradient.h"
#include "ops/known_range.h"

namespace zp {

Kernel prepare_unary(PrepareContext& c, kernels::Unary f, kernels::UnaryParameters parameters) {
  const int64_t count = element_count(c.out_dims(0));
  c.in_place(0);
  if (c.dtype(0) == DType::kFloat32) {
    return [=](const RunContext& r) {
      r.parallel_range(count, grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
        kernels::unary(f, parameters, r.in<float>(0) + begin, r.out<float>(0) + begin,
                       static_cast<size_t>(end - begin));
      });
    };
  }
  const DType type = c.dtype(0);
  if (!is_float(type) || is_small_float(type)) fail_type(c);
  return [=](const RunContext& r) {
    r.parallel_range(count, grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      constexpr int64_t kPiece = 128;
      double wide[kPiece];
      float piece[kPiece];
      for (int64_t i = begin; i < end; i += kPiece) {
        const int64_t n = std::min(kPiece, end - i);
        load_elements(r.inputs[0], type, i, n, wide);
        std::copy_n(wide, n, piece);
        kernels::unary(f, parameters, piece, piece, static_cast<size_t>(n));
        std::copy_n(piece, n, wide);
        store_elements(wide, r.outputs[0], type, i, n);
      }
    });
  };
}

namespace {

template <class W>
W apply(Each f, const EachParameters& p, W v) {
  constexpr bool kInteger = std::is_integral_v<W>;
  switch (f) {
    case Each::kAbs:
      if constexpr (!kInteger) return std::fabs(v);
      if (!(v < 0)) return v;
      [[fallthrough]];
    case Each::kNeg:
      // Through unsigned numbers, where the negative of the lowest value is defined (as itself).
      if constexpr (kInteger) return static_cast<W>(uint64_t{0} - static_cast<uint64_t>(v));
      return -v;
    case Each::kSign:
      if constexpr (!kInteger) {
        if (std::isnan(v)) return v;
      }
      return static_cast<W>((v > 0) - (v < 0));
    case Each::kBitwiseNot:
      if constexpr (kInteger) return ~v;
      return v;
    case Each::kRelu:
      return v < 0 ? W{0} : v;  // NaN stays
    case Each::kClip:
      return std::min(std::max(v, std::bit_cast<W>(p.lo)), std::bit_cast<W>(p.hi));
    case Each::kFunction:
      if constexpr (!kInteger) return p.function(v);
      return v;
  }
  return v;
}

template <class W>
void apply_all(Each f, const EachParameters& p, const void* x, void* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) static_cast<W*>(y)[i] = apply(f, p, static_cast<const W*>(x)[i]);
}

}  // namespace

Kernel prepare_each(PrepareContext& c, Each f, EachParameters parameters) {
  const DType type = c.dtype(0);
  const kernels::Wide wide = kernels::wide_of(type);
  if (wide == kernels::Wide::kNone || wide == kernels::Wide::kFloat || type == DType::kBool) return {};
  c.in_place(0);
  const int64_t count = element_count(c.out_dims(0));
  return [=](const RunContext& r) {
    r.parallel_range(count, grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      kernels::through_wide(kernels::Broadcast::flat(count), type, r.inputs[0], nullptr, r.outputs[0], begin,
                            end, [&](kernels::Wide w, const void* x, const void*, void* y, int64_t n) {
                              if (w == kernels::Wide::kDouble)
                                return apply_all<double>(f, parameters, x, y, n);
                              if (w == kernels::Wide::kUint)
                                return apply_all<uint64_t>(f, parameters, x, y, n);
                              apply_all<int64_t>(f, parameters, x, y, n);
                            });
    });
  };
}

void fail_type(const PrepareContext& c, size_t input) {
  c.fail(ErrorCode::kUnsupportedType, {"input ", input, " has type ", name_of(c.dtype(input)),
                                       ", which this operator does not take here"});
}

void drop_consumed_inputs(Canonicalize& c) {
  c.node.attributes.erase("consumed_inputs");
  c.keep();
}

namespace {

template <kernels::Unary kFunction>
Kernel prepare(PrepareContext& c) {
  return prepare_unary(c, kFunction);
}

// The functions for which float64 comes for the price of a line.
Kernel prepare_or_double(PrepareContext& c, kernels::Unary f, double (*function)(double)) {
  if (c.dtype(0) == DType::kFloat64) return prepare_each(c, Each::kFunction, {.function = function});
  return prepare_unary(c, f);
}

template <kernels::Unary kFunction, double (*kDouble)(double)>
Kernel prepare_or_double(PrepareContext& c) {
  return prepare_or_double(c, kFunction, kDouble);
}

Kernel prepare_or_any(PrepareContext& c, Each each, kernels::Unary f) {
  Kernel k = prepare_each(c, each);
  return k ? std::move(k) : prepare_unary(c, f);
}

Kernel prepare_abs(PrepareContext& c) { return prepare_or_any(c, Each::kAbs, kernels::Unary::kAbs); }
Kernel prepare_neg(PrepareContext& c) { return prepare_or_any(c, Each::kNeg, kernels::Unary::kNeg); }
Kernel prepare_sign(PrepareContext& c) { return prepare_or_any(c, Each::kSign, kernels::Unary::kSign); }

void infer_bool(InferContext& c) {
  if (const SymShape* shape = c.shape(0)) return c.output(0, DType::kBool, *shape);
  c.output(0, DType::kBool);
}

struct FloatTest {
  bool nan = false, negative = false, positive = false;  // what passes: not a number, the infinities
  template <class T>
  void all(const void* x, void* y, int64_t count) const {
    for (int64_t i = 0; i < count; ++i) {
      const T v = static_cast<const T*>(x)[i];
      static_cast<bool*>(y)[i] = std::isnan(v) ? nan : std::isinf(v) && (v < 0 ? negative : positive);
    }
  }
};

Kernel prepare_float_test(PrepareContext& c, FloatTest test) {
  const DType type = c.dtype(0);
  if (type != DType::kFloat32 && type != DType::kFloat64 && type != DType::kFloat16) fail_type(c);
  const int64_t count = element_count(c.out_dims(0));
  return [=](const RunContext& r) {
    kernels::test_wide(kernels::Broadcast::flat(count), type, r.inputs[0], nullptr, r.out<bool>(0), 0, count,
                       [&](kernels::Wide w, const void* x, const void*, void* y, int64_t n) {
                         if (w == kernels::Wide::kDouble) return test.all<double>(x, y, n);
                         test.all<float>(x, y, n);
                       });
  };
}

// A small float is tested as the float32 number that it means.
void canonicalize_test(Canonicalize& c) {
  if (is_small_float(c.graph[c.node.inputs[0]].dtype))
    c.node.inputs[0] = c.add("Cast", {c.node.inputs[0]}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
  c.keep();
}

Kernel prepare_is_nan(PrepareContext& c) { return prepare_float_test(c, {.nan = true}); }

Kernel prepare_is_inf(PrepareContext& c) {
  return prepare_float_test(c, {.negative = c.node().int_attribute("detect_negative", 1) != 0,
                                .positive = c.node().int_attribute("detect_positive", 1) != 0});
}

Kernel prepare_not(PrepareContext& c) {
  if (c.dtype(0) != DType::kBool) fail_type(c);
  c.in_place(0);
  const int64_t count = element_count(c.out_dims(0));
  return [=](const RunContext& r) {
    for (int64_t i = 0; i < count; ++i) r.out<bool>(0)[i] = !r.in<bool>(0)[i];
  };
}

Kernel prepare_bitwise_not(PrepareContext& c) {
  if (c.dtype(0) == DType::kFloat64) fail_type(c);
  if (Kernel k = prepare_each(c, Each::kBitwiseNot)) return k;
  fail_type(c);
}

// ---- gradients

void exp_gradient(Gradient& g) { g.give_formulas({"Mul(dy, y)"}); }
void log_gradient(Gradient& g) { g.give_formulas({"Div(dy, a)"}); }
void neg_gradient(Gradient& g) { g.give_formulas({"Neg(dy)"}); }
void abs_gradient(Gradient& g) { g.give_formulas({"Mul(dy, Sign(a))"}); }
void sqrt_gradient(Gradient& g) { g.give_formulas({"Div(dy, Mul(2, y))"}); }
void reciprocal_gradient(Gradient& g) { g.give_formulas({"Neg(Mul(dy, Mul(y, y)))"}); }
void erf_gradient(Gradient& g) {
  g.give_formulas({"Mul(Mul(dy, p), Exp(Neg(Mul(a, a))))"},
                  {g.scalar(2 * std::numbers::inv_sqrtpi_v<float>)});
}

constexpr QuantRule kFunction{.kind = QuantRule::Kind::kFloat,
                              .why_float = "mathematical functions stretch small differences of their input"};

constexpr QuantRule kWithinOne{
    .kind = kFunction.kind, .why_float = kFunction.why_float, .range = always_within<-1, 1>};

constexpr QuantRule with(QuantRule rule, QuantRule::OfSmall of_small) {
  rule.of_small = of_small;
  return rule;
}
constexpr QuantRule kMagnifies = with(kFunction, QuantRule::OfSmall::kMagnified);
constexpr QuantRule kKeepsSmall = with(kFunction, QuantRule::OfSmall::kKept);

constexpr OpDef smooth(std::string_view name, std::string_view opsets, Kernel (*prepare)(PrepareContext&),
                       void (*gradient)(Gradient&) = nullptr, QuantRule quant = kFunction) {
  return {.name = name,
          .opsets = opsets,
          .infer = infer_same,
          .prepare = prepare,
          .layout = any_layout,
          .unary = true,
          .quant = quant,
          .canonicalize = drop_consumed_inputs,
          .gradient = gradient};
}

constexpr OpDef of_half(OpDef def, HalfRule rule) {
  def.half = rule;
  return def;
}
// A function of an angle, of which float16 has few numbers between one turn and the next.
constexpr OpDef of_angle(OpDef def) { return of_half(def, {.fine = true}); }

using enum kernels::Unary;
constexpr OpDef kExpOp = smooth("Exp", "7F 13b", prepare_or_double<kExp, std::exp>, exp_gradient);
constexpr OpDef kLogOp = smooth("Log", "7F 13b", prepare_or_double<kLog, std::log>, log_gradient, kMagnifies);
constexpr OpDef kSqrtOp =
    of_half(smooth("Sqrt", "7F 13b", prepare_or_double<kSqrt, std::sqrt>, sqrt_gradient, kKeepsSmall),
            {.roots = true});
constexpr OpDef kReciprocalOp =
    of_half(smooth("Reciprocal", "7F 13b", prepare<kReciprocal>, reciprocal_gradient), {.inverts = 0});
constexpr OpDef kErfOp = smooth("Erf", "9N 13b", prepare_or_double<kErf, std::erf>, erf_gradient, kWithinOne);
constexpr OpDef kAbsOp = smooth("Abs", "7N 13b", prepare_abs, abs_gradient, kKeepsSmall);
constexpr OpDef kNegOp = smooth("Neg", "7Fcsil 13b", prepare_neg, neg_gradient, kKeepsSmall);
constexpr OpDef kFloorOp = smooth("Floor", "7F 13b", prepare_or_double<kFloor, std::floor>);
constexpr OpDef kCeilOp = smooth("Ceil", "7F 13b", prepare_or_double<kCeil, std::ceil>);
constexpr OpDef kRoundOp = smooth("Round", "11F 22b", prepare_or_double<kRound, std::nearbyint>);
constexpr OpDef kSignOp = smooth("Sign", "9N 13b", prepare_sign, nullptr, kWithinOne);
constexpr OpDef kSinOp =
    of_angle(smooth("Sin", "7F 22b", prepare_or_double<kSin, std::sin>, nullptr, kWithinOne));
constexpr OpDef kCosOp =
    of_angle(smooth("Cos", "7F 22b", prepare_or_double<kCos, std::cos>, nullptr, kWithinOne));
constexpr OpDef kTanOp = of_angle(smooth("Tan", "7F 22b", prepare<kTan>));
constexpr OpDef kAsinOp = smooth("Asin", "7F 22b", prepare<kAsin>);
constexpr OpDef kAcosOp = smooth("Acos", "7F 22b", prepare<kAcos>);
constexpr OpDef kAtanOp = smooth("Atan", "7F 22b", prepare<kAtan>);
constexpr OpDef kSinhOp = smooth("Sinh", "9F 22b", prepare<kSinh>);
constexpr OpDef kCoshOp = smooth("Cosh", "9F 22b", prepare<kCosh>);
constexpr OpDef kAsinhOp = smooth("Asinh", "9F 22b", prepare<kAsinh>);
constexpr OpDef kAcoshOp = smooth("Acosh", "9F 22b", prepare<kAcosh>);
constexpr OpDef kAtanhOp = smooth("Atanh", "9F 22b", prepare<kAtanh>);

constexpr OpDef exact(std::string_view name, std::string_view opsets, void (*infer)(InferContext&),
                      Kernel (*prepare)(PrepareContext&), void (*canonicalize)(Canonicalize&) = nullptr) {
  return {.name = name,
          .opsets = opsets,
          .infer = infer,
          .prepare = prepare,
          .layout = any_layout,
          .canonicalize = canonicalize};
}
constexpr OpDef kNotOp = exact("Not", "7o", infer_same, prepare_not);
constexpr OpDef kBitwiseNotOp = exact("BitwiseNot", "18cCsSiIlL", infer_same, prepare_bitwise_not);
constexpr OpDef kIsNaNOp = exact("IsNaN", "9F 13b 20G", infer_bool, prepare_is_nan, canonicalize_test);
constexpr OpDef kIsInfOp = exact("IsInf", "10fd 20hbG", infer_bool, prepare_is_inf, canonicalize_test);
const RegisterOps kRegistered({&kExpOp,   &kLogOp,   &kSqrtOp,  &kReciprocalOp, &kErfOp,  &kAbsOp,
                               &kNegOp,   &kFloorOp, &kCeilOp,  &kRoundOp,      &kSignOp, &kSinOp,
                               &kCosOp,   &kTanOp,   &kAsinOp,  &kAcosOp,       &kAtanOp, &kSinhOp,
                               &kCoshOp,  &kAsinhOp, &kAcoshOp, &kAtanhOp,      &kNotOp,  &kBitwiseNotOp,
                               &kIsNaNOp, &kIsInfOp});

}  // namespace
}  // namespace zp
