/*
 * Verifying in a child. Lines from child to parent, fields separated by tabs:
 *
 *   @ place             what is read from here on
 *   P place what        a problem
 *   T numbers           the totals; the last line of a check that came to its end
 *   E code message      it could not be checked
 */
#include "app/verify_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

#define LINE_BYTES_MAX 2048

/* ---- child ---- */

static void put_text(const char *text) {
    for (; *text != '\0'; text++) {
        putchar((unsigned char)*text < 0x20 ? ' ' : *text);
    }
}

static void put_place(void *ctx, const char *place) {
    (void)ctx;
    printf("@\t");
    put_text(place);
    putchar('\n');
}

static void put_problem(void *ctx, const char *place, const char *what) {
    (void)ctx;
    printf("P\t");
    put_text(place);
    putchar('\t');
    put_text(what);
    putchar('\n');
}

int verify_child_main(const char *dir) {
    /* Every line is out before the next page is touched. */
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    struct tsdb_verify_visitor visitor = { .place = put_place, .problem = put_problem };
    struct tsdb_verify_totals totals;
    struct err err = ERR_INIT;
    if (!tsdb_verify(dir, &visitor, &totals, &err)) {
        printf("E\t%d\t", (int)err.code);
        put_text(err.msg);
        putchar('\n');
        return 2;
    }
    printf("T\t%llu\t%llu\t%llu\t%llu\t%llu\t%llu\t%llu\t%llu\t%llu\n",
           (unsigned long long)totals.table_rows, (unsigned long long)totals.journal_records,
           (unsigned long long)totals.journal_samples, (unsigned long long)totals.series,
           (unsigned long long)totals.windows, (unsigned long long)totals.rows,
           (unsigned long long)totals.segments, (unsigned long long)totals.chunks,
           (unsigned long long)totals.samples);
    return 0;
}

/* ---- parent ---- */

struct child {
    const struct tsdb_verify_visitor *visitor;
    struct tsdb_verify_totals *totals;
    char place[LINE_BYTES_MAX];
    bool is_complete;
    struct err err; /* the child's own */
};

static void tell(struct child *child, const char *place, const char *what) {
    child->totals->problems++;
    if (child->visitor->problem != NULL) {
        child->visitor->problem(child->visitor->ctx, place, what);
    }
}

static void read_totals(struct child *child, struct str rest) {
    struct tsdb_verify_totals *t = child->totals;
    uint64_t *const fields[] = {
        &t->table_rows, &t->journal_records, &t->journal_samples, &t->series,  &t->windows,
        &t->rows,       &t->segments,        &t->chunks,          &t->samples,
    };
    size_t count = 0;
    bool ok = true;
    while (ok && count < ARRAY_LEN(fields)) {
        struct str field = rest;
        struct str after = STR("");
        (void)str_cut(rest, '\t', &field, &after);
        ok = str_parse_u64(field, fields[count++]);
        rest = after;
    }
    child->is_complete = ok;
}

static void read_line(struct child *child, char *line) {
    char *rest = strchr(line, '\t');
    if (rest == NULL) {
        return;
    }
    *rest++ = '\0';
    char *second = strchr(rest, '\t');
    if (line[0] == '@') {
        snprintf(child->place, sizeof(child->place), "%s", rest);
        if (child->visitor->place != NULL) {
            child->visitor->place(child->visitor->ctx, rest);
        }
    } else if (line[0] == 'P' && second != NULL) {
        *second++ = '\0';
        tell(child, rest, second);
    } else if (line[0] == 'T') {
        read_totals(child, str_from(rest));
    } else if (line[0] == 'E' && second != NULL) {
        *second++ = '\0';
        uint64_t code;
        bool is_code = str_parse_u64(str_from(rest), &code) && code > 0 && code < ERR_COUNT;
        err_set(&child->err, is_code ? (enum err_code)code : ERR_INTERNAL, "%s", second);
    }
}

static void read_lines(struct child *child, int fd) {
    FILE *lines = fdopen(fd, "r");
    char line[LINE_BYTES_MAX];
    while (lines != NULL && fgets(line, sizeof(line), lines) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        read_line(child, line);
    }
    if (lines != NULL) {
        fclose(lines);
    } else {
        close(fd);
    }
}

static bool spawn(const char *dir, pid_t *ret_pid, int *ret_fd, struct err *err) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return err_set_errno(err, ERR_IO, errno, "starting the check");
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    char *copy = mem_strdup(dir);
    char program[] = "tocsin";
    char verb[] = "verify";
    char flag[] = "--child";
    char *argv[] = { program, verb, flag, copy, NULL };
    int rc = posix_spawn(ret_pid, "/proc/self/exe", &actions, NULL, argv, environ);
    mem_free(copy);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (rc != 0) {
        close(fds[0]);
        return err_set_errno(err, ERR_IO, rc, "starting the check");
    }
    *ret_fd = fds[0];
    return true;
}

bool verify_in_child(const char *dir,
                     const struct tsdb_verify_visitor *visitor,
                     struct tsdb_verify_totals *ret,
                     struct err *err) {
    struct child child = { .visitor = visitor, .totals = ret, .place = "opening" };
    pid_t pid;
    int fd;
    *ret = (struct tsdb_verify_totals){ 0 };
    if (!spawn(dir, &pid, &fd, err)) {
        return false;
    }
    read_lines(&child, fd);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        char what[128];
        int number = WTERMSIG(status);
        bool is_memory = number == SIGBUS || number == SIGSEGV;
        if (!is_memory && number != SIGABRT) {
            return err_set(err, ERR_CANCELED, "the check was ended by signal %d", number);
        }
        snprintf(what, sizeof(what),
                 "the check died reading it (signal %d): the file is truncated or its pages are "
                 "damaged",
                 number);
        tell(&child, child.place, what);
        return true;
    }
    if (child.err.code != ERR_NONE) {
        *err = child.err;
        return false;
    }
    return child.is_complete || err_set(err, ERR_INTERNAL, "the check ended without a result");
}
