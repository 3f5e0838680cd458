// GridSample: the values of an image [N, C, H, W] (or volume [N, C, D, H, W]) at the places that a grid says,
// in coordinates from -1 to 1 (Jaderberg et al. 2015).
#include <algorithm>
#include <cmath>

#include "ops/moving.h"
#include "ops/respell.h"
#include "ops/unary.h"

namespace zp {
namespace {

enum class Mode : uint8_t { kLinear, kNearest, kCubic };
enum class Padding : uint8_t { kZeros, kBorder, kReflection };

void infer(InferContext& c) {
  const SymShape *x = c.shape(0), *grid = c.shape(1);
  if (!x || !grid) return c.output(0, c.dtype(0));
  c.require(x->size() == 4 || x->size() == 5, "the input should have four or five dimensions");
  c.require(grid->size() == x->size(), "the grid should have as many dimensions as the input");
  SymShape out = *x;
  for (size_t d = 2; d < x->size(); ++d) out[d] = (*grid)[d - 1];
  c.output(0, c.dtype(0), std::move(out));
}

struct Sampler {
  Mode mode;
  Padding padding;
  bool corners;
  int dims;           // 2 or 3
  int64_t size[3];    // of the image, outermost first
  int64_t stride[3];  // in elements

  // -1 and 1 are the centres of the outermost pixels (corners), or their edges.
  float pixel(float at, int d) const {
    const auto n = static_cast<float>(size[d]);
    return corners ? (at + 1) / 2 * (n - 1) : ((at + 1) * n - 1) / 2;
  }
  // Brings a place into the image, as the padding says; NaN becomes a place outside.
  float inside(float at, int d) const {
    const auto n = static_cast<float>(size[d]);
    if (size[d] == 0) return at;
    if (padding == Padding::kBorder) return std::clamp(at, 0.0f, n - 1);
    if (padding != Padding::kReflection) return at;
    const float low = corners ? 0.0f : -0.5f, high = corners ? n - 1 : n - 0.5f, range = high - low;
    if (range <= 0) return 0;
    const float from_low = std::fmod(std::fabs(at - low), 2 * range);
    const float mirrored = low + (from_low > range ? 2 * range - from_low : from_low);
    return std::clamp(mirrored, 0.0f, n - 1);
  }
  bool has(int64_t at, int d) const { return at >= 0 && at < size[d]; }

  struct Tap {
    int64_t at;
    float weight;
  };
  // The pixels along one dimension that a place takes from, 1 (nearest), 2 or 4 of them.
  int taps(float at, int d, Tap (&to)[4]) const;

  float value(const float* image, const float* place) const;
};

// Cubic convolution (Keys 1981) with a = -0.75.
float cubic(float t) {
  constexpr float kA = -0.75f;
  t = std::fabs(t);
  if (t <= 1) return ((kA + 2) * t - (kA + 3)) * t * t + 1;
  if (t < 2) return ((kA * t - 5 * kA) * t + 8 * kA) * t - 4 * kA;
  return 0;
}

int Sampler::taps(float at, int d, Tap (&to)[4]) const {
  // Beyond these, an integer would not hold the place; nothing of the image is there.
  constexpr float kFar = 1e9f;
  if (mode != Mode::kCubic) at = inside(at, d);
  if (!(std::fabs(at) < kFar)) at = -kFar;
  if (mode == Mode::kNearest) {
    to[0] = {static_cast<int64_t>(std::nearbyint(at)), 1};
    return 1;
  }
  const float floor = std::floor(at);
  const auto first = static_cast<int64_t>(floor);
  const float t = at - floor;
  if (mode == Mode::kLinear) {
    to[0] = {first, 1 - t};
    to[1] = {first + 1, t};
    return 2;
  }
  for (int i = 0; i < 4; ++i) {
    const int64_t pixel = first - 1 + i;
    to[i] = {pixel, cubic(t + 1 - static_cast<float>(i))};
    if (padding != Padding::kZeros)
      to[i].at = static_cast<int64_t>(std::nearbyint(inside(static_cast<float>(pixel), d)));
  }
  return 4;
}

float Sampler::value(const float* image, const float* place) const {
  Tap all[3][4];
  int count[3] = {1, 1, 1};
  for (int d = 0; d < dims; ++d)  // a place names the innermost dimension first
    count[d] = taps(pixel(place[dims - 1 - d], d), d, all[d]);
  float sum = 0;
  for (int i = 0; i < count[0]; ++i) {
    if (!has(all[0][i].at, 0)) continue;
    for (int j = 0; j < count[1]; ++j) {
      if (!has(all[1][j].at, 1)) continue;
      const int64_t plane = all[0][i].at * stride[0] + all[1][j].at * stride[1];
      const float weight = all[0][i].weight * all[1][j].weight;
      if (dims == 2) {
        sum += weight * image[plane];
        continue;
      }
      for (int k = 0; k < count[2]; ++k)
        if (has(all[2][k].at, 2)) sum += weight * all[2][k].weight * image[plane + all[2][k].at * stride[2]];
    }
  }
  return sum;
}

Kernel prepare(PrepareContext& c) {
  for (const size_t i : {size_t{0}, size_t{1}})
    if (c.dtype(i) != DType::kFloat32) fail_type(c, i);
  const Shape &x = c.dims(0), &grid = c.dims(1);
  const int dims = static_cast<int>(x.size()) - 2;
  if (grid[0] != x[0] || grid.back() != dims)
    c.fail(ErrorCode::kShapeMismatch, {"a grid of shape ", grid, " does not fit an input of shape ", x});
  Sampler s{.dims = dims};
  const std::string mode = c.node().string_attribute("mode", "linear");
  if (mode == "linear") {
    s.mode = Mode::kLinear;
  } else if (mode == "nearest") {
    s.mode = Mode::kNearest;
  } else if (mode == "cubic") {
    s.mode = Mode::kCubic;
    if (dims != 2) c.fail(ErrorCode::kInvalidModel, "cubic sampling is for images of two dimensions");
  } else {
    c.fail(ErrorCode::kInvalidModel, {"mode is '", mode, "'"});
  }
  const std::string padding = c.node().string_attribute("padding_mode", "zeros");
  if (padding == "zeros") {
    s.padding = Padding::kZeros;
  } else if (padding == "border") {
    s.padding = Padding::kBorder;
  } else if (padding == "reflection") {
    s.padding = Padding::kReflection;
  } else {
    c.fail(ErrorCode::kInvalidModel, {"padding_mode is '", padding, "'"});
  }
  s.corners = c.node().int_attribute("align_corners", 0) != 0;
  int64_t pixels = 1;
  for (int d = dims; d-- > 0;) {
    s.size[d] = x[static_cast<size_t>(d) + 2];
    s.stride[d] = pixels;
    pixels *= s.size[d];
  }
  const int64_t channels = x[1], places = element_count(grid, 1, grid.size() - 1);
  return [=](const RunContext& run) {
    run.parallel_range(x[0] * channels * places, 1024, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t image = i / places, place = image / channels * places + i % places;
        run.out<float>(0)[i] = s.value(run.in<float>(0) + image * pixels, run.in<float>(1) + place * dims);
      }
    });
  };
}

// Before opset 20 there were images alone, and modes had names for images (bilinear, bicubic).
constexpr std::pair<std::string_view, std::string_view> kOldModes[] = {{"bilinear", "linear"},
                                                                       {"bicubic", "cubic"}};

void canonicalize(Canonicalize& c) {
  const std::string mode = c.node.string_attribute("mode", "linear");
  for (const auto& [old, now] : kOldModes)
    if (mode == old) c.node.attributes.insert_or_assign("mode", std::string(now));
  c.keep();
}

void respell(Respell& r) {
  if (r.rank(0) > 4) r.need(20);
  if (!r.before(20)) return;
  const std::string mode = r.node.string_attribute("mode", "linear");
  for (const auto& [old, now] : kOldModes)
    if (mode == now) r.node.attributes.insert_or_assign("mode", std::string(old));
}

constexpr OpDef kGridSample = {.name = "GridSample",
                               .inputs = "X grid",
                               .opsets = "16A 22b",
                               .since = 16,
                               .types = "TU",
                               .infer = infer,
                               .prepare = prepare,
                               .quant = {.why_float = "samples at places that 8 bits would blur"},
                               .canonicalize = canonicalize,
                               .respell = respell};
const RegisterOps kRegistered({&kGridSample});

}  // namespace
}  // namespace zp
