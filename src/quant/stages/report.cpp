// Says what was done.
#include "quant/report_builder.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

class MakeReport : public PiecewiseStage {
 public:
  explicit MakeReport(JobState& state) : state_(state) {}

 private:
  size_t start() override { return 1; }
  void piece(size_t) override { state_.report = build_report(state_); }

  JobState& state_;
};

const RegisterStage kReport({.name = "report", .order = 900, .make = make_stage<MakeReport>});

}  // namespace
}  // namespace zp::quant
