// How the work of a product is cut into pieces for the threads.
#pragma once

#include <vector>

#include "ops/product/product.h"

namespace zp {

// Rows and columns of one part, which one thread computes.
struct ProductTask {
  int part;
  kernels::OutputRange range;
};

std::vector<ProductTask> split_product(const Product& product, int threads);

}  // namespace zp
