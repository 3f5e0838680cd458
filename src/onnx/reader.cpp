#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/dim.h"
#include "onnx/onnx.h"
#include "onnx/schema.h"
#include "onnx/sniff.h"
#include "onnx/tensor_reader.h"
#include "onnx/wire.h"
#include "ops/infer.h"
#include "ops/op.h"

namespace zp::onnx {
namespace {

// Trees: the code of hash tables is larger, and names are few beside weights.
template <class T>
using TextMap = std::map<std::string, T, std::less<>>;
using TextSet = std::set<std::string, std::less<>>;

constexpr std::string_view kConstant = "Constant";  // the one operator that reading itself replaces
constexpr std::string_view kChooseModel = "choose the .onnx file of the model";
constexpr std::string_view kDownloadAgain = "the file is incomplete or damaged: download or export it again";

[[noreturn]] void fail(const Text& problem, const ErrorPlace& place = {}) {
  throw_error(ErrorCode::kInvalidModel, problem, place);
}

std::string quoted(std::string_view name) { return "'" + printable(name) + "'"; }

std::string name_field(Message& message, const char* what) {
  const std::string_view text = message.bytes();
  if (!valid_utf8(text)) fail({what, " ", quoted(text), " is not UTF-8"}, {.tensor = printable(text)});
  return std::string(text);
}

std::string domain_field(Message& message) {
  std::string domain = name_field(message, "the domain");
  return domain == "ai.onnx" ? std::string() : domain;
}

// Text that only people read.
std::string free_text(std::string_view text) {
  std::string out(text);
  if (!valid_utf8(out))
    std::ranges::replace_if(out, [](char c) { return static_cast<uint8_t>(c) >= 0x80; }, '?');
  return out;
}

std::pair<std::string, std::string> read_entry(Message message) {
  std::pair<std::string, std::string> entry;
  while (message.next()) {
    switch (message.tag()) {
      case entry_field::kKey:
        entry.first = free_text(message.bytes());
        break;
      case entry_field::kValue:
        entry.second = free_text(message.bytes());
        break;
      default:
        message.skip();
    }
  }
  return entry;
}

// ---- declared types

struct Declared {
  std::string name;
  bool has_type = false;
  const char* foreign = nullptr;  // "a sequence", ...: what it is if not a tensor
  int64_t element = 0;
  std::optional<SymShape> shape;
};

SymShape read_shape(Message message, const std::string& name) {
  SymShape shape;
  while (message.next()) {
    if (message.tag() != shape_field::kDim) {
      message.skip();
      continue;
    }
    Message dim = message.message("TensorShapeProto.Dimension");
    Dim read;
    while (dim.next()) {
      if (dim.tag() == dim_field::kParam) {
        std::string symbol = name_field(dim, "the dimension name");
        read = symbol == "?" ? Dim() : Dim::symbol(std::move(symbol));  // as some exporters write unknown
      } else if (dim.tag() == dim_field::kValue) {
        const int64_t value = dim.integer();
        if (value < -1 || value > kLargestDim) {
          fail({"value ", quoted(name), " is declared with the dimension ", value}, {.tensor = name});
        }
        read = value == -1 ? Dim() : Dim(value);  // some exporters write -1 for unknown
      } else {
        dim.skip();
      }
    }
    shape.push_back(std::move(read));
  }
  if (shape.size() > kMaxRank) {
    fail({"value ", quoted(name), " is declared with ", shape.size(), " dimensions; at most ", kMaxRank,
          " are supported"},
         {.tensor = name});
  }
  return shape;
}

void read_type(Message message, Declared& declared) {
  while (message.next()) {
    switch (message.tag()) {
      case type_field::kTensor: {
        Message tensor = message.message("TypeProto.Tensor");
        while (tensor.next()) {
          switch (tensor.tag()) {
            case tensor_type_field::kElemType:
              declared.element = tensor.integer();
              break;
            case tensor_type_field::kShape:
              declared.shape = read_shape(tensor.message("TensorShapeProto"), declared.name);
              break;
            default:
              tensor.skip();
          }
        }
        declared.has_type = true;
        break;
      }
      case type_field::kSequence:
        message.skip(), declared.foreign = "a sequence";
        break;
      case type_field::kMap:
        message.skip(), declared.foreign = "a map";
        break;
      case type_field::kOpaque:
        message.skip(), declared.foreign = "an opaque value";
        break;
      case type_field::kSparseTensor:
        message.skip(), declared.foreign = "a sparse tensor";
        break;
      case type_field::kOptional:
        message.skip(), declared.foreign = "an optional";
        break;
      default:
        message.skip();
    }
  }
}

Declared read_value_info(Message message) {
  Declared declared;
  std::optional<Message> type;  // read when the name is known
  while (message.next()) {
    switch (message.tag()) {
      case value_info_field::kName:
        declared.name = name_field(message, "the value name");
        break;
      case value_info_field::kType:
        type = message.message("TypeProto");
        break;
      default:
        message.skip();
    }
  }
  if (declared.name.empty()) fail("a graph input, output or value_info has no name");
  if (type) read_type(*type, declared);
  return declared;
}

// ---- nodes

// A node whose names are not yet values.
struct PendingNode {
  Node node;
  std::vector<std::string> inputs, outputs;
  std::vector<Message> attributes;
};

PendingNode read_node(Message message) {
  PendingNode pending;
  Node& node = pending.node;
  while (message.next()) {
    switch (message.tag()) {
      case node_field::kInput:
        pending.inputs.push_back(name_field(message, "the value name"));
        break;
      case node_field::kOutput:
        pending.outputs.push_back(name_field(message, "the value name"));
        break;
      case node_field::kName:
        node.name = name_field(message, "the node name");
        break;
      case node_field::kOpType:
        node.op_type = name_field(message, "the operator");
        break;
      case node_field::kDomain:
        node.domain = domain_field(message);
        break;
      case node_field::kAttribute:
        pending.attributes.push_back(message.message("AttributeProto"));
        break;
      default:
        message.skip();
    }
  }
  return pending;
}

// A graph being read, and the names in it of what it makes itself or has captured so far.
struct Scope {
  Graph& graph;
  Scope* outer;
  TextMap<ValueId> ids = {};
};

class Reader {
 public:
  Reader(std::shared_ptr<std::byte> bytes, size_t size) : file_{std::move(bytes), size} {}
  Model read();

 private:
  void read_fields(Message message);
  void read_opset(Message message);
  void read_function(Message message);
  void check_versions() const;

  void read_graph(Message message, Graph& graph, Scope* outer, int depth);
  void finish_node(PendingNode& pending, Scope& scope, int depth);
  void finish_constant(PendingNode& pending, Scope& scope);
  std::pair<std::string, Attribute> read_attribute(Message message, Scope& scope, int depth);

  // What a value is declared as. Of inputs that is the only thing known; of all others it is hearsay.
  enum class As : uint8_t { kInput, kOutput, kInner };
  void declare(Graph& graph, ValueId id, const Declared& declared, As as);
  void compare_declared(Graph& graph);

  void canonicalize(Graph& graph, bool branch);
  void canonicalize_node(Graph& graph, Node node, bool branch);

  int64_t version_of(const std::string& domain) const;
  ErrorDetails where(const Node& node) const {
    return {.node = node.name, .op = qualified_name(node) + "-" + std::to_string(version_of(node.domain))};
  }

  File file_;
  Model model_;
  std::optional<Message> graph_;
  int64_t ir_version_ = 0;
  TextSet functions_;  // "domain.name"
  // Declared shapes of values that nodes make: kept apart until it is known what the operators say.
  std::map<std::pair<const Graph*, ValueId>, SymShape> declared_;
};

// ---- the model

Model Reader::read() {
  const char* const text = reinterpret_cast<const char*>(file_.bytes.get());
  if (file_.size == 0) fail("the file is empty", {.hint = kChooseModel});
  if (const FileKind* kind = sniff({text, file_.size})) {
    fail({"this is not an ONNX model but ", kind->what}, {.hint = kind->hint});
  }
  read_fields({text, file_.size, "ModelProto"});
  if (!graph_) {
    if (ir_version_ == 0) {
      fail("this is not an ONNX model: it has neither an IR version nor a graph", {.hint = kChooseModel});
    }
    fail({"the model has no graph: the file ends at byte ", file_.size}, {.hint = kDownloadAgain});
  }
  check_versions();
  if (model_.opsets.empty()) model_.opsets[""] = 1;  // what files from before IR version 3 mean
  read_graph(*graph_, model_.graph, nullptr, 0);
  canonicalize(model_.graph, false);
  return std::move(model_);
}

void Reader::read_fields(Message message) {
  bool first = true;
  try {
    for (; message.next(); first = false) {
      switch (message.tag()) {
        case model_field::kIrVersion:
          ir_version_ = message.integer();
          break;
        case model_field::kProducerName:
          model_.producer_name = free_text(message.bytes());
          break;
        case model_field::kProducerVersion:
          model_.producer_version = free_text(message.bytes());
          break;
        case model_field::kDocString:
          model_.doc_string = free_text(message.bytes());
          break;
        case model_field::kGraph:
          if (graph_) message.fail("is a second graph");
          graph_ = message.message("GraphProto");
          break;
        case model_field::kOpsetImport:
          read_opset(message.message("OperatorSetIdProto"));
          break;
        case model_field::kMetadataProps:
          model_.metadata.push_back(read_entry(message.message("StringStringEntryProto")));
          break;
        case model_field::kFunctions:
          read_function(message.message("FunctionProto"));
          break;
        default:
          message.skip();
      }
    }
  } catch (const Error& e) {
    // ONNX has no magic number, but a file of another kind soon contradicts the form of a ModelProto.
    const bool cut_off = !e.details().hint.empty();
    if (first || (e.code() == ErrorCode::kInvalidModel && !cut_off && !graph_ && model_.opsets.empty())) {
      fail({"this is not an ONNX model: ", e.what()}, {.hint = kChooseModel});
    }
    throw;
  }
}

void Reader::read_opset(Message message) {
  std::string domain;
  int64_t version = 0;
  while (message.next()) {
    switch (message.tag()) {
      case opset_field::kDomain:
        domain = domain_field(message);
        break;
      case opset_field::kVersion:
        version = message.integer();
        break;
      default:
        message.skip();
    }
  }
  const std::string shown = domain.empty() ? "ai.onnx" : printable(domain);
  if (version < 1) fail({"the model imports version ", version, " of the operator set ", shown});
  if (domain.empty() && version > kNewestOpset) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {"the model uses opset ", version, "; opsets 1 to ", kNewestOpset, " are supported"},
                {.hint = {"export the model again, for opset ", kNewestOpset, " or older"}});
  }
  const auto [at, added] = model_.opsets.emplace(domain, version);
  if (!added && at->second != version) {
    fail({"the model imports versions ", at->second, " and ", version, " of the operator set ", shown});
  }
}

void Reader::read_function(Message message) {
  std::string name, domain;
  while (message.next()) {
    switch (message.tag()) {
      case function_field::kName:
        name = message.bytes();
        break;
      case function_field::kDomain:
        domain = domain_field(message);
        break;
      default:
        message.skip();
    }
  }
  functions_.insert(domain + "." + name);
}

void Reader::check_versions() const {
  if (ir_version_ == 0) fail("the model does not say its IR version", {.hint = kDownloadAgain});
  if (ir_version_ < 0 || ir_version_ > kNewestIrVersion) {
    fail({"the model has IR version ", ir_version_, "; versions 1 to ", kNewestIrVersion, " are supported"},
         {.hint = {"export the model again, for opset ", kNewestOpset, " or older"}});
  }
  if (model_.opsets.empty() && ir_version_ >= 3) {
    fail({"the model does not say its opset: no opset_import before the file ends, at byte ", file_.size},
         {.hint = kDownloadAgain});
  }
}

int64_t Reader::version_of(const std::string& domain) const {
  const auto at = model_.opsets.find(domain);
  return at == model_.opsets.end() ? 1 : at->second;
}

// ---- names

// A new value of this graph.
ValueId define(Scope& scope, const std::string& name, const Node* by = nullptr) {
  const auto id = static_cast<ValueId>(scope.graph.values.size());
  if (!scope.ids.emplace(name, id).second) {
    ErrorDetails details{.tensor = name};
    if (by) details.node = by->name, details.op = qualified_name(*by);
    fail({"value ", quoted(name), " is made twice"}, details);
  }
  scope.graph.values.push_back({.name = name, .dtype = DType::kUndefined, .shape = {}, .constant = {}});
  return id;
}

// The value called `name`, of this graph or captured from one around it; kNoValue if there is none.
ValueId resolve(Scope& scope, const std::string& name) {
  if (const auto at = scope.ids.find(name); at != scope.ids.end()) return at->second;
  if (!scope.outer) return kNoValue;
  const ValueId outer = resolve(*scope.outer, name);
  if (outer == kNoValue) return kNoValue;
  const auto id = static_cast<ValueId>(scope.graph.values.size());
  // A constant is one in here as well as out there (they share its data); only computed values are captured.
  scope.graph.values.push_back(scope.outer->graph[outer]);
  if (!scope.graph[id].constant) scope.graph.captures.push_back({.outer = outer, .inner = id});
  scope.ids.emplace(name, id);
  return id;
}

// Gives every node a name that no other node of the graph has: reports go by them.
void name_nodes(std::vector<PendingNode>& nodes) {
  TextSet taken, given;
  for (const PendingNode& pending : nodes) taken.insert(pending.node.name);
  TextMap<int> last_suffix;  // so that a thousand nodes of one name do not take a million look-ups
  for (PendingNode& pending : nodes) {
    std::string& name = pending.node.name;
    if (name.empty() || given.contains(name)) {
      std::string wanted = name;
      for (const std::string& output : pending.outputs)
        if (wanted.empty()) wanted = output;
      name = wanted;
      while (taken.contains(name)) name = wanted + "_" + std::to_string(++last_suffix[wanted]);
      taken.insert(name);
    }
    given.insert(name);
  }
}

// ---- graphs

void Reader::read_graph(Message message, Graph& graph, Scope* outer, int depth) {
  if (depth > kMaxSubgraphDepth) {
    fail({"subgraphs are nested deeper than ", kMaxSubgraphDepth, " levels"});
  }
  Scope scope{.graph = graph, .outer = outer};
  std::vector<PendingNode> nodes;
  std::vector<Declared> inputs, outputs, infos;
  while (message.next()) {
    switch (message.tag()) {
      case graph_field::kNode:
        nodes.push_back(read_node(message.message("NodeProto")));
        break;
      case graph_field::kName:
        graph.name = free_text(message.bytes());
        break;
      case graph_field::kInitializer: {
        NamedTensor initializer =
            read_tensor_message(message.message("TensorProto"), file_, "initializer without a name");
        if (initializer.name.empty()) fail("an initializer has no name");
        Value& value = graph[define(scope, initializer.name)];
        value.dtype = initializer.tensor.dtype();
        value.shape = symbolic(initializer.tensor.dims());
        value.constant = std::move(initializer.tensor);
        break;
      }
      case graph_field::kInput:
        inputs.push_back(read_value_info(message.message("ValueInfoProto")));
        break;
      case graph_field::kOutput:
        outputs.push_back(read_value_info(message.message("ValueInfoProto")));
        break;
      case graph_field::kValueInfo:
        infos.push_back(read_value_info(message.message("ValueInfoProto")));
        break;
      case graph_field::kSparseInitializer:
        throw_error(ErrorCode::kUnsupportedType, "the model has sparse initializers, which are not supported",
                    {.hint = "export the model with dense weights"});
      default:
        message.skip();
    }
  }
  const bool main_graph = outer == nullptr;

  TextSet input_names;
  for (const Declared& input : inputs) {
    if (!input_names.insert(input.name).second) {
      fail({"two graph inputs are called ", quoted(input.name)}, {.tensor = input.name});
    }
    // Before IR version 4 every initializer had to be an input too; since then, such an input is a default.
    // Both are constants, unless a run is fed another value.
    const auto known = scope.ids.find(input.name);
    const bool initialized = known != scope.ids.end();
    const ValueId id = initialized ? known->second : define(scope, input.name);
    declare(graph, id, input, main_graph ? As::kInput : As::kInner);
    (initialized ? graph.defaults : graph.inputs).push_back(id);
  }

  // Nodes may stand in any order: all outputs first, then constants (which subgraphs copy), then everything
  // else.
  name_nodes(nodes);
  for (PendingNode& pending : nodes) {
    Node& node = pending.node;
    for (const std::string& output : pending.outputs) {
      node.outputs.push_back(output.empty() ? kNoValue : define(scope, output, &node));
    }
    while (!node.outputs.empty() && node.outputs.back() == kNoValue) node.outputs.pop_back();
    if (node.outputs.empty()) fail({"node ", quoted(node.name), " has no output"}, where(node));
  }
  const auto for_each_node = [&](bool constants, auto&& body) {
    for (PendingNode& pending : nodes) {
      if (pending.node.is(kConstant) != constants) continue;
      try {
        body(pending);
      } catch (Error& e) {
        e.add_details(where(pending.node));
        throw;
      }
    }
  };
  for_each_node(true, [&](PendingNode& pending) { finish_constant(pending, scope); });
  for_each_node(false, [&](PendingNode& pending) {
    finish_node(pending, scope, depth);
    graph.nodes.push_back(std::move(pending.node));
  });

  TextSet output_names;
  for (const Declared& output : outputs) {
    const ValueId id = resolve(scope, output.name);
    if (id == kNoValue)
      fail({"nothing makes the graph output ", quoted(output.name)}, {.tensor = output.name});
    if (!output_names.insert(output.name).second) {
      fail({"the graph output ", quoted(output.name), " is listed twice"}, {.tensor = output.name});
    }
    const bool is_input = std::ranges::find(graph.inputs, id) != graph.inputs.end();
    // What an input is, its own declaration says.
    if (!is_input) declare(graph, id, output, main_graph ? As::kOutput : As::kInner);
    graph.outputs.push_back(id);
  }
  if (graph.outputs.empty()) fail(main_graph ? "the model has no outputs" : "a subgraph has no outputs");
  for (const Declared& info : infos) {
    if (const auto known = scope.ids.find(info.name); known != scope.ids.end())
      if (std::ranges::find(graph.inputs, known->second) == graph.inputs.end())
        declare(graph, known->second, info, As::kInner);
  }
  sort_topologically(graph);
}

void Reader::finish_node(PendingNode& pending, Scope& scope, int depth) {
  Node& node = pending.node;
  if (node.op_type.empty()) fail({"node ", quoted(node.name), " has no operator"});
  if (functions_.contains(node.domain + "." + node.op_type)) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {"node ", quoted(node.name), " calls the function ", printable(qualified_name(node)),
                 " that the model defines itself, which is not supported"},
                {.hint = "export the model again with its functions inlined"});
  }
  if (node.domain.empty() && !model_.opsets.contains("")) {
    fail({"node ", quoted(node.name), " uses the operator ", printable(qualified_name(node)),
          ", but the model does not import an opset of ai.onnx"});
  }
  for (const std::string& input : pending.inputs) {
    const ValueId id = input.empty() ? kNoValue : resolve(scope, input);
    if (id == kNoValue && !input.empty()) {
      fail({"node ", quoted(node.name), " (", printable(qualified_name(node)), ") reads ", quoted(input),
            ", which is neither an input, an initializer, nor made by a node"},
           {.tensor = input});
    }
    node.inputs.push_back(id);
  }
  while (!node.inputs.empty() && node.inputs.back() == kNoValue) node.inputs.pop_back();
  for (Message& attribute : pending.attributes) {
    auto [name, value] = read_attribute(attribute, scope, depth);
    if (!node.attributes.emplace(name, std::move(value)).second)
      fail({"attribute ", quoted(name), " is given twice"});
  }
}

// ai.onnx.Constant: its one attribute is the value.
void Reader::finish_constant(PendingNode& pending, Scope& scope) {
  Node& node = pending.node;
  Graph& graph = scope.graph;
  std::optional<Tensor> tensor;
  const bool simple = pending.inputs.empty() && node.outputs.size() == 1 && pending.attributes.size() == 1;
  if (simple) {
    auto [name, value] = read_attribute(pending.attributes[0], scope, kMaxSubgraphDepth);
    const auto vector_of = []<class T>(const std::vector<T>& list) {
      return Tensor::of<T>({static_cast<int64_t>(list.size())}, list);
    };
    if (std::holds_alternative<RawAttribute>(value)) {
      throw_error(ErrorCode::kUnsupportedOperator,
                  {"attribute ", quoted(name), " of the Constant is sparse, which is not supported"},
                  {.hint = "export the model with dense weights"});
    }
    if (auto* t = std::get_if<Tensor>(&value); t && name == "value") tensor = std::move(*t);
    if (auto* f = std::get_if<float>(&value); f && name == "value_float") tensor = Tensor::scalar(*f);
    if (auto* i = std::get_if<int64_t>(&value); i && name == "value_int") tensor = Tensor::scalar(*i);
    if (auto* s = std::get_if<std::string>(&value); s && name == "value_string")
      tensor = Tensor::of_strings({}, {*s});
    if (auto* f = std::get_if<std::vector<float>>(&value); f && name == "value_floats")
      tensor = vector_of(*f);
    if (auto* i = std::get_if<std::vector<int64_t>>(&value); i && name == "value_ints")
      tensor = vector_of(*i);
    if (auto* s = std::get_if<std::vector<std::string>>(&value); s && name == "value_strings") {
      tensor = Tensor::of_strings({static_cast<int64_t>(s->size())}, std::move(*s));
    }
  }
  if (!tensor) fail({"node ", quoted(node.name), " is a Constant without exactly one value"});
  Value& value = graph[node.outputs[0]];
  value.dtype = tensor->dtype();
  value.shape = symbolic(tensor->dims());
  value.constant = std::move(*tensor);
}

std::pair<std::string, Attribute> Reader::read_attribute(Message message, Scope& scope, int depth) {
  std::string name;
  auto type = AttributeType::kUndefined;
  auto implied =
      AttributeType::kUndefined;  // by the field that is there: files before IR version 2 have no type
  bool mixed = false;
  const auto imply = [&](AttributeType by_field) {
    mixed |= implied != AttributeType::kUndefined && implied != by_field;
    implied = by_field;
  };
  std::optional<float> real;
  std::optional<int64_t> integer;
  std::optional<std::string> text;
  std::optional<Message> tensor, graph;
  std::vector<float> reals;
  std::vector<int64_t> integers;
  std::vector<std::string> texts;
  const char* foreign = nullptr;
  const std::string_view all = message.unread();
  bool whole = true;
  while (message.next()) {
    switch (message.tag()) {
      case attribute_field::kName:
        name = name_field(message, "the attribute name");
        break;
      case attribute_field::kType:
        type = AttributeType{message.integer()};
        break;
      case attribute_field::kFloat:
        real = message.float_value(), imply(AttributeType::kFloat);
        break;
      case attribute_field::kInt:
        integer = message.integer(), imply(AttributeType::kInt);
        break;
      case attribute_field::kString:
        text = message.bytes(), imply(AttributeType::kString);
        break;
      case attribute_field::kTensor:
        if (tensor) message.fail("is given twice");
        tensor = message.message("TensorProto"), imply(AttributeType::kTensor);
        break;
      case attribute_field::kGraph:
        if (graph) message.fail("is given twice");
        graph = message.message("GraphProto"), imply(AttributeType::kGraph);
        break;
      case attribute_field::kFloats: {
        const std::string_view block = message.repeated_fixed(sizeof(float));
        const size_t before = reals.size();
        reals.resize(before + block.size() / sizeof(float));
        if (!block.empty()) std::memcpy(reals.data() + before, block.data(), block.size());
        imply(AttributeType::kFloats);
        break;
      }
      case attribute_field::kInts:
        whole &= for_each_varint(message.repeated_varint(), [&](int64_t v) { integers.push_back(v); });
        imply(AttributeType::kInts);
        break;
      case attribute_field::kStrings:
        texts.emplace_back(message.bytes()), imply(AttributeType::kStrings);
        break;
      case attribute_field::kTensors:
        message.skip(), imply(AttributeType::kTensors);
        break;
      case attribute_field::kSparseTensor:
        message.skip(), imply(AttributeType::kSparseTensor);
        break;
      case attribute_field::kSparseTensors:
        message.skip(), imply(AttributeType::kSparseTensors);
        break;
      case attribute_field::kTypeProto:
        message.skip(), imply(AttributeType::kTypeProto);
        break;
      case attribute_field::kTypeProtos:
        message.skip(), imply(AttributeType::kTypeProtos);
        break;
      case attribute_field::kGraphs:  // could read values of the graph around it, by their names
        message.skip(), foreign = "a list of graphs";
        break;
      case attribute_field::kRefAttrName:
        message.skip(), foreign = "a reference to a function's attribute";
        break;
      default:
        message.skip();
    }
  }
  const std::string shown = "attribute " + quoted(name);
  if (name.empty()) fail("an attribute has no name");
  if (foreign)
    throw_error(ErrorCode::kUnsupportedOperator, {shown, " is ", foreign, ", which is not supported"});
  if (!whole) fail({shown, " has a number that is cut off"});
  if (type == AttributeType::kUndefined) type = implied;
  const bool list_or_zero = implied == AttributeType::kUndefined;  // proto3 writers leave zeros out
  if (mixed || (!list_or_zero && type != implied)) fail({shown, " has a value of another type than it says"});
  switch (type) {
    case AttributeType::kFloat:
      return {std::move(name), real.value_or(0.0F)};
    case AttributeType::kInt:
      return {std::move(name), integer.value_or(0)};
    case AttributeType::kString:
      return {std::move(name), std::move(text).value_or("")};
    case AttributeType::kFloats:
      return {std::move(name), std::move(reals)};
    case AttributeType::kInts:
      return {std::move(name), std::move(integers)};
    case AttributeType::kStrings:
      return {std::move(name), std::move(texts)};
    case AttributeType::kTensor: {
      if (!tensor) fail({shown, " has no tensor"});
      Tensor value = read_tensor_message(*tensor, file_, name).tensor;
      return {std::move(name), std::move(value)};
    }
    case AttributeType::kGraph: {
      if (!graph) fail({shown, " has no graph"});
      auto subgraph = std::make_shared<Graph>();
      read_graph(*graph, *subgraph, &scope, depth + 1);
      return {std::move(name), std::move(subgraph)};
    }
    case AttributeType::kTensors:
    case AttributeType::kSparseTensor:
    case AttributeType::kSparseTensors:
    case AttributeType::kTypeProto:
    case AttributeType::kTypeProtos:
      return {std::move(name), RawAttribute{std::string(all)}};
    default:
      throw_error(ErrorCode::kUnsupportedOperator,
                  {shown, " has the type ", static_cast<int64_t>(type), ", which is not supported"});
  }
}

// ---- what is declared

void Reader::declare(Graph& graph, ValueId id, const Declared& declared, As as) {
  Value& value = graph[id];
  const std::string& name = declared.name;
  const bool constant = value.constant.has_value();
  if (declared.foreign) {
    if (as == As::kInner) return;
    throw_error(
        ErrorCode::kUnsupportedType,
        {"graph input or output ", quoted(name), " is ", declared.foreign, "; only tensors are supported"},
        {.tensor = name,
         .hint =
             "export the model with tensors as inputs and outputs (for scikit-learn models: zipmap=False)"});
  }
  const auto warn = [&](const Text& wrong, const Text& right) {
    graph.warnings.push_back(
        Text({quoted(name), " is declared ", wrong.str(), " but is ", right.str()}).str());
  };
  if (declared.has_type && declared.element != 0) {
    const DType dtype = element_type(declared.element, name);
    if (value.dtype == DType::kUndefined) value.dtype = dtype;
    if (value.dtype != dtype) warn(name_of(dtype), name_of(value.dtype));
  } else if (as == As::kInput && !constant) {
    fail({"graph input ", quoted(name), " has no type"}, {.tensor = name});
  }
  if (!declared.shape) return;
  if (as == As::kInput && !constant) {
    value.shape = declared.shape;
  } else if (!constant) {
    const auto [known, added] = declared_.emplace(std::pair(&graph, id), *declared.shape);
    if (!added && !fits(known->second, *declared.shape)) {
      graph.warnings.push_back(
          Text({quoted(name), " is declared ", known->second, " and ", *declared.shape}).str());
    }
  } else if (!fits(*value.shape, *declared.shape)) {
    warn({*declared.shape}, {*value.shape});
  }
}

// What the operators say counts; where they say nothing, what is declared may be true.
void Reader::compare_declared(Graph& graph) {
  for (auto it = declared_.lower_bound({&graph, 0}); it != declared_.end() && it->first.first == &graph;
       ++it) {
    Value& value = graph[it->first.second];
    if (!value.shape) {
      value.shape = it->second;
    } else if (!fits(*value.shape, it->second)) {
      graph.warnings.push_back(
          Text({quoted(value.name), " is declared ", it->second, " but is ", *value.shape}).str());
    } else {
      refine(*value.shape, it->second);
    }
  }
}

// ---- the in-memory form

void Reader::canonicalize(Graph& graph, bool branch) {
  std::vector<Node> nodes = std::exchange(graph.nodes, {});
  graph.nodes.reserve(nodes.size());
  for (Node& node : nodes) {
    ErrorDetails details = where(node);
    try {
      canonicalize_node(graph, std::move(node), branch);
    } catch (Error& e) {
      e.add_details(details);
      throw;
    }
  }
  // What comes out must be a graph again: an expansion may have dropped an output that somebody reads.
  std::vector<bool> made(graph.values.size(), false);
  for (size_t v = 0; v < made.size(); ++v) made[v] = graph.values[v].constant.has_value();
  for (ValueId v : graph.inputs) made[static_cast<size_t>(v)] = true;
  for (const Capture& c : graph.captures) made[static_cast<size_t>(c.inner)] = true;
  const auto require_made = [&](ValueId v, const std::string& reader) {
    if (v == kNoValue || made[static_cast<size_t>(v)]) return;
    throw_error(ErrorCode::kUnsupportedOperator,
                {quoted(graph[v].name), ", which ", reader,
                 " reads, is an output that its operator gives only in forms that are not supported"},
                {.tensor = graph[v].name});
  };
  for (const Node& node : graph.nodes) {
    for (ValueId v : node.inputs) require_made(v, "node " + quoted(node.name));
    for (const auto& [key, attribute] : node.attributes) {
      if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute))
        for (const Capture& c : (*sub)->captures)
          require_made(c.outer, "a subgraph of node " + quoted(node.name));
    }
    for (ValueId v : node.outputs)
      if (v != kNoValue) made[static_cast<size_t>(v)] = true;
  }
  for (ValueId v : graph.outputs) require_made(v, "the graph's output list");
  compare_declared(graph);
}

void Reader::canonicalize_node(Graph& graph, Node node, bool branch) {
  for (auto& [key, attribute] : node.attributes) {
    const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute);
    if (!sub) continue;
    Graph& inner = **sub;
    for (const Capture& c : inner.captures) {
      inner[c.inner].dtype = graph[c.outer].dtype;
      inner[c.inner].shape = graph[c.outer].shape;
    }
    canonicalize(inner, true);
  }
  const OpDef* def = find_op(node.domain, node.op_type);
  if (!def) {  // require_supported lists these
    for (ValueId v : node.outputs) {
      const auto declared = declared_.find({&graph, v});
      if (declared != declared_.end()) graph[v].shape = declared->second;
    }
    graph.nodes.push_back(std::move(node));
    return;
  }
  const int64_t version = version_of(node.domain);
  if (version < def->since) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {printable(qualified_name(node)), " is supported since version ", def->since,
                 " of its operator set; the model uses version ", version},
                {.hint = "export the model again, for a newer opset"});
  }
  if (node.input(0) == kNoValue) {  // of no supported operator is the first input optional
    throw_error(ErrorCode::kInvalidModel, "input 0 is missing", where(node));
  }
  std::vector<Node> replacement;
  if (def->canonicalize) {
    Canonicalize context{.graph = graph, .node = std::move(node), .version = version, .nodes = {}};
    def->canonicalize(context);
    replacement = std::move(context.nodes);
  } else {
    replacement.push_back(std::move(node));
  }
  for (Node& n : replacement) {
    try {
      infer_node(graph, n);
    } catch (const Error& e) {
      // A branch that does not fit may never be taken; if it is, planning says so again.
      if (!branch || e.code() == ErrorCode::kOutOfMemory) throw;
    }
    graph.nodes.push_back(std::move(n));
  }
}

}  // namespace

Model read(std::shared_ptr<std::byte> bytes, size_t size) {
  try {
    return Reader(std::move(bytes), size).read();
  } catch (const std::bad_alloc&) {
    throw_error(ErrorCode::kOutOfMemory, {"no memory to read a model of ", size, " bytes"},
                {.hint = "close other models and tabs, or use a smaller model"});
  }
}

}  // namespace zp::onnx
