/*
 * The syntax tree as JSON, in the members and words of upstream's /api/v1/parse_query
 * (web/api/v1/translate_ast.go); members stand in a fixed order here.
 */
#include "base/float.h"
#include "base/json.h"
#include "promql/ast.h"

/* json_writer is for shallow documents; a tree may be PROMQL_HEIGHT_MAX deep. */

static void put_bool(struct buf *out, const char *key, bool value) {
    buf_printf(out, ",\"%s\":%s", key, value ? "true" : "false");
}

static void put_i64(struct buf *out, const char *key, int64_t value) {
    buf_printf(out, ",\"%s\":", key);
    buf_i64(out, value);
}

static void put_str(struct buf *out, const char *key, struct str value) {
    buf_printf(out, ",\"%s\":", key);
    buf_json_str(out, value);
}

static void put_tree(struct buf *out, const char *key, const struct promql_expr *expr) {
    buf_printf(out, ",\"%s\":", key);
    if (expr == NULL) {
        buf_cstr(out, "null");
    } else {
        promql_tree(expr, out);
    }
}

static void put_list(struct buf *out, const char *key, const struct str *items, size_t count) {
    buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < count; i++) {
        buf_cstr(out, i == 0 ? "" : ",");
        buf_json_str(out, items[i]);
    }
    buf_putc(out, ']');
}

/* A number in quotes, without an exponent. */
static void put_number(struct buf *out, double value) {
    char text[FLOAT_TEXT_MAX];
    buf_cstr(out, ",\"val\":");
    buf_json_str(out, str_n(text, float_to_text(value, text)));
}

static void put_shift(struct buf *out, const struct promql_shift *shift) {
    put_i64(out, "offset", shift->offset.ms);
    put_tree(out, "offsetExpr", shift->offset.expr);
    if (shift->at == PROMQL_AT_TIME) {
        put_i64(out, "timestamp", shift->at_ms);
    } else {
        buf_cstr(out, ",\"timestamp\":null");
    }
    switch (shift->at) {
    case PROMQL_AT_START: buf_cstr(out, ",\"startOrEnd\":\"start\""); break;
    case PROMQL_AT_END: buf_cstr(out, ",\"startOrEnd\":\"end\""); break;
    case PROMQL_AT_NONE:
    case PROMQL_AT_TIME: buf_cstr(out, ",\"startOrEnd\":null"); break;
    }
}

static void put_selector(struct buf *out, const struct promql_expr *expr) {
    put_str(out, "name", expr->selector.name);
    buf_cstr(out, ",\"matchers\":[");
    for (size_t i = 0; i < expr->selector.matcher_count; i++) {
        const struct matcher *matcher = &expr->selector.matchers[i];
        buf_printf(out, "%s{\"type\":\"%s\"", i == 0 ? "" : ",",
                   match_type_to_string(matcher->type));
        put_str(out, "name", matcher->name);
        put_str(out, "value", matcher->value);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
    put_shift(out, &expr->selector.shift);
    put_bool(out, "anchored", expr->selector.is_anchored);
    put_bool(out, "smoothed", expr->selector.is_smoothed);
}

static void put_fill(struct buf *out, const char *key, bool has_value, double value) {
    buf_printf(out, "\"%s\":", key);
    if (has_value) {
        buf_float_json(out, value);
    } else {
        buf_cstr(out, "null");
    }
}

static void put_matching(struct buf *out, const struct promql_expr *expr) {
    static const char *const cards[] = {
        [PROMQL_ONE_TO_ONE] = "one-to-one",
        [PROMQL_MANY_TO_ONE] = "many-to-one",
        [PROMQL_ONE_TO_MANY] = "one-to-many",
        [PROMQL_MANY_TO_MANY] = "many-to-many",
    };
    if (expr->binary.lhs->type != PROMQL_VECTOR || expr->binary.rhs->type != PROMQL_VECTOR) {
        buf_cstr(out, ",\"matching\":null");
        return;
    }
    const struct promql_matching *matching = &expr->binary.matching;
    buf_printf(out, ",\"matching\":{\"card\":\"%s\"", cards[matching->card]);
    put_list(out, "labels", matching->labels, matching->label_count);
    put_bool(out, "on", matching->is_on);
    put_list(out, "include", matching->include, matching->include_count);
    buf_cstr(out, ",\"fillValues\":{");
    put_fill(out, "lhs", matching->has_fill_left, matching->fill_left);
    buf_putc(out, ',');
    put_fill(out, "rhs", matching->has_fill_right, matching->fill_right);
    buf_cstr(out, "}}");
}

static void put_call(struct buf *out, const struct promql_expr *expr) {
    const struct promql_function *function = expr->call.function;
    buf_cstr(out, ",\"func\":{\"name\":");
    buf_json_str(out, str_from(function->name));
    buf_cstr(out, ",\"argTypes\":[");
    for (size_t i = 0; i < function->arg_count; i++) {
        buf_printf(out, "%s\"%s\"", i == 0 ? "" : ",", promql_type_to_api(function->args[i]));
    }
    buf_printf(out, "],\"variadic\":%d,\"returnType\":\"%s\"},\"args\":[", function->variadic,
               promql_type_to_api(function->returns));
    for (size_t i = 0; i < expr->call.arg_count; i++) {
        buf_cstr(out, i == 0 ? "" : ",");
        promql_tree(expr->call.args[i], out);
    }
    buf_putc(out, ']');
}

static const char *duration_op(enum promql_duration_op op) {
    switch (op) {
    case PROMQL_DURATION_ADD: return "+";
    case PROMQL_DURATION_SUB:
    case PROMQL_DURATION_NEG: return "-";
    case PROMQL_DURATION_MUL: return "*";
    case PROMQL_DURATION_DIV: return "/";
    case PROMQL_DURATION_MOD: return "%";
    case PROMQL_DURATION_POW: return "^";
    case PROMQL_DURATION_STEP: return "step";
    case PROMQL_DURATION_RANGE: return "range";
    case PROMQL_DURATION_MIN: return "min_of";
    case PROMQL_DURATION_MAX: return "max_of";
    case PROMQL_DURATION_NUMBER: break;
    }
    BUG("duration operator %d", (int)op);
}

static void put_duration(struct buf *out, const struct promql_expr *expr) {
    if (expr->duration.op == PROMQL_DURATION_NUMBER) {
        put_number(out, expr->duration.seconds);
        put_bool(out, "duration", expr->duration.is_duration);
        return;
    }
    put_str(out, "op", str_from(duration_op(expr->duration.op)));
    bool is_prefix = expr->duration.op == PROMQL_DURATION_NEG;
    const struct promql_expr *operand =
        expr->duration.lhs != NULL ? expr->duration.lhs : expr->duration.rhs;
    put_tree(out, "lhs", is_prefix ? NULL : expr->duration.lhs);
    put_tree(out, "rhs", is_prefix ? operand : expr->duration.rhs);
    put_bool(out, "wrapped", expr->duration.is_wrapped);
}

static void put_aggregate(struct buf *out, const struct promql_expr *expr) {
    put_str(out, "op", str_from(promql_agg_to_string(expr->aggregate.op)));
    put_tree(out, "expr", expr->aggregate.expr);
    put_tree(out, "param", expr->aggregate.param);
    put_list(out, "grouping", expr->aggregate.grouping, expr->aggregate.grouping_count);
    put_bool(out, "without", expr->aggregate.is_without);
}

static void put_binary(struct buf *out, const struct promql_expr *expr) {
    put_str(out, "op", str_from(promql_op_to_string(expr->binary.op)));
    put_tree(out, "lhs", expr->binary.lhs);
    put_tree(out, "rhs", expr->binary.rhs);
    put_matching(out, expr);
    put_bool(out, "bool", expr->binary.return_bool);
}

static void put_subquery(struct buf *out, const struct promql_expr *expr) {
    put_tree(out, "expr", expr->subquery.expr);
    put_i64(out, "range", expr->subquery.range.ms);
    put_tree(out, "rangeExpr", expr->subquery.range.expr);
    put_i64(out, "step", expr->subquery.step.ms);
    put_tree(out, "stepExpr", expr->subquery.step.expr);
    put_shift(out, &expr->subquery.shift);
}

static const char *node_type(const struct promql_expr *expr) {
    switch (expr->kind) {
    case PROMQL_NODE_NUMBER: return "numberLiteral";
    case PROMQL_NODE_STRING: return "stringLiteral";
    case PROMQL_NODE_SELECTOR: return "vectorSelector";
    case PROMQL_NODE_RANGE: return "matrixSelector";
    case PROMQL_NODE_SUBQUERY: return "subquery";
    case PROMQL_NODE_UNARY: return "unaryExpr";
    case PROMQL_NODE_BINARY: return "binaryExpr";
    case PROMQL_NODE_AGGREGATE: return "aggregation";
    case PROMQL_NODE_CALL: return "call";
    case PROMQL_NODE_PAREN: return "parenExpr";
    case PROMQL_NODE_DURATION:
        return expr->duration.op == PROMQL_DURATION_NUMBER ? "numberLiteral" : "durationExpr";
    case PROMQL_NODE_KIND_COUNT: break;
    }
    BUG("node kind %d", (int)expr->kind);
}

void promql_tree(const struct promql_expr *expr, struct buf *out) {
    buf_printf(out, "{\"type\":\"%s\"", node_type(expr));
    switch (expr->kind) {
    case PROMQL_NODE_NUMBER: put_number(out, expr->number.value); break;
    case PROMQL_NODE_STRING: put_str(out, "val", expr->string); break;
    case PROMQL_NODE_SELECTOR: put_selector(out, expr); break;
    case PROMQL_NODE_RANGE:
        put_selector(out, expr->range.selector);
        put_i64(out, "range", expr->range.range.ms);
        put_tree(out, "rangeExpr", expr->range.range.expr);
        break;
    case PROMQL_NODE_SUBQUERY: put_subquery(out, expr); break;
    case PROMQL_NODE_UNARY:
        put_str(out, "op", str_from(promql_op_to_string(expr->unary.op)));
        put_tree(out, "expr", expr->unary.expr);
        break;
    case PROMQL_NODE_BINARY: put_binary(out, expr); break;
    case PROMQL_NODE_AGGREGATE: put_aggregate(out, expr); break;
    case PROMQL_NODE_CALL: put_call(out, expr); break;
    case PROMQL_NODE_PAREN: put_tree(out, "expr", expr->paren); break;
    case PROMQL_NODE_DURATION: put_duration(out, expr); break;
    case PROMQL_NODE_KIND_COUNT: BUG("node kind %d", (int)expr->kind);
    }
    buf_putc(out, '}');
}
