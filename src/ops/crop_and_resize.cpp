// CropAndResize (com.microsoft): regions of an image, each brought to the same size by interpolation.
// Regions are (y, x) of the first pixel and of the last, in coordinates from 0 to 1.
#include <algorithm>
#include <cmath>

#include "core/grain.h"
#include "ops/shape_arguments.h"
#include "ops/unary.h"

namespace zp {
namespace {

void infer(InferContext& c) {
  const SymShape *x = c.shape(0), *rois = c.shape(1), *images = c.shape(2);
  c.require(!x || x->size() == 4, "the input should have four dimensions");
  c.require(!rois || (rois->size() == 2 && !contradicts((*rois)[1], Dim(4))),
            "regions should have shape [regions, 4]");
  c.require(!images || !rois || fits({(*rois)[0]}, *images), "there is not one image for each region");
  SymShape out{rois ? (*rois)[0] : Dim(), x ? (*x)[1] : Dim(), Dim(), Dim()};
  if (const auto size = shape_integers(c, 3)) {
    c.require(size->size() == 2 && std::min((*size)[0], (*size)[1]) > 0 &&
                  std::max((*size)[0], (*size)[1]) <= kLargestDim,
              {"a crop of ", *size});
    out[2] = (*size)[0];
    out[3] = (*size)[1];
  }
  c.output(0, c.dtype(0), std::move(out));
}

std::string no_image(int64_t index, int64_t images) {
  return Text{"index ", index, " is outside a batch of ", images, " images"}.str();
}

Kernel prepare(PrepareContext& c) {
  for (const size_t i : {size_t{0}, size_t{1}})
    if (c.dtype(i) != DType::kFloat32) fail_type(c, i);
  const std::string mode = c.node().string_attribute("mode", "bilinear");
  if (mode != "bilinear" && mode != "nearest") c.fail(ErrorCode::kInvalidModel, {"mode is '", mode, "'"});
  const bool linear = mode == "bilinear", wide = c.dtype(2) == DType::kInt64;
  const float outside = c.node().float_attribute("extrapolation_value", 0);
  const Shape &x = c.dims(0), &y = c.out_dims(0);
  const int64_t images = x[0], channels = x[1], size[2] = {x[2], x[3]}, crop[2] = {y[2], y[3]};
  return [=](const RunContext& run) {
    const int64_t planes = y[0] * channels;
    run.parallel_range(planes, grain_for({.work = 16 * crop[0] * crop[1]}), [&](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        const int64_t region = plane / channels;
        float* to = run.out<float>(0) + plane * crop[0] * crop[1];
        const int64_t image = wide ? run.in<int64_t>(2)[region] : run.in<int32_t>(2)[region];
        if (image < 0 || image >= images) {
          run.fault->report(2, region, image, images, no_image);
          std::fill_n(to, crop[0] * crop[1], 0.0f);
          continue;
        }
        const float* from = run.in<float>(0) + (image * channels + plane % channels) * size[0] * size[1];
        const float* corners = run.in<float>(1) + 4 * region;
        // The place along dimension d of pixel `at` of the crop; one pixel is the middle of the region.
        const auto place = [&](size_t d, int64_t at) {
          const float first = corners[d], last = corners[d + 2], most = static_cast<float>(size[d] - 1);
          if (crop[d] == 1) return 0.5f * (first + last) * most;
          const float step = (last - first) * most / static_cast<float>(crop[d] - 1);
          return first * most + static_cast<float>(at) * step;
        };
        const auto pixel = [&](float row, float column) {
          return from[static_cast<int64_t>(row) * size[1] + static_cast<int64_t>(column)];
        };
        for (int64_t i = 0; i < crop[0] * crop[1]; ++i) {
          const float row = place(0, i / crop[1]), column = place(1, i % crop[1]);
          const auto inside = [&](size_t d, float at) {
            return at >= 0 && at <= static_cast<float>(size[d] - 1);
          };
          if (!inside(0, row) || !inside(1, column)) {
            to[i] = outside;
          } else if (!linear) {
            to[i] = pixel(std::round(row), std::round(column));
          } else {
            const float top = std::floor(row), bottom = std::ceil(row), left = std::floor(column),
                        right = std::ceil(column), down = row - top, across = column - left;
            const float above = pixel(top, left) + (pixel(top, right) - pixel(top, left)) * across;
            const float below = pixel(bottom, left) + (pixel(bottom, right) - pixel(bottom, left)) * across;
            to[i] = above + (below - above) * down;
          }
        }
      }
    });
  };
}

constexpr OpDef kCropAndResize = {.domain = kMicrosoft,
                                  .name = "CropAndResize",
                                  .inputs = "X rois batch_indices crop_size",
                                  .types = "TTii",
                                  .infer = infer,
                                  .prepare = prepare,
                                  .quant = {.why_float = "samples at places that 8 bits would blur"}};
const RegisterOps kRegistered({&kCropAndResize});

}  // namespace
}  // namespace zp
