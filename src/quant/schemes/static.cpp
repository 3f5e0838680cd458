// Q and DQ on weights and activations, with ranges from calibration.
//
// The values that become integers: the inputs of products (Conv, MatMul, ...), and values between two
// products, behind nodes that have an integer form. A value that no integer node reads is left in float: the
// integer sums of a product are dequantized straight into it, which is as fast and rounds once less.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "core/error.h"
#include "quant/runtimes.h"
#include "quant/scheme.h"

namespace zp::quant {
namespace {

using Kind = QuantRule::Kind;

void check(const Config& c) {
  const int bits = bits_of(c.weights);
  if (bits != 8 && bits != 4)
    throw_error(ErrorCode::kInvalidArgument, "weights of static quantization have 4 or 8 bits",
                {.hint = "weights: 'int8', 'uint8', 'int4' or 'uint4'"});
}

class StaticPlanner {
 public:
  explicit StaticPlanner(Planner& planner)
      : p_(planner),
        tail_(static_cast<size_t>(p_.count()), kNoValue),
        owner_(tail_.size()),
        downstream_(tail_.size(), false),
        upstream_(tail_.size(), false),
        set_(p_.graph.values.size()) {
    std::iota(owner_.begin(), owner_.end(), 0);
    std::iota(set_.begin(), set_.end(), 0);
    one_type_ = set_;
  }

  void run() {
    p_.quantize_stored();
    find_finishes();
    find_downstream();
    find_upstream();
    decide();
    make_groups();
  }

 private:
  static size_t at(int32_t i) { return static_cast<size_t>(i); }

  bool has_ranges(const std::vector<ValueId>& values) const {
    return std::all_of(values.begin(), values.end(), [&](ValueId v) { return p_.ranged(v); });
  }
  // Its products run on integers.
  bool product(int32_t i) const {
    return has_ranges(p_.data(i)) && p_.kind(i) == Kind::kProduct && p_.allowed(i) &&
           p_.precision(i).activations != DType::kUndefined &&
           (p_.weight(i) == kNoValue || p_.precision(i).weights != DType::kUndefined);
  }
  // Can carry integers from one product to the next.
  bool carrier(int32_t i) const {
    return (p_.kind(i) == Kind::kSameScale || p_.kind(i) == Kind::kRescaled) && p_.allowed(i) &&
           p_.precision(i).activations != DType::kUndefined && p_.table(i) == kNoValue &&
           owner_[at(i)] == i && has_ranges(p_.data(i)) && has_ranges(p_.node(i).outputs);
  }
  bool carries(int32_t i) const { return carrier(i) && downstream_[at(i)] && upstream_[at(i)]; }

  // Results of a node, after what finishes it in float.
  std::vector<ValueId> results(int32_t i) const {
    if (p_.kind(i) != Kind::kSameScale) return {tail_[at(i)]};
    std::vector<ValueId> all;
    for (ValueId v : p_.node(i).outputs)
      if (v != kNoValue && p_.graph[v].dtype == DType::kFloat32) all.push_back(v);
    return all;
  }

  void find_finishes() {
    for (int32_t i = 0; i < p_.count(); ++i) {
      if (tail_[at(i)] == kNoValue) tail_[at(i)] = p_.node(i).output(0);
      if (owner_[at(i)] != i || !(product(i) || (carrier(i) && p_.kind(i) == Kind::kRescaled))) continue;
      for (int32_t f : p_.finish(i)) {
        owner_[at(f)] = i;
        tail_[at(i)] = p_.node(f).output(0);
      }
    }
  }

  bool from_integers(ValueId v) const {
    if (v == kNoValue) return false;
    const int32_t made_by = p_.producer(v);
    if (made_by < 0) return p_.config.quantized_inputs && !p_.graph.constant(v);
    const int32_t i = owner_[at(made_by)];
    return product(i) || downstream_[at(i)];
  }
  void find_downstream() {
    for (int32_t i = 0; i < p_.count(); ++i) {
      if (!carrier(i)) continue;
      const auto& data = p_.data(i);
      downstream_[at(i)] = std::any_of(data.begin(), data.end(), [&](ValueId v) { return from_integers(v); });
    }
  }

  bool wanted(ValueId v) const {
    if (p_.config.quantized_outputs && p_.graph.is_output(v) && p_.ranged(v)) return true;
    const auto& readers = p_.consumers(v);
    return std::any_of(readers.begin(), readers.end(), [&](int32_t j) {
      if (owner_[at(j)] != j || !(product(j) || (carrier(j) && downstream_[at(j)] && upstream_[at(j)])))
        return false;
      return std::find(p_.data(j).begin(), p_.data(j).end(), v) != p_.data(j).end();
    });
  }
  void find_upstream() {
    for (int32_t i = p_.count(); i-- > 0;) {
      if (!carrier(i)) continue;
      const std::vector<ValueId> out = results(i);
      upstream_[at(i)] = std::any_of(out.begin(), out.end(), [&](ValueId v) { return wanted(v); });
    }
  }

  void decide() {
    for (int32_t i = 0; i < p_.count(); ++i) {
      NodePlan& n = p_.at(i);
      if (n.quantized || (!p_.allowed(i) && owner_[at(i)] == i)) continue;  // a table; or its reason is known
      const Precision precision = p_.precision(i);
      if (product(i)) {
        n.activations = precision.activations;
        const std::string words = in_words(precision.activations) + " activations";
        if (p_.weight(i) != kNoValue) {
          p_.quantize_weights(i, precision.weights, p_.integer_channels(i), words);
        } else {
          n.quantized = true;
          n.why = words + ", for two computed factors";
        }
      } else if (!has_ranges(p_.data(i)) && p_.precision(i).activations != DType::kUndefined) {
        n.why = "reads a value that calibration found no range for";
      } else if (!has_ranges(p_.node(i).outputs)) {
        n.why = "makes a value that has no range";
      } else if (p_.kind(i) == Kind::kProduct) {
        if (p_.weight(i) != kNoValue && precision.weights != DType::kUndefined) {
          p_.quantize_weights(i, precision.weights, p_.channels(i),
                              p_.before_logarithm(i) ? std::string(Planner::kBeforeLogarithm)
                                                     : "activations stay float32, as chosen for it");
        } else {
          n.why = p_.before_logarithm(i) ? Planner::kBeforeLogarithm : "kept in float by its own precision";
        }
      } else if (p_.before_logarithm(i) && p_.kind(i) != Kind::kFloat && n.why.empty()) {
        n.why = Planner::kBeforeLogarithm;
      } else if (carries(i)) {
        n.quantized = true;
        n.activations = precision.activations;
        n.why = p_.kind(i) == Kind::kSameScale ? "moves integers and keeps their scale"
                                               : "lies between quantized layers and has an integer form";
      } else if (owner_[at(i)] == i && n.why.empty()) {
        n.why = downstream_[at(i)] ? "no quantized layer reads its result: rounding it would gain nothing"
                                   : "stands among float layers: rounding its inputs would gain nothing";
      }
    }
    for (int32_t i = 0; i < p_.count(); ++i) {
      const int32_t o = owner_[at(i)];
      if (o == i) continue;
      NodePlan& n = p_.at(i);
      if (p_.at(o).quantized && p_.at(o).activations != DType::kUndefined) {
        n.part_of = o;
        n.quantized = true;
        n.why = "computed as the end of '" + p_.node(o).name + "'";
      } else {
        n.why = "follows a layer that stays float";
      }
    }
    for (int32_t i = 0; i < p_.count(); ++i) {
      if (!p_.at(i).quantized || p_.at(i).activations == DType::kUndefined || owner_[at(i)] != i) continue;
      for (ValueId v : results(i)) p_.plan.integer[at(v)] = true;
      const std::vector<ValueId> out = results(i);
      p_.at(i).rounds = p_.rounds(i) && has_ranges(out);
    }
  }

  static int32_t root(std::vector<int32_t>& set, ValueId v) {
    while (set[at(v)] != v) v = set[at(v)] = set[at(set[at(v)])];
    return v;
  }

  void make_groups() {
    Plan& plan = p_.plan;
    std::vector<DType> type(p_.graph.values.size(), DType::kUndefined);  // of values that become integers
    const auto touch = [&](ValueId v, DType t) {
      DType& now = type[at(v)];
      if (now == DType::kUndefined || bits_of(t) > bits_of(now)) now = t;
    };
    for (int32_t i = 0; i < p_.count(); ++i) {
      const NodePlan& n = p_.at(i);
      if (!n.quantized || n.activations == DType::kUndefined || owner_[at(i)] != i) continue;
      const bool same = p_.kind(i) == Kind::kSameScale;
      std::vector<int32_t>& together = p_.joins(i) ? one_type_ : set_;
      ValueId first = kNoValue;
      for (ValueId v : n.data) {
        if (p_.graph.constant(v) && !same) continue;  // a constant operand has a scale of its own
        touch(v, n.activations);
        if (!same) continue;
        if (first == kNoValue) first = v;
        together[at(root(together, v))] = root(together, first);
      }
      for (ValueId v : results(i)) {
        if (same) {
          touch(v, n.activations);
          together[at(root(together, v))] = root(together, first);
        } else if (n.rounds || (p_.config.quantized_outputs && p_.graph.is_output(v) && p_.ranged(v))) {
          touch(v, n.activations);
        }
      }
    }
    for (size_t v = 0; v < type.size(); ++v) {
      if (type[v] == DType::kUndefined) continue;
      const auto id = static_cast<ValueId>(v);
      one_type_[at(root(one_type_, id))] = root(one_type_, root(set_, id));
      int32_t& of_root = plan.group[at(root(set_, id))];
      if (of_root < 0) {
        of_root = static_cast<int32_t>(plan.groups.size());
        plan.groups.emplace_back();
      }
      const int32_t g = plan.group[v] = of_root;
      Group& group = plan.groups[at(g)];
      group.members.push_back(id);
      if (group.dtype == DType::kUndefined || bits_of(type[v]) > bits_of(group.dtype)) group.dtype = type[v];
    }
    std::map<int32_t, DType> widest;
    for (const Group& group : plan.groups) {
      DType& t = widest[root(one_type_, group.members[0])];
      if (t == DType::kUndefined || bits_of(group.dtype) > bits_of(t)) t = group.dtype;
    }
    for (Group& group : plan.groups) {
      group.dtype = widest[root(one_type_, group.members[0])];
      std::set<ValueId> seen;
      for (ValueId v : group.members) find_range(group, v, seen);
    }
  }

  void find_range(Group& group, ValueId v, std::set<ValueId>& seen) {
    if (!seen.insert(v).second) return;
    const auto know = [&](Range r) {
      if (group.known) {
        group.known->include(r);
      } else {
        group.known = r;
      }
    };
    const int32_t made_by = p_.producer(v);
    const auto given = p_.config.ranges.find(p_.graph[v].name);
    if (given != p_.config.ranges.end()) return know(given->second);
    const auto know_constant = [&](ValueId c) { know(range_of(*p_.graph.constant(c))); };
    if (p_.graph.constant(v)) return know_constant(v);
    // What only moves values has no range of its own: the range is that of the values it moves, and of what
    // it puts between them. Not so where it reads a table, which has a scale for itself.
    if (made_by >= 0 && p_.kind(made_by) == Kind::kSameScale && p_.plan.integer[at(v)]) {
      const int8_t inserts = p_.def(made_by)->quant.inserts;
      const ValueId inserted = inserts < 0 ? kNoValue : p_.node(made_by).input(static_cast<size_t>(inserts));
      if (p_.graph.constant(inserted)) know_constant(inserted);
      for (const ValueId from : p_.data(made_by)) find_range(group, from, seen);
      return;
    }
    const KnownRange bounds = p_.known.of(v);
    if (bounds != KnownRange{}) p_.plan.bounds.emplace(v, bounds);
    group.observed.push_back(v);
  }

  Planner& p_;
  std::vector<ValueId> tail_;                // by node: its result, after what finishes it
  std::vector<int32_t> owner_;               // by node: itself, or the node that it finishes
  std::vector<bool> downstream_, upstream_;  // by carrier: of a product, through carriers
  std::vector<int32_t> set_;                 // union-find over values: one scale
  std::vector<int32_t> one_type_;            // the same: integers of one type, if not of one scale
};

void decide(Planner& planner) { StaticPlanner(planner).run(); }

void place(Placement& placement, int32_t i) {
  const NodePlan& plan = placement.plan.nodes[static_cast<size_t>(i)];
  Node n = placement.node(i);
  const bool integers = plan.quantized && plan.activations != DType::kUndefined;
  const bool int32_bias = runtime_named(placement.config.runtime).int32_bias;
  float input_scale = 0;
  if (integers && plan.part_of < 0 && placement.in_pieces(i)) return;
  for (size_t k = 0; k < n.inputs.size(); ++k) {
    const ValueId v = n.inputs[k];
    const auto slot = static_cast<int>(k);
    if (v == kNoValue || slot == plan.weight_slot || slot == plan.bias_slot) continue;
    const QParams* params = placement.params(v);
    const bool is_data = integers && std::find(plan.data.begin(), plan.data.end(), v) != plan.data.end();
    if (is_data && params) {
      // 16-bit activations would leave a 32-bit bias no room: it stays float then.
      if (plan.weight_slot >= 0 && bits_of(params->dtype) == 8 && int32_bias) input_scale = params->scale;
      n.inputs[k] = placement.dequantized(v);
    } else if (is_data && placement.graph.constant(v)) {
      n.inputs[k] =
          placement.dequantized_constant(v, plan.activations, placement.config.symmetric_activations);
    } else if (params && placement.plan.integer[static_cast<size_t>(v)]) {
      n.inputs[k] = placement.dequantized(v);
    }
  }
  if (plan.weights != DType::kUndefined && plan.weight_slot >= 0) {
    const ValueId bias = plan.bias_slot < 0 ? kNoValue : n.inputs[static_cast<size_t>(plan.bias_slot)];
    const Placement::Weight weight = placement.weights_into(i, n, bias, input_scale);
    const ValueId quantized_bias = bias == kNoValue ? kNoValue : placement.bias(i, bias, input_scale, weight);
    if (quantized_bias != kNoValue) n.inputs[static_cast<size_t>(plan.bias_slot)] = quantized_bias;
  }
  placement.emit(std::move(n));
}

const RegisterScheme kStatic(
    {.name = "static",
     .title = "calibrated integers",
     .sentence =
         "Weights and activations become integers, with ranges from calibration. Integer kernels run them.",
     .needs_calibration = true,
     .check = check,
     .decide = decide,
     .place = place});

}  // namespace
}  // namespace zp::quant
