// "qat": places Q and DQ where "static" does; the train stage then moves weights and scales.
#include "quant/scheme.h"

#include <algorithm>

#include "core/error.h"
#include "quant/stage.h"
#include "train/qat/options.h"

namespace zp::train {
namespace {

using quant::Config;

void require(bool condition, const Text& message, std::string_view hint) {
  if (!condition) throw_error(ErrorCode::kInvalidArgument, message, {.hint = hint});
}

void check(const Config& c) {
  quant::scheme_named("static").check(c);
  const quant::Training& t = c.training;
  check_options(c);
  require(t.scales != "moving-average" || c.symmetric_weights,
          "scales that follow the ranges of weights need symmetric weights", "leave symmetricWeights on");
  require(t.weight_bits == 0 || c.symmetric_weights, "fewer bits for weights need symmetric weights",
          "leave symmetricWeights on");
  for (const quant::StageDef* d : quant::all_stages())
    require(!d->rounds_weights || t.weight_bits == 0 ||
                std::find(c.repairs.begin(), c.repairs.end(), d->name) == c.repairs.end(),
            {"the repair '", d->name, "' uses all integers of a type"},
            "leave this repair or weightBits out");
  require(!t.blocks || (t.loss != "kl" && t.loss != "cross-entropy" && t.intermediate.empty()),
          "blocks are trained towards the float model's values at their ends, with no other loss",
          "leave loss and intermediate out, or do not train in blocks");
  require(!t.blocks || (t.scales != "moving-average" && !t.learn_zero_points),
          "training in blocks changes neither scales of activations nor zero points",
          "leave scales and zeroPoints out, or do not train in blocks");
  require(!t.blocks || (!t.resume && !t.checkpoints), "training in blocks cannot be interrupted and resumed",
          "leave checkpoints out, or do not train in blocks");
  require(!t.blocks || !t.freeze, "in blocks every operator needs a gradient",
          "leave freeze out, or do not train in blocks");
  require(!c.quantized_inputs, "a model that takes integers cannot be trained", "quantize with float inputs");
}

const quant::RegisterScheme kQat(
    {.name = "qat",
     .title = "trained integers",
     .sentence = "As `static`, then trained on the samples towards the float model's outputs.",
     .needs_calibration = true,
     .trains = true,
     .check = check,
     .decide =
         [](quant::Planner& planner) {
           planner.trained = true;
           quant::scheme_named("static").decide(planner);
         },
     .place = [](quant::Placement& placement,
                 int32_t i) { quant::scheme_named("static").place(placement, i); }});

}  // namespace
}  // namespace zp::train
