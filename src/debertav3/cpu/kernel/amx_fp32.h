// Products in fp32 on AMX, which multiplies bf16. An fp32 number is split into three bf16 parts of 8 bits each, and a
// product of two numbers is the sum of the six largest products of their parts, accumulated in fp32: as exact as fp32.
// Two parts and three products keep 16 bits. Weights stay in fp32 and are split on their way through the first-level
// cache, which takes less time than reading them.
#pragma once

#include <atomic>

#include "gemm_int8.h"

namespace {

constexpr int64_t STEP = 32;  // inputs per product; two per row of a tile
constexpr int64_t TILE = 16;  // rows of a tile, and columns of a result
constexpr int64_t TILE_NUMBERS = TILE * STEP;
constexpr int64_t LINE_FLOATS = 16;  // floats in a cache line
static_assert(PANEL == 2 * TILE);

// Tile registers, configured as all products here use them; released by the destructor.
class Tiles {
public:
    Tiles() {
        struct {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } form;
        _tile_loadconfig(&form);
    }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
    ~Tiles() { _tile_release(); }
};

// 16 numbers as bf16; x keeps the remainder.
inline __m256i split_bf16(Vec& x) {
    const __m256i part = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
    x = sub(x, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(part), 16)));
    return part;
}

// Store 32 numbers of a row in `parts` tiles, `distance` apart.
inline void split(Vec low, Vec high, int64_t parts, uint16_t* place, int64_t distance) {
    for (int p = 0;; ++p, place += distance) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(place), split_bf16(low));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(place + LANES), split_bf16(high));
        if (p + 1 == parts) return;
    }
}

inline Vec load_some(const float* x, int64_t count) {
    if (count >= LANES) return load(x);
    return count <= 0 ? splat(0.0f) : _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), x);
}

// The left operand in fp32, (rows, depth), as tiles [pairs of 16 rows][steps][parts][2][16 x 32].
struct FloatRows {
    static constexpr bool ARE_TILES = true;
    const float* x;
    int64_t depth, parts;
    uint16_t* tiles;

    static int64_t floats(int64_t rows, int64_t depth, int64_t parts) {
        return round_up(rows, PANEL) * round_up(depth, STEP) * parts / 2;
    }
    FloatRows(const float* numbers, int64_t width, int64_t num_parts, float* block)
        : x(numbers), depth(width), parts(num_parts), tiles(reinterpret_cast<uint16_t*>(block)) {}

    int64_t steps() const { return (depth + STEP - 1) / STEP; }
    uint16_t* tile(int64_t row, int64_t step) const {
        return tiles + (row / PANEL * steps() + step) * parts * 2 * TILE_NUMBERS;
    }
    void prepare(int64_t r) const {
        const int64_t width = depth, step_numbers = parts * 2 * TILE_NUMBERS;  // so that stores force no reload
        const float* row = x + r * width;
        uint16_t* place = tile(r, 0) + r % PANEL * STEP;
        for (int64_t k = 0; k < width; k += STEP, place += step_numbers)
            split(load_some(row + k, width - k), load_some(row + k + LANES, width - k - LANES), parts, place,
                  2 * TILE_NUMBERS);
    }
};

// The upper 16 bits of two vectors, interleaved; the vectors keep the remainders. Truncated or rounded: three parts
// represent a number exactly either way; with two, both must be rounded.
template <bool ROUNDS>
inline __m512i take_upper(Vec& even, Vec& odd) {
    const __m512i upper = splat_int(static_cast<int32_t>(0xffff0000));
    __m512i a = _mm512_castps_si512(even), b = _mm512_castps_si512(odd);
    if constexpr (ROUNDS) {
        a = _mm512_add_epi32(a, splat_int(0x8000));
        b = _mm512_add_epi32(b, splat_int(0x8000));
    }
    even = sub(even, _mm512_castsi512_ps(_mm512_and_si512(a, upper)));
    odd = sub(odd, _mm512_castsi512_ps(_mm512_and_si512(b, upper)));
    return _mm512_ternarylogic_epi32(upper, b, _mm512_srli_epi32(a, 16), 0xca);  // upper ? b : a >> 16
}

constexpr int SPLITS = 32;  // vectors of pairs per step

// Splits `begin` to `end` of one step of a panel, into tiles [PARTS][2][16 pairs of inputs][16 outputs][2].
template <int PARTS>
inline void split_some(const float* panel, int begin, int end, uint16_t* tiles) {
    for (int i = begin; i < end; ++i) {
        const float* place = panel + i / 2 * 2 * PANEL + i % 2 * LANES;
        Vec even = load(place), odd = load(place + PANEL);
        uint16_t* to = tiles + i % 2 * TILE_NUMBERS + i / 2 * STEP;
        for (int p = 0; p < PARTS; ++p, to += 2 * TILE_NUMBERS)
            _mm512_store_si512(to, take_upper<PARTS == 2>(even, odd));
    }
}

#define LOAD_LEFT(part)                                                \
    _tile_loadd(4, a + (part) * 2 * TILE_NUMBERS, 64);                 \
    _tile_loadd(5, a + (part) * 2 * TILE_NUMBERS + TILE_NUMBERS, 64)
#define LOAD_RIGHT(part)                                               \
    _tile_loadd(6, b + (part) * 2 * TILE_NUMBERS, 64);                 \
    _tile_loadd(7, b + (part) * 2 * TILE_NUMBERS + TILE_NUMBERS, 64)
#define MULTIPLY()          \
    _tile_dpbf16ps(0, 4, 6); \
    _tile_dpbf16ps(1, 4, 7); \
    _tile_dpbf16ps(2, 5, 6); \
    _tile_dpbf16ps(3, 5, 7)

// Add the products of one step to the sums in registers 0 to 3. The vector units are idle meanwhile, so `between(i)` is
// called PRODUCTS times to give them work.
template <int PARTS>
constexpr int PRODUCTS = PARTS == 3 ? 6 : 3;

template <int PARTS, typename Between>
inline void multiply_step(const uint16_t* a, const uint16_t* b, const Between& between) {
    if constexpr (PARTS == 3) {
        LOAD_LEFT(2);
        LOAD_RIGHT(0);
        MULTIPLY();
        between(0);
        LOAD_LEFT(1);
        MULTIPLY();
        between(1);
        LOAD_RIGHT(1);
        MULTIPLY();
        between(2);
        LOAD_LEFT(0);
        MULTIPLY();
        between(3);
        LOAD_RIGHT(2);
        MULTIPLY();
        between(4);
        LOAD_RIGHT(0);
        MULTIPLY();
        between(5);
    } else {
        LOAD_LEFT(1);
        LOAD_RIGHT(0);
        MULTIPLY();
        between(0);
        LOAD_LEFT(0);
        MULTIPLY();
        between(1);
        LOAD_RIGHT(1);
        MULTIPLY();
        between(2);
    }
}

inline void load_sums(const float* c, bool adds) {
    if (adds) {
        _tile_loadd(0, c, PANEL * sizeof(float));
        _tile_loadd(1, c + TILE, PANEL * sizeof(float));
        _tile_loadd(2, c + TILE * PANEL, PANEL * sizeof(float));
        _tile_loadd(3, c + TILE * PANEL + TILE, PANEL * sizeof(float));
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
}

inline void store_sums(float* c) {
    _tile_stored(0, c, PANEL * sizeof(float));
    _tile_stored(1, c + TILE, PANEL * sizeof(float));
    _tile_stored(2, c + TILE * PANEL, PANEL * sizeof(float));
    _tile_stored(3, c + TILE * PANEL + TILE, PANEL * sizeof(float));
}

// Prefetch into the first-level cache, or into the second-level cache what is needed later.
inline void prefetch_soon(const float* x, int64_t lines) {
    for (int64_t i = 0; i < lines; ++i) _mm_prefetch(reinterpret_cast<const char*>(x + i * LINE_FLOATS), _MM_HINT_T0);
}
inline void prefetch_later(const float* x, int64_t lines) {
    for (int64_t i = 0; i < lines; ++i) _mm_prefetch(reinterpret_cast<const char*>(x + i * LINE_FLOATS), _MM_HINT_T1);
}

// One panel. While the first 32 rows are multiplied by a step, the weights of the next step are split and those of a
// later step prefetched; the other rows reuse the split weights.
template <int PARTS>
class PanelProduct {
public:
    PanelProduct(const FloatRows& input, int64_t first, int64_t rows, const float* weight, int64_t panel_floats)
        : input_(input),
          first_(first),
          rows_(rows),
          all_(input.steps()),
          ring_(rows > PANEL ? MOST_STEPS + 1 : 2),
          weight_(weight),
          next_panel_(weight + panel_floats) {}

    // c (rows x PANEL) = or += the product.
    void run(float* c, bool adds) {
        split_some<PARTS>(weight_, 0, SPLITS, tiles_);
        const int64_t most = rows_ > PANEL ? MOST_STEPS : all_;
        for (int64_t s = 0; s < all_; s += most) {
            const int64_t end = all_ - s < most ? all_ : s + most;
            run_first(s, end, c, adds || s > 0);
            if (rows_ > PANEL) run_others(s, end, c, adds || s > 0);
        }
    }

private:
    static constexpr int64_t STEP_NUMBERS = PARTS * 2 * TILE_NUMBERS, STEP_FLOATS = STEP * PANEL;
    static constexpr int64_t STEP_LINES = STEP_FLOATS / LINE_FLOATS;
    static constexpr int64_t MOST_STEPS = 12;  // parts that stay in the second-level cache

    uint16_t* tiles(int64_t s) { return tiles_ + s % ring_ * STEP_NUMBERS; }

    void run_first(int64_t s, int64_t end, float* c, bool adds) {
        constexpr int PIECES = PRODUCTS<PARTS>;
        constexpr int64_t LINES = (STEP_LINES + PIECES - 1) / PIECES;
        load_sums(c, adds);
        const uint16_t* a = input_.tile(first_, s);
        for (; s < end; ++s, a += STEP_NUMBERS) {
            const float* next = s + 1 < all_ ? weight_ + (s + 1) * STEP_FLOATS : next_panel_ - STEP_FLOATS;
            uint16_t* const place = tiles(s + 1);
            std::atomic_signal_fence(std::memory_order_seq_cst);  // intrinsics are not known to read memory
            multiply_step<PARTS>(a, tiles(s), [&](int i) {
                prefetch_soon(next + STEP_FLOATS + i * LINES * LINE_FLOATS, LINES);
                if (s + 1 < all_) split_some<PARTS>(next, i * SPLITS / PIECES, (i + 1) * SPLITS / PIECES, place);
            });
        }
        store_sums(c);
    }

    void run_others(int64_t s, int64_t end, float* c, bool adds) {
        const int64_t lines = (STEP_LINES * PANEL + rows_ - PANEL - 1) / (rows_ - PANEL);
        const float* later = end < all_ ? weight_ + end * STEP_FLOATS : next_panel_;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        for (int64_t r = PANEL; r < rows_; r += PANEL) {
            c += PANEL * PANEL;
            const uint16_t* a = input_.tile(first_ + r, s);
            load_sums(c, adds);
            for (int64_t k = s; k < end; ++k, a += STEP_NUMBERS, later += lines * LINE_FLOATS) {
                prefetch_later(later, lines);
                multiply_step<PARTS>(a, tiles(k), [](int) {});
            }
            store_sums(c);
        }
    }

    const FloatRows& input_;
    const int64_t first_, rows_, all_, ring_;
    const float *const weight_, *const next_panel_;
    alignas(64) uint16_t tiles_[(MOST_STEPS + 1) * STEP_NUMBERS];
};

// c (rows x PANEL) = or += rows first, first + 1, ... times the weights from `weight` on, in one of many panels.
inline void multiply_floats(const FloatRows& input, int64_t first, int64_t rows, const float* weight,
                            int64_t panel_floats, float* c, bool adds) {
    if (input.parts == 3)
        PanelProduct<3>(input, first, rows, weight, panel_floats).run(c, adds);
    else
        PanelProduct<2>(input, first, rows, weight, panel_floats).run(c, adds);
}

}  // namespace
