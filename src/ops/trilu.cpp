// Trilu: the upper or lower triangle of matrices; the rest becomes zero.
#include <algorithm>
#include <cstring>

#include "core/grain.h"
#include "ops/moving.h"
#include "ops/op.h"

namespace zp {
namespace {

void infer_trilu(InferContext& c) {
  c.require(c.rank(0) < 0 || c.rank(0) >= 2, "the input is not a matrix");
  infer_same(c);
}

Kernel prepare_trilu(PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const int64_t rows = dims[dims.size() - 2], columns = dims.back();
  const int64_t matrices = element_count(dims, 0, dims.size() - 2);
  const bool upper = c.node().int_attribute("upper", 1) != 0;
  const auto bytes = static_cast<int64_t>(element_bytes(c, 0));
  const bool has_k = c.has_input(1);
  return [=](const RunContext& run) {
    const int64_t k = std::clamp<int64_t>(has_k ? *run.in<int64_t>(1) : 0, -rows, columns);
    run.parallel_range(
        matrices * rows, grain_for({.bytes = columns * bytes}), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            const std::byte* in = run.inputs[0] + r * columns * bytes;
            std::byte* out = run.outputs[0] + r * columns * bytes;
            // The diagonal belongs to both triangles.
            const int64_t split = std::clamp<int64_t>(r % rows + k + (upper ? 0 : 1), 0, columns) * bytes;
            const int64_t row = columns * bytes;
            if (upper) {
              std::memset(out, 0, static_cast<size_t>(split));
              std::memcpy(out + split, in + split, static_cast<size_t>(row - split));
            } else {
              std::memcpy(out, in, static_cast<size_t>(split));
              std::memset(out + split, 0, static_cast<size_t>(row - split));
            }
          }
        });
  };
}

constexpr OpDef kTrilu = {.name = "Trilu",
                          .inputs = "input k?",
                          .opsets = "14Ab",
                          .since = 14,
                          .types = "Ti",
                          .infer = infer_trilu,
                          .prepare = prepare_trilu,
                          .quant = {.why_float = "makes masks, not activations"}};
const RegisterOps kRegistered({&kTrilu});

}  // namespace
}  // namespace zp
