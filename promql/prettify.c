/*
 * Multi-line form of long expressions, upstream's Prettify: a node longer than 100 bytes is split
 * and its parts go one level deeper. Level 0 means that the parent began no new line.
 */
#include "promql/print.h"

#define LINE_BYTES_MAX 100

static void pretty(const struct promql_expr *expr, size_t level, struct buf *out);

static void indent(size_t level, struct buf *out) {
    for (size_t i = 0; i < level; i++) {
        buf_cstr(out, "  ");
    }
}

/* A buffer that takes no more than a line answers without printing it all. */
static bool needs_split(const struct promql_expr *expr) {
    struct buf text;
    buf_init(&text, LINE_BYTES_MAX);
    promql_print(expr, &text);
    bool is_long = text.is_over;
    buf_finish(&text);
    return is_long;
}

static void pretty_aggregate(const struct promql_expr *expr, size_t level, struct buf *out) {
    indent(level, out);
    promql_print_aggregation(expr, out);
    buf_cstr(out, "(\n");
    if (expr->aggregate.param != NULL) {
        pretty(expr->aggregate.param, level + 1, out);
        buf_cstr(out, ",\n");
    }
    pretty(expr->aggregate.expr, level + 1, out);
    buf_putc(out, '\n');
    indent(level, out);
    buf_putc(out, ')');
}

static void pretty_binary(const struct promql_expr *expr, size_t level, struct buf *out) {
    pretty(expr->binary.lhs, level + 1, out);
    buf_putc(out, '\n');
    indent(level, out);
    promql_print_operator(expr, out);
    buf_putc(out, '\n');
    pretty(expr->binary.rhs, level + 1, out);
}

static void pretty_call(const struct promql_expr *expr, size_t level, struct buf *out) {
    indent(level, out);
    buf_cstr(out, expr->call.function->name);
    buf_cstr(out, "(\n");
    for (size_t i = 0; i < expr->call.arg_count; i++) {
        if (i > 0) {
            buf_cstr(out, ",\n");
        }
        pretty(expr->call.args[i], level + 1, out);
    }
    buf_putc(out, '\n');
    indent(level, out);
    buf_putc(out, ')');
}

static void pretty_paren(const struct promql_expr *expr, size_t level, struct buf *out) {
    indent(level, out);
    buf_cstr(out, "(\n");
    pretty(expr->paren, level + 1, out);
    buf_putc(out, '\n');
    indent(level, out);
    buf_putc(out, ')');
}

/* The operand starts right behind the sign, without its own indentation. */
static void pretty_unary(const struct promql_expr *expr, size_t level, struct buf *out) {
    struct buf operand;
    buf_init(&operand, out->bytes_max);
    pretty(expr->unary.expr, level, &operand);
    indent(level, out);
    buf_cstr(out, promql_op_to_string(expr->unary.op));
    buf_str(out, str_trim(buf_as_str(&operand)));
    out->is_over = out->is_over || operand.is_over;
    buf_finish(&operand);
}

static void pretty(const struct promql_expr *expr, size_t level, struct buf *out) {
    if (expr->kind == PROMQL_NODE_UNARY) {
        pretty_unary(expr, level, out);
        return;
    }
    if (!needs_split(expr)) {
        if (expr->kind != PROMQL_NODE_SUBQUERY) { /* upstream forgets to indent these */
            indent(level, out);
        }
        promql_print(expr, out);
        return;
    }
    switch (expr->kind) {
    case PROMQL_NODE_AGGREGATE: pretty_aggregate(expr, level, out); return;
    case PROMQL_NODE_BINARY: pretty_binary(expr, level, out); return;
    case PROMQL_NODE_CALL: pretty_call(expr, level, out); return;
    case PROMQL_NODE_PAREN: pretty_paren(expr, level, out); return;
    case PROMQL_NODE_SUBQUERY:
        pretty(expr->subquery.expr, level, out);
        promql_print_subquery_suffix(expr, out);
        return;
    default:
        indent(level, out);
        promql_print(expr, out);
        return;
    }
}

void promql_prettify(const struct promql_expr *expr, struct buf *out) {
    pretty(expr, 0, out);
}
