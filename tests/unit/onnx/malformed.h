// Files that are wrong in one way each, and what read() must say of them. Made here rather than kept: each is
// a line that says what is wrong with it.
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "model_builder.h"

namespace zp::onnx::test {

struct Malformed {
  std::string name;
  std::string bytes;
  ErrorCode code = ErrorCode::kInvalidModel;
  std::vector<std::string> says;  // substrings of message, hint, node, op or tensor
};

class MalformedModels {
 public:
  std::vector<Malformed> all;

  MalformedModels() {
    add_other_files();
    add_protobuf();
    add_versions();
    add_names_and_edges();
    add_tensors();
    add_declared_types();
    add_attributes_and_subgraphs();
  }

 private:
  using enum ErrorCode;

  void add(std::string name, std::string bytes, ErrorCode code, std::vector<std::string> says) {
    all.push_back({std::move(name), std::move(bytes), code, std::move(says)});
  }
  // small_graph() with a change
  static std::string with(auto&& change) {
    GraphSpec g = small_graph();
    change(g);
    return model(g).bytes;
  }
  static std::string with_initializer(const Proto& t) {
    return with([&](GraphSpec& g) { g.initializers = {t}; });
  }

  void add_other_files() {
    using namespace std::string_literals;
    add("empty", "", kInvalidModel, {"empty"});
    add("png", "\x89PNG\r\n\x1a\n0000IHDR"s, kInvalidModel, {"PNG", ".onnx"});
    add("jpeg", "\xff\xd8\xff\xe0"s, kInvalidModel, {"JPEG"});
    add("zip", "PK\x03\x04\x14\0\0\0"s, kInvalidModel, {"zip"});
    add("pytorch", "PK\x03\x04\0\0\0\0\0\0archive/data.pkl"s, kInvalidModel,
        {"PyTorch", "export the model from PyTorch"});
    add("pickle", "\x80\x02}q\0."s, kInvalidModel, {"pickle", "export the model from PyTorch"});
    add("npz", "PK\x03\x04\0\0\0\0\0\0x.npy"s, kInvalidModel, {"npz"});
    add("npy", "\x93NUMPY\1\0v\0"s, kInvalidModel, {"NumPy"});
    add("tflite", "\x1c\0\0\0TFL3\0\0"s, kInvalidModel, {"TensorFlow Lite", "convert the model"});
    add("ort", "\x1c\0\0\0ORTM\0\0"s, kInvalidModel, {".ort"});
    add("hdf5", "\x89HDF\r\n\x1a\n\0\0"s, kInvalidModel, {"HDF5"});
    add("gguf", "GGUF\3\0\0\0"s, kInvalidModel, {"GGUF"});
    add("safetensors", "\x10\0\0\0\0\0\0\0{\"a\":{}}"s, kInvalidModel, {"safetensors"});
    add("gzip", "\x1f\x8b\x08\0"s, kInvalidModel, {"gzip"});
    add("lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n"s, kInvalidModel, {"Git LFS"});
    add("html", "\n<!DOCTYPE html><html><body>Not found</body></html>"s, kInvalidModel, {"web page"});
    add("json", "{\"model\": 1}"s, kInvalidModel, {"JSON"});
    add("text", "This is a text file that somebody took for a model.\n"s, kInvalidModel, {"text"});
    add("tensor_pb", tensor<float>("w", {1}, {1}).bytes, kInvalidModel, {"not an ONNX model"});
    add("noise", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"s, kInvalidModel, {"not an ONNX model"});
  }

  void add_protobuf() {
    using namespace std::string_literals;
    const std::string whole = model(small_graph()).bytes;
    add("cut_in_graph", whole.substr(0, whole.size() / 2), kInvalidModel,
        {"cut off", "byte " + std::to_string(whole.size() / 2), "again"});
    add("cut_in_field_header", whole + "\x72", kInvalidModel, {"cut off"});
    add("cut_in_varint", whole + "\x08\xff", kInvalidModel, {"cut off"});
    add("cut_before_opset",
        Proto().integer(model_field::kIrVersion, 8).message(model_field::kGraph, graph(small_graph())).bytes,
        kInvalidModel, {"opset", "again"});
    add("cut_before_graph",
        Proto().integer(model_field::kIrVersion, 8).text(model_field::kProducerName, "p").bytes,
        kInvalidModel, {"no graph"});
    add("length_beyond_file",
        Proto().integer(model_field::kIrVersion, 8).length_only(model_field::kGraph, 1000).bytes,
        kInvalidModel, {"cut off", "1000"});
    add("length_4g",
        Proto().integer(model_field::kIrVersion, 8).length_only(model_field::kGraph, 0x100000002).bytes +
            "ab",
        kInvalidModel, {"cut off"});
    add("length_negative_32",
        Proto().integer(model_field::kIrVersion, 8).length_only(model_field::kGraph, 0xfffffff0).bytes + "ab",
        kInvalidModel, {"cut off"});
    add("length_2_63",
        Proto().integer(model_field::kIrVersion, 8).length_only(model_field::kGraph, uint64_t{1} << 63).bytes,
        kInvalidModel, {"cut off"});
    add("length_beyond_message",
        model(Proto().length_only(graph_field::kNode, 50).text(graph_field::kName, "g"))
            .text(model_field::kDocString, std::string(80, 'd'))
            .bytes,
        kInvalidModel, {"GraphProto", "50"});
    add("wire_type", Proto().integer(model_field::kIrVersion, 8).integer(model_field::kGraph, 1).bytes,
        kInvalidModel, {"wire type", "ModelProto"});
    add("group", Proto().integer(model_field::kIrVersion, 8).bytes + "\x0b\x0c", kInvalidModel, {"protobuf"});
    add("tag_zero", Proto().integer(model_field::kIrVersion, 8).bytes + "\0\0"s, kInvalidModel, {"protobuf"});
    add("varint_of_11_bytes",
        Proto().integer(model_field::kIrVersion, 8).bytes + "\x28" + std::string(11, '\xff') + "\1",
        kInvalidModel, {"byte 2"});
    add("two_graphs", model(small_graph()).message(model_field::kGraph, graph(small_graph())).bytes,
        kInvalidModel, {"second graph"});
  }

  void add_versions() {
    add("no_ir_version",
        Proto()
            .message(model_field::kGraph, graph(small_graph()))
            .message(model_field::kOpsetImport, opset("", 21))
            .bytes,
        kInvalidModel, {"IR version"});
    add("ir_version_99", model(small_graph(), 21, 99).bytes, kInvalidModel, {"99"});
    add("opset_29", model(small_graph(), 29).bytes, kUnsupportedOperator, {"29", "28"});
    add("opset_0", model(small_graph(), 0).bytes, kInvalidModel, {"version 0"});
    add("two_opsets", model(small_graph()).message(model_field::kOpsetImport, opset("ai.onnx", 20)).bytes,
        kInvalidModel, {"21", "20", "ai.onnx"});
    add("no_default_opset",
        Proto()
            .integer(model_field::kIrVersion, 8)
            .message(model_field::kGraph, graph({.nodes = {node(":Relu", {"x"}, {"y"}, {}, "act")},
                                                 .initializers = {},
                                                 .inputs = {value("x", DType::kFloat32, {4})},
                                                 .outputs = {value("y", DType::kFloat32, {4})},
                                                 .infos = {}}))
            .message(model_field::kOpsetImport, opset("other", 1))
            .bytes,
        kInvalidModel, {"act", "ai.onnx"});
  }

  void add_names_and_edges() {
    add("missing_input", with([](GraphSpec& g) { g.nodes = {node("Work", {"nobody"}, {"y"}, {}, "work")}; }),
        kInvalidModel, {"'nobody'", "'work'"});
    add("missing_in_subgraph", with([](GraphSpec& g) {
          const Proto body = graph({.nodes = {node("Use", {"ghost"}, {"o"}, {}, "user")},
                                    .initializers = {},
                                    .inputs = {},
                                    .outputs = {value_without_type("o")},
                                    .infos = {}});
          g.nodes = {node("Branch", {"x"}, {"y"}, {graph_attribute("body", body)}, "branch")};
        }),
        kInvalidModel, {"'ghost'", "'user'"});
    add("missing_output", with([](GraphSpec& g) { g.outputs = {value("z", DType::kFloat32, {4})}; }),
        kInvalidModel, {"'z'"});
    add("output_twice", with([](GraphSpec& g) { g.outputs.push_back(g.outputs[0]); }), kInvalidModel,
        {"'y'", "twice"});
    add("no_outputs", with([](GraphSpec& g) { g.outputs.clear(); }), kInvalidModel, {"no outputs"});
    add("two_makers", with([](GraphSpec& g) { g.nodes.push_back(node("Work", {"x"}, {"y"}, {}, "again")); }),
        kInvalidModel, {"'y'", "twice", "again"});
    add("node_makes_input",
        with([](GraphSpec& g) { g.nodes.push_back(node("Work", {"y"}, {"x"}, {}, "back")); }), kInvalidModel,
        {"'x'", "twice"});
    add("node_makes_initializer",
        with([](GraphSpec& g) { g.initializers = {tensor<float>("y", {4}, {1, 2, 3, 4})}; }), kInvalidModel,
        {"'y'", "twice"});
    add("two_initializers", with([](GraphSpec& g) {
          g.initializers = {tensor<float>("w", {1}, {1}), tensor<float>("w", {1}, {2})};
        }),
        kInvalidModel, {"'w'", "twice"});
    add("two_inputs", with([](GraphSpec& g) { g.inputs.push_back(g.inputs[0]); }), kInvalidModel,
        {"'x'", "two graph inputs"});
    add("cycle", with([](GraphSpec& g) {
          g.nodes = {node("Work", {"x", "b"}, {"y"}, {}, "first"), node("Work", {"y"}, {"b"}, {}, "second")};
        }),
        kInvalidModel, {"cycle", "first"});
    add("self_cycle", with([](GraphSpec& g) { g.nodes = {node("Work", {"y"}, {"y"}, {}, "ouroboros")}; }),
        kInvalidModel, {"cycle", "ouroboros"});
    add("cycle_through_capture", with([](GraphSpec& g) {
          const Proto body = graph({.nodes = {node("Use", {"y"}, {"o"})},
                                    .initializers = {},
                                    .inputs = {},
                                    .outputs = {value_without_type("o")},
                                    .infos = {}});
          g.nodes = {node("Branch", {"x"}, {"y"}, {graph_attribute("body", body)}, "branch")};
        }),
        kInvalidModel, {"cycle", "branch"});
    add("node_without_operator", with([](GraphSpec& g) { g.nodes = {node("", {"x"}, {"y"}, {}, "blank")}; }),
        kInvalidModel, {"blank", "no operator"});
    add("node_without_output",
        with([](GraphSpec& g) { g.nodes.push_back(node("Work", {"x"}, {""}, {}, "mute")); }), kInvalidModel,
        {"mute", "no output"});
    add("initializer_without_name", with_initializer(tensor<float>("", {1}, {1})), kInvalidModel,
        {"no name"});
    add("bad_utf8_value", with([](GraphSpec& g) { g.nodes = {node("Work", {"x\xff"}, {"y"})}; }),
        kInvalidModel, {"x\\xff", "UTF-8"});
    add("bad_utf8_node", with([](GraphSpec& g) { g.nodes = {node("Work", {"x"}, {"y"}, {}, "\xc0\xaf")}; }),
        kInvalidModel, {"UTF-8"});
    add("bad_utf8_tensor", with_initializer(tensor<float>("w\xed\xa0\x80", {1}, {1})), kInvalidModel,
        {"UTF-8", "w\\xed"});
  }

  void add_tensors() {
    add("tensor_short", with_initializer(raw_tensor("w", DType::kFloat32, {2, 2}, "123456789012345")),
        kInvalidModel, {"'w'", "16 bytes", "15", "[2, 2]"});
    add("tensor_empty", with_initializer(tensor_header("w", DType::kFloat32, {2})), kInvalidModel,
        {"'w'", "8 bytes"});
    add("tensor_long", with_initializer(raw_tensor("w", DType::kInt8, {2}, "123")), kInvalidModel,
        {"'w'", "2 bytes"});
    add("tensor_negative_dim", with_initializer(tensor_header("w", DType::kFloat32, {-2, 3})), kInvalidModel,
        {"'w'", "negative"});
    add("tensor_overflow",
        with_initializer(tensor_header("w", DType::kFloat32, {int64_t{1} << 32, int64_t{1} << 32})),
        kInvalidModel, {"'w'", "too many elements"});
    add("tensor_huge", with_initializer(tensor_header("w", DType::kInt64, {int64_t{1} << 39})), kInvalidModel,
        {"'w'"});
    add("tensor_huge_strings", with_initializer(tensor_header("w", DType::kString, {int64_t{1} << 39})),
        kInvalidModel, {"'w'", "strings"});
    add("tensor_rank_33", with_initializer([] {
          Proto t;
          for (int i = 0; i < 33; ++i) t.integer(tensor_field::kDims, 1);
          return t.integer(tensor_field::kDataType, 1)
              .text(tensor_field::kName, "w")
              .text(tensor_field::kRawData, "1234");
        }()),
        kInvalidModel, {"'w'", "33 dimensions"});
    add("tensor_no_type", with_initializer(raw_tensor("w", DType::kUndefined, {1}, "1234")), kInvalidModel,
        {"'w'", "type 0"});
    add("tensor_type_77", with_initializer(tensor_header("w", 77, {1}).text(tensor_field::kRawData, "1234")),
        kInvalidModel, {"'w'", "77"});
    add("tensor_complex",
        with_initializer(tensor_header("w", 14, {1}).text(tensor_field::kRawData, "12345678")),
        kUnsupportedType, {"'w'", "complex64"});
    add("tensor_float6", with_initializer(tensor_header("w", 27, {1}).text(tensor_field::kRawData, "1")),
        kUnsupportedType, {"'w'", "float6e2m3"});
    add("tensor_wrong_field",
        with_initializer(tensor_header("w", DType::kFloat32, {1}).integer(tensor_field::kInt64Data, 1)),
        kInvalidModel, {"'w'", "another type"});
    add("tensor_data_twice",
        with_initializer(tensor<float>("w", {1}, {1}).text(tensor_field::kFloatData, "1234")), kInvalidModel,
        {"'w'", "twice"});
    add("tensor_raw_twice",
        with_initializer(tensor<float>("w", {1}, {1}).text(tensor_field::kRawData, "1234")), kInvalidModel,
        {"'w'", "twice"});
    add("tensor_out_of_range",
        with_initializer(tensor_header("w", DType::kInt8, {1}).integer(tensor_field::kInt32Data, 200)),
        kInvalidModel, {"'w'", "200", "int8"});
    add("tensor_broken_varint",
        with_initializer(tensor_header("w", DType::kInt64, {1}).text(tensor_field::kInt64Data, "\1\xff")),
        kInvalidModel, {"'w'"});
    add("tensor_float_length",
        with_initializer(tensor_header("w", DType::kFloat32, {1}).text(tensor_field::kFloatData, "12345")),
        kInvalidModel, {"multiple of 4"});
    add("tensor_external",
        with_initializer(
            tensor_header("w", DType::kFloat32, {4})
                .message(tensor_field::kExternalData,
                         Proto().text(entry_field::kKey, "location").text(entry_field::kValue, "w.bin"))
                .integer(tensor_field::kDataLocation, 1)),
        kInvalidModel, {"'w'", "'w.bin'", "not there"});
    add("tensor_segment",
        with_initializer(tensor<float>("w", {1}, {1}).message(tensor_field::kSegment, Proto().integer(1, 0))),
        kInvalidModel, {"'w'", "segment"});
    add("sparse_initializer",
        model(Proto(graph(small_graph())).message(graph_field::kSparseInitializer, Proto())).bytes,
        kUnsupportedType, {"sparse"});
  }

  void add_declared_types() {
    add("input_without_type", with([](GraphSpec& g) { g.inputs = {value_without_type("x")}; }), kInvalidModel,
        {"'x'", "no type"});
    add("input_sequence", with([](GraphSpec& g) {
          g.inputs = {
              Proto()
                  .text(value_info_field::kName, "x")
                  .message(value_info_field::kType,
                           Proto().message(type_field::kSequence,
                                           Proto().message(sequence_type_field::kElemType,
                                                           Proto().message(type_field::kMap, Proto()))))};
        }),
        kUnsupportedType, {"'x'", "sequence"});
    add("output_map", with([](GraphSpec& g) {
          g.outputs = {Proto()
                           .text(value_info_field::kName, "y")
                           .message(value_info_field::kType, Proto().message(type_field::kMap, Proto()))};
        }),
        kUnsupportedType, {"'y'", "map", "zipmap"});
    add("input_complex", with([](GraphSpec& g) {
          g.inputs = {Proto()
                          .text(value_info_field::kName, "x")
                          .message(value_info_field::kType, tensor_type(14, nullptr))};
        }),
        kUnsupportedType, {"'x'", "complex64"});
    add("input_negative_dim", with([](GraphSpec& g) { g.inputs = {value("x", DType::kFloat32, {-7})}; }),
        kInvalidModel, {"'x'", "-7"});
    add("input_huge_dim",
        with([](GraphSpec& g) { g.inputs = {value("x", DType::kFloat32, {int64_t{1} << 50})}; }),
        kInvalidModel, {"'x'"});
    add("input_nameless", with([](GraphSpec& g) { g.inputs.push_back(value("", DType::kFloat32, {1})); }),
        kInvalidModel, {"no name"});
  }

  void add_attributes_and_subgraphs() {
    using namespace std::string_literals;
    const auto with_attribute = [&](const Proto& a) {
      return with([&](GraphSpec& g) { g.nodes = {node("Work", {"x"}, {"y"}, {a}, "work")}; });
    };
    add("attribute_nameless", with_attribute(int_attribute("", 1)), kInvalidModel, {"work", "no name"});
    add("attribute_of_two_types", with_attribute(int_attribute("a", 1).real(attribute_field::kFloat, 1)),
        kInvalidModel, {"work", "'a'"});
    add("attribute_of_wrong_type",
        with_attribute(attribute("a", AttributeType::kInts).real(attribute_field::kFloat, 1)), kInvalidModel,
        {"work", "'a'"});
    add("attribute_without_tensor", with_attribute(attribute("a", AttributeType::kTensor)), kInvalidModel,
        {"work", "'a'", "no tensor"});
    add("attribute_without_graph", with_attribute(attribute("a", AttributeType::kGraph)), kInvalidModel,
        {"work", "'a'", "no graph"});
    add("attribute_type_99", with_attribute(attribute("a", AttributeType{99})), kUnsupportedOperator,
        {"work", "'a'", "99"});
    add("attribute_graphs",
        with_attribute(Proto().text(attribute_field::kName, "a").message(attribute_field::kGraphs, Proto())),
        kUnsupportedOperator, {"work", "'a'"});
    add("attribute_reference",
        with_attribute(attribute("a", AttributeType::kInt).text(attribute_field::kRefAttrName, "b")),
        kInvalidModel, {"work", "'a'", "refers"});
    add("attribute_twice", with([](GraphSpec& g) {
          g.nodes = {node("Work", {"x"}, {"y"}, {int_attribute("a", 1), int_attribute("a", 2)}, "work")};
        }),
        kInvalidModel, {"work", "'a'", "twice"});
    add("constant_without_value",
        with([](GraphSpec& g) { g.nodes.push_back(node(":Constant", {}, {"c"}, {}, "c")); }), kInvalidModel,
        {"'c'", "Constant"});
    add("constant_sparse", with([](GraphSpec& g) {
          g.nodes.push_back(node(":Constant", {}, {"c"},
                                 {Proto()
                                      .text(attribute_field::kName, "sparse_value")
                                      .message(attribute_field::kSparseTensor, Proto())},
                                 "c"));
        }),
        kUnsupportedOperator, {"c", "sparse"});
    {
      Proto g = graph({.nodes = {node("Work", {"x"}, {"o"})},
                       .initializers = {},
                       .inputs = {},
                       .outputs = {value_without_type("o")},
                       .infos = {}});
      for (int i = 0; i < 20; ++i) {
        g = graph({.nodes = {node("Branch", {"x"}, {"o"}, {graph_attribute("body", g)})},
                   .initializers = {},
                   .inputs = {},
                   .outputs = {value_without_type("o")},
                   .infos = {}});
      }
      add("deep_subgraphs",
          with([&](GraphSpec& s) { s.nodes = {node("Branch", {"x"}, {"y"}, {graph_attribute("body", g)})}; }),
          kInvalidModel, {"deeper than 16"});
    }
    add("inferred_rank_33", with([](GraphSpec& g) {
          g.nodes = {node(":Reshape", {"x", "s"}, {"m"}, {}, "many"), node("Work", {"m"}, {"y"})};
          g.initializers = {tensor<int64_t>("s", {33}, {4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1})};
        }),
        kShapeMismatch, {"many", "33 dimensions"});
    add("subgraph_without_output", with_attribute(graph_attribute("g", graph({}))), kInvalidModel,
        {"work", "subgraph has no outputs"});
    add("function",
        model(small_graph())
            .message(model_field::kFunctions,
                     Proto().text(function_field::kName, "Work").text(function_field::kDomain, kNowhere))
            .bytes,
        kInvalidModel, {"'work'", "function", "1 inputs"});
  }
};

inline std::vector<Malformed> malformed_models() { return MalformedModels().all; }

}  // namespace zp::onnx::test
