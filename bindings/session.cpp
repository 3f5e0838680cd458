// Running a model.
#include "runtime/session.h"

#include <emscripten/bind.h>

#include <memory>
#include <utility>

#include "model.h"
#include "runtime/prepare.h"
#include "tensors.h"

namespace zp::bindings {
namespace {

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

EMSCRIPTEN_BINDINGS(session) {
  emscripten::class_<SessionHandle>("Session")
      .smart_ptr<std::shared_ptr<SessionHandle>>("SessionPointer")
      .function("begin", &SessionHandle::begin)
      .function("advance", &SessionHandle::advance)
      .function("steps", &SessionHandle::steps)
      .function("warnings", &SessionHandle::warnings)
      .function("arenaBytes", &SessionHandle::arena_bytes);
  emscripten::function("createSession", &create_session);
}

}  // namespace
}  // namespace zp::bindings
