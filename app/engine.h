/*
 * The engine: every module created in order, wired to its neighbours, started, reloaded, stopped.
 */
#pragma once

#include "app/config.h"
#include "base/clock.h"
#include "base/log.h"
#include "promql/promql.h"

struct engine;

struct engine_options {
    const struct options *options; /* outlives the engine */
    struct log *log;
    const struct clock *clock;
    env_fn env;
    void *env_ctx;
};

/*
 * Read configuration and rules, open the store, bind the listener. Findings about files (errors
 * and warnings) are printed to `diags`; on failure err says what to do. Nothing runs yet.
 */
WARN_UNUSED bool engine_create(const struct engine_options *options,
                               struct engine **ret,
                               struct diag_list *diags,
                               struct err *err);
/* Stops first. NULL ok. */
void engine_destroy(struct engine *engine);

WARN_UNUSED bool engine_start(struct engine *engine, struct err *err);
/* Orderly: no new requests, running ones end, pending writes are committed. */
void engine_stop(struct engine *engine);

/* Load configuration and rules anew and switch to them; on any error everything stays as it was
 * and err has the first finding. Threads: any, one at a time is let in. */
WARN_UNUSED bool engine_reload(struct engine *engine, struct err *err);

/* Once a second or so from the main thread: reports changes of the store's health to the log. */
void engine_watch(struct engine *engine);

const char *engine_address(const struct engine *engine); /* "127.0.0.1:9090" */

/* The switches named by --enable-feature. ERR_INVALID names an unknown one. */
WARN_UNUSED bool features_parse(const struct string_list *names,
                                struct promql_features *ret,
                                struct err *err);
