// The gradients of convolutions: of the input, a transposed convolution whose size is given; of the weights,
// a product over all pixels. Both are what Conv and ConvTranspose add for training (see their files).
#include <algorithm>
#include <utility>

#include "core/grain.h"
#include "kernels/gradient/depthwise.h"
#include "kernels/gradient/gemm.h"
#include "ops/conv.h"
#include "ops/gradient.h"

namespace zp {
namespace {

void infer_given(InferContext& c) { infer_as_given(c, 2); }

// Weights [channels][taps] as [taps][channels].
void by_tap(const float* weights, int64_t channels, int64_t taps, float* to) {
  for (int64_t t = 0; t < taps; ++t)
    for (int64_t k = 0; k < channels; ++k) to[t * channels + k] = weights[k * taps + t];
}

// ---- ConvInputGradient: dy, w, shape of x

Kernel prepare_depthwise_input(PrepareContext& c, kernels::ConvGeometry g) {
  g.channels = static_cast<int>(g.pixel_stride);
  c.scratch(static_cast<size_t>(g.channels) * static_cast<size_t>(g.taps()) * sizeof(float));
  return [g](const RunContext& r) {
    auto* weights = r.scratch<float>();
    by_tap(r.in<float>(1), g.channels, g.taps(), weights);
    r.parallel_range(int64_t{g.batch} * g.in_height, 1, [&](int64_t begin, int64_t end) {
      kernels::depthwise_input_gradient(g, weights, r.in<float>(0), r.out<float>(0), static_cast<int>(begin),
                                        static_cast<int>(end));
    });
  };
}

Kernel prepare_input(PrepareContext& c) {
  const int64_t group = c.node().int_attribute("group", 1);
  // `x` is the output here; the geometry is that of the forward convolution.
  const Shape &dy = c.dims(0), &weights = c.dims(1), &x = c.out_dims(0);
  const kernels::ConvGeometry forward = conv_geometry(c.node(), x, weights, dy);
  if (is_depthwise(forward, group, x, weights)) return prepare_depthwise_input(c, forward);
  kernels::TransposedConvGeometry g{forward};  // the same window, seen from the other side
  std::swap(g.in_depth, g.out_depth);
  std::swap(g.in_height, g.out_height);
  std::swap(g.in_width, g.out_width);
  g.channels = int_of(weights[0] / group);
  g.pixel_stride = int_of(dy.back());
  g.out_pixel_stride = int_of(x.back());
  check_parts(int64_t{g.phases()} * group);
  return float_product(c, transposed_conv_product(g, group, weights), {});
}

// ---- ConvWeightGradient: x, dy, shape of w

constexpr int kPieces = 4, kLeastPixels = 64;  // of a sum over pixels

Kernel prepare_depthwise_weight(PrepareContext& c, kernels::ConvGeometry g) {
  g.channels = static_cast<int>(g.pixel_stride);
  c.scratch(static_cast<size_t>(g.channels) * static_cast<size_t>(g.taps()) * sizeof(float));
  return [g](const RunContext& r) {
    auto* dw = r.scratch<float>();
    r.parallel_range(g.channels, 16, [&](int64_t begin, int64_t end) {
      kernels::depthwise_weight_gradient(g, r.in<float>(0), r.in<float>(1), dw, static_cast<int>(begin),
                                         static_cast<int>(end));
    });
    by_tap(dw, g.taps(), g.channels, r.out<float>(0));  // and back
  };
}

Kernel prepare_weight(PrepareContext& c) {
  const int64_t group = c.node().int_attribute("group", 1);
  const Shape weights = to_logical(c.out_dims(0));
  const Shape &x = c.dims(0), &dy = c.dims(1);
  const kernels::ConvGeometry g = conv_geometry(c.node(), x, weights, dy);
  if (is_depthwise(g, group, x, weights)) return prepare_depthwise_weight(c, g);
  check_parts(group);
  kernels::ConvWeightGradient gradient{g, int_of(weights[0] / group), int_of(dy.back())};
  // Pixels in pieces, the same with any number of threads, so that the sum has the same bits; where they are
  // few, columns in strips.
  const int depth = gradient.depth(), rows = g.rows();
  const int tiles = (depth + kernels::kColumnTile - 1) / kernels::kColumnTile;
  const int pieces = std::clamp(rows / kLeastPixels, 1, kPieces);
  const int strips = std::clamp(kPieces / pieces, 1, tiles);
  const auto range = [=](int piece, int strip) {
    const auto cut = [=](int i) { return std::min(depth, tiles * i / strips * kernels::kColumnTile); };
    const auto row = [=](int i) { return static_cast<int>(int64_t{rows} * i / pieces); };
    return kernels::ConvWeightGradientRange{row(piece), row(piece + 1), cut(strip), cut(strip + 1)};
  };
  const auto padded = [](size_t bytes) { return kernels::round_up(bytes, 64); };
  const int64_t size = int64_t{gradient.columns} * depth, all = group * size;
  const size_t part = pieces > 1 ? padded(static_cast<size_t>(all) * sizeof(float)) : 0;
  kernels::ConvWeightGradientRange widest{0, rows, 0, (tiles + strips - 1) / strips * kernels::kColumnTile};
  const size_t own = padded(kernels::conv_weight_gradient_scratch_bytes(gradient, widest));
  c.scratch(part * static_cast<size_t>(pieces) + own * static_cast<size_t>(c.threads()));
  return [=](const RunContext& r) {
    const auto sum = [&](int64_t piece) {
      return part ? r.scratch<float>(part * static_cast<size_t>(piece)) : r.out<float>(0);
    };
    r.parallel(group * pieces * strips, [&](int64_t task, int thread) {
      const int64_t at = task / strips / pieces, piece = task / strips % pieces;
      kernels::conv_weight_gradient(
          gradient, r.in<float>(0) + at * g.channels, r.in<float>(1) + at * gradient.columns,
          sum(piece) + at * size, range(static_cast<int>(piece), static_cast<int>(task % strips)),
          r.scratch<std::byte>(part * static_cast<size_t>(pieces) + own * static_cast<size_t>(thread)));
    });
    if (!part) return;
    r.parallel_range(all, grain_for({.work = 4}), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float total = sum(0)[i];
        for (int64_t p = 1; p < pieces; ++p) total += sum(p)[i];
        r.out<float>(0)[i] = total;
      }
    });
  };
}

constexpr OpDef kInput = {.domain = kOwn,
                          .name = "ConvInputGradient",
                          .inputs = "dy W shape",
                          .types = "ffi",
                          .infer = infer_given,
                          .prepare = prepare_input,
                          .layout = channels_last};
constexpr OpDef kWeight = {.domain = kOwn,
                           .name = "ConvWeightGradient",
                           .inputs = "x dy shape",
                           .types = "ffi",
                           .infer = infer_given,
                           .prepare = prepare_weight,
                           .layout = all_channels_last};
const RegisterOps kRegistered({&kInput, &kWeight});

}  // namespace

ValueId channel_sums(Gradient& g, ValueId d) {
  const int rank = g.rank_of(d);
  std::vector<int64_t> axes;
  for (int i = 0; i < rank; ++i)
    if (i != 1) axes.push_back(i);
  return g.add("Reshape", {g.add("ReduceSum", {d, g.integers(axes)}), g.integers({-1})});
}

}  // namespace zp
