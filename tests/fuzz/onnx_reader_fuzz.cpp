// Whatever bytes come in, read() gives a model or an Error; a model that was read is written, and what was
// written reads as a model that is written the same.
//
//   onnx_reader_fuzz CORPUS/ [-max_total_time=60] [-dict=tests/fuzz/onnx.dict]
//
// An empty corpus folder is first filled with valid and malformed models made by the unit tests' builders.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "../unit/onnx/malformed.h"
#include "../unit/onnx/model_builder.h"
#include "core/error.h"
#include "onnx/onnx.h"
#include "ops/infer.h"

namespace {

void write_seed(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

void fill(const std::filesystem::path& folder) {
  int n = 0;
  for (const std::string& bytes : zp::onnx::test::valid_models())
    write_seed(folder / ("valid_" + std::to_string(n++)), bytes);
  for (const auto& file : zp::onnx::test::malformed_models()) write_seed(folder / file.name, file.bytes);
}

zp::Model read(const void* data, size_t size) {
  // Exactly as large as the file, so that AddressSanitizer sees reads beyond it.
  auto* const bytes = new std::byte[size];
  if (size > 0) std::memcpy(bytes, data, size);
  return zp::onnx::read({bytes, std::default_delete<std::byte[]>()}, size);
}

[[noreturn]] void broken(const char* promise, const char* why) {
  std::fprintf(stderr, "broken promise: %s: %s\n", promise, why);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  for (int i = 1; i < *argc; ++i) {
    const std::filesystem::path folder = (*argv)[i];
    if ((*argv)[i][0] == '-' || !std::filesystem::is_directory(folder)) continue;
    if (std::filesystem::is_empty(folder)) fill(folder);
    break;
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zp::Model model;
  try {
    model = read(data, size);
    zp::onnx::versions_of(model);  // says whether it can be written
  } catch (const zp::Error& e) {
    if (e.code() == zp::ErrorCode::kInternal) broken("no internal errors", e.what());
    return 0;
  }
  std::vector<std::byte> first;
  try {
    zp::infer_shapes(model.graph);
    first = zp::onnx::write(model);
    const zp::Model again = read(first.data(), first.size());
    if (zp::onnx::write(again) != first) broken("what is written reads as the same model", "bytes differ");
  } catch (const zp::Error& e) {
    broken("a model that was read can be inferred, written and read again", e.what());
  }
  return 0;
}
