#include "onnx/graph_reader.h"

#include <algorithm>
#include <optional>

#include "onnx/schema.h"

namespace zp::onnx {
namespace {

constexpr std::string_view kConstant = "Constant";  // the one operator that reading itself replaces

// A new value of this graph. `prefix`: of a function's.
ValueId define(Scope& scope, const std::string& name, const Node* by = nullptr,
               const std::string& prefix = "") {
  const auto id = static_cast<ValueId>(scope.graph.values.size());
  if (!scope.ids.emplace(name, id).second) {
    ErrorDetails details{.tensor = name};
    if (by) details.node = by->name, details.op = qualified_name(*by);
    fail({"value ", quoted(name), " is made twice"}, details);
  }
  scope.graph.values.push_back({.name = prefix.empty() ? name : scope.graph.fresh_name(prefix + name),
                                .dtype = DType::kUndefined,
                                .shape = {},
                                .constant = {}});
  return id;
}

// The value called `name`, of this graph or captured from one around it; nullopt if there is none, kNoValue
// where a call leaves it out.
std::optional<ValueId> resolve(Scope& scope, const std::string& name) {
  if (const auto at = scope.ids.find(name); at != scope.ids.end()) return at->second;
  if (!scope.outer) return std::nullopt;
  const std::optional<ValueId> outer = resolve(*scope.outer, name);
  if (!outer || *outer == kNoValue) return outer;
  const auto id = static_cast<ValueId>(scope.graph.values.size());
  // A constant of the outer graph becomes a constant of this one (both share its data); only computed values
  // are captured.
  scope.graph.values.push_back(scope.outer->graph[*outer]);
  if (!scope.graph[id].constant) scope.graph.captures.push_back({.outer = *outer, .inner = id});
  scope.ids.emplace(name, id);
  return id;
}

}  // namespace

void GraphReader::read(Message message, Graph& graph, Scope* outer, int depth) {
  if (depth > kMaxSubgraphDepth) {
    fail({"subgraphs are nested deeper than ", kMaxSubgraphDepth, " levels"});
  }
  Scope scope{.graph = graph, .outer = outer, .call = outer ? outer->call : nullptr};
  PendingGraph pending = read_fields(message, scope);
  finish_inputs(pending, scope);
  name_nodes(pending.nodes);
  define_outputs(pending.nodes, scope, {}, {});
  finish_nodes(pending.nodes, scope, depth);
  finish_outputs(pending, scope);
  sort_topologically(graph);
}

GraphReader::PendingGraph GraphReader::read_fields(Message message, Scope& scope) {
  Graph& graph = scope.graph;
  PendingGraph pending;
  while (message.next()) {
    switch (message.tag()) {
      case graph_field::kNode:
        pending.nodes.push_back(read_node(message.message("NodeProto")));
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
        pending.inputs.push_back(read_value_info(message.message("ValueInfoProto")));
        break;
      case graph_field::kOutput:
        pending.outputs.push_back(read_value_info(message.message("ValueInfoProto")));
        break;
      case graph_field::kValueInfo:
        pending.infos.push_back(read_value_info(message.message("ValueInfoProto")));
        break;
      case graph_field::kSparseInitializer:
        throw_error(ErrorCode::kUnsupportedType, "the model has sparse initializers, which are not supported",
                    {.hint = "export the model with dense weights"});
      default:
        message.skip();
    }
  }
  return pending;
}

void GraphReader::finish_inputs(const PendingGraph& pending, Scope& scope) {
  Graph& graph = scope.graph;
  const bool main_graph = scope.outer == nullptr;
  TextSet input_names;
  for (const Declared& input : pending.inputs) {
    if (!input_names.insert(input.name).second) {
      fail({"two graph inputs are called ", quoted(input.name)}, {.tensor = input.name});
    }
    // Before IR version 4 every initializer had to be an input too; since then, such an input is a default.
    // Both are constants, unless a run is fed another value.
    const auto known = scope.ids.find(input.name);
    const bool initialized = known != scope.ids.end();
    const ValueId id = initialized ? known->second : define(scope, input.name);
    declare(graph, id, input, main_graph ? As::kInput : As::kInner, shapes_);
    (initialized ? graph.defaults : graph.inputs).push_back(id);
  }
}

void GraphReader::define_outputs(std::vector<PendingNode>& nodes, Scope& scope, const std::string& prefix,
                                 const TextMap<ValueId>& given) {
  for (PendingNode& pending : nodes) {
    Node& node = pending.node;
    for (const std::string& output : pending.outputs) {
      const auto there = given.find(output);
      if (output.empty()) {
        node.outputs.push_back(kNoValue);
      } else if (there == given.end()) {
        node.outputs.push_back(define(scope, output, &node, prefix));
      } else if (scope.ids.insert(*there).second) {
        node.outputs.push_back(there->second);
      } else {
        fail({"value ", quoted(output), " is made twice"}, where(model_, node));
      }
    }
    while (!node.outputs.empty() && node.outputs.back() == kNoValue) node.outputs.pop_back();
    if (node.outputs.empty()) fail({"node ", quoted(node.name), " has no output"}, where(model_, node));
  }
}

// Nodes may stand in any order: all outputs come first, then constants (which subgraphs copy), then
// everything else.
void GraphReader::finish_nodes(std::vector<PendingNode>& all, Scope& scope, int depth) {
  Graph& graph = scope.graph;
  const auto for_each_node = [&](bool constants, auto&& body) {
    for (PendingNode& pending : all) {
      if (pending.node.is(kConstant) != constants) continue;
      try {
        body(pending);
      } catch (Error& e) {
        e.add_details(where(model_, pending.node));
        throw;
      }
    }
  };
  for_each_node(true, [&](PendingNode& pending) { finish_constant(pending, scope); });
  for_each_node(false, [&](PendingNode& pending) {
    finish_node(pending, scope, depth);
    const auto called =
        functions_.find(function_key(pending.node.domain, pending.node.op_type, pending.overload));
    if (called != functions_.end()) {
      inline_call(pending.node, called->second, scope, depth);
    } else {
      graph.nodes.push_back(std::move(pending.node));
    }
  });
}

void GraphReader::finish_outputs(const PendingGraph& pending, Scope& scope) {
  Graph& graph = scope.graph;
  const bool main_graph = scope.outer == nullptr;
  TextSet output_names;
  for (const Declared& output : pending.outputs) {
    const ValueId id = resolve(scope, output.name).value_or(kNoValue);
    if (id == kNoValue)
      fail({"nothing makes the graph output ", quoted(output.name)}, {.tensor = output.name});
    if (!output_names.insert(output.name).second) {
      fail({"the graph output ", quoted(output.name), " is listed twice"}, {.tensor = output.name});
    }
    const bool is_input = std::ranges::find(graph.inputs, id) != graph.inputs.end();
    // An input has a declaration of its own.
    if (!is_input) declare(graph, id, output, main_graph ? As::kOutput : As::kInner, shapes_);
    graph.outputs.push_back(id);
  }
  if (graph.outputs.empty()) fail(main_graph ? "the model has no outputs" : "a subgraph has no outputs");
  for (const Declared& info : pending.infos) {
    if (const auto known = scope.ids.find(info.name); known != scope.ids.end())
      if (std::ranges::find(graph.inputs, known->second) == graph.inputs.end())
        declare(graph, known->second, info, As::kInner, shapes_);
  }
}

GraphReader::PendingNode GraphReader::read_node(Message message) {
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
      case node_field::kOverload:
        pending.overload = name_field(message, "the overload of a function");
        break;
      default:
        message.skip();
    }
  }
  return pending;
}

// Gives every node a name that no other node of the graph has: reports go by them.
void GraphReader::name_nodes(std::vector<PendingNode>& nodes) {
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

void GraphReader::finish_node(PendingNode& pending, Scope& scope, int depth) {
  Node& node = pending.node;
  if (node.op_type.empty()) fail({"node ", quoted(node.name), " has no operator"});
  if (node.domain.empty() && !model_.opsets.contains("")) {
    fail({"node ", quoted(node.name), " uses the operator ", printable(qualified_name(node)),
          ", but the model does not import an opset of ai.onnx"});
  }
  for (const std::string& input : pending.inputs) {
    const std::optional<ValueId> id = input.empty() ? kNoValue : resolve(scope, input);
    if (!id) {
      fail({"node ", quoted(node.name), " (", printable(qualified_name(node)), ") reads ", quoted(input),
            ", but no input, initializer or node makes it"},
           {.tensor = input});
    }
    node.inputs.push_back(*id);
  }
  while (!node.inputs.empty() && node.inputs.back() == kNoValue) node.inputs.pop_back();
  for (Message& attribute : pending.attributes) {
    auto read = read_attribute(attribute, scope, depth);
    if (!read) continue;
    const std::string name = read->first;
    if (!node.attributes.insert(std::move(*read)).second)
      fail({"attribute ", quoted(name), " is given twice"});
  }
  if (!scope.call) return;
  const Opsets& opsets = scope.call->function.opsets;
  const auto imported = opsets.find(node.domain);
  if (imported != opsets.end() && imported->second != version_of(model_, node.domain))
    versions_[{&scope.graph, first_output(node)}] = imported->second;
}

void GraphReader::inline_call(const Node& node, const Function& function, Scope& scope, int depth) {
  Graph& graph = scope.graph;
  Call call{
      .function = function, .attributes = node.attributes, .depth = scope.call ? scope.call->depth + 1 : 1};
  if (call.depth > kMaxFunctionDepth)
    fail({"functions are called deeper than ", kMaxFunctionDepth, " levels; a function may call itself"});
  inlined_ += static_cast<int64_t>(function.nodes.size());
  if (inlined_ > kMaxInlinedNodes)
    fail({"the functions that the model calls have more than ", kMaxInlinedNodes, " nodes in all"});
  if (node.inputs.size() > function.inputs.size() || node.outputs.size() > function.outputs.size()) {
    fail({"node ", quoted(node.name), " has ", node.inputs.size(), " inputs and ", node.outputs.size(),
          " outputs, the function that it calls ", function.inputs.size(), " and ", function.outputs.size()});
  }
  Scope inner{.graph = graph, .outer = nullptr, .call = &call};
  for (const Message& message : function.defaults) {
    auto attribute = read_attribute(message, inner, depth);
    if (attribute) call.attributes.insert(std::move(*attribute));
  }
  for (size_t i = 0; i < function.inputs.size(); ++i) {
    if (!inner.ids.emplace(function.inputs[i], node.input(i)).second)
      fail({"two inputs of the function are called ", quoted(function.inputs[i])});
  }
  std::vector<PendingNode> nodes;
  for (const Message& message : function.nodes) nodes.push_back(read_node(message));
  name_nodes(nodes);
  // Names in the function become names in the graph, with the name of the call in front.
  const std::string prefix = node.name + "/";
  for (PendingNode& pending : nodes) pending.node.name = prefix + pending.node.name;
  TextMap<ValueId> given;  // outputs, as the call has them
  for (size_t i = 0; i < function.outputs.size(); ++i) {
    if (node.output(i) != kNoValue && !given.emplace(function.outputs[i], node.outputs[i]).second)
      fail({"two outputs of the function are called ", quoted(function.outputs[i])});
  }
  TextMap<ValueId> made_inside = given;
  for (const std::string& input : function.inputs) made_inside.erase(input);
  define_outputs(nodes, inner, prefix, made_inside);
  finish_nodes(nodes, inner, depth);
  for (const auto& [name, id] : given) {
    const auto made = inner.ids.find(name);
    if (made == inner.ids.end() || made->second == kNoValue)
      fail({"the function ", quoted(function.name), " does not make its output ", quoted(name)});
    if (made->second == id) continue;
    Node same;  // an output that is an input
    same.name = prefix + name;
    same.op_type = "Identity";
    same.inputs = {made->second};
    same.outputs = {id};
    graph.nodes.push_back(std::move(same));
  }
}

// ai.onnx.Constant: its one attribute is the value.
void GraphReader::finish_constant(PendingNode& pending, Scope& scope) {
  Node& node = pending.node;
  Graph& graph = scope.graph;
  std::optional<Tensor> tensor;
  const bool simple = pending.inputs.empty() && node.outputs.size() == 1 && pending.attributes.size() == 1;
  if (simple) {
    auto read = read_attribute(pending.attributes[0], scope, kMaxSubgraphDepth);
    if (!read) fail({"node ", quoted(node.name), " is a Constant whose value the call leaves out"});
    auto& [name, value] = *read;
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

}  // namespace zp::onnx
