// Gather and its form for quantized tables.
#pragma once

#include "ops/op.h"

namespace zp {

// A Gather along dimension 0 of a constant table as GatherBlockQuantized. The table has 8 bits and a scale
// for each row, or 8 or 4 bits and scales for blocks of its last dimension. One with a single scale before a
// Q stays as it is: its integers are picked as they are.
bool fold_gather(Fold& f);

// A Gather along dimension 0 of a constant table of 8 bits, spelled so that rows are picked before they
// become floats: DequantizeLinear of the picked rows, or, with a scale for each row (and zero points of 0), a
// Mul with the scales of the rows. false: it is no such node.
bool pick_rows(Fold& f);

// A product of floats with such a table, transposed, as MatMulNBits with the table's own bytes: it is stored
// once, where rows are whole blocks of 16 or more. `b`: input 1 of f.node.
bool fold_transposed_table(Fold& f, const QuantizedEdge& b);

}  // namespace zp
