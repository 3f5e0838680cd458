// The training loop: batches in an order that the seed decides, gradients, steps, validation, the best kept.
//
//   Trainer run(problem, std::move(samples), settings, threads);
//   while (!run.advance(20)) {}
//   use(run.best());
//
// Two runs with one seed give the same parameters, with any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "graph/graph.h"
#include "quant/training.h"
#include "runtime/session.h"
#include "train/optimizer.h"
#include "train/samples.h"

namespace zp::train {

// Scales, and zero points, that follow the ranges of values instead of being learned.
struct Following {
  ValueId low = kNoValue, high = kNoValue;  // values of the graph: a scalar, or one for each scale
  std::string scale, zero_point;  // names of parameters; without the latter, in the middle of the type
  double zero = 0;                // where that is
  DType dtype = DType::kInt8;
  IntegerRange codes;
  double memory = 0;  // of the range before a batch in the one after it
};

// Weights that find their way to one of two integers (Nagel et al. 2020): names of scalar inputs that the
// trainer sets for each run.
struct Rounding {
  std::string hard;     // 1 where weights are rounded for good, as in validation; else 0
  std::string penalty;  // how much what is between two integers costs; 0 at first
  // Half the exponent of the penalty; falls, so that it is felt ever nearer to the middle.
  std::string square_exponent;
};

struct Problem {
  Graph graph;              // inputs: what samples feed, and the parameters
  ValueId loss = kNoValue;  // a scalar
  std::vector<Parameter> parameters;
  std::vector<Following> following;
  std::optional<Rounding> rounding;
};

class Trainer {
 public:
  // Throws kUnsupportedOperator where the graph cannot be differentiated; with settings.freeze, parameters
  // before such an operator stay as they are instead.
  Trainer(Problem problem, Samples samples, const quant::Training& settings, int threads);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  bool advance(double milliseconds);  // true when done
  void stop();                        // ends after the step under way
  bool done() const;
  quant::TrainingProgress progress() const;
  // As at the end of the epoch with the lowest loss on samples kept aside; at first, as they came.
  const std::vector<Parameter>& best() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zp::train
