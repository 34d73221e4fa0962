// Small matrix products, C = A B, with B in panels of PANEL columns, each stored row by row.
#pragma once

#include <type_traits>

#include "simd.h"

// A tile's loop is inlined into the function that walks over a panel, which is not inlined: a call per tile costs 5 %.
#define INLINED __attribute__((always_inline))
#define ONCE __attribute__((noinline))

namespace {

constexpr int PANEL = 2 * LANES;

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Call run(std::integral_constant<int, size>) for a size from 1 to MOST.
template <int MOST, typename Run>
INLINED inline void with_rows(int64_t size, const Run& run) {
    if (MOST == 1 || size == MOST)
        run(std::integral_constant<int, MOST>());
    else if constexpr (MOST > 1)
        with_rows<MOST - 1>(size, run);
}

template <int ROWS>
INLINED inline void multiply_tile(const float* a, int64_t a_stride, const float* panel, int64_t depth, float* c,
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

// Call tile(first, std::integral_constant<int, n>) for tiles of at most MOST rows that divide `rows` evenly: a tile of
// one or two rows would be limited by latency.
template <int MOST, typename Tile>
INLINED inline void for_tiles(int64_t rows, const Tile& tile) {
    const uint32_t count = static_cast<uint32_t>(rows), tiles = (count + MOST - 1) / MOST;
    if (tiles == 0) return;
    const uint32_t size = count / tiles, larger = count - size * tiles;
    for (uint32_t t = 0, r = 0; t < tiles; ++t) {
        const uint32_t own = t < larger ? size + 1 : size;
        with_rows<MOST>(own, [&](auto n) INLINED { tile(static_cast<int64_t>(r), n); });
        r += own;
    }
}

// One panel: c (rows x PANEL) = or += a (rows x depth) times the panel (depth x PANEL), in tiles of at most MOST rows.
template <int MOST>
ONCE inline void multiply_panel(const float* a, int64_t a_stride, int64_t rows, const float* panel, int64_t depth,
                                float* c, int64_t c_stride, bool adds) {
    for_tiles<MOST>(rows, [&](int64_t r, auto n) INLINED {
        multiply_tile<n.value>(a + r * a_stride, a_stride, panel, depth, c + r * c_stride, c_stride, adds);
    });
}

// Rows of x (rows x depth) as the columns of one panel (depth x PANEL); missing rows are zeros.
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
