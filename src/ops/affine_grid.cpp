// AffineGrid: where each pixel of an image (or volume) comes from, under an affine map theta [N, 2, 3] (or
// [N, 3, 4]) of coordinates from -1 to 1, x first: [N, H, W, 2] (or [N, D, H, W, 3]), for GridSample.
#include "core/grain.h"
#include "ops/shape_arguments.h"
#include "ops/unary.h"

namespace zp {
namespace {

void infer(InferContext& c) {
  const SymShape* theta = c.shape(0);
  const auto size = shape_integers(c, 1);
  c.require(!theta || theta->size() == 3, "theta should have three dimensions");
  if (!size) {
    const auto rank = shape_length(c, 1);
    return rank ? c.output(0, c.dtype(0), SymShape(*rank)) : c.output(0, c.dtype(0));
  }
  const auto dims = std::ssize(*size) - 2;
  c.require(dims == 2 || dims == 3, {"a size of ", *size, " is no image or volume"});
  if (theta) {
    c.require(fits({Dim((*size)[0]), Dim(dims), Dim(dims + 1)}, *theta),
              {"theta of shape ", *theta, " does not fit a size of ", *size});
  }
  SymShape out{Dim((*size)[0])};
  for (int64_t d = 0; d < dims; ++d) out.emplace_back((*size)[static_cast<size_t>(d) + 2]);
  for (const int64_t n : *size) c.require(n >= 0 && n <= kLargestDim, {"a size of ", *size});
  out.emplace_back(dims);
  c.output(0, c.dtype(0), std::move(out));
}

Kernel prepare(PrepareContext& c) {
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  const Shape& y = c.out_dims(0);
  const int64_t dims = y.back();
  int64_t size[3] = {1, 1, 1};  // depth, height, width
  for (int64_t d = 0; d < dims; ++d) size[3 - dims + d] = y[static_cast<size_t>(d) + 1];
  const bool corners = c.node().int_attribute("align_corners", 0) != 0;
  const int64_t places = size[0] * size[1] * size[2];
  return [=](const RunContext& run) {
    run.parallel_range(y[0] * places, grain_for({.work = 16}), [&](int64_t begin, int64_t end) {
      // -1 and 1 are the centres of the outermost pixels (corners), or their edges. A single pixel that is
      // both has the centre 1, as in ONNX Runtime.
      const auto coordinate = [&](int64_t i, int64_t n) {
        const auto at = static_cast<float>(i), count = static_cast<float>(n);
        if (corners && n == 1) return 1.0f;
        return corners ? -1 + at * (2 / (count - 1)) : -1 + (2 * at + 1) / count;
      };
      for (int64_t i = begin; i < end; ++i) {
        const int64_t place = i % places;
        const float from[3] = {coordinate(place % size[2], size[2]),
                               coordinate(place / size[2] % size[1], size[1]),
                               coordinate(place / size[2] / size[1], size[0])};
        for (int64_t row = 0; row < dims; ++row) {
          const float* theta = run.in<float>(0) + (i / places * dims + row) * (dims + 1);
          float sum = theta[dims];
          for (int64_t k = 0; k < dims; ++k) sum += theta[k] * from[k];
          run.out<float>(0)[i * dims + row] = sum;
        }
      }
    });
  };
}

constexpr OpDef kAffineGrid = {.name = "AffineGrid",
                               .inputs = "theta size",
                               .opsets = "20Fb",
                               .since = 20,
                               .types = "Ti",
                               .infer = infer,
                               .prepare = prepare,
                               .quant = {.why_float = "gives coordinates, which 8 bits would blur"}};
const RegisterOps kRegistered({&kAffineGrid});

}  // namespace
}  // namespace zp
