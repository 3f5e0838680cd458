// Names the kind of a file that is not ONNX, by its first bytes.
#pragma once

#include <string_view>

namespace zp::onnx {

struct FileKind {
  std::string_view what;  // "a PNG image"
  std::string_view hint;
};

// nullptr when the bytes are of no known kind (ONNX has no magic number: they may be ONNX).
const FileKind* sniff(std::string_view bytes);

}  // namespace zp::onnx
