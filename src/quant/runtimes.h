// The runtimes that a quantized file can be for, and their rules. Their one table is in runtimes.cpp: to add
// a runtime, add a row.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "graph/graph.h"
#include "quant/quant.h"

namespace zp::quant {

class DTypes {
 public:
  constexpr DTypes(std::initializer_list<DType> types) {
    for (const DType t : types) bits_ |= uint64_t{1} << static_cast<int>(t);
  }
  constexpr bool has(DType t) const { return (bits_ >> static_cast<int>(t) & 1) != 0; }
  std::string in_words() const;  // "int8, uint8"

 private:
  uint64_t bits_ = 0;
};

struct RuntimeRules {
  std::string_view name;        // as Config::runtime has it
  std::string_view title;       // what it is called
  std::string_view checked;     // how our files were checked for it
  std::string_view fallback;    // what becomes of a node that it does not take
  int64_t opset;                // of ai.onnx: the newest that it opens
  int64_t least_opset = 0;      // the oldest whose operators all its optimizations know
  DTypes activations, weights;  // integers of Q and DQ, of values that are computed and of constants
  bool symmetric;               // zero points are 0, or in the middle of the type, of activations...
  bool symmetric_weights;       // ...and of weights
  bool blocks;                  // DequantizeLinear of blocks (opset 21)
  bool whole_blocks = false;    // ...which have to divide the dimension that they lie along
  bool int32_bias;              // DequantizeLinear of an int32 bias, which has no zero point anywhere
  std::string_view without;     // operators of ai.onnx that it does not take, after spaces
  // Operators of com.microsoft that it takes, after spaces; "*": all. It takes operators of no other domain
  // but its own.
  std::string_view contrib;

  // In each run it turns constants behind a DequantizeLinear into floats unless an operator on integers takes
  // them: weights of float layers, tables before a Gather, and weights that branches read.
  bool dequantizes_in_runs = false;
  // Operators that it joins with the Q/DQ pair of their weight matrix into one node where the other input is
  // float; after spaces.
  std::string_view joins_weights = "";

  // It multiplies floats faster than floats with integers. So weights become floats when a file is loaded,
  // unless all weights of a model would be more than so many bytes as floats: then products keep integers.
  int64_t floats_at_load = 0;

  // It computes attention as one operator, faster than as products in integers with the Softmax between them.
  bool fused = false;

  bool falls_back;  // it takes the file all the same: operators that it does not have run on the CPU

  // Operators that it computes in integers where 8-bit pairs stand around them, after spaces; "*": those that
  // this package does. It computes other operators in float between the pairs.
  std::string_view fuses = "*";
  // Products among them whose results may stay floats: all other products have to be rounded, or run in
  // float.
  std::string_view leaves_floats = "*";

  bool takes(const Node& node) const;  // the operator
  // It has an integer kernel for the operator between pairs.
  bool fuses_it(const Node& node) const;
  // It computes a product in integers only where the result is rounded.
  bool rounds(const Node& node) const;
  bool joins_weight(const Node& node) const;
  // In sentences, for tables.
  std::vector<std::string> in_words() const;
};

const std::vector<RuntimeRules>& all_runtimes();
// Throws kInvalidArgument, which names the known ones.
const RuntimeRules& runtime_named(std::string_view name);

// The lowest opset of a file with Q/DQ pairs: ONNX Runtime's optimizer moves integers through operators
// around pairs and adds operators, whether or not the opset has them in this form: DepthToSpace of uint8
// (13), Round (11).
inline constexpr int64_t kOpsetOfPairs = 13;

// Changes a configuration so that its runtime takes the results. Options that nobody chose are changed, and
// Config::adapted gets a sentence about each. Chosen options (Config::chosen) throw kInvalidArgument.
void adapt_to_runtime(Config& config);
// Whether it takes the operators that results of this mode, a scheme's or "auto", have in this form.
bool takes_form(const RuntimeRules& rules, std::string_view mode, std::string_view format);
// Whether it opens results of this mode.
bool takes_mode(const RuntimeRules& rules, std::string_view mode);

// The parts of a written model that the runtime does not take: a sentence for each broken rule, which names
// nodes. Empty: none. `opset_chosen`: as for onnx::write().
std::vector<std::string> broken_rules(const RuntimeRules& rules, const Model& written,
                                      int64_t opset_chosen = 0);

}  // namespace zp::quant
