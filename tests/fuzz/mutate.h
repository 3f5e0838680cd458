// Mutations of a model file that know the form of its messages (onnx/schema.h): fields are dropped, doubled,
// swapped and copied within the tree of messages, names replaced by others of the file, operators by others
// that there are, numbers by telling ones. Bytes alone hardly ever make another model that can be read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "onnx/schema.h"
#include "ops/op.h"

namespace zp::fuzz {

class FileMutation {
 public:
  // As LLVMFuzzerCustomMutator: changes `data`, and gives its new size; 0: no tree, or it became too large.
  static size_t apply(uint8_t* data, size_t size, size_t most, unsigned seed) {
    FileMutation m(seed);
    std::optional<Fields> root = parse({reinterpret_cast<const char*>(data), size}, Kind::kModel);
    if (!root || root->empty()) return 0;
    m.collect(*root, Kind::kModel);
    for (int64_t changes = 1 + m.below(4); changes > 0; --changes) m.change(*root);
    const std::string out = written(*root);
    if (out.size() > most) return 0;
    std::memcpy(data, out.data(), out.size());
    return out.size();
  }

 private:
  enum class Kind : uint8_t {
    kModel,
    kOpset,
    kGraph,
    kNode,
    kAttribute,
    kTensor,
    kValue,
    kType,
    kTensorType,
    kShape,
    kDim,
    kLeaf
  };
  // What a text stands for: texts of one role can stand for each other.
  enum class Role : uint8_t { kNone, kValue, kOperator, kDomain, kAttribute, kText };
  struct Field;
  using Fields = std::vector<Field>;
  struct Field {
    uint32_t number = 0, wire = 0;
    uint64_t value = 0;  // wire 0, 1 and 5
    std::string bytes;   // wire 2, where there are no fields
    Kind kind = Kind::kLeaf;
    Fields fields;
  };
  struct Place {
    Fields* in;
    size_t at;
    Kind of;  // the message that it is a field of
    Field& field() const { return (*in)[at]; }
  };

  explicit FileMutation(unsigned seed) : random_(seed) {}
  int64_t below(int64_t count) { return std::uniform_int_distribution<int64_t>(0, count - 1)(random_); }

  static Kind kind_of(Kind in, uint32_t number) {
    using namespace onnx;
    static const std::map<std::pair<Kind, uint32_t>, Kind> kinds = {
        {{Kind::kModel, model_field::kGraph}, Kind::kGraph},
        {{Kind::kModel, model_field::kOpsetImport}, Kind::kOpset},
        {{Kind::kGraph, graph_field::kNode}, Kind::kNode},
        {{Kind::kGraph, graph_field::kInitializer}, Kind::kTensor},
        {{Kind::kGraph, graph_field::kInput}, Kind::kValue},
        {{Kind::kGraph, graph_field::kOutput}, Kind::kValue},
        {{Kind::kGraph, graph_field::kValueInfo}, Kind::kValue},
        {{Kind::kNode, node_field::kAttribute}, Kind::kAttribute},
        {{Kind::kAttribute, attribute_field::kTensor}, Kind::kTensor},
        {{Kind::kAttribute, attribute_field::kGraph}, Kind::kGraph},
        {{Kind::kValue, value_info_field::kType}, Kind::kType},
        {{Kind::kType, type_field::kTensor}, Kind::kTensorType},
        {{Kind::kTensorType, tensor_type_field::kShape}, Kind::kShape},
        {{Kind::kShape, shape_field::kDim}, Kind::kDim}};
    const auto found = kinds.find({in, number});
    return found == kinds.end() ? Kind::kLeaf : found->second;
  }
  static Role role_of(Kind in, uint32_t number) {
    using namespace onnx;
    static const std::map<std::pair<Kind, uint32_t>, Role> roles = {
        {{Kind::kNode, node_field::kInput}, Role::kValue},
        {{Kind::kNode, node_field::kOutput}, Role::kValue},
        {{Kind::kValue, value_info_field::kName}, Role::kValue},
        {{Kind::kTensor, tensor_field::kName}, Role::kValue},
        {{Kind::kNode, node_field::kOpType}, Role::kOperator},
        {{Kind::kNode, node_field::kDomain}, Role::kDomain},
        {{Kind::kOpset, opset_field::kDomain}, Role::kDomain},
        {{Kind::kAttribute, attribute_field::kName}, Role::kAttribute},
        {{Kind::kAttribute, attribute_field::kString}, Role::kText}};
    const auto found = roles.find({in, number});
    return found == roles.end() ? Role::kNone : found->second;
  }
  static bool is_list_of_integers(Kind in, uint32_t number) {
    return (in == Kind::kTensor && number == onnx::tensor_field::kDims) ||
           (in == Kind::kAttribute && number == onnx::attribute_field::kInts) ||
           (in == Kind::kTensor && number == onnx::tensor_field::kInt64Data);
  }

  // ---- bytes and trees

  static bool take(std::string_view& from, uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (from.empty()) return false;
      const auto byte = static_cast<uint8_t>(from[0]);
      from.remove_prefix(1);
      value |= uint64_t{byte & 127U} << shift;
      if (byte < 128) return true;
    }
    return false;
  }
  static void put(std::string& to, uint64_t value) {
    for (; value > 127; value >>= 7) to += static_cast<char>(value | 128);
    to += static_cast<char>(value);
  }

  static std::optional<Fields> parse(std::string_view from, Kind kind) {
    Fields fields;
    while (!from.empty()) {
      Field f;
      uint64_t tag = 0;
      if (!take(from, tag)) return std::nullopt;
      f.number = static_cast<uint32_t>(tag >> 3);
      f.wire = static_cast<uint32_t>(tag & 7);
      if (f.wire == 0) {
        if (!take(from, f.value)) return std::nullopt;
      } else if (f.wire == 1 || f.wire == 5) {
        const size_t bytes = f.wire == 1 ? 8 : 4;
        if (from.size() < bytes) return std::nullopt;
        std::memcpy(&f.value, from.data(), bytes);
        from.remove_prefix(bytes);
      } else if (f.wire == 2) {
        uint64_t size = 0;
        if (!take(from, size) || size > from.size()) return std::nullopt;
        const std::string_view inside = from.substr(0, size);
        from.remove_prefix(size);
        const Kind inner = kind_of(kind, f.number);
        std::optional<Fields> read = inner == Kind::kLeaf ? std::nullopt : parse(inside, inner);
        if (read) {
          f.kind = inner;
          f.fields = std::move(*read);
        } else {
          f.bytes = inside;
        }
      } else {
        return std::nullopt;
      }
      fields.push_back(std::move(f));
    }
    return fields;
  }

  static std::string written(const Fields& fields) {
    std::string out;
    for (const Field& f : fields) {
      put(out, uint64_t{f.number} << 3 | f.wire);
      if (f.wire == 0) put(out, f.value);
      if (f.wire == 1 || f.wire == 5)
        out.append(reinterpret_cast<const char*>(&f.value), f.wire == 1 ? 8 : 4);
      if (f.wire != 2) continue;
      const std::string inside = f.kind == Kind::kLeaf ? f.bytes : written(f.fields);
      put(out, inside.size());
      out += inside;
    }
    return out;
  }

  // ---- changes

  void collect(const Fields& fields, Kind kind) {
    for (const Field& f : fields) {
      if (const Role role = role_of(kind, f.number); role != Role::kNone && f.kind == Kind::kLeaf)
        texts_[role].push_back(f.bytes);
      if (f.kind != Kind::kLeaf) {
        messages_[f.kind].push_back(f);
        collect(f.fields, f.kind);
      }
    }
  }
  static void list(Fields& fields, Kind kind, std::vector<Place>& places) {
    for (size_t i = 0; i < fields.size(); ++i) {
      places.push_back({&fields, i, kind});
      if (fields[i].kind != Kind::kLeaf) list(fields[i].fields, fields[i].kind, places);
    }
  }

  std::string text_for(Role role) {
    if (role == Role::kValue && below(4) == 0) return "";  // left out
    if (role == Role::kOperator && below(2) == 0) {
      static const std::vector<const OpDef*> all = all_ops();
      return std::string(all[static_cast<size_t>(below(static_cast<int64_t>(all.size())))]->name);
    }
    if (role == Role::kDomain) return below(2) == 0 ? "" : std::string(kMicrosoft);
    const std::vector<std::string>& known = texts_[role];
    return known.empty() ? "" : known[static_cast<size_t>(below(static_cast<int64_t>(known.size())))];
  }

  uint64_t number_for(uint64_t before) {
    constexpr int64_t kTelling[] = {0, 1, -1, 2, 3, -2, 4, 5, 7, 8, 9, 10, 11, 13, 16, 17, 21, 127, 128, 255};
    constexpr int64_t kLarge[] = {65536, 2147483647, -2147483648, 9223372036854775807};
    switch (below(8)) {
      case 0:
        return before + 1;
      case 1:
        return before - 1;
      case 2:
        return static_cast<uint64_t>(kLarge[below(std::ssize(kLarge))]);
      default:
        return static_cast<uint64_t>(kTelling[below(std::ssize(kTelling))]);
    }
  }

  void change_list(std::string& packed) {
    std::vector<uint64_t> values;
    for (std::string_view rest = packed; !rest.empty();) {
      uint64_t value = 0;
      if (!take(rest, value)) return;
      values.push_back(value);
    }
    const auto at = static_cast<size_t>(below(static_cast<int64_t>(values.size()) + 1));
    if (at == values.size() || below(4) == 0) {
      values.insert(values.begin() + static_cast<std::ptrdiff_t>(at), number_for(1));
    } else if (below(3) == 0) {
      values.erase(values.begin() + static_cast<std::ptrdiff_t>(at));
    } else {
      values[at] = number_for(values[at]);
    }
    packed.clear();
    for (const uint64_t value : values) put(packed, value);
  }

  void change_content(const Place& place) {
    Field& f = place.field();
    if (f.kind != Kind::kLeaf) {  // as another of its kind
      const Fields& known = messages_[f.kind];
      const Field& other = known[static_cast<size_t>(below(static_cast<int64_t>(known.size())))];
      f.fields = Fields(other.fields);
    } else if (f.wire != 2) {
      f.value = number_for(f.value);
    } else if (const Role role = role_of(place.of, f.number); role != Role::kNone) {
      f.bytes = text_for(role);
    } else if (is_list_of_integers(place.of, f.number)) {
      change_list(f.bytes);
    } else if (!f.bytes.empty()) {
      f.bytes[static_cast<size_t>(below(static_cast<int64_t>(f.bytes.size())))] =
          static_cast<char>(below(256));
    }
  }

  void change(Fields& root) {
    std::vector<Place> places;
    list(root, Kind::kModel, places);
    if (places.empty()) return;
    // Rather in nodes, their attributes and what they read than in the frame around them.
    Place place = places[static_cast<size_t>(below(static_cast<int64_t>(places.size())))];
    for (int tries = 0; tries < 4 && (place.of == Kind::kModel || place.of == Kind::kOpset); ++tries)
      place = places[static_cast<size_t>(below(static_cast<int64_t>(places.size())))];
    Fields& in = *place.in;
    const auto at = in.begin() + static_cast<std::ptrdiff_t>(place.at);
    const auto anywhere = static_cast<size_t>(below(static_cast<int64_t>(in.size())));
    switch (below(8)) {
      case 0:
        in.erase(at);
        break;
      case 1: {
        Field copy = *at;
        in.insert(in.begin() + static_cast<std::ptrdiff_t>(anywhere), std::move(copy));
        break;
      }
      case 2:  // inputs change places, nodes their order
        if (in[anywhere].number == at->number) std::swap(in[anywhere], *at);
        break;
      default:
        change_content(place);
    }
  }

  std::minstd_rand random_;
  std::map<Role, std::vector<std::string>> texts_;  // of the file
  std::map<Kind, Fields> messages_;
};

}  // namespace zp::fuzz

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

// One in eight changes is one of bytes.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  const size_t made = seed % 8 == 0 ? 0 : zp::fuzz::FileMutation::apply(data, size, most, seed);
  return made > 0 ? made : LLVMFuzzerMutate(data, size, most);
}
