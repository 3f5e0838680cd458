// A problem to learn: ten figures of eight by eight pixels, moved, dimmed and noisy. And a network for it.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "unit/quant/quantize.h"

namespace zp::test {

struct Digits {
  Tensor images;  // [count, 1, 8, 8]
  Tensor labels;  // int64 [count]

  std::vector<runtime::Feed> feeds(bool with_labels) const {
    std::vector<runtime::Feed> f{{"x", images}};
    if (with_labels) f.push_back({quant::target_name("logits"), labels});
    return f;
  }
};

inline Digits digits(int64_t count, uint32_t seed) {
  static const char* const kFigures[10][5] = {
      {".###.", "#...#", "#...#", "#...#", ".###."}, {"..#..", ".##..", "..#..", "..#..", ".###."},
      {"####.", "....#", "..##.", ".#...", "#####"}, {"####.", "....#", ".###.", "....#", "####."},
      {"#..#.", "#..#.", "#####", "...#.", "...#."}, {"#####", "#....", "####.", "....#", "####."},
      {".###.", "#....", "####.", "#...#", ".###."}, {"#####", "...#.", "..#..", ".#...", "#...."},
      {".###.", "#...#", ".###.", "#...#", ".###."}, {".###.", "#...#", ".####", "....#", ".###."},
  };
  uint32_t state = seed * 2654435761u + 1;
  const auto random = [&] {
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) / static_cast<float>(1 << 24);
  };
  Digits d{Tensor(DType::kFloat32, {count, 1, 8, 8}), Tensor(DType::kInt64, {count})};
  for (int64_t n = 0; n < count; ++n) {
    const auto figure = static_cast<int>(random() * 9.999f);
    const auto dx = static_cast<int>(random() * 3.999f), dy = static_cast<int>(random() * 3.999f);
    const float ink = 0.6f + 0.4f * random();
    d.labels.mutable_data<int64_t>()[static_cast<size_t>(n)] = figure;
    float* pixels = d.images.mutable_data<float>().data() + n * 64;
    for (int y = 0; y < 8; ++y)
      for (int x = 0; x < 8; ++x) {
        const int fy = y - dy, fx = x - dx;
        const bool on = fy >= 0 && fy < 5 && fx >= 0 && fx < 5 && kFigures[figure][fy][fx] == '#';
        pixels[y * 8 + x] = (on ? ink : 0.f) + 0.5f * (random() - 0.5f);
      }
  }
  return d;
}

// Convolutions of all kinds and a fully connected layer, untrained.
inline std::shared_ptr<Model> digits_network(SymShape input = {Dim::symbol("N"), 1, 8, 8}) {
  using Ints = std::vector<int64_t>;
  GraphBuilder net;
  uint32_t state = 99;
  const auto random = [&](const std::string& name, Shape dims, int64_t fan_in) {
    Tensor t(DType::kFloat32, std::move(dims));
    for (float& v : t.mutable_data<float>()) {
      state = state * 1664525u + 1013904223u;
      v = (static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1) *
          std::sqrt(3.0f / static_cast<float>(fan_in));
    }
    return net.constant(name, t);
  };
  const auto zeros = [&](const std::string& name, int64_t n) {
    return net.constant(name, Tensor(DType::kFloat32, {n}));
  };
  const GraphBuilder::Attributes same{{"pads", Ints{1, 1, 1, 1}}};
  const ValueId x = net.input("x", std::move(input));
  const ValueId c1 = net.add("Conv", "c1", {x, random("w1", {12, 1, 3, 3}, 9), zeros("b1", 12)}, same);
  const ValueId r1 = net.add("Relu", "r1", {c1});
  const ValueId p1 = net.add("MaxPool", "p1", {r1}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}});
  const ValueId d = net.add("Conv", "d", {p1, random("wd", {12, 1, 3, 3}, 9), zeros("bd", 12)},
                            {{"pads", Ints{1, 1, 1, 1}}, {"group", int64_t{12}}});
  const ValueId s = net.add("Add", "s", {p1, d});
  const ValueId c2 = net.add("Conv", "c2", {s, random("w2", {16, 12, 1, 1}, 12), zeros("b2", 16)});
  const ValueId r2 = net.add("Relu", "r2", {c2});
  const ValueId f = net.add("Flatten", "f", {r2});
  net.output(net.add("Gemm", "logits", {f, random("w3", {10, 256}, 256), zeros("b3", 10)},
                     {{"transB", int64_t{1}}}));
  return net.build();
}

inline double accuracy(const std::shared_ptr<const Model>& model, const Digits& on, bool integer = true) {
  runtime::Session session(model, {.threads = 1, .integer = integer});
  const Tensor y = session.run(on.feeds(false))[0];
  const std::span<const float> logits = y.data<float>();
  int64_t right = 0;
  const int64_t count = on.labels.size();
  for (int64_t n = 0; n < count; ++n) {
    const auto row = logits.subspan(static_cast<size_t>(n) * 10, 10);
    right += std::max_element(row.begin(), row.end()) - row.begin() == on.labels.integer_at(n);
  }
  return static_cast<double>(right) / static_cast<double>(count);
}

// Learned from labels, in float: nothing is quantized, everything is trained.
inline quant::Config from_scratch(int epochs = 12) {
  quant::Config c;
  c.mode = "qat";
  c.exclude_ops = {"Conv", "Gemm"};
  c.training = {.epochs = epochs, .learning_rate = 1e-2, .batch = 32};
  return c;
}

inline quant::Config narrow(int weight_bits, int activation_bits, int epochs) {
  quant::Config c;
  c.mode = "qat";
  c.weights = weight_bits <= 4 ? DType::kInt4 : DType::kInt8;
  c.training = {.epochs = epochs, .learning_rate = 3e-3, .batch = 32};
  c.training.weight_bits = weight_bits;
  c.training.activation_bits = activation_bits;
  return c;
}

}  // namespace zp::test
