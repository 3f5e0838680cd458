#include "core/dtype.h"

#include <limits>
#include <string>

#include "core/error.h"

namespace zp {
namespace {

enum class Kind : uint8_t { kNone, kFloat, kSigned, kUnsigned, kBool, kString };

// What is to know of an element type: one row for each.
struct ElementType {
  DType type;
  Kind kind;
  int bits;
  std::string_view name;
};

constexpr int kAddressBits = 8 * sizeof(const std::string*);

constexpr ElementType kElementTypes[] = {
    {DType::kUndefined, Kind::kNone, 0, "undefined"},
    {DType::kFloat32, Kind::kFloat, 32, "float32"},
    {DType::kUint8, Kind::kUnsigned, 8, "uint8"},
    {DType::kInt8, Kind::kSigned, 8, "int8"},
    {DType::kUint16, Kind::kUnsigned, 16, "uint16"},
    {DType::kInt16, Kind::kSigned, 16, "int16"},
    {DType::kInt32, Kind::kSigned, 32, "int32"},
    {DType::kInt64, Kind::kSigned, 64, "int64"},
    {DType::kString, Kind::kString, kAddressBits, "string"},
    {DType::kBool, Kind::kBool, 8, "bool"},
    {DType::kFloat16, Kind::kFloat, 16, "float16"},
    {DType::kFloat64, Kind::kFloat, 64, "float64"},
    {DType::kUint32, Kind::kUnsigned, 32, "uint32"},
    {DType::kUint64, Kind::kUnsigned, 64, "uint64"},
    {DType::kBfloat16, Kind::kFloat, 16, "bfloat16"},
    {DType::kFloat8E4M3FN, Kind::kFloat, 8, "float8e4m3fn"},
    {DType::kFloat8E4M3FNUZ, Kind::kFloat, 8, "float8e4m3fnuz"},
    {DType::kFloat8E5M2, Kind::kFloat, 8, "float8e5m2"},
    {DType::kFloat8E5M2FNUZ, Kind::kFloat, 8, "float8e5m2fnuz"},
    {DType::kUint4, Kind::kUnsigned, 4, "uint4"},
    {DType::kInt4, Kind::kSigned, 4, "int4"},
    {DType::kFloat4E2M1, Kind::kFloat, 4, "float4e2m1"},
    {DType::kFloat8E8M0, Kind::kFloat, 8, "float8e8m0"},
    {DType::kUint2, Kind::kUnsigned, 2, "uint2"},
    {DType::kInt2, Kind::kSigned, 2, "int2"},
};

const ElementType& element_type_of(DType type) {
  for (const ElementType& row : kElementTypes)
    if (row.type == type) return row;
  return kElementTypes[0];
}

}  // namespace

int bits_of(DType type) { return element_type_of(type).bits; }

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

std::string_view name_of(DType type) { return element_type_of(type).name; }

DType dtype_named(std::string_view name) {
  for (const ElementType& row : kElementTypes)
    if (row.name == name) return row.type;
  return DType::kUndefined;
}

IntegerRange integer_range(DType type) {
  const auto [dtype, kind, bits, name] = element_type_of(type);
  const bool is_signed = kind == Kind::kSigned;
  // Of 32 bits only those that biases have.
  if (!(is_signed && bits <= 32) && !(kind == Kind::kUnsigned && bits <= 16)) {
    throw_error(ErrorCode::kUnsupportedType, {"'", name, "' is not a type that quantized values can have"});
  }
  const int64_t half = int64_t{1} << (bits - 1);
  return is_signed ? IntegerRange{static_cast<int32_t>(-half), static_cast<int32_t>(half - 1)}
                   : IntegerRange{0, static_cast<int32_t>(2 * half - 1)};
}

bool is_signed_integer(DType type) { return element_type_of(type).kind == Kind::kSigned; }
bool is_float(DType type) { return element_type_of(type).kind == Kind::kFloat; }

}  // namespace zp
