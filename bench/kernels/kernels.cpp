// What kernels.mjs times: loops that do nothing but multiply (this machine's peaks) and products of given
// sizes. Every function does a short piece of work and is called again and again from JavaScript, as V8 wants
// it.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <iterator>

#include "kernels/conv/depthwise.h"
#include "kernels/gemm/float.h"
#include "kernels/gemm/int8.h"
#include "kernels/gemm/weight_only.h"
#include "kernels/probe.h"
#include "kernels/simd.h"

using namespace zp::kernels;

namespace {

void* aligned(std::size_t bytes) { return std::aligned_alloc(16, round_up(bytes + zp::kReadSlack, 16)); }

std::uint32_t random_state = 1;
std::uint32_t random_bits() {
  random_state = random_state * 1664525 + 1013904223;
  return random_state >> 8;
}

constexpr int kOperands = 32, kMostRows = 12;

// What the loops below multiply by, in the first-level cache: loads are no work of a multiplier's.
v128_t operands[kOperands * kMostRows];

// Chains of multiply and add, `weights` times `rows` of them. One operand of each product is in a register,
// the other one differs from row to row and round to round, for compilers move products of operands that do
// not change out of the loop. None is a literal, for V8 makes those anew in every round.
template <int weights, int rows, class Step>
float multiply_loop(int rounds, v128_t first, v128_t change, const Step& step) {
  static_assert(rows <= kMostRows);
  v128_t next = first, w[weights], c[weights * rows];
  for (auto& x : operands) x = next = wasm_i32x4_add(next, change);
  for (auto& x : w) x = next = wasm_i32x4_add(next, change);
  for (auto& x : c) x = first;
  for (int i = 0; i < rounds; ++i) {
    const v128_t* a = operands + i % kOperands * rows;
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; ++row) {
#pragma clang loop unroll(full)
      for (int k = 0; k < weights; ++k) c[row * weights + k] = step(w[k], a[row], c[row * weights + k]);
    }
  }
  v128_t sum = c[0];
  for (auto& x : c) sum = wasm_v128_xor(sum, x);
  return wasm_f32x4_extract_lane(sum, 0);
}

// How many chains keep a machine busy depends on how many cycles a step takes and how many steps begin at
// once: with five cycles and two steps it takes ten. More values than the engine has registers (15 in V8 on
// x86) cost loads and stores. So there are several loops, and the peak is that of the best.
struct Loop {
  int weights, rows;
};
constexpr Loop kLoops[] = {{3, 2}, {2, 4}, {3, 3}, {2, 5}, {1, 10}, {2, 6}, {1, 12}, {4, 4}};

template <std::size_t at = 0, class Step>
float multiply_loop(int loop, int rounds, v128_t first, v128_t change, const Step& step) {
  if (std::size_t(loop) == at)
    return multiply_loop<kLoops[at].weights, kLoops[at].rows>(rounds, first, change, step);
  if constexpr (at + 1 < std::size(kLoops)) return multiply_loop<at + 1>(loop, rounds, first, change, step);
  return 0;
}

struct Product {
  int m, n, k;
  void* a;
  void* y;
  void* scratch;
  void* packed;
  Int8Weights int8;
  FloatWeights floats;
  BlockWeights blocks;
  float multiplier = 1e-3F;
} product;

void set_up(int m, int n, int k, int a_bytes, int y_bytes) {
  for (void* p : {product.a, product.y, product.scratch, product.packed}) std::free(p);
  product.m = m, product.n = n, product.k = k;
  product.a = aligned(std::size_t(m) * k * a_bytes);
  product.y = aligned(std::size_t(m) * n * y_bytes);
}

template <class Isa>
void set_up_int8(int m, int n, int k, int weight_mask) {
  set_up(m, n, k, 1, 4);
  for (int i = 0; i < m * k; ++i) static_cast<std::uint8_t*>(product.a)[i] = random_bits();
  const WeightLayout layout = WeightLayout::matrix(k, n);
  auto* w = static_cast<std::int8_t*>(aligned(std::size_t(n) * k));
  for (int i = 0; i < n * k; ++i) w[i] = (random_bits() & weight_mask) - (weight_mask + 1) / 2;
  product.packed = aligned(packed_int8_weights_bytes(layout));
  product.int8 = pack_int8_weights<Isa>({w, false, layout, nullptr, 0}, product.packed);
  product.scratch = aligned(int8_gemm_scratch_bytes(product.int8));
  std::free(w);
}

template <class Isa>
void run_int8() {
  const Int8Input input{{static_cast<std::uint8_t*>(product.a), product.k, nullptr}, false, 128};
  QuantizedOutput out;
  out.data = product.y;
  out.rows = {product.n};
  out.range.zero_point = 128;
  out.multipliers = &product.multiplier;
  int8_gemm<Isa>(input, product.int8, out, {0, product.m, 0, product.n}, product.scratch);
}

template <class Isa>
void run_float() {
  FloatGemmOutput out;
  out.data = static_cast<float*>(product.y);
  out.rows = {product.n};
  float_gemm<Isa>({static_cast<float*>(product.a), product.k, nullptr}, product.floats, out,
                  {0, product.m, 0, product.n}, product.scratch);
}

struct Depthwise {
  ConvGeometry g;
  void* x;
  void* y;
  void* packed_float;
  void* packed_int8;
  void* scratch;
  DepthwiseFloatWeights floats;
  DepthwiseInt8Weights int8;
} depthwise;

}  // namespace

#define EXPORT extern "C" __attribute__((used, visibility("default")))

EXPORT int machine() { return int(probe().relaxed_dot); }

// The loops that do nothing but multiply: how many there are, and the chains of each.
EXPORT int peak_loops() { return std::size(kLoops); }
EXPORT int peak_chains(int loop) { return kLoops[loop].weights * kLoops[loop].rows; }

EXPORT float peak_dot16(int loop, int rounds) {
  return multiply_loop(loop, rounds, wasm_i8x16_splat(rounds), wasm_i8x16_splat(3), dot16_add);
}
EXPORT float peak_float_simd128(int loop, int rounds) {
  return multiply_loop(loop, rounds, wasm_f32x4_splat(1e-4F * float(rounds)), wasm_i32x4_splat(rounds > 0),
                       [](v128_t w, v128_t a, v128_t c) { return madd<Simd128>(w, a, c); });
}
#if ZEROPOINT_RELAXED
EXPORT float peak_dot8(int loop, int rounds) {
  return multiply_loop(loop, rounds, wasm_i8x16_splat(rounds), wasm_i8x16_splat(3), relaxed_dot_add);
}
EXPORT float peak_dot8_narrow(int loop, int rounds) {
  const v128_t ones = wasm_i16x8_splat(rounds > 0);
  return multiply_loop(
      loop, rounds, wasm_i8x16_splat(rounds), wasm_i8x16_splat(3),
      [=](v128_t w, v128_t a, v128_t c) { return dot16_add(relaxed_dot_pairs(w, a), ones, c); });
}
EXPORT float peak_float(int loop, int rounds) {
  return multiply_loop(loop, rounds, wasm_f32x4_splat(1e-4F * float(rounds)), wasm_i32x4_splat(rounds > 0),
                       [](v128_t w, v128_t a, v128_t c) { return madd<Relaxed>(w, a, c); });
}
#endif

EXPORT int set_up_int8(int m, int n, int k, int exact16, int weight_mask) {
  if (exact16) {
    set_up_int8<Simd128>(m, n, k, weight_mask);
  } else {
    set_up_int8<Best>(m, n, k, weight_mask);
  }
  return int(product.int8.method);
}
EXPORT void run_int8(int exact16, int times) {
  for (int i = 0; i < times; ++i) exact16 ? run_int8<Simd128>() : run_int8<Best>();
}

EXPORT void set_up_float(int m, int n, int k) {
  set_up(m, n, k, 4, 4);
  for (int i = 0; i < m * k; ++i)
    static_cast<float*>(product.a)[i] = float(random_bits() % 1000) * 0.001F + 0.1F;
  const WeightLayout layout = WeightLayout::matrix(k, n);
  auto* w = static_cast<float*>(aligned(std::size_t(n) * k * 4));
  for (int i = 0; i < n * k; ++i) w[i] = float(random_bits() % 1000) * 0.001F - 0.5F;
  product.packed = aligned(packed_float_weights_bytes(layout));
  product.floats = pack_float_weights(w, layout, product.packed);
  product.scratch = nullptr;
  std::free(w);
}
EXPORT void run_float(int relaxed, int times) {
  for (int i = 0; i < times; ++i) relaxed ? run_float<Best>() : run_float<Simd128>();
}

EXPORT void set_up_weight_only(int m, int n, int k, int bits, int block_size) {
  set_up(m, n, k, 4, 4);
  for (int i = 0; i < m * k; ++i)
    static_cast<float*>(product.a)[i] = float(random_bits() % 1000) * 0.001F - 0.5F;
  BlockWeightSource source;
  const int blocks = block_size < k ? k / block_size : 1;
  const std::size_t code_bytes = std::size_t(n) * k * bits / 8;
  auto* codes = static_cast<std::uint8_t*>(aligned(code_bytes));
  for (std::size_t i = 0; i < code_bytes; ++i) codes[i] = random_bits();
  auto* scales = static_cast<float*>(aligned(std::size_t(n) * blocks * 4));
  for (int i = 0; i < n * blocks; ++i) scales[i] = float(random_bits() % 1000 + 1) * 0.001F;
  source.codes = codes;
  source.bits = bits;
  source.is_signed = bits == 8;
  source.columns = n;
  source.depth = k;
  source.column_stride = k;
  source.block_size = block_size;
  source.scales = scales;
  source.scale_column_stride = blocks;
  source.scale_block_stride = 1;
  product.packed = aligned(packed_block_weights_bytes(source));
  product.blocks = pack_block_weights(source, product.packed);
  product.scratch = aligned(weight_only_gemm_scratch_bytes(product.blocks));
  std::free(codes);
  std::free(scales);
}
EXPORT void run_weight_only(int times) {
  for (int i = 0; i < times; ++i) {
    FloatGemmOutput out;
    out.data = static_cast<float*>(product.y);
    out.rows = {product.n};
    weight_only_gemm({static_cast<float*>(product.a), product.k, nullptr}, product.blocks, out,
                     {0, product.m, 0, product.n}, product.scratch);
  }
}

EXPORT double set_up_depthwise(int size, int channels, int kernel, int stride) {
  for (void* p :
       {depthwise.x, depthwise.y, depthwise.packed_float, depthwise.packed_int8, depthwise.scratch}) {
    std::free(p);
  }
  ConvGeometry& g = depthwise.g;
  g = {};
  g.in_height = g.in_width = size;
  g.channels = channels;
  g.pixel_stride = channels;
  g.kernel_height = g.kernel_width = kernel;
  g.stride_height = g.stride_width = stride;
  g.pad_top = g.pad_left = kernel / 2;
  g.out_height = g.out_width = (size - 1) / stride + 1;
  const std::size_t in = std::size_t(size) * size * channels,
                    weights = std::size_t(channels) * kernel * kernel;
  depthwise.x = aligned(in * 4);
  depthwise.y = aligned(std::size_t(g.rows()) * channels * 4);
  for (std::size_t i = 0; i < in; ++i)
    static_cast<float*>(depthwise.x)[i] = float(random_bits() % 1000) * 0.001F;
  auto* w = static_cast<float*>(aligned(weights * 4));
  auto* q = static_cast<std::int8_t*>(aligned(weights));
  for (std::size_t i = 0; i < weights; ++i) w[i] = float(random_bits() % 1000) * 0.001F, q[i] = random_bits();
  depthwise.packed_float = aligned(packed_depthwise_float_bytes(g));
  depthwise.packed_int8 = aligned(packed_depthwise_int8_bytes(g));
  depthwise.scratch = aligned(depthwise_int8_scratch_bytes(g));
  depthwise.floats = pack_depthwise_float(w, g, depthwise.packed_float);
  depthwise.int8 = pack_depthwise_int8({q, false, nullptr, 0}, g, depthwise.packed_int8);
  std::free(w);
  std::free(q);
  return double(g.rows()) * channels * kernel * kernel;
}
EXPORT void run_depthwise_float() {
  FloatGemmOutput out;
  out.data = static_cast<float*>(depthwise.y);
  out.rows = {depthwise.g.channels};
  depthwise_float(static_cast<float*>(depthwise.x), depthwise.g, depthwise.floats, out, 0,
                  depthwise.g.out_height);
}
EXPORT void run_depthwise_int8() {
  const Int8Input input{{static_cast<std::uint8_t*>(depthwise.x), 0, nullptr}, false, 128};
  QuantizedOutput out;
  out.data = depthwise.y;
  out.rows = {depthwise.g.channels};
  out.range.zero_point = 128;
  out.multipliers = &product.multiplier;
  depthwise_int8(input, depthwise.g, depthwise.int8, out, 0, depthwise.g.out_height, depthwise.scratch);
}
