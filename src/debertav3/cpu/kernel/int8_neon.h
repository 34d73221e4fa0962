// Part of gemm_int8.h, for Arm: signed bytes with i8mm, with dotprod, or with the baseline instructions of 64-bit Arm.
#pragma once

namespace {

using Quantized = int8_t;
constexpr bool HAS_OFFSET = false, HAS_SIGNS = false;
constexpr int64_t BYTES = 1;  // per input
#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr int64_t GROUP = 8;
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr int64_t GROUP = 4;
#else
constexpr int64_t GROUP = 2;
#endif

struct Ints {
    int32x4_t low, high;
};

inline Ints load_ints(const void* p) {
    const int32_t* numbers = static_cast<const int32_t*>(p);
    return {vld1q_s32(numbers), vld1q_s32(numbers + 4)};
}
inline Ints splat_int(int32_t x) { return {vdupq_n_s32(x), vdupq_n_s32(x)}; }
inline Ints add(Ints a, Ints b) { return {vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)}; }
inline Ints min(Ints a, Ints b) { return {vminq_s32(a.low, b.low), vminq_s32(a.high, b.high)}; }
inline int32_t sum_of(Ints v) { return vaddvq_s32(vaddq_s32(v.low, v.high)); }
inline Ints to_ints(Vec v) { return {vcvtnq_s32_f32(v.low), vcvtnq_s32_f32(v.high)}; }  // rounds to nearest
inline Vec to_floats(Ints v) { return {vcvtq_f32_s32(v.low), vcvtq_f32_s32(v.high)}; }

inline float32x4_t larger_magnitude(float32x4_t largest, float32x4_t x) {
    const int32x4_t magnitude = vandq_s32(vreinterpretq_s32_f32(x), vdupq_n_s32(0x7fffffff));
    return vreinterpretq_f32_s32(vmaxq_s32(vreinterpretq_s32_f32(largest), magnitude));
}
// The larger magnitude; NaN is larger than all others.
inline Vec larger_magnitude(Vec largest, Vec x) {
    return {larger_magnitude(largest.low, x.low), larger_magnitude(largest.high, x.high)};
}
inline float largest_magnitude(Vec v) {
    const int32x4_t bits = vmaxq_s32(vreinterpretq_s32_f32(v.low), vreinterpretq_s32_f32(v.high));
    return vgetq_lane_f32(vreinterpretq_f32_s32(vdupq_n_s32(vmaxvq_s32(bits))), 0);
}
// LANES numbers of -127 to 127.
inline void store_quantized(Quantized* p, Ints v) {
    const int16x4_t low = vqmovn_s32(v.low), high = vqmovn_s32(v.high);
    vst1_s8(p, vqmovn_s16(vcombine_s16(low, high)));
}

// Four values for each of 16 columns in a row of sums.
constexpr int FOURS = PANEL / 4;

#if defined(__ARM_FEATURE_MATMUL_INT8)

// One instruction multiplies eight inputs of two rows by those of two outputs. A single last row is computed twice.
template <int ROWS>
inline void multiply_int8_tile(const int8_t* a, int64_t stride, const int8_t* panel, int64_t steps, int32_t* sums) {
    constexpr int PAIRS = (ROWS + 1) / 2;
    int32x4_t blocks[PAIRS][PANEL / 2];
    for (auto& pair : blocks)
        for (int32x4_t& block : pair) block = vdupq_n_s32(0);
    for (int64_t k = 0; k < steps * INT8_STEP; k += GROUP, panel += PANEL * GROUP) {
        int8x16_t rows[PAIRS];
        for (int p = 0; p < PAIRS; ++p) {
            const int8_t* row = a + 2 * p * stride + k;
            rows[p] = vcombine_s8(vld1_s8(row), vld1_s8(row + (2 * p + 1 < ROWS ? stride : 0)));
        }
        for (int c = 0; c < PANEL / 2; ++c) {
            const int8x16_t weights = vld1q_s8(panel + c * 2 * GROUP);
            for (int p = 0; p < PAIRS; ++p) blocks[p][c] = vmmlaq_s32(blocks[p][c], rows[p], weights);
        }
    }
    for (int p = 0; p < PAIRS; ++p)
        for (int c = 0; c < FOURS; ++c) {
            const int32x4_t left = blocks[p][2 * c], right = blocks[p][2 * c + 1];
            int32_t* place = sums + 2 * p * PANEL + 4 * c;
            vst1q_s32(place, vcombine_s32(vget_low_s32(left), vget_low_s32(right)));
            if (2 * p + 1 < ROWS) vst1q_s32(place + PANEL, vcombine_s32(vget_high_s32(left), vget_high_s32(right)));
        }
}

#else

#if defined(__ARM_FEATURE_DOTPROD)

// Four inputs, group LANE of the 16 in each row, times the weights of all outputs.
template <int LANE, int ROWS>
inline void add_products(int32x4_t (&blocks)[ROWS][FOURS], const int8x16_t (&rows)[ROWS], const int8_t* panel) {
    for (int c = 0; c < FOURS; ++c) {
        const int8x16_t weights = vld1q_s8(panel + LANE * PANEL * GROUP + c * 4 * GROUP);
        for (int r = 0; r < ROWS; ++r) blocks[r][c] = vdotq_laneq_s32(blocks[r][c], weights, rows[r], LANE);
    }
}

template <int ROWS>
inline void add_products(int32x4_t (&blocks)[ROWS][FOURS], const int8_t* a, int64_t stride, const int8_t* panel,
                         int64_t steps) {
    for (int64_t k = 0; k < steps * INT8_STEP; k += 16, panel += PANEL * 16) {
        int8x16_t rows[ROWS];
        for (int r = 0; r < ROWS; ++r) rows[r] = vld1q_s8(a + r * stride + k);
        add_products<0>(blocks, rows, panel);
        add_products<1>(blocks, rows, panel);
        add_products<2>(blocks, rows, panel);
        add_products<3>(blocks, rows, panel);
    }
}

#else

inline int8x8_t splat_group(const int8_t* p) {
    int16_t group;
    std::memcpy(&group, p, sizeof group);
    return vreinterpret_s8_s16(vdup_n_s16(group));
}

// The sum of two products of bytes fits in 16 bits: 2 * 127 * 128 is 32,512.
template <int ROWS>
inline void add_products(int32x4_t (&blocks)[ROWS][FOURS], const int8_t* a, int64_t stride, const int8_t* panel,
                         int64_t steps) {
    for (int64_t k = 0; k < steps * INT8_STEP; k += 2 * GROUP, panel += PANEL * 2 * GROUP) {
        int8x8_t first[FOURS], second[FOURS];
        for (int c = 0; c < FOURS; ++c) {
            first[c] = vld1_s8(panel + c * 4 * GROUP);
            second[c] = vld1_s8(panel + (PANEL + c * 4) * GROUP);
        }
        for (int r = 0; r < ROWS; ++r) {
            const int8x8_t x = splat_group(a + r * stride + k), y = splat_group(a + r * stride + k + GROUP);
            for (int c = 0; c < FOURS; ++c)
                blocks[r][c] = vpadalq_s16(blocks[r][c], vmlal_s8(vmull_s8(first[c], x), second[c], y));
        }
    }
}

#endif

template <int ROWS>
inline void multiply_int8_tile(const int8_t* a, int64_t stride, const int8_t* panel, int64_t steps, int32_t* sums) {
    int32x4_t blocks[ROWS][FOURS];
    for (auto& row : blocks)
        for (int32x4_t& block : row) block = vdupq_n_s32(0);
    add_products(blocks, a, stride, panel, steps);
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < FOURS; ++c) vst1q_s32(sums + r * PANEL + 4 * c, blocks[r][c]);
}

#endif

}  // namespace
