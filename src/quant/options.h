// Everything that a user can set: a row for each option, and the choices that options have. The rows serve
// the package to check values and for its types, the command line for its flags and their help, the page for
// its controls, and docs/OPTIONS.md for its table. An option's row stands beside the thing it belongs to:
// here, with the training (train/qat/options.cpp), or with the observer, repair or stage that reads it (its
// `options`).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "graph/graph.h"
#include "quant/quant.h"
#include "quant/scheme.h"

namespace zp::quant {

// What somebody chose, as JSON would have it.
struct OptionValue {
  double number = 0;  // true: 1
  std::string text;
  std::vector<std::string> names;
  std::map<std::string, OptionValue, std::less<>> entries;
};

enum class OptionGroup : uint8_t {
  kScheme,    // what is quantized, and how
  kTraining,  // how mode "qat" trains: entries of the option `training`
  kFile,      // how the result is written
};

enum class OptionKind : uint8_t {
  kFlag,     // true or false
  kInteger,  // from `min` to `max`; where there are `choices`, one of those
  kNumber,
  kBytes,       // a number, or a text as '500MB'
  kChoice,      // one of `choices`
  kNames,       // a list of names, out of `registered` where that is said
  kTarget,      // { sqnr }, { drop } or { size }; or a runtime's name
  kPrecision,   // by node: { activations, weights }
  kRanges,      // by value: { min, max }
  kParameters,  // by name: the numbers that observers and repairs declare
  kOptions,     // the options of another group
};

// Where its value is kept. A choice that is a bool: the second one is true.
using OptionField =
    std::variant<std::monostate, bool Config::*, int64_t Config::*, std::string Config::*, DType Config::*,
                 std::vector<std::string> Config::*, bool Training::*, int Training::*, uint64_t Training::*,
                 double Training::*, std::string Training::*, std::vector<std::string> Training::*>;

struct Option {
  const char* name;
  OptionGroup group = OptionGroup::kScheme;
  OptionKind kind;
  const char* title;         // of a control
  const char* sentence;      // what it does
  const char* more = "";     // ZP_MORE: what else there is to know, in Markdown
  const char* choices = "";  // between single spaces
  const char* refused = "";  // what the error says beside the choices
  // The registered things that it can name, in place of `choices`.
  std::vector<Named> (*registered)() = nullptr;
  double min = 0, max = 0;
  bool above = false, below = false;  // `min`, or `max`, is itself too small or too large
  // What holds where nobody chose, in words, where that is no one value. Else it is what Config{} has.
  const char* fallback = "";
  // The command line's flag where it is not the name with hyphens, and the value that it sets if it takes
  // none.
  const char* flag = "";
  const char* flag_sets = "";
  OptionField field = {};
  void (*set)(Config&, const OptionValue&) = nullptr;  // where there is no field
  void (*unchosen)(Config&) = nullptr;                 // once all that was chosen is set
  // The schemes that it does something for. Null: all.
  bool (*applies)(const Scheme&) = nullptr;
};

// Rows that another file has. They live as long as the program.
class RegisterOptions {
 public:
  explicit RegisterOptions(std::span<const Option> rows);
};

std::vector<const Option*> all_options();  // by group

// The configuration that these choices make, by name; those of training are entries of `training`. Names
// under `include` and `exclude` that are operators of the graph mean operators, all others mean nodes. Throws
// kInvalidArgument for an unknown option; the quantizer checks the values.
Config config_from(const OptionValue& chosen, const Graph& graph);

// Throws kInvalidArgument where a value is not what its row allows.
void check_options(const Config& config, std::span<const Option> rows);

// All of it as JSON: { modes, observers, repairs, runtimes, options }. bindings/ts/engine/module.ts: Schema.
std::string schema_json();

}  // namespace zp::quant
