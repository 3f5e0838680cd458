// Which scale the parts of a Concat have. Each may keep its own, since its kernel, as ONNX Runtime's
// QLinearConcat, brings every part to the result's scale. But that rounds a second time and costs a look into
// a table for each element, so that
//
// - a part that nothing else reads takes the result's scale at once: a finer one would be lost in the result;
// - a part that others read as well keeps its own, unless the result's is little wider.
#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include "core/sort.h"
#include "quant/plan.h"

namespace zp::quant {
namespace {

// By how much wider a range may be: rounding to it loses 2 dB.
constexpr double kAlike = 1.25;

double width(const Range& r) {
  return static_cast<double>(std::max(r.max, 0.f)) - static_cast<double>(std::min(r.min, 0.f));
}

}  // namespace

void share_scales(const Planner& planner, Plan& plan, std::vector<Range>& ranges) {
  const size_t count = plan.groups.size();
  const auto group_of = [&](ValueId v) { return v == kNoValue ? -1 : plan.group[static_cast<size_t>(v)]; };
  std::vector<std::set<size_t>> into(count);       // groups that are joined from this one
  std::vector<bool> read_elsewhere(count, false);  // whether others read its integers
  std::vector<int32_t> made(count, std::numeric_limits<int32_t>::max());  // by which node, at first
  for (size_t g = 0; g < count; ++g) {
    for (const ValueId v : plan.groups[g].members) {
      made[g] = std::min(made[g], planner.producer(v));
      if (plan.integer[static_cast<size_t>(v)] && planner.graph.is_output(v)) read_elsewhere[g] = true;
      for (const int32_t i : planner.consumers(v)) {
        const bool integers = planner.reads_integers(plan, i, v);
        if (!integers && !plan.integer[static_cast<size_t>(v)]) continue;
        const int32_t to = integers && planner.kind(i) == QuantRule::Kind::kSameScale
                               ? group_of(planner.node(i).output(0))
                               : -1;
        if (to < 0) {
          read_elsewhere[g] = true;
        } else if (static_cast<size_t>(to) != g) {
          into[g].insert(static_cast<size_t>(to));
        }
      }
    }
  }
  if (std::all_of(into.begin(), into.end(), [](const auto& to) { return to.empty(); })) return;

  // What is joined before its parts.
  std::vector<size_t> order(count), one(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::iota(one.begin(), one.end(), size_t{0});
  sort_small(order, [&](size_t a, size_t b) { return made[a] != made[b] ? made[a] > made[b] : a < b; });
  const auto root = [&](size_t g) {
    while (one[g] != g) g = one[g];
    return g;
  };
  for (const size_t g : order) {
    if (into[g].empty()) continue;
    const size_t to = root(*std::min_element(into[g].begin(), into[g].end(), [&](size_t a, size_t b) {
      return width(ranges[root(a)]) < width(ranges[root(b)]);
    }));
    if (read_elsewhere[g] && width(ranges[to]) > kAlike * width(ranges[g])) continue;
    one[g] = to;
    ranges[to].include(ranges[g]);
  }

  const std::vector<Group> parts = std::exchange(plan.groups, {});
  const std::vector<Range> wider = std::exchange(ranges, {});
  std::vector<int32_t> place(count, -1);
  for (size_t g = 0; g < count; ++g) {
    const size_t r = root(g);
    if (place[r] < 0) {
      place[r] = static_cast<int32_t>(plan.groups.size());
      plan.groups.push_back(
          {.dtype = parts[r].dtype, .members = {}, .observed = {}, .known = parts[r].known});
      ranges.push_back(wider[r]);
    }
    place[g] = place[r];
    Group& group = plan.groups[static_cast<size_t>(place[r])];
    const Group& part = parts[g];
    group.members.insert(group.members.end(), part.members.begin(), part.members.end());
    for (const ValueId v : part.observed)
      if (std::find(group.observed.begin(), group.observed.end(), v) == group.observed.end())
        group.observed.push_back(v);
    if (part.known) {
      if (group.known) {
        group.known->include(*part.known);
      } else {
        group.known = part.known;
      }
    }
  }
  for (int32_t& g : plan.group)
    if (g >= 0) g = place[static_cast<size_t>(g)];
}

}  // namespace zp::quant
