// Builds the quantized graph, a node at a time: quantizing a weight takes long.
#include <optional>

#include "quant/estimate.h"
#include "quant/hoist.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

class Place : public PiecewiseStage {
 public:
  explicit Place(JobState& state) : state_(state) {}

 private:
  size_t start() override {
    branch_config_ = state_.config;
    branch_config_.quantized_inputs = branch_config_.quantized_outputs = false;
    config_ = state_.scheme->halves ? branch_config_ : state_.config;  // inputs and outputs: stages/half.cpp
    placement_.emplace(state_.prepared->graph, state_.plan, config_, state_.params);
    return state_.prepared->graph.nodes.size();
  }
  void piece(size_t i) override {
    const size_t before = placement_->graph.nodes.size();
    state_.scheme->place(*placement_, static_cast<int32_t>(i));
    place_branches(*placement_, state_.prepared->graph.nodes[i]);
    placement_->forget_files(static_cast<int32_t>(i), before);
  }

  // The branches of the node that was placed last.
  void place_branches(Placement& around, const Node& node) {
    for (auto& [key, attribute] : around.graph.nodes.back().attributes) {
      auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute);
      if (!sub) continue;
      // As it is in the prepared graph, which plans know it by.
      const Graph& inner = *std::get<std::shared_ptr<Graph>>(*node.attribute(key));
      const auto plan = state_.branches.find(&inner);
      if (plan == state_.branches.end()) continue;
      Placement placement(inner, plan->second, branch_config_, {}, placement_->pool());
      for (size_t i = 0; i < inner.nodes.size(); ++i) {
        const size_t before = placement.graph.nodes.size();
        scheme_of_branches(*state_.scheme, branch_config_).place(placement, static_cast<int32_t>(i));
        place_branches(placement, inner.nodes[i]);
        placement.forget_files(static_cast<int32_t>(i), before);
      }
      placement.finish();
      state_.branch_weights[&inner] = std::move(placement.weights);
      *sub = std::make_shared<Graph>(std::move(placement.graph));
    }
  }

  void end() override {
    placement_->finish();
    if (!state_.branches.empty()) hoist_shared_weights(placement_->graph);
    auto result = std::make_shared<Model>();
    result->opsets = state_.prepared->opsets;
    result->producer_name = state_.prepared->producer_name;
    result->producer_version = state_.prepared->producer_version;
    result->doc_string = state_.prepared->doc_string;
    result->metadata = state_.prepared->metadata;
    result->graph = std::move(placement_->graph);
    state_.result = std::move(result);
    state_.weights = std::move(placement_->weights);
    state_.biases = std::move(placement_->biases);
    for (std::string& w : placement_->warnings) state_.plan.warnings.push_back(std::move(w));
    placement_.reset();
  }

  JobState& state_;
  Config config_, branch_config_;
  std::optional<Placement> placement_;
};

const RegisterStage kPlace({.name = "place",
                            .order = 400,
                            .cost =
                                [](const Workload& w, const Options&, StageCost& cost) {
                                  // Of the largest weight: its codes as 32 bits, and itself where it comes
                                  // out of a file; its result, where that goes into one.
                                  cost.bytes = (w.streams ? 12 : 4) * w.largest_weight;
                                  cost.held = w.streams ? 0 : w.placed;
                                  cost.touched = w.passes;
                                },
                            .make = make_stage<Place>});

}  // namespace
}  // namespace zp::quant
