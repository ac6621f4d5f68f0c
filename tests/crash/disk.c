/* A disk after a power loss; see disk.h. */
#include "tests/crash/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tests/crash/rig.h"

#define FILES_MAX 256
#define NAMES_MAX 256

struct change {
    bool is_truncate;
    bool is_durable; /* by itself; kept for its place among the others */
    uint64_t offset; /* of a truncation: the size */
    const uint8_t *bytes;
    size_t len;
};

struct image {
    uint8_t *bytes;
    size_t size;
    size_t cap;
};

struct file {
    struct image durable;
    struct change *pending;
    size_t pending_count;
    size_t pending_cap;
    struct image chosen;
};

struct name {
    char path[200];
    bool is_dir;
    uint32_t file;
};

struct names {
    struct name items[NAMES_MAX];
    size_t count;
};

struct name_change {
    enum trace_kind kind;
    char path[200];
    char other[200];
    uint32_t file;
};

struct disk {
    struct file files[FILES_MAX];
    uint32_t loaded[FILES_MAX]; /* by the trace's number: ours; 0 = none yet */
    uint32_t file_count;
    struct names durable;
    struct name_change name_changes[NAMES_MAX];
    size_t name_change_count;
    struct names chosen;
};

static void fatal(const char *what, const char *which) {
    fprintf(stderr, "disk: %s %s\n", what, which);
    exit(1);
}

struct disk *disk_create(void) {
    struct disk *disk = mem_calloc(1, sizeof(*disk));
    disk->file_count = 1;
    return disk;
}

void disk_destroy(struct disk *disk) {
    for (size_t i = 0; i < FILES_MAX; i++) {
        mem_free(disk->files[i].durable.bytes);
        mem_free(disk->files[i].chosen.bytes);
        mem_free(disk->files[i].pending);
    }
    mem_free(disk);
}

/* ---- images of files ---- */

static void image_resize(struct image *image, size_t size) {
    if (size > image->cap) {
        image->bytes = vec_grow(image->bytes, &image->cap, size, 1);
    }
    if (size > image->size) {
        memset(image->bytes + image->size, 0, size - image->size);
    }
    image->size = size;
}

static void image_write(struct image *image, uint64_t offset, const uint8_t *bytes, size_t len) {
    if (offset + len > image->size) {
        image_resize(image, offset + len);
    }
    memcpy(image->bytes + offset, bytes, len);
}

static void image_change(struct image *image, const struct change *change) {
    if (change->is_truncate) {
        image_resize(image, change->offset);
    } else {
        image_write(image, change->offset, change->bytes, change->len);
    }
}

static uint32_t add_file(struct disk *disk) {
    if (disk->file_count == FILES_MAX) {
        fatal("too many files", "");
    }
    return disk->file_count++;
}

static struct file *find_file(struct disk *disk, uint32_t number) {
    if (number >= FILES_MAX || disk->loaded[number] == 0) {
        fatal("a file the trace did not open", "");
    }
    return &disk->files[disk->loaded[number]];
}

/* ---- names ---- */

static struct name *find_name(struct names *names, const char *path) {
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i].path, path) == 0) {
            return &names->items[i];
        }
    }
    return NULL;
}

static void put_name(struct names *names, const char *path, uint32_t file, bool is_dir) {
    struct name *name = find_name(names, path);
    if (name == NULL) {
        if (names->count == NAMES_MAX) {
            fatal("too many names", path);
        }
        name = &names->items[names->count++];
    }
    snprintf(name->path, sizeof(name->path), "%s", path);
    name->file = file;
    name->is_dir = is_dir;
}

static void del_name(struct names *names, const char *path) {
    struct name *name = find_name(names, path);
    if (name != NULL) {
        *name = names->items[--names->count];
    }
}

/* A directory that moves takes along what is in it. */
static void move_name(struct names *names, const char *from, const char *to) {
    struct name *name = find_name(names, from);
    if (name == NULL) {
        return;
    }
    struct name moved = *name;
    del_name(names, from);
    put_name(names, to, moved.file, moved.is_dir);
    size_t len = strlen(from);
    for (size_t i = 0; moved.is_dir && i < names->count; i++) {
        struct name *below = &names->items[i];
        if (strncmp(below->path, from, len) == 0 && below->path[len] == '/') {
            char rest[200];
            snprintf(rest, sizeof(rest), "%s", below->path + len);
            snprintf(below->path, sizeof(below->path), "%.90s%.100s", to, rest);
        }
    }
}

static void apply_name(struct names *names, const struct name_change *change) {
    struct name *from = find_name(names, change->path);
    switch (change->kind) {
    case TRACE_CREATE: put_name(names, change->path, change->file, false); break;
    case TRACE_MKDIR: put_name(names, change->path, 0, true); break;
    case TRACE_RENAME: move_name(names, change->path, change->other); break;
    case TRACE_LINK:
        if (from != NULL) {
            put_name(names, change->other, from->file, false);
        }
        break;
    default: del_name(names, change->path); break;
    }
}

/* Is the path directly in the directory? */
static bool is_in(const char *path, const char *dir) {
    size_t len = strlen(dir);
    if (len > 0 && (strncmp(path, dir, len) != 0 || path[len] != '/')) {
        return false;
    }
    return strchr(path + (len > 0 ? len + 1 : 0), '/') == NULL;
}

static void sync_dir(struct disk *disk, const char *dir) {
    size_t kept = 0;
    for (size_t i = 0; i < disk->name_change_count; i++) {
        const struct name_change *change = &disk->name_changes[i];
        bool is_here =
            is_in(change->path, dir) || (change->other[0] != '\0' && is_in(change->other, dir));
        if (is_here) {
            apply_name(&disk->durable, change);
        } else {
            disk->name_changes[kept++] = *change;
        }
    }
    disk->name_change_count = kept;
}

/* ---- following the trace ---- */

static void note_name(struct disk *disk,
                      enum trace_kind kind,
                      uint32_t file,
                      const char *bytes,
                      size_t len) {
    if (disk->name_change_count == NAMES_MAX) {
        fatal("too many changes of names", "");
    }
    struct name_change *change = &disk->name_changes[disk->name_change_count++];
    *change = (struct name_change){ .kind = kind, .file = file };
    size_t first = strnlen(bytes, len);
    snprintf(change->path, sizeof(change->path), "%.*s", (int)first, bytes);
    if (first < len) {
        snprintf(change->other, sizeof(change->other), "%.*s", (int)(len - first - 1),
                 bytes + first + 1);
    }
}

static void open_existing(struct disk *disk, uint32_t number, const char *path) {
    const struct name *name = find_name(&disk->durable, path);
    if (number >= FILES_MAX) {
        fatal("too many files", path);
    }
    disk->loaded[number] = name != NULL ? name->file : add_file(disk);
}

void disk_change(struct disk *disk, const struct trace_record *record, const uint8_t *bytes) {
    char path[200];
    switch ((enum trace_kind)record->kind) {
    case TRACE_CREATE:
        if (record->file >= FILES_MAX) {
            fatal("too many files", "");
        }
        disk->loaded[record->file] = add_file(disk);
        note_name(disk, TRACE_CREATE, disk->loaded[record->file], (const char *)bytes, record->len);
        break;
    case TRACE_FILE:
        snprintf(path, sizeof(path), "%.*s", (int)record->len, (const char *)bytes);
        open_existing(disk, record->file, path);
        break;
    case TRACE_WRITE:
    case TRACE_TRUNCATE: {
        struct file *file = find_file(disk, record->file);
        file->pending = vec_grow(file->pending, &file->pending_cap, file->pending_count + 1,
                                 sizeof(file->pending[0]));
        file->pending[file->pending_count++] = (struct change){
            .is_truncate = record->kind == TRACE_TRUNCATE,
            .offset = record->offset,
            .bytes = bytes,
            .len = record->len,
        };
        break;
    }
    case TRACE_MKDIR:
    case TRACE_RENAME:
    case TRACE_LINK:
    case TRACE_UNLINK:
        note_name(disk, (enum trace_kind)record->kind, 0, (const char *)bytes, record->len);
        break;
    case TRACE_SYNC:
    case TRACE_DIR_SYNC:
    case TRACE_ACK: break;
    }
}

void disk_settle(struct disk *disk, const struct trace_record *record, const uint8_t *bytes) {
    char path[200];
    struct file *file;
    switch ((enum trace_kind)record->kind) {
    case TRACE_WRITE:
        if ((record->flags & TRACE_IS_DURABLE) != 0) {
            file = find_file(disk, record->file);
            file->pending[file->pending_count - 1].is_durable = true;
            image_change(&file->durable, &file->pending[file->pending_count - 1]);
        }
        break;
    case TRACE_SYNC:
        file = find_file(disk, record->file);
        for (size_t i = 0; i < file->pending_count; i++) {
            image_change(&file->durable, &file->pending[i]);
        }
        file->pending_count = 0;
        break;
    case TRACE_DIR_SYNC:
        snprintf(path, sizeof(path), "%.*s", (int)record->len, (const char *)bytes);
        sync_dir(disk, path);
        break;
    default: break;
    }
}

/* ---- choosing ---- */

const char *disk_kind_to_string(enum disk_kind kind) {
    static const char *const names[] = { "none", "all", "prefix", "pages", "sectors" };
    return names[kind];
}

struct chooser {
    struct disk_choice choice;
    uint64_t drawn;
    uint64_t often; /* of 8, how often a part is there */
};

static uint64_t chooser_draw(struct chooser *chooser) {
    return load_random(chooser->choice.seed, ++chooser->drawn, 7);
}

/* The parts of one write that are there. */
static void choose_parts(struct chooser *chooser,
                         struct image *image,
                         const struct change *change) {
    size_t unit = chooser->choice.kind == DISK_PAGES ? DISK_PAGE : DISK_SECTOR;
    for (size_t at = 0; at < change->len;) {
        size_t len = unit - (change->offset + at) % unit;
        len = len < change->len - at ? len : change->len - at;
        if (chooser_draw(chooser) % 8 < chooser->often) {
            image_write(image, change->offset + at, change->bytes + at, len);
        }
        at += len;
    }
}

/* The first half of a write, up to a sector's border. */
static void tear(struct chooser *chooser, struct image *image, const struct change *change) {
    size_t end =
        (change->offset + chooser_draw(chooser) % (change->len + 1)) / DISK_SECTOR * DISK_SECTOR;
    if (end > change->offset) {
        image_write(image, change->offset, change->bytes, end - change->offset);
    }
}

static void choose_file(struct chooser *chooser, struct file *file) {
    file->chosen.size = 0;
    image_write(&file->chosen, 0, file->durable.bytes, file->durable.size);
    enum disk_kind kind = chooser->choice.kind;
    size_t torn = file->pending_count;
    if (kind == DISK_PREFIX && file->pending_count > 0) {
        torn = chooser_draw(chooser) % file->pending_count;
    }
    for (size_t i = 0; i < file->pending_count; i++) {
        const struct change *change = &file->pending[i];
        bool is_whole = change->is_durable || kind == DISK_ALL || (kind == DISK_PREFIX && i < torn);
        if (kind == DISK_NONE) {
            break;
        }
        if (is_whole || (change->is_truncate && chooser_draw(chooser) % 8 < chooser->often)) {
            image_change(&file->chosen, change);
        } else if (kind == DISK_PREFIX && i == torn && !change->is_truncate) {
            tear(chooser, &file->chosen, change);
        } else if (kind != DISK_PREFIX && !change->is_truncate) {
            choose_parts(chooser, &file->chosen, change);
        }
    }
}

uint64_t disk_choose(struct disk *disk, struct disk_choice choice) {
    static const uint64_t often[] = { 1, 4, 4, 7 };
    struct chooser chooser = { .choice = choice, .often = often[choice.seed / 8 % 4] };
    disk->chosen = disk->durable;
    size_t names = disk->name_change_count;
    if (choice.kind == DISK_NONE) {
        names = 0;
    } else if (choice.kind != DISK_ALL) {
        names = chooser_draw(&chooser) % (names + 1);
    }
    for (size_t i = 0; i < names; i++) {
        apply_name(&disk->chosen, &disk->name_changes[i]);
    }
    uint64_t hash = choice.kind == DISK_NONE ? 0 : names;
    for (uint32_t i = 1; i < disk->file_count; i++) {
        choose_file(&chooser, &disk->files[i]);
        const struct image *image = &disk->files[i].chosen;
        hash = hash_bytes_seeded(str_n((const char *)image->bytes, image->size), hash + i);
    }
    return hash_bytes_seeded(
        str_n((const char *)disk->chosen.items, disk->chosen.count * sizeof(disk->chosen.items[0])),
        hash);
}

/* ---- to and from directories ---- */

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

static bool has_parent(const struct names *names, const char *path) {
    const char *slash = strrchr(path, '/');
    char parent[200];
    if (slash == NULL) {
        return true;
    }
    snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i].path, parent) == 0) {
            return has_parent(names, parent);
        }
    }
    return false;
}

static void write_file(const char *path, const struct image *image) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, image->bytes, image->size) != (ssize_t)image->size) {
        fatal("writing", path);
    }
    close(fd);
}

void disk_build(const struct disk *disk, const char *root) {
    rig_remove_tree(root);
    if (mkdir(root, 0700) != 0) {
        fatal("creating", root);
    }
    struct names names = disk->chosen;
    qsort(names.items, names.count, sizeof(names.items[0]), compare_names);
    for (size_t i = 0; i < names.count; i++) {
        const struct name *name = &names.items[i];
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/%s", root, name->path);
        if (!has_parent(&names, name->path)) {
            continue; /* its directory did not survive */
        }
        if (name->is_dir) {
            if (mkdir(path, 0700) != 0) {
                fatal("creating", path);
            }
        } else if (strstr(name->path, "lock.mdb") == NULL) {
            write_file(path, &disk->files[name->file].chosen);
        }
    }
}

static void load_file(struct disk *disk, const char *path, const char *whole) {
    uint32_t file = add_file(disk);
    int fd = open(whole, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        fatal("reading", whole);
    }
    struct image *image = &disk->files[file].durable;
    image_resize(image, (size_t)st.st_size);
    if (read(fd, image->bytes, image->size) != (ssize_t)image->size) {
        fatal("reading", whole);
    }
    close(fd);
    put_name(&disk->durable, path, file, false);
}

static void load_below(struct disk *disk, const char *root, const char *path) {
    char whole[PATH_MAX];
    snprintf(whole, sizeof(whole), "%s/%s", root, path);
    DIR *dir = opendir(whole);
    if (dir == NULL) {
        fatal("reading", whole);
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char below[200];
        struct stat st;
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(below, sizeof(below), "%.90s%s%.100s", path, path[0] == '\0' ? "" : "/",
                 entry->d_name);
        snprintf(whole, sizeof(whole), "%s/%s", root, below);
        if (lstat(whole, &st) != 0) {
            fatal("reading", whole);
        }
        if (S_ISDIR(st.st_mode)) {
            put_name(&disk->durable, below, 0, true);
            load_below(disk, root, below);
        } else {
            load_file(disk, below, whole);
        }
    }
    closedir(dir);
}

void disk_load(struct disk *disk, const char *root) {
    load_below(disk, root, "");
}
