// What recurrent operators (LSTM, GRU, RNN) share: their first inputs, how they go through a sequence, and
// their packed weights.
#pragma once

#include <array>
#include <limits>
#include <memory>
#include <string_view>

#include "kernels/elementwise/unary.h"
#include "kernels/gemm/float.h"
#include "ops/op.h"

namespace zp {

struct RecurrentActivation {
  kernels::Unary function = kernels::Unary::kSigmoid;
  kernels::UnaryParameters parameters;
  void operator()(float* v, size_t count) const { kernels::unary(function, parameters, v, v, count); }
};

// Bytes of scratch, handed out in aligned pieces.
class ScratchPieces {
 public:
  size_t reserve(size_t bytes) {
    const size_t at = total_;
    total_ += kernels::round_up(bytes + kReadSlack, kAlignment);
    return at;
  }
  size_t floats(int64_t count) { return reserve(static_cast<size_t>(count) * sizeof(float)); }
  size_t total() const { return total_; }

 private:
  size_t total_ = 0;
};

// What one recurrent operator is.
struct RecurrentForm {
  int64_t gates;                          // blocks of `hidden` rows in W and R
  std::array<std::string_view, 3> names;  // standard activations of a direction; empty behind the last
  // Shapes of inputs in the letters of Recurrent::sizes(); one for each input that there can be.
  std::array<std::string_view, 8> shapes;
  size_t activations() const {
    size_t n = 0;
    while (n < names.size() && !names[n].empty()) ++n;
    return n;
  }
  size_t inputs() const {
    size_t n = 0;
    while (n < shapes.size() && !shapes[n].empty()) ++n;
    return n;
  }
};

struct Recurrent {
  enum Input : size_t {
    kX,         // [steps, batch, features]
    kW,         // [directions, gates * hidden, features]
    kR,         // [directions, gates * hidden, hidden]
    kBias,      // [directions, 2 * gates * hidden]: that of W, then that of R
    kLengths,   // int32 [batch]
    kInitialH,  // [directions, batch, hidden]
  };
  static constexpr size_t kMostInputs = 8;

  int64_t steps = 0, batch = 0, features = 0, hidden = 0, directions = 1;
  int64_t blocks = 1;     // RecurrentForm::gates
  bool backward = false;  // of the first direction
  float clip = std::numeric_limits<float>::infinity();
  using Activations = std::array<RecurrentActivation, 6>;  // those of each direction
  Activations activations;
  bool has[kMostInputs] = {};

  // Reads and checks attributes, types and shapes of a node whose first inputs are as `form` says.
  static Recurrent of(const PrepareContext& c, const RecurrentForm& form);
  // The activations of the node, or the standard ones. Throws kUnsupportedOperator, kInvalidModel.
  static Activations activations_of(const Node& node, const RecurrentForm& form);
  static int64_t directions_of(const Node& node) {
    return node.string_attribute("direction", "forward") == "bidirectional" ? 2 : 1;
  }

  // Matrices for products with rows of W or R, packed once if they are constants, else in each run.
  struct Weights {
    size_t input = 0;
    kernels::WeightLayout layout;
    std::shared_ptr<const std::byte> constant;
    size_t scratch_at = 0, bytes = 0;
    int64_t skipped = 0, all = 0;  // elements of a direction before the matrix, and in all
    kernels::FloatWeights of(const RunContext& run, int64_t direction) const;
  };
  // The matrix of `layout` that begins `skipped` elements into each direction of an input.
  Weights weights(const PrepareContext& c, size_t input, std::string_view kind,
                  const kernels::WeightLayout& layout, ScratchPieces& scratch, int64_t skipped = 0) const;
  Weights input_weights(const PrepareContext& c, ScratchPieces& scratch) const;
  // Of the gates [first, last).
  Weights recurrent_weights(const PrepareContext& c, ScratchPieces& scratch, std::string_view kind,
                            int64_t first, int64_t last) const;
  Weights recurrent_weights(const PrepareContext& c, ScratchPieces& scratch) const {
    return recurrent_weights(c, scratch, "r", 0, blocks);
  }

  int64_t gates() const { return blocks * hidden; }
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

  // Goes through the sequences: `step` takes `count` elements of the batch from `b` on, whose gates are in
  // the rows from `row` on, one step further, and leaves their states in `h`. `y`: Y of all directions, or
  // null.
  void for_steps(const RunContext& run, int64_t direction, const float* h, float* y,
                 FunctionRef<void(int64_t row, int64_t b, int64_t count)> step) const;

  // `count` rows of `gates` from `row` on (each of gates() numbers; the product goes to column `column`)
  // += rows of `from`, which are `stride` apart, times weights.
  void add_products(const float* from, int64_t stride, const kernels::FloatWeights& weights, float* gates,
                    int64_t row, int64_t count, int64_t column = 0) const;
  // gates [steps * batch, gates()] = x W^T + bias. `both`: how many of the gates, counted from the first,
  // also get the bias of R.
  void input_products(const RunContext& run, int64_t direction, const kernels::FloatWeights& w, float* gates,
                      int64_t both) const;
  // The state before the first step: that of input `input`, or zeros. Without a step there is no state:
  // ONNX Runtime gives zeros, not the initial one.
  void start(const RunContext& run, size_t input, int64_t direction, float* to) const;
  void bound(float* v, size_t count) const {
    if (clip < std::numeric_limits<float>::infinity())
      kernels::unary(kernels::Unary::kClamp, {.a = -clip, .b = clip}, v, v, count);
  }
};

// Batch first (layout 1) is read as batch second, with transposes around it: ONNX Runtime, too, has only
// batch second. `states`: inputs that are [batch, directions, hidden] there.
void canonicalize_recurrent(Canonicalize& c, std::initializer_list<size_t> states);
void infer_recurrent(InferContext& c);
double macs_of_recurrent(const InferContext& c);

// Weights have a scale for each row of a gate, in W and R.
inline constexpr QuantRule kRecurrentQuant = {
    .kind = QuantRule::Kind::kFloat,
    .channel_axis = [](const Node&, int rank) { return rank == 3 ? 1 : -1; },
    .leading_channels = true,
    .why_float = "errors of 8 bits add up from step to step of a recurrence"};

// An operator with one state, h.
constexpr OpDef recurrent_op(std::string_view name, Kernel (*prepare)(PrepareContext&)) {
  return {.name = name,
          .inputs = "X W R B? sequence_lens? initial_h?",
          .opsets = "7F 22b layout:14",
          .types = "TTTTiT",
          .infer = infer_recurrent,
          .prepare = prepare,
          .macs = macs_of_recurrent,
          .weights = {1, 2},
          .biases = {3},
          .quant = kRecurrentQuant,
          .canonicalize = [](Canonicalize& c) { canonicalize_recurrent(c, {Recurrent::kInitialH}); }};
}

}  // namespace zp
