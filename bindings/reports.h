// The findings of jobs, as JavaScript sees them.
#pragma once

#include <vector>

#include "answers.h"
#include "quant/findings.h"
#include "quant/report.h"

namespace zp::bindings {

val spread_of(const quant::ChannelSpread& s);
val findings_of(const std::vector<quant::Finding>& findings);
val report_of(const quant::Report& report);
val layer_error_of(const quant::LayerError& error);

}  // namespace zp::bindings
