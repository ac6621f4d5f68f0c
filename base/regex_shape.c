/*
 * Which texts can a pattern match? A recursive descent over the pattern keeps, for every part, a
 * small set of strings with one of two meanings:
 *   exact    the part matches these strings and nothing else
 *   prefixes whatever the part matches starts with one of these strings
 * Anything not understood is the prefix set { "" }, which is true of every pattern. Groups that
 * fold case end the analysis.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/regex_syntax.h"

enum {
    STRINGS_MAX = 256,
    STRINGS_BYTES_MAX = 16 * 1024, /* sum over one set of more than one */
    CLASS_RUNES_MAX = 64,
    DEPTH_MAX = 64,
};

struct strings {
    struct str *items;
    size_t count;
    bool is_exact;
};

struct parser {
    struct arena *arena;
    const char *at;
    const char *end;
    uint32_t depth;
    bool has_failed;
};

static struct strings parse_alternation(struct parser *parser);

static struct strings one(struct parser *parser, struct str text, bool is_exact) {
    struct strings set = { .count = 1, .is_exact = is_exact };
    set.items = arena_alloc(parser->arena, sizeof(set.items[0]));
    set.items[0] = text;
    return set;
}

static struct strings unknown(struct parser *parser) {
    return one(parser, STR(""), false);
}

static struct strings fail(struct parser *parser) {
    parser->has_failed = true;
    return unknown(parser);
}

static bool is_next(const struct parser *parser, char c) {
    return parser->at < parser->end && *parser->at == c;
}

static struct str rest_of(const struct parser *parser) {
    return str_n(parser->at, (size_t)(parser->end - parser->at));
}

static size_t bytes_of(const struct strings *set) {
    size_t bytes = 0;
    for (size_t i = 0; i < set->count; i++) {
        bytes += set->items[i].len;
    }
    return bytes;
}

static int compare_str(const void *a, const void *b) {
    const struct str *left = a;
    const struct str *right = b;
    return str_cmp(*left, *right);
}

static void sort_unique(struct strings *set) {
    qsort(set->items, set->count, sizeof(set->items[0]), compare_str);
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (kept == 0 || !str_eq(set->items[kept - 1], set->items[i])) {
            set->items[kept++] = set->items[i];
        }
    }
    set->count = kept;
}

static bool is_too_much(const struct strings *set) {
    return set->count > STRINGS_MAX || (set->count > 1 && bytes_of(set) > STRINGS_BYTES_MAX);
}

static struct strings either(struct parser *parser, struct strings a, struct strings b) {
    struct strings both = { .count = a.count + b.count, .is_exact = a.is_exact && b.is_exact };
    both.items = arena_alloc(parser->arena, both.count * sizeof(both.items[0]));
    memcpy(both.items, a.items, a.count * sizeof(both.items[0]));
    memcpy(both.items + a.count, b.items, b.count * sizeof(both.items[0]));
    if (both.count > STRINGS_MAX) {
        sort_unique(&both);
    }
    return is_too_much(&both) ? unknown(parser) : both;
}

static struct strings followed_by(struct parser *parser, struct strings a, struct strings b) {
    if (!a.is_exact) {
        return a;
    }
    if (arena_is_over(parser->arena)) {
        return fail(parser);
    }
    size_t count = a.count * b.count;
    size_t bytes = bytes_of(&a) * b.count + bytes_of(&b) * a.count;
    if (count > STRINGS_MAX || (count > 1 && bytes > STRINGS_BYTES_MAX)) {
        a.is_exact = false;
        return a;
    }
    struct strings product = { .is_exact = b.is_exact };
    product.items = arena_alloc(parser->arena, count * sizeof(product.items[0]));
    for (size_t i = 0; i < a.count; i++) {
        for (size_t j = 0; j < b.count; j++) {
            struct str head = a.items[i];
            struct str tail = b.items[j];
            char *text = arena_alloc(parser->arena, head.len + tail.len);
            if (head.len > 0) {
                memcpy(text, head.ptr, head.len);
            }
            if (tail.len > 0) {
                memcpy(text + head.len, tail.ptr, tail.len);
            }
            product.items[product.count++] = str_n(text, head.len + tail.len);
        }
    }
    return product;
}

static size_t rune_bytes(const struct parser *parser) {
    unsigned char first = (unsigned char)*parser->at;
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 1;
    size_t left = (size_t)(parser->end - parser->at);
    return len < left ? len : left;
}

static struct str take_rune(struct parser *parser) {
    size_t len = rune_bytes(parser);
    struct str rune = str_n(parser->at, len);
    parser->at += len;
    return rune;
}

/* The literal behind a backslash, or an empty str for anything else. `at` is after the escape,
 * except for the digits of \x and the name of \p, which then read as parts of unknown text. */
static struct str take_escape(struct parser *parser) {
    static const struct {
        char name;
        struct str text;
    } controls[] = {
        { 'a', { "\a", 1 } }, { 'f', { "\f", 1 } }, { 'n', { "\n", 1 } },
        { 'r', { "\r", 1 } }, { 't', { "\t", 1 } }, { 'v', { "\v", 1 } },
    };

    parser->at++;
    if (parser->at == parser->end) {
        parser->has_failed = true;
        return STR("");
    }
    struct str rune = take_rune(parser);
    char c = rune.ptr[0];
    bool is_word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!is_word) {
        return rune;
    }
    for (size_t i = 0; i < ARRAY_LEN(controls); i++) {
        if (controls[i].name == c) {
            return controls[i].text;
        }
    }
    if ((c == 'x' || c == 'p' || c == 'P') && is_next(parser, '{')) {
        while (parser->at < parser->end && *parser->at != '}') {
            parser->at++;
        }
        parser->at += parser->at < parser->end ? 1 : 0;
    }
    return STR("");
}

/* One member of a class: a rune, or a range of ASCII characters. False: not that simple. */
static bool take_class_member(struct parser *parser, struct strings *set) {
    struct str first = *parser->at == '\\' ? take_escape(parser) : take_rune(parser);
    struct str last = first;
    bool is_range = is_next(parser, '-') && parser->at + 1 < parser->end && parser->at[1] != ']';
    if (is_range) {
        parser->at++;
        last = *parser->at == '\\' ? take_escape(parser) : take_rune(parser);
    }
    if (first.len == 0 || last.len == 0 || (is_range && (first.len > 1 || last.len > 1))) {
        return false;
    }
    if (!is_range) {
        if (set->count == CLASS_RUNES_MAX) {
            return false;
        }
        set->items[set->count++] = first;
        return true;
    }
    for (int c = (unsigned char)first.ptr[0]; c <= (unsigned char)last.ptr[0]; c++) {
        if (set->count == CLASS_RUNES_MAX || c >= 0x80) {
            return false;
        }
        char *text = arena_alloc(parser->arena, 1);
        *text = (char)c;
        set->items[set->count++] = str_n(text, 1);
    }
    return true;
}

static struct strings parse_class(struct parser *parser) {
    struct strings set = { .is_exact = true };
    set.items = arena_alloc(parser->arena, CLASS_RUNES_MAX * sizeof(set.items[0]));
    bool is_simple = true;
    parser->at++;
    if (is_next(parser, '^')) {
        parser->at++;
        is_simple = false;
    }
    bool is_first = true;
    while (parser->at < parser->end && (is_first || *parser->at != ']')) {
        is_first = false;
        size_t named_end = str_find(rest_of(parser), STR(":]"));
        if (str_starts_with(rest_of(parser), STR("[:")) && named_end != SIZE_MAX) {
            parser->at += named_end + 2;
            is_simple = false;
        } else if (!take_class_member(parser, &set)) {
            is_simple = false;
        }
    }
    if (parser->at == parser->end) {
        return fail(parser);
    }
    parser->at++;
    if (!is_simple) {
        return unknown(parser);
    }
    sort_unique(&set);
    return set;
}

/* Flags that change which literals match end the analysis; dot and greed flags do not. */
static bool skip_flags(struct parser *parser) {
    while (parser->at < parser->end && strchr("sU-", *parser->at) != NULL) {
        parser->at++;
    }
    return is_next(parser, ':') || is_next(parser, ')');
}

/* Between "(" and the group's first alternative. *ret_is_flags_only: "(?s)", a group without
 * content. */
static bool skip_group_head(struct parser *parser, bool *ret_is_flags_only) {
    *ret_is_flags_only = false;
    if (!is_next(parser, '?')) {
        return true;
    }
    parser->at++;
    if (str_starts_with(rest_of(parser), STR("P<"))) {
        size_t end = str_find(rest_of(parser), STR(">"));
        if (end == SIZE_MAX) {
            return false;
        }
        parser->at += end + 1;
        return true;
    }
    if (!skip_flags(parser)) {
        return false;
    }
    *ret_is_flags_only = *parser->at == ')';
    parser->at += *ret_is_flags_only ? 0 : 1;
    return true;
}

static struct strings parse_group(struct parser *parser) {
    parser->at++;
    bool is_flags_only;
    if (parser->depth == DEPTH_MAX || !skip_group_head(parser, &is_flags_only)) {
        return fail(parser);
    }
    struct strings inside = one(parser, STR(""), true);
    if (!is_flags_only) {
        parser->depth++;
        inside = parse_alternation(parser);
        parser->depth--;
    }
    if (!is_next(parser, ')')) {
        return fail(parser);
    }
    parser->at++;
    return inside;
}

static bool is_special(char c) {
    return memchr("\\.[]({})*+?^$|", c, 14) != NULL;
}

static bool is_repeat(const struct parser *parser) {
    return parser->at < parser->end && memchr("*+?{", *parser->at, 4) != NULL;
}

/* Plain characters up to one that a repetition takes for itself. */
static struct strings parse_literals(struct parser *parser) {
    const char *start = parser->at;
    const char *last = start;
    do {
        last = parser->at;
        (void)take_rune(parser);
    } while (parser->at < parser->end && !is_special(*parser->at));
    if (is_repeat(parser) && last > start) {
        parser->at = last;
    }
    return one(parser, str_n(start, (size_t)(parser->at - start)), true);
}

static struct strings parse_atom(struct parser *parser) {
    switch (*parser->at) {
    case '(': return parse_group(parser);
    case '[': return parse_class(parser);
    case '.':
    case '^':
    case '$': parser->at++; return unknown(parser);
    case '\\': {
        struct str literal = take_escape(parser);
        return literal.len == 0 ? unknown(parser) : one(parser, literal, true);
    }
    default: return parse_literals(parser);
    }
}

struct repeat {
    uint64_t min;
    uint64_t max; /* UINT64_MAX = no limit */
};

/* {n}, {n,} or {n,m}; anything else is a literal brace. */
static bool take_counted(struct parser *parser, struct repeat *ret) {
    struct str rest = rest_of(parser);
    struct str inside;
    struct str after;
    if (rest.len == 0 || rest.ptr[0] != '{' ||
        !str_cut(str_n(rest.ptr + 1, rest.len - 1), '}', &inside, &after)) {
        return false;
    }
    struct str low;
    struct str high;
    bool has_comma = str_cut(inside, ',', &low, &high);
    if (!str_parse_u64(low, &ret->min)) {
        return false;
    }
    ret->max = has_comma ? UINT64_MAX : ret->min;
    if (has_comma && high.len > 0 && !str_parse_u64(high, &ret->max)) {
        return false;
    }
    parser->at = after.ptr;
    return true;
}

static bool take_repeat(struct parser *parser, struct repeat *ret) {
    if (parser->at == parser->end) {
        return false;
    }
    switch (*parser->at) {
    case '*': *ret = (struct repeat){ .min = 0, .max = UINT64_MAX }; break;
    case '+': *ret = (struct repeat){ .min = 1, .max = UINT64_MAX }; break;
    case '?': *ret = (struct repeat){ .min = 0, .max = 1 }; break;
    case '{':
        if (!take_counted(parser, ret)) {
            return false;
        }
        parser->at--; /* so that every case ends one before the operator's end */
        break;
    default: return false;
    }
    parser->at++;
    if (is_next(parser, '?')) {
        parser->at++; /* lazy: the same texts */
    }
    return true;
}

static struct strings repeated(struct parser *parser, struct strings set, struct repeat repeat) {
    struct strings result = one(parser, STR(""), true);
    if (repeat.max == 0) {
        return result;
    }
    /* Exact sets do not stay sets for long: enough copies to reach the cap, then a prefix. */
    uint64_t copies = repeat.min < STRINGS_MAX ? repeat.min : STRINGS_MAX;
    for (uint64_t i = 0; i < copies && result.is_exact; i++) {
        result = followed_by(parser, result, set);
    }
    if (copies < repeat.min || repeat.max == UINT64_MAX) {
        result.is_exact = false;
    }
    if (repeat.min == 0 && repeat.max == 1) {
        return either(parser, result, set);
    }
    if (repeat.max != repeat.min) {
        result.is_exact = false;
    }
    return result;
}

static struct strings parse_concat(struct parser *parser) {
    struct strings sequence = one(parser, STR(""), true);
    while (!parser->has_failed && parser->at < parser->end && *parser->at != '|' &&
           *parser->at != ')') {
        struct strings atom = parse_atom(parser);
        struct repeat repeat;
        while (!parser->has_failed && take_repeat(parser, &repeat)) {
            atom = repeated(parser, atom, repeat);
        }
        sequence = followed_by(parser, sequence, atom);
    }
    return sequence;
}

static struct strings parse_alternation(struct parser *parser) {
    struct strings all = parse_concat(parser);
    while (!parser->has_failed && is_next(parser, '|')) {
        parser->at++;
        all = either(parser, all, parse_concat(parser));
    }
    return all;
}

static struct str common_prefix(const struct strings *set) {
    struct str prefix = set->items[0];
    for (size_t i = 1; i < set->count; i++) {
        size_t same = 0;
        while (same < prefix.len && same < set->items[i].len &&
               prefix.ptr[same] == set->items[i].ptr[same]) {
            same++;
        }
        prefix.len = same;
    }
    return prefix;
}

/* Anchors an anchored pattern repeats, as in ^(a|b)$, say nothing new: the first alternative starts
 * and the last one ends where the text does. */
static struct str strip_anchors(struct str pattern) {
    bool is_repeated = pattern.len > 1 && memchr("*+?{", pattern.ptr[1], 4) != NULL;
    if (pattern.len > 0 && pattern.ptr[0] == '^' && !is_repeated) {
        pattern = str_n(pattern.ptr + 1, pattern.len - 1);
    }
    if (pattern.len > 0 && pattern.ptr[pattern.len - 1] == '$') {
        size_t backslashes = 0;
        while (backslashes + 1 < pattern.len &&
               pattern.ptr[pattern.len - 2 - backslashes] == '\\') {
            backslashes++;
        }
        pattern.len -= backslashes % 2 == 0 ? 1 : 0;
    }
    return pattern;
}

struct regex_shape regex_analyse(struct str pattern, struct arena *arena) {
    struct str body = strip_anchors(pattern);
    struct parser parser = { .arena = arena, .at = body.ptr, .end = body.ptr + body.len };
    struct strings all = parse_alternation(&parser);
    if (parser.has_failed || parser.at != parser.end) {
        return (struct regex_shape){ .prefix = STR("") };
    }
    assert(all.count > 0);
    if (!all.is_exact) {
        return (struct regex_shape){ .prefix = common_prefix(&all) };
    }
    sort_unique(&all);
    return (struct regex_shape){ .set = all.items, .set_count = all.count, .prefix = STR("") };
}
