#include "quant/plan.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "graph/subgraphs.h"
#include "ops/infer.h"
#include "quant/format.h"
#include "quant/qdq.h"

namespace zp::quant {
namespace {

bool lists(const std::vector<std::string>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

// Operators may be named as in the file ("Conv") or with their domain ("com.microsoft.Gelu").
bool lists_op(const std::vector<std::string>& list, const Node& node) {
  return lists(list, node.op_type) || lists(list, qualified_name(node));
}

struct Names {
  std::set<std::string, std::less<>> nodes, values;
  void add(const Graph& graph) {
    for (const Value& v : graph.values) values.insert(v.name);
    for (const Node& n : graph.nodes) {
      nodes.insert(n.name);
      for (const Graph& sub : subgraphs(n)) add(sub);
    }
  }
};

// Smaller ones are no weights worth a scale.
constexpr int64_t kSmallestStored = 64;

// The longest block of `most` numbers or fewer that divides so many; one of whole vectors, where there is
// one. 0: none of a length that is worth its scale.
int64_t whole_block(int64_t count, int64_t most) {
  constexpr int64_t kVector = 16, kLeast = 8;
  if (count <= most) return count;
  for (int64_t block = most / kVector * kVector; block > 0; block -= kVector)
    if (count % block == 0) return block;
  for (int64_t block = most; block >= kLeast; --block)
    if (count % block == 0) return block;
  return 0;
}

}  // namespace

std::string in_words(DType dtype) { return std::string(name_of(dtype)); }

std::string in_words(DType dtype, const Grouping& g) {
  std::string s = std::string(name_of(dtype)) + " weights";
  if (dtype == DType::kFloat16) return s;
  s += ", one scale ";
  if (g.axis < 0) return s + "for the whole tensor";
  if (g.block_size > 0) return s + "for every " + std::to_string(g.block_size);
  return s + "per output channel";
}

void require_known_names(const Graph& graph, const Config& config) {
  Names known;
  known.add(graph);
  const auto require = [](const auto& names, const std::string& name, std::string_view what) {
    if (names.contains(name)) return;
    throw_error(
        ErrorCode::kInvalidArgument, {"the model has no ", what, " '", name, "'"},
        {.hint = "use a name from the plan or the report, which list the names of the simplified model"});
  };
  for (const auto& list : {config.include_nodes, config.exclude_nodes})
    for (const std::string& name : list) require(known.nodes, name, "node");
  for (const auto& [name, precision] : config.precision) require(known.nodes, name, "node");
  for (const auto& [name, range] : config.ranges) require(known.values, name, "value");
}

Planner::Planner(Graph& graph, const Config& config, const std::vector<bool>& observed,
                 std::set<ValueId> unranged)
    : graph(graph),
      config(config),
      index(graph),
      known(graph, index),
      rules(runtime_named(config.runtime)),
      unranged_(std::move(unranged)) {
  plan.nodes.resize(graph.nodes.size());
  plan.group.assign(graph.values.size(), -1);
  plan.integer.assign(graph.values.size(), false);
  std::vector<std::string_view> why_not;
  for (const Node& n : graph.nodes) {
    const OpDef* d = defs_.emplace_back(find_op(n));
    why_not.push_back(d && d->quant.why_not ? d->quant.why_not(GraphInferContext(graph, n)) : "");
    kinds_.push_back(d && why_not.back().empty() ? d->quant.kind : QuantRule::Kind::kFloat);
  }
  find_logarithms();
  for (int32_t i = 0; i < count(); ++i) {
    precision_.push_back(choose_precision(i));
    find_weights(i);
    at(i).kept = quantized_already(i);
    std::string& why = at(i).why;
    why = why_not_chosen(i);
    chosen_.push_back(why.empty());
    if (why.empty()) why = why_not[static_cast<size_t>(i)];
    if (why.empty()) why = why_in_float(i, observed);
    allowed_.push_back(why.empty());
  }
}

Precision Planner::choose_precision(int32_t i) {
  const auto own = config.precision.find(node(i).name);
  if (own != config.precision.end()) {
    logarithms_[static_cast<size_t>(i)] = false;
    return own->second;
  }
  return {before_logarithm(i) ? DType::kUndefined : config.activations, config.weights};
}

void Planner::find_weights(int32_t i) {
  const Node& n = node(i);
  const OpDef* d = def(i);
  NodePlan& p = at(i);
  p.data = find_data(i);
  p.weight = weight(i);
  p.transposed_by = transposed_by(i);
  if (p.weight != kNoValue) p.weight_slot = d->quant.weight;  // NOLINT(bugprone-signed-char-misuse): a number
  if (const ValueId t = table(i); t != kNoValue) p.weight_slot = 0, p.weight = t;
  if (std::vector<int> slots = stored(i); !slots.empty()) {
    p.weight_slot = slots[0];
    p.weight = n.inputs[static_cast<size_t>(slots[0])];
    p.more_slots.assign(slots.begin() + 1, slots.end());
  }
  if (weight(i) != kNoValue && p.transposed_by < 0 && d->quant.bias >= 0 &&
      graph.constant(n.input(static_cast<size_t>(d->quant.bias))))
    p.bias_slot = d->quant.bias;  // NOLINT(bugprone-signed-char-misuse): a number
}

std::string Planner::why_not_chosen(int32_t i) const {
  const Node& n = node(i);
  const OpDef* d = def(i);
  if (!d) {
    return !n.refusal         ? "its operator is not known here: passed through as it is"
           : n.refusal->fused ? n.refusal->why
                              : "passed through as it is: " + n.refusal->why;
  }
  if (d->role != QdqRole::kNone) return "quantization that was in the model already";
  if (kept(i)) return "quantized in the model already: kept as it is";
  return why_left(i);
}

std::string Planner::why_left(int32_t i) const {
  const Node& n = node(i);
  if (config.only_prepares) return "the model is only simplified";
  if (lists(config.exclude_nodes, n.name)) return "excluded by its name";
  if (lists_op(config.exclude_ops, n)) return "excluded by its operator";
  if (!config.include_nodes.empty() && !lists(config.include_nodes, n.name))
    return "not among the nodes that were chosen";
  if (!config.include_ops.empty() && !lists_op(config.include_ops, n))
    return "its operator is not among those that were chosen";
  if (precision(i).activations == DType::kUndefined && precision(i).weights == DType::kUndefined)
    return "kept in float by its own precision";
  const auto left = config.left_float.find(n.name);
  return left == config.left_float.end() ? "" : left->second;
}

std::string Planner::why_in_float(int32_t i, const std::vector<bool>& observed) {
  const Node& n = node(i);
  const OpDef& d = *def(i);
  if (d.quant.kind == QuantRule::Kind::kFloat && at(i).weight == kNoValue)
    return d.quant.why_float.empty() ? "has no integer form" : std::string(d.quant.why_float);
  if (at(i).data.empty()) {
    const ValueId v = n.input(0);
    const DType type = v == kNoValue ? DType::kFloat32 : graph[v].dtype;
    if (type == DType::kUndefined) return "reads a value of an operator that is not known here";
    if (is_float(type) && type != DType::kFloat32)
      return "its values are " + in_words(type) + "; only float32 is quantized";
    return "works on integers already (shapes, indices)";
  }
  const auto unseen = [&](ValueId v) {
    return v != kNoValue && !observed.empty() && !graph.constant(v) && !observed[static_cast<size_t>(v)];
  };
  if (std::ranges::any_of(n.inputs, unseen) || std::ranges::any_of(n.outputs, unseen))
    return "comes after an operator that is not known here, so that its values cannot be observed";
  if (transposes_weights(i)) return "transposes a weight that is stored once for all its readers";
  return unfit_constant(i);
}

// What measures sound takes the power of each frequency, sums and then logarithms of it. 8 bits are steps of
// a 255th of the loudest, and of all that is quieter than that a logarithm makes noise as loud as what it
// stands for: activations on that road stay float. It goes back from each logarithm through clamps, sums,
// products, roots, powers and what moves values, and from a layer with weights on (a filter bank, a Fourier
// transform) through clamps no more, since those are the ends of a network's layers.
void Planner::find_logarithms() {
  enum : uint8_t { kNone, kBehindLayers, kBeforeLayers };
  std::vector<uint8_t> road(graph.values.size(), kNone);
  logarithms_.assign(graph.nodes.size(), false);
  for (int32_t i = count(); i-- > 0;) {
    const OpDef* d = def(i);
    if (!d) continue;
    const bool product = d->quant.kind == QuantRule::Kind::kProduct;
    uint8_t at = kNone;
    if (d->quant.of_small == QuantRule::OfSmall::kMagnified) {
      at = kBeforeLayers;
    } else {
      for (const ValueId v : node(i).outputs)
        if (v != kNoValue) at = std::max(at, road[static_cast<size_t>(v)]);
      const bool clamps =
          at == kBeforeLayers && d->as_clamp && d->as_clamp(GraphInferContext(graph, node(i)));
      if (!product && !clamps && d->quant.kind != QuantRule::Kind::kSameScale &&
          d->quant.of_small != QuantRule::OfSmall::kKept)
        at = kNone;
      logarithms_[static_cast<size_t>(i)] = at != kNone;
      if (product && at != kNone) at = kBehindLayers;
    }
    for (const ValueId v : node(i).inputs)
      if (v != kNoValue && graph[v].dtype == DType::kFloat32)
        road[static_cast<size_t>(v)] = std::max(road[static_cast<size_t>(v)], at);
  }
}

std::string Planner::unfit_constant(int32_t i) {
  std::vector<ValueId> reads = data(i);
  reads.push_back(at(i).weight);
  for (const int slot : at(i).more_slots) reads.push_back(node(i).inputs[static_cast<size_t>(slot)]);
  const int8_t inserts = def(i)->quant.inserts;
  const ValueId inserted = inserts < 0 ? kNoValue : node(i).input(static_cast<size_t>(inserts));
  reads.push_back(inserted);
  for (const ValueId v : reads) {
    const Tensor* t = graph.constant(v);
    if (!t || t->dtype() != DType::kFloat32) continue;
    const auto [it, added] = finite_.try_emplace(v, true);
    if (added) range_of(*t, &it->second);
    if (it->second && v == inserted && beyond(range_of(*t), kMask))
      return "pads with '" + graph[v].name + "', which lies far beyond the range that a scale can cover";
    if (it->second) continue;
    // Masks hold infinity on purpose; weights do not.
    if (added && v == at(i).weight)
      plan.warnings.push_back("weight '" + graph[v].name + "' holds NaN or infinity: '" + node(i).name +
                              "' stays float");
    return "reads '" + graph[v].name + "', which holds NaN or infinity";
  }
  return "";
}

std::vector<ValueId> Planner::find_data(int32_t i) const {
  std::vector<ValueId> data;
  if (!def(i)) return data;
  const QuantRule& rule = def(i)->quant;
  const Node& n = node(i);
  // What an operator makes that is not known here may have no type; a product's inputs have that of its
  // weight.
  const bool by_weight = weight(i) != kNoValue;
  const auto take = [&](ValueId v) {
    if (v == kNoValue) return;
    const DType t = graph[v].dtype;
    if (t == DType::kFloat32 || (t == DType::kUndefined && by_weight)) data.push_back(v);
  };
  if (rule.data.all()) {
    for (ValueId v : n.inputs) take(v);
  } else {
    for (const auto k : rule.data) take(n.input(static_cast<size_t>(k)));
    const bool listed = rule.data.has(rule.weight);
    if (rule.kind == QuantRule::Kind::kProduct && rule.weight >= 0 && !listed && weight(i) == kNoValue)
      take(n.input(static_cast<size_t>(rule.weight)));
  }
  if (const ValueId w = weight(i); w != kNoValue) std::erase(data, w);
  return data;
}

ValueId Planner::weight(int32_t i) const {
  if (kind(i) != QuantRule::Kind::kProduct || def(i)->quant.weight < 0) return kNoValue;
  ValueId v = node(i).input(static_cast<size_t>(def(i)->quant.weight));
  if (const int32_t t = transposed_by(i); t >= 0) v = node(t).input(0);
  const Tensor* t = graph.constant(v);
  return t && t->dtype() == DType::kFloat32 && t->size() > 0 ? v : kNoValue;
}

int32_t Planner::transposed_by(int32_t i) const {
  if (kind(i) != QuantRule::Kind::kProduct || def(i)->quant.weight < 0) return -1;
  const ValueId v = node(i).input(static_cast<size_t>(def(i)->quant.weight));
  const int32_t maker = v == kNoValue ? -1 : producer(v);
  return maker >= 0 && def(maker) && def(maker)->moved_axis && graph.constant(node(maker).input(0)) ? maker
                                                                                                    : -1;
}

// Nothing but products reads what it makes, each as its weight.
bool Planner::transposes_weights(int32_t i) const {
  if (!def(i) || !def(i)->moved_axis || !graph.constant(node(i).input(0))) return false;
  const ValueId v = node(i).output(0);
  const std::vector<int32_t>& readers = consumers(v);
  return !graph.is_output(v) && !readers.empty() &&
         std::all_of(readers.begin(), readers.end(), [&](int32_t r) { return transposed_by(r) == i; });
}

ValueId Planner::table(int32_t i) const {
  if (kind(i) != QuantRule::Kind::kSameScale || transposes_weights(i)) return kNoValue;
  const ValueId v = node(i).input(0);
  const Tensor* t = graph.constant(v);
  return t && t->dtype() == DType::kFloat32 && t->size() >= kTable ? v : kNoValue;
}

// An embedding is picked from what this product multiplies with.
bool Planner::is_also_table(int32_t i) const {
  const ValueId w = weight(i);
  if (w == kNoValue) return false;
  const std::vector<int32_t>& readers = consumers(w);
  return std::any_of(readers.begin(), readers.end(),
                     [&](int32_t r) { return r != i && table(r) == w && allowed(r); });
}

std::vector<int> Planner::stored(int32_t i) const {
  std::vector<int> slots;
  if (!def(i) || kind(i) != QuantRule::Kind::kFloat || !def(i)->quant.channel_axis) return slots;
  for (const auto k : def(i)->weights) {
    const Tensor* t = graph.constant(node(i).input(static_cast<size_t>(k)));
    if (!t || t->dtype() != DType::kFloat32 || t->size() < kSmallestStored) continue;
    if (def(i)->quant.channel_axis(node(i), static_cast<int>(t->dims().size())) >= 0) slots.push_back(k);
  }
  return slots;
}

void Planner::quantize_stored() {
  for (int32_t i = 0; i < count(); ++i) {
    if (!allowed(i) || (table(i) == kNoValue && stored(i).empty()) ||
        precision(i).weights == DType::kUndefined)
      continue;
    if (trained && table(i) == kNoValue) {
      at(i).why = "its weights are trained, and stay float32";
      continue;
    }
    const DType dtype = bits_of(precision(i).weights) == 8 ? precision(i).weights : DType::kInt8;
    quantize_weights(i, dtype, channels(i),
                     table(i) != kNoValue ? "the rows that it reads from the table are float32"
                                          : "it computes in float32");
  }
}

bool Planner::reads_dequantized(int32_t i, size_t input) const {
  const ValueId v = node(i).input(input);
  const int32_t maker = v == kNoValue ? -1 : producer(v);
  return maker >= 0 && def(maker) && def(maker)->role == QdqRole::kDequantize;
}

bool Planner::quantized_already(int32_t i) const {
  if (!def(i) || def(i)->role != QdqRole::kNone) return false;
  const Node& n = node(i);
  if (kind(i) == QuantRule::Kind::kProduct) {
    if (weight(i) != kNoValue) return false;
    for (size_t k = 0; k < n.inputs.size(); ++k)
      if (reads_dequantized(i, k)) return true;
    return false;
  }
  // A recurrence, which computes in float with weights that are integers.
  const auto is_stored = [&](int8_t slot) {
    const ValueId v = n.input(static_cast<size_t>(slot));
    int32_t maker = v == kNoValue ? -1 : producer(v);
    while (maker >= 0 && def(maker) && kind(maker) == QuantRule::Kind::kSameScale &&
           !node(maker).inputs.empty())
      maker = producer(node(maker).inputs[0]);
    return maker >= 0 && def(maker) && def(maker)->role == QdqRole::kDequantize &&
           graph.constant(node(maker).input(0));
  };
  if (kind(i) == QuantRule::Kind::kFloat && std::ranges::any_of(def(i)->weights, is_stored)) return true;
  const auto is_q = [&](int32_t r) { return def(r) && def(r)->role == QdqRole::kQuantize; };
  const ValueId out = n.output(0);
  const bool quantized_after = out != kNoValue && !consumers(out).empty() &&
                               std::all_of(consumers(out).begin(), consumers(out).end(), is_q);
  return !n.inputs.empty() && reads_dequantized(i, 0) &&
         (quantized_after || kind(i) == QuantRule::Kind::kSameScale);
}

int32_t Planner::only_consumer(ValueId v) const {
  if (v == kNoValue || graph.is_output(v)) return -1;
  const std::vector<int32_t>& readers = consumers(v);
  return readers.size() == 1 ? readers[0] : -1;
}

bool Planner::keeps_shape(int32_t i, ValueId from) const {
  const ValueId to = node(i).output(0);
  return graph[from].shape && graph[to].shape == graph[from].shape;
}

bool Planner::elementwise(int32_t i) const {
  if (kind(i) != QuantRule::Kind::kRescaled || !allowed(i)) return false;
  if (def(i)->unary) return true;
  int computed = 0;
  for (ValueId v : data(i)) {
    const Tensor* t = graph.constant(v);
    if (t && t->size() != 1) return false;
    computed += t == nullptr;
  }
  return computed == 1;
}

std::vector<int32_t> Planner::finish(int32_t i) const {
  std::vector<int32_t> nodes;
  ValueId out = node(i).output(0);
  const auto take = [&](int32_t next) {
    nodes.push_back(next);
    out = node(next).output(0);
  };
  if (elementwise(i)) {
    // Functions of one element, one after the other, are one function: from integers to integers in one step.
    // So also where a runtime has integer kernels for some of them alone: to round between two costs more
    // than floats do.
    for (int32_t next = only_consumer(out); next >= 0 && elementwise(next) && keeps_shape(next, out);
         next = only_consumer(out))
      take(next);
    return nodes;
  }
  bool fuses_clamp = def(i) && def(i)->fuses_clamp;
  // A constant added to a product's float sums costs no rounding of its own, as a bias would not.
  while (kind(i) == QuantRule::Kind::kProduct && !rounds(i)) {
    const int32_t next = only_consumer(out);
    if (next < 0 || kind(next) != QuantRule::Kind::kRescaled || !allowed(next) || !keeps_shape(next, out))
      break;
    const std::vector<ValueId>& inputs = data(next);
    const auto constants =
        std::count_if(inputs.begin(), inputs.end(), [&](ValueId v) { return graph.constant(v); });
    if (constants == 0 || constants + 1 != static_cast<int64_t>(inputs.size())) break;
    fuses_clamp = fuses_clamp || def(next)->fuses_clamp;
    take(next);
  }
  const int32_t last = only_consumer(out);
  if (fuses_clamp && last >= 0 && def(last) && def(last)->as_clamp && node(last).input(0) == out &&
      def(last)->as_clamp(GraphInferContext(graph, node(last))))
    take(last);
  return nodes;
}

Grouping Planner::channels(int32_t i) const {
  const ValueId w = plan.nodes[static_cast<size_t>(i)].weight;
  if (!config.per_channel || w == kNoValue || !def(i)->quant.channel_axis) return {};
  const int rank = static_cast<int>(graph.constant(w)->dims().size());
  int axis = def(i)->quant.channel_axis(node(i), rank);
  // As the constant has it, which other nodes read as it stands.
  if (const int32_t t = transposed_by(i); t >= 0 && axis >= 0) axis = def(t)->moved_axis(node(t), rank, axis);
  if (axis < 0 || axis >= rank) return {};
  const Shape& dims = graph.constant(w)->dims();
  bool joined = false;
  for (size_t d = 0; def(i)->quant.leading_channels && d < static_cast<size_t>(axis); ++d)
    joined = joined || dims[d] != 1;
  return {.axis = axis, .joined = joined};
}

Grouping Planner::integer_channels(int32_t i) const {
  const ValueId w = plan.nodes[static_cast<size_t>(i)].weight;
  const bool batch = w != kNoValue && graph.constant(w)->dims().size() > 2 && def(i)->quant.channel_dim < 0;
  const bool middle = is_signed_integer(precision(i).weights) && config.symmetric_weights;
  return batch && !middle ? Grouping{} : channels(i);
}

std::optional<Grouping> Planner::blocks(int32_t i) const {
  if (weight(i) == kNoValue || transposed_by(i) >= 0 || !def(i)->quant.block_axis) return std::nullopt;
  const int rank = static_cast<int>(graph.constant(weight(i))->dims().size());
  const int axis = def(i)->quant.block_axis(node(i), rank);
  if (axis < 0 || axis >= rank) return std::nullopt;
  int64_t block = config.block_size;
  if (rules.whole_blocks && config.format == kQdq) {
    block = whole_block(graph.constant(weight(i))->dims()[static_cast<size_t>(axis)], block);
    if (block == 0) return std::nullopt;
  }
  return Grouping{.axis = axis, .block_size = block};
}

void Planner::quantize_weights(int32_t i, DType dtype, const Grouping& grouping,
                               const std::string& activations) {
  NodePlan& p = at(i);
  // A table that serves twice is stored once, as tables are.
  if ((p.transposed_by >= 0 || is_also_table(i)) && bits_of(dtype) < 8)
    return quantize_weights(i, DType::kInt8, channels(i), activations);
  if (dtype == DType::kFloat16) {
    constexpr float kLargest = 65504;  // IEEE 754-2008, binary16
    std::vector<ValueId> weights{p.weight};
    for (int slot : p.more_slots) weights.push_back(node(i).inputs[static_cast<size_t>(slot)]);
    for (const ValueId w : weights) {
      const Extremes found = extremes_of(*graph.constant(w));
      if (!found.finite || found.lo < -kLargest || found.hi > kLargest) {
        p.why = "has weights beyond the largest number of float16";
        return;
      }
    }
  }
  p.quantized = true;
  p.weights = dtype;
  if (dtype != DType::kFloat16) p.grouping = grouping;
  p.why = in_words(dtype, grouping) + "; " + activations;
}

}  // namespace zp::quant
