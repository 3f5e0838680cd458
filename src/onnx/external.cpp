#include "onnx/external.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "onnx/reading.h"
#include "onnx/schema.h"
#include "onnx/tensor_reader.h"

namespace zp::onnx {
namespace {

constexpr int64_t kExternal = 1;  // of TensorProto.DataLocation
// What JavaScript's numbers hold exactly.
constexpr uint64_t kMostBytes = uint64_t{1} << 53;

[[noreturn]] void fail_piece(std::string_view tensor, const Text& problem, std::string_view hint = {}) {
  throw_error(ErrorCode::kInvalidModel, {"tensor '", printable(tensor), "' ", problem.str()},
              {.tensor = tensor, .hint = hint});
}

uint64_t number_of(std::string_view tensor, std::string_view what, const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > kMostBytes) {
    fail_piece(tensor, {"lies in another file, at the ", what, " '", printable(text),
                        "', which is no number of bytes"});
  }
  return value;
}

// The parts of a path, "." left out and ".." taken back. nullopt: it leads out of the folder, or is none.
std::optional<std::string> path_below(std::string_view location) {
  const bool drive = location.size() > 1 && location[1] == ':';
  if (location.empty() || drive || location.find('\0') != std::string_view::npos || !valid_utf8(location))
    return std::nullopt;
  std::vector<std::string_view> parts;
  size_t at = 0;
  while (at <= location.size()) {
    const size_t end = std::min(location.find_first_of("/\\", at), location.size());
    const std::string_view part = location.substr(at, end - at);
    at = end + 1;
    if (part.empty() && (parts.empty() || end == location.size())) return std::nullopt;  // "/...", ".../"
    if (part == "..") {
      if (parts.empty()) return std::nullopt;
      parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
  }
  if (parts.empty()) return std::nullopt;
  std::string path(parts[0]);
  for (size_t i = 1; i < parts.size(); ++i) path.append("/").append(parts[i]);
  return path;
}

// Finds the pieces of everything that read() reads.
class Scan {
 public:
  std::vector<ExternalPiece> pieces;

  void model(Message message) {
    while (message.next()) {
      if (message.tag() == model_field::kGraph) {
        graph(message.message("GraphProto"), 0);
      } else if (message.tag() == model_field::kFunctions) {
        function(message.message("FunctionProto"));
      } else {
        message.skip();
      }
    }
  }

 private:
  void graph(Message message, int depth) {
    while (message.next()) {
      if (message.tag() == graph_field::kInitializer) {
        tensor(message.message("TensorProto"), "initializer without a name");
      } else if (message.tag() == graph_field::kNode) {
        node(message.message("NodeProto"), depth);
      } else {
        message.skip();
      }
    }
  }

  void function(Message message) {
    while (message.next()) {
      if (message.tag() == function_field::kNode) {
        node(message.message("NodeProto"), 0);
      } else {
        message.skip();
      }
    }
  }

  void node(Message message, int depth) {
    while (message.next()) {
      if (message.tag() == node_field::kAttribute) {
        attribute(message.message("AttributeProto"), depth);
      } else {
        message.skip();
      }
    }
  }

  void attribute(Message message, int depth) {
    std::string name;
    while (message.next()) {
      if (message.tag() == attribute_field::kName) {
        name = message.bytes();
      } else if (message.tag() == attribute_field::kTensor || message.tag() == attribute_field::kTensors) {
        tensor(message.message("TensorProto"), name);
      } else if (message.tag() == attribute_field::kGraph && depth < kMaxSubgraphDepth) {
        graph(message.message("GraphProto"), depth + 1);  // read() refuses deeper ones
      } else {
        message.skip();
      }
    }
  }

  void tensor(Message message, std::string_view otherwise_named) {
    ExternalFields external;
    std::string name;
    Shape dims;
    int64_t data_type = 0;
    while (message.next()) {
      switch (message.tag()) {
        case tensor_field::kDims:
          for_each_varint(message.repeated_varint(), [&](int64_t d) { dims.push_back(d); });
          break;
        case tensor_field::kDataType:
          data_type = message.integer();
          break;
        case tensor_field::kName:
          name = message.bytes();
          break;
        case tensor_field::kExternalData:
          external.add(message.message("StringStringEntryProto"));
          break;
        case tensor_field::kDataLocation:
          external.set_place(message.integer());
          break;
        default:
          message.skip();
      }
    }
    if (!external.given()) return;
    if (name.empty()) name = otherwise_named;
    if (!valid_utf8(name)) fail_piece(name, {"has a name that is not UTF-8"});
    const uint64_t bytes = data_bytes(element_type(data_type, name), dims, name);
    ExternalPiece piece = external.piece(name, bytes);
    if (bytes > 0) pieces.push_back(std::move(piece));
  }
};

}  // namespace

void ExternalFields::add(Message entry) {
  std::string key, value;
  while (entry.next()) {
    if (entry.tag() == entry_field::kKey) {
      key = entry.bytes();
    } else if (entry.tag() == entry_field::kValue) {
      value = entry.bytes();
    } else {
      entry.skip();
    }
  }
  // Other keys, such as checksums, do not say where the bytes are.
  if (key == "location") location_ = value, has_location_ = true;
  if (key == "offset") offset_ = value;
  if (key == "length") length_ = value, has_length_ = true;
}

ExternalPiece ExternalFields::piece(std::string_view tensor, uint64_t bytes) const {
  if (place_ != kExternal) fail_piece(tensor, {"lies in a place that ONNX does not define: ", place_});
  if (!has_location_) fail_piece(tensor, {"lies in another file, but the model does not say in which"});
  const std::optional<std::string> path = path_below(location_);
  if (!path) {
    // The error shows the path up to its first byte of 0.
    fail_piece(
        tensor,
        {"lies in the file '", printable(location_.c_str()), "', which is not below the folder of the model"},
        "such a path is never followed: save the model again, with its data beside it");
  }
  ExternalPiece piece{.tensor = std::string(tensor), .location = *path, .bytes = bytes};
  if (!offset_.empty()) piece.offset = number_of(tensor, "offset", offset_);
  if (has_length_) {
    const uint64_t length = number_of(tensor, "length", length_);
    if (length != bytes) {
      fail_piece(tensor, {"should have ", bytes, " bytes by its type and dimensions, but the model gives it ",
                          length, " of the file '", printable(*path), "'"});
    }
  }
  if (piece.offset > kMostBytes - bytes) fail_piece(tensor, {"ends beyond the largest possible file"});
  return piece;
}

std::vector<ExternalPiece> external_pieces(const std::byte* bytes, size_t size) {
  Scan scan;
  try {
    scan.model({reinterpret_cast<const char*>(bytes), size, "ModelProto"});
  } catch (const Error& e) {
    if (!e.details().tensor.empty()) throw;
    return {};  // read() tells what such a file is
  }
  std::ranges::sort(scan.pieces, [](const auto& a, const auto& b) { return a.place() < b.place(); });
  const auto rest =
      std::ranges::unique(scan.pieces, [](const auto& a, const auto& b) { return a.place() == b.place(); });
  scan.pieces.erase(rest.begin(), rest.end());
  return std::move(scan.pieces);
}

}  // namespace zp::onnx
