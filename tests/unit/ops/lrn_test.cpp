// LRN against its definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gemm_node.h"

namespace zp::test {
namespace {

NodeCase lrn(Tensor x, int64_t size) {
  NodeCase c;
  c.node.op_type = "LRN";
  c.node.attributes.emplace("size", size);
  c.node.attributes.emplace("alpha", 0.5f);
  c.node.attributes.emplace("bias", 2.0f);
  c.inputs.push_back({std::move(x)});
  return c;
}

TEST(Lrn, DividesByWhatIsNear) {
  for (const int64_t size : {1, 2, 3, 4, 5, 20}) {
    SCOPED_TRACE(size);
    constexpr int64_t kChannels = 6, kInner = 10, kBatch = 2;
    NodeCase c = lrn(random_floats({kBatch, kChannels, 5, 2}, 7), size);
    const auto x = c.inputs[0].tensor.data<float>();
    std::vector<double> want;
    for (int64_t n = 0; n < kBatch; ++n) {
      for (int64_t k = 0; k < kChannels; ++k) {
        for (int64_t i = 0; i < kInner; ++i) {
          const auto at = [&](int64_t channel) {
            return static_cast<double>(x[static_cast<size_t>((n * kChannels + channel) * kInner + i)]);
          };
          double sum = 0;  // from floor((size - 1) / 2) before to ceil((size - 1) / 2) after
          for (int64_t m = std::max<int64_t>(0, k - (size - 1) / 2);
               m <= std::min(kChannels - 1, k + size / 2); ++m)
            sum += at(m) * at(m);
          want.push_back(at(k) / std::pow(2.0 + 0.5 / static_cast<double>(size) * sum, 0.75));
        }
      }
    }
    expect_near(run_node(c), want, 1e-6);
    c.threads = 2;
    expect_near(run_node(c), want, 1e-6);
  }
}

TEST(Lrn, RefusesWhatHasNoChannelsOrNoSize) {
  EXPECT_THROW(run_node(lrn(random_floats({4}, 1), 3)), Error);
  EXPECT_THROW(run_node(lrn(random_floats({1, 4, 2, 2}, 1), 0)), Error);
}

}  // namespace
}  // namespace zp::test
