/* Checking a directory: the page structure of its files, before LMDB maps them; see verify.h. */
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "tsdb/env/pages.h"
#include "tsdb/verify/verify.h"

#define TOLD_MAX 16 /* kept until the file is known not to have changed */

struct found {
    struct err told[TOLD_MAX];
    size_t count;
};

static void note(void *ctx, const struct err *what) {
    struct found *found = ctx;
    if (found->count < TOLD_MAX) {
        found->told[found->count++] = *what;
    }
}

static bool read_time(const char *file, struct timespec *ret) {
    struct stat st;
    bool is_there = stat(file, &st) == 0;
    *ret = is_there ? st.st_mtim : (struct timespec){ .tv_sec = 0 };
    return is_there;
}

bool verify_pages(struct verify *verify, const char *path, const char *name, struct err *err) {
    char file[PATH_MAX];
    struct timespec before;
    struct timespec after;
    if (snprintf(file, sizeof(file), "%s/data.mdb", path) >= (int)sizeof(file) ||
        !read_time(file, &before)) {
        return true; /* opening it will tell */
    }
    struct found *found = mem_calloc(1, sizeof(*found));
    struct pages_result ignored;
    struct pages_check check = {
        .path = file,
        .name = name,
        .bytes_max = UINT64_MAX,
        .is_ours = true,
        .told = note,
        .ctx = found,
    };
    struct err what = ERR_INIT;
    bool ok = pages_check(&check, &ignored, &what);
    /* A live process writes to it: what was read is of several moments and says nothing. */
    bool is_still =
        read_time(file, &after) && before.tv_sec == after.tv_sec && before.tv_nsec == after.tv_nsec;
    for (size_t i = 0; is_still && i < found->count; i++) {
        verify_problem(verify, "data.mdb", "%s", found->told[i].msg);
    }
    mem_free(found);
    if (ok || !is_still) {
        return true;
    }
    if (what.code == ERR_CORRUPT) {
        verify_problem(verify, "data.mdb", "%s", what.msg);
    } else {
        *err = what;
    }
    return false;
}
