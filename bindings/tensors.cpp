#include "tensors.h"

#include <emscripten/bind.h>

#include <utility>

#include "core/dtype.h"
#include "core/error.h"

namespace zp::bindings {

std::vector<std::string> strings_of(const val& object, Name key) {
  return emscripten::vecFromJSArray<std::string>(object[property(key)]);
}

Shape shape_of(const val& list) {
  Shape dims;
  for (const double d : emscripten::convertJSArrayToNumberVector<double>(list))
    dims.push_back(static_cast<int64_t>(d));
  return dims;
}

std::vector<runtime::Feed> feeds_of(const val& list) {
  std::vector<runtime::Feed> feeds;
  const auto count = field<unsigned>(list, "length");
  for (unsigned i = 0; i < count; ++i) {
    const val item = list[i];
    runtime::Feed feed;
    feed.name = field<std::string>(item, "name");
    const auto type = field<std::string>(item, "type");
    const DType dtype = dtype_named(type);
    Shape dims = shape_of(item[property("dims")]);
    if (dtype == DType::kUndefined) {
      throw_error(ErrorCode::kUnsupportedType, {"'", type, "' is not an element type"},
                  {.tensor = feed.name});
    }
    const int64_t elements = element_count(dims);
    if (dtype == DType::kString) {
      auto strings = strings_of(item, "strings");
      if (static_cast<int64_t>(strings.size()) != elements) {
        throw_error(ErrorCode::kInvalidFeed, {"a string for each element of ", dims, " is needed"},
                    {.tensor = feed.name});
      }
      feed.tensor = Tensor::of_strings(std::move(dims), std::move(strings));
    } else {
      const val data = item[property("bytes")];
      const size_t bytes = bytes_of(dtype, elements);
      const auto given = field<size_t>(data, "length");
      if (given != bytes) {
        throw_error(ErrorCode::kInvalidFeed, {type, dims, " takes ", bytes, " bytes, not ", given},
                    {.tensor = feed.name});
      }
      const std::shared_ptr<std::byte> storage = allocate_bytes(bytes, Clear::kSlack);
      view_of(storage.get(), bytes).call<void>("set", data);
      feed.tensor = Tensor(dtype, std::move(dims), storage);
    }
    feeds.push_back(std::move(feed));
  }
  return feeds;
}

val tensor_of(std::string_view name, const TensorView& tensor) {
  Object out;
  out.set("name", text(name));
  out.set("type", text(name_of(tensor.dtype)));
  out.set("dims", array_of(tensor.dims, [](int64_t d) { return number(d); }));
  if (tensor.dtype == DType::kString) {
    out.set("strings", array_of(strings_of(tensor), [](const std::string& s) { return text(s); }));
  } else {
    out.set("bytes", copied(tensor.data, bytes_of(tensor.dtype, element_count(tensor.dims))));
  }
  return out;
}

namespace {

val allocate(double size) {
  return answer([&] {
    if (!(size >= 0 && size < 4294967296.0)) {
      throw_error(ErrorCode::kOutOfMemory, "more than 4 GiB do not fit into the engine's memory");
    }
    return val(std::make_shared<Buffer>(static_cast<size_t>(size)));
  });
}
EMSCRIPTEN_BINDINGS(tensors) {
  emscripten::class_<Buffer>("Buffer")
      .smart_ptr<std::shared_ptr<Buffer>>("BufferPointer")
      .function("view", &Buffer::view);
  emscripten::function("allocate", &allocate);
}

}  // namespace
}  // namespace zp::bindings
