// Prints what can be set, with the texts that are for documents alone: tools/options.mjs reads it.
#include <cstdio>

#include "quant/options.h"

int main() { std::puts(zp::quant::schema_json().c_str()); }
