// simd.h for Arm: eight lanes in two NEON registers, so that all layouts are those of AVX2. Lanes are summed in the
// same order as with AVX2, so that both give the same bits.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace {

struct Vec {
    float32x4_t low, high;
};
constexpr int LANES = 8;
// 16 of the 32 registers accumulate, to keep four pipelines with a latency of four busy
constexpr int SHORT_TILE_ROWS = 4, LONG_TILE_ROWS = 4, INT8_TILE_ROWS = 4;

inline Vec load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
inline void store(float* p, Vec v) {
    vst1q_f32(p, v.low);
    vst1q_f32(p + 4, v.high);
}
inline Vec splat(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline Vec add(Vec a, Vec b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
inline Vec sub(Vec a, Vec b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
inline Vec mul(Vec a, Vec b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
inline Vec divide(Vec a, Vec b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)}; }
inline Vec max(Vec a, Vec b) { return {vmaxq_f32(a.low, b.low), vmaxq_f32(a.high, b.high)}; }
inline Vec min(Vec a, Vec b) { return {vminq_f32(a.low, b.low), vminq_f32(a.high, b.high)}; }
inline Vec round(Vec v) { return {vrndnq_f32(v.low), vrndnq_f32(v.high)}; }
inline float largest_of(Vec v) { return vmaxvq_f32(vmaxq_f32(v.low, v.high)); }

inline float sum_of(Vec v) {
    const float32x4_t x = vaddq_f32(v.low, v.high);
    return vpadds_f32(vadd_f32(vget_low_f32(x), vget_high_f32(x)));
}

inline float32x4_t power_of_two(float32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23));
}
inline Vec times_power_of_two(Vec v, Vec n) {  // for n >= -126
    return {vmulq_f32(v.low, power_of_two(n.low)), vmulq_f32(v.high, power_of_two(n.high))};
}

// The bytes of four of the eight numbers in a table of 32 bytes.
inline float32x4_t pick(uint8x16x2_t numbers, const int32_t* index, int32_t first) {
    const uint32x4_t place = vreinterpretq_u32_s32(vsubq_s32(vld1q_s32(index), vdupq_n_s32(first)));
    const uint32x4_t bytes = vmlaq_u32(vdupq_n_u32(0x03020100), place, vdupq_n_u32(0x04040404));
    return vreinterpretq_f32_u8(vqtbl2q_u8(numbers, vreinterpretq_u8_u32(bytes)));
}
inline Vec permute(Vec v, const int32_t* index, int32_t first) {
    const uint8x16x2_t numbers = {{vreinterpretq_u8_f32(v.low), vreinterpretq_u8_f32(v.high)}};
    return {pick(numbers, index, first), pick(numbers, index + 4, first)};
}

inline Vec choose(const uint8_t* bytes, Vec yes, Vec no) {
    const uint16x8_t wide = vmovl_u8(vld1_u8(bytes));
    const uint32x4_t low = vmovl_u16(vget_low_u16(wide)), high = vmovl_u16(vget_high_u16(wide));
    return {vbslq_f32(vtstq_u32(low, low), yes.low, no.low), vbslq_f32(vtstq_u32(high, high), yes.high, no.high)};
}

inline void transpose_quarter(float32x4_t& a, float32x4_t& b, float32x4_t& c, float32x4_t& d) {
    const float64x2_t p = vreinterpretq_f64_f32(vtrn1q_f32(a, b)), q = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
    const float64x2_t r = vreinterpretq_f64_f32(vtrn1q_f32(c, d)), s = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
    a = vreinterpretq_f32_f64(vtrn1q_f64(p, r));
    b = vreinterpretq_f32_f64(vtrn1q_f64(q, s));
    c = vreinterpretq_f32_f64(vtrn2q_f64(p, r));
    d = vreinterpretq_f32_f64(vtrn2q_f64(q, s));
}

inline void transpose(Vec (&v)[LANES]) {
    transpose_quarter(v[0].low, v[1].low, v[2].low, v[3].low);
    transpose_quarter(v[0].high, v[1].high, v[2].high, v[3].high);
    transpose_quarter(v[4].low, v[5].low, v[6].low, v[7].low);
    transpose_quarter(v[4].high, v[5].high, v[6].high, v[7].high);
    for (int r = 0; r < 4; ++r) {
        const float32x4_t corner = v[r].high;
        v[r].high = v[4 + r].low;
        v[4 + r].low = corner;
    }
}

}  // namespace
