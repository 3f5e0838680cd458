// "qat": places Q and DQ where "static" does; the train stage then moves weights and scales.
#include "quant/scheme.h"

#include <algorithm>

#include "core/error.h"
#include "quant/stage.h"

namespace zp::train {
namespace {

using quant::Config;

void require(bool condition, const Text& message, std::string_view hint) {
  if (!condition) throw_error(ErrorCode::kInvalidArgument, message, {.hint = hint});
}

bool one_of(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

void check(const Config& c) {
  quant::scheme_named("static").check(c);
  const quant::Training& t = c.training;
  require(t.epochs >= 0 && t.epochs <= 100000, "epochs are out of range", "0 to 100000");
  require(t.learning_rate > 0 && t.learning_rate <= 10, "the learning rate is out of range",
          "above 0, at most 10");
  require(t.batch >= 1 && t.batch <= 65536, "the batch is out of range", "1 to 65536");
  require(one_of(t.loss, {"auto", "kl", "mse", "cross-entropy"}), {"unknown loss '", t.loss, "'"},
          "'auto', 'kl', 'mse' or 'cross-entropy'");
  require(one_of(t.optimizer, {"adam", "sgd"}), {"unknown optimizer '", t.optimizer, "'"}, "'adam' or 'sgd'");
  require(one_of(t.schedule, {"cosine", "constant", "step"}), {"unknown schedule '", t.schedule, "'"},
          "'cosine', 'constant' or 'step'");
  require(t.memory_limit > 0, "the memory limit is out of range", "above 0, in bytes");
  require(t.warm_up >= 0 && t.warm_up < 1 && t.validation >= 0 && t.validation < 1 && t.momentum >= 0 &&
              t.momentum < 1,
          "warm-up, validation and momentum are parts of one", "at least 0, below 1");
  require(t.weight_decay >= 0 && t.clip_norm >= 0, "weight decay and clipping are not negative",
          "0 turns them off");
  for (const int bits : {t.weight_bits, t.activation_bits})
    require(bits == 0 || (bits >= 2 && bits <= 8), "bits are out of range", "2 to 8");
  require(t.weight_bits == 0 || c.symmetric_weights, "fewer bits for weights need symmetric weights",
          "leave symmetricWeights on");
  for (const quant::StageDef* d : quant::all_stages())
    require(!d->rounds_weights || std::find(c.repairs.begin(), c.repairs.end(), d->name) == c.repairs.end(),
            {"the repair '", d->name, "' would undo what training learns"},
            "use it with mode 'static', or train without it");
  require(!c.quantized_inputs, "a model that takes integers cannot be trained", "quantize with float inputs");
}

const quant::RegisterScheme kQat(
    {.name = "qat",
     .needs_calibration = true,
     .check = check,
     .decide = [](quant::Planner& planner) { quant::scheme_named("static").decide(planner); },
     .place = [](quant::Placement& placement,
                 int32_t i) { quant::scheme_named("static").place(placement, i); }});

}  // namespace
}  // namespace zp::train
