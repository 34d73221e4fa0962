// Cross entropy over the vocabulary, between two matmuls: from products to the loss, a sample for each row, and the
// gradient of the logits, which overwrites the products.
#pragma once

#include <cmath>
#include <cstring>

#include "abi.h"
#include "numbers.h"
#include "threads.h"

namespace {

constexpr int64_t STRETCH = 64;            // columns whose weights are summed up for sampling
constexpr int64_t VOCABULARY_COLUMNS = 2048;  // per task that writes gradients
static_assert(STRETCH % LANES == 0 && VOCABULARY_COLUMNS % STRETCH == 0);

thread_local Scratch vocabulary_scratch;

template <typename T>
class VocabularyRow {
    using Number = typename T::Number;

public:
    VocabularyRow(const VocabularyArguments& a, int64_t row)
        : a_(a), row_(row), logits_(static_cast<Number*>(a.logits) + row * a.words) {}

    // Loss, sample, and what the gradients need: the largest logit and the sum of exponentials.
    void read() const {
        float* sums = vocabulary_scratch.floats((a_.words + STRETCH - 1) / STRETCH);
        Vec largest = logit(0);
        for (int64_t c = LANES; c < a_.words; c += LANES) largest = max(largest, logit(c));
        const float top = largest_of(largest), cold = 1.0f / a_.temperature;
        double total = sum(top, 1.0f, sums);
        const int64_t target = a_.targets[row_];
        const float of_target = a_.bias[target] + one(target);
        a_.loss[row_] = static_cast<float>(std::log(total)) + top - of_target;
        a_.correct[row_] = of_target >= top;
        a_.top[row_] = top;
        a_.share[row_] = static_cast<float>(1.0 / total);
        if (cold != 1.0f) total = sum(top, cold, sums);
        a_.drawn[row_] = draw(top, cold, sums, a_.uniforms[row_] * total);
    }

    // Gradients of columns first .. last - 1; they are also added to dbias.
    void write(int64_t first, int64_t last) const {
        const float top = a_.top[row_];
        const Vec share = splat(a_.share[row_]);
        const int64_t target = a_.targets[row_];
        for (int64_t c = first; c < last; c += LANES) {
            float lanes[LANES];
            Vec g = mul(weight(c, top, 1.0f), share);
            if (target >= c && target < c + LANES) {
                store(lanes, g);
                lanes[target - c] -= 1.0f;
                g = load(lanes);
            }
            if (c + LANES <= a_.words) {
                T::write(logits_ + c, g);
                store(a_.dbias + c, add(load(a_.dbias + c), g));
                continue;
            }
            Number end[LANES];
            T::write(end, g);
            std::memcpy(logits_ + c, end, (a_.words - c) * sizeof(Number));
            store(lanes, g);
            for (int64_t k = c; k < a_.words; ++k) a_.dbias[k] += lanes[k - c];
        }
    }

private:
    // Columns c .. c + LANES - 1 with their biases; -infinity past the end.
    Vec logit(int64_t c) const {
        if (c + LANES <= a_.words) return add(T::read(logits_ + c), load(a_.bias + c));
        Number end[LANES] = {};
        float bias[LANES];
        for (int64_t k = 0; k < LANES; ++k) bias[k] = c + k < a_.words ? a_.bias[c + k] : -INFINITY;
        std::memcpy(end, logits_ + c, (a_.words - c) * sizeof(Number));
        return add(T::read(end), load(bias));
    }

    float one(int64_t c) const {
        Number padded[LANES] = {logits_[c]};
        float lanes[LANES];
        store(lanes, T::read(padded));
        return lanes[0];
    }

    Vec weight(int64_t c, float top, float cold) const {
        const Vec x = mul(sub(logit(c), splat(top)), splat(cold));
        return zero_below(x, LOWEST_EXPONENT, exponential(x));
    }

    double sum(float top, float cold, float* sums) const {
        double total = 0.0;
        for (int64_t first = 0; first < a_.words; first += STRETCH) {
            Vec part = splat(0.0f);
            for (int64_t c = first; c < first + STRETCH && c < a_.words; c += LANES) part = add(part, weight(c, top, cold));
            total += sums[first / STRETCH] = sum_of(part);
        }
        return total;
    }

    // The first column at which the cumulative weight exceeds `wanted`; if there is none, the last one with a weight.
    int64_t draw(float top, float cold, const float* sums, double wanted) const {
        const int64_t stretches = (a_.words + STRETCH - 1) / STRETCH;
        int64_t stretch = 0;
        double until = sums[0];
        while (until <= wanted && stretch + 1 < stretches) until += sums[++stretch];
        until -= sums[stretch];
        int64_t last = stretch * STRETCH;
        for (int64_t c = last; c < (stretch + 1) * STRETCH && c < a_.words; c += LANES) {
            float lanes[LANES];
            store(lanes, weight(c, top, cold));
            for (int64_t k = c; k < c + LANES && k < a_.words; ++k) {
                if (lanes[k - c] > 0.0f) last = k;
                until += lanes[k - c];
                if (until > wanted) return k;
            }
        }
        return last;
    }

    const VocabularyArguments& a_;
    const int64_t row_;
    Number* logits_;
};

template <typename T>
void predict(const VocabularyArguments& a) {
    parallel_for(a.team, a.threads, a.rows, [&](int64_t row) { VocabularyRow<T>(a, row).read(); });
    if (a.dbias == nullptr) return;
    parallel_for(a.team, a.threads, (a.words + VOCABULARY_COLUMNS - 1) / VOCABULARY_COLUMNS, [&](int64_t task) {
        const int64_t first = task * VOCABULARY_COLUMNS;
        const int64_t last = first + VOCABULARY_COLUMNS < a.words ? first + VOCABULARY_COLUMNS : a.words;
        for (int64_t row = 0; row < a.rows; ++row) VocabularyRow<T>(a, row).write(first, last);
    });
}

// out (count) = or += x * factor.
template <typename T>
void widen(const typename T::Number* x, int64_t count, float factor, float* out, bool adds, int64_t threads, Team team) {
    constexpr int64_t SOME = 1 << 16;
    parallel_for(team, threads, (count + SOME - 1) / SOME, [&](int64_t task) {
        int64_t k = task * SOME;
        const int64_t end = k + SOME < count ? k + SOME : count;
        const Vec by = splat(factor);
        for (; k + LANES <= end; k += LANES) {
            const Vec v = mul(T::read(x + k), by);
            store(out + k, adds ? add(load(out + k), v) : v);
        }
        if (k == end) return;
        typename T::Number rest[LANES] = {};
        float lanes[LANES];
        std::memcpy(rest, x + k, (end - k) * sizeof(rest[0]));
        store(lanes, mul(T::read(rest), by));
        for (int64_t l = k; l < end; ++l) out[l] = adds ? out[l] + lanes[l - k] : lanes[l - k];
    });
}

}  // namespace
