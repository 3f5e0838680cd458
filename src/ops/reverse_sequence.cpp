// ReverseSequence: the first steps of each sequence of a batch backwards, as many as its length says; the
// rest as it is.
#include <cstring>

#include "core/grain.h"
#include "ops/gradient.h"
#include "ops/moving.h"

namespace zp {
namespace {

void infer(InferContext& c) {
  const int64_t time = c.ints("time_axis", 0), batch = c.ints("batch_axis", 1);
  if (time < 0 || time > 1 || batch != 1 - time)
    c.fail(ErrorCode::kInvalidModel, {"time_axis ", time, " and batch_axis ", batch, " should be 0 and 1"});
  const SymShape *x = c.shape(0), *lengths = c.shape(1);
  c.require(!x || x->size() >= 2, "the input has no dimensions of steps and sequences");
  c.require(!lengths || !x || fits({(*x)[static_cast<size_t>(batch)]}, *lengths),
            "there is not one length for each sequence");
  infer_same(c);
}

std::string too_long(int64_t length, int64_t steps) {
  return Text{"a length of ", length, " for a sequence of ", steps, " steps"}.str();
}

Kernel prepare(PrepareContext& c) {
  const Shape& x = c.dims(0);
  const bool time_first = c.node().int_attribute("time_axis", 0) == 0;
  const int64_t steps = x[time_first ? 0 : 1], sequences = x[time_first ? 1 : 0];
  const int64_t bytes = element_count(x, 2, x.size()) * static_cast<int64_t>(element_bytes(c, 0));
  const bool wide = c.dtype(1) == DType::kInt64;
  return [=](const RunContext& run) {
    run.parallel_range(sequences, grain_for({.bytes = steps * bytes}), [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        int64_t length = wide ? run.in<int64_t>(1)[s] : run.in<int32_t>(1)[s];
        if (length < 0 || length > steps) {
          run.fault->report(1, s, length, steps, too_long);
          length = 0;
        }
        const int64_t first = (time_first ? s : s * steps) * bytes,
                      step = (time_first ? sequences : 1) * bytes;
        for (int64_t t = 0; t < steps; ++t) {
          const int64_t from = t < length ? length - 1 - t : t;
          std::memcpy(run.outputs[0] + first + t * step, run.inputs[0] + first + from * step,
                      static_cast<size_t>(bytes));
        }
      }
    });
  };
}

void gradient(Gradient& g) { give_moved(g); }

constexpr OpDef kReverseSequence = {.name = "ReverseSequence",
                                    .inputs = "input sequence_lens",
                                    .opsets = "10A 28b",
                                    .since = 10,
                                    .types = "Ti",
                                    .infer = infer,
                                    .prepare = prepare,
                                    .quant = {.kind = QuantRule::Kind::kSameScale},
                                    .gradient = gradient};
const RegisterOps kRegistered({&kReverseSequence});

}  // namespace
}  // namespace zp
