#include "kernels/movement/transpose.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/error.h"

namespace zp::kernels {
namespace {

std::vector<std::byte> numbered(size_t bytes) {
  std::vector<std::byte> data(bytes);
  uint32_t state = 1;
  for (std::byte& b : data) b = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
  return data;
}

// Element by element, from the definition.
std::vector<std::byte> expected(const std::vector<std::byte>& in, const std::vector<int64_t>& dims,
                                const std::vector<int>& perm, size_t bytes) {
  std::vector<std::byte> out(in.size());
  const size_t rank = dims.size();
  const int64_t total = std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
  for (int64_t i = 0; i < total; ++i) {
    std::vector<int64_t> index(rank);
    int64_t rest = i;
    for (size_t d = rank; d-- > 0;) index[d] = rest % dims[d], rest /= dims[d];
    int64_t to = 0;
    for (size_t d = 0; d < rank; ++d) {
      const auto from = static_cast<size_t>(perm[d]);
      to = to * dims[from] + index[from];
    }
    std::copy_n(in.begin() + i * static_cast<int64_t>(bytes), bytes,
                out.begin() + to * static_cast<int64_t>(bytes));
  }
  return out;
}

template <class Isa>
void check(const std::vector<int64_t>& dims, const std::vector<int>& perm, size_t bytes) {
  const int64_t total = std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
  const std::vector<std::byte> in = numbered(static_cast<size_t>(total) * bytes);
  std::vector<std::byte> out(in.size());
  const TransposePlan plan(dims, perm, bytes);
  plan.run<Isa>(in.data(), out.data());
  const std::vector<std::byte> want = expected(in, dims, perm, bytes);
  EXPECT_EQ(out, want) << Isa::kName << " " << bytes << " bytes";
  // In uneven pieces, last piece first.
  std::ranges::fill(out, std::byte{0});
  for (int64_t end = plan.outer(); end > 0;) {
    const int64_t begin = std::max<int64_t>(0, end - 7);
    plan.run<Isa>(in.data(), out.data(), begin, end);
    end = begin;
  }
  EXPECT_EQ(out, want) << Isa::kName << " " << bytes << " bytes, in pieces";
}

void check_all(const std::vector<int64_t>& dims, const std::vector<int>& perm) {
  for (size_t bytes : {1, 2, 4, 8, 16}) {
    AllIsas::for_each([&]<class Isa>(Isa) { check<Isa>(dims, perm, bytes); });
  }
}

TEST(Transpose, EveryPermutationOfFourDimensions) {
  std::vector<int> perm{0, 1, 2, 3};
  do {
    check_all({3, 5, 2, 7}, perm);
    check_all({1, 20, 1, 19}, perm);
  } while (std::ranges::next_permutation(perm).found);
}

TEST(Transpose, MatricesAroundTheSizeOfATile) {
  for (int64_t rows : {1, 3, 4, 8, 15, 16, 17, 33})
    for (int64_t columns : {1, 2, 4, 16, 31, 64, 65, 130}) check_all({rows, columns}, {1, 0});
}

TEST(Transpose, ChannelsLastAndBack) {
  check_all({2, 24, 9, 11}, {0, 2, 3, 1});
  check_all({2, 9, 11, 24}, {0, 3, 1, 2});
}

TEST(Transpose, FiveDimensionsOfAttention) { check_all({2, 17, 3, 4, 32}, {2, 0, 3, 1, 4}); }

TEST(Transpose, MergesWhatStaysTogether) {
  const std::vector<int64_t> dims{1, 6, 10, 4};
  const std::vector<int> keep{0, 1, 2, 3}, ones{1, 0, 2, 3}, transposed{0, 2, 3, 1};
  EXPECT_TRUE(TransposePlan(dims, keep, 4).is_copy());
  EXPECT_TRUE(TransposePlan(dims, ones, 4).is_copy());  // only a dimension of 1 moves
  const TransposePlan plan(dims, transposed, 4);
  EXPECT_FALSE(plan.is_copy());
  EXPECT_EQ(plan.outer(), 40);
  EXPECT_EQ(plan.outer_bytes(), 24);
}

TEST(Transpose, NothingAndScalars) {
  check_all({0, 3}, {1, 0});
  check_all({}, {});
  check_all({1, 1}, {1, 0});
}

TEST(Transpose, RefusesWhatIsNoPermutation) {
  const std::vector<int64_t> dims{2, 3};
  for (const std::vector<int>& perm : {std::vector<int>{0, 0}, {0, 2}, {-1, 0}, {0}, {0, 1, 2}}) {
    EXPECT_THROW(TransposePlan(dims, perm, 4), Error);
  }
}

}  // namespace
}  // namespace zp::kernels
