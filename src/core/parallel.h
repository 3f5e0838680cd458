// Splits loops over threads. Results never depend on the number of threads: a task writes only its own part.
#pragma once

#include <cstdint>
#include <memory>

#include "core/function.h"

namespace zp {

class ThreadPool {
 public:
  // `threads` counts the caller's own; 1 runs everything in the caller. Builds without threads always do.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }
  // Calls body(task, thread) for every task in [0, tasks), thread in [0, threads()); returns when all are
  // done. Where one throws, tasks that have not begun are left out, and the first error is thrown here once
  // all threads are back. Not reentrant.
  void run(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body);

 private:
  struct Shared;
  int threads_ = 1;
  std::unique_ptr<Shared> shared_;
};

}  // namespace zp
