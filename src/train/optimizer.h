// What becomes of gradients: SGD with momentum, or Adam (kernels/gradient/optimizer.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "quant/training.h"

namespace zp::train {

// Something that is learned: an input of the training graph.
struct Parameter {
  enum class Kind : uint8_t {
    kWeight,
    kBias,
    kScale,
    kZeroPoint,
    kRounding,  // where between two integers a weight is, before a sigmoid
  };
  std::string name;  // of the input
  Tensor value;      // float32
  Kind kind = Kind::kWeight;
  IntegerRange codes = {};  // kZeroPoint: what it stays in
};

class Optimizer {
 public:
  Optimizer(const quant::Training& settings, const std::vector<Parameter>& parameters, size_t steps);

  // One step of as many parameters as there are gradients. Scales move as logarithms (Jain et al. 2020),
  // which keeps them positive and makes a step relative to their size; zero points in units of all their
  // codes; roundings many times as fast as biases.
  void step(std::vector<Parameter>& parameters, const std::vector<Tensor>& gradients);
  double learning_rate() const;  // of the step to come
  // What a checkpoint holds.
  void set_steps_taken(size_t steps) { at_ = steps; }
  std::vector<std::vector<float>*> moments();

 private:
  quant::Training settings_;
  size_t steps_, at_ = 0;
  std::vector<std::vector<float>> first_, second_;  // moments, by parameter
};

}  // namespace zp::train
