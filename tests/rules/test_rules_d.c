/*
 * Goal: the shipped rules load without a finding, promtool takes them, every series they name is
 * one the engine makes, and the seed's alerts and their twins do what their comments say.
 * Method: the files in place; series names are looked up in the sources; the backend's series are
 * simulated on a virtual clock.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rules/set.h"
#include "tests/rules/sim.h"

static const char *const shipped[] = { "hedge_fund.yml", "llm.yml", "tocsin.yml" };

static const char *env_path(const char *variable) {
    const char *path = getenv(variable);
    assert_non_null(path);
    return path;
}

static struct rule_set *load_shipped(void) {
    char pattern[512];
    struct diag_list diags;
    struct rules_load_options options = { 0 };
    struct rule_set *set = NULL;
    (void)snprintf(pattern, sizeof(pattern), "%s/*.yml", env_path("RULES_D"));
    const char *patterns[] = { pattern };
    diag_list_init(&diags);
    if (!rules_load(patterns, 1, &options, &set, &diags) || diags.count > 0) {
        struct buf text;
        buf_init(&text, 1 << 20);
        diag_print(&diags, &text);
        fail_msg("findings:\n%s", buf_as_str(&text).ptr);
    }
    diag_list_finish(&diags);
    return set;
}

static void test_load(void **state) {
    struct rule_set *set = load_shipped();
    assert_int_equal(rule_set_file_count(set), ARRAY_LEN(shipped));
    for (size_t g = 0; g < set->group_count; g++) {
        for (size_t r = 0; r < set->groups[g]->rule_count; r++) {
            const struct rule_def *rule = &set->groups[g]->rules[r];
            if (rule->type == RULE_ALERTING &&
                (labels_get(rule->labels, STR("severity")).len == 0 ||
                 labels_get(rule->annotations, STR("summary")).len == 0 ||
                 labels_get(rule->annotations, STR("description")).len == 0 ||
                 labels_get(rule->annotations, STR("runbook")).len == 0)) {
                fail_msg("%.*s lacks a severity, a text or a runbook", STR_FMT(rule->name));
            }
        }
    }
    rule_set_destroy(set);
}

static bool run_promtool(const char *path) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        (void)execlp("promtool", "promtool", "check", "rules", path, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 127) {
        return false;
    }
    if (WEXITSTATUS(status) != 0) {
        fail_msg("promtool refuses %s", path);
    }
    return true;
}

static void test_promtool(void **state) {
    for (size_t i = 0; i < ARRAY_LEN(shipped); i++) {
        char path[512];
        (void)snprintf(path, sizeof(path), "%s/%s", env_path("RULES_D"), shipped[i]);
        if (!run_promtool(path)) {
            unit_skip("promtool is not installed");
            return;
        }
    }
}

/* ---- every series exists ---- */

static void append_file(const char *path, struct buf *out) {
    char bytes[1 << 16];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (size_t got; (got = fread(bytes, 1, sizeof(bytes), file)) > 0;) {
        buf_append(out, bytes, got);
    }
    (void)fclose(file);
}

/* Every .c of a folder and the folders in it. */
static void append_sources(const char *dir, struct buf *out) {
    DIR *handle = opendir(dir);
    assert_non_null(handle);
    for (struct dirent *entry; (entry = readdir(handle)) != NULL;) {
        char path[PATH_MAX];
        assert_in_range(snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name), 1, PATH_MAX - 1);
        if (str_ends_with(str_from(entry->d_name), STR(".c"))) {
            append_file(path, out);
        } else if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            append_sources(path, out);
        }
    }
    (void)closedir(handle);
}

/* The name as it is written where the series is made. */
static struct str source_form(struct str name, char *out, size_t out_bytes) {
    static const char *const suffixes[] = { "_bucket", "_count", "_sum" };
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        if (str_ends_with(name, str_from(suffixes[i]))) {
            name.len -= strlen(suffixes[i]);
        }
    }
    struct str app = STR("hedge_fund");
    if (str_starts_with(name, app)) { /* the app's name is the sender's */
        name = str_n(name.ptr + app.len, name.len - app.len);
    }
    (void)snprintf(out, out_bytes, "\"%.*s\"", STR_FMT(name));
    return str_from(out);
}

static void check_selector(void *ctx, const struct matcher *matchers, size_t count) {
    const struct buf *sources = ctx;
    for (size_t i = 0; i < count; i++) {
        if (!str_eq(matchers[i].name, METRIC_NAME) || matchers[i].type != MATCH_EQ) {
            continue;
        }
        char quoted[256];
        struct str name = matchers[i].value;
        if (memchr(name.ptr, ':', name.len) != NULL || str_starts_with(name, STR("node_memory_"))) {
            continue; /* recorded by a rule; named after lines of /proc/meminfo */
        }
        if (str_find(buf_as_str(sources), source_form(name, quoted, sizeof(quoted))) == SIZE_MAX) {
            fail_msg("no source makes the series %.*s", STR_FMT(name));
        }
    }
}

static void test_series_exist(void **state) {
    static const char *const folders[] = { "app", "ingest", "notify", "rules", "tsdb", "web" };
    struct buf sources;
    buf_init(&sources, SIZE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        char dir[PATH_MAX];
        (void)snprintf(dir, sizeof(dir), "%s/%s", env_path("SOURCE_ROOT"), folders[i]);
        append_sources(dir, &sources);
    }
    struct rule_set *set = load_shipped();
    for (size_t g = 0; g < set->group_count; g++) {
        for (size_t r = 0; r < set->groups[g]->rule_count; r++) {
            promql_visit_selectors(set->groups[g]->rules[r].expr, check_selector, &sources);
        }
    }
    rule_set_destroy(set);
    buf_finish(&sources);
}

/* ---- the seed's alerts at work ---- */

static char *read_shipped(const char *name) {
    char path[512];
    struct buf text;
    (void)snprintf(path, sizeof(path), "%s/%s", env_path("RULES_D"), name);
    buf_init(&text, 1 << 20);
    append_file(path, &text);
    return buf_take(&text, NULL);
}

/* One minute of the backend's life: `ok` and `failed` requests, `slow` of them beyond 10 s. */
struct minute {
    double ok;
    double failed;
    double slow;
    double provider_is_up;
    double memory_mb;
};

static void add(struct sim *sim, const char *name, const char *const *labels, double delta) {
    for (size_t i = 0; i < sim->gauge_count; i++) {
        const struct sim_gauge *gauge = &sim->gauges[i];
        bool is_same = strcmp(gauge->name, name) == 0;
        for (size_t l = 0; is_same && labels[l] != NULL; l++) {
            is_same = gauge->labels[l] != NULL && strcmp(gauge->labels[l], labels[l]) == 0;
        }
        if (is_same) {
            sim_set(sim, name, labels, gauge->value + delta);
            return;
        }
    }
    sim_set(sim, name, labels, delta);
}

static void live(struct sim *sim, const struct minute *minute, int minutes) {
    static const char *const ok[] = { "endpoint", "/a", "job", "b", "status", "200", NULL };
    static const char *const failed[] = { "endpoint", "/a", "job", "b", "status", "500", NULL };
    static const char *const all[] = { "endpoint", "/a", "job", "b", NULL };
    static const char *const within[] = { "endpoint", "/a", "job", "b", "le", "10", NULL };
    static const char *const any[] = { "endpoint", "/a", "job", "b", "le", "+Inf", NULL };
    static const char *const provider[] = { "job", "b", "provider", "p", NULL };
    static const char *const job[] = { "job", "b", NULL };
    double count = minute->ok + minute->failed;
    for (int i = 0; i < minutes; i++) {
        add(sim, "hedge_fund_requests_total", ok, minute->ok);
        add(sim, "hedge_fund_requests_total", failed, minute->failed);
        add(sim, "hedge_fund_request_duration_seconds_count", all, count);
        add(sim, "hedge_fund_request_duration_seconds_bucket", within, count - minute->slow);
        add(sim, "hedge_fund_request_duration_seconds_bucket", any, count);
        sim_set(sim, "hedge_fund_llm_provider_available", provider, minute->provider_is_up);
        sim_set(sim, "hedge_fund_memory_usage_mb", job, minute->memory_mb);
        (void)sim_steps(sim, 2); /* two groups, one slot each */
    }
}

static bool is_firing(struct sim *sim, const char *name) {
    char wanted[128];
    (void)snprintf(wanted, sizeof(wanted), "count(ALERTS{alertname=\"%s\",alertstate=\"firing\"})",
                   name);
    return sim_query(sim, wanted)[0] != '\0';
}

struct life_case {
    struct minute minute;
    const char *firing; /* space-separated, exactly these */
};

static void test_seed_alerts(void **state) {
    static const char *const names[] = {
        "HighErrorRate",   "ServiceDown",      "LLMProviderDown",     "HighLatency",
        "HighMemoryUsage", "HighCPUUsage",     "HighErrorRatio",      "HighLatencyP95",
        "ServiceSilent",   "HighCPUOfMachine", "HighMemoryNearLimit", "HighStreamFailureRatio",
    };
    static const struct life_case cases[] = {
        { { .ok = 600, .provider_is_up = 1, .memory_mb = 500 }, "" },
        { { .ok = 600, .failed = 12, .provider_is_up = 1, .memory_mb = 500 }, "HighErrorRate" },
        { { .ok = 30, .failed = 5, .provider_is_up = 1, .memory_mb = 500 }, "HighErrorRatio" },
        { { .ok = 600, .slow = 300, .provider_is_up = 1, .memory_mb = 500 }, "HighLatencyP95" },
        { { .ok = 600, .slow = 600, .provider_is_up = 1, .memory_mb = 500 }, "HighLatencyP95" },
        { { .ok = 600, .provider_is_up = 0, .memory_mb = 500 }, "LLMProviderDown" },
        { { .ok = 600, .provider_is_up = 1, .memory_mb = 900 }, "HighMemoryNearLimit" },
        { { .ok = 600, .provider_is_up = 1, .memory_mb = 5000 },
          "HighMemoryUsage HighMemoryNearLimit" },
    };
    char *yaml = read_shipped("hedge_fund.yml");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sim sim;
        sim_init(&sim);
        sim_rules(&sim, yaml);
        live(&sim, &cases[i].minute, 25);
        for (size_t n = 0; n < ARRAY_LEN(names); n++) {
            char padded[160];
            char wanted[64];
            (void)snprintf(padded, sizeof(padded), " %s ", cases[i].firing);
            (void)snprintf(wanted, sizeof(wanted), " %s ", names[n]);
            bool is_expected = strstr(padded, wanted) != NULL;
            if (is_firing(&sim, names[n]) != is_expected) {
                fail_msg("case %zu: %s %s", i, names[n], is_expected ? "does not fire" : "fires");
            }
        }
        sim_finish(&sim);
    }
    mem_free(yaml);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_promtool),
        cmocka_unit_test(test_series_exist),
        cmocka_unit_test(test_seed_alerts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
