#include "core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace zp {
namespace {

TEST(ThreadPool, DoesEachTaskOnce) {
  ThreadPool pool(4);
  for (int64_t tasks : {0, 1, 3, 1000}) {
    std::vector<std::atomic<int>> done(static_cast<size_t>(tasks));
    pool.run(tasks, [&](int64_t task, int) { ++done[static_cast<size_t>(task)]; });
    for (const std::atomic<int>& times : done) EXPECT_EQ(times, 1);
  }
}

// Memory can run out in a task of any thread.
TEST(ThreadPool, ThrowsWhatATaskThrowsOnceAllThreadsAreBack) {
  ThreadPool pool(4);
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> inside{0};
    const auto body = [&](int64_t task, int) {
      ++inside;
      const bool fails = task % 50 == round % 50;
      --inside;
      if (fails) throw std::runtime_error("task");
    };
    EXPECT_THROW(pool.run(100, body), std::runtime_error);
    EXPECT_EQ(inside, 0);
    std::atomic<int64_t> sum{0};
    pool.run(100, [&](int64_t task, int) { sum += task; });
    EXPECT_EQ(sum, 4950);
  }
}

}  // namespace
}  // namespace zp
