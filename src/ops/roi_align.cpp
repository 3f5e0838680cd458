// RoiAlign: regions of an image, each brought to the same size: of each of its cells the mean (or the
// largest) of samples between the pixels (He et al. 2017, section 3). Regions are in coordinates of the
// image times spatial_scale.
#include <algorithm>
#include <cmath>

#include "ops/moving.h"
#include "ops/respell.h"
#include "ops/unary.h"

namespace zp {
namespace {

constexpr int64_t kMostSamples = 4096;  // of a cell, along one dimension

void infer(InferContext& c) {
  const int64_t height = c.ints("output_height", 1), width = c.ints("output_width", 1),
                samples = c.ints("sampling_ratio", 0);
  if (height < 1 || width < 1 || std::max(height, width) > kLargestDim)
    c.fail(ErrorCode::kInvalidModel, {"regions of ", height, " x ", width});
  if (samples < 0 || samples > kMostSamples)
    c.fail(ErrorCode::kInvalidModel, {"sampling_ratio is ", samples});
  const SymShape *x = c.shape(0), *rois = c.shape(1), *images = c.shape(2);
  c.require(!x || x->size() == 4, "the input should have four dimensions");
  c.require(!rois || (rois->size() == 2 && !contradicts((*rois)[1], Dim(4))),
            "regions should have shape [regions, 4]");
  c.require(!images || images->size() == 1, "indices of images should have shape [regions]");
  c.require(!rois || !images || !contradicts((*rois)[0], (*images)[0]),
            "there is not one image for each region");
  const Dim regions = images && (*images)[0].known() ? (*images)[0] : rois ? (*rois)[0] : Dim();
  c.output(0, c.dtype(0), {regions, x ? (*x)[1] : Dim(), Dim(height), Dim(width)});
}

// Two neighbouring pixels along a dimension, and what they weigh.
struct Tap {
  int64_t low, high;
  float of_low, of_high;
};

// A region along one dimension: `cells` of it, with `samples` in each.
struct Side {
  float start, cell;
  int64_t samples;

  // The samples of a cell that are in the image of `size` pixels or next to it: the others are zero.
  int64_t taps(int64_t at, int64_t size, Tap* to) const {
    if (size == 0) return 0;
    const float first = start + static_cast<float>(at) * cell, step = cell / static_cast<float>(samples);
    // Only an adaptive region has many samples, of which most may be far outside.
    int64_t begin = 0, end = samples;
    if (samples > kMostSamples && step > 0) {
      const auto bound = [&](float place) {
        return static_cast<int64_t>(std::clamp((place - first) / step, 0.0f, static_cast<float>(samples)));
      };
      begin = std::max<int64_t>(0, bound(-1) - 2);
      end = std::min(samples, bound(static_cast<float>(size)) + 3);
    }
    int64_t count = 0;
    for (int64_t i = begin; i < end; ++i) {
      float place = first + (static_cast<float>(i) + 0.5f) * cell / static_cast<float>(samples);
      if (!(place >= -1 && place <= static_cast<float>(size))) continue;
      place = std::max(place, 0.0f);
      const int64_t low = std::min(static_cast<int64_t>(place), size - 1);
      if (low == size - 1) {
        to[count++] = {low, low, 1, 0};
      } else {
        const float rest = place - static_cast<float>(low);
        to[count++] = {low, low + 1, 1 - rest, rest};
      }
    }
    return count;
  }
};

std::string no_region(int64_t, int64_t) { return "a region that is not finite, or too large"; }
std::string no_image(int64_t index, int64_t images) {
  return Text{"index ", index, " is outside a batch of ", images, " images"}.str();
}

Kernel prepare(PrepareContext& c) {
  const Shape &x = c.dims(0), &y = c.out_dims(0);
  for (const size_t i : {size_t{0}, size_t{1}})
    if (c.dtype(i) != DType::kFloat32) fail_type(c, i);
  const Node& n = c.node();
  const std::string mode = n.string_attribute("mode", "avg"),
                    transform = n.string_attribute("coordinate_transformation_mode", "half_pixel");
  if (mode != "avg" && mode != "max") c.fail(ErrorCode::kInvalidModel, {"mode is '", mode, "'"});
  if (transform != "half_pixel" && transform != "output_half_pixel")
    c.fail(ErrorCode::kInvalidModel, {"coordinate_transformation_mode is '", transform, "'"});
  if (c.dims(1)[0] != y[0])
    c.fail(ErrorCode::kShapeMismatch, {c.dims(1)[0], " regions in ", y[0], " images"});
  const bool mean = mode == "avg", centred = transform == "half_pixel";
  const bool wide = c.dtype(2) == DType::kInt64;
  const float scale = n.float_attribute("spatial_scale", 1);
  const int64_t sampling = n.int_attribute("sampling_ratio", 0);
  const int64_t images = x[0], channels = x[1], size[2] = {x[2], x[3]}, cells[2] = {y[2], y[3]};
  // An adaptive region has a sample for each pixel, or two.
  const int64_t most = std::max(kMostSamples, 2 * std::max(size[0], size[1]) + 16);
  c.scratch(static_cast<size_t>(2 * most * std::max(1, c.threads())) * sizeof(Tap));

  return [=](const RunContext& run) {
    run.parallel(y[0], [&](int64_t region, int thread) {
      float* to = run.out<float>(0) + region * channels * cells[0] * cells[1];
      const auto refuse = [&](size_t input, int64_t position, int64_t value, RunFault::Words words) {
        run.fault->report(input, position, value, images, words);
        std::fill_n(to, channels * cells[0] * cells[1], 0.0f);
      };
      const int64_t image = wide ? run.in<int64_t>(2)[region] : run.in<int32_t>(2)[region];
      if (image < 0 || image >= images) return refuse(2, region, image, no_image);
      const float* corners = run.in<float>(1) + 4 * region;  // x, y of the first, x, y of the last
      Side sides[2];
      for (size_t d = 0; d < 2; ++d) {
        const float offset = centred ? 0.5f : 0.0f;
        const float start = corners[1 - d] * scale - offset, end = corners[3 - d] * scale - offset;
        const float length = centred ? end - start : std::max(end - start, 1.0f);
        const float cell = length / static_cast<float>(cells[d]);
        if (!(std::fabs(start) < 1e9f && std::fabs(length) < 1e9f))
          return refuse(1, 4 * region, 0, no_region);
        sides[d] = {start, cell, sampling > 0 ? sampling : static_cast<int64_t>(std::ceil(cell))};
      }
      const auto count = static_cast<float>(std::max<int64_t>(sides[0].samples * sides[1].samples, 1));
      Tap* rows = run.scratch<Tap>() + 2 * most * thread;
      Tap* columns = rows + most;
      for (int64_t at = 0; at < cells[0] * cells[1]; ++at) {
        const int64_t row_count = sides[0].taps(at / cells[1], size[0], rows);
        const int64_t column_count = sides[1].taps(at % cells[1], size[1], columns);
        const bool all = row_count == sides[0].samples && column_count == sides[1].samples;
        for (int64_t k = 0; k < channels; ++k) {
          const float* from = run.in<float>(0) + (image * channels + k) * size[0] * size[1];
          float sum = 0, largest = all ? -INFINITY : 0;
          for (int64_t i = 0; i < row_count; ++i) {
            const Tap& r = rows[i];
            for (int64_t j = 0; j < column_count; ++j) {
              const Tap& q = columns[j];
              const float parts[] = {r.of_low * q.of_low * from[r.low * size[1] + q.low],
                                     r.of_low * q.of_high * from[r.low * size[1] + q.high],
                                     r.of_high * q.of_low * from[r.high * size[1] + q.low],
                                     r.of_high * q.of_high * from[r.high * size[1] + q.high]};
              sum += parts[0] + parts[1] + parts[2] + parts[3];
              for (const float part : parts) largest = std::max(largest, part);
            }
          }
          const bool none = sides[0].samples <= 0 || sides[1].samples <= 0;
          to[k * cells[0] * cells[1] + at] = mean ? sum / count : none ? 0 : largest;
        }
      }
    });
  };
}

// Until opset 16 there was no shift by half a pixel.
constexpr std::string_view kTransform = "coordinate_transformation_mode", kUnshifted = "output_half_pixel";

void canonicalize(Canonicalize& c) {
  if (c.version < 16) c.node.attributes.insert_or_assign(std::string(kTransform), std::string(kUnshifted));
  c.keep();
}

void respell(Respell& r) {
  if (!r.before(16)) return;
  if (r.node.string_attribute(kTransform, "half_pixel") != kUnshifted) return r.need(16);
  r.node.attributes.erase(r.node.attributes.find(kTransform));
}

constexpr OpDef kRoiAlign = {.name = "RoiAlign",
                             .inputs = "X rois batch_indices",
                             .opsets = "10F 22b",
                             .since = 10,
                             .types = "TTi",
                             .infer = infer,
                             .prepare = prepare,
                             .quant = {.why_float = "samples at places that 8 bits would blur"},
                             .canonicalize = canonicalize,
                             .respell = respell};
const RegisterOps kRegistered({&kRoiAlign});

}  // namespace
}  // namespace zp
