// The memory and time that a job takes, from facts that are known before it begins: the prepared graph, the
// plan, and the shapes of samples. Each stage counts for itself (StageDef::cost); the job adds up.
//
// The count has everything that grows with a model: weights and copies of them, values of a run, samples that
// are kept, matrices of repairs. It leaves out the graph itself, reports and short-lived buffers.
#pragma once

#include <cstddef>
#include <vector>

#include "quant/stage.h"

namespace zp::quant {

struct StageCost {
  double held = 0;     // bytes that stay when the stage is over
  double bytes = 0;    // and those that it takes for itself, at its worst moment
  double macs = 0;     // multiply-accumulates on float kernels
  double touched = 0;  // numbers that are looked at or written one by one
};

// A layer whose weight is to become integers, as the matrix product that it is.
struct WeightedLayer {
  double groups = 1, rows = 0, depth = 0;  // of each group: output channels, and inputs that each sums
  double positions = 0;                    // rows of its input, in one sample; 0: not known
  size_t rank = 0;                         // of the weight
  int bits = 0;
  double elements() const { return groups * rows * depth; }
};

class Workload {
 public:
  // `state`: of a job that has decided.
  Workload(const JobState& state, const Expected& expected);

  const Expected expected;
  const Config& config;
  bool whole = true;  // every value's size is known

  // One run of the float model.
  double macs = 0, values = 0;  // numbers that it computes
  double sample_bytes = 0;
  double largest_value = 0;  // bytes
  // Bytes that a session of the float model takes: its values, packed weights, and weights that lie in files.
  double session() const { return arena_ + packed_ + in_files_; }
  // The same for a model with these weights quantized.
  double quantized_session() const { return arena_ + packed_quantized_; }
  double kept_samples(size_t most, double most_bytes) const;

  bool streams = false;       // weights lie in files, and go through one after the other
  double folded = 0;          // bytes of constants that preparing makes
  double placed = 0;          // bytes of constants that placing makes
  double largest_weight = 0;  // elements
  double quantized = 0;       // elements of weights that become integers
  double passes = 0;          // over their elements, all together
  std::vector<WeightedLayer> layers;

 private:
  void look_at_values(const JobState& state);
  void look_at_weights(const JobState& state);
  double arena_ = 0, packed_ = 0, packed_quantized_ = 0, in_files_ = 0;
};

// Of a repair that goes through the layers with so many samples (layerwise.h).
void add_layerwise(const Workload& w, size_t samples, StageCost& cost);
// Of one that chooses integers, from so many patches (rounding.h). What it takes for itself: bytes for each
// element of a weight, and for each of a matrix of [depth, depth]; multiplications one by one, and on float
// kernels, for each row and pair of its inputs.
struct SolverCost {
  double per_weight = 0, per_pair = 0, scalar = 0, macs = 0;
};
void add_rounding(const Workload& w, size_t samples, size_t patches, const SolverCost& solver,
                  StageCost& cost);
// Of samples that a job keeps for its later sweeps (feeder.h).
double kept_samples_of(const Workload& w, size_t sweeps, const Expected& expected);
// Of a repair that has to prove itself (checked.h).
StageCost cost_of_checking(const Workload& w, const StageCost& repair);
// Of comparing with the float model, layer by layer or by the outputs.
StageCost cost_of_layer_errors(const Workload& w, size_t samples);
StageCost cost_of_output_errors(const Workload& w, size_t samples, size_t models);

}  // namespace zp::quant
