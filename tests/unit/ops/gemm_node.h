// Runs one node through its entry alone, without a planner: the test says what is constant and what is
// quantized.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "ops/infer.h"
#include "ops/op.h"

namespace zp::test {

struct NodeInput {
  Tensor tensor;  // in logical order; of a quantized edge, the integers; undefined: absent
  bool constant = false;
  std::optional<EdgeQuant> quant = {};
};

struct NodeCase {
  Node node;  // op_type, domain and attributes are enough
  std::vector<NodeInput> inputs;
  std::vector<Tensor> extra = {};  // run-time scales and zero points, behind the inputs
  std::optional<EdgeQuant> out_quant = {};
  Clamp clamp = {};
  int threads = 1;
};

inline EdgeQuant edge(DType type, std::vector<float> scales, std::vector<int32_t> zero_points = {},
                      int axis = 1) {
  EdgeQuant e;
  e.dtype = type;
  e.axis = axis;
  const Shape dims = scales.size() == 1 ? Shape{} : Shape{static_cast<int64_t>(scales.size())};
  e.scale = Tensor::of<float>(dims, scales);
  if (!zero_points.empty()) {
    e.zero_point =
        Tensor(type, zero_points.size() == 1 ? Shape{} : Shape{static_cast<int64_t>(zero_points.size())});
    for (size_t i = 0; i < zero_points.size(); ++i) {
      if (type == DType::kInt32) {
        e.zero_point.mutable_data<int32_t>()[i] = zero_points[i];
      } else {
        e.zero_point.mutable_raw()[i] = static_cast<std::byte>(static_cast<uint8_t>(zero_points[i]));
      }
    }
  }
  return e;
}

class MapCache : public PreparedCache {
 public:
  std::shared_ptr<const void> find_or_make(const std::string& key, std::span<const Source>,
                                           FunctionRef<Made()> make) override {
    std::shared_ptr<const void>& entry = entries[key];
    if (!entry) entry = make().object;
    return entry;
  }
  std::map<std::string, std::shared_ptr<const void>> entries;
};

// (N, C, ...) to (N, ..., C) and back, for elements of any whole number of bytes.
inline Tensor reordered(const Tensor& t, bool to_last) {
  if (t.dims().size() < 3) return t;
  Tensor out(t.dtype(), to_last ? to_channels_last(t.dims()) : to_logical(t.dims()));
  const Shape& logical = to_last ? t.dims() : out.dims();
  const size_t n = static_cast<size_t>(logical[0]), c = static_cast<size_t>(logical[1]);
  const size_t pixels = static_cast<size_t>(t.size()) / std::max<size_t>(1, n * c);
  const size_t bytes = static_cast<size_t>(bits_of(t.dtype())) / 8;
  for (size_t b = 0; b < n; ++b) {
    for (size_t ch = 0; ch < c; ++ch) {
      for (size_t p = 0; p < pixels; ++p) {
        const size_t first = (b * c + ch) * pixels + p, last = (b * pixels + p) * c + ch;
        std::memcpy(out.mutable_raw() + (to_last ? last : first) * bytes,
                    t.raw() + (to_last ? first : last) * bytes, bytes);
      }
    }
  }
  return out;
}

class CaseContext : public PrepareContext {
 public:
  CaseContext(const NodeCase& c, const Node& node, Shape out_dims, DType out_dtype, bool channels_last,
              MapCache& cache)
      : PrepareContext(node, &cache, c.threads),
        case_(c),
        out_dims_(std::move(out_dims)),
        out_dtype_(out_dtype),
        last_(channels_last) {
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      const Tensor& t = c.inputs[i].tensor;
      inputs_.push_back(i == 0 && last_ && t.defined() ? reordered(t, true) : t);
    }
    if (last_) out_dims_ = to_channels_last(out_dims_);
  }
  DType dtype(size_t i) const override { return i < inputs_.size() ? inputs_[i].dtype() : DType::kUndefined; }
  const Shape& dims(size_t i) const override { return inputs_[i].dims(); }
  const Tensor* constant(size_t i) const override {
    return i < inputs_.size() && case_.inputs[i].constant ? &inputs_[i] : nullptr;
  }
  Layout layout(size_t i) const override {
    return i == 0 && last_ ? Layout::kChannelsLast : Layout::kLogical;
  }
  DType out_dtype(size_t) const override { return out_dtype_; }
  const Shape& out_dims(size_t) const override { return out_dims_; }
  Layout out_layout(size_t) const override { return last_ ? Layout::kChannelsLast : Layout::kLogical; }
  const EdgeQuant* quant(size_t i) const override {
    return i < case_.inputs.size() && case_.inputs[i].quant ? &*case_.inputs[i].quant : nullptr;
  }
  const EdgeQuant* out_quant() const override { return case_.out_quant ? &*case_.out_quant : nullptr; }
  Clamp clamp() const override { return case_.clamp; }
  std::shared_ptr<SubPlan> plan_subgraph(std::string_view) const override { return nullptr; }
  size_t capture_slot(std::string_view) const override { return 0; }

  const std::vector<Tensor>& inputs_in_memory() const { return inputs_; }

 protected:
  std::string cache_key(std::string_view kind) const override { return std::string(kind); }
  std::vector<PreparedCache::Source> cache_sources() const override { return {}; }

 private:
  const NodeCase& case_;
  std::vector<Tensor> inputs_;
  Shape out_dims_;
  DType out_dtype_;
  bool last_;
};

struct PreparedCase {
  Graph graph;
  Node node;
  Shape out_dims;
  DType out_dtype = DType::kUndefined;
  bool channels_last = false;

  explicit PreparedCase(const NodeCase& c) : node(c.node) {
    if (node.name.empty()) node.name = "node";
    for (const NodeInput& input : c.inputs) {
      if (!input.tensor.defined()) {
        node.inputs.push_back(kNoValue);
        continue;
      }
      const DType seen = input.quant ? DType::kFloat32 : input.tensor.dtype();
      node.inputs.push_back(graph.add_value("input", seen, symbolic(input.tensor.dims())));
      if (input.constant && !input.quant) graph[node.inputs.back()].constant = input.tensor;
    }
    node.outputs = {graph.add_value("output")};
    infer_node(graph, node);
    const Value& out = graph[node.outputs[0]];
    out_dims = *concrete(*out.shape);
    out_dtype = c.out_quant ? c.out_quant->dtype : out.dtype;
    if (const auto layout = op_of(node).layout) {
      channels_last = layout(GraphInferContext(graph, node)) == LayoutRule::kChannelsLast;
    }
  }
};

// What OpDef::integer answers.
inline bool has_integer_kernel(const NodeCase& c) {
  const PreparedCase p(c);
  MapCache cache;
  const CaseContext context(c, p.node, p.out_dims, p.out_dtype, false, cache);
  return op_of(p.node).integer(context);
}

// Output 0, in logical order.
inline Tensor run_node(const NodeCase& c) {
  const PreparedCase p(c);
  MapCache cache;
  CaseContext context(c, p.node, p.out_dims, p.out_dtype, p.channels_last, cache);
  const Kernel kernel = op_of(p.node).prepare(context);
  Tensor out(p.out_dtype, context.out_dims(0));
  // What a kernel does not write shows as something that no result is.
  std::memset(out.mutable_raw(), 0x7f, out.bytes());
  std::vector<const std::byte*> inputs;
  for (const Tensor& t : context.inputs_in_memory()) inputs.push_back(t.defined() ? t.raw() : nullptr);
  for (const Tensor& t : c.extra) inputs.push_back(t.raw());
  std::byte* outputs[] = {out.mutable_raw()};
  const std::shared_ptr<std::byte> scratch = allocate_bytes(context.scratch_bytes());
  ThreadPool pool(c.threads);
  RunContext r;
  r.inputs = inputs.data();
  r.outputs = outputs;
  r.scratch_base = scratch.get();
  r.pool = c.threads > 1 ? &pool : nullptr;
  kernel(r);
  return p.channels_last ? reordered(out, false) : out;
}

// ---- data

inline Tensor random_floats(Shape dims, uint32_t seed) {
  std::mt19937 random(seed);
  Tensor t(DType::kFloat32, std::move(dims));
  for (float& v : t.mutable_data<float>())
    v = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 500.0F;
  return t;
}

inline Tensor random_bytes(DType type, Shape dims, uint32_t seed) {
  std::mt19937 random(seed);
  Tensor t(type, std::move(dims));
  for (size_t i = 0; i < t.bytes(); ++i) t.mutable_raw()[i] = static_cast<std::byte>(random() % 256);
  return t;
}

// x - zero point, times scale, as double (what the reference products take).
inline std::vector<double> reals(const NodeInput& input, int axis = 1) {
  const Tensor& t = input.tensor;
  std::vector<double> values(static_cast<size_t>(t.size()));
  if (!input.quant) {
    const std::vector<float> floats = t.floats();
    return {floats.begin(), floats.end()};
  }
  const std::vector<float> scales = input.quant->scale.floats();
  const std::vector<int32_t> points = input.quant->zero_points();
  int64_t inner = 1;
  for (size_t d = static_cast<size_t>(axis) + 1; d < t.dims().size(); ++d) inner *= t.dims()[d];
  for (int64_t i = 0; i < t.size(); ++i) {
    const size_t s =
        scales.size() == 1 ? 0 : static_cast<size_t>(i / inner % t.dims()[static_cast<size_t>(axis)]);
    values[static_cast<size_t>(i)] =
        static_cast<double>(t.integer_at(i) - points[s]) * static_cast<double>(scales[s]);
  }
  return values;
}

inline void expect_near(const Tensor& got, const std::vector<double>& want, double tolerance) {
  ASSERT_EQ(static_cast<size_t>(got.size()), want.size()) << to_string(got.dims());
  double largest = 1e-6;
  for (double v : want) largest = std::max(largest, std::abs(v));
  const std::span<const float> y = got.data<float>();
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(y[i]), want[i], tolerance * largest)
        << "element " << i << " of " << to_string(got.dims());
  }
}

inline void expect_same(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.dims(), b.dims());
  ASSERT_EQ(a.dtype(), b.dtype());
  ASSERT_EQ(0, std::memcmp(a.raw(), b.raw(), a.bytes()));
}

}  // namespace zp::test
