// Unique: the elements (or the slices along an axis) that a value has, each once. How many there are decides
// the shape of the outputs, so the value is a shape argument: the rest of a plan waits for it.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/elements.h"
#include "ops/cast.h"
#include "ops/moving.h"

namespace zp {
namespace {

// Integers in the order of the elements, equal for equal ones. NaNs are equal, and the largest.
std::vector<int64_t> keys_of(const Tensor& x) {
  const auto count = static_cast<size_t>(x.size());
  std::vector<int64_t> keys(count);
  const DType type = x.dtype();
  if (type == DType::kString) {
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    const auto text = [&](size_t i) { return string_at(x.raw(), static_cast<int64_t>(i)); };
    std::sort(order.begin(), order.end(), [&](size_t i, size_t j) { return text(i) < text(j); });
    for (size_t i = 1; i < count; ++i)
      keys[order[i]] = keys[order[i - 1]] + (text(order[i]) != text(order[i - 1]) ? 1 : 0);
  } else if (is_float(type)) {
    std::vector<double> values(count);
    load_elements(x.raw(), type, 0, x.size(), values.data());
    // The bits of positive floats are in order already, those of negative ones in reverse.
    std::transform(values.begin(), values.end(), keys.begin(), [](double v) {
      const auto bits = std::bit_cast<int64_t>(v);
      return std::isnan(v) ? INT64_MAX : bits < 0 ? -(bits & INT64_MAX) : bits;
    });
  } else {
    load_elements(x.raw(), type, 0, x.size(), keys.data());
    if (type == DType::kUint64)
      for (int64_t& key : keys) key ^= INT64_MIN;
  }
  return keys;
}

// x as [outer][length][inner], of which `length` slices are compared; without an axis, elements are.
struct Slices {
  int64_t outer = 1, length, inner = 1;
  std::optional<size_t> axis;

  Slices(const Tensor& x, const Node& n) : length(x.size()) {
    if (!n.attribute("axis")) return;
    const int64_t given = n.int_attribute("axis", 0), rank = std::ssize(x.dims());
    axis = static_cast<size_t>(given < 0 ? given + rank : given);
    outer = element_count(x.dims(), 0, *axis);
    length = x.dims()[*axis];
    inner = element_count(x.dims(), *axis + 1, x.dims().size());
  }
};

enum : size_t { kValues, kFirst, kInverse, kCounts, kOutputs };
using Found = std::array<Tensor, kOutputs>;

Tensor list_of(const std::vector<int64_t>& values) {
  return Tensor::of<int64_t>({std::ssize(values)}, values);
}

Found find(const Tensor& x, const Node& n) {
  const Slices s(x, n);
  const std::vector<int64_t> keys = keys_of(x);
  // Below 0, 0, above 0: slice i comes before j, is equal, comes after it.
  const auto compare = [&](int64_t i, int64_t j) -> int {
    if (keys.empty()) return 0;
    for (int64_t o = 0; o < s.outer; ++o) {
      for (int64_t k = 0; k < s.inner; ++k) {
        const auto at = [&](int64_t slice) {
          return keys[static_cast<size_t>((o * s.length + slice) * s.inner + k)];
        };
        if (at(i) != at(j)) return at(i) < at(j) ? -1 : 1;
      }
    }
    return 0;
  };
  std::vector<int64_t> order(static_cast<size_t>(s.length)), group(order.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    const int c = compare(i, j);
    return c != 0 ? c < 0 : i < j;
  });
  std::vector<int64_t> first;  // of each group, the lowest index
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || compare(order[i - 1], order[i]) != 0) first.push_back(order[i]);
    group[static_cast<size_t>(order[i])] = std::ssize(first) - 1;
  }
  if (n.int_attribute("sorted", 1) == 0) {  // in the order in which they come
    std::vector<int64_t> rank(first.size());
    std::sort(first.begin(), first.end());
    for (size_t i = 0; i < first.size(); ++i)
      rank[static_cast<size_t>(group[static_cast<size_t>(first[i])])] = static_cast<int64_t>(i);
    for (int64_t& g : group) g = rank[static_cast<size_t>(g)];
  }
  std::vector<int64_t> counts(first.size());
  for (const int64_t g : group) ++counts[static_cast<size_t>(g)];

  Shape dims{std::ssize(first)};
  if (s.axis) {
    dims = x.dims();
    dims[*s.axis] = std::ssize(first);
  }
  Tensor values(x.dtype(), dims);
  const auto bytes = static_cast<size_t>(s.inner) * static_cast<size_t>(bits_of(x.dtype()) / 8);
  std::byte* to = values.mutable_raw();
  for (int64_t o = 0; values.size() > 0 && o < s.outer; ++o) {
    for (const int64_t i : first) {
      std::memcpy(to, x.raw() + static_cast<size_t>(o * s.length + i) * bytes, bytes);
      to += bytes;
    }
  }
  // Strings are addresses: they need an owner.
  if (x.dtype() == DType::kString) values = Tensor::copy_of(values.view());
  return {std::move(values), list_of(first), list_of(group), list_of(counts)};
}

void infer(InferContext& c) {
  const SymShape* x = c.shape(0);
  std::optional<size_t> axis;
  if (c.node().attribute("axis") && x) axis = static_cast<size_t>(c.axis(c.ints("axis", 0), c.rank(0)));
  if (const Tensor* value = c.shape_argument(0)) {
    if (bits_of(value->dtype()) < 8)
      c.fail(ErrorCode::kUnsupportedType,
             {"elements of type ", name_of(value->dtype()), " are not supported"});
    // There may be any number of slices of nothing.
    c.require(value->size() > 0 || !axis || value->dims()[*axis] < int64_t{1} << 24,
              {"an input of shape ", value->dims(), " has too many slices"});
    Found found = find(*value, c.node());
    for (size_t i = 0; i < kOutputs; ++i)
      if (c.has_output(i)) c.output(i, std::move(found[i]));
    return;
  }
  for (size_t i = kFirst; i < kOutputs; ++i)
    if (c.has_output(i)) c.output(i, DType::kInt64, {Dim()});
  if (!c.node().attribute("axis")) return c.output(0, c.dtype(0), {Dim()});
  if (!x) return c.output(0, c.dtype(0));
  SymShape out = *x;
  out[*axis] = Dim();
  c.output(0, c.dtype(0), std::move(out));
}

Kernel prepare(PrepareContext& c) {
  const Tensor* x = c.constant(0);
  if (!x) c.fail(ErrorCode::kUnsupportedOperator, "the input is only known while the model runs");
  std::array<bool, kOutputs> wanted = {};
  for (size_t i = 0; i < kOutputs; ++i) wanted[i] = c.has_output(i);
  return [found = find(*x, c.node()), wanted](const RunContext& run) {
    for (size_t i = 0; i < kOutputs; ++i)
      if (wanted[i]) std::memcpy(run.outputs[i], found[i].raw(), found[i].bytes());
  };
}

// com.microsoft: of a list, in the order in which they come. Outputs: the values, where each element is in
// them, how many there are.
void expand_microsoft(Canonicalize& c) {
  Node n = c.node;
  n.domain.clear();
  n.attributes.insert_or_assign("sorted", int64_t{0});
  n.outputs = {c.node.output(0), kNoValue, c.node.output(1), c.node.output(2)};
  while (n.outputs.back() == kNoValue) n.outputs.pop_back();
  c.nodes.push_back(std::move(n));
}

constexpr OpDef kUnique = {.name = "Unique",
                           .opsets = "11A 28b",
                           .since = 11,
                           .infer = infer,
                           .prepare = prepare,
                           .quant = {.why_float = "gives a list, not activations"}};
constexpr OpDef kOfMicrosoft = {
    .domain = kMicrosoft, .name = "Unique", .inputs = "x", .canonicalize = expand_microsoft};
const RegisterOps kRegistered({&kUnique, &kOfMicrosoft});

}  // namespace
}  // namespace zp
