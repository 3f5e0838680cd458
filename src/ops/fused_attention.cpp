// Attention as one kernel: the products, masks and Softmax that attention is written as, in a plan that keeps
// all of them in float. Exporters write
//
//   MatMul(Softmax(MatMul(q, k^T) with scale, cap, mask and bias), v)
//
// with Transpose before and after it, which need not run: kernels read heads where they are.
#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/gemm/attention.h"
#include "ops/fusion.h"
#include "ops/product/product.h"

namespace zp {
namespace {

// Inputs of the fused node. k is [..., steps, size], however it is in memory.
enum : size_t { kQ, kK, kV, kShown, kBias, kSink, kInputs };

// ---- the pattern

// A value seen with its dimensions in another order, and with heads that are given more than once.
struct View {
  ValueId value;
  std::vector<int64_t> order;  // dimension i of the view is dimension order[i] of the value
  int64_t times = 1;           // heads of the view for each of the value, side by side

  size_t rank() const { return order.size(); }
};

bool is_last(const View& v, size_t dim) { return v.order[dim] + 1 == static_cast<int64_t>(v.rank()); }

std::vector<int64_t> order_of(const Node& transpose, size_t rank) {
  std::vector<int64_t> reversed(rank);
  std::iota(reversed.rbegin(), reversed.rend(), 0);
  return transpose.ints_attribute("perm", reversed);
}

// Whether indices are those of copies of heads, side by side: 0 0 1 1 2 2.
std::optional<int64_t> copies(const Tensor* indices, int64_t heads) {
  if (!indices || indices->dims().size() != 1 || heads < 1 || indices->size() % heads != 0)
    return std::nullopt;
  const int64_t times = indices->size() / heads;
  for (int64_t i = 0; i < indices->size(); ++i)
    if (indices->integer_at(i) != i / times) return std::nullopt;
  return times;
}

// The value before nodes that only move it, as far as `fits` allows.
template <class Fits>
View seen_through(const FusionContext& f, ValueId value, const Fits& fits) {
  View view{.value = value, .order = std::vector<int64_t>(f.dims(value).size())};
  std::iota(view.order.begin(), view.order.end(), 0);
  const size_t rank = view.rank();
  for (;;) {
    View next = view;
    if (const Node* same = f.maker(view.value, "Identity")) {
      next.value = same->inputs[0];
    } else if (const Node* transpose = f.maker(view.value, "Transpose")) {
      const std::vector<int64_t> perm = order_of(*transpose, rank);
      for (int64_t& d : next.order) d = perm[static_cast<size_t>(d)];
      next.value = transpose->inputs[0];
    } else if (const Node* pick = f.maker(view.value, "Gather"); pick && rank >= 3 && view.times == 1) {
      int64_t axis = pick->int_attribute("axis", 0);
      if (axis < 0) axis += static_cast<int64_t>(rank);
      next.value = pick->inputs[0];
      if (f.dims(next.value).size() != rank || view.order[rank - 3] != axis) return view;
      const auto times = copies(f.constant(pick->inputs[1]), f.dims(next.value)[static_cast<size_t>(axis)]);
      if (!times) return view;
      next.times = *times;
    } else {
      return view;
    }
    if (!fits(next) || f.constant(next.value)) return view;
    view = std::move(next);
  }
}

struct Pattern {
  ValueId q, k_transposed, v;
  ValueId shown = kNoValue, bias = kNoValue;
  float scale = 1, softcap = 0, hidden = 0;
  bool shows = true;
  ValueId sink = kNoValue;
  kernels::Attention::Zeros zeros = kernels::Attention::Zeros::kNever;
};

// The number that an operand of a node is, and the other operand.
struct NumberAndOther {
  float number;
  ValueId other;
};
std::optional<NumberAndOther> number_operand(const FusionContext& f, const Node& n, bool commutes) {
  if (const auto second = f.number(n.inputs[1])) return NumberAndOther{*second, n.inputs[0]};
  if (!commutes) return std::nullopt;
  if (const auto first = f.number(n.inputs[0])) return NumberAndOther{*first, n.inputs[1]};
  return std::nullopt;
}

// Whether a value of these dimensions broadcasts to `over`: scores [..., rows, steps].
bool spreads(const Shape& dims, const Shape& over) {
  if (dims.size() > over.size()) return false;
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t of = over[over.size() - 1 - i], d = dims[dims.size() - 1 - i];
    if (d != of && d != 1) return false;
  }
  return true;
}

// Goes from the input of Softmax back to the product of q and k. Each step occurs once at most, in the
// kernel's order.
bool match_scores(const FusionContext& f, ValueId scores, Pattern& p) {
  const Shape over = f.dims(scores);
  enum Stage : uint8_t { kBiased, kMasked, kCapped, kScaled } stage = kBiased;
  for (;;) {
    if (!f.read_once(scores) || f.dims(scores) != over) return false;
    if (const Node* product = f.maker(scores, "MatMul")) {
      p.q = product->inputs[0];
      p.k_transposed = product->inputs[1];
      return true;
    }
    if (const Node* add = f.maker(scores, "Add"); add && stage == kBiased) {
      // The scores are the operand that comes from a product.
      for (const size_t i : {size_t{0}, size_t{1}}) {
        Pattern with = p;
        with.bias = add->inputs[1 - i];
        if (f.dtype(with.bias) != DType::kFloat32 || !spreads(f.dims(with.bias), over)) continue;
        Pattern inner = with;
        if (!match_scores(f, add->inputs[i], inner) || inner.bias != with.bias) continue;
        p = inner;
        return true;
      }
      return false;
    }
    if (const Node* choose = f.maker(scores, "Where"); choose && stage <= kMasked) {
      const auto yes = f.number(choose->inputs[1]), no = f.number(choose->inputs[2]);
      if (yes.has_value() == no.has_value() || p.shown != kNoValue) return false;
      p.shown = choose->inputs[0];
      p.shows = no.has_value();
      p.hidden = no ? *no : *yes;
      if (!spreads(f.dims(p.shown), over)) return false;
      scores = choose->inputs[no ? 1 : 2];
      stage = kCapped;
      continue;
    }
    if (const Node* times = f.maker(scores, "Mul"); times && stage <= kScaled) {
      const auto factor = number_operand(f, *times, true);
      if (!factor) return false;
      const Node* tanh = f.inner(factor->other, "Tanh");
      const Node* part = tanh && stage <= kCapped ? f.inner(tanh->inputs[0], "Div") : nullptr;
      if (part) {
        const auto divisor = number_operand(f, *part, false);
        if (!divisor || divisor->number != factor->number || factor->number == 0 || p.softcap != 0)
          return false;
        p.softcap = factor->number;
        scores = divisor->other;
        stage = kScaled;
        continue;
      }
      p.scale *= factor->number;
      scores = factor->other;
      stage = kScaled;
      continue;
    }
    if (const Node* part = f.maker(scores, "Div"); part && stage <= kScaled) {
      const auto divisor = number_operand(f, *part, false);
      if (!divisor || divisor->number == 0) return false;
      p.scale /= divisor->number;
      scores = divisor->other;
      stage = kScaled;
      continue;
    }
    return false;
  }
}

// Whether a condition is true exactly for rows that `bias` hides wholly.
bool says_hidden(const FusionContext& f, ValueId condition, ValueId bias) {
  constexpr float kHidden = -std::numeric_limits<float>::infinity();
  if (bias == kNoValue) return false;
  if (const Node* same = f.maker(condition, "Equal")) {
    const Node* best = f.maker(same->inputs[0], "ReduceMax");
    return best && best->inputs[0] == bias && f.number(same->inputs[1]) == kHidden &&
           best->int_attribute("keepdims", 1) != 0 && best->inputs.size() == 2 &&
           f.constant(best->inputs[1]) && f.constant(best->inputs[1])->integers() == std::vector<int64_t>{-1};
  }
  const Tensor *known = f.constant(condition), *of = f.constant(bias);
  if (!known || !of || known->dtype() != DType::kBool || of->dims().empty()) return false;
  Shape rows = of->dims();
  rows.back() = 1;
  if (known->dims() != rows) return false;
  const auto values = of->data<float>();
  const auto count = static_cast<size_t>(of->dims().back());
  for (int64_t row = 0; row < known->size(); ++row) {
    const auto row_values = values.subspan(static_cast<size_t>(row) * count, count);
    const bool hidden = std::ranges::all_of(row_values, [](float v) { return v == kHidden; });
    if (hidden != (known->raw()[row] != std::byte{0})) return false;
  }
  return true;
}

// From the probabilities back.
bool match_probabilities(const FusionContext& f, ValueId probabilities, Pattern& p) {
  ValueId soft = probabilities, condition = kNoValue;
  if (const Node* choose = f.inner(soft, "Where")) {
    if (f.number(choose->inputs[1]) != 0.0f) return false;
    condition = choose->inputs[0];
    soft = choose->inputs[2];
  }
  const Node* unknown = condition == kNoValue ? nullptr : f.inner(condition, "IsNaN");
  if (unknown ? unknown->inputs[0] != soft : !f.read_once(soft)) return false;
  // A sink is one column more.
  const Node* cut = f.maker(soft, "Slice");
  ValueId with_sink = cut && !unknown ? cut->inputs[0] : soft;
  const Node* node = f.maker(with_sink, "Softmax");
  const auto rank = static_cast<int64_t>(f.dims(soft).size());
  if (!node) return false;
  const int64_t axis = node->int_attribute("axis", -1);
  if (rank < 2 || (axis != -1 && axis != rank - 1)) return false;
  ValueId scores = node->inputs[0];
  if (with_sink != soft) {
    const Node* both = f.read_once(with_sink) ? f.inner(scores, "Concat") : nullptr;
    if (!both || both->inputs.size() != 2) return false;
    const int64_t joined = both->int_attribute("axis", 0);
    if (joined != -1 && joined != rank - 1) return false;
    const Shape &all = f.dims(with_sink), &kept = f.dims(soft);
    const auto starts = f.constant(cut->inputs[1]),
               axes = cut->inputs.size() > 3 ? f.constant(cut->inputs[3]) : nullptr;
    const auto steps = cut->inputs.size() > 4 ? f.constant(cut->inputs[4]) : nullptr;
    // All but the last column, in its order.
    if (!starts || starts->size() != 1 || starts->integer_at(0) != 0 || !axes || axes->size() != 1 ||
        (axes->integer_at(0) != -1 && axes->integer_at(0) != rank - 1) ||
        (steps && steps->integer_at(0) != 1) || kept.back() + 1 != all.back() ||
        f.dims(both->inputs[0]) != kept)
      return false;
    const Node* column = f.inner(both->inputs[1], "Expand");
    p.sink = column ? column->inputs[0] : both->inputs[1];
    if (f.dtype(p.sink) != DType::kFloat32 || !spreads(f.dims(p.sink), f.dims(both->inputs[1]))) return false;
    const Shape& sinks = f.dims(p.sink);  // one for each head
    if (sinks.size() > 1 && sinks[sinks.size() - 2] != 1) return false;
    scores = both->inputs[0];
  }
  if (!match_scores(f, scores, p)) return false;
  using enum kernels::Attention::Zeros;
  if (unknown) {
    p.zeros = kNoNumber;
  } else if (condition != kNoValue) {
    if (!says_hidden(f, condition, p.bias)) return false;
    p.zeros = kHidden;
  }
  return true;
}

std::optional<Node> match(const FusionContext& f, int at) {
  // A Transpose behind the product has its output.
  std::vector<int64_t> order;
  const Node* last = &f.node(at);
  const Node* product = last->is("MatMul") ? last : nullptr;
  if (last->is("Transpose")) {
    product = f.inner(last->inputs[0], "MatMul");
    if (product) order = order_of(*last, f.dims(last->inputs[0]).size());
  }
  if (!product) return std::nullopt;
  const ValueId y = product->outputs[0];
  const size_t rank = f.dims(y).size();
  if (rank < 3 || f.dtype(y) != DType::kFloat32) return std::nullopt;
  if (order.empty()) {
    order.resize(rank);
    std::iota(order.begin(), order.end(), 0);
  }
  if (order.back() + 1 != static_cast<int64_t>(rank)) return std::nullopt;
  Pattern p;
  p.v = product->inputs[1];
  if (!match_probabilities(f, product->inputs[0], p)) return std::nullopt;
  for (const ValueId v : {p.q, p.k_transposed, p.v})
    if (f.constant(v) || f.dims(v).size() != rank || f.dtype(v) != DType::kFloat32) return std::nullopt;
  for (const ValueId v : {p.k_transposed, p.v})
    for (size_t d = 0; d + 2 < rank; ++d)
      if (f.dims(v)[d] != f.dims(y)[d]) return std::nullopt;
  for (size_t d = 0; d + 2 < rank; ++d)
    if (f.dims(p.q)[d] != f.dims(y)[d]) return std::nullopt;

  // A number that the query or the keys are multiplied by multiplies the scores as well.
  for (ValueId* v : {&p.q, &p.k_transposed}) {
    while (const Node* times = f.inner(*v, "Mul")) {
      const auto factor = number_operand(f, *times, true);
      if (!factor || f.dims(factor->other) != f.dims(*v) || f.constant(factor->other)) break;
      p.scale *= factor->number;
      *v = factor->other;
    }
  }
  const auto last_is_last = [](const View& v) { return is_last(v, v.rank() - 1); };
  const auto plain = [&](const View& v) { return v.times == 1 && last_is_last(v); };
  const View q = seen_through(f, p.q, plain), v = seen_through(f, p.v, last_is_last);
  View k = seen_through(f, p.k_transposed, [](const View& view) {
    return is_last(view, view.rank() - 1) || is_last(view, view.rank() - 2);
  });
  std::swap(k.order[rank - 2], k.order[rank - 1]);  // [..., steps, size]

  Node fused;
  fused.name = product->name;
  fused.domain = "zeropoint";
  fused.op_type = "Attention";
  fused.inputs = {q.value, k.value, v.value, p.shown, p.bias, p.sink};
  fused.outputs = last->outputs;
  fused.attributes.emplace("q_order", q.order);
  fused.attributes.emplace("k_order", k.order);
  fused.attributes.emplace("v_order", v.order);
  fused.attributes.emplace("y_order", order);
  fused.attributes.emplace("k_times", k.times);
  fused.attributes.emplace("v_times", v.times);
  fused.attributes.emplace("scale", p.scale);
  fused.attributes.emplace("softcap", p.softcap);
  fused.attributes.emplace("hidden", p.hidden);
  fused.attributes.emplace("shows", int64_t{p.shows});
  fused.attributes.emplace("zeros", static_cast<int64_t>(p.zeros));
  return fused;
}

// ---- the kernel

// Where an operand's rows are: strides of the batch dimensions of y (0 where all of them share one), then of
// rows and of elements.
struct Strides {
  std::vector<int64_t> batch;
  int64_t row = 0, element = 0;
  int64_t times = 1;  // of the last batch dimension
};

std::vector<int64_t> memory_strides(const Shape& dims) {
  std::vector<int64_t> strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  return strides;
}

Strides strides_of(const Shape& dims, const std::vector<int64_t>& order, int64_t times) {
  const std::vector<int64_t> in_memory = memory_strides(dims);
  Strides s{.times = times};
  for (const int64_t d : order) s.batch.push_back(in_memory[static_cast<size_t>(d)]);
  s.element = s.batch.back();
  s.batch.pop_back();
  s.row = s.batch.back();
  s.batch.pop_back();
  return s;
}

// Of an operand that broadcasts to [batch..., rows, steps].
Strides broadcast_strides(const Shape& dims, size_t rank) {
  Shape all(rank - dims.size(), 1);
  all.insert(all.end(), dims.begin(), dims.end());
  std::vector<int64_t> in_memory = memory_strides(all);
  for (size_t i = 0; i < rank; ++i)
    if (all[i] == 1) in_memory[i] = 0;
  Strides s;
  s.batch.assign(in_memory.begin(), in_memory.end() - 2);
  s.row = in_memory[rank - 2];
  s.element = in_memory[rank - 1];
  return s;
}

struct Fused {
  Shape batch;
  int64_t rows = 0;
  Strides q, k, v, y, shown, bias, sink;
  bool has_shown = false, has_bias = false, has_sink = false;
  kernels::Attention head;
  size_t scratch = 0;  // floats of a thread

  // The first element of an operand for `index`, which counts the batch.
  std::ptrdiff_t offset(const Strides& s, int64_t index) const {
    int64_t at = 0;
    for (size_t d = batch.size(); d-- > 0; index /= batch[d])
      at += index % batch[d] / (d + 1 == batch.size() ? s.times : 1) * s.batch[d];
    return at;
  }
  kernels::Attention of(const RunContext& r, int64_t index) const {
    kernels::Attention a = head;
    a.q = r.in<float>(kQ) + offset(q, index);
    a.k = r.in<float>(kK) + offset(k, index);
    a.v = r.in<float>(kV) + offset(v, index);
    a.y = r.out<float>(0) + offset(y, index);
    if (has_shown) a.shown = r.in<uint8_t>(kShown) + offset(shown, index);
    if (has_bias) a.bias = r.in<float>(kBias) + offset(bias, index);
    if (has_sink) a.sink = r.in<float>(kSink) + offset(sink, index);
    return a;
  }
};

Kernel prepare(PrepareContext& c) {
  const Node& n = c.node();
  const auto view = [&](size_t input, std::string_view order, int64_t times) {
    return strides_of(c.dims(input), n.ints_attribute(order), times);
  };
  const auto dim_of = [&](size_t input, std::string_view order, size_t from_end) {
    const std::vector<int64_t> o = n.ints_attribute(order);
    return c.dims(input)[static_cast<size_t>(o[o.size() - from_end])];
  };
  auto fused = std::make_shared<Fused>();
  Fused& f = *fused;
  const std::vector<int64_t> of_q = n.ints_attribute("q_order");
  const size_t rank = of_q.size();
  for (size_t d = 0; d + 2 < rank; ++d) f.batch.push_back(c.dims(kQ)[static_cast<size_t>(of_q[d])]);
  f.rows = dim_of(kQ, "q_order", 2);
  f.q = view(kQ, "q_order", 1);
  f.k = view(kK, "k_order", n.int_attribute("k_times", 1));
  f.v = view(kV, "v_order", n.int_attribute("v_times", 1));
  const std::vector<int64_t> of_y = n.ints_attribute("y_order");
  std::vector<int64_t> back(rank);  // y's dimensions as the product makes them, in memory
  for (size_t d = 0; d < rank; ++d) back[static_cast<size_t>(of_y[d])] = static_cast<int64_t>(d);
  f.y = strides_of(c.out_dims(0), back, 1);
  const auto broadcast_of = [&](size_t input, bool& has) {
    has = c.has_input(input);
    return has ? broadcast_strides(c.dims(input), rank) : Strides{};
  };
  f.shown = broadcast_of(kShown, f.has_shown);
  f.bias = broadcast_of(kBias, f.has_bias);
  f.sink = broadcast_of(kSink, f.has_sink);
  kernels::Attention& a = f.head;
  a.steps = int_of(dim_of(kK, "k_order", 2));
  a.size = int_of(dim_of(kK, "k_order", 1));
  a.value_size = int_of(dim_of(kV, "v_order", 1));
  a.scale = n.float_attribute("scale", 1);
  a.softcap = n.float_attribute("softcap", 0);
  a.q_row = f.q.row;
  a.k_step = f.k.row;
  a.k_element = f.k.element;
  a.v_step = f.v.row;
  a.y_row = f.y.row;
  a.shown_row = f.shown.row;
  a.shown_step = f.shown.element;
  a.shows = static_cast<uint8_t>(n.int_attribute("shows", 1));
  a.hidden = n.float_attribute("hidden", 0);
  a.bias_row = f.bias.row;
  a.bias_step = f.bias.element;
  a.zeros = static_cast<kernels::Attention::Zeros>(n.int_attribute("zeros", 0));
  f.scratch = kernels::attention_scratch(a);
  c.scratch(f.scratch * sizeof(float) * static_cast<size_t>(c.threads()));
  return [fused](const RunContext& r) {
    const int64_t blocks = (fused->rows + kernels::kAttentionRows - 1) / kernels::kAttentionRows;
    r.parallel(element_count(fused->batch) * blocks, [&](int64_t task, int thread) {
      const int64_t block = task % blocks;
      const kernels::Attention a = fused->of(r, task / blocks);
      kernels::attend<>(a, static_cast<int>(fused->rows * block / blocks),
                        static_cast<int>(fused->rows * (block + 1) / blocks),
                        r.scratch<float>() + static_cast<size_t>(thread) * fused->scratch);
    });
  };
}

// It exists in plans alone: its shapes are those of the nodes that it replaces.
constexpr OpDef kFused = {.domain = "zeropoint",
                          .name = "Attention",
                          .inputs = "q k v shown? bias? sink?",
                          .types = "fffbff",
                          .prepare = prepare};
const RegisterFusion kRegistered({&kFused, match});

}  // namespace
}  // namespace zp
