// One operator, run in every way that a node can be: its inputs fed or constant, with one thread and with
// several.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "runtime/session.h"
#include "unit/graph/graph_builder.h"

namespace zp::test {

struct OneNode {
  std::string op;
  std::vector<Tensor> inputs;  // undefined ones are absent
  GraphBuilder::Attributes attributes = {};
  size_t outputs = 1;
  int64_t version = kOpset;  // of the operator set whose form this is
  std::string domain = "";
};

enum class Given : uint8_t { kFed, kConstant };

inline std::string input_name(size_t i) { return "in" + std::to_string(i); }

inline std::shared_ptr<Model> model_of(const OneNode& one, Given given) {
  GraphBuilder net;
  Graph& g = net.graph();
  Node node;
  node.op_type = one.op;
  node.domain = one.domain;
  node.name = "the " + one.op;
  for (size_t i = 0; i < one.inputs.size(); ++i) {
    const Tensor& t = one.inputs[i];
    node.inputs.push_back(!t.defined()           ? kNoValue
                          : given == Given::kFed ? net.input(input_name(i), symbolic(t.dims()), t.dtype())
                                                 : net.constant(input_name(i), t));
  }
  for (size_t i = 0; i < one.outputs; ++i) {
    node.outputs.push_back(g.add_value("out" + std::to_string(i)));
    net.output(node.outputs.back());
  }
  for (const auto& [key, value] : one.attributes) node.attributes.emplace(key, value);
  const OpDef* def = find_op(one.domain, one.op);
  if (def) {
    g.nodes = form_in_memory(*def, g, std::move(node), one.version);
  } else {
    g.nodes.push_back(std::move(node));
  }
  return net.build();
}

inline std::vector<runtime::Feed> feeds_of(const OneNode& one) {
  std::vector<runtime::Feed> feeds;
  for (size_t i = 0; i < one.inputs.size(); ++i)
    if (one.inputs[i].defined()) feeds.push_back({input_name(i), one.inputs[i]});
  return feeds;
}

// A NaN is as good as another: its sign is whatever the instruction made of it.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.dims() != b.dims()) return false;
  if (a.dtype() == DType::kString) return a.strings() == b.strings();
  if (a.dtype() == DType::kFloat32) {
    return std::ranges::equal(a.data<float>(), b.data<float>(), [](float x, float y) {
      return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y) || (std::isnan(x) && std::isnan(y));
    });
  }
  return std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

// The outputs, which must be the same in every way.
inline std::vector<Tensor> run(const OneNode& one) {
  const auto model = model_of(one, Given::kFed);
  const std::vector<Tensor> found = runtime::Session(model, {.threads = 1}).run(feeds_of(one));
  const std::vector<Tensor> threaded = runtime::Session(model, {.threads = 3}).run(feeds_of(one));
  const std::vector<Tensor> folded =
      runtime::Session(model_of(one, Given::kConstant), {.threads = 1}).run({});
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_TRUE(same_bits(found[i], threaded[i])) << one.op << ": output " << i << " with three threads";
    EXPECT_TRUE(same_bits(found[i], folded[i])) << one.op << ": output " << i << " of constants";
  }
  return found;
}

// What a run of it throws, if anything.
inline std::optional<Error> error_of(const OneNode& one, Given given, int threads = 1) {
  try {
    runtime::Session(model_of(one, given), {.threads = threads})
        .run(given == Given::kFed ? feeds_of(one) : std::vector<runtime::Feed>{});
  } catch (const Error& e) {
    return e;
  }
  return std::nullopt;
}

inline Tensor floats(Shape dims, std::vector<float> values) {
  return Tensor::of<float>(std::move(dims), std::span<const float>(values));
}
inline Tensor longs(Shape dims, std::vector<int64_t> values) {
  return Tensor::of<int64_t>(std::move(dims), std::span<const int64_t>(values));
}

// The same numbers; a NaN is equal to a NaN.
inline void expect_floats(const Tensor& found, const Shape& dims, const std::vector<float>& wanted,
                          float tolerance = 0) {
  ASSERT_EQ(found.dtype(), DType::kFloat32);
  ASSERT_EQ(found.dims(), dims);
  const auto values = found.data<float>();
  ASSERT_EQ(values.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] != wanted[i]) {
      EXPECT_TRUE(values[i] != values[i]) << "element " << i << " is " << values[i] << ", not NaN";
    } else if (tolerance > 0) {
      EXPECT_NEAR(values[i], wanted[i], tolerance) << "element " << i;
    } else {
      EXPECT_EQ(values[i], wanted[i]) << "element " << i;
    }
  }
}

}  // namespace zp::test
