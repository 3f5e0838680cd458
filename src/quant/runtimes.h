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
  std::string_view checked;     // what our files were checked with for it
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
  // Operators of com.microsoft that it takes, after spaces; "*": all. Of other domains it takes none but its
  // own.
  std::string_view contrib;

  // It makes floats, in each run, of constants behind a DequantizeLinear that no operator on integers takes:
  // weights of layers in float, tables before rows are picked, and weights that branches read.
  bool dequantizes_in_runs = false;
  // Operators of which it makes one node with the pair of a matrix of weights, beside floats; after spaces.
  std::string_view joins_weights = "";

  // It multiplies floats faster than floats with integers. So weights become floats when a file is loaded, as
  // long as all of a model's are no more than so many bytes of floats then; beyond, products keep integers.
  int64_t floats_at_load = 0;

  // It computes attention as one operator, faster than its products in integers and what is between them.
  bool fused = false;

  bool falls_back;  // it takes the file all the same: nodes of others run on the CPU

  // Operators that it computes in integers where 8-bit pairs stand around them, after spaces; "*": those that
  // this package does. Others it computes in float between the pairs.
  std::string_view fuses = "*";
  // Of the products among them, those that may leave floats: all others have to be rounded, or run in float.
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
// around pairs and adds others, as if the opset were one that has them so: DepthToSpace of uint8 (13), Round
// (11).
inline constexpr int64_t kOpsetOfPairs = 13;

// Changes a configuration so that its runtime takes the results. Options that nobody chose are changed, and a
// sentence about each goes to Config::adapted. Chosen options (Config::chosen) throw kInvalidArgument.
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
