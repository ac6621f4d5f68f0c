/* Children of the engine: see child.h. */
#include "app/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"

#define WORDS_MAX     16
#define POLL_MS       200
#define MESSAGE_BYTES 2048

static bool spawn(const char *const *words, pid_t *ret_pid, int *ret_fd, struct err *err) {
    char *argv[WORDS_MAX + 1];
    size_t count = 0;
    for (; words[count] != NULL && count < WORDS_MAX; count++) {
        argv[count] = (char *)(uintptr_t)words[count];
    }
    argv[count] = NULL;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return err_set_errno(err, ERR_IO, errno, "creating a pipe");
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
    posix_spawnattr_t attr;
    sigset_t none; /* the engine's threads block what the child must hear */
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn(ret_pid, "/proc/self/exe", &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (rc != 0) {
        close(fds[0]);
        return err_set_errno(err, ERR_IO, rc, "starting a process");
    }
    *ret_fd = fds[0];
    return true;
}

/* Until the child closes stderr; what it wrote last stays in `text`. */
static void read_text(int fd,
                      pid_t pid,
                      bool (*is_stopping)(void *ctx),
                      void *ctx,
                      char text[MESSAGE_BYTES]) {
    size_t len = 0;
    bool is_told = false;
    for (;;) {
        if (!is_told && is_stopping != NULL && is_stopping(ctx)) {
            is_told = kill(pid, SIGTERM) == 0;
        }
        struct pollfd poller = { .fd = fd, .events = POLLIN };
        if (poll(&poller, 1, POLL_MS) <= 0) {
            continue;
        }
        if (len == MESSAGE_BYTES - 1) {
            len = MESSAGE_BYTES / 2;
            memmove(text, text + MESSAGE_BYTES - 1 - len, len);
        }
        ssize_t got = read(fd, text + len, MESSAGE_BYTES - 1 - len);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            break;
        }
        len += got > 0 ? (size_t)got : 0;
    }
    text[len] = '\0';
}

static struct str last_line(const char *text) {
    struct str rest = str_trim(str_from(text));
    struct str line = rest;
    bool has_more = true;
    while (has_more) {
        has_more = str_cut(rest, '\n', &line, &rest);
    }
    struct str name = STR("tocsin: ");
    return str_starts_with(line, name) ? str_n(line.ptr + name.len, line.len - name.len) : line;
}

bool child_run(const char *const *argv,
               bool (*is_stopping)(void *ctx),
               void *ctx,
               struct err *err) {
    pid_t pid;
    int fd;
    if (!spawn(argv, &pid, &fd, err)) {
        return false;
    }
    char text[MESSAGE_BYTES];
    read_text(fd, pid, is_stopping, ctx, text);
    close(fd);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        return err_set(err, ERR_CANCELED, "tocsin %s was ended by signal %d", argv[1],
                       WTERMSIG(status));
    }
    if (WEXITSTATUS(status) == 0) {
        return true;
    }
    struct str line = last_line(text);
    return line.len > 0 ? err_set(err, ERR_INTERNAL, "%.*s", STR_FMT(line))
                        : err_set(err, ERR_INTERNAL, "tocsin %s failed", argv[1]);
}
