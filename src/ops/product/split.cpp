#include "ops/product/split.h"

#include <algorithm>

#include "kernels/gemm/weight_only.h"

namespace zp {
namespace {

// Below this many multiply-accumulates a piece costs more to hand to a thread than to compute.
constexpr double kSmallestPiece = 64 * 1024;

int tiles(int count, int tile) { return (count + tile - 1) / tile; }

// Cuts [0, count) into `pieces` of whole tiles, the last of which has the rest too; the end of piece `i`.
// There are at most whole_tiles(count, tile) pieces.
int whole_tiles(int count, int tile) { return std::max(1, count / tile); }
int cut(int count, int tile, int pieces, int i) {
  return i == pieces ? count : static_cast<int>(int64_t{whole_tiles(count, tile)} * i / pieces) * tile;
}

// Float sums are split among more accumulators where a register tile has few rows, so rows are cut where
// every tile height that a build uses (4, 6) begins anew: then a row has the same neighbours, and the same
// bits, in every split.
constexpr int kRowCut = 12;
static_assert(kRowCut >= kernels::kFewRows);

}  // namespace

// Rows are cut first: pieces with the same columns share the packed weights, pieces with the same rows gather
// them anew.
std::vector<ProductTask> split_product(const Product& product, int threads) {
  const auto parts = static_cast<int>(product.parts.size());
  std::vector<ProductTask> tasks;
  for (int p = 0; p < parts; ++p) {
    const ProductPart& part = product.parts[static_cast<size_t>(p)];
    const kernels::WeightLayout& w = product.weights[static_cast<size_t>(part.weights)].layout;
    if (part.rows <= 0 || w.columns <= 0) continue;
    int pieces = 1;
    if (threads > 1 && parts < threads * 3) {
      const double macs = static_cast<double>(part.rows) * w.columns * std::max(1, w.depth());
      pieces = static_cast<int>(std::min<double>(tiles(threads * 3, parts), 1 + macs / kSmallestPiece));
    }
    const int row_pieces = std::min(pieces, whole_tiles(part.rows, kRowCut));
    const int column_pieces =
        std::min(tiles(pieces, row_pieces), whole_tiles(w.columns, kernels::kColumnTile));
    for (int r = 0; r < row_pieces; ++r) {
      for (int c = 0; c < column_pieces; ++c) {
        tasks.push_back({p,
                         {cut(part.rows, kRowCut, row_pieces, r), cut(part.rows, kRowCut, row_pieces, r + 1),
                          cut(w.columns, kernels::kColumnTile, column_pieces, c),
                          cut(w.columns, kernels::kColumnTile, column_pieces, c + 1)}});
      }
    }
  }
  return tasks;
}

}  // namespace zp
