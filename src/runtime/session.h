// Runs a model. A session holds packed weights and the plans made so far, one for each set of input shapes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/function.h"
#include "core/item.h"
#include "core/parallel.h"
#include "graph/graph.h"

namespace zp::runtime {

struct Feed {
  std::string name;
  Tensor tensor;
  std::shared_ptr<const Sequence> sequence =
      nullptr;  // instead; with neither: an optional that holds nothing
};

struct SessionOptions {
  int threads = 1;
  // Lower DQ -> op -> Q onto integer kernels. Off: every Q and DQ runs by itself, in float (for comparisons
  // and tests).
  bool integer = true;
  // Values that set_tap's callback sees in every run. A tapped value is computed for itself: never fused
  // away.
  std::vector<ValueId> taps;
  // Bytes of arena beyond which planning throws kOutOfMemory.
  size_t memory_limit = size_t{3} << 30;
  // Plans are kept for the next run with the same shapes: those used longest ago are dropped when all
  // together take more bytes than this (one run's own always stay).
  size_t plan_memory = size_t{512} << 20;
  // Packed weights that no kept plan uses are dropped beyond so many bytes.
  size_t packed_memory = size_t{256} << 20;
};

// One step of a plan, for reports.
struct StepInfo {
  std::string node, op;  // the node's name and operator
  // "int8", "float32", "table", "int64", ... by what it computes with; "between" of a node that runs between
  // plans
  std::string kernel;
  double milliseconds = 0;  // of the last run
};

// The threads that sessions with as many run on, for other work between their runs; null for one.
std::shared_ptr<ThreadPool> shared_pool(int threads);

class Session {
 public:
  // The model is shared, not copied. Throws kUnsupportedOperator listing every operator that cannot run.
  Session(std::shared_ptr<const Model> model, SessionOptions options = {});
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Checks the feeds against the model's inputs (kInvalidFeed, kShapeMismatch) and plans for their shapes if
  // needed. A run that was not finished is dropped.
  void begin(std::vector<Feed> feeds);
  // Goes on with the run for about `milliseconds` (at least one node); true when it is finished.
  bool advance(double milliseconds);
  // After advance() gave true: an output, in the model's order, where it lies until the next begin().
  // Throws kUnsupportedType where it is no tensor.
  TensorView output(size_t i) const;
  // All of them. The tensors are copies and outlive the session.
  std::vector<Tensor> outputs() const;
  // An output that may be a sequence, or nothing. It outlives the session.
  Item item(size_t i) const;
  std::vector<Tensor> run(std::vector<Feed> feeds);  // all of the above

  // Sees each tapped value, in the model's own order of dimensions, as soon as it is computed.
  using Tap = UniqueFunction<void(ValueId, const TensorView&)>;
  void set_tap(Tap tap);

  // Of the plans in use. `done` counts up to `total` while a run advances; where shapes follow from what is
  // computed, `total` counts the nodes behind that as a step each until they are planned.
  size_t done() const;
  size_t total() const;
  std::vector<StepInfo> steps() const;
  size_t arena_bytes() const;  // of the plans in use
  size_t plans_kept() const;   // for tests
  // Warnings for the user about feeds and results so far; each comes once.
  const std::vector<std::string>& warnings() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
  Tap tap_;
};

}  // namespace zp::runtime
