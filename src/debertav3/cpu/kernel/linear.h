// Linear layers, y = x W^T + b, with packed W: fp32 (amx_fp32.h with AMX, otherwise vectors) or int8 (gemm_int8.h).
#pragma once

#include <cstring>

#include "abi.h"
#include "gemm_int8.h"
#if defined(__AMX_BF16__)
#include "amx_fp32.h"
#endif

namespace {

constexpr int64_t CHUNK_ROWS = 128;  // rows that are multiplied by a panel at a time

#if !defined(__AMX_BF16__)

constexpr int64_t STEP = 1;  // inputs are padded to a multiple of this

struct Tiles {};

// The left operand in fp32, (rows, depth), contiguous: used as it is.
struct FloatRows {
    static constexpr bool ARE_TILES = false;
    const float* x;
    int64_t depth;

    static int64_t floats(int64_t, int64_t, int64_t) { return 0; }
    FloatRows(const float* numbers, int64_t width, int64_t, float*) : x(numbers), depth(width) {}
    void prepare(int64_t) const {}
};

inline void multiply_floats(const FloatRows& input, int64_t first, int64_t rows, const float* weight, int64_t, float* c,
                            bool adds) {
    constexpr int64_t DEPTH = 192;  // rows of a panel that fit in the first-level cache
    for (int64_t k = 0; k < input.depth; k += DEPTH) {
        const int64_t depth = input.depth - k < DEPTH ? input.depth - k : DEPTH;
        multiply_panel<LONG_TILE_ROWS>(input.x + first * input.depth + k, input.depth, rows, weight + k * PANEL, depth,
                                       c, PANEL, adds || k > 0);
    }
}

#endif

// Weights in fp32, packed in panels.
inline int64_t packed_floats(int64_t in, int64_t out) { return round_up(out, PANEL) * round_up(in, STEP); }

inline void pack_weight(const float* weight, int64_t in, int64_t out, float* packed) {
    std::memset(packed, 0, packed_floats(in, out) * sizeof(float));
    for (int64_t o = 0; o < out; o += PANEL, packed += PANEL * round_up(in, STEP))
        pack_panel(weight + o * in, in, out - o, in, 1.0f, packed);
}

// c (rows x PANEL) = or += rows first, first + 1, ... in fp32 times one panel of weights, from input `first_input` on.
inline void multiply_chunk(const LinearArguments& linear, int64_t first_input, const FloatRows& input,
                           int64_t first, int64_t rows, int64_t panel, float* c, bool adds) {
    const int64_t panel_floats = round_up(linear.in, STEP) * PANEL;
    const float* weights = static_cast<float*>(linear.weight) + panel * panel_floats + first_input * PANEL;
    multiply_floats(input, first, rows, weights, panel_floats, c, adds);
}

// The left operand of a layer in fp32 or int8, (rows, depth).
struct Input {
    const float* x;
    int64_t rows, depth;
    WeightKind kind;
    FloatRows floats;
    QuantizedRows quantized;

    static int64_t block_floats(int64_t rows, int64_t depth, WeightKind kind) {
        return round_up(kind == INT8 ? QuantizedRows::floats(rows, depth) : FloatRows::floats(rows, depth, kind), 16);
    }
    Input(const float* numbers, int64_t count, int64_t width, WeightKind of, float* block)
        : x(numbers),
          rows(count),
          depth(width),
          kind(of),
          floats(numbers, width, of, block),
          quantized(block, count, width) {}

    // Whether the values are written into tiles directly, instead of to x.
    bool are_tiles() const { return FloatRows::ARE_TILES && kind != INT8; }
    bool needs_preparing() const { return FloatRows::ARE_TILES || kind == INT8; }
    // Convert row r of x.
    void prepare(int64_t r) const {
        if (kind == INT8)
            quantize_row(x + r * depth, depth, quantized, r);
        else
            floats.prepare(r);
    }
    void prepare_all() const {
        if (!needs_preparing()) return;
        for (int64_t r = 0; r < rows; ++r) prepare(r);
    }
};

// The bias of a panel's columns; zeros if there is none.
struct Bias {
    Vec left, right;

    Bias(const LinearArguments& linear, int64_t column) : left(splat(0.0f)), right(splat(0.0f)) {
        if (linear.bias == nullptr) return;
        float bias[PANEL] = {};
        const int64_t columns = linear.out - column < PANEL ? linear.out - column : PANEL;
        std::memcpy(bias, linear.bias + column, columns * sizeof(float));
        left = load(bias);
        right = load(bias + LANES);
    }
};

// A linear layer and the epilogue of each chunk:
// finish(first row, rows, first column, columns, products, bias).
template <typename Finish>
struct Product {
    const LinearArguments& linear;
    const Input& input;
    const Finish& finish;

    int64_t panels() const { return (linear.out + PANEL - 1) / PANEL; }
    int64_t tasks() const { return (input.rows + CHUNK_ROWS - 1) / CHUNK_ROWS * panels(); }

    // Neighbouring tasks share a chunk of rows, so that it stays in the second-level cache.
    void run(int64_t task) const {
        alignas(64) float products[CHUNK_ROWS * PANEL];
        const int64_t first = task / panels() * CHUNK_ROWS, left = input.rows - first;
        run(first, left < CHUNK_ROWS ? left : CHUNK_ROWS, task % panels(), products);
    }

    // `products` has the size of rows, padded to 32, x PANEL.
    void run(int64_t first, int64_t rows, int64_t panel, float* products) const {
        if (linear.kind == INT8)
            multiply_int8_chunk(Int8Weights(linear.weight, linear.out), linear.in, input.quantized, first, rows, panel,
                                products);
        else
            multiply_chunk(linear, 0, input.floats, first, rows, panel, products, false);
        end(first, rows, panel, products);
    }

    // Bias and epilogue, for products computed elsewhere.
    void end(int64_t first, int64_t rows, int64_t panel, const float* products) const {
        const int64_t column = panel * PANEL;
        finish(first, rows, column, linear.out - column < PANEL ? linear.out - column : PANEL, products,
               Bias(linear, column));
    }

    // All rows times panels first .. last - 1, on this thread: the rows stay in cache, and each weight is read once.
    void run_panels(int64_t first, int64_t last, float* products) const {
        for (int64_t panel = first; panel < last; ++panel) run(0, input.rows, panel, products);
    }
    void run_all(float* products) const { run_panels(0, panels(), products); }
};

}  // namespace
