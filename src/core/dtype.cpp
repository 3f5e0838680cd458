#include "core/dtype.h"

#include <limits>
#include <string>

#include "core/error.h"

namespace zp {
namespace {

struct Row {
  DType type;
  int bits;
  std::string_view name;
};

constexpr int kAddressBits = 8 * sizeof(const std::string*);

constexpr Row kRows[] = {
    {DType::kUndefined, 0, "undefined"},
    {DType::kFloat32, 32, "float32"},
    {DType::kUint8, 8, "uint8"},
    {DType::kInt8, 8, "int8"},
    {DType::kUint16, 16, "uint16"},
    {DType::kInt16, 16, "int16"},
    {DType::kInt32, 32, "int32"},
    {DType::kInt64, 64, "int64"},
    {DType::kString, kAddressBits, "string"},
    {DType::kBool, 8, "bool"},
    {DType::kFloat16, 16, "float16"},
    {DType::kFloat64, 64, "float64"},
    {DType::kUint32, 32, "uint32"},
    {DType::kUint64, 64, "uint64"},
    {DType::kBfloat16, 16, "bfloat16"},
    {DType::kUint4, 4, "uint4"},
    {DType::kInt4, 4, "int4"},
    {DType::kUint2, 2, "uint2"},
    {DType::kInt2, 2, "int2"},
};

const Row& row_of(DType type) {
  for (const Row& row : kRows)
    if (row.type == type) return row;
  return kRows[0];
}

}  // namespace

int bits_of(DType type) { return row_of(type).bits; }

size_t bytes_of(DType type, int64_t count) {
  constexpr uint64_t kRoom = 256;  // for alignment and read slack around the bytes
  constexpr uint64_t kMost = std::numeric_limits<size_t>::max() - kRoom;
  const uint64_t bits = static_cast<uint64_t>(bits_of(type));
  const uint64_t bytes = count <= 0 ? 0 : (static_cast<uint64_t>(count) * bits + 7) / 8;
  if (count > (int64_t{1} << 40) || bytes > kMost) {
    throw_error(ErrorCode::kOutOfMemory,
                {count, " elements of type ", name_of(type), " do not fit into memory"},
                {.hint = "use a smaller input or batch"});
  }
  return static_cast<size_t>(bytes);
}

std::string_view name_of(DType type) { return row_of(type).name; }

DType dtype_named(std::string_view name) {
  for (const Row& row : kRows)
    if (row.name == name) return row.type;
  return DType::kUndefined;
}

IntegerRange integer_range(DType type) {
  switch (type) {
    case DType::kUint2:
      return {0, 3};
    case DType::kInt2:
      return {-2, 1};
    case DType::kUint4:
      return {0, 15};
    case DType::kInt4:
      return {-8, 7};
    case DType::kUint8:
      return {0, 255};
    case DType::kInt8:
      return {-128, 127};
    case DType::kUint16:
      return {0, 65535};
    case DType::kInt16:
      return {-32768, 32767};
    case DType::kInt32:
      return {std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
    default:
      throw_error(ErrorCode::kUnsupportedType,
                  {"'", name_of(type), "' is not a type that quantized values can have"});
  }
}

bool is_signed_integer(DType type) {
  switch (type) {
    case DType::kInt2:
    case DType::kInt4:
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
      return true;
    default:
      return false;
  }
}

}  // namespace zp
