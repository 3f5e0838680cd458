// The parameters of a quantized model that training changes: float weights and biases behind the integers,
// and scales. Reads them from a job that has placed its Q and DQ, makes the graph that training runs, and
// writes what was learned back as constants of the same Q/DQ graph.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "quant/stage.h"
#include "train/trainer.h"

namespace zp::train {

// Names of parameters: of a weight or a bias the value's own, with a suffix where they are not the value
// itself.
inline constexpr std::string_view kPrefix = "parameter:";
inline constexpr std::string_view kRounding = "/rounding";
inline std::string group_name(size_t group) { return "group " + std::to_string(group); }

// A stretched sigmoid reaches 0 and 1 (Louizos et al. 2018).
inline constexpr float kStretch = 1.2f, kShift = -0.1f;

// What is to be small about one output of the model.
struct Aim {
  enum class Kind : uint8_t {
    kProbabilities,  // cross-entropy with probabilities: of the float model, or of labels
    kSquares,        // mean squared error
  };
  ValueId output = kNoValue;  // in the quantized graph
  std::string feed;           // the input of the training graph that holds what it should be
  Kind kind = Kind::kSquares;
  bool is_probability = false;  // the output has been through a softmax already
  double factor = 1;            // of the squares
};

// A part of the model that is trained by itself: the nodes [first, last) of the prepared graph. There,
// weights learn to which of the two integers next to them they are rounded, with their scales; scales of
// activations stay.
struct Block {
  int32_t first = 0, last = 0;
  ValueId start = kNoValue;     // what comes in, as the blocks before make it; kNoValue: the model's inputs
  std::vector<ValueId> ends{};  // what goes out
};

class Learned {
 public:
  // Reads what is placed.
  explicit Learned(quant::JobState& state);

  // Where fewer bits are asked for than the types have, chooses scales for them and writes them.
  void narrow();

  // Inputs: those of the model, the feeds of the aims, and the parameters. Of a block: only those that it
  // reads, `start` among them.
  Problem problem(const std::vector<Aim>& aims, const Block* block = nullptr) const;
  void store(const std::vector<Parameter>& parameters);

 private:
  class Builder;  // of a problem
  struct Weight {
    size_t placed;  // in state.weights
    Tensor value;
    std::vector<float> scales;
    std::vector<int32_t> zero_points;
    IntegerRange codes;
    std::string name;
  };
  struct Bias {
    size_t placed;  // in state.biases
    Tensor value;
    std::string name;
  };
  struct Plain {  // that stays float
    ValueId value;
    bool is_bias;
    std::string name;
    int32_t node;  // in the prepared graph: the first that reads it
  };
  struct Activation {
    ValueId x, integers;  // of the Q
    int32_t group;
    // x are values that were quantized in the same way, in other places: they stay as they are.
    bool moved = false;
    bool follows = false;                     // x depends on what is trained
    ValueId low = kNoValue, high = kNoValue;  // bounds of the Clip before it, if it has one
  };

  const Graph& graph() const { return state_.result->graph; }
  bool is_narrow(const Weight& w) const;
  Tensor latent(const Weight& w) const;
  std::vector<float> lower_codes(const Weight& w) const;
  Tensor rounding(const Weight& w, const std::vector<float>& low) const;
  IntegerRange activation_codes(DType dtype) const;
  void find_weights();
  void find_plain();
  void find_activations();
  bool only_moved(const Activation& a, const GraphIndex& index) const;
  void add_clip(Activation& a);
  void take_rounding(const Weight& w, const Tensor& rounding);
  void write();
  void write_weights();
  void write_activations();
  void write_biases();

  quant::JobState& state_;
  const quant::Training& settings_;
  std::vector<Weight> weights_;
  std::vector<Bias> biases_;
  std::vector<Plain> plain_;
  std::vector<Activation> activations_;
};

}  // namespace zp::train
