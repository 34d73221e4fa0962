// The C functions that Python calls (library.py), with structs of pointers and sizes. Arguments are checked in
// library.py and its callers, not here.

#include "abi.h"
#include "cpu_features.h"
#include "layer.h"
#include "own_threads.h"
#include "training.h"
#include "vocabulary.h"

#define EXPORTED __attribute__((visibility("default")))

namespace {

// 0, or 1 if memory ran out.
template <typename Run>
int guarded(const Run& run) {
    try {
        run();
        group_scratch.trim();
        layer_scratch.trim();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace

extern "C" {

// Whether this library can run on this processor and operating system.
EXPORTED int debertav3_is_ready() { return is_ready() ? 1 : 0; }

// The sources from which this was compiled: sources_digest() in build.py.
EXPORTED uint64_t debertav3_sources() { return DEBERTAV3_SOURCES; }

// Sizes of the structs in bytes, in the order of abi.h.
EXPORTED int64_t debertav3_struct_size(int64_t number) {
    constexpr int64_t SIZES[] = {sizeof(LinearArguments), sizeof(AttentionArguments), sizeof(NormArguments),
                                 sizeof(LayerArguments), sizeof(TrainingArguments),
                                 sizeof(VocabularyArguments)};
    return SIZES[number];
}

EXPORTED int64_t debertav3_table_floats(int64_t rows, int64_t width) { return round_up(rows, PANEL) * width; }

// A team of threads for processes without torch.
EXPORTED void debertav3_own_team(void (*task)(void*), void* data, unsigned threads, unsigned flags) {
    OwnThreads::run(task, data, threads, flags);
}

// Entries beyond 2 * length - 1 that the row lists of attention need.
EXPORTED int64_t debertav3_more_rows() { return BLOCK_KEYS + LANES; }

// (rows, width) floats, contiguous, times a factor, to debertav3_table_floats(rows, width) floats.
EXPORTED void debertav3_pack_table(const float* x, int64_t rows, int64_t width, float factor, float* panels) {
    for (int64_t r = 0; r < rows; r += PANEL, panels += PANEL * width)
        pack_panel(x + r * width, width, rows - r, width, factor, panels);
}

EXPORTED int64_t debertav3_linear_floats(int64_t in, int64_t out) { return packed_floats(in, out); }

// (out, in) floats, contiguous, to debertav3_linear_floats(in, out) floats.
EXPORTED void debertav3_pack_linear(const float* weight, int64_t in, int64_t out, float* packed) {
    pack_weight(weight, in, out, packed);
}

EXPORTED int64_t debertav3_int8_floats(int64_t in, int64_t out) { return Int8Weights::floats(in, out); }

// (out, in) int8, contiguous, and (out) scales, to debertav3_int8_floats(in, out) floats.
EXPORTED void debertav3_pack_int8(const int8_t* weight, const float* scale, int64_t in, int64_t out, float* packed) {
    pack_int8(weight, scale, in, out, packed);
}

EXPORTED int debertav3_attend(const AttentionArguments* arguments) {
    return guarded([&] { attend(*arguments); });
}

EXPORTED int debertav3_layer(const LayerArguments* arguments) {
    return guarded([&] { run_layer(*arguments); });
}

// Attention weights from products.
EXPORTED int debertav3_weigh(const TrainingArguments* a) {
    return guarded([&] { a->is_bf16 ? weigh<Bf16>(*a) : weigh<Fp32>(*a); });
}

// Gradients of the products from that of the attention weights.
EXPORTED int debertav3_differentiate(const TrainingArguments* a) {
    return guarded([&] { a->is_bf16 ? differentiate<Bf16>(*a) : differentiate<Fp32>(*a); });
}

// Dropout of (rows, columns) numbers in fp32 or bf16.
EXPORTED int debertav3_drop(const void* x, void* out, int64_t rows, int64_t columns, uint64_t seed, uint32_t threshold,
                            float factor, int32_t is_bf16, int64_t threads, Team team) {
    return guarded([&] {
        if (is_bf16)
            drop_rows<Bf16>(static_cast<const uint16_t*>(x), static_cast<uint16_t*>(out), rows, columns, seed,
                            threshold, factor, threads, team);
        else
            drop_rows<Fp32>(static_cast<const float*>(x), static_cast<float*>(out), rows, columns, seed, threshold,
                            factor, threads, team);
    });
}

// Loss, samples and gradients from products with the word embeddings.
EXPORTED int debertav3_predict(const VocabularyArguments* a) {
    return guarded([&] { a->is_bf16 ? predict<Bf16>(*a) : predict<Fp32>(*a); });
}

// out (count) = x * factor, x in fp32 or bf16; added to out if `adds`.
EXPORTED int debertav3_widen(const void* x, int32_t is_bf16, int64_t count, float factor, float* out, int32_t adds,
                             int64_t threads, Team team) {
    return guarded([&] {
        if (is_bf16)
            widen<Bf16>(static_cast<const uint16_t*>(x), count, factor, out, adds != 0, threads, team);
        else
            widen<Fp32>(static_cast<const float*>(x), count, factor, out, adds != 0, threads, team);
    });
}

// y (rows, out) = x (rows, in) W^T + b, both contiguous.
EXPORTED int debertav3_linear(const LinearArguments* linear, const float* x, int64_t rows, float* y, int64_t threads,
                              Team team) {
    return guarded([&] {
        const Input input(x, rows, linear->in, linear->kind,
                          layer_scratch.floats(Input::block_floats(rows, linear->in, linear->kind)));
        prepare(team, threads, input);
        const Write write{y, linear->out, nullptr};
        multiply(team, threads, Product<Write>{*linear, input, write});
    });
}

// LayerNorm of (rows, width) floats in place.
EXPORTED int debertav3_normalize(float* x, int64_t rows, int64_t width, const NormArguments* norm, float epsilon,
                                 int64_t threads, Team team) {
    return guarded([&] {
        for_rows(team, threads, rows, [&](int64_t r) { normalize(x + r * width, width, *norm, epsilon); });
    });
}

// GELU of (rows, width) floats in place.
EXPORTED int debertav3_gelu(float* x, int64_t rows, int64_t width, int64_t threads, Team team) {
    return guarded([&] {
        for_rows(team, threads, rows, [&](int64_t r) {
            float* place = x + r * width;
            const int64_t whole = width / LANES * LANES;
            for (int64_t k = 0; k < whole; k += LANES) store(place + k, gelu(load(place + k)));
            if (whole == width) return;
            float end[LANES] = {};
            std::memcpy(end, place + whole, (width - whole) * sizeof(float));
            store(end, gelu(load(end)));
            std::memcpy(place + whole, end, (width - whole) * sizeof(float));
        });
    });
}

}  // extern "C"
