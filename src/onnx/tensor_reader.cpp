#include "onnx/tensor_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "graph/dim.h"
#include "onnx/external.h"
#include "onnx/onnx.h"
#include "onnx/schema.h"

namespace zp::onnx {
namespace {

// Types of ONNX that the engine does not have, by TensorProto.DataType.
constexpr std::pair<int64_t, const char*> kForeignTypes[] = {
    {14, "complex64"},
    {15, "complex128"},
    {27, "float6e2m3"},
    {28, "float6e3m2"},
};

// A tensor shares the file's bytes only if that saves memory worth an object that keeps the file alive.
constexpr size_t kTinyBytes = 64;

using Blocks = std::vector<std::string_view>;

[[noreturn]] void fail(const std::string& tensor, const Text& problem, std::string_view hint = {}) {
  throw_error(ErrorCode::kInvalidModel, {"tensor '", printable(tensor), "' ", problem.str()},
              {.tensor = tensor, .hint = hint});
}

size_t alignment_of(DType type) { return std::max<size_t>(1, static_cast<size_t>(bits_of(type)) / 8); }

// The field of TensorProto that holds elements of `type` when raw_data does not.
uint32_t typed_field(DType type) {
  switch (type) {
    case DType::kFloat32:
      return tensor_field::kFloatData;
    case DType::kFloat64:
      return tensor_field::kDoubleData;
    case DType::kInt64:
      return tensor_field::kInt64Data;
    case DType::kUint32:
    case DType::kUint64:
      return tensor_field::kUint64Data;
    default:
      return tensor_field::kInt32Data;
  }
}

// `data` is the tensor's bytes inside the file, behind `from`, where bytes that are no longer needed begin.
Tensor place(DType type, Shape dims, const char* from, std::string_view data, const File& file) {
  std::byte* const base = file.bytes.get();
  size_t offset = static_cast<size_t>(data.data() - reinterpret_cast<const char*>(base));
  const size_t first = static_cast<size_t>(from - reinterpret_cast<const char*>(base));
  const size_t too_far = reinterpret_cast<uintptr_t>(base + offset) % alignment_of(type);
  const bool shares = data.size() >= kTinyBytes && file.size - offset - data.size() >= kReadSlack &&
                      offset - first >= too_far;
  if (!shares) {
    Tensor copy(type, std::move(dims));
    if (!data.empty()) std::memcpy(copy.mutable_raw(), data.data(), data.size());
    return copy;
  }
  if (too_far != 0) {
    std::memmove(base + offset - too_far, base + offset, data.size());
    offset -= too_far;
  }
  return {type, std::move(dims), std::shared_ptr<const std::byte>(file.bytes, base + offset)};
}

// Any byte but 0 is true, and C++ has no other value for true than 1.
Tensor normalized_bools(Tensor tensor) {
  auto* const bytes = reinterpret_cast<uint8_t*>(tensor.mutable_raw());
  for (size_t i = 0; i < tensor.bytes(); ++i) bytes[i] = bytes[i] != 0;
  return tensor;
}

template <class T>
void store(std::byte* to, size_t i, int64_t value) {
  const T element = static_cast<T>(value);
  std::memcpy(to + i * sizeof(T), &element, sizeof(T));
}

// Varints into elements. Each of int32_data's numbers holds one element, or one byte of packed elements.
Tensor from_varints(DType type, Shape dims, const Blocks& blocks, size_t entries, const std::string& name) {
  struct Form {
    int64_t min, max;
    void (*store)(std::byte*, size_t, int64_t);
  };
  const auto form_of = [](DType t) -> Form {
    switch (t) {
      case DType::kBool:
        return {INT32_MIN, INT32_MAX,
                [](std::byte* to, size_t i, int64_t v) { store<uint8_t>(to, i, v != 0); }};
      case DType::kInt8:
        return {-128, 127, store<int8_t>};
      case DType::kUint8:
        return {0, 255, store<uint8_t>};
      case DType::kInt16:
        return {-32768, 32767, store<int16_t>};
      case DType::kUint16:
      case DType::kFloat16:
      case DType::kBfloat16:
        return {0, 65535, store<uint16_t>};
      case DType::kInt32:
        return {INT32_MIN, INT32_MAX, store<int32_t>};
      case DType::kUint32:
        return {0, UINT32_MAX, store<uint32_t>};
      case DType::kInt64:
      case DType::kUint64:
        return {INT64_MIN, INT64_MAX, store<int64_t>};  // int64, and the bits of uint64
      default:                                          // small floats, and bytes of packed elements
        return {-128, 255, store<uint8_t>};             // which may have been sign-extended
    }
  };
  const Form form = form_of(type);
  // Counted before anything is allocated: dimensions may be huge where data is not. A varint ends at a byte <
  // 128.
  size_t found = 0;
  for (std::string_view block : blocks)
    found += static_cast<size_t>(std::ranges::count_if(block, [](char c) { return c >= 0; }));
  if (found != entries) {
    fail(name, {"should have ", entries, " numbers by its dimensions ", dims, ", but has ", found});
  }
  Tensor tensor(type, std::move(dims));
  std::byte* const to = tensor.mutable_raw();
  size_t i = 0;
  int64_t wrong = 0;
  bool in_range = true;
  for (std::string_view block : blocks) {
    const bool whole = for_each_varint(block, [&](int64_t v) {
      if (v < form.min || v > form.max) in_range = false, wrong = v;
      if (i < entries) form.store(to, i++, v);
    });
    if (!whole) fail(name, "has a number that is cut off");
  }
  if (!in_range) fail(name, {"has the element ", wrong, ", which is no ", name_of(type)});
  return tensor;
}

}  // namespace

DType element_type(int64_t data_type, const std::string& tensor) {
  for (const auto& [number, foreign] : kForeignTypes) {
    if (number == data_type) {
      throw_error(ErrorCode::kUnsupportedType,
                  {"'", printable(tensor), "' has the element type ", foreign, ", which is not supported"},
                  {.tensor = tensor, .hint = "export the model with other floats, or integers"});
    }
  }
  if (data_type <= 0 || data_type > static_cast<int64_t>(DType::kInt2)) {
    throw_error(
        ErrorCode::kInvalidModel,
        {"'", printable(tensor), "' has the element type ", data_type, ", which ONNX does not define"},
        {.tensor = tensor});
  }
  return static_cast<DType>(data_type);
}

uint64_t data_bytes(DType type, const Shape& dims, const std::string& tensor) {
  if (dims.size() > kMaxRank)
    fail(tensor, {"has ", dims.size(), " dimensions; at most ", kMaxRank, " are supported"});
  int64_t elements = 0;
  try {
    elements = element_count(dims);
  } catch (const Error& e) {
    fail(tensor, {"has impossible dimensions: ", e.what()});
  }
  return (static_cast<uint64_t>(elements) * static_cast<uint64_t>(bits_of(type)) + 7) / 8;
}

namespace {

// A TensorProto as it lies in the file, unchecked.
struct TensorFields {
  std::string name;
  Shape dims;
  int64_t data_type = 0;
  Blocks float_data, int32_data, string_data, int64_data, double_data, uint64_data;
  std::string_view raw;
  ExternalFields external;
  bool has_raw = false, segment = false, dims_whole = true, two_raws = false;

  explicit TensorFields(Message message);
  struct Numbers {
    uint32_t field;
    const Blocks& blocks;
  };
  std::array<Numbers, 6> numbers() const {
    return {{{tensor_field::kFloatData, float_data},
             {tensor_field::kInt32Data, int32_data},
             {tensor_field::kStringData, string_data},
             {tensor_field::kInt64Data, int64_data},
             {tensor_field::kDoubleData, double_data},
             {tensor_field::kUint64Data, uint64_data}}};
  }
};

TensorFields::TensorFields(Message message) {
  while (message.next()) {
    switch (message.tag()) {
      case tensor_field::kDims:
        dims_whole &= for_each_varint(message.repeated_varint(), [&](int64_t d) { dims.push_back(d); });
        break;
      case tensor_field::kDataType:
        data_type = message.integer();
        break;
      case tensor_field::kSegment:
        message.skip(), segment = true;
        break;
      case tensor_field::kFloatData:
        float_data.push_back(message.repeated_fixed(4));
        break;
      case tensor_field::kInt32Data:
        int32_data.push_back(message.repeated_varint());
        break;
      case tensor_field::kStringData:
        string_data.push_back(message.bytes());
        break;
      case tensor_field::kInt64Data:
        int64_data.push_back(message.repeated_varint());
        break;
      case tensor_field::kName:
        name = message.bytes();
        break;
      case tensor_field::kRawData:
        two_raws |= has_raw;
        has_raw = true;
        raw = message.bytes();
        break;
      case tensor_field::kDoubleData:
        double_data.push_back(message.repeated_fixed(8));
        break;
      case tensor_field::kUint64Data:
        uint64_data.push_back(message.repeated_varint());
        break;
      case tensor_field::kExternalData:
        external.add(message.message("StringStringEntryProto"));
        break;
      case tensor_field::kDataLocation:
        external.set_place(message.integer());
        break;
      default:
        message.skip();
    }
  }
}

// The numbers in the field of the type. Throws where another field has numbers, or where there is raw data
// too.
const Blocks& numbers_of(const TensorFields& t, DType type, const std::string& shown) {
  const uint32_t field = typed_field(type);
  const Blocks* typed = nullptr;
  for (const auto& list : t.numbers()) {
    if (list.field == field) typed = &list.blocks;
    const bool filled = std::ranges::any_of(list.blocks, [](std::string_view b) { return !b.empty(); });
    if (filled && (t.has_raw || list.field != field)) {
      fail(shown, t.has_raw ? "has its data twice, raw and as numbers"
                            : "of type " + std::string(name_of(type)) +
                                  " has its data in the field of another type");
    }
  }
  return *typed;
}

Tensor in_another_file(TensorFields& t, DType type, uint64_t bytes, const File& file,
                       const std::string& shown) {
  const bool here =
      t.has_raw || std::ranges::any_of(t.numbers(), [](const auto& list) { return !list.blocks.empty(); });
  if (here) fail(shown, "has its data twice, in the model and in another file");
  const ExternalPiece piece = t.external.piece(shown, bytes);
  if (bytes == 0) return {type, std::move(t.dims)};
  if (!file.external) fail(shown, {"lies in the file '", printable(piece.location), "', which is not there"});
  Tensor tensor = file.external->tensor(piece, type, std::move(t.dims));
  // Other tensors may have the same bytes.
  return type == DType::kBool ? normalized_bools(Tensor::copy_of(tensor.view())) : tensor;
}

// `bytes`: of the type and the dimensions. `begin`: of the message.
Tensor in_this_file(TensorFields& t, DType type, uint64_t bytes, const Blocks& numbers, const char* begin,
                    const File& file, const std::string& shown) {
  const auto require_bytes = [&](uint64_t found) {
    if (found != bytes) {
      fail(shown, {"should have ", bytes, " bytes by its type ", name_of(type), " and dimensions ", t.dims,
                   ", but has ", found});
    }
  };
  if (t.has_raw) {
    require_bytes(t.raw.size());
    Tensor tensor = place(type, std::move(t.dims), begin, t.raw, file);
    return type == DType::kBool ? normalized_bools(std::move(tensor)) : tensor;
  }
  if (type == DType::kFloat32 || type == DType::kFloat64) {
    uint64_t found = 0;
    for (std::string_view block : numbers) found += block.size();
    require_bytes(found);
    if (numbers.size() == 1) return place(type, std::move(t.dims), begin, numbers.front(), file);
    Tensor tensor(type, std::move(t.dims));
    std::byte* to = tensor.mutable_raw();
    for (std::string_view block : numbers) {
      std::memcpy(to, block.data(), block.size());
      to += block.size();
    }
    return tensor;
  }
  const uint64_t entries = bits_of(type) < 8 ? bytes : static_cast<uint64_t>(element_count(t.dims));
  return from_varints(type, std::move(t.dims), numbers, static_cast<size_t>(entries), shown);
}

}  // namespace

NamedTensor read_tensor_message(Message message, const File& file, const std::string& otherwise_named) {
  TensorFields t(message);
  const std::string& shown = t.name.empty() ? otherwise_named : t.name;
  if (!valid_utf8(t.name)) fail(printable(t.name), "has a name that is not UTF-8");
  if (t.segment)
    fail(shown, "is a segment of a tensor, which is not supported",
         "save the model with its weights in one piece");
  if (t.two_raws || !t.dims_whole)
    fail(shown, t.two_raws ? "has its data twice" : "has a dimension that is cut off");
  const DType type = element_type(t.data_type, shown);
  const uint64_t bytes = data_bytes(type, t.dims, shown);
  if (type == DType::kString) {
    if (t.external.given()) fail(shown, "is made of strings, which cannot lie in another file");
    if (const auto count = static_cast<uint64_t>(element_count(t.dims)); t.string_data.size() != count) {
      fail(shown, {"should have ", count, " strings by its dimensions ", t.dims, ", but has ",
                   t.string_data.size()});
    }
    return {std::move(t.name),
            Tensor::of_strings(std::move(t.dims), {t.string_data.begin(), t.string_data.end()})};
  }
  if (bytes > std::numeric_limits<size_t>::max() / 2) fail(shown, {"is too large: ", t.dims});
  const Blocks& numbers = numbers_of(t, type, shown);
  Tensor tensor = t.external.given() ? in_another_file(t, type, bytes, file, shown)
                                     : in_this_file(t, type, bytes, numbers, message.begin(), file, shown);
  return {std::move(t.name), std::move(tensor)};
}

Tensor read_tensor(std::shared_ptr<std::byte> bytes, size_t size) {
  const Message message(reinterpret_cast<const char*>(bytes.get()), size, "TensorProto");
  return read_tensor_message(message, {std::move(bytes), size}, "tensor").tensor;
}

}  // namespace zp::onnx
