// Runs a graph: plan after plan, each for what the ones before it computed. Nearly always there is one.
// Internal to runtime/.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/function.h"
#include "core/item.h"
#include "core/parallel.h"
#include "runtime/cache.h"
#include "runtime/plan.h"

namespace zp::runtime {

class Runner {
 public:
  // `request` without feeds' contents: begin() brings them. `request.plans` keeps the plans.
  explicit Runner(PlanRequest request);

  // Plans for these feeds, which must hold what the request's feeds say. A run that was not finished is
  // dropped.
  void begin(std::map<ValueId, Item> feeds);
  // Goes on until the clock (monotonic_milliseconds) is at `until`, as seen after each step and each plan
  // that is made; true when all is done.
  using Tap = UniqueFunction<void(ValueId, const TensorView&)>;
  bool advance(ThreadPool* pool, Tap& tap, double until);
  bool finished() const { return finished_; }

  // After advance() gave true: an output of the graph, where it lies until the next begin().
  TensorView output(ValueId id) const;
  // The same as an item, which owns what it holds.
  Item kept(ValueId id) const;

  size_t done() const { return done_ + next_; }
  // Counts the nodes that are not planned yet as a step each.
  size_t total() const;
  // The plans of this run, so far.
  const std::vector<std::shared_ptr<Plan>>& plans() const { return plans_; }

 private:
  void start(std::string key, const std::shared_ptr<const Rest>& after);
  // What stands between the last plan and the next; false: time is over.
  bool advance_between(ThreadPool* pool, Tap& tap, double until);

  PlanRequest request_;
  std::string prefix_;
  // Fed, and made by all plans but the last; not owned where a plan's memory holds them.
  std::map<ValueId, Item> values_;
  std::vector<std::shared_ptr<Plan>> plans_;
  std::string key_;  // of the last of them
  size_t done_ = 0;  // steps of the plans before it
  size_t next_ = 0;  // step of it, then node behind it
  bool finished_ = false;
};

}  // namespace zp::runtime
