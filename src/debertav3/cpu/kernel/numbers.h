// Arrays of fp32 or bf16, read and written as vectors of fp32, and vector functions for training.
#pragma once

#include "simd.h"

namespace {

constexpr float LOWEST_EXPONENT = -80.0f;  // smaller weights become 0, because subnormal numbers would slow the matmuls

struct Fp32 {
    using Number = float;
    static Vec read(const float* p) { return load(p); }
    static void write(float* p, Vec v) { store(p, v); }
};

#if defined(__aarch64__)

struct Bf16 {
    using Number = uint16_t;
    static Vec read(const uint16_t* p) {
        const uint16x8_t numbers = vld1q_u16(p);
        return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(numbers), 16)),
                vreinterpretq_f32_u32(vshll_n_u16(vget_high_u16(numbers), 16))};
    }
    static void write(uint16_t* p, Vec v) { vst1q_u16(p, vcombine_u16(narrowed(v.low), narrowed(v.high))); }

private:
    static uint16x4_t narrowed(float32x4_t v) {  // to nearest, ties to even; NaN stays NaN
        const uint32x4_t bits = vreinterpretq_u32_f32(v), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
        const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
        return vshrn_n_u32(vbslq_u32(vceqq_f32(v, v), rounded, vdupq_n_u32(0x7fc00000)), 16);
    }
};

inline float32x4_t zero_where(uint32x4_t gone, float32x4_t v) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), gone));
}

// v, but 0 where x < limit.
inline Vec zero_below(Vec x, float limit, Vec v) {
    const float32x4_t bound = vdupq_n_f32(limit);
    return {zero_where(vcltq_f32(x.low, bound), v.low), zero_where(vcltq_f32(x.high, bound), v.high)};
}

inline float32x4_t drop_quarter(float32x4_t v, uint32_t key, uint32_t first, uint32_t threshold) {
    constexpr uint32_t COUNT[4] = {0, 1, 2, 3};
    const uint32x4_t column = vaddq_u32(vld1q_u32(COUNT), vdupq_n_u32(first));
    uint32x4_t x = vmlaq_u32(vdupq_n_u32(key), column, vdupq_n_u32(0x9e3779b9u));
    x = veorq_u32(x, vshrq_n_u32(x, 16));
    x = vmulq_u32(x, vdupq_n_u32(0x7feb352du));
    x = veorq_u32(x, vshrq_n_u32(x, 15));
    x = vmulq_u32(x, vdupq_n_u32(0x846ca68bu));
    x = veorq_u32(x, vshrq_n_u32(x, 16));
    return zero_where(vcltq_u32(x, vdupq_n_u32(threshold)), v);
}

// v if the random number of a column is at least the threshold, else 0: see below.
inline Vec drop(Vec v, uint32_t key, int64_t first, uint32_t threshold) {
    const uint32_t column = static_cast<uint32_t>(first);
    return {drop_quarter(v.low, key, column, threshold), drop_quarter(v.high, key, column + 4, threshold)};
}

#elif defined(__AVX512F__)

struct Bf16 {
    using Number = uint16_t;
    static Vec read(const uint16_t* p) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
        return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }
    // To nearest, ties to even; NaN stays NaN.
    static void write(uint16_t* p, Vec v) {
        const __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
    }
};

// v, but 0 where x < limit.
inline Vec zero_below(Vec x, float limit, Vec v) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_NLT_UQ), v);
}

// v if the random number of a column is at least the threshold, else 0. Each row has a key; columns are counted
// from `first`. The hash is "lowbias32" (Wellons, "Prospecting for hash functions", 2018).
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
