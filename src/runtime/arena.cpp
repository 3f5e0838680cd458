#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "core/sort.h"
#include "runtime/assembler.h"

namespace zp::runtime {

void throw_too_large(uint64_t bytes, uint64_t limit) {
  throw_error(ErrorCode::kOutOfMemory,
              {"the model needs ", bytes >> 20,
               " MiB of working memory or more for these shapes, and may have ", limit >> 20, " MiB"},
              {.hint = "use a smaller input or batch"});
}

void Assembler::find_lifetimes() {
  const int end = static_cast<int>(plan_.steps_.size());
  const auto extend = [&](int b, int step) {
    Buffer& r = buffer(root(b));
    if (r.first < 0) r.first = step;
    r.last = std::max(r.last, step);
  };
  for (int s = 0; s < end; ++s) {
    const Step& step = plan_.steps_[static_cast<size_t>(s)];
    for (int b : step.outputs)
      if (b >= 0) extend(b, s);
    for (int b : step.inputs)
      if (b >= 0) extend(b, s);
    if (step.scratch >= 0) extend(step.scratch, s);
  }
  for (const auto& [v, b] : plan_.made_) extend(b, end);

  for (const auto& [at, input] : in_place_) {
    const Step& step = plan_.steps_[at];
    const int in = step.inputs[static_cast<size_t>(input)], out = step.outputs[0];
    const int in_root = root(in);
    Buffer& from = buffer(in_root);
    Buffer& to = buffer(out);
    bool alone = from.place == Buffer::Place::kArena && from.last == static_cast<int>(at) &&
                 to.alias_of < 0 && to.bytes() <= from.bytes() && buffer(in).bytes() == to.bytes();
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const int b = step.inputs[i];
      alone = alone && (b < 0 || b == in || root(b) != in_root);
    }
    if (!alone) continue;
    to.alias_of = in;
    from.last = to.last;
  }
}

// Greedy by size: the largest first, each at the lowest offset where no buffer with a meeting lifetime is
// (Pisarchyk & Lee 2020, "Efficient Memory Management for Deep Neural Net Inference").
void Plan::place_arena(size_t limit) {
  struct Block {
    int buffer;
    uint64_t size;  // 64 bits also where size_t has 32: sums are checked before they are used
  };
  std::vector<Block> blocks;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const Buffer& b = buffers_[i];
    if (b.place != Buffer::Place::kArena || b.alias_of >= 0 || b.first < 0) continue;
    const uint64_t size = (uint64_t{b.bytes()} + kReadSlack + kAlignment - 1) / kAlignment * kAlignment;
    blocks.push_back({static_cast<int>(i), size});
  }
  sort_small(blocks, [](const Block& a, const Block& b) {
    return a.size != b.size ? a.size > b.size : a.buffer < b.buffer;
  });
  const uint64_t most = std::min<uint64_t>(limit > 0 ? limit : SIZE_MAX, SIZE_MAX - 2 * kReadSlack);
  std::vector<Block> placed;  // by offset
  for (const Block& block : blocks) {
    Buffer& b = buffers_[static_cast<size_t>(block.buffer)];
    uint64_t offset = 0;
    for (const Block& other : placed) {
      const Buffer& o = buffers_[static_cast<size_t>(other.buffer)];
      if (o.last < b.first || b.last < o.first) continue;
      if (offset + block.size <= o.offset) break;
      offset = std::max(offset, o.offset + other.size);
    }
    if (offset + block.size > most) {
      throw_too_large(offset + block.size, most);
    }
    b.offset = static_cast<size_t>(offset);
    arena_bytes_ = std::max(arena_bytes_, static_cast<size_t>(offset + block.size));
    const auto at =
        std::upper_bound(placed.begin(), placed.end(), offset, [&](uint64_t value, const Block& p) {
          return value < buffers_[static_cast<size_t>(p.buffer)].offset;
        });
    placed.insert(at, block);
  }
  arena_ = allocate_bytes(arena_bytes_);
}

}  // namespace zp::runtime
