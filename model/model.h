/*
 * The shared vocabulary: labels, matchers, samples. No I/O, no locks, no clocks.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

/* ---- limits (each tested at the limit and one past it) ---- */

#define LABELS_COUNT_MAX      64
#define LABEL_NAME_BYTES_MAX  256
#define LABEL_VALUE_BYTES_MAX 4096

/* ---- time and samples ---- */

/* int64 Unix milliseconds everywhere. */
struct sample {
    int64_t t_ms;
    double value;
};

/* Staleness is a NaN with this exact bit pattern: compare bits, never print it. */
#define STALE_NAN_BITS  UINT64_C(0x7ff0000000000002)
#define NORMAL_NAN_BITS UINT64_C(0x7ff8000000000001)

static inline uint64_t double_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline double double_from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline bool is_stale(double value) {
    return double_bits(value) == STALE_NAN_BITS;
}

/* ---- labels ---- */

struct label {
    struct str name;
    struct str value;
};

/* Sorted by name (byte order), names unique, values not empty (an empty value is "absent").
 * The metric name is the label "__name__". Borrowed or in an arena; says the holder. */
struct labels {
    struct label *items;
    size_t count;
};

#define METRIC_NAME STR("__name__")

struct str labels_get(struct labels labels, struct str name); /* empty str when absent */
bool labels_equal(struct labels a, struct labels b);
int labels_cmp(struct labels a, struct labels b); /* Prometheus' order: pairwise name, value */
uint64_t labels_hash(struct labels labels);       /* XXH3 over length-prefixed pairs; stable */
/* Alertmanager's fingerprint: FNV-1a over sorted name, 0xff, value, 0xff. */
uint64_t labels_fingerprint(struct labels labels);
struct labels labels_dup(struct labels labels, struct arena *arena); /* deep copy */
/* One heap block (mem_free the items pointer). */
struct labels labels_dup_heap(struct labels labels);

/* name{a="b",c="d"}; {a="b"} without a name; quoted UTF-8 names: {"my.name",a="b"}. */
void labels_print(struct labels labels, struct buf *out);
/* Go's strconv.Quote for what can be in a label: valid UTF-8 stays as it is. */
void label_quote(struct str text, struct buf *out);

/* Sort in place, check order, duplicates, caps and UTF-8, drop empty values. ERR_INVALID or
 * ERR_LIMIT naming label and limit. Used at every door. */
WARN_UNUSED bool labels_normalize(struct labels *labels, struct err *err);

bool metric_name_is_valid_legacy(struct str name); /* [a-zA-Z_:][a-zA-Z0-9_:]* */
bool label_name_is_valid_legacy(struct str name);  /* [a-zA-Z_][a-zA-Z0-9_]* */

/* Editing: starts from a base set, collects changes, builds a sorted set in the arena. */
struct labels_builder {
    struct arena *arena;
    struct label *items; /* private: unsorted, later entries win, empty value deletes */
    size_t count;
    size_t cap;
};

void labels_builder_init(struct labels_builder *builder, struct arena *arena, struct labels base);
void labels_builder_set(struct labels_builder *builder, struct str name, struct str value);
void labels_builder_del(struct labels_builder *builder, struct str name);
struct str labels_builder_get(const struct labels_builder *builder, struct str name);
struct labels labels_builder_build(struct labels_builder *builder);

/* Compact binary form for keys and rows: count, then length-prefixed names and values. */
void labels_encode(struct labels labels, struct buf *out);
/* Strings point into `bytes`; items are in the arena. False when malformed. */
WARN_UNUSED bool labels_decode(struct str bytes, struct arena *arena, struct labels *ret);

/* ---- matchers ---- */

enum match_type {
    MATCH_EQ,  /* =  */
    MATCH_NE,  /* != */
    MATCH_RE,  /* =~ */
    MATCH_NRE, /* !~ */
    MATCH_TYPE_COUNT,
};

struct regex;

struct matcher {
    enum match_type type;
    struct str name;
    struct str value;
    struct regex *regex; /* MATCH_RE, MATCH_NRE; owned */
};

const char *match_type_to_string(enum match_type type);
/* Copies name and value to the heap; compiles the regex. */
WARN_UNUSED bool matcher_init(struct matcher *ret,
                              enum match_type type,
                              struct str name,
                              struct str value,
                              struct err *err);
void matcher_finish(struct matcher *matcher);
/* An absent label is the empty value. */
bool matcher_matches(const struct matcher *matcher, struct str value);
bool matchers_match_labels(const struct matcher *matchers, size_t count, struct labels labels);
void matcher_print(const struct matcher *matcher, struct buf *out); /* name="value" */

/* ---- metric families ---- */

enum family_type {
    FAMILY_UNKNOWN,
    FAMILY_COUNTER,
    FAMILY_GAUGE,
    FAMILY_HISTOGRAM,
    FAMILY_GAUGE_HISTOGRAM,
    FAMILY_SUMMARY,
    FAMILY_INFO,
    FAMILY_STATESET,
    FAMILY_TYPE_COUNT,
};

const char *family_type_to_string(enum family_type type); /* "counter", "unknown" … */

struct family_metadata {
    enum family_type type;
    struct str help;
    struct str unit;
};
