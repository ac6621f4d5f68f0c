/*
 * Regular expressions with Go/RE2 syntax and linear time. C++ shim around RE2.
 * Always anchored on both ends unless stated; dot matches newline, as in Prometheus 3.
 * Limits: pattern 4 KiB, program size capped (ERR_LIMIT); \C is refused.
 * Threads: a compiled regex is immutable; matching is safe from any thread.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define REGEX_GROUPS_MAX 32

struct regex;

WARN_UNUSED bool regex_create(struct str pattern, struct regex **ret, struct err *err);
/* Not anchored: for templates' match and reReplaceAll. */
WARN_UNUSED bool regex_create_unanchored(struct str pattern, struct regex **ret, struct err *err);
void regex_destroy(struct regex *regex); /* NULL ok */

bool regex_matches(const struct regex *regex, struct str text);

/* Groups of the (leftmost) match: ret_groups[0] is the whole match, unset groups have ptr NULL.
 * Returns the number of entries filled (1 + groups, at most REGEX_GROUPS_MAX), 0 = no match. */
size_t regex_groups(const struct regex *regex,
                    struct str text,
                    struct str ret_groups[REGEX_GROUPS_MAX]);
/* Index of a named group, SIZE_MAX if there is none. */
size_t regex_group_index(const struct regex *regex, struct str name);

/* Go's Regexp.Expand: $1, ${1}, $name, ${name}, $$ for the given match of regex_groups(). */
void regex_expand(const struct regex *regex,
                  struct str replacement,
                  const struct str *groups,
                  size_t group_count,
                  struct buf *out);

/* Go's ReplaceAllString: every non-overlapping match. */
void regex_replace_all(const struct regex *regex,
                       struct str text,
                       struct str replacement,
                       struct buf *out);

/*
 * Literal shape of an anchored pattern, for index look-ups: a finite set of strings ("a|b|c"),
 * or a literal prefix. set_count 0 = not a (small, <= 256) set. Strings live as long as the regex.
 */
struct regex_shape {
    const struct str *set;
    size_t set_count;
    struct str prefix; /* empty when none */
};
const struct regex_shape *regex_shape(const struct regex *regex);
