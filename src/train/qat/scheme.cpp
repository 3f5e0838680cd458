// "qat": places Q and DQ where "static" does; the train stage then moves weights and scales.
#include "quant/scheme.h"

#include <algorithm>

#include "core/decimal.h"
#include "core/error.h"
#include "quant/stage.h"

namespace zp::train {
namespace {

using quant::Config;

void require(bool condition, const Text& message, std::string_view hint) {
  if (!condition) throw_error(ErrorCode::kInvalidArgument, message, {.hint = hint});
}

void check(const Config& c) {
  quant::scheme_named("static").check(c);
  const quant::Training& t = c.training;
  struct Limits {
    const char* what;
    double value, least, most;
  };
  constexpr double kAny = 1e9, kPart = 0.999;
  for (const Limits& l :
       {Limits{"epochs", static_cast<double>(t.epochs), 0, 1e5},
        {"learning rate", t.learning_rate, 1e-12, 10},
        {"batch size", static_cast<double>(t.batch), 1, 65536},
        {"warm-up", t.warm_up, 0, kPart},
        {"validation", t.validation, 0, kPart},
        {"momentum", t.momentum, 0, kPart},
        {"weight decay", t.weight_decay, 0, kAny},
        {"clip norm", t.clip_norm, 0, kAny},
        {"memory limit", t.memory_limit, 1, 1e15},
        {"weight bits", static_cast<double>(t.weight_bits ? t.weight_bits : 8), 2, 8},
        {"activation bits", static_cast<double>(t.activation_bits ? t.activation_bits : 8), 2, 8}})
    require(l.value >= l.least && l.value <= l.most, {l.what, ": ", decimal(l.value), " is out of range"},
            decimal(l.least) + " to " + decimal(l.most));
  struct Choice {
    const char* what;
    const std::string& value;
    std::string_view names;  // between spaces
  };
  for (const Choice& o : {Choice{"loss", t.loss, " auto kl mse cross-entropy "},
                          {"optimizer", t.optimizer, " adam sgd "},
                          {"schedule", t.schedule, " cosine constant step "},
                          {"scales", t.scales, " learned moving-average fixed "}})
    require(o.names.find(" " + o.value + " ") != std::string_view::npos,
            {"unknown ", o.what, " '", o.value, "'"}, o.names);
  require(t.scales != "moving-average" || c.symmetric_weights,
          "scales that follow the ranges of weights need symmetric weights", "leave symmetricWeights on");
  require(t.weight_bits == 0 || c.symmetric_weights, "fewer bits for weights need symmetric weights",
          "leave symmetricWeights on");
  for (const quant::StageDef* d : quant::all_stages())
    require(!d->rounds_weights || t.weight_bits == 0 ||
                std::find(c.repairs.begin(), c.repairs.end(), d->name) == c.repairs.end(),
            {"the repair '", d->name, "' knows all integers of a type only"},
            "train without it, or leave weightBits out");
  require(!t.blocks || (t.loss != "kl" && t.loss != "cross-entropy" && t.intermediate.empty()),
          "blocks are trained towards what the float model makes at their ends alone",
          "leave loss and intermediate out, or do not train in blocks");
  require(!t.blocks || (t.scales != "moving-average" && !t.learn_zero_points),
          "in blocks, scales of activations and zero points stay as they are",
          "leave scales and zeroPoints out, or do not train in blocks");
  require(!t.blocks || (!t.resume && !t.checkpoints), "training in blocks cannot be interrupted and resumed",
          "leave checkpoints out, or do not train in blocks");
  require(!t.blocks || !t.freeze, "in blocks every operator needs a gradient",
          "leave freeze out, or do not train in blocks");
  require(!c.quantized_inputs, "a model that takes integers cannot be trained", "quantize with float inputs");
}

const quant::RegisterScheme kQat({.name = "qat",
                                  .needs_calibration = true,
                                  .trains = true,
                                  .check = check,
                                  .decide =
                                      [](quant::Planner& planner) {
                                        planner.trained = true;
                                        quant::scheme_named("static").decide(planner);
                                      },
                                  .place =
                                      [](quant::Placement& placement, int32_t i) {
                                        quant::scheme_named("static").place(placement, i);
                                      }});

}  // namespace
}  // namespace zp::train
