// Whatever model comes in: it is read, prepared, planned for inputs of small size and run, or refused with
// an Error that is not internal.
//
//   onnx_plan_fuzz CORPUS/ [-max_total_time=60] [-dict=tests/fuzz/onnx.dict]
//
// An empty corpus folder is first filled with random graphs (graphs/random_graph.h).
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "files.h"
#include "graphs/random_graph.h"
#include "mutate.h"
#include "onnx/onnx.h"
#include "ops/cast.h"
#include "runtime/prepare.h"
#include "runtime/session.h"

namespace {

constexpr uint64_t kSeeds = 64;
constexpr size_t kMemory = size_t{64} << 20;

void fill(const std::filesystem::path& folder) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    zp::fuzz::Choices choices(seed);
    const std::vector<std::byte> bytes = zp::onnx::write(*zp::fuzz::random_graph(choices, 4, 1).model);
    zp::fuzz::write_seed(folder / ("graph_" + std::to_string(seed)),
                         {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
}

// 0, 1, 2, 0, 1, ... in the declared dimensions; 2 where none is declared. Empty when they would be large.
std::vector<zp::runtime::Feed> small_feeds(const zp::Graph& graph) {
  std::vector<zp::runtime::Feed> feeds;
  for (zp::ValueId v : graph.inputs) {
    const zp::Value& input = graph[v];
    zp::Shape dims;
    int64_t count = 1;
    if (input.shape)
      for (const zp::Dim& d : *input.shape) {
        dims.push_back(d.known() ? d.value() : 2);
        if (dims.back() > 4096) return {};
        count *= dims.back();
        if (count > 65536) return {};
      }
    if (input.dtype == zp::DType::kUndefined) return {};
    if (input.dtype == zp::DType::kString) {
      std::vector<std::string> texts(static_cast<size_t>(count));
      feeds.push_back({input.name, zp::Tensor::of_strings(dims, std::move(texts))});
      continue;
    }
    zp::Tensor values(zp::DType::kFloat32, dims);
    float* to = values.mutable_data<float>().data();
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(i % 3);
    feeds.push_back({input.name, zp::cast(values, input.dtype)});
  }
  return feeds;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  zp::fuzz::fill_empty_corpus(*argc, *argv, fill);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    auto model = std::make_shared<zp::Model>(zp::fuzz::read(data, size));
    zp::runtime::prepare(model->graph);
    const std::vector<zp::runtime::Feed> feeds = small_feeds(model->graph);
    if (feeds.size() != model->graph.inputs.size()) return 0;
    zp::runtime::SessionOptions options;
    options.memory_limit = kMemory;
    zp::runtime::Session session(model, options);
    session.begin(feeds);
    for (int slices = 0; slices < 200 && !session.advance(5); ++slices) {
    }
  } catch (const zp::Error& e) {
    if (e.code() == zp::ErrorCode::kInternal) zp::fuzz::broken("no internal errors", e.what());
  }
  return 0;
}
