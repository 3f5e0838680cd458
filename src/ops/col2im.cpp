// Col2Im: sums blocks [N, C * block, blocks] to the image [N, C, ...] that they were cut from.
#include <algorithm>

#include "core/grain.h"
#include "ops/moving.h"
#include "ops/shape_arguments.h"
#include "ops/unary.h"

namespace zp {
namespace {

// Along one dimension of the image: where block `b` has its element `k` is b * stride + k * dilation - pad.
struct Side {
  int64_t image, kernel, stride, dilation, pad, blocks;
};

// Throws where image, blocks and attributes do not fit together.
template <class Context>
std::vector<Side> sides_of(const Context& c, const std::vector<int64_t>& image,
                           const std::vector<int64_t>& kernel) {
  const size_t n = image.size();
  const std::vector<int64_t> strides = c.node().ints_attribute("strides", std::vector<int64_t>(n, 1)),
                             dilations = c.node().ints_attribute("dilations", std::vector<int64_t>(n, 1)),
                             pads = c.node().ints_attribute("pads", std::vector<int64_t>(2 * n, 0));
  if (n == 0 || kernel.size() != n || strides.size() != n || dilations.size() != n || pads.size() != 2 * n)
    c.fail(ErrorCode::kShapeMismatch, {"blocks of ", kernel, " with strides ", strides, ", dilations ",
                                       dilations, " and pads ", pads, " for an image of ", image});
  std::vector<Side> sides;
  for (size_t i = 0; i < n; ++i) {
    constexpr int64_t kMost = int64_t{1} << 30;
    const int64_t most = std::max({image[i], kernel[i], strides[i], dilations[i], pads[i], pads[i + n]});
    if (most > kMost || std::min({kernel[i], strides[i], dilations[i]}) < 1 ||
        std::min({image[i], pads[i], pads[i + n]}) < 0)
      c.fail(ErrorCode::kInvalidModel,
             "image_shape, block_shape, strides, dilations or pads are out of range");
    const int64_t room = image[i] + pads[i] + pads[i + n] - (kernel[i] - 1) * dilations[i] - 1;
    if (room < 0)
      c.fail(ErrorCode::kShapeMismatch, {"blocks of ", kernel, " do not fit an image of ", image});
    sides.push_back({image[i], kernel[i], strides[i], dilations[i], pads[i], room / strides[i] + 1});
  }
  return sides;
}

void infer(InferContext& c) {
  const SymShape* x = c.shape(0);
  c.require(!x || x->size() == 3, "the input should have three dimensions");
  const auto image = shape_integers(c, 1), kernel = shape_integers(c, 2);
  if (!image || !kernel) {
    const auto n = shape_length(c, 1);
    return n ? c.output(0, c.dtype(0), SymShape(*n + 2)) : c.output(0, c.dtype(0));
  }
  int64_t block = 1, blocks = 1;
  for (const Side& s : sides_of(c, *image, *kernel)) {
    c.require(block <= kLargestDim / s.kernel && blocks <= kLargestDim / s.blocks,
              "there are too many blocks");
    block *= s.kernel;
    blocks *= s.blocks;
  }
  SymShape out{Dim(), Dim()};
  if (x) {
    const Dim rows = (*x)[1];
    c.require(!rows.known() || rows.value() % block == 0,
              {rows.value(), " rows are no whole blocks of ", *kernel});
    c.require(!contradicts((*x)[2], Dim(blocks)),
              {(*x)[2].value(), " blocks, where an image of ", *image, " has ", blocks});
    out = {(*x)[0], rows.known() ? Dim(rows.value() / block) : Dim()};
  }
  for (const int64_t n : *image) out.emplace_back(n);
  c.output(0, c.dtype(0), std::move(out));
}

Kernel prepare(PrepareContext& c) {
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  const std::vector<Side> sides = sides_of(c, prepared_integers(c, 1), prepared_integers(c, 2));
  const Shape& x = c.dims(0);
  const int64_t images = element_count(c.out_dims(0), 0, 2), blocks = x[2];
  int64_t block = 1, pixels = 1;
  for (const Side& s : sides) {
    block *= s.kernel;
    pixels *= s.image;
  }
  return [=](const RunContext& run) {
    run.parallel_range(images, grain_for({.work = 4 * block * blocks}), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float* from = run.in<float>(0) + i * block * blocks;
        float* to = run.out<float>(0) + i * pixels;
        std::fill_n(to, pixels, 0.0f);
        for (int64_t k = 0; k < block; ++k) {
          for (int64_t b = 0; b < blocks; ++b) {
            int64_t at = 0, stride = 1, of_kernel = k, of_block = b;
            bool inside = true;
            for (size_t d = sides.size(); d-- > 0;) {
              const Side& s = sides[d];
              const int64_t place =
                  of_block % s.blocks * s.stride + of_kernel % s.kernel * s.dilation - s.pad;
              inside = inside && place >= 0 && place < s.image;
              at += place * stride;
              stride *= s.image;
              of_kernel /= s.kernel;
              of_block /= s.blocks;
            }
            if (inside) to[at] += from[k * blocks + b];
          }
        }
      }
    });
  };
}

constexpr OpDef kCol2Im = {.name = "Col2Im",
                           .inputs = "input image_shape block_shape",
                           .opsets = "18Ab",
                           .since = 18,
                           .types = "Tii",
                           .infer = infer,
                           .prepare = prepare,
                           .quant = {.why_float = "sums, and has no form for integers here"}};
const RegisterOps kRegistered({&kCol2Im});

}  // namespace
}  // namespace zp
