/* The committer's side of a series: taking samples, and taking them back when a commit fails. */
#include <assert.h>

#include "tsdb/head/head.h"

static struct token_state state_of(const struct series *series) {
    return (struct token_state){ .last = series->last, .exponent = series->exponent };
}

static void set_state(struct series *series, uint64_t last, uint8_t exponent) {
    series->last = last;
    series->exponent = exponent & 0x1fU;
}

static int64_t t_last(const struct series *series) {
    return atomic_load_explicit(&series->t_last_ms, memory_order_relaxed);
}

static void set_t_last(struct series *series, int64_t t_ms) {
    atomic_store_explicit(&series->t_last_ms, t_ms, memory_order_relaxed);
}

uint64_t series_last_bits(const struct series *series) {
    assert(series->has_last);
    return token_value_bits(state_of(series));
}

void series_set_last(struct series *series, int64_t t_ms, uint64_t value_bits) {
    set_t_last(series, t_ms);
    set_state(series, value_bits, TOKEN_BITS);
    series->has_last = true;
    series->step_ms = 0;
}

/* 0 when the time token of the next sample shall not build on it. */
static uint32_t step_between(int64_t before_ms, int64_t t_ms) {
    uint64_t step = (uint64_t)t_ms - (uint64_t)before_ms;
    return step > UINT32_MAX ? 0 : (uint32_t)step;
}

/* What head_undo() needs. */
static void remember(struct series *series, uint32_t handle, int64_t t_ms, struct head_entry *ret) {
    *ret = (struct head_entry){
        .series = series,
        .handle = handle,
        .t_ms = t_ms,
        .t_before_ms = t_last(series),
        .last_before = series->last,
        .step_before_ms = series->step_ms,
        .exponent_before = series->exponent,
        .had_last = series->has_last,
        .was_defined = series->is_defined,
        .was_pending = series->is_pending,
    };
}

void head_accept(struct head *head,
                 struct series *series,
                 uint32_t handle,
                 struct sample sample,
                 struct head_entry *ret) {
    struct token_state state = state_of(series);
    remember(series, handle, sample.t_ms, ret);
    bool is_step = series->has_last && (series->is_pending || series->lsn_last >= head->epoch_lsn);
    uint8_t *end = is_step ? token_put(&state, sample.value, ret->token)
                           : token_put_absolute(&state, sample.value, ret->token);
    ret->token_len = (uint8_t)(end - ret->token);
    ret->last = state.last;
    ret->exponent = state.exponent;
    series->step_ms = series->has_last ? step_between(ret->t_before_ms, sample.t_ms) : 0;
    set_t_last(series, sample.t_ms);
    set_state(series, state.last, state.exponent);
    series->has_last = true;
    series->is_pending = true;
}

void head_accept_late(struct series *series,
                      uint32_t handle,
                      struct sample sample,
                      struct head_entry *ret) {
    remember(series, handle, sample.t_ms, ret);
    ret->is_late = true;
    ret->last = double_bits(sample.value);
    ret->exponent = TOKEN_BITS;
}

struct sample head_entry_sample(const struct head_entry *entry) {
    struct token_state state = { .last = entry->last, .exponent = entry->exponent };
    return (struct sample){
        .t_ms = entry->t_ms,
        .value = double_from_bits(token_value_bits(state)),
    };
}

void head_undo(const struct head_entry *entry) {
    struct series *series = entry->series;
    set_t_last(series, entry->t_before_ms);
    set_state(series, entry->last_before, entry->exponent_before);
    series->step_ms = entry->step_before_ms;
    series->has_last = entry->had_last;
    series->is_defined = entry->was_defined;
    series->is_pending = entry->was_pending;
}

void head_begin_epoch(struct head *head, uint64_t lsn) {
    head->epoch = epochs_begin(&head->epochs, lsn);
    head->epoch_lsn = lsn;
}
