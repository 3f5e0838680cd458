// Runs in pieces, and samples that come later.
#include "quant/piecewise_run.h"

#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

std::vector<runtime::Feed> sample(float at) {
  Tensor x(DType::kFloat32, {1, 3});
  for (float& v : x.mutable_data<float>()) v = at += 0.25f;
  return {{"x", x}};
}

void run(quant::PiecewiseRun& walk) {
  while (!walk.advance(0)) {
  }
}

TEST(PiecewiseRun, SamplesThatJoinAreWhereTheOthersAre) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 3});
  const ValueId a = net.add("Relu", "a", {x});
  const ValueId b = net.add("Mul", "b", {a, net.constant("two", Tensor::of<float>({1}, {2.f}))});
  const ValueId c = net.add("Add", "c", {b, x});  // the input is read again behind the place to join at
  const ValueId d = net.add("Add", "d", {c, a});
  net.output(d);
  const auto model = net.build();

  quant::PiecewiseRun all(model, {sample(-1), sample(0), sample(3)}, 1);
  all.go(2, {b});
  run(all);
  all.go(4, {d});
  run(all);

  quant::PiecewiseRun joined(model, {sample(-1)}, 1);
  joined.go(2, {b});
  run(joined);
  joined.join({sample(0), sample(3)});
  run(joined);
  EXPECT_EQ(joined.position(), 2);
  ASSERT_EQ(joined.samples(), 3u);
  joined.go(4, {d});
  run(joined);
  for (size_t s = 0; s < 3; ++s) EXPECT_EQ(joined.value(d, s).floats(), all.value(d, s).floats()) << s;
}

TEST(PiecewiseRun, SamplesThatJoinSeeWhatConstantsAreByThen) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 3});
  const ValueId factor = net.constant("factor", Tensor::of<float>({1}, {2.f}));
  const ValueId a = net.add("Mul", "a", {x, factor});
  net.output(net.add("Relu", "b", {a}));
  const auto model = net.build();
  quant::PiecewiseRun walk(model, {sample(0)}, 1);
  walk.go(1, {a});
  run(walk);
  const float before = walk.value(a, 0).floats()[0];
  model->graph[factor].constant = Tensor::of<float>({1}, {4.f});
  walk.join({sample(0)});
  run(walk);
  EXPECT_EQ(walk.value(a, 0).floats()[0], before);
  EXPECT_EQ(walk.value(a, 1).floats()[0], 2 * before);
}

}  // namespace
}  // namespace zp::test
