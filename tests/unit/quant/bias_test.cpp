// What is a bias, and what only looks like one: constants with as many elements as a product has outputs.
#include "quant/bias.h"

#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;

double sqnr(const std::shared_ptr<const Model>& model, const std::shared_ptr<const Model>& quantized,
            const std::vector<runtime::Feed>& feeds) {
  runtime::Session a(model, {}), b(quantized, {});
  const std::vector<float> x = a.run(feeds)[0].floats(), y = b.run(feeds)[0].floats();
  quant::ErrorSums sums;
  sums.add(x.data(), y.data(), x.size());
  return sums.sqnr_db();
}

Node node(std::string op) {
  Node n;
  n.op_type = std::move(op);
  return n;
}

TEST(Bias, LiesAlongTheChannelsAndNoOtherDimension) {
  struct Case {
    const char* op;
    Shape dims;
    int rank;  // of the weight
    bool own, expected;
  };
  const Case cases[] = {
      {"Conv", {8}, 4, true, true},
      {"Conv", {8, 1, 1}, 4, false, true},
      {"Conv", {1, 8, 1, 1}, 4, false, true},
      {"Conv", {8}, 4, false, false},  // along the width
      {"Conv", {1, 1, 1, 8}, 4, false, false},
      {"Conv", {8, 1}, 4, false, false},
      {"Conv", {8, 1, 1, 1}, 4, false, false},  // along the batch
      {"Conv", {8, 1}, 3, false, true},
      {"Conv", {8, 1, 1}, 3, false, false},
      {"Gemm", {8}, 2, true, true},
      {"Gemm", {1, 8}, 2, true, true},
      {"Gemm", {8, 1}, 2, true, false},
      {"Gemm", {8, 8}, 2, true, false},
      {"Gemm", {1}, 2, true, false},
      {"MatMul", {8}, 2, false, true},
      {"MatMul", {1, 1, 8}, 2, false, true},
      {"MatMul", {8, 1}, 2, false, false},
      {"MatMul", {8, 1, 1}, 2, false, false},
      {"MatMul", {}, 2, false, false},
  };
  for (const Case& c : cases)
    EXPECT_EQ(quant::is_channel_bias(node(c.op), c.rank, 8, c.dims, c.own), c.expected)
        << c.op << " " << testing::PrintToString(c.dims) << c.own;
}

// A Gemm whose C is a matrix, with as many rows as columns or with one column, and what is added to a
// product's rows: none is moved or rounded as if it were a bias.
TEST(Bias, NoRepairTakesAnotherConstantForOne) {
  for (const Shape& dims : {Shape{8, 8}, Shape{8, 1}, Shape{1, 8}, Shape{8}}) {
    for (const bool gemm : {true, false}) {
      GraphBuilder net;
      const ValueId x = net.input("x", {8, 16});
      const ValueId w = net.constant("w", noise({16, 8}, 1)), c = net.constant("c", noise(dims, 2, 40));
      const ValueId h =
          gemm ? net.add("Gemm", "h", {x, w, c}) : net.add("Add", "h", {net.add("MatMul", "p", {x, w}), c});
      net.output(net.add("MatMul", "y", {net.add("Sin", "s", {h}), net.constant("v", noise({8, 4}, 3))}));
      const auto model = net.build();
      Samples samples;
      for (uint32_t i = 0; i < 6; ++i) samples.push_back({{"x", noise({8, 16}, 10 + i)}});
      const std::vector<runtime::Feed> unseen{{"x", noise({8, 16}, 99)}};
      const double plain = sqnr(model, quantize(model, {}, samples).model, unseen);
      for (const char* repair : {"bias-correction", "gptq", "adaround"}) {
        Config config;
        config.repairs = {repair};
        EXPECT_GT(sqnr(model, quantize(model, config, samples).model, unseen), plain - 3)
            << repair << (gemm ? " Gemm " : " MatMul ") << testing::PrintToString(dims) << " plain " << plain;
      }
    }
  }
}

TEST(Bias, OfAPerChannelWeightIsRoundedOnlyAlongItsChannels) {
  for (const Shape& dims : {Shape{8, 1}, Shape{8}}) {
    GraphBuilder net;
    const ValueId x = net.input("x", {8, 16});
    // Large ones would widen the scales of weights that they do not belong to.
    net.output(
        net.add("Gemm", "y",
                {x, net.constant("w", noise({16, 8}, 1, 1e-6f)), net.constant("c", noise(dims, 2, 1e5f))}));
    const Quantized q = quantize(net.build(), {}, {{{"x", noise({8, 16}, 3)}}});
    const float scale = q.graph().constant(q.dq("y", 1)->input(1))->floats()[0];
    EXPECT_EQ(q.dq("y", 2) != nullptr, dims.size() == 1);
    EXPECT_EQ(scale > 1e-7f, dims.size() == 1) << scale;
  }
}

TEST(Bias, RepairsThatFoundNoneSayNothing) {
  GraphBuilder net;
  const ValueId x = net.input("x", {8, 16});
  net.output(net.add("Add", "y",
                     {net.add("MatMul", "p", {x, net.constant("w", noise({16, 8}, 1))}),
                      net.constant("c", noise({8, 1}, 2))}));
  Config config;
  config.repairs = {"bias-correction"};
  const Quantized q = quantize(net.build(), config, {{{"x", noise({8, 16}, 3)}}});
  EXPECT_TRUE(q.layer("p").quantized);
  EXPECT_TRUE(q.report.repairs.empty());
}

TEST(Report, SaysWhereNothingWasQuantized) {
  GraphBuilder net;
  const ValueId x = net.input("x", {8, 16});
  net.output(net.add("Sin", "y", {x}));
  const auto model = net.build();
  const quant::Report plan = quant::plan_of(model, {});
  ASSERT_EQ(plan.warnings.size(), 1u);
  EXPECT_EQ(plan.warnings[0],
            "nothing would be quantized, 0 of 1 layer; the report gives the reason for each");
  const Quantized q = quantize(model, {}, {{{"x", noise({8, 16}, 3)}}});
  ASSERT_EQ(q.report.warnings.size(), 1u);
  EXPECT_EQ(q.report.warnings[0],
            "nothing was quantized, 0 of 1 layer; the report gives the reason for each");
}

}  // namespace
}  // namespace zp::test
