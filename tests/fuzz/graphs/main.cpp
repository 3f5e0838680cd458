// zeropoint_graphs compare FIRST COUNT [SECONDS]   compares as many random graphs, by seed
// zeropoint_graphs write FIRST COUNT FOLDER        writes them, with inputs, for other programs
// zeropoint_graphs show SEED                       prints one
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "compare.h"
#include "core/error.h"
#include "core/stopwatch.h"
#include "onnx/onnx.h"

namespace {

using namespace zp;

std::string describe(const Tensor& t) { return std::string(name_of(t.dtype())) + to_string(t.dims()); }

void show(const Graph& graph, const std::string& indent) {
  for (const Node& n : graph.nodes) {
    std::printf("%s%s(", indent.c_str(), qualified_name(n).c_str());
    for (ValueId v : n.inputs) {
      if (v == kNoValue) {
        std::printf("-, ");
        continue;
      }
      const Tensor* t = graph.constant(v);
      std::printf("%s%s, ", graph[v].name.c_str(), t ? (" " + describe(*t)).c_str() : "");
    }
    std::printf(") ->");
    for (ValueId v : n.outputs)
      std::printf(" %s%s", graph[v].name.c_str(), graph[v].shape ? to_string(*graph[v].shape).c_str() : "");
    for (const auto& [key, a] : n.attributes) {
      std::printf(" %s", key.c_str());
      if (const auto* i = std::get_if<int64_t>(&a)) std::printf("=%" PRId64, *i);
      if (const auto* f = std::get_if<float>(&a)) std::printf("=%g", static_cast<double>(*f));
      if (const auto* s = std::get_if<std::string>(&a)) std::printf("=%s", s->c_str());
      if (const auto* list = std::get_if<std::vector<int64_t>>(&a))
        for (int64_t i : *list) std::printf(",%" PRId64, i);
    }
    std::printf("\n");
    for (const auto& [key, a] : n.attributes)
      if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&a)) show(**sub, indent + "    ");
  }
}

// Seeds that disagree are printed and counted.
int compare(uint64_t first, uint64_t count, double seconds) {
  const Stopwatch watch(seconds * 1e3);
  uint64_t done = 0, wrong = 0;
  for (; done < count && !watch.over(); ++done) {
    fuzz::Choices choices(first + done);
    std::string why;
    try {
      why = fuzz::disagreement(fuzz::random_graph(choices), choices);
    } catch (const Error& e) {
      why = std::string(name_of(e.code())) + ": " + e.what() + " (node " + e.details().node + ")";
    }
    if (why.empty()) continue;
    ++wrong;
    std::printf("graph %" PRIu64 ": %s\n", first + done, why.c_str());
    std::fflush(stdout);
  }
  std::printf("%" PRIu64 " graphs compared, %" PRIu64 " disagree\n", done, wrong);
  return wrong == 0 ? 0 : 1;
}

void save(const std::filesystem::path& path, const void* data, size_t size) {
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
}

// FOLDER/SEED/model.onnx, and SAMPLE.INPUT.bin: the elements of each input, as float32; inputs.txt has their
// names and dimensions.
void write(uint64_t first, uint64_t count, const std::filesystem::path& folder) {
  for (uint64_t seed = first; seed < first + count; ++seed) {
    fuzz::Choices choices(seed);
    const fuzz::RandomGraph graph = fuzz::random_graph(choices);
    const std::filesystem::path to = folder / std::to_string(seed);
    std::filesystem::create_directories(to);
    const std::vector<std::byte> bytes = onnx::write(*graph.model);
    save(to / "model.onnx", bytes.data(), bytes.size());
    std::string about = graph.smooth ? "smooth\n" : "sharp\n";
    for (size_t s = 0; s < graph.samples.size(); ++s)
      for (const runtime::Feed& feed : graph.samples[s]) {
        save(to / (std::to_string(s) + "." + feed.name + ".bin"), feed.tensor.raw(), feed.tensor.bytes());
        if (s > 0) continue;
        about += feed.name;
        for (int64_t d : feed.tensor.dims()) about += " " + std::to_string(d);
        about += "\n";
      }
    save(to / "inputs.txt", about.data(), about.size());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const auto number = [&](int i) { return argc > i ? std::strtoull(argv[i], nullptr, 10) : 0; };
  if (what == "compare" && argc >= 4)
    return compare(number(2), number(3), argc > 4 ? std::atof(argv[4]) : 1e9);
  if (what == "write" && argc == 5) {
    write(number(2), number(3), argv[4]);
    return 0;
  }
  if (what == "show" && argc == 3) {
    fuzz::Choices choices(number(2));
    show(fuzz::random_graph(choices).model->graph, "");
    return 0;
  }
  std::fprintf(
      stderr,
      "usage: zeropoint_graphs compare FIRST COUNT [SECONDS] | write FIRST COUNT FOLDER | show SEED\n");
  return 2;
}
