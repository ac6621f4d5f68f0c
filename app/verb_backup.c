/* tocsin backup, tocsin backup ls, tocsin restore. What they promise is in docs/backup.md. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/tool.h"
#include "base/duration.h"
#include "base/json.h"
#include "base/mem.h"
#include "notify/notify.h"

#define MIB                ((double)(1 << 20))
#define PROGRESS_NS        INT64_C(2000000000)
#define BACKGROUND_NICE    10
#define MESSAGE_AGE_MS_MAX (INT64_C(3600) * 1000)
#define POLICY_AGE_MS      (INT64_C(26) * 3600 * 1000)
#define MANIFEST_IN(dir)   "%s/manifest.json", (dir)

/* ---- backup ---- */

struct backup_args {
    struct str data;
    struct str growth_max;
    bool skip_head;
    bool is_quiet;
    bool is_background;
};

struct progress {
    int64_t next_ns;
};

static void show_progress(void *ctx, uint64_t done_bytes, uint64_t all_bytes) {
    struct progress *progress = ctx;
    int64_t now_ns = clock_mono_ns(clock_system());
    if (now_ns >= progress->next_ns) {
        progress->next_ns = now_ns + PROGRESS_NS;
        fprintf(stderr, "%.0f of %.0f MiB copied\n", (double)done_bytes / MIB,
                (double)all_bytes / MIB);
    }
}

static void print_backup(const struct tsdb_backup_info *info, const char *where, double seconds) {
    char time[RFC3339_TEXT_MAX];
    rfc3339_from_ms(info->created_ms, time);
    uint64_t bytes = info->files[TSDB_BACKUP_JOURNAL].bytes + info->files[TSDB_BACKUP_STORE].bytes;
    fprintf(stderr,
            "Backed up as of %s to %s: %.1f MiB in %.1f s, %" PRIu64 " sealed samples in %" PRIu64
            " series, journal records %" PRIu64 " to %" PRIu64 ", %" PRIu64 " rows of state\n",
            time, where, (double)bytes / MIB, seconds, info->sample_count, info->series_count,
            info->lsn_first, info->lsn_last, info->kv_row_count);
}

static bool run_backup(const struct backup_args *args, const char *target, struct err *err) {
    CLEANUP(mem_freep) char *data = mem_strndup(args->data.ptr, args->data.len);
    bool is_stream = strcmp(target, "-") == 0;
    int64_t start_ns = clock_mono_ns(clock_system());
    struct progress progress = { .next_ns = start_ns + PROGRESS_NS };
    struct tsdb_backup_options options = {
        .path = data,
        .target = is_stream ? NULL : target,
        .fd = STDOUT_FILENO,
        .skip_head = args->skip_head,
        .progress = args->is_quiet ? NULL : show_progress,
        .ctx = &progress,
    };
    struct tsdb_backup_info info;
    if ((args->growth_max.len > 0 &&
         !bytes_parse(args->growth_max, &options.growth_bytes_max, err)) ||
        !tsdb_backup(&options, &info, err)) {
        return false;
    }
    if (!args->is_quiet) {
        print_backup(&info, is_stream ? "standard output" : target,
                     (double)(clock_mono_ns(clock_system()) - start_ns) / 1e9);
    }
    return true;
}

int verb_backup(int argc, char *const *argv) {
    static const struct tool_flag flags[] = {
        { "--storage.path", TOOL_TEXT, offsetof(struct backup_args, data) },
        { "--max-growth", TOOL_TEXT, offsetof(struct backup_args, growth_max) },
        { "--skip-head", TOOL_BOOL, offsetof(struct backup_args, skip_head) },
        { "--quiet", TOOL_BOOL, offsetof(struct backup_args, is_quiet) },
        { "--background", TOOL_BOOL, offsetof(struct backup_args, is_background) },
    };
    static const struct tool_usage usage = { "backup", flags, ARRAY_LEN(flags), 1 };

    struct backup_args args = { .data = TOOL_DIR_DEFAULT };
    struct str target = { 0 };
    if (!tool_parse(&usage, argc, argv, &args, &target, NULL)) {
        return EXIT_USAGE;
    }
    if (target.len == 0) {
        fprintf(stderr, "tocsin backup: name a directory to make, or - for standard output\n");
        return EXIT_USAGE;
    }
    if (args.is_background) {
        (void)setpriority(PRIO_PROCESS, 0, BACKGROUND_NICE); /* as far as the system likes */
    }
    struct err err = ERR_INIT;
    CLEANUP(mem_freep) char *path = mem_strndup(target.ptr, target.len);
    return run_backup(&args, path, &err) ? EXIT_FINE : tool_fail(&err);
}

/* ---- backup ls ---- */

struct ls_args {
    bool is_json;
    bool is_check;
    int64_t age_max_ms;
};

static void print_entry(const struct tsdb_backup_entry *entry, int64_t now_ms, struct buf *out) {
    if (!entry->is_whole) {
        buf_printf(out, "%-32s  not whole: %s\n", entry->name, entry->fault.msg);
        return;
    }
    const struct tsdb_backup_info *info = &entry->info;
    char created[RFC3339_TEXT_MAX];
    char verified[RFC3339_TEXT_MAX] = "no";
    rfc3339_from_ms(info->created_ms, created);
    if (info->verified_ms != 0) {
        rfc3339_from_ms(info->verified_ms, verified);
    }
    uint64_t bytes = info->files[TSDB_BACKUP_JOURNAL].bytes + info->files[TSDB_BACKUP_STORE].bytes;
    buf_printf(out, "%-32s  %s  %6.1f h  %10.1f MiB  verified: %s\n", entry->name, created,
               (double)(now_ms - info->created_ms) / 3.6e6, (double)bytes / MIB, verified);
}

static void print_entries_json(const struct tsdb_backup_entry *entries,
                               size_t count,
                               struct buf *out) {
    struct json_writer json;
    json_init(&json, out);
    json_array(&json);
    for (size_t i = 0; i < count; i++) {
        const struct tsdb_backup_info *info = &entries[i].info;
        json_object(&json);
        json_key(&json, "name");
        json_cstr(&json, entries[i].name);
        json_key(&json, "whole");
        json_bool(&json, entries[i].is_whole);
        json_key(&json, "fault");
        json_cstr(&json, entries[i].is_whole ? NULL : entries[i].fault.msg);
        json_key(&json, "created_ms");
        json_i64(&json, info->created_ms);
        json_key(&json, "verified_ms");
        json_i64(&json, info->verified_ms);
        json_key(&json, "bytes");
        json_u64(&json,
                 info->files[TSDB_BACKUP_JOURNAL].bytes + info->files[TSDB_BACKUP_STORE].bytes);
        json_key(&json, "lsn_last");
        json_u64(&json, info->lsn_last);
        json_object_end(&json);
    }
    json_array_end(&json);
    buf_putc(out, '\n');
}

/* Every backup whole, the newest verified one young enough. */
static bool check_policy(const struct tsdb_backup_entry *entries,
                         size_t count,
                         int64_t now_ms,
                         int64_t age_max_ms,
                         struct err *err) {
    int64_t newest_ms = INT64_MIN;
    for (size_t i = 0; i < count; i++) {
        if (!entries[i].is_whole) {
            return err_set(err, ERR_CORRUPT, "backup %s: %s", entries[i].name,
                           entries[i].fault.msg);
        }
        if (entries[i].info.verified_ms != 0) {
            newest_ms = entries[i].info.created_ms;
        }
    }
    if (newest_ms == INT64_MIN) {
        return err_set(err, ERR_NOT_FOUND, "no verified backup (tocsin verify BACKUP)");
    }
    if (newest_ms < now_ms - age_max_ms) {
        CLEANUP(buf_finish) struct buf text;
        buf_init(&text, 64);
        duration_print(&text, age_max_ms);
        return err_set(err, ERR_TIMEOUT, "the newest verified backup is older than %s", text.ptr);
    }
    return true;
}

int verb_backup_ls(int argc, char *const *argv) {
    static const struct tool_flag flags[] = {
        { "--json", TOOL_BOOL, offsetof(struct ls_args, is_json) },
        { "--check-policy", TOOL_BOOL, offsetof(struct ls_args, is_check) },
        { "--max-age", TOOL_DURATION, offsetof(struct ls_args, age_max_ms) },
    };
    static const struct tool_usage usage = { "backup ls", flags, ARRAY_LEN(flags), 1 };

    struct ls_args args = { .age_max_ms = POLICY_AGE_MS };
    struct str dir = STR(".");
    if (!tool_parse(&usage, argc, argv, &args, &dir, NULL)) {
        return EXIT_USAGE;
    }
    CLEANUP(mem_freep) char *path = mem_strndup(dir.ptr, dir.len);
    struct tsdb_backup_entry *entries = NULL;
    size_t count = 0;
    struct err err = ERR_INIT;
    struct tool_out out;
    bool ok = tool_out_open(&out, STR(""), &err) && tsdb_backup_list(path, &entries, &count, &err);
    if (ok) {
        int64_t now_ms = clock_wall_ms(clock_system());
        if (args.is_json) {
            print_entries_json(entries, count, &out.text);
        }
        for (size_t i = 0; !args.is_json && i < count; i++) {
            print_entry(&entries[i], now_ms, &out.text);
        }
        ok = tool_out_commit(&out, &err) &&
             (!args.is_check || check_policy(entries, count, now_ms, args.age_max_ms, &err));
    }
    tsdb_backup_list_free(entries, count);
    tool_out_finish(&out);
    return ok ? EXIT_FINE : tool_fail(&err);
}

/* ---- restore ---- */

struct restore_args {
    struct str into;
    struct str ship_dir;
    int64_t until_ms;
    bool is_forced;
};

/* In a directory of backups: the newest whole one that is not of after the wanted moment and, to go
 * on from with a shipped journal, not without the head. */
static char *pick_backup(const char *path, int64_t until_ms, bool with_head, struct err *err) {
    struct tsdb_backup_entry *entries = NULL;
    size_t count = 0;
    if (!tsdb_backup_list(path, &entries, &count, err)) {
        return NULL;
    }
    const struct tsdb_backup_entry *best = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct tsdb_backup_info *info = &entries[i].info;
        if (entries[i].is_whole && info->created_ms <= until_ms &&
            (!with_head || !info->is_head_skipped)) {
            best = &entries[i];
        }
    }
    CLEANUP(buf_finish) struct buf name;
    buf_init(&name, 1u << 16);
    if (best != NULL) {
        buf_printf(&name, "%s/%s", path, best->name);
    } else {
        err_set(err, ERR_NOT_FOUND, "%s holds no whole backup%s%s", path,
                with_head ? " with the head" : "",
                until_ms == INT64_MAX ? "" : " of before the wanted moment");
    }
    tsdb_backup_list_free(entries, count);
    size_t len;
    return best == NULL ? NULL : buf_take(&name, &len);
}

/* Into options: a stream, a file with one, a backup, or a directory of backups. */
static bool find_backup(const char *path,
                        struct tsdb_restore_options *options,
                        char **ret_backup,
                        struct err *err) {
    struct stat st;
    if (strcmp(path, "-") == 0) {
        options->fd = STDIN_FILENO;
        return true;
    }
    if (stat(path, &st) != 0) {
        return err_set_errno(err, ERR_IO, errno, "%s", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        options->fd = open(path, O_RDONLY | O_CLOEXEC);
        return options->fd >= 0 || err_set_errno(err, ERR_IO, errno, "opening %s", path);
    }
    CLEANUP(buf_finish) struct buf manifest;
    buf_init(&manifest, 1u << 16);
    buf_printf(&manifest, MANIFEST_IN(path));
    *ret_backup = access(manifest.ptr, F_OK) == 0
                      ? mem_strdup(path)
                      : pick_backup(path, options->until_ms, options->ship_dir != NULL, err);
    options->backup = *ret_backup;
    return *ret_backup != NULL;
}

/* Old messages are not sent out of a backup; those of the last hour rather twice than never. */
static bool settle(void *ctx, struct kv_store *kv, struct err *err) {
    int64_t now_ms = clock_wall_ms(clock_system());
    return notify_retire_waiting(kv, now_ms - MESSAGE_AGE_MS_MAX, now_ms, ctx, err);
}

static void print_restore(const struct tsdb_restore_result *result, const char *into) {
    char created[RFC3339_TEXT_MAX];
    char last[RFC3339_TEXT_MAX] = "none";
    rfc3339_from_ms(result->info.created_ms, created);
    if (result->last_commit_ms != 0) {
        rfc3339_from_ms(result->last_commit_ms, last);
    }
    fprintf(stderr,
            "Restored the backup of %s into %s: %" PRIu64 " shipped records and %" PRIu64
            " changes of state added; the journal ends with record %" PRIu64 ", committed %s\n",
            created, into, result->record_count, result->change_count, result->lsn_last, last);
    if (result->is_at_end) {
        fprintf(stderr, "The shipped journal ends there\n");
    }
    if (result->moved_to[0] != '\0') {
        fprintf(stderr, "What was there is now in %s\n", result->moved_to);
    }
}

static bool run_restore(const struct restore_args *args, const char *backup, struct err *err) {
    CLEANUP(mem_freep) char *into = mem_strndup(args->into.ptr, args->into.len);
    CLEANUP(mem_freep) char *ship_dir = mem_strndup(args->ship_dir.ptr, args->ship_dir.len);
    CLEANUP(mem_freep) char *found = NULL;
    size_t retired_count = 0;
    struct tsdb_restore_options options = {
        .fd = -1,
        .into = into,
        .is_forced = args->is_forced,
        .ship_dir = args->ship_dir.len > 0 ? ship_dir : NULL,
        .until_ms = args->until_ms,
        .settle = settle,
        .settle_ctx = &retired_count,
    };
    if (!find_backup(backup, &options, &found, err)) {
        return false;
    }
    struct tsdb_restore_result result;
    bool ok = tsdb_restore(&options, &result, err);
    if (options.fd > STDIN_FILENO) {
        close(options.fd);
    }
    if (ok) {
        print_restore(&result, into);
        if (retired_count > 0) {
            fprintf(stderr,
                    "%zu messages waiting in its outbox were too old to be sent: they are dead "
                    "letters now\n",
                    retired_count);
        }
    }
    return ok;
}

int verb_restore(int argc, char *const *argv) {
    static const struct tool_flag flags[] = {
        { "--into", TOOL_TEXT, offsetof(struct restore_args, into) },
        { "--to", TOOL_TIME, offsetof(struct restore_args, until_ms) },
        { "--journal", TOOL_TEXT, offsetof(struct restore_args, ship_dir) },
        { "--force", TOOL_BOOL, offsetof(struct restore_args, is_forced) },
    };
    static const struct tool_usage usage = { "restore", flags, ARRAY_LEN(flags), 1 };

    struct restore_args args = { .until_ms = INT64_MAX };
    struct str backup = { 0 };
    if (!tool_parse(&usage, argc, argv, &args, &backup, NULL)) {
        return EXIT_USAGE;
    }
    if (backup.len == 0 || args.into.len == 0) {
        fprintf(stderr, "tocsin restore: expected BACKUP (or - for standard input) and "
                        "--into=DIR\n");
        return EXIT_USAGE;
    }
    struct err err = ERR_INIT;
    CLEANUP(mem_freep) char *path = mem_strndup(backup.ptr, backup.len);
    return run_restore(&args, path, &err) ? EXIT_FINE : tool_fail(&err);
}
