#include "ops/product/float.h"

#include <algorithm>
#include <string>

#include "kernels/movement/copy.h"

namespace zp {
namespace {

void scale_packed(void* storage, size_t bytes, float alpha) {
  if (alpha == 1) return;
  auto* values = static_cast<float*>(storage);
  for (size_t i = 0; i < bytes / sizeof(float); ++i) values[i] *= alpha;
}

// Without the slack that the kernels' own size counts behind the last tile.
size_t packed_float_bytes(const kernels::WeightLayout& layout) {
  return kernels::round_up(static_cast<size_t>(layout.columns), kernels::kColumnTile) *
         static_cast<size_t>(layout.depth()) * sizeof(float);
}

}  // namespace

std::shared_ptr<const PackedFloat> pack_float(const Product& product, const float* from) {
  auto packed = std::make_shared<PackedFloat>();
  size_t total = 0;
  for (const ProductWeights& w : product.weights)
    total += cache_aligned(kernels::packed_float_weights_bytes(w.layout));
  packed->storage = allocate_bytes(packed->bytes = total);
  std::byte* at = packed->storage.get();
  for (const ProductWeights& w : product.weights) {
    packed->views.push_back(kernels::pack_float_weights(from + w.offset, w.layout, at));
    scale_packed(at, packed_float_bytes(w.layout), product.alpha);
    at += cache_aligned(kernels::packed_float_weights_bytes(w.layout));
  }
  kernels::flush_denormals(packed->storage.get(), packed->bytes);
  return packed;
}

Kernel float_kernel(PrepareContext& c, Product product, FloatBias bias,
                    std::shared_ptr<const PackedFloat> packed) {
  auto frame = std::make_shared<FloatFrame>();
  frame->product = std::move(product);
  frame->bias = std::move(bias);
  frame->clamp = c.clamp();
  frame->packed = std::move(packed);
  std::vector<size_t> packed_bytes;
  if (!frame->packed) {
    for (const ProductWeights& w : frame->product.weights)
      packed_bytes.push_back(kernels::packed_float_weights_bytes(w.layout));
  }
  size_t gather = 0;
  for (const ProductPart& part : frame->product.parts) {
    const kernels::WeightLayout& layout = frame->product.weights[static_cast<size_t>(part.weights)].layout;
    const kernels::FloatWeights shape{nullptr, layout.columns, layout.depth()};
    gather = std::max(gather, kernels::float_gemm_scratch_bytes(part_input<float>(part), shape));
  }
  frame->lay_out(c, sizeof(float), packed_bytes, gather);

  return [f = std::shared_ptr<const FloatFrame>(frame)](const RunContext& r) {
    const Product& p = f->product;
    const float* input = f->input<float>(r);
    if (!f->packed) {
      const float* from = r.in<float>(p.weight_input);
      r.parallel(static_cast<int64_t>(p.weights.size()), [&](int64_t i, int) {
        const ProductWeights& w = p.weights[static_cast<size_t>(i)];
        auto* to = r.scratch<std::byte>(f->packed_at[static_cast<size_t>(i)]);
        kernels::pack_float_weights(from + w.offset, w.layout, to);
        scale_packed(to, packed_float_bytes(w.layout), p.alpha);
      });
    }
    if (p.initialize) p.initialize(r);
    r.parallel(static_cast<int64_t>(f->tasks.size()), [&](int64_t t, int thread) {
      const ProductTask& task = f->tasks[static_cast<size_t>(t)];
      const ProductPart& part = p.parts[static_cast<size_t>(task.part)];
      const auto which = static_cast<size_t>(part.weights);
      const kernels::WeightLayout& layout = p.weights[which].layout;
      const kernels::FloatWeights weights =
          f->packed
              ? f->packed->views[which]
              : kernels::FloatWeights{r.scratch<float>(f->packed_at[which]), layout.columns, layout.depth()};
      kernels::float_gemm(part_input(part, input), weights, f->output(r, part), task.range,
                          f->gather(r, thread));
    });
  };
}

Kernel float_product(PrepareContext& c, Product product, FloatBias bias) {
  std::shared_ptr<const PackedFloat> packed;
  if (const Tensor* weights = c.constant(product.weight_input)) {
    packed = c.cached<PackedFloat>("float/" + product.cache_kind,
                                   [&] { return pack_float(product, weights->data<float>().data()); });
  }
  return float_kernel(c, std::move(product), std::move(bias), std::move(packed));
}

}  // namespace zp
