// Det, the determinant of matrices, and com.microsoft's Inverse. Both by elimination with the largest pivots
// of columns, in double precision.
#include <algorithm>
#include <cmath>

#include "core/elements.h"
#include "core/grain.h"
#include "ops/moving.h"
#include "ops/unary.h"

namespace zp {
namespace {

constexpr int64_t kLargestMatrix = int64_t{1} << 12;  // rows: more take minutes

void infer_square(InferContext& c) {
  const SymShape* x = c.shape(0);
  if (!x) return;
  c.require(x->size() >= 2 && !contradicts(x->back(), (*x)[x->size() - 2]),
            {"an input of shape ", *x, " is no square matrix"});
  c.require(!x->back().known() || x->back().value() <= kLargestMatrix,
            {"a matrix of ", x->back().value(), " rows is too large"});
}

void infer_det(InferContext& c) {
  infer_square(c);
  const SymShape* x = c.shape(0);
  if (!x) return c.output(0, c.dtype(0));
  c.output(0, c.dtype(0), SymShape(x->begin(), x->end() - 2));
}

void infer_inverse(InferContext& c) {
  infer_square(c);
  infer_same(c);
}

// Brings a[n][n] to a triangle, and b[n][columns] along; gives the determinant.
double eliminate(double* a, double* b, int64_t n, int64_t columns) {
  double det = 1;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::fabs(a[i * n + k]) > std::fabs(a[pivot * n + k])) pivot = i;
    if (pivot != k) {
      std::swap_ranges(a + k * n, a + (k + 1) * n, a + pivot * n);
      std::swap_ranges(b + k * columns, b + (k + 1) * columns, b + pivot * columns);
      det = -det;
    }
    det *= a[k * n + k];
    if (a[k * n + k] == 0) continue;
    for (int64_t i = k + 1; i < n; ++i) {
      const double factor = a[i * n + k] / a[k * n + k];
      if (factor == 0) continue;
      for (int64_t j = k; j < n; ++j) a[i * n + j] -= factor * a[k * n + j];
      for (int64_t j = 0; j < columns; ++j) b[i * columns + j] -= factor * b[k * columns + j];
    }
  }
  return det;
}

// Solves a x = b, where `a` is a triangle, in place of b.
void substitute(const double* a, double* b, int64_t n) {
  for (int64_t i = n; i-- > 0;) {
    for (int64_t j = 0; j < n; ++j) {
      double v = b[i * n + j];
      for (int64_t k = i + 1; k < n; ++k) v -= a[i * n + k] * b[k * n + j];
      b[i * n + j] = v / a[i * n + i];
    }
  }
}

template <bool kInverse>
Kernel prepare(PrepareContext& c) {
  const DType type = c.dtype(0);
  if (type != DType::kFloat32 && type != DType::kFloat64) fail_type(c);
  const Shape& x = c.dims(0);
  const int64_t n = x.back(), matrices = element_count(x, 0, x.size() - 2);
  c.scratch(static_cast<size_t>(2 * n * n * std::max(1, c.threads())) * sizeof(double));
  return [=](const RunContext& run) {
    if (kInverse && n == 0) return;
    run.parallel(matrices, [&](int64_t m, int thread) {
      double* a = run.scratch<double>() + 2 * n * n * thread;
      double* b = a + n * n;
      load_elements(run.inputs[0], type, m * n * n, n * n, a);
      if (!kInverse) {
        const double det = eliminate(a, b, n, 0);
        return store_elements(&det, run.outputs[0], type, m, 1);
      }
      for (int64_t i = 0; i < n * n; ++i) b[i] = i % (n + 1) == 0 ? 1 : 0;
      eliminate(a, b, n, n);
      substitute(a, b, n);
      store_elements(b, run.outputs[0], type, m * n * n, n * n);
    });
  };
}

constexpr OpDef kDet = {.name = "Det",
                        .opsets = "11F 22b",
                        .since = 11,
                        .infer = infer_det,
                        .prepare = prepare<false>,
                        .quant = {.why_float = "multiplies numbers of all magnitudes"}};
constexpr OpDef kInverse = {.domain = kMicrosoft,
                            .name = "Inverse",
                            .infer = infer_inverse,
                            .prepare = prepare<true>,
                            .quant = {.why_float = "divides by numbers of all magnitudes"}};
const RegisterOps kRegistered({&kDet, &kInverse});

}  // namespace
}  // namespace zp
