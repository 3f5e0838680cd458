// DynamicQuantizeLSTM and GatherBlockQuantized: to Q/DQ and back, and the numbers stay.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "onnx/onnx.h"
#include "onnx/versions.h"
#include "ops/op.h"
#include "quant/format.h"
#include "quant/qdq.h"
#include "runtime/session.h"
#include "unit/graph/graph_builder.h"

namespace zp::test {
namespace {

using testing::Contains;
using testing::ElementsAre;

std::vector<std::string> ops_of(const Model& model) {
  std::vector<std::string> ops;
  for (const Node& n : model.graph.nodes) ops.push_back(n.op_type);
  return ops;
}

std::shared_ptr<Model> reopened(const Model& model) {
  const std::vector<std::byte> bytes = onnx::write(model);
  auto copy = allocate_bytes(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  return std::make_shared<Model>(onnx::read(std::move(copy), bytes.size()));
}

// The operators of the file in operator format; what is read again gives the same bits.
std::vector<std::string> folded(const std::shared_ptr<Model>& model, const Tensor& x) {
  const Model file = quant::in_format(*model, "qoperator");
  runtime::Session before(model), after(reopened(file));
  const std::vector<Tensor> want = before.run({{"x", x}}), got = after.run({{"x", x}});
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(got[i].dims(), want[i].dims());
    EXPECT_EQ(got[i].floats(), want[i].floats());
  }
  return ops_of(file);
}

Tensor random_bytes(DType type, const Shape& dims, uint32_t seed) {
  std::mt19937 random(seed);
  Tensor t(type, dims);
  for (size_t i = 0; i < t.bytes(); ++i) t.mutable_raw()[i] = static_cast<std::byte>(random() % 256);
  return t;
}
Tensor steps(const Shape& dims) {
  Tensor t(DType::kFloat32, dims);
  for (int64_t i = 0; i < t.size(); ++i)
    t.mutable_data<float>()[static_cast<size_t>(i)] = 0.002f + 0.0001f * static_cast<float>(i % 50);
  return t;
}
Tensor all(DType type, const Shape& dims, int value) {
  Tensor t(type, dims);
  std::fill_n(t.mutable_raw(), t.bytes(), static_cast<std::byte>(value));
  return t;
}

// ---- LSTM

struct Recurrence {
  int64_t directions = 1;
  std::optional<Tensor> zero_point = std::nullopt;
  int axis = 1;  // of the scales; -1: one
  DType type = DType::kInt8;
  bool dynamic = true;
  bool rounds_state = true;  // as what is read from DynamicQuantizeLSTM does
};

std::shared_ptr<Model> lstm(const Recurrence& r) {
  constexpr int64_t kSteps = 4, kBatch = 2, kFeatures = 5, kHidden = 3;
  GraphBuilder b;
  ValueId x = b.input("x", {kSteps, kBatch, kFeatures});
  if (r.dynamic) {
    b.add("DynamicQuantizeLinear", "x_q", {x});
    Node& q = b.graph().nodes.back();
    for (const char* name : {"x_scale", "x_zero"}) q.outputs.push_back(b.graph().add_value(name));
    x = b.add("DequantizeLinear", "x_dq", {q.outputs[0], q.outputs[1], q.outputs[2]});
  }
  const auto weight = [&](const std::string& name, int64_t columns, uint32_t seed) {
    const Shape dims{r.directions, 4 * kHidden, columns};
    const Shape scales = r.axis < 0 ? Shape{} : Shape{dims[static_cast<size_t>(r.axis)]};
    std::vector<ValueId> in{b.constant(name, random_bytes(r.type, dims, seed)),
                            b.constant(name + "_scale", steps(scales))};
    if (r.zero_point) in.push_back(b.constant(name + "_zero", *r.zero_point));
    return b.add("DequantizeLinear", name + "_dq", in, {{"axis", int64_t{r.axis < 0 ? 1 : r.axis}}});
  };
  const ValueId w = weight("w", kFeatures, 1), h = weight("r", kHidden, 2);
  const ValueId bias = b.constant("bias", ramp({r.directions, 8 * kHidden}, 0.3f));
  b.output(b.add("LSTM", "y", {x, w, h, bias},
                 {{"hidden_size", kHidden},
                  {"rounds_state", int64_t{r.rounds_state}},
                  {"direction", std::string(r.directions == 2 ? "bidirectional" : "forward")}}));
  return b.build();
}

TEST(PackedForms, ALstmWhoseInputBecomesIntegersIsDynamicQuantizeLstm) {
  const Tensor x = ramp({4, 2, 5});
  for (const int64_t directions : {1, 2}) {
    const Recurrence cases[] = {
        {.directions = directions},
        {.directions = directions, .axis = 0},
        {.directions = directions, .axis = -1},
        {.directions = directions, .zero_point = all(DType::kInt8, {12}, 0)},
        {.directions = directions, .zero_point = all(DType::kInt8, {}, 7), .axis = -1},
        {.directions = directions,
         .zero_point = all(DType::kUint8, {}, 131),
         .axis = -1,
         .type = DType::kUint8},
        {.directions = directions, .zero_point = all(DType::kUint8, {12}, 128), .type = DType::kUint8}};
    for (const Recurrence& r : cases) EXPECT_THAT(folded(lstm(r), x), ElementsAre("DynamicQuantizeLSTM"));
  }
}

// Only DynamicQuantizeLSTM says that states are rounded: whatever is written has it.
TEST(PackedForms, ALstmThatRoundsItsStatesIsWrittenAsDynamicQuantizeLstm) {
  const Tensor x = ramp({4, 2, 5});
  const std::shared_ptr<Model> model = lstm({.directions = 2});
  runtime::Session before(model);
  const std::vector<Tensor> want = before.run({{"x", x}});
  const Model pairs = quant::in_format(*model, "qdq");
  EXPECT_THAT(ops_of(pairs), ElementsAre("DynamicQuantizeLSTM"));
  for (const std::shared_ptr<Model>& again :
       {reopened(*model), reopened(*reopened(*model)), reopened(pairs)}) {
    runtime::Session after(again);
    EXPECT_EQ(after.run({{"x", x}})[0].floats(), want[0].floats());
  }
  EXPECT_EQ(onnx::versions_of(*model, 0).opset, 7);
}

// ONNX Runtime refuses zero points of channels that are not all the same, and those of int8 that are not
// zero.
TEST(PackedForms, ALstmThatOnnxRuntimeWouldRefuseStaysQdq) {
  const Tensor x = ramp({4, 2, 5});
  Tensor different = all(DType::kUint8, {12}, 128);
  different.mutable_raw()[3] = std::byte{127};
  const Recurrence cases[] = {{.zero_point = all(DType::kInt8, {12}, 1), .rounds_state = false},
                              {.zero_point = different, .type = DType::kUint8, .rounds_state = false},
                              {.dynamic = false, .rounds_state = false}};
  for (const Recurrence& r : cases) EXPECT_THAT(folded(lstm(r), x), Contains("LSTM"));
}

// Its hidden state becomes uint8 before each step. ONNX Runtime 1.32 made the numbers, with one thread.
TEST(PackedForms, DynamicQuantizeLstmRoundsItsStates) {
  const std::vector<float> want{-0.046687335f, -0.037806634f, -0.0011501029f, 0.00046363802f,
                                0.49858454f,   0.55138999f,   -0.010702101f,  -0.012790432f,
                                -0.1323569f,   -0.070044234f, 0.0063054613f,  0.027777879f};
  for (const bool lengths : {false, true}) {
    Tensor w(DType::kInt8, {1, 2, 8}), r(DType::kInt8, {1, 2, 8});
    for (int i = 0; i < 16; ++i) {
      w.mutable_data<int8_t>()[static_cast<size_t>(i)] = static_cast<int8_t>((i - 8) * 14);
      r.mutable_data<int8_t>()[static_cast<size_t>(i)] =
          static_cast<int8_t>(i < 8 ? -5 * (i + 1) : 75 - 5 * i);
    }
    const Tensor x = Tensor::of<float>(
        {3, 2, 2}, std::vector<float>{.5f, -1, 1.5f, .25f, -.75f, 2, 1, -.5f, .125f, -1.5f, .875f, .625f});
    GraphBuilder b;
    Node n;
    n.op_type = "DynamicQuantizeLSTM";
    n.domain = "com.microsoft";
    const auto one = [&](const char* name, float v) { return b.constant(name, Tensor::of<float>({1}, {v})); };
    const auto zero = [&](const char* name) { return b.constant(name, all(DType::kInt8, {1}, 0)); };
    const ValueId of_batch = lengths ? b.constant("lengths", Tensor::of<int32_t>({2}, {3, 2})) : kNoValue;
    n.inputs = {b.input("x", {3, 2, 2}),
                b.constant("w", w),
                b.constant("r", r),
                kNoValue,
                of_batch,
                kNoValue,
                kNoValue,
                kNoValue,
                one("ws", .02f),
                zero("wz"),
                one("rs", .03f),
                zero("rz")};
    n.outputs = {b.graph().add_value("y")};
    n.attributes.emplace("hidden_size", int64_t{2});
    b.output(n.outputs[0]);
    const OpDef& op = *find_op(n.domain, n.op_type);
    b.graph().nodes = form_in_memory(op, b.graph(), std::move(n), 1);
    const auto model = b.build();
    const std::vector<float> y = runtime::Session(model, {.threads = 1}).run({{"x", x}})[0].floats();
    EXPECT_EQ(y, runtime::Session(model, {.threads = 3}).run({{"x", x}})[0].floats());
    for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], lengths && i >= 10 ? 0 : want[i], 1e-6f) << i;
    EXPECT_EQ(runtime::Session(reopened(*model), {.threads = 1}).run({{"x", x}})[0].floats(), y);
    const Model file = quant::in_format(*reopened(*model), "qoperator");
    EXPECT_THAT(ops_of(file), ElementsAre("DynamicQuantizeLSTM"));
  }
}

// As an LSTM of ONNX it has no attribute that says so.
TEST(PackedForms, ALstmThatDoesNotFitDynamicQuantizeLstmIsPlain) {
  const auto plain = reopened(*lstm({.zero_point = all(DType::kInt8, {12}, 1)}));
  EXPECT_THAT(ops_of(*plain), Contains("LSTM"));
  for (const Node& node : plain->graph.nodes) EXPECT_FALSE(node.attribute("rounds_state"));
}

// ---- Gather

struct Table {
  int64_t block = 0;
  Shape dims = {7, 40};
  int axis = 0;
  DType type = DType::kInt8;
  bool single = false;  // one scale
  bool points = false;  // other zero points than the middle
};

std::shared_ptr<Model> picked(const Table& t) {
  GraphBuilder b;
  const ValueId x = b.input("x", {4}, DType::kInt64);
  Shape scales = t.dims;
  if (t.block > 0) {
    int64_t& d = scales[static_cast<size_t>(t.axis)];
    d = (d + t.block - 1) / t.block;
  } else {
    scales = t.single ? Shape{} : Shape{t.dims[static_cast<size_t>(t.axis)]};
  }
  std::vector<ValueId> in{b.constant("table", random_bytes(t.type, t.dims, 5)),
                          b.constant("s", steps(scales))};
  if (t.points) in.push_back(b.constant("z", random_bytes(t.type, scales, 6)));
  GraphBuilder::Attributes attributes{{"axis", int64_t{t.axis}}};
  if (t.block > 0) attributes.emplace_back("block_size", t.block);
  const ValueId dq = b.add("DequantizeLinear", "dq", in, attributes);
  b.output(b.add("Gather", "y", {dq, x}));
  return b.build();
}

TEST(PackedForms, AQuantizedTableIsPickedFromInBlocks) {
  const Table cases[] = {{},
                         {.points = true},
                         {.type = DType::kUint8, .points = true},
                         {.single = true},
                         {.block = 16, .axis = 1},
                         {.block = 32, .axis = 1, .points = true},
                         {.block = 16, .axis = 1, .type = DType::kInt4},
                         {.block = 32, .axis = 1, .type = DType::kUint4, .points = true},
                         {.block = 16, .axis = 1, .type = DType::kInt4, .points = true},
                         {.block = 16, .dims = {7, 3, 40}, .axis = 2, .type = DType::kInt4, .points = true}};
  const Tensor x = Tensor::of<int64_t>({4}, {3, 0, 6, -1});
  for (const Table& t : cases) {
    const auto model = picked(t);
    EXPECT_THAT(folded(model, x), ElementsAre("GatherBlockQuantized"));
    // What is read again takes as much.
    const Graph file = quant::in_format(*model, "qoperator").graph;
    const Graph again = quant::in_format(*reopened(quant::in_format(*model, "qoperator")), "qoperator").graph;
    EXPECT_EQ(quant::constant_bytes(again), quant::constant_bytes(file));
  }
}

// ONNX Runtime makes floats of a whole table behind a DequantizeLinear, in each run.
TEST(PackedForms, InPairsRowsArePickedAsIntegersWhereARuntimeMakesWholeTables) {
  struct Case {
    Table table;
    std::vector<std::string> ops;
  };
  const std::vector<std::string> rows{"Gather", "Cast", "Gather", "Mul"}, one{"Gather", "DequantizeLinear"},
      pairs{"DequantizeLinear", "Gather"}, whole{"Cast", "Mul", "Gather"},  // once, when it is loaded
      centred{"Cast", "Sub", "Mul", "Gather"};
  const Case cases[] = {{{}, rows},
                        {{.dims = {7, 3, 40}}, rows},
                        {{.single = true}, one},
                        {{.type = DType::kUint8, .single = true, .points = true}, one},
                        {{.points = true}, centred},
                        {{.axis = 1}, whole},
                        {{.block = 16, .axis = 1, .type = DType::kInt4}, pairs}};
  const Tensor x = Tensor::of<int64_t>({4}, {3, 0, 6, -1});
  for (const auto& [table, ops] : cases) {
    const auto model = picked(table);
    const Model file = quant::in_format(*model, "qdq", "onnxruntime");
    EXPECT_THAT(ops_of(file), testing::UnorderedElementsAreArray(ops));
    runtime::Session before(model), after(reopened(file));
    const Tensor want = before.run({{"x", x}})[0], got = after.run({{"x", x}})[0];
    EXPECT_EQ(got.dims(), want.dims());
    EXPECT_EQ(got.floats(), want.floats());
    EXPECT_THAT(ops_of(quant::in_format(*model, "qdq")), ElementsAre("DequantizeLinear", "Gather"));
    EXPECT_THAT(ops_of(quant::in_format(*model, "qdq", "tensorrt")),
                ElementsAre("DequantizeLinear", "Gather"));
  }
  EXPECT_THAT(ops_of(quant::in_format(*picked({}), "qoperator", "onnxruntime")),
              ElementsAre("GatherBlockQuantized"));
}

// Picked from, and transposed the last layer's weight: x -> Gather -> MatMul.
std::shared_ptr<Model> tied(DType type, int64_t columns, bool points) {
  GraphBuilder b;
  constexpr int64_t kRows = 24;
  const ValueId x = b.input("x", {4}, DType::kInt64);
  const ValueId table = b.constant("table", random_bytes(type, {kRows, columns}, 7)),
                scales = b.constant("s", steps({kRows}));
  std::vector<ValueId> more{scales};
  if (points) more.push_back(b.constant("z", random_bytes(type, {kRows}, 8)));
  const auto dequantized = [&](const char* name, ValueId integers, int64_t axis) {
    std::vector<ValueId> in{integers};
    in.insert(in.end(), more.begin(), more.end());
    return b.add("DequantizeLinear", name, in, {{"axis", axis}});
  };
  const ValueId rows = b.add("Gather", "rows", {dequantized("dq", table, 0), x});
  const ValueId transposed =
      b.add("Transpose", "transposed", {table}, {{"perm", std::vector<int64_t>{1, 0}}});
  b.output(
      b.add("MatMul", "y", {b.add("Tanh", "tanh", {rows}), dequantized("transposed_dq", transposed, 1)}));
  return b.build();
}

TEST(PackedForms, ATableThatIsAlsoTheLastLayersWeightIsStoredOnce) {
  const Tensor x = Tensor::of<int64_t>({4}, {3, 0, 6, -1});
  for (const DType type : {DType::kInt8, DType::kUint8}) {
    for (const bool points : {false, true}) {
      for (const int64_t columns : {64, 48, 40}) {
        const auto model = tied(type, columns, points);
        const Model file = quant::in_format(*model, "qoperator");
        // 40 is no whole number of blocks of 16: the head stays Q/DQ, and the table with it, unless its bytes
        // are what GatherBlockQuantized reads.
        const bool head = columns != 40;
        EXPECT_EQ(std::ranges::count(ops_of(file), "MatMulNBits"), head);
        EXPECT_EQ(std::ranges::count(ops_of(file), "GatherBlockQuantized"), head || type == DType::kUint8);
        EXPECT_LT(quant::constant_bytes(file.graph), static_cast<size_t>(24 * columns * 3 / 2 + 400));
        runtime::Session before(model), after(reopened(file));
        const std::vector<float> want = before.run({{"x", x}})[0].floats(),
                                 got = after.run({{"x", x}})[0].floats();
        for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5f);
      }
    }
  }
}

TEST(PackedForms, OtherTablesStayQdq) {
  const Tensor x = Tensor::of<int64_t>({4}, {3, 0, 6, -1});
  EXPECT_THAT(folded(picked({.axis = 1}), x), Contains("Gather"));  // columns
  EXPECT_THAT(folded(picked({.block = 16, .axis = 0, .type = DType::kInt4}), x), Contains("Gather"));
}

}  // namespace
}  // namespace zp::test
