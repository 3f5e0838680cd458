// What is wrong with a layer, in plain words, and the option that helps: rules over the numbers of its
// report.
#pragma once

#include <string>
#include <vector>

#include "quant/numbers.h"

namespace zp::quant {

struct WeightReport;
struct LayerError;

// How far the ranges of channels lie apart, where one scale serves them all.
struct ChannelSpread {
  double ratio = 1;      // of the largest range to the median one
  int64_t channel = -1;  // that has the largest; -1: there are no channels
};
// `largest`: the largest magnitude of each channel. Channels that are always 0 do not count.
ChannelSpread spread_of(std::vector<float> largest);

// `op`: what the layer is called. `float_activations`: only its weights are quantized. `depthwise`: each
// output channel has an input of its own.
std::vector<std::string> findings_of(const WeightReport& weight, const std::string& op,
                                     bool float_activations, bool depthwise);
std::vector<std::string> findings_of(const LayerError& error);

}  // namespace zp::quant
