// Runs a model. A session holds packed weights and the plans made so far, one for each set of input shapes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/function.h"
#include "core/parallel.h"
#include "graph/graph.h"

namespace zp::runtime {

struct Feed {
  std::string name;
  Tensor tensor;
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
};

// One step of a plan, for reports.
struct StepInfo {
  std::string node, op;     // the node's name and operator
  std::string kernel;       // "int8", "float32", "table", "int64", ... by what it computes with
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
  TensorView output(size_t i) const;
  // All of them. The tensors are copies and outlive the session.
  std::vector<Tensor> outputs() const;
  std::vector<Tensor> run(std::vector<Feed> feeds);  // all of the above

  // Sees each tapped value, in the model's own order of dimensions, as soon as it is computed.
  using Tap = UniqueFunction<void(ValueId, const TensorView&)>;
  void set_tap(Tap tap);

  // Of the plan in use. `done` counts up to `total` while a run advances.
  size_t done() const;
  size_t total() const;
  std::vector<StepInfo> steps() const;
  size_t arena_bytes() const;  // of the plan in use

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zp::runtime
