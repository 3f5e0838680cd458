// FakeQuantize: the QuantizeLinear -> DequantizeLinear pairs of a graph as training sees them, in one step.
// `low` and `high` are the range of integers (fewer than the type has, for 2, 3 or 4 bits). Its scales can be
// learned, and so can the zero point of a whole tensor, which is rounded where it is used.
//
// Inputs: x, scales, zero points (float). One scale, or one for each index along `axis`.
#include <algorithm>
#include <cmath>

#include "core/grain.h"
#include "kernels/gradient/quantize.h"
#include "ops/gradient.h"
#include "ops/unary.h"

namespace zp {
namespace {

// x as [outer][length][inner]; one scale along `length`, or one for all.
struct Geometry {
  int64_t outer = 1, length = 1, inner = 1;
  bool per_tensor = true;
  float low = 0, high = 0;

  int64_t count() const { return outer * length * inner; }
  kernels::FakeQuantization at(const RunContext& r, int64_t k) const {
    return {r.in<float>(1)[k], std::nearbyint(r.in<float>(2)[k]), low, high};
  }
};

Geometry geometry_of(PrepareContext& c) {
  for (size_t i = 0; i < 3; ++i)
    if (c.dtype(i) != DType::kFloat32) fail_type(c, i);
  Geometry g;
  g.low = c.node().float_attribute("low", 0);
  g.high = c.node().float_attribute("high", 255);
  const Shape& x = c.dims(0);
  const int64_t scales = element_count(c.dims(1));
  g.per_tensor = scales == 1;
  if (g.per_tensor) {
    g.inner = element_count(x);
  } else {
    const auto axis =
        static_cast<size_t>(c.axis(c.node().int_attribute("axis", 0), static_cast<int>(x.size())));
    for (size_t d = 0; d < x.size(); ++d) (d < axis ? g.outer : d > axis ? g.inner : g.length) *= x[d];
  }
  if (scales != (g.per_tensor ? 1 : g.length) || element_count(c.dims(2)) != scales)
    c.fail(ErrorCode::kShapeMismatch, "the scales do not fit the tensor");
  return g;
}

Kernel prepare(PrepareContext& c) {
  const Geometry g = geometry_of(c);
  return [g](const RunContext& r) {
    if (g.per_tensor) {
      r.parallel_range(g.inner, grain_for({.work = 2}), [&](int64_t begin, int64_t end) {
        kernels::fake_quantize(g.at(r, 0), r.in<float>(0) + begin, r.out<float>(0) + begin,
                               static_cast<size_t>(end - begin));
      });
      return;
    }
    const int64_t grain = grain_for({.work = 2 * g.inner});
    r.parallel_range(g.outer * g.length, grain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        kernels::fake_quantize(g.at(r, row % g.length), r.in<float>(0) + row * g.inner,
                               r.out<float>(0) + row * g.inner, static_cast<size_t>(g.inner));
    });
  };
}

// ---- x, scales, zero points, dy: dx, the scales' gradients, the zero point's

void infer_gradient(InferContext& c) {
  infer_same(c);
  for (size_t i = 1; i < 3; ++i)
    if (c.has_output(i)) output_like(c, i, i);
}

Kernel prepare_gradient(PrepareContext& c) {
  const Geometry g = geometry_of(c);
  const bool scales = c.has_output(1), zero = c.has_output(2);
  if (zero && !g.per_tensor)
    c.fail(ErrorCode::kUnsupportedOperator, "zero points are learned of whole tensors only");
  if (!g.per_tensor) {
    const int64_t grain = grain_for({.work = 2 * g.outer * g.inner});
    return [=](const RunContext& r) {
      r.parallel_range(g.length, grain, [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
          double ds = 0;
          for (int64_t o = 0; o < g.outer; ++o) {
            const int64_t at = (o * g.length + k) * g.inner;
            ds += kernels::fake_quantize_gradient(g.at(r, k), r.in<float>(0) + at, r.in<float>(3) + at,
                                                  r.out<float>(0) + at, static_cast<size_t>(g.inner))
                      .scale;
          }
          if (scales) r.out<float>(1)[k] = static_cast<float>(ds);
        }
      });
    };
  }
  // The same pieces with any number of threads, so that the sum has the same bits.
  const int64_t pieces = std::clamp<int64_t>(g.inner / grain_for({.work = 2}), 1, 64);
  using Sum = kernels::FakeQuantizationGradient;
  c.scratch(static_cast<size_t>(pieces) * sizeof(Sum));
  return [=](const RunContext& r) {
    auto* sums = r.scratch<Sum>();
    r.parallel(pieces, [&](int64_t p, int) {
      const int64_t begin = g.inner * p / pieces, end = g.inner * (p + 1) / pieces;
      sums[p] = kernels::fake_quantize_gradient(g.at(r, 0), r.in<float>(0) + begin, r.in<float>(3) + begin,
                                                r.out<float>(0) + begin, static_cast<size_t>(end - begin));
    });
    Sum all;
    for (int64_t p = 0; p < pieces; ++p) {
      all.scale += sums[p].scale;
      all.zero_point += sums[p].zero_point;
    }
    if (scales) *r.out<float>(1) = static_cast<float>(all.scale);
    if (zero) *r.out<float>(2) = static_cast<float>(all.zero_point);
  };
}

void gradient(Gradient& g) {
  if (!g.wanted(0) && !g.wanted(1) && !g.wanted(2)) return;
  const size_t outputs = g.wanted(2) ? 3 : g.wanted(1) ? 2 : 1;
  const auto made =
      g.add_node("FakeQuantizeGradient", {g.in(0), g.in(1), g.in(2), g.dy()}, outputs, g.attributes(), kOwn);
  if (g.wanted(0)) g.give(0, made[0]);
  if (g.wanted(1)) g.give(1, made[1]);
  if (g.wanted(2)) g.give(2, made[2]);
}

constexpr OpDef kFakeQuantize = {.domain = kOwn,
                                 .name = "FakeQuantize",
                                 .inputs = "x scale zero_point",
                                 .types = "f",
                                 .infer = infer_same,
                                 .prepare = prepare,
                                 .layout = any_layout,
                                 .gradient = gradient};
constexpr OpDef kFakeQuantizeGradient = {.domain = kOwn,
                                         .name = "FakeQuantizeGradient",
                                         .inputs = "x scale zero_point dy",
                                         .types = "f",
                                         .infer = infer_gradient,
                                         .prepare = prepare_gradient,
                                         .layout = any_layout};
const RegisterOps kRegistered({&kFakeQuantize, &kFakeQuantizeGradient});

}  // namespace
}  // namespace zp
