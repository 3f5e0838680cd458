// Weights in files beside the model: where they lie, and that nothing else is ever read.
#include "onnx/external.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <map>
#include <string>

#include "core/error.h"
#include "model_builder.h"
#include "model_compare.h"
#include "onnx/onnx.h"

namespace zp::onnx::test {
namespace {

using ::testing::HasSubstr;

Proto entry(std::string_view key, std::string_view value) {
  return Proto().text(entry_field::kKey, key).text(entry_field::kValue, value);
}
Proto outside(std::string_view name, std::initializer_list<int64_t> dims,
              std::initializer_list<std::pair<const char*, std::string>> entries,
              DType type = DType::kFloat32) {
  Proto t = tensor_header(name, type, dims).integer(tensor_field::kDataLocation, 1);
  for (const auto& [key, value] : entries) t.message(tensor_field::kExternalData, entry(key, value));
  return t;
}
std::string model_with(const std::vector<Proto>& initializers) {
  GraphSpec g = small_graph();
  g.initializers = initializers;
  std::vector<std::string_view> inputs{"x"};
  std::vector<std::string> names;
  for (size_t i = 0; i < initializers.size(); ++i) names.push_back("w" + std::to_string(i));
  inputs.insert(inputs.end(), names.begin(), names.end());
  g.nodes = {node("Work", inputs, {"y"}, {}, "work")};
  return model(g).bytes;
}
std::vector<ExternalPiece> pieces_of(const std::string& bytes) {
  return external_pieces(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
}
std::string problem_of(const Proto& initializer) {
  try {
    pieces_of(model_with({initializer}));
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidModel);
    EXPECT_EQ(e.details().tensor, "w0");
    return e.what();
  }
  return "nothing";
}

// Files in memory.
class Folder : public ExternalSource {
 public:
  std::map<std::string, std::string> files;
  Tensor tensor(const ExternalPiece& piece, DType dtype, Shape dims) override {
    const std::string& file = files.at(piece.location);
    EXPECT_LE(piece.offset + piece.bytes, file.size());
    std::shared_ptr<std::byte> bytes = allocate_bytes(piece.bytes);
    std::memcpy(bytes.get(), file.data() + piece.offset, piece.bytes);
    return {dtype, std::move(dims), std::shared_ptr<const std::byte>(bytes)};
  }
};

TEST(ExternalData, PiecesAreFoundOnceEach) {
  const auto pieces = pieces_of(model_with({
      outside("w0", {2}, {{"location", "b"}, {"offset", "8"}, {"length", "8"}}),
      outside("w1", {2}, {{"location", "./a/../b"}, {"offset", "8"}, {"checksum", "?"}}),
      outside("w2", {3}, {{"location", "a\\c"}}, DType::kInt4),
      outside("w3", {0, 4}, {{"location", "empty"}}),
  }));
  ASSERT_EQ(pieces.size(), 2U);
  EXPECT_EQ(pieces[0].location, "a/c");
  EXPECT_EQ(pieces[0].offset, 0U);
  EXPECT_EQ(pieces[0].bytes, 2U);
  EXPECT_EQ(pieces[1].location, "b");
  EXPECT_EQ(pieces[1].offset, 8U);
  EXPECT_EQ(pieces[1].bytes, 8U);
}

TEST(ExternalData, SubgraphsAndAttributesHaveSomeToo) {
  GraphSpec inner = small_graph();
  inner.initializers = {outside("inner", {4}, {{"location", "inner"}})};
  GraphSpec g = small_graph();
  g.nodes = {node("Work", {"x"}, {"y"},
                  {graph_attribute("body", graph(inner)),
                   tensor_attribute("value", outside("", {1}, {{"location", "attribute"}}))})};
  const auto pieces = pieces_of(model(g).bytes);
  ASSERT_EQ(pieces.size(), 2U);
  EXPECT_EQ(pieces[0].location, "attribute");
  EXPECT_EQ(pieces[0].tensor, "value");
  EXPECT_EQ(pieces[1].location, "inner");
}

TEST(ExternalData, NoPathLeavesTheFolder) {
  const std::string bad[] = {
      "",    ".",     "..",    "../w", "a/../../w", "/etc/passwd",          "//server/w",
      "\\w", "..\\w", "C:\\w", "c:w",  "a/",        std::string("a\0b", 3), "a/..",
      "\xff"};
  for (const std::string& path : bad)
    EXPECT_THAT(problem_of(outside("w0", {2}, {{"location", path}})), HasSubstr("folder of the model"))
        << path;
  EXPECT_THAT(problem_of(outside("w0", {2}, {{"offset", "0"}})), HasSubstr("does not say in which"));
}

TEST(ExternalData, NumbersAreChecked) {
  const auto at = [](const char* key, const char* number) {
    return problem_of(outside("w0", {2}, {{"location", "w"}, {key, number}}));
  };
  for (const char* number : {"-1", "1x", " 1", "0x10", "99999999999999999999", "9007199254740993"}) {
    EXPECT_THAT(at("offset", number), HasSubstr("no number of bytes")) << number;
    EXPECT_THAT(at("length", number), HasSubstr("no number of bytes")) << number;
  }
  EXPECT_THAT(at("length", ""), HasSubstr("no number of bytes"));
  EXPECT_THAT(at("length", "4"), HasSubstr("should have 8 bytes"));
  EXPECT_THAT(at("length", "12"), HasSubstr("should have 8 bytes"));
  EXPECT_THAT(at("offset", "9007199254740992"), HasSubstr("beyond"));
}

TEST(ExternalData, IsReadAndOnlyWhereTheModelSaysSo) {
  Folder folder;
  folder.files["w"] = "____" + raw_bytes<float>({1, 2, 3}) + "\2";
  const std::string bytes = model_with({
      outside("w0", {2}, {{"location", "w"}, {"offset", "4"}}),
      outside("w1", {2}, {{"location", "w"}, {"offset", "8"}}),  // overlaps
      outside("w2", {1}, {{"location", "w"}, {"offset", "16"}}, DType::kBool),
      // What lies elsewhere is said to lie here.
      tensor<float>("w3", {1}, {7}).message(tensor_field::kExternalData, entry("location", "w")),
  });
  const Model m = read(buffer(bytes), bytes.size(), &folder);
  const auto constant = [&](const char* name) { return *m.graph.constant(m.graph.find(name)); };
  EXPECT_THAT(constant("w0").floats(), ::testing::ElementsAre(1, 2));
  EXPECT_THAT(constant("w1").floats(), ::testing::ElementsAre(2, 3));
  EXPECT_EQ(constant("w2").integer_at(0), 1);
  EXPECT_THAT(constant("w3").floats(), ::testing::ElementsAre(7));
}

TEST(ExternalData, DataAreInOnePlace) {
  Folder folder;
  folder.files["w"] = raw_bytes<float>({1});
  Proto twice = outside("w0", {1}, {{"location", "w"}});
  twice.text(tensor_field::kRawData, raw_bytes<float>({1}));
  const std::string bytes = model_with({twice});
  EXPECT_THROW(read(buffer(bytes), bytes.size(), &folder), Error);
  const std::string strings = model_with({outside("w0", {1}, {{"location", "w"}}, DType::kString)});
  EXPECT_THROW(read(buffer(strings), strings.size(), &folder), Error);
}

std::string all_of(const WrittenFile& file, size_t stretch) {
  std::string bytes(static_cast<size_t>(file.size()), '?');
  for (size_t at = 0; at < bytes.size(); at += stretch)
    file.read(at, std::as_writable_bytes(std::span(bytes).subspan(at, std::min(stretch, bytes.size() - at))));
  return bytes;
}
Tensor counted(Shape dims, float from) {
  Tensor t(DType::kFloat32, std::move(dims));
  for (float& v : t.mutable_data<float>()) v = from++;
  return t;
}

TEST(ExternalData, WhatIsWrittenReadsAsTheSameModel) {
  Model m = read(buffer(model(small_graph()).bytes), model(small_graph()).bytes.size());
  Node& work = m.graph.nodes[0];
  const Tensor shared = counted({300}, 5);
  work.inputs.push_back(m.graph.add_constant("small", counted({4}, 0)));
  work.inputs.push_back(m.graph.add_constant("a", counted({1000}, 1)));
  work.inputs.push_back(m.graph.add_constant("b", shared));
  work.inputs.push_back(m.graph.add_constant("b_again", shared.reshaped({3, 100})));
  work.inputs.push_back(m.graph.add_constant("large", counted({1 << 18}, -7)));
  const std::vector<std::byte> whole = write(m);
  for (const uint64_t chunk : {uint64_t{1}, uint64_t{8000}, uint64_t{1} << 30}) {
    const auto files = write_files(m, {.name = "m.onnx", .external = true, .chunk = chunk});
    ASSERT_EQ(files.size(), chunk == 1 ? 4U : chunk == 8000 ? 3U : 2U);
    EXPECT_EQ(files[0].name(), "m.onnx");
    EXPECT_EQ(files[1].name(), "m.onnx_data");
    if (files.size() > 2) EXPECT_EQ(files[2].name(), "m.onnx_data_1");
    EXPECT_LT(files[0].size(), 2000U);
    Folder folder;
    for (const WrittenFile& file : files) {
      folder.files[file.name()] = all_of(file, 777);
      EXPECT_EQ(all_of(file, 1 << 30), folder.files[file.name()]);
    }
    const std::string& own = folder.files["m.onnx"];
    for (const ExternalPiece& piece : pieces_of(own))
      EXPECT_EQ(piece.offset % (piece.bytes >= (1U << 20) ? 65536 : 64), 0U);
    const Model again = read(buffer(own), own.size(), &folder);
    EXPECT_EQ(difference(m, again), "");
    EXPECT_EQ(write(again), whole);
  }
  // Not asked for, and small enough.
  EXPECT_EQ(write_files(m, {.name = "m.onnx", .chunk = 1 << 20}).size(), 1U);
}

// A tensor in a file, and what has been asked of it.
class CountedBytes : public FileBytes {
 public:
  explicit CountedBytes(std::string bytes) : bytes_(std::move(bytes)) {}
  mutable int reads = 0;
  mutable std::vector<std::shared_ptr<CountedBytes>> made;
  std::shared_ptr<const FileBytes> put(std::span<const std::byte> bytes) const override {
    made.push_back(std::make_shared<CountedBytes>(
        std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
    return made.back();
  }
  std::vector<Tensor> noted(const std::string& how) const override {
    const auto it = notes.find(how);
    return it == notes.end() ? std::vector<Tensor>() : it->second;
  }
  void note(const std::string& how, std::span<const Tensor> tensors) const override {
    notes[how].assign(tensors.begin(), tensors.end());
  }
  mutable std::map<std::string, std::vector<Tensor>> notes;

 protected:
  std::shared_ptr<const std::byte> read_all() const override {
    ++reads;
    std::shared_ptr<std::byte> copy = allocate_bytes(bytes_.size());
    std::memcpy(copy.get(), bytes_.data(), bytes_.size());
    return copy;
  }

 private:
  std::string bytes_;
};

TEST(TensorInFile, IsReadWhenItIsLookedAtAndForgotten) {
  const auto file = std::make_shared<CountedBytes>(raw_bytes<float>({1, 2}));
  const Tensor t(DType::kFloat32, {2}, std::shared_ptr<const FileBytes>(file));
  const Tensor copy = t.reshaped({1, 2});
  EXPECT_EQ(t.identity(), copy.identity());
  EXPECT_EQ(file->reads, 0);
  EXPECT_THAT(t.data<float>(), ::testing::ElementsAre(1, 2));
  EXPECT_EQ(copy.raw(), t.raw());  // one copy for both
  EXPECT_EQ(file->reads, 1);
  t.forget();
  EXPECT_FALSE(t.in_memory());
  EXPECT_THAT(t.floats(), ::testing::ElementsAre(1, 2));
  EXPECT_EQ(file->reads, 1);    // the copy still has them
  EXPECT_FALSE(t.in_memory());  // a list is made of them, and they are forgotten
  t.forget(), copy.forget();
  {
    const Glance glance(t);
    EXPECT_THAT(t.floats(), ::testing::ElementsAre(1, 2));
    EXPECT_EQ(file->reads, 2);
  }
  EXPECT_FALSE(t.in_memory());
}

TEST(TensorInFile, ItsExtremesAreLookedForOnce) {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto file = std::make_shared<CountedBytes>(raw_bytes<float>({1, -2, 5}));
  const auto odd = std::make_shared<CountedBytes>(raw_bytes<float>({1, -infinity}));
  const Tensor t(DType::kFloat32, {3}, std::shared_ptr<const FileBytes>(file));
  for (const Tensor& each : {t, t.reshaped({1, 3}), t}) {
    const Extremes found = extremes_of(each);
    EXPECT_EQ(found.lo, -2);
    EXPECT_EQ(found.hi, 5);
    EXPECT_TRUE(found.finite);
    EXPECT_FALSE(each.in_memory());
  }
  EXPECT_EQ(file->reads, 1);
  EXPECT_FALSE(extremes_of(Tensor(DType::kFloat32, {2}, std::shared_ptr<const FileBytes>(odd))).finite);
}

TEST(TensorInFile, WhatIsMadeOfItGoesIntoAFileWhereItIsLarge) {
  const auto file = std::make_shared<CountedBytes>(raw_bytes<float>({1, 2}));
  const Tensor t(DType::kFloat32, {2}, std::shared_ptr<const FileBytes>(file));
  EXPECT_TRUE(kept_beside(t, counted({4}, 0)).in_memory());
  const Tensor large = kept_beside(t, counted({1 << 15}, 3));
  EXPECT_FALSE(large.in_memory());
  EXPECT_EQ(large.floats()[5], 8);
  EXPECT_EQ(kept_beside(counted({1}, 0), counted({1 << 15}, 3)).file(), nullptr);
}

TEST(TensorInFile, WorkThatIsNotedIsDoneOnce) {
  const auto file = std::make_shared<CountedBytes>(raw_bytes<float>({1, 2}));
  const Tensor t(DType::kFloat32, {2}, std::shared_ptr<const FileBytes>(file));
  int times = 0;
  const auto twice = [&]() -> std::vector<Tensor> {
    ++times;
    return {counted({1 << 15}, times), counted({1}, times)};
  };
  const std::vector<Tensor> first = made_beside(t, "twice", twice), again = made_beside(t, "twice", twice);
  EXPECT_EQ(times, 1);
  ASSERT_EQ(again.size(), 2U);
  EXPECT_FALSE(again[0].in_memory());
  EXPECT_EQ(again[0].floats(), first[0].floats());
  EXPECT_EQ(again[1].floats(), first[1].floats());
  // Other work, other dimensions.
  made_beside(t, "thrice", twice);
  made_beside(t.reshaped({2, 1}), "twice", twice);
  EXPECT_EQ(times, 3);
  // What is in memory has no notes.
  made_beside(counted({1}, 0), "twice", twice);
  made_beside(counted({1}, 0), "twice", twice);
  EXPECT_EQ(times, 5);
}

}  // namespace
}  // namespace zp::onnx::test
