// The scheme's plan of what becomes of each node.
#include "quant/stage.h"

namespace zp::quant {
namespace {

class Decide : public PiecewiseStage {
 public:
  Decide(JobState& state, Options) : state_(state) {}

 private:
  size_t start() override { return 1; }
  void piece(size_t) override {
    Planner planner(state_.prepared->graph, state_.config);
    state_.scheme->decide(planner);
    state_.plan = std::move(planner.plan);
  }

  JobState& state_;
};

const RegisterStage kDecide({.name = "decide",
                             .order = 200,
                             .make = [](JobState& s, Options o) -> std::unique_ptr<Stage> {
                               return std::make_unique<Decide>(s, std::move(o));
                             }});

}  // namespace
}  // namespace zp::quant
