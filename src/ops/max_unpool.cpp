// MaxUnpool: puts the values of a MaxPool back where they came from; the rest is zero. Places are positions
// in the output, as if it were a list.
#include <algorithm>
#include <numeric>

#include "core/elements.h"
#include "ops/moving.h"
#include "ops/shape_arguments.h"
#include "ops/unary.h"

namespace zp {
namespace {

// The smallest shape from which pooling makes x.
std::optional<SymShape> pooled_from(const InferContext& c) {
  const SymShape* x = c.shape(0);
  const std::vector<int64_t> kernel = c.node().ints_attribute("kernel_shape");
  const size_t n = kernel.size();
  const std::vector<int64_t> strides = c.node().ints_attribute("strides", std::vector<int64_t>(n, 1)),
                             pads = c.node().ints_attribute("pads", std::vector<int64_t>(2 * n, 0));
  const auto within = [](const std::vector<int64_t>& v, int64_t lo) {
    return std::all_of(v.begin(), v.end(), [&](int64_t k) { return k >= lo && k <= int64_t{1} << 30; });
  };
  if (n == 0 || strides.size() != n || pads.size() != 2 * n || !within(kernel, 1) || !within(strides, 1) ||
      !within(pads, 0)) {
    c.fail(ErrorCode::kInvalidModel, "kernel_shape, strides or pads are missing or out of range");
  }
  if (!x) return std::nullopt;
  c.require(x->size() == n + 2, {"kernel_shape ", kernel, " does not fit an input of shape ", *x});
  SymShape out = *x;
  for (size_t i = 0; i < n; ++i) {
    if (!(*x)[i + 2].known()) {
      out[i + 2] = Dim();
      continue;
    }
    const int64_t length = ((*x)[i + 2].value() - 1) * strides[i] + kernel[i] - pads[i] - pads[i + n];
    c.require(length >= 0, {"pads ", pads, " leave nothing of an input of shape ", *x});
    out[i + 2] = length;
  }
  return out;
}

void infer(InferContext& c) {
  const SymShape *x = c.shape(0), *places = c.shape(1);
  c.require(!x || !places || fits(*x, *places), "there is not one place for each value");
  auto least = pooled_from(c);
  if (c.has_input(2)) {
    const auto given = shape_integers(c, 2);
    if (!given) return x ? c.output(0, c.dtype(0), SymShape(x->size())) : c.output(0, c.dtype(0));
    c.require(!x || given->size() == x->size(), {"an output of shape ", *given, " for the input's rank"});
    SymShape out;
    for (const int64_t n : *given) {
      c.require(n >= 0 && n <= kLargestDim, {"an output of shape ", *given});
      out.emplace_back(n);
    }
    const auto fewest = least ? concrete(*least) : std::nullopt;
    c.require(!fewest || ((*given)[0] == (*fewest)[0] && (*given)[1] == (*fewest)[1] &&
                          element_count(*given) >= element_count(*fewest)),
              {"an output of shape ", *given, " for an input of shape ", *x});
    return c.output(0, c.dtype(0), std::move(out));
  }
  if (least) return c.output(0, c.dtype(0), std::move(*least));
  c.output(0, c.dtype(0));
}

std::string outside(int64_t place, int64_t size) {
  return Text{"place ", place, " is outside an output of ", size, " elements"}.str();
}

Kernel prepare(PrepareContext& c) {
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  const int64_t count = element_count(c.dims(0)), size = element_count(c.out_dims(0));
  const DType type = c.dtype(1);
  return [=](const RunContext& run) {
    float* y = run.out<float>(0);
    std::fill_n(y, size, 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      int64_t place;
      load_elements(run.inputs[1], type, i, 1, &place);
      if (place >= 0 && place < size) {
        y[place] = run.in<float>(0)[i];
      } else {
        run.fault->report(1, i, place, size, outside);
      }
    }
  };
}

constexpr OpDef kMaxUnpool = {.name = "MaxUnpool",
                              .inputs = "X I output_shape?",
                              .opsets = "9F 22b",
                              .since = 9,
                              .types = "Tii",
                              .infer = infer,
                              .prepare = prepare,
                              .quant = {.why_float = "has no form for integers here"}};
const RegisterOps kRegistered({&kMaxUnpool});

}  // namespace
}  // namespace zp
