/* Files of a shipped journal: see ship_file.h. */
#include "tsdb/backup/ship_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"

#define MAGIC           "TOCSHIP1"
#define MAGIC_BYTES     8
#define FILE_HEADER     32
#define ENTRY_HEADER    40
#define FLAG_TABLES     1 /* table changes of the same commit follow */
#define ENTRY_BYTES_MAX ((size_t)1 << 31)
#define FILE_BYTES_MAX  ((uint64_t)64 << 20) /* then the next one begins */
#define FILE_AGE_MS_MAX (INT64_C(3600) * 1000)
#define READ_BYTES      ((size_t)1 << 20)
#define NAME_SUFFIX     ".ship"

/* ---- bytes ---- */

static void put_file_header(const uint8_t id[FORMAT_ID_BYTES], uint8_t out[FILE_HEADER]) {
    memset(out, 0, FILE_HEADER);
    memcpy(out, MAGIC, MAGIC_BYTES);
    memcpy(out + MAGIC_BYTES, id, FORMAT_ID_BYTES);
    bytes_put_le32(out + FILE_HEADER - 4, hash_crc32c(0, out, FILE_HEADER - 4));
}

static void put_entry(struct buf *out, const struct ship_entry *entry) {
    uint8_t header[ENTRY_HEADER] = { 0 };
    bytes_put_le32(header + 4, hash_crc32c(0, entry->body.ptr, entry->body.len));
    bytes_put_le32(header + 8, (uint32_t)entry->body.len);
    header[12] = (uint8_t)entry->kind;
    header[13] = entry->version;
    header[14] = entry->has_tables ? FLAG_TABLES : 0;
    bytes_put_le64(header + 16, entry->lsn);
    bytes_put_le64(header + 24, entry->seq);
    bytes_put_le64(header + 32, (uint64_t)entry->now_ms);
    bytes_put_le32(header, hash_crc32c(0, header + 4, ENTRY_HEADER - 4));
    buf_append(out, header, sizeof(header));
    buf_str(out, entry->body);
}

/* The header apart from the body: a damaged length must not pass for the end of the file. */
static bool take_header(const uint8_t *header, struct ship_entry *ret) {
    *ret = (struct ship_entry){
        .kind = (enum ship_kind)header[12],
        .version = header[13],
        .has_tables = (header[14] & FLAG_TABLES) != 0,
        .lsn = bytes_le64(header + 16),
        .seq = bytes_le64(header + 24),
        .now_ms = (int64_t)bytes_le64(header + 32),
        .body = { .len = bytes_le32(header + 8) },
    };
    return bytes_le32(header) == hash_crc32c(0, header + 4, ENTRY_HEADER - 4) &&
           (ret->kind == SHIP_RECORD || ret->kind == SHIP_TABLES) &&
           ret->body.len <= ENTRY_BYTES_MAX;
}

/* ---- writing ---- */

void ship_writer_init(struct ship_writer *writer,
                      const char *dir,
                      const uint8_t id[FORMAT_ID_BYTES]) {
    *writer = (struct ship_writer){ .fd = -1 };
    snprintf(writer->dir, sizeof(writer->dir), "%s", dir);
    memcpy(writer->id, id, FORMAT_ID_BYTES);
    buf_init(&writer->pending, 2 * ENTRY_BYTES_MAX);
}

void ship_writer_finish(struct ship_writer *writer) {
    if (writer->fd >= 0) {
        close(writer->fd);
        writer->fd = -1;
    }
    buf_finish(&writer->pending);
}

static bool note_position(void *ctx, const struct ship_entry *entry) {
    struct ship_position *position = ctx;
    position->lsn = entry->lsn > position->lsn ? entry->lsn : position->lsn;
    position->seq = entry->kind == SHIP_TABLES ? entry->seq : position->seq;
    return true;
}

/* Go on at the end of a file, without what was half-written. */
static bool reopen(struct ship_writer *writer, const char *name, uint64_t end, struct err *err) {
    if (!disk_join(writer->path, writer->dir, name, err)) {
        return false;
    }
    writer->fd = open(writer->path, O_WRONLY | O_CLOEXEC);
    if (writer->fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "opening %s", writer->path);
    }
    if (ftruncate(writer->fd, (off_t)end) != 0 || lseek(writer->fd, 0, SEEK_END) < 0 ||
        fsync(writer->fd) != 0) {
        return err_set_errno(err, ERR_IO, errno, "going on with %s", writer->path);
    }
    writer->bytes = end;
    return true;
}

static bool resume_file(struct ship_writer *writer,
                        const struct ship_listing *listing,
                        struct ship_position *ret,
                        struct err *err) {
    const struct ship_file *file = &listing->files[listing->count - 1];
    char path[PATH_MAX];
    if (!disk_join(path, writer->dir, file->name, err)) {
        return false;
    }
    /* What came before the file's first entry is there. */
    *ret = (struct ship_position){ .lsn = file->first.lsn - 1, .seq = file->first.seq - 1 };
    struct ship_read read = {
        .path = path,
        .id = writer->id,
        .may_be_torn = true,
        .visit = note_position,
        .ctx = ret,
    };
    uint64_t end;
    if (!ship_read_file(&read, &end, err)) {
        return false;
    }
    if (end > 0) {
        return reopen(writer, file->name, end, err);
    }
    if (unlink(path) != 0) { /* not even its header */
        return err_set_errno(err, ERR_IO, errno, "removing %s", path);
    }
    return true;
}

bool ship_writer_resume(struct ship_writer *writer,
                        struct ship_position *ret,
                        bool *ret_found,
                        struct err *err) {
    struct ship_listing listing = { 0 };
    if (!disk_make_dirs(writer->dir, err) || !ship_list(writer->dir, &listing, err)) {
        return false;
    }
    bool ok = true;
    *ret_found = listing.count > 0;
    if (listing.count > 0) {
        ok = resume_file(writer, &listing, ret, err);
    }
    ship_listing_finish(&listing);
    return ok;
}

void ship_writer_add(struct ship_writer *writer, const struct ship_entry *entry) {
    put_entry(&writer->pending, entry);
}

static bool begin_file(struct ship_writer *writer,
                       struct ship_position first,
                       int64_t now_ms,
                       struct err *err) {
    char name[64];
    snprintf(name, sizeof(name), "%020" PRIu64 "-%020" PRIu64 NAME_SUFFIX, first.lsn, first.seq);
    if (!disk_join(writer->path, writer->dir, name, err)) {
        return false;
    }
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    writer->fd = open(writer->path, flags, DISK_FILE_MODE);
    if (writer->fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "creating %s", writer->path);
    }
    uint8_t header[FILE_HEADER];
    put_file_header(writer->id, header);
    writer->bytes = sizeof(header);
    writer->start_ms = now_ms;
    return disk_write_all(writer->fd, header, sizeof(header), writer->path, err) &&
           disk_sync_parent(writer->path, err);
}

bool ship_writer_sync(struct ship_writer *writer,
                      struct ship_position first,
                      int64_t now_ms,
                      struct err *err) {
    if (writer->pending.len == 0) {
        return true;
    }
    bool is_old = writer->start_ms != 0 && now_ms - writer->start_ms > FILE_AGE_MS_MAX;
    if (writer->fd >= 0 && (writer->bytes > FILE_BYTES_MAX || is_old)) {
        close(writer->fd);
        writer->fd = -1;
    }
    if (writer->fd < 0 && !begin_file(writer, first, now_ms, err)) {
        return false;
    }
    if (!disk_write_all(writer->fd, writer->pending.ptr, writer->pending.len, writer->path, err)) {
        return false;
    }
    if (fsync(writer->fd) != 0) {
        return err_set_errno(err, ERR_IO, errno, "syncing %s", writer->path);
    }
    writer->start_ms = writer->start_ms == 0 ? now_ms : writer->start_ms;
    writer->bytes += writer->pending.len;
    buf_reset(&writer->pending);
    return true;
}

/* ---- listing ---- */

static bool parse_name(const char *name, struct ship_file *ret) {
    struct str rest;
    struct str lsn;
    struct str seq;
    struct str text = str_from(name);
    if (!str_ends_with(text, STR(NAME_SUFFIX)) || text.len >= sizeof(ret->name)) {
        return false;
    }
    text.len -= sizeof(NAME_SUFFIX) - 1;
    str_cut(text, '-', &lsn, &seq);
    rest = seq;
    memcpy(ret->name, name, strlen(name) + 1);
    return str_parse_u64(lsn, &ret->first.lsn) && str_parse_u64(rest, &ret->first.seq);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct ship_file *)a)->name, ((const struct ship_file *)b)->name);
}

bool ship_list(const char *dir, struct ship_listing *ret, struct err *err) {
    DIR *handle = opendir(dir);
    if (handle == NULL) {
        return err_set_errno(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "listing %s",
                             dir);
    }
    const struct dirent *item;
    while ((item = readdir(handle)) != NULL) {
        struct ship_file file = { 0 };
        if (parse_name(item->d_name, &file)) {
            ret->files = vec_grow(ret->files, &ret->cap, ret->count + 1, sizeof(ret->files[0]));
            ret->files[ret->count++] = file;
        }
    }
    closedir(handle);
    if (ret->count > 0) {
        qsort(ret->files, ret->count, sizeof(ret->files[0]), by_name);
    }
    return true;
}

void ship_listing_finish(struct ship_listing *listing) {
    mem_free(listing->files);
    *listing = (struct ship_listing){ 0 };
}

bool tsdb_ship_expire(const char *ship_dir,
                      const char *directory_id,
                      uint64_t lsn,
                      struct err *err) {
    char dir[PATH_MAX];
    struct ship_listing listing = { 0 };
    if (!disk_join(dir, ship_dir, directory_id, err)) {
        return false;
    }
    if (!ship_list(dir, &listing, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    bool ok = true;
    for (size_t i = 0; ok && i + 1 < listing.count && listing.files[i + 1].first.lsn <= lsn; i++) {
        char path[PATH_MAX];
        ok = disk_join(path, dir, listing.files[i].name, err);
        if (ok && unlink(path) != 0) {
            ok = err_set_errno(err, ERR_IO, errno, "removing %s", path);
        }
    }
    ship_listing_finish(&listing);
    return ok && disk_sync_dir(dir, err);
}

/* ---- reading ---- */

struct file_reader {
    const struct ship_read *read;
    int fd;
    uint64_t at;
    struct buf body;
};

/* *ret_len < len only at the end of the file. */
static bool read_some(struct file_reader *reader,
                      void *out,
                      size_t len,
                      size_t *ret_len,
                      struct err *err) {
    size_t have = 0;
    while (have < len) {
        ssize_t got = read(reader->fd, (char *)out + have, len - have);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_set_errno(err, ERR_IO, errno, "reading %s", reader->read->path);
        }
        if (got == 0) {
            break;
        }
        have += (size_t)got;
    }
    *ret_len = have;
    return true;
}

static bool damaged(const struct file_reader *reader, const char *what, struct err *err) {
    return err_set(err, ERR_CORRUPT, "%s is damaged at byte %" PRIu64 ": %s", reader->read->path,
                   reader->at, what);
}

static bool check_header(struct file_reader *reader, bool *ret_is_torn, struct err *err) {
    uint8_t have[FILE_HEADER];
    uint8_t want[FILE_HEADER];
    size_t len;
    if (!read_some(reader, have, sizeof(have), &len, err)) {
        return false;
    }
    *ret_is_torn = len < sizeof(have) && reader->read->may_be_torn;
    if (*ret_is_torn) {
        return true;
    }
    put_file_header(reader->read->id, want);
    if (len < sizeof(have) || memcmp(have, want, sizeof(want)) != 0) {
        return damaged(reader, "its header is not that of this directory's journal", err);
    }
    reader->at = sizeof(have);
    return true;
}

enum next {
    NEXT_ENTRY,
    NEXT_END,
    NEXT_FAILED,
};

static enum next at_end(const struct file_reader *reader, size_t len, struct err *err) {
    if (len == 0 || reader->read->may_be_torn) {
        return NEXT_END;
    }
    damaged(reader, "it ends within an entry", err);
    return NEXT_FAILED;
}

static enum next next_entry(struct file_reader *reader, struct ship_entry *ret, struct err *err) {
    uint8_t header[ENTRY_HEADER];
    size_t len;
    if (!read_some(reader, header, sizeof(header), &len, err)) {
        return NEXT_FAILED;
    }
    if (len < sizeof(header)) {
        return at_end(reader, len, err);
    }
    if (!take_header(header, ret)) {
        damaged(reader, "the checksum of an entry's header is wrong", err);
        return NEXT_FAILED;
    }
    size_t bytes = ret->body.len;
    buf_reset(&reader->body);
    while (reader->body.len < bytes) {
        size_t want = bytes - reader->body.len < READ_BYTES ? bytes - reader->body.len : READ_BYTES;
        char *out = buf_reserve(&reader->body, want);
        if (!read_some(reader, out, want, &len, err)) {
            return NEXT_FAILED;
        }
        reader->body.len += len;
        if (len < want) {
            return at_end(reader, sizeof(header), err);
        }
    }
    ret->body = buf_as_str(&reader->body);
    if (bytes_le32(header + 4) != hash_crc32c(0, ret->body.ptr, bytes)) {
        damaged(reader, "the checksum of an entry is wrong", err);
        return NEXT_FAILED;
    }
    reader->at += sizeof(header) + bytes;
    return NEXT_ENTRY;
}

static bool read_entries(struct file_reader *reader, uint64_t *ret_end, struct err *err) {
    bool is_torn;
    *ret_end = 0;
    if (!check_header(reader, &is_torn, err)) {
        return false;
    }
    enum next next = is_torn ? NEXT_END : NEXT_ENTRY;
    while (next == NEXT_ENTRY) {
        *ret_end = reader->at;
        struct ship_entry entry;
        next = next_entry(reader, &entry, err);
        if (next == NEXT_ENTRY && !reader->read->visit(reader->read->ctx, &entry)) {
            break;
        }
    }
    return next != NEXT_FAILED;
}

bool ship_read_file(const struct ship_read *read, uint64_t *ret_end, struct err *err) {
    struct file_reader reader = { .read = read };
    reader.fd = open(read->path, O_RDONLY | O_CLOEXEC);
    if (reader.fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "opening %s", read->path);
    }
    buf_init(&reader.body, ENTRY_BYTES_MAX + READ_BYTES);
    bool ok = read_entries(&reader, ret_end, err);
    buf_finish(&reader.body);
    close(reader.fd);
    return ok;
}
