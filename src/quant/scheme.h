// A scheme: a way of placing Q and DQ. To add one, add a file to schemes/ that registers it.
#pragma once

#include <string_view>
#include <vector>

#include "quant/format.h"
#include "quant/placement.h"
#include "quant/plan.h"

namespace zp::quant {

struct Scheme {
  std::string_view name;
  std::string_view title = {};     // a few words
  std::string_view sentence = {};  // what becomes integers or float16
  std::string_view more = {};      // ZP_MORE (named.h): what else there is to know, in Markdown
  bool needs_calibration = false;  // ranges of the groups that its plan has
  bool blocks = false;             // weights may have 2 bits, in blocks
  bool dynamic = false;            // activations find their ranges in each run
  bool halves = false;             // values are float16: quant/half.h
  bool trains = false;             // weights and scales are learned: no repair is a default
  // How its result is written unless Config::format says: the form that ONNX Runtime computes fastest of
  // those that give the same numbers there. Null: Q/DQ.
  std::string_view (*form)(const Config&) = nullptr;
  // Throws kInvalidArgument for a configuration that the scheme cannot have. Null: anything goes.
  void (*check)(const Config&) = nullptr;
  // Decides what is quantized: fills planner.plan.
  void (*decide)(Planner& planner) = nullptr;
  // Emits node i of the prepared graph, quantized as the plan says, after what it needs. Called for each in
  // order.
  void (*place)(Placement& placement, int32_t i) = nullptr;
};

class RegisterScheme {
 public:
  explicit RegisterScheme(const Scheme& scheme);
};

// The scheme of layers in branches and bodies. Where this one needs ranges, which nobody observes there,
// activations find them in each run; where the runtime or the configuration does not take that, weights alone
// are quantized.
const Scheme& scheme_of_branches(const Scheme& scheme, const Config& config);

// Throws kInvalidArgument naming the schemes there are.
const Scheme& scheme_named(std::string_view name);

}  // namespace zp::quant
