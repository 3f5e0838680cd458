// The scheme's plan of what becomes of each node.
#include "core/decimal.h"
#include "core/error.h"
#include "graph/subgraphs.h"
#include "ops/infer.h"
#include "quant/qdq.h"
#include "quant/runnable.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

class Decide : public PiecewiseStage {
 public:
  explicit Decide(JobState& state) : state_(state) {}

 private:
  size_t start() override { return 1; }
  void piece(size_t) override {
    Graph& graph = state_.prepared->graph;
    require_known_names(graph, state_.config);
    const Scheme& scheme = *state_.scheme;
    Planner planner(graph, state_.config, scheme.needs_calibration ? computable(graph) : std::vector<bool>{});
    scheme.decide(planner);
    state_.plan = std::move(planner.plan);
    decide_branches(graph);
    warn();
  }

  void decide_branches(Graph& graph) {
    for (Node& node : graph.nodes) {
      if (!find_op(node)) continue;  // passed through as it is
      for (Graph& sub : subgraphs(node)) {
        Planner planner(sub, state_.config);
        scheme_of_branches(*state_.scheme, state_.config).decide(planner);
        state_.branches[&sub] = std::move(planner.plan);
        decide_branches(sub);
      }
    }
  }

  void warn() {
    std::vector<std::string>& warnings = state_.plan.warnings;
    if (const std::string unknown = foreign_operators(state_.prepared->graph); !unknown.empty())
      warnings.push_back("operators that are not known here, or not in this form, pass through unchanged: " +
                         unknown);
    const Scheme& inside = scheme_of_branches(*state_.scheme, state_.config);
    size_t inner = 0;
    for (const auto& [graph, plan] : state_.branches)
      for (const NodePlan& n : plan.nodes) inner += &inside != state_.scheme && n.quantized;
    if (inner > 0)
      warnings.push_back(counted(inner, "layer") + " in branches and bodies (of an If or a Loop)" +
                         (inner == 1 ? " is" : " are") + " quantized as in mode '" +
                         std::string(inside.name) + "': calibration does not see them");
    size_t kept = 0, quantized = 0;
    const auto count = [&](const Plan& plan) {
      for (const NodePlan& n : plan.nodes) kept += n.kept, quantized += n.quantized;
    };
    count(state_.plan);
    for (const auto& [graph, plan] : state_.branches) count(plan);
    const Config& c = state_.config;
    if (c.only_prepares || !is_quantized(state_.prepared->graph)) return;
    const bool chosen = !c.include_nodes.empty() || !c.exclude_nodes.empty() || !c.include_ops.empty() ||
                        !c.exclude_ops.empty();
    if (quantized == 0 && !chosen) {
      throw_error(ErrorCode::kInvalidArgument, "the model is quantized already",
                  {.hint = "start from the float model that it was made from"});
    }
    warnings.push_back(
        "the model is quantized in part already: " +
        (kept == 0 ? "its integers stay as they are"
                   : counted(kept, "layer") + (kept == 1 ? " is" : " are") + " kept as in the file"));
  }

  JobState& state_;
};

const RegisterStage kDecide({.name = "decide", .order = kDecideOrder, .make = make_stage<Decide>});

}  // namespace
}  // namespace zp::quant
