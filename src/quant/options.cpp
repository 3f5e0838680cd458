#include "quant/options.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/decimal.h"
#include "core/error.h"
#include "core/sort.h"
#include "graph/subgraphs.h"
#include "ops/op.h"
#include "quant/format.h"
#include "quant/observer.h"
#include "quant/quantization_job.h"
#include "quant/runtimes.h"

namespace zp::quant {
namespace {

std::vector<Named> runtimes() {
  std::vector<Named> all;
  for (const RuntimeRules& r : all_runtimes()) all.push_back({r.name, r.title, {}, {}});
  return all;
}

// A search starts from the scheme "static".
const Scheme& scheme_of_mode(std::string_view mode) { return scheme_named(mode == kAuto ? "static" : mode); }

bool calibrates(const Scheme& s) { return s.needs_calibration; }
bool has_integers(const Scheme& s) { return !s.halves; }
bool has_edges(const Scheme& s) { return s.needs_calibration || s.halves; }

DType dtype_option(std::string_view option, const std::string& name) {
  if (name == "float") return DType::kUndefined;
  const DType dtype = dtype_named(name);
  if (dtype == DType::kUndefined)
    throw_error(ErrorCode::kInvalidArgument, {option, ": '", name, "' is not an element type"});
  return dtype;
}

void set_precision(Config& c, const OptionValue& v) {
  for (const auto& [node, own] : v.entries) {
    Precision p;
    for (const auto& [what, type] : own.entries)
      (what == "activations" ? p.activations : p.weights) = dtype_option("precision", type.text);
    c.precision[node] = p;
  }
}

void set_ranges(Config& c, const OptionValue& v) {
  for (const auto& [value, range] : v.entries) {
    Range& r = c.ranges[value];
    for (const auto& [what, x] : range.entries)
      (what == "min" ? r.min : r.max) = static_cast<float>(x.number);
  }
}

void set_target(Config& c, const OptionValue& v) {
  if (!v.text.empty() && !c.chosen.contains("runtime")) c.runtime = v.text;
  for (const auto& [what, x] : v.entries)
    (what == "sqnr" ? c.target_sqnr : what == "drop" ? c.target_drop : c.target_bytes) = x.number;
}

void set_parameters(Config& c, const OptionValue& v) {
  for (const auto& [name, x] : v.entries) c.options[name] = x.number;
}

void set_symmetric_weights(Config& c) {
  const Scheme& scheme = scheme_of_mode(c.mode);
  const bool is_unsigned = c.weights != DType::kFloat16 && !is_signed_integer(c.weights);
  c.symmetric_weights = !(is_unsigned && !scheme.dynamic) && !(scheme.blocks && bits_of(c.weights) < 8);
}

// clang-format off
constexpr Option kRows[] = {
    {.name = "mode", .kind = OptionKind::kChoice, .title = "Scheme",
     .sentence = "Which values become integers or float16, and how ranges of activations are found.",
     .registered = modes, .field = &Config::mode},
    {.name = "activations", .kind = OptionKind::kChoice, .title = "Activations",
     .sentence = "The type of quantized activations.",
     .choices = "uint8 int8 uint16 int16", .field = &Config::activations, .applies = calibrates},
    {.name = "weights", .kind = OptionKind::kChoice, .title = "Weights",
     .sentence = "The type of quantized weights.",
     .more = ZP_MORE("`weight-only` takes all of these types, and has weights of 4 and 2 bits in blocks. `static` and "
                     "`qat` take 4 and 8 bits. ONNX has no type of 3 bits, and `MatMulNBits` does not take 3 bits."),
     .choices = "int8 uint8 int4 uint4 int2 uint2 float16",
     .refused = "files have no place for 3 bits: they would take as much as 4 bits", .field = &Config::weights},
    {.name = "perChannel", .kind = OptionKind::kFlag, .title = "A scale for each output channel",
     .sentence = "Weights have one scale for each output channel, not one for a whole tensor.",
     .flag = "per-tensor", .flag_sets = "false", .field = &Config::per_channel, .applies = has_integers},
    {.name = "symmetric", .kind = OptionKind::kFlag, .title = "Symmetric activations",
     .sentence = "The zero point of activations is the middle of their type, not where the range puts it.",
     .field = &Config::symmetric_activations, .applies = calibrates},
    {.name = "symmetricWeights", .kind = OptionKind::kFlag, .title = "Symmetric weights",
     .sentence = "The zero point of weights is the middle of their type.",
     .more = ZP_MORE("By default false for unsigned types, because files store their zero points anyway, and for "
                     "`weight-only` with 4 or 2 bits, because the zero point of a block is worth the half or quarter "
                     "byte that it takes. Else true. Mode `dynamic` has true for unsigned types too, because "
                     "`ConvInteger` takes one zero point only."),
     .fallback = "depends on the type and the mode", .field = &Config::symmetric_weights,
     .unchosen = set_symmetric_weights, .applies = has_integers},
    {.name = "reduceRange", .kind = OptionKind::kFlag, .title = "7-bit weights",
     .sentence = "Weights of 7 bits. On x86 processors without VNNI, ONNX Runtime's products of 8-bit weights "
                 "saturate, and products of 7-bit weights do not.",
     .field = &Config::reduce_range, .applies = has_integers},
    {.name = "blockSize", .kind = OptionKind::kInteger, .title = "Values per scale",
     .sentence = "How many weights of 4 or 2 bits share one scale.",
     .choices = "16 32 64 128 256", .field = &Config::block_size,
     .applies = [](const Scheme& s) { return s.blocks; }},
    {.name = "inputs", .kind = OptionKind::kChoice, .title = "Inputs",
     .sentence = "The type of inputs that are quantized: float, or their quantized type (mode `float16`: float16).",
     .choices = "float quantized", .flag = "quantized-inputs", .flag_sets = "quantized",
     .field = &Config::quantized_inputs, .applies = has_edges},
    {.name = "outputs", .kind = OptionKind::kChoice, .title = "Outputs",
     .sentence = "The type of outputs that are quantized: float, or their quantized type (mode `float16`: float16).",
     .choices = "float quantized", .flag = "quantized-outputs", .flag_sets = "quantized",
     .field = &Config::quantized_outputs, .applies = has_edges},
    {.name = "observer", .kind = OptionKind::kChoice, .title = "Ranges from samples by",
     .sentence = "How calibration finds ranges of activations from samples.", .registered = observers, .field = &Config::observer,
     .applies = calibrates},
    {.name = "include", .kind = OptionKind::kNames, .title = "Quantize only these",
     .sentence = "Quantize only these nodes, by name, and operators, by type.", .field = &Config::include_nodes},
    {.name = "exclude", .kind = OptionKind::kNames, .title = "Leave these as they are",
     .sentence = "Leave these nodes, by name, and operators, by type, as they are. Wins over `include`.",
     .field = &Config::exclude_nodes},
    {.name = "precision", .kind = OptionKind::kPrecision, .title = "Precision of single nodes",
     .sentence = "Another precision for single nodes, by name.",
     .more = ZP_MORE("Activations take 8 or 16 bits or `float`. Weights take 4 or 8 bits (`weight-only`: also 2) or "
                     "`float`, and `float16` where activations are `float`."),
     .fallback = "none", .set = set_precision},
    {.name = "ranges", .kind = OptionKind::kRanges, .title = "Ranges of single values",
     .sentence = "Ranges of values, by name. They replace the ranges that calibration finds.", .fallback = "none", .set = set_ranges,
     .applies = calibrates},
    {.name = "runtime", .kind = OptionKind::kChoice, .title = "Where the file runs",
     .sentence = "The runtime that the file is for; docs/RUNTIMES.md lists what each runtime takes.",
     .more = ZP_MORE("Options that you leave open are set to suit the runtime. An option that you choose and that the "
                     "runtime does not take is an error. The report's warnings name the changed options, and the "
                     "nodes of the file that the runtime does not take."),
     .registered = runtimes, .field = &Config::runtime},
    {.name = "target", .kind = OptionKind::kTarget, .title = "More bits for the layers that lose most, until",
     .sentence = "Gives more than 8 bits to the layers that quantization harms most, until the target is reached.",
     .more = ZP_MORE("For `sqnr` and `drop` these are as few layers as the quality needs, for `size` as many as fit. "
                     "Each layer gets the cheapest form that helps: 16-bit activations where they are enough (`sqnr` "
                     "and `drop`), float activations with float16 weights, or float. The report's layers name the "
                     "form; its `tradeoff` lists the points between. Needs samples. The name of a runtime here means "
                     "the option `runtime`."),
     .fallback = "none", .set = set_target},
    {.name = "sensitivity", .kind = OptionKind::kFlag, .title = "Measure each layer alone",
     .sentence = "Measure how far the outputs change when one layer alone is quantized. Needs samples.",
     .more = ZP_MORE("Targets measure it anyway, and `auto` measures it for a few layers."),
     .field = &Config::sensitivity},
    {.name = "parameters", .kind = OptionKind::kParameters, .title = "Parameters",
     .sentence = "Numbers that observers and repairs take, by name.", .fallback = "their own defaults", .flag = "parameter",
     .set = set_parameters},
    {.name = "repairs", .kind = OptionKind::kNames, .title = "Win accuracy back",
     .sentence = "Corrections that win back accuracy that quantization lost.",
     .more = ZP_MORE("All repairs but `hqq` need samples, and read them more than once. The default repairs "
                     "are worth their time for every model: `smooth` and `bias-correction` where activations are "
                     "calibrated, `gptq` for weights of 4 or 2 bits if there are samples. Repairs that run by default "
                     "are checked on held-out samples, and taken back where they do not help; the report's `repairs` "
                     "says so. `[]` means no repair."),
     .registered = repairs, .fallback = "the repairs that are worth their time for every model", .flag = "repair",
     .field = &Config::repairs},
    {.name = "format", .group = OptionGroup::kFile, .kind = OptionKind::kChoice, .title = "File format",
     .sentence = "Q/DQ pairs, or operators that take integers.",
     .more = ZP_MORE("toBytes() writes the result in this form. `qdq` writes Q/DQ pairs: QuantizeLinear and "
                     "DequantizeLinear around float operators. `qoperator` writes operators that take integers "
                     "(`QLinearConv`, `MatMulInteger`, `MatMulNBits`, ...) where ONNX has them, and Q/DQ pairs "
                     "elsewhere. The default is the form that ONNX Runtime computes fastest: `qoperator` for `dynamic` "
                     "and for `weight-only` with 4 or 2 bits, `qdq` for all others and for 4 bits in ONNX Runtime Web. "
                     "Q/DQ pairs have no weights of 2 bits."),
     .choices = "qdq qoperator", .fallback = "the form that ONNX Runtime computes fastest", .field = &Config::format},
    {.name = "opset", .group = OptionGroup::kFile, .kind = OptionKind::kInteger, .title = "Opset",
     .sentence = "The opset of the file: the version of ONNX's own operators (ai.onnx).",
     .more = ZP_MORE("The default is the lowest opset that can hold the result, so that old runtimes open the file: see "
                     "`QuantizeReport.opset`. An opset that is too low is an error, which names a node that needs a "
                     "higher one."),
     .min = 7, .max = 28, .fallback = "the lowest that can hold the result"},
    {.name = "externalData", .group = OptionGroup::kFile, .kind = OptionKind::kFlag, .title = "Weights beside the model",
     .sentence = "Weights lie in files of their own beside the model.",
     .more = ZP_MORE("toFiles() then gives `model.onnx`, `model.onnx_data` and, beyond `chunkSize`, `model.onnx_data_1`, "
                     "...: names that Transformers.js and others look for. A model that would be larger than 2 GiB is "
                     "always written in this way; with `false` it is an error."),
     .fallback = "for models that one file cannot hold"},
    {.name = "chunkSize", .group = OptionGroup::kFile, .kind = OptionKind::kBytes, .title = "Largest file of weights",
     .sentence = "The largest size of a file of weights, in bytes or as '500MB'.",
     .more = ZP_MORE("Weights that do not fit go into a further file. A tensor is never divided: a larger tensor has a "
                     "file of its own."),
     .fallback = "2 GiB less 64 KiB"},
};
// clang-format on

std::vector<std::span<const Option>>& registered() {
  static std::vector<std::span<const Option>> all;
  return all;
}

std::vector<std::string_view> words(std::string_view list) {
  std::vector<std::string_view> all;
  while (!list.empty()) {
    const size_t end = std::min(list.find(' '), list.size());
    all.push_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return all;
}

// f(field), where the option has one.
template <class C, class F>
void visit_field(const Option& o, C& config, F&& f) {
  std::visit(
      [&](auto field) {
        if constexpr (requires { config.*field; })
          f(config.*field);
        else if constexpr (requires { config.training.*field; })
          f(config.training.*field);
      },
      o.field);
}

void set(const Option& o, Config& c, const OptionValue& v) {
  if (o.set) return o.set(c, v);
  visit_field(o, c, [&]<class T>(T& field) {
    if constexpr (std::is_same_v<T, bool>)
      field = o.kind == OptionKind::kChoice ? v.text == words(o.choices)[1] : v.number != 0;
    else if constexpr (std::is_same_v<T, DType>)
      field = dtype_option(o.name, v.text);
    else if constexpr (std::is_same_v<T, std::string>)
      field = v.text;
    else if constexpr (std::is_same_v<T, std::vector<std::string>>)
      field = v.names;
    else
      field = static_cast<T>(v.number);
  });
}

OptionValue value_of(const Option& o, const Config& c) {
  OptionValue v;
  visit_field(o, c, [&]<class T>(const T& field) {
    if constexpr (std::is_same_v<T, bool>) {
      v.number = field;
      if (o.kind == OptionKind::kChoice) v.text = words(o.choices)[field];
    } else if constexpr (std::is_same_v<T, DType>) {
      v.text = name_of(field);
    } else if constexpr (std::is_same_v<T, std::string>) {
      v.text = field;
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      v.names = field;
    } else {
      v.number = static_cast<double>(field);
    }
  });
  return v;
}

// As in a sentence: "weight bits".
std::string in_words(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (c >= 'A' && c <= 'Z') text += ' ';
    text += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  }
  return text;
}

void take(Config& c, const OptionValue& chosen, bool training) {
  const std::vector<const Option*> rows = all_options();
  const auto belongs = [&](const Option* o) { return (o->group == OptionGroup::kTraining) == training; };
  for (const auto& [name, value] : chosen.entries)
    if (std::none_of(rows.begin(), rows.end(),
                     [&](const Option* o) { return belongs(o) && o->name == name; }))
      throw_error(ErrorCode::kInvalidArgument, {"'", name, "' is not an option"});
  for (const Option* o : rows) {
    const auto it = chosen.entries.find(o->name);
    if (!belongs(o) || it == chosen.entries.end()) continue;
    if (o->kind == OptionKind::kOptions)
      take(c, it->second, true);
    else
      set(*o, c, it->second);
    if (!training) c.chosen.insert(o->name);
  }
}

void operators_of(const Graph& graph, std::set<std::string, std::less<>>& all) {
  for (const Node& n : graph.nodes) {
    all.insert(qualified_name(n));
    for (const Graph& sub : subgraphs(n)) operators_of(sub, all);
  }
}

// JSON, written into one text.
class Json {
 public:
  void key(std::string_view name) {
    comma();
    quote(name);
    text_ += ':';
    first_ = true;
  }
  void text(std::string_view s) {
    comma();
    quote(s);
  }
  void raw(std::string_view s) {
    comma();
    text_ += s;
  }
  void open(char bracket) {
    comma();
    text_ += bracket;
    first_ = true;
  }
  void close(char bracket) {
    text_ += bracket;
    first_ = false;
  }
  // An entry; nothing for an empty text.
  void entry(std::string_view name, std::string_view s) {
    if (s.empty()) return;
    key(name);
    text(s);
  }
  void entry_raw(std::string_view name, std::string_view s) {
    key(name);
    raw(s);
  }
  void named(std::string_view name, const std::vector<Named>& all) {
    key(name);
    open('[');
    for (const Named& n : all) {
      open('{');
      entry("name", n.name);
      entry("title", n.title);
      entry("sentence", n.sentence);
      entry("more", n.more);
      close('}');
    }
    close(']');
  }
  const std::string& str() const { return text_; }

 private:
  void comma() {
    if (!std::exchange(first_, false)) text_ += ',';
  }
  void quote(std::string_view s) {
    text_ += '"';
    for (const char c : s) {
      if (c == '"' || c == '\\' || c == '\n') text_ += '\\';
      text_ += c == '\n' ? 'n' : c;
    }
    text_ += '"';
  }

  std::string text_;
  bool first_ = true;
};

constexpr double kMostWritten = 1e12;  // a larger limit is as good as none

constexpr std::string_view kGroups[] = {"scheme", "training", "file"};
constexpr std::string_view kKinds[] = {"flag",   "integer",   "number", "bytes",      "choice", "names",
                                       "target", "precision", "ranges", "parameters", "options"};

void write_default(Json& json, const Option& o) {
  const OptionValue v = value_of(o, Config{});
  json.key("default");
  switch (o.kind) {
    case OptionKind::kFlag:
      json.raw(v.number != 0 ? "true" : "false");
      break;
    case OptionKind::kChoice:
      json.text(v.text);
      break;
    case OptionKind::kNames:
      json.raw("[]");
      break;
    default:
      json.raw(decimal(v.number));
  }
}

void write_option(Json& json, const Option& o) {
  json.open('{');
  json.entry("name", o.name);
  json.entry("group", kGroups[static_cast<size_t>(o.group)]);
  json.entry("kind", kKinds[static_cast<size_t>(o.kind)]);
  json.entry("title", o.title);
  json.entry("sentence", o.sentence);
  json.entry("more", o.more);
  if (*o.fallback)
    json.entry("fallback", o.fallback);
  else if (o.kind != OptionKind::kOptions)
    write_default(json, o);
  json.entry("flag", o.flag);
  json.entry("flagSets", o.flag_sets);
  if (o.registered || *o.choices) {
    json.key("choices");
    json.open('[');
    for (const std::string_view w : words(o.choices)) json.text(w);
    if (o.registered)
      for (const Named& n : o.registered()) json.text(n.name);
    json.close(']');
    if (o.registered) json.entry_raw("open", "true");
    json.entry("refused", o.refused);
  }
  if (o.min < o.max) {
    json.entry_raw("min", decimal(o.min));
    if (o.max <= kMostWritten) json.entry_raw("max", decimal(o.max));
    if (o.above) json.entry_raw("above", "true");
    if (o.below) json.entry_raw("below", "true");
  }
  json.key("modes");
  json.open('[');
  for (const Named& m : modes())
    if (!o.applies || o.applies(scheme_of_mode(m.name))) json.text(m.name);
  json.close(']');
  json.close('}');
}

}  // namespace

RegisterOptions::RegisterOptions(std::span<const Option> rows) { registered().push_back(rows); }

std::vector<const Option*> all_options() {
  std::vector<std::span<const Option>> tables = registered();
  // In one order, whatever order files are started in.
  sort_small(tables, [](const auto& a, const auto& b) {
    return std::string_view(a.front().name) < std::string_view(b.front().name);
  });
  tables.insert(tables.begin(), std::span<const Option>(kRows));
  std::vector<const Option*> all;
  for (const OptionGroup group : {OptionGroup::kScheme, OptionGroup::kTraining, OptionGroup::kFile})
    for (const auto& table : tables)
      for (const Option& o : table)
        if (o.group == group) all.push_back(&o);
  return all;
}

Config config_from(const OptionValue& chosen, const Graph& graph) {
  Config c;
  take(c, chosen, false);
  for (const Option* o : all_options())
    if (o->unchosen && !c.chosen.contains(o->name)) o->unchosen(c);
  std::set<std::string, std::less<>> operators;
  operators_of(graph, operators);
  constexpr std::string_view kOnnx = "ai.onnx.";
  const auto split = [&](std::vector<std::string>& nodes, std::vector<std::string>& ops) {
    std::erase_if(nodes, [&](const std::string& name) {
      if (!operators.contains(name) && !operators.contains(std::string(kOnnx) + name)) return false;
      ops.push_back(name.starts_with(kOnnx) ? name.substr(kOnnx.size()) : name);
      return true;
    });
  };
  split(c.include_nodes, c.include_ops);
  split(c.exclude_nodes, c.exclude_ops);
  return c;
}

void check_options(const Config& config, std::span<const Option> rows) {
  for (const Option& o : rows) {
    const OptionValue v = value_of(o, config);
    if (o.kind == OptionKind::kChoice) {
      const std::vector<std::string_view> choices = words(o.choices);
      if (std::ranges::find(choices, v.text) == choices.end())
        throw_error(ErrorCode::kInvalidArgument, {"unknown ", in_words(o.name), " '", v.text, "'"},
                    {.hint = {"one of ", o.choices}});
    } else if (o.min < o.max && !(*o.fallback && v.number == 0)) {  // 0: nobody chose
      if (!(v.number >= o.min && v.number <= o.max) || (o.above && v.number == o.min) ||
          (o.below && v.number == o.max))
        throw_error(ErrorCode::kInvalidArgument,
                    {in_words(o.name), ": ", decimal(v.number), " is out of range"},
                    {.hint = {decimal(o.min), " to ", decimal(o.max)}});
    }
  }
}

std::string schema_json() {
  Json json;
  json.open('{');
  json.named("modes", modes());
  json.named("observers", observers());
  json.named("repairs", repairs());
  json.key("runtimes");
  json.open('[');
  for (const RuntimeRules& r : all_runtimes()) {
    json.open('{');
    json.entry("name", r.name);
    json.entry("title", r.title);
    json.entry("checked", r.checked);
    json.key("takes");
    json.open('[');
    for (const std::string& s : r.in_words()) json.text(s);
    json.close(']');
    json.close('}');
  }
  json.close(']');
  json.key("options");
  json.open('[');
  for (const Option* o : all_options()) write_option(json, *o);
  for (const OptionSpec& s : option_specs()) {
    json.open('{');
    json.entry("name", s.name);
    json.entry("group", "parameters");
    json.entry("kind", "number");
    json.entry("title", s.name);
    json.entry("sentence", s.sentence);
    json.entry("owner", s.owner);
    json.entry_raw("default", decimal(s.fallback));
    json.entry_raw("min", decimal(s.min));
    json.entry_raw("max", decimal(s.max));
    json.close('}');
  }
  json.close(']');
  json.close('}');
  return json.str();
}

}  // namespace zp::quant
