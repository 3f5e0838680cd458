// The model as everybody computes with it (runtime/prepare.h), for the other stages to work on.
#include "runtime/prepare.h"

#include "ops/infer.h"
#include "quant/estimate.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

class Prepare : public PiecewiseStage {
 public:
  explicit Prepare(JobState& state) : state_(state) {}

 private:
  size_t start() override {
    if (state_.scheme->trains) require_supported(state_.source->graph);
    return 1;
  }
  void piece(size_t) override {
    // A copy (tensors are shared), which repairs may change.
    const std::shared_ptr<const Model> ready = prepared();
    auto own = std::make_shared<Model>(*ready);
    own->graph = clone(ready->graph);
    state_.prepared = std::move(own);
  }

  // Where all that computes learns, the pieces of fused operators do so too.
  std::shared_ptr<const Model> prepared() const {
    if (!state_.scheme->trains || !state_.source->keeps_fused) return runtime::prepared(state_.source);
    Model split = *state_.source;
    split.keeps_fused = false;
    return runtime::prepared_anew(split);
  }

  JobState& state_;
};

const RegisterStage kPrepare({.name = "prepare",
                              .order = 0,
                              .cost =
                                  [](const Workload& w, const Options&, StageCost& cost) {
                                    cost.held = w.folded;
                                    cost.touched = w.folded / 4;
                                  },
                              .make = make_stage<Prepare>});

}  // namespace
}  // namespace zp::quant
