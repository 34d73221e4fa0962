// The structs that Python fills in. library.py mirrors them, and compares their sizes when it opens the library.
#pragma once

#include <cstdint>

#include "threads.h"

extern "C" {

// What a packed weight is, and how it is multiplied. Its number is that of bf16 numbers for one of fp32 (AMX only).
enum WeightKind : int64_t { INT8 = 0, TWO_BF16 = 2, THREE_BF16 = 3 };

struct LinearArguments {
    void* weight;       // as debertav3_pack_linear or debertav3_pack_int8 made it; never written
    const float* bias;  // (out) or null
    int64_t in, out;
    WeightKind kind;
};

// Strides count floats. A token's numbers of one head lie side by side.
struct AttentionArguments {
    const float *query, *key, *value;
    float* out;                       // (batch, queries, heads * head_width), contiguous
    const float *key_table;           // panels of kr, rows by falling i - j, or null: no c2p
    const float *query_table;         // panels of qr times scale, rows by rising i - j, or null: no p2c
    const int32_t* rows_by_key;       // table_rows - 1 - row(-o) for o = j - i from 1 - length, and some more
    const int32_t* rows_by_query;     // row(o) for o = i - j from 1 - length, and some more
    const uint8_t* key_mask;          // (batch, length), 0 where no query may see the key, or null
    const uint8_t* pair_mask;         // 0 where query i may not see key j, contiguous in j, or null
    int64_t query_batch, query_head, query_token;
    int64_t key_batch, key_head, key_token;
    int64_t value_batch, value_head, value_token;
    int64_t pair_batch, pair_head, pair_query;  // bytes
    int64_t batch, length, queries;   // queries: how many, from the first token on
    int64_t heads, head_width, table_rows;
    int64_t threads;
    Team team;
    float scale;
    int32_t hides_queries;            // whether a query with key_mask 0 sees nothing
};

struct NormArguments {
    const float *weight, *bias;  // (width)
};

// `attention` has no pointers to queries, keys, values and output: they are made here.
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

// Attention in training, for one head of some samples: see training.h. Numbers are fp32, or bf16. Lengths and columns
// are multiples of 16; arrays are contiguous, and 16 more numbers may be read behind c2p and p2c.
struct TrainingArguments {
    const void* content;           // (samples, length, length), q.k
    const void *c2p, *p2c;         // (samples, length, columns): q.kr by falling row, k.qr by rising row; or null
    const int32_t* rows_by_key;    // the column of c2p for j - i from 1 - length
    const int32_t* rows_by_query;  // the column of p2c for i - j from 1 - length
    const uint8_t* mask;           // 0 where query i may not see key j, contiguous in j, or null
    void *weights, *used;          // (samples, length, length), before and after dropout; the same block without it
    const void* dused;             // the gradient of `used`
    void *dscores, *dc2p, *dp2c;   // of the products; those of no term null
    int64_t mask_sample, mask_query;  // bytes
    int64_t samples, length, tokens, columns;
    int64_t first_sample;          // of the block among all heads and samples of the call: dropout counts from there
    int64_t threads;
    Team team;
    uint64_t seed;                 // of dropout
    uint32_t threshold;            // of 2^32: random numbers below are dropped
    float kept_factor;             // of what is kept
    float scale;
    int32_t is_bf16;
};

// Predictions of words for some rows: see vocabulary.h.
struct VocabularyArguments {
    void* logits;               // (rows, words) products, fp32 or bf16; gradients of the logits afterwards
    const float* bias;          // (words)
    const int64_t* targets;     // (rows)
    const float* uniforms;      // (rows), in [0, 1)
    int64_t *drawn, *correct;   // (rows)
    float *loss, *top, *share;  // (rows)
    float* dbias;               // (words), added to; null where no gradients are wanted
    int64_t rows, words, threads;
    Team team;
    float temperature;          // of the draws
    int32_t is_bf16;
};

}  // extern "C"
