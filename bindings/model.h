// A model that JavaScript holds.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "answers.h"
#include "graph/graph.h"

namespace zp::bindings {

class ModelHandle {
 public:
  // `runtime`: of a result, the one that it is for.
  explicit ModelHandle(Model model, std::string runtime = {})
      : model_(std::make_shared<const Model>(std::move(model))), runtime_(std::move(runtime)) {}
  const std::shared_ptr<const Model>& shared() const { return model_; }

  val describe() const;
  val inspect() const;
  val require_supported() const;
  // A WrittenHandle. bindings/ts/engine/module.ts: FileForm.
  val write(const val& form) const;
  // What write() would write: its files, its opset, and what of it this runtime does not take.
  val measure(const val& form, const std::string& runtime) const;
  // Adds an entry to what the file says of itself. An entry of that name stays: the new one gets a number.
  val add_metadata(const std::string& key, const std::string& value);

 private:
  std::shared_ptr<const Model> in_format(const std::string& format) const;

  std::shared_ptr<const Model> model_;
  std::string runtime_;
  // Of a model whose weights lie in files, what it was in the last format: packing them anew takes long.
  mutable std::string format_;
  mutable std::shared_ptr<const Model> in_format_;
};

}  // namespace zp::bindings
