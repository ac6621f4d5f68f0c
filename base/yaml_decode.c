/* Decoding of YAML mappings into structs by tables. */
#include <assert.h>

#include "base/utf8.h"
#include "base/yaml_doc.h"

enum {
    FIELDS_MAX = 256, /* of one table */
};

/* ---- mappings ---- */

static void report_unknown(struct yaml_decode *ctx,
                           const struct yaml_node *key,
                           const struct yaml_field *fields,
                           size_t field_count) {
    const char *names[FIELDS_MAX];
    for (size_t i = 0; i < field_count; i++) {
        names[i] = fields[i].key;
    }
    struct str word = key->scalar;
    bool is_cut = word.len > YAML_QUOTE_BYTES_MAX;
    word.len = is_cut ? utf8_floor(word, YAML_QUOTE_BYTES_MAX) : word.len;
    const char *near = is_cut ? NULL : str_nearest(word, names, field_count);
    if (near == NULL) {
        yaml_error(ctx, key, DIAG_ERROR, "unknown key \"%.*s%s\"", STR_FMT(word),
                   is_cut ? "..." : "");
    } else {
        yaml_error(ctx, key, DIAG_ERROR, "unknown key \"%.*s\", did you mean \"%s\"?",
                   STR_FMT(word), near);
    }
}

static void decode_field(struct yaml_decode *ctx,
                         const struct yaml_pair *pair,
                         const struct yaml_field *field,
                         void *dest) {
    char *target = (char *)dest + field->offset;
    switch (field->type) {
    case YAML_IGNORED:
        yaml_error(ctx, pair->key, DIAG_WARNING, "\"%s\" is not supported, ignored", field->key);
        break;
    case YAML_CUSTOM: field->decode(ctx, pair->value, target); break;
    case YAML_STRING:
    case YAML_BOOL:
    case YAML_I64:
    case YAML_U64:
    case YAML_F64:
    case YAML_DURATION:
    case YAML_BYTES:
        if (!yaml_is_null(pair->value)) {
            (void)yaml_decode_scalar(ctx, pair->value, field->type, target);
        } else if (field->required) {
            yaml_error(ctx, pair->key, DIAG_ERROR, "\"%s\" must not be empty", field->key);
        }
        break;
    }
}

bool yaml_decode_mapping(struct yaml_decode *ctx,
                         const struct yaml_node *node,
                         const struct yaml_field *fields,
                         size_t field_count,
                         void *dest) {
    assert(field_count <= FIELDS_MAX);
    size_t errors_before = ctx->diags->error_count;
    bool is_empty = yaml_is_null(node);
    if (!is_empty && node->kind != YAML_MAPPING) {
        return yaml_refuse(ctx, node, "a mapping (key: value)");
    }
    bool seen[FIELDS_MAX] = { false };
    for (size_t i = 0; !is_empty && i < node->count; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        size_t f = 0;
        while (f < field_count && !str_eq_c(pair->key->scalar, fields[f].key)) {
            f++;
        }
        if (f == field_count) {
            report_unknown(ctx, pair->key, fields, field_count);
        } else {
            seen[f] = true;
            decode_field(ctx, pair, &fields[f], dest);
        }
    }
    for (size_t f = 0; f < field_count; f++) {
        if (fields[f].required && !seen[f]) {
            yaml_error(ctx, node, DIAG_ERROR, "\"%s\" is missing", fields[f].key);
        }
    }
    return ctx->diags->error_count == errors_before;
}
