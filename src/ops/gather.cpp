// Gather, GatherElements, GatherND: values picked by index.
#include "ops/gather.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/grain.h"
#include "kernels/elementwise/quantize.h"
#include "ops/byte_edges.h"
#include "ops/gradient.h"
#include "ops/indices.h"
#include "ops/moving.h"
#include "ops/respell.h"

namespace zp {
namespace {

// ---- Gather

void infer_gather(InferContext& c) {
  require_index_type(c, 1);
  const SymShape* data = c.shape(0);
  const SymShape* indices = c.shape(1);
  if (!data || !indices) return c.output(0, c.dtype(0));
  const int axis = c.axis(c.ints("axis", 0), static_cast<int>(data->size()));
  SymShape out(data->begin(), data->begin() + axis);
  out.insert(out.end(), indices->begin(), indices->end());
  out.insert(out.end(), data->begin() + axis + 1, data->end());
  c.output(0, c.dtype(0), std::move(out));
}

// Which scale an element of quantized data has.
enum class ScaleOf {
  kTensor,
  kRow,
  kColumn,
  kBlock
};  // one for all; of the index that is picked; of the last dimension; of a part of that

std::optional<ScaleOf> scale_of(const PrepareContext& c) {
  const EdgeQuant* q = c.quant(0);
  if (!q || q->at_run_time()) return std::nullopt;
  if (q->block_size != 0) {
    const Shape& dims = c.dims(0);
    const int rank = static_cast<int>(dims.size()), axis = q->axis < 0 ? q->axis + rank : q->axis;
    const bool rows = rank > 1 && axis == rank - 1 && c.axis(c.node().int_attribute("axis", 0), rank) == 0;
    return rows && bits_of(q->dtype) <= 8 ? std::optional(ScaleOf::kBlock) : std::nullopt;
  }
  if (q->dtype != DType::kUint8 && q->dtype != DType::kInt8) return std::nullopt;
  if (q->per_tensor()) return ScaleOf::kTensor;
  const int rank = static_cast<int>(c.dims(0).size());
  const int of = q->axis < 0 ? q->axis + rank : q->axis;
  if (of < 0 || of >= rank || q->scale.size() != c.dims(0)[static_cast<size_t>(of)]) return std::nullopt;
  if (of == c.axis(c.node().int_attribute("axis", 0), rank)) return ScaleOf::kRow;
  return of == rank - 1 ? std::optional(ScaleOf::kColumn) : std::nullopt;
}

// Gather picks integers as they are, or makes floats of those that it picks: of an embedding's table, only
// these rows.
bool has_integer_gather(const PrepareContext& c) {
  if (!scale_of(c) || c.quant(1)) return false;
  return !c.out_quant() || (is_byte_edge(c.quant(0)) && is_byte_edge(c.out_quant()) &&
                            same_quantization(*c.quant(0), *c.out_quant()));
}

template <class T>
Kernel dequantizing_gather(const PrepareContext& c, size_t axis) {
  const Shape& dims = c.dims(0);
  const int64_t outer = element_count(dims, 0, axis), size = dims[axis],
                inner = element_count(dims, axis + 1, dims.size());
  const int64_t columns = dims.back();
  const int64_t count = element_count(c.dims(1));
  const bool wide = c.dtype(1) == DType::kInt64;
  const ScaleOf of = *scale_of(c);
  const std::vector<float> scales = c.quant(0)->scale.floats();
  const std::vector<int32_t> points = c.quant(0)->zero_points();
  return [=](const RunContext& run) {
    const Indices indices = Indices::of(run, 1, wide);
    const int64_t grain = grain_for({.work = inner});
    run.parallel_range(outer * count, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t picked = indices.at(i % count, size);
        const T* in = run.in<T>(0) + (i / count * size + picked) * inner;
        float* out = run.out<float>(0) + i * inner;
        if (of == ScaleOf::kColumn) {
          for (int64_t j = 0; j < inner; ++j) {
            const auto s = static_cast<size_t>(j % columns);
            out[j] = static_cast<float>(in[j] - points[s]) * scales[s];
          }
          continue;
        }
        const auto s = static_cast<size_t>(of == ScaleOf::kRow ? picked : 0);
        const float scale = scales[s];
        const int32_t point = points[s];
        for (int64_t j = 0; j < inner; ++j) out[j] = static_cast<float>(in[j] - point) * scale;
      }
    });
  };
}

// The last dimension of what is picked is in blocks, each with its scale.
Kernel block_gather(const PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const EdgeQuant& q = *c.quant(0);
  const int64_t size = dims[0], columns = dims.back(), lines = element_count(dims, 1, dims.size() - 1),
                block = q.block_size, blocks = (columns + block - 1) / block,
                count = element_count(c.dims(1));
  const bool wide = c.dtype(1) == DType::kInt64;
  const DType type = q.dtype;
  return [=, scales = q.scale.floats(), points = q.zero_points()](const RunContext& run) {
    const Indices indices = Indices::of(run, 1, wide);
    run.parallel_range(count * lines, grain_for({.work = columns}), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t line = indices.at(i / lines, size) * lines + i % lines;
        for (int64_t b = 0; b < blocks; ++b) {
          const auto s = static_cast<size_t>(line * blocks + b);
          kernels::dequantize(run.in<void>(0), type, scales[s], points[s],
                              run.out<float>(0) + i * columns + b * block,
                              static_cast<size_t>(line * columns + b * block),
                              static_cast<size_t>(std::min(block, columns - b * block)));
        }
      }
    });
  };
}

// Rows of a table have little to do with each other: each may have a scale of its own.
int row_axis(const Node& node, int) { return node.int_attribute("axis", 0) == 0 ? 0 : -1; }

Kernel prepare_gather(PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const auto axis =
      static_cast<size_t>(c.axis(c.node().int_attribute("axis", 0), static_cast<int>(dims.size())));
  const int64_t outer = element_count(dims, 0, axis), size = dims[axis];
  if (c.quant(0) && c.quant(0)->block_size != 0) {
    check_constant_indices(c, 1, {size});
    if (size == 0 && element_count(c.dims(1)) > 0)
      c.fail(ErrorCode::kShapeMismatch, "there is nothing to gather from");
    return block_gather(c);
  }
  const auto bytes = static_cast<size_t>(element_count(dims, axis + 1, dims.size())) * element_bytes(c, 0);
  const int64_t count = element_count(c.dims(1));
  const bool wide = c.dtype(1) == DType::kInt64;
  if (size == 0 && count > 0) c.fail(ErrorCode::kShapeMismatch, "there is nothing to gather from");
  check_constant_indices(c, 1, {size});
  if (c.quant(0) && !c.out_quant()) {
    return c.dtype(0) == DType::kInt8 ? dequantizing_gather<int8_t>(c, axis)
                                      : dequantizing_gather<uint8_t>(c, axis);
  }
  return [=](const RunContext& run) {
    const Indices indices = Indices::of(run, 1, wide);
    const int64_t grain = grain_for({.bytes = static_cast<int64_t>(bytes)});
    run.parallel_range(outer * count, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / count * size + indices.at(i % count, size);
        std::memcpy(run.outputs[0] + i * static_cast<int64_t>(bytes),
                    run.inputs[0] + row * static_cast<int64_t>(bytes), bytes);
      }
    });
  };
}

// ---- GatherElements

void infer_gather_elements(InferContext& c) {
  require_index_type(c, 1);
  const SymShape* data = c.shape(0);
  const SymShape* indices = c.shape(1);
  if (!indices) return c.output(0, c.dtype(0));
  if (data) {
    const int axis = c.axis(c.ints("axis", 0), static_cast<int>(data->size()));
    bool fits = data->size() == indices->size();
    for (size_t i = 0; fits && i < data->size(); ++i) {
      fits = static_cast<int>(i) == axis || !(*data)[i].known() || !(*indices)[i].known() ||
             (*indices)[i].value() <= (*data)[i].value();
    }
    c.require(fits, {"indices of shape ", *indices, " into ", *data});
  }
  c.output(0, c.dtype(0), *indices);
}

Kernel prepare_gather_elements(PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const Shape& out = c.dims(1);
  const auto axis =
      static_cast<size_t>(c.axis(c.node().int_attribute("axis", 0), static_cast<int>(dims.size())));
  const auto bytes = static_cast<int64_t>(element_bytes(c, 0));
  const bool wide = c.dtype(1) == DType::kInt64;
  const int64_t total = element_count(out);
  if (dims[axis] == 0 && total > 0) c.fail(ErrorCode::kShapeMismatch, "there is nothing to gather from");
  check_constant_indices(c, 1, {dims[axis]});
  Shape strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  return [=](const RunContext& run) {
    const Indices indices = Indices::of(run, 1, wide);
    run.parallel_range(total, grain_for({.work = 2}), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t rest = i, from = indices.at(i, dims[axis]) * strides[axis];
        for (size_t d = out.size(); d-- > 0; rest /= out[d])
          if (d != axis) from += rest % out[d] * strides[d];
        std::memcpy(run.outputs[0] + i * bytes, run.inputs[0] + from * bytes, static_cast<size_t>(bytes));
      }
    });
  };
}

// ---- GatherND

void infer_gather_nd(InferContext& c) {
  require_index_type(c, 1);
  const SymShape* data = c.shape(0);
  const SymShape* indices = c.shape(1);
  if (!data || !indices || indices->empty() || !indices->back().known()) return c.output(0, c.dtype(0));
  const int64_t batch = c.ints("batch_dims", 0), depth = indices->back().value();
  const auto rank = static_cast<int64_t>(data->size());
  c.require(
      batch >= 0 && depth >= 1 && batch < static_cast<int64_t>(indices->size()) && batch + depth <= rank,
      {"indices of shape ", *indices, " into ", *data, " with ", batch, " batch dimensions"});
  for (int64_t i = 0; i < batch; ++i) {
    const auto at = static_cast<size_t>(i);
    c.require(!contradicts((*data)[at], (*indices)[at]),
              {"batch dimensions of ", *indices, " and ", *data, " differ"});
  }
  SymShape out(indices->begin(), indices->end() - 1);
  out.insert(out.end(), data->begin() + batch + depth, data->end());
  c.output(0, c.dtype(0), std::move(out));
}

Kernel prepare_gather_nd(PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const Shape& at = c.dims(1);
  const auto batch = static_cast<size_t>(c.node().int_attribute("batch_dims", 0));
  const auto depth = static_cast<size_t>(at.back());
  const int64_t batches = element_count(at, 0, batch), picks = element_count(at, batch, at.size() - 1);
  const auto bytes =
      element_count(dims, batch + depth, dims.size()) * static_cast<int64_t>(element_bytes(c, 0));
  const bool wide = c.dtype(1) == DType::kInt64;
  const Shape picked(dims.begin() + static_cast<ptrdiff_t>(batch),
                     dims.begin() + static_cast<ptrdiff_t>(batch + depth));
  const int64_t image = element_count(picked, 0, depth);
  if (image == 0 && batches * picks > 0) c.fail(ErrorCode::kShapeMismatch, "there is nothing to gather from");
  check_constant_indices(c, 1, picked);
  return [=](const RunContext& run) {
    const Indices indices = Indices::of(run, 1, wide);
    run.parallel_range(batches * picks, grain_for({.bytes = bytes}), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t from = 0;
        for (size_t d = 0; d < depth; ++d)
          from = from * picked[d] +
                 indices.at(i * static_cast<int64_t>(depth) + static_cast<int64_t>(d), picked[d]);
        from += i / picks * image;
        std::memcpy(run.outputs[0] + i * bytes, run.inputs[0] + from * bytes, static_cast<size_t>(bytes));
      }
    });
  };
}

void gradient(Gradient& g) { give_moved(g); }

// Indices from the back came with opset 11.
void respell(Respell& r) {
  if (!r.before(11)) return;
  const auto indices = r.integers(1);
  if (!indices || std::any_of(indices->begin(), indices->end(), [](int64_t i) { return i < 0; })) r.need(11);
}

constexpr OpDef kGather = {.name = "Gather",
                           .inputs = "data indices",
                           .opsets = "7A 13b",
                           .types = "Ti",
                           .infer = infer_gather,
                           .prepare = prepare_gather,
                           .integer = has_integer_gather,
                           .quant = {.kind = QuantRule::Kind::kSameScale, .channel_axis = row_axis},
                           .respell = respell,
                           .fold = fold_gather,
                           .gradient = gradient};
constexpr OpDef kGatherElements = {.name = "GatherElements",
                                   .inputs = "data indices",
                                   .opsets = "11A 13b",
                                   .since = 11,
                                   .types = "Ti",
                                   .infer = infer_gather_elements,
                                   .prepare = prepare_gather_elements,
                                   .quant = {.kind = QuantRule::Kind::kSameScale},
                                   .gradient = gradient};
constexpr OpDef kGatherNd = {.name = "GatherND",
                             .inputs = "data indices",
                             .opsets = "11A 13b batch_dims:12",
                             .since = 11,
                             .types = "Ti",
                             .infer = infer_gather_nd,
                             .prepare = prepare_gather_nd,
                             .quant = {.kind = QuantRule::Kind::kSameScale},
                             .gradient = gradient};
const RegisterOps kRegistered({&kGather, &kGatherElements, &kGatherNd});

}  // namespace
}  // namespace zp
