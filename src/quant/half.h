// Graphs whose values are float16, not their weights alone: which nodes compute in it, and the graph with
// Casts where float16 meets float32.
//
// By rules, a node stays float32 where its operator has no form for float16, where float16 cannot hold a
// constant that it reads, or loses it (with nodes that rely on that constant: the division after an epsilon),
// where its result becomes an integer or an argument that is float32, and where it is a function of an angle.
// A node that only moves values has the type of its input. A small node between float32 layers is float32 as
// well, so that no value goes to float16 and back for nothing.
//
// By samples, a node stays float32 too where its values are too large for float16, or so small that little is
// left of them, where its sums may be too large inside, and where it makes large errors of small ones.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "quant/plan.h"

namespace zp::quant {

// What samples showed of a graph's values.
struct HalfFacts {
  std::vector<float> largest;           // by value: |x|, of what is finite; empty: there were no samples
  std::vector<double> kept_db;          // by value: what rounding it to float16 leaves, in dB; NaN: was all 0
  std::vector<int64_t> count;           // by value: its elements in the first sample
  std::map<ValueId, std::string> wide;  // values that have to stay float32, and why
};

// Sets NodePlan::half of the nodes that compute in float16, and why the others do not.
void decide_halves(Planner& planner, const HalfFacts& facts = {});

// By name of the node; in branches too.
using HalfPlans = std::map<std::string, const NodePlan*, std::less<>>;
void add_plans(HalfPlans& plans, const Graph& graph, const Plan& plan);

// Brings a float32 graph, branches included, to what the plans say. Inputs and outputs stay float32 unless
// `half_inputs`, `half_outputs`: then those that float16 nodes read or make are float16. Gives what is to be
// said of inputs and outputs that stayed float32 nevertheless.
std::vector<std::string> halve(Graph& graph, const HalfPlans& plans, bool half_inputs, bool half_outputs);

}  // namespace zp::quant
