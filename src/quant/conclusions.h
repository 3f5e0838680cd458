// The sum of a report: where to look first, which trials are worth a choice, and which outputs were lost.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "quant/report.h"

namespace zp::quant {

// The layers, by index: those that lose most by themselves first, in their weights or their outputs.
std::vector<size_t> worst_first(const Report& report);

// The trials, by index, that no other one beats in both bytes and quality: the smallest first.
std::vector<size_t> tradeoff_of(const std::vector<Trial>& trials);

// A sentence where outputs are no longer the float model's answers, with the layer where that begins.
// `result`: the quantized graph.
std::vector<std::string> losses_of(const Report& report, const Graph& result);

}  // namespace zp::quant
