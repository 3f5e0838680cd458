#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "kernels/elementwise/table.h"
#include "runtime/assembler.h"

namespace zp::runtime {

using kernels::kTableSize;

Kernel Assembler::table_kernel(const PlanNode& n, const NodeIo& io) {
  const EdgeQuant& in = *n.in_quant[0];
  const EdgeQuant& out = *n.out_quant;
  Tensor x(DType::kFloat32, {static_cast<int64_t>(kTableSize)});
  const float in_scale = in.scalar_scale();
  const int32_t in_zero = in.scalar_zero_point();
  for (size_t i = 0; i < kTableSize; ++i) {
    const int32_t q = in.dtype == DType::kInt8 ? static_cast<int8_t>(i) : static_cast<int32_t>(i);
    x.mutable_data<float>()[i] = static_cast<float>(q - in_zero) * in_scale;
  }
  for (const TableStep& f : n.table) {
    PlanNode plain;
    plain.node = f.node;
    plain.def = f.def;
    plain.clamp = f.clamp;
    plain.in_quant.resize(f.node.inputs.size());
    // A number may be written with more dimensions than the 256 values have here.
    std::vector<Tensor> constants(f.node.inputs.size());
    std::vector<const Tensor*> inputs(f.node.inputs.size(), nullptr);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (i == f.input) {
        inputs[i] = &x;
      } else if (const ValueId v = f.node.inputs[i]; v != kNoValue) {
        const Tensor& constant = *s_.values[static_cast<size_t>(v)].constant;
        constants[i] = f.def->broadcasts && constant.size() == 1 ? constant.reshaped({1}) : constant;
        inputs[i] = &constants[i];
      }
    }
    const PlanValue result{
        .dtype = DType::kFloat32, .dims = x.dims(), .known = true, .constant = {}, .content = {}};
    std::vector<Tensor> y = evaluate(plain, inputs, {result});
    x = std::move(y[0]);
  }
  const float out_scale = out.scalar_scale();
  const auto out_zero = static_cast<float>(out.scalar_zero_point());
  const IntegerRange range = integer_range(out.dtype);
  std::array<uint8_t, kTableSize> table;
  for (size_t i = 0; i < kTableSize; ++i) {
    const float q = std::nearbyint(x.data<float>()[i] / out_scale) + out_zero;
    // The bound first: of NaN it is the result, as QuantizeLinear's.
    const float clamped = std::min(std::max(static_cast<float>(range.min), q), static_cast<float>(range.max));
    table[i] = static_cast<uint8_t>(static_cast<int32_t>(clamped));
  }
  const int64_t count = element_count(io.out[0]->dims);
  return [table, count](const RunContext& r) {
    r.parallel_range(count, 16384, [&](int64_t begin, int64_t end) {
      kernels::look_up(table.data(), r.in<uint8_t>(0) + begin, r.out<uint8_t>(0) + begin,
                       static_cast<size_t>(end - begin));
    });
  };
}

}  // namespace zp::runtime
