// One encoder layer in inference: projections, attention, attention output, and feed-forward.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "attention.h"
#include "epilogue.h"

namespace {

thread_local Scratch layer_scratch;

// Run the tasks of several products, one product after another, on the team.
template <typename... Products>
void multiply(Team team, int64_t threads, const Products&... products) {
    const int64_t counts[] = {products.tasks()...};
    int64_t total = 0;
    for (const int64_t count : counts) total += count;
    parallel_for<Tiles>(team, threads, total, [&](int64_t task) {
        int64_t number = 0;
        const auto run_if_its = [&](const auto& product) {
            const int64_t count = counts[number++];
            if (task >= 0 && task < count) product.run(task);
            task -= count;
        };
        (run_if_its(products), ...);
    });
}

template <typename Row>
void for_rows(Team team, int64_t threads, int64_t rows, const Row& row) {
    constexpr int64_t ROWS = 16;
    parallel_for(team, threads, (rows + ROWS - 1) / ROWS, [&](int64_t task) {
        const int64_t last = (task + 1) * ROWS < rows ? (task + 1) * ROWS : rows;
        for (int64_t r = task * ROWS; r < last; ++r) row(r);
    });
}

void prepare(Team team, int64_t threads, const Input& input) {
    if (input.needs_preparing()) for_rows(team, threads, input.rows, [&](int64_t r) { input.prepare(r); });
}

// The input of the attention output, later that of the feed-forward part.
inline int64_t narrow_floats(const LayerArguments& a, int64_t rows) {
    return std::max(Input::block_floats(rows, a.width, a.output.kind),
                    Input::block_floats(rows, a.width, a.widen.kind));
}

// Consecutive blocks of floats.
inline float* take_floats(float*& next, int64_t count) {
    float* const block = next;
    next += round_up(count, 16);
    return block;
}

// Rows that several layers read, in fp32 or int8 as each requires.
class SharedInput {
public:
    template <typename... Linears>
    SharedInput(const float* x, int64_t rows, int64_t width, float* block, const Linears&... linears)
        : has_floats_(((linears.kind != INT8) || ...)),
          has_ints_(((linears.kind == INT8) || ...)),
          floats_(x, rows, width, largest({linears.kind...}), block),
          ints_(x, rows, width, INT8, block + (has_floats_ ? Input::block_floats(rows, width, floats_.kind) : 0)) {}

    // Size of both.
    static int64_t block_floats(const LayerArguments& a, int64_t rows) {
        const LinearArguments* const linears[] = {&a.query, &a.key, &a.value};
        int64_t floats = 0, ints = 0;
        for (const LinearArguments* linear : linears) {
            const int64_t count = Input::block_floats(rows, a.width, linear->kind);
            int64_t& most = linear->kind == INT8 ? ints : floats;
            most = most < count ? count : most;
        }
        return floats + ints;
    }

    const Input& of(const LinearArguments& linear) const { return linear.kind == INT8 ? ints_ : floats_; }
    bool needs_preparing() const { return has_ints_ || floats_.needs_preparing(); }
    void prepare(int64_t r) const {
        if (has_floats_) floats_.prepare(r);
        if (has_ints_) ints_.prepare(r);
    }

private:
    static WeightKind largest(std::initializer_list<WeightKind> kinds) { return std::max(kinds); }

    const bool has_floats_, has_ints_;
    const Input floats_, ints_;
};

// Attention output and feed-forward for few rows: all threads share each product.
void finish_rows(const LayerArguments& a, const float* context, const float* residual, float* out, int64_t rows,
                 float* block) {
    const Team team = a.attention.team;
    const int64_t threads = a.attention.threads, width = a.width, inner = a.widen.out;
    float* const attended = take_floats(block, rows * width);
    float* const narrow = take_floats(block, narrow_floats(a, rows));
    float* const wide_block = take_floats(block, Input::block_floats(rows, inner, a.narrow.kind));
    float* const wide = take_floats(block, rows * inner);

    const Input context_input(context, rows, width, a.output.kind, narrow);
    prepare(team, threads, context_input);
    const Write to_attended{attended, width, residual};
    multiply(team, threads, Product<Write>{a.output, context_input, to_attended});
    const Input attended_input(attended, rows, width, a.widen.kind, narrow);
    for_rows(team, threads, rows, [&](int64_t r) {
        normalize(attended + r * width, width, a.attention_norm, a.epsilon);
        attended_input.prepare(r);
    });

    const Input wide_input(wide, rows, inner, a.narrow.kind, wide_block);
    const WriteActivated to_wide{wide_input, wide, 0};
    multiply(team, threads, Product<WriteActivated>{a.widen, attended_input, to_wide});
    if (!wide_input.are_tiles()) prepare(team, threads, wide_input);
    const Write to_out{out, width, attended};
    multiply(team, threads, Product<Write>{a.narrow, wide_input, to_out});
    for_rows(team, threads, rows, [&](int64_t r) { normalize(out + r * width, width, a.output_norm, a.epsilon); });
}

struct Projection {
    const LinearArguments& linear;
    Write write;
};

// Rows that one thread takes through everything after attention, or through the projections before it.
class RowChunk {
public:
    static constexpr int64_t INNER = 192;  // columns of the feed-forward part that are computed and consumed together
    static constexpr int64_t ROWS = 32;    // chunks are multiples of this
    static_assert(INNER % PANEL == 0 && INNER % STEP == 0);

    RowChunk(const LayerArguments& a, int64_t rows) : a_(a), rows_(rows), padded_(round_up(rows, ROWS)) {
        const Sizes sizes(a, padded_);
        float* next = own_scratch.floats(sizes.total());
        attended_ = take_floats(next, sizes.attended);
        narrow_ = take_floats(next, sizes.narrow);
        wide_block_ = take_floats(next, sizes.wide_block);
        wide_ = take_floats(next, sizes.wide);
        sums_ = take_floats(next, sizes.sums);
        products_ = take_floats(next, sizes.products);
    }

    // Rows per chunk: as even as possible, and small enough for the second-level cache; 0 if there are too few.
    static int64_t choose(const LayerArguments& a, int64_t rows) {
        constexpr int64_t LEAST = 128, CACHE_FLOATS = 8 << 16;  // 2 MiB
        const int64_t threads = a.attention.threads;
        if (rows < LEAST * threads) return 0;
        int64_t best = 0, best_time = 0;
        for (int64_t n = ROWS; n <= 512 && (n <= 64 || Sizes(a, n).total() <= CACHE_FLOATS); n += ROWS) {
            const int64_t chunks = (rows + n - 1) / n, time = (chunks + threads - 1) / threads * n;
            if (best == 0 || time <= best_time) {
                best = n;
                best_time = time;
            }
        }
        return best;
    }

    // Products of the rows of x with some layers.
    template <typename... Projections>
    void project(const float* x, const Projections&... projections) {
        const SharedInput input(x, rows_, a_.width, narrow_, projections.linear...);
        if (input.needs_preparing())
            for (int64_t r = 0; r < rows_; ++r) input.prepare(r);
        (Product<Write>{projections.linear, input.of(projections.linear), projections.write}.run_all(products_), ...);
    }

    void finish(const float* context, const float* residual, float* out) {
        const int64_t width = a_.width;
        const Write to_attended{attended_, width, residual}, to_out{out, width, attended_};
        const Input context_input(context, rows_, width, a_.output.kind, narrow_);
        context_input.prepare_all();
        Product<Write>{a_.output, context_input, to_attended}.run_all(products_);
        for (int64_t r = 0; r < rows_; ++r) normalize(attended_ + r * width, width, a_.attention_norm, a_.epsilon);
        const Input attended(attended_, rows_, width, a_.widen.kind, narrow_);
        attended.prepare_all();
        if (a_.narrow.kind == INT8)
            feed_forward_at_once(attended, to_out);
        else
            feed_forward_by_columns(attended, to_out);
        for (int64_t r = 0; r < rows_; ++r) normalize(out + r * width, width, a_.output_norm, a_.epsilon);
    }

private:
    struct Sizes {  // floats
        int64_t attended, narrow, wide_block, wide, sums, products;

        Sizes(const LayerArguments& a, int64_t rows) {
            const bool is_int8 = a.narrow.kind == INT8;
            const int64_t inner = is_int8 ? a.widen.out : INNER;
            attended = rows * a.width;
            narrow = std::max(narrow_floats(a, rows), SharedInput::block_floats(a, rows));
            wide_block = Input::block_floats(rows, inner, a.narrow.kind);
            wide = rows * inner;
            sums = is_int8 ? 0 : rows * round_up(a.width, PANEL);
            products = rows * PANEL;
        }
        int64_t total() const { return attended + narrow + wide_block + wide + sums + products + 6 * 16; }
    };

    // In int8, the scale of a row depends on all of its columns, so all are computed first.
    void feed_forward_at_once(const Input& attended, const Write& to_out) {
        const Input wide(wide_, rows_, a_.widen.out, INT8, wide_block_);
        const WriteActivated to_wide{wide, wide_, 0};
        Product<WriteActivated>{a_.widen, attended, to_wide}.run_all(products_);
        wide.prepare_all();
        Product<Write>{a_.narrow, wide, to_out}.run_all(products_);
    }

    void feed_forward_by_columns(const Input& attended, const Write& to_out) {
        for (int64_t column = 0; column < a_.widen.out; column += INNER) add_columns(attended, column);
        const Product<Write> narrow{a_.narrow, attended, to_out};
        for (int64_t panel = 0; panel < narrow.panels(); ++panel)
            narrow.end(0, rows_, panel, sums_ + panel * padded_ * PANEL);
    }

    // Add the contribution of INNER columns, from `column` on, to the sums.
    void add_columns(const Input& attended, int64_t column) {
        const int64_t left = a_.widen.out - column, columns = left < INNER ? left : INNER;
        const Input wide(wide_, rows_, columns, a_.narrow.kind, wide_block_);
        const WriteActivated to_wide{wide, wide_, column};
        Product<WriteActivated>{a_.widen, attended, to_wide}.run_panels(
            column / PANEL, (column + columns + PANEL - 1) / PANEL, products_);
        for (int64_t panel = 0; panel * PANEL < a_.width; ++panel)
            multiply_chunk(a_.narrow, column, wide.floats, 0, rows_, panel, sums_ + panel * padded_ * PANEL,
                           column > 0);
    }

    const LayerArguments& a_;
    const int64_t rows_, padded_;
    float *attended_, *narrow_, *wide_block_, *wide_, *sums_, *products_;
};

int64_t finish_floats(const LayerArguments& a, int64_t rows) {
    return rows * a.width + narrow_floats(a, rows) + Input::block_floats(rows, a.widen.out, a.narrow.kind) +
           rows * a.widen.out + 4 * 16;
}

// Rows first, first + chunk, ... of `rows`, each chunk on one thread.
template <typename Run>
void for_chunks(const LayerArguments& a, int64_t rows, int64_t chunk, const Run& run) {
    parallel_for<Tiles>(a.attention.team, a.attention.threads, (rows + chunk - 1) / chunk, [&](int64_t task) {
        const int64_t first = task * chunk;
        run(first, rows - first < chunk ? rows - first : chunk);
    });
}

// Queries, keys and values; `block` is scratch memory for the inputs.
void project(const LayerArguments& a, float* block, float* q, float* k, float* v) {
    const AttentionArguments& attention = a.attention;
    const Team team = attention.team;
    const int64_t width = a.width, threads = attention.threads, rows = attention.batch * attention.length;
    const bool has_own = a.queries != nullptr;
    const Write to_q{q, width, nullptr}, to_k{k, width, nullptr}, to_v{v, width, nullptr};
    const int64_t chunk = RowChunk::choose(a, rows);
    if (chunk > 0) {
        for_chunks(a, rows, chunk, [&](int64_t first, int64_t count) {
            const auto part = [&](float* to) { return Write{to + first * width, width, nullptr}; };
            RowChunk own(a, count);
            const float* x = a.states + first * width;
            const Projection key{a.key, part(k)}, value{a.value, part(v)};
            if (has_own)
                own.project(x, key, value);
            else
                own.project(x, Projection{a.query, part(q)}, key, value);
        });
    } else {
        const SharedInput states(a.states, rows, width, block, a.query, a.key, a.value);
        if (states.needs_preparing()) for_rows(team, threads, rows, [&](int64_t r) { states.prepare(r); });
        const Product<Write> key{a.key, states.of(a.key), to_k}, value{a.value, states.of(a.value), to_v};
        if (has_own)
            multiply(team, threads, key, value);
        else
            multiply(team, threads, Product<Write>{a.query, states.of(a.query), to_q}, key, value);
    }
    if (!has_own) return;
    const Input queries(a.queries, attention.batch * attention.queries, width, a.query.kind, block);
    prepare(team, threads, queries);
    multiply(team, threads, Product<Write>{a.query, queries, to_q});
}

void run_layer(const LayerArguments& a) {
    AttentionArguments attention = a.attention;
    const int64_t width = a.width;
    const int64_t rows = attention.batch * attention.length, query_rows = attention.batch * attention.queries;
    const int64_t state_floats = SharedInput::block_floats(a, rows);
    const int64_t projected = round_up((2 * rows + 2 * query_rows) * width, 16);
    const int64_t chunk = RowChunk::choose(a, query_rows);
    float* const block =
        layer_scratch.floats(state_floats + projected + (chunk > 0 ? 0 : finish_floats(a, query_rows)));
    float* const q = block + state_floats;
    float* const k = q + query_rows * width;
    float* const v = k + rows * width;
    float* const context = v + rows * width;
    project(a, block, q, k, v);

    attention.query = q;
    attention.key = k;
    attention.value = v;
    attention.out = context;
    attention.query_token = attention.key_token = attention.value_token = width;
    attention.query_head = attention.key_head = attention.value_head = attention.head_width;
    attention.query_batch = attention.queries * width;
    attention.key_batch = attention.value_batch = attention.length * width;
    attend(attention);

    const float* const residual = a.queries == nullptr ? a.states : a.queries;
    if (chunk > 0)
        for_chunks(a, query_rows, chunk, [&](int64_t first, int64_t count) {
            const int64_t place = first * width;
            RowChunk(a, count).finish(context + place, residual + place, a.out + place);
        });
    else
        finish_rows(a, context, residual, a.out, query_rows, q + projected);
}

}  // namespace
