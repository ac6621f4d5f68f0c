/*
 * Where a byte of a scalar's value stands in the file.
 *
 * libyaml reports only where a scalar starts. But whatever the style - folding, indentation,
 * doubled quotes, escapes - the characters of the value that are not white space appear in the
 * source in the same order, each once. So value and source are walked side by side: white space is
 * skipped in both, everything else consumed in step. Offsets that point at white space itself are
 * placed relative to the last character before it.
 */
#include <assert.h>

#include "base/utf8.h"
#include "base/yaml_doc.h"

struct walk {
    struct str source;
    size_t pos;
    enum yaml_style style;
};

static unsigned char peek(const struct walk *w, size_t ahead) {
    return w->pos + ahead < w->source.len ? (unsigned char)w->source.ptr[w->pos + ahead] : '\0';
}

static bool is_white(unsigned char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static unsigned hex_digits(unsigned char kind) {
    switch (kind) {
    case 'x': return 2;
    case 'u': return 4;
    case 'U': return 8;
    default: return 0;
    }
}

/* Length in the source of the escape at pos, and the number of value bytes it stands for
 * (0 = an escaped line break). */
static size_t escape_length(const struct walk *w, size_t *ret_value_bytes, bool *ret_is_white) {
    unsigned char kind = peek(w, 1);
    *ret_value_bytes = 1;
    *ret_is_white = strchr("nrt \t", kind) != NULL && kind != '\0';
    unsigned digits = hex_digits(kind);
    if (digits > 0) {
        uint32_t rune = 0;
        for (unsigned i = 0; i < digits; i++) {
            unsigned char c = peek(w, 2 + i);
            uint32_t digit = c <= '9' ? c - 0x30U : (c | 0x20U) - 0x61U + 10;
            rune = rune << 4 | (digit & 0xf);
        }
        *ret_value_bytes = rune < 0x80 ? 1 : rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
        *ret_is_white = rune < 0x80 && is_white((unsigned char)rune);
        return 2 + digits;
    }
    switch (kind) {
    case 'N':
    case '_': *ret_value_bytes = 2; break; /* NEL, no-break space */
    case 'L':
    case 'P': *ret_value_bytes = 3; break; /* line and paragraph separator */
    case '\n': *ret_value_bytes = 0; break;
    case '\r': *ret_value_bytes = 0; return peek(w, 2) == '\n' ? 3 : 2;
    default: break;
    }
    return 2;
}

/* Skip what yields only white space of the value (or nothing). */
static void skip_white(struct walk *w) {
    for (;;) {
        if (is_white(peek(w, 0))) {
            w->pos++;
            continue;
        }
        if (peek(w, 0) == 0xc2 && peek(w, 1) == 0x85) { /* NEL is read as a line feed */
            w->pos += 2;
            continue;
        }
        if (w->style == YAML_STYLE_DOUBLE && peek(w, 0) == '\\') {
            size_t value_bytes = 0;
            bool yields_white = false;
            size_t len = escape_length(w, &value_bytes, &yields_white);
            if (value_bytes == 0 || yields_white) {
                w->pos += len;
                continue;
            }
        }
        return;
    }
}

/* Pass the source of one non-white unit; returns how many value bytes it stands for. */
static size_t consume_unit(struct walk *w) {
    if (w->style == YAML_STYLE_SINGLE && peek(w, 0) == '\'') {
        w->pos += 2;
        return 1;
    }
    if (w->style == YAML_STYLE_DOUBLE && peek(w, 0) == '\\') {
        size_t value_bytes = 0;
        bool yields_white = false;
        w->pos += escape_length(w, &value_bytes, &yields_white);
        return value_bytes;
    }
    w->pos++;
    return 1;
}

/* From the start of the node to the first byte that can belong to the value. */
static void skip_head(struct walk *w) {
    while (peek(w, 0) == '&' || peek(w, 0) == '!') { /* anchor and tag stand before the value */
        while (w->pos < w->source.len && !is_white(peek(w, 0))) {
            w->pos++;
        }
        while (is_white(peek(w, 0))) {
            w->pos++;
        }
    }
    if (w->style == YAML_STYLE_SINGLE || w->style == YAML_STYLE_DOUBLE) {
        w->pos++;
    } else if (w->style == YAML_STYLE_BLOCK) { /* "|2-  # comment" */
        while (w->pos < w->source.len && peek(w, 0) != '\n' && peek(w, 0) != '\r') {
            w->pos++;
        }
    }
}

static size_t node_start(const struct yaml_doc *doc, const struct yaml_node *node) {
    assert(node->line >= 1 && node->line <= doc->line_count);
    size_t pos = doc->line_offsets[node->line - 1];
    for (uint32_t i = 1; i < node->column && pos < doc->text.len; i++) {
        uint32_t rune = 0;
        pos += utf8_decode(doc->text, pos, &rune);
    }
    return pos;
}

struct diag_at yaml_at_offset(const struct yaml_doc *doc,
                              const struct yaml_node *scalar,
                              size_t offset) {
    const struct yaml_node_full *full = yaml_full_const(scalar);
    doc = full->doc;
    /* libyaml ends every text with a line break of its own: a value left out may be behind it. */
    bool is_behind = scalar->line > doc->line_count;
    if (scalar->kind != YAML_SCALAR || full->is_expanded || is_behind) {
        return yaml_at(doc, scalar);
    }
    if (offset > scalar->scalar.len) {
        offset = scalar->scalar.len;
    }
    struct walk w = {
        .source = doc->text,
        .pos = node_start(doc, scalar),
        .style = full->style,
    };
    skip_head(&w);
    size_t white = 0; /* value's white space passed since the last other character */
    bool has_content = false;
    for (size_t i = 0; i < offset;) {
        if (is_white((unsigned char)scalar->scalar.ptr[i])) {
            white++;
            i++;
            continue;
        }
        skip_white(&w);
        size_t before = w.pos;
        i += consume_unit(&w);
        if (i > offset) {
            w.pos = before; /* inside one escape: point at its start */
        }
        white = 0;
        has_content = true;
    }
    bool is_at_end = offset == scalar->scalar.len;
    if (!has_content || (!is_at_end && !is_white((unsigned char)scalar->scalar.ptr[offset]))) {
        skip_white(&w);
        return yaml_at_byte(doc, w.pos);
    }
    while (white > 0 && (peek(&w, 0) == ' ' || peek(&w, 0) == '\t')) {
        w.pos++;
        white--;
    }
    return yaml_at_byte(doc, w.pos);
}
