// TreeEnsembleRegressor and TreeEnsemble of ai.onnx.ml: decision trees, whose leaves add to targets.
//
// X is (rows, features), Y (rows, targets). Both forms become one list of nodes when a plan is made. What a
// file says of them is checked then: each child comes later than its parent in a walk from the roots, so that
// a run ends.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/grain.h"
#include "ops/ml.h"
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
  int64_t targets = 1;
};

[[noreturn]] void fail(const Text& message) { throw_error(ErrorCode::kInvalidModel, message); }

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
    fail({"attribute '", key, "' has the wrong type"});
  }
  return values;
}

void require_size(std::string_view key, size_t size, size_t wanted) {
  if (size != wanted) fail({"attribute '", key, "' has ", size, " elements, not ", wanted});
}

int64_t targets_of(const Node& node) {
  const int64_t targets = node.int_attribute("n_targets", 1);
  constexpr int64_t kMost = int64_t{1} << 20;
  if (targets < 1 || targets > kMost) fail({"n_targets is ", targets});
  return targets;
}

int64_t target_of(const Forest& forest, int64_t target) {
  if (target < 0 || target >= forest.targets)
    fail({"a leaf adds to target ", target, " of ", forest.targets});
  return target;
}

// Nobody is its own descendant: then every walk ends. Nodes may be shared.
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
        if (seen[static_cast<size_t>(child)] == kOpen) fail("a tree has a node that is below itself");
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

template <class T>
std::vector<T> list_of(const Node& node, std::string_view key) {
  const Attribute* a = node.attribute(key);
  if (!a) return {};
  const auto* list = std::get_if<std::vector<T>>(a);
  if (!list) fail({"attribute '", key, "' has the wrong type"});
  return *list;
}

Mode mode_named(std::string_view name) {
  const auto* const found = std::find(std::begin(kModes), std::end(kModes) - 1, name);
  if (found == std::end(kModes) - 1) fail({"a node has the mode '", name, "'"});
  return static_cast<Mode>(found - std::begin(kModes));
}

Forest forest_of_regressor(const Node& node) {
  Forest forest;
  forest.targets = targets_of(node);
  const std::string aggregate = node.string_attribute("aggregate_function", "SUM");
  const auto* const found = std::find(std::begin(kAggregates), std::end(kAggregates), aggregate);
  if (found == std::end(kAggregates)) fail({"aggregate_function is '", aggregate, "'"});
  forest.aggregate = static_cast<Aggregate>(found - std::begin(kAggregates));
  forest.base = numbers(node, "base_values");
  if (!forest.base.empty())
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
  const std::vector<Place> at = places_of(node, "target_treeids", "target_nodeids");
  const auto ids = list_of<int64_t>(node, "target_ids");
  const std::vector<double> weights = numbers(node, "target_weights");
  require_size("target_ids", ids.size(), at.size());
  require_size("target_weights", weights.size(), at.size());
  std::map<Place, std::vector<std::pair<int64_t, double>>> by_leaf;
  for (size_t i = 0; i < at.size(); ++i) by_leaf[at[i]].emplace_back(target_of(forest, ids[i]), weights[i]);

  std::map<Place, int32_t> child;
  for (size_t i = 0; i < count; ++i) {
    const bool leaf = modes[i] == "LEAF";
    const auto number = static_cast<int32_t>(leaf ? forest.leaves.size() : forest.nodes.size());
    if (!child.emplace(places[i], leaf ? ~number : number).second)
      fail({"tree ", places[i].first, " has two nodes ", places[i].second});
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
    if (place == child.end()) fail({"tree ", places[i].first, " has no node ", id});
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
  const int64_t aggregate = node.int_attribute("aggregate_function", 1);
  if (aggregate < 0 || aggregate >= std::ssize(kAggregates)) fail({"aggregate_function is ", aggregate});
  forest.aggregate = static_cast<Aggregate>(aggregate);
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
    if (id < 0 || static_cast<uint64_t>(id) >= most) fail({"a node has the child ", id, " of ", most});
    return is_leaf != 0 ? ~static_cast<int32_t>(id) : static_cast<int32_t>(id);
  };
  // Sets of members, a NaN behind each.
  forest.members = numbers(node, "membership_values");
  size_t member = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!(modes[i] >= 0 && modes[i] < std::ssize(kModes)))
      fail({"a node has the mode ", static_cast<int64_t>(modes[i])});
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
  return forest.leaves[static_cast<size_t>(~at)];
}

template <class T>
void predict(const Forest& forest, const T* row, std::vector<double>& sums, std::vector<uint8_t>& any, T* y) {
  std::fill(sums.begin(), sums.end(), 0);
  std::fill(any.begin(), any.end(), uint8_t{0});
  for (const int32_t root : forest.roots) {
    const Leaf& leaf = leaf_of(forest, root, row);
    for (size_t i = leaf.first; i < leaf.end; ++i) {
      const auto [target, weight] = forest.weights[i];
      double& sum = sums[static_cast<size_t>(target)];
      uint8_t& is = any[static_cast<size_t>(target)];
      const bool add = forest.aggregate == Aggregate::kSum || forest.aggregate == Aggregate::kAverage;
      if (add) {
        sum += weight;
      } else if (!is || (forest.aggregate == Aggregate::kMin ? weight < sum : weight > sum)) {
        sum = weight;
      }
      is = 1;
    }
  }
  for (size_t t = 0; t < sums.size(); ++t) {
    double value = sums[t];
    if (forest.aggregate == Aggregate::kAverage && !forest.roots.empty())
      value /= static_cast<double>(forest.roots.size());
    if (!forest.base.empty()) value += forest.base[t];
    y[t] = static_cast<T>(value);
  }
}

template <class T>
Kernel kernel_for(std::shared_ptr<const Forest> forest, int64_t rows, int64_t features) {
  return [forest = std::move(forest), rows, features](const RunContext& r) {
    r.parallel_range(rows, grain_for({.work = 64}), [&](int64_t begin, int64_t end) {
      const auto targets = static_cast<size_t>(forest->targets);
      std::vector<double> sums(targets);
      std::vector<uint8_t> any(targets);
      for (int64_t row = begin; row < end; ++row)
        predict(*forest, r.in<T>(0) + row * features, sums, any, r.out<T>(0) + row * forest->targets);
    });
  };
}

void infer_trees(InferContext& c) {
  const SymShape* x = c.shape(0);
  if (x && x->size() != 1 && x->size() != 2)
    c.fail(ErrorCode::kShapeMismatch, {"the input has ", x->size(), " dimensions, not one or two"});
  const Dim rows = !x ? Dim() : x->size() == 2 ? (*x)[0] : Dim(1);
  c.output(0, c.dtype(0), {rows, Dim(targets_of(c.node()))});
}

Kernel prepare_trees(PrepareContext& c) {
  const Node& node = c.node();
  auto forest = std::make_shared<const Forest>(node.op_type == "TreeEnsemble" ? forest_of_ensemble(node)
                                                                              : forest_of_regressor(node));
  require_trees(*forest);
  const int64_t features = c.dims(0).back(), rows = c.out_dims(0)[0];
  for (const TreeNode& n : forest->nodes) {
    if (n.feature < 0 || n.feature >= features)
      c.fail_input(0, ErrorCode::kShapeMismatch, {"a tree reads feature ", n.feature, " of ", features});
  }
  if (c.dtype(0) == DType::kFloat64) return kernel_for<double>(std::move(forest), rows, features);
  if (c.dtype(0) != DType::kFloat32)
    c.fail_input(0, ErrorCode::kUnsupportedType, {"the input is ", name_of(c.dtype(0))});
  return kernel_for<float>(std::move(forest), rows, features);
}

// What is made of the targets goes behind it, and integers become float32. A single target stays as it is, as
// in ONNX Runtime.
void canonicalize_trees(Canonicalize& c) {
  const DType type = c.graph[c.node.inputs[0]].dtype;
  if (type != DType::kFloat64) c.node.inputs[0] = as_float(c, c.node.inputs[0]);
  std::string after = "NONE";
  if (const Attribute* a = c.node.attribute("post_transform")) {
    constexpr std::string_view kNames[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
    const auto* number = std::get_if<int64_t>(a);
    if (number && (*number < 0 || *number >= std::ssize(kNames)))
      c.fail(ErrorCode::kInvalidModel, {"post_transform is ", *number});
    after = number ? std::string(kNames[*number]) : c.node.string_attribute("post_transform", "NONE");
    c.node.attributes.erase("post_transform");
  }
  if (after == "NONE" || (c.node.int_attribute("n_targets", 1) == 1 && after != "PROBIT")) return c.keep();
  const ValueId made = c.node.outputs[0];
  c.node.outputs[0] = c.graph.add_value(c.node.name + "_targets");
  Canonicalize behind{.graph = c.graph, .node = c.node, .version = c.version, .nodes = {}};
  behind.node.attributes.insert_or_assign("post_transform", after);
  behind.node.outputs = {made};
  const ValueId scores = c.node.outputs[0];
  c.keep();
  const ValueId result = transformed(behind, scores);
  behind.finish("Identity", {result});
  for (Node& n : behind.nodes) c.nodes.push_back(std::move(n));
}

constexpr OpDef trees(std::string_view name) {
  return {.domain = kMl,
          .name = name,
          .infer = infer_trees,
          .prepare = prepare_trees,
          .quant = {.why_float = "compares with thresholds, and has no products"},
          .canonicalize = canonicalize_trees};
}
constexpr OpDef kRegressor = trees("TreeEnsembleRegressor");
constexpr OpDef kEnsemble = trees("TreeEnsemble");
const RegisterOps kRegistered({&kRegressor, &kEnsemble});

}  // namespace
}  // namespace zp
