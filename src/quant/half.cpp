#include "quant/half.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "core/decimal.h"
#include "core/text.h"
#include "graph/subgraphs.h"
#include "ops/cast.h"
#include "ops/fused.h"
#include "ops/infer.h"
#include "quant/qdq.h"

namespace zp::quant {
namespace {

// Other inputs may make larger values than the samples did.
constexpr float kRoom = 2;
// What rounding a value to float16 has to leave, in dB; it leaves 73 of values that are not too small.
constexpr double kEnough = 50;
// The same for the numbers of a constant: networks forgive the rounding of weights more easily.
constexpr double kEnoughOfConstant = 40;
// Of a few numbers, each counts.
constexpr int64_t kFew = 16;
// What masked scores become, and with a score added is still no infinity. The exponential of its distance to
// any score is 0 in float16 and float32.
constexpr float kMasked = -kLargestHalf / 2;
constexpr float kVanishes = 0.1f;  // relative error of a number that float16 as good as loses

bool is_float(const Graph& graph, ValueId v) { return v != kNoValue && graph[v].dtype == DType::kFloat32; }

// What OpDef::types says of an input.
char type_letter(const OpDef& def, size_t input) { return def.types[std::min(input, def.types.size() - 1)]; }

// Whether a float16 node has float16 where it has a float at this input. An empty tensor stands for none (the
// regions of a Resize).
bool is_half_slot(const Graph& graph, const OpDef& def, const Node& node, size_t input) {
  const char letter = type_letter(def, input);
  const Tensor* t = graph.constant(node.inputs[input]);
  return letter != 'f' && !(letter != 'T' && t && t->size() == 0);
}

// Of nodes that have a form in memory, in pieces or not.
const OpDef* op_of_file(const Node& node) {
  return is_fused(node) ? find_op(node.domain, node.op_type) : find_op(node);
}

// By ONNX's text, up to the opset of files. Rows of operators with other types are about those. Fused ones
// have one type for all their floats.
bool takes_half(const OpDef& def) {
  if (def.fused) return true;
  if (!def.domain.empty() || def.role != QdqRole::kNone || !def.prepare) return false;
  const auto half = takes_since(def, DType::kFloat16);
  return half ? *half <= kOpset : !takes_since(def, DType::kFloat32);
}

bool moves(const OpDef& def) { return def.quant.kind == QuantRule::Kind::kSameScale && !def.quant.blends; }
// Its result is made of single elements, so that huge ones in its inputs stay huge.
bool passes_on(const OpDef& def) { return moves(def) || def.unary || def.broadcasts || def.half.selects; }

class HalfPlanner {
 public:
  HalfPlanner(Planner& planner, const HalfFacts& facts)
      : p_(planner),
        facts_(facts),
        reasons_(static_cast<size_t>(p_.count())),
        wide_(p_.graph.values.size()),
        huge_(wide_.size(), false),
        mask_(wide_.size(), false) {}

  void run() {
    for (int32_t i = 0; i < p_.count(); ++i) look_at(i);
    for (size_t v = 0; v < wide_.size(); ++v) {
      const auto id = static_cast<ValueId>(v);
      if (wide_[v].empty()) continue;
      if (p_.producer(id) >= 0) keep(p_.producer(id), wide_[v]);
      for (const int32_t r : p_.consumers(id)) keep(r, wide_[v]);
    }
    for (int round = 0; round < kRounds && settle(); ++round) {
    }
    for (int32_t i = 0; i < p_.count(); ++i) set(i);
  }

 private:
  static constexpr int kRounds = 64;  // each lets float32 spread by a chain of nodes, not by one

  const Graph& graph() const { return p_.graph; }
  std::string& reason(int32_t i) { return reasons_[static_cast<size_t>(i)]; }
  const std::string& name(ValueId v) const { return graph()[v].name; }

  const OpDef* def(int32_t i) const { return op_of_file(p_.node(i)); }
  bool chosen(int32_t i) const { return is_fused(p_.node(i)) ? p_.why_left(i).empty() : p_.chosen(i); }

  void keep(int32_t i, const std::string& why) {
    if (reason(i).empty()) reason(i) = why;
  }
  void keep_value(ValueId v, const std::string& why) {
    std::string& now = wide_[static_cast<size_t>(v)];
    if (now.empty()) now = why;
  }

  bool makes_float(int32_t i) const {
    const auto& outputs = p_.node(i).outputs;
    return std::any_of(outputs.begin(), outputs.end(), [&](ValueId v) { return is_float(graph(), v); });
  }
  // It has values that could be float16.
  bool concerns(int32_t i) const {
    const Node& n = p_.node(i);
    if (makes_float(i)) return true;
    for (size_t k = 0; k < n.inputs.size(); ++k)
      if (def(i) && is_float(graph(), n.inputs[k]) && is_half_slot(graph(), *def(i), n, k)) return true;
    return false;
  }

  void look_at(int32_t i) {
    const Node& n = p_.node(i);
    if (const std::string why = is_fused(n) ? p_.why_left(i) : p_.at(i).why; !chosen(i)) {
      keep(i, why);
      return;
    }
    const OpDef& def = *this->def(i);
    if (p_.precision(i).activations == DType::kUndefined) keep(i, "kept in float by its own precision");
    if (!concerns(i)) return keep(i, "works on integers already (shapes, indices)");
    if (!takes_half(def)) keep(i, "its operator has no form for float16");
    if (const std::string_view why = why_it_fails(i); !why.empty()) keep(i, std::string(why));
    if (def.half.fine) keep(i, "small differences of its inputs count, and float16 keeps too little of them");
    for (size_t k = 0; k < n.inputs.size(); ++k) {
      const ValueId v = n.inputs[k];
      if (v != kNoValue && graph()[v].dtype == DType::kUndefined)
        keep(i, "reads a value of an operator that is not known here");
      if (is_float(graph(), v) && type_letter(def, k) == 'f' && !graph().constant(v))
        keep_exact(v, "an argument that has to be float32 is computed from it");
      if (is_float(graph(), v) && graph().constant(v) && is_half_slot(graph(), def, n, k))
        look_at_constant(i, v);
    }
    if (const auto to = cast_target(n); to && is_float(graph(), n.input(0)) && is_integer(*to)) {
      keep(i, kBecomesInteger);
      keep_exact(n.input(0), kBecomesInteger);
    }
    look_for_huge(i);
    look_at_samples(i);
  }

  std::string_view why_it_fails(int32_t i) const {
    const OpDef* def = this->def(i);
    if (!def || !def->fails_in_half) return {};
    std::vector<const Node*> readers;
    if (const ValueId y = p_.node(i).output(0); y != kNoValue)
      for (const int32_t r : p_.consumers(y)) readers.push_back(&p_.node(r));
    return def->fails_in_half(graph(), p_.node(i), readers);
  }

  static constexpr const char* kBecomesInteger = "its result becomes integers, which float16 would change";
  static bool is_integer(DType t) {
    return t == DType::kInt64 || t == DType::kUint64 || t == DType::kInt32 || t == DType::kUint32 ||
           t == DType::kInt16 || t == DType::kUint16 || t == DType::kInt8 || t == DType::kUint8;
  }

  // What makes this value computes it exactly enough, from products (whose results have errors anyway) on.
  void keep_exact(ValueId v, const std::string& why) {
    const int32_t i = p_.producer(v);
    if (i < 0 || !wide_[static_cast<size_t>(v)].empty()) return;
    keep_value(v, why);
    const OpDef* def = this->def(i);
    if (!def || def->macs || !passes_on(*def)) return;
    for (const ValueId from : p_.node(i).inputs)
      if (is_float(graph(), from) && !graph().constant(from)) keep_exact(from, why);
  }

  struct ConstantFacts {
    bool finite = true, beyond = false, below = false, vanishes = false, poor = false;
    float least = 0;  // of a few: the smallest positive one
  };
  const ConstantFacts& facts_of(ValueId v) {
    const auto [it, added] = constants_.try_emplace(v);
    ConstantFacts& f = it->second;
    if (!added) return f;
    const Tensor& t = *graph().constant(v);
    const Glance glance(t);
    double signal = 0, noise = 0;
    for (const float x : t.data<float>()) {
      if (!std::isfinite(x)) {
        f.finite = false;
      } else if (std::fabs(x) > kLargestHalf) {
        (x < 0 ? f.below : f.beyond) = true;
      } else {
        const float error = half_to_float(float_to_half(x)) - x;
        signal += static_cast<double>(x) * static_cast<double>(x);
        noise += static_cast<double>(error) * static_cast<double>(error);
        if (t.size() <= kFew && x > 0 && (f.least == 0 || x < f.least)) f.least = x;
        f.vanishes = f.vanishes || (t.size() <= kFew && std::fabs(error) > kVanishes * std::fabs(x));
      }
    }
    f.poor = t.size() > kFew && noise > signal * std::pow(10, -kEnoughOfConstant / 10);
    return f;
  }

  void look_at_constant(int32_t i, ValueId v) {
    const ConstantFacts& f = facts_of(v);
    if (!f.finite && v == p_.at(i).weight) keep(i, "its weight holds NaN or infinity");
    const bool mask =
        f.below && !f.beyond && def(i)->half.scales ? drowns_behind(i) : f.below && only_drowns(i);
    if (mask) mark_mask(i);
    if (f.beyond || (f.below && !mask)) {
      keep(i,
           Text({"reads '", name(v), "', which holds numbers beyond the largest of float16 (65504)"}).str());
      mark_huge(i);
    }
    if (f.vanishes) {
      const std::string why = Text({"reads '", name(v), "', which is almost 0 in float16"}).str();
      keep(i, why);
      keep_guarded(i, name(v));
    } else if (f.least > 0) {
      keep_inverse(i, f.least, name(v));
    }
    if (f.poor) {
      keep(i, Text({"reads '", name(v), "', whose numbers are so small that float16 keeps little of them"})
                  .str());
    }
  }

  // What divides by a result that an epsilon keeps from 0, after a root or what moves it.
  void keep_guarded(int32_t i, const std::string& epsilon) {
    if (!def(i) || !passes_on(*def(i))) return;
    const std::string why = "relies on '" + epsilon + "', which is almost 0 in float16";
    for (const ValueId v : p_.node(i).outputs) {
      if (!is_float(graph(), v)) continue;
      for (const int32_t r : p_.consumers(v)) {
        if (!reason(r).empty() || !chosen(r)) continue;
        keep(r, why);
        if (moves(*def(r)) || def(r)->unary) keep_guarded(r, epsilon);
      }
    }
  }

  // What divides by a result that this constant keeps from 0: by so little that float16 has no number for it.
  // Samples may not come that near to 0.
  void keep_inverse(int32_t i, float constant, const std::string& name) {
    if (constant * kLargestHalf >= 1 || !def(i) || !passes_on(*def(i))) return;
    const ValueId v = p_.node(i).output(0);
    if (!is_float(graph(), v)) return;
    for (const int32_t r : p_.consumers(v)) {
      const OpDef* reader = def(r);
      if (!reader || !chosen(r)) continue;
      const Node& n = p_.node(r);
      if (reader->half.roots || moves(*reader))
        keep_inverse(r, reader->half.roots ? std::sqrt(constant) : constant, name);
      const int8_t slot = reader->half.inverts;
      if (slot < 0 || n.input(static_cast<size_t>(slot)) != v) continue;
      if (const KnownRange known = p_.known.of(n.output(0));
          known.lo >= -kLargestHalf && known.hi <= kLargestHalf)
        continue;
      const std::string why = Text({"divides by as little as '", name, "', ", decimal(constant),
                                    ": its result may be beyond the largest number of float16 (65504)"})
                                  .str();
      keep_value(v, why);
      keep_value(n.output(0), why);
    }
  }

  // The lowest numbers that node i selects or adds count for nothing to all who read its result: a mask
  // before a Softmax. kMasked does the same there as any lower number does, and where all are masked, none is
  // infinite.
  bool only_drowns(int32_t i) const {
    const OpDef& def = *this->def(i);
    return (def.half.selects || def.quant.sums || moves(def)) && drowns_behind(i);
  }
  bool drowns_behind(int32_t i) const {
    for (const ValueId v : p_.node(i).outputs) {
      if (v == kNoValue) continue;
      if (graph().is_output(v) || p_.consumers(v).empty()) return false;
      for (const int32_t r : p_.consumers(v)) {
        const OpDef* reader = def(r);
        if (!reader || !(reader->half.drowns || only_drowns(r))) return false;
      }
    }
    return true;
  }
  // What only_drowns() says of node i makes all values up to the Softmax ones that may be as low as they
  // like.
  void mark_mask(int32_t i) {
    for (const ValueId v : p_.node(i).outputs) {
      if (v == kNoValue || mask_[static_cast<size_t>(v)]) continue;
      mask_[static_cast<size_t>(v)] = true;
      for (const int32_t r : p_.consumers(v))
        if (!def(r)->half.drowns) mark_mask(r);
    }
  }

  // Numbers beyond float16 come out of node i, unless its operator bounds them or the samples say otherwise.
  void mark_huge(int32_t i) {
    for (const ValueId v : p_.node(i).outputs) {
      if (!is_float(graph(), v) || huge_[static_cast<size_t>(v)]) continue;
      const KnownRange r = p_.known.of(v);
      if (r.lo >= -kLargestHalf && r.hi <= kLargestHalf) continue;
      if (!facts_.largest.empty() && facts_.largest[static_cast<size_t>(v)] <= kLargestHalf / kRoom) continue;
      huge_[static_cast<size_t>(v)] = true;
      keep_value(v,
                 Text({"'", name(v), "' may hold numbers beyond the largest of float16 (65504), as masks do"})
                     .str());
    }
  }
  // Nodes come in order, so that what they read has been looked at.
  void look_for_huge(int32_t i) {
    const Node& n = p_.node(i);
    const bool reads = std::any_of(n.inputs.begin(), n.inputs.end(),
                                   [&](ValueId v) { return v != kNoValue && huge_[static_cast<size_t>(v)]; });
    if (reads && passes_on(*def(i))) mark_huge(i);
  }

  void look_at_samples(int32_t i) {
    const Node& n = p_.node(i);
    for (const std::vector<ValueId>* values : {&n.inputs, &n.outputs})
      for (const ValueId v : *values)
        if (is_float(graph(), v) && !graph().constant(v)) look_at_value(v);
    const HalfRule::Sum sum = def(i)->half.sum;
    const ValueId x = n.input(0), y = n.output(0);
    if (facts_.largest.empty() || sum == HalfRule::Sum::kNone || x == kNoValue || y == kNoValue) return;
    const auto largest = static_cast<double>(facts_.largest[static_cast<size_t>(y)]);
    const auto of = [&](ValueId v) { return static_cast<double>(facts_.count[static_cast<size_t>(v)]); };
    const double inside =
        sum == HalfRule::Sum::kSquares ? largest * largest : of(x) / std::max(of(y), 1.0) * largest;
    if (inside > kLargestHalf)
      keep(i, Text({"sums up to ", rounded(inside), " inside, beyond the largest number of float16 (65504)"})
                  .str());
  }

  static std::string rounded(double x) {
    const double unit = std::pow(10, std::floor(std::log10(x)) - 1);
    return decimal(std::round(x / unit) * unit);
  }

  void look_at_value(ValueId v) {
    const auto at = static_cast<size_t>(v);
    if (const auto it = facts_.wide.find(v); it != facts_.wide.end()) keep_value(v, it->second);
    if (facts_.largest.empty() || mask_[at]) return;
    if (facts_.largest[at] > kLargestHalf / kRoom) {
      keep_value(v,
                 Text({"'", name(v), "' reaches ", rounded(static_cast<double>(facts_.largest[at])),
                       " in the samples; float16 ends at 65504, and other inputs may make the value larger"})
                     .str());
    } else if (facts_.kept_db[at] < kEnough) {  // not where it is NaN
      keep_value(v, Text({"'", name(v), "' is so small in the samples that float16 keeps ",
                          decimal(std::round(facts_.kept_db[at])), " dB of it"})
                        .str());
    }
  }

  // ---- which type is the cheapest for what could have either

  // By float32 values other than constants: those that are float32 where they are made.
  bool comes_as_float(ValueId v) {
    const int32_t i = p_.producer(v);
    return i >= 0 && !reason(i).empty();
  }
  bool all_readers_float(int32_t i) {
    bool any = false;
    for (const ValueId v : p_.node(i).outputs) {
      if (!is_float(graph(), v)) continue;
      if (graph().is_output(v)) any = true;
      for (const int32_t r : p_.consumers(v)) {
        if (chosen(r) && !concerns(r)) continue;  // it asks for a shape, or hands the value to a branch
        any = true;
        if (reason(r).empty()) return false;
      }
    }
    return any;
  }

  bool settle() {
    bool changed = false;
    for (int32_t i = 0; i < p_.count(); ++i) {
      if (!reason(i).empty()) continue;
      const OpDef& def = *this->def(i);
      size_t computed = 0, floats = 0;
      for (const ValueId v : p_.node(i).inputs) {
        if (!is_float(graph(), v) || graph().constant(v)) continue;
        ++computed;
        floats += comes_as_float(v);
      }
      if (computed == 0 && makes_float(i) && !reads_constants(i)) {
        // Made from integers, in whichever type is wanted.
        if (all_readers_float(i)) keep(i, "only layers that stay float32 read it");
      } else if (computed > 0 && floats == computed && !def.macs &&
                 (moves(def) || !makes_float(i) || all_readers_float(i))) {
        keep(i, moves(def) ? "moves float32 values" : "stands between layers that stay float32");
      }
      changed = changed || !reason(i).empty();
    }
    return changed;
  }
  bool reads_constants(int32_t i) const {
    const auto& inputs = p_.node(i).inputs;
    return std::any_of(inputs.begin(), inputs.end(),
                       [&](ValueId v) { return is_float(graph(), v) && graph().constant(v); });
  }

  void set(int32_t i) {
    NodePlan& n = p_.at(i);
    n.quantized = n.half = false;
    n.weights = DType::kUndefined;
    if (!reason(i).empty()) {
      n.why = reason(i);
      if (chosen(i) && p_.precision(i).activations == DType::kUndefined && n.weight != kNoValue &&
          p_.precision(i).weights == DType::kFloat16)
        p_.quantize_weights(i, DType::kFloat16, {}, "activations stay float32, as chosen for it");
      return;
    }
    n.quantized = n.half = true;
    if (n.weight != kNoValue) n.weights = DType::kFloat16;
    n.why = "computes in float16";
  }

  Planner& p_;
  const HalfFacts& facts_;
  std::vector<std::string> reasons_;  // by node: why it stays float32; empty: it does not
  std::vector<std::string> wide_;     // by value: why it has to be float32
  std::vector<bool> huge_;            // by value: it may be beyond float16
  std::vector<bool> mask_;            // by value: numbers in it may be as low as they like
  std::map<ValueId, ConstantFacts> constants_;
};

// ---- the graph

class Halver {
 public:
  Halver(const HalfPlans& plans, bool half_inputs, bool half_outputs)
      : plans_(plans), half_inputs_(half_inputs), half_outputs_(half_outputs) {}

  std::vector<std::string> warnings;

  // Of a branch: `captured` says by inner value whether it is float16, `outputs` which outputs are to be.
  struct Edges {
    std::map<ValueId, bool> captured;
    std::vector<bool> outputs;
  };
  void run(Graph& graph, const Edges* edges) {
    Level level(graph);
    level.main = edges == nullptr;
    find_readers(level);
    for (size_t v = 0; v < level.floats.size(); ++v)
      if (level.floats[v] && !graph.values[v].constant) level.wide[v] = static_cast<ValueId>(v);
    if (edges) {
      for (const auto& [v, half] : edges->captured)
        if (half) level.make_half(v);
    } else {
      take_inputs(level);
    }
    for (Node& node : graph.nodes) convert(level, std::move(node));
    if (!level.main) {
      for (size_t i = 0; i < graph.outputs.size(); ++i)
        graph.outputs[i] =
            edges->outputs[i] ? as_half(level, graph.outputs[i]) : as_wide(level, graph.outputs[i]);
    } else if (half_outputs_) {
      for (const ValueId v : graph.outputs)
        if (level.is_float(v) && graph[v].dtype == DType::kFloat32)
          warnings.push_back("output '" + graph[v].name + "' stays float32: no float16 layer makes it");
    }
    graph.nodes = std::move(level.nodes);
    drop_idle_casts(graph);
  }

 private:
  struct Level {
    explicit Level(Graph& g)
        : graph(g),
          floats(g.values.size()),
          half_readers(floats.size(), false),
          wide_readers(floats.size(), false),
          half(floats.size(), kNoValue),
          wide(floats.size(), kNoValue) {
      for (size_t v = 0; v < floats.size(); ++v) floats[v] = g.values[v].dtype == DType::kFloat32;
    }
    Graph& graph;
    bool main = true;
    std::vector<bool> floats;                      // by value: float32 before
    std::vector<bool> half_readers, wide_readers;  // by value
    std::vector<ValueId> half, wide;               // by value: itself, or its twin in that type
    std::vector<Node> nodes;

    bool is_float(ValueId v) const {
      return v != kNoValue && static_cast<size_t>(v) < floats.size() && floats[static_cast<size_t>(v)];
    }
    void make_half(ValueId v) {
      graph[v].dtype = DType::kFloat16;
      half[static_cast<size_t>(v)] = v;
      wide[static_cast<size_t>(v)] = kNoValue;
    }
  };

  bool is_half(const Node& node) const {
    const auto it = plans_.find(node.name);
    return it != plans_.end() && it->second->half;
  }

  // A cast from float16 that the file had: its result is there in both types.
  static bool widens(const Graph& graph, const Node& node) {
    return cast_target(node) == DType::kFloat32 && node.input(0) != kNoValue &&
           graph[node.input(0)].dtype == DType::kFloat16;
  }

  void find_readers(Level& level) {
    const Graph& graph = level.graph;
    for (const Node& node : graph.nodes) {
      const OpDef* def = op_of_file(node);
      const bool half = def && is_half(node);
      for (size_t k = 0; k < node.inputs.size(); ++k) {
        if (!level.is_float(node.inputs[k])) continue;
        const bool at = half && is_half_slot(graph, *def, node, k);
        (at ? level.half_readers : level.wide_readers)[static_cast<size_t>(node.inputs[k])] = true;
      }
    }
  }

  void take_inputs(Level& level) {
    Graph& graph = level.graph;
    if (!half_inputs_) return;
    for (const ValueId v : graph.inputs) {
      if (!level.is_float(v) || graph.constant(v)) continue;
      if (level.half_readers[static_cast<size_t>(v)] && !(graph.is_output(v) && !half_outputs_)) {
        level.make_half(v);
      } else {
        warnings.push_back("input '" + graph[v].name + "' stays float32: no float16 layer reads it");
      }
    }
  }

  ValueId cast_to(Level& level, ValueId from, DType type, std::string_view suffix) {
    Graph& graph = level.graph;
    const ValueId to = graph.add_value(graph[from].name + std::string(suffix), type, graph[from].shape);
    level.nodes.push_back(cast_node(graph, from, to));
    return to;
  }

  ValueId as_half(Level& level, ValueId v) {
    if (!level.is_float(v)) return v;
    ValueId& half = level.half[static_cast<size_t>(v)];
    if (half != kNoValue) return half;
    Graph& graph = level.graph;
    const Tensor* t = graph.constant(v);
    if (!t) return half = cast_to(level, level.wide[static_cast<size_t>(v)], DType::kFloat16, "_float16");
    Tensor made = narrow(*t);
    const bool in_place = !level.wide_readers[static_cast<size_t>(v)] && !graph.is_output(v) &&
                          std::find(graph.defaults.begin(), graph.defaults.end(), v) == graph.defaults.end();
    if (!in_place) return half = graph.add_constant(graph[v].name + "_float16", std::move(made));
    graph[v].constant = std::move(made);
    graph[v].dtype = DType::kFloat16;
    return half = v;
  }

  ValueId as_wide(Level& level, ValueId v) {
    if (!level.is_float(v) || level.graph.constant(v)) return v;
    ValueId& wide = level.wide[static_cast<size_t>(v)];
    if (wide == kNoValue)
      wide = cast_to(level, level.half[static_cast<size_t>(v)], DType::kFloat32, "_float32");
    return wide;
  }

  // Only masks hold numbers beyond float16 here.
  Tensor narrow(const Tensor& t) {
    const auto [it, added] = tensors_.try_emplace({t.identity(), t.dims()});
    if (!added) return it->second.second;
    std::vector<Tensor> made = made_beside(t, "float16, masked", [&]() -> std::vector<Tensor> {
      const Glance glance(t);
      Tensor half(DType::kFloat16, t.dims());
      auto* to = reinterpret_cast<uint16_t*>(half.mutable_raw());
      for (const float v : t.data<float>())
        *to++ = float_to_half(std::isfinite(v) && v < -kLargestHalf ? kMasked : v);
      return {std::move(half)};
    });
    it->second = {t, std::move(made[0])};
    it->second.first.forget();
    return it->second.second;
  }

  void convert(Level& level, Node node) {
    Graph& graph = level.graph;
    const OpDef* def = op_of_file(node);
    const bool half = def && is_half(node) && !widens(graph, node);
    const ValueId widened = widens(graph, node) ? node.input(0) : kNoValue;
    std::vector<bool> slots(node.inputs.size());
    for (size_t k = 0; k < slots.size(); ++k)
      slots[k] = half && level.is_float(node.inputs[k]) && is_half_slot(graph, *def, node, k);
    for (size_t k = 0; k < slots.size(); ++k)
      node.inputs[k] = slots[k] ? as_half(level, node.inputs[k]) : as_wide(level, node.inputs[k]);
    for (auto& [key, attribute] : node.attributes) {
      if (auto* i = std::get_if<int64_t>(&attribute);
          half && i && (key == "to" || key == "dtype" || key == "output_datatype") &&
          *i == static_cast<int64_t>(DType::kFloat32))
        *i = static_cast<int64_t>(DType::kFloat16);
      if (auto* t = std::get_if<Tensor>(&attribute); half && t && t->dtype() == DType::kFloat32)
        *t = narrow(*t);
      if (auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute))
        branch(level, node, def != nullptr, half, **sub);
    }
    std::vector<std::pair<ValueId, ValueId>> ends;  // float16, and the output that is to be float32
    for (ValueId& v : node.outputs) {
      if (!level.is_float(v)) continue;
      if (widened != kNoValue) level.half[static_cast<size_t>(v)] = widened;
      if (!half) continue;
      if (level.main && graph.is_output(v) && !half_outputs_) {
        const ValueId made = graph.add_value(graph[v].name + "_float16", DType::kFloat16, graph[v].shape);
        level.half[static_cast<size_t>(v)] = made;
        ends.emplace_back(made, std::exchange(v, made));
      } else {
        level.make_half(v);
      }
    }
    level.nodes.push_back(std::move(node));
    for (const auto& [from, to] : ends) level.nodes.push_back(cast_node(graph, from, to));
  }

  // A branch captures values in the type that they are made in, and gives outputs in the types of its node.
  void branch(Level& level, const Node& node, bool known, bool half, Graph& inner) {
    Edges edges;
    for (Capture& c : inner.captures) {
      if (!level.is_float(c.outer) || level.graph.constant(c.outer)) continue;
      const ValueId made = known ? level.half[static_cast<size_t>(c.outer)] : kNoValue;
      edges.captured[c.inner] = made != kNoValue;
      c.outer = made != kNoValue ? made : as_wide(level, c.outer);
    }
    if (!known) return;
    for (const ValueId v : node.outputs) edges.outputs.push_back(half && level.is_float(v));
    edges.outputs.resize(std::max(edges.outputs.size(), inner.outputs.size()), false);
    run(inner, &edges);
  }

  // Casts to the type that there is already: where the file had float16 at its own edges.
  static void drop_idle_casts(Graph& graph) {
    std::map<ValueId, ValueId> same, renamed;
    std::set<ValueId> made;
    for (const Node& node : graph.nodes) made.insert(node.outputs.begin(), node.outputs.end());
    std::erase_if(graph.nodes, [&](const Node& node) {
      if (!cast_target(node)) return false;
      const ValueId out = node.output(0);
      ValueId in = node.input(0);
      if (const auto it = same.find(in); it != same.end()) in = it->second;
      if (graph[in].dtype != graph[out].dtype) return false;
      if (!graph.is_output(out)) {
        same[out] = in;
        return true;
      }
      return made.contains(in) && !graph.is_output(in) && renamed.try_emplace(in, out).second;
    });
    if (same.empty() && renamed.empty()) return;
    const auto put = [&](ValueId& v) {
      if (const auto it = same.find(v); it != same.end()) v = it->second;
      if (const auto it = renamed.find(v); it != renamed.end()) v = it->second;
    };
    for (Node& node : graph.nodes) {
      for (ValueId& v : node.inputs) put(v);
      for (ValueId& v : node.outputs) put(v);
      for (Graph& sub : subgraphs(node))
        for (Capture& c : sub.captures) put(c.outer);
    }
  }

  const HalfPlans& plans_;
  bool half_inputs_, half_outputs_;
  // By the memory and dimensions of the float32 tensor, which is kept with its twin.
  std::map<std::pair<const void*, Shape>, std::pair<Tensor, Tensor>> tensors_;
};

}  // namespace

void decide_halves(Planner& planner, const HalfFacts& facts) { HalfPlanner(planner, facts).run(); }

void add_plans(HalfPlans& plans, const Graph& graph, const Plan& plan) {
  for (size_t i = 0; i < plan.nodes.size(); ++i) plans[graph.nodes[i].name] = &plan.nodes[i];
}

std::vector<std::string> halve(Graph& graph, const HalfPlans& plans, bool half_inputs, bool half_outputs) {
  Halver halver(plans, half_inputs, half_outputs);
  halver.run(graph, nullptr);
  remove_unused(graph);
  infer_shapes(graph);
  return std::move(halver.warnings);
}

}  // namespace zp::quant
