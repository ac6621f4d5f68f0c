/* Duration expressions: [5m * 2], offset step(), whose value is known per query. */
#include <math.h>

#include "promql/eval.h"

/* Go's Duration.Seconds(): whole seconds and the rest are converted separately. */
static double go_seconds(int64_t ms) {
    return (double)(ms / 1000) + (double)(ms % 1000 * 1000000) / 1e9;
}

static bool fail_at(const struct promql_expr *expr, const char *what, struct err *err) {
    return err_set(err, ERR_EXEC, "%u:%u: %s", expr->pos_start, expr->pos_end, what);
}

static bool calculate(const struct promql_query *query,
                      const struct promql_expr *expr,
                      double *ret,
                      struct err *err);

static bool apply(const struct promql_query *query,
                  const struct promql_expr *expr,
                  double lhs,
                  double rhs,
                  double *ret,
                  struct err *err) {
    switch (expr->duration.op) {
    case PROMQL_DURATION_NUMBER: *ret = expr->duration.seconds; return true;
    case PROMQL_DURATION_STEP: *ret = go_seconds(query->step_ms); return true;
    case PROMQL_DURATION_RANGE: *ret = go_seconds(query->end_ms - query->start_ms); return true;
    case PROMQL_DURATION_MIN: *ret = lhs < rhs ? lhs : rhs; return true;
    case PROMQL_DURATION_MAX: *ret = lhs > rhs ? lhs : rhs; return true;
    case PROMQL_DURATION_ADD: *ret = lhs + rhs; return true;
    case PROMQL_DURATION_SUB: *ret = lhs - rhs; return true;
    case PROMQL_DURATION_NEG: *ret = expr->duration.rhs != NULL ? -rhs : -lhs; return true;
    case PROMQL_DURATION_MUL: *ret = lhs * rhs; return true;
    case PROMQL_DURATION_POW: *ret = pow(lhs, rhs); return true;
    case PROMQL_DURATION_DIV:
        if (rhs == 0) {
            return fail_at(expr, "division by zero", err);
        }
        *ret = lhs / rhs;
        return true;
    case PROMQL_DURATION_MOD:
        if (rhs == 0) {
            return fail_at(expr, "modulo by zero", err);
        }
        *ret = fmod(lhs, rhs);
        return true;
    }
    BUG("duration operator %d", (int)expr->duration.op);
}

static bool calculate(const struct promql_query *query,
                      const struct promql_expr *expr,
                      double *ret,
                      struct err *err) {
    expr = promql_unparen(expr);
    if (expr->kind == PROMQL_NODE_NUMBER) {
        *ret = expr->number.value;
        return true;
    }
    if (expr->kind != PROMQL_NODE_DURATION) {
        BUG("node kind %d in a duration expression", (int)expr->kind);
    }
    double lhs = 0;
    double rhs = 0;
    if (expr->duration.lhs != NULL && !calculate(query, expr->duration.lhs, &lhs, err)) {
        return false;
    }
    if (expr->duration.rhs != NULL && !calculate(query, expr->duration.rhs, &rhs, err)) {
        return false;
    }
    return apply(query, expr, lhs, rhs, ret, err);
}

bool plan_duration(const struct promql_query *query,
                   const struct promql_duration *duration,
                   bool may_be_negative,
                   int64_t *ret_ms,
                   struct err *err) {
    if (duration->expr == NULL) {
        *ret_ms = duration->ms;
        return true;
    }
    double seconds;
    if (!calculate(query, duration->expr, &seconds, err)) {
        return false;
    }
    if (!isfinite(seconds)) {
        return fail_at(duration->expr, "duration is NaN or infinite", err);
    }
    if (seconds <= 0 && !may_be_negative) {
        return fail_at(duration->expr, "duration must be greater than 0", err);
    }
    /* Upstream's range: what fits an int64 of nanoseconds. */
    if (fabs(seconds) > 9223372036.854775807) {
        return fail_at(duration->expr, "duration is out of range", err);
    }
    *ret_ms = (int64_t)(seconds * 1000);
    return true;
}
