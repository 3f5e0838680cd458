// Lowering: an operator between DequantizeLinear and QuantizeLinear absorbs them, and computes in integers;
// an operator before Relu or Clip absorbs that. No operator is named here: what can be absorbed, the
// operators' entries say.
#include <algorithm>
#include <cmath>
#include <map>
#include <ranges>
#include <set>

#include "core/element_types.h"
#include "ops/byte_edges.h"
#include "ops/fusion.h"
#include "ops/infer.h"
#include "runtime/plan.h"
#include "runtime/query.h"

namespace zp::runtime {
namespace {

class Lowering {
 public:
  Lowering(Specialized& s, const PlanRequest& request) : s_(s), request_(request) {
    producer_.assign(s.values.size(), -1);
    consumers_.resize(s.values.size());
    removed_.assign(s.nodes.size(), false);
    for (size_t n = 0; n < s.nodes.size(); ++n) link(n);
  }

  void run() {
    for (size_t n = 0; n < s_.nodes.size(); ++n) absorb_clamps(n);
    if (request_.integer) {
      for (size_t n = s_.nodes.size(); n-- > 0;) becomes_table(n);  // the longest first
      for (size_t n = 0; n < s_.nodes.size(); ++n) absorb_quantization(n);
    }
    remove_dead();
    evaluate_constants();
    remove_dead();
    for (size_t n = s_.nodes.size(); n-- > 0;) fuse(n);  // the longest first
    remove_dead();
    drop_removed();
  }

 private:
  PlanNode& node(size_t n) { return s_.nodes[n]; }
  PlanValue& value(ValueId v) { return s_.values[static_cast<size_t>(v)]; }

  void link(size_t n) {
    for (ValueId v : node(n).node.outputs)
      if (v != kNoValue) producer_[static_cast<size_t>(v)] = static_cast<int>(n);
    for (const std::vector<ValueId>* list : {&node(n).node.inputs, &node(n).extra_inputs})
      for (ValueId v : *list)
        if (v != kNoValue) consumers_[static_cast<size_t>(v)].push_back(n);
  }

  // Nothing but nodes of the plan reads it.
  bool internal(ValueId v) const {
    return !s_.taps.contains(v) && std::find(s_.outputs.begin(), s_.outputs.end(), v) == s_.outputs.end();
  }

  // The only node that reads `v`, which nobody else sees; -1 otherwise.
  int only_reader(ValueId v) const {
    if (v == kNoValue || !internal(v)) return -1;
    const std::vector<size_t>& readers = consumers_[static_cast<size_t>(v)];
    return readers.size() == 1 ? static_cast<int>(readers[0]) : -1;
  }

  void stop_reading(size_t n, ValueId v) {
    std::vector<size_t>& readers = consumers_[static_cast<size_t>(v)];
    const auto it = std::find(readers.begin(), readers.end(), n);
    if (it != readers.end()) readers.erase(it);
  }

  void remove(size_t n) {
    removed_[n] = true;
    for (const std::vector<ValueId>* list : {&node(n).node.inputs, &node(n).extra_inputs})
      for (ValueId v : *list)
        if (v != kNoValue) stop_reading(n, v);
  }

  void set_input(size_t n, size_t i, ValueId to) {
    stop_reading(n, node(n).node.inputs[i]);
    node(n).node.inputs[i] = to;
    consumers_[static_cast<size_t>(to)].push_back(n);
  }

  // Output 0 of `n` becomes that of `after`, which disappears.
  void take_output(size_t n, size_t after) {
    remove(after);
    node(n).node.outputs[0] = node(after).node.outputs[0];
    producer_[static_cast<size_t>(node(n).node.outputs[0])] = static_cast<int>(n);
  }

  void absorb_clamps(size_t n) {
    if (removed_[n] || !node(n).def->fuses_clamp) return;
    for (;;) {
      const int next = only_reader(node(n).node.output(0));
      if (next < 0) return;
      const PlanNode& after = node(static_cast<size_t>(next));
      if (!after.def->as_clamp || after.node.input(0) != node(n).node.outputs[0]) return;
      PlanInferContext context(after.node, s_.values);
      const std::optional<Clamp> clamp = after.def->as_clamp(context);
      if (!clamp) return;
      Clamp& mine = node(n).clamp;
      mine.lo = std::min(std::max(mine.lo, clamp->lo), clamp->hi);
      mine.hi = std::max(std::min(mine.hi, clamp->hi), clamp->lo);
      take_output(n, static_cast<size_t>(next));
    }
  }

  // The quantization that a Q or DQ node says. nullopt: not one that kernels can absorb.
  std::optional<EdgeQuant> edge_of(const PlanNode& q, DType integers) {
    EdgeQuant e;
    e.dtype = integers;
    const ValueId scale = q.node.input(1), zero_point = q.node.input(2);
    if (scale == kNoValue || value(scale).dtype != DType::kFloat32) return std::nullopt;
    if (value(scale).constant) {
      e.scale = *value(scale).constant;
      if (zero_point != kNoValue) {
        if (!value(zero_point).constant) return std::nullopt;
        e.zero_point = *value(zero_point).constant;
      }
    } else if (element_count(value(scale).dims) != 1 || zero_point == kNoValue) {
      return std::nullopt;
    } else {
      e.scale_slot = 0;  // set when it is absorbed
    }
    e.axis = static_cast<int>(q.node.int_attribute("axis", 1));
    e.block_size = q.node.int_attribute("block_size", 0);
    return e;
  }

  std::optional<EdgeQuant> dequantized(ValueId v, size_t* dq) {
    if (v == kNoValue || producer_[static_cast<size_t>(v)] < 0) return std::nullopt;
    *dq = static_cast<size_t>(producer_[static_cast<size_t>(v)]);
    const PlanNode& maker = node(*dq);
    if (removed_[*dq] || maker.def->role != QdqRole::kDequantize) return std::nullopt;
    std::optional<EdgeQuant> e = edge_of(maker, value(maker.node.inputs[0]).dtype);
    if (e && e->axis < 0) e->axis += static_cast<int>(value(v).dims.size());
    return e;
  }

  std::optional<EdgeQuant> quantized_after(size_t n, size_t* q) {
    const int reader = only_reader(node(n).node.output(0));
    if (reader < 0) return std::nullopt;
    *q = static_cast<size_t>(reader);
    const PlanNode& after = node(*q);
    if (after.def->role != QdqRole::kQuantize || after.node.input(0) != node(n).node.outputs[0])
      return std::nullopt;
    std::optional<EdgeQuant> e = edge_of(after, value(after.node.outputs[0]).dtype);
    if (e && e->at_run_time()) return std::nullopt;
    return e;
  }

  void absorb_input(size_t n, size_t i, size_t dq, EdgeQuant e) {
    PlanNode& p = node(n);
    const PlanNode& maker = node(dq);
    set_input(n, i, maker.node.inputs[0]);
    if (e.at_run_time()) {
      const size_t first = p.node.inputs.size() + p.extra_inputs.size();
      e.scale_slot = static_cast<int>(first);
      e.zero_point_slot = static_cast<int>(first) + 1;
      for (size_t k : {size_t{1}, size_t{2}}) {
        p.extra_inputs.push_back(maker.node.inputs[k]);
        consumers_[static_cast<size_t>(maker.node.inputs[k])].push_back(n);
      }
    }
    p.in_quant[i] = std::move(e);
  }

  bool fits_table(const PlanNode& pair, ValueId integers) {
    if (!is_8_bit(value(integers).dtype)) return false;
    const std::optional<EdgeQuant> e = edge_of(pair, value(integers).dtype);
    return e && !e->at_run_time() && e->per_tensor();
  }

  // A function of the elements of one 8-bit value, seen from the QuantizeLinear behind it.
  struct Function {
    std::set<size_t> nodes;          // all that compute it, QuantizeLinear and DequantizeLinear as well
    std::map<size_t, ValueId> from;  // by DequantizeLinear that it starts with: the integers that this reads
    bool of_one() const {
      return !from.empty() && std::ranges::all_of(from, [&](const auto& start) {
        return start.second == from.begin()->second;
      });
    }
  };

  // Whether `n` computes each element of its output from the elements of its inputs at the same place, of
  // which those of constants are all alike. Puts its other inputs on `open`.
  bool by_element(size_t n, const Shape& dims, std::vector<ValueId>& open) {
    const PlanNode& p = node(n);
    const bool pair = p.def->role == QdqRole::kQuantize || p.def->role == QdqRole::kDequantize;
    if (p.node.outputs.size() != 1 || !p.extra_inputs.empty() || !p.table.empty() ||
        !(pair || p.def->unary || p.def->broadcasts))
      return false;
    const PlanValue& y = value(p.node.outputs[0]);
    const DType type = p.def->role == QdqRole::kQuantize ? DType::kFloat32 : y.dtype;
    if (p.def->role == QdqRole::kQuantize ? !fits_table(p, p.node.outputs[0]) : type != DType::kFloat32)
      return false;
    const size_t before = open.size();
    for (size_t i = 0; i < p.node.inputs.size(); ++i) {
      const ValueId v = p.node.inputs[i];
      if (v == kNoValue || (pair && i > 0)) continue;
      const PlanValue& x = value(v);
      if (x.constant && ((p.def->unary && i > 0) || x.constant->size() == 1)) continue;
      if (x.constant || x.dtype != type || (p.def->unary && i > 0)) return false;
      open.push_back(v);
    }
    return open.size() == before || y.dims == dims;
  }

  // The DequantizeLinear of one constant number, which is only another way to write it.
  bool makes_number(const PlanNode& p) {
    return p.def->role == QdqRole::kDequantize && value(p.node.inputs[0]).constant &&
           value(p.node.inputs[0]).constant->size() == 1 && fits_table(p, p.node.inputs[0]);
  }

  // Adds what makes `v` to `f`, back to DequantizeLinear of 8 bits.
  bool look_back(Function& f, ValueId v, const Shape& dims) {
    constexpr size_t kMost = 24;  // nodes: more are no function that anybody writes
    std::vector<ValueId> open{v};
    while (!open.empty()) {
      const ValueId at = open.back();
      open.pop_back();
      const int producer = producer_[static_cast<size_t>(at)];
      if (producer < 0 || f.nodes.size() >= kMost) return false;
      const auto n = static_cast<size_t>(producer);
      if (!f.nodes.insert(n).second) continue;
      const PlanNode& p = node(n);
      if (p.def->role == QdqRole::kDequantize) {
        const ValueId integers = p.node.inputs[0];
        if (makes_number(p)) continue;
        if (!fits_table(p, integers) || value(integers).dims != dims || value(integers).constant)
          return false;
        f.from[n] = integers;
        continue;
      }
      if (!by_element(n, dims, open)) return false;
    }
    return true;
  }

  // Only the nodes themselves read their results, so that nobody misses these. `last`: the one whose output
  // is read. What dequantizes the start may have other readers.
  bool keeps_to_itself(const Function& f, size_t last) {
    return std::ranges::all_of(f.nodes, [&](size_t n) {
      if (n == last || f.from.contains(n) || makes_number(node(n))) return true;
      const ValueId v = node(n).node.outputs[0];
      return internal(v) && std::ranges::all_of(consumers_[static_cast<size_t>(v)],
                                                [&](size_t reader) { return f.nodes.contains(reader); });
    });
  }

  // From 8 bits through functions of single elements to the 8 bits that node `q` makes: as many as there are,
  // and whatever they round on the way, become one table.
  bool becomes_table(size_t q) {
    if (removed_[q] || node(q).def->role != QdqRole::kQuantize || !node(q).table.empty()) return false;
    const ValueId result = node(q).node.outputs[0];
    const Shape dims = value(result).dims;
    std::vector<ValueId> open;
    if (!by_element(q, dims, open) || open.empty()) return false;
    Function f{.nodes = {q}, .from = {}};
    if (!look_back(f, open[0], dims)) return false;
    std::optional<Function> found;
    for (;;) {
      if (f.of_one() && keeps_to_itself(f, q)) found = f;
      // Further back, through the pair that was made last.
      int latest = -1;
      for (const auto& [dq, integers] : f.from)
        latest = std::max(latest, producer_[static_cast<size_t>(integers)]);
      if (latest < 0 || node(static_cast<size_t>(latest)).def->role != QdqRole::kQuantize) break;
      const ValueId integers = node(static_cast<size_t>(latest)).node.outputs[0];
      std::erase_if(f.from, [&](const auto& start) { return start.second == integers; });
      if (!look_back(f, integers, dims)) break;
    }
    const auto computes = [&](size_t n) {
      const QdqRole role = node(n).def->role;
      return role != QdqRole::kQuantize && role != QdqRole::kDequantize;
    };
    if (!found || std::ranges::none_of(found->nodes, computes)) return false;

    const ValueId from = found->from.begin()->second;
    const size_t first = *std::ranges::find_if(found->nodes, computes);
    PlanNode& p = node(q);
    for (const ValueId v : p.node.inputs)
      if (v != kNoValue) stop_reading(q, v);
    std::vector<TableStep> steps;
    for (const size_t n : found->nodes) steps.push_back({node(n).node, node(n).def, node(n).clamp});
    p.node = node(first).node;
    p.def = node(first).def;
    p.node.inputs = {from};
    p.node.outputs = {result};
    p.in_quant.assign(1, std::nullopt);
    p.clamp = {};
    p.table = std::move(steps);
    consumers_[static_cast<size_t>(from)].push_back(q);
    for (const size_t n : std::vector<size_t>(found->nodes.rbegin(), found->nodes.rend())) {
      const ValueId v = node(n).node.outputs[0];
      if (n != q && internal(v) && consumers_[static_cast<size_t>(v)].empty()) remove(n);
    }
    return true;
  }

  // The same, seen from a node that starts it.
  bool starts_table(size_t n) {
    for (auto at = static_cast<int>(n); at >= 0;
         at = only_reader(node(static_cast<size_t>(at)).node.outputs[0])) {
      const PlanNode& p = node(static_cast<size_t>(at));
      if (p.def->role == QdqRole::kQuantize) return becomes_table(static_cast<size_t>(at));
      if (p.node.outputs.size() != 1 || !(p.def->unary || p.def->broadcasts)) return false;
    }
    return false;
  }

  void absorb_quantization(size_t n) {
    PlanNode& p = node(n);
    if (removed_[n] || !p.table.empty() || p.def->role != QdqRole::kNone || p.node.inputs.empty() ||
        p.node.output(0) == kNoValue)
      return;
    const size_t inputs = p.node.inputs.size();
    std::vector<std::optional<EdgeQuant>> edges(inputs);
    std::vector<size_t> makers(inputs, 0);
    bool any = false;
    for (size_t i = 0; i < inputs; ++i) {
      edges[i] = dequantized(p.node.inputs[i], &makers[i]);
      any = any || edges[i].has_value();
    }
    if (!any) return;
    size_t q = 0;
    const std::optional<EdgeQuant> out = quantized_after(n, &q);

    if (p.def->quant.kind == QuantRule::Kind::kSameScale && !p.def->integer) {
      move_integers(n, edges, makers, out, q);
      return;
    }
    if (starts_table(n) || p.def->unary) return;
    if (!p.def->integer) return;
    // Asked with the output quantized first, then with a float output.
    for (const bool with_output : {true, false}) {
      if (with_output && !out) continue;
      PlanNode proposal = p;
      for (size_t i = 0; i < inputs; ++i) {
        if (!edges[i]) continue;
        proposal.node.inputs[i] = node(makers[i]).node.inputs[0];
        proposal.in_quant[i] = edges[i];
      }
      if (with_output) {
        proposal.out_quant = out;
        proposal.node.outputs[0] = node(q).node.outputs[0];
      }
      const QueryContext query(proposal, s_.values);
      if (!p.def->integer(query)) continue;
      for (size_t i = 0; i < inputs; ++i)
        if (edges[i]) absorb_input(n, i, makers[i], *edges[i]);
      if (with_output) {
        p.out_quant = out;
        take_output(n, q);
      }
      return;
    }
  }

  // An operator that only moves or selects values works on the integers themselves.
  void move_integers(size_t n, const std::vector<std::optional<EdgeQuant>>& edges,
                     const std::vector<size_t>& makers, const std::optional<EdgeQuant>& out, size_t q) {
    PlanNode& p = node(n);
    if (p.node.outputs.size() != 1 || !edges[0] || !is_8_bit(edges[0]->dtype) || edges[0]->at_run_time())
      return;
    const QuantRule::Inputs& data = p.def->quant.data;
    for (size_t i = 0; i < edges.size(); ++i) {
      const bool is_data = data.all() || data.has(static_cast<int>(i));
      if (is_data != edges[i].has_value()) return;
      if (is_data && !same_quantization(*edges[i], *edges[0])) return;
    }
    const auto take_integers = [&] {
      for (size_t i = 0; i < edges.size(); ++i) {
        if (!edges[i]) continue;
        if (p.def->quant.blends) {  // rounds what it makes, as Q would, and has to know
          absorb_input(n, i, makers[i], *edges[i]);
        } else {
          set_input(n, i, node(makers[i]).node.inputs[0]);
        }
      }
    };
    if (out && same_quantization(*edges[0], *out)) {
      take_integers();
      take_output(n, q);
      return;
    }
    // No Q after it (or another scale): the DQ moves behind it, so that what follows can absorb it.
    if (!internal(p.node.outputs[0])) return;
    const ValueId moved = static_cast<ValueId>(s_.values.size());
    const ValueId result = p.node.outputs[0];
    s_.values.push_back(
        {.dtype = edges[0]->dtype, .dims = value(result).dims, .known = true, .constant = {}, .content = {}});
    producer_.push_back(-1);
    consumers_.emplace_back();
    PlanNode dq = node(makers[0]);
    dq.node.name = p.node.name + "_dequantize";
    take_integers();
    p.node.outputs[0] = moved;
    dq.node.inputs[0] = moved;
    dq.node.outputs = {result};
    // Kept in order: the new node goes right behind, which shifts the indices of those after it.
    const size_t at = n + 1;
    for (int& producer : producer_)
      if (producer >= static_cast<int>(at)) ++producer;
    for (std::vector<size_t>& readers : consumers_)
      for (size_t& reader : readers)
        if (reader >= at) ++reader;
    s_.nodes.insert(s_.nodes.begin() + static_cast<std::ptrdiff_t>(at), std::move(dq));
    removed_.insert(removed_.begin() + static_cast<std::ptrdiff_t>(at), false);
    producer_[static_cast<size_t>(moved)] = static_cast<int>(n);
    link(at);
  }

  void remove_dead() {
    for (size_t n = s_.nodes.size(); n-- > 0;) {
      if (removed_[n]) continue;
      const auto& outputs = node(n).node.outputs;
      const bool needed = std::any_of(outputs.begin(), outputs.end(), [&](ValueId v) {
        return v != kNoValue && (!internal(v) || !consumers_[static_cast<size_t>(v)].empty());
      });
      if (!needed) remove(n);
    }
  }

  // What is constant after all: weights whose DQ nobody absorbed.
  void evaluate_constants() {
    for (size_t n = 0; n < s_.nodes.size(); ++n) {
      PlanNode& p = node(n);
      if (removed_[n] || !p.extra_inputs.empty() || !p.table.empty() || p.node.inputs.empty() ||
          !p.def->deterministic)
        continue;
      std::vector<const Tensor*> inputs;
      bool constant = true, from_content = false;
      for (ValueId v : p.node.inputs) {
        const bool known = v == kNoValue || value(v).constant.has_value();
        constant = constant && known;
        from_content = from_content || (v != kNoValue && value(v).from_content);
        inputs.push_back(v == kNoValue || !known ? nullptr : &*value(v).constant);
      }
      if (!constant) continue;
      int64_t elements = 0;
      for (ValueId v : p.node.outputs)
        if (v != kNoValue) elements += element_count(value(v).dims);
      if (from_content && (elements > kLargestShapeValue || p.def->macs)) continue;
      std::vector<PlanValue> outputs;
      for (ValueId v : p.node.outputs) outputs.push_back(v == kNoValue ? PlanValue{} : value(v));
      std::vector<Tensor> results = evaluate(p, inputs, outputs);
      for (size_t i = 0; i < results.size(); ++i)
        if (p.node.outputs[i] != kNoValue) {
          value(p.node.outputs[i]).constant = std::move(results[i]);
          value(p.node.outputs[i]).from_content = from_content;
        }
      remove(n);
    }
  }

  // What a fusion sees.
  class Group : public FusionContext {
   public:
    explicit Group(const Lowering& l) : l_(l) {}
    const Node& node(int at) const override { return l_.s_.nodes[static_cast<size_t>(at)].node; }
    int producer(ValueId v) const override {
      const int at = l_.producer_[static_cast<size_t>(v)];
      return at >= 0 && l_.is_plain(static_cast<size_t>(at)) ? at : -1;
    }
    bool read_once(ValueId v) const override { return l_.only_reader(v) >= 0; }
    const Tensor* constant(ValueId v) const override {
      const std::optional<Tensor>& t = l_.s_.values[static_cast<size_t>(v)].constant;
      return t ? &*t : nullptr;
    }
    const Shape& dims(ValueId v) const override { return l_.s_.values[static_cast<size_t>(v)].dims; }
    DType dtype(ValueId v) const override { return l_.s_.values[static_cast<size_t>(v)].dtype; }

   private:
    const Lowering& l_;
  };

  // Computes what its operator says, and nothing else.
  bool is_plain(size_t n) const {
    const PlanNode& p = s_.nodes[n];
    return !removed_[n] && p.table.empty() && !p.out_quant && p.clamp.identity() && p.extra_inputs.empty() &&
           std::ranges::none_of(p.in_quant, [](const auto& q) { return q.has_value(); });
  }

  void fuse(size_t n) {
    if (!is_plain(n)) return;
    for (const Fusion& fusion : all_fusions()) {
      std::optional<Node> made = fusion.match(Group(*this), static_cast<int>(n));
      if (!made) continue;
      PlanNode& p = node(n);
      for (const ValueId v : p.node.inputs)
        if (v != kNoValue) stop_reading(n, v);
      p.node = std::move(*made);
      p.def = fusion.def;
      p.in_quant.assign(p.node.inputs.size(), std::nullopt);
      link(n);
      return remove_dead();
    }
  }

  void drop_removed() {
    size_t to = 0;
    for (size_t n = 0; n < s_.nodes.size(); ++n) {
      if (removed_[n]) continue;
      if (to != n) s_.nodes[to] = std::move(s_.nodes[n]);
      ++to;
    }
    s_.nodes.resize(to);
  }

  Specialized& s_;
  const PlanRequest& request_;
  std::vector<int> producer_;                   // by value
  std::vector<std::vector<size_t>> consumers_;  // by value
  std::vector<bool> removed_;                   // by node
};

}  // namespace

void lower(Specialized& s, const PlanRequest& request) { Lowering(s, request).run(); }

}  // namespace zp::runtime
