// From what a job decided and did to the report that users read.
#pragma once

#include <map>

#include "graph/graph.h"
#include "quant/report.h"
#include "quant/stage.h"

namespace zp::quant {

// The graph with the shapes of one sample's feeds, so that models with open dimensions have costs too. No
// feeds: as it is.
Graph with_shapes(const Graph& prepared, const std::map<ValueId, Shape>& fed);

// How many scales a weight gets.
int64_t scale_count(const Tensor& t, const Grouping& g);

// Works for a job that only got as far as its plan, too: what is not known yet stays empty.
Report build_report(const JobState& state);

}  // namespace zp::quant
