// What an LSTM's forward pass and its gradient share.
#pragma once

#include <array>
#include <limits>
#include <memory>

#include "kernels/elementwise/unary.h"
#include "kernels/gemm/float.h"
#include "ops/op.h"

namespace zp {

struct LstmActivation {
  kernels::Unary function = kernels::Unary::kSigmoid;
  kernels::UnaryParameters parameters;
  void operator()(float* v, size_t count) const { kernels::unary(function, parameters, v, v, count); }
};

// Bytes of scratch, handed out in aligned pieces.
class ScratchPieces {
 public:
  size_t reserve(size_t bytes) {
    const size_t at = total_;
    total_ += kernels::round_up(bytes + Tensor::kReadSlack, Tensor::kAlignment);
    return at;
  }
  size_t floats(int64_t count) { return reserve(static_cast<size_t>(count) * sizeof(float)); }
  size_t total() const { return total_; }

 private:
  size_t total_ = 0;
};

struct Lstm {
  enum Input : size_t {
    kX,          // [steps, batch, features]
    kW,          // [directions, 4 hidden, features], gates in the order i, o, f, g
    kR,          // [directions, 4 hidden, hidden]
    kBias,       // [directions, 8 hidden]: that of W, then that of R
    kLengths,    // int32 [batch]
    kInitialH,   // [directions, batch, hidden]
    kInitialC,   // likewise
    kPeepholes,  // [directions, 3 hidden], in the order i, o, f
    kInputs
  };

  int64_t steps = 0, batch = 0, features = 0, hidden = 0, directions = 1;
  bool backward = false;  // of the first direction
  bool input_forget = false;
  float clip = std::numeric_limits<float>::infinity();
  using Activations = std::array<LstmActivation, 6>;  // f, g, h of each direction
  Activations activations;
  bool has[kInputs] = {};

  // Reads and checks attributes, types and shapes of a node whose first inputs are an LSTM's.
  static Lstm of(const PrepareContext& c);
  // Those of the node, or the standard ones. Throws kUnsupportedOperator, kInvalidModel.
  static Activations activations_of(const Node& node);
  static int64_t directions_of(const Node& node) {
    return node.string_attribute("direction", "forward") == "bidirectional" ? 2 : 1;
  }

  // Matrices for products with rows of 4 * hidden, packed once if they are constants, else in each run.
  struct Weights {
    size_t input = 0;
    kernels::WeightLayout layout;
    std::shared_ptr<const std::byte> constant;
    size_t scratch_at = 0, bytes = 0;
    kernels::FloatWeights of(const RunContext& run, int64_t direction) const;
  };
  Weights weights(const PrepareContext& c, size_t input, std::string_view kind,
                  const kernels::WeightLayout& layout, ScratchPieces& scratch) const;
  Weights input_weights(const PrepareContext& c, ScratchPieces& scratch) const;
  Weights recurrent_weights(const PrepareContext& c, ScratchPieces& scratch) const;

  int64_t gates() const { return 4 * hidden; }
  int64_t rows() const { return steps * batch; }
  int64_t state() const { return batch * hidden; }

  // Step `s` of an element of the batch. Backward, each sequence starts at its own end; behind their ends
  // sequences do not go on.
  struct Place {
    int64_t time;
    bool inside;
  };
  Place place(const RunContext& run, int64_t direction, int64_t s, int64_t b) const;

  // Reports lengths that the input does not have.
  void check_lengths(const RunContext& run) const;

  // Elements of the batch that go through all steps together. Their results do not depend on how many
  // blocks there are.
  void for_blocks(const RunContext& run, FunctionRef<void(int64_t begin, int64_t end)> body) const;

  // Where one direction's pass puts what it computes.
  struct Pass {
    float* gates;        // [steps, batch, 4 hidden], as the activations leave them
    float *h, *c;        // [batch, hidden]: the states, at last those after the last step
    float* scratch;      // likewise
    float* y = nullptr;  // Y of all directions
    float *h_before = nullptr, *c_before = nullptr;  // [steps, batch, hidden]: the states before each step
  };
  void run(const RunContext& run, int64_t direction, const kernels::FloatWeights& w,
           const kernels::FloatWeights& r, const Pass& pass) const;

  const float* peepholes(const RunContext& run, int64_t direction) const {
    return has[kPeepholes] ? run.in<float>(kPeepholes) + direction * 3 * hidden : nullptr;
  }

 private:
  void step(const LstmActivation* act, const float* peephole, float* gate, float* h, float* c,
            float* scratch) const;
};

void lstm_gradient(Gradient& g);
// To DynamicQuantizeLSTM.
bool fold_lstm(Fold& f);

}  // namespace zp
