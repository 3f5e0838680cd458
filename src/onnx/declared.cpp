#include "onnx/declared.h"

#include <algorithm>
#include <string>

#include "graph/dim.h"
#include "onnx/reading.h"
#include "onnx/schema.h"
#include "onnx/tensor_reader.h"
#include "ops/op.h"

namespace zp::onnx {
namespace {

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

constexpr int kMostNested = 2;  // an optional sequence of tensors

void read_type(Message message, Declared& declared, int depth = 0) {
  // The type of the elements of a sequence or an optional.
  const auto read_inner = [&](Message outer) {
    while (outer.next()) {
      if (outer.tag() == sequence_type_field::kElemType && depth < kMostNested) {
        read_type(outer.message("TypeProto"), declared, depth + 1);
      } else {
        outer.skip();
      }
    }
  };
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
              if (depth > 0) {
                tensor.skip();
              } else {
                declared.shape = read_shape(tensor.message("TensorShapeProto"), declared.name);
              }
              break;
            default:
              tensor.skip();
          }
        }
        declared.has_type = true;
        break;
      }
      case type_field::kSequence:
        read_inner(message.message("TypeProto.Sequence"));
        if (declared.kind != ValueKind::kTensor || declared.foreign)
          declared.foreign = "a sequence of other values than tensors";
        declared.kind = ValueKind::kSequence;
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
        read_inner(message.message("TypeProto.Optional"));
        if (declared.kind != ValueKind::kTensor && declared.kind != ValueKind::kSequence && !declared.foreign)
          declared.foreign = "an optional optional";
        declared.kind =
            declared.kind == ValueKind::kSequence ? ValueKind::kOptionalSequence : ValueKind::kOptionalTensor;
        break;
      default:
        message.skip();
    }
  }
}

// The operators' rules count. No operator makes a map: ZipMap makes a tensor of the scores that the maps
// would hold.
bool made_by_known_operator(const Graph& graph, ValueId id) {
  return std::ranges::any_of(graph.nodes, [&](const Node& node) {
    return std::ranges::find(node.outputs, id) != node.outputs.end() && find_op(node);
  });
}

}  // namespace

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

void declare(Graph& graph, ValueId id, const Declared& declared, As as, DeclaredShapes& shapes) {
  Value& value = graph[id];
  const std::string& name = declared.name;
  const bool constant = value.constant.has_value();
  if (declared.foreign) {
    if (as == As::kInner) return;
    if (as == As::kOutput && made_by_known_operator(graph, id)) {
      graph.warnings.push_back(
          Text({quoted(name), " is declared ", declared.foreign, " but is a tensor"}).str());
      return;
    }
    throw_error(
        ErrorCode::kUnsupportedType,
        {"graph input or output ", quoted(name), " is ", declared.foreign, ", which is not supported"},
        {.tensor = name,
         .hint =
             "export the model with tensors as inputs and outputs (for scikit-learn models: zipmap=False)"});
  }
  value.kind = declared.kind;
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
  if (!declared.shape || declared.kind != ValueKind::kTensor) return;
  if (as == As::kInput && !constant) {
    value.shape = declared.shape;
  } else if (!constant) {
    const auto [known, added] = shapes.emplace(std::pair(&graph, id), *declared.shape);
    if (!added && !fits(known->second, *declared.shape)) {
      graph.warnings.push_back(
          Text({quoted(name), " is declared ", known->second, " and ", *declared.shape}).str());
    }
  } else if (!fits(*value.shape, *declared.shape)) {
    warn({*declared.shape}, {*value.shape});
  }
}

void compare_declared(Graph& graph, const DeclaredShapes& shapes) {
  for (auto it = shapes.lower_bound({&graph, 0}); it != shapes.end() && it->first.first == &graph; ++it) {
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

}  // namespace zp::onnx
