/* The simulation: see sim.h. */
#include "tests/notify/sim.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "tests/unit.h"

/* ---- configuration ---- */

struct notify_config *config_from_yaml(const char *text) {
    struct diag_list diags;
    struct yaml_doc *doc = NULL;
    struct notify_config *config = NULL;
    struct notify_config_params params = {
        .external_url = "http://tocsin.example:9090",
        .hello = "tocsin.example",
        .is_standalone = true,
    };
    diag_list_init(&diags);
    bool is_ok = yaml_parse("test.yml", str_from(text), &doc, &diags);
    if (is_ok) {
        struct yaml_decode ctx = { .doc = doc, .diags = &diags };
        is_ok = notify_config_decode(&ctx, yaml_root(doc), &params, &config);
    }
    if (!is_ok) {
        struct buf out;
        buf_init(&out, 1 << 20);
        diag_print(&diags, &out);
        fail_msg("configuration refused:\n%s", buf_as_str(&out).ptr);
    }
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
    return config;
}

/* ---- the store: memory that can die ---- */

static struct sim *of_store(struct kv_store *store) {
    return (struct sim *)(void *)((char *)store - offsetof(struct sim, store));
}

static bool store_get(struct kv_store *store,
                      enum kv_table table,
                      struct str key,
                      struct buf *ret,
                      struct err *err) {
    struct kv_store *inner = kv_memory_store(of_store(store)->memory);
    return inner->get(inner, table, key, ret, err);
}

static bool store_scan(struct kv_store *store,
                       enum kv_table table,
                       struct str from,
                       struct str prefix,
                       bool (*visit)(void *ctx, struct str key, struct str value),
                       void *ctx,
                       struct err *err) {
    struct kv_store *inner = kv_memory_store(of_store(store)->memory);
    return inner->scan(inner, table, from, prefix, visit, ctx, err);
}

static struct kv_batch *store_begin(struct kv_store *store) {
    struct kv_store *inner = kv_memory_store(of_store(store)->memory);
    return inner->begin(inner);
}

static void store_abandon(struct kv_store *store, struct kv_batch *batch) {
    struct kv_store *inner = kv_memory_store(of_store(store)->memory);
    inner->abandon(inner, batch);
}

static bool is_struck(struct sim *sim, enum crash_point point) {
    if (sim->crash != point || sim->has_crashed || --sim->crash_countdown > 0) {
        return false;
    }
    sim->window = sim->unsaved_receipts;
    return true;
}

static bool store_commit(struct kv_store *store, struct kv_batch *batch, struct err *err) {
    struct sim *sim = of_store(store);
    struct kv_store *inner = kv_memory_store(sim->memory);
    if (sim->has_crashed || is_struck(sim, CRASH_BEFORE_COMMIT)) {
        sim->has_crashed = true;
        inner->abandon(inner, batch);
        return err_set(err, ERR_IO, "crashed");
    }
    bool is_ok = inner->commit_blocking(inner, batch, err);
    sim->unsaved_receipts = is_ok ? 0 : sim->unsaved_receipts;
    if (is_struck(sim, CRASH_AFTER_COMMIT)) {
        sim->has_crashed = true;
        return err_set(err, ERR_IO, "crashed");
    }
    return is_ok;
}

/* ---- the transport ---- */

static char *dup_or_null(const char *text) {
    return text == NULL ? NULL : mem_strdup(text);
}

static char *find_key(const struct http_request *request) {
    static const char name[] = "Idempotency-Key: ";
    for (size_t i = 0; request->headers != NULL && request->headers[i] != NULL; i++) {
        if (strncmp(request->headers[i], name, sizeof(name) - 1) == 0) {
            return mem_strdup(request->headers[i] + sizeof(name) - 1);
        }
    }
    struct str body = request->body;
    size_t at = str_find(body, STR("Message-ID: <"));
    return at == SIZE_MAX ? NULL : mem_strndup(body.ptr + at + 13, 32);
}

static const struct sent *record(struct sim *sim, const struct http_request *request) {
    sim->sent = vec_grow(sim->sent, &sim->sent_cap, sim->sent_count + 1, sizeof(sim->sent[0]));
    struct sent *sent = &sim->sent[sim->sent_count++];
    *sent = (struct sent){
        .at_ms = sim->now_ms,
        .url = mem_strdup(request->url),
        .body = mem_strndup(request->body.ptr, request->body.len),
        .key = find_key(request),
        .recipient =
            dup_or_null(request->mail_recipients == NULL ? NULL : request->mail_recipients[0]),
        .mail_from = dup_or_null(request->mail_from),
        .bearer = dup_or_null(request->bearer_token),
        .username = dup_or_null(request->username),
        .mail_require_tls = request->mail_require_tls,
    };
    return sent;
}

static void answer(http_done_fn done, void *done_ctx, struct reply reply) {
    struct http_response response = {
        .is_ok = reply.status != 0,
        .err = ERR_INIT,
        .was_sent = reply.status != 0 || reply.was_sent,
        .status = reply.status,
        .body = str_from(reply.body == NULL ? "" : reply.body),
        .content_type = STR("text/plain"),
        .retry_after_ms = reply.retry_after_ms == 0 ? -1 : reply.retry_after_ms,
    };
    if (!response.is_ok) {
        err_set(&response.err, reply.code == ERR_NONE ? ERR_IO : reply.code, "no reply");
    }
    done(done_ctx, &response);
}

static void hold(struct sim *sim, http_done_fn done, void *done_ctx) {
    sim->pending =
        vec_grow(sim->pending, &sim->pending_cap, sim->pending_count + 1, sizeof(sim->pending[0]));
    sim->pending[sim->pending_count++] = (struct pending){ done, done_ctx };
}

static bool submit(void *ctx,
                   const struct http_request *request,
                   http_done_fn done,
                   void *done_ctx,
                   struct err *err) {
    struct sim *sim = ctx;
    (void)err;
    if (sim->has_crashed) {
        hold(sim, done, done_ctx);
        return true;
    }
    const struct sent *sent = record(sim, request);
    sim->unsaved_receipts++;
    if (is_struck(sim, CRASH_AFTER_SEND)) {
        sim->has_crashed = true;
    }
    if (sim->is_holding || sim->has_crashed) {
        hold(sim, done, done_ctx);
        return true;
    }
    struct reply reply = { .status = sent->recipient != NULL ? 250 : 200, .body = "ok" };
    answer(done, done_ctx, sim->reply == NULL ? reply : sim->reply(sim->reply_ctx, sent));
    return true;
}

void sim_release(struct sim *sim, struct reply reply) {
    size_t count = sim->pending_count;
    sim->pending_count = 0;
    for (size_t i = 0; i < count; i++) {
        answer(sim->pending[i].done, sim->pending[i].done_ctx, reply);
    }
}

/* ---- life ---- */

static bool ask_silenced(void *ctx, struct labels labels, int64_t now_ms) {
    struct sim *sim = ctx;
    return sim->is_silenced != NULL && sim->is_silenced(sim->silence_ctx, labels, now_ms);
}

static void start(struct sim *sim) {
    struct err err = ERR_INIT;
    struct notify_options options = {
        .kv = &sim->store,
        .config = sim->config,
        .metrics = sim->metrics,
        .transport = { .submit = submit, .ctx = sim },
        .silencer = { .is_silenced = ask_silenced, .ctx = sim },
        .jitter_seed = 1,
    };
    if (!notify_create(&options, &sim->notify, &err)) {
        fail_msg("notify_create: %s", err.msg);
    }
}

static void stop(struct sim *sim) {
    sim_release(sim, (struct reply){ .code = ERR_CANCELED });
    notify_destroy(sim->notify);
    sim->notify = NULL;
}

void sim_init(struct sim *sim, const char *yaml) {
    *sim = (struct sim){ .now_ms = SIM_START_MS };
    sim->memory = kv_memory_create();
    sim->store = (struct kv_store){
        .get = store_get,
        .scan = store_scan,
        .begin = store_begin,
        .commit_blocking = store_commit,
        .abandon = store_abandon,
    };
    sim->metrics = metric_registry_create();
    sim->config = config_from_yaml(yaml);
    start(sim);
}

void sim_forget(struct sim *sim) {
    for (size_t i = 0; i < sim->sent_count; i++) {
        struct sent *sent = &sim->sent[i];
        mem_free(sent->url);
        mem_free(sent->body);
        mem_free(sent->key);
        mem_free(sent->recipient);
        mem_free(sent->mail_from);
        mem_free(sent->bearer);
        mem_free(sent->username);
    }
    sim->sent_count = 0;
}

void sim_finish(struct sim *sim) {
    stop(sim);
    sim_forget(sim);
    mem_free(sim->sent);
    mem_free(sim->pending);
    notify_config_unref(sim->config);
    kv_memory_destroy(sim->memory);
    metric_registry_destroy(sim->metrics);
}

void sim_restart(struct sim *sim) {
    stop(sim);
    if (sim->has_crashed) {
        sim->has_crashed = false;
        sim->crash = CRASH_NEVER;
    }
    start(sim);
}

static int64_t tick(struct sim *sim) {
    int64_t next_ms = notify_tick(sim->notify, sim->now_ms);
    if (sim->has_crashed) {
        sim_restart(sim);
        next_ms = notify_tick(sim->notify, sim->now_ms);
    }
    return next_ms;
}

void sim_run(struct sim *sim, int64_t by_ms) {
    int64_t end_ms = sim->now_ms + by_ms;
    for (;;) {
        int64_t next_ms = tick(sim);
        if (next_ms > end_ms) {
            break;
        }
        assert_true(next_ms > sim->now_ms); /* no busy loop */
        sim->now_ms = next_ms;
    }
    sim->now_ms = end_ms;
    (void)tick(sim);
}

/* ---- alerts ---- */

struct labels parse_labels(const char *text, struct arena *arena) {
    struct labels labels = { .items =
                                 arena_calloc(arena, LABELS_COUNT_MAX, sizeof(labels.items[0])) };
    struct str rest = str_from(text == NULL ? "" : text);
    struct err err = ERR_INIT;
    while (rest.len > 0) {
        struct str pair;
        struct str tail;
        (void)str_cut(rest, ',', &pair, &tail);
        struct label *label = &labels.items[labels.count++];
        assert_true(str_cut(pair, '=', &label->name, &label->value));
        label->name = arena_str(arena, label->name);
        label->value = arena_str(arena, label->value);
        rest = tail;
    }
    /* annotations may be long or hold anything: order is all that counts here */
    for (size_t i = 1; i < labels.count; i++) {
        for (size_t k = i; k > 0 && str_cmp(labels.items[k].name, labels.items[k - 1].name) < 0;
             k--) {
            struct label swap = labels.items[k];
            labels.items[k] = labels.items[k - 1];
            labels.items[k - 1] = swap;
        }
    }
    (void)err;
    return labels;
}

static void deliver(struct sim *sim, const struct alert *alerts, size_t count) {
    for (;;) {
        struct alert_sink sink = notify_alert_sink(sim->notify);
        struct kv_batch *batch = sim->store.begin(&sim->store);
        struct err err = ERR_INIT;
        void *token = sink.stage(sink.ctx, alerts, count, sim->now_ms, batch);
        bool is_durable = sim->store.commit_blocking(&sim->store, batch, &err);
        bool was_written = is_durable || sim->crash == CRASH_AFTER_COMMIT;
        sink.settle(sink.ctx, token, is_durable);
        if (!sim->has_crashed) {
            assert_true(is_durable);
            return;
        }
        sim_restart(sim);
        if (was_written) {
            return; /* the rules' own state is durable with it: they do not repeat it */
        }
    }
}

static struct alert make_alert(struct sim *sim, const char *text, struct arena *arena) {
    bool is_resolved = text[0] == '-';
    return (struct alert){
        .labels = parse_labels(text + (is_resolved ? 1 : 0), arena),
        .generator_url = STR(""),
        .active_ms = sim->now_ms,
        .starts_ms = SIM_START_MS + 1, /* set below for firing ones */
        .ends_ms = is_resolved ? sim->now_ms : 0,
        .value = 1,
    };
}

/* Alerts keep their start through an episode, as the rules do; remembered in KV_META of the store
 * so that restarts keep it. */
static int64_t episode_start(struct sim *sim, struct labels labels, bool is_resolved) {
    struct buf key;
    struct buf value;
    struct err err = ERR_INIT;
    buf_init(&key, 400);
    buf_init(&value, 64);
    labels_print(labels, &key);
    struct kv_store *inner = kv_memory_store(sim->memory);
    int64_t start_ms = sim->now_ms;
    bool is_known = inner->get(inner, KV_META, buf_as_str(&key), &value, &err);
    if (is_known) {
        assert_true(str_parse_i64(buf_as_str(&value), &start_ms));
    }
    struct kv_batch *batch = inner->begin(inner);
    if (is_resolved) {
        batch->del(batch, KV_META, buf_as_str(&key));
    } else {
        buf_reset(&value);
        buf_i64(&value, start_ms);
        batch->put(batch, KV_META, buf_as_str(&key), buf_as_str(&value));
    }
    assert_true(inner->commit_blocking(inner, batch, &err));
    buf_finish(&key);
    buf_finish(&value);
    return start_ms;
}

void sim_alerts(struct sim *sim, const char *const *texts) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    size_t count = 0;
    while (texts[count] != NULL) {
        count++;
    }
    struct alert *alerts = arena_calloc(&arena, count, sizeof(alerts[0]));
    for (size_t i = 0; i < count; i++) {
        alerts[i] = make_alert(sim, texts[i], &arena);
        alerts[i].starts_ms = episode_start(sim, alerts[i].labels, alerts[i].ends_ms != 0);
        alerts[i].active_ms = alerts[i].starts_ms;
    }
    deliver(sim, alerts, count);
    arena_finish(&arena);
}

void sim_fire(struct sim *sim, const char *text) {
    const char *texts[] = { text, NULL };
    sim_alerts(sim, texts);
}

void sim_resolve(struct sim *sim, const char *text) {
    char resolved[1000];
    (void)snprintf(resolved, sizeof(resolved), "-%s", text);
    sim_fire(sim, resolved);
}

void sim_alert(struct sim *sim, const struct sim_alert *spec) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct alert alert = {
        .labels = parse_labels(spec->labels, &arena),
        .annotations = parse_labels(spec->annotations, &arena),
        .generator_url = str_from(spec->generator_url == NULL ? "" : spec->generator_url),
        .active_ms = spec->starts_ms,
        .starts_ms = spec->starts_ms,
        .ends_ms = spec->ends_ms,
        .value = spec->value,
    };
    deliver(sim, &alert, 1);
    arena_finish(&arena);
}

/* ---- expectations ---- */

static void put_alert(struct buf *out, const struct json_value *alert) {
    const struct json_value *status = json_get(alert, "status");
    const struct json_value *labels = json_get(alert, "labels");
    const struct json_value *id = json_get(labels, "id");
    id = id == NULL ? json_get(labels, "alertname") : id;
    buf_printf(out, " %s%.*s", str_eq(status->string, STR("firing")) ? "+" : "-",
               STR_FMT(id->string));
}

static void put_sent(struct buf *out, const struct sent *sent) {
    buf_printf(out, "%lld", (long long)((sent->at_ms - SIM_START_MS) / 1000));
    int64_t rest_ms = (sent->at_ms - SIM_START_MS) % 1000;
    if (rest_ms != 0) {
        buf_printf(out, ".%03lld", (long long)rest_ms);
    }
    if (sent->recipient != NULL) {
        buf_printf(out, " %s\n", sent->recipient);
        return;
    }
    struct json_parser *parser = json_parser_create(32 << 20);
    struct arena arena;
    struct json_value *root = NULL;
    struct err err = ERR_INIT;
    arena_init(&arena, SIZE_MAX);
    if (!json_parse(parser, str_from(sent->body), &arena, &root, &err)) {
        fail_msg("not JSON (%s): %s", err.msg, sent->body);
    }
    const struct json_value *receiver = json_get(root, "receiver");
    const struct json_value *alerts = json_get(root, "alerts");
    if (receiver == NULL) {
        buf_cstr(out, " slack\n");
    } else {
        buf_printf(out, " %.*s", STR_FMT(receiver->string));
        for (size_t i = 0; i < alerts->count; i++) {
            put_alert(out, &alerts->items[i]);
        }
        buf_putc(out, '\n');
    }
    arena_finish(&arena);
    json_parser_destroy(parser);
}

void sim_expect(struct sim *sim, const char *expected) {
    struct buf out;
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sim->sent_count; i++) {
        put_sent(&out, &sim->sent[i]);
    }
    if (!str_eq_c(buf_as_str(&out), expected)) {
        fail_msg("sent:\n%sexpected:\n%s", buf_as_str(&out).ptr, expected);
    }
    buf_finish(&out);
}

/* ---- golden files ---- */

static void golden_path(const char *name, struct buf *out) {
    buf_init(out, 4096);
    buf_printf(out, "%s/%s", GOLDEN_DIR, name);
}

char *golden_read(const char *name) {
    struct buf path;
    golden_path(name, &path);
    FILE *file = fopen(buf_as_str(&path).ptr, "rb");
    buf_finish(&path);
    if (file == NULL) {
        return NULL;
    }
    struct buf text;
    buf_init(&text, 16 << 20);
    char chunk[4096];
    size_t n = 0;
    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        buf_append(&text, chunk, n);
    }
    (void)fclose(file);
    return buf_take(&text, NULL);
}

void golden_check(const char *name, struct str text) {
    if (getenv("TOCSIN_GOLDEN_WRITE") != NULL) {
        struct buf path;
        golden_path(name, &path);
        FILE *file = fopen(buf_as_str(&path).ptr, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(text.ptr, 1, text.len, file), text.len);
        assert_int_equal(fclose(file), 0);
        buf_finish(&path);
        return;
    }
    char *golden = golden_read(name);
    if (golden == NULL || !str_eq_c(text, golden)) {
        fail_msg("differs from golden/%s:\n%.*s", name, STR_FMT(text));
    }
    mem_free(golden);
}
