// The user's options of quantization-aware training, and the progress that a run reports. The training itself
// is in train/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace zp::quant {

struct Training {
  int epochs = 3;  // 0: none, just the narrower integers below
  double learning_rate = 1e-3;
  int batch = 32;  // samples of one step
  // "auto": "kl" for outputs that are a row of classes, else "mse". "kl" and "mse" are against the float
  // model's outputs; "cross-entropy", and "mse" too, against targets where samples bring them (see
  // target_name).
  std::string loss = "auto";
  std::string optimizer = "adam";  // or "sgd"
  std::string schedule =
      "cosine";             // or "constant", or "step": a tenth from the half on, a hundredth from 3/4
  double warm_up = 0.05;    // of all steps
  double momentum = 0.9;    // of sgd
  double weight_decay = 0;  // of weights, not of biases and scales; decoupled, as in AdamW
  double clip_norm = 1;     // of all gradients together; 0: not clipped
  double validation = 0.1;  // of the samples, kept aside to choose the best epoch by
  // "learned"; "moving-average": they follow the ranges that batches have (Jacob et al. 2018), and those of
  // weights their largest values; "fixed": they stay as calibrated.
  std::string scales = "learned";
  bool learn_zero_points = false;  // of activations that have them (LSQ+, Bhalgat et al. 2020)
  // Values inside the model that are to be as in the float model too, by name.
  std::vector<std::string> intermediate;
  // One block of the model after the other, from the inputs on: see train/qat/blocks.h. Epochs are then those
  // of each block.
  bool blocks = false;
  bool freeze = false;  // what comes before an operator without a gradient, instead of an error
  uint64_t seed = 1;
  // Fewer integers than the types have: 2...8; 0: all of them. Activations then are clipped before they are
  // quantized.
  int weight_bits = 0, activation_bits = 0;
  // Bytes for samples, parameters and the values of a step. A batch that needs more goes in parts; a single
  // sample that does is refused (kOutOfMemory).
  double memory_limit = 2.0 * (1u << 30);
  bool checkpoints = false;                              // TrainingProgress has one after each epoch
  std::shared_ptr<const std::vector<std::byte>> resume;  // such a one, to go on from; null: from the start
};

// The feed of a sample that holds what an output should be: class numbers (int64), or values like the
// output's.
inline std::string target_name(const std::string& output) { return "target:" + output; }
inline bool is_target(const std::string& feed) { return feed.starts_with("target:"); }

struct TrainingProgress {
  int epoch = 0, epochs = 0;
  size_t step = 0, steps = 0;  // of all epochs
  double loss = 0;             // mean over the last steps
  double validation_loss = 0;  // after the last epoch (of the samples themselves where none were kept aside)
  double best_loss = 0, first_loss = 0;  // of the checkpoint that is kept; before training
  double step_milliseconds = 0, remaining_milliseconds = 0;
  double memory_bytes = 0;  // what training takes, known before the first step
  // The state after epoch `saved_epoch`: what a run with the same samples and settings can go on from, to end
  // with the same bits.
  int saved_epoch = 0;
  std::shared_ptr<const std::vector<std::byte>> checkpoint;
};

}  // namespace zp::quant
