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
  explicit ModelHandle(Model model) : model_(std::make_shared<const Model>(std::move(model))) {}
  const std::shared_ptr<const Model>& shared() const { return model_; }

  val describe() const;
  val inspect() const;
  val require_supported() const;
  // What of it, written so, this runtime does not take.
  val broken_rules(const std::string& format, const std::string& runtime, int opset) const;
  // `opset`: 0 for the lowest that can say the model.
  val write(const std::string& format, int opset) const;
  // What write() would write.
  val measure(const std::string& format, int opset) const;
  // Adds an entry to what the file says of itself. An entry of that name stays: the new one gets a number.
  val add_metadata(const std::string& key, const std::string& value);

 private:
  std::shared_ptr<const Model> model_;
};

}  // namespace zp::bindings
