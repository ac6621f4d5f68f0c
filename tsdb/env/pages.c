/* Walking the pages of an LMDB file; see pages.h. The layout is LMDB 0.9's (data version 1). */
#include "tsdb/env/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "tsdb/backup/ship.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/db.h"

#define MAGIC          UINT32_C(0xbeefc0de)
#define DATA_VERSION   1
#define PAGE_HEADER    16
#define NODE_HEADER    8
#define META_BYTES     136
#define META_TXN_ID    128
#define DB_BYTES       48
#define DEPTH_MAX      32
#define KEY_BYTES_MAX  511
#define NO_ROOT        UINT64_MAX
#define PAGE_BRANCH    0x01u
#define PAGE_LEAF      0x02u
#define PAGE_OVERFLOW  0x04u
#define PAGE_META      0x08u
#define NODE_BIG       0x01u
#define NODE_TABLE     0x02u
#define TABLE_INTEGERS 0x08u /* keys are native integers: the table of free pages */
#define TABLES_MAX     64
#define REPAIRS_MAX    64
#define TABLE_NAME_MAX 32
#define PAGE_BYTES_MIN 512u
#define PAGE_BYTES_MAX 32768u
#define PAGE_COUNT_MAX (UINT64_C(1) << 36)

struct table {
    char name[TABLE_NAME_MAX];
    uint16_t flags;
    uint16_t depth;
    uint64_t branch_pages;
    uint64_t leaf_pages;
    uint64_t overflow_pages;
    uint64_t entries;
    uint64_t root;
    size_t key_bytes; /* 0: keys of any size */
};

/* Tables whose keys are all of one size (FORMAT.md): a damaged size hides a row from look-ups. */
static const struct {
    const char *name;
    size_t bytes;
} key_sizes[] = {
    { "log", 12 },    { "series", 8 },     { "hash", 16 },    { "last", 8 },
    { "windows", 8 }, { "rows", 16 },      { "pending", 16 }, { "segments", 16 },
    { "parts", 8 },   { "directory", 16 }, { "rollups", 20 }, { "rollup_marks", 12 },
    { "labels", 8 },  { "ids", 4 },        { "lasts", 8 },
};

struct meta {
    uint64_t last_page;
    uint64_t txn_id;
    uint32_t page_bytes;
    struct table free;
    struct table main;
};

/* A long value whose first page does not say so. */
struct repair {
    uint64_t page;
    uint32_t count;
};

struct walk {
    const struct pages_check *check;
    struct pages_result *result;
    struct err *err;
    int fd;
    struct meta meta;
    uint64_t file_pages;
    uint8_t *seen; /* a bit per page */
    struct table tables[TABLES_MAX];
    size_t table_count;
    struct table *table; /* being walked */
    struct table counted;
    struct repair repairs[REPAIRS_MAX];
    size_t repair_count;
};

/* A page and what its place in the tree allows. */
struct place {
    uint64_t page;
    uint16_t level; /* 1 = root */
    struct str low; /* keys are >= low, and < high when has_high */
    struct str high;
    bool has_high;
};

PRINTF_LIKE(3, 4)

static bool bad_page(struct walk *walk, uint64_t page, const char *fmt, ...) {
    char what[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    return err_set(walk->err, ERR_CORRUPT, "%s: page %" PRIu64 " of %s (table %s) is damaged: %s",
                   walk->check->name, page, walk->check->path,
                   walk->table != NULL ? walk->table->name : "none", what);
}

PRINTF_LIKE(2, 3)

static void tell(const struct walk *walk, const char *fmt, ...) {
    char what[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    struct err err = ERR_INIT;
    err_set(&err, ERR_CORRUPT, "%s: table %s of %s is damaged: %s", walk->check->name,
            walk->table != NULL ? walk->table->name : "none", walk->check->path, what);
    if (walk->check->told != NULL) {
        walk->check->told(walk->check->ctx, &err);
    }
}

/* ---- reading ---- */

static bool read_at(struct walk *walk, uint64_t page, void *out, size_t len) {
    if (page >= walk->file_pages) {
        return bad_page(walk, page, "it lies behind the end of the file");
    }
    ssize_t got = pread(walk->fd, out, len, (off_t)(page * walk->meta.page_bytes));
    if (got == (ssize_t)len) {
        return true;
    }
    return err_set_errno(walk->err, ERR_IO, got < 0 ? errno : EIO, "reading %s", walk->check->path);
}

static uint16_t le16(const uint8_t *bytes) {
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static void read_table(const uint8_t *bytes, const char *name, size_t len, struct table *ret) {
    snprintf(ret->name, sizeof(ret->name), "%.*s", (int)len, name);
    ret->flags = le16(bytes + 4);
    ret->depth = le16(bytes + 6);
    ret->branch_pages = bytes_le64(bytes + 8);
    ret->leaf_pages = bytes_le64(bytes + 16);
    ret->overflow_pages = bytes_le64(bytes + 24);
    ret->entries = bytes_le64(bytes + 32);
    ret->root = bytes_le64(bytes + 40);
    ret->key_bytes = 0;
    for (size_t i = 0; i < ARRAY_LEN(key_sizes); i++) {
        if (strcmp(ret->name, key_sizes[i].name) == 0) {
            ret->key_bytes = key_sizes[i].bytes;
        }
    }
}

/* Take the page as used; false when it was used before. */
static bool mark(struct walk *walk, uint64_t page) {
    if (page < 2 || page > walk->meta.last_page) {
        return bad_page(walk, page, "there is no such page");
    }
    uint8_t bit = (uint8_t)(1u << page % 8);
    if ((walk->seen[page / 8] & bit) != 0) {
        return bad_page(walk, page, "it is used twice, or both used and free");
    }
    walk->seen[page / 8] |= bit;
    return true;
}

/* ---- pages ---- */

static bool check_header(struct walk *walk, const struct place *place, const uint8_t *bytes) {
    unsigned want = place->level < walk->table->depth ? PAGE_BRANCH : PAGE_LEAF;
    unsigned lower = le16(bytes + 12);
    unsigned upper = le16(bytes + 14);
    if (bytes_le64(bytes) != place->page) {
        return bad_page(walk, place->page, "it says to be page %" PRIu64, bytes_le64(bytes));
    }
    if (le16(bytes + 10) != want) {
        return bad_page(walk, place->page, "of the wrong kind %#x", (unsigned)le16(bytes + 10));
    }
    if (lower <= PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > walk->meta.page_bytes) {
        return bad_page(walk, place->page, "its bounds are wrong");
    }
    return true;
}

struct node {
    struct str key;
    uint16_t flags;
    uint64_t size; /* of the value; of a branch: its page */
    const uint8_t *value;
    size_t bytes; /* in the page, padded */
};

static bool read_node(struct walk *walk,
                      const struct place *place,
                      const uint8_t *bytes,
                      unsigned index,
                      bool is_branch,
                      struct node *ret) {
    unsigned upper = le16(bytes + 14);
    unsigned at = le16(bytes + PAGE_HEADER + 2 * index);
    if (at < upper || at % 2 != 0 || at + NODE_HEADER > walk->meta.page_bytes) {
        return bad_page(walk, place->page, "node %u lies outside of it", index);
    }
    const uint8_t *node = bytes + at;
    size_t key_len = le16(node + 6);
    uint64_t low = le16(node) | (uint64_t)le16(node + 2) << 16;
    ret->flags = is_branch ? 0 : le16(node + 4);
    ret->size = is_branch ? low | (uint64_t)le16(node + 4) << 32 : low;
    ret->key = str_n((const char *)node + NODE_HEADER, key_len);
    ret->value = node + NODE_HEADER + key_len;
    uint64_t inside = is_branch ? 0 : ret->size;
    inside = (ret->flags & NODE_BIG) != 0 ? 8 : inside;
    ret->bytes = (NODE_HEADER + key_len + inside + 1) / 2 * 2;
    bool is_first = is_branch && index == 0;
    if (key_len > KEY_BYTES_MAX || (key_len == 0) != is_first ||
        at + ret->bytes > walk->meta.page_bytes) {
        return bad_page(walk, place->page, "node %u does not fit into it", index);
    }
    bool is_flagged_right = ret->flags == 0 || ret->flags == NODE_BIG ||
                            (ret->flags == NODE_TABLE && walk->table == &walk->meta.main);
    if (!is_flagged_right) {
        return bad_page(walk, place->page, "node %u has flags %#x", index, (unsigned)ret->flags);
    }
    return true;
}

static int compare_keys(const struct walk *walk, struct str a, struct str b) {
    if ((walk->table->flags & TABLE_INTEGERS) != 0 && a.len == 8 && b.len == 8) {
        uint64_t x = bytes_le64((const uint8_t *)a.ptr);
        uint64_t y = bytes_le64((const uint8_t *)b.ptr);
        return (x > y) - (x < y);
    }
    return str_cmp(a, b);
}

static void check_order(struct walk *walk,
                        const struct place *place,
                        struct str before,
                        struct str key) {
    bool is_high = place->has_high && compare_keys(walk, key, place->high) >= 0;
    bool is_low = place->low.len > 0 && compare_keys(walk, key, place->low) < 0;
    bool is_after = before.len == 0 || compare_keys(walk, before, key) < 0;
    if (is_high || is_low || !is_after) {
        tell(walk, "the keys of page %" PRIu64 " are out of order: rows are not found",
             place->page);
    }
}

/* ---- values ---- */

static bool mark_overflow(struct walk *walk, uint64_t first, uint64_t bytes, uint64_t *ret_count) {
    uint64_t need = (PAGE_HEADER + bytes + walk->meta.page_bytes - 1) / walk->meta.page_bytes;
    uint8_t header[PAGE_HEADER];
    if (!read_at(walk, first, header, sizeof(header))) {
        return false;
    }
    /* A shorter value that replaced a longer one keeps the longer one's pages. */
    uint64_t count = bytes_le32(header + 12);
    if (bytes_le64(header) != first || le16(header + 10) != PAGE_OVERFLOW || count < need) {
        bool has_checksum = walk->table != &walk->meta.free; /* what lies in the value */
        if (!has_checksum || need > UINT32_MAX || walk->repair_count == REPAIRS_MAX) {
            return bad_page(walk, first, "it does not begin a long value");
        }
        tell(walk, "page %" PRIu64 " does not begin a long value", first);
        walk->repairs[walk->repair_count++] = (struct repair){ first, (uint32_t)need };
        count = need;
    }
    if (first + count > walk->file_pages) {
        return bad_page(walk, first, "its value goes on behind the end of the file");
    }
    for (uint64_t i = 0; i < count; i++) {
        if (!mark(walk, first + i)) {
            return false;
        }
    }
    *ret_count = count;
    return true;
}

/* A list of free pages: a count and their numbers, which are then accounted for. */
static bool mark_free(struct walk *walk,
                      const struct place *place,
                      const uint8_t *list,
                      uint64_t len) {
    if (len < 8 || bytes_le64(list) != len / 8 - 1) {
        return bad_page(walk, place->page, "a list of free pages has a wrong length");
    }
    for (uint64_t i = 8; i + 8 <= len; i += 8) {
        if (!mark(walk, bytes_le64(list + i))) {
            return false;
        }
    }
    return true;
}

static bool mark_free_long(struct walk *walk,
                           const struct place *place,
                           uint64_t first,
                           uint64_t len) {
    if (len > (walk->meta.last_page + 2) * 8) {
        return bad_page(walk, place->page, "a list of free pages has a wrong length");
    }
    uint8_t *list = mem_alloc(len);
    uint64_t offset = first * walk->meta.page_bytes + PAGE_HEADER;
    ssize_t got = pread(walk->fd, list, len, (off_t)offset);
    bool ok = got == (ssize_t)len && mark_free(walk, place, list, len);
    if (got < 0) {
        err_set_errno(walk->err, ERR_IO, errno, "reading %s", walk->check->path);
    } else if (got != (ssize_t)len) {
        bad_page(walk, first, "it lies behind the end of the file");
    }
    mem_free(list);
    return ok;
}

static bool is_known(const char *table) {
    bool is_known = strcmp(table, "log") == 0 || strcmp(table, SHIP_TABLE_NAME) == 0;
    for (size_t i = 0; !is_known && i < KV_TABLE_COUNT; i++) {
        is_known = strcmp(table, kv_table_names[i]) == 0;
    }
    for (size_t i = 0; !is_known && i < STORE_TABLE_COUNT; i++) {
        is_known = strcmp(table, store_table_names[i]) == 0;
    }
    return is_known;
}

static bool check_value(struct walk *walk, const struct place *place, const struct node *node) {
    bool is_free_list = walk->table == &walk->meta.free;
    if ((node->flags & NODE_BIG) != 0) {
        uint64_t first = bytes_le64(node->value);
        uint64_t count;
        if (!mark_overflow(walk, first, node->size, &count)) {
            return false;
        }
        walk->counted.overflow_pages += count;
        return !is_free_list || mark_free_long(walk, place, first, node->size);
    }
    if (is_free_list) {
        return mark_free(walk, place, node->value, node->size);
    }
    if (node->flags != NODE_TABLE) {
        return true;
    }
    if (node->size != DB_BYTES || walk->table_count == TABLES_MAX) {
        return bad_page(walk, place->page, "a table's row has a wrong size");
    }
    struct table *table = &walk->tables[walk->table_count++];
    read_table(node->value, node->key.ptr, node->key.len, table);
    if (walk->check->is_ours && !is_known(table->name)) {
        tell(walk, "it lists an unknown table %s: one of ours is lost", table->name);
    }
    return true;
}

/* ---- the tree ---- */

static bool walk_page(struct walk *walk, const struct place *place);

static bool walk_leaf(struct walk *walk, const struct place *place, const uint8_t *bytes) {
    unsigned count = (le16(bytes + 12) - PAGE_HEADER) / 2u;
    struct str before = STR("");
    size_t used = 0;
    for (unsigned i = 0; i < count; i++) {
        struct node node;
        if (!read_node(walk, place, bytes, i, false, &node) || !check_value(walk, place, &node)) {
            return false;
        }
        check_order(walk, place, before, node.key);
        if (walk->table->key_bytes != 0 && node.key.len != walk->table->key_bytes) {
            tell(walk, "a key of page %" PRIu64 " has a wrong size", place->page);
        }
        before = node.key;
        used += node.bytes;
    }
    if (used != walk->meta.page_bytes - le16(bytes + 14)) {
        return bad_page(walk, place->page, "its nodes overlap");
    }
    walk->counted.leaf_pages++;
    walk->counted.entries += count;
    return true;
}

static bool walk_branch(struct walk *walk, const struct place *place, const uint8_t *bytes) {
    unsigned count = (le16(bytes + 12) - PAGE_HEADER) / 2u;
    struct node node;
    struct node next;
    if (!read_node(walk, place, bytes, 0, true, &node)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++, node = next) {
        bool has_next = i + 1 < count;
        if (has_next) {
            if (!read_node(walk, place, bytes, i + 1, true, &next)) {
                return false;
            }
            check_order(walk, place, node.key, next.key);
        }
        struct place below = {
            .page = node.size,
            .level = (uint16_t)(place->level + 1),
            .low = i > 0 ? node.key : place->low,
            .high = has_next ? next.key : place->high,
            .has_high = has_next || place->has_high,
        };
        if (!walk_page(walk, &below)) {
            return false;
        }
    }
    walk->counted.branch_pages++;
    return true;
}

static bool walk_page(struct walk *walk, const struct place *place) {
    if (!mark(walk, place->page)) {
        return false;
    }
    uint8_t *bytes = mem_alloc(walk->meta.page_bytes);
    bool ok = read_at(walk, place->page, bytes, walk->meta.page_bytes) &&
              check_header(walk, place, bytes);
    if (ok) {
        ok = place->level < walk->table->depth ? walk_branch(walk, place, bytes)
                                               : walk_leaf(walk, place, bytes);
    }
    mem_free(bytes);
    return ok;
}

static bool walk_table(struct walk *walk, struct table *table) {
    walk->table = table;
    walk->counted = (struct table){ .entries = 0 };
    unsigned flags = table == &walk->meta.free ? TABLE_INTEGERS : 0;
    uint64_t pages_max = walk->meta.last_page;
    if (table->flags != flags || table->depth > DEPTH_MAX ||
        (table->root == NO_ROOT) != (table->depth == 0) || table->branch_pages > pages_max ||
        table->leaf_pages > pages_max || table->overflow_pages > pages_max) {
        return bad_page(walk, table->root, "the table's own row is wrong");
    }
    uint64_t pages = table->branch_pages + table->leaf_pages + table->overflow_pages;
    if (pages > walk->check->bytes_max / walk->meta.page_bytes - walk->result->pages) {
        walk->result->is_partial = true;
        return true;
    }
    walk->result->pages += pages;
    struct place root = { .page = table->root, .level = 1 };
    if (table->root != NO_ROOT && !walk_page(walk, &root)) {
        return false;
    }
    const struct table *counted = &walk->counted;
    if (counted->entries != table->entries) {
        tell(walk, "it has %" PRIu64 " rows, not %" PRIu64, counted->entries, table->entries);
    } else if (counted->branch_pages != table->branch_pages ||
               counted->leaf_pages != table->leaf_pages ||
               counted->overflow_pages != table->overflow_pages) {
        tell(walk, "it has another number of pages than it should");
    }
    return true;
}

/* ---- metas ---- */

/* False when the page is no meta at all. */
static bool read_meta(const uint8_t *bytes, uint64_t page, struct meta *ret) {
    const uint8_t *meta = bytes + PAGE_HEADER;
    ret->page_bytes = bytes_le32(meta + 24);
    read_table(meta + 24, "free pages", 10, &ret->free);
    read_table(meta + 72, "main", 4, &ret->main);
    ret->last_page = bytes_le64(meta + 120);
    ret->txn_id = bytes_le64(meta + META_TXN_ID);
    return bytes_le64(bytes) == page && le16(bytes + 10) == PAGE_META &&
           bytes_le32(meta) == MAGIC && bytes_le32(meta + 4) == DATA_VERSION &&
           ret->page_bytes >= PAGE_BYTES_MIN && ret->page_bytes <= PAGE_BYTES_MAX &&
           (ret->page_bytes & (ret->page_bytes - 1)) == 0 && ret->last_page >= 1 &&
           ret->last_page < PAGE_COUNT_MAX;
}

/*
 * Transactions write the two metas in turn, so their numbers are neighbours, the odd one second
 * (both are 0 in a new file). Anything else would bring an old state of the file back unnoticed.
 */
static bool check_metas(struct walk *walk, uint64_t file_bytes) {
    uint8_t bytes[PAGE_HEADER + META_BYTES];
    struct meta metas[2];
    for (uint64_t i = 0; i < 2; i++) {
        off_t at = i == 0 ? 0 : (off_t)metas[0].page_bytes;
        ssize_t got = pread(walk->fd, bytes, sizeof(bytes), at);
        if (got < 0) {
            return err_set_errno(walk->err, ERR_IO, errno, "reading %s", walk->check->path);
        }
        if (got != (ssize_t)sizeof(bytes) || !read_meta(bytes, i, &metas[i]) ||
            metas[i].page_bytes != metas[0].page_bytes) {
            return bad_page(walk, i, "it is not the file's head");
        }
    }
    uint64_t first = metas[0].txn_id;
    uint64_t second = metas[1].txn_id;
    bool is_fresh = first == 0 && second == 0;
    bool is_neighbour = first + 1 == second || second + 1 == first;
    if (!is_fresh && (first % 2 != 0 || !is_neighbour)) {
        return bad_page(walk, 0, "its heads are of transactions %" PRIu64 " and %" PRIu64, first,
                        second);
    }
    walk->meta = metas[second > first ? 1 : 0];
    walk->file_pages = file_bytes / walk->meta.page_bytes;
    return true;
}

/* ---- the whole ---- */

/*
 * Only when every page is accounted for: then it was not the tree that lied about where the value
 * lies.
 */
static bool repair(struct walk *walk, bool is_sure) {
    if (walk->repair_count == 0 || !walk->check->is_repairing) {
        return true;
    }
    if (!is_sure) {
        return bad_page(walk, walk->repairs[0].page, "it does not begin a long value");
    }
    int fd = open(walk->check->path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0;
    for (size_t i = 0; ok && i < walk->repair_count; i++) {
        uint8_t header[PAGE_HEADER] = { 0 };
        bytes_put_le64(header, walk->repairs[i].page);
        header[10] = PAGE_OVERFLOW;
        bytes_put_le32(header + 12, walk->repairs[i].count);
        off_t at = (off_t)(walk->repairs[i].page * walk->meta.page_bytes);
        ok = pwrite(fd, header, sizeof(header), at) == (ssize_t)sizeof(header);
    }
    ok = ok && fdatasync(fd) == 0;
    if (!ok) {
        err_set_errno(walk->err, ERR_IO, errno, "repairing %s", walk->check->path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static bool walk_tables(struct walk *walk) {
    walk->seen = mem_calloc(walk->meta.last_page / 8 + 1, 1);
    bool ok = walk_table(walk, &walk->meta.main) && walk_table(walk, &walk->meta.free);
    for (size_t i = 0; ok && i < walk->table_count; i++) {
        ok = walk_table(walk, &walk->tables[i]);
    }
    walk->table = NULL;
    uint64_t lost = 0;
    for (uint64_t page = 2; page <= walk->meta.last_page; page++) {
        lost += (walk->seen[page / 8] & 1u << page % 8) == 0;
    }
    if (ok && !walk->result->is_partial && lost > 0) {
        tell(walk, "%" PRIu64 " pages are neither used nor free", lost);
    }
    mem_free(walk->seen);
    return ok && repair(walk, !walk->result->is_partial && lost == 0);
}

bool pages_check(const struct pages_check *check, struct pages_result *ret, struct err *err) {
    *ret = (struct pages_result){ .pages = 0 };
    struct walk *walk = mem_calloc(1, sizeof(*walk));
    walk->check = check;
    walk->result = ret;
    walk->err = err;
    struct stat st;
    walk->fd = open(check->path, O_RDONLY | O_CLOEXEC);
    bool ok = walk->fd >= 0 || errno == ENOENT ||
              err_set_errno(err, ERR_IO, errno, "opening %s", check->path);
    if (walk->fd >= 0) {
        ok = fstat(walk->fd, &st) == 0 ||
             err_set_errno(err, ERR_IO, errno, "reading %s", check->path);
        if (ok && st.st_size > 0) {
            ok = check_metas(walk, (uint64_t)st.st_size) && walk_tables(walk);
        }
        close(walk->fd);
    }
    mem_free(walk);
    return ok;
}

/* ---- a head page that failed ---- */

static int undo_in(int fd, uint64_t txn_id) {
    uint8_t page[PAGE_BYTES_MAX];
    uint8_t first[PAGE_HEADER + META_BYTES];
    struct meta meta;
    if (pread(fd, first, sizeof(first), 0) != (ssize_t)sizeof(first) ||
        !read_meta(first, 0, &meta)) {
        return EIO;
    }
    size_t len = meta.page_bytes;
    off_t at = (off_t)(txn_id % 2 * len);
    if (pread(fd, page, len, at) != (ssize_t)len || !read_meta(page, txn_id % 2, &meta)) {
        return EIO;
    }
    bool is_there = meta.txn_id >= txn_id;
    if (is_there) {
        bytes_put_le64(page + PAGE_HEADER + META_TXN_ID, txn_id >= 2 ? txn_id - 2 : 0);
    }
    ssize_t put = pwrite(fd, page, len, at);
    int rc = put == (ssize_t)len && fdatasync(fd) == 0 ? 0 : errno;
    if (put >= 0 && put != (ssize_t)len) {
        rc = ENOSPC;
    }
    bool is_full = rc == ENOSPC || rc == EDQUOT || rc == EFBIG;
    return is_full ? (is_there ? EIO : ENOSPC) : rc;
}

int pages_undo_head(const char *path, uint64_t txn_id) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return EIO;
    }
    int rc = undo_in(fd, txn_id);
    close(fd);
    return rc;
}
