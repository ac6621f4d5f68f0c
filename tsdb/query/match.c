/*
 * Matchers to ids, over any index. A matcher that does not match the empty value selects: its ids
 * are intersected. One that does match it only excludes: the ids whose value it does not match are
 * subtracted, so that series without the label stay.
 */
#include "base/regex.h"
#include "tsdb/query/querier.h"

const struct str *match_literals(const struct matcher *matcher, size_t *ret_count) {
    *ret_count = 0;
    if (matcher->type != MATCH_RE) {
        return NULL;
    }
    const struct regex_shape *shape = regex_shape(matcher->regex);
    if (shape == NULL || shape->set_count == 0) {
        return NULL;
    }
    *ret_count = shape->set_count;
    return shape->set;
}

struct str match_prefix(const struct matcher *matcher, bool is_inverse) {
    if (is_inverse || matcher->type != MATCH_RE) {
        return STR("");
    }
    const struct regex_shape *shape = regex_shape(matcher->regex);
    return shape == NULL ? STR("") : shape->prefix;
}

static bool is_selecting(const struct matcher *matcher) {
    return !matcher_matches(matcher, STR(""));
}

/* `out` becomes what the matcher leaves of it; is_first: `out` is still everything. */
static bool apply(const struct match_source *source,
                  const struct matcher *matcher,
                  bool is_first,
                  struct idset *out,
                  struct err *err) {
    struct idset ids = { 0 };
    bool is_inverse = !is_selecting(matcher);
    if (!source->collect(source->ctx, matcher, is_inverse, &ids, err)) {
        idset_finish(&ids);
        return false;
    }
    idset_normalize(&ids);
    if (is_first) {
        *out = ids;
        return true;
    }
    if (is_inverse) {
        idset_subtract(out, &ids);
    } else {
        idset_intersect(out, &ids);
    }
    idset_finish(&ids);
    return true;
}

/* Equality first, other selecting matchers next, excluding ones last. */
static int rank(const struct matcher *matcher) {
    if (!is_selecting(matcher)) {
        return 2;
    }
    return matcher->type == MATCH_EQ ? 0 : 1;
}

bool match_series(const struct match_source *source,
                  const struct matcher *matchers,
                  size_t count,
                  struct idset *out,
                  struct err *err) {
    *out = (struct idset){ 0 };
    bool is_first = true;
    for (int turn = 0; turn <= 2; turn++) {
        for (size_t i = 0; i < count; i++) {
            if (rank(&matchers[i]) != turn) {
                continue;
            }
            if (!is_first && out->count == 0) {
                return true;
            }
            if (turn == 2 && is_first) {
                if (!source->all(source->ctx, out, err)) {
                    return false;
                }
                idset_normalize(out);
                is_first = false;
            }
            if (!apply(source, &matchers[i], is_first, out, err)) {
                idset_finish(out);
                return false;
            }
            is_first = false;
        }
    }
    if (is_first) {
        if (!source->all(source->ctx, out, err)) {
            return false;
        }
        idset_normalize(out);
    }
    return true;
}

bool match_is_selective(const struct matcher *matchers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!matcher_matches(&matchers[i], STR(""))) {
            return true;
        }
    }
    return count == 0;
}
