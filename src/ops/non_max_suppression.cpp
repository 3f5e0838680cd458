// NonMaxSuppression: of boxes that overlap, the ones with the best scores. How many stay decides the shape of
// the output, so boxes and scores are shape arguments: the rest of a plan waits for them.
#include <algorithm>
#include <cmath>

#include "ops/op.h"

namespace zp {
namespace {

// Inputs: boxes [batch, boxes, 4], scores [batch, classes, boxes], then scalars.
enum : size_t { kBoxes, kScores, kMost, kOverlap, kLeast, kInputs };

struct Box {
  float top, left, bottom, right;
  float area() const { return (bottom - top) * (right - left); }
};

// Two corners in any order, or (x, y, width, height) around a centre.
Box box_of(const float* v, bool centred) {
  if (centred) return {v[1] - v[3] / 2, v[0] - v[2] / 2, v[1] + v[3] / 2, v[0] + v[2] / 2};
  return {std::min(v[0], v[2]), std::min(v[1], v[3]), std::max(v[0], v[2]), std::max(v[1], v[3])};
}

bool overlap(const Box& a, const Box& b, float most) {
  const float height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top),
              width = std::min(a.right, b.right) - std::max(a.left, b.left);
  if (!(height > 0 && width > 0) || !(a.area() > 0 && b.area() > 0)) return false;
  const float shared = height * width;
  return shared / (a.area() + b.area() - shared) > most;
}

// Rows of (batch, class, box), batch by batch, class by class, the best first.
Tensor selected(const Tensor* const (&in)[kInputs], bool centred) {
  const Shape &boxes = in[kBoxes]->dims(), &scores = in[kScores]->dims();
  const int64_t count = boxes[1], classes = scores[1];
  const auto number = [&](size_t input) { return in[input] ? in[input]->floats()[0] : 0.0f; };
  const int64_t most = in[kMost] ? std::max<int64_t>(0, in[kMost]->integer_at(0)) : 0;
  std::vector<int64_t> rows;
  std::vector<int64_t> order;
  std::vector<Box> kept;
  for (int64_t b = 0; b < boxes[0]; ++b) {
    const float* of_batch = in[kBoxes]->data<float>().data() + b * count * 4;
    for (int64_t k = 0; k < classes; ++k) {
      const float* score = in[kScores]->data<float>().data() + (b * classes + k) * count;
      order.clear();
      for (int64_t i = 0; i < count; ++i)
        if (in[kLeast] ? score[i] > number(kLeast) : !std::isnan(score[i])) order.push_back(i);
      std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
        return score[i] != score[j] ? score[i] > score[j] : i < j;  // of equal ones, the first
      });
      kept.clear();
      for (const int64_t i : order) {
        if (std::ssize(kept) == most) break;
        const Box box = box_of(of_batch + i * 4, centred);
        if (std::any_of(kept.begin(), kept.end(),
                        [&](const Box& other) { return overlap(box, other, number(kOverlap)); }))
          continue;
        kept.push_back(box);
        rows.insert(rows.end(), {b, k, i});
      }
    }
  }
  return Tensor::of<int64_t>({std::ssize(rows) / 3, 3}, rows);
}

// Throws where shapes and types are not those of the inputs.
template <class Context>
void check(const Context& c, const Tensor* const (&in)[kInputs]) {
  const Shape &boxes = in[kBoxes]->dims(), &scores = in[kScores]->dims();
  if (boxes.size() != 3 || scores.size() != 3 || boxes[2] != 4 || boxes[0] != scores[0] ||
      boxes[1] != scores[2]) {
    c.fail(ErrorCode::kShapeMismatch, {"boxes of shape ", boxes, " and scores of shape ", scores,
                                       " should be [batch, boxes, 4] and [batch, classes, boxes]"});
  }
  for (size_t i = 0; i < kInputs; ++i) {
    if (!in[i]) continue;
    if (in[i]->dtype() != (i == kMost ? DType::kInt64 : DType::kFloat32))
      c.fail(ErrorCode::kUnsupportedType, {"input ", i, " has a type that is not supported"});
    if (i >= kMost && in[i]->size() != 1)
      c.fail(ErrorCode::kShapeMismatch, {"input ", i, " should be one number, not ", in[i]->dims()});
  }
}

bool centred(const Node& n) { return n.int_attribute("center_point_box", 0) != 0; }

void infer(InferContext& c) {
  const Tensor* in[kInputs] = {};
  bool known = true;
  for (size_t i = 0; i < kInputs; ++i) {
    if (!c.has_input(i)) continue;
    in[i] = c.shape_argument(i);
    known &= in[i] != nullptr;
  }
  if (!known) return c.output(0, DType::kInt64, {Dim(), Dim(3)});
  check(c, in);
  c.output(0, selected(in, centred(c.node())));
}

Kernel prepare(PrepareContext& c) {
  const Tensor* in[kInputs] = {};
  for (size_t i = 0; i < kInputs; ++i) {
    if (!c.has_input(i)) continue;
    in[i] = c.constant(i);
    if (!in[i]) c.fail(ErrorCode::kUnsupportedOperator, "the inputs are only known while the model runs");
  }
  check(c, in);
  const Tensor out = selected(in, centred(c.node()));
  return [out](const RunContext& run) {
    const std::span<const int64_t> values = out.data<int64_t>();
    std::copy(values.begin(), values.end(), run.out<int64_t>(0));
  };
}

constexpr OpDef kNonMaxSuppression = {
    .name = "NonMaxSuppression",
    .inputs = "boxes scores max_output_boxes_per_class? iou_threshold? score_threshold?",
    .opsets = "10f",
    .since = 10,
    .types = "ffiff",
    .infer = infer,
    .prepare = prepare,
    .quant = {.why_float = "gives indices, not activations"}};
const RegisterOps kRegistered({&kNonMaxSuppression});

}  // namespace
}  // namespace zp
