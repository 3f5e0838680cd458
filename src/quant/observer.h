// An observer watches a value over many samples and says which range of it to cover. Memory is constant: an
// observer keeps no values. To add one, add a file to observers/ that registers it.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "quant/numbers.h"
#include "quant/quant.h"

namespace zp::quant {

// Numbers of the configuration that belong to an observer or a stage, with their defaults.
class Options {
 public:
  Options() = default;
  Options(std::vector<OptionSpec> specs, const std::map<std::string, double, std::less<>>& given);
  double operator[](std::string_view name) const;  // of a declared option

 private:
  std::map<std::string, double, std::less<>> values_;
};

class Observer {
 public:
  virtual ~Observer() = default;
  // The value's elements in one sample, all finite; `range` is theirs.
  virtual void observe(std::span<const float> x, Range range) = 0;
  virtual Range range() const = 0;
};

struct ObserverSettings {
  DType dtype;  // of the integers that the range is for
  bool symmetric;
  Options options;
};

struct ObserverDef {
  std::string_view name;
  std::string_view title = {};     // a few words
  std::string_view sentence = {};  // when it is the right one
  std::vector<OptionSpec> options = {};
  std::unique_ptr<Observer> (*make)(const ObserverSettings&) = nullptr;
};

class RegisterObserver {
 public:
  explicit RegisterObserver(const ObserverDef& def);
};

// Throws kInvalidArgument naming the observers there are.
const ObserverDef& observer_named(std::string_view name);
const std::vector<ObserverDef>& all_observers();

}  // namespace zp::quant
