#include "kernels/elementwise/table.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace zp::kernels {
namespace {

template <class Isa>
void check() {
  std::mt19937 random(1);
  std::vector<std::uint8_t> table(kTableSize);
  for (auto& value : table) value = static_cast<std::uint8_t>(random());
  for (std::size_t count : {0U, 1U, 15U, 16U, 17U, 31U, 256U, 1000U}) {
    std::vector<std::uint8_t> from(count), to(count + 1, 99), want(count + 1, 99);
    for (std::size_t i = 0; i < count; ++i) {
      from[i] = static_cast<std::uint8_t>(count == kTableSize ? i : random());
      want[i] = table[from[i]];
    }
    look_up<Isa>(table.data(), from.data(), to.data(), count);
    EXPECT_EQ(to, want) << Isa::kName << ", " << count;
    look_up<Isa>(table.data(), from.data(), from.data(), count);
    want.pop_back();
    EXPECT_EQ(from, want) << "in place";
  }
}

TEST(Table, EveryByte) {
  AllIsas::for_each([]<class Isa>(Isa) { check<Isa>(); });
}

}  // namespace
}  // namespace zp::kernels
