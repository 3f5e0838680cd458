// Builds the quantized graph, a node at a time: quantizing a weight is what takes long.
#include <optional>

#include "quant/stage.h"

namespace zp::quant {
namespace {

class Place : public PiecewiseStage {
 public:
  Place(JobState& state, Options) : state_(state) {}

 private:
  size_t start() override {
    placement_.emplace(state_.prepared->graph, state_.plan, state_.config, state_.params);
    return state_.prepared->graph.nodes.size();
  }
  void piece(size_t i) override { state_.scheme->place(*placement_, static_cast<int32_t>(i)); }
  void end() override {
    placement_->finish();
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
  std::optional<Placement> placement_;
};

const RegisterStage kPlace({.name = "place",
                            .order = 400,
                            .make = [](JobState& s, Options o) -> std::unique_ptr<Stage> {
                              return std::make_unique<Place>(s, std::move(o));
                            }});

}  // namespace
}  // namespace zp::quant
