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

constexpr int64_t MACRO_ROWS = 1024;  // rows that go through the feed-forward part together

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

    void operator()(int64_t first, int64_t rows, int64_t column, int64_t columns, const float* products) const {
        for (int64_t r = 0; r < rows; ++r, products += PANEL) {
            const int64_t place = (first + r) * stride + column;
            if (columns < PANEL) {
                for (int64_t c = 0; c < columns; ++c)
                    out[place + c] = products[c] + (residual == nullptr ? 0.0f : residual[place + c]);
                continue;
            }
            for (int64_t c = 0; c < PANEL; c += LANES) {
                const Vec product = load(products + c);
                store(out + place + c, residual == nullptr ? product : add(product, load(residual + place + c)));
            }
        }
    }
};

// GELU, into the input of the next product.
struct WriteActivated {
    const Input& next;
    float* out;  // (rows, next.depth), where the next product reads plain numbers

    void operator()(int64_t first, int64_t rows, int64_t column, int64_t columns, const float* products) const {
        for (int64_t r = 0; r < rows; ++r, products += PANEL) {
            const Vec left = gelu(load(products)), right = gelu(load(products + LANES));
#if defined(__AMX_BF16__)
            (void)columns;
            next.put(first + r, column / PANEL, left, right);
#else
            float* place = out + (first + r) * next.depth + column;
            float end[PANEL];
            float* target = columns < PANEL ? end : place;
            store(target, left);
            store(target + LANES, right);
            if (columns < PANEL) std::memcpy(place, end, columns * sizeof(float));
#endif
        }
    }
};

// Output of attention and the feed-forward part, for rows first .. first + rows - 1 of the queries.
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
    const WriteActivated to_wide{wide_input, wide};
    multiply(team, threads, Product<WriteActivated>{a.widen, attended_input, to_wide});
    const Write to_out{out, width, attended};
    multiply(team, threads, Product<Write>{a.narrow, wide_input, to_out});
    for_rows(team, threads, rows, [&](int64_t r) { normalize(out + r * width, width, a.output_norm, a.epsilon); });
}

int64_t finish_floats(const LayerArguments& a, int64_t rows) {
    const int64_t parts = a.query.parts, inner = a.widen.out;
    return rows * a.width + round_up(Input::floats(rows, a.width, parts), 16) +
           round_up(Input::floats(rows, inner, parts), 16) + rows * inner + 64;
}

void run_layer(const LayerArguments& a) {
    AttentionArguments attention = a.attention;
    const Team team = attention.team;
    const int64_t threads = attention.threads, width = a.width, parts = a.query.parts;
    const int64_t rows = attention.batch * attention.length, query_rows = attention.batch * attention.queries;
    const int64_t macro = query_rows < MACRO_ROWS ? query_rows : MACRO_ROWS;
    const int64_t state_floats = round_up(Input::floats(rows, width, parts), 16);
    const int64_t query_floats = a.queries == nullptr ? 0 : round_up(Input::floats(query_rows, width, parts), 16);
    const int64_t projected = round_up((2 * rows + 2 * query_rows) * width, 16);
    float* const block = layer_scratch.floats(state_floats + query_floats + projected + finish_floats(a, macro));
    float* const q = block + state_floats + query_floats;
    float* const k = q + query_rows * width;
    float* const v = k + rows * width;
    float* const context = v + rows * width;
    float* const rest = block + state_floats + query_floats + projected;

    const Input states(a.states, rows, width, parts, block);
    prepare(team, threads, states);
    const float* const queries = a.queries == nullptr ? a.states : a.queries;
    const Input own_queries(queries, query_rows, width, parts, block + state_floats);
    if (a.queries != nullptr) prepare(team, threads, own_queries);
    const Write to_q{q, width, nullptr}, to_k{k, width, nullptr}, to_v{v, width, nullptr};
    multiply(team, threads, Product<Write>{a.query, a.queries == nullptr ? states : own_queries, to_q},
             Product<Write>{a.key, states, to_k}, Product<Write>{a.value, states, to_v});

    attention.query = q;
    attention.key = k;
    attention.value = v;
    attention.out = context;
    attention.query_token = attention.key_token = attention.value_token = width;
    attention.query_head = attention.key_head = attention.value_head = attention.head_width;
    attention.query_batch = attention.queries * width;
    attention.key_batch = attention.value_batch = attention.length * width;
    attend(attention);

    for (int64_t first = 0; first < query_rows; first += macro) {
        const int64_t count = query_rows - first < macro ? query_rows - first : macro;
        const int64_t place = first * width;
        finish_rows(a, context + place, queries + place, a.out + place, count, rest);
    }
}

}  // namespace
