#include "quant/conclusions.h"

#include <gmock/gmock.h>

#include <limits>

#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::LayerError;
using quant::LayerReport;
using quant::Report;
using quant::Trial;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

LayerReport layer(const std::string& node, std::optional<double> weight, std::optional<double> own,
                  double cosine = 1) {
  LayerReport l{.node = node, .output = node};
  if (weight) l.weight = quant::WeightReport{.sqnr_db = *weight};
  if (own)
    l.error = LayerError{.node = node, .op = "Conv", .output = node, .own_sqnr_db = *own, .cosine = cosine};
  return l;
}

TEST(Conclusions, LayersThatLoseMostByThemselvesComeFirst) {
  Report report;
  report.layers = {layer("a", std::nullopt, std::nullopt),
                   layer("b", 40, 30),
                   layer("c", kNaN, 20),
                   layer("d", 10, std::nullopt),
                   layer("e", kNaN, std::nullopt),
                   layer("f", 30, 50)};
  EXPECT_THAT(quant::worst_first(report), ElementsAre(3, 2, 1, 5, 0, 4));
  EXPECT_THAT(quant::worst_first({}), IsEmpty());
}

TEST(Conclusions, TheTradeoffHasWhatNothingBeatsInBoth) {
  const auto trial = [](size_t bytes, double db) { return Trial{.sqnr_db = db, .weight_bytes = bytes}; };
  const std::vector<Trial> trials = {trial(100, 20), trial(50, 10), trial(100, 30),
                                     trial(60, 9),   trial(50, 10), trial(70, kNaN)};
  EXPECT_THAT(quant::tradeoff_of(trials), ElementsAre(1, 4, 2));
  EXPECT_THAT(quant::tradeoff_of({}), IsEmpty());
}

TEST(Conclusions, OutputsThatAreLostAreNamedWithWhereThatBegins) {
  GraphBuilder net;
  const ValueId y = net.add("Relu", "y", {net.add("Relu", "a", {net.input("x", {4})})});
  net.output(y);
  const auto model = net.build();
  Report report;
  report.layers = {layer("a", 40, 30, 0.9), layer("y", 40, 30, 0.975)};
  report.layers[1].error->sqnr_db = 5;
  const auto losses = quant::losses_of(report, model->graph);
  ASSERT_THAT(losses, SizeIs(1));
  EXPECT_THAT(losses[0], HasSubstr("output 'y' has lost"));
  EXPECT_THAT(losses[0], HasSubstr("0.975 (5.0 dB)"));
  EXPECT_THAT(losses[0], HasSubstr("'a' (Conv)"));
  report.layers[1].error->cosine = 0.98;  // what lies within is not said
  EXPECT_THAT(quant::losses_of(report, model->graph), IsEmpty());
  report.layers[1].error->cosine = kNaN;
  EXPECT_THAT(quant::losses_of(report, model->graph), IsEmpty());
}

}  // namespace
}  // namespace zp::test
