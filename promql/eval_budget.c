/* What one evaluation may use: samples, memory, time; and whether anybody still waits for it. */
#include <inttypes.h>
#include <stdatomic.h>

#include "promql/eval.h"

enum {
    /* Values touched between two looks at the clock: about a millisecond of slow functions. */
    WORK_PER_POLL = 1 << 17,
    STEPS_MAX = 10 * 1000 * 1000,
};

static bool poll(struct eval *eval, struct err *err) {
    const struct promql_query *query = eval->query;
    if (query->is_canceled != NULL &&
        atomic_load_explicit(query->is_canceled, memory_order_relaxed)) {
        return err_set(err, ERR_CANCELED, "query was canceled in expression evaluation");
    }
    if (query->clock != NULL && query->deadline_mono_ns != 0 &&
        clock_mono_ns(query->clock) >= query->deadline_mono_ns) {
        return err_set(err, ERR_TIMEOUT, "query timed out in expression evaluation");
    }
    return true;
}

bool eval_work(struct eval *eval, size_t units, struct err *err) {
    eval->work_left -= units < WORK_PER_POLL ? (int64_t)units : WORK_PER_POLL;
    if (eval->work_left > 0) {
        return true;
    }
    eval->work_left = WORK_PER_POLL;
    return poll(eval, err);
}

bool eval_too_many_samples(struct err *err) {
    return err_set(err, ERR_LIMIT,
                   "query processing would load too many samples into memory in query execution");
}

bool eval_check_steps(const struct steps *steps, struct err *err) {
    if (steps->count <= STEPS_MAX) {
        return true;
    }
    return err_set(err, ERR_LIMIT, "query would be evaluated at %zu steps, the limit is %d",
                   steps->count, STEPS_MAX);
}

bool eval_too_many_bytes(const struct eval *eval, struct err *err) {
    return err_set(err, ERR_LIMIT,
                   "query processing would need more than its memory budget of %zu bytes",
                   eval->bytes_max);
}

bool eval_touch(struct eval *eval, uint64_t samples, struct err *err) {
    uint64_t sum = eval->samples_now + samples;
    if (sum > eval->samples_peak) {
        eval->samples_peak = sum;
        if (sum > eval->samples_max) {
            return eval_too_many_samples(err);
        }
    }
    return true;
}

bool eval_fits(const struct eval *eval, uint64_t samples, struct err *err) {
    return samples <= eval->samples_max || eval_too_many_samples(err);
}

bool eval_hold(struct eval *eval, uint64_t samples, struct err *err) {
    if (!eval_touch(eval, samples, err)) {
        return false;
    }
    eval->samples_now += samples;
    return true;
}

bool eval_release_to(struct eval *eval, uint64_t mark, uint64_t kept, struct err *err) {
    eval->samples_now = mark;
    return eval_hold(eval, kept, err);
}

bool eval_reserve_bytes(struct eval *eval, size_t bytes, struct err *err) {
    size_t used = eval->bytes_held + eval->arena.bytes_used;
    if (used > eval->bytes_max || bytes > eval->bytes_max - used) {
        return eval_too_many_bytes(eval, err);
    }
    eval->bytes_held += bytes;
    return true;
}

bool eval_account(struct eval *eval,
                  uint64_t mark,
                  uint64_t gathered,
                  uint64_t produced,
                  struct err *err) {
    if (!eval_touch(eval, gathered + produced, err)) {
        return false;
    }
    eval->samples_now = mark;
    return eval_hold(eval, produced, err);
}
