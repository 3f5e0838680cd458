// Products of floats with quantized weights.
#include "kernels/gemm/weight_only.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "ops/product/float.h"

namespace zp {
namespace {

struct PackedBlocks {
  std::shared_ptr<std::byte> storage;
  size_t bytes = 0;
  kernels::BlockWeights view;
};

// The weights of a plain product as the weight-only kernel takes them; nullopt: no such form. The vectors
// keep what the source points at.
struct BlockForm {
  kernels::BlockWeightSource source;
  std::vector<float> scales;
  std::vector<uint8_t> zero_points;
};

std::optional<BlockForm> block_form(const Product& product, const Tensor& weights, const EdgeQuant& edge) {
  if (product.weights.size() != 1 || product.weights[0].offset != 0 || weights.dims().size() != 2)
    return std::nullopt;
  const kernels::WeightLayout& layout = product.weights[0].layout;
  if (layout.taps() != 1 || weights.size() != int64_t{layout.columns} * layout.depth() ||
      layout.depth() == 0) {
    return std::nullopt;
  }
  BlockForm form;
  kernels::BlockWeightSource& s = form.source;
  s.codes = weights.raw();
  s.bits = bits_of(weights.dtype());
  s.is_signed = is_signed_integer(weights.dtype());
  s.columns = layout.columns;
  s.depth = layout.depth();
  s.column_stride = layout.column_stride;
  s.depth_stride = layout.channel_stride;
  s.block_size = s.depth;
  const bool columns_first = product.channel_axis == 0;
  const int axis = edge.axis < 0 ? edge.axis + 2 : edge.axis;
  if (edge.per_tensor()) {
    s.scale_column_stride = s.scale_block_stride = 0;
  } else if (edge.block_size == 0) {
    if (axis != product.channel_axis || edge.scale.size() != s.columns) return std::nullopt;
    s.scale_column_stride = 1;
    s.scale_block_stride = 0;
  } else {
    if (axis == product.channel_axis) return std::nullopt;
    const int64_t blocks = (s.depth + edge.block_size - 1) / edge.block_size;
    if ((edge.block_size % 16 != 0 && edge.block_size < s.depth) || edge.scale.size() != blocks * s.columns) {
      return std::nullopt;
    }
    s.block_size = static_cast<int>(std::min<int64_t>(edge.block_size, (s.depth + 15) / 16 * 16));
    s.scale_column_stride = columns_first ? blocks : 1;
    s.scale_block_stride = columns_first ? 1 : s.columns;
  }
  form.scales = edge.scale.floats();
  for (float& scale : form.scales) scale *= product.alpha;
  // ONNX: an absent zero point is 0, whatever the type.
  for (int32_t p : edge.zero_points()) form.zero_points.push_back(static_cast<uint8_t>(p));
  return form;
}

}  // namespace

Kernel weight_only_product(PrepareContext& c, Product product, FloatBias bias) {
  const Tensor& weights = *c.constant(product.weight_input);
  const EdgeQuant& edge = *c.quant(product.weight_input);
  std::optional<BlockForm> form;
  const bool plain =
      !product.initialize && std::none_of(product.parts.begin(), product.parts.end(),
                                          [](const ProductPart& p) { return p.conv.has_value(); });
  if (plain) form = block_form(product, weights, edge);
  if (!form) {
    // Convolutions use each weight for many pixels: floats packed once are the faster form.
    auto packed = c.cached<PackedFloat>("float/" + product.cache_kind, [&] {
      const Tensor floats = dequantized(weights, edge);
      return pack_float(product, floats.data<float>().data());
    });
    return float_kernel(c, std::move(product), std::move(bias), std::move(packed));
  }
  struct BlockFrame : FloatFrame {
    std::shared_ptr<const PackedBlocks> blocks;
  };
  auto frame = std::make_shared<BlockFrame>();
  frame->blocks = c.cached<PackedBlocks>("blocks/" + product.cache_kind, [&] {
    form->source.scales = form->scales.data();
    form->source.zero_points = form->zero_points.data();
    auto packed = std::make_shared<PackedBlocks>();
    packed->bytes = kernels::packed_block_weights_bytes(form->source);
    packed->storage = allocate_bytes(packed->bytes);
    packed->view = kernels::pack_block_weights(form->source, packed->storage.get());
    return packed;
  });
  frame->product = std::move(product);
  frame->bias = std::move(bias);
  frame->clamp = c.clamp();
  frame->lay_out(c, sizeof(float), {}, kernels::weight_only_gemm_scratch_bytes(frame->blocks->view));
  return [f = std::shared_ptr<const BlockFrame>(frame)](const RunContext& r) {
    const Product& p = f->product;
    const float* input = f->input<float>(r);
    r.parallel(static_cast<int64_t>(f->tasks.size()), [&](int64_t t, int thread) {
      const ProductTask& task = f->tasks[static_cast<size_t>(t)];
      const ProductPart& part = p.parts[static_cast<size_t>(task.part)];
      kernels::weight_only_gemm(part_input(part, input), f->blocks->view, f->output(r, part), task.range,
                                f->gather(r, thread));
    });
  };
}

}  // namespace zp
