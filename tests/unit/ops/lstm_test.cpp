// The LSTM kernel beside its definition.
#include <gtest/gtest.h>

#include "runtime/session.h"
#include "unit/ops/lstm_case.h"

namespace zp::test {
namespace {

std::vector<Tensor> run(const std::shared_ptr<const Model>& model, const LstmCase& c, int threads) {
  std::vector<runtime::Feed> feeds;
  for (const auto& [name, value] : c.values()) feeds.push_back({name, value});
  return runtime::Session(model, {.threads = threads}).run(feeds);
}

TEST(Lstm, AllForms) {
  for (const LstmCase& c : lstm_cases()) {
    SCOPED_TRACE(c.name);
    GraphBuilder net;
    for (ValueId v : add_lstm(net, c)) net.output(v);
    const auto model = net.build();
    const std::vector<Tensor> found = run(model, c, 1), threaded = run(model, c, 3);
    const LstmOutputs wanted = lstm_by_definition(c);
    const std::vector<double>* outputs[] = {&wanted.y, &wanted.h, &wanted.c};
    for (size_t i = 0; i < 3; ++i) {
      ASSERT_EQ(found[i].size(), std::ssize(*outputs[i]));
      for (size_t k = 0; k < outputs[i]->size(); ++k)
        ASSERT_NEAR(found[i].floats()[k], (*outputs[i])[k], 1e-5) << i << " [" << k << "]";
      EXPECT_EQ(found[i].floats(), threaded[i].floats());
    }
  }
}

TEST(Lstm, WeightsThatAreConstants) {
  const LstmCase c{.name = "", .direction = "bidirectional"};
  GraphBuilder net;
  for (ValueId v : add_lstm(net, c)) net.output(v);
  Graph& g = net.graph();
  const auto values = c.values();
  std::erase_if(g.inputs, [&](ValueId v) {
    const bool fixed = g[v].name == "w" || g[v].name == "r";
    if (fixed) g[v].constant = values.at(g[v].name);
    return fixed;
  });
  std::vector<runtime::Feed> feeds;
  for (const auto& [name, value] : values)
    if (name != "w" && name != "r") feeds.push_back({name, value});
  const std::vector<float> y = runtime::Session(net.build(), {.threads = 1}).run(feeds)[0].floats();
  const LstmOutputs wanted = lstm_by_definition(c);
  for (size_t k = 0; k < y.size(); ++k) ASSERT_NEAR(y[k], wanted.y[k], 1e-5) << k;
}

}  // namespace
}  // namespace zp::test
