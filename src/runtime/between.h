// A node that runs between two plans: on whole values, when the first plan is through. Internal to runtime/.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/item.h"
#include "core/parallel.h"
#include "ops/op.h"
#include "runtime/plan.h"

namespace zp::runtime {

class BodyRun;

// Owns the plans of its subgraphs, so that they are there for the next run.
class Between {
 public:
  Between(const Node& node, std::shared_ptr<const Rest> rest, const PlanRequest& request);
  ~Between();

  const Node& node() const { return node_; }
  double milliseconds() const { return milliseconds_; }  // of the last run

  void begin();  // drops a run that was not finished
  // Goes on until the clock is at `until`; true when its outputs are in `values`, by the ids of the graph
  // that holds the node.
  bool advance(std::map<ValueId, Item>& values, ThreadPool* pool, double until);

 private:
  class Context;

  const Node& node_;
  const OpDef& def_;
  std::shared_ptr<const Rest> rest_;  // what is known of values; holds the node
  PlanRequest request_;
  std::unique_ptr<BetweenContext::State> state_;
  std::map<std::string, std::unique_ptr<BodyRun>, std::less<>> bodies_;  // by attribute
  double milliseconds_ = 0;
};

}  // namespace zp::runtime
