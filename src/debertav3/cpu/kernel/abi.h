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

}  // extern "C"
