#include "core/parallel.h"

#ifndef ZEROPOINT_THREADS
#error "ZEROPOINT_THREADS is 0 or 1 (cmake/variants.cmake)"
#endif

#if ZEROPOINT_THREADS
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>
#endif

namespace zp {

#if ZEROPOINT_THREADS

// POSIX's own: what the standard library's throw brings all of printf with it.
class Mutex {
 public:
  Mutex() = default;
  ~Mutex() { pthread_mutex_destroy(&mutex_); }
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void lock() { pthread_mutex_lock(&mutex_); }
  void unlock() { pthread_mutex_unlock(&mutex_); }

 private:
  friend class Condition;
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
};

class Condition {
 public:
  Condition() = default;
  ~Condition() { pthread_cond_destroy(&condition_); }
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;
  template <class Done>
  void wait(Mutex& mutex, Done&& done) {
    while (!done()) pthread_cond_wait(&condition_, &mutex.mutex_);
  }
  void notify_one() { pthread_cond_signal(&condition_); }
  void notify_all() { pthread_cond_broadcast(&condition_); }

 private:
  pthread_cond_t condition_ = PTHREAD_COND_INITIALIZER;
};

// A job is a gate that workers pass while it is open. The caller works too, shuts the gate when no task is
// left, and then waits for those inside: never for a worker that has not come, which on a busy machine may be
// long.
struct ThreadPool::Shared {
  // The gate: the number of the job, whether it is open, and how many workers are inside.
  static constexpr uint64_t kInside = 0xffff;
  static constexpr uint64_t kOpen = 1 << 16;
  static constexpr uint64_t kJob = kOpen << 1;
  // Before a worker sleeps, some 1 ms. Kernels and runs follow each other closely, waking takes 50 us, and a
  // system may wake a worker on the processor of its caller and leave it there as long as one of the two
  // keeps sleeping.
  static constexpr int kIdleSpins = 600000;
  // Before the caller sleeps, some 50 us: if a worker has not come back by then, it may be waiting for this
  // processor.
  static constexpr int kFinishSpins = 30000;

  struct Worker {
    Shared* shared;
    int thread;
    pthread_t handle;
  };

  Mutex mutex;
  Condition start, finish;
  std::vector<Worker> workers;
  const FunctionRef<void(int64_t, int)>* body = nullptr;
  int64_t tasks = 0;
  std::atomic<int64_t> next{0};
  std::atomic<uint64_t> gate{0};
  std::atomic<int> asleep{0};
  std::exception_ptr failure;  // the first of a job
  bool stop = false;

  void drain(int thread) {
    try {
      for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;)
        (*body)(task, thread);
    } catch (...) {  // memory ran out, for example: the tasks that nobody has begun are left out
      std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next.store(tasks, std::memory_order_relaxed);
    }
  }

  // Passes the gate of a job other than `seen`, if one is open.
  bool enter(uint64_t& seen) {
    uint64_t now = gate.load();  // ordered with `asleep`: run() looks at them the other way round
    while ((now & kOpen) != 0 && now / kJob != seen) {
      if (gate.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel)) {
        seen = now / kJob;
        return true;
      }
    }
    return false;
  }

  void leave() {
    const uint64_t before = gate.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & kInside) == 1 && (before & kOpen) == 0) {
      std::lock_guard lock(mutex);
      finish.notify_one();
    }
  }

  void work(int thread) {
    uint64_t seen = 0;
    for (;;) {
      bool entered = false;
      for (int spin = 0; spin < kIdleSpins && !entered; ++spin) entered = enter(seen);
      if (!entered) {
        std::lock_guard lock(mutex);
        asleep.fetch_add(1);
        start.wait(mutex, [&] { return stop || (entered = enter(seen)); });
        asleep.fetch_sub(1);
        if (stop) return;
      }
      drain(thread);
      leave();
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(std::clamp(threads, 1, 64)) {
  if (threads_ == 1) return;
  shared_ = std::make_unique<Shared>();
  shared_->workers.resize(static_cast<size_t>(threads_) - 1);
  const auto body = [](void* argument) -> void* {
    const auto* worker = static_cast<const Shared::Worker*>(argument);
    worker->shared->work(worker->thread);
    return nullptr;
  };
  int started = 1;
  for (Shared::Worker& worker : shared_->workers) {
    worker.shared = shared_.get();
    worker.thread = started;
    if (pthread_create(&worker.handle, nullptr, body, &worker) != 0) break;
    ++started;
  }
  // A machine that gives fewer threads is slower, and right.
  threads_ = started;
  shared_->workers.resize(static_cast<size_t>(started) - 1);
}

ThreadPool::~ThreadPool() {
  if (!shared_) return;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->start.notify_all();
  for (const Shared::Worker& worker : shared_->workers) pthread_join(worker.handle, nullptr);
}

void ThreadPool::run(int64_t tasks, FunctionRef<void(int64_t, int)> body) {
  if (threads_ == 1 || tasks <= 1) {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  Shared& s = *shared_;
  // The gate is shut and nobody is inside: what a job is can be changed.
  s.body = &body;
  s.tasks = tasks;
  s.next.store(0, std::memory_order_relaxed);
  const uint64_t job = (s.gate.load(std::memory_order_relaxed) / Shared::kJob + 1) * Shared::kJob;
  s.gate.store(job | Shared::kOpen);
  if (s.asleep.load() != 0) {
    std::lock_guard lock(s.mutex);
    s.start.notify_all();
  }
  s.drain(0);
  s.gate.fetch_and(~Shared::kOpen, std::memory_order_acq_rel);
  const auto empty = [&s] { return (s.gate.load(std::memory_order_acquire) & Shared::kInside) == 0; };
  for (int spin = 0; spin < Shared::kFinishSpins && !empty(); ++spin) {
  }
  if (!empty()) {
    std::lock_guard lock(s.mutex);
    s.finish.wait(s.mutex, empty);
  }
  if (s.failure) std::rethrow_exception(std::exchange(s.failure, nullptr));
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
