// What each repair does, on small networks made to need it.
#include <gmock/gmock.h>

#include <array>
#include <cmath>

#include "quant/report.h"
#include "quant/spread.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;

struct Net : GraphBuilder {
  ValueId conv(const std::string& name, ValueId x, Tensor w, std::optional<Tensor> b, int64_t group = 1) {
    const int64_t k = w.dims()[2];
    std::vector<ValueId> inputs{x, constant(name + "_w", std::move(w))};
    if (b) inputs.push_back(constant(name + "_b", std::move(*b)));
    return add("Conv", name, inputs,
               {{"kernel_shape", std::vector<int64_t>{k, k}},
                {"pads", std::vector<int64_t>{k / 2, k / 2, k / 2, k / 2}},
                {"group", group}});
  }
};

Samples samples(Shape dims, int count, uint32_t seed, float scale = 1, float shift = 0) {
  Samples s;
  for (int i = 0; i < count; ++i)
    s.push_back({{"x", noise(dims, seed + static_cast<uint32_t>(i), scale, shift)}});
  return s;
}

quant::ErrorSums errors(const std::shared_ptr<const Model>& a, const std::shared_ptr<const Model>& b,
                        const Samples& held_out) {
  runtime::Session x(a), y(b);
  quant::ErrorSums sums;
  for (const auto& feeds : held_out) {
    const std::vector<float> u = x.run(feeds)[0].floats(), v = y.run(feeds)[0].floats();
    sums.add(u.data(), v.data(), u.size());
  }
  return sums;
}

// How much nearer the second is, in dB.
double gain(const std::shared_ptr<const Model>& model, const Quantized& before, const Quantized& after,
            const Samples& held_out) {
  return errors(model, after.model, held_out).sqnr_db() - errors(model, before.model, held_out).sqnr_db();
}

// The largest shift of a channel's mean, in the first output.
double worst_shift(const std::shared_ptr<const Model>& a, const std::shared_ptr<const Model>& b,
                   const Samples& held_out) {
  runtime::Session x(a), y(b);
  std::vector<double> shift;
  for (const auto& feeds : held_out) {
    const Tensor u = x.run(feeds)[0], v = y.run(feeds)[0];
    const auto channels = static_cast<size_t>(u.dims()[1]);
    const size_t inner = static_cast<size_t>(u.size()) / channels;
    shift.resize(channels, 0);
    for (size_t i = 0; i < static_cast<size_t>(u.size()); ++i)
      shift[i / inner] += static_cast<double>(v.data<float>()[i]) - static_cast<double>(u.data<float>()[i]);
  }
  double worst = 0;
  for (double s : shift) worst = std::max(worst, std::fabs(s));
  return worst / static_cast<double>(held_out.size());
}

struct WithAndWithout {
  Quantized plain, repaired;
};
WithAndWithout with_and_without(const std::shared_ptr<const Model>& model, Config config,
                                std::vector<std::string> repairs, const Samples& seen);
double gain(const std::shared_ptr<const Model>& model, const WithAndWithout& q, const Samples& held_out);
std::shared_ptr<Model> two_products();
Samples correlated(Shape dims, int count, uint32_t seed);

// ---- bias correction

// Inputs far from zero make the rounding of weights a shift of the output.
std::shared_ptr<Model> shifted_net(bool bias) {
  Net net;
  const ValueId x = net.input("x", {1, 8, 6, 6});
  const auto b = [&](uint32_t seed) {
    return bias ? std::optional<Tensor>(noise({8}, seed, 0.2f)) : std::nullopt;
  };
  const ValueId c1 = net.add("Relu", "r1", {net.conv("c1", x, noise({8, 8, 1, 1}, 3, 0.5f), b(5))});
  net.output(net.conv("c2", c1, noise({8, 8, 3, 3}, 4, 0.3f), b(6)));
  return net.build();
}

TEST(BiasCorrection, TakesTheShiftOfEachChannelOffItsBias) {
  for (bool bias : {true, false}) {
    const auto model = shifted_net(bias);
    Config config;
    config.weights = DType::kInt4;
    const Samples seen = samples({1, 8, 6, 6}, 16, 100, 1, 1),
                  held_out = samples({1, 8, 6, 6}, 16, 500, 1, 1);
    const Quantized plain = quantize(model, config, seen);
    config.repairs = {"bias-correction"};
    const Quantized corrected = quantize(model, config, seen);
    EXPECT_GT(worst_shift(model, plain.model, held_out), 5 * worst_shift(model, corrected.model, held_out));
    EXPECT_GT(gain(model, plain, corrected, held_out), 1);
    ASSERT_EQ(corrected.report.repairs.size(), 1u);
    EXPECT_NE(corrected.report.repairs[0].find("2 layers"), std::string::npos);
    // The integers of the weights are not its business.
    const auto integers = [](const Quantized& q) {
      return q.graph().constant(q.dq("c2", 1)->input(0))->integers();
    };
    EXPECT_EQ(integers(plain), integers(corrected));
  }
}

TEST(BiasCorrection, CanBeComputedFromTheMeansOfInputs) {
  const auto model = shifted_net(true);
  Config config;
  config.weights = DType::kInt4;
  const Samples seen = samples({1, 8, 6, 6}, 16, 100, 1, 1), held_out = samples({1, 8, 6, 6}, 16, 500, 1, 1);
  const Quantized plain = quantize(model, config, seen);
  config.repairs = {"bias-correction"};
  config.options["bias-analytic"] = 1;
  const Quantized corrected = quantize(model, config, seen);
  EXPECT_GT(worst_shift(model, plain.model, held_out), 5 * worst_shift(model, corrected.model, held_out));
  EXPECT_GT(gain(model, plain, corrected, held_out), 1);
  EXPECT_NE(corrected.report.repairs.at(0).find("that rounded weights cause"), std::string::npos);
}

TEST(BiasCorrection, OfAProductWithoutABiasGoesIntoTheSumBehindIt) {
  Net net;
  const ValueId x = net.input("x", {2, 4, 8});
  const ValueId m = net.add("MatMul", "m", {x, net.constant("w", noise({8, 6}, 3))});
  net.output(net.add("Add", "y", {m, net.constant("b", noise({6}, 4))}));
  const auto model = net.build();
  Config config;
  config.weights = DType::kInt4;
  const Samples seen = samples({2, 4, 8}, 16, 100, 1, 2), held_out = samples({2, 4, 8}, 16, 500, 1, 2);
  const Quantized plain = quantize(model, config, seen);
  config.repairs = {"bias-correction"};
  const Quantized corrected = quantize(model, config, seen);
  EXPECT_GT(gain(model, plain, corrected, held_out), 3);
}

// Weights round off a shift in the one sample that lies far from zero. The others know nothing of it.
TEST(BiasCorrection, TakesOffWhatTheSamplesHaveInCommon) {
  const auto model = shifted_net(true);
  Config config;
  config.weights = DType::kInt4;
  config.observer = "percentile";
  Samples seen = samples({1, 8, 6, 6}, 7, 100, 0.5f);
  seen.push_back(samples({1, 8, 6, 6}, 1, 300, 0.5f, 8)[0]);
  const Samples held_out = samples({1, 8, 6, 6}, 16, 500, 0.5f);
  const Quantized plain = quantize(model, config, seen);
  config.repairs = {"bias-correction"};
  const Quantized corrected = quantize(model, config, seen);
  EXPECT_GT(gain(model, plain, corrected, held_out), -0.5);
}

// y = 7 a + 0.4 b with 4-bit weights, in which 0.4 is nothing.
std::shared_ptr<Model> forgetful_net(std::string_view behind, float forgotten = 0.4f, bool sum = false) {
  Net net;
  const ValueId x = net.input("x", {1, 2, 8, 8});
  ValueId y = net.conv("c", x, Tensor::of<float>({1, 2, 1, 1}, {7, forgotten}),
                       Tensor::of<float>({1}, {sum ? 9.f : 0.f}));
  // As much as the bias has too much: the clamp sees the same.
  if (sum) y = net.add("Add", "sum", {y, net.constant("less", Tensor::of<float>({1, 1, 1, 1}, {-9}))});
  net.output(behind.empty() ? y : net.add(behind, "r", {y}));
  return net.build();
}
// One of eight elements has a = 1, the others -1; b is as given for both.
std::vector<runtime::Feed> forgetful_sample(float b_of_one, float b_of_others) {
  Tensor t(DType::kFloat32, {1, 2, 8, 8});
  const std::span<float> x = t.mutable_data<float>();
  for (size_t i = 0; i < 64; ++i) {
    x[i] = i % 8 == 0 ? 1.f : -1.f;
    x[64 + i] = i % 8 == 0 ? b_of_one : b_of_others;
  }
  return {{"x", t}};
}

// What has shifted is what the ReLU takes away: the mean before it says nothing about what is left.
TEST(BiasCorrection, MeasuresWhatAFunctionBehindTheLayerLetsThrough) {
  for (const char* behind : {"Relu", "HardSwish"}) {
    for (const bool sum : {false, true}) {
      const auto model = forgetful_net(behind, 0.4f, sum);
      const Samples seen(4, forgetful_sample(0, 1));
      Config config;
      config.weights = DType::kInt4;
      const WithAndWithout q = with_and_without(model, config, {"bias-correction"}, seen);
      EXPECT_GT(gain(model, q, seen), -0.1) << behind << sum;
      // Where what it lets through has shifted, that is taken off.
      const Samples shifted(4, forgetful_sample(1, 0));
      EXPECT_GT(gain(model, with_and_without(model, config, {"bias-correction"}, shifted), shifted), 6)
          << behind << sum;
    }
  }
}

TEST(DefaultRepairs, AreTakenBackWhereSamplesHeldOutSaySo) {
  const auto model = forgetful_net("");
  Config config;
  config.weights = DType::kInt4;
  config.repairs = {};
  const auto bias = [](const Quantized& q) { return q.graph().constant(q.dq("c", 2)->input(0))->integers(); };
  const auto with_defaults = [&](const Samples& seen) {
    Config c = config;
    c.default_repairs = true;
    c.options["gptq-samples"] = 1;
    return quantize(model, c, seen);
  };
  const auto says = [](const Quantized& q, std::string_view what) {
    return std::ranges::any_of(q.report.repairs,
                               [&](const std::string& r) { return r.find(what) != r.npos; });
  };
  // The second sample, which is held out, is shifted to the other side.
  const Samples opposed{forgetful_sample(1, 1), forgetful_sample(-1, -1)};
  const Quantized taken_back = with_defaults(opposed);
  EXPECT_EQ(bias(taken_back), bias(quantize(model, config, opposed)));
  EXPECT_TRUE(
      says(taken_back, "bias-correction did not help and was taken back: the outputs of 1 sample held out"));
  EXPECT_FALSE(says(taken_back, "bias correction:"));

  const Samples alike(2, forgetful_sample(1, 1));
  const Quantized kept = with_defaults(alike);
  EXPECT_NE(bias(kept), bias(quantize(model, config, alike)));
  EXPECT_TRUE(says(kept, "; the outputs of 1 sample held out have ")) << kept.report.repairs.at(0);

  const Samples one(1, forgetful_sample(1, 1));
  const Quantized left_out = with_defaults(one);
  EXPECT_EQ(bias(left_out), bias(quantize(model, config, one)));
  EXPECT_TRUE(says(left_out, "bias-correction did not run: one sample cannot show whether it helps"));
}

// Where no layer is quantized there is nothing to repair, and none did not help.
TEST(DefaultRepairs, ThatFindNothingToDoAreNotTakenBack) {
  const Samples seen(4, forgetful_sample(1, 1));
  Config config;
  config.weights = DType::kInt4;
  config.default_repairs = true;
  config.exclude_ops = {"Conv"};
  const Quantized q = quantize(forgetful_net(""), config, seen);
  EXPECT_FALSE(q.layer("c").quantized);
  EXPECT_THAT(q.report.repairs, testing::IsEmpty());
  config = {.mode = "weight-only", .weights = DType::kUint4, .symmetric_weights = false};
  config.has_samples = true;
  config.repairs = {"hqq"};
  config.exclude_ops = {"Conv"};
  EXPECT_EQ(quantize(forgetful_net(""), config, seen).report.repairs,
            std::vector<std::string>{"hqq found nothing to change"});
}

// The samples that are held out of a series that is kept whole.
Samples held_out_of_series(const Samples& series, Samples* rest = nullptr) {
  quant::SampleKeeper keeper(series.size());
  for (const auto& feeds : series) keeper.take(feeds);
  quant::HeldOut split = quant::hold_out(keeper.release(), quant::held_out_of(series.size()));
  Samples out;
  for (auto& s : split.out) out.push_back(std::move(s.feeds));
  for (auto& s : split.rest)
    if (rest) rest->push_back(std::move(s.feeds));
  return out;
}

// A repair that has proven itself sees the samples that judged it too; what it was without them stays where
// it does worse on them then.
TEST(DefaultRepairs, AreMadeAnewFromAllSamplesOnceProven) {
  const auto model = forgetful_net("", 0.025f);  // 8 bits forget it
  Config config;
  config.activations = DType::kUint16;
  const auto bias = [](const Quantized& q) { return q.graph().constant(q.node("c").input(2))->floats(); };
  // The shift of each sample: of 8, two are held out.
  const auto made_anew = [&](std::array<float, 2> held_out) {
    Samples seen;
    for (int i = 0; i < 8; ++i) seen.push_back(forgetful_sample(0, static_cast<float>(i)));
    Samples others;
    const Samples judges = held_out_of_series(seen, &others);
    EXPECT_EQ(judges.size(), 2u);
    size_t judge = 0;
    for (auto& feeds : seen) {
      const bool judges_it = std::ranges::any_of(judges, [&](const auto& j) {
        return j[0].tensor.template data<float>()[65] == feeds[0].tensor.template data<float>()[65];
      });
      const float b = judges_it ? held_out.at(judge++) : 1.0f;
      feeds = forgetful_sample(b, b);
    }
    Config c = config;
    c.default_repairs = true;
    const Quantized checked = quantize(model, c, seen);
    c.default_repairs = false;
    c.repairs = {"bias-correction"};
    const Quantized of_all = quantize(model, c, seen);
    const bool anew = std::ranges::any_of(checked.report.repairs, [](const std::string& r) {
      return r.find("bias correction:") != r.npos && r.find("; it then ran again on all samples") != r.npos;
    });
    EXPECT_EQ(anew, bias(checked) == bias(of_all)) << testing::PrintToString(checked.report.repairs);
    return anew;
  };
  EXPECT_TRUE(made_anew({1.5f, 1.5f}));
  EXPECT_FALSE(made_anew({0.2f, 1.8f}));  // their mean is that of the others, and less sure
}

TEST(DefaultRepairs, OfFourBitWeightsRoundThemBySamples) {
  const auto model = two_products();
  const Samples seen = correlated({4, 32}, 64, 100), held_out = correlated({4, 32}, 16, 500);
  Config config;
  config.weights = DType::kInt4;
  const Quantized plain = quantize(model, config, seen);
  config.default_repairs = true;
  const Quantized q = quantize(model, config, seen);
  EXPECT_GT(gain(model, plain, q, held_out), 3);
  EXPECT_TRUE(
      std::ranges::any_of(q.report.repairs, [](const std::string& r) { return r.starts_with("GPTQ"); }));
}

TEST(DefaultRepairs, AreThoseThatSuitTheConfiguration) {
  const auto model = shifted_net(true);
  const Samples seen = samples({1, 8, 6, 6}, 4, 100);
  const auto sweeps = [&](const Config& c) { return quant::Quantizer(model, c).sweeps(); };
  Config config;
  EXPECT_EQ(sweeps(config), 1u);
  config.default_repairs = true;
  EXPECT_EQ(sweeps(config), 3u);
  EXPECT_EQ(quantize(model, config, seen).report.repairs.size(), 1u);  // nothing to smooth
  config.repairs = {"bias-correction"};
  EXPECT_EQ(sweeps(config), 3u);
  config = {.mode = "weight-only", .weights = DType::kInt4, .default_repairs = true};
  EXPECT_EQ(sweeps(config), 0u);
  config.has_samples = true;
  EXPECT_EQ(sweeps(config), 1u);
  config.weights = DType::kInt8;
  EXPECT_EQ(sweeps(config), 0u);
  config.mode = "dynamic";
  EXPECT_EQ(sweeps(config), 0u);
}

// With the configuration as it is, and with repairs too.
WithAndWithout with_and_without(const std::shared_ptr<const Model>& model, Config config,
                                std::vector<std::string> repairs, const Samples& seen) {
  Quantized plain = quantize(model, config, seen);
  config.repairs = std::move(repairs);
  return {std::move(plain), quantize(model, config, seen)};
}

// Decibels that the repairs add to what the outputs have.
double gain(const std::shared_ptr<const Model>& model, const WithAndWithout& q, const Samples& held_out) {
  return gain(model, q.plain, q.repaired, held_out);
}

// ---- equalisation

// Channels of a pointwise - depthwise - pointwise block, of very different sizes, that a scale for a whole
// weight cannot serve.
std::shared_ptr<Model> unequal_net(std::optional<float> bound) {
  Net net;
  const auto spread = [](Tensor w) {
    const std::span<float> x = w.mutable_data<float>();
    const size_t inner = x.size() / static_cast<size_t>(w.dims()[0]);
    for (size_t i = 0; i < x.size(); ++i) x[i] *= std::pow(3.f, -static_cast<float>(i / inner % 8));
    return w;
  };
  const auto act = [&](const std::string& name, ValueId v) {
    if (!bound) return net.add("Relu", name, {v});
    return net.add("Clip", name,
                   {v, net.constant(name + "_lo", Tensor::scalar(0.f)),
                    net.constant(name + "_hi", Tensor::scalar(*bound))});
  };
  const ValueId x = net.input("x", {1, 4, 6, 6});
  const ValueId a = act("a", net.conv("c1", x, spread(noise({8, 4, 1, 1}, 1, 2.f)), noise({8}, 2, 0.01f)));
  const ValueId d =
      act("d", net.conv("dw", a, spread(noise({8, 1, 3, 3}, 3, 0.5f)), noise({8}, 4, 0.01f), 8));
  Tensor last = noise({5, 8, 1, 1}, 5, 1.f);
  for (size_t i = 0; i < 40; ++i) last.mutable_data<float>()[i] *= std::pow(9.f, static_cast<float>(i % 8));
  net.output(net.conv("c2", d, std::move(last), noise({5}, 6, 0.1f)));
  return net.build();
}

TEST(Equalization, MakesOneScaleForAWeightEnough) {
  for (std::optional<float> bound : {std::optional<float>(), std::optional<float>(2.f)}) {
    const auto model = unequal_net(bound);
    Config config;
    config.per_channel = false;
    const Samples seen = samples({1, 4, 6, 6}, 12, 100), held_out = samples({1, 4, 6, 6}, 12, 500);
    const WithAndWithout q = with_and_without(model, config, {"equalization"}, seen);
    EXPECT_GT(gain(model, q, held_out), 6) << (bound ? "with a bound" : "without");
    ASSERT_EQ(q.repaired.report.repairs.size(), 1u);
    EXPECT_NE(q.repaired.report.repairs[0].find("2 places"), std::string::npos);
  }
}

TEST(Equalization, ChangesNothingThatAFloatModelComputes) {
  // All layers stay float: what is left is the model, equalised.
  const auto model = unequal_net(2.f);
  Config config;
  config.per_channel = false;
  config.repairs = {"equalization"};
  config.exclude_ops = {"Conv"};
  const Samples seen = samples({1, 4, 6, 6}, 12, 100);
  const Quantized equal = quantize(model, config, seen);
  ASSERT_EQ(equal.report.layers_quantized, 0u);
  EXPECT_NE(equal.graph().constant(equal.node("dw").input(1))->floats(),
            model->graph.constant(model->graph.nodes[2].input(1))->floats());
  EXPECT_GT(errors(model, equal.model, seen).sqnr_db(), 100);
}

// Where rows have scales of their own, what counts is how large the inputs of a row are next to each other.
TEST(Equalization, OfRowsWithTheirOwnScalesEvensTheInputs) {
  for (std::optional<float> bound : {std::optional<float>(), std::optional<float>(2.f)}) {
    const auto model = unequal_net(bound);
    Config config;
    config.weights = DType::kInt4;
    const Samples seen = samples({1, 4, 6, 6}, 12, 100), held_out = samples({1, 4, 6, 6}, 12, 500);
    EXPECT_GT(gain(model, with_and_without(model, config, {"equalization"}, seen), held_out), 6)
        << (bound ? "with a bound" : "without");
  }
}

// x -> c1 -> h; h + c3(relu(c2(h))) -> y -> c4. Channels of h and of what is added to it are the same.
std::shared_ptr<Model> residual_net(bool read_otherwise) {
  Net net;
  const auto uneven = [](Tensor w) {
    const std::span<float> x = w.mutable_data<float>();
    for (size_t i = 0; i < x.size(); ++i) x[i] *= std::pow(2.f, static_cast<float>(i % 8) - 4);
    return w;
  };
  Tensor first = noise({8, 4, 1, 1}, 1, 2.f), last = noise({8, 12, 1, 1}, 5, 0.5f);
  for (size_t i = 0; i < 32; ++i)
    first.mutable_data<float>()[i] *= std::pow(2.f, 4 - static_cast<float>(i / 4));
  for (size_t i = 0; i < 96; ++i)
    last.mutable_data<float>()[i] *= std::pow(2.f, 4 - static_cast<float>(i / 12));
  const ValueId x = net.input("x", {1, 4, 6, 6});
  const ValueId h = net.conv("c1", x, std::move(first), noise({8}, 2, 0.1f));
  const ValueId r =
      net.add("Relu", "r", {net.conv("c2", h, uneven(noise({12, 8, 1, 1}, 3)), noise({12}, 4, 0.1f))});
  const ValueId y = net.add("Add", "y", {h, net.conv("c3", r, std::move(last), noise({8}, 6, 0.1f))});
  net.output(net.conv("c4", y, uneven(noise({5, 8, 1, 1}, 7)), noise({5}, 8, 0.1f)));
  if (read_otherwise) net.output(net.add("Sigmoid", "s", {y}));
  return net.build();
}

TEST(Equalization, ScalesWhatIsAddedTogether) {
  const Samples seen = samples({1, 4, 6, 6}, 12, 100), held_out = samples({1, 4, 6, 6}, 12, 500);
  for (const bool per_channel : {false, true}) {
    Config config;
    config.per_channel = per_channel;
    config.weights = per_channel ? DType::kInt4 : DType::kInt8;
    const auto model = residual_net(false);
    const WithAndWithout q = with_and_without(model, config, {"equalization"}, seen);
    const Quantized& equal = q.repaired;
    EXPECT_GT(gain(model, q, held_out), 6) << (per_channel ? "one scale per row" : "one scale");
    EXPECT_NE(equal.report.repairs[0].find("2 places"), std::string::npos) << equal.report.repairs[0];
    // Nobody takes it for the float model's.
    EXPECT_EQ(equal.graph().find("y"), kNoValue);
    EXPECT_NE(equal.graph().find("y_equalized"), kNoValue);
    // The sigmoid of a sum knows how large it is.
    config.repairs = {"equalization"};
    const Quantized other = quantize(residual_net(true), config, seen);
    EXPECT_NE(other.report.repairs[0].find("1 place "), std::string::npos) << other.report.repairs[0];
  }
}

// ---- rounding

// Inputs that hang together: rounding errors of one weight can be made up for by another.
Samples correlated(Shape dims, int count, uint32_t seed) {
  Samples s = samples(dims, count, seed);
  for (auto& feeds : s) {
    Tensor t = Tensor::of<float>(dims, feeds[0].tensor.data<float>());
    const std::span<float> x = t.mutable_data<float>();
    const auto width = static_cast<size_t>(dims.back());
    for (size_t i = 0; i < x.size(); ++i)
      if (i % width) x[i] = 0.9f * x[i - 1] + 0.3f * x[i];
    feeds[0].tensor = t;
  }
  return s;
}

std::shared_ptr<Model> two_products() {
  Net net;
  const ValueId x = net.input("x", {4, 32});
  const ValueId h = net.add(
      "Relu", "h",
      {net.add("Gemm", "g1",
               {x, net.constant("w1", noise({32, 24}, 1, 0.4f)), net.constant("b1", noise({24}, 2, 0.1f))})});
  net.output(
      net.add("Gemm", "g2",
              {h, net.constant("w2", noise({24, 16}, 3, 0.4f)), net.constant("b2", noise({16}, 4, 0.1f))}));
  return net.build();
}

TEST(AdaRound, RoundsWhatTheLayerComputesNotEachWeight) {
  const auto model = two_products();
  const Samples seen = correlated({4, 32}, 32, 100), held_out = correlated({4, 32}, 16, 500);
  Config config;
  config.weights = DType::kInt4;
  const Quantized plain = quantize(model, config, seen);
  config.repairs = {"adaround"};
  const Quantized learned = quantize(model, config, seen);
  EXPECT_GT(gain(model, plain, learned, held_out), 3);
  const auto constant = [](const Quantized& q, size_t i) {
    return *q.graph().constant(q.dq("g1", 1)->input(i));
  };
  // Other integers, at the same scales.
  EXPECT_NE(constant(plain, 0).integers(), constant(learned, 0).integers());
  EXPECT_EQ(constant(plain, 1).floats(), constant(learned, 1).floats());
  // Learning adds to what single steps find.
  config.options["adaround-iterations"] = 0;
  const Quantized steps = quantize(model, config, seen);
  EXPECT_GT(gain(model, plain, steps, held_out), 1);
}

TEST(AdaRound, TakesConvolutionsWithGroupsAndDepthwiseOnes) {
  Net net;
  const ValueId x = net.input("x", {1, 8, 8, 8});
  const ValueId a =
      net.add("Relu", "a", {net.conv("c1", x, noise({12, 4, 3, 3}, 1, 0.3f), noise({12}, 2, 0.1f), 2)});
  const ValueId d =
      net.add("Relu", "d", {net.conv("dw", a, noise({12, 1, 3, 3}, 3, 0.4f), noise({12}, 4, 0.1f), 12)});
  net.output(net.conv("c2", d, noise({6, 12, 3, 3}, 5, 0.2f), noise({6}, 6, 0.1f)));
  const auto model = net.build();
  const Samples seen = correlated({1, 8, 8, 8}, 16, 100), held_out = correlated({1, 8, 8, 8}, 8, 500);
  Config config;
  config.weights = DType::kInt4;
  const Quantized plain = quantize(model, config, seen);
  config.repairs = {"adaround"};
  const Quantized learned = quantize(model, config, seen);
  EXPECT_GT(gain(model, plain, learned, held_out), 1);
  EXPECT_NE(learned.report.repairs.at(0).find("3 layers"), std::string::npos);
}

TEST(AdaRound, WorksInSlicesAndCanBeLeft) {
  const auto model = two_products();
  Config config;
  config.repairs = {"adaround"};
  const Samples seen = correlated({4, 32}, 8, 100);
  const auto integers = [](const Quantized& q) {
    return q.graph().constant(q.dq("g2", 1)->input(0))->integers();
  };
  EXPECT_EQ(integers(quantize(model, config, seen, 1e9)), integers(quantize(model, config, seen, 0)));

  config.options["adaround-iterations"] = 20000;
  quant::Quantizer job(model, config);
  while (!job.wants_samples()) job.advance(1);
  for (int sweep = 0; sweep < 2; ++sweep) {
    for (const auto& s : seen) {
      job.begin_sample(s);
      while (!job.advance(1)) {
      }
    }
    job.end_samples();
    if (sweep == 0)
      while (!job.wants_samples()) job.advance(1);
  }
  EXPECT_FALSE(job.advance(0));
  EXPECT_EQ(job.progress().phase, "adaround");
  EXPECT_EQ(job.progress().total, 2u);
}

// m = x w, with x of four rows.
std::shared_ptr<Model> one_product(const Tensor& w) {
  Net net;
  const ValueId x = net.input("x", {4, w.dims()[0]});
  net.output(net.add("MatMul", "m", {x, net.constant("w", w)}));
  return net.build();
}

TEST(Gptq, MakesUpForTheRoundingOfAWeightWithThoseBehindIt) {
  const auto model = one_product(noise({64, 24}, 1, 0.4f));
  const Samples seen = correlated({4, 64}, 64, 100), held_out = correlated({4, 64}, 16, 500);
  Config config;
  config.mode = "weight-only";
  config.weights = DType::kInt4;
  const Quantized plain = quantize(model, config);
  config.repairs = {"gptq"};
  const Quantized made_up = quantize(model, config, seen);
  EXPECT_GT(gain(model, plain, made_up, held_out), 3);
}

// Of inputs far from zero, by repairs of 4-bit weights: their mean is most of what a row's products are,
// and no weight should be spent on it.
struct FarFromZero {
  std::shared_ptr<const Model> model = shifted_net(true);
  Samples held_out = samples({1, 8, 6, 6}, 16, 100, 0.3f, 2);
  WithAndWithout q;

  explicit FarFromZero(std::vector<std::string> repairs)
      : q(with_and_without(model, {.weights = DType::kInt4}, std::move(repairs),
                           samples({1, 8, 6, 6}, 16, 1, 0.3f, 2))) {}
  void expect_means_kept() const {
    EXPECT_LT(worst_shift(model, q.repaired.model, held_out),
              worst_shift(model, q.plain.model, held_out) / 4);
  }
};

TEST(Gptq, LeavesTheMeansToTheBias) {
  const FarFromZero by({"gptq"});
  by.expect_means_kept();
  EXPECT_GT(gain(by.model, by.q, by.held_out), 6);
  const auto bias = [](const Quantized& q) {
    return q.graph().constant(q.dq("c1", 2)->input(0))->integers();
  };
  EXPECT_NE(bias(by.q.plain), bias(by.q.repaired));
}

TEST(Rounding, TwoRepairsMoveABiasOnceEach) { FarFromZero({"gptq", "adaround"}).expect_means_kept(); }

TEST(Gptq, ChoosesARowsScaleByWhatComesOut) {
  const auto model = two_products();
  const Samples seen = correlated({4, 32}, 64, 100);
  Config config;
  config.weights = DType::kInt4;
  const Quantized plain = quantize(model, config, seen);
  config.repairs = {"gptq"};
  const Quantized q = quantize(model, config, seen);
  const auto scales = [](const Quantized& of, size_t i) {
    return of.graph().constant(of.dq("g1", i)->input(1))->floats();
  };
  EXPECT_NE(scales(plain, 1), scales(q, 1));
  EXPECT_EQ(scales(plain, 0), scales(q, 0));
  // The bias stays what integer kernels add to sums of products.
  const std::vector<float> weights = scales(q, 1), bias = scales(q, 2);
  for (size_t c = 0; c < bias.size(); ++c) EXPECT_NEAR(bias[c] / (scales(q, 0)[0] * weights[c]), 1, 1e-6);
  // With one scale for all rows, no row can move it.
  config.per_channel = false;
  const Quantized per_tensor = quantize(model, config, seen);
  config.repairs = {};
  EXPECT_EQ(scales(per_tensor, 1), scales(quantize(model, config, seen), 1));
}

TEST(Gptq, ServesIntegerActivationsToo) {
  const auto model = two_products();
  const Samples seen = correlated({4, 32}, 64, 100), held_out = correlated({4, 32}, 16, 500);
  Config config;
  config.weights = DType::kInt4;
  EXPECT_GT(gain(model, with_and_without(model, config, {"gptq"}, seen), held_out), 4);
}

TEST(Gptq, TakesMoreSamplesOnceValuesAreSmaller) {
  // 64 MB for each sample behind the first layer, next to nothing behind the second.
  Net net;
  const ValueId x = net.input("x", {1, 1, 512, 512});
  const ValueId wide = net.conv("wide", x, noise({64, 1, 1, 1}, 1), noise({64}, 2));
  const ValueId pooled = net.add("Flatten", "flat", {net.add("GlobalAveragePool", "pool", {wide})});
  net.output(net.add("Gemm", "last",
                     {pooled, net.constant("w", noise({64, 8}, 3)), net.constant("b", noise({8}, 4))}));
  Config config;
  config.weights = DType::kInt4;
  config.repairs = {"gptq"};
  config.options["gptq-samples"] = 6;
  const Quantized q = quantize(net.build(), config, samples({1, 1, 512, 512}, 6, 1));
  EXPECT_NE(q.report.repairs.at(0).find("2 layers are not rounded to the nearest integer, over 6 samples"),
            std::string::npos)
      << q.report.repairs.at(0);
}

TEST(Repairs, DoNotSpeakOfNoLayers) {
  Net net;
  net.output(net.add("Relu", "y", {net.input("x", {1, 8})}));
  Config config;
  config.mode = "weight-only";
  config.weights = DType::kInt4;
  config.repairs = {"hqq"};
  config.has_samples = false;
  quant::Quantizer job(net.build(), config, 1);
  while (!job.done()) job.advance(1e9);
  EXPECT_THAT(job.report().repairs,
              ::testing::ElementsAre("HQQ: it can choose scales for no weight of this model"));
}

TEST(Hqq, FindsScalesThatServeTheManyWeights) {
  // Many small weights, few large ones.
  Tensor w = noise({64, 24}, 1);
  for (float& v : w.mutable_data<float>()) v = 0.3f * v * v * v;
  const auto model = one_product(w);
  Config config;
  config.mode = "weight-only";
  config.weights = DType::kUint4;
  const Quantized plain = quantize(model, config);
  config.repairs = {"hqq"};
  const Quantized better = quantize(model, config);
  EXPECT_GT(better.layer("m").weight->sqnr_db, plain.layer("m").weight->sqnr_db + 0.1);
  const Samples held_out = samples({4, 64}, 16, 500);
  EXPECT_GT(gain(model, plain, better, held_out), 0.2);
}

// Scales that serve the weights need not serve the outputs: samples decide where there are some.
TEST(Hqq, IsTakenBackWhereSamplesSaySo) {
  size_t kept = 0, taken_back = 0, unchanged = 0;
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    const auto model = one_product(noise({32, 2}, seed, 0.4f));
    const Samples seen = correlated({4, 32}, 16, 100 + seed);
    Config config;
    config.mode = "weight-only";
    config.weights = DType::kUint2;
    config.symmetric_weights = false;
    config.has_samples = true;
    const WithAndWithout q = with_and_without(model, config, {"hqq"}, seen);
    ASSERT_EQ(q.repaired.report.repairs.size(), 1u);
    const std::string& said = q.repaired.report.repairs[0];
    const bool back = said.find("hqq did not help and was taken back") != said.npos;
    const bool same = said == "hqq found nothing to change";
    (back ? taken_back : same ? unchanged : kept) += 1;
    // All 16 samples are kept, and eight of 64 at most judge.
    if (back || same) {
      EXPECT_EQ(gain(model, q, seen), 0);
    } else {
      EXPECT_GT(gain(model, q, held_out_of_series(seen)), 0) << said;
    }
  }
  EXPECT_GT(kept, 0u);
  EXPECT_GT(taken_back, 0u);
  EXPECT_GT(unchanged, 0u);
}

TEST(TwoBits, RepairsKeepToFourValuesAndWinEachMore) {
  const auto model = one_product(noise({64, 24}, 1, 0.4f));
  const Samples seen = correlated({4, 64}, 64, 100), held_out = correlated({4, 64}, 16, 500);
  for (const DType type : {DType::kInt2, DType::kUint2}) {
    for (const bool symmetric : {false, true}) {
      Config config;
      config.mode = "weight-only";
      config.weights = type;
      config.symmetric_weights = symmetric;
      const auto of = [&](std::vector<std::string> repairs) {
        config.repairs = std::move(repairs);
        const Quantized q = quantize(model, config, seen);
        const IntegerRange codes = integer_range(type);
        for (const int64_t code : q.graph().constant(q.dq("m", 1)->input(0))->integers()) {
          EXPECT_GE(code, codes.min);
          EXPECT_LE(code, codes.max);
        }
        return errors(model, q.model, held_out).sqnr_db();
      };
      const double nearest = of({}), hqq = of({"hqq"}), gptq = of({"gptq"}), both = of({"hqq", "gptq"});
      EXPECT_GT(hqq, nearest - 0.5);  // better for the weights, if not for every input
      EXPECT_GT(gptq, nearest + 2);
      EXPECT_GT(both, hqq + 2);
    }
  }
}

// ---- SmoothQuant

TEST(Smooth, MovesOutlierChannelsIntoTheWeights) {
  for (bool alone : {true, false}) {
    // A normalization with a few large gains; its value is read by products alone, or by a residual sum
    // too.
    Net net;
    const ValueId x = net.input("x", {2, 8, 32});
    Tensor gain = noise({32}, 1, 0.2f, 1.f);
    gain.mutable_data<float>()[5] = 60, gain.mutable_data<float>()[20] = -45;
    const ValueId n = net.add("LayerNormalization", "n",
                              {x, net.constant("gain", gain), net.constant("shift", noise({32}, 2, 0.1f))});
    const auto weights = [](uint32_t seed) {  // which hardly look at the large channels
      Tensor w = noise({32, 32}, seed, 0.2f);
      for (size_t i = 0; i < 32; ++i)
        w.mutable_data<float>()[5 * 32 + i] *= 0.02f, w.mutable_data<float>()[20 * 32 + i] *= 0.02f;
      return w;
    };
    const ValueId q = net.add("MatMul", "q", {n, net.constant("wq", weights(3))});
    const ValueId k = net.add("MatMul", "k", {n, net.constant("wk", weights(4))});
    ValueId y = net.add("Add", "y", {q, k});
    net.output(y);
    if (!alone) net.output(net.add("Relu", "residual", {n}));
    const auto model = net.build();
    const Samples seen = samples({2, 8, 32}, 8, 100), held_out = samples({2, 8, 32}, 8, 500);
    const Quantized plain = quantize(model, {}, seen);
    Config config;
    config.repairs = {"smooth"};
    const Quantized smooth = quantize(model, config, seen);
    EXPECT_GT(test::gain(model, plain, smooth, held_out), 6);
    const auto nodes = [](const Quantized& m) {
      return std::count_if(m.graph().nodes.begin(), m.graph().nodes.end(),
                           [](const Node& node) { return !quant::is_of_qdq_pair(node); });
    };
    EXPECT_EQ(nodes(smooth), nodes(plain) + (alone ? 0 : 1));
  }
}

// Rows of a few samples look uneven by chance: what is small in them need not be so in others.
TEST(Smooth, IsNotDeceivedByFewRows) {
  const auto heavy = [](int count, uint32_t seed) {
    Samples s = samples({1, 32}, count, seed, 1.6f);
    for (auto& feeds : s)
      for (float& v : feeds[0].tensor.mutable_data<float>()) v = v * v * v * v * v;
    return s;
  };
  Net net;
  ValueId v = net.input("x", {1, 32});
  v = net.add("MatMul", "m", {v, net.constant("w", noise({32, 32}, 1, 0.4f))});
  net.output(v);
  const auto model = net.build();
  const Samples seen = heavy(6, 100), held_out = heavy(64, 500);
  Config config;
  const double chosen = gain(model, with_and_without(model, config, {"smooth"}, seen), held_out);
  config.options["smooth-strength"] = 0.95;
  const double told = gain(model, with_and_without(model, config, {"smooth"}, seen), held_out);
  EXPECT_LT(told, -1);  // it would do harm here
  EXPECT_GT(chosen, -0.2);
}

// A block that is run twice, of a normalization with large gains and a product.
std::shared_ptr<Model> repeated_block(bool read_elsewhere) {
  Net net;
  const ValueId x = net.input("x", {2, 8, 32});
  Tensor gain = noise({32}, 1, 0.2f, 1.f), w = noise({32, 32}, 3, 0.2f);
  gain.mutable_data<float>()[5] = 60, gain.mutable_data<float>()[20] = -45;
  for (size_t i = 0; i < 32; ++i)
    w.mutable_data<float>()[5 * 32 + i] *= 0.02f, w.mutable_data<float>()[20 * 32 + i] *= 0.02f;
  const ValueId weight = net.constant("w", w), scale = net.constant("gain", gain),
                shift = net.constant("shift", noise({32}, 2, 0.1f));
  ValueId v = x;
  for (const std::string i : {"1", "2"}) {
    const ValueId n = net.add("LayerNormalization", "n" + i, {v, scale, shift});
    v = net.add("MatMul", "m" + i, {n, weight});
  }
  net.output(v);
  if (read_elsewhere) net.output(net.add("Mul", "scaled", {net.add("ReduceMean", "mean", {x}), weight}));
  return net.build();
}

TEST(Smooth, LeavesSharedWeightsShared) {
  const Samples seen = samples({2, 8, 32}, 8, 100), held_out = samples({2, 8, 32}, 8, 500);
  const auto model = repeated_block(false);
  const WithAndWithout q = with_and_without(model, {}, {"smooth"}, seen);
  EXPECT_GT(gain(model, q, held_out), 6);
  EXPECT_EQ(q.repaired.dq("m1", 1)->input(0), q.repaired.dq("m2", 1)->input(0));
  EXPECT_EQ(q.repaired.report.weight_bytes_after, q.plain.report.weight_bytes_after);

  // Scaled for the products, it would be needed as it was for the others.
  const auto other = repeated_block(true);
  const WithAndWithout alone = with_and_without(other, {}, {"smooth"}, seen);
  EXPECT_EQ(alone.repaired.report.weight_bytes_after, alone.plain.report.weight_bytes_after);
  ASSERT_EQ(alone.repaired.report.repairs.size(), 1u);
  EXPECT_TRUE(alone.repaired.report.repairs[0].starts_with("SmoothQuant skipped the layers of 1 weight"))
      << alone.repaired.report.repairs[0];
}

TEST(Equalization, LeavesSharedWeightsShared) {
  Net net;
  const ValueId x = net.input("x", {1, 4, 6, 6});
  const ValueId first = net.constant("first", noise({4, 4, 1, 1}, 1, 2.f)),
                second = net.constant("second", noise({4, 4, 1, 1}, 2, 0.1f));
  ValueId v = x;
  for (const std::string i : {"1", "2"}) {
    v = net.add("Relu", "r" + i, {net.add("Conv", "a" + i, {v, first})});
    v = net.add("Conv", "b" + i, {v, second});
  }
  net.output(v);
  Config config;
  config.per_channel = false;
  const WithAndWithout q =
      with_and_without(net.build(), config, {"equalization"}, samples({1, 4, 6, 6}, 4, 1));
  EXPECT_EQ(q.repaired.report.weight_bytes_after, q.plain.report.weight_bytes_after);
  for (const std::string name : {"a", "b"})
    EXPECT_EQ(q.repaired.dq(name + "1", 1)->input(0), q.repaired.dq(name + "2", 1)->input(0));
}

TEST(SharedWeights, StaySharedUnderDifferentBiases) {
  Net net;
  const ValueId x = net.input("x", {4, 32}), w = net.constant("w", noise({32, 32}, 1, 0.4f));
  const ValueId a = net.add("Gemm", "a", {x, w, net.constant("ba", noise({32}, 2, 0.1f))});
  net.output(net.add("Gemm", "b", {a, w, net.constant("bb", noise({32}, 3, 2.f))}));
  const Quantized q = quantize(net.build(), {}, samples({4, 32}, 4, 1));
  EXPECT_EQ(q.dq("a", 1)->input(0), q.dq("b", 1)->input(0));
  EXPECT_NE(q.dq("a", 2)->input(0), q.dq("b", 2)->input(0));
}

// ---- searches

std::shared_ptr<Model> chain() {
  Net net;
  ValueId v = net.input("x", {1, 4, 8, 8});
  for (int i = 0; i < 4; ++i) {
    Tensor w = noise({i == 3 ? 3 : 4, 4, 3, 3}, static_cast<uint32_t>(i + 1), 0.4f);
    // A channel that is always zero, and a weight of the next layer that nobody would miss, but that the
    // one scale of its tensor has to cover.
    Tensor b = noise({w.dims()[0]}, 9, 0.1f);
    if (i == 1) b.mutable_data<float>()[0] = -50;
    if (i == 2) w.mutable_data<float>()[0] = 10;
    v = net.conv("c" + std::to_string(i), v, w, b);
    if (i < 3) v = net.add("Relu", "r" + std::to_string(i), {v});
  }
  net.output(v);
  return net.build();
}

TEST(Search, AutoIsNeverWorseThanTheDefaultAndSaysWhatItTried) {
  const auto model = unequal_net(std::nullopt);
  const Samples seen = samples({1, 4, 6, 6}, 16, 100);
  Config config;
  config.per_channel = false;
  const Quantized plain = quantize(model, config, seen);
  config.mode = "auto";
  const Quantized best = quantize(model, config, seen);
  const Samples held_out = samples({1, 4, 6, 6}, 12, 500);
  EXPECT_GT(gain(model, plain, best, held_out), 6);
  const std::vector<quant::Trial>& trials = best.report.trials;
  ASSERT_GE(trials.size(), 5u);
  EXPECT_TRUE(trials[0].kept);
  // The rule, with bytes as part of 100 kB; all candidates take the same time.
  const auto worth = [](const quant::Trial& t) {
    return std::min(t.sqnr_db, 40.0) - 48 * static_cast<double>(t.weight_bytes) / 1e5;
  };
  double kept = worth(trials[0]);
  for (const quant::Trial& t : trials) {
    EXPECT_EQ(t.kept, &t == trials.data() || worth(t) > kept + 0.1) << t.what;
    if (t.kept) kept = worth(t);
  }
  EXPECT_TRUE(std::any_of(trials.begin(), trials.end(), [](const quant::Trial& t) {
    return t.kept && t.what.find("equalization") != std::string::npos;
  }));
}

// A scale for each of a few channels of a large layer, and one for the whole of another that it spoils.
std::shared_ptr<Model> large_and_harmed() {
  Net net;
  const ValueId x = net.input("x", {1, 64});
  Tensor w = noise({64, 2048}, 1, 0.2f);
  w.mutable_data<float>()[0] = 12;  // of a channel that nobody reads
  const ValueId h = net.add("Relu", "r", {net.add("Gemm", "g1", {x, net.constant("w1", w)})});
  Tensor last = noise({2048, 16}, 2, 0.1f);
  for (size_t i = 0; i < 16; ++i) last.mutable_data<float>()[i] = 0;
  net.output(net.add("Gemm", "g2", {h, net.constant("w2", last)}));
  return net.build();
}

// It is the worst layer, and it is most of the bytes: its bytes are not worth what they bring.
TEST(Search, AutoDoesNotBuyAccuracyWithMostOfTheBytes) {
  const auto model = large_and_harmed();
  Config config;
  config.per_channel = false;
  const Samples seen = samples({1, 64}, 16, 100);
  const Quantized plain = quantize(model, config, seen);
  config.mode = "auto";
  const Quantized best = quantize(model, config, seen);
  EXPECT_LT(best.report.weight_bytes_after, plain.report.weight_bytes_after * 105 / 100);
  EXPECT_GE(errors(model, best.model, samples({1, 64}, 16, 500)).sqnr_db(),
            errors(model, plain.model, samples({1, 64}, 16, 500)).sqnr_db() - 0.2);
  for (const quant::LayerReport& l : best.report.layers)
    if (l.weight) EXPECT_EQ(l.weight->dtype, DType::kInt8) << l.node;
}

// Shapes that are computed, so that nothing is known of them before a run.
TEST(Search, AutoCountsOperationsOfModelsThatComputeTheirShapes) {
  Net net;
  const ValueId x = net.input("x", SymShape{Dim::symbol("n"), Dim::symbol("k")});
  ValueId v = net.add("Reshape", "shaped", {x, net.add("Shape", "shape", {x})});
  for (const std::string i : {"1", "2", "3"})
    v = net.add("MatMul", "m" + i,
                {v, net.constant("w" + i, noise({32, 32}, static_cast<uint32_t>(i[0]), 0.4f))});
  net.output(v);
  Config config;
  config.mode = "auto";
  const Quantized q = quantize(net.build(), config, samples({4, 32}, 8, 100));
  EXPECT_EQ(q.report.macs, 3.0 * 4 * 32 * 32);
  EXPECT_EQ(q.report.macs_quantized, q.report.macs);
}

TEST(Search, AutoSaysThatNothingCouldBeQuantized) {
  Net net;
  net.output(net.add("Sigmoid", "s", {net.input("x", {1, 8})}));
  Config config;
  config.mode = "auto";
  const Quantized q = quantize(net.build(), config, samples({1, 8}, 8, 100));
  EXPECT_EQ(q.report.layers_quantized, 0u);
  EXPECT_TRUE(std::ranges::any_of(q.report.warnings, [](const std::string& w) {
    return w.find("nothing in this model could be quantized") != w.npos;
  }));
}

TEST(Search, OfOneSampleNothingIsChosen) {
  Config config;
  config.mode = "auto";
  config.default_repairs = true;
  const Quantized q = quantize(chain(), config, samples({1, 4, 8, 8}, 1, 100));
  EXPECT_EQ(q.report.trials.size(), 1u);
  EXPECT_TRUE(q.report.repairs.empty());
  ASSERT_FALSE(q.report.warnings.empty());
  EXPECT_NE(q.report.warnings[0].find("one sample"), std::string::npos);
}

// The second half of an ordered series is larger: calibration has to see some of it.
TEST(Search, TakesSamplesOfTheWholeSeries) {
  Samples seen = samples({1, 4, 8, 8}, 150, 100, 0.5f);
  for (auto& feeds : samples({1, 4, 8, 8}, 150, 900, 4)) seen.push_back(std::move(feeds));
  Config config;
  config.mode = "auto";
  const auto model = chain();
  const Quantized q = quantize(model, config, seen);
  EXPECT_GT(q.params("c0", 0)->scale, 7.f / 255);
}

TEST(Search, FindsTheLayerThatHarms) {
  Config config;
  config.sensitivity = true;
  config.per_channel = false;
  const Quantized q = quantize(chain(), config, samples({1, 4, 8, 8}, 16, 100));
  for (const char* other : {"c0", "c1", "c3"}) {
    ASSERT_TRUE(q.layer(other).sensitivity);
    EXPECT_LT(q.layer("c2").sensitivity->sqnr_db + 6, q.layer(other).sensitivity->sqnr_db) << other;
  }
  EXPECT_TRUE(q.layer("c2").quantized);
}

TEST(Search, ATargetLeavesAsFewLayersInFloatAsItNeeds) {
  const auto model = chain();
  const Samples seen = samples({1, 4, 8, 8}, 16, 100);
  Config config;
  config.runtime = "zeropoint";  // others round what a layer in float reads
  config.per_channel = false;
  const Quantized plain = quantize(model, config, seen);
  config.target_sqnr = errors(model, plain.model, seen).sqnr_db() + 6;
  const Quantized q = quantize(model, config, seen);
  // Its weights are what is wrong, so that activations of more bits would not help.
  EXPECT_EQ(q.layer("c2").weight->dtype, DType::kFloat16);
  EXPECT_TRUE(q.quantized_from("c2", 0).empty());
  for (const char* other : {"c0", "c1", "c3"}) {
    EXPECT_EQ(q.layer(other).weight->dtype, DType::kInt8) << other;
    EXPECT_EQ(q.params(other, 0)->dtype, DType::kUint8) << other;
  }
  EXPECT_GE(q.report.trials.back().sqnr_db, config.target_sqnr);
  EXPECT_EQ(q.report.trials.back().wide_layers, 0u);
  EXPECT_EQ(q.report.trials.back().float_layers, 1u);
  EXPECT_TRUE(q.report.trials.back().kept);
}

TEST(Search, ATargetOfSizeIsKept) {
  const auto model = chain();
  const Samples seen = samples({1, 4, 8, 8}, 16, 100);
  Config config;
  config.per_channel = false;
  const Quantized plain = quantize(model, config, seen);
  // Room for one layer of 144 weights in float16.
  config.target_sqnr = 0;
  config.target_bytes = static_cast<double>(plain.report.weight_bytes_after) + 144 + 40;
  const Quantized q = quantize(model, config, seen);
  EXPECT_EQ(q.layer("c2").weight->dtype, DType::kFloat16);
  EXPECT_LE(static_cast<double>(q.report.weight_bytes_after), config.target_bytes);
  EXPECT_GT(gain(model, plain, q, seen), 6);

  config.target_bytes = 100;
  const Quantized small = quantize(model, config, seen);
  EXPECT_EQ(small.report.layers_quantized, plain.report.layers_quantized);
  EXPECT_TRUE(std::any_of(
      small.report.warnings.begin(), small.report.warnings.end(),
      [](const std::string& w) { return w.find("larger than the target") != std::string::npos; }));
}

// One channel of c1's input is far larger than the others, and has no weight: 8 bits are few for those that
// count, and 16 are enough.
TEST(Search, ALayerThatNeedsFinerActivationsGets16BitsAndKeepsItsWeights) {
  Net net;
  const ValueId x = net.input("x", {1, 4, 8, 8});
  const ValueId c0 =
      net.add("Relu", "r0", {net.conv("c0", x, noise({4, 4, 3, 3}, 1, 0.4f), noise({4}, 9, 0.1f))});
  Tensor w0 = noise({4, 4, 1, 1}, 5, 1, 0.5f), w = noise({4, 4, 3, 3}, 2, 0.4f);
  for (size_t i = 0; i < 4; ++i) w0.mutable_data<float>()[i] *= 400;
  for (size_t m = 0; m < 4; ++m)
    for (size_t i = 0; i < 9; ++i) w.mutable_data<float>()[(m * 4) * 9 + i] = 0;
  const ValueId wide = net.conv("widen", c0, w0, noise({4}, 8, 0.1f));
  const ValueId c1 = net.add("Relu", "r1", {net.conv("c1", wide, w, noise({4}, 9, 0.1f))});
  net.output(net.conv("c2", c1, noise({3, 4, 3, 3}, 3, 0.4f), std::nullopt));
  const auto model = net.build();
  const Samples seen = samples({1, 4, 8, 8}, 8, 100);
  Config config;
  config.runtime = "zeropoint";
  const Quantized plain = quantize(model, config, seen);
  config.target_sqnr = errors(model, plain.model, seen).sqnr_db() + 6;
  const Quantized q = quantize(model, config, seen);
  EXPECT_GE(q.report.trials.back().sqnr_db, config.target_sqnr);
  EXPECT_TRUE(q.report.trials.back().kept);
  EXPECT_EQ(q.report.trials.back().wide_layers, 1u);
  EXPECT_EQ(q.report.trials.back().float_layers, 0u);
  EXPECT_EQ(q.params("c1", 0)->dtype, DType::kUint16);
  EXPECT_EQ(q.layer("c1").weight->dtype, DType::kInt8);
  EXPECT_EQ(q.params("c2", 0)->dtype, DType::kUint8);
  EXPECT_LT(q.report.weight_bytes_after, plain.report.weight_bytes_after + 32);
  EXPECT_GT(errors(model, q.model, samples({1, 4, 8, 8}, 8, 500)).sqnr_db(),
            errors(model, plain.model, samples({1, 4, 8, 8}, 8, 500)).sqnr_db() + 4);
}

// Another point of the curve: what a trial was made with makes it again.
TEST(Search, EveryTrialCanBeMadeAgain) {
  const auto model = chain();
  const Samples seen = samples({1, 4, 8, 8}, 8, 100);
  Config config;
  config.per_channel = false;
  config.target_sqnr = 60;  // more than 8 bits give: all layers in the end
  const Quantized q = quantize(model, config, seen);
  ASSERT_GE(q.report.trials.size(), 3u);
  Samples calibrating;
  const Samples held_out = held_out_of_series(seen, &calibrating);
  ASSERT_EQ(held_out.size(), 2u);
  for (const quant::Trial& t : q.report.trials) {
    EXPECT_EQ(t.config->target_sqnr, 0);
    const Quantized again = quantize(model, *t.config, calibrating);
    EXPECT_EQ(again.report.weight_bytes_after, t.weight_bytes) << t.what;
    EXPECT_NEAR(errors(model, again.model, held_out).sqnr_db(), t.sqnr_db, 1e-3) << t.what;
  }
}

// A network that tells ten classes apart, in 4 bits.
std::shared_ptr<Model> classifier() {
  Net net;
  const ValueId x = net.input("x", {1, 16});
  const ValueId a =
      net.add("Relu", "r", {net.add("MatMul", "m0", {x, net.constant("w0", noise({16, 32}, 1))})});
  net.output(net.add("MatMul", "m1", {a, net.constant("w1", noise({32, 10}, 2))}));
  return net.build();
}

int32_t answer(runtime::Session& session, const std::vector<runtime::Feed>& sample) {
  const std::vector<float> y = session.run(sample)[0].floats();
  return static_cast<int32_t>(std::max_element(y.begin(), y.end()) - y.begin());
}

double right_share(const std::shared_ptr<const Model>& model, const Samples& all,
                   const std::vector<int32_t>& labels) {
  runtime::Session session(model);
  double right = 0;
  for (size_t i = 0; i < all.size(); ++i) right += answer(session, all[i]) == labels[i];
  return right / static_cast<double>(all.size());
}

TEST(Search, ADropOfAnswersIsAsSmallAsAskedFor) {
  const auto model = classifier();
  const Samples seen = samples({1, 16}, 400, 100);
  Config config;
  config.weights = DType::kInt4;
  config.per_channel = false;
  const Quantized plain = quantize(model, config, seen);
  runtime::Session reference(model);
  std::vector<int32_t> right;
  for (const auto& s : seen) right.push_back(answer(reference, s));
  ASSERT_LT(right_share(plain.model, seen, right), 0.95);

  config.target_drop = 0.02;
  for (const bool labelled : {false, true}) {
    // Labels that the float model does not always know itself.
    std::vector<int32_t> labels = right;
    for (size_t i = 0; i < labels.size(); i += 5) labels[i] = (labels[i] + 1) % 10;
    if (labelled) config.labels = labels;
    const Quantized q = quantize(model, config, seen);
    const quant::Trial& first = q.report.trials.front();
    const auto kept = std::find_if(q.report.trials.rbegin(), q.report.trials.rend(),
                                   [](const quant::Trial& t) { return t.kept; });
    EXPECT_GT(first.drop, 0.02) << labelled;
    EXPECT_LE(kept->drop, 0.02) << labelled;
    EXPECT_EQ(std::isnan(kept->accuracy), !labelled);
    if (labelled) {
      EXPECT_NEAR(first.accuracy + first.drop, 0.8, 0.03);
      EXPECT_GT(right_share(q.model, seen, labels), right_share(plain.model, seen, labels));
    }
    EXPECT_GT(right_share(q.model, seen, right), 0.96) << labelled;
    EXPECT_TRUE(q.report.warnings.empty());
  }
}

TEST(Search, ADropThatFewAnswersCannotShowIsSaid) {
  Config config;
  config.target_drop = 0.005;
  const Quantized q = quantize(classifier(), config, samples({1, 16}, 20, 100));
  ASSERT_FALSE(q.report.warnings.empty());
  EXPECT_NE(q.report.warnings[0].find("only 5 answers"), std::string::npos);
}

TEST(Search, RefusesLabelsThatDoNotFit) {
  const auto refuses = [](const std::shared_ptr<const Model>& model, Shape dims, std::vector<int32_t> labels,
                          double drop, std::string_view says) {
    Config config;
    config.target_drop = drop;
    config.labels = std::move(labels);
    try {
      quantize(model, config, samples(std::move(dims), 8, 100));
      FAIL() << says;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(e.what()).find(says), std::string::npos) << e.what();
    }
  };
  refuses(classifier(), {1, 16}, {1, 2, 3}, 0.1, "sample 4 has no label");
  refuses(classifier(), {1, 16}, std::vector<int32_t>(8, 10), 0.1, "classes 0 to 9");
  refuses(chain(), {1, 4, 8, 8}, std::vector<int32_t>(8, 1), 0.1, "one answer each");
  refuses(classifier(), {1, 16}, {}, 1.5, "share");
}

TEST(MixedPrecision, Float16WeightsOfOneNode) {
  const auto model = chain();
  Config config;
  config.runtime = "zeropoint";  // others round what it reads
  config.precision["c1"] = {DType::kUndefined, DType::kFloat16};
  const Quantized q = quantize(model, config, samples({1, 4, 8, 8}, 4, 100));
  EXPECT_EQ(q.producer(q.node("c1").input(1))->op_type, "Cast");
  EXPECT_TRUE(q.quantized_from("c1", 0).empty());
  EXPECT_EQ(q.layer("c1").why, "float16 weights; activations stay float32, as chosen for it");
  config.precision["c1"].activations = DType::kUint8;
  EXPECT_THROW(quantize(model, config), Error);
}

}  // namespace
}  // namespace zp::test
