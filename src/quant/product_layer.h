// A layer with weights as the matrix product that it is: y = W x, for each group of a convolution, where x is
// a patch of the layer's input. Which weights meet which inputs is found by running the layer with weights of
// zeros and ones, so that any operator with a weight has this form, and none is known by its name.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "ops/op.h"
#include "runtime/session.h"

namespace zp::quant {

struct ProductLayer {
  int64_t groups = 1;
  int64_t rows = 0;              // output channels of a group
  int64_t depth = 0;             // inputs that each of them sums
  int64_t outer = 1, inner = 1;  // of the weight's dimensions, before and after that of output channels

  // nullopt: this layer is no such product (a weight for each element of a batch).
  static std::optional<ProductLayer> of(const Node& node, const Tensor& weight);

  int64_t channels() const { return groups * rows; }
  // Where the weight of output channel m (of all groups) for input k of its group is.
  size_t element(int64_t m, int64_t k) const {
    return static_cast<size_t>((k / inner * channels() + m) * inner + k % inner);
  }
};

// A product alone, without its bias and with another weight.
inline constexpr std::string_view kLayerInput = "x";
std::unique_ptr<runtime::Session> with_weight(const Node& node, Tensor weight, int threads);

// What a layer saw and made, at some positions of some samples.
struct Observations {
  int64_t count = 0;
  std::vector<std::vector<float>> x;  // by group: [count, depth]
  std::vector<float> y;               // [count, channels]: what the float layer made there, without its bias
};

// Collects them, a sample at a time.
class PatchReader {
 public:
  // `most`: positions over all samples.
  PatchReader(const Node& node, const Tensor& weight, const ProductLayer& layer, size_t most, size_t samples,
              int threads);
  // The layer's data input (float32), and its float output.
  void read(const Tensor& input, const Tensor& output, const float* bias);
  Observations release() { return std::move(seen_); }

 private:
  ProductLayer layer_;
  int channel_dim_;
  int64_t most_each_;
  std::unique_ptr<runtime::Session> session_;
  Observations seen_;
  uint32_t random_ = 1;
};

}  // namespace zp::quant
