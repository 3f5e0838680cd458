// Products of 8-bit integers.
#include "kernels/gemm/int8.h"

#include <algorithm>
#include <memory>
#include <string>

#include "ops/product/frame.h"

namespace zp {
namespace {

struct PackedInt8 {
  std::shared_ptr<std::byte> storage;
  size_t bytes = 0;
  std::vector<kernels::Int8Weights> views;
};

kernels::Int8WeightSource weight_source(const ProductWeights& w, const uint8_t* from, bool is_unsigned,
                                        const void* zero_points, int zero_point_count) {
  kernels::Int8WeightSource source;
  source.data = from + w.offset;
  source.is_unsigned = is_unsigned;
  source.layout = w.layout;
  if (zero_point_count > 0) {
    source.zero_points =
        static_cast<const uint8_t*>(zero_points) + (zero_point_count > 1 ? w.first_column : 0);
    source.zero_point_count = zero_point_count > 1 ? w.layout.columns : 1;
  }
  return source;
}

std::shared_ptr<const PackedInt8> pack_int8(const Product& product, const Weights8& weights) {
  auto packed = std::make_shared<PackedInt8>();
  size_t total = 0;
  for (const ProductWeights& w : product.weights)
    total += cache_aligned(kernels::packed_int8_weights_bytes(w.layout));
  packed->storage = allocate_bytes(packed->bytes = total);
  std::byte* at = packed->storage.get();
  const auto* from = reinterpret_cast<const uint8_t*>(weights.constant->raw());
  for (const ProductWeights& w : product.weights) {
    packed->views.push_back(
        kernels::pack_int8_weights(weight_source(w, from, weights.is_unsigned, weights.zero_points.data(),
                                                 static_cast<int>(weights.zero_points.size())),
                                   at));
    at += cache_aligned(kernels::packed_int8_weights_bytes(w.layout));
  }
  return packed;
}

// Scratch for weights that are packed in the run, enough for whichever method the run uses.
size_t gather_bytes_of(const kernels::WeightLayout& layout) {
  kernels::Int8Weights shape;
  shape.columns = layout.columns;
  shape.depth = layout.depth();
  shape.padded_depth = (layout.depth() + 3) / 4 * 4;
  size_t bytes = 0;
  for (const auto method : {kernels::Int8Method::kDot16, kernels::Int8Method::kDot8,
                            kernels::Int8Method::kDot8Signed, kernels::Int8Method::kDot8Narrow}) {
    shape.method = method;
    bytes = std::max(bytes, kernels::int8_gemm_scratch_bytes(shape));
  }
  return bytes;
}

struct IntegerFrame : ProductFrame {
  Operand8 operand;
  Weights8 weights;
  Epilogue8 epilogue;
  std::shared_ptr<const PackedInt8> packed;
};

}  // namespace

Kernel integer_product(PrepareContext& c, Product product, Operand8 input, Weights8 weights,
                       Epilogue8 epilogue) {
  auto frame = std::make_shared<IntegerFrame>();
  frame->product = std::move(product);
  frame->operand = input;
  frame->epilogue = std::move(epilogue);
  const Product& p = frame->product;
  std::vector<size_t> packed_bytes;
  size_t gather = 0;
  if (weights.constant) {
    frame->packed = c.cached<PackedInt8>("int8/" + p.cache_kind, [&] { return pack_int8(p, weights); });
    for (const kernels::Int8Weights& w : frame->packed->views) {
      gather = std::max(gather, kernels::int8_gemm_scratch_bytes(w));
    }
    weights.constant.reset();  // packed: the original is the graph's
  } else {
    for (const ProductWeights& w : p.weights) {
      packed_bytes.push_back(kernels::packed_int8_weights_bytes(w.layout));
      gather = std::max(gather, gather_bytes_of(w.layout));
    }
  }
  frame->weights = std::move(weights);
  frame->lay_out(c, 1, packed_bytes, gather);
  // Views of weights packed in each run go behind the gathered rows: nothing is allocated in a run.
  const size_t views_at = cache_aligned(c.scratch_bytes());
  if (!frame->packed) c.scratch(views_at + p.weights.size() * sizeof(kernels::Int8Weights));

  return [f = std::shared_ptr<const IntegerFrame>(frame), views_at](const RunContext& r) {
    const Product& p = f->product;
    const uint8_t* input = f->input<uint8_t>(r);
    const kernels::Int8Weights* views = f->packed ? f->packed->views.data() : nullptr;
    if (!f->packed) {
      auto* made = r.scratch<kernels::Int8Weights>(views_at);
      const uint8_t* from = r.in<uint8_t>(p.weight_input);
      r.parallel(static_cast<int64_t>(p.weights.size()), [&](int64_t i, int) {
        const auto at = static_cast<size_t>(i);
        std::construct_at(made + at, kernels::pack_int8_weights(
                                         weight_source(p.weights[at], from, f->weights.is_unsigned,
                                                       f->weights.zero_points_in(r), f->weights.count()),
                                         r.scratch<std::byte>(f->packed_at[at])));
      });
      views = made;
    }
    const int32_t zero_point = f->operand.zero_point_in(r);
    const float scale = f->epilogue.scale_in(r);
    r.parallel(static_cast<int64_t>(f->tasks.size()), [&](int64_t t, int thread) {
      const ProductTask& task = f->tasks[static_cast<size_t>(t)];
      const ProductPart& part = p.parts[static_cast<size_t>(task.part)];
      const auto which = static_cast<size_t>(part.weights);
      kernels::Int8Input in;
      in.rows = part_input(part, input);
      in.is_signed = f->operand.is_signed;
      in.zero_point = zero_point;
      f->epilogue.with_output(r, scale, part.output_offset, part.output_rows, p.weights[which].first_column,
                              [&](const auto& output) {
                                kernels::int8_gemm(in, views[which], output, task.range,
                                                   f->gather(r, thread));
                              });
    });
  };
}

}  // namespace zp
