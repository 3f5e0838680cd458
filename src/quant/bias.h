// Biases: what counts as one, and where the quantized graph has the constants that a layer adds to each of
// its channels, for repairs that move them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "quant/stage.h"

namespace zp::quant {

// Whether a constant of these dimensions is a bias: one number for each of a product's `channels` outputs,
// and no other for any row, batch or position. `own`: it is an input of the product; else it is added to its
// result. A constant may have as many elements as there are channels, and lie along another dimension.
bool is_channel_bias(const Node& product, int weight_rank, int64_t channels, const Shape& dims, bool own);

struct BiasPlace {
  const PlacedBias* integers = nullptr;  // else a float constant:
  int32_t node = -1;                     // of the quantized graph, with the constant as its input `slot`
  size_t slot = 0;
};

// The bias of a layer (a node of the prepared graph, and of the quantized one) with `channels` outputs: its
// own, or what the sum behind it adds. nullopt: there is none that could be moved.
std::optional<BiasPlace> find_bias(const JobState& state, int32_t node, int32_t placed, int64_t channels);

// What it adds by now, a value for each channel.
std::vector<float> bias_values(const JobState& state, const BiasPlace& place);

// Adds the shift, a value for each channel, and gives what was really added.
std::vector<float> move_bias(JobState& state, const BiasPlace& place, const std::vector<double>& shift);

// Each channel's scale times a factor, as that of the layer's weights has become; the values stay.
void rescale_bias(JobState& state, const PlacedBias& bias, const std::vector<double>& factors);

}  // namespace zp::quant
