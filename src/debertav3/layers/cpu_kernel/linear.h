// Linear layers, y = x W^T + b, with W laid out once; fp32 in and out.
//
// With AMX, every fp32 number is the sum of three bf16 numbers, 8 bits of it in each, and a product of two numbers
// the sum of the six largest products of their parts, added up in fp32: the error is that of fp32, and matrix units
// are so much faster that six products take half the time of one. With two parts and three products 16 bits are
// left. Otherwise fp32 products, in registers. Weights may also be int8 (int8.h).
#pragma once

#include <atomic>
#include <cstring>

#include "int8.h"

#if defined(__AMX_BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

constexpr int64_t CHUNK_ROWS = 128;  // rows that meet a panel of weights together
constexpr int64_t STEP = 32;         // inputs of a layer that are multiplied together; rows of an AMX tile
constexpr int64_t INT8 = 0;          // in place of `parts`

}  // namespace

extern "C" {

// Mirrored in library.py.
struct LinearArguments {
    void* weight;       // as debertav3_pack_linear or debertav3_pack_int8 made it; never written
    const float* bias;  // (out) or null
    int64_t in, out;
    int64_t parts;      // bf16 numbers for one fp32 number, 2 or 3 (the same without AMX); INT8 for int8
};

}  // extern "C"

namespace {

#if defined(__AMX_BF16__)

constexpr int64_t TILE = 16;  // rows of a matrix tile, and columns of a result
constexpr int64_t TILE_NUMBERS = TILE * STEP;
static_assert(PANEL == 2 * TILE);

// Matrix registers in the form that all products here use; given back when it goes.
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

// 16 numbers as bf16; what bf16 cannot hold stays in x.
inline __m256i take_part(Vec& x) {
    const __m256i part = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
    x = sub(x, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(part), 16)));
    return part;
}

// 32 numbers of a row into its place in `parts` tiles, `distance` apart.
inline void split(Vec low, Vec high, int64_t parts, uint16_t* place, int64_t distance) {
    for (int p = 0;; ++p, place += distance) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(place), take_part(low));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(place + LANES), take_part(high));
        if (p + 1 == parts) return;
    }
}

inline Vec load_some(const float* x, int64_t count) {
    if (count >= LANES) return load(x);
    return count <= 0 ? splat(0.0f) : _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), x);
}

// The left side of products in fp32, (rows, depth): in tiles, [pairs of 16 rows][steps][parts][2][16 x 32].
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
        const int64_t width = depth, step_numbers = parts * 2 * TILE_NUMBERS;  // not read again at every store
        const float* row = x + r * width;
        uint16_t* place = tile(r, 0) + r % PANEL * STEP;
        for (int64_t k = 0; k < width; k += STEP, place += step_numbers)
            split(load_some(row + k, width - k), load_some(row + k + LANES, width - k - LANES), parts, place,
                  2 * TILE_NUMBERS);
    }
};

inline int64_t packed_floats(int64_t in, int64_t out, int64_t parts) {
    return round_up(out, PANEL) * round_up(in, STEP) * parts / 2;
}

// Weights in tiles, [panels][steps][parts][2][16 pairs of inputs][16 outputs][2].
inline void pack_weight(const float* weight, int64_t in, int64_t out, int64_t parts, float* packed) {
    const int64_t steps = (in + STEP - 1) / STEP;
    uint16_t* tiles = reinterpret_cast<uint16_t*>(packed);
    std::memset(tiles, 0, packed_floats(in, out, parts) * sizeof(float));
    for (int64_t o = 0; o < out; ++o)
        for (int64_t s = 0; s < steps; ++s) {
            uint16_t row[3 * STEP];
            const float* from = weight + o * in + s * STEP;
            const int64_t left = in - s * STEP;
            split(load_some(from, left), load_some(from + LANES, left - LANES), parts, row, STEP);
            uint16_t* tile = tiles + ((o / PANEL * steps + s) * parts * 2 + o % PANEL / TILE) * TILE_NUMBERS;
            for (int64_t p = 0; p < parts; ++p, tile += 2 * TILE_NUMBERS)
                for (int64_t k = 0; k < STEP; k += 2)
                    std::memcpy(tile + k * TILE + o % TILE * 2, row + p * STEP + k, 2 * sizeof(uint16_t));
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

// c (rows x PANEL) = or += a chunk of rows times one panel of the weights of inputs from `first_input` on.
inline void multiply_chunk(const LinearArguments& linear, int64_t first_input, const FloatRows& input,
                           int64_t first, int64_t rows, int64_t panel, float* c, bool adds) {
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the intrinsics do not say that they read memory
    const int64_t steps = input.steps(), parts = linear.parts, step_numbers = parts * 2 * TILE_NUMBERS;
    const int64_t first_step = panel * ((linear.in + STEP - 1) / STEP) + first_input / STEP;
    const uint16_t* weight = static_cast<uint16_t*>(linear.weight) + first_step * step_numbers;
    for (int64_t r = 0; r < rows; r += PANEL, c += PANEL * PANEL) {
        const uint16_t *a = input.tile(first + r, 0), *b = weight;
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
        if (parts == 3) {
            for (int64_t s = 0; s < steps; ++s, a += step_numbers, b += step_numbers) {
                LOAD_LEFT(2);
                LOAD_RIGHT(0);
                MULTIPLY();
                LOAD_LEFT(1);
                MULTIPLY();
                LOAD_RIGHT(1);
                MULTIPLY();
                LOAD_LEFT(0);
                MULTIPLY();
                LOAD_RIGHT(2);
                MULTIPLY();
                LOAD_RIGHT(0);
                MULTIPLY();
            }
        } else {
            for (int64_t s = 0; s < steps; ++s, a += step_numbers, b += step_numbers) {
                LOAD_LEFT(1);
                LOAD_RIGHT(0);
                MULTIPLY();
                LOAD_LEFT(0);
                MULTIPLY();
                LOAD_RIGHT(1);
                MULTIPLY();
            }
        }
        _tile_stored(0, c, PANEL * sizeof(float));
        _tile_stored(1, c + TILE, PANEL * sizeof(float));
        _tile_stored(2, c + TILE * PANEL, PANEL * sizeof(float));
        _tile_stored(3, c + TILE * PANEL + TILE, PANEL * sizeof(float));
    }
}

// Whether this processor has what was compiled for, and Linux lets this process use it.
inline bool is_ready() {
    constexpr long ASK_PERMISSION = 0x1023, TILE_DATA = 18;  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
    unsigned a, b, c, d;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    const bool has_tiles = (d >> 22 & 1) != 0 && (d >> 24 & 3) == 3;  // AMX-BF16, AMX-TILE and AMX-INT8
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(1));
    const bool has_conversion = (a >> 5 & 1) != 0;  // AVX512-BF16
    return has_tiles && has_conversion && syscall(SYS_arch_prctl, ASK_PERMISSION, TILE_DATA) == 0;
}

#else

struct Tiles {};

// The left side of products in fp32, (rows, depth), contiguous: nothing to prepare.
struct FloatRows {
    static constexpr bool ARE_TILES = false;
    const float* x;
    int64_t depth;

    static int64_t floats(int64_t, int64_t, int64_t) { return 0; }
    FloatRows(const float* numbers, int64_t width, int64_t, float*) : x(numbers), depth(width) {}
    void prepare(int64_t) const {}
};

inline int64_t packed_floats(int64_t in, int64_t out, int64_t) { return round_up(out, PANEL) * in; }

inline void pack_weight(const float* weight, int64_t in, int64_t out, int64_t, float* packed) {
    for (int64_t o = 0; o < out; o += PANEL, packed += PANEL * in)
        pack_panel(weight + o * in, in, out - o, in, 1.0f, packed);
}

inline void multiply_chunk(const LinearArguments& linear, int64_t first_input, const FloatRows& input,
                           int64_t first, int64_t rows, int64_t panel, float* c, bool adds) {
    constexpr int64_t DEPTH = 192;  // so much of a panel stays in the first-level cache
    const float* weight = static_cast<float*>(linear.weight) + (panel * linear.in + first_input) * PANEL;
    for (int64_t k = 0; k < input.depth; k += DEPTH) {
        const int64_t depth = input.depth - k < DEPTH ? input.depth - k : DEPTH;
        multiply_panel(input.x + first * input.depth + k, input.depth, rows, weight + k * PANEL, depth, c, PANEL,
                       adds || k > 0);
    }
}

inline bool is_ready() {
#if defined(__AVX512VNNI__)
    unsigned a, b, c, d;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    return (c >> 11 & 1) != 0;
#else
    return true;
#endif
}

#endif

// The left side of products with a layer in fp32 or int8, (rows, depth).
struct Input {
    const float* x;
    int64_t rows, depth, parts;
    FloatRows floats;
    QuantizedRows quantized;

    static int64_t block_floats(int64_t rows, int64_t depth, int64_t parts) {
        return round_up(parts == INT8 ? QuantizedRows::floats(rows, depth) : FloatRows::floats(rows, depth, parts),
                        16);
    }
    Input(const float* numbers, int64_t count, int64_t width, int64_t num_parts, float* block)
        : x(numbers),
          rows(count),
          depth(width),
          parts(num_parts),
          floats(numbers, width, num_parts, block),
          quantized(block, count, width) {}

    // Whether what writes the numbers writes them into tiles, instead of to x.
    bool are_tiles() const { return FloatRows::ARE_TILES && parts != INT8; }
    bool needs_preparing() const { return FloatRows::ARE_TILES || parts == INT8; }
    // Row r, from x.
    void prepare(int64_t r) const {
        if (parts == INT8)
            quantize_row(x + r * depth, depth, quantized, r);
        else
            floats.prepare(r);
    }
    void prepare_all() const {
        if (!needs_preparing()) return;
        for (int64_t r = 0; r < rows; ++r) prepare(r);
    }
};

// The bias of one panel's columns; zeros where there is none.
struct Bias {
    Vec left, right;

    Bias(const LinearArguments& linear, int64_t column) : left(splat(0.0f)), right(splat(0.0f)) {
        if (linear.bias == nullptr) return;
        float bias[PANEL] = {};
        const int64_t columns = linear.out - column < PANEL ? linear.out - column : PANEL;
        std::memcpy(bias, linear.bias + column, columns * sizeof(float));
        left = load(bias);
        right = load(bias + LANES);
    }
};

// A linear layer and what is done with a chunk of its products:
// finish(first row, rows, first column, columns, products, bias).
template <typename Finish>
struct Product {
    const LinearArguments& linear;
    const Input& input;
    const Finish& finish;

    int64_t panels() const { return (linear.out + PANEL - 1) / PANEL; }
    int64_t tasks() const { return (input.rows + CHUNK_ROWS - 1) / CHUNK_ROWS * panels(); }

    // Neighbouring tasks share the chunk of rows, so that it stays in the second-level cache.
    void run(int64_t task) const { run(task / panels() * CHUNK_ROWS, task % panels()); }

    void run(int64_t first, int64_t panel) const {
        alignas(64) float products[CHUNK_ROWS * PANEL];
        const int64_t rows = input.rows - first < CHUNK_ROWS ? input.rows - first : CHUNK_ROWS;
        if (linear.parts == INT8)
            multiply_int8_chunk(Int8Weights(linear.weight, linear.out), linear.in, input.quantized, first, rows, panel,
                                products);
        else
            multiply_chunk(linear, 0, input.floats, first, rows, panel, products, false);
        end(first, rows, panel, products);
    }

    // Bias and finish, for products made elsewhere.
    void end(int64_t first, int64_t rows, int64_t panel, const float* products) const {
        const int64_t column = panel * PANEL;
        finish(first, rows, column, linear.out - column < PANEL ? linear.out - column : PANEL, products,
               Bias(linear, column));
    }

    // All rows, panels first .. last - 1, on this thread: the rows stay in cache, each weight is read once.
    void run_panels(int64_t first, int64_t last) const {
        for (int64_t panel = first; panel < last; ++panel)
            for (int64_t row = 0; row < input.rows; row += CHUNK_ROWS) run(row, panel);
    }
    void run_all() const { run_panels(0, panels()); }
};

}  // namespace
