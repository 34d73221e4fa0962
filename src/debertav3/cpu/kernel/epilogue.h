// Applied to the products of linear layers while they are in cache: bias, residual, LayerNorm, GELU.
#pragma once

#include <cmath>
#include <cstring>

#include "linear.h"

namespace {

// x * Phi(x), the exact GELU. erf is a rational function of degree 13 on [-4, 4], as in Eigen for floats.
inline Vec gelu(Vec x) {
    const Vec z = min(splat(4.0f), max(splat(-4.0f), mul(x, splat(0.70710678f))));
    const Vec s = mul(z, z);
    Vec top = splat(-2.72614225801306e-10f);
    top = fma(top, s, splat(2.77068142495902e-08f));
    top = fma(top, s, splat(-2.10102402082508e-06f));
    top = fma(top, s, splat(-5.69250639462346e-05f));
    top = fma(top, s, splat(-7.34990630326855e-04f));
    top = fma(top, s, splat(-2.95459980854025e-03f));
    top = fma(top, s, splat(-1.60960333262415e-02f));
    Vec bottom = splat(-1.45660718464996e-05f);
    bottom = fma(bottom, s, splat(-2.13374055278905e-04f));
    bottom = fma(bottom, s, splat(-1.68282697438203e-03f));
    bottom = fma(bottom, s, splat(-7.37332916720468e-03f));
    bottom = fma(bottom, s, splat(-1.42647390514189e-02f));
    const Vec half = mul(x, splat(0.5f));
    return fma(half, divide(mul(z, top), bottom), half);
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

// Epilogues. Each stores a chunk of (rows, PANEL) products.

struct Write {
    float* out;
    int64_t stride;
    const float* residual;  // added, or null

    void operator()(int64_t first, int64_t rows, int64_t column, int64_t columns, const float* products,
                    const Bias bias) const {
        // Local copies, because the compiler must assume that a store changes a member.
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

// GELU; the result is the input of the next product.
struct WriteActivated {
    const Input& next;
    float* out;            // (rows, next.depth), if the next product does not read tiles
    int64_t first_column;  // in next

    void operator()(int64_t first, int64_t rows, int64_t column, int64_t columns, const float* products,
                    const Bias bias) const {
#if defined(__AMX_BF16__)
        if (next.are_tiles()) {
            const int64_t step = (column - first_column) / STEP, parts = static_cast<int64_t>(next.kind);
            for (int64_t start = 0; start < rows; start += PANEL) {
                uint16_t* place = next.floats.tile(first + start, step);
                const int64_t count = rows - start < PANEL ? rows - start : PANEL;
                for (int64_t r = 0; r < count; ++r, products += PANEL, place += STEP)
                    split(gelu(add(load(products), bias.left)), gelu(add(load(products + LANES), bias.right)), parts,
                          place, 2 * TILE_NUMBERS);
            }
            return;
        }
#endif
        const int64_t step = next.depth;
        float* place = out + first * step + column - first_column;
        float end[PANEL];
        for (int64_t r = 0; r < rows; ++r, products += PANEL, place += step) {
            float* target = columns < PANEL ? end : place;
            store(target, gelu(add(load(products), bias.left)));
            store(target + LANES, gelu(add(load(products + LANES), bias.right)));
            if (columns < PANEL) std::memcpy(place, end, columns * sizeof(float));
        }
    }
};

}  // namespace
