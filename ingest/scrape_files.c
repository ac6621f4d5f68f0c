/*
 * Targets from files (file_sd_configs): read again when size or time changed. A file that cannot be
 * read or does not decode keeps what it said before.
 */
#include <assert.h>
#include <fnmatch.h>
#include <glob.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "ingest/scrape.h"

struct file {
    int64_t mtime_ns;
    int64_t size;
    struct target_group *groups;
    size_t group_count;
    uint64_t round; /* last refresh that saw it */
};

struct discovery {
    struct map files; /* path -> struct file */
    uint64_t round;
    struct metric *errors;
};

static void groups_free(struct target_group *groups, size_t count) {
    for (size_t i = 0; i < count; i++) {
        target_group_finish(&groups[i]);
    }
    mem_free(groups);
}

static void file_destroy(void *ptr) {
    struct file *file = ptr;
    groups_free(file->groups, file->group_count);
    mem_free(file);
}

struct discovery *discovery_create(struct metric_registry *metrics) {
    struct discovery *discovery = mem_calloc(1, sizeof(*discovery));
    map_init(&discovery->files);
    discovery->errors = metric_counter(metrics, "tocsin_ingest_discovery_errors_total",
                                       "Files of targets that could not be read or decoded.", NULL);
    return discovery;
}

void discovery_destroy(struct discovery *discovery) {
    if (discovery != NULL) {
        map_finish(&discovery->files, file_destroy);
        mem_free(discovery);
    }
}

static bool groups_decode(const char *path,
                          struct yaml_doc *doc,
                          struct diag_list *diags,
                          struct target_group **ret,
                          size_t *ret_count) {
    const struct yaml_node *root = yaml_root(doc);
    struct yaml_decode ctx = { .doc = doc, .diags = diags };
    if (yaml_is_null(root)) {
        *ret = NULL;
        *ret_count = 0;
        return true;
    }
    if (root->kind != YAML_SEQUENCE) {
        yaml_error(&ctx, root, DIAG_ERROR, "must be a list of target groups");
        return false;
    }
    struct target_group *groups = mem_calloc(root->count + 1, sizeof(groups[0]));
    for (size_t i = 0; i < root->count; i++) {
        target_group_decode(&ctx, root->items[i], &groups[i]);
        groups[i].source = mem_strdup(path);
    }
    if (diags->error_count > 0) {
        groups_free(groups, root->count);
        return false;
    }
    *ret = groups;
    *ret_count = root->count;
    return true;
}

static bool file_load(const char *path, struct file *file) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    struct target_group *groups = NULL;
    size_t count = 0;
    bool is_ok = yaml_load(path, &doc, &diags) && groups_decode(path, doc, &diags, &groups, &count);
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
    if (is_ok) {
        groups_free(file->groups, file->group_count);
        file->groups = groups;
        file->group_count = count;
    }
    return is_ok;
}

static bool file_refresh(struct discovery *discovery, const char *path) {
    struct stat stat_now;
    if (stat(path, &stat_now) != 0) {
        return false;
    }
    int64_t mtime_ns =
        (int64_t)stat_now.st_mtim.tv_sec * 1000000000 + (int64_t)stat_now.st_mtim.tv_nsec;
    int64_t size = (int64_t)stat_now.st_size;
    struct file *file = map_get(&discovery->files, str_from(path));
    bool is_new = file == NULL;
    if (is_new) {
        file = mem_calloc(1, sizeof(*file));
        map_put(&discovery->files, str_from(path), file);
    }
    file->round = discovery->round;
    if (!is_new && file->mtime_ns == mtime_ns && file->size == size) {
        return false;
    }
    file->mtime_ns = mtime_ns;
    file->size = size;
    if (!file_load(path, file)) {
        metric_inc(discovery->errors);
        return false;
    }
    return true;
}

static bool pattern_refresh(struct discovery *discovery, const char *pattern) {
    glob_t found;
    bool has_changed = false;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            has_changed |= file_refresh(discovery, found.gl_pathv[i]);
        }
        globfree(&found);
    }
    return has_changed;
}

bool discovery_refresh(struct discovery *discovery, const struct ingest_scrape_configs *configs) {
    bool has_changed = false;
    discovery->round++;
    for (size_t i = 0; i < configs->count; i++) {
        const struct scrape_config *config = configs->items[i];
        for (size_t f = 0; f < config->file_count; f++) {
            for (size_t p = 0; p < config->files[f].patterns.count; p++) {
                has_changed |= pattern_refresh(discovery, config->files[f].patterns.items[p]);
            }
        }
    }
    size_t cursor = 0;
    struct str path;
    void *value;
    while (map_next(&discovery->files, &cursor, &path, &value)) {
        const struct file *file = value;
        if (file->round != discovery->round) {
            has_changed = true;
            file_destroy(map_del(&discovery->files, path));
        }
    }
    return has_changed;
}

static bool is_file_of(const struct scrape_config *config, const char *path) {
    for (size_t f = 0; f < config->file_count; f++) {
        for (size_t p = 0; p < config->files[f].patterns.count; p++) {
            if (fnmatch(config->files[f].patterns.items[p], path, FNM_PATHNAME) == 0) {
                return true;
            }
        }
    }
    return false;
}

void discovery_groups(struct discovery *discovery,
                      const struct scrape_config *config,
                      void (*visit)(void *ctx, const struct target_group *group),
                      void *ctx) {
    size_t cursor = 0;
    struct str path;
    void *value;
    while (map_next(&discovery->files, &cursor, &path, &value)) {
        const struct file *file = value;
        for (size_t i = 0; i < file->group_count; i++) {
            if (is_file_of(config, file->groups[i].source)) {
                visit(ctx, &file->groups[i]);
            }
        }
    }
}
