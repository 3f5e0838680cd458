// The model's graph, copied (tensors are shared) and simplified: batch norms folded, patterns written as the
// operator that they are.
#include "core/error.h"
#include "ops/infer.h"
#include "ops/rewrite.h"
#include "quant/qdq.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

class Prepare : public PiecewiseStage {
 public:
  Prepare(JobState& state, Options) : state_(state) {}

 private:
  size_t start() override {
    if (is_quantized(state_.source->graph)) {
      throw_error(ErrorCode::kInvalidArgument, "the model is quantized already",
                  {.hint = "start from the float model it was made from"});
    }
    require_supported(state_.source->graph);
    return 1;
  }
  void piece(size_t) override {
    const Model& source = *state_.source;
    auto prepared = std::make_shared<Model>();
    prepared->opsets = source.opsets;
    prepared->producer_name = source.producer_name;
    prepared->producer_version = source.producer_version;
    prepared->doc_string = source.doc_string;
    prepared->metadata = source.metadata;
    prepared->graph = clone(source.graph);
    simplify(prepared->graph);
    // Reports and precisions speak of nodes by name.
    for (Node& n : prepared->graph.nodes)
      if (n.name.empty() && n.output(0) != kNoValue) n.name = prepared->graph[n.output(0)].name;
    state_.prepared = std::move(prepared);
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
