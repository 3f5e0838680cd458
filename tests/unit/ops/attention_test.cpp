// Attention of com.microsoft and in pieces, beside a direct reading of its definition, and what the runtime
// makes one kernel of.
#include <functional>

#include "core/error.h"
#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

Tensor ints32(Shape dims, std::vector<int32_t> values) {
  return Tensor::of<int32_t>(std::move(dims), std::span<const int32_t>(values));
}

// [batch, heads, steps, size]
struct Rows {
  int64_t batch, heads, steps, size;
  std::vector<float> values;
  float& at(int64_t b, int64_t h, int64_t s, int64_t i) {
    return values[static_cast<size_t>(((b * heads + h) * steps + s) * size + i)];
  }
};
Rows rows(int64_t batch, int64_t heads, int64_t steps, int64_t size) {
  return {batch, heads, steps, size, std::vector<float>(static_cast<size_t>(batch * heads * steps * size))};
}
// From [batch, steps, all], heads side by side from `first` on.
Rows split(const Tensor& x, int64_t heads, int64_t size, int64_t first = 0) {
  Rows r = rows(x.dims()[0], heads, x.dims()[1], size);
  const auto from = x.data<float>();
  for (int64_t b = 0; b < r.batch; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t s = 0; s < r.steps; ++s)
        for (int64_t i = 0; i < size; ++i)
          r.at(b, h, s, i) =
              from[static_cast<size_t>((b * r.steps + s) * x.dims()[2] + (first + h) * size + i)];
  return r;
}

// What a query at a step of a head has added to its score with another step.
using Bias = std::function<double(int64_t b, int64_t h, int64_t s, int64_t t)>;

// [batch, steps, heads * size]; heads of keys serve several of the query.
std::vector<float> definition(Rows q, Rows k, Rows v, double scale, const Bias& bias) {
  std::vector<float> y(static_cast<size_t>(q.batch * q.steps * q.heads * v.size));
  for (int64_t b = 0; b < q.batch; ++b)
    for (int64_t h = 0; h < q.heads; ++h)
      for (int64_t s = 0; s < q.steps; ++s) {
        const int64_t of = h / (q.heads / k.heads);
        std::vector<double> p(static_cast<size_t>(k.steps));
        double highest = -1e300, sum = 0;
        for (int64_t t = 0; t < k.steps; ++t) {
          double score = 0;
          for (int64_t i = 0; i < q.size; ++i) score += double{q.at(b, h, s, i)} * k.at(b, of, t, i);
          p[static_cast<size_t>(t)] = score * scale + bias(b, h, s, t);
          highest = std::max(highest, p[static_cast<size_t>(t)]);
        }
        for (double& e : p) sum += e = std::exp(e - highest);
        for (int64_t i = 0; i < v.size; ++i) {
          double value = 0;
          for (int64_t t = 0; t < k.steps; ++t) value += p[static_cast<size_t>(t)] / sum * v.at(b, of, t, i);
          y[static_cast<size_t>(((b * q.steps + s) * q.heads + h) * v.size + i)] = static_cast<float>(value);
        }
      }
  return y;
}

constexpr double kHidden = -1e300;

// The outputs, the same with any number of threads; of constants it is computed in pieces, which is near.
std::vector<Tensor> computed(const OneNode& one) {
  const auto model = model_of(one, Given::kFed);
  std::vector<Tensor> found = runtime::Session(model, {.threads = 1}).run(feeds_of(one));
  const std::vector<Tensor> threaded = runtime::Session(model, {.threads = 3}).run(feeds_of(one));
  const std::vector<Tensor> folded =
      runtime::Session(model_of(one, Given::kConstant), {.threads = 1}).run({});
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_TRUE(same_bits(found[i], threaded[i])) << one.op << ": output " << i << " with three threads";
    expect_floats(folded[i], found[i].dims(), found[i].floats(), 1e-5f);
  }
  return found;
}

// ---- GroupQueryAttention

OneNode group_query(std::vector<Tensor> inputs, GraphBuilder::Attributes more = {}) {
  OneNode one{
      .op = "GroupQueryAttention", .inputs = std::move(inputs), .outputs = 3, .domain = "com.microsoft"};
  one.attributes = {{"num_heads", int64_t{4}}, {"kv_num_heads", int64_t{2}}};
  for (auto& a : more) one.attributes.push_back(std::move(a));
  return one;
}

TEST(GroupQueryAttention, SharesHeadsAndSeesNothingLater) {
  const Tensor q = ramp({2, 3, 16}, 2), k = ramp({2, 3, 8}, 1.5f), v = ramp({2, 3, 8}, -1);
  const auto found = computed(group_query({q, k, v, {}, {}, ints32({2}, {2, 2}), ints32({}, {3})}));
  expect_floats(found[0], {2, 3, 16},
                definition(split(q, 4, 4), split(k, 2, 4), split(v, 2, 4), 0.5,
                           [](int64_t, int64_t, int64_t s, int64_t t) { return t <= s ? 0.0 : kHidden; }),
                1e-5f);
  EXPECT_EQ(found[1].dims(), (Shape{2, 2, 3, 4}));
}

TEST(GroupQueryAttention, TakesAllFromOneInputAndSeesAWindow) {
  const Tensor all = ramp({1, 6, 32}, 2);
  const auto found = computed(group_query({all, {}, {}, {}, {}, ints32({1}, {5}), ints32({}, {6})},
                                          {{"local_window_size", int64_t{2}}}));
  expect_floats(
      found[0], {1, 6, 16},
      definition(split(all, 4, 4), split(all, 2, 4, 4), split(all, 2, 4, 6), 0.5,
                 [](int64_t, int64_t, int64_t s, int64_t t) { return t <= s && t > s - 2 ? 0.0 : kHidden; }),
      1e-5f);
}

// Two sequences with as many steps of their own in a buffer of seven.
TEST(GroupQueryAttention, WritesIntoBuffersOfAnyLength) {
  const Tensor q = ramp({2, 1, 16}, 2), k = ramp({2, 1, 8}, 1.5f), v = ramp({2, 1, 8}, -1);
  const Tensor past_k = ramp({2, 2, 7, 4}, 1), past_v = ramp({2, 2, 7, 4}, 2);
  const auto found = computed(group_query({q, k, v, past_k, past_v, ints32({2}, {5, 2}), ints32({}, {6})}));
  const int64_t kept[] = {5, 2};
  Rows all_k{2, 2, 7, 4, past_k.floats()}, all_v{2, 2, 7, 4, past_v.floats()};
  Rows new_k = split(k, 2, 4), new_v = split(v, 2, 4);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t i = 0; i < 4; ++i) {
        all_k.at(b, h, kept[b], i) = new_k.at(b, h, 0, i);
        all_v.at(b, h, kept[b], i) = new_v.at(b, h, 0, i);
      }
  expect_floats(found[1], {2, 2, 7, 4}, all_k.values);
  expect_floats(found[2], {2, 2, 7, 4}, all_v.values);
  expect_floats(
      found[0], {2, 1, 16},
      definition(split(q, 4, 4), all_k, all_v, 0.5,
                 [&](int64_t b, int64_t, int64_t, int64_t t) { return t <= kept[b] ? 0.0 : kHidden; }),
      1e-5f);
}

TEST(GroupQueryAttention, GrowsPastsAndRefusesStepsOutsideOfThem) {
  const Tensor q = ramp({1, 1, 16}), k = ramp({1, 1, 8}), past = ramp({1, 2, 3, 4});
  const auto found = computed(group_query({q, k, k, past, past, ints32({1}, {3}), ints32({}, {4})}));
  EXPECT_EQ(found[1].dims(), (Shape{1, 2, 4, 4}));
  const auto outside =
      error_of(group_query({q, k, k, past, past, ints32({1}, {8}), ints32({}, {4})}), Given::kFed);
  ASSERT_TRUE(outside);
  EXPECT_EQ(outside->code(), ErrorCode::kIndexOutOfRange);
}

TEST(GroupQueryAttention, RefusesWhatItCannotDo) {
  const Tensor q = ramp({1, 1, 16}), k = ramp({1, 1, 8});
  const auto code_of = [&](GraphBuilder::Attributes more, std::vector<Tensor> inputs) {
    const auto error = error_of(group_query(std::move(inputs), std::move(more)), Given::kFed);
    return error ? error->code() : ErrorCode::kInternal;
  };
  const std::vector<Tensor> inputs = {q, k, k, {}, {}, ints32({1}, {0}), ints32({}, {1})};
  EXPECT_EQ(code_of({{"sliding_window_cache", int64_t{1}}}, inputs), ErrorCode::kUnsupportedOperator);
  EXPECT_EQ(code_of({{"k_quant_type", std::string("PER_TENSOR")}}, inputs), ErrorCode::kUnsupportedOperator);
  EXPECT_EQ(code_of({{"do_rotary", int64_t{1}}}, inputs), ErrorCode::kInvalidModel);
  EXPECT_EQ(code_of({}, {q, k, {}, {}, {}, ints32({1}, {0}), ints32({}, {1})}), ErrorCode::kInvalidModel);
}

// ---- one kernel

std::vector<std::string> ops_of(const std::shared_ptr<Model>& model, std::vector<runtime::Feed> feeds,
                                std::vector<ValueId> taps = {}) {
  runtime::Session session(model, {.threads = 1, .taps = std::move(taps)});
  if (!session.steps().empty()) return {};
  session.set_tap([](ValueId, const TensorView&) {});
  session.run(std::move(feeds));
  std::vector<std::string> ops;
  for (const auto& s : session.steps()) ops.push_back(s.op);
  return ops;
}

struct Pieces {
  GraphBuilder net;
  ValueId q, k, v, scores, probabilities;
};

// Heads that are joined before and after, as exporters write them.
Pieces pieces(const std::function<ValueId(GraphBuilder&, ValueId scores)>& between) {
  Pieces p;
  GraphBuilder& net = p.net;
  const auto heads = [&](const std::string& name, int64_t steps, std::vector<int64_t> perm) {
    const ValueId x = net.input(name, {2, steps, 12});
    const ValueId shape = net.constant(name + "_shape", longs({4}, {0, 0, 3, 4}));
    const ValueId apart = net.add("Reshape", name + "_apart", {x, shape});
    return net.add("Transpose", name + "_heads", {apart}, {{"perm", std::move(perm)}});
  };
  p.q = heads("q", 5, {0, 2, 1, 3});
  p.k = heads("k", 9, {0, 2, 3, 1});
  p.v = heads("v", 9, {0, 2, 1, 3});
  p.scores = net.add("MatMul", "scores", {p.q, p.k});
  p.probabilities = net.add("Softmax", "probabilities", {between(net, p.scores)}, {{"axis", int64_t{-1}}});
  const ValueId y = net.add("MatMul", "y", {p.probabilities, p.v});
  const ValueId transposed =
      net.add("Transpose", "transposed", {y}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  net.output(
      net.add("Reshape", "joined", {transposed, net.constant("joined_shape", longs({3}, {0, 0, 12}))}));
  return p;
}

std::vector<runtime::Feed> feeds() {
  return {{"q", ramp({2, 5, 12}, 2)}, {"k", ramp({2, 9, 12}, 1.5f)}, {"v", ramp({2, 9, 12})}};
}

bool has(const std::vector<std::string>& ops, std::string_view op) {
  return std::find(ops.begin(), ops.end(), op) != ops.end();
}

TEST(FusedAttention, ServesWhatExportersWrite) {
  const auto number = [](GraphBuilder& net, const std::string& name, float value) {
    return net.constant(name, Tensor::scalar(value));
  };
  const std::vector<std::function<ValueId(GraphBuilder&, ValueId)>> forms = {
      [&](GraphBuilder&, ValueId s) { return s; },
      [&](GraphBuilder& net, ValueId s) { return net.add("Mul", "scaled", {number(net, "f", 0.5f), s}); },
      [&](GraphBuilder& net, ValueId s) {
        const ValueId x = net.add("Div", "scaled", {s, number(net, "f", 2)});
        return net.add("Add", "masked", {net.constant("mask", ramp({2, 1, 1, 9}, 4)), x});
      },
      [&](GraphBuilder& net, ValueId s) {
        Tensor seen(DType::kBool, {5, 9});
        for (int64_t i = 0; i < 45; ++i) seen.mutable_raw()[i] = std::byte{i % 9 <= i / 9};
        return net.add("Where", "masked", {net.constant("seen", seen), s, number(net, "low", -1e9f)});
      },
      [&](GraphBuilder& net, ValueId s) {
        const ValueId small = net.add("Div", "small", {s, number(net, "cap", 1.5f)});
        return net.add("Mul", "capped", {net.add("Tanh", "tanh", {small}), number(net, "cap2", 1.5f)});
      }};
  for (size_t i = 0; i < forms.size(); ++i) {
    Pieces p = pieces(forms[i]);
    const ValueId inside = p.probabilities;
    const auto model = p.net.build();
    const auto ops = ops_of(model, feeds());
    EXPECT_TRUE(has(ops, "Attention")) << "form " << i;
    EXPECT_FALSE(has(ops, "Softmax") || has(ops, "MatMul") || has(ops, "Transpose")) << "form " << i;
    // Who looks inside sees the pieces, which make the same.
    EXPECT_TRUE(has(ops_of(model, feeds(), {inside}), "Softmax")) << "form " << i;
    runtime::Session apart(model, {.threads = 1, .taps = {inside}});
    apart.set_tap([](ValueId, const TensorView&) {});
    const Tensor want = apart.run(feeds())[0];
    for (const int threads : {1, 3}) {
      const Tensor found = runtime::Session(model, {.threads = threads}).run(feeds())[0];
      expect_floats(found, want.dims(), want.floats(), 2e-6f);
    }
  }
}

TEST(FusedAttention, StepsAsideWhereProductsAreQuantized) {
  Pieces p = pieces([](GraphBuilder& net, ValueId s) { return net.fake_quantize("between", s, 0.05f, 128); });
  EXPECT_FALSE(has(ops_of(p.net.build(), feeds()), "Attention"));
}

TEST(FusedAttention, KeepsWhatIsAnOutput) {
  Pieces p = pieces([](GraphBuilder&, ValueId s) { return s; });
  p.net.output(p.probabilities);
  const auto ops = ops_of(p.net.build(), feeds());
  EXPECT_FALSE(has(ops, "Attention"));
}

// ---- Attention and RotaryEmbedding of ai.onnx, in files that say nothing of sizes

// ONNX Runtime 1.32 made the expected numbers.

// A node of opset 23 whose inputs have so many dimensions, of which none is known.
std::vector<Tensor> of_unknown_sizes(std::string_view op, const std::vector<Tensor>& inputs,
                                     const GraphBuilder::Attributes& attributes = {}) {
  GraphBuilder net;
  Graph& g = net.graph();
  Node node;
  node.op_type = op;
  node.name = op;
  std::vector<runtime::Feed> feeds;
  for (const Tensor& t : inputs) {
    feeds.push_back({input_name(feeds.size()), t});
    node.inputs.push_back(net.input(feeds.back().name, SymShape(t.dims().size())));
  }
  for (const auto& [key, value] : attributes) node.attributes.emplace(key, value);
  node.outputs = {g.add_value("y")};
  net.output(node.outputs[0]);
  g.nodes = form_in_memory(*find_op("", op), g, std::move(node), 23);
  return runtime::Session(net.build()).run(std::move(feeds));
}

Tensor counted(Shape dims, float step) {
  std::vector<float> values(static_cast<size_t>(element_count(dims)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = step * static_cast<float>(i % 7) - 0.5f;
  return floats(std::move(dims), std::move(values));
}

TEST(Attention, SharesAsManyHeadsAsARunHas) {
  const Tensor q = counted({1, 4, 2, 2}, 0.3f), k = counted({1, 2, 3, 2}, 0.2f),
               v = counted({1, 2, 3, 2}, 0.4f);
  expect_floats(of_unknown_sizes("Attention", {q, k, v})[0], {1, 4, 2, 2},
                {0.19508947f, 0.5950895f, 0.3751744f, 0.77517444f, 0.54703295f, 0.94703293f, 0.41966105f,
                 0.81966102f, 0.77553052f, 0.33641979f, 0.84659487f, 0.36402875f, 0.90481561f, 0.39488322f,
                 0.73575926f, 0.32413104f},
                1e-5f);
  expect_floats(
      of_unknown_sizes("Attention", {counted({1, 2, 2, 2}, 0.3f), k, v})[0], {1, 2, 2, 2},
      {0.19508947f, 0.5950895f, 0.3751744f, 0.77517444f, 0.87737966f, 0.3791149f, 1.2184426f, 0.045733936f},
      1e-5f);
  // Three heads do not share two, and one does not either.
  EXPECT_THROW(of_unknown_sizes("Attention", {counted({1, 3, 2, 2}, 0.3f), k, v}), Error);
  EXPECT_THROW(of_unknown_sizes("Attention", {counted({1, 1, 2, 2}, 0.3f), k, v}), Error);
}

TEST(Attention, RotatesAsManyNumbersAsARunHas) {
  const std::vector<Tensor> inputs{counted({1, 2, 2, 4}, 0.3f), counted({1, 2, 2}, 0.2f),
                                   counted({1, 2, 2}, 0.4f)};
  expect_floats(of_unknown_sizes("RotaryEmbedding", inputs)[0], {1, 2, 2, 4},
                {0.3f, 0.1f, 0.2f, -0.1f, -0.46f, 0.45f, 0.08f, 0.65f, 0.3f, 0.04f, -0.1f, -0.22f, 0.05f,
                 0.27f, 0.35f, 0.89f},
                1e-5f);
  expect_floats(of_unknown_sizes("RotaryEmbedding", inputs, {{"interleaved", int64_t{1}}})[0], {1, 2, 2, 4},
                {0.15f, 0.35f, 0.01f, -0.13f, -0.37f, 0.11f, 0.48f, 0.86f, 0.15f, 0.05f, -0.05f, -0.25f,
                 -0.49f, 0.17f, 0.09f, -0.37f},
                1e-5f);
}

}  // namespace
}  // namespace zp::test
