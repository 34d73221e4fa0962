// Small matrix products, C = A B, with B in panels: PANEL columns side by side, one row of them after the other.
#pragma once

#include "simd.h"

namespace {

constexpr int PANEL = 2 * LANES;

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

template <int ROWS>
inline void multiply_tile(const float* a, int64_t a_stride, const float* panel, int64_t depth, float* c,
                          int64_t c_stride, bool adds) {
    Vec left[ROWS], right[ROWS];
    for (int r = 0; r < ROWS; ++r) {
        left[r] = adds ? load(c + r * c_stride) : splat(0.0f);
        right[r] = adds ? load(c + r * c_stride + LANES) : splat(0.0f);
    }
    for (int64_t k = 0; k < depth; ++k, panel += PANEL) {
        const Vec b0 = load(panel), b1 = load(panel + LANES);
        for (int r = 0; r < ROWS; ++r) {
            const Vec x = splat(a[r * a_stride + k]);
            left[r] = fma(x, b0, left[r]);
            right[r] = fma(x, b1, right[r]);
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        store(c + r * c_stride, left[r]);
        store(c + r * c_stride + LANES, right[r]);
    }
}

// One panel: c (rows x PANEL) = or += a (rows x depth) times the panel (depth x PANEL).
inline void multiply_panel(const float* a, int64_t a_stride, int64_t rows, const float* panel, int64_t depth,
                           float* c, int64_t c_stride, bool adds) {
    int64_t r = 0;
    for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
        multiply_tile<TILE_ROWS>(a + r * a_stride, a_stride, panel, depth, c + r * c_stride, c_stride, adds);
    for (; r + 2 <= rows; r += 2)
        multiply_tile<2>(a + r * a_stride, a_stride, panel, depth, c + r * c_stride, c_stride, adds);
    for (; r < rows; ++r)
        multiply_tile<1>(a + r * a_stride, a_stride, panel, depth, c + r * c_stride, c_stride, adds);
}

// Rows of x (rows x depth) as the columns of one panel (depth x PANEL); missing rows become zeros.
inline void pack_panel(const float* x, int64_t x_stride, int64_t rows, int64_t depth, float factor, float* panel) {
    for (int64_t half = 0; half < PANEL; half += LANES) {
        int64_t k = 0;
        for (; k + LANES <= depth; k += LANES) {
            Vec block[LANES];
            for (int r = 0; r < LANES; ++r)
                block[r] = half + r < rows ? load(x + (half + r) * x_stride + k) : splat(0.0f);
            transpose(block);
            for (int r = 0; r < LANES; ++r) store(panel + (k + r) * PANEL + half, mul(block[r], splat(factor)));
        }
        for (; k < depth; ++k)
            for (int r = 0; r < LANES; ++r)
                panel[k * PANEL + half + r] = half + r < rows ? x[(half + r) * x_stride + k] * factor : 0.0f;
    }
}

}  // namespace
