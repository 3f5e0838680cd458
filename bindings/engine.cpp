// The Embind surface: what JavaScript can ask of the engine. Thin on purpose: it translates arguments, calls
// one door of the engine, and translates the answer. bindings/ts/engine/module.ts is the same surface as
// TypeScript sees it.
//
// No call throws into JavaScript: each answers { value } or { error: { code, message, node, op, tensor, hint
// } }. Files come in through Buffer, filled once by JavaScript and then owned by the engine; tensors come in
// and bytes go out as copies.
#include <emscripten/bind.h>
#include <emscripten/heap.h>
#include <emscripten/val.h>
#include <malloc.h>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/function.h"
#include "core/tensor.h"
#include "graph/graph.h"
#include "kernels/isa.h"
#include "kernels/probe.h"
#include "onnx/onnx.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "quant/format.h"
#include "quant/qdq.h"
#include "quant/quant.h"
#include "quant/report.h"
#include "quant/runtimes.h"
#include "runtime/prepare.h"
#include "runtime/session.h"

namespace zp {
namespace {

using emscripten::val;

// ------------------------------------------------------------------------------------------------ answers

val text(std::string_view s) { return val(std::string(s)); }

// The name of a property: a literal.
struct Name {
  consteval Name(const char* name) : text(name) {}  // NOLINT(google-explicit-constructor): it is one
  const char* text;
};

// As a JavaScript string, brought there once.
const val& property(Name name) {
  static auto& names = *new std::map<const char*, val>;
  auto it = names.find(name.text);
  if (it == names.end()) it = names.emplace(name.text, val(name.text)).first;
  return it->second;
}

// A new JavaScript object. Its functions are not inlined: Embind's own are templates over the lengths of
// names.
class Object {
 public:
  [[gnu::noinline]] void set(Name key, const val& value) { object_.set(property(key), value); }
  [[gnu::noinline]] void set(Name key, double value) { set(key, val(value)); }
  [[gnu::noinline]] void set(Name key, bool value) { set(key, val(value)); }
  [[gnu::noinline]] void set(Name key, std::string_view value) { set(key, text(value)); }
  void set(Name key, const char* value) { set(key, std::string_view(value)); }  // not as a bool
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  void set(Name key, T value) {
    set(key, static_cast<double>(value));
  }
  void set_named(const std::string& key, const val& value) { object_.set(key, value); }
  operator const val&() const { return object_; }  // NOLINT(google-explicit-constructor): it is one

 private:
  val object_ = val::object();
};

class Array {
 public:
  [[gnu::noinline]] void push(const val& value) { array_.set(size_++, value); }
  operator const val&() const { return array_; }  // NOLINT(google-explicit-constructor): it is one

 private:
  val array_ = val::array();
  unsigned size_ = 0;
};

template <class T>
[[gnu::noinline]] T field(const val& object, Name key) {
  return object[property(key)].as<T>();
}

val failure(ErrorCode code, std::string_view message, const ErrorDetails& details = {}) {
  Object error;
  error.set("code", name_of(code));
  error.set("message", message);
  error.set("node", details.node);
  error.set("op", details.op);
  error.set("tensor", details.tensor);
  error.set("hint", details.hint);
  Object answer;
  answer.set("error", error);
  return answer;
}

val answer_of(FunctionRef<val()> body) {
  try {
    Object result;
    result.set("value", body());
    return result;
  } catch (const Error& e) {
    return failure(e.code(), e.what(), e.details());
  } catch (const std::bad_alloc&) {
    return failure(
        ErrorCode::kOutOfMemory, "the engine is out of memory",
        {.hint = "use a smaller input or batch, or dispose of models and sessions that are not needed"});
  } catch (const std::exception& e) {
    return failure(ErrorCode::kInternal, e.what(), {.hint = "please report this, with the model if you can"});
  }
}

// Runs `body` and answers with what it returns, or with the error it throws.
template <class Body>
val answer(Body&& body) {
  return answer_of([&]() -> val {
    if constexpr (std::is_void_v<std::invoke_result_t<Body>>) {
      body();
      return val::undefined();
    } else {
      return body();
    }
  });
}

template <class T, class F>
val array_of(const T& items, F&& convert) {
  Array list;
  for (const auto& item : items) list.push(convert(item));
  return list;
}

val number(int64_t n) { return val(static_cast<double>(n)); }

// The engine's bytes as a Uint8Array.
val view_of(const std::byte* data, size_t bytes) {
  return val(
      emscripten::typed_memory_view(bytes, reinterpret_cast<const unsigned char*>(data)));  // NOLINT: bytes
}

// A copy in JavaScript's own memory.
val copied(const std::byte* data, size_t bytes) {
  // Not slice(): V8 would clear the memory first, and for large arrays take it from the system anew each
  // time.
  static const auto& constructor = *new val(val::global("Uint8Array"));
  return constructor.new_(view_of(data, bytes));
}

// ------------------------------------------------------------------------------------------------ bytes and
// tensors

// Memory of the engine's that JavaScript fills. Taken by the call that it is passed to.
class Buffer {
 public:
  explicit Buffer(size_t size) : bytes_(allocate_bytes(size, Clear::kSlack)), size_(size) {}
  val view() const { return view_of(bytes_.get(), size_); }
  size_t size() const { return size_; }
  std::shared_ptr<std::byte> take() {
    if (!bytes_) throw_error(ErrorCode::kInternal, "a buffer was passed to the engine twice");
    return std::move(bytes_);
  }

 private:
  std::shared_ptr<std::byte> bytes_;
  size_t size_;
};

std::vector<std::string> strings_of(const val& object, Name key) {
  return emscripten::vecFromJSArray<std::string>(object[property(key)]);
}

// [{ name, type, dims, bytes } | { name, type: 'string', dims, strings }]
std::vector<runtime::Feed> feeds_of(const val& list) {
  std::vector<runtime::Feed> feeds;
  const auto count = field<unsigned>(list, "length");
  for (unsigned i = 0; i < count; ++i) {
    const val item = list[i];
    runtime::Feed feed;
    feed.name = field<std::string>(item, "name");
    const auto type = field<std::string>(item, "type");
    const DType dtype = dtype_named(type);
    Shape dims;
    for (const double d : emscripten::convertJSArrayToNumberVector<double>(item[property("dims")])) {
      dims.push_back(static_cast<int64_t>(d));
    }
    if (dtype == DType::kUndefined) {
      throw_error(ErrorCode::kUnsupportedType, {"'", type, "' is not an element type"},
                  {.tensor = feed.name});
    }
    const int64_t elements = element_count(dims);
    if (dtype == DType::kString) {
      auto strings = strings_of(item, "strings");
      if (static_cast<int64_t>(strings.size()) != elements) {
        throw_error(ErrorCode::kInvalidFeed, {"as many strings as ", dims, " has elements are needed"},
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

// ------------------------------------------------------------------------------------------------ models

// Numbers, names, and '?' for what is unknown; null when not even the rank is known.
val symbolic_dims(const std::optional<SymShape>& shape) {
  if (!shape) return val::null();
  return array_of(*shape, [](const Dim& d) {
    if (d.known()) return number(d.value());
    return text(d.symbol().empty() ? "?" : std::string_view(d.symbol()));
  });
}

val value_info(const Value& value) {
  Object info;
  info.set("name", value.name);
  info.set("type", name_of(value.dtype));
  info.set("dims", symbolic_dims(value.shape));
  return info;
}

val values_of(const Graph& graph, const std::vector<ValueId>& ids) {
  return array_of(ids, [&](ValueId id) { return value_info(graph[id]); });
}

struct Totals {
  std::map<std::string, int64_t> operators;
  int64_t nodes = 0, parameters = 0;
  size_t weight_bytes = 0;
  bool quantized = false;

  explicit Totals(const Graph& graph) {
    for (const Tensor& t : quant::stored_constants(graph)) {
      parameters += t.size();
      if (t.dtype() != DType::kString) weight_bytes += t.bytes();
    }
    add(graph);
  }

 private:
  void add(const Graph& graph) {
    for (const Node& node : graph.nodes) {
      ++nodes;
      ++operators[qualified_name(node)];
      const OpDef* op = find_op(node.domain, node.op_type);
      quantized |= op && op->role != QdqRole::kNone;
      for (const auto& [key, attribute] : node.attributes) {
        if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) add(**sub);
      }
    }
  }
};

class ModelHandle {
 public:
  explicit ModelHandle(Model model) : model_(std::make_shared<const Model>(std::move(model))) {}
  const std::shared_ptr<const Model>& shared() const { return model_; }

  val describe() const {
    return answer([&] {
      const Graph& graph = model_->graph;
      Object d;
      d.set("inputs", values_of(graph, graph.inputs));
      d.set("outputs", values_of(graph, graph.outputs));
      d.set("optionalInputs", values_of(graph, graph.defaults));
      return d;
    });
  }

  val inspect() const {
    return answer([&] {
      const Totals totals(model_->graph);
      Object d;
      d.set("name", model_->graph.name);
      d.set("producer", model_->producer_name);
      d.set("producerVersion", model_->producer_version);
      d.set("description", model_->doc_string);
      d.set("nodes", totals.nodes);
      d.set("quantized", totals.quantized);
      d.set("warnings", array_of(all_warnings(model_->graph), [](const std::string& w) { return text(w); }));
      d.set("parameters", totals.parameters);
      d.set("weightBytes", totals.weight_bytes);
      d.set("operators", array_of(totals.operators, [](const auto& item) {
              Object entry;
              entry.set("op", item.first);
              entry.set("count", item.second);
              return entry;
            }));
      d.set("opsets", array_of(model_->opsets, [](const auto& item) {
              Object entry;
              entry.set("domain", item.first.empty() ? "ai.onnx" : std::string_view(item.first));
              entry.set("version", item.second);
              return entry;
            }));
      d.set("lowestOpset", onnx::lowest_opset(*model_).opset);
      d.set("metadata", array_of(model_->metadata, [](const auto& item) {
              Object entry;
              entry.set("key", item.first);
              entry.set("value", item.second);
              return entry;
            }));
      return d;
    });
  }

  val require_supported() const {
    return answer([&] { zp::require_supported(model_->graph); });
  }

  // What of it, written so, this runtime does not take.
  val broken_rules(const std::string& format, const std::string& runtime, int opset) const {
    return answer([&] {
      const std::vector<std::string> all =
          quant::broken_rules(quant::runtime_named(runtime), quant::in_format(*model_, format), opset);
      return array_of(all, [](const std::string& s) { return text(s); });
    });
  }
  // `opset`: 0 for the lowest that can say the model.
  val write(const std::string& format, int opset) const {
    return answer([&] {
      const std::vector<std::byte> bytes = onnx::write(quant::in_format(*model_, format), opset);
      return copied(bytes.data(), bytes.size());
    });
  }

  // What write() would write.
  val measure(const std::string& format, int opset) const {
    return answer([&] {
      const Model written = quant::in_format(*model_, format);
      Object d;
      d.set("size", onnx::write(written, opset).size());
      d.set("opset", onnx::versions_of(written, opset).opset);
      return d;
    });
  }

  // Adds an entry to what the file says of itself. An entry of that name stays: the new one gets a number.
  val add_metadata(const std::string& key, const std::string& value) {
    return answer([&] {
      Model more = *model_;
      const auto taken = [&](const std::string& name) {
        return std::ranges::any_of(more.metadata, [&](const auto& entry) { return entry.first == name; });
      };
      std::string name = key;
      for (int i = 2; taken(name); ++i) name = key + "_" + std::to_string(i);
      more.metadata.emplace_back(std::move(name), value);
      model_ = std::make_shared<const Model>(std::move(more));
    });
  }

 private:
  std::shared_ptr<const Model> model_;
};

template <class F>
void for_entries(const val& object, F&& f) {
  const val entries = val::global("Object").call<val>("entries", object);
  const auto count = field<unsigned>(entries, "length");
  for (unsigned i = 0; i < count; ++i) f(entries[i][0].as<std::string>(), entries[i][1]);
}

// A graph whose named dimensions are numbers; subgraphs, which copies of a graph share, are copied too.
Graph with_dims(const Graph& graph, const std::map<std::string, int64_t>& dims) {
  Graph bound = graph;
  for (Value& value : bound.values) {
    if (!value.shape) continue;
    for (Dim& dim : *value.shape) {
      const auto it = dims.find(dim.symbol());
      if (it != dims.end()) dim = it->second;
    }
  }
  for (Node& node : bound.nodes) {
    for (auto& [key, attribute] : node.attributes) {
      if (auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) {
        *sub = std::make_shared<Graph>(with_dims(**sub, dims));
      }
    }
  }
  return bound;
}

val bind_dims(const ModelHandle& model, const val& dims) {
  return answer([&] {
    std::map<std::string, int64_t> by_name;
    for_entries(dims, [&](const std::string& name, const val& n) {
      by_name[name] = static_cast<int64_t>(n.as<double>());
    });
    Model bound = *model.shared();
    bound.graph = with_dims(bound.graph, by_name);
    infer_shapes(bound.graph);
    return val(std::make_shared<ModelHandle>(std::move(bound)));
  });
}

val allocate(double size) {
  return answer([&] {
    if (!(size >= 0 && size < 4294967296.0)) {
      throw_error(ErrorCode::kOutOfMemory, "more than 4 GiB do not fit into the engine's memory");
    }
    return val(std::make_shared<Buffer>(static_cast<size_t>(size)));
  });
}

val read_model(Buffer& buffer) {
  return answer([&] {
    const size_t size = buffer.size();
    return val(std::make_shared<ModelHandle>(onnx::read(buffer.take(), size)));
  });
}

// ------------------------------------------------------------------------------------------------ running

Object progress_of(size_t done, size_t total) {
  Object p;
  p.set("done", done);
  p.set("total", total);
  return p;
}

class SessionHandle {
 public:
  SessionHandle(std::shared_ptr<const Model> model, const runtime::SessionOptions& options)
      : model_(std::move(model)), session_(model_, options) {}

  // Both work for about so long and answer { finished, done, total }, at the end with { outputs } too: of
  // what a small model's run takes, calls are the larger part.
  val begin(const val& feeds, double milliseconds) {
    return answer([&] {
      session_.begin(feeds_of(feeds));
      return slice(milliseconds);
    });
  }
  val advance(double milliseconds) {
    return answer([&] { return slice(milliseconds); });
  }

  val steps() const {
    return answer([&] {
      return array_of(session_.steps(), [](const runtime::StepInfo& step) {
        Object s;
        s.set("node", step.node);
        s.set("op", step.op);
        s.set("kernel", step.kernel);
        s.set("milliseconds", step.milliseconds);
        return s;
      });
    });
  }

  val warnings() const {
    return answer(
        [&] { return array_of(session_.warnings(), [](const std::string& w) { return text(w); }); });
  }

  double arena_bytes() const { return static_cast<double>(session_.arena_bytes()); }

 private:
  val slice(double milliseconds) {
    const bool finished = session_.advance(milliseconds);
    Object s = progress_of(session_.done(), session_.total());
    s.set("finished", finished);
    if (finished) s.set("outputs", outputs());
    return s;
  }
  val outputs() const {
    Array list;
    for (size_t i = 0; i < model_->graph.outputs.size(); ++i) {
      const Value& value = model_->graph[model_->graph.outputs[i]];
      list.push(tensor_of(value.name, session_.output(i)));
    }
    return list;
  }

  std::shared_ptr<const Model> model_;
  runtime::Session session_;
};

val create_session(const ModelHandle& model, const val& options) {
  return answer([&] {
    runtime::SessionOptions o;
    o.threads = field<int>(options, "threads");
    o.integer = field<bool>(options, "integer");
    return val(std::make_shared<SessionHandle>(runtime::prepared(model.shared()), o));
  });
}

// ------------------------------------------------------------------------------------------------ quantizing

DType dtype_option(const val& config, Name key) {
  const auto name = field<std::string>(config, key);
  if (name == "float") return DType::kUndefined;
  const DType dtype = dtype_named(name);
  if (dtype == DType::kUndefined) {
    throw_error(ErrorCode::kInvalidArgument, {key.text, ": '", name, "' is not an element type"});
  }
  return dtype;
}

quant::Training training_of(const val& v) {
  quant::Training t;
  const auto real = [&](Name key) { return field<double>(v, key); };
  const auto whole = [&](Name key) { return static_cast<int>(real(key)); };
  t.epochs = whole("epochs");
  t.learning_rate = real("learningRate");
  t.batch = whole("batchSize");
  t.loss = field<std::string>(v, "loss");
  t.optimizer = field<std::string>(v, "optimizer");
  t.schedule = field<std::string>(v, "schedule");
  t.warm_up = real("warmUp");
  t.momentum = real("momentum");
  t.weight_decay = real("weightDecay");
  t.clip_norm = real("clipNorm");
  t.validation = real("validation");
  t.scales = field<std::string>(v, "scales");
  t.learn_zero_points = field<bool>(v, "learnZeroPoints");
  t.intermediate = strings_of(v, "intermediate");
  t.blocks = field<bool>(v, "blocks");
  t.freeze = field<bool>(v, "freeze");
  t.seed = static_cast<uint64_t>(real("seed"));
  t.weight_bits = whole("weightBits");
  t.activation_bits = whole("activationBits");
  t.memory_limit = real("memoryLimit");
  t.checkpoints = field<bool>(v, "checkpoints");
  if (auto* resume = v["resume"].as<Buffer*>(emscripten::allow_raw_pointers())) {
    const size_t size = resume->size();
    const std::shared_ptr<std::byte> bytes = resume->take();
    t.resume = std::make_shared<std::vector<std::byte>>(bytes.get(), bytes.get() + size);
  }
  return t;
}

quant::Config config_of(const val& v) {
  quant::Config c;
  c.mode = field<std::string>(v, "mode");
  c.activations = dtype_option(v, "activations");
  c.weights = dtype_option(v, "weights");
  c.per_channel = field<bool>(v, "perChannel");
  c.symmetric_weights = field<bool>(v, "symmetricWeights");
  c.symmetric_activations = field<bool>(v, "symmetricActivations");
  c.reduce_range = field<bool>(v, "reduceRange");
  c.block_size = static_cast<int64_t>(field<double>(v, "blockSize"));
  c.quantized_inputs = field<bool>(v, "quantizedInputs");
  c.quantized_outputs = field<bool>(v, "quantizedOutputs");
  c.observer = field<std::string>(v, "observer");
  c.format = field<std::string>(v, "format");
  c.runtime = field<std::string>(v, "runtime");
  for (std::string& name : strings_of(v, "chosen")) c.chosen.insert(std::move(name));
  c.include_nodes = strings_of(v, "includeNodes");
  c.exclude_nodes = strings_of(v, "excludeNodes");
  c.include_ops = strings_of(v, "includeOps");
  c.exclude_ops = strings_of(v, "excludeOps");
  c.repairs = strings_of(v, "repairs");
  c.default_repairs = field<bool>(v, "defaultRepairs");
  c.has_samples = field<bool>(v, "hasSamples");
  c.target_sqnr = field<double>(v, "targetSqnr");
  c.target_bytes = field<double>(v, "targetBytes");
  c.target_drop = field<double>(v, "targetDrop");
  c.labels = emscripten::convertJSArrayToNumberVector<int32_t>(v["labels"]);
  c.sensitivity = field<bool>(v, "sensitivity");
  c.training = training_of(v["training"]);
  for_entries(v["precision"], [&](const std::string& node, const val& p) {
    c.precision[node] = {dtype_option(p, "activations"), dtype_option(p, "weights")};
  });
  for_entries(v["ranges"], [&](const std::string& value, const val& range) {
    c.ranges[value] = {field<float>(range, "min"), field<float>(range, "max")};
  });
  for_entries(v["options"], [&](const std::string& name, const val& n) { c.options[name] = n.as<double>(); });
  return c;
}

val sentences(const std::vector<std::string>& all) {
  return array_of(all, [](const std::string& s) { return val(s); });
}

val spread_of(const quant::ChannelSpread& s) {
  if (s.channel < 0) return val::null();
  Object o;
  o.set("ratio", s.ratio);
  o.set("channel", s.channel);
  return o;
}

val weight_report(const quant::WeightReport& w) {
  Object o;
  o.set("name", w.name);
  o.set("type", name_of(w.dtype));
  o.set("granularity", w.granularity);
  o.set("elements", w.elements);
  o.set("scales", w.scales);
  o.set("blockSize", w.block_size);
  o.set("min", w.min);
  o.set("max", w.max);
  o.set("sqnr", w.sqnr_db);
  o.set("spread", spread_of(w.spread));
  return o;
}

val activation_report(const quant::ActivationReport& a) {
  Object o;
  o.set("value", a.value);
  o.set("input", a.input);
  o.set("type", name_of(a.dtype));
  o.set("min", a.min);
  o.set("max", a.max);
  o.set("scale", a.scale);
  o.set("zeroPoint", a.zero_point);
  o.set("dynamic", a.dynamic);
  return o;
}

val layer_report(const quant::LayerReport& layer) {
  Object o;
  o.set("node", layer.node);
  o.set("op", layer.op);
  o.set("output", layer.output);
  o.set("quantized", layer.quantized);
  o.set("why", layer.why);
  o.set("findings", sentences(layer.findings));
  o.set("weight", layer.weight ? weight_report(*layer.weight) : val::null());
  o.set("activations", array_of(layer.activations, activation_report));
  o.set("macs", layer.macs);
  o.set("macsShare", layer.macs_share);
  if (layer.sensitivity) {
    Object s;
    s.set("sqnr", layer.sensitivity->sqnr_db);
    s.set("cosine", layer.sensitivity->cosine);
    o.set("sensitivity", s);
  }
  return o;
}

// What makes a trial again, in the package's own words: SchemeOptions.
val options_of(const quant::Config& c) {
  const auto type = [](DType t) { return t == DType::kUndefined ? text("float") : text(name_of(t)); };
  Object o;
  o.set("mode", c.mode);
  o.set("observer", c.observer);
  o.set("repairs", sentences(c.repairs));
  Object parameters;
  for (const auto& [name, number] : c.options) parameters.set_named(name, val(number));
  o.set("parameters", parameters);
  std::vector<std::string> exclude = c.exclude_ops;
  exclude.insert(exclude.end(), c.exclude_nodes.begin(), c.exclude_nodes.end());
  for (const auto& [node, why] : c.left_float) exclude.push_back(node);
  o.set("exclude", sentences(exclude));
  Object precision;
  for (const auto& [node, p] : c.precision) {
    Object own;
    own.set("activations", type(p.activations));
    own.set("weights", type(p.weights));
    precision.set_named(node, own);
  }
  o.set("precision", precision);
  o.set("target", val::undefined());
  o.set("sensitivity", false);
  return o;
}

val trial_report(const quant::Trial& t) {
  Object e;
  e.set("what", t.what);
  e.set("sqnr", t.sqnr_db);
  e.set("cosine", t.cosine);
  e.set("drop", t.drop);
  e.set("accuracy", t.accuracy);
  e.set("weightBytes", t.weight_bytes);
  e.set("floatLayers", t.float_layers);
  e.set("wideLayers", t.wide_layers);
  e.set("kept", t.kept);
  e.set("options", options_of(*t.config));
  return e;
}

val report_of(const quant::Report& report) {
  Object o;
  o.set("mode", report.mode);
  o.set("format", report.format);
  o.set("layers", array_of(report.layers, layer_report));
  o.set("warnings", sentences(report.warnings));
  o.set("repairs", sentences(report.repairs));
  o.set("repairsRun", sentences(report.repairs_run));
  o.set("trials", array_of(report.trials, trial_report));
  o.set("layersQuantized", report.layers_quantized);
  o.set("weightBytesBefore", report.weight_bytes_before);
  o.set("weightBytesAfter", report.weight_bytes_after);
  o.set("macs", report.macs);
  o.set("macsQuantized", report.macs_quantized);
  o.set("samples", report.samples);
  return o;
}

val plan_of(const ModelHandle& model, const val& config, bool measure_weights) {
  return answer(
      [&] { return report_of(quant::plan_of(model.shared(), config_of(config), measure_weights)); });
}

val training_progress(const quant::TrainingProgress& t) {
  Object o;
  o.set("epoch", t.epoch);
  o.set("epochs", t.epochs);
  o.set("step", t.step);
  o.set("steps", t.steps);
  o.set("loss", t.loss);
  o.set("validationLoss", t.validation_loss);
  o.set("bestLoss", t.best_loss);
  o.set("firstLoss", t.first_loss);
  o.set("stepMilliseconds", t.step_milliseconds);
  o.set("remainingMilliseconds", t.remaining_milliseconds);
  o.set("memoryBytes", t.memory_bytes);
  o.set("savedEpoch", t.saved_epoch);
  return o;
}

class QuantizerHandle {
 public:
  QuantizerHandle(const ModelHandle& model, quant::Config config, int threads)
      : job_(model.shared(), std::move(config), threads) {}

  val advance(double milliseconds) {
    return answer([&] { return val(job_.advance(milliseconds)); });
  }
  val state() const {
    const quant::Progress p = job_.progress();
    Object s = progress_of(p.done, p.total);
    s.set("phase", p.phase);
    s.set("samples", p.samples);
    s.set("finished", job_.done());
    s.set("wantsSamples", job_.wants_samples());
    s.set("enough", job_.enough());
    if (p.training) s.set("training", training_progress(*p.training));
    return s;
  }
  double sweeps() const { return static_cast<double>(job_.sweeps()); }
  void stop() { job_.stop(); }
  // Of the training state after its `savedEpoch`; null where there is none.
  val checkpoint() const {
    const quant::Progress p = job_.progress();
    if (!p.training || !p.training->checkpoint) return val::null();
    return copied(p.training->checkpoint->data(), p.training->checkpoint->size());
  }
  val begin_sample(const val& feeds) {
    return answer([&] { job_.begin_sample(feeds_of(feeds)); });
  }
  val end_samples() {
    return answer([&] { job_.end_samples(); });
  }
  val result() const {
    return answer([&] { return val(std::make_shared<ModelHandle>(job_.result())); });
  }
  val report() const {
    return answer([&] { return report_of(job_.report()); });
  }
  val ranges() const {
    return answer([&] {
      Object o;
      for (const auto& [name, range] : job_.ranges()) {
        Object r;
        r.set("min", range.min);
        r.set("max", range.max);
        o.set_named(name, r);
      }
      return o;
    });
  }

 private:
  quant::Quantizer job_;
};

val create_quantizer(const ModelHandle& model, const val& config, int threads) {
  return answer([&] { return val(std::make_shared<QuantizerHandle>(model, config_of(config), threads)); });
}

// What there is to choose from, as registered in the engine.
val choices() {
  return answer([&] {
    Object o;
    o.set("modes", array_of(quant::mode_names(), text));
    o.set("observers", array_of(quant::observer_names(), text));
    o.set("repairs", array_of(quant::repair_names(), text));
    o.set("runtimes", array_of(quant::all_runtimes(), [](const quant::RuntimeRules& rules) {
            Object r;
            r.set("name", rules.name);
            r.set("title", rules.title);
            r.set("checked", rules.checked);
            r.set("takes", sentences(rules.in_words()));
            return r;
          }));
    o.set("options", array_of(quant::option_specs(), [](const quant::OptionSpec& spec) {
            Object s;
            s.set("name", spec.name);
            s.set("owner", spec.owner);
            s.set("default", spec.otherwise);
            s.set("min", spec.min);
            s.set("max", spec.max);
            return s;
          }));
    return o;
  });
}

// ------------------------------------------------------------------------------------------------ comparing

// Agreement and LayerErrors are stepped alike and differ in what they give.
template <class Job>
class ComparisonHandle {
 public:
  ComparisonHandle(const ModelHandle& reference, const ModelHandle& candidate, int threads)
      : job_(reference.shared(), candidate.shared(), threads) {}
  val begin(const val& feeds) {
    return answer([&] { job_.begin(feeds_of(feeds)); });
  }
  val advance(double milliseconds) {
    return answer([&] { return val(job_.advance(milliseconds)); });
  }
  val progress() const { return progress_of(job_.done(), job_.total()); }
  val result() const {
    return answer([&] { return result_of(job_.result()); });
  }

 private:
  static val result_of(const quant::AgreementResult& r) {
    Object o;
    o.set("samples", r.samples);
    o.set("referenceMs", r.reference_ms);
    o.set("candidateMs", r.candidate_ms);
    o.set("outputs", array_of(r.outputs, [](const quant::OutputAgreement& a) {
            Object e;
            e.set("output", a.output);
            e.set("sqnr", a.sqnr_db);
            e.set("cosine", a.cosine);
            e.set("maxAbs", a.max_abs);
            e.set("top1", a.top1);
            e.set("rows", a.rows);
            e.set("otherShapes", a.other_shapes);
            return e;
          }));
    return o;
  }
  static val result_of(const std::vector<quant::LayerError>& layers) {
    return array_of(layers, [](const quant::LayerError& l) {
      Object e;
      e.set("node", l.node);
      e.set("op", l.op);
      e.set("output", l.output);
      e.set("quantized", l.quantized);
      e.set("sqnr", l.sqnr_db);
      e.set("ownSqnr", l.own_sqnr_db);
      e.set("cosine", l.cosine);
      e.set("maxAbs", l.max_abs);
      e.set("saturated", l.saturated);
      e.set("outside", l.outside);
      Object histogram;
      histogram.set("left", l.values.left);
      histogram.set("width", l.values.width);
      histogram.set("counts",
                    array_of(l.values.counts, [](uint64_t n) { return val(static_cast<double>(n)); }));
      histogram.set("zeros", static_cast<double>(l.values.zeros));
      e.set("histogram", histogram);
      val clip = val::null();
      if (l.clip) {
        clip = val::object();
        clip.set("min", l.clip->min);
        clip.set("max", l.clip->max);
      }
      e.set("clip", clip);
      e.set("spread", spread_of(l.spread));
      e.set("shifted", l.shifted);
      e.set("findings", sentences(l.findings));
      return e;
    });
  }

  Job job_;
};

using AgreementHandle = ComparisonHandle<quant::Agreement>;
using LayerErrorsHandle = ComparisonHandle<quant::LayerErrors>;

template <class Handle>
val create_comparison(const ModelHandle& reference, const ModelHandle& candidate, int threads) {
  return answer([&] { return val(std::make_shared<Handle>(reference, candidate, threads)); });
}

// ------------------------------------------------------------------------------------------------ the
// machine

val info() {
  const kernels::MachineReport& machine = kernels::probe();
  Object o;
  o.set("instructionSet", std::string(kernels::Best::kName));
  o.set("relaxedDot", std::string(kernels::name_of(machine.relaxed_dot)));
  o.set("fusedMultiplyAdd", machine.fused_multiply_add);
  return o;
}

// `reserved` only grows: WebAssembly memory never shrinks. `used` is what is allocated in it.
val memory() {
  Object o;
  o.set("reserved", static_cast<size_t>(emscripten_get_heap_size()));
  o.set("used", static_cast<size_t>(mallinfo().uordblks));
  return o;
}

template <class Handle>
void bind_comparison(const char* name, const char* pointer) {
  emscripten::class_<Handle>(name)
      .template smart_ptr<std::shared_ptr<Handle>>(pointer)
      .function("begin", &Handle::begin)
      .function("advance", &Handle::advance)
      .function("progress", &Handle::progress)
      .function("result", &Handle::result);
}

EMSCRIPTEN_BINDINGS(zeropoint) {
  using emscripten::class_;
  using emscripten::function;

  class_<Buffer>("Buffer")
      .smart_ptr<std::shared_ptr<Buffer>>("BufferPointer")
      .function("view", &Buffer::view);

  class_<ModelHandle>("Model")
      .smart_ptr<std::shared_ptr<ModelHandle>>("ModelPointer")
      .function("describe", &ModelHandle::describe)
      .function("inspect", &ModelHandle::inspect)
      .function("requireSupported", &ModelHandle::require_supported)
      .function("write", &ModelHandle::write)
      .function("measure", &ModelHandle::measure)
      .function("addMetadata", &ModelHandle::add_metadata)
      .function("brokenRules", &ModelHandle::broken_rules);

  class_<SessionHandle>("Session")
      .smart_ptr<std::shared_ptr<SessionHandle>>("SessionPointer")
      .function("begin", &SessionHandle::begin)
      .function("advance", &SessionHandle::advance)
      .function("steps", &SessionHandle::steps)
      .function("warnings", &SessionHandle::warnings)
      .function("arenaBytes", &SessionHandle::arena_bytes);

  class_<QuantizerHandle>("Quantizer")
      .smart_ptr<std::shared_ptr<QuantizerHandle>>("QuantizerPointer")
      .function("advance", &QuantizerHandle::advance)
      .function("state", &QuantizerHandle::state)
      .function("sweeps", &QuantizerHandle::sweeps)
      .function("beginSample", &QuantizerHandle::begin_sample)
      .function("endSamples", &QuantizerHandle::end_samples)
      .function("stop", &QuantizerHandle::stop)
      .function("checkpoint", &QuantizerHandle::checkpoint)
      .function("result", &QuantizerHandle::result)
      .function("report", &QuantizerHandle::report)
      .function("ranges", &QuantizerHandle::ranges);

  bind_comparison<AgreementHandle>("Agreement", "AgreementPointer");
  bind_comparison<LayerErrorsHandle>("LayerErrors", "LayerErrorsPointer");

  function("allocate", &allocate);
  function("readModel", &read_model);
  function("createSession", &create_session);
  function("bindDims", &bind_dims);
  function("planOf", &plan_of);
  function("createQuantizer", &create_quantizer);
  function("createAgreement", &create_comparison<AgreementHandle>);
  function("createLayerErrors", &create_comparison<LayerErrorsHandle>);
  function("choices", &choices);
  function("info", &info);
  function("memory", &memory);
}

}  // namespace
}  // namespace zp
