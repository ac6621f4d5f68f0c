/* Label matchers. */
#include <assert.h>

#include "base/mem.h"
#include "base/regex.h"
#include "model/model.h"

static struct str dup_str(struct str text) {
    return str_n(mem_strndup(text.ptr, text.len), text.len);
}

bool matcher_init(struct matcher *ret,
                  enum match_type type,
                  struct str name,
                  struct str value,
                  struct err *err) {
    assert(type < MATCH_TYPE_COUNT);
    struct regex *regex = NULL;
    if ((type == MATCH_RE || type == MATCH_NRE) && !regex_create(value, &regex, err)) {
        return false;
    }
    *ret = (struct matcher){
        .type = type,
        .name = dup_str(name),
        .value = dup_str(value),
        .regex = regex,
    };
    return true;
}

/* The strings were made by dup_str(); struct str only promises not to change them. */
static void free_str(struct str text) {
    mem_free((void *)(uintptr_t)text.ptr);
}

void matcher_finish(struct matcher *matcher) {
    free_str(matcher->name);
    free_str(matcher->value);
    regex_destroy(matcher->regex);
    *matcher = (struct matcher){ 0 };
}

static bool is_in_set(const struct regex_shape *shape, struct str value) {
    size_t low = 0;
    size_t high = shape->set_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_cmp(shape->set[middle], value);
        if (order == 0) {
            return true;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

static bool regex_accepts(const struct regex *regex, struct str value) {
    const struct regex_shape *shape = regex_shape(regex);
    if (shape->set_count > 0) {
        return is_in_set(shape, value);
    }
    return str_starts_with(value, shape->prefix) && regex_matches(regex, value);
}

bool matcher_matches(const struct matcher *matcher, struct str value) {
    switch (matcher->type) {
    case MATCH_EQ: return str_eq(matcher->value, value);
    case MATCH_NE: return !str_eq(matcher->value, value);
    case MATCH_RE: return regex_accepts(matcher->regex, value);
    case MATCH_NRE: return !regex_accepts(matcher->regex, value);
    case MATCH_TYPE_COUNT: break;
    }
    BUG("unknown match type %d", (int)matcher->type);
}

bool matchers_match_labels(const struct matcher *matchers, size_t count, struct labels labels) {
    for (size_t i = 0; i < count; i++) {
        if (!matcher_matches(&matchers[i], labels_get(labels, matchers[i].name))) {
            return false;
        }
    }
    return true;
}
