// LinearAttention (ai.onnx and com.microsoft): attention without a Softmax. Each head keeps a matrix S, which
// every step changes and then reads (Katharopoulos et al. 2020, Yang et al. 2024):
//
//   S = exp(decay) S              gated rules
//   v = beta (v - S^T k)          delta rules
//   S = S + k v^T,   y = scale S^T q
//
// S is [size of a key, size of a value].
#include <algorithm>
#include <array>
#include <cmath>

#include "ops/unary.h"

namespace zp {
namespace {

// Inputs.
enum : size_t { kQuery, kKey, kValue, kPast, kDecay, kBeta };
// Outputs.
enum : size_t { kY, kPresent };

struct Rule {
  bool gated, delta;
};

Rule rule_of(const Node& n) {
  const std::string name = n.string_attribute("update_rule", "gated_delta");
  return {name == "gated" || name == "gated_delta", name == "delta" || name == "gated_delta"};
}

struct Heads {
  int64_t queries, shared;
};

Heads heads_of(const Node& n) {
  return {n.int_attribute("q_num_heads", 0), n.int_attribute("kv_num_heads", 0)};
}

// A dimension of as many heads, divided by their number.
Dim part_of(const InferContext& c, const Dim& all, int64_t heads, std::string_view name) {
  if (!all.known()) return {};
  c.require(all.value() % heads == 0,
            {"the ", name, " of ", all.value(), " numbers is not for ", heads, " heads"});
  return all.value() / heads;
}

void check_node(const InferContext& c) {
  const Node& n = c.node();
  const std::string rule = n.string_attribute("update_rule", "gated_delta");
  constexpr std::array<std::string_view, 4> kRules = {"linear", "gated", "delta", "gated_delta"};
  if (std::find(kRules.begin(), kRules.end(), rule) == kRules.end())
    c.fail(ErrorCode::kInvalidModel, {"update_rule is '", rule, "'"});
  const Heads h = heads_of(n);
  if (h.queries < 1 || h.shared < 1 || h.queries % h.shared != 0)
    c.fail(ErrorCode::kInvalidModel, {h.queries, " heads do not share ", h.shared, " of keys and values"});
  const Rule r = rule_of(n);
  const auto require = [&](size_t input, bool wanted, std::string_view name) {
    if (c.has_input(input) != wanted)
      c.fail(ErrorCode::kInvalidModel, {"the rule '", rule, "' ", wanted ? "needs a " : "has no ", name});
  };
  require(kDecay, r.gated, "decay");
  require(kBeta, r.delta, "beta");
}

void infer(InferContext& c) {
  check_node(c);
  const DType kept = c.dtype(c.has_input(kPast) ? kPast : kQuery);
  const SymShape *q = c.shape(kQuery), *k = c.shape(kKey), *v = c.shape(kValue);
  if (!q || !k || !v) {
    c.output(kY, c.dtype(kQuery));
    return c.output(kPresent, kept);
  }
  const Heads h = heads_of(c.node());
  for (const SymShape* shape : {q, k, v}) {
    c.require(shape->size() == 3, "the query, keys and values have three dimensions");
    for (const size_t d : {size_t{0}, size_t{1}})
      c.require(!contradicts((*q)[d], (*shape)[d]),
                "the query, keys and values are of different batches or steps");
  }
  const Dim size = part_of(c, (*q)[2], h.queries, "query"), of_key = part_of(c, (*k)[2], h.shared, "key"),
            of_value = part_of(c, (*v)[2], h.shared, "value");
  c.require(!contradicts(size, of_key), "heads of the query and of keys have different sizes");
  const SymShape state = {(*q)[0], h.shared, size, of_value};
  const auto agrees = [&](size_t input, const SymShape& with) {
    const SymShape* shape = c.has_input(input) ? c.shape(input) : nullptr;
    if (!shape) return true;
    return std::equal(shape->begin(), shape->end(), with.begin(), with.end(),
                      [](const Dim& a, const Dim& b) { return !contradicts(a, b); });
  };
  c.require(agrees(kPast, state), {"the past state should have the shape ", state});
  c.require(
      agrees(kDecay, {(*q)[0], (*q)[1], h.shared}) || agrees(kDecay, {(*q)[0], (*q)[1], size * h.shared}),
      "the decay should have a number for each head, or for each of its rows");
  c.require(agrees(kBeta, {(*q)[0], (*q)[1], h.shared}) || agrees(kBeta, {(*q)[0], (*q)[1], 1}),
            "beta should have a number for each head, or one");
  c.output(kY, c.dtype(kQuery), {(*q)[0], (*q)[1], of_value * h.queries});
  c.output(kPresent, kept, state);
}

struct Recurrence {
  Rule rule;
  Heads heads;
  int64_t batch, steps, size, of_value;
  int64_t decays, betas;  // numbers of a step
  float scale;
  bool past, present;

  int64_t state() const { return size * of_value; }
  // Scratch of a head, in floats: its state, and the values that change it.
  int64_t scratch() const { return (present ? 0 : state()) + of_value; }
  void run(const RunContext& r, int64_t head, int thread) const;
};

// One head of keys and values of one element of the batch, and the heads of the query that share it.
void Recurrence::run(const RunContext& r, int64_t index, int thread) const {
  const int64_t b = index / heads.shared, head = index % heads.shared, times = heads.queries / heads.shared;
  float* own = r.scratch<float>() + thread * scratch();
  float *values = own, *s = present ? r.out<float>(kPresent) + index * state() : own + of_value;
  if (past) {
    std::copy_n(r.in<float>(kPast) + index * state(), state(), s);
  } else {
    std::fill_n(s, state(), 0.0f);
  }
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t row = b * steps + step;
    const float* k = r.in<float>(kKey) + (row * heads.shared + head) * size;
    const float* v = r.in<float>(kValue) + (row * heads.shared + head) * of_value;
    if (rule.gated) {
      const bool each_row = decays != heads.shared;
      const float* g = r.in<float>(kDecay) + row * decays + (each_row ? head * size : head);
      for (int64_t i = 0; i < size; ++i) {
        const float factor = std::exp(g[each_row ? i : 0]);
        for (int64_t j = 0; j < of_value; ++j) s[i * of_value + j] *= factor;
      }
    }
    std::copy_n(v, of_value, values);
    if (rule.delta) {
      for (int64_t i = 0; i < size; ++i)
        for (int64_t j = 0; j < of_value; ++j) values[j] -= s[i * of_value + j] * k[i];
      const float beta = r.in<float>(kBeta)[row * betas + (betas == 1 ? 0 : head)];
      for (int64_t j = 0; j < of_value; ++j) values[j] *= beta;
    }
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j < of_value; ++j) s[i * of_value + j] += k[i] * values[j];
    for (int64_t of_query = head * times; of_query < (head + 1) * times; ++of_query) {
      const float* q = r.in<float>(kQuery) + (row * heads.queries + of_query) * size;
      float* y = r.out<float>(kY) + (row * heads.queries + of_query) * of_value;
      std::fill_n(y, of_value, 0.0f);
      for (int64_t i = 0; i < size; ++i)
        for (int64_t j = 0; j < of_value; ++j) y[j] += q[i] * s[i * of_value + j];
      for (int64_t j = 0; j < of_value; ++j) y[j] *= scale;
    }
  }
}

Kernel prepare(PrepareContext& c) {
  for (size_t i = 0; i < c.inputs(); ++i)
    if (c.has_input(i) && c.dtype(i) != DType::kFloat32) fail_type(c, i);
  const Node& n = c.node();
  const Shape &q = c.dims(kQuery), &v = c.dims(kValue);
  Recurrence a{.rule = rule_of(n), .heads = heads_of(n), .batch = q[0], .steps = q[1]};
  a.size = q[2] / a.heads.queries;
  a.of_value = v[2] / a.heads.shared;
  a.decays = a.rule.gated ? c.dims(kDecay)[2] : 0;
  a.betas = a.rule.delta ? c.dims(kBeta)[2] : 0;
  a.scale = n.float_attribute("scale", 0);
  if (a.scale == 0) a.scale = 1 / std::sqrt(static_cast<float>(a.size));
  a.past = c.has_input(kPast);
  a.present = c.has_output(kPresent);
  c.scratch(static_cast<size_t>(a.scratch()) * sizeof(float) * static_cast<size_t>(c.threads()));
  return [a](const RunContext& r) {
    r.parallel(a.batch * a.heads.shared, [&](int64_t index, int thread) { a.run(r, index, thread); });
  };
}

double macs(const InferContext& c) {
  const SymShape *q = c.shape(kQuery), *v = c.shape(kValue);
  if (!q || !v || !concrete(*q) || !concrete(*v) || q->size() != 3 || v->size() != 3) return 0;
  const Heads h = heads_of(c.node());
  if (h.queries < 1 || h.shared < 1) return 0;
  const double state = static_cast<double>((*q)[2].value()) / static_cast<double>(h.queries) *
                       static_cast<double>((*v)[2].value()) / static_cast<double>(h.shared);
  return static_cast<double>((*q)[0].value() * (*q)[1].value() * (h.queries + 2 * h.shared)) * state;
}

// Of com.microsoft: the same, with states of steps before the last, and more heads of keys than of the query.
void canonicalize_microsoft(Canonicalize& c) {
  if (c.node.int_attribute("state_window", 0) != 0)
    c.fail(ErrorCode::kUnsupportedOperator, "state_window is not supported");
  c.node.attributes.erase("state_window");
  c.node.domain.clear();
  c.keep();
}

constexpr std::string_view kInputs = "query key value past_state? decay? beta?";
constexpr OpDef kStandard = {
    .name = "LinearAttention",
    .inputs = kInputs,
    .opsets = "27fhb",
    .since = 27,
    .types = "TTTUTT",
    .infer = infer,
    .prepare = prepare,
    .macs = macs,
    .quant = {.kind = QuantRule::Kind::kFloat,
              .why_float = "errors of 8 bits add up from step to step of a recurrence"},
};
constexpr OpDef kOfMicrosoft = {.domain = kMicrosoft,
                                .name = "LinearAttention",
                                .inputs = kInputs,
                                .types = "*",
                                .canonicalize = canonicalize_microsoft};
const RegisterOps kRegistered({&kStandard, &kOfMicrosoft});

}  // namespace
}  // namespace zp
