// zeropoint_allocations [FIRST COUNT]: lets memory run out at every place, one after the other. A small
// random model (by its seed) is read, quantized, written, read again and run, with two threads, and the n-th
// allocation of all that fails. That must be an error, with nothing lost, and the next time everything must
// be as if nothing had been.
#include <atomic>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "core/error.h"
#include "fuzz/graphs/compare.h"
#include "onnx/onnx.h"
#include "quant/format.h"
#include "quant/quant.h"
#include "runtime/session.h"

namespace {

std::atomic<int64_t> countdown{-1};  // allocations until one fails; below 0: none does
std::atomic<int64_t> allocations{0}, alive{0};

void* allocate(size_t bytes, size_t alignment) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (countdown.load(std::memory_order_relaxed) >= 0 &&
      countdown.fetch_sub(1, std::memory_order_relaxed) == 0)
    return nullptr;
  void* p = nullptr;
  if (posix_memalign(&p, alignment < sizeof(void*) ? sizeof(void*) : alignment, bytes > 0 ? bytes : 1) != 0)
    return nullptr;
  alive.fetch_add(1, std::memory_order_relaxed);
  return p;
}

void* allocate_or_throw(size_t bytes, size_t alignment) {
  if (void* p = allocate(bytes, alignment)) return p;
  throw std::bad_alloc();
}

void give_back(void* p) noexcept {
  if (p) alive.fetch_sub(1, std::memory_order_relaxed);
  std::free(p);  // NOLINT(cppcoreguidelines-no-malloc): where operator new got it
}

constexpr size_t kUsual = alignof(std::max_align_t);

}  // namespace

// NOLINTBEGIN(misc-new-delete-overloads): those that are not here call these
void* operator new(size_t bytes) { return allocate_or_throw(bytes, kUsual); }
void* operator new(size_t bytes, std::align_val_t a) {
  return allocate_or_throw(bytes, static_cast<size_t>(a));
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, kUsual); }
void* operator new(size_t bytes, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<size_t>(a));
}
void operator delete(void* p) noexcept { give_back(p); }
void operator delete(void* p, size_t) noexcept { give_back(p); }
void operator delete(void* p, std::align_val_t) noexcept { give_back(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { give_back(p); }
// NOLINTEND(misc-new-delete-overloads)

namespace {

using namespace zp;

constexpr int64_t kEach = 500;  // allocations of which each fails once; of later ones fewer and fewer do
constexpr int64_t kAgain = 8;   // after so many faults everything is done once more without one
constexpr int kThreads = 2;

// The outputs of the quantized model, as bytes.
std::vector<std::byte> work(const fuzz::RandomGraph& graph, const quant::Config& config) {
  const std::shared_ptr<const Model> source = fuzz::through_bytes(*graph.model);
  quant::Quantizer job(source, config, kThreads);
  for (;;) {
    while (!job.advance(1e9)) {
    }
    if (job.done()) break;
    for (const std::vector<runtime::Feed>& feeds : graph.samples) {
      if (!job.wants_samples()) break;
      job.begin_sample(feeds);
      while (!job.advance(1e9)) {
      }
    }
    job.end_samples();
  }
  const auto read = fuzz::through_bytes(quant::in_format(job.result(), job.report().format, config.runtime));
  runtime::SessionOptions options;
  options.threads = kThreads;
  runtime::Session session(read, options);
  std::vector<std::byte> bytes;
  for (const std::vector<runtime::Feed>& feeds : graph.samples)
    for (const Tensor& t : session.run(feeds)) bytes.insert(bytes.end(), t.raw(), t.raw() + t.bytes());
  return bytes;
}

std::vector<quant::Config> configs() {
  quant::Config plain, repaired, four, half, dynamic;
  plain.mode = "static";
  repaired.mode = "static", repaired.has_samples = true;
  repaired.repairs = {"equalization", "smooth", "bias-correction", "adaround"};
  repaired.options = {{"adaround-iterations", 5}};
  four.mode = "weight-only", four.weights = DType::kInt4, four.block_size = 16;
  four.repairs = {"gptq"}, four.has_samples = true;
  half.mode = "float16";
  dynamic.mode = "dynamic";
  return {plain, repaired, four, half, dynamic};
}

// Whether it is well.
bool check(uint64_t seed, const quant::Config& config) {
  fuzz::Choices choices(seed);
  const fuzz::RandomGraph graph = fuzz::random_graph(choices, 6, 2);
  const auto say = [&](int64_t n, const std::string& what) {
    std::printf("seed %" PRIu64 ", %s, allocation %" PRId64 ": %s\n", seed, config.mode.c_str(), n,
                what.c_str());
    std::fflush(stdout);
    return false;
  };
  std::vector<std::byte> wanted;
  try {
    wanted = work(graph, config);
    work(graph, config);
  } catch (const Error& e) {
    return e.code() != ErrorCode::kInternal || say(-1, e.what());  // the configuration does not fit the graph
  }
  const int64_t level = alive, before = allocations;
  work(graph, config);
  const int64_t count = allocations - before;
  if (alive != level) return say(-1, "memory grows without a fault: " + std::to_string(alive - level));
  for (int64_t n = 0; n < count; n += 1 + (n > kEach ? (n - kEach) / 8 : 0)) {
    countdown = n;
    std::string wrong;
    try {
      const std::vector<std::byte> got = work(graph, config);
      // It got by without: with fewer threads, or less in a cache.
      if (got != wanted) wrong = "other numbers";
    } catch (const std::bad_alloc&) {
    } catch (const Error& e) {
      if (e.code() != ErrorCode::kOutOfMemory) wrong = std::string(name_of(e.code())) + ": " + e.what();
    }
    countdown = -1;
    if (!wrong.empty()) return say(n, wrong);
    // What was begun anew shares nothing with what failed but what is kept for all: threads, tables.
    if (n % kAgain == 0 && work(graph, config) != wanted) return say(n, "afterwards there are other numbers");
    // Less is well: threads that are kept for the next session may have gone.
    if (alive > level) return say(n, std::to_string(alive - level) + " allocations are lost");
  }
  std::printf("seed %" PRIu64 ", %s: %" PRId64 " allocations\n", seed, config.mode.c_str(), count);
  return work(graph, config) == wanted || say(count, "afterwards there are other numbers");
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t first = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
  const uint64_t count = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 3;
  uint64_t wrong = 0, checked = 0;
  for (uint64_t seed = first; seed < first + count; ++seed)
    for (const zp::quant::Config& config : configs()) {
      ++checked;
      wrong += check(seed, config) ? 0 : 1;
    }
  std::printf("%" PRIu64 " checked, %" PRIu64 " wrong\n", checked, wrong);
  return wrong == 0 ? 0 : 1;
}
