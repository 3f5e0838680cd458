// Packed weights and plans, which a session keeps between runs. Both are bounded by bytes: the entry that was
// used longest ago goes first, and an entry in use stays. Internal to runtime/.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "ops/op.h"

namespace zp::runtime {

class Plan;

// Packed weights, by what they are made from. Those that a kept plan uses stay whatever their size.
class PackedCache : public PreparedCache {
 public:
  explicit PackedCache(size_t limit) : limit_(limit) {}
  std::shared_ptr<const void> find_or_make(const std::string& key, std::span<const Source> sources,
                                           FunctionRef<Made()> make) override;
  // Drops what no plan uses, down to the limit.
  void trim();

 private:
  struct Entry {
    std::string key;
    std::vector<Source> sources;
    Made made;
    size_t bytes() const;
  };
  size_t limit_;
  std::list<Entry> entries_;  // the latest used first
  std::multimap<std::string, std::list<Entry>::iterator> by_key_;
};

// A cache for one use.
class NoCache : public PreparedCache {
 public:
  std::shared_ptr<const void> find_or_make(const std::string&, std::span<const Source>,
                                           FunctionRef<Made()> make) override {
    return make().object;
  }
};

// Plans, by what they are made for.
class PlanCache {
 public:
  // A plan, or the feeds whose content it takes to make one: the key then goes on with that content.
  struct Entry {
    std::set<ValueId> needs;
    std::shared_ptr<Plan> plan;
  };
  explicit PlanCache(size_t limit) : limit_(limit) {}

  // Null where there is none. Valid until the next add().
  const Entry* find(const std::string& key);
  void add(const std::string& key, Entry entry);
  size_t size() const { return kept_.size(); }
  // How often add() was called.
  size_t made() const { return made_; }
  // Tells the plans of one owner from those of others.
  std::string fresh_prefix() { return std::to_string(++owners_) + "/"; }

 private:
  struct Kept {
    std::string key;
    Entry entry;
    size_t bytes;
  };
  size_t limit_, bytes_ = 0, made_ = 0;
  uint64_t owners_ = 0;
  std::list<Kept> kept_;  // the latest used first
  std::map<std::string, std::list<Kept>::iterator, std::less<>> by_key_;
};

}  // namespace zp::runtime
