// Mathematical functions of one element: Exp, Sqrt, Floor, ... Activation functions are in activations.cpp.
#include "ops/unary.h"

#include <cmath>
#include <numbers>

#include "ops/gradient.h"

namespace zp {

Kernel prepare_unary(PrepareContext& c, kernels::Unary f, kernels::UnaryParameters parameters) {
  constexpr int64_t kGrain = 16384;
  require_inputs(c, 1);
  const int64_t count = element_count(c.out_dims(0));
  c.in_place(0);
  if (c.dtype(0) == DType::kFloat32) {
    return [=](const RunContext& r) {
      r.parallel_range(count, kGrain, [&](int64_t begin, int64_t end) {
        kernels::unary(f, parameters, r.in<float>(0) + begin, r.out<float>(0) + begin,
                       static_cast<size_t>(end - begin));
      });
    };
  }
  if (c.dtype(0) != DType::kFloat16) fail_type(c);
  return [=](const RunContext& r) {
    r.parallel_range(count, kGrain, [&](int64_t begin, int64_t end) {
      constexpr int64_t kPiece = 512;
      float piece[kPiece];
      const uint16_t* x = r.in<uint16_t>(0);
      uint16_t* y = r.out<uint16_t>(0);
      for (int64_t i = begin; i < end; i += kPiece) {
        const int64_t n = std::min(kPiece, end - i);
        for (int64_t k = 0; k < n; ++k) piece[k] = half_to_float(x[i + k]);
        kernels::unary(f, parameters, piece, piece, static_cast<size_t>(n));
        for (int64_t k = 0; k < n; ++k) y[i + k] = float_to_half(piece[k]);
      }
    });
  };
}

void require_inputs(const PrepareContext& c, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (!c.has_input(i)) c.fail(ErrorCode::kInvalidModel, "input " + std::to_string(i) + " is missing");
}

void fail_type(const PrepareContext& c, size_t input) {
  c.fail(ErrorCode::kUnsupportedType, "input " + std::to_string(input) + " has type " +
                                          std::string(name_of(c.dtype(input))) +
                                          ", which this operator does not take here");
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
template <kernels::Unary kFunction, double (*kDouble)(double)>
Kernel prepare_or_double(PrepareContext& c) {
  return c.dtype(0) == DType::kFloat64 ? prepare_each<double>(c, kDouble) : prepare_unary(c, kFunction);
}

Kernel prepare_abs(PrepareContext& c) {
  const auto magnitude = []<class T>(T v) { return static_cast<T>(v < 0 ? T{0} - v : v); };
  if (c.dtype(0) == DType::kFloat64) return prepare_each<double>(c, [](double v) { return std::fabs(v); });
  if (Kernel k = prepare_each_integer(c, magnitude)) return k;
  return prepare_unary(c, kernels::Unary::kAbs);
}

Kernel prepare_neg(PrepareContext& c) {
  // Through unsigned numbers, where the negative of the lowest value is defined (as itself).
  const auto negative = []<class T>(T v) { return static_cast<T>(uint64_t{0} - static_cast<uint64_t>(v)); };
  if (c.dtype(0) == DType::kFloat64) return prepare_each<double>(c, [](double v) { return -v; });
  if (Kernel k = prepare_each_integer(c, negative)) return k;
  return prepare_unary(c, kernels::Unary::kNeg);
}

Kernel prepare_sign(PrepareContext& c) {
  const auto sign = []<class T>(T v) { return static_cast<T>((v > 0) - (v < 0)); };
  if (c.dtype(0) == DType::kFloat64) return prepare_each<double>(c, sign);
  if (Kernel k = prepare_each_integer(c, sign)) return k;
  return prepare_unary(c, kernels::Unary::kSign);
}

void infer_bool(InferContext& c) {
  if (const SymShape* shape = c.shape(0)) return c.output(0, DType::kBool, *shape);
  c.output(0, DType::kBool);
}

template <class T, class F>
Kernel prepare_test(PrepareContext& c, F f) {
  const int64_t count = element_count(c.out_dims(0));
  return [count, f](const RunContext& r) {
    for (int64_t i = 0; i < count; ++i) r.out<bool>(0)[i] = f(r.in<T>(0)[i]);
  };
}

Kernel prepare_float_test(PrepareContext& c, auto test) {
  if (c.dtype(0) == DType::kFloat32) return prepare_test<float>(c, test);
  if (c.dtype(0) == DType::kFloat64) return prepare_test<double>(c, test);
  if (c.dtype(0) == DType::kFloat16)
    return prepare_test<uint16_t>(c, [=](uint16_t v) { return test(half_to_float(v)); });
  fail_type(c);
}

Kernel prepare_is_nan(PrepareContext& c) {
  return prepare_float_test(c, [](auto v) { return std::isnan(v); });
}

Kernel prepare_is_inf(PrepareContext& c) {
  const bool negative = c.node().int_attribute("detect_negative", 1) != 0;
  const bool positive = c.node().int_attribute("detect_positive", 1) != 0;
  return prepare_float_test(c, [=](auto v) { return std::isinf(v) && (v < 0 ? negative : positive); });
}

Kernel prepare_not(PrepareContext& c) {
  if (c.dtype(0) != DType::kBool) fail_type(c);
  return prepare_each<bool>(c, [](bool v) { return !v; });
}

Kernel prepare_bitwise_not(PrepareContext& c) {
  if (Kernel k = prepare_each_integer(c, []<class T>(T v) { return static_cast<T>(~v); })) return k;
  fail_type(c);
}

// ---- gradients

float sqrt_derivative(float y, float dy, float, float) { return dy / (2 * y); }
float reciprocal_derivative(float y, float dy, float, float) { return -dy * y * y; }
float abs_derivative(float x, float dy, float, float) { return x > 0 ? dy : x < 0 ? -dy : 0; }
float erf_derivative(float x, float dy, float, float) {
  return dy * 2 * std::numbers::inv_sqrtpi_v<float> * std::exp(-x * x);
}

constexpr char kSqrtGradient[] = "SqrtGradient", kReciprocalGradient[] = "ReciprocalGradient",
               kAbsGradient[] = "AbsGradient", kErfGradient[] = "ErfGradient";

template <const char* kName, bool kOfOutput>
void simple_gradient(Gradient& g) {
  give_derivative(g, kName, kOfOutput);
}
void exp_gradient(Gradient& g) {
  if (g.wanted(0)) g.give(0, g.add("Mul", {g.dy(), g.out()}));
}
void log_gradient(Gradient& g) {
  if (g.wanted(0)) g.give(0, g.add("Div", {g.dy(), g.in(0)}));
}
void neg_gradient(Gradient& g) {
  if (g.wanted(0)) g.give(0, g.add("Neg", {g.dy()}));
}

const RegisterOp kSqrtGradientOp(derivative_op<sqrt_derivative>(kSqrtGradient));
const RegisterOp kReciprocalGradientOp(derivative_op<reciprocal_derivative>(kReciprocalGradient));
const RegisterOp kAbsGradientOp(derivative_op<abs_derivative>(kAbsGradient));
const RegisterOp kErfGradientOp(derivative_op<erf_derivative>(kErfGradient));

const QuantRule kFunction{.kind = QuantRule::Kind::kFloat,
                              .why_float = "mathematical functions stretch small differences of their input"};

OpDef smooth(std::string_view name, Kernel (*prepare)(PrepareContext&),
             void (*gradient)(Gradient&) = nullptr) {
  return {.name = name,
          .infer = infer_same,
          .prepare = prepare,
          .layout = any_layout,
          .unary = true,
          .quant = kFunction,
          .canonicalize = drop_consumed_inputs,
          .gradient = gradient};
}

using enum kernels::Unary;
const RegisterOp kExpOp(smooth("Exp", prepare_or_double<kExp, std::exp>, exp_gradient));
const RegisterOp kLogOp(smooth("Log", prepare_or_double<kLog, std::log>, log_gradient));
const RegisterOp kSqrtOp(smooth("Sqrt", prepare_or_double<kSqrt, std::sqrt>,
                                simple_gradient<kSqrtGradient, true>));
const RegisterOp kReciprocalOp(smooth("Reciprocal", prepare<kReciprocal>,
                                      simple_gradient<kReciprocalGradient, true>));
const RegisterOp kErfOp(smooth("Erf", prepare_or_double<kErf, std::erf>,
                               simple_gradient<kErfGradient, false>));
const RegisterOp kAbsOp(smooth("Abs", prepare_abs, simple_gradient<kAbsGradient, false>));
const RegisterOp kNegOp(smooth("Neg", prepare_neg, neg_gradient));
const RegisterOp kFloorOp(smooth("Floor", prepare_or_double<kFloor, std::floor>));
const RegisterOp kCeilOp(smooth("Ceil", prepare_or_double<kCeil, std::ceil>));
const RegisterOp kRoundOp(smooth("Round", prepare_or_double<kRound, std::nearbyint>));
const RegisterOp kSignOp(smooth("Sign", prepare_sign));
const RegisterOp kSinOp(smooth("Sin", prepare_or_double<kSin, std::sin>));
const RegisterOp kCosOp(smooth("Cos", prepare_or_double<kCos, std::cos>));
const RegisterOp kTanOp(smooth("Tan", prepare<kTan>));
const RegisterOp kAsinOp(smooth("Asin", prepare<kAsin>));
const RegisterOp kAcosOp(smooth("Acos", prepare<kAcos>));
const RegisterOp kAtanOp(smooth("Atan", prepare<kAtan>));
const RegisterOp kSinhOp(smooth("Sinh", prepare<kSinh>));
const RegisterOp kCoshOp(smooth("Cosh", prepare<kCosh>));
const RegisterOp kAsinhOp(smooth("Asinh", prepare<kAsinh>));
const RegisterOp kAcoshOp(smooth("Acosh", prepare<kAcosh>));
const RegisterOp kAtanhOp(smooth("Atanh", prepare<kAtanh>));

OpDef exact(std::string_view name, void (*infer)(InferContext&),
                      Kernel (*prepare)(PrepareContext&)) {
  return {.name = name, .infer = infer, .prepare = prepare, .layout = any_layout, .quant = {}};
}
const RegisterOp kNotOp(exact("Not", infer_same, prepare_not));
const RegisterOp kBitwiseNotOp(exact("BitwiseNot", infer_same, prepare_bitwise_not));
const RegisterOp kIsNaNOp(exact("IsNaN", infer_bool, prepare_is_nan));
const RegisterOp kIsInfOp(exact("IsInf", infer_bool, prepare_is_inf));

}  // namespace
}  // namespace zp
