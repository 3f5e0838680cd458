// ScatterND, ScatterElements and the Scatter that it replaced: a copy with some elements written over.
//
// Updates are made in order, in one thread: of two updates of the same element the later one wins.
#include <algorithm>
#include <cstring>

#include "core/element_types.h"
#include "ops/indices.h"
#include "ops/moving.h"
#include "ops/respell.h"

namespace zp {
namespace {

enum class Reduction { kNone, kAdd, kMul, kMax, kMin };

Reduction reduction_of(const PrepareContext& c) {
  const std::string r = c.node().string_attribute("reduction", "none");
  if (r == "none") return Reduction::kNone;
  if (r == "add") return Reduction::kAdd;
  if (r == "mul") return Reduction::kMul;
  if (r == "max") return Reduction::kMax;
  if (r == "min") return Reduction::kMin;
  c.fail(ErrorCode::kUnsupportedOperator, {"reduction '", r, "' is not supported"});
}

template <class T>
void combine(T* to, const T* from, int64_t count, Reduction reduction) {
  for (int64_t i = 0; i < count; ++i) {
    switch (reduction) {
      case Reduction::kNone:
        to[i] = from[i];
        break;
      case Reduction::kAdd:
        to[i] = static_cast<T>(to[i] + from[i]);
        break;
      case Reduction::kMul:
        to[i] = static_cast<T>(to[i] * from[i]);
        break;
      case Reduction::kMax:
        to[i] = std::max(to[i], from[i]);
        break;
      case Reduction::kMin:
        to[i] = std::min(to[i], from[i]);
        break;
    }
  }
}

using Update = void (*)(std::byte* to, const std::byte* from, int64_t count, Reduction reduction);

// Sums and products of integers wrap around, as they do in ONNX Runtime: so they are computed unsigned.
template <class T>
struct Unsigned {
  using Type = T;
};
template <std::signed_integral T>
struct Unsigned<T> {
  using Type = std::make_unsigned_t<T>;
};
template <class T>
void update(std::byte* to, const std::byte* from, int64_t count, Reduction reduction) {
  if (reduction == Reduction::kAdd || reduction == Reduction::kMul) {
    return combine(reinterpret_cast<typename Unsigned<T>::Type*>(to),
                   reinterpret_cast<const typename Unsigned<T>::Type*>(from), count, reduction);
  }
  combine(reinterpret_cast<T*>(to), reinterpret_cast<const T*>(from), count, reduction);
}

// nullptr: plain copies of bytes.
Update update_for(const PrepareContext& c, Reduction reduction) {
  if (reduction == Reduction::kNone) return nullptr;
  Update made = nullptr;
  if (!visit(c.dtype(0), ElementTypes<float, double, int8_t, uint8_t, uint32_t, uint64_t, int32_t, int64_t>(),
             [&]<class T>(Element<T>) { made = update<T>; })) {
    c.fail(ErrorCode::kUnsupportedType, {"a reduction of ", name_of(c.dtype(0)), " is not supported"});
  }
  return made;
}

void require_types(const InferContext& c) {
  require_index_type(c, 1);
  if (c.dtype(2) != c.dtype(0) && c.dtype(2) != DType::kUndefined && c.dtype(0) != DType::kUndefined) {
    c.fail(ErrorCode::kInvalidModel, "updates have another type than the data");
  }
}

// Elements of input 2, on their way into a copy of input 0.
struct Updates {
  bool wide = false;  // the indices are int64
  int64_t bytes = 0;  // of an element
  size_t total = 0;   // of input 0, in bytes
  Reduction reduction = Reduction::kNone;
  Update update = nullptr;

  static Updates of(PrepareContext& c) {
    Updates u{.wide = c.dtype(1) == DType::kInt64,
              .bytes = static_cast<int64_t>(element_bytes(c, 0)),
              .reduction = reduction_of(c)};
    u.update = update_for(c, u.reduction);
    u.total = static_cast<size_t>(element_count(c.dims(0)) * u.bytes);
    c.in_place(0);
    return u;
  }
  void start(const RunContext& run) const {  // the copy, unless the output is the input
    if (run.outputs[0] != run.inputs[0]) std::memcpy(run.outputs[0], run.inputs[0], total);
  }
  void put(const RunContext& run, int64_t to, int64_t from, int64_t count) const {
    std::byte* target = run.outputs[0] + to * bytes;
    const std::byte* source = run.inputs[2] + from * bytes;
    if (update) {
      update(target, source, count, reduction);
    } else {
      std::memcpy(target, source, static_cast<size_t>(count * bytes));
    }
  }
};

// ---- ScatterND

void infer_scatter_nd(InferContext& c) {
  require_types(c);
  const SymShape *data = c.shape(0), *indices = c.shape(1), *updates = c.shape(2);
  if (data && indices && updates && !indices->empty() && indices->back().known()) {
    const auto depth = static_cast<size_t>(indices->back().value());
    c.require(depth <= data->size(), {"indices of shape ", *indices, " into ", *data});
    SymShape want(indices->begin(), indices->end() - 1);
    want.insert(want.end(), data->begin() + static_cast<ptrdiff_t>(depth), data->end());
    bool fits = want.size() == updates->size();
    for (size_t i = 0; fits && i < want.size(); ++i) fits = !contradicts(want[i], (*updates)[i]);
    c.require(fits, {"updates of shape ", *updates, " where ", want, " are needed"});
  }
  infer_same(c);
}

Kernel prepare_scatter_nd(PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const Shape& at = c.dims(1);
  if (at.empty()) c.fail(ErrorCode::kShapeMismatch, "indices are a scalar");
  const auto depth = static_cast<size_t>(at.back());
  const int64_t count = element_count(at, 0, at.size() - 1);
  const int64_t block = element_count(dims, depth, dims.size());
  const Shape sizes(dims.begin(), dims.begin() + static_cast<ptrdiff_t>(depth));
  if (count > 0 && element_count(sizes, 0, depth) == 0)
    c.fail(ErrorCode::kShapeMismatch, "there is nothing to write to");
  check_constant_indices(c, 1, sizes);
  const Updates updates = Updates::of(c);
  return [=](const RunContext& run) {
    updates.start(run);
    const Indices indices = Indices::of(run, 1, updates.wide);
    for (int64_t i = 0; i < count; ++i) {
      int64_t to = 0;
      for (size_t d = 0; d < depth; ++d) {
        to = to * sizes[d] + indices.at(i * static_cast<int64_t>(depth) + static_cast<int64_t>(d), sizes[d]);
      }
      updates.put(run, to * block, i * block, block);
    }
  };
}

// ---- ScatterElements

void infer_scatter_elements(InferContext& c) {
  require_types(c);
  const SymShape *data = c.shape(0), *indices = c.shape(1), *updates = c.shape(2);
  if (data) c.axis(c.ints("axis", 0), static_cast<int>(data->size()));
  if (data && indices && updates) {
    bool fits = data->size() == indices->size() && indices->size() == updates->size();
    for (size_t i = 0; fits && i < indices->size(); ++i) fits = !contradicts((*indices)[i], (*updates)[i]);
    c.require(fits, {"indices of shape ", *indices, " and updates of shape ", *updates, " into ", *data});
  }
  infer_same(c);
}

Kernel prepare_scatter_elements(PrepareContext& c) {
  const Shape dims = c.dims(0), at = c.dims(1);
  const auto axis =
      static_cast<size_t>(c.axis(c.node().int_attribute("axis", 0), static_cast<int>(dims.size())));
  const int64_t count = element_count(at);
  for (size_t d = 0; d < dims.size(); ++d) {
    if (count > 0 && (dims[d] == 0 || (d != axis && at[d] > dims[d]))) {
      c.fail(ErrorCode::kShapeMismatch, {"indices of shape ", at, " into ", dims});
    }
  }
  check_constant_indices(c, 1, {dims[axis]});
  Shape strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  const Updates updates = Updates::of(c);
  return [=](const RunContext& run) {
    updates.start(run);
    const Indices indices = Indices::of(run, 1, updates.wide);
    for (int64_t i = 0; i < count; ++i) {
      int64_t rest = i, to = indices.at(i, dims[axis]) * strides[axis];
      for (size_t d = at.size(); d-- > 0; rest /= at[d])
        if (d != axis) to += rest % at[d] * strides[d];
      updates.put(run, to, i, 1);
    }
  };
}

void rename(Canonicalize& c) {
  c.node.op_type = "ScatterElements";
  c.keep();
}

constexpr std::string_view kWhyFloat = "mixes two values that may have different scales";

void respell(Respell& r) {
  const std::string reduction = r.node.string_attribute("reduction", "none");
  if (reduction == "max" || reduction == "min") r.need(18);
}

// ONNX Runtime's kernels of both take float16, and fail in the run where there is something to compute.
std::string_view fails_in_half(const Graph&, const Node& node, const std::vector<const Node*>&) {
  return node.string_attribute("reduction", "none") == "none"
             ? ""
             : "ONNX Runtime does not compute its reduction in float16";
}

constexpr OpDef kScatterNd = {.name = "ScatterND",
                              .inputs = "data indices updates",
                              .opsets = "11A 13b reduction=none:16",
                              .since = 11,
                              .types = "TiT",
                              .infer = infer_scatter_nd,
                              .prepare = prepare_scatter_nd,
                              .quant = {.why_float = kWhyFloat},
                              .fails_in_half = fails_in_half,
                              .respell = respell};
constexpr OpDef kScatterElements = {.name = "ScatterElements",
                                    .inputs = "data indices updates",
                                    .opsets = "11A 13b reduction=none:16",
                                    .since = 11,
                                    .types = "TiT",
                                    .infer = infer_scatter_elements,
                                    .prepare = prepare_scatter_elements,
                                    .quant = {.why_float = kWhyFloat},
                                    .fails_in_half = fails_in_half,
                                    .respell = respell};
constexpr OpDef kScatter = {
    .name = "Scatter", .inputs = "data indices updates", .since = 9, .canonicalize = rename};
const RegisterOps kRegistered({&kScatterNd, &kScatterElements, &kScatter});

}  // namespace
}  // namespace zp
