/* The canonical form of an expression, byte for byte upstream's Expr.String(). */
#include "promql/print.h"

#include <stdlib.h>

#include "base/duration.h"
#include "base/float.h"
#include "base/mem.h"
#include "promql/quote.h"

/* ---- pieces ---- */

static void print_labels(const struct str *labels, size_t count, struct buf *out) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_cstr(out, ", ");
        }
        if (label_name_is_valid_legacy(labels[i])) {
            buf_str(out, labels[i]);
        } else {
            promql_quote(out, labels[i]);
        }
    }
}

static void print_number(double value, bool is_duration, struct buf *out) {
    if (!is_duration) {
        buf_float_text(out, value);
        return;
    }
    /* Go goes through whole nanoseconds and drops the rest of a millisecond. */
    if (value < 0) {
        buf_putc(out, '-');
        value = -value;
    }
    duration_print(out, (int64_t)(value * 1e9) / 1000000);
}

static void print_duration(struct promql_duration duration, struct buf *out) {
    if (duration.expr != NULL) {
        promql_print(duration.expr, out);
    } else {
        duration_print(out, duration.ms);
    }
}

static void print_duration_call(const struct promql_expr *expr, const char *name, struct buf *out) {
    buf_cstr(out, name);
    promql_print(expr->duration.lhs, out);
    buf_cstr(out, ", ");
    promql_print(expr->duration.rhs, out);
    buf_putc(out, ')');
}

static const char *duration_operator(enum promql_duration_op op) {
    switch (op) {
    case PROMQL_DURATION_ADD: return " + ";
    case PROMQL_DURATION_SUB: return " - ";
    case PROMQL_DURATION_MUL: return " * ";
    case PROMQL_DURATION_DIV: return " / ";
    case PROMQL_DURATION_MOD: return " % ";
    case PROMQL_DURATION_POW: return " ^ ";
    default: BUG("duration operator %d is not infix", (int)op);
    }
}

static void print_duration_node(const struct promql_expr *expr, struct buf *out) {
    if (expr->duration.is_wrapped) {
        buf_putc(out, '(');
    }
    switch (expr->duration.op) {
    case PROMQL_DURATION_NUMBER:
        print_number(expr->duration.seconds, expr->duration.is_duration, out);
        break;
    case PROMQL_DURATION_STEP: buf_cstr(out, "step()"); break;
    case PROMQL_DURATION_RANGE: buf_cstr(out, "range()"); break;
    case PROMQL_DURATION_MIN: print_duration_call(expr, "min_of(", out); break;
    case PROMQL_DURATION_MAX: print_duration_call(expr, "max_of(", out); break;
    case PROMQL_DURATION_NEG:
        buf_putc(out, '-');
        promql_print(expr->duration.rhs, out);
        break;
    default:
        promql_print(expr->duration.lhs, out);
        buf_cstr(out, duration_operator(expr->duration.op));
        promql_print(expr->duration.rhs, out);
    }
    if (expr->duration.is_wrapped) {
        buf_putc(out, ')');
    }
}

/* ---- offset and @ ---- */

static void print_at(const struct promql_shift *shift, struct buf *out) {
    switch (shift->at) {
    case PROMQL_AT_NONE: break;
    case PROMQL_AT_TIME: buf_printf(out, " @ %.3f", (double)shift->at_ms / 1000.0); break;
    case PROMQL_AT_START: buf_cstr(out, " @ start()"); break;
    case PROMQL_AT_END: buf_cstr(out, " @ end()"); break;
    }
}

static void print_offset(const struct promql_shift *shift, struct buf *out) {
    if (shift->offset.expr == NULL && shift->offset.ms == 0) {
        return;
    }
    buf_cstr(out, " offset ");
    print_duration(shift->offset, out);
}

/* ---- selectors ---- */

/* As matchers print anywhere; names that are no plain identifiers are quoted. */
static void print_matcher(const struct matcher *matcher, struct buf *out) {
    if (label_name_is_valid_legacy(matcher->name)) {
        buf_str(out, matcher->name);
    } else {
        promql_quote(out, matcher->name);
    }
    buf_cstr(out, match_type_to_string(matcher->type));
    promql_quote(out, matcher->value);
}

/* The matcher that stands for the name before the braces is not repeated inside. */
static bool is_shown(const struct promql_expr *expr, const struct matcher *matcher) {
    return !(matcher->type == MATCH_EQ && matcher->value.len > 0 &&
             str_eq(matcher->name, METRIC_NAME) && str_eq(matcher->value, expr->selector.name));
}

static int compare_texts(const void *a, const void *b) {
    const struct str *left = a;
    const struct str *right = b;
    return str_cmp(*left, *right);
}

/* Sorted by their text, as upstream does. */
static void print_matchers(const struct promql_expr *expr, struct buf *out) {
    size_t count = expr->selector.matcher_count;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    size_t *ends = mem_alloc(count * sizeof(*ends));
    size_t shown = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_shown(expr, &expr->selector.matchers[i])) {
            print_matcher(&expr->selector.matchers[i], &text);
            ends[shown++] = text.len;
        }
    }
    struct str *texts = mem_alloc(shown * sizeof(*texts));
    for (size_t i = 0; i < shown; i++) {
        size_t start = i == 0 ? 0 : ends[i - 1];
        texts[i] = str_n(text.ptr + start, ends[i] - start);
    }
    if (shown == 0 && expr->selector.name.len == 0) {
        buf_cstr(out, "{}"); /* info(foo, {}); upstream prints nothing, which does not read back */
    }
    if (shown > 0) {
        qsort(texts, shown, sizeof(*texts), compare_texts);
        buf_putc(out, '{');
        for (size_t i = 0; i < shown; i++) {
            if (i > 0) {
                buf_putc(out, ',');
            }
            buf_str(out, texts[i]);
        }
        buf_putc(out, '}');
    }
    mem_free(texts);
    mem_free(ends);
    buf_finish(&text);
}

static void print_extended(const struct promql_expr *selector, struct buf *out) {
    if (selector->selector.is_anchored) {
        buf_cstr(out, " anchored");
    } else if (selector->selector.is_smoothed) {
        buf_cstr(out, " smoothed");
    }
}

static void print_selector(const struct promql_expr *expr, struct buf *out) {
    buf_str(out, expr->selector.name);
    print_matchers(expr, out);
    print_at(&expr->selector.shift, out);
    print_extended(expr, out);
    print_offset(&expr->selector.shift, out);
}

static void print_range(const struct promql_expr *expr, struct buf *out) {
    const struct promql_expr *selector = expr->range.selector;
    buf_str(out, selector->selector.name);
    print_matchers(selector, out);
    buf_putc(out, '[');
    print_duration(expr->range.range, out);
    buf_putc(out, ']');
    print_extended(selector, out);
    print_at(&selector->selector.shift, out);
    print_offset(&selector->selector.shift, out);
}

void promql_print_subquery_suffix(const struct promql_expr *expr, struct buf *out) {
    buf_putc(out, '[');
    print_duration(expr->subquery.range, out);
    buf_putc(out, ':');
    if (expr->subquery.step.expr != NULL || expr->subquery.step.ms != 0) {
        print_duration(expr->subquery.step, out);
    }
    buf_putc(out, ']');
    print_at(&expr->subquery.shift, out);
    print_offset(&expr->subquery.shift, out);
}

/* ---- operators ---- */

static void print_fill(const char *name, double value, struct buf *out) {
    buf_printf(out, " %s (", name);
    buf_float_general(out, value);
    buf_putc(out, ')');
}

static void print_fills(const struct promql_matching *matching, struct buf *out) {
    if (matching->has_fill_left && matching->has_fill_right &&
        matching->fill_left == matching->fill_right) {
        print_fill("fill", matching->fill_left, out);
        return;
    }
    if (matching->has_fill_left) {
        print_fill("fill_left", matching->fill_left, out);
    }
    if (matching->has_fill_right) {
        print_fill("fill_right", matching->fill_right, out);
    }
}

static void print_matching(const struct promql_matching *matching, struct buf *out) {
    bool is_grouped = matching->card == PROMQL_MANY_TO_ONE || matching->card == PROMQL_ONE_TO_MANY;
    if (matching->label_count > 0 || matching->is_on || is_grouped) {
        buf_cstr(out, matching->is_on ? " on (" : " ignoring (");
        print_labels(matching->labels, matching->label_count, out);
        buf_putc(out, ')');
    }
    if (is_grouped) {
        bool is_left = matching->card == PROMQL_MANY_TO_ONE;
        buf_cstr(out, is_left ? " group_left (" : " group_right (");
        print_labels(matching->include, matching->include_count, out);
        buf_putc(out, ')');
    }
    print_fills(matching, out);
}

void promql_print_operator(const struct promql_expr *expr, struct buf *out) {
    buf_cstr(out, promql_op_to_string(expr->binary.op));
    if (expr->binary.return_bool) {
        buf_cstr(out, " bool");
    }
    print_matching(&expr->binary.matching, out);
}

static void print_binary(const struct promql_expr *expr, struct buf *out) {
    promql_print(expr->binary.lhs, out);
    buf_putc(out, ' ');
    promql_print_operator(expr, out);
    buf_putc(out, ' ');
    promql_print(expr->binary.rhs, out);
}

/* ---- calls and aggregations ---- */

void promql_print_aggregation(const struct promql_expr *expr, struct buf *out) {
    buf_cstr(out, promql_agg_to_string(expr->aggregate.op));
    if (!expr->aggregate.is_without && expr->aggregate.grouping_count == 0) {
        return;
    }
    buf_cstr(out, expr->aggregate.is_without ? " without (" : " by (");
    print_labels(expr->aggregate.grouping, expr->aggregate.grouping_count, out);
    buf_cstr(out, ") ");
}

static void print_aggregate(const struct promql_expr *expr, struct buf *out) {
    promql_print_aggregation(expr, out);
    buf_putc(out, '(');
    if (expr->aggregate.param != NULL) {
        promql_print(expr->aggregate.param, out);
        buf_cstr(out, ", ");
    }
    promql_print(expr->aggregate.expr, out);
    buf_putc(out, ')');
}

static void print_call(const struct promql_expr *expr, struct buf *out) {
    buf_cstr(out, expr->call.function->name);
    buf_putc(out, '(');
    for (size_t i = 0; i < expr->call.arg_count; i++) {
        if (i > 0) {
            buf_cstr(out, ", ");
        }
        promql_print(expr->call.args[i], out);
    }
    buf_putc(out, ')');
}

/* Recursion is bounded by PROMQL_HEIGHT_MAX. */
void promql_print(const struct promql_expr *expr, struct buf *out) {
    switch (expr->kind) {
    case PROMQL_NODE_NUMBER:
        print_number(expr->number.value, expr->number.is_duration, out);
        return;
    case PROMQL_NODE_STRING: promql_quote(out, expr->string); return;
    case PROMQL_NODE_SELECTOR: print_selector(expr, out); return;
    case PROMQL_NODE_RANGE: print_range(expr, out); return;
    case PROMQL_NODE_SUBQUERY:
        promql_print(expr->subquery.expr, out);
        promql_print_subquery_suffix(expr, out);
        return;
    case PROMQL_NODE_UNARY:
        buf_cstr(out, promql_op_to_string(expr->unary.op));
        promql_print(expr->unary.expr, out);
        return;
    case PROMQL_NODE_BINARY: print_binary(expr, out); return;
    case PROMQL_NODE_AGGREGATE: print_aggregate(expr, out); return;
    case PROMQL_NODE_CALL: print_call(expr, out); return;
    case PROMQL_NODE_PAREN:
        buf_putc(out, '(');
        promql_print(expr->paren, out);
        buf_putc(out, ')');
        return;
    case PROMQL_NODE_DURATION: print_duration_node(expr, out); return;
    case PROMQL_NODE_KIND_COUNT: break;
    }
    BUG("unknown node kind %d", (int)expr->kind);
}
