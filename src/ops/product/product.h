// Matrix products as the operators of this room need them: Conv, ConvTranspose, MatMul, Gemm and their
// integer forms say which products they consist of (groups, phases, batches), and get a kernel that packs the
// weights, splits the work over threads and finishes with the epilogue that the node's quantized edges ask
// for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "ops/product/edges.h"

namespace zp {

// One right matrix: a group's or a phase's weights, one element of a batch.
struct ProductWeights {
  kernels::WeightLayout layout;
  std::ptrdiff_t offset = 0;  // of its first element in the weight input, in elements
  // Its first column among scales, zero points and biases (of a group: group * columns).
  int first_column = 0;
};

// One product: y[m, n] = sum over k of a[m, k] * w[n, k].
struct ProductPart {
  int rows = 0;
  int weights = 0;                            // index into Product::weights
  std::ptrdiff_t input_offset = 0;            // of row 0 (or of the image's first pixel), in elements
  std::ptrdiff_t row_stride = 0;              // plain rows, or
  std::optional<kernels::ConvGeometry> conv;  // patches of an image
  std::ptrdiff_t output_offset = 0;           // of the output's row 0, in elements
  kernels::RowLayout output_rows;
};

struct Product {
  std::vector<ProductPart> parts;
  std::vector<ProductWeights> weights;
  size_t input = 0, weight_input = 1;  // of the node
  std::string cache_kind = "packed";   // tells apart what is packed differently for other shapes
  float alpha = 1;                     // multiplies the sums
  int channel_axis = 0;                // of the weight input: counts columns (of all groups)
  // The left matrix is stored [k, m]: transposed in scratch before each run.
  struct Transposed {
    int64_t from_rows, from_columns;
  };
  std::optional<Transposed> transposed;
  // Float only: fills the whole output, to which the sums are then added (a C that is no vector of columns).
  Kernel initialize;
};

// Kernels. `columns`: of all scales and biases.
Kernel float_product(PrepareContext& c, Product product, FloatBias bias);
Kernel integer_product(PrepareContext& c, Product product, Operand8 input, Weights8 weights,
                       Epilogue8 epilogue);
// Float activations, quantized constant weights of one part, in place or dequantized when they are packed.
Kernel weight_only_product(PrepareContext& c, Product product, FloatBias bias);
// Rows times matrices of types that models rarely have: float64, and integers of 32 and 64 bits, which wrap.
// Throws kUnsupportedType for others. C of Gemm: input 2, broadcast to [rows, columns] and multiplied by
// `beta`.
Kernel plain_product(PrepareContext& c, const Product& product, double beta = 1);
// The one of these that the types of the edges need.
Kernel any_product(PrepareContext& c, Product product, int columns);

// Throws kUnsupportedOperator where a size does not fit the kernels' int.
int int_of(int64_t value);

}  // namespace zp
