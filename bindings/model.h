// A model that JavaScript holds.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "answers.h"
#include "graph/graph.h"

namespace zp::bindings {

// What a model was in the last format. With weights in files it stays, because packing them anew takes long;
// else it goes to the first who asks.
struct FormatCache {
  std::string format;
  std::shared_ptr<const Model> model;

  bool has(const std::string& wanted) const { return model && format == wanted; }
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
    kept_ = std::make_shared<FormatCache>();
  }
  const std::shared_ptr<FormatCache>& kept() const { return kept_; }

  val describe() const;

 private:
  std::shared_ptr<const Model> model_;
  std::string runtime_;
  std::shared_ptr<FormatCache> kept_ = std::make_shared<FormatCache>();
};

}  // namespace zp::bindings
