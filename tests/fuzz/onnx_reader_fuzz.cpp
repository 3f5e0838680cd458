// Whatever bytes come in, read() gives a model or an Error; a model that was read is written, and what was
// written reads as a model that is written the same.
//
//   onnx_reader_fuzz CORPUS/ [-max_total_time=60] [-dict=tests/fuzz/onnx.dict]
//
// An empty corpus folder is first filled with valid and malformed models made by the unit tests' builders.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../unit/onnx/malformed.h"
#include "../unit/onnx/model_builder.h"
#include "core/error.h"
#include "files.h"
#include "onnx/onnx.h"
#include "ops/infer.h"

namespace {

using zp::fuzz::broken;
using zp::fuzz::read;
using zp::fuzz::write_seed;

void fill(const std::filesystem::path& folder) {
  int n = 0;
  for (const std::string& bytes : zp::onnx::test::valid_models())
    write_seed(folder / ("valid_" + std::to_string(n++)), bytes);
  for (const auto& file : zp::onnx::test::malformed_models()) write_seed(folder / file.name, file.bytes);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  zp::fuzz::fill_empty_corpus(*argc, *argv, fill);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zp::Model model;
  try {
    zp::onnx::external_pieces(reinterpret_cast<const std::byte*>(data), size);
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
