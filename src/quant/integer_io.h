// Models that take or give integers (Config::quantized_inputs, quantized_outputs), beside float ones.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "quant/numbers.h"
#include "runtime/session.h"

namespace zp::quant {

using EdgeParams = std::map<std::string, QParams, std::less<>>;  // by name of input or output

// What the model's integer inputs mean: the quantization of the DQ that reads them. Likewise outputs: of the
// Q that makes them. Float ones, and those of other models' own integers, are absent; but of inputs in
// float16 this says so, since callers have float32.
EdgeParams integer_inputs(const Graph& graph);
EdgeParams integer_outputs(const Graph& graph);

// Float feeds as the integers that the model wants.
std::vector<runtime::Feed> quantize_feeds(const EdgeParams& inputs, std::vector<runtime::Feed> feeds);

}  // namespace zp::quant
