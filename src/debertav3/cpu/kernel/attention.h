// Disentangled self-attention (DeBERTa, arXiv:2006.03654, section 3.1, equation 4), fp32, forward only.
//
//   score[i, j] = (q_i . k_j + q_i . kr[row(i - j)] + k_j . qr[row(i - j)]) * scale
//
// The relative table has few rows however long the text is, so q . kr and k . qr are computed once for the rows that a
// length reaches, and each score picks its terms from them while a block of scores is in cache. As i - j grows by one,
// the row stays or grows by one (the caller guarantees it), so 16 neighbouring scores need at most 16 neighbouring
// products: one load and one permutation. See README.md.

#pragma once

#include <cfloat>
#include <cstring>
#include <limits>

#include "gemm_tile.h"
#include "abi.h"

namespace {

constexpr int64_t BLOCK_QUERIES = 32;
constexpr int64_t BLOCK_KEYS = 128;
constexpr int64_t GROUP_FLOATS = 1 << 19;  // 2 MiB of packed keys and values per thread
static_assert(BLOCK_QUERIES % LANES == 0 && BLOCK_KEYS % PANEL == 0);

}  // namespace

namespace {

using Arguments = AttentionArguments;

// The panels of a table that a length reaches.
struct Reach {
    int64_t first, count;  // panels
    int64_t stride;        // floats in a row of products: never a power of two, with a vector to spare

    Reach(int32_t lowest, int32_t highest)
        : first(lowest / PANEL), count(highest / PANEL + 1 - first), stride(count * PANEL + LANES) {}
};

struct Plan {
    const Arguments& given;
    int64_t panels, padded_width, value_panels;
    Reach keys, queries;
    int64_t key_floats, value_floats, product_floats;

    explicit Plan(const Arguments& a)
        : given(a),
          panels((a.length + PANEL - 1) / PANEL),
          padded_width(round_up(a.head_width, PANEL)),
          value_panels(padded_width / PANEL),
          keys(a.key_table ? a.rows_by_key[0] : 0, a.key_table ? a.rows_by_key[2 * a.length - 2] : 0),
          queries(a.query_table ? a.rows_by_query[0] : 0, a.query_table ? a.rows_by_query[2 * a.length - 2] : 0),
          key_floats(panels * PANEL * a.head_width),
          value_floats(panels * PANEL * padded_width),
          product_floats(a.query_table ? panels * PANEL * queries.stride : 0) {}

    int64_t head_floats() const { return key_floats + value_floats + product_floats; }

    // Keys of a batch row up to the last one that is visible; 0 if none is.
    int64_t seen_keys(int64_t b) const {
        int64_t n = given.length;
        if (given.key_mask != nullptr)
            while (n > 0 && given.key_mask[b * given.length + n - 1] == 0) --n;
        return n;
    }
};

// Shared by all queries of a head: keys and values in panels, and products of the keys with the query table.
struct Head {
    const Plan& plan;
    int64_t b, n, seen;
    float *keys, *values, *products;

    Head(const Plan& p, int64_t number, float* block)
        : plan(p),
          b(number / p.given.heads),
          n(number % p.given.heads),
          seen(p.seen_keys(b)),
          keys(block),
          values(block + p.key_floats),
          products(values + p.value_floats) {}

    const float* query(int64_t i) const {
        const Arguments& a = plan.given;
        return a.query + b * a.query_batch + n * a.query_head + i * a.query_token;
    }
    const float* key(int64_t j) const {
        const Arguments& a = plan.given;
        return a.key + b * a.key_batch + n * a.key_head + j * a.key_token;
    }
    const float* value(int64_t j) const {
        const Arguments& a = plan.given;
        return a.value + b * a.value_batch + n * a.value_head + j * a.value_token;
    }
    bool sees_nothing(int64_t i) const {
        const Arguments& a = plan.given;
        return seen == 0 || (a.hides_queries && a.key_mask != nullptr && a.key_mask[b * a.length + i] == 0);
    }
};

thread_local Scratch own_scratch, group_scratch;

void copy_rows(const float* x, int64_t stride, int64_t rows, int64_t width, float factor, float* out) {
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t k = 0; k < width; ++k) out[r * width + k] = x[r * stride + k] * factor;
}

// Pack keys first .. first + BLOCK_KEYS - 1 of a head.
void prepare_keys(const Head& head, int64_t first) {
    const Plan& plan = head.plan;
    const Arguments& a = plan.given;
    if (first >= head.seen) return;
    const int64_t width = a.head_width, count = head.seen - first < BLOCK_KEYS ? head.seen - first : BLOCK_KEYS;
    const int64_t padded = round_up(count, PANEL), all = plan.panels * PANEL;
    for (int64_t j = 0; j < count; j += PANEL)
        pack_panel(head.key(first + j), a.key_token, count - j, width, 1.0f, head.keys + (first + j) * width);
    for (int64_t p = 0; p < plan.value_panels; ++p) {
        float* panel = head.values + (p * all + first) * PANEL;
        const int64_t columns = width - p * PANEL < PANEL ? width - p * PANEL : PANEL;
        for (int64_t j = 0; j < padded; ++j, panel += PANEL) {
            if (j < count && columns == PANEL) {
                const float* source = head.value(first + j) + p * PANEL;
                store(panel, load(source));
                store(panel + LANES, load(source + LANES));
                continue;
            }
            std::memset(panel, 0, PANEL * sizeof(float));
            if (j < count) std::memcpy(panel, head.value(first + j) + p * PANEL, columns * sizeof(float));
        }
    }
    if (a.query_table == nullptr) return;
    float* rows = own_scratch.floats(BLOCK_KEYS * width);
    copy_rows(head.key(first), a.key_token, count, width, 1.0f, rows);
    const int64_t stride = plan.queries.stride;
    const float* table = a.query_table + head.n * round_up(a.table_rows, PANEL) * width;
    const int32_t* row_of = a.rows_by_query + a.length - 1;
    for (int64_t k = 0; k < count; k += PANEL) {  // few keys at a time need fewer rows of the table
        const int64_t some = count - k < PANEL ? count - k : PANEL, key = first + k;
        const Reach reach(row_of[-(key + some - 1)], row_of[a.queries - 1 - key]);
        for (int64_t p = reach.first; p < reach.first + reach.count; ++p)
            multiply_panel<SHORT_TILE_ROWS>(rows + k * width, width, some, table + p * PANEL * width, width,
                                            head.products + key * stride + (p - plan.queries.first) * PANEL, stride,
                                            false);
    }
}

// A block of queries: scores, softmax, weighted values.
class QueryBlock {
public:
    QueryBlock(const Head& head, int64_t first, int64_t count)
        : head_(head), plan_(head.plan), a_(head.plan.given), first_(first), count_(count) {
        seen_ = round_up(head.seen, PANEL);
        score_stride_ = seen_ + LANES;
        const int64_t width = a_.head_width, padded = plan_.padded_width, c2p = plan_.keys.stride;
        float* next = own_scratch.floats(BLOCK_QUERIES * (width + padded + c2p + score_stride_) + seen_ +
                                         BLOCK_QUERIES * LANES + 8 * LANES);
        queries_ = take(next, BLOCK_QUERIES * width);
        context_ = take(next, BLOCK_QUERIES * padded);
        products_ = take(next, BLOCK_QUERIES * c2p);
        limits_ = take(next, seen_);
        largest_ = take(next, BLOCK_QUERIES * LANES);
        scores_ = take(next, BLOCK_QUERIES * score_stride_);
    }

    void attend() {
        const int64_t width = a_.head_width;
        copy_rows(head_.query(first_), a_.query_token, count_, width, a_.scale, queries_);
        if (a_.key_table != nullptr) multiply_with_key_table();
        set_limits();
        for (int64_t r = 0; r < count_; ++r) store(largest_ + r * LANES, splat(-FLT_MAX));
        for (int64_t first = 0; first < seen_; first += BLOCK_KEYS) {
            const int64_t last = first + BLOCK_KEYS < seen_ ? first + BLOCK_KEYS : seen_;
            const bool has_positions = pick_positions(first, last);
            for (int64_t j = first; j < last; j += PANEL)
                multiply_panel<SHORT_TILE_ROWS>(queries_, width, count_, head_.keys + j * width, width, scores_ + j,
                                                score_stride_, has_positions);
            limit(first, last);
        }
        add_values();
    }

private:
    static float* take(float*& next, int64_t floats) {
        float* block = next;
        next += round_up(floats, 16);
        return block;
    }

    void multiply_with_key_table() {
        const int64_t width = a_.head_width;
        const float* table = a_.key_table + head_.n * round_up(a_.table_rows, PANEL) * width;
        const int32_t* row_of = a_.rows_by_key + a_.length - 1;
        const Reach reach(row_of[-(first_ + count_ - 1)], row_of[seen_ - 1 - first_]);
        for (int64_t p = reach.first; p < reach.first + reach.count; ++p)
            multiply_panel<SHORT_TILE_ROWS>(queries_, width, count_, table + p * PANEL * width, width,
                                            products_ + (p - plan_.keys.first) * PANEL, plan_.keys.stride, false);
    }

    // The upper bound of a key's scores: infinity for a visible key, the lowest float for a hidden one (so that a row
    // without visible keys weighs all alike), and less than that past the end.
    void set_limits() {
        const uint8_t* mask = a_.key_mask == nullptr ? nullptr : a_.key_mask + head_.b * a_.length;
        for (int64_t j = 0; j < head_.seen; ++j) limits_[j] = mask == nullptr || mask[j] ? FLT_MAX : -FLT_MAX;
        for (int64_t j = head_.seen; j < seen_; ++j) limits_[j] = -std::numeric_limits<float>::infinity();
    }

    // Write the position terms of keys first .. last - 1 to the scores; false if there are none.
    bool pick_positions(int64_t first, int64_t last) {
        const bool has_c2p = a_.key_table != nullptr, has_p2c = a_.query_table != nullptr;
        if (!has_c2p && !has_p2c) return false;
        for (int64_t j = first; j < last; j += LANES) {
            for (int64_t r = 0; r < count_; r += LANES) {
                Vec block[LANES];
                if (has_p2c) pick_p2c(block, r, j);
                const int rows = static_cast<int>(count_ - r < LANES ? count_ - r : LANES);
                for (int i = 0; i < rows; ++i) {
                    float* place = scores_ + (r + i) * score_stride_ + j;
                    if (has_c2p) {
                        const Vec c2p = pick_c2p(r + i, j);
                        store(place, has_p2c ? add(block[i], c2p) : c2p);
                    } else {
                        store(place, block[i]);
                    }
                }
            }
        }
        return true;
    }

    Vec pick_c2p(int64_t r, int64_t j) const {
        const int32_t* rows = a_.rows_by_key + (j - first_ - r) + a_.length - 1;
        const int32_t lowest = *rows;
        return permute(load(products_ + r * plan_.keys.stride + lowest - plan_.keys.first * PANEL), rows, lowest);
    }

    // Rows r .. r + LANES - 1 of the block, keys j .. j + LANES - 1: gathered key by key, then transposed.
    void pick_p2c(Vec (&block)[LANES], int64_t r, int64_t j) const {
        const int64_t stride = plan_.queries.stride;
        for (int k = 0; k < LANES; ++k) {
            if (j + k >= head_.seen) {
                block[k] = splat(0.0f);
                continue;
            }
            const int32_t* rows = a_.rows_by_query + (first_ + r - j - k) + a_.length - 1;
            const int32_t lowest = *rows;
            block[k] =
                permute(load(head_.products + (j + k) * stride + lowest - plan_.queries.first * PANEL), rows, lowest);
        }
        transpose(block);
    }

    // Mask the scores, and track each row's maximum.
    void limit(int64_t first, int64_t last) {
        for (int64_t r = 0; r < count_; ++r) {
            Vec largest = load(largest_ + r * LANES);
            float* row = scores_ + r * score_stride_;
            for (int64_t j = first; j < last; j += LANES) {
                Vec top = load(limits_ + j);
                if (a_.pair_mask != nullptr) top = min(top, pair_limits(r, j));
                const Vec score = min(top, load(row + j));  // this order of arguments propagates NaN
                store(row + j, score);
                largest = max(largest, score);
            }
            store(largest_ + r * LANES, largest);
        }
    }

    Vec pair_limits(int64_t r, int64_t j) const {
        const uint8_t* pairs = a_.pair_mask + head_.b * a_.pair_batch + head_.n * a_.pair_head +
                               (first_ + r) * a_.pair_query + j;
        uint8_t end[LANES] = {};
        if (j + LANES > a_.length) {  // do not read past the mask
            if (j < a_.length) std::memcpy(end, pairs, a_.length - j);
            pairs = end;
        }
        return choose(pairs, splat(FLT_MAX), splat(-FLT_MAX));
    }

    // Softmax, product with the values, and output.
    void add_values() {
        const int64_t padded = plan_.padded_width, all = plan_.panels * PANEL;
        Vec sums[BLOCK_QUERIES];
        float tops[BLOCK_QUERIES];
        for (int64_t r = 0; r < count_; ++r) {
            tops[r] = largest_of(load(largest_ + r * LANES));
            sums[r] = splat(0.0f);
        }
        for (int64_t first = 0; first < seen_; first += BLOCK_KEYS) {
            const int64_t last = first + BLOCK_KEYS < seen_ ? first + BLOCK_KEYS : seen_;
            for (int64_t r = 0; r < count_; ++r) {
                float* row = scores_ + r * score_stride_;
                for (int64_t j = first; j < last; j += LANES) {
                    const Vec weight = exponential(sub(load(row + j), splat(tops[r])));
                    store(row + j, weight);
                    sums[r] = add(sums[r], weight);
                }
            }
            for (int64_t p = 0; p < plan_.value_panels; ++p)
                multiply_panel<SHORT_TILE_ROWS>(scores_ + first, score_stride_, count_,
                                                head_.values + (p * all + first) * PANEL, last - first,
                                                context_ + p * PANEL, padded, first > 0);
        }
        for (int64_t r = 0; r < count_; ++r) {
            const float share = 1.0f / sum_of(sums[r]);
            float* out = a_.out + ((head_.b * a_.queries + first_ + r) * a_.heads + head_.n) * a_.head_width;
            for (int64_t k = 0; k < a_.head_width; ++k) out[k] = context_[r * padded + k] * share;
        }
    }

    const Head& head_;
    const Plan& plan_;
    const Arguments& a_;
    const int64_t first_, count_;
    int64_t seen_, score_stride_;
    float *queries_, *context_, *products_, *limits_, *largest_, *scores_;
};

// Queries that attend to nothing weigh all keys alike, as in the reference: their output is the mean of the values.
void write_means(const Head& head, int64_t first, int64_t count) {
    const Arguments& a = head.plan.given;
    float* mean = nullptr;
    for (int64_t i = first; i < first + count; ++i) {
        if (!head.sees_nothing(i)) continue;
        if (mean == nullptr) {
            mean = own_scratch.floats(a.head_width);
            std::memset(mean, 0, a.head_width * sizeof(float));
            for (int64_t j = 0; j < a.length; ++j)
                for (int64_t k = 0; k < a.head_width; ++k) mean[k] += head.value(j)[k];
            for (int64_t k = 0; k < a.head_width; ++k) mean[k] /= static_cast<float>(a.length);
        }
        float* out = a.out + ((head.b * a.queries + i) * a.heads + head.n) * a.head_width;
        std::memcpy(out, mean, a.head_width * sizeof(float));
    }
}

void attend(const Head& head, int64_t first) {
    const int64_t left = head.plan.given.queries - first;
    const int64_t count = left < BLOCK_QUERIES ? left : BLOCK_QUERIES;
    int64_t seeing = count;
    while (seeing > 0 && head.sees_nothing(first + seeing - 1)) --seeing;
    if (seeing > 0) QueryBlock(head, first, seeing).attend();
    write_means(head, first, count);
}

void attend(const Arguments& a) {
    const Plan plan(a);
    const int64_t heads = a.batch * a.heads, floats = plan.head_floats();
    int64_t group = GROUP_FLOATS * a.threads / floats;  // heads whose packed keys fit in the cache
    group = group < 1 ? 1 : group > heads ? heads : group;
    const int64_t key_blocks = (a.length + BLOCK_KEYS - 1) / BLOCK_KEYS;
    const int64_t query_blocks = (a.queries + BLOCK_QUERIES - 1) / BLOCK_QUERIES;
    if (heads % a.threads == 0 || heads >= 8 * a.threads) {  // one thread per head keeps it in its cache
        parallel_for(a.team, a.threads, heads, [&](int64_t number) {
            const Head head(plan, number, group_scratch.floats(floats));
            for (int64_t b = 0; b < key_blocks; ++b) prepare_keys(head, b * BLOCK_KEYS);
            for (int64_t b = 0; b < query_blocks; ++b) attend(head, b * BLOCK_QUERIES);
            group_scratch.trim();
        });
        return;
    }
    float* prepared = group_scratch.floats(group * floats);
    for (int64_t start = 0; start < heads; start += group) {
        const int64_t count = heads - start < group ? heads - start : group;
        parallel_for(a.team, a.threads, count * key_blocks, [&](int64_t task) {
            const int64_t h = task / key_blocks;
            prepare_keys(Head(plan, start + h, prepared + h * floats), task % key_blocks * BLOCK_KEYS);
        });
        parallel_for(a.team, a.threads, count * query_blocks, [&](int64_t task) {
            const int64_t h = task / query_blocks;
            attend(Head(plan, start + h, prepared + h * floats), task % query_blocks * BLOCK_QUERIES);
        });
    }
}

}  // namespace
