// Softmax and LogSoftmax of doubles, which have no kernel of their own.
#include <gtest/gtest.h>

#include <cmath>

#include "gemm_node.h"

namespace zp::test {
namespace {

TEST(Softmax, TakesDoublesAlongAnyAxis) {
  for (const int64_t axis : {0, 1, -1}) {
    for (const bool logarithm : {false, true}) {
      SCOPED_TRACE(axis);
      constexpr int64_t kRows = 3, kColumns = 4;
      Tensor x(DType::kFloat64, {kRows, kColumns});
      const auto values = x.mutable_data<double>();
      for (size_t i = 0; i < values.size(); ++i) values[i] = 700 + std::sin(static_cast<double>(i)) * 5;
      const std::vector<double> kept(values.begin(), values.end());
      NodeCase c;
      c.node.op_type = logarithm ? "LogSoftmax" : "Softmax";
      c.node.attributes.emplace("axis", axis);
      c.inputs.push_back({std::move(x)});
      const Tensor y = run_node(c);
      ASSERT_EQ(y.dtype(), DType::kFloat64);
      for (int64_t i = 0; i < kRows * kColumns; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < kRows * kColumns; ++j) {
          const bool together = axis == 0 ? j % kColumns == i % kColumns : j / kColumns == i / kColumns;
          if (together) sum += std::exp(kept[static_cast<size_t>(j)] - kept[static_cast<size_t>(i)]);
        }
        // Twelve digits: what a detour through float32 would not keep.
        EXPECT_NEAR(y.data<double>()[static_cast<size_t>(i)], logarithm ? -std::log(sum) : 1 / sum, 1e-12);
      }
    }
  }
}

}  // namespace
}  // namespace zp::test
