// Attention in training, between torch's matmuls: from products to weights, and from the gradient of the weights to
// those of the products (DeBERTa, arXiv:2006.03654, section 3.1, equation 4).
//
//   score[i, j] = (content[i, j] + c2p[i, row(i - j)] + p2c[j, row(i - j)]) * scale
//
// Lengths are padded to whole vectors; rows and columns from `tokens` on are zeros. As i - j grows by one, the row
// of the relative table stays or grows by one (the caller guarantees it).
#pragma once

#include <cfloat>
#include <cstring>

#include "abi.h"
#include "numbers.h"
#include "threads.h"

namespace {

thread_local Scratch training_scratch;

// The key of a row's random numbers: the upper half of SplitMix64 (Steele, Lea and Flood, 2014).
inline uint32_t row_key(uint64_t seed, uint64_t row) {
    uint64_t x = seed + (row + 1) * 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return static_cast<uint32_t>((x ^ (x >> 31)) >> 32);
}

// row[index[l]] += v[l]; indices rise by at most one per lane.
inline void add_at(float* row, const int32_t* index, Vec v) {
    const int32_t first = index[0], last = index[LANES - 1];
    if (last - first == LANES - 1) {
        store(row + first, add(load(row + first), v));
    } else if (last == first) {
        row[first] += sum_of(v);
    } else {
        float lanes[LANES];
        store(lanes, v);
        for (int l = 0; l < LANES; ++l) row[index[l]] += lanes[l];
    }
}

template <typename T>
class TrainingBlock {
    using Number = typename T::Number;

public:
    explicit TrainingBlock(const TrainingArguments& a) : a_(a), length_(a.length), stride_(a.length + LANES) {}

    // Queries i .. i + LANES - 1 of a sample: scores, softmax, dropout.
    void weigh(int64_t sample, int64_t i) const {
        Number* weights = numbers(a_.weights, sample, i, length_);
        Number* used = numbers(a_.used, sample, i, length_);
        const int64_t rows = real_rows(i);
        if (rows < LANES) {
            const size_t bytes = (LANES - rows) * length_ * sizeof(Number);
            std::memset(weights + rows * length_, 0, bytes);
            if (used != weights) std::memset(used + rows * length_, 0, bytes);
        }
        if (rows == 0) return;
        float* tile = training_scratch.floats(LANES * stride_);
        Vec largest[LANES];
        for (int r = 0; r < LANES; ++r) largest[r] = splat(-FLT_MAX);
        for (int64_t j = 0; j < a_.tokens; j += LANES) score(sample, i, j, rows, tile, largest);
        for (int64_t r = 0; r < rows; ++r)
            soften(tile + r * stride_, largest[r], sample, i + r, weights + r * length_, used + r * length_);
    }

    // Backward for the same queries: the gradient of the scores, and of the c2p products.
    void differentiate(int64_t sample, int64_t i) const {
        const Number* weights = numbers(a_.weights, sample, i, length_);
        const Number* dused = numbers(a_.dused, sample, i, length_);
        Number* used = numbers(a_.used, sample, i, length_);
        Number* dscores = numbers(a_.dscores, sample, i, length_);
        const int64_t rows = real_rows(i);
        float* row = training_scratch.floats(stride_ + a_.columns + LANES);
        float* by_row = row + stride_;
        for (int64_t r = 0; r < LANES; ++r, weights += length_, dused += length_, used += length_, dscores += length_) {
            if (r >= rows) {
                std::memset(used, 0, length_ * sizeof(Number));
                std::memset(dscores, 0, length_ * sizeof(Number));
            } else {
                differentiate_row(sample, i + r, weights, dused, row, used, dscores);
            }
            if (a_.dc2p == nullptr) continue;
            std::memset(by_row, 0, a_.columns * sizeof(float));
            if (r < rows)
                for (int64_t j = 0; j < length_; j += LANES)
                    add_at(by_row, a_.rows_by_key + (j - i - r) + length_ - 1, load(row + j));
            write_columns(numbers(a_.dc2p, sample, i + r, a_.columns), by_row);
        }
    }

    // Backward for keys j .. j + LANES - 1, after all queries of the sample: the gradient of the p2c products.
    void gather_keys(int64_t sample, int64_t j) const {
        const int64_t stride = a_.columns + LANES;
        float* by_row = training_scratch.floats(LANES * stride);
        std::memset(by_row, 0, LANES * stride * sizeof(float));
        for (int64_t i = 0; i < a_.tokens; i += LANES) {
            Vec block[LANES];
            const Number* dscores = numbers(a_.dscores, sample, i, length_) + j;
            for (int r = 0; r < LANES; ++r) block[r] = T::read(dscores + r * length_);
            transpose(block);
            for (int k = 0; k < LANES; ++k)
                add_at(by_row + k * stride, a_.rows_by_query + (i - j - k) + length_ - 1, block[k]);
        }
        for (int k = 0; k < LANES; ++k) write_columns(numbers(a_.dp2c, sample, j + k, a_.columns), by_row + k * stride);
    }

private:
    Number* numbers(void* block, int64_t sample, int64_t token, int64_t width) const {
        return static_cast<Number*>(block) + (sample * length_ + token) * width;
    }
    const Number* numbers(const void* block, int64_t sample, int64_t token, int64_t width) const {
        return static_cast<const Number*>(block) + (sample * length_ + token) * width;
    }

    int64_t real_rows(int64_t i) const {
        const int64_t left = a_.tokens - i;
        return left < 0 ? 0 : left < LANES ? left : LANES;
    }

    uint32_t key(int64_t sample, int64_t i) const {
        return row_key(a_.seed, static_cast<uint64_t>((a_.first_sample + sample) * a_.tokens + i));
    }

    void score(int64_t sample, int64_t i, int64_t j, int64_t rows, float* tile, Vec (&largest)[LANES]) const {
        Vec block[LANES];
        if (a_.p2c != nullptr) {
            for (int k = 0; k < LANES; ++k) {
                const int32_t* index = a_.rows_by_query + (i - j - k) + length_ - 1;
                block[k] = permute(T::read(numbers(a_.p2c, sample, j + k, a_.columns) + *index), index, *index);
            }
            transpose(block);
        }
        const Vec scale = splat(a_.scale);
        for (int64_t r = 0; r < rows; ++r) {
            Vec s = T::read(numbers(a_.content, sample, i + r, length_) + j);
            if (a_.c2p != nullptr) {
                const int32_t* index = a_.rows_by_key + (j - i - r) + length_ - 1;
                s = add(s, permute(T::read(numbers(a_.c2p, sample, i + r, a_.columns) + *index), index, *index));
            }
            if (a_.p2c != nullptr) s = add(s, block[r]);
            s = shown(sample, i + r, j, mul(s, scale), splat(-FLT_MAX));
            store(tile + r * stride_ + j, s);
            if (j + LANES <= a_.tokens) largest[r] = max(largest[r], s);
            else
                for (int64_t l = j; l < a_.tokens; ++l) largest[r] = max(largest[r], splat(tile[r * stride_ + l]));
        }
    }

    // v if query i may attend to the key, else `hidden`.
    Vec shown(int64_t sample, int64_t i, int64_t j, Vec v, Vec hidden) const {
        if (a_.mask == nullptr) return v;
        const uint8_t* pairs = a_.mask + sample * a_.mask_sample + i * a_.mask_query + j;
        uint8_t end[LANES] = {};
        if (j + LANES > a_.tokens) {  // do not read past the mask
            std::memcpy(end, pairs, a_.tokens - j);
            pairs = end;
        }
        return choose(pairs, v, hidden);
    }

    void soften(float* row, Vec largest, int64_t sample, int64_t i, Number* weights, Number* used) const {
        const Vec top = splat(largest_of(largest));
        Vec sums = splat(0.0f);
        for (int64_t j = a_.tokens; j < length_; ++j) row[j] = -INFINITY;
        for (int64_t j = 0; j < length_; j += LANES) {
            const Vec x = sub(load(row + j), top);
            const Vec e = zero_below(x, LOWEST_EXPONENT, exponential(x));
            store(row + j, e);
            sums = add(sums, e);
        }
        const Vec share = splat(1.0f / sum_of(sums)), more = splat(a_.kept_factor);
        const uint32_t row_key = key(sample, i);
        for (int64_t j = 0; j < length_; j += LANES) {
            const Vec weight = mul(load(row + j), share);
            T::write(weights + j, weight);
            if (used != weights) T::write(used + j, drop(mul(weight, more), row_key, j, a_.threshold));
        }
    }

    void differentiate_row(int64_t sample, int64_t i, const Number* weights, const Number* dused, float* row,
                           Number* used, Number* dscores) const {
        const Vec more = splat(a_.kept_factor), scale = splat(a_.scale);
        const uint32_t row_key = key(sample, i);
        Vec sums = splat(0.0f);
        for (int64_t j = 0; j < length_; j += LANES) {
            const Vec weight = T::read(weights + j);
            Vec dweight = T::read(dused + j);
            if (a_.threshold != 0) {
                T::write(used + j, drop(mul(weight, more), row_key, j, a_.threshold));
                dweight = drop(mul(dweight, more), row_key, j, a_.threshold);
            }
            store(row + j, dweight);
            sums = fma(weight, dweight, sums);
        }
        const Vec mean = splat(sum_of(sums));
        for (int64_t j = 0; j < length_; j += LANES) {
            Vec d = mul(mul(T::read(weights + j), sub(load(row + j), mean)), scale);
            // A row without visible keys has weights, but they do not depend on any score.
            if (j < a_.tokens) d = shown(sample, i, j, d, splat(0.0f));
            store(row + j, d);
            T::write(dscores + j, d);
        }
    }

    void write_columns(Number* out, const float* row) const {
        for (int64_t c = 0; c < a_.columns; c += LANES) T::write(out + c, load(row + c));
    }

    const TrainingArguments& a_;
    const int64_t length_, stride_;
};

template <typename T>
void weigh(const TrainingArguments& a) {
    const TrainingBlock<T> block(a);
    const int64_t tiles = a.length / LANES;
    parallel_for(a.team, a.threads, a.samples * tiles,
                 [&](int64_t task) { block.weigh(task / tiles, task % tiles * LANES); });
}

template <typename T>
void differentiate(const TrainingArguments& a) {
    const TrainingBlock<T> block(a);
    const int64_t tiles = a.length / LANES;
    parallel_for(a.team, a.threads, a.samples * tiles,
                 [&](int64_t task) { block.differentiate(task / tiles, task % tiles * LANES); });
    if (a.dp2c == nullptr) return;
    parallel_for(a.team, a.threads, a.samples * tiles,
                 [&](int64_t task) { block.gather_keys(task / tiles, task % tiles * LANES); });
}

// Dropout of hidden states in fp32 or bf16: values are dropped, or multiplied by a factor.
template <typename T>
void drop_rows(const typename T::Number* x, typename T::Number* out, int64_t rows, int64_t columns, uint64_t seed,
               uint32_t threshold, float factor, int64_t threads, Team team) {
    parallel_for(team, threads, (rows + 63) / 64, [&](int64_t task) {
        const int64_t end = task * 64 + 64 < rows ? task * 64 + 64 : rows;
        for (int64_t row = task * 64; row < end; ++row) {
            const typename T::Number* from = x + row * columns;
            typename T::Number* to = out + row * columns;
            const uint32_t key = row_key(seed, static_cast<uint64_t>(row));
            int64_t c = 0;
            for (; c + LANES <= columns; c += LANES)
                T::write(to + c, drop(mul(T::read(from + c), splat(factor)), key, c, threshold));
            if (c == columns) continue;
            typename T::Number rest[LANES] = {};
            std::memcpy(rest, from + c, (columns - c) * sizeof(rest[0]));
            T::write(rest, drop(mul(T::read(rest), splat(factor)), key, c, threshold));
            std::memcpy(to + c, rest, (columns - c) * sizeof(rest[0]));
        }
    });
}

}  // namespace
