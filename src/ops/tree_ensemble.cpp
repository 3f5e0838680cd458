// TreeEnsembleRegressor, TreeEnsembleClassifier and TreeEnsemble of ai.onnx.ml: decision trees, whose leaves
// add to targets or classes.
//
// X is (rows, features), scores are (rows, targets or classes). All forms become one list of nodes when a
// plan is made. The nodes are checked then: each child comes later than its parent in a walk from the roots,
// so that a run ends.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <numbers>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/grain.h"
#include "ops/ml.h"
#include "ops/ml_scores.h"
#include "ops/op.h"

namespace zp {
namespace {

enum class Mode : uint8_t { kLeq, kLt, kGte, kGt, kEq, kNeq, kMember };
constexpr std::string_view kModes[] = {"BRANCH_LEQ", "BRANCH_LT",  "BRANCH_GTE",   "BRANCH_GT",
                                       "BRANCH_EQ",  "BRANCH_NEQ", "BRANCH_MEMBER"};
constexpr std::string_view kAggregates[] = {"AVERAGE", "SUM", "MIN", "MAX"};
enum class Aggregate : uint8_t { kAverage, kSum, kMin, kMax };

// Children are nodes where they are not negative, and leaf ~child otherwise.
struct TreeNode {
  int64_t feature = 0;
  Mode mode = Mode::kLeq;
  bool missing_is_true = false;
  double split = 0;
  int32_t yes = 0, no = 0;
  size_t first_member = 0, end_member = 0;
};

struct Leaf {
  size_t first = 0, end = 0;  // of `weights`
};

struct Forest {
  std::vector<TreeNode> nodes;
  std::vector<Leaf> leaves;
  std::vector<std::pair<int64_t, double>> weights;  // of leaves: target and weight
  std::vector<int32_t> roots;
  std::vector<double> members;
  std::vector<double> base;  // by target; empty: 0
  Aggregate aggregate = Aggregate::kSum;
  Transform transform = Transform::kNone;
  int64_t targets = 1;
  // Of a classifier: leaves add to one class alone, and no weight is negative.
  bool one_class = false, all_positive = true;
};

// A list of numbers, given as such or as a tensor.
std::vector<double> numbers(const Node& node, std::string_view key) {
  const Attribute* a = node.attribute(key);
  if (!a) a = node.attribute(std::string(key) + "_as_tensor");
  if (!a) return {};
  std::vector<double> values;
  if (const auto* list = std::get_if<std::vector<float>>(a)) {
    values.assign(list->begin(), list->end());
  } else if (const auto* t = std::get_if<Tensor>(a); t && t->dtype() == DType::kFloat64) {
    values.assign(t->data<double>().begin(), t->data<double>().end());
  } else if (t && t->dtype() != DType::kString) {
    for (const float v : t->floats()) values.push_back(static_cast<double>(v));
  } else {
    fail_ml({"attribute '", key, "' has the wrong type"});
  }
  return values;
}

bool is_classifier(const Node& node) { return node.op_type == "TreeEnsembleClassifier"; }

int64_t targets_of(const Node& node) {
  const int64_t targets =
      is_classifier(node) ? class_labels(node).size() : node.int_attribute("n_targets", 1);
  if (is_classifier(node) && targets == 0) fail_ml("the classifier names no classes");
  constexpr int64_t kMost = int64_t{1} << 20;
  if (targets < 1 || targets > kMost) fail_ml({"n_targets is ", targets});
  return targets;
}

int64_t target_of(const Forest& forest, int64_t target) {
  if (target < 0 || target >= forest.targets)
    fail_ml({"a leaf adds to target ", target, " of ", forest.targets});
  return target;
}

// No node is its own descendant, so that every walk ends. Nodes may be shared.
void require_trees(const Forest& forest) {
  enum : uint8_t { kNew, kOpen, kDone };
  std::vector<uint8_t> seen(forest.nodes.size(), kNew);
  std::vector<int32_t> open;
  for (const int32_t root : forest.roots) {
    if (root >= 0) open.push_back(root);
    while (!open.empty()) {
      const auto at = static_cast<size_t>(open.back());
      if (seen[at] != kNew) {
        seen[at] = kDone;
        open.pop_back();
        continue;
      }
      seen[at] = kOpen;
      for (const int32_t child : {forest.nodes[at].yes, forest.nodes[at].no}) {
        if (child < 0) continue;
        if (seen[static_cast<size_t>(child)] == kOpen) fail_ml("a tree has a node that is below itself");
        if (seen[static_cast<size_t>(child)] == kNew) open.push_back(child);
      }
    }
  }
}

// ---- versions 1 to 3: nodes and leaves by the numbers of their trees and their own

using Place = std::pair<int64_t, int64_t>;

std::vector<Place> places_of(const Node& node, std::string_view trees, std::string_view ids) {
  const std::vector<int64_t> tree = node.ints_attribute(trees), id = node.ints_attribute(ids);
  require_size(ids, id.size(), tree.size());
  std::vector<Place> places;
  for (size_t i = 0; i < tree.size(); ++i) places.emplace_back(tree[i], id[i]);
  return places;
}

Mode mode_named(std::string_view name) {
  const auto* const found = std::find(std::begin(kModes), std::end(kModes) - 1, name);
  if (found == std::end(kModes) - 1) fail_ml({"a node has the mode '", name, "'"});
  return static_cast<Mode>(found - std::begin(kModes));
}

Forest forest_of_places(const Node& node) {
  Forest forest;
  forest.targets = targets_of(node);
  forest.aggregate = choice_of(node, "aggregate_function", kAggregates, Aggregate::kSum);
  forest.transform = choice_of(node, "post_transform", kTransforms, Transform::kNone);
  forest.base = numbers(node, "base_values");
  // A classifier of two classes may have one base value, for the score that serves both.
  if (!forest.base.empty() && !(is_classifier(node) && forest.targets == 2 && forest.base.size() == 1))
    require_size("base_values", forest.base.size(), static_cast<size_t>(forest.targets));

  const std::vector<Place> places = places_of(node, "nodes_treeids", "nodes_nodeids");
  const auto count = places.size();
  const auto modes = list_of<std::string>(node, "nodes_modes");
  const auto features = list_of<int64_t>(node, "nodes_featureids");
  const auto yes = list_of<int64_t>(node, "nodes_truenodeids"),
             no = list_of<int64_t>(node, "nodes_falsenodeids");
  const std::vector<double> splits = numbers(node, "nodes_values");
  auto missing = list_of<int64_t>(node, "nodes_missing_value_tracks_true");
  missing.resize(std::max(missing.size(), count), 0);
  require_size("nodes_modes", modes.size(), count);
  require_size("nodes_featureids", features.size(), count);
  require_size("nodes_truenodeids", yes.size(), count);
  require_size("nodes_falsenodeids", no.size(), count);
  require_size("nodes_values", splits.size(), count);
  require_size("nodes_missing_value_tracks_true", missing.size(), count);

  // Weights, one leaf's behind the other.
  const std::string of = is_classifier(node) ? "class_" : "target_";
  const std::vector<Place> at = places_of(node, of + "treeids", of + "nodeids");
  const auto ids = list_of<int64_t>(node, of + "ids");
  const std::vector<double> weights = numbers(node, of + "weights");
  require_size(of + "ids", ids.size(), at.size());
  require_size(of + "weights", weights.size(), at.size());
  forest.one_class = std::set<int64_t>(ids.begin(), ids.end()).size() == 1;
  forest.all_positive = std::all_of(weights.begin(), weights.end(), [](double w) { return w >= 0; });
  std::map<Place, std::vector<std::pair<int64_t, double>>> by_leaf;
  for (size_t i = 0; i < at.size(); ++i) by_leaf[at[i]].emplace_back(target_of(forest, ids[i]), weights[i]);

  std::map<Place, int32_t> child;
  for (size_t i = 0; i < count; ++i) {
    const bool leaf = modes[i] == "LEAF";
    const auto number = static_cast<int32_t>(leaf ? forest.leaves.size() : forest.nodes.size());
    if (!child.emplace(places[i], leaf ? ~number : number).second)
      fail_ml({"tree ", places[i].first, " has two nodes ", places[i].second});
    if (!leaf) {
      forest.nodes.push_back({.feature = features[i],
                              .mode = mode_named(modes[i]),
                              .missing_is_true = missing[i] != 0,
                              .split = splits[i]});
      continue;
    }
    const size_t first = forest.weights.size();
    const auto own = by_leaf.find(places[i]);
    if (own != by_leaf.end())
      forest.weights.insert(forest.weights.end(), own->second.begin(), own->second.end());
    forest.leaves.push_back({first, forest.weights.size()});
  }
  const auto child_at = [&](size_t i, int64_t id) {
    const auto place = child.find({places[i].first, id});
    if (place == child.end()) fail_ml({"tree ", places[i].first, " has no node ", id});
    return place->second;
  };
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    // The root of a tree is the first of its nodes.
    if (i == 0 || places[i].first != places[i - 1].first) forest.roots.push_back(child.at(places[i]));
    if (modes[i] == "LEAF") continue;
    forest.nodes[next].yes = child_at(i, yes[i]);
    forest.nodes[next].no = child_at(i, no[i]);
    ++next;
  }
  return forest;
}

// ---- version 5: indices

Forest forest_of_ensemble(const Node& node) {
  Forest forest;
  forest.targets = targets_of(node);
  forest.aggregate = choice_of(node, "aggregate_function", kAggregates, Aggregate::kSum);
  forest.transform = choice_of(node, "post_transform", kTransforms, Transform::kNone);
  const auto ids = list_of<int64_t>(node, "leaf_targetids");
  const std::vector<double> weights = numbers(node, "leaf_weights");
  require_size("leaf_weights", weights.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    forest.leaves.push_back({i, i + 1});
    forest.weights.emplace_back(target_of(forest, ids[i]), weights[i]);
  }
  const auto features = list_of<int64_t>(node, "nodes_featureids");
  const std::vector<double> splits = numbers(node, "nodes_splits"), modes = numbers(node, "nodes_modes");
  const auto yes = list_of<int64_t>(node, "nodes_truenodeids"),
             no = list_of<int64_t>(node, "nodes_falsenodeids");
  const auto yes_leaf = list_of<int64_t>(node, "nodes_trueleafs"),
             no_leaf = list_of<int64_t>(node, "nodes_falseleafs");
  auto missing = list_of<int64_t>(node, "nodes_missing_value_tracks_true");
  const size_t count = features.size();
  missing.resize(std::max(missing.size(), count), 0);
  require_size("nodes_splits", splits.size(), count);
  require_size("nodes_modes", modes.size(), count);
  require_size("nodes_truenodeids", yes.size(), count);
  require_size("nodes_falsenodeids", no.size(), count);
  require_size("nodes_trueleafs", yes_leaf.size(), count);
  require_size("nodes_falseleafs", no_leaf.size(), count);
  require_size("nodes_missing_value_tracks_true", missing.size(), count);
  const auto child = [&](int64_t id, int64_t is_leaf) {
    const size_t most = is_leaf != 0 ? forest.leaves.size() : count;
    if (id < 0 || static_cast<uint64_t>(id) >= most) fail_ml({"a node has the child ", id, " of ", most});
    return is_leaf != 0 ? ~static_cast<int32_t>(id) : static_cast<int32_t>(id);
  };
  // Sets of members, a NaN behind each.
  forest.members = numbers(node, "membership_values");
  size_t member = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!(modes[i] >= 0 && modes[i] < std::ssize(kModes)))
      fail_ml({"a node has the mode ", static_cast<int64_t>(modes[i])});
    TreeNode n{.feature = features[i],
               .mode = static_cast<Mode>(modes[i]),
               .missing_is_true = missing[i] != 0,
               .split = splits[i],
               .yes = child(yes[i], yes_leaf[i]),
               .no = child(no[i], no_leaf[i])};
    if (n.mode == Mode::kMember) {
      n.first_member = member;
      while (member < forest.members.size() && !std::isnan(forest.members[member])) ++member;
      n.end_member = member;
      member = std::min(member + 1, forest.members.size());
    }
    forest.nodes.push_back(n);
  }
  for (const int64_t root : list_of<int64_t>(node, "tree_roots")) forest.roots.push_back(child(root, 0));
  return forest;
}

// ---- the run

bool holds(const Forest& forest, const TreeNode& n, double x) {
  switch (n.mode) {
    case Mode::kLeq:
      return x <= n.split;
    case Mode::kLt:
      return x < n.split;
    case Mode::kGte:
      return x >= n.split;
    case Mode::kGt:
      return x > n.split;
    case Mode::kEq:
      return x == n.split;
    case Mode::kNeq:
      return x != n.split;
    case Mode::kMember:
      return std::find(forest.members.begin() + static_cast<int64_t>(n.first_member),
                       forest.members.begin() + static_cast<int64_t>(n.end_member),
                       x) != forest.members.begin() + static_cast<int64_t>(n.end_member);
  }
  return false;
}

template <class T>
const Leaf& leaf_of(const Forest& forest, int32_t at, const T* row) {
  while (at >= 0) {
    const TreeNode& n = forest.nodes[static_cast<size_t>(at)];
    const auto x = static_cast<double>(row[n.feature]);
    at = holds(forest, n, x) || (n.missing_is_true && std::isnan(x)) ? n.yes : n.no;
  }
  const int32_t leaf = ~at;
  return forest.leaves[static_cast<size_t>(leaf)];
}

// The sums of the trees for a row, in the type of the input, as in ONNX Runtime, because classes follow from
// them. `any`: whether a leaf added to the target.
template <class T>
void sum_up(const Forest& forest, const T* row, std::span<T> sums, std::span<uint8_t> any) {
  std::fill(sums.begin(), sums.end(), T{0});
  std::fill(any.begin(), any.end(), uint8_t{0});
  for (const int32_t root : forest.roots) {
    const Leaf& leaf = leaf_of(forest, root, row);
    for (size_t i = leaf.first; i < leaf.end; ++i) {
      const auto target = static_cast<size_t>(forest.weights[i].first);
      const auto weight = static_cast<T>(forest.weights[i].second);
      T& sum = sums[target];
      const bool add = forest.aggregate == Aggregate::kSum || forest.aggregate == Aggregate::kAverage;
      if (add) {
        sum += weight;
      } else if (!any[target] || (forest.aggregate == Aggregate::kMin ? weight < sum : weight > sum)) {
        sum = weight;
      }
      any[target] = 1;
    }
  }
  if (forest.aggregate == Aggregate::kAverage && !forest.roots.empty())
    for (T& sum : sums) sum /= static_cast<T>(forest.roots.size());
}

// A single target stays as it is but for PROBIT, as in ONNX Runtime.
template <class T>
void transform_targets(Transform how, std::span<T> scores) {
  if (scores.size() > 1 || how == Transform::kProbit) transform(how, scores);
}

// Makes scores of sums, and returns the class. Of more than two classes that is the one with the highest
// score, as in the specification. Of two classes ONNX Runtime takes the second where its score is above 0;
// above one half where one score serves both and no weight is negative.
template <class T>
size_t classify(const Forest& forest, std::span<T> scores, std::span<uint8_t> any) {
  const bool one_score = forest.one_class && scores.size() == 2;
  for (size_t k = 0; k < forest.base.size(); ++k) {
    scores[k] += static_cast<T>(forest.base[k]);
    if (!one_score) any[k] = 1;
  }
  if (scores.size() != 2) {
    size_t best = 0;
    for (size_t k = 1; k < scores.size(); ++k)
      if (any[k] && (!any[best] || scores[k] > scores[best])) best = k;
    transform_targets(forest.transform, scores);
    return best;
  }
  const T decides = any[1] ? scores[1] : scores[0];
  const bool chance = one_score && forest.all_positive;
  const size_t found = decides > (chance ? T(0.5) : T(0)) ? 1 : 0;
  if (any[1]) {
    transform(forest.transform, scores);
  } else if (forest.transform == Transform::kProbit) {
    scores[0] = probit(scores[0]);
  } else {
    const T score = scores[0];
    const bool to_chance = forest.transform == Transform::kLogistic;
    scores[1] = to_chance ? logistic(score) : score;
    scores[0] = to_chance ? logistic(-score) : chance ? 1 - score : -score;
  }
  return found;
}

template <class T, class Y>
Kernel regress_rows(std::shared_ptr<const Forest> forest, int64_t rows, int64_t features) {
  return [forest = std::move(forest), rows, features](const RunContext& r) {
    r.parallel_range(rows, grain_for({.work = 64}), [&](int64_t begin, int64_t end) {
      const auto targets = static_cast<size_t>(forest->targets);
      std::vector<T> sums(targets);
      std::vector<uint8_t> any(targets);
      for (int64_t row = begin; row < end; ++row) {
        sum_up<T>(*forest, r.in<T>(0) + row * features, sums, any);
        for (size_t t = 0; t < forest->base.size(); ++t) sums[t] += static_cast<T>(forest->base[t]);
        transform_targets<T>(forest->transform, sums);
        std::transform(sums.begin(), sums.end(), r.out<Y>(0) + row * forest->targets,
                       [](T v) { return static_cast<Y>(v); });
      }
    });
  };
}

template <class T>
Kernel classify_rows(const PrepareContext& c, std::shared_ptr<const Forest> forest, int64_t rows,
                     int64_t features) {
  const bool gives_label = c.has_output(0), gives_scores = c.has_output(1);
  return [=, forest = std::move(forest), labels = class_labels(c.node())](const RunContext& r) {
    r.parallel_range(rows, grain_for({.work = 64}), [&](int64_t begin, int64_t end) {
      const auto classes = static_cast<size_t>(forest->targets);
      const size_t bytes = bytes_of(labels.dtype(), 1);
      std::vector<T> scores(classes);
      std::vector<uint8_t> any(classes);
      for (int64_t row = begin; row < end; ++row) {
        sum_up<T>(*forest, r.in<T>(0) + row * features, scores, any);
        const size_t found = classify<T>(*forest, scores, any);
        if (gives_label)
          std::memcpy(r.outputs[0] + static_cast<size_t>(row) * bytes, labels.raw() + found * bytes, bytes);
        if (!gives_scores) continue;
        std::transform(scores.begin(), scores.end(), r.out<float>(1) + row * forest->targets,
                       [](T v) { return static_cast<float>(v); });
      }
    });
  };
}

// Scores are float32. In version 5 they have the type of the input.
void infer_trees(InferContext& c) {
  const bool as_input = c.node().op_type == "TreeEnsemble";
  c.output(0, as_input ? c.dtype(0) : DType::kFloat32, {rows_of(c), Dim(targets_of(c.node()))});
}

void infer_classifier(InferContext& c) {
  const Tensor labels = class_labels(c.node());
  const Dim rows = rows_of(c);
  if (c.has_output(0)) c.output(0, labels.dtype(), {rows});
  if (c.has_output(1)) c.output(1, DType::kFloat32, {rows, Dim(targets_of(c.node()))});
}

template <class T>
Kernel kernel_for(const PrepareContext& c, std::shared_ptr<const Forest> forest, int64_t rows,
                  int64_t features) {
  if (is_classifier(c.node())) return classify_rows<T>(c, std::move(forest), rows, features);
  if (c.node().op_type == "TreeEnsemble") return regress_rows<T, T>(std::move(forest), rows, features);
  return regress_rows<T, float>(std::move(forest), rows, features);
}

Kernel prepare_trees(PrepareContext& c) {
  const Node& node = c.node();
  auto forest = std::make_shared<const Forest>(node.op_type == "TreeEnsemble" ? forest_of_ensemble(node)
                                                                              : forest_of_places(node));
  require_trees(*forest);
  const Shape& x = c.dims(0);
  const int64_t features = x.back(), rows = x.size() == 2 ? x[0] : 1;
  for (const TreeNode& n : forest->nodes) {
    if (n.feature < 0 || n.feature >= features)
      c.fail_input(0, ErrorCode::kShapeMismatch, {"a tree reads feature ", n.feature, " of ", features});
  }
  if (c.dtype(0) == DType::kFloat64) return kernel_for<double>(c, std::move(forest), rows, features);
  if (c.dtype(0) != DType::kFloat32)
    c.fail_input(0, ErrorCode::kUnsupportedType, {"the input is ", name_of(c.dtype(0))});
  return kernel_for<float>(c, std::move(forest), rows, features);
}

// Integers become float32. Version 5 has none.
void canonicalize_trees(Canonicalize& c) {
  ValueId& x = c.node.inputs[0];
  if (c.node.op_type != "TreeEnsemble" && !is_float(c.graph[x].dtype)) x = as_float(c, x);
  c.keep();
}

constexpr OpDef trees(std::string_view name, void (*infer)(InferContext&)) {
  return {.domain = kMl,
          .name = name,
          .infer = infer,
          .prepare = prepare_trees,
          .quant = {.why_float = "compares with thresholds, and has no products"},
          .canonicalize = canonicalize_trees};
}
constexpr OpDef kRegressor = trees("TreeEnsembleRegressor", infer_trees);
constexpr OpDef kClassifier = trees("TreeEnsembleClassifier", infer_classifier);
constexpr OpDef kEnsemble = trees("TreeEnsemble", infer_trees);
const RegisterOps kRegistered({&kRegressor, &kClassifier, &kEnsemble});

}  // namespace
}  // namespace zp
