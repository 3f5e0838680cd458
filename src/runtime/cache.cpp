#include "runtime/cache.h"

#include <algorithm>

#include "runtime/plan.h"

namespace zp::runtime {
namespace {

bool same_elements(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.dims() != b.dims()) return false;
  return a.raw() == b.raw() || std::equal(a.raw(), a.raw() + a.bytes(), b.raw());
}

bool same_sources(std::span<const PreparedCache::Source> a, std::span<const PreparedCache::Source> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return same_elements(x.tensor, y.tensor); });
}

}  // namespace

size_t PackedCache::Entry::bytes() const {
  size_t total = made.bytes + key.size();
  for (const Source& s : sources) total += s.held ? 0 : s.tensor.bytes();
  return total;
}

std::shared_ptr<const void> PackedCache::find_or_make(const std::string& key, std::span<const Source> sources,
                                                      FunctionRef<Made()> make) {
  const auto [first, last] = by_key_.equal_range(key);
  for (auto it = first; it != last; ++it) {
    if (!same_sources(it->second->sources, sources)) continue;
    entries_.splice(entries_.begin(), entries_, it->second);
    return it->second->made.object;
  }
  entries_.push_front({key, {sources.begin(), sources.end()}, make()});
  by_key_.emplace(key, entries_.begin());
  return entries_.front().made.object;
}

void PackedCache::trim() {
  size_t idle = 0;
  for (auto it = entries_.begin(); it != entries_.end();) {
    const auto entry = it++;
    if (entry->made.object.use_count() > 1) continue;
    idle += entry->bytes();
    if (idle <= limit_) continue;
    idle -= entry->bytes();
    auto at = by_key_.find(entry->key);
    while (at->second != entry) ++at;
    by_key_.erase(at);
    entries_.erase(entry);
  }
}

const PlanCache::Entry* PlanCache::find(const std::string& key) {
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return nullptr;
  kept_.splice(kept_.begin(), kept_, it->second);
  return &it->second->entry;
}

void PlanCache::add(const std::string& key, Entry entry) {
  constexpr size_t kStep = 1024;  // roughly what the description of a step and its kernel takes
  const size_t plan = entry.plan ? entry.plan->bytes() + entry.plan->steps().size() * kStep : 0;
  const size_t bytes = plan + 2 * key.size() + sizeof(Kept);
  kept_.push_front({key, std::move(entry), bytes});
  by_key_[key] = kept_.begin();
  bytes_ += bytes;
  ++made_;
  for (auto it = kept_.end(); bytes_ > limit_ && --it != kept_.begin();) {
    if (it->entry.plan.use_count() > 1) continue;  // a run uses it
    bytes_ -= it->bytes;
    by_key_.erase(it->key);
    it = kept_.erase(it);
  }
}

}  // namespace zp::runtime
