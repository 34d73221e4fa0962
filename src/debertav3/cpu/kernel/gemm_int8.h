// Linear layers in int8, accumulated exactly in int32; cpu/int8.py describes the arithmetic.
//
// Weights have one scale per output. They are packed in panels of PANEL outputs, in which the inputs that one
// instruction sums up are adjacent. Inputs are quantised with one scale per row. The instructions are in int8_x86.h and
// int8_neon.h.
#pragma once

#include <atomic>
#include <cstring>

#include "gemm_tile.h"

namespace {

constexpr int64_t INT8_STEP = 64;       // inputs are padded with zeros to a multiple of this
constexpr float SMALLEST_ROW = 1e-30f;  // lower bound of a row's largest magnitude

}  // namespace

// defines Quantized, GROUP, Ints and products
#if defined(__aarch64__)
#include "int8_neon.h"
#else
#include "int8_x86.h"
#endif

namespace {

// The left operand: rows of integers with one scale per row. With HAS_SIGNS, each GROUP of magnitudes is followed by
// GROUP bytes that are 255 for negative numbers and 0 for others.
struct QuantizedRows {
    Quantized* numbers;
    float* scales;
    int32_t* offsets;  // added to all sums of a row
    int64_t stride;    // bytes

    QuantizedRows(float* block, int64_t rows, int64_t depth)
        : numbers(reinterpret_cast<Quantized*>(block + 2 * padded(rows))),
          scales(block),
          offsets(reinterpret_cast<int32_t*>(block + padded(rows))),
          stride(row_bytes(depth)) {}

    static int64_t floats(int64_t rows, int64_t depth) { return padded(rows) * (2 + row_bytes(depth) / 4); }

private:
    static int64_t padded(int64_t rows) { return round_up(rows, 32); }  // tiles are loaded in pairs
    // An odd number of cache lines, so that successive rows do not compete for the same cache sets.
    static int64_t row_bytes(int64_t depth) { return (round_up(depth, INT8_STEP) * BYTES / 64 | 1) * 64; }
};

struct Int8Weights {
    float* scales;     // one per output
    int32_t* offsets;  // one per output, correcting for the 128 added to all inputs
    int8_t* panels;    // [panels][steps][INT8_STEP / GROUP][PANEL][GROUP]

    Int8Weights(void* packed, int64_t out)
        : scales(static_cast<float*>(packed)),
          offsets(reinterpret_cast<int32_t*>(scales + round_up(out, PANEL))),
          panels(reinterpret_cast<int8_t*>(offsets + round_up(out, PANEL))) {}

    static int64_t floats(int64_t in, int64_t out) { return round_up(out, PANEL) * (round_up(in, INT8_STEP) / 4 + 2); }
};

inline void pack_int8(const int8_t* weight, const float* scale, int64_t in, int64_t out, float* packed) {
    std::memset(packed, 0, Int8Weights::floats(in, out) * sizeof(float));
    const Int8Weights places(packed, out);
    for (int64_t o = 0; o < out; ++o, weight += in) {
        int8_t* const panel = places.panels + o / PANEL * PANEL * round_up(in, INT8_STEP) + o % PANEL * GROUP;
        places.scales[o] = scale[o];
        for (int64_t k = 0; k < in; ++k) {
            panel[k / GROUP * GROUP * PANEL + k % GROUP] = weight[k];
            places.offsets[o] -= 128 * weight[k];
        }
    }
}

// Quantise row r of the input, `depth` floats.
inline void quantize_row(const float* x, int64_t depth, const QuantizedRows& rows, int64_t r) {
    const int64_t whole = depth / LANES * LANES;
    float end[LANES] = {};
    std::memcpy(end, x + whole, (depth - whole) * sizeof(float));
    Vec magnitudes = larger_magnitude(splat(SMALLEST_ROW), load(end));
    for (int64_t k = 0; k < whole; k += LANES) magnitudes = larger_magnitude(magnitudes, load(x + k));
    const float largest = largest_magnitude(magnitudes);
    const Vec factor = splat(127.0f / largest);
    Quantized* place = rows.numbers + r * rows.stride;
    Ints negatives = splat_int(0);
    for (int64_t k = 0; k < depth; k += LANES, place += LANES * BYTES) {
        const Ints numbers = to_ints(mul(load(k < whole ? x + k : end), factor));
        store_quantized(place, numbers);
        if (HAS_SIGNS) negatives = add(negatives, min(numbers, splat_int(0)));
    }
    const int64_t written = round_up(depth, LANES);
    std::memset(place, 0, (round_up(depth, INT8_STEP) - written) * BYTES);
    rows.scales[r] = largest / 127.0f;
    rows.offsets[r] = static_cast<int32_t>(0u - static_cast<uint32_t>(sum_of(negatives)));  // NaN's sum may wrap
}

#if !defined(__AMX_INT8__)

// Sums (rows x PANEL) of rows times one panel.
ONCE void multiply_int8(const Quantized* a, int64_t stride, int64_t rows, const int8_t* panel, int64_t steps,
                          int32_t* sums) {
    for_tiles<INT8_TILE_ROWS>(rows, [&](int64_t r, auto n) INLINED {
        multiply_int8_tile<n.value>(a + r * stride, stride, panel, steps, sums + r * PANEL);
    });
}

#endif

// c (rows x PANEL; room for rows padded to 32) = rows first, first + 1, ... times panel number `panel`, in fp32.
inline void multiply_int8_chunk(const Int8Weights& weights, int64_t in, const QuantizedRows& input, int64_t first,
                                int64_t rows, int64_t panel, float* c) {
    const int64_t steps = round_up(in, INT8_STEP) / INT8_STEP, column = panel * PANEL;
    multiply_int8(input.numbers + first * input.stride, input.stride, rows,
                  weights.panels + column * steps * INT8_STEP, steps, reinterpret_cast<int32_t*>(c));
    const Vec left = load(weights.scales + column), right = load(weights.scales + column + LANES);
    const Ints low_offset = HAS_OFFSET ? load_ints(weights.offsets + column) : splat_int(0);
    const Ints high_offset = HAS_OFFSET ? load_ints(weights.offsets + column + LANES) : splat_int(0);
    for (int64_t r = 0; r < rows; ++r, c += PANEL) {
        const Vec scale = splat(input.scales[first + r]);
        const Ints offset = splat_int(input.offsets[first + r]);
        const Ints low = add(load_ints(c), HAS_SIGNS ? offset : low_offset);
        const Ints high = add(load_ints(c + LANES), HAS_SIGNS ? offset : high_offset);
        store(c, mul(to_floats(low), mul(scale, left)));
        store(c + LANES, mul(to_floats(high), mul(scale, right)));
    }
}

}  // namespace
