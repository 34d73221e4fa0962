// A vector of floats with AVX-512 (16 lanes), AVX2 or NEON (8 lanes), and the few operations that the kernels need.
#pragma once

#include <cstdint>

#if defined(__aarch64__)
#include "simd_neon.h"
#else
#include <immintrin.h>
#endif

namespace {

#if defined(__aarch64__)

// all in simd_neon.h

#elif defined(__AVX512F__)

using Vec = __m512;
constexpr int LANES = 16;
// Rows of a register tile, which is two vectors wide: for short sums, for long ones, and for int8.
constexpr int SHORT_TILE_ROWS = 8, LONG_TILE_ROWS = 8;
#if defined(__AVX512VNNI__)
constexpr int INT8_TILE_ROWS = 8;
#else
constexpr int INT8_TILE_ROWS = 4;
#endif

inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
inline Vec splat(float x) { return _mm512_set1_ps(x); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec divide(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline float sum_of(Vec v) { return _mm512_reduce_add_ps(v); }
inline float largest_of(Vec v) { return _mm512_reduce_max_ps(v); }
inline Vec round(Vec v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vec times_power_of_two(Vec v, Vec n) { return _mm512_scalef_ps(v, n); }

// Lane l takes v[index[l] - first], which must be one of the 16 lanes.
inline Vec permute(Vec v, const int32_t* index, int32_t first) {
    return _mm512_permutexvar_ps(_mm512_sub_epi32(_mm512_loadu_si512(index), _mm512_set1_epi32(first)), v);
}

// Lane l is `yes` if byte l is not 0, else `no`.
inline Vec choose(const uint8_t* bytes, Vec yes, Vec no) {
    const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
    return _mm512_mask_blend_ps(_mm512_test_epi32_mask(wide, wide), no, yes);
}

inline void transpose(Vec (&v)[LANES]) {
    Vec pairs[16], fours[16];
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        const __m512d a = _mm512_castps_pd(pairs[i]), b = _mm512_castps_pd(pairs[i + 1]);
        const __m512d c = _mm512_castps_pd(pairs[i + 2]), d = _mm512_castps_pd(pairs[i + 3]);
        fours[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        fours[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        fours[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        fours[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; ++i) {
        const Vec low = _mm512_shuffle_f32x4(fours[i], fours[4 + i], 0x44);
        const Vec high = _mm512_shuffle_f32x4(fours[i], fours[4 + i], 0xee);
        const Vec low2 = _mm512_shuffle_f32x4(fours[8 + i], fours[12 + i], 0x44);
        const Vec high2 = _mm512_shuffle_f32x4(fours[8 + i], fours[12 + i], 0xee);
        v[i] = _mm512_shuffle_f32x4(low, low2, 0x88);
        v[4 + i] = _mm512_shuffle_f32x4(low, low2, 0xdd);
        v[8 + i] = _mm512_shuffle_f32x4(high, high2, 0x88);
        v[12 + i] = _mm512_shuffle_f32x4(high, high2, 0xdd);
    }
}

#elif defined(__AVX2__) && defined(__FMA__)

using Vec = __m256;
constexpr int LANES = 8;
constexpr int SHORT_TILE_ROWS = 4, LONG_TILE_ROWS = 6;
constexpr int INT8_TILE_ROWS = 4;

inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
inline Vec splat(float x) { return _mm256_set1_ps(x); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec divide(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec round(Vec v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

inline float sum_of(Vec v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}

inline float largest_of(Vec v) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
}

inline Vec times_power_of_two(Vec v, Vec n) {  // for n >= -126
    const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(v, _mm256_castsi256_ps(bits));
}

inline Vec permute(Vec v, const int32_t* index, int32_t first) {
    const __m256i place = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index));
    return _mm256_permutevar8x32_ps(v, _mm256_sub_epi32(place, _mm256_set1_epi32(first)));
}

inline Vec choose(const uint8_t* bytes, Vec yes, Vec no) {
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
    const __m256i is_zero = _mm256_cmpeq_epi32(wide, _mm256_setzero_si256());
    return _mm256_blendv_ps(yes, no, _mm256_castsi256_ps(is_zero));
}

inline void transpose(Vec (&v)[LANES]) {
    Vec pairs[8], fours[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
        fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        v[i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x20);
        v[4 + i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x31);
    }
}

#else
#error "compile for 64-bit Arm, or with -mavx512f or -mavx2 -mfma"
#endif

// e^x for x <= 88, within 2 units in the last place; below -87 it stays at e^-87.
inline Vec exponential(Vec x) {
    x = max(splat(-87.0f), x);
    const Vec n = round(mul(x, splat(1.44269504f)));
    Vec r = fma(n, splat(-0.693359375f), x);  // ln 2 in two parts, so that n times the first is exact
    r = fma(n, splat(2.12194440e-4f), r);
    Vec y = splat(1.9875691500e-4f);  // minimax on [-ln2/2, ln2/2], Cephes expf
    y = fma(y, r, splat(1.3981999507e-3f));
    y = fma(y, r, splat(8.3334519073e-3f));
    y = fma(y, r, splat(4.1665795894e-2f));
    y = fma(y, r, splat(1.6666665459e-1f));
    y = fma(y, r, splat(5.0000001201e-1f));
    y = fma(y, mul(r, r), add(r, splat(1.0f)));
    return times_power_of_two(y, n);
}

}  // namespace
