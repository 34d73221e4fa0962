// One layer of the encoder in inference: projections, attention, its output, and the feed-forward part.
#pragma once

#include <cmath>

#include "attention.h"
#include "linear.h"

extern "C" {

struct NormArguments {
    const float *weight, *bias;  // (width)
};

// Mirrored in library.py. `attention` has no pointers to queries, keys, values and output: they are made here.
struct LayerArguments {
    LinearArguments query, key, value, output, widen, narrow;
    NormArguments attention_norm, output_norm;
    AttentionArguments attention;
    const float* states;   // (batch, length, width): keys and values, and queries unless these have their own
    const float* queries;  // (batch, attention.queries, width), or null
    float* out;            // (batch, attention.queries, width)
    int64_t width;
    float epsilon;
};

}  // extern "C"

namespace {

thread_local Scratch layer_scratch;

// Runs the tasks of several products after one another on the team.
template <typename... Products>
void multiply(Team team, int64_t threads, const Products&... products) {
    const int64_t counts[] = {products.tasks()...};
    int64_t total = 0;
    for (const int64_t count : counts) total += count;
    share<Tiles>(team, threads, total, [&](int64_t task) {
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
    share(team, threads, (rows + ROWS - 1) / ROWS, [&](int64_t task) {
        const int64_t last = (task + 1) * ROWS < rows ? (task + 1) * ROWS : rows;
        for (int64_t r = task * ROWS; r < last; ++r) row(r);
    });
}

void prepare(Team team, int64_t threads, const Input& input) {
    share(team, threads, (input.rows + CHUNK_ROWS - 1) / CHUNK_ROWS,
          [&](int64_t task) { input.prepare(task * CHUNK_ROWS); });
}

// LayerNorm of a row, in place.
void normalize(float* x, int64_t width, const NormArguments& norm, float epsilon) {
    const int64_t whole = width / LANES * LANES;
    Vec sums = splat(0.0f);
    for (int64_t k = 0; k < whole; k += LANES) sums = add(sums, load(x + k));
    float sum = sum_of(sums);
    for (int64_t k = whole; k < width; ++k) sum += x[k];
    const float mean = sum / static_cast<float>(width);
    Vec squares = splat(0.0f);
    for (int64_t k = 0; k < whole; k += LANES) {
        const Vec distance = sub(load(x + k), splat(mean));
        squares = fma(distance, distance, squares);
    }
    float square = sum_of(squares);
    for (int64_t k = whole; k < width; ++k) square += (x[k] - mean) * (x[k] - mean);
    const float factor = 1.0f / std::sqrt(square / static_cast<float>(width) + epsilon);
    for (int64_t k = 0; k < whole; k += LANES) {
        const Vec y = mul(sub(load(x + k), splat(mean)), splat(factor));
        store(x + k, fma(y, load(norm.weight + k), load(norm.bias + k)));
    }
    for (int64_t k = whole; k < width; ++k) x[k] = (x[k] - mean) * factor * norm.weight[k] + norm.bias[k];
}

// Ends of products. Each writes a chunk of (rows, PANEL) products to its place.

struct Write {
    float* out;
    int64_t stride;
    const float* residual;  // added, or null

    void operator()(int64_t first, int64_t rows, int64_t column, int64_t columns, const float* products,
                    const Bias bias) const {
        // Local copies: for all that the compiler knows, a store could change a member.
        const int64_t step = stride;
        const float* other = residual == nullptr ? nullptr : residual + first * step + column;
        float* place = out + first * step + column;
        if (columns < PANEL) {
            float end[PANEL];
            for (int64_t r = 0; r < rows; ++r, products += PANEL, place += step) {
                store(end, add(load(products), bias.left));
                store(end + LANES, add(load(products + LANES), bias.right));
                for (int64_t c = 0; c < columns; ++c)
                    place[c] = other == nullptr ? end[c] : end[c] + other[r * step + c];
            }
        } else if (other != nullptr) {
            for (int64_t r = 0; r < rows; ++r, products += PANEL, place += step, other += step) {
                store(place, add(add(load(products), bias.left), load(other)));
                store(place + LANES, add(add(load(products + LANES), bias.right), load(other + LANES)));
            }
        } else {
            for (int64_t r = 0; r < rows; ++r, products += PANEL, place += step) {
                store(place, add(load(products), bias.left));
                store(place + LANES, add(load(products + LANES), bias.right));
            }
        }
    }
};

// GELU, into the input of the next product.
struct WriteActivated {
    const Input& next;
    float* out;            // (rows, next.depth), where the next product reads plain numbers
    int64_t first_column;  // of next

    void operator()(int64_t first, int64_t rows, int64_t column, int64_t columns, const float* products,
                    const Bias bias) const {
#if defined(__AMX_BF16__)
        (void)columns;
        const int64_t step = (column - first_column) / STEP, parts = next.parts;
        for (int64_t start = 0; start < rows; start += PANEL) {
            uint16_t* place = next.tile(first + start, step);
            const int64_t count = rows - start < PANEL ? rows - start : PANEL;
            for (int64_t r = 0; r < count; ++r, products += PANEL, place += STEP)
                split(gelu(add(load(products), bias.left)), gelu(add(load(products + LANES), bias.right)), parts,
                      place, 2 * TILE_NUMBERS);
        }
#else
        const int64_t step = next.depth;
        float* place = out + first * step + column - first_column;
        float end[PANEL];
        for (int64_t r = 0; r < rows; ++r, products += PANEL, place += step) {
            float* target = columns < PANEL ? end : place;
            store(target, gelu(add(load(products), bias.left)));
            store(target + LANES, gelu(add(load(products + LANES), bias.right)));
            if (columns < PANEL) std::memcpy(place, end, columns * sizeof(float));
        }
#endif
    }
};

// Output of attention and the feed-forward part for few rows: all threads share each product.
void finish_rows(const LayerArguments& a, const float* context, const float* residual, float* out, int64_t rows,
                 float* block) {
    const Team team = a.attention.team;
    const int64_t threads = a.attention.threads, width = a.width, inner = a.widen.out, parts = a.query.parts;
    const int64_t narrow_floats = round_up(Input::floats(rows, width, parts), 16);
    float* const attended = block;
    float* const narrow_tiles = attended + rows * width;
    float* const wide_tiles = narrow_tiles + narrow_floats;
    float* const wide = wide_tiles + round_up(Input::floats(rows, inner, parts), 16);

    const Input context_input(context, rows, width, parts, narrow_tiles);
    prepare(team, threads, context_input);
    const Write to_attended{attended, width, residual};
    multiply(team, threads, Product<Write>{a.output, context_input, to_attended});
    for_rows(team, threads, rows,
             [&](int64_t r) { normalize(attended + r * width, width, a.attention_norm, a.epsilon); });

    const Input attended_input(attended, rows, width, parts, narrow_tiles);
    prepare(team, threads, attended_input);
    const Input wide_input(wide, rows, inner, parts, wide_tiles);
    const WriteActivated to_wide{wide_input, wide, 0};
    multiply(team, threads, Product<WriteActivated>{a.widen, attended_input, to_wide});
    const Write to_out{out, width, attended};
    multiply(team, threads, Product<Write>{a.narrow, wide_input, to_out});
    for_rows(team, threads, rows, [&](int64_t r) { normalize(out + r * width, width, a.output_norm, a.epsilon); });
}

// Rows that one thread takes through everything behind attention, or through the projections before it.
class RowChunk {
public:
    static constexpr int64_t INNER = 192;  // columns of the feed-forward part that are made and used up together
    static_assert(INNER % PANEL == 0 && INNER % STEP == 0);

    RowChunk(const LayerArguments& a, int64_t rows) : a_(a), rows_(rows), padded_(round_up(rows, STEP)) {
        float* next = own_scratch.floats(floats(a, padded_));
        const int64_t width = a.width, parts = a.query.parts;
        attended_ = next;
        sums_ = attended_ + round_up(padded_ * width, 16);
        narrow_tiles_ = sums_ + padded_ * round_up(width, PANEL);
        wide_tiles_ = narrow_tiles_ + round_up(Input::floats(padded_, width, parts), 16);
        wide_ = wide_tiles_ + round_up(Input::floats(padded_, INNER, parts), 16);
    }

    static int64_t floats(const LayerArguments& a, int64_t rows) {
        const int64_t parts = a.query.parts;
        return rows * (a.width + round_up(a.width, PANEL) + INNER) + Input::floats(rows, a.width, parts) +
               Input::floats(rows, INNER, parts) + 4 * 16;
    }

    // How many rows: as evenly shared as can be, and in the second-level cache; 0 where there are too few.
    static int64_t choose(const LayerArguments& a, int64_t rows) {
        constexpr int64_t LEAST = 128, CACHE_FLOATS = 8 << 16;  // 2 MiB
        const int64_t threads = a.attention.threads;
        if (rows < LEAST * threads) return 0;
        int64_t best = 0, best_time = 0;
        for (int64_t n = STEP; n <= 512 && (n <= 64 || floats(a, n) <= CACHE_FLOATS); n += STEP) {
            const int64_t chunks = (rows + n - 1) / n, time = (chunks + threads - 1) / threads * n;
            if (best == 0 || time <= best_time) {
                best = n;
                best_time = time;
            }
        }
        return best;
    }

    // Products of the rows of x with some layers, each to its place.
    template <typename... Ends>
    void project(const float* x, const Ends&... ends) {
        const Input input(x, rows_, a_.width, a_.query.parts, narrow_tiles_);
        input.prepare_all();
        (Product<Write>{ends.linear, input, ends.write}.run_all(), ...);
    }

    void finish(const float* context, const float* residual, float* out) {
        const int64_t width = a_.width, parts = a_.query.parts;
        const Write to_attended{attended_, width, residual};
        const Input context_input(context, rows_, width, parts, narrow_tiles_);
        context_input.prepare_all();
        Product<Write>{a_.output, context_input, to_attended}.run_all();
        for (int64_t r = 0; r < rows_; ++r) normalize(attended_ + r * width, width, a_.attention_norm, a_.epsilon);
        const Input attended(attended_, rows_, width, parts, narrow_tiles_);
        attended.prepare_all();
        for (int64_t column = 0; column < a_.widen.out; column += INNER) feed_forward(attended, column);
        const Write to_out{out, width, attended_};
        const Product<Write> narrow{a_.narrow, attended, to_out};
        for (int64_t panel = 0; panel < narrow.panels(); ++panel)
            narrow.end(0, rows_, panel, sums_ + panel * padded_ * PANEL);
        for (int64_t r = 0; r < rows_; ++r) normalize(out + r * width, width, a_.output_norm, a_.epsilon);
    }

private:
    // Adds what INNER columns, from `column` on, contribute to the sums.
    void feed_forward(const Input& attended, int64_t column) {
        const int64_t left = a_.widen.out - column, columns = left < INNER ? left : INNER;
        const Input wide(wide_, rows_, columns, a_.query.parts, wide_tiles_);
        const WriteActivated to_wide{wide, wide_, column};
        Product<WriteActivated>{a_.widen, attended, to_wide}.run_panels(column / PANEL,
                                                                       (column + columns + PANEL - 1) / PANEL);
        for (int64_t panel = 0; panel * PANEL < a_.width; ++panel)
            for (int64_t row = 0; row < rows_; row += CHUNK_ROWS)
                multiply_chunk(a_.narrow, column, wide, row, rows_ - row < CHUNK_ROWS ? rows_ - row : CHUNK_ROWS,
                               panel, sums_ + (panel * padded_ + row) * PANEL, column > 0);
    }

    const LayerArguments& a_;
    const int64_t rows_, padded_;
    float *attended_, *sums_, *narrow_tiles_, *wide_tiles_, *wide_;
};

struct Projection {
    const LinearArguments& linear;
    Write write;
};

int64_t finish_floats(const LayerArguments& a, int64_t rows) {
    const int64_t parts = a.query.parts, inner = a.widen.out;
    return rows * a.width + round_up(Input::floats(rows, a.width, parts), 16) +
           round_up(Input::floats(rows, inner, parts), 16) + rows * inner + 64;
}

// Rows first, first + chunk, ... of `rows`, each chunk on one thread.
template <typename Run>
void for_chunks(const LayerArguments& a, int64_t rows, int64_t chunk, const Run& run) {
    share<Tiles>(a.attention.team, a.attention.threads, (rows + chunk - 1) / chunk, [&](int64_t task) {
        const int64_t first = task * chunk;
        run(first, rows - first < chunk ? rows - first : chunk);
    });
}

// Queries, keys and values; `block` has room for the tiles of states and queries.
void project(const LayerArguments& a, float* block, float* q, float* k, float* v) {
    const AttentionArguments& attention = a.attention;
    const int64_t width = a.width, parts = a.query.parts, rows = attention.batch * attention.length;
    const bool has_own = a.queries != nullptr;
    const Write to_q{q, width, nullptr}, to_k{k, width, nullptr}, to_v{v, width, nullptr};
    const int64_t chunk = RowChunk::choose(a, rows);
    const Input states(a.states, rows, width, parts, block);
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
        prepare(attention.team, attention.threads, states);
        const Product<Write> key{a.key, states, to_k}, value{a.value, states, to_v};
        if (has_own)
            multiply(attention.team, attention.threads, key, value);
        else
            multiply(attention.team, attention.threads, Product<Write>{a.query, states, to_q}, key, value);
    }
    if (!has_own) return;
    const Input queries(a.queries, attention.batch * attention.queries, width, parts, block);
    prepare(attention.team, attention.threads, queries);
    multiply(attention.team, attention.threads, Product<Write>{a.query, queries, to_q});
}

void run_layer(const LayerArguments& a) {
    AttentionArguments attention = a.attention;
    const int64_t width = a.width;
    const int64_t rows = attention.batch * attention.length, query_rows = attention.batch * attention.queries;
    const int64_t state_floats = round_up(Input::floats(rows, width, a.query.parts), 16);
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
