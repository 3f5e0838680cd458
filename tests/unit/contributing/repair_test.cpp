// Example of docs/contributing/repair.md: weights that round to -1 or 1 become 0. A real repair is a file of
// src/quant/repairs/.
#include "quant/stage.h"
#include "unit/quant/quantize.h"

namespace zp {
namespace quant {
namespace {

// Works in pieces, one weight each, so that progress is shown and a cancel is heard.
class Prune : public PiecewiseStage {
 public:
  explicit Prune(JobState& state) : state_(state) {}

 private:
  size_t start() override { return state_.weights.size(); }

  void piece(size_t i) override {
    const PlacedWeight& placed = state_.weights[i];
    Graph& graph = state_.result->graph;
    const Tensor* zero = graph.constant(placed.zero_point);
    if (zero && std::ranges::any_of(zero->integers(), [](int64_t z) { return z != 0; })) return;
    const Tensor& stored = *graph.constant(placed.integers);
    std::vector<int32_t> integers;
    for (const int64_t q : stored.integers()) {
      const bool is_small = q == -1 || q == 1;
      if (is_small) ++pruned_;
      integers.push_back(is_small ? 0 : static_cast<int32_t>(q));
    }
    graph[placed.integers].constant = pack_integers(stored.dtype(), stored.dims(), integers);
  }

  // The report repeats what a repair did, in a sentence.
  void end() override {
    state_.repaired.push_back("example: " + std::to_string(pruned_) + " weights are 0 now");
  }

  JobState& state_;
  size_t pruned_ = 0;
};

// 500 and above: after integers are placed (the table at the head of quant/stage.h).
const RegisterStage kRegistered({.name = "example-prune",
                                 .title = "Prune small weights",
                                 .sentence = "Weights that round to -1 or 1 become 0.",
                                 .order = 580,
                                 .repair = true,
                                 .make = make_stage<Prune>});

}  // namespace
}  // namespace quant

namespace test {
namespace {

TEST(ContributingRepair, RunsWhereItIsNamed) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 4});
  // The largest weight is 127 units, so these are the integers 127, 1, -1 and 2.
  const Tensor w = Tensor::of<float>({4, 1}, std::vector<float>{127, 1, -1, 2});
  net.output(net.add("MatMul", "m", {x, net.constant("w", w)}));
  quant::Config config;
  config.mode = "weight-only";
  config.repairs = {"example-prune"};
  const Quantized q = quantize(net.build(), config);
  const std::vector<int64_t> integers = q.graph().constant(q.dq("m", 1)->input(0))->integers();
  EXPECT_EQ(integers, (std::vector<int64_t>{127, 0, 0, 2}));
  EXPECT_EQ(q.report.repairs, (std::vector<std::string>{"example: 2 weights are 0 now"}));
}

}  // namespace
}  // namespace test
}  // namespace zp
