#include "random_graph.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "core/fnv.h"
#include "ops/infer.h"

namespace zp::fuzz {
namespace {

constexpr int64_t kMostElements = 4096;  // of a value

uint64_t hash(std::span<const uint8_t> bytes) {
  Fnv1a h;
  h.add(bytes.data(), bytes.size());
  return h.value;
}

}  // namespace

Choices::Choices(std::span<const uint8_t> bytes) : bytes_(bytes), state_(hash(bytes)) {}
Choices::Choices(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}

uint64_t Choices::next() {  // SplitMix64 (Steele, Lea, Flood 2014)
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

int64_t Choices::below(int64_t count) {
  uint64_t drawn = next();
  if (!bytes_.empty()) {
    drawn = bytes_.front();
    bytes_ = bytes_.subspan(1);
  }
  return static_cast<int64_t>(drawn % static_cast<uint64_t>(count));
}

float Choices::real(float least, float most) {
  return least + (most - least) * static_cast<float>(next() >> 40) * 0x1p-24f;
}

namespace {

using Attributes = std::vector<std::pair<std::string, Attribute>>;
using Ints = std::vector<int64_t>;

struct Known {
  ValueId id;
  Shape dims;
};

class Maker {
 public:
  Maker(Choices& choices, Graph& graph, bool& smooth) : c_(choices), graph_(graph), smooth_(smooth) {}

  void add_inputs() {
    const int64_t count = c_.one_in(3) ? c_.between(2, 3) : 1;
    for (int64_t i = 0; i < count; ++i) {
      const ValueId v =
          graph_.add_value("input" + std::to_string(i), DType::kFloat32, symbolic(input_dims()));
      graph_.inputs.push_back(v);
      values_.push_back({v, *concrete(*graph_[v].shape)});
    }
  }
  void take(const Known& known) { values_.push_back(known); }

  void add_nodes(int64_t count, bool inside_branch) {
    using Make = bool (Maker::*)();
    static const std::vector<Make> makers{
        &Maker::conv,
        &Maker::conv,
        &Maker::conv_transpose,
        &Maker::matmul,
        &Maker::matmul,
        &Maker::left_product,
        &Maker::computed_product,
        &Maker::gemm,
        &Maker::with_constant,
        &Maker::with_constant,
        &Maker::with_value,
        &Maker::unary,
        &Maker::unary,
        &Maker::clip,
        &Maker::prelu,
        &Maker::softmax,
        &Maker::batch_norm,
        &Maker::layer_norm,
        &Maker::instance_norm,
        &Maker::pool,
        &Maker::global_pool,
        &Maker::reduce,
        &Maker::transpose,
        &Maker::reshape,
        &Maker::computed_shape,
        &Maker::squeeze,
        &Maker::concat,
        &Maker::split,
        &Maker::slice,
        &Maker::pad,
        &Maker::gather,
        &Maker::table,
        &Maker::resize,
        &Maker::where,
        &Maker::expand,
        &Maker::depth_to_space,
        &Maker::lstm,
        &Maker::sharp,
        &Maker::branches,
    };
    int64_t made = 0;
    for (int tries = 0; made < count && tries < 40 * count; ++tries) {
      const Make make = c_.of(makers);
      if (inside_branch && make == &Maker::branches) continue;
      made += (this->*make)();
    }
  }

  // What nobody reads, and now and then a value inside.
  void add_outputs() {
    std::vector<bool> read(graph_.values.size(), false);
    for (const Node& n : graph_.nodes) {
      for (ValueId v : n.inputs)
        if (v != kNoValue) read[static_cast<size_t>(v)] = true;
      for (const auto& [key, attribute] : n.attributes)
        if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute))
          for (const Capture& capture : (*sub)->captures) read[static_cast<size_t>(capture.outer)] = true;
    }
    const auto is_input = [&](ValueId v) {
      return std::find(graph_.inputs.begin(), graph_.inputs.end(), v) != graph_.inputs.end();
    };
    for (const Known& v : values_)
      if (!is_input(v.id) && (!read[static_cast<size_t>(v.id)] || c_.one_in(16)))
        graph_.outputs.push_back(v.id);
    if (graph_.outputs.empty()) graph_.outputs.push_back(node("Relu", {graph_.inputs[0]}, {}, 1)[0]);
  }

  const std::vector<Known>& values() const { return values_; }

 private:
  static int64_t elements(const Shape& dims) { return element_count(dims); }
  static int rank(const Known& v) { return static_cast<int>(v.dims.size()); }

  Shape input_dims() {
    const int64_t n = c_.between(1, 3);
    switch (c_.below(5)) {
      case 0:
      case 1:
        return {n, c_.of(Ints{1, 2, 3, 4, 8, 12}), c_.between(3, 9), c_.between(3, 9)};
      case 2:
        return {n, c_.between(1, 7), c_.of(Ints{4, 8, 16, 21})};
      case 3:
        return {n, c_.of(Ints{1, 5, 16, 33, 40})};
      default:
        return {n, c_.between(1, 6), c_.between(4, 20)};
    }
  }

  // A value that fits, from the latest ones more often.
  const Known* pick(const std::function<bool(const Known&)>& fits) {
    std::vector<const Known*> found;
    for (const Known& v : values_)
      if (elements(v.dims) > 0 && elements(v.dims) <= kMostElements && fits(v)) found.push_back(&v);
    if (found.empty()) return nullptr;
    return c_.one_in(3) ? c_.of(found) : found.back();
  }
  const Known* pick_rank(int least, int most) {
    return pick([=](const Known& v) { return rank(v) >= least && rank(v) <= most; });
  }

  std::string fresh(std::string_view op) {
    return prefix_ + std::string(op) + std::to_string(graph_.nodes.size());
  }

  Tensor random(const Shape& dims, float least, float most) {
    Tensor t(DType::kFloat32, dims);
    for (float& x : t.mutable_data<float>()) x = c_.real(least, most);
    return t;
  }
  ValueId ints(const Ints& values) {
    return graph_.add_constant("ints", Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
  }
  ValueId scalar(float value) { return graph_.add_constant("scalar", Tensor::scalar(value)); }

  // A node that follows from constants alone: its output is no value of the pool.
  ValueId constant_node(std::string_view op, std::vector<ValueId> inputs, Attributes attributes = {}) {
    return node(op, std::move(inputs), std::move(attributes), 1)[0];
  }

  // A constant, sometimes written as exporters write them: computed from others by the graph.
  ValueId weight(const Shape& dims, float size) {
    if (c_.one_in(6))
      for (const auto& [known, id] : weights_)
        if (known == dims) return id;  // shared
    const auto plain = [&](const Shape& d, float s) { return graph_.add_constant("w", random(d, -s, s)); };
    const int r = static_cast<int>(dims.size());
    ValueId id = kNoValue;
    switch (c_.below(14)) {
      case 0: {
        const Tensor values = random(dims, -size, size);
        Tensor half(DType::kFloat16, dims);
        auto* const bits = reinterpret_cast<uint16_t*>(half.mutable_raw());
        for (size_t i = 0; i < static_cast<size_t>(values.size()); ++i)
          bits[i] = float_to_half(values.data<float>()[i]);
        id = constant_node("Cast", {graph_.add_constant("w16", std::move(half))}, {{"to", int64_t{1}}});
        break;
      }
      case 1:
        if (r < 2) break;
        {
          Shape turned = dims;
          std::swap(turned[static_cast<size_t>(r - 1)], turned[static_cast<size_t>(r - 2)]);
          Ints order;
          for (int i = 0; i < r; ++i) order.push_back(i);
          std::swap(order[static_cast<size_t>(r - 1)], order[static_cast<size_t>(r - 2)]);
          id = constant_node("Transpose", {plain(turned, size)}, {{"perm", order}});
        }
        break;
      case 2:
        id = constant_node("Reshape", {plain({elements(dims)}, size), ints(dims)});
        break;
      case 3: {
        if (r < 1 || dims[0] < 2) break;
        Shape a = dims, b = dims;
        a[0] = dims[0] / 2;
        b[0] = dims[0] - a[0];
        id = constant_node("Concat", {plain(a, size), plain(b, size)}, {{"axis", int64_t{0}}});
        break;
      }
      case 4: {
        if (r < 1) break;
        Shape larger = dims;
        larger[0] += 2;
        id = constant_node("Slice", {plain(larger, size), ints({1}), ints({1 + dims[0]}), ints({0})});
        break;
      }
      case 5:
        id = constant_node("Mul", {plain(dims, 1), scalar(size)});
        break;
      default:
        break;
    }
    if (id == kNoValue) id = plain(dims, size);
    weights_.emplace_back(dims, id);
    return id;
  }
  // Weights that keep sums of `count` products about as large as the values are.
  ValueId product_weight(const Shape& dims, int64_t count) {
    return weight(dims, 1.7f / std::sqrt(static_cast<float>(std::max<int64_t>(count, 1))));
  }

  std::vector<ValueId> node(std::string_view op, std::vector<ValueId> inputs, Attributes attributes,
                            int64_t outputs) {
    Node n;
    n.op_type = op;
    n.name = fresh(op);
    n.inputs = std::move(inputs);
    for (int64_t i = 0; i < outputs; ++i) n.outputs.push_back(graph_.add_value(n.name));
    for (auto& [key, value] : attributes) n.attributes.emplace(std::move(key), std::move(value));
    infer_node(graph_, n);
    const std::vector<ValueId> made = n.outputs;
    graph_.nodes.push_back(std::move(n));
    return made;
  }
  // Adds a node and its outputs to the pool. An output that is too large is one that nobody reads.
  bool add(std::string_view op, std::vector<ValueId> inputs, Attributes attributes = {},
           int64_t outputs = 1) {
    for (ValueId v : node(op, std::move(inputs), std::move(attributes), outputs)) {
      const auto dims = graph_[v].shape ? concrete(*graph_[v].shape) : std::nullopt;
      if (dims && graph_[v].dtype == DType::kFloat32) values_.push_back({v, *dims});
    }
    return true;
  }

  // ---- products

  bool conv() {
    const Known* found = pick_rank(3, 4);
    if (!found) return false;
    const Known x = *found;
    const auto spatial = static_cast<size_t>(rank(x) - 2);
    const int64_t channels = x.dims[1];
    const bool depthwise = c_.one_in(4);
    int64_t groups = depthwise ? channels : 1;
    if (!depthwise && c_.one_in(4) && channels % 2 == 0) groups = 2;
    const int64_t out = groups * c_.of(depthwise ? Ints{1, 1, 2} : Ints{1, 2, 3, 4, 8, 11});
    if (out > 64) return false;
    Shape w{out, channels / groups};
    Ints strides, dilations, pads(2 * spatial, 0);
    int64_t taps = channels / groups;
    const bool automatic = c_.one_in(4);
    for (size_t i = 0; i < spatial; ++i) {
      const int64_t size = x.dims[2 + i];
      const int64_t dilation = !automatic && c_.one_in(5) ? 2 : 1;  // ONNX Runtime has no form for both
      const int64_t k = c_.of(Ints{1, 2, 3, 3, 5});
      if (!automatic) {
        pads[i] = c_.below(k + 1);
        pads[i + spatial] = c_.below(k + 1);
      }
      if ((k - 1) * dilation + 1 > size + pads[i] + pads[i + spatial]) return false;
      w.push_back(k);
      taps *= k;
      strides.push_back(c_.one_in(3) ? 2 : 1);
      dilations.push_back(dilation);
    }
    Attributes attributes{{"strides", strides}, {"dilations", dilations}, {"group", groups}};
    if (automatic) {
      attributes.emplace_back("auto_pad", std::string(c_.one_in(2) ? "SAME_UPPER" : "SAME_LOWER"));
    } else {
      attributes.emplace_back("pads", pads);
    }
    std::vector<ValueId> inputs{x.id, product_weight(w, taps)};
    if (!c_.one_in(3)) inputs.push_back(weight({out}, 0.5f));
    return add("Conv", inputs, attributes);
  }

  bool conv_transpose() {
    const Known* found = pick_rank(3, 4);
    if (!found) return false;
    const Known x = *found;
    const auto spatial = static_cast<size_t>(rank(x) - 2);
    const int64_t channels = x.dims[1], groups = c_.one_in(4) && channels % 2 == 0 ? 2 : 1;
    const int64_t out = c_.between(1, 4);
    Shape w{channels, out};
    Ints strides, pads(2 * spatial, 0), extra;
    for (size_t i = 0; i < spatial; ++i) {
      w.push_back(c_.between(1, 4));
      strides.push_back(c_.between(1, 3));
      pads[i] = c_.below(w.back());
      pads[i + spatial] = c_.below(w.back());
      extra.push_back(strides.back() > 1 && c_.one_in(3) ? 1 : 0);
      const int64_t size =
          (x.dims[2 + i] - 1) * strides.back() + w.back() + extra.back() - pads[i] - pads[i + spatial];
      if (size < 1 || size > 30) return false;
    }
    std::vector<ValueId> inputs{x.id, product_weight(w, channels / groups * 2)};
    if (c_.one_in(2)) inputs.push_back(weight({out * groups}, 0.5f));
    return add("ConvTranspose", inputs,
               {{"strides", strides}, {"pads", pads}, {"output_padding", extra}, {"group", groups}});
  }

  bool matmul() {
    const Known* x = pick_rank(2, 4);
    if (!x) return false;
    const int64_t k = x->dims.back();
    Shape w{k, c_.of(Ints{1, 3, 4, 8, 17, 32})};
    if (rank(*x) == 3 && c_.one_in(4)) w.insert(w.begin(), c_.one_in(2) ? 1 : x->dims[0]);
    return add("MatMul", {x->id, product_weight(w, k)});
  }

  bool left_product() {
    const Known* x = pick_rank(2, 3);
    if (!x) return false;
    const int64_t k = x->dims[x->dims.size() - 2];
    return add("MatMul", {product_weight({c_.between(1, 9), k}, k), x->id});
  }

  bool computed_product() {
    const Known* found = pick_rank(2, 4);
    if (!found) return false;
    const Known a = *found;
    Ints order;
    for (int i = 0; i < rank(a); ++i) order.push_back(i);
    std::swap(order[order.size() - 1], order[order.size() - 2]);
    const ValueId turned = node("Transpose", {a.id}, {{"perm", order}}, 1)[0];
    const ValueId scaled = node("Mul", {turned, scalar(1.0f / static_cast<float>(a.dims.back()))}, {}, 1)[0];
    return add("MatMul", {a.id, scaled});
  }

  bool gemm() {
    const Known* x = pick_rank(2, 2);
    if (!x) return false;
    const bool turned = c_.one_in(4), weight_turned = c_.one_in(2);
    const int64_t m = x->dims[turned ? 1 : 0], k = x->dims[turned ? 0 : 1];
    const int64_t n = c_.of(Ints{1, 2, 5, 8, 16, 20});
    std::vector<ValueId> inputs{x->id, product_weight(weight_turned ? Shape{n, k} : Shape{k, n}, k)};
    if (!c_.one_in(4))
      inputs.push_back(weight(c_.of(std::vector<Shape>{{n}, {n}, {1, n}, {m, 1}, {m, n}, {}, {1}}), 0.5f));
    Attributes attributes{{"transA", int64_t{turned}}, {"transB", int64_t{weight_turned}}};
    if (c_.one_in(4)) attributes.emplace_back("alpha", 0.5f);
    if (c_.one_in(4)) attributes.emplace_back("beta", 2.0f);
    return add("Gemm", inputs, attributes);
  }

  // ---- elements

  Shape broadcast_part(const Shape& dims) {
    Shape part = dims;
    for (int64_t& d : part)
      if (c_.one_in(2)) d = 1;
    while (!part.empty() && c_.one_in(3)) part.erase(part.begin());
    return part;
  }

  bool with_constant() {
    const Known* x = pick_rank(1, 4);
    if (!x) return false;
    const std::string op = c_.of(std::vector<std::string>{"Add", "Add", "Mul", "Sub", "Div", "Max", "Min"});
    const Shape dims = broadcast_part(x->dims);
    if (op == "Div") return add(op, {x->id, graph_.add_constant("divisor", random(dims, 0.7f, 2.0f))});
    const ValueId constant = weight(dims, 1);
    return c_.one_in(4) ? add(op, {constant, x->id}) : add(op, {x->id, constant});
  }

  bool with_value() {
    const Known* found = pick_rank(1, 4);
    if (!found) return false;
    const Known a = *found;
    const Known* b = pick([&](const Known& v) { return v.dims == a.dims; });
    if (!b) return false;
    const std::string op = c_.of(std::vector<std::string>{"Add", "Add", "Sub", "Mul", "Max", "Sum", "Mean"});
    return add(op, {a.id, b->id});
  }

  bool unary() {
    const Known* x = pick_rank(1, 4);
    if (!x) return false;
    switch (c_.below(13)) {
      case 0:
      case 1:
      case 2:
        return add("Relu", {x->id});
      case 3:
        return add("Sigmoid", {x->id});
      case 4:
        return add("Tanh", {x->id});
      case 5:
        return add("HardSigmoid", {x->id}, {{"alpha", 0.2f}, {"beta", 0.4f}});
      case 6:
        return add("HardSwish", {x->id});
      case 7:
        return add("LeakyRelu", {x->id}, {{"alpha", 0.1f}});
      case 8:
        return add("Gelu", {x->id}, {{"approximate", std::string(c_.one_in(2) ? "tanh" : "none")}});
      case 9:
        return add("Elu", {x->id}, {{"alpha", 0.7f}});
      case 10:
        return add("Erf", {x->id});
      case 11:
        return add("Abs", {x->id});
      default:
        return add("Softplus", {x->id});
    }
  }

  bool clip() {
    const Known* x = pick_rank(1, 4);
    if (!x) return false;
    const bool least = c_.one_in(2);
    return add("Clip", {x->id, least ? scalar(c_.of(std::vector<float>{0, -1})) : kNoValue,
                        !least || c_.one_in(2) ? scalar(c_.of(std::vector<float>{1, 6})) : kNoValue});
  }

  bool prelu() {
    const Known* x = pick_rank(3, 4);
    if (!x) return false;
    Shape slope(x->dims.size() - 1, 1);
    slope[0] = x->dims[1];
    return add("PRelu", {x->id, weight(slope, 0.3f)});
  }

  bool softmax() {
    const Known* x = pick_rank(1, 4);
    if (!x) return false;
    return add("Softmax", {x->id}, {{"axis", c_.between(-rank(*x), rank(*x) - 1)}});
  }

  // ---- norms

  bool batch_norm() {
    const Known* x = pick_rank(2, 4);
    if (!x) return false;
    const Shape c{x->dims[1]};
    return add("BatchNormalization",
               {x->id, weight(c, 1), weight(c, 0.5f), weight(c, 0.5f),
                graph_.add_constant("variance", random(c, 0.5f, 2.0f))},
               {{"epsilon", 1e-3f}});
  }
  bool layer_norm() {
    const Known* x = pick([](const Known& v) { return v.dims.size() >= 2 && v.dims.back() > 3; });
    if (!x) return false;
    const Shape c{x->dims.back()};
    std::vector<ValueId> inputs{x->id, weight(c, 1)};
    if (c_.one_in(2)) inputs.push_back(weight(c, 0.5f));
    return add("LayerNormalization", inputs, {{"axis", int64_t{-1}}, {"epsilon", 1e-2f}});
  }
  bool instance_norm() {
    const Known* x = pick([](const Known& v) { return v.dims.size() == 4 && v.dims[2] * v.dims[3] > 8; });
    if (!x) return false;
    const Shape c{x->dims[1]};
    return add("InstanceNormalization", {x->id, weight(c, 1), weight(c, 0.5f)}, {{"epsilon", 1e-2f}});
  }

  // ---- windows

  bool pool() {
    const Known* found = pick_rank(3, 4);
    if (!found) return false;
    const Known x = *found;
    const auto spatial = static_cast<size_t>(rank(x) - 2);
    Ints kernel, strides, pads(2 * spatial, 0);
    for (size_t i = 0; i < spatial; ++i) {
      kernel.push_back(c_.between(1, 3));
      strides.push_back(c_.between(1, 2));
      pads[i] = c_.below(kernel.back());
      pads[i + spatial] = c_.below(kernel.back());
      if (kernel.back() > x.dims[2 + i]) return false;
    }
    Attributes attributes{{"kernel_shape", kernel}, {"strides", strides}, {"pads", pads}};
    if (c_.one_in(4)) attributes.emplace_back("ceil_mode", int64_t{1});
    if (c_.one_in(2)) return add("MaxPool", {x.id}, attributes);
    attributes.emplace_back("count_include_pad", c_.below(2));
    return add("AveragePool", {x.id}, attributes);
  }
  bool global_pool() {
    const Known* x = pick_rank(3, 4);
    return x && add(c_.one_in(3) ? "GlobalMaxPool" : "GlobalAveragePool", {x->id});
  }

  bool reduce() {
    const Known* x = pick_rank(2, 4);
    if (!x) return false;
    Ints axes{c_.between(-rank(*x), rank(*x) - 1)};
    if (c_.one_in(3)) axes = {rank(*x) - 2, rank(*x) - 1};
    const std::string op =
        c_.of(std::vector<std::string>{"ReduceMean", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"});
    return add(op, {x->id, ints(axes)}, {{"keepdims", c_.below(2)}});
  }

  // ---- what moves values

  bool transpose() {
    const Known* x = pick_rank(2, 4);
    if (!x) return false;
    Ints order;
    for (int i = 0; i < rank(*x); ++i) order.push_back(i);
    for (size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[static_cast<size_t>(c_.below(static_cast<int64_t>(i)))]);
    return add("Transpose", {x->id}, {{"perm", order}});
  }
  bool reshape() {
    const Known* x = pick_rank(2, 4);
    if (!x) return false;
    const int64_t n = elements(x->dims);
    switch (c_.below(4)) {
      case 0:
        return add("Flatten", {x->id}, {{"axis", c_.between(0, rank(*x))}});
      case 1:
        return add("Reshape", {x->id, ints({0, -1})});
      case 2:
        return rank(*x) >= 3 && add("Reshape", {x->id, ints({x->dims[0], -1, x->dims.back()})});
      default:
        return n % 4 == 0 && add("Reshape", {x->id, ints({-1, 4})});
    }
  }
  // A shape that the graph computes: Reshape(x, Concat(Shape(x)[0:1], [-1])).
  bool computed_shape() {
    const Known* found = pick_rank(2, 4);
    if (!found) return false;
    const Known x = *found;
    const ValueId shape = node("Shape", {x.id}, {}, 1)[0];
    const ValueId first = node("Slice", {shape, ints({0}), ints({1}), ints({0})}, {}, 1)[0];
    const ValueId wanted = node("Concat", {first, ints({-1})}, {{"axis", int64_t{0}}}, 1)[0];
    return add("Reshape", {x.id, wanted});
  }
  bool squeeze() {
    const Known* x = pick_rank(1, 3);
    if (!x) return false;
    for (size_t i = 0; i < x->dims.size(); ++i)
      if (x->dims[i] == 1 && rank(*x) > 1) return add("Squeeze", {x->id, ints({static_cast<int64_t>(i)})});
    return add("Unsqueeze", {x->id, ints({c_.between(0, rank(*x))})});
  }
  bool concat() {
    const Known* found = pick_rank(1, 4);
    if (!found) return false;
    const Known a = *found;
    const int64_t axis = c_.below(rank(a));
    const Known* b = pick([&](const Known& v) {
      if (rank(v) != rank(a)) return false;
      for (int i = 0; i < rank(a); ++i)
        if (i != axis && v.dims[static_cast<size_t>(i)] != a.dims[static_cast<size_t>(i)]) return false;
      return true;
    });
    if (!b || elements(a.dims) + elements(b->dims) > kMostElements) return false;
    std::vector<ValueId> inputs{a.id};
    if (!c_.one_in(10)) inputs.push_back(b->id);
    if (c_.one_in(5)) {
      Shape d = a.dims;
      d[static_cast<size_t>(axis)] = 2;
      inputs.push_back(weight(d, 1));
    }
    return add("Concat", inputs, {{"axis", axis}});
  }
  bool split() {
    const Known* x = pick([](const Known& v) { return v.dims.size() > 1 && v.dims[1] > 1; });
    if (!x) return false;
    const int64_t first = c_.between(1, x->dims[1] - 1);
    return add("Split", {x->id, ints({first, x->dims[1] - first})}, {{"axis", int64_t{1}}}, 2);
  }
  bool slice() {
    const Known* x = pick_rank(1, 4);
    if (!x) return false;
    const int64_t axis = c_.below(rank(*x)), size = x->dims[static_cast<size_t>(axis)];
    if (c_.one_in(4)) return add("Slice", {x->id, ints({-1}), ints({-size - 1}), ints({axis}), ints({-1})});
    const int64_t begin = c_.below(size);
    return add("Slice", {x->id, ints({begin}), ints({c_.one_in(3) ? INT64_MAX : c_.between(begin + 1, size)}),
                         ints({axis}), ints({c_.between(1, 2)})});
  }
  bool pad() {
    const Known* x = pick_rank(2, 4);
    if (!x) return false;
    const std::string mode = c_.of(std::vector<std::string>{"constant", "constant", "reflect", "edge"});
    Ints pads(2 * x->dims.size(), 0);
    for (size_t i = 1; i < x->dims.size(); ++i) {
      const int64_t most = mode == "reflect" ? std::min<int64_t>(2, x->dims[i] - 1) : 2;
      pads[i] = c_.below(most + 1);
      pads[i + x->dims.size()] = c_.below(most + 1);
    }
    std::vector<ValueId> inputs{x->id, ints(pads)};
    if (mode == "constant" && c_.one_in(2)) inputs.push_back(scalar(c_.of(std::vector<float>{0, -2, 0.5f})));
    return add("Pad", inputs, {{"mode", mode}});
  }
  bool gather() {
    const Known* x = pick_rank(1, 4);
    if (!x) return false;
    const int64_t axis = c_.below(rank(*x)), size = x->dims[static_cast<size_t>(axis)];
    Ints at;
    for (int64_t i = c_.between(1, 4); i > 0; --i) at.push_back(c_.between(-size, size - 1));
    if (c_.one_in(4))
      return rank(*x) > 1 &&
             add("Gather", {x->id, graph_.add_constant("at", Tensor::scalar(at[0]))}, {{"axis", axis}});
    return add("Gather", {x->id, ints(at)}, {{"axis", axis}});
  }
  // Rows of a table by indices, as embeddings are read; added to something so that the input counts.
  bool table() {
    const Known* x = pick([](const Known& v) { return v.dims.size() == 3 && v.dims[2] <= 32; });
    if (!x) return false;
    const int64_t rows = c_.one_in(2) ? 8 : 4096 / x->dims[2] + 1;
    const ValueId t = weight({rows, x->dims[2]}, 1);
    Ints at;
    for (int64_t i = 0; i < x->dims[1]; ++i) at.push_back(c_.below(rows));
    const ValueId read = node("Gather", {t, ints(at)}, {{"axis", int64_t{0}}}, 1)[0];
    return add("Add", {x->id, read});
  }
  bool resize() {
    const Known* x = pick([](const Known& v) { return v.dims.size() == 4 && element_count(v.dims) < 800; });
    if (!x) return false;
    const bool linear = c_.one_in(2);
    Attributes attributes{{"mode", std::string(linear ? "linear" : "nearest")}};
    attributes.emplace_back("coordinate_transformation_mode",
                            c_.of(std::vector<std::string>{"half_pixel", "asymmetric", "align_corners"}));
    if (!linear) attributes.emplace_back("nearest_mode", std::string("floor"));
    const ValueId sizes =
        ints({x->dims[0], x->dims[1], x->dims[2] * c_.between(1, 2), x->dims[3] + c_.below(4)});
    return add("Resize", {x->id, kNoValue, kNoValue, sizes}, attributes);
  }
  bool where() {
    const Known* x = pick_rank(1, 4);
    if (!x) return false;
    Tensor mask(DType::kBool, broadcast_part(x->dims));
    for (int64_t i = 0; i < mask.size(); ++i)
      mask.mutable_raw()[i] = static_cast<std::byte>(c_.real(0, 1) < 0.7f);
    const ValueId other = scalar(c_.of(std::vector<float>{0, -1, -1e9f, 0.5f}));
    const ValueId masked =
        node("Where", {graph_.add_constant("mask", std::move(mask)), x->id, other}, {}, 1)[0];
    // A mask of attention is read by Softmax; elsewhere huge values would hide all others.
    return add(graph_.constant(other)->floats()[0] < -100 ? "Softmax" : "Identity", {masked});
  }
  bool expand() {
    const Known* x = pick([](const Known& v) { return element_count(v.dims) <= 512 && v.dims.size() <= 3; });
    if (!x) return false;
    if (c_.one_in(2) && !x->dims.empty()) {
      Ints repeats(x->dims.size(), 1);
      repeats.back() = 2;
      return add("Tile", {x->id, ints(repeats)});
    }
    Ints dims(x->dims.begin(), x->dims.end());
    dims.insert(dims.begin(), 2);
    return add("Expand", {x->id, ints(dims)});
  }
  bool depth_to_space() {
    const Known* x = pick([](const Known& v) { return v.dims.size() == 4 && v.dims[1] % 4 == 0; });
    return x && add("DepthToSpace", {x->id},
                    {{"blocksize", int64_t{2}}, {"mode", std::string(c_.one_in(2) ? "DCR" : "CRD")}});
  }

  bool lstm() {
    const Known* x = pick([](const Known& v) { return v.dims.size() == 3 && v.dims[2] <= 24; });
    if (!x) return false;
    const bool both = c_.one_in(3);
    const int64_t directions = both ? 2 : 1, hidden = c_.of(Ints{3, 4, 8}), features = x->dims[2];
    std::vector<ValueId> inputs{x->id, product_weight({directions, 4 * hidden, features}, features),
                                product_weight({directions, 4 * hidden, hidden}, hidden)};
    if (c_.one_in(2)) inputs.push_back(weight({directions, 8 * hidden}, 0.3f));
    const std::string direction = both ? "bidirectional" : c_.one_in(3) ? "reverse" : "forward";
    const ValueId y = node("LSTM", inputs, {{"hidden_size", hidden}, {"direction", direction}}, 1)[0];
    return directions == 1 ? add("Squeeze", {y, ints({1})})
                           : add("Transpose", {y}, {{"perm", Ints{0, 2, 1, 3}}});
  }

  // What jumps: from here on two ways of rounding may differ as much as they like.
  bool sharp() {
    if (!c_.one_in(4)) return false;
    const Known* found = pick_rank(1, 4);
    if (!found) return false;
    const Known x = *found;
    smooth_ = false;
    switch (c_.below(4)) {
      case 0:
        return add("Round", {x.id});
      case 1: {
        const ValueId above = node("Greater", {x.id, scalar(0.1f)}, {}, 1)[0];
        return add("Cast", {above}, {{"to", int64_t{1}}});
      }
      case 2: {
        const ValueId at = node("ArgMax", {x.id}, {{"axis", int64_t{-1}}}, 1)[0];
        return add("Cast", {at}, {{"to", int64_t{1}}});
      }
      default:
        return add("TopK", {x.id, ints({1})}, {{"axis", int64_t{-1}}}, 2);
    }
  }

  // If over the first input's mean, with branches that give the same shape; weights of the graph around are
  // read in both, and there too.
  bool branches() {
    const Known* found = pick_rank(2, 3);
    if (!found) return false;
    const Known x = *found;
    const int64_t k = x.dims.back(), n = c_.between(1, 8);
    const bool recurrence = x.dims.size() == 3 && k <= 24 && c_.one_in(2);
    std::vector<ValueId> shared{x.id};
    if (recurrence) {
      shared.push_back(product_weight({1, 4 * n, k}, k));
      shared.push_back(product_weight({1, 4 * n, n}, n));
    } else {
      shared.push_back(product_weight({k, n}, k));
    }
    shared.push_back(product_weight({n, n}, n));
    if (!recurrence && c_.one_in(3)) add("MatMul", {x.id, shared[1]});
    Attributes attributes;
    for (const char* name : {"then_branch", "else_branch"}) {
      auto branch = std::make_shared<Graph>();
      branch->name = name;
      std::vector<ValueId> inner;
      for (const ValueId v : shared) {
        inner.push_back(branch->add_value(graph_[v].name, DType::kFloat32, graph_[v].shape));
        branch->captures.push_back({.outer = v, .inner = inner.back()});
      }
      Maker maker(c_, *branch, smooth_);
      maker.prefix_ = fresh(name);
      ValueId y = recurrence ? maker.node("LSTM", {inner[0], inner[1], inner[2]}, {{"hidden_size", n}}, 1)[0]
                             : maker.node("MatMul", {inner[0], inner[1]}, {}, 1)[0];
      y = maker.node(c_.one_in(2) ? "Relu" : "Tanh", {y}, {}, 1)[0];
      if (c_.one_in(2)) y = maker.node("MatMul", {y, inner.back()}, {}, 1)[0];
      branch->outputs = {y};
      attributes.emplace_back(name, std::move(branch));
    }
    const ValueId mean = node("ReduceMean", {graph_.inputs[0]}, {{"keepdims", int64_t{0}}}, 1)[0];
    const ValueId condition = node("Greater", {mean, scalar(0.5f)}, {}, 1)[0];  // far from what samples have
    return add("If", {condition}, attributes);
  }

  Choices& c_;
  Graph& graph_;
  bool& smooth_;
  std::string prefix_;
  std::vector<Known> values_;
  std::vector<std::pair<Shape, ValueId>> weights_;
};

}  // namespace

RandomGraph random_graph(Choices& choices, int most_nodes, int samples) {
  RandomGraph made;
  auto model = std::make_shared<Model>();
  Graph& graph = model->graph;
  graph.name = "random";
  Maker maker(choices, graph, made.smooth);
  maker.add_inputs();
  maker.add_nodes(choices.between(2, most_nodes), false);
  maker.add_outputs();
  remove_unused(graph);
  for (int i = 0; i < samples; ++i) {
    std::vector<runtime::Feed> feeds;
    for (ValueId v : graph.inputs) {
      Tensor t(DType::kFloat32, *concrete(*graph[v].shape));
      for (float& x : t.mutable_data<float>()) x = choices.real(-1, 1) + choices.real(-1, 1);
      feeds.push_back({graph[v].name, std::move(t)});
    }
    made.samples.push_back(std::move(feeds));
  }
  made.model = std::move(model);
  return made;
}

}  // namespace zp::fuzz
