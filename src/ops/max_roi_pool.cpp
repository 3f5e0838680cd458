// MaxRoiPool: of regions of an image, cut into the same number of cells, the largest value in each cell
// (Girshick 2015, section 2.1). A region is (image, x and y of its first pixel, x and y of its last).
#include <algorithm>
#include <cmath>

#include "ops/moving.h"
#include "ops/unary.h"

namespace zp {
namespace {

std::vector<int64_t> cells_of(const InferContext& c) {
  std::vector<int64_t> cells = c.node().ints_attribute("pooled_shape");
  if (cells.size() != 2 || std::min(cells[0], cells[1]) < 1 || std::max(cells[0], cells[1]) > kLargestDim)
    c.fail(ErrorCode::kInvalidModel, {"pooled_shape is ", cells});
  return cells;
}

void infer(InferContext& c) {
  const std::vector<int64_t> cells = cells_of(c);
  const SymShape *x = c.shape(0), *rois = c.shape(1);
  c.require(!x || x->size() == 4, "the input should have four dimensions");
  c.require(!rois || (rois->size() == 2 && !contradicts((*rois)[1], Dim(5))),
            "regions should have shape [regions, 5]");
  c.output(0, c.dtype(0), {rois ? (*rois)[0] : Dim(), x ? (*x)[1] : Dim(), Dim(cells[0]), Dim(cells[1])});
}

std::string no_region(int64_t, int64_t images) {
  return Text{"a region that is not finite, or outside a batch of ", images, " images"}.str();
}

Kernel prepare(PrepareContext& c) {
  for (const size_t i : {size_t{0}, size_t{1}})
    if (c.dtype(i) != DType::kFloat32) fail_type(c, i);
  const Shape &x = c.dims(0), &y = c.out_dims(0);
  const float scale = c.node().float_attribute("spatial_scale", 1);
  const int64_t images = x[0], channels = x[1], size[2] = {x[2], x[3]}, cells[2] = {y[2], y[3]};
  return [=](const RunContext& run) {
    run.parallel(y[0], [&](int64_t region, int) {
      float* to = run.out<float>(0) + region * channels * cells[0] * cells[1];
      const float* given = run.in<float>(1) + 5 * region;
      const bool usable =
          given[0] >= 0 && given[0] < static_cast<float>(images) &&
          std::all_of(given + 1, given + 5, [&](float v) { return std::fabs(v * scale) < 1e9f; });
      if (!usable) {
        run.fault->report(1, 5 * region, 0, images, no_region);
        return static_cast<void>(std::fill_n(to, channels * cells[0] * cells[1], 0.0f));
      }
      const auto image = static_cast<int64_t>(given[0]);
      // Pixels [first, last) of a cell along one dimension.
      struct Range {
        int64_t first, last;
      };
      const auto range = [&](size_t d, int64_t cell) {
        const auto start = static_cast<int64_t>(std::round(given[2 - d] * scale)),
                   end = static_cast<int64_t>(std::round(given[4 - d] * scale));
        const float length =
            static_cast<float>(std::max<int64_t>(end - start + 1, 1)) / static_cast<float>(cells[d]);
        const auto inside = [&](float at) {
          return std::clamp<int64_t>(static_cast<int64_t>(at) + start, 0, size[d]);
        };
        return Range{inside(std::floor(static_cast<float>(cell) * length)),
                     inside(std::ceil(static_cast<float>(cell + 1) * length))};
      };
      for (int64_t at = 0; at < cells[0] * cells[1]; ++at) {
        const Range rows = range(0, at / cells[1]), columns = range(1, at % cells[1]);
        const bool none = rows.first >= rows.last || columns.first >= columns.last;
        for (int64_t k = 0; k < channels; ++k) {
          const float* from = run.in<float>(0) + (image * channels + k) * size[0] * size[1];
          float largest = none ? 0.0f : std::numeric_limits<float>::lowest();
          for (int64_t i = rows.first; i < rows.last; ++i)
            for (int64_t j = columns.first; j < columns.last; ++j)
              largest = std::max(largest, from[i * size[1] + j]);
          to[k * cells[0] * cells[1] + at] = largest;
        }
      }
    });
  };
}

constexpr OpDef kMaxRoiPool = {.name = "MaxRoiPool",
                               .inputs = "X rois",
                               .opsets = "7F 22b",
                               .infer = infer,
                               .prepare = prepare,
                               .quant = {.why_float = "has no form for integers here"}};
const RegisterOps kRegistered({&kMaxRoiPool});

}  // namespace
}  // namespace zp
