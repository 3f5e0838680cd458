#include "onnx/sniff.h"

#include <algorithm>
#include <cctype>
#include <cstddef>

namespace zp::onnx {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kExportTorch = "export the model from PyTorch as ONNX, and load the .onnx file";
constexpr std::string_view kConvertKeras = "convert the model to ONNX, and load the .onnx file";
constexpr std::string_view kPickModel = "choose the .onnx file of the model";

struct Signature {
  size_t at;
  std::string_view bytes;
  FileKind kind;
};

// The more exact first.
constexpr Signature kSignatures[] = {
    {0, "\x89PNG\r\n\x1a\n"sv, {"a PNG image", kPickModel}},
    {0, "\xff\xd8\xff"sv, {"a JPEG image", kPickModel}},
    {0, "GIF8"sv, {"a GIF image", kPickModel}},
    {8, "WEBP"sv, {"a WebP image", kPickModel}},
    {8, "WAVE"sv, {"a WAV recording", kPickModel}},
    {0, "%PDF-"sv, {"a PDF document", kPickModel}},
    {0, "\x93NUMPY"sv, {"a NumPy array", "choose the .onnx file of the model; arrays are samples"}},
    {4, "TFL3"sv, {"a TensorFlow Lite model", "convert the model to ONNX, and load the .onnx file"}},
    {4, "ORTM"sv, {"a model in ONNX Runtime's own .ort format", "load the .onnx file that it was made from"}},
    {0, "\x89HDF\r\n\x1a\n"sv, {"an HDF5 file (Keras .h5)", kConvertKeras}},
    {0,
     "GGUF"sv,
     {"a GGUF file", "load the model's .onnx file; language models are often published in both forms"}},
    {0, "\x80\x02"sv, {"a Python pickle (a PyTorch checkpoint)", kExportTorch}},
    {0, "\x80\x03"sv, {"a Python pickle (a PyTorch checkpoint)", kExportTorch}},
    {0, "\x80\x04"sv, {"a Python pickle", kExportTorch}},
    {0, "\x80\x05"sv, {"a Python pickle", kExportTorch}},
    {0, "\x1f\x8b"sv, {"a gzip archive", "unpack it, and load the .onnx file inside"}},
    {0, "7z\xbc\xaf\x27\x1c"sv, {"a 7z archive", "unpack it, and load the .onnx file inside"}},
    {257, "ustar"sv, {"a tar archive", "unpack it, and load the .onnx file inside"}},
    {0,
     "version https://git-lfs"sv,
     {"a Git LFS pointer, not the model itself",
      "download the model itself (git lfs pull, or the site's download link)"}},
};

constexpr FileKind kTorchZip{"a PyTorch checkpoint (.pt)", kExportTorch};
constexpr FileKind kNpz{"an archive of NumPy arrays (.npz)",
                        "choose the .onnx file of the model; arrays are samples"};
constexpr FileKind kKerasZip{"a Keras model (.keras)", kConvertKeras};
constexpr FileKind kZip{"a zip archive", "unpack it, and load the .onnx file inside"};
constexpr FileKind kSafetensors{"a safetensors file, which holds weights but no graph",
                                "export the model with its graph, as ONNX"};
constexpr FileKind kPage{
    "a web page", "the download link gave a page instead of the model: open it and save the model itself"};
constexpr FileKind kJson{"a JSON file", kPickModel};
constexpr FileKind kText{"a text file", kPickModel};

bool starts_with_ignoring_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(),
                    [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); });
}

}  // namespace

const FileKind* sniff(std::string_view bytes) {
  for (const Signature& s : kSignatures) {
    if (bytes.size() > s.at && bytes.substr(s.at).starts_with(s.bytes)) return &s.kind;
  }
  if (bytes.starts_with("PK\x03\x04"sv)) {
    // Names of the first members stand near the start, in the local file headers.
    const std::string_view head = bytes.substr(0, 4096);
    if (head.contains("data.pkl") || head.contains("/version")) return &kTorchZip;
    if (head.contains(".npy")) return &kNpz;
    if (head.contains("config.json")) return &kKerasZip;
    return &kZip;
  }
  if (bytes.size() > 9 && bytes.substr(8).starts_with("{\""sv) && bytes[7] == 0) return &kSafetensors;
  std::string_view text = bytes.substr(0, 512);
  if (text.starts_with("\xef\xbb\xbf"sv)) text.remove_prefix(3);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  if (starts_with_ignoring_case(text, "<!doctype") || starts_with_ignoring_case(text, "<html") ||
      starts_with_ignoring_case(text, "<?xml")) {
    return &kPage;
  }
  if (text.starts_with('{') || text.starts_with('[')) return &kJson;
  // A model begins with a field of few bytes and soon has control characters: 32 bytes without any are text.
  if (bytes.size() >= 32 && std::ranges::all_of(bytes.substr(0, 512), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte >= 0x20 ? byte != 0x7f : byte == '\n' || byte == '\r' || byte == '\t';
      })) {
    return &kText;
  }
  return nullptr;
}

}  // namespace zp::onnx
