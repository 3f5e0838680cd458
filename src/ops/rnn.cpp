// RNN, in one or both directions, with initial states and sequences of different lengths:
// h' = f(W x + R h + b). The products with x are one matrix product for all steps.
#include <algorithm>

#include "ops/recurrent.h"

namespace zp {
namespace {

using enum Recurrent::Input;

constexpr RecurrentForm kForm = {
    .gates = 1, .names = {"tanh"}, .shapes = {"sbf", "dgf", "dgh", "dG", "b", "dbh"}};

struct Rnn : Recurrent {
  Weights w, r;
  size_t gates_at = 0, h_at = 0;
  bool has_y = false, has_y_h = false;

  void run(const RunContext& run) const {
    check_lengths(run);
    for (int64_t d = 0; d < directions; ++d) run_direction(run, d);
  }
  void run_direction(const RunContext& run, int64_t d) const;
};

void Rnn::run_direction(const RunContext& run, int64_t d) const {
  const RecurrentActivation& f = activations[static_cast<size_t>(d)];
  const kernels::FloatWeights of_h = r.of(run, d);
  float *all = run.scratch<float>(gates_at), *h_all = run.scratch<float>(h_at);
  float* y = has_y ? run.out<float>(0) : nullptr;
  input_products(run, d, w.of(run, d), all, 1);
  start(run, kInitialH, d, h_all);
  // `count` elements of the batch from `b` on, whose sums are in the rows from `row` on, go one step further.
  const auto step = [&](int64_t row, int64_t b, int64_t count) {
    float *sums = all + row * hidden, *h = h_all + b * hidden;
    const auto numbers = static_cast<size_t>(count * hidden);
    add_products(h, hidden, of_h, all, row, count);
    bound(sums, numbers);
    f(sums, numbers);
    std::copy_n(sums, numbers, h);
  };
  for_steps(run, d, h_all, y, step);
  if (has_y_h) std::copy_n(h_all, state(), run.out<float>(1) + d * state());
}

Kernel prepare(PrepareContext& c) {
  Rnn rnn;
  static_cast<Recurrent&>(rnn) = Recurrent::of(c, kForm);
  ScratchPieces scratch;
  rnn.gates_at = scratch.floats(rnn.rows() * rnn.gates());
  rnn.h_at = scratch.floats(rnn.state());
  rnn.w = rnn.input_weights(c, scratch);
  rnn.r = rnn.recurrent_weights(c, scratch);
  rnn.has_y = c.has_output(0);
  rnn.has_y_h = c.has_output(1);
  c.scratch(scratch.total());
  return [rnn = std::make_shared<const Rnn>(std::move(rnn))](const RunContext& run) { rnn->run(run); };
}

constexpr OpDef kRnn = recurrent_op("RNN", prepare);
const RegisterOps kRegistered({&kRnn});

}  // namespace
}  // namespace zp
