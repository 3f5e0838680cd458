// Mixtures of experts beside a loop over rows and experts.
#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

constexpr int64_t kRows = 5, kWidth = 16, kInner = 16, kExperts = 4, kBest = 2;

// Matrix of an expert, [outputs, inputs] as the operators have it.
using Matrix = std::vector<double>;

std::vector<double> times(const Matrix& m, const std::vector<double>& x) {
  const size_t outputs = m.size() / x.size();
  std::vector<double> y(outputs);
  for (size_t o = 0; o < outputs; ++o)
    for (size_t i = 0; i < x.size(); ++i) y[o] += m[o * x.size() + i] * x[i];
  return y;
}

std::vector<float> definition(const Tensor& x, const Tensor& router, const std::vector<Matrix>& first,
                              const std::vector<Matrix>& second, bool normalized) {
  std::vector<float> y;
  for (int64_t row = 0; row < kRows; ++row) {
    const auto logits = router.data<float>().subspan(static_cast<size_t>(row * kExperts), kExperts);
    std::vector<double> p(logits.begin(), logits.end());
    double sum = 0;
    for (double& e : p) sum += e = std::exp(e);
    for (double& e : p) e /= sum;
    std::vector<size_t> order(kExperts);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
    const double taken = normalized ? p[order[0]] + p[order[1]] : 1;
    const auto from = x.data<float>().subspan(static_cast<size_t>(row * kWidth), kWidth);
    std::vector<double> made(kWidth);
    for (size_t k = 0; k < kBest; ++k) {
      std::vector<double> h = times(first[order[k]], {from.begin(), from.end()});
      for (double& e : h) e = std::max(e, 0.0);
      const std::vector<double> out = times(second[order[k]], h);
      for (size_t i = 0; i < made.size(); ++i) made[i] += out[i] * p[order[k]] / taken;
    }
    y.insert(y.end(), made.begin(), made.end());
  }
  return y;
}

std::vector<Matrix> matrices(const Tensor& all) {
  std::vector<Matrix> each;
  const std::vector<float> values = all.floats();
  const auto size = static_cast<std::ptrdiff_t>(values.size() / kExperts);
  for (std::ptrdiff_t e = 0; e < kExperts; ++e)
    each.emplace_back(values.begin() + e * size, values.begin() + (e + 1) * size);
  return each;
}

OneNode mixture(std::string op, std::vector<Tensor> inputs, GraphBuilder::Attributes attributes) {
  attributes.emplace_back("k", kBest);
  return {.op = std::move(op),
          .inputs = std::move(inputs),
          .attributes = std::move(attributes),
          .domain = "com.microsoft"};
}

TEST(MixtureOfExperts, GoesThroughTheLikeliest) {
  const Tensor x = ramp({kRows, kWidth}), router = ramp({kRows, kExperts}, 2),
               first = ramp({kExperts, kInner, kWidth}), second = ramp({kExperts, kWidth, kInner}, -0.5f);
  for (const bool normalized : {false, true}) {
    const OneNode one =
        mixture("MoE", {x, router, first, {}, second}, {{"normalize_routing_weights", int64_t{normalized}}});
    expect_floats(run(one)[0], {kRows, kWidth},
                  definition(x, router, matrices(first), matrices(second), normalized), 1e-5f);
  }
}

// Codes of 4 bits, and the matrices that they are: in blocks of 16, or with one scale for each row.
TEST(MixtureOfExperts, ReadsCodesWithZeroPoints) {
  const Tensor x = ramp({kRows, kWidth}), router = ramp({kRows, kExperts}, 2);
  for (const bool blocked : {false, true}) {
    const auto codes_of = [&](uint32_t seed) {
      Tensor codes(DType::kUint8, {kExperts, kInner, kWidth / 2});
      for (int64_t i = 0; i < codes.size(); ++i)
        codes.mutable_raw()[i] = static_cast<std::byte>((seed += 77) % 251);
      return codes;
    };
    const Shape rows = {kExperts, kInner};
    const Tensor points = [&] {  // the zero points of two rows in a byte, or of a block in one
      Tensor t(DType::kUint8, blocked ? Shape{kExperts, kInner, 1} : Shape{kExperts, kInner / 2});
      for (int64_t i = 0; i < t.size(); ++i)
        t.mutable_raw()[i] = static_cast<std::byte>(blocked ? i % 16 : 7 + 16 * (i % 9));
      return t;
    }();
    const auto matrices_of = [&](const Tensor& codes, float step) {
      std::vector<Matrix> each(kExperts);
      for (int64_t i = 0; i < 2 * codes.size(); ++i) {
        const int64_t row = i / kWidth;
        const int code = std::to_integer<int>(codes.raw()[i / 2]) >> (i % 2 * 4) & 15;
        const int at = blocked ? std::to_integer<int>(points.raw()[row])
                               : std::to_integer<int>(points.raw()[row / 2]) >> (row % 2 * 4) & 15;
        each[static_cast<size_t>(row / kInner)].push_back((code - at) * double{step});
      }
      return each;
    };
    const auto scales = [&](float step) {
      Shape dims = rows;
      if (blocked) dims.push_back(1);
      return floats(dims, std::vector<float>(kExperts * kInner, step));
    };
    const Tensor first = codes_of(3), second = codes_of(8);
    OneNode one = mixture(
        "QMoE", {x, router, first, scales(0.05f), {}, second, scales(0.02f), {}, {}, {}, {}, points, points},
        {{"normalize_routing_weights", int64_t{1}}});
    if (blocked) one.attributes.emplace_back("block_size", int64_t{16});
    // Weights are constants.
    const Tensor found = runtime::Session(model_of(one, Given::kConstant), {.threads = 1}).run({})[0];
    expect_floats(found, {kRows, kWidth},
                  definition(x, router, matrices_of(first, 0.05f), matrices_of(second, 0.02f), true), 1e-4f);
  }
}

TEST(MixtureOfExperts, RefusesWhatItCannotDo) {
  const Tensor x = ramp({kRows, kWidth}), router = ramp({kRows, kExperts}),
               w = ramp({kExperts, kInner, kWidth});
  const auto code_of = [&](GraphBuilder::Attributes attributes) {
    const auto error = error_of(mixture("MoE", {x, router, w, {}, w}, std::move(attributes)), Given::kFed);
    return error ? error->code() : ErrorCode::kInternal;
  };
  EXPECT_EQ(code_of({{"use_sparse_mixer", int64_t{1}}}), ErrorCode::kUnsupportedOperator);
  EXPECT_EQ(code_of({{"activation_type", std::string("swoosh")}}), ErrorCode::kUnsupportedOperator);
  EXPECT_EQ(code_of({{"activation_type", std::string("swiglu")}}), ErrorCode::kInvalidModel);
}

// ---- LinearAttention

// One head, keys of two numbers and values of one: states that can be followed by hand.
OneNode linear(std::string rule, std::vector<Tensor> inputs) {
  return {.op = "LinearAttention",
          .inputs = std::move(inputs),
          .attributes = {{"update_rule", std::move(rule)},
                         {"q_num_heads", int64_t{1}},
                         {"kv_num_heads", int64_t{1}},
                         {"scale", 1.0f}},
          .outputs = 2,
          .version = 27};
}

TEST(LinearAttention, FollowsItsRules) {
  const Tensor q = floats({1, 2, 2}, {1, 1, 1, 2}), k = floats({1, 2, 2}, {1, 0, 0.5f, 1}),
               v = floats({1, 2, 1}, {2, 3}), past = floats({1, 1, 2, 1}, {4, 1});
  const Tensor decay = floats({1, 2, 1}, {std::log(0.5f), std::log(0.25f)}),
               beta = floats({1, 2, 1}, {0.5f, 1});
  auto found = run(linear("linear", {q, k, v, past}));
  expect_floats(found[0], {1, 2, 1}, {7, 7.5f + 8});  // S = (6, 1), then (7.5, 4)
  expect_floats(found[1], {1, 1, 2, 1}, {7.5f, 4});
  found = run(linear("gated", {q, k, v, past, decay}));  // S = (4, 0.5), then (2.5, 3.125)
  expect_floats(found[1], {1, 1, 2, 1}, {2.5f, 3.125f}, 1e-6f);
  found = run(linear("delta", {q, k, v, {}, {}, beta}));  // S = (1, 0); v = 3 - 0.5: S = (2.25, 2.5)
  expect_floats(found[0], {1, 2, 1}, {1, 2.25f + 5});
  expect_floats(found[1], {1, 1, 2, 1}, {2.25f, 2.5f});
  found = run(linear("gated_delta", {q, k, v, past, decay, beta}));
  // S = (2, 0.5), v = 0.5 (2 - 2) = 0; S = (0.5, 0.125), v = 3 - 0.375 = 2.625: S = (1.8125, 2.75)
  expect_floats(found[1], {1, 1, 2, 1}, {1.8125f, 2.75f}, 1e-6f);
}

TEST(LinearAttention, RefusesWhatDoesNotFit) {
  const Tensor q = ramp({1, 2, 2}), k = ramp({1, 2, 2}), v = ramp({1, 2, 1}), decay = ramp({1, 2, 1});
  const auto code_of = [](const OneNode& one) {
    const auto error = error_of(one, Given::kFed);
    return error ? error->code() : ErrorCode::kInternal;
  };
  EXPECT_EQ(code_of(linear("linear", {q, k, v, {}, decay})), ErrorCode::kInvalidModel);
  EXPECT_EQ(code_of(linear("gated", {q, k, v})), ErrorCode::kInvalidModel);
  EXPECT_EQ(code_of(linear("sideways", {q, k, v})), ErrorCode::kInvalidModel);
  EXPECT_EQ(code_of(linear("linear", {q, ramp({1, 2, 3}), v})), ErrorCode::kShapeMismatch);
  EXPECT_EQ(code_of(linear("linear", {q, k, v, ramp({1, 1, 2, 2})})), ErrorCode::kShapeMismatch);
  EXPECT_EQ(code_of(linear("gated", {q, k, v, {}, ramp({1, 2, 3})})), ErrorCode::kShapeMismatch);
}

}  // namespace
}  // namespace zp::test
