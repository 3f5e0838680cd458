// LRN: local response normalization across channels (Krizhevsky et al. 2012, section 3.3):
//   y = x / (bias + alpha / size * sum of x^2 over the `size` nearest channels)^beta
#include <algorithm>
#include <cmath>

#include "core/grain.h"
#include "ops/unary.h"

namespace zp {
namespace {

struct Lrn {
  int64_t channels, inner;  // of x[outer][channels][inner]
  int64_t before, after;    // neighbours of a channel
  float alpha, beta, bias;

  // One position of `inner`, in all channels: the sum slides along. It is double, so that a subtraction
  // removes all that was added.
  void column(const float* x, float* y) const {
    double sum = 0;
    const auto square = [&](int64_t c) {
      const double v = x[c * inner];
      return v * v;
    };
    for (int64_t c = 0; c < std::min(after, channels); ++c) sum += square(c);
    for (int64_t c = 0; c < channels; ++c) {
      if (c + after < channels) sum += square(c + after);
      if (c - before - 1 >= 0) sum -= square(c - before - 1);
      const double scale = std::pow(bias + alpha * std::max(sum, 0.0), -beta);
      y[c * inner] = static_cast<float>(x[c * inner] * scale);
    }
  }
};

Kernel prepare(PrepareContext& c) {
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  const Shape& dims = c.dims(0);
  const int64_t size = c.node().int_attribute("size", 0);
  if (dims.size() < 2) c.fail(ErrorCode::kShapeMismatch, "the input has no channels");
  if (size < 1) c.fail(ErrorCode::kInvalidModel, {"size ", size, " is not positive"});
  Lrn l;
  l.channels = dims[1];
  l.inner = 1;
  for (size_t d = 2; d < dims.size(); ++d) l.inner *= dims[d];
  l.before = std::min((size - 1) / 2, l.channels);
  l.after = std::min(size / 2, l.channels);
  l.alpha = c.node().float_attribute("alpha", 1e-4f) / static_cast<float>(size);
  l.beta = c.node().float_attribute("beta", 0.75f);
  l.bias = c.node().float_attribute("bias", 1.0f);
  return [l, columns = dims[0] * l.inner](const RunContext& r) {
    r.parallel_range(columns, grain_for({.work = 4 * l.channels}), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i / l.inner * l.channels * l.inner + i % l.inner;
        l.column(r.in<float>(0) + at, r.out<float>(0) + at);
      }
    });
  };
}

constexpr OpDef kLrn = {
    .name = "LRN",
    .opsets = "7F 13b",
    .infer = infer_same,
    .prepare = prepare,
    .quant = {.kind = QuantRule::Kind::kFloat,
              .why_float = "a power of its neighbours' squares spans too many magnitudes"}};
const RegisterOps kRegistered({&kLrn});

}  // namespace
}  // namespace zp
