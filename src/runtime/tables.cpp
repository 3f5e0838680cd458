#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "core/grain.h"
#include "kernels/elementwise/table.h"
#include "runtime/assembler.h"

namespace zp::runtime {

using kernels::kTableSize;

Kernel Assembler::table_kernel(const PlanNode& n, const NodeIo& io) {
  constexpr auto kSize = static_cast<int64_t>(kTableSize);
  const auto value = [&](ValueId v) -> const PlanValue& { return s_.values[static_cast<size_t>(v)]; };
  std::map<ValueId, Tensor> made;
  const ValueId from = n.node.inputs[0];
  Tensor& all = made.emplace(from, Tensor(value(from).dtype, {kSize})).first->second;
  for (size_t i = 0; i < kTableSize; ++i) all.mutable_raw()[i] = static_cast<std::byte>(i);
  for (const TableStep& step : n.table) {
    PlanNode plain;
    plain.node = step.node;
    plain.def = step.def;
    plain.clamp = step.clamp;
    plain.in_quant.resize(step.node.inputs.size());
    // A number may be written with more dimensions than the 256 values have here.
    std::vector<Tensor> constants(step.node.inputs.size());
    std::vector<const Tensor*> inputs(step.node.inputs.size(), nullptr);
    int64_t count = 1;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const ValueId v = step.node.inputs[i];
      if (v == kNoValue) continue;
      if (const auto found = made.find(v); found != made.end()) {
        inputs[i] = &found->second;
        count = std::max(count, found->second.size());
      } else {
        const Tensor& constant = *value(v).constant;
        constants[i] = constant.size() == 1 ? constant.reshaped({}) : constant;
        inputs[i] = &constants[i];
      }
    }
    const ValueId out = step.node.outputs[0];
    const Shape dims = count == 1 ? Shape{} : Shape{kSize};
    const PlanValue result{
        .dtype = value(out).dtype, .dims = dims, .known = true, .constant = {}, .content = {}};
    made[out] = std::move(evaluate(plain, inputs, {result})[0]);
  }
  std::array<uint8_t, kTableSize> table;
  std::memcpy(table.data(), made.at(n.node.outputs[0]).raw(), kTableSize);
  const int64_t count = element_count(io.out[0]->dims);
  return [table, count](const RunContext& r) {
    r.parallel_range(count, grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      kernels::look_up(table.data(), r.in<uint8_t>(0) + begin, r.out<uint8_t>(0) + begin,
                       static_cast<size_t>(end - begin));
    });
  };
}

}  // namespace zp::runtime
