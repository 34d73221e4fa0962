// Products of int8 numbers, exact in int32, for linear layers: see cpu/int8.py for the arithmetic.
//
// Weights have one scale for each output, and are packed in panels: groups of inputs that one instruction adds up
// lie side by side, PANEL outputs after one another. Inputs are quantised row by row, each with its own scale.
// AMX multiplies signed bytes; VNNI needs one side unsigned, so 128 is added to the inputs and 128 times the sum of
// the weights taken away; without either, 16-bit numbers are multiplied, which cannot overflow. Arm: int8_neon.h.
#pragma once

#include <atomic>
#include <cstring>
#include <type_traits>

#include "gemm_tile.h"

namespace {

#if defined(__aarch64__)
using Quantized = int8_t;
#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr int64_t GROUP = 8;
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr int64_t GROUP = 4;
#else
constexpr int64_t GROUP = 2;
#endif
#elif defined(__AMX_INT8__)
using Quantized = int8_t;
constexpr int64_t GROUP = 4;
#elif defined(__AVX512VNNI__)
using Quantized = uint8_t;
constexpr int64_t GROUP = 4;
#else
using Quantized = int16_t;
constexpr int64_t GROUP = 2;
#endif

constexpr int64_t INT8_STEP = 64;  // inputs are padded to a multiple of it, by weights of 0
constexpr float SMALLEST_ROW = 1e-30f;  // the largest number of a row counts as this, if it is smaller

// The left side of products: rows of whole numbers, and what each row is to be multiplied by.
struct QuantizedRows {
    Quantized* numbers;
    float* scales;
    int64_t stride;  // numbers

    QuantizedRows(float* block, int64_t rows, int64_t depth)
        : numbers(reinterpret_cast<Quantized*>(block + padded(rows))), scales(block), stride(row_numbers(depth)) {}

    static int64_t floats(int64_t rows, int64_t depth) {
        return padded(rows) * (1 + row_numbers(depth) * static_cast<int64_t>(sizeof(Quantized)) / 4);
    }

private:
    static int64_t padded(int64_t rows) { return round_up(rows, 32); }  // matrix tiles are loaded in twos
    // An odd number of cache lines, so that rows below one another do not compete for the same places.
    static int64_t row_numbers(int64_t depth) { return (round_up(depth, INT8_STEP) / INT8_STEP | 1) * INT8_STEP; }
};

struct Int8Weights {
    float* scales;   // by output
    int32_t* sums;   // 128 times the sum of an output's weights
    int8_t* panels;  // [panels][steps][INT8_STEP / GROUP][PANEL][GROUP]

    Int8Weights(void* packed, int64_t out)
        : scales(static_cast<float*>(packed)),
          sums(reinterpret_cast<int32_t*>(scales + round_up(out, PANEL))),
          panels(reinterpret_cast<int8_t*>(sums + round_up(out, PANEL))) {}

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
            places.sums[o] += 128 * weight[k];
        }
    }
}

#if defined(__aarch64__)

}  // namespace

#include "int8_neon.h"

namespace {

#elif defined(__AVX512F__)

using Ints = __m512i;

inline Ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
inline void store_ints(void* p, Ints v) { _mm512_storeu_si512(p, v); }
inline Ints splat_int(int32_t x) { return _mm512_set1_epi32(x); }
inline Ints subtract(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
inline Vec to_floats(Ints v) { return _mm512_cvtepi32_ps(v); }
// The larger magnitude; NaN is larger than all others.
inline Vec larger_magnitude(Vec largest, Vec x) {
    const Ints magnitude = _mm512_and_si512(_mm512_castps_si512(x), splat_int(0x7fffffff));
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(largest), magnitude));
}
inline float largest_magnitude(Vec v) {
    const int32_t bits = _mm512_reduce_max_epi32(_mm512_castps_si512(v));
    return _mm512_cvtss_f32(_mm512_castsi512_ps(splat_int(bits)));
}
// LANES numbers, rounded to the nearest.
inline void store_quantized(Quantized* p, Vec v) {
    const Ints whole = _mm512_cvtps_epi32(v);
#if defined(__AMX_INT8__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(whole));
#elif defined(__AVX512VNNI__)
    const __m128i bytes = _mm512_cvtepi32_epi8(whole);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_xor_si128(bytes, _mm_set1_epi8(-128)));  // plus 128
#else
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(whole));
#endif
}
#if defined(__AVX512VNNI__)
inline Ints load_weights(const int8_t* p) { return load_ints(p); }
inline Ints add_products(Ints sum, Ints x, Ints weights) { return _mm512_dpbusd_epi32(sum, x, weights); }
#elif !defined(__AMX_INT8__)
inline Ints load_weights(const int8_t* p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Ints add_products(Ints sum, Ints x, Ints weights) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(x, weights));
}
#endif

#else

using Ints = __m256i;

inline Ints load_ints(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store_ints(void* p, Ints v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline Ints splat_int(int32_t x) { return _mm256_set1_epi32(x); }
inline Ints subtract(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
inline Vec to_floats(Ints v) { return _mm256_cvtepi32_ps(v); }
inline Vec larger_magnitude(Vec largest, Vec x) {
    const Ints magnitude = _mm256_and_si256(_mm256_castps_si256(x), splat_int(0x7fffffff));
    return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(largest), magnitude));
}
inline float largest_magnitude(Vec v) {
    const Ints bits = _mm256_castps_si256(v);
    __m128i x = _mm_max_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4e));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(x));
}
inline void store_quantized(Quantized* p, Vec v) {
    const Ints whole = _mm256_cvtps_epi32(v);
    const __m128i low = _mm256_castsi256_si128(whole), high = _mm256_extracti128_si256(whole, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(low, high));
}
inline Ints load_weights(const int8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Ints add_products(Ints sum, Ints x, Ints weights) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, weights));
}

#endif

// Row r of the input, from `depth` floats.
inline void quantize_row(const float* x, int64_t depth, const QuantizedRows& rows, int64_t r) {
    const int64_t whole = depth / LANES * LANES;
    float end[LANES] = {};
    std::memcpy(end, x + whole, (depth - whole) * sizeof(float));
    Vec magnitudes = larger_magnitude(splat(SMALLEST_ROW), load(end));
    for (int64_t k = 0; k < whole; k += LANES) magnitudes = larger_magnitude(magnitudes, load(x + k));
    const float largest = largest_magnitude(magnitudes);
    const Vec factor = splat(127.0f / largest);
    Quantized* const place = rows.numbers + r * rows.stride;
    for (int64_t k = 0; k < whole; k += LANES) store_quantized(place + k, mul(load(x + k), factor));
    if (whole < depth) store_quantized(place + whole, mul(load(end), factor));
    rows.scales[r] = largest / 127.0f;
}

#if defined(__AMX_INT8__)

// Sums (rows x PANEL, padded to 32 rows) of rows times one panel.
inline void multiply_int8(const int8_t* a, int64_t stride, int64_t rows, const int8_t* panel, int64_t steps,
                          int32_t* sums) {
    constexpr int64_t TILE_BYTES = INT8_STEP * PANEL, SUMS = PANEL * sizeof(int32_t);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the intrinsics do not say that they read memory
    for (int64_t r = 0; r < rows; r += 32, a += 32 * stride, sums += 32 * PANEL) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t s = 0; s < steps; ++s) {
            _tile_loadd(4, a + s * INT8_STEP, stride);
            _tile_loadd(5, a + 16 * stride + s * INT8_STEP, stride);
            _tile_loadd(6, panel + s * TILE_BYTES, PANEL * GROUP);
            _tile_loadd(7, panel + s * TILE_BYTES + 16 * GROUP, PANEL * GROUP);
            _tile_dpbssd(0, 4, 6);
            _tile_dpbssd(1, 4, 7);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
        _tile_stored(0, sums, SUMS);
        _tile_stored(1, sums + 16, SUMS);
        _tile_stored(2, sums + 16 * PANEL, SUMS);
        _tile_stored(3, sums + 16 * PANEL + 16, SUMS);
    }
}

#else

#if !defined(__aarch64__)

template <int ROWS>
inline void multiply_int8_tile(const Quantized* a, int64_t stride, const int8_t* panel, int64_t steps,
                               int32_t* sums) {
    Ints left[ROWS], right[ROWS];
    for (int r = 0; r < ROWS; ++r) left[r] = right[r] = splat_int(0);
    for (int64_t k = 0; k < steps * INT8_STEP; k += GROUP, panel += PANEL * GROUP) {
        const Ints w0 = load_weights(panel), w1 = load_weights(panel + LANES * GROUP);
        for (int r = 0; r < ROWS; ++r) {
            int32_t group;
            std::memcpy(&group, a + r * stride + k, sizeof group);
            const Ints x = splat_int(group);
            left[r] = add_products(left[r], x, w0);
            right[r] = add_products(right[r], x, w1);
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        store_ints(sums + r * PANEL, left[r]);
        store_ints(sums + r * PANEL + LANES, right[r]);
    }
}

#endif

inline void multiply_int8(const Quantized* a, int64_t stride, int64_t rows, const int8_t* panel, int64_t steps,
                          int32_t* sums) {
    int64_t r = 0;
    for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
        multiply_int8_tile<TILE_ROWS>(a + r * stride, stride, panel, steps, sums + r * PANEL);
    for (; r + 2 <= rows; r += 2) multiply_int8_tile<2>(a + r * stride, stride, panel, steps, sums + r * PANEL);
    for (; r < rows; ++r) multiply_int8_tile<1>(a + r * stride, stride, panel, steps, sums + r * PANEL);
}

#endif

// c (rows x PANEL; room for rows padded to 32) = rows first, first + 1, ... times panel number `panel`, in fp32.
inline void multiply_int8_chunk(const Int8Weights& weights, int64_t in, const QuantizedRows& input, int64_t first,
                                int64_t rows, int64_t panel, float* c) {
    const int64_t steps = round_up(in, INT8_STEP) / INT8_STEP, column = panel * PANEL;
    multiply_int8(input.numbers + first * input.stride, input.stride, rows,
                  weights.panels + column * steps * INT8_STEP, steps, reinterpret_cast<int32_t*>(c));
    const Vec left = load(weights.scales + column), right = load(weights.scales + column + LANES);
    for (int64_t r = 0; r < rows; ++r, c += PANEL) {
        const Vec scale = splat(input.scales[first + r]);
        Ints low = load_ints(c), high = load_ints(c + LANES);
        if constexpr (std::is_unsigned_v<Quantized>) {
            low = subtract(low, load_ints(weights.sums + column));
            high = subtract(high, load_ints(weights.sums + column + LANES));
        }
        store(c, mul(to_floats(low), mul(scale, left)));
        store(c + LANES, mul(to_floats(high), mul(scale, right)));
    }
}

}  // namespace
