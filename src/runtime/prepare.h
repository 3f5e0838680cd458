// The one form of a model that everybody computes with: sessions, the quantizer and its searches,
// comparisons, plans for reports, training. What follows from initializers alone is folded, so that a weight
// is a constant wherever the exporter left it (behind a Cast, a Transpose, the pieces of a weight
// normalization); half precision is computed in float32; registered rewrites are applied; every node has a
// name of its own. What is folded: runtime/folding.h.
#pragma once

#include <memory>

#include "graph/graph.h"

namespace zp::runtime {

// The prepared form of a model: made once, and shared by all who ask while one of them holds it. Values of
// the model keep their ids and names. The prepared form of a prepared model is that model. The model must not
// change while somebody holds the prepared form: those that will are prepared anew each time.
std::shared_ptr<const Model> prepared(const std::shared_ptr<const Model>& model);
std::shared_ptr<const Model> prepared_anew(const Model& model);

// The same for a model that is to be measured rather than run. Half precision is computed in float32, which
// loses less than what the file says: here each value that the file holds in half precision is rounded to it,
// as where runtimes compute with float16 and sum in float32. Not for saving: the roundings are no standard
// operators.
std::shared_ptr<const Model> prepared_with_roundings(const Model& model);

// The model that a prepared one was made from, while somebody holds it; any other model itself. Initializers
// that are inputs too are folded like others: a run that is fed one starts again from here.
std::shared_ptr<const Model> source_of(const std::shared_ptr<const Model>& model);

// Prepares in place, on a graph that shares no subgraph with another. `keep_fused`: see Model::keeps_fused.
void prepare(Graph& graph, bool keep_fused = false);

}  // namespace zp::runtime
