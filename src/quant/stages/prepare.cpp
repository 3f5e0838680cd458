// The model as everybody computes with it (runtime/prepare.h), for the other stages to work on.
#include "runtime/prepare.h"

#include "ops/infer.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

class Prepare : public PiecewiseStage {
 public:
  Prepare(JobState& state, Options) : state_(state) {}

 private:
  size_t start() override {
    if (state_.scheme->trains) require_supported(state_.source->graph);
    return 1;
  }
  void piece(size_t) override {
    // A copy (tensors are shared), which repairs may change.
    const std::shared_ptr<const Model> ready = runtime::prepared(state_.source);
    auto own = std::make_shared<Model>(*ready);
    own->graph = clone(ready->graph);
    state_.prepared = std::move(own);
  }

  JobState& state_;
};

const RegisterStage kPrepare({.name = "prepare",
                              .order = 0,
                              .make = [](JobState& s, Options o) -> std::unique_ptr<Stage> {
                                return std::make_unique<Prepare>(s, std::move(o));
                              }});

}  // namespace
}  // namespace zp::quant
