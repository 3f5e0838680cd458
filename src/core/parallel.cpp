#include "core/parallel.h"

#ifndef ZEROPOINT_THREADS
#define ZEROPOINT_THREADS 1
#endif

#if ZEROPOINT_THREADS
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace zp {

#if ZEROPOINT_THREADS

struct ThreadPool::Shared {
  std::mutex mutex;
  std::condition_variable start, finish;
  std::vector<std::thread> workers;
  const FunctionRef<void(int64_t, int)>* body = nullptr;
  int64_t tasks = 0;
  std::atomic<int64_t> next{0};
  // A new generation is a new job. Workers spin on it briefly before they sleep: kernels follow each other
  // closely.
  std::atomic<uint64_t> generation{0};
  std::atomic<int> busy{0};
  // Workers that have started. In a browser a thread starts only after the caller has returned to its event
  // loop once: a job counts on those that are there, so that it never waits for one that cannot come.
  int ready = 0;
  bool stop = false;

  void drain(int thread) {
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) (*body)(task, thread);
  }

  void work(int thread) {
    uint64_t seen;
    {
      std::lock_guard lock(mutex);
      if (stop) return;
      seen = generation.load(std::memory_order_acquire);
      ++ready;
    }
    for (;;) {
      for (int spin = 0; spin < 2000 && generation.load(std::memory_order_acquire) == seen; ++spin) {
      }
      if (generation.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        start.wait(lock, [&] { return stop || generation.load(std::memory_order_acquire) != seen; });
      }
      if (stop) return;
      seen = generation.load(std::memory_order_acquire);
      drain(thread);
      if (busy.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard lock(mutex);
        finish.notify_one();
      }
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(std::clamp(threads, 1, 64)) {
  if (threads_ == 1) return;
  shared_ = std::make_unique<Shared>();
  for (int t = 1; t < threads_; ++t) shared_->workers.emplace_back([s = shared_.get(), t] { s->work(t); });
}

ThreadPool::~ThreadPool() {
  if (!shared_) return;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
    shared_->generation.fetch_add(1, std::memory_order_release);
  }
  shared_->start.notify_all();
  for (std::thread& worker : shared_->workers) worker.join();
}

void ThreadPool::run(int64_t tasks, FunctionRef<void(int64_t, int)> body) {
  if (threads_ == 1 || tasks <= 1) {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  Shared& s = *shared_;
  {
    std::lock_guard lock(s.mutex);
    s.body = &body;
    s.tasks = tasks;
    s.next.store(0, std::memory_order_relaxed);
    s.busy.store(s.ready, std::memory_order_relaxed);
    s.generation.fetch_add(1, std::memory_order_release);
  }
  s.start.notify_all();
  s.drain(0);
  for (int spin = 0; spin < 2000 && s.busy.load(std::memory_order_acquire) != 0; ++spin) {
  }
  if (s.busy.load(std::memory_order_acquire) != 0) {
    std::unique_lock lock(s.mutex);
    s.finish.wait(lock, [&] { return s.busy.load(std::memory_order_acquire) == 0; });
  }
}

#else

struct ThreadPool::Shared {};
ThreadPool::ThreadPool(int) {}
ThreadPool::~ThreadPool() = default;
void ThreadPool::run(int64_t tasks, FunctionRef<void(int64_t, int)> body) {
  for (int64_t task = 0; task < tasks; ++task) body(task, 0);
}

#endif

}  // namespace zp
