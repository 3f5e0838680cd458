// TensorScatter: writes new steps into a cache [batch, ..., most steps, ...], for each sequence of the batch
// from where it says.
#include <cstring>

#include "core/grain.h"
#include "ops/moving.h"

namespace zp {
namespace {

size_t axis_of(const InferContext& c) {
  const int axis = c.axis(c.ints("axis", -2), c.rank(0));
  c.require(axis > 0, "the axis is that of the batch");
  return static_cast<size_t>(axis);
}

void infer(InferContext& c) {
  const std::string mode = c.node().string_attribute("mode", "linear");
  if (mode != "linear" && mode != "circular") c.fail(ErrorCode::kInvalidModel, {"mode is '", mode, "'"});
  const SymShape *cache = c.shape(0), *update = c.shape(1), *from = c.shape(2);
  if (cache) {
    const size_t axis = axis_of(c);
    c.require(!from || fits({(*cache)[0]}, *from), "there is not one index for each sequence");
    if (update) {
      SymShape wanted = *cache;
      if (update->size() == cache->size()) wanted[axis] = (*update)[axis];
      const Dim &most = (*cache)[axis], &steps = wanted[axis];
      c.require(fits(wanted, *update) && !(most.known() && steps.known() && steps.value() > most.value()),
                {"an update of shape ", *update, " does not fit a cache of shape ", *cache});
    }
  }
  infer_same(c);
}

std::string outside(int64_t index, int64_t steps) {
  return Text{"steps are written from ", index, " on, in a cache of ", steps}.str();
}

Kernel prepare(PrepareContext& c) {
  const Shape &cache = c.dims(0), &update = c.dims(1);
  const int64_t given = c.node().int_attribute("axis", -2);
  const auto axis = static_cast<size_t>(given < 0 ? given + std::ssize(cache) : given);
  const bool circular = c.node().string_attribute("mode", "linear") == "circular";
  const int64_t batch = cache[0], rows = element_count(cache, 1, axis), most = cache[axis],
                steps = update[axis];
  const auto bytes = element_count(cache, axis + 1, cache.size()) * static_cast<int64_t>(element_bytes(c, 0));
  const bool has_from = c.has_input(2), wide = has_from && c.dtype(2) == DType::kInt64;
  c.in_place(0);
  return [=](const RunContext& run) {
    if (most * bytes == 0) return;  // there may be any number of rows of nothing
    run.parallel_range(batch * rows, grain_for({.bytes = most * bytes}), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        std::byte* to = run.outputs[0] + row * most * bytes;
        const std::byte *in = run.inputs[0] + row * most * bytes, *news = run.inputs[1] + row * steps * bytes;
        if (in != to) std::memcpy(to, in, static_cast<size_t>(most * bytes));
        const int64_t sequence = row / rows;
        int64_t from = 0;
        if (has_from) from = wide ? run.in<int64_t>(2)[sequence] : run.in<int32_t>(2)[sequence];
        if (circular) {
          from %= most;
          if (from < 0) from += most;
        } else if (from < 0 || from > most - steps) {
          run.fault->report(2, sequence, from, most, outside);
          continue;
        }
        for (int64_t step = 0; step < steps; ++step) {
          const int64_t at = from + step < most ? from + step : from + step - most;
          std::memcpy(to + at * bytes, news + step * bytes, static_cast<size_t>(bytes));
        }
      }
    });
  };
}

constexpr OpDef kTensorScatter = {.name = "TensorScatter",
                                  .inputs = "past_cache update write_indices?",
                                  .opsets = "24AbqQGme",
                                  .since = 24,
                                  .types = "TTi",
                                  .infer = infer,
                                  .prepare = prepare,
                                  .quant = {.why_float = "has no form for integers here"}};
const RegisterOps kRegistered({&kTensorScatter});

}  // namespace
}  // namespace zp
