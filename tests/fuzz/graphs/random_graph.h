// Small random models that are valid by construction, with inputs for them. What fuzzers compare, and what
// `zeropoint_graphs` writes to files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "graph/graph.h"
#include "runtime/session.h"

namespace zp::fuzz {

// Choices. They come from the bytes that a fuzzer gives, then from a generator that these bytes seed: every
// input makes a whole graph, and a mutated byte changes one choice.
class Choices {
 public:
  explicit Choices(std::span<const uint8_t> bytes);
  explicit Choices(uint64_t seed);

  int64_t below(int64_t count);  // 0 ... count - 1
  int64_t between(int64_t least, int64_t most) { return least + below(most - least + 1); }
  bool one_in(int64_t n) { return below(n) == 0; }
  float real(float least, float most);  // never from the bytes: values of weights matter little

  template <class T>
  const T& of(const std::vector<T>& items) {
    return items[static_cast<size_t>(below(static_cast<int64_t>(items.size())))];
  }

 private:
  uint64_t next();
  std::span<const uint8_t> bytes_;
  uint64_t state_;
};

struct RandomGraph {
  std::shared_ptr<const Model> model;  // as a file would hold it: nothing simplified
  std::vector<std::vector<runtime::Feed>> samples;
  // A small change of an input changes the outputs little: no rounding, sorting or comparing in it. Only then
  // do two ways of rounding have to agree.
  bool smooth = true;
};

// Two to `most_nodes` nodes between one to three inputs and the values that nobody reads.
RandomGraph random_graph(Choices& choices, int most_nodes = 10, int samples = 4);

}  // namespace zp::fuzz
