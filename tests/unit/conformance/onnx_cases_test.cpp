// ONNX's own test cases, one folder each: model.onnx, test_data_set_0/input_*.pb and output_*.pb. They are
// not part of this repository:
//
//   pip download --no-deps onnx==1.17.0 && unzip onnx-*.whl 'onnx/backend/test/data/*'
//   ZEROPOINT_ONNX_CASES=onnx/backend/test/data/node build/native/zeropoint_tests
//   --gtest_filter='OnnxCases.*'
//
// ZEROPOINT_ONNX_FILTER picks the cases whose name contains it. A case whose operators, types or forms are
// not supported is counted, not failed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "onnx/onnx.h"
#include "runtime/session.h"

namespace zp {
namespace {

namespace fs = std::filesystem;

struct FileBytes {
  std::shared_ptr<std::byte> bytes;
  size_t size;
};
FileBytes load(const fs::path& path) {
  const auto size = static_cast<size_t>(fs::file_size(path));
  auto bytes = allocate_bytes(size);
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(bytes.get()), static_cast<std::streamsize>(size));
  return {std::move(bytes), size};
}
// Older cases say uint16 where they mean the bits of bfloat16, which NumPy has not.
Tensor load_tensor(const fs::path& path, DType declared) {
  FileBytes file = load(path);
  Tensor t = onnx::read_tensor(std::move(file.bytes), file.size);
  const bool bits = t.dtype() == DType::kUint16 && declared == DType::kBfloat16;
  return bits ? Tensor(declared, t.dims(), t.storage()) : t;
}

std::vector<double> numbers(const Tensor& t) {
  std::vector<double> v;
  v.reserve(static_cast<size_t>(t.size()));
  if (t.dtype() == DType::kFloat64) {
    for (double d : t.data<double>()) v.push_back(d);
  } else if (t.dtype() == DType::kFloat32 || t.dtype() == DType::kFloat16 || t.dtype() == DType::kBfloat16) {
    for (float f : t.floats()) v.push_back(f);
  }
  return v;
}

// Empty when `got` is `want` as closely as ONNX's own runner asks: integers exactly, floats to 1e-3 (of half:
// 1e-2).
std::string difference(const Tensor& got, const Tensor& want) {
  if (got.dtype() != want.dtype()) {
    return "type " + std::string(name_of(got.dtype())) + " instead of " + std::string(name_of(want.dtype()));
  }
  if (got.dims() != want.dims())
    return "shape " + to_string(got.dims()) + " instead of " + to_string(want.dims());
  if (want.dtype() == DType::kString) return got.strings() == want.strings() ? "" : "other strings";
  const auto at = [&](int64_t i, auto a, auto b) {
    return "element " + std::to_string(i) + " is " + std::to_string(a) + " instead of " + std::to_string(b);
  };
  const std::vector<double> a = numbers(got), b = numbers(want);
  if (b.empty()) {
    for (int64_t i = 0; i < want.size(); ++i)
      if (got.integer_at(i) != want.integer_at(i)) return at(i, got.integer_at(i), want.integer_at(i));
    return "";
  }
  const double relative = bits_of(want.dtype()) == 16 ? 1e-2 : 1e-3;
  for (size_t i = 0; i < b.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    if (!(std::abs(a[i] - b[i]) <= 1e-7 + relative * std::abs(b[i])))
      return at(static_cast<int64_t>(i), a[i], b[i]);
  }
  return "";
}

// Cases whose expected outputs contradict the specification, or are not defined by it. They are run and
// shown, and not counted as failures.
struct Disputed {
  std::string_view name, why;
};
constexpr Disputed kDisputed[] = {
    {"test_affine_grid_3d_align_corners_expanded", "splits 5 elements into 4 parts of 2"},
    {"test_affine_grid_3d_expanded", "splits 5 elements into 4 parts of 2"},
    {"test_cast_FLOAT16_to_INT4", "casts of floats that do not fit are undefined; here they saturate"},
    {"test_cast_FLOAT16_to_UINT4", "casts of floats that do not fit are undefined; here they saturate"},
    {"test_cast_FLOAT_to_INT4", "casts of floats that do not fit are undefined; here they saturate"},
    {"test_cast_FLOAT_to_UINT4", "casts of floats that do not fit are undefined; here they saturate"},
    {"test_qlinearmatmul_2D_int8_float32", "wraps where QLinearMatMul says that it saturates"},
    {"test_qlinearmatmul_3D_int8_float32", "wraps where QLinearMatMul says that it saturates"},
    {"test_resize_downsample_scales_cubic_align_corners", "aligns to a corner that rounding cut off"},
    {"test_resize_downsample_scales_linear_align_corners", "aligns to a corner that rounding cut off"},
};

bool is_disputed(std::string_view name) {
  return std::ranges::any_of(kDisputed, [&](const Disputed& d) { return d.name == name; });
}

struct Verdict {
  enum class Kind { kPassed, kFailed, kUnsupported } kind;
  std::string why;
};

Verdict run_case(const fs::path& folder, bool integer) {
  try {
    FileBytes file = load(folder / "model.onnx");
    const auto model = std::make_shared<const Model>(onnx::read(std::move(file.bytes), file.size));
    runtime::SessionOptions options;
    options.integer = integer;
    runtime::Session session(model, options);
    const fs::path data = folder / "test_data_set_0";
    std::vector<runtime::Feed> feeds;
    for (size_t i = 0; i < model->graph.inputs.size(); ++i) {
      feeds.push_back({model->graph[model->graph.inputs[i]].name,
                       load_tensor(data / ("input_" + std::to_string(i) + ".pb"),
                                   model->graph[model->graph.inputs[i]].dtype)});
    }
    const std::vector<Tensor> outputs = session.run(std::move(feeds));
    for (size_t i = 0; i < outputs.size(); ++i) {
      const std::string d = difference(
          outputs[i], load_tensor(data / ("output_" + std::to_string(i) + ".pb"), outputs[i].dtype()));
      if (!d.empty()) return {Verdict::Kind::kFailed, "output " + std::to_string(i) + ": " + d};
    }
    return {Verdict::Kind::kPassed, ""};
  } catch (const Error& e) {
    const bool unsupported =
        e.code() == ErrorCode::kUnsupportedOperator || e.code() == ErrorCode::kUnsupportedType;
    return {unsupported ? Verdict::Kind::kUnsupported : Verdict::Kind::kFailed,
            std::string(name_of(e.code())) + ": " + e.what() +
                (e.details().op.empty() ? "" : " [" + e.details().op + "]")};
  }
}

TEST(OnnxCases, OperatorsAgreeWithOnnx) {
  const char* const root = std::getenv("ZEROPOINT_ONNX_CASES");
  if (!root)
    GTEST_SKIP() << "ZEROPOINT_ONNX_CASES is not set: this file's first lines say where the cases are";
  const char* const wanted = std::getenv("ZEROPOINT_ONNX_FILTER");
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(root)) {
    const std::string name = entry.path().filename().string();
    if (fs::exists(entry.path() / "model.onnx") && (!wanted || name.find(wanted) != name.npos))
      folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  ASSERT_FALSE(folders.empty()) << "no cases in " << root;
  size_t passed = 0, failed = 0, unsupported = 0, disputed = 0;
  std::map<std::string, size_t> reasons;
  for (const fs::path& folder : folders) {
    const std::string name = folder.filename().string();
    std::fprintf(stderr, "%s\n", name.c_str());  // so that a crash has a name
    for (const bool integer : {true, false}) {
      const Verdict verdict = run_case(folder, integer);
      switch (verdict.kind) {
        case Verdict::Kind::kPassed:
          ++passed;
          break;
        case Verdict::Kind::kFailed:
          ++(is_disputed(name) ? disputed : failed);
          std::printf("%s %s%s: %s\n", is_disputed(name) ? "DISPUTED" : "FAILED", name.c_str(),
                      integer ? "" : " (Q and DQ in float)", verdict.why.c_str());
          std::fflush(stdout);
          break;
        case Verdict::Kind::kUnsupported:
          ++unsupported;
          ++reasons[verdict.why.substr(0, 160)];
          break;
      }
    }
  }
  for (const auto& [why, count] : reasons) std::printf("UNSUPPORTED %zu: %s\n", count, why.c_str());
  std::printf(
      "%zu cases, each with integer kernels and without: %zu passed, %zu failed, %zu unsupported, %zu "
      "disputed\n",
      folders.size(), passed, failed, unsupported, disputed);
  EXPECT_EQ(failed, 0U);
  EXPECT_GT(passed, 0U);
}

}  // namespace
}  // namespace zp
