/* The manifest of a backup: see manifest.h. */
#include "tsdb/backup/manifest.h"

#include <inttypes.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"

#define CRC_MEMBER STR(",\"crc32c\":\"")

static const char *const file_names[TSDB_BACKUP_FILE_COUNT] = {
    [TSDB_BACKUP_JOURNAL] = "journal/data.mdb",
    [TSDB_BACKUP_STORE] = "store/data.mdb",
};

const char *tsdb_backup_file_name(enum tsdb_backup_file file) {
    if ((size_t)file >= ARRAY_LEN(file_names)) {
        BUG("unknown file %d of a backup", (int)file);
    }
    return file_names[file];
}

/* Numbers of the manifest, by member. */
static const struct {
    const char *name;
    size_t offset;
} numbers[] = {
    { "data_format", offsetof(struct tsdb_backup_info, data_format) },
    { "created_ms", offsetof(struct tsdb_backup_info, created_ms) },
    { "last_commit_ms", offsetof(struct tsdb_backup_info, last_commit_ms) },
    { "lsn_first", offsetof(struct tsdb_backup_info, lsn_first) },
    { "lsn_last", offsetof(struct tsdb_backup_info, lsn_last) },
    { "applied_lsn", offsetof(struct tsdb_backup_info, applied_lsn) },
    { "series", offsetof(struct tsdb_backup_info, series_count) },
    { "windows", offsetof(struct tsdb_backup_info, window_count) },
    { "segments", offsetof(struct tsdb_backup_info, segment_count) },
    { "chunks", offsetof(struct tsdb_backup_info, chunk_count) },
    { "samples", offsetof(struct tsdb_backup_info, sample_count) },
    { "kv_rows", offsetof(struct tsdb_backup_info, kv_row_count) },
};

void manifest_print(const struct tsdb_backup_info *info, struct buf *out) {
    struct json_writer json;
    size_t start = out->len;
    char created[RFC3339_TEXT_MAX];
    rfc3339_from_ms(info->created_ms, created);
    json_init(&json, out);
    json_object(&json);
    json_key(&json, "version");
    json_i64(&json, MANIFEST_VERSION);
    json_key(&json, "tool");
    json_cstr(&json, info->tool);
    json_key(&json, "directory_id");
    json_cstr(&json, info->directory_id);
    json_key(&json, "created");
    json_cstr(&json, created);
    json_key(&json, "head_skipped");
    json_bool(&json, info->is_head_skipped);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        json_key(&json, numbers[i].name);
        json_i64(&json, *(const int64_t *)(const void *)((const char *)info + numbers[i].offset));
    }
    json_key(&json, "files");
    json_array(&json);
    for (size_t i = 0; i < TSDB_BACKUP_FILE_COUNT; i++) {
        json_object(&json);
        json_key(&json, "name");
        json_cstr(&json, file_names[i]);
        json_key(&json, "bytes");
        json_u64(&json, info->files[i].bytes);
        json_key(&json, "sha256");
        json_cstr(&json, info->files[i].sha256);
        json_object_end(&json);
    }
    json_array_end(&json);
    uint32_t crc = hash_crc32c(0, out->ptr + start, out->len - start);
    buf_printf(out, "%.*s%08" PRIx32 "\"}\n", STR_FMT(CRC_MEMBER), crc);
}

/* ---- reading ---- */

static bool corrupt(struct err *err, const char *what) {
    return err_set(err, ERR_CORRUPT, MANIFEST_NAME ": %s", what);
}

static bool check_crc(struct str text, struct err *err) {
    size_t at = str_find(text, CRC_MEMBER);
    if (at == SIZE_MAX) {
        return corrupt(err, "has no checksum");
    }
    CLEANUP(buf_finish) struct buf want;
    buf_init(&want, 64);
    buf_printf(&want, "%.*s%08" PRIx32 "\"}\n", STR_FMT(CRC_MEMBER), hash_crc32c(0, text.ptr, at));
    if (!str_eq(str_n(text.ptr + at, text.len - at), buf_as_str(&want))) {
        return corrupt(err, "the checksum is wrong");
    }
    return true;
}

static bool get_text(const struct json_value *object, const char *name, char *ret, size_t size) {
    const struct json_value *value = json_get(object, name);
    if (value == NULL || value->type != JSON_STRING || value->string.len >= size) {
        return false;
    }
    memcpy(ret, value->string.ptr, value->string.len);
    ret[value->string.len] = '\0';
    return true;
}

static bool get_file(const struct json_value *files, size_t i, struct tsdb_backup_info *ret) {
    const struct json_value *file = &files->items[i];
    const struct json_value *name = json_get(file, "name");
    const struct json_value *bytes = json_get(file, "bytes");
    if (name == NULL || name->type != JSON_STRING || !str_eq_c(name->string, file_names[i]) ||
        bytes == NULL || bytes->type != JSON_I64 || bytes->i64 < 0) {
        return false;
    }
    ret->files[i].bytes = (uint64_t)bytes->i64;
    return get_text(file, "sha256", ret->files[i].sha256, sizeof(ret->files[i].sha256));
}

static bool get_members(const struct json_value *root,
                        struct tsdb_backup_info *ret,
                        struct err *err) {
    const struct json_value *version = json_get(root, "version");
    if (version == NULL || version->type != JSON_I64) {
        return corrupt(err, "has no version");
    }
    if (version->i64 != MANIFEST_VERSION) {
        return err_set(err, ERR_INVALID,
                       MANIFEST_NAME ": has version %" PRId64 ", this program knows %d",
                       version->i64, MANIFEST_VERSION);
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const struct json_value *value = json_get(root, numbers[i].name);
        if (value == NULL || value->type != JSON_I64) {
            return err_set(err, ERR_CORRUPT, MANIFEST_NAME ": has no number \"%s\"",
                           numbers[i].name);
        }
        *(int64_t *)(void *)((char *)ret + numbers[i].offset) = value->i64;
    }
    const struct json_value *skipped = json_get(root, "head_skipped");
    ret->is_head_skipped = skipped != NULL && skipped->type == JSON_BOOL && skipped->boolean;
    const struct json_value *files = json_get(root, "files");
    bool ok = get_text(root, "tool", ret->tool, sizeof(ret->tool)) &&
              get_text(root, "directory_id", ret->directory_id, sizeof(ret->directory_id)) &&
              files != NULL && files->type == JSON_ARRAY && files->count == TSDB_BACKUP_FILE_COUNT;
    for (size_t i = 0; ok && i < TSDB_BACKUP_FILE_COUNT; i++) {
        ok = get_file(files, i, ret);
    }
    return ok || corrupt(err, "a member is missing");
}

bool manifest_parse(struct str text, struct tsdb_backup_info *ret, struct err *err) {
    if (!check_crc(text, err)) {
        return false;
    }
    CLEANUP(arena_finish) struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct json_parser *parser = json_parser_create(MANIFEST_BYTES_MAX);
    struct json_value *root;
    struct tsdb_backup_info info = { 0 };
    bool ok = json_parse(parser, text, &arena, &root, err);
    ok = ok ? get_members(root, &info, err) : err_wrap(err, MANIFEST_NAME);
    json_parser_destroy(parser);
    if (ok) {
        *ret = info;
    }
    return ok;
}
