#include "quant/runtimes.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "graph/subgraphs.h"
#include "onnx/onnx.h"
#include "ops/op.h"
#include "quant/format.h"
#include "quant/hoist.h"
#include "quant/qdq.h"
#include "quant/quantization_job.h"
#include "quant/scheme.h"

namespace zp::quant {
namespace {

constexpr DTypes kAll{DType::kInt8, DType::kUint8, DType::kInt16, DType::kUint16,
                      DType::kInt4, DType::kUint4, DType::kInt2,  DType::kUint2};
constexpr DTypes kWhole{DType::kInt8, DType::kUint8, DType::kInt16, DType::kUint16};

constexpr std::string_view kIntegerOperators =
    " ConvInteger MatMulInteger QLinearConv QLinearMatMul DynamicQuantizeLinear";

// onnxruntime's core/optimizer/qdq_transformer/selectors_actions/qdq_selector_action_transformer.cc, and its
// optimized graphs.
constexpr std::string_view kOnnxRuntimeFuses =
    " Conv MatMul Gemm Add Mul AveragePool GlobalAveragePool LeakyRelu Sigmoid Softmax Where";
constexpr std::string_view kOnnxRuntimeLeaves = " MatMul Gemm ConvTranspose";
constexpr std::string_view kOnnxRuntimeJoins = " MatMul";
// Before opset 9 its optimizer finds no Transpose before a MatMul
// (core/optimizer/matmul_transpose_fusion.cc).
constexpr int64_t kOnnxRuntimeLeast = 9;
// A page has 4 GiB of memory at most, and ONNX Runtime has weights twice while it packs them.
constexpr int64_t kFloatsOfPage = int64_t{512} << 20;

// clang-format off
const std::vector<RuntimeRules> kRuntimes{
    // Opened and run here. Its kernels: onnxruntime's docs/OperatorKernels.md. As tried with 1.32, it opens files of opset
    // 28, but has no kernel for their QuantizeLinear.
    {.name = "onnxruntime", .title = "ONNX Runtime (CPU, 1.20 and newer)",
     .checked = "run in ONNX Runtime 1.32 on Linux, x86-64", .fallback = "it refuses the file",
     .opset = 27, .least_opset = kOnnxRuntimeLeast, .activations = kWhole, .weights = kAll, .symmetric = false, .symmetric_weights = false,
     .blocks = true, .int32_bias = true, .without = "", .contrib = "*", .dequantizes_in_runs = true, .joins_weights = kOnnxRuntimeJoins, .fused = true, .falls_back = false,
     .fuses = kOnnxRuntimeFuses, .leaves_floats = kOnnxRuntimeLeaves},
    // The same kernels as WebAssembly; the newest opset as tried with 1.30. Its MatMulNBits took 3.3 times as long as its
    // MatMul with 16 rows, of 8 bits as of 4 (npm run bench:elsewhere, minilm16).
    {.name = "onnxruntime-web", .title = "ONNX Runtime Web (WebAssembly), transformers.js",
     .checked = "run in ONNX Runtime Web 1.30 in Node.js", .fallback = "it refuses the file",
     .opset = 26, .least_opset = kOnnxRuntimeLeast, .activations = kWhole, .weights = kAll, .symmetric = false, .symmetric_weights = false,
     .blocks = true, .whole_blocks = true, .int32_bias = true, .without = "", .contrib = "*", .dequantizes_in_runs = true, .joins_weights = kOnnxRuntimeJoins, .floats_at_load = kFloatsOfPage, .fused = true, .falls_back = false,
     .fuses = kOnnxRuntimeFuses, .leaves_floats = kOnnxRuntimeLeaves},
    // onnxruntime's js/web/docs/webgpu-operators.md and
    // onnxruntime/contrib_ops/webgpu/webgpu_contrib_kernels.cc: of the operators of quantization it has
    // DequantizeLinear, MatMulNBits and GatherBlockQuantized. All others run on the CPU, between copies of
    // their values. Its DequantizeLinear takes 8 and 4 bits, and no zero point with int32.
    {.name = "webgpu", .title = "ONNX Runtime Web (WebGPU)",
     .checked = "by these rules alone", .fallback = "they run on the CPU, with copies from and to the GPU",
     .opset = 26, .least_opset = kOnnxRuntimeLeast, .activations = {}, .weights = {DType::kInt8, DType::kUint8, DType::kInt4, DType::kUint4, DType::kInt2, DType::kUint2},
     .symmetric = false, .symmetric_weights = false, .blocks = true, .int32_bias = true,
     .without = " QuantizeLinear ConvInteger MatMulInteger QLinearConv QLinearMatMul DynamicQuantizeLinear",
     .contrib = " MatMulNBits GatherBlockQuantized Gelu FastGelu QuickGelu BiasGelu BiasSplitGelu BiasAdd FusedConv Attention "
                "MultiHeadAttention GroupQueryAttention SkipLayerNormalization SkipSimplifiedLayerNormalization RotaryEmbedding", .dequantizes_in_runs = true, .joins_weights = kOnnxRuntimeJoins, .fused = true, .falls_back = true},
    // openvino's src/frontends/onnx/docs/supported_ops.md: it knows operators up to the form of opset 23,
    // QuantizeLinear and DequantizeLinear up to 21. As tried, 2026.4 reads these of newer files as the form
    // of 21. By its src/frontends/onnx/frontend/src/op and its errors for our files, it does not open
    // QLinearConv and QLinearMatMul with scalar scales. Its MatMulNBits adds the bias to the weights in some
    // versions, so that blocks are written as Q/DQ pairs. Blocks have to divide the dimension: its error for
    // other blocks says so.
    {.name = "openvino", .title = "OpenVINO",
     .checked = "Q/DQ of every mode run in OpenVINO 2026.4 on a CPU", .fallback = "it refuses the file",
     .opset = 23, .activations = kWhole, .weights = {DType::kInt8, DType::kUint8, DType::kInt16, DType::kUint16, DType::kInt4, DType::kUint4},
     .symmetric = false, .symmetric_weights = false, .blocks = true, .whole_blocks = true, .int32_bias = true,
     .without = " QLinearConv QLinearMatMul",
     .contrib = " Attention BiasAdd BiasGelu DynamicQuantizeLSTM DynamicQuantizeMatMul EmbedLayerNormalization FastGelu "
                "FusedConv FusedGemm FusedMatMul GatherBlockQuantized Gelu GroupNorm GroupQueryAttention MatMulIntegerToFloat "
                "MultiHeadAttention Pad QLinearAdd QLinearConcat QLinearLeakyRelu QLinearMul QLinearSigmoid QuickGelu Range "
                "RotaryEmbedding SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization", .falls_back = false},
    // NVIDIA's "Working with Quantized Types": symmetric types alone, int8 for weights and activations, int4
    // for weights in blocks. onnx-tensorrt's docs/operators.md: opsets 9 to 24 (10.15; of 10.0, 9 to 20);
    // zero points are 0; no QLinear..., ...Integer, DynamicQuantizeLinear; DequantizeLinear takes int8, so
    // that biases stay float. No document says whether the last block may be shorter: ours divide the
    // dimension.
    {.name = "tensorrt", .title = "TensorRT 10",
     .checked = "by these rules alone", .fallback = "it refuses the file",
     .opset = 24, .activations = {DType::kInt8}, .weights = {DType::kInt8, DType::kInt4}, .symmetric = true,
     .symmetric_weights = true, .blocks = true, .whole_blocks = true, .int32_bias = false, .without = kIntegerOperators, .contrib = "", .falls_back = false},
    // ONNX Runtime's documentation of the QNN provider: Q/DQ with uint8 or uint16 activations and 8-bit
    // weights, int4 since 1.19; a scale per channel where zero points are 0. Operators that it does not take
    // run on the CPU. The opset is that of Qualcomm's own list, "Supported ONNX Ops" (80-63442-10):
    // QuantizeLinear and DequantizeLinear of 10 to 24.
    {.name = "qnn", .title = "ONNX Runtime with QNN (Qualcomm HTP)",
     .checked = "by these rules alone", .fallback = "they run on the CPU",
     .opset = 24, .activations = {DType::kUint8, DType::kUint16}, .weights = {DType::kInt8, DType::kUint8, DType::kInt4},
     .symmetric = false, .symmetric_weights = true, .blocks = false, .int32_bias = true, .without = kIntegerOperators,
     .contrib = "", .falls_back = true},
    // This package: it reads all files that it writes.
    {.name = "zeropoint", .title = "this package",
     .checked = "run here", .fallback = "it refuses the file",
     .opset = 28, .activations = kWhole, .weights = kAll, .symmetric = false, .symmetric_weights = false,
     .blocks = true, .int32_bias = true, .without = "", .contrib = "*", .falls_back = false},
};
// clang-format on

bool lists(std::string_view list, std::string_view name) {
  for (size_t at = list.find(name); at != std::string_view::npos; at = list.find(name, at + 1)) {
    const size_t end = at + name.size();
    if ((at == 0 || list[at - 1] == ' ') && (end == list.size() || list[end] == ' ')) return true;
  }
  return false;
}

std::string quoted(std::string_view name) { return "'" + std::string(name) + "'"; }

// The first type of `types` that can take the place of `t`.
DType instead_of(DType t, const DTypes& types) {
  for (const DType candidate : {DType::kInt8, DType::kUint8, DType::kUint16, DType::kInt16})
    if (types.has(candidate)) return candidate;
  return t;
}

class Adapter {
 public:
  explicit Adapter(Config& config) : c_(config), rules_(runtime_named(config.runtime)) {}

  void run() {
    if (!takes_mode(rules_, c_.mode))
      refuse("mode", "cannot find ranges in each run", "use mode 'static' or 'weight-only'");
    const bool integers = c_.mode == kAuto || scheme_named(c_.mode).needs_calibration;
    // If the runtime takes no type at all, the warning about the written file says so.
    const DType activations = instead_of(c_.activations, rules_.activations);
    if (integers && rules_.activations.has(activations) &&
        not_here(&RuntimeRules::activations, c_.activations))
      change("activations", c_.activations, activations,
             "takes only activations of the types " + rules_.activations.in_words(),
             "are " + std::string(name_of(activations)));
    if (integers && rules_.symmetric)
      change("symmetric", c_.symmetric_activations, true, "takes only zero points of 0", "are symmetric",
             "activations");
    const DType weights = instead_of(c_.weights, rules_.weights);
    if (not_here(&RuntimeRules::weights, c_.weights))
      change("weights", c_.weights, weights, "takes only weights of the types " + rules_.weights.in_words(),
             "are " + std::string(name_of(weights)));
    if (rules_.symmetric_weights)
      change("symmetricWeights", c_.symmetric_weights, true, "takes only weights with zero points of 0",
             "are symmetric", "weights");
    if (!c_.format.empty() && !takes_form(rules_, c_.mode, c_.format))
      refuse("format", "does not take the operators of this form", "leave it out");
    for (const auto& [node, own] : c_.precision) {
      const auto fits = [](DType t, const DTypes& types) {
        return t == DType::kUndefined || t == DType::kFloat16 || types.has(t);
      };
      if (!fits(own.weights, rules_.weights) || (integers && !fits(own.activations, rules_.activations)))
        refuse("precision", "does not take the types of node " + quoted(node),
               "activations: " + rules_.activations.in_words() + "; weights: " + rules_.weights.in_words());
    }
  }

 private:
  [[noreturn]] void refuse(std::string_view option, const std::string& why, const std::string& hint) const {
    throw_error(ErrorCode::kInvalidArgument, {option, ": runtime ", quoted(rules_.name), " ", why},
                {.hint = hint + ", or choose another runtime"});
  }
  // A type that zeropoint has and this runtime does not. The mode's own check refuses all others.
  bool not_here(DTypes RuntimeRules::* types, DType t) const {
    return (runtime_named("zeropoint").*types).has(t) && !(rules_.*types).has(t);
  }
  template <class T>
  void change(std::string_view option, T& value, T to, const std::string& why, const std::string& what,
              std::string_view of = {}) {
    if (value == to) return;
    if (c_.chosen.contains(option)) refuse(option, why, "leave it out");
    value = to;
    c_.adapted.push_back("for runtime " + quoted(rules_.name) + ", which " + why + ", " +
                         std::string(of.empty() ? option : of) + " " + what);
  }

  Config& c_;
  const RuntimeRules& rules_;
};

// " ('first', 'second', 'third' and 4 more)"
std::string in_brackets(const std::vector<const Node*>& nodes) {
  std::string s = " (";
  for (size_t i = 0; i < std::min<size_t>(nodes.size(), 3); ++i)
    s += (i > 0 ? ", " : "") + quoted(nodes[i]->name.empty() ? nodes[i]->op_type : nodes[i]->name);
  if (nodes.size() > 3) s += " and " + std::to_string(nodes.size() - 3) + " more";
  return s + ")";
}

// Nodes that break a rule, by the rule.
class Walk {
 public:
  explicit Walk(const RuntimeRules& rules) : rules_(rules) {}

  void look(const Graph& graph) {
    for (const Node& n : graph.nodes) {
      if (!rules_.takes(n)) note("does not take " + qualified_name(n), n);
      if (is_quantize(n) || is_dequantize(n)) look_at_pair(graph, n);
      for (const Graph& sub : subgraphs(n)) look(sub);
    }
  }
  void note(const std::string& rule, const Node& n) { broken_[rule].push_back(&n); }

  std::vector<std::string> sentences() const {
    std::vector<std::string> all;
    for (const auto& [rule, nodes] : broken_) {
      all.push_back("runtime " + quoted(rules_.name) + " " + rule + ": " + std::string(rules_.fallback) +
                    in_brackets(nodes));
    }
    return all;
  }

 private:
  void look_at_pair(const Graph& graph, const Node& n) {
    const ValueId integers = is_quantize(n) ? n.output(0) : n.input(0);
    const DType type = graph[integers].dtype;
    if (type == DType::kInt32) {
      if (!rules_.int32_bias) note("takes no DequantizeLinear of int32", n);
      if (n.input(2) != kNoValue) note("takes no zero point with int32", n);
      return;
    }
    const bool constant = graph.constant(integers) != nullptr;
    const DTypes& types = constant ? rules_.weights : rules_.activations;
    if (kAll.has(type) && !types.has(type))
      note("takes no " + std::string(constant ? "weights" : "activations") + " of type " +
               std::string(name_of(type)),
           n);
    if (!rules_.blocks && n.int_attribute("block_size", 0) > 0) note("takes no blocks", n);
    const Tensor* points = graph.constant(n.input(2));
    if (n.input(2) == kNoValue || !(constant ? rules_.symmetric_weights : rules_.symmetric)) return;
    const int64_t middle = is_signed_integer(type) ? 0 : int64_t{1} << (bits_of(type) - 1);
    const std::vector<int64_t> all = points ? points->integers() : std::vector<int64_t>{-1};
    if (std::any_of(all.begin(), all.end(), [&](int64_t z) { return z != middle; }))
      note("takes no zero points of " + std::string(constant ? "weights" : "activations") + " but 0", n);
  }

  const RuntimeRules& rules_;
  std::map<std::string, std::vector<const Node*>> broken_;
};

}  // namespace

std::string DTypes::in_words() const {
  std::string words;
  for (const DType t : {DType::kInt8, DType::kUint8, DType::kInt16, DType::kUint16, DType::kInt4,
                        DType::kUint4, DType::kInt2, DType::kUint2})
    if (has(t)) words += (words.empty() ? "" : ", ") + std::string(name_of(t));
  return words.empty() ? "none" : words;
}

bool RuntimeRules::takes(const Node& node) const {
  if (node.domain.empty()) return !lists(without, node.op_type);
  if (node.domain == kMicrosoft) return contrib == "*" || lists(contrib, node.op_type);
  return name == "zeropoint" || find_op(node) == nullptr;
}

bool RuntimeRules::fuses_it(const Node& node) const {
  return fuses == "*" || (node.domain.empty() && lists(fuses, node.op_type));
}

bool RuntimeRules::rounds(const Node& node) const {
  return leaves_floats != "*" && !(node.domain.empty() && lists(leaves_floats, node.op_type));
}

bool RuntimeRules::joins_weight(const Node& node) const {
  return node.domain.empty() && lists(joins_weights, node.op_type);
}

std::vector<std::string> RuntimeRules::in_words() const {
  std::string operators = "all";
  if (!without.empty()) operators = "all but" + std::string(without);
  std::string contribs = contrib.empty() ? "none" : contrib == "*" ? "all" : std::string(contrib.substr(1));
  const std::string newest = std::to_string(opset);
  return {
      least_opset == 0 ? "opset up to " + newest : "opset " + std::to_string(least_opset) + " to " + newest,
      "activations: " + activations.in_words() + (symmetric ? ", symmetric" : ""),
      "weights: " + weights.in_words() + (symmetric_weights ? ", symmetric" : ""),
      !blocks        ? "no weights in blocks"
      : whole_blocks ? "weights in blocks that divide the dimension"
                     : "weights in blocks",
      int32_bias ? "biases of int32" : "biases stay float",
      "integer operators: " + operators,
      "com.microsoft: " + contribs,
      fused ? "fused operators stay whole, in float32 or float16" : "fused operators become their parts"};
}

const std::vector<RuntimeRules>& all_runtimes() { return kRuntimes; }

const RuntimeRules& runtime_named(std::string_view name) {
  std::string list;
  for (const RuntimeRules& r : kRuntimes) {
    if (r.name == name) return r;
    list += (list.empty() ? "" : ", ") + quoted(r.name);
  }
  throw_error(ErrorCode::kInvalidArgument, {"unknown runtime ", quoted(name)}, {.hint = "one of " + list});
}

bool takes_form(const RuntimeRules& rules, std::string_view mode, std::string_view format) {
  if (format != kQoperator) return true;
  // Weights in blocks are one operator; all others are many.
  if (mode != kAuto && scheme_named(mode).blocks)
    return rules.contrib == "*" || lists(rules.contrib, "MatMulNBits");
  return rules.without.empty();
}

bool takes_mode(const RuntimeRules& rules, std::string_view mode) {
  return mode == kAuto || !scheme_named(mode).dynamic || rules.falls_back ||
         !lists(rules.without, operator_of(QdqRole::kDynamicQuantize));
}

void adapt_to_runtime(Config& config) { Adapter(config).run(); }

std::vector<std::string> broken_rules(const RuntimeRules& rules, const Model& written, int64_t opset_chosen) {
  Walk walk(rules);
  walk.look(written.graph);
  std::vector<std::string> all = walk.sentences();
  if (const auto whole = hoisted_weights(written.graph); rules.dequantizes_in_runs && !whole.empty()) {
    all.push_back(
        "runtime " + quoted(rules.name) +
        " turns weights that graphs share (the branches of an If, the body of a Loop) into floats in "
        "every run, so that the file can be slower there than the float model" +
        in_brackets(whole));
  }
  const int64_t opset = onnx::versions_of(written, opset_chosen).opset;
  if (opset > rules.opset)
    all.push_back("the file has opset " + std::to_string(opset) + ", and runtime " + quoted(rules.name) +
                  " opens opsets up to " + std::to_string(rules.opset));
  return all;
}

}  // namespace zp::quant
