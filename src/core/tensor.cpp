#include "core/tensor.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/element_types.h"
#include "core/elements.h"
#include "core/error.h"

namespace zp {

int64_t element_count(std::span<const int64_t> dims) {
  constexpr int64_t kLimit = int64_t{1} << 40;
  int64_t count = 1;
  bool empty = false;
  for (int64_t d : dims) {
    if (d < 0) throw_error(ErrorCode::kShapeMismatch, {"negative dimension in ", dims});
    if (d == 0) {
      empty = true;
      continue;
    }
    if (count > kLimit / d) throw_error(ErrorCode::kShapeMismatch, {"too many elements in ", dims});
    count *= d;
  }
  return empty ? 0 : count;
}

std::string to_string(std::span<const int64_t> dims) {
  std::string s = "[";
  for (size_t i = 0; i < dims.size(); ++i) s += (i ? ", " : "") + std::to_string(dims[i]);
  return s + "]";
}

std::shared_ptr<std::byte> allocate_bytes(size_t bytes, Clear clear) {
  constexpr std::align_val_t kAlign{kAlignment};
  auto* p = static_cast<std::byte*>(::operator new(bytes + kReadSlack, kAlign, std::nothrow));
  if (!p) {
    throw_error(ErrorCode::kOutOfMemory, {"no memory for ", bytes, " bytes"},
                {.hint = "use a smaller input or batch, or close other sessions"});
  }
  const size_t kept = clear == Clear::kAll ? 0 : bytes;
  std::memset(p + kept, 0, bytes + kReadSlack - kept);
  return {p, [](std::byte* q) { ::operator delete(q, kAlign); }};
}

Tensor::Tensor(DType dtype, Shape dims) : dtype_(dtype), dims_(std::move(dims)), size_(element_count(dims_)) {
  data_ = allocate_bytes(bytes());
}

Tensor::Tensor(DType dtype, Shape dims, std::shared_ptr<const std::byte> data)
    : dtype_(dtype), dims_(std::move(dims)), size_(element_count(dims_)), data_(std::move(data)) {}

Tensor::Tensor(DType dtype, Shape dims, std::shared_ptr<const FileBytes> file)
    : dtype_(dtype), dims_(std::move(dims)), size_(element_count(dims_)), file_(std::move(file)) {}

void Tensor::read() const { data_ = file_->bytes(); }

Tensor kept_beside(const Tensor& source, Tensor made) {
  constexpr size_t kLarge = size_t{64} << 10;
  if (!source.file() || made.file() || made.dtype() == DType::kString || made.bytes() < kLarge) return made;
  std::shared_ptr<const FileBytes> file = source.file()->put({made.raw(), made.bytes()});
  if (!file) return made;
  return {made.dtype(), made.dims(), std::move(file)};
}

std::vector<Tensor> FileBytes::noted(const std::string&) const { return {}; }
void FileBytes::note(const std::string&, std::span<const Tensor>) const {}

std::vector<Tensor> made_beside(const Tensor& source, std::string_view how,
                                FunctionRef<std::vector<Tensor>()> make) {
  if (!source.file()) return make();
  const std::string name =
      std::string(how).append(" of ").append(name_of(source.dtype())) + to_string(source.dims());
  std::vector<Tensor> made = source.file()->noted(name);
  if (!made.empty()) return made;
  made = make();
  for (Tensor& t : made) t = kept_beside(source, std::move(t));
  source.file()->note(name, made);
  return made;
}

Tensor Tensor::of_strings(Shape dims, std::vector<std::string> values) {
  Tensor t(DType::kString, std::move(dims));
  values.resize(static_cast<size_t>(t.size_));
  t.strings_ = std::make_shared<const std::vector<std::string>>(std::move(values));
  auto* addresses = reinterpret_cast<const std::string**>(t.mutable_raw());
  for (const std::string& s : *t.strings_) *addresses++ = &s;
  return t;
}

const std::vector<std::string>& Tensor::strings() const {
  static const std::vector<std::string> kNone;
  return strings_ ? *strings_ : kNone;
}

std::string_view string_at(const std::byte* data, int64_t i) {
  const std::string* s = reinterpret_cast<const std::string* const*>(data)[i];
  return s ? std::string_view(*s) : std::string_view();
}

std::vector<std::string> strings_of(const TensorView& view) {
  std::vector<std::string> values(static_cast<size_t>(element_count(view.dims)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = string_at(view.data, static_cast<int64_t>(i));
  return values;
}

Tensor Tensor::copy_of(const TensorView& view) {
  if (view.dtype == DType::kString) {
    return of_strings(Shape(view.dims.begin(), view.dims.end()), strings_of(view));
  }
  Tensor copy(view.dtype, Shape(view.dims.begin(), view.dims.end()));
  std::memcpy(copy.mutable_raw(), view.data, copy.bytes());
  return copy;
}

Tensor Tensor::reshaped(Shape dims) const {
  if (element_count(dims) != size_) {
    throw_error(ErrorCode::kShapeMismatch, {"cannot view ", dims_, " as ", dims});
  }
  Tensor t = *this;
  t.dims_ = std::move(dims);
  return t;
}

void Tensor::check_type(DType type) const {
  if (type != dtype_) {
    throw_error(ErrorCode::kInternal, {"a ", name_of(dtype_), " tensor was read as ", name_of(type)});
  }
}

int64_t Tensor::integer_at(int64_t i) const {
  int64_t value = 0;
  const auto read = [&]<class T>(Element<T>) {
    T v;
    std::memcpy(&v, raw() + static_cast<size_t>(i) * sizeof(T), sizeof(T));
    value = static_cast<int64_t>(v);
  };
  if (visit(dtype_ == DType::kBool ? DType::kUint8 : dtype_, IntegerTypes(), read)) return value;
  if (bits_of(dtype_) >= 8 || is_float(dtype_) || !defined()) {
    throw_error(ErrorCode::kUnsupportedType, {"integers were expected, not ", name_of(dtype_)});
  }
  load_elements(raw(), dtype_, i, 1, &value);
  return value;
}

Extremes extremes_of(std::span<const float> x) {
  if (x.empty()) return {};
  // Eight lanes of their own let the compiler use vectors without reordering what it may not reorder. x - x
  // is 0 for finite numbers and NaN for all others.
  constexpr size_t kLanes = 8;
  std::array<float, kLanes> lo, hi, bad;
  lo.fill(x[0]), hi.fill(x[0]), bad.fill(0);
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) {
      const float v = x[i + l];
      lo[l] = v < lo[l] ? v : lo[l];
      hi[l] = v > hi[l] ? v : hi[l];
      bad[l] += v - v;
    }
  }
  for (; i < x.size(); ++i) {
    lo[0] = std::min(lo[0], x[i]);
    hi[0] = std::max(hi[0], x[i]);
    bad[0] += x[i] - x[i];
  }
  Extremes found{.lo = lo[0], .hi = hi[0]};
  float sum = 0;
  for (size_t l = 0; l < kLanes; ++l) {
    found.lo = std::min(found.lo, lo[l]);
    found.hi = std::max(found.hi, hi[l]);
    sum += bad[l];
  }
  found.finite = sum == 0;
  return found;
}

Extremes extremes_of(const Tensor& tensor) {
  std::optional<Extremes>* noted = tensor.file() ? &tensor.file()->extremes_ : nullptr;
  if (noted && *noted) return **noted;
  const Glance glance(tensor);
  const Extremes found = extremes_of(tensor.data<float>());
  if (noted) *noted = found;
  return found;
}

std::vector<int64_t> Tensor::integers() const {
  std::vector<int64_t> v(static_cast<size_t>(size_));
  if (v.empty()) return v;
  const Glance glance(*this);
  v[0] = integer_at(0);  // or says that these are no integers
  load_elements(raw(), dtype_ == DType::kBool ? DType::kUint8 : dtype_, 0, size_, v.data());
  return v;
}

std::vector<float> Tensor::floats() const {
  const Glance glance(*this);
  std::vector<float> v(static_cast<size_t>(size_));
  const auto convert = [&]<class T>(auto&& to_float, T) {
    for (size_t i = 0; i < v.size(); ++i) {
      T e;
      std::memcpy(&e, raw() + i * sizeof(T), sizeof(T));
      v[i] = to_float(e);
    }
  };
  switch (dtype_) {
    case DType::kFloat32:
      if (!v.empty()) std::memcpy(v.data(), raw(), v.size() * sizeof(float));
      break;
    case DType::kFloat64:
      convert([](double d) { return static_cast<float>(d); }, double{});
      break;
    case DType::kFloat16:
      convert(half_to_float, uint16_t{});
      break;
    case DType::kBfloat16:
      convert(bfloat16_to_float, uint16_t{});
      break;
    default:
      if (is_float(dtype_)) {
        for (size_t i = 0; i < v.size(); ++i) {
          double e;
          load_elements(raw(), dtype_, static_cast<int64_t>(i), 1, &e);
          v[i] = static_cast<float>(e);
        }
        break;
      }
      for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(integer_at(static_cast<int64_t>(i)));
  }
  return v;
}

float half_to_float(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 31u;
  const uint32_t mantissa = h & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t float_to_half(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x47800000u - 0x1000u)
    return static_cast<uint16_t>(sign | 0x7c00u);  // >= 65520 rounds to inf
  if (magnitude < 0x38800000u) {                   // below the smallest normal half: count in units of 2^-24
    const float units = std::bit_cast<float>(magnitude) * 0x1p24f;
    // Adding 2^23 leaves the integer in the mantissa, rounded half to even.
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(units + 0x1p23f) & 0x7ffu));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace zp
