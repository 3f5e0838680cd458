#include "ops/gradient.h"

#include <algorithm>
#include <memory>

#include "core/grain.h"
#include "kernels/gradient/quantize.h"
#include "kernels/reduction/reduce.h"
#include "ops/infer.h"
#include "ops/shape_arguments.h"
#include "ops/unary.h"

namespace zp {

int Gradient::rank_of(ValueId v) const {
  const auto& shape = graph[v].shape;
  if (!shape) fail({"the number of dimensions of '", graph[v].name, "' is not known"});
  return static_cast<int>(shape->size());
}

int64_t Gradient::axis(std::string_view key, int64_t fallback) const {
  const int64_t given = node.int_attribute(key, fallback);
  return given < 0 ? given + rank(0) : given;
}

std::vector<ValueId> Gradient::add_node(std::string_view type, Ids inputs, size_t outputs,
                                        NewAttributes attributes, std::string_view domain) {
  Node n;
  n.op_type = type;
  n.domain = domain;
  n.name = node.name + "/" + std::string(type);
  n.inputs.assign(inputs.begin(), inputs.end());
  for (auto& [key, value] : attributes) n.attributes.emplace(std::move(key), std::move(value));
  for (size_t i = 0; i < outputs; ++i) n.outputs.push_back(graph.add_value("d/" + n.name));
  infer_node(graph, n);
  std::vector<ValueId> made = n.outputs;
  graph.nodes.push_back(std::move(n));
  return made;
}

ValueId Gradient::add(std::string_view type, Ids inputs) { return add(type, inputs, {}); }
ValueId Gradient::add(std::string_view type, Ids inputs, NewAttributes attributes, std::string_view domain) {
  return add_node(type, inputs, 1, std::move(attributes), domain)[0];
}
ValueId Gradient::own(std::string_view type, Ids inputs, NewAttributes attributes) {
  return add(type, inputs, std::move(attributes), kOwn);
}
NewAttributes Gradient::attributes() const { return {node.attributes.begin(), node.attributes.end()}; }

namespace {

class Formula {
 public:
  Formula(Gradient& g, std::string_view text, Ids given) : g_(g), text_(text), given_(given) {}

  ValueId value() {
    const size_t end = std::min(text_.size(), text_.find_first_of("(,)", at_));
    const std::string_view word = text_.substr(at_, end - at_);
    at_ = end;
    if (at_ < text_.size() && text_[at_] == '(') return call(word);
    const char c = word[0];
    if (word == "dy") return g_.dy();
    if (c == 'y') return g_.out();
    if (c <= '9') return g_.scalar(static_cast<float>(c - '0'));
    return c >= 'p' ? given_.begin()[c - 'p'] : g_.in(static_cast<size_t>(c - 'a'));
  }

 private:
  ValueId call(std::string_view type) {
    std::vector<ValueId> inputs;
    do {
      ++at_;
      if (text_[at_] == ' ') ++at_;
      inputs.push_back(value());
    } while (text_[at_] == ',');
    ++at_;
    return g_.add(type, inputs);
  }

  Gradient& g_;
  std::string_view text_;
  Ids given_;
  size_t at_ = 0;
};

}  // namespace

ValueId Gradient::formula(std::string_view text, Ids given) { return Formula(*this, text, given).value(); }

void Gradient::give_formulas(std::initializer_list<std::string_view> formulas, Ids given) {
  size_t input = 0;
  for (std::string_view f : formulas) {
    if (!f.empty() && wanted(input)) give_summed(input, formula(f, given));
    ++input;
  }
}

ValueId Gradient::scalar(float value) { return graph.add_constant("d/scalar", Tensor::scalar(value)); }

ValueId Gradient::integers(std::vector<int64_t> values) {
  return graph.add_constant("d/integers", Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
}

ValueId Gradient::count_of(ValueId v) {
  return add("Cast", {add("Size", {v})}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
}

ValueId Gradient::summed_to(ValueId d, ValueId like) {
  const auto &from = graph[d].shape, &to = graph[like].shape;
  // Numbers are equal. Unknown dimensions may differ, and so may two of one name.
  if (from && to && concrete(*from) && *from == *to) return d;
  return own("SumTo", {d, shape_of(like)});
}

void Gradient::fail(const Text& message) const {
  throw_error(ErrorCode::kUnsupportedOperator,
              {"the gradient of ", qualified_name(node), ": ", message.str()},
              {.node = node.name, .op = qualified_name(node)});
}

namespace {

// Those in use; a node says which by its number.
std::vector<Derivatives>& known_derivatives() {
  static auto& known = *new std::vector<Derivatives>;
  return known;
}

void clamp_derivatives(const float* y, const float* dy, float* d, int64_t count, float lo, float hi) {
  kernels::clamp_gradient(lo, hi, y, dy, d, static_cast<size_t>(count));
}

}  // namespace

void give_derivative(Gradient& g, Derivatives function, bool of_output, float a, float b) {
  if (!g.wanted(0)) return;
  std::vector<Derivatives>& known = known_derivatives();
  const auto at = std::find(known.begin(), known.end(), function) - known.begin();
  if (at == std::ssize(known)) known.push_back(function);
  g.give(0, g.own("Derivative", {of_output ? g.out() : g.in(0), g.dy()},
                  {{"function", static_cast<int64_t>(at)}, {"a", a}, {"b", b}}));
}

void give_clamp_derivative(Gradient& g, float lo, float hi) {
  give_derivative(g, clamp_derivatives, true, lo, hi);
}

void give_moved(Gradient& g, int padding) {
  if (!g.wanted(0)) return;
  const ValueId x = g.in(0);
  const auto whole = [&](int64_t v) { return g.graph.add_constant("d/integer", Tensor::scalar(v)); };
  const ValueId positions = g.reshaped_like(g.add("Range", {whole(0), g.add("Size", {x}), whole(1)}), x);
  std::vector<ValueId> inputs = g.node.inputs;
  inputs[0] = positions;
  if (padding >= 0) {
    if (inputs.size() <= static_cast<size_t>(padding))
      inputs.resize(static_cast<size_t>(padding) + 1, kNoValue);
    inputs[static_cast<size_t>(padding)] = whole(-1);
  }
  const ValueId moved = g.add(g.node.op_type, inputs, g.attributes(), g.node.domain);
  g.give(0, g.own("ScatterSum", {g.dy(), g.shape_of(x), moved}));
}

void infer_as_given(InferContext& c, size_t shape) {
  if (const auto dims = shape_integers(c, shape)) return c.output(0, c.dtype(0), symbolic(*dims));
  const SymShape* length = c.shape(shape);
  if (length && length->size() == 1 && (*length)[0].known())
    return c.output(0, c.dtype(0), SymShape(static_cast<size_t>((*length)[0].value())));
  c.output(0, c.dtype(0));
}

namespace {

void infer_to_shape(InferContext& c) { infer_as_given(c, 1); }

// ---- Derivative: v, dy

Kernel prepare_derivative(PrepareContext& c) {
  const std::vector<Derivatives>& known = known_derivatives();
  const int64_t at = c.node().int_attribute("function", -1);
  if (at < 0 || at >= std::ssize(known)) c.fail(ErrorCode::kInvalidModel, "there is no such function");
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  c.in_place(1);
  const Derivatives function = known[static_cast<size_t>(at)];
  const int64_t count = element_count(c.out_dims(0));
  const float a = c.node().float_attribute("a", 0), b = c.node().float_attribute("b", 0);
  return [=](const RunContext& r) {
    r.parallel_range(count, grain_for({.work = 2}), [&](int64_t begin, int64_t end) {
      function(r.in<float>(0) + begin, r.in<float>(1) + begin, r.out<float>(0) + begin, end - begin, a, b);
    });
  };
}

// ---- SumTo: d, shape

Kernel prepare_sum_to(PrepareContext& c) {
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  const Shape& from = c.dims(0);
  const Shape& to = c.out_dims(0);
  if (from == to) {
    c.alias(0);
    return {};
  }
  const auto reduced = std::make_unique<bool[]>(from.size() + 1);
  const size_t missing = from.size() - to.size();
  for (size_t d = 0; d < from.size(); ++d) reduced[d] = d < missing || (to[d - missing] == 1 && from[d] != 1);
  const auto shape = kernels::ReduceShape::of(from, {reduced.get(), from.size()});
  if (!shape)
    c.fail(ErrorCode::kUnsupportedOperator, "more dimensions are reduced than the kernels can follow");
  const int64_t count = element_count(to);
  const int64_t grain = shape->grain();
  return [shape = *shape, count, grain](const RunContext& r) {
    r.parallel_range(count, grain, [&](int64_t begin, int64_t end) {
      kernels::reduce(kernels::Reduce::kSum, shape, r.in<float>(0), r.out<float>(0), begin, end);
    });
  };
}

// Where nothing is summed, any order of dimensions is as good.
LayoutRule sum_to_layout(const InferContext& c) {
  const SymShape* from = c.shape(0);
  const Tensor* to = c.constant(1);
  if (!from || !to || to->size() != std::ssize(*from)) return LayoutRule::kLogical;
  for (size_t i = 0; i < from->size(); ++i)
    if ((*from)[i] != Dim(to->integer_at(static_cast<int64_t>(i)))) return LayoutRule::kLogical;
  return LayoutRule::kAny;
}

// ---- ScatterSum: d, shape, and the position in that shape of each element of d (-1: nowhere)

Kernel prepare_scatter_sum(PrepareContext& c) {
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  if (c.dtype(2) != DType::kInt64) fail_type(c, 2);
  const int64_t count = element_count(c.dims(0)), size = element_count(c.out_dims(0));
  return [=](const RunContext& r) {
    const float* d = r.in<float>(0);
    const int64_t* at = r.in<int64_t>(2);
    float* sum = r.out<float>(0);
    std::fill_n(sum, size, 0.f);
    for (int64_t i = 0; i < count; ++i)
      if (at[i] >= 0 && at[i] < size) sum[at[i]] += d[i];
  };
}

constexpr OpDef kScatterSum = {.domain = kOwn,
                               .name = "ScatterSum",
                               .inputs = "dy shape positions",
                               .types = "fii",
                               .infer = infer_to_shape,
                               .prepare = prepare_scatter_sum};

constexpr OpDef kSumTo = {.domain = kOwn,
                          .name = "SumTo",
                          .inputs = "dy shape",
                          .types = "fi",
                          .infer = infer_to_shape,
                          .prepare = prepare_sum_to,
                          .layout = sum_to_layout};
constexpr OpDef kDerivative = {.domain = kOwn,
                               .name = "Derivative",
                               .inputs = "x dy",
                               .infer = infer_same,
                               .prepare = prepare_derivative,
                               .layout = any_layout};
const RegisterOps kRegistered({&kScatterSum, &kSumTo, &kDerivative});

}  // namespace
}  // namespace zp
