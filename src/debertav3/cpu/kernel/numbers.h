// Numbers in memory, fp32 or bf16, read and written as vectors of fp32; and what training needs of vectors.
#pragma once

#include "simd.h"

namespace {

struct Fp32 {
    using Number = float;
    static Vec read(const float* p) { return load(p); }
    static void write(float* p, Vec v) { store(p, v); }
};

#if defined(__AVX512F__)

struct Bf16 {
    using Number = uint16_t;
    static Vec read(const uint16_t* p) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
        return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }
    // To the nearest, halves to even; NaN stays NaN.
    static void write(uint16_t* p, Vec v) {
        const __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
    }
};

// v, and 0 where x < limit.
inline Vec zero_below(Vec x, float limit, Vec v) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_NLT_UQ), v);
}

// v where the random number of a column is at least the threshold, else 0. A row has a key, and columns count from
// `first`. The mixing is that of "lowbias32"
// (Wellons, "Prospecting for hash functions", 2018).
inline Vec drop(Vec v, uint32_t key, int64_t first, uint32_t threshold) {
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i column = _mm512_add_epi32(count, _mm512_set1_epi32(static_cast<int>(first)));
    __m512i x = _mm512_add_epi32(_mm512_mullo_epi32(column, _mm512_set1_epi32(static_cast<int>(0x9e3779b9u))),
                                 _mm512_set1_epi32(static_cast<int>(key)));
    x = _mm512_xor_si512(x, _mm512_srli_epi32(x, 16));
    x = _mm512_mullo_epi32(x, _mm512_set1_epi32(0x7feb352d));
    x = _mm512_xor_si512(x, _mm512_srli_epi32(x, 15));
    x = _mm512_mullo_epi32(x, _mm512_set1_epi32(static_cast<int>(0x846ca68bu)));
    x = _mm512_xor_si512(x, _mm512_srli_epi32(x, 16));
    return _mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(x, _mm512_set1_epi32(static_cast<int>(threshold))), v);
}

#else

struct Bf16 {
    using Number = uint16_t;
    static Vec read(const uint16_t* p) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
    }
    static void write(uint16_t* p, Vec v) {
        const __m256i bits = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
        __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        rounded = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000),
                                     _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
        rounded = _mm256_srli_epi32(rounded, 16);
        const __m128i low = _mm256_castsi256_si128(rounded), high = _mm256_extracti128_si256(rounded, 1);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(low, high));
    }
};

inline Vec zero_below(Vec x, float limit, Vec v) {
    return _mm256_and_ps(_mm256_cmp_ps(x, _mm256_set1_ps(limit), _CMP_NLT_UQ), v);
}

inline Vec drop(Vec v, uint32_t key, int64_t first, uint32_t threshold) {
    const __m256i count = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i column = _mm256_add_epi32(count, _mm256_set1_epi32(static_cast<int>(first)));
    __m256i x = _mm256_add_epi32(_mm256_mullo_epi32(column, _mm256_set1_epi32(static_cast<int>(0x9e3779b9u))),
                                 _mm256_set1_epi32(static_cast<int>(key)));
    x = _mm256_xor_si256(x, _mm256_srli_epi32(x, 16));
    x = _mm256_mullo_epi32(x, _mm256_set1_epi32(0x7feb352d));
    x = _mm256_xor_si256(x, _mm256_srli_epi32(x, 15));
    x = _mm256_mullo_epi32(x, _mm256_set1_epi32(static_cast<int>(0x846ca68bu)));
    x = _mm256_xor_si256(x, _mm256_srli_epi32(x, 16));
    const __m256i limit = _mm256_set1_epi32(static_cast<int>(threshold));
    return _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(x, limit), x)), v);
}

#endif

}  // namespace
