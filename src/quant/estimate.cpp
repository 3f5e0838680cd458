#include "quant/estimate.h"

#include <algorithm>
#include <set>

#include "core/stopwatch.h"
#include "graph/subgraphs.h"
#include "ops/infer.h"
#include "quant/matrix.h"
#include "quant/qdq.h"
#include "quant/report_builder.h"
#include "quant/spread.h"

namespace zp::quant {
namespace {

// As GPTQ and its like have it: bytes of patches of one layer (rounding.cpp), and of samples that repairs
// hold (layerwise.cpp).
constexpr double kPatchBytes = 96.0 * 1024 * 1024, kLayerwiseBytes = 512.0 * 1024 * 1024;
constexpr double kValuesHeld = 4;
// Of samples that a job keeps (feeder.cpp).
constexpr double kFedBytes = 256.0 * 1024 * 1024;
constexpr size_t kFedSamples = 256;
// Work on a weight, in looks at it: one of few bits has scales tried, and zero points with them
// (numbers.cpp).
constexpr double kTries = 8, kTriesWithZeroPoint = 20, kPlain = 1.7;

double elements_of(const Value& v) {
  const std::optional<Shape> dims = v.shape ? concrete(*v.shape) : std::nullopt;
  return dims ? static_cast<double>(element_count(*dims)) : -1;
}

double bytes_of_value(const Value& v) {
  const double elements = elements_of(v);
  return elements < 0 ? 0 : elements * std::max(bits_of(v.dtype), 8) / 8;
}

// What a run of a graph computes.
struct RunCost {
  double macs = 0, values = 0;    // multiply-accumulates; numbers
  double largest = 0, arena = 0;  // bytes: of one value, and of all that are needed at a time
  bool whole = true;              // nothing in it is unknown
  // One of two runs: at most so much.
  void include(const RunCost& other) {
    macs = std::max(macs, other.macs), values = std::max(values, other.values);
    largest = std::max(largest, other.largest), arena = std::max(arena, other.arena);
    whole = whole && other.whole;
  }
};

RunCost cost_of_run(Graph& graph) {
  RunCost run;
  const auto count = static_cast<int32_t>(graph.nodes.size());
  std::vector<int32_t> last(graph.values.size(), -1);
  for (int32_t i = 0; i < count; ++i)
    for_each_read(graph.nodes[static_cast<size_t>(i)], [&](ValueId v) { last[static_cast<size_t>(v)] = i; });
  for (const ValueId v : graph.outputs) last[static_cast<size_t>(v)] = count;
  std::vector<bool> in_arena(graph.values.size(), false);
  double live = 0;
  for (int32_t i = 0; i < count; ++i) {
    Node& node = graph.nodes[static_cast<size_t>(i)];
    const OpDef* def = find_op(node);
    const GraphInferContext context(graph, node);
    if (def && def->macs) run.macs += def->macs(context);
    // The branch that takes most counts. Nobody knows how often the body of a loop runs.
    RunCost inner;
    for (Graph& sub : subgraphs(node)) inner.include(cost_of_run(sub));
    run.macs += inner.macs;
    run.values += inner.values;
    run.largest = std::max(run.largest, inner.largest);
    run.arena = std::max(run.arena, live + inner.arena);
    run.whole = run.whole && inner.whole && (subgraphs(node).empty() || (def && def->taken));
    for (const ValueId v : node.outputs) {
      if (v == kNoValue) continue;
      const double elements = elements_of(graph[v]), bytes = bytes_of_value(graph[v]);
      run.whole = run.whole && elements >= 0;
      run.values += std::max(elements, 0.0);
      run.largest = std::max(run.largest, bytes);
      // What works on each element alone is written over its input, and other dimensions are no other memory.
      const ValueId from = node.input(0);
      const bool over = def && from != kNoValue && in_arena[static_cast<size_t>(from)] &&
                        last[static_cast<size_t>(from)] == i && bytes == bytes_of_value(graph[from]) &&
                        (def->unary || def->broadcasts ||
                         (def->quant.kind == QuantRule::Kind::kSameScale && !def->moved_axis));
      if (over) in_arena[static_cast<size_t>(from)] = false;
      if (!over) live += bytes;
      in_arena[static_cast<size_t>(v)] = true;
    }
    run.arena = std::max(run.arena, live);
    const auto leave = [&](ValueId v) {
      if (v == kNoValue || !in_arena[static_cast<size_t>(v)] || last[static_cast<size_t>(v)] > i) return;
      in_arena[static_cast<size_t>(v)] = false;
      live -= bytes_of_value(graph[v]);
    };
    for_each_read(node, leave);
    for (const ValueId v : node.outputs) leave(v);  // that nobody reads
  }
  return run;
}

// What models reach of the speed of one product that fits the caches.
constexpr double kOfPeak = 0.6;

}  // namespace

void Estimate::add(std::string_view phase, double held, const StageCost& cost) {
  phases.push_back(
      {.name = std::string(phase), .bytes = held + cost.bytes, .macs = cost.macs, .touched = cost.touched});
}

const Estimate::Phase* Estimate::worst() const {
  const auto it = std::max_element(phases.begin(), phases.end(),
                                   [](const Phase& a, const Phase& b) { return a.bytes < b.bytes; });
  return it == phases.end() ? nullptr : &*it;
}

double Estimate::macs() const {
  double sum = 0;
  for (const Phase& p : phases) sum += p.macs;
  return sum;
}

double Estimate::touched() const {
  double sum = 0;
  for (const Phase& p : phases) sum += p.touched;
  return sum;
}

Speed measure_speed(double milliseconds, int threads) {
  constexpr int64_t kSide = 256, kRows = 64;
  const std::vector<float> matrix(kSide * kSide, 0.5F);
  const std::vector<float> left(kRows * kSide + kReadSlack, 0.25F);
  std::vector<float> out(kRows * kSide);
  const std::shared_ptr<ThreadPool> pool = runtime::shared_pool(threads);
  const RightMatrix right(matrix.data(), kSide, kSide);
  const Tensor weight = Tensor::of<float>({kSide, kSide}, std::span<const float>(matrix));
  const WeightSpec spec{.dtype = DType::kInt8, .grouping = {.axis = 0}, .min_scale = {}};
  const auto per_millisecond = [&](double each, auto&& work) {
    const double begin = monotonic_milliseconds();
    double done = 0, now = begin;
    while (done == 0 || now - begin < milliseconds / 2) {
      work();
      done += each;
      now = monotonic_milliseconds();
    }
    return done / std::max(now - begin, 1e-3);
  };
  Speed speed;
  speed.macs = per_millisecond(static_cast<double>(kRows * kSide * kSide),
                               [&] { right.multiply(left.data(), kRows, out.data(), pool.get()); });
  speed.touched =
      per_millisecond(kPlain * static_cast<double>(kSide * kSide), [&] { quantize_weight(weight, spec); });
  return speed;
}

double milliseconds_of(const Estimate::Phase& phase, const Speed& speed) {
  return phase.macs / (kOfPeak * speed.macs) + phase.touched / speed.touched;
}

Workload::Workload(const JobState& state, const Expected& expected_samples)
    : expected(expected_samples), config(state.config) {
  look_at_values(state);
  look_at_weights(state);
}

double Workload::kept_samples(size_t most, double most_bytes) const {
  const auto count = static_cast<double>(std::min(most, expected.samples));
  return std::min(count * sample_bytes, std::max(most_bytes, sample_bytes));
}

void Workload::look_at_values(const JobState& state) {
  const Graph& prepared = state.prepared->graph;
  std::map<ValueId, Shape> fed;
  for (const ValueId v : prepared.inputs)
    if (const auto it = expected.dims.find(prepared[v].name); it != expected.dims.end()) fed[v] = it->second;
  Graph graph = with_shapes(prepared, fed);
  for (const ValueId v : graph.inputs) sample_bytes += bytes_of_value(graph[v]);

  const RunCost run = cost_of_run(graph);
  macs = run.macs, values = run.values, largest_value = run.largest, arena_ = run.arena, whole = run.whole;

  for (size_t i = 0; i < state.plan.nodes.size(); ++i) {
    const NodePlan& p = state.plan.nodes[i];
    const Node& node = prepared.nodes[i];
    const OpDef* def = find_op(node);
    if (!def || def->quant.kind != QuantRule::Kind::kProduct || p.weight == kNoValue ||
        p.transposed_by >= 0 || p.weights == DType::kUndefined || p.weights == DType::kFloat16)
      continue;
    const Tensor& t = *prepared.constant(p.weight);
    const int rank = static_cast<int>(t.dims().size());
    const int axis = def->quant.channel_axis ? def->quant.channel_axis(node, rank) : -1;
    if (axis < 0 || t.size() == 0) continue;
    WeightedLayer layer;
    layer.rows = static_cast<double>(t.dims()[static_cast<size_t>(axis)]);
    layer.depth = static_cast<double>(t.size()) / layer.rows;
    layer.rank = t.dims().size();
    layer.bits = bits_of(p.weights);
    layer.positions = std::max(0.0, elements_of(graph[node.output(0)]) / layer.rows);
    layers.push_back(layer);
  }
}

void Workload::look_at_weights(const JobState& state) {
  std::set<TensorKey> before, seen;
  for (const Tensor& t : stored_constants(state.source->graph)) before.insert(key_of(t));
  for (const Tensor& t : stored_constants(state.prepared->graph)) {
    const auto bytes = static_cast<double>(t.bytes());
    if (t.file()) {
      in_files_ += bytes;
    } else if (!before.contains(key_of(t))) {
      folded += bytes;
    }
  }
  std::set<std::pair<TensorKey, DType>> placed_already;
  const auto look = [&](const Graph& graph, const Plan& plan) {
    for (size_t i = 0; i < plan.nodes.size(); ++i) {
      const NodePlan& p = plan.nodes[i];
      const Node& node = graph.nodes[i];
      const OpDef* def = find_op(node);
      const bool product = def && def->quant.kind == QuantRule::Kind::kProduct;
      for (const ValueId v : node.inputs) {
        const Tensor* t = graph.constant(v);
        if (!product || !t || t->dtype() != DType::kFloat32 || t->dims().size() < 2) continue;
        if (!seen.insert(key_of(*t)).second) continue;
        packed_ += static_cast<double>(t->bytes());
        const bool integers = p.weights != DType::kUndefined && p.weights != DType::kFloat16;
        packed_quantized_ += static_cast<double>(integers ? bytes_of(p.weights, t->size()) : t->bytes());
      }
      if (p.weights == DType::kUndefined || p.weight == kNoValue) continue;
      std::vector<ValueId> weights{p.weight};
      for (const int slot : p.more_slots) weights.push_back(node.input(static_cast<size_t>(slot)));
      for (const ValueId v : weights) {
        const Tensor& t = *graph.constant(v);
        if (!placed_already.emplace(key_of(t), p.weights).second) continue;
        const auto elements = static_cast<double>(t.size());
        const bool half = p.weights == DType::kFloat16;
        placed += static_cast<double>(bytes_of(stored_as(p.weights), t.size())) +
                  (half ? 0 : 4 * static_cast<double>(scale_count(t, p.grouping)));
        largest_weight = std::max(largest_weight, elements);
        quantized += elements;
        const bool few = !half && bits_of(p.weights) < 8;
        passes += elements * (!few ? kPlain : config.symmetric_weights ? kTries : kTriesWithZeroPoint);
      }
    }
  };
  look(state.prepared->graph, state.plan);
  for (const auto& [graph, plan] : state.branches) look(*graph, plan);
}

void add_layerwise(const Workload& w, size_t samples, StageCost& cost) {
  const auto count = static_cast<double>(std::min(samples, w.expected.samples));
  // Values between two layers, of both models; a layer is packed for a session of its own.
  const double values = std::min(kLayerwiseBytes, kValuesHeld * w.largest_value * count);
  cost.bytes = w.kept_samples(samples, SampleKeeper::kBytes) + std::max(values, 2 * w.largest_value) +
               4 * w.largest_weight;
  cost.macs = 2 * count * w.macs;
  cost.touched = 2 * count * w.values;
}

void add_rounding(const Workload& w, size_t samples, size_t patches, const SolverCost& solver,
                  StageCost& cost) {
  add_layerwise(w, samples, cost);
  const auto count = static_cast<double>(std::min(samples, w.expected.samples));
  double most = 0;
  for (const WeightedLayer& l : w.layers) {
    const double pairs = l.depth * l.depth, elements = l.elements();
    double seen = std::min(static_cast<double>(patches), kPatchBytes / (4 * l.depth));
    if (l.positions > 0) seen = std::min(seen, l.positions * count);
    // The weight, its scale, codes and their ends (RoundingProblem); patches, and twice more as factors.
    const double problem = 32 * elements + 4 * pairs + 4 * seen * (l.depth + l.rows);
    const double added_up = 8 * seen * l.depth;
    const double solving = solver.per_weight * elements + solver.per_pair * pairs;
    most = std::max(most, problem + std::max(added_up, solving));
    cost.macs += seen * pairs + 2 * seen * elements + solver.macs * l.rows * pairs;
    cost.touched += solver.scalar * (l.rows * pairs + l.depth * pairs / 3);
  }
  cost.bytes += most;
}

double kept_samples_of(const Workload& w, size_t sweeps, const Expected& expected) {
  if (sweeps < 2) return 0;
  return w.kept_samples(expected.once ? expected.samples : kFedSamples, kFedBytes);
}

StageCost cost_of_checking(const Workload& w, const StageCost& repair) {
  constexpr size_t kModels = 4,
                   kHeldOut = 8;  // the float model, with it, without it, and made from all samples
  const StageCost errors = cost_of_output_errors(w, kHeldOut, kModels);
  StageCost cost = repair;
  cost.held += w.placed;  // the layers as they were
  cost.bytes = std::max(cost.bytes, errors.bytes);
  cost.macs = 2 * cost.macs + errors.macs;
  cost.touched = 2 * cost.touched + errors.touched;
  return cost;
}

StageCost cost_of_layer_errors(const Workload& w, size_t samples) {
  const auto count = static_cast<double>(std::min(samples, std::max<size_t>(w.expected.samples, 1)));
  StageCost cost;
  cost.bytes = w.session() + w.quantized_session();
  cost.macs = 2 * count * w.macs;
  cost.touched = 8 * count * w.values;
  return cost;
}

StageCost cost_of_output_errors(const Workload& w, size_t samples, size_t models) {
  const auto runs = static_cast<double>(std::min(samples, w.expected.samples) * models);
  StageCost cost;
  cost.bytes = std::max(w.session(), w.quantized_session());
  cost.macs = runs * w.macs;
  cost.touched = runs * w.values;
  return cost;
}

}  // namespace zp::quant
