// Structs filled in by Python. library.py mirrors them, and compares their sizes when it opens the library.
#pragma once

#include <cstdint>

#include "threads.h"

extern "C" {

// How a packed weight is stored and multiplied: int8, fp32, or the number of bf16 parts per fp32 number (AMX only).
enum WeightKind : int64_t { INT8 = 0, TWO_BF16 = 2, THREE_BF16 = 3 };

struct LinearArguments {
    void* weight;       // from debertav3_pack_linear or debertav3_pack_int8; read only
    const float* bias;  // (out) or null
    int64_t in, out;
    WeightKind kind;
};

// Strides are in floats. The values of one token and head are contiguous.
struct AttentionArguments {
    const float *query, *key, *value;
    float* out;                       // (batch, queries, heads * head_width), contiguous
    const float *key_table;           // panels of kr, rows in order of falling i - j; null without c2p
    const float *query_table;         // panels of qr times scale, rows in order of rising i - j; null without p2c
    const int32_t* rows_by_key;       // table_rows - 1 - row(-o) for o = j - i from 1 - length, plus padding
    const int32_t* rows_by_query;     // row(o) for o = i - j from 1 - length, plus padding
    const uint8_t* key_mask;          // (batch, length), 0 if no query may attend to the key; or null
    const uint8_t* pair_mask;         // 0 if query i may not attend to key j, contiguous in j; or null
    int64_t query_batch, query_head, query_token;
    int64_t key_batch, key_head, key_token;
    int64_t value_batch, value_head, value_token;
    int64_t pair_batch, pair_head, pair_query;  // bytes
    int64_t batch, length, queries;   // queries: the number of them, from the first token
    int64_t heads, head_width, table_rows;
    int64_t threads;
    Team team;
    float scale;
    int32_t hides_queries;            // whether a query with key_mask 0 attends to nothing
};

struct NormArguments {
    const float *weight, *bias;  // (width)
};

// `attention` has no pointers to queries, keys, values and output: these are computed here.
struct LayerArguments {
    LinearArguments query, key, value, output, widen, narrow;
    NormArguments attention_norm, output_norm;
    AttentionArguments attention;
    const float* states;   // (batch, length, width): input of keys and values, and of queries unless given
    const float* queries;  // (batch, attention.queries, width), or null
    float* out;            // (batch, attention.queries, width)
    int64_t width;
    float epsilon;
};

// Attention in training, for one head of some samples: see training.h. Values are fp32 or bf16. Lengths and columns are
// multiples of 16; arrays are contiguous, and up to 16 values past the end of c2p and p2c may be read.
struct TrainingArguments {
    const void* content;           // (samples, length, length), q.k
    const void *c2p, *p2c;         // (samples, length, columns): q.kr with rows falling, k.qr with rows rising; or null
    const int32_t* rows_by_key;    // the column of c2p for j - i from 1 - length
    const int32_t* rows_by_query;  // the column of p2c for i - j from 1 - length
    const uint8_t* mask;           // 0 if query i may not attend to key j, contiguous in j; or null
    void *weights, *used;          // (samples, length, length), before and after dropout; equal if there is none
    const void* dused;             // the gradient of `used`
    void *dscores, *dc2p, *dp2c;   // gradients of the products; null for terms that are absent
    int64_t mask_sample, mask_query;  // bytes
    int64_t samples, length, tokens, columns;
    int64_t first_sample;          // index among all heads and samples of the call, for dropout
    int64_t threads;
    Team team;
    uint64_t seed;                 // for dropout
    uint32_t threshold;            // of 2^32: values whose random number is below are dropped
    float kept_factor;             // applied to values that are kept
    float scale;
    int32_t is_bf16;
};

// Predictions over the vocabulary for some rows: see vocabulary.h.
struct VocabularyArguments {
    void* logits;               // (rows, words) products, fp32 or bf16; overwritten by gradients of the logits
    const float* bias;          // (words)
    const int64_t* targets;     // (rows)
    const float* uniforms;      // (rows), in [0, 1)
    int64_t *drawn, *correct;   // (rows)
    float *loss, *top, *share;  // (rows)
    float* dbias;               // (words), accumulated; null if no gradients are wanted
    int64_t rows, words, threads;
    Team team;
    float temperature;          // for sampling
    int32_t is_bf16;
};

}  // extern "C"
