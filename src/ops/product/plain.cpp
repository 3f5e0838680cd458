// Products of types that models rarely have, element by element.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/element_types.h"
#include "core/grain.h"
#include "ops/product/product.h"
#include "ops/unary.h"

namespace zp {
namespace {

// T: double, or unsigned integers, whose sums wrap as those of signed ones do in two's complement.
template <class T>
Kernel product_of(const PrepareContext& c, const Product& product, double beta) {
  using Factor = std::conditional_t<std::is_floating_point_v<T>, double, std::make_signed_t<uint64_t>>;
  const T alpha = static_cast<T>(static_cast<Factor>(product.alpha)),
          c_factor = static_cast<T>(static_cast<Factor>(beta));
  const bool has_c = c.has_input(2);
  const auto transposed = product.transposed;
  int64_t c_row = 0, c_column = 0;  // steps of C
  if (has_c) {
    const Shape& dims = c.dims(2);
    c_column = !dims.empty() && dims.back() > 1 ? 1 : 0;
    c_row = dims.size() > 1 && dims[0] > 1 ? dims[1] : 0;
  }
  return [=, parts = product.parts, weights = product.weights](const RunContext& run) {
    for (const ProductPart& part : parts) {
      const ProductWeights& w = weights[static_cast<size_t>(part.weights)];
      const int64_t depth = w.layout.depth(), columns = w.layout.columns;
      const T* a = run.in<T>(0) + part.input_offset;
      const T* b = run.in<T>(1) + w.offset;
      // A is stored as [k, m] where it is transposed.
      const int64_t row_step = transposed ? 1 : part.row_stride,
                    depth_step = transposed ? transposed->from_columns : 1;
      const int64_t grain = grain_for({.work = depth * columns});
      run.parallel_range(part.rows, grain, [&](int64_t begin, int64_t end) {
        for (int64_t m = begin; m < end; ++m) {
          T* y = run.out<T>(0) + part.output_offset + m * part.output_rows.stride;
          for (int64_t n = 0; n < columns; ++n) {
            T sum = 0;
            for (int64_t k = 0; k < depth; ++k)
              sum += a[m * row_step + k * depth_step] *
                     b[n * w.layout.column_stride + k * w.layout.channel_stride];
            sum *= alpha;
            if (has_c) sum += c_factor * run.in<T>(2)[m * c_row + n * c_column];
            y[n] = sum;
          }
        }
      });
    }
  };
}

}  // namespace

Kernel plain_product(PrepareContext& c, const Product& product, double beta) {
  for (const ProductPart& part : product.parts)
    if (part.conv) fail_type(c);
  if (!c.clamp().identity()) c.fail(ErrorCode::kInternal, "a clamp was fused into a product of this type");
  for (const double factor : {double{product.alpha}, beta}) {
    const bool whole = std::abs(factor) <= 0x1p31 && factor == std::trunc(factor);
    if (c.dtype(0) == DType::kFloat64 || whole) continue;
    c.fail(ErrorCode::kUnsupportedOperator, "alpha and beta of a product of integers should be integers");
  }
  Kernel kernel;
  const auto of_type = [&]<class T>(Element<T>) {
    // Sums of integers wrap around, which only unsigned ones may.
    using Sum = std::conditional_t<std::is_same_v<T, int32_t>, uint32_t,
                                   std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, T>>;
    kernel = product_of<Sum>(c, product, beta);
  };
  if (!visit(c.dtype(0), ElementTypes<double, int32_t, uint32_t, int64_t, uint64_t>(), of_type)) {
    c.fail(ErrorCode::kUnsupportedType, {"products of ", name_of(c.dtype(0)), " are not supported"},
           "convert the model to float32");
  }
  return kernel;
}

}  // namespace zp
