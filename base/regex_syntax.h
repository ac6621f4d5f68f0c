/* Private to base/regex*: what happens to a pattern before RE2 sees it, and what it looks like. */
#pragma once

#include "base/arena.h"
#include "base/regex.h"

#define REGEX_PATTERN_BYTES_MAX 4096

/*
 * Go's syntax into RE2's: (?<name> becomes (?P<name>, \Q…\E becomes escaped literals. Refuses what
 * Go refuses and RE2 or the anchoring wrapper would let through: \C, an unopened ")".
 */
WARN_UNUSED bool regex_translate(struct str pattern, struct buf *out, struct err *err);

/* Shape of a translated pattern that RE2 accepted, seen as anchored on both ends. Everything is in
 * `arena`. */
struct regex_shape regex_analyse(struct str pattern, struct arena *arena);

/* As regex_groups(), searching from byte `start` on; what is before still counts for \b and ^. */
size_t regex_groups_from(const struct regex *regex,
                         struct str text,
                         size_t start,
                         struct str ret_groups[REGEX_GROUPS_MAX]);

bool regex_group_has_name(const struct regex *regex, size_t index, struct str name);

/* Length of the letters, digits and underscores (Unicode) `text` starts with. */
size_t regex_word_bytes(struct str text);
