// Findings: faults of a layer, and the options that help, as data. They are rules over the numbers of its
// report. The package has the words (bindings/ts/findings.ts).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
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

// A value for an option, as the command line takes it.
struct Remedy {
  std::string_view option, value;  // empty: this layer
};

struct Finding {
  std::string_view code;
  std::vector<std::pair<std::string_view, double>> numbers;  // by name, for the words
  std::vector<Remedy> remedies;                              // in the order in which the words name them
  double operator[](std::string_view number) const;          // NaN where there is no such number
};

// `float_activations`: only its weights are quantized. `depthwise`: each output channel has an input of its
// own.
std::vector<Finding> findings_of(const WeightReport& weight, bool float_activations, bool depthwise);
std::vector<Finding> findings_of(const LayerError& error);

}  // namespace zp::quant
