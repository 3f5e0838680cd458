// From what a job decided and did to the report that users read.
#pragma once

#include "quant/report.h"
#include "quant/stage.h"

namespace zp::quant {

// Works for a job that only got as far as its plan, too: what is not known yet stays empty.
Report build_report(const JobState& state);

}  // namespace zp::quant
