/* tocsin serve: signals, and the engine between them. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "app/engine.h"
#include "app/verbs.h"
#include "base/clock.h"

static struct log *make_log(const struct options *options, struct err *err) {
    enum log_level level;
    if (!log_level_parse(str_from(options->log_level), &level)) {
        err_set(err, ERR_INVALID, "--log.level: unknown level \"%s\"", options->log_level);
        return NULL;
    }
    if (str_eq_nocase(str_from(options->log_format), STR("json"))) {
        return log_create(STDERR_FILENO, LOG_FORMAT_JSON, level);
    }
    if (str_eq_nocase(str_from(options->log_format), STR("logfmt"))) {
        return log_create(STDERR_FILENO, LOG_FORMAT_LOGFMT, level);
    }
    err_set(err, ERR_INVALID, "--log.format: expected logfmt or json, got \"%s\"",
            options->log_format);
    return NULL;
}

/* Findings about files: one log line each, so that log collectors see them too. */
static void log_findings(struct log *log, const struct diag_list *diags) {
    for (size_t i = 0; i < diags->count; i++) {
        const struct diag *diag = &diags->items[i];
        bool is_error = diag->severity == DIAG_ERROR;
        log_write(
            log, is_error ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "config", diag->message,
            LOG_FIELDS(LOG_CSTR("file", diag->file), LOG_I64("line", diag->line),
                       LOG_I64("column", diag->column),
                       LOG_CSTR("source", diag->source_line == NULL ? "" : diag->source_line)));
    }
}

/* Until SIGTERM or SIGINT; SIGHUP reloads. The signals are blocked in every thread. */
static int run_until_signal(struct engine *engine, struct log *log, const sigset_t *signals) {
    struct timespec second = { .tv_sec = 1 };
    for (;;) {
        int signal_number = sigtimedwait(signals, NULL, &second);
        if (signal_number == SIGHUP) {
            struct err err = ERR_INIT;
            bool is_ok = engine_reload(engine, &err);
            (void)is_ok; /* the engine has logged it */
        } else if (signal_number == SIGTERM || signal_number == SIGINT) {
            return signal_number;
        } else if (signal_number < 0 && errno != EAGAIN && errno != EINTR) {
            log_error(log, "app", "Waiting for signals failed", LOG_I64("errno", errno));
            return SIGTERM;
        }
        engine_watch(engine);
    }
}

static int serve(const struct options *options,
                 struct log *log,
                 const sigset_t *signals,
                 struct err *err) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct engine_options engine_options = {
        .options = options,
        .log = log,
        .clock = clock_system(),
        .env = process_env,
    };
    struct engine *engine = NULL;
    bool is_ok = engine_create(&engine_options, &engine, &diags, err);
    log_findings(log, &diags);
    diag_list_finish(&diags);
    if (!is_ok || !engine_start(engine, err)) {
        engine_destroy(engine);
        return EXIT_FAILED;
    }
    log_info(log, "web", "Listening on", LOG_CSTR("address", engine_address(engine)));
    int signal_number = run_until_signal(engine, log, signals);
    log_info(log, "app", "Stopping", LOG_CSTR("signal", signal_number == SIGINT ? "INT" : "TERM"));
    engine_destroy(engine);
    log_write(log, LOG_LEVEL_INFO, "app", "Stopped", NULL);
    return EXIT_FINE;
}

int verb_serve(int argc, char *const *argv) {
    struct err err = ERR_INIT;
    struct options options;
    if (!options_parse(&options, argc, argv, process_env, NULL, &err)) {
        fprintf(stderr, "tocsin: %s\n", err.msg);
        options_finish(&options);
        return EXIT_USAGE;
    }
    struct log *log = make_log(&options, &err);
    if (log == NULL) {
        fprintf(stderr, "tocsin: %s\n", err.msg);
        options_finish(&options);
        return EXIT_USAGE;
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before any thread exists: all inherit it */
    log_info(log, "app", "Starting", LOG_CSTR("version", TOCSIN_VERSION),
             LOG_CSTR("storage", options.storage_path), LOG_I64("pid", getpid()));
    int code = serve(&options, log, &signals, &err);
    if (code != EXIT_FINE) {
        log_error(log, "app", "Cannot run", LOG_CSTR("error", err.msg));
    }
    log_destroy(log);
    options_finish(&options);
    return code;
}
