// A model that JavaScript holds.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "answers.h"
#include "graph/graph.h"

namespace zp::bindings {

// Of a model whose weights lie in files, what it was in the last format: packing them anew takes long.
struct FormatCache {
  std::string format;
  std::shared_ptr<const Model> model;
};

class ModelHandle {
 public:
  // `runtime`: of a result, the one that it is for.
  explicit ModelHandle(Model model, std::string runtime = {})
      : model_(std::make_shared<const Model>(std::move(model))), runtime_(std::move(runtime)) {}
  const std::shared_ptr<const Model>& shared() const { return model_; }
  const std::string& runtime() const { return runtime_; }
  void replace(Model model) {
    model_ = std::make_shared<const Model>(std::move(model));
    kept_ = {};
  }
  FormatCache& kept() const { return kept_; }

  val describe() const;

 private:
  std::shared_ptr<const Model> model_;
  std::string runtime_;
  mutable FormatCache kept_;
};

}  // namespace zp::bindings
