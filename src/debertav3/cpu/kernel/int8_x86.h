// Part of gemm_int8.h, for x86: vectors of integers, and the products of one instruction.
//
// AMX multiplies signed bytes. VNNI needs one unsigned operand, so 128 is added to the inputs and 128 times the sum of
// the weights is subtracted. Without either, the magnitudes of the inputs are multiplied by the weights, whose bits are
// inverted if the input is negative: |x| ~w = x w - |x|. The sum of two such products is at most 2 * 127 * 128, so the
// 16 bits of `vpmaddubsw` cannot saturate. The magnitudes of a row's negative inputs are then added to its sums.
#pragma once

namespace {

#if defined(__AMX_INT8__)
using Quantized = int8_t;
constexpr bool HAS_OFFSET = false, HAS_SIGNS = false;
#elif defined(__AVX512VNNI__)
using Quantized = uint8_t;
constexpr bool HAS_OFFSET = true, HAS_SIGNS = false;
#else
using Quantized = uint8_t;
constexpr bool HAS_OFFSET = false, HAS_SIGNS = true;
#endif
constexpr int64_t GROUP = 4;
constexpr int64_t BYTES = HAS_SIGNS ? 2 : 1;  // per input

// With NaN in the row, the sum may wrap, which is undefined in g++'s `_mm512_reduce_add_epi32`.
inline int32_t sum_of_eight(__m256i v) {
    __m128i x = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}

#if defined(__AVX512F__)

using Ints = __m512i;

inline Ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
inline void store_ints(void* p, Ints v) { _mm512_storeu_si512(p, v); }
inline Ints splat_int(int32_t x) { return _mm512_set1_epi32(x); }
inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline Ints min(Ints a, Ints b) { return _mm512_min_epi32(a, b); }
inline int32_t sum_of(Ints v) {
    return sum_of_eight(_mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1)));
}
inline Vec to_floats(Ints v) { return _mm512_cvtepi32_ps(v); }
inline Ints to_ints(Vec v) { return _mm512_cvtps_epi32(v); }  // rounds to nearest
// The larger magnitude; NaN is larger than all others.
inline Vec larger_magnitude(Vec largest, Vec x) {
    const Ints magnitude = _mm512_and_si512(_mm512_castps_si512(x), splat_int(0x7fffffff));
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(largest), magnitude));
}
inline float largest_magnitude(Vec v) {
    const int32_t bits = _mm512_reduce_max_epi32(_mm512_castps_si512(v));
    return _mm512_cvtss_f32(_mm512_castsi512_ps(splat_int(bits)));
}
// LANES numbers of -127 to 127.
inline void store_quantized(Quantized* p, Ints v) {
#if defined(__AMX_INT8__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
#elif defined(__AVX512VNNI__)
    const __m128i bytes = _mm512_cvtepi32_epi8(v);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_xor_si128(bytes, _mm_set1_epi8(-128)));  // plus 128
#else
    const Ints both = _mm512_packs_epi32(_mm512_abs_epi32(v), _mm512_srai_epi32(v, 31));
    const Ints bytes = _mm512_packs_epi16(both, both);  // each group of 8 twice
    const Ints once = _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), bytes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(once));
#endif
}
#if defined(__AVX512VNNI__)
inline Ints add_products(Ints sum, Ints x, Ints, Ints weights) {
    sum = _mm512_dpbusd_epi32(sum, x, weights);
    __asm__("" : "+v"(sum));  // keeps g++ 12 from copying every sum to another register and back
    return sum;
}
#elif !defined(__AMX_INT8__)
inline Ints add_products(Ints sum, Ints magnitudes, Ints signs, Ints weights) {
    const Ints pairs = _mm512_maddubs_epi16(magnitudes, _mm512_xor_si512(weights, signs));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
#endif

#else

using Ints = __m256i;

inline Ints load_ints(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store_ints(void* p, Ints v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline Ints splat_int(int32_t x) { return _mm256_set1_epi32(x); }
inline Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
inline Ints min(Ints a, Ints b) { return _mm256_min_epi32(a, b); }
inline int32_t sum_of(Ints v) { return sum_of_eight(v); }
inline Vec to_floats(Ints v) { return _mm256_cvtepi32_ps(v); }
inline Ints to_ints(Vec v) { return _mm256_cvtps_epi32(v); }
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
inline void store_quantized(Quantized* p, Ints v) {
    const Ints both = _mm256_packs_epi32(_mm256_abs_epi32(v), _mm256_srai_epi32(v, 31));
    const Ints bytes = _mm256_packs_epi16(both, both);  // each group of 8 twice
    const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_unpacklo_epi64(low, high));
}
inline Ints add_products(Ints sum, Ints magnitudes, Ints signs, Ints weights) {
    const Ints pairs = _mm256_maddubs_epi16(magnitudes, _mm256_xor_si256(weights, signs));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#endif

#if defined(__AMX_INT8__)

// Sums (rows x PANEL, padded to 32 rows) of rows times one panel.
inline void multiply_int8(const int8_t* a, int64_t stride, int64_t rows, const int8_t* panel, int64_t steps,
                          int32_t* sums) {
    constexpr int64_t TILE_BYTES = INT8_STEP * PANEL, SUMS = PANEL * sizeof(int32_t);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // intrinsics are not known to read memory
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

inline Ints splat_group(const Quantized* p) {
    int32_t group;
    std::memcpy(&group, p, sizeof group);
    return splat_int(group);
}

template <int ROWS>
INLINED inline void multiply_int8_tile(const Quantized* a, int64_t stride, const int8_t* panel, int64_t steps,
                               int32_t* sums) {
    Ints left[ROWS], right[ROWS];
    for (int r = 0; r < ROWS; ++r) left[r] = right[r] = splat_int(0);
    for (int64_t k = 0; k < steps * INT8_STEP; k += GROUP, panel += PANEL * GROUP) {
        const Ints w0 = load_ints(panel), w1 = load_ints(panel + LANES * GROUP);
        for (int r = 0; r < ROWS; ++r) {
            const Quantized* const place = a + r * stride + k * BYTES;
            const Ints x = splat_group(place), signs = HAS_SIGNS ? splat_group(place + GROUP) : x;
            left[r] = add_products(left[r], x, signs, w0);
            right[r] = add_products(right[r], x, signs, w1);
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        store_ints(sums + r * PANEL, left[r]);
        store_ints(sums + r * PANEL + LANES, right[r]);
    }
}

#endif

}  // namespace
