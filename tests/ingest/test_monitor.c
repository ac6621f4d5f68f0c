/*
 * Goal: our own metrics are pages that promtool and OpenMetrics accept, the same families land in
 * the store, and the machine is sampled under node_exporter's names. Method: a registry with every
 * type, pages compared and given to promtool and to our own parser; a made-up /proc.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ingest/text.h"
#include "tests/ingest/fixture.h"

static int setup(void **state) {
    static struct door_fixture fixture;
    door_init(&fixture);
    door_open(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    door_finish(*state);
    return 0;
}

static const char *expose(struct door_fixture *f, enum ingest_exposition format) {
    struct buf out;
    buf_init(&out, 8 << 20);
    ingest_expose(f->ingest, format, &out);
    struct str text = arena_str(&f->store.arena, buf_as_str(&out));
    buf_finish(&out);
    return text.ptr;
}

static void fill(struct door_fixture *f) {
    static const char *const pairs[] = { "path", "a\\b\"c\nd", "code", "200", NULL };
    static const double bounds[] = { 0.5, 1, 1e-7 + 5 };
    struct metric_registry *metrics = f->metrics;
    metric_add(metric_counter(metrics, "test_hits_total", "Hits\\of\nall \"kinds\".", pairs), 3);
    metric_set(metric_gauge(metrics, "test_level", "Level.", NULL), 0.25);
    struct metric *histogram =
        metric_histogram(metrics, "test_seconds", "Seconds.", NULL, bounds, ARRAY_LEN(bounds));
    metric_observe(histogram, 0.25);
    metric_observe(histogram, 0.75);
    metric_observe(histogram, 7);
}

/* ---- pages ---- */

static void test_text_page(void **state) {
    struct door_fixture *f = *state;
    fill(f);
    const char *page = expose(f, INGEST_EXPOSITION_TEXT_0_0_4);
    static const char *const parts[] = {
        "# HELP test_hits_total Hits\\\\of\\nall \"kinds\".\n"
        "# TYPE test_hits_total counter\n"
        "test_hits_total{path=\"a\\\\b\\\"c\\nd\",code=\"200\"} 3\n",
        "# HELP test_level Level.\n# TYPE test_level gauge\ntest_level 0.25\n",
        "# TYPE test_seconds histogram\n"
        "test_seconds_bucket{le=\"0.5\"} 1\n"
        "test_seconds_bucket{le=\"1.0\"} 2\n"
        "test_seconds_bucket{le=\"5.0000001\"} 2\n"
        "test_seconds_bucket{le=\"+Inf\"} 3\n"
        "test_seconds_sum 8\n"
        "test_seconds_count 3\n",
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total ",
        "\nprocess_resident_memory_bytes ",
        "\nprocess_open_fds ",
        "\nprocess_max_fds ",
        "\nprocess_start_time_seconds 1",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (strstr(page, parts[i]) == NULL) {
            fail_msg("no\n%s\nin\n%s", parts[i], page);
        }
    }
    assert_null(strstr(page, "# EOF"));
}

static void test_openmetrics_page(void **state) {
    struct door_fixture *f = *state;
    fill(f);
    const char *page = expose(f, INGEST_EXPOSITION_OPENMETRICS_1_0_0);
    assert_non_null(strstr(page, "# HELP test_hits Hits\\\\of\\nall \\\"kinds\\\".\n"
                                 "# TYPE test_hits counter\n"
                                 "test_hits_total{path="));
    assert_true(str_ends_with(str_from(page), STR("\n# EOF\n")));
    struct text_parser parser;
    struct text_entry entry;
    struct err err = ERR_INIT;
    text_init(&parser, TEXT_OPENMETRICS, str_from(page));
    enum text_kind kind;
    do {
        kind = text_next(&parser, &entry, &err);
    } while (kind != TEXT_END && kind != TEXT_BAD);
    if (kind == TEXT_BAD) {
        fail_msg("%s", err.msg);
    }
}

static void test_promtool_accepts_our_page(void **state) {
    struct door_fixture *f = *state;
    if (access("/usr/bin/promtool", X_OK) != 0) {
        unit_skip("promtool is not installed");
        return;
    }
    char path[256];
    snprintf(path, sizeof(path), "%s/page", f->store.dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(expose(f, INGEST_EXPOSITION_TEXT_0_0_4), file);
    fclose(file);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (freopen(path, "r", stdin) == NULL || freopen("/dev/null", "w", stdout) == NULL) {
            _exit(9);
        }
        execl("/usr/bin/promtool", "promtool", "check", "metrics", (char *)NULL);
        _exit(9);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_negotiation(void **state) {
    (void)state;

    static const struct {
        const char *accept;
        enum ingest_exposition format;
    } cases[] = {
        { "", INGEST_EXPOSITION_TEXT_0_0_4 },
        { "*/*", INGEST_EXPOSITION_TEXT_0_0_4 },
        { "text/html", INGEST_EXPOSITION_TEXT_0_0_4 },
        { "application/openmetrics-text", INGEST_EXPOSITION_OPENMETRICS_1_0_0 },
        { "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,"
          "*/*;q=0.1",
          INGEST_EXPOSITION_OPENMETRICS_1_0_0 },
        { "application/openmetrics-text; version=1.0.0; q=0.2, text/plain; q=0.3",
          INGEST_EXPOSITION_TEXT_0_0_4 },
        { "application/openmetrics-text;version=0.0.1,text/plain;q=0.1",
          INGEST_EXPOSITION_TEXT_0_0_4 },
        { "application/openmetrics-text;q=0", INGEST_EXPOSITION_TEXT_0_0_4 },
        { "application/openmetrics-text;q=x", INGEST_EXPOSITION_TEXT_0_0_4 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (ingest_exposition_negotiate(str_from(cases[i].accept)) != cases[i].format) {
            fail_msg("%s", cases[i].accept);
        }
    }
    for (size_t i = 0; i < INGEST_EXPOSITION_COUNT; i++) {
        assert_non_null(
            strstr(ingest_exposition_content_type((enum ingest_exposition)i), "charset"));
    }
}

/* ---- own samples ---- */

static void reopen_with(struct door_fixture *f,
                        int64_t self_ms,
                        int64_t host_ms,
                        const char *proc) {
    door_close(f);
    f->options.self_interval_ms = self_ms;
    f->options.host_interval_ms = host_ms;
    f->options.self_instance = "here:1";
    f->options.proc_path = proc;
    door_open(f);
}

static void test_own_families_land_in_the_store(void **state) {
    struct door_fixture *f = *state;
    static const char *const clash[] = { "job", "inner", NULL };
    reopen_with(f, 10000, -1, NULL);
    fill(f);
    metric_inc(metric_counter(f->metrics, "test_clash_total", "Clash.", clash));
    door_run(f, 20000);
    assert_string_equal(samples_of(f, "test_level"),
                        "test_level{instance=\"here:1\",job=\"tocsin\"} 1:0.25 10:0.25 20:0.25\n");
    assert_string_equal(
        newest_of(f, "test_seconds_bucket"),
        "test_seconds_bucket{instance=\"here:1\",job=\"tocsin\",le=\"+Inf\"} 3\n"
        "test_seconds_bucket{instance=\"here:1\",job=\"tocsin\",le=\"0.5\"} 1\n"
        "test_seconds_bucket{instance=\"here:1\",job=\"tocsin\",le=\"1.0\"} 2\n"
        "test_seconds_bucket{instance=\"here:1\",job=\"tocsin\",le=\"5.0000001\"} 2\n");
    assert_string_equal(newest_of(f, "test_seconds_sum"),
                        "test_seconds_sum{instance=\"here:1\",job=\"tocsin\"} 8\n");
    assert_string_equal(
        newest_of(f, "test_clash_total"),
        "test_clash_total{exported_job=\"inner\",instance=\"here:1\",job=\"tocsin\"} 1\n");
    assert_string_equal(newest_of(f, "up"), "up{instance=\"here:1\",job=\"tocsin\"} 1\n");
    ingest_set_self_instance(f->ingest, "there:2");
    door_run(f, 10000);
    assert_string_equal(newest_of(f, "test_level"),
                        "test_level{instance=\"here:1\",job=\"tocsin\"} stale\n"
                        "test_level{instance=\"there:2\",job=\"tocsin\"} 0.25\n");
}

/* ---- the machine ---- */

static void write_proc(const char *dir, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void make_proc(char dir[64]) {
    char path[128];
    snprintf(dir, 64, "/tmp/tocsin-proc-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/net", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    write_proc(dir, "stat",
               "cpu  300 0 0 0 0 0 0 0 0 0\n"
               "cpu0 100 200 300 400 500 600 700 800 0 0\n"
               "intr 12345 1 2 3\nctxt 99\nbtime 1690000000\nprocesses 7\nprocs_running 2\n"
               "procs_blocked 1\nsoftirq 1 2\n");
    write_proc(dir, "meminfo",
               "MemTotal:        1000 kB\nMemAvailable:     500 kB\nActive(anon):      10 kB\n"
               "HugePages_Total:       3\n");
    write_proc(dir, "loadavg", "0.50 0.25 0.125 2/345 6789\n");
    write_proc(dir, "vmstat", "nr_free_pages 1\noom_kill 4\npgfault 5\n");
    write_proc(dir, "diskstats",
               "   7       0 loop0 1 1 1 1 1 1 1 1 1 1 1\n"
               " 254       0 vda 10 20 30 4000 50 60 70 8000 9 10000 11000 0 0 0 0 0 0\n"
               " 254       1 vda1 1 1 1 1 1 1 1 1 1 1 1\n"
               " 259       0 nvme0n1 1 0 0 0 0 0 0 0 0 0 0\n"
               " 259       1 nvme0n1p1 1 0 0 0 0 0 0 0 0 0 0\n");
    write_proc(dir, "net/dev",
               "Inter-|   Receive                            |  Transmit\n"
               " face |bytes    packets errs drop fifo frame compressed multicast|bytes packets\n"
               "  eth0: 100 20 3 4 5 6 7 8 900 100 11 12 13 14 15 16\n");
    write_proc(dir, "mounts",
               "proc /proc proc rw 0 0\n/dev/root / ext4 rw 0 0\n"
               "server:/x /tmp nfs4 rw 0 0\n/dev/b /no\\040such ext4 rw 0 0\n");
}

#define NODE "instance=\"here:1\",job=\"node\""

static const struct {
    const char *name;
    const char *lines;
} machine_lines[] = {
    { "node_memory_MemTotal_bytes", "{" NODE "} 1024000\n" },
    { "node_memory_MemAvailable_bytes", "{" NODE "} 512000\n" },
    { "node_memory_Active_anon_bytes", "{" NODE "} 10240\n" },
    { "node_memory_HugePages_Total", "{" NODE "} 3\n" },
    { "node_load1", "{" NODE "} 0.5\n" },
    { "node_load5", "{" NODE "} 0.25\n" },
    { "node_load15", "{" NODE "} 0.125\n" },
    { "node_boot_time_seconds", "{" NODE "} 1690000000\n" },
    { "node_context_switches_total", "{" NODE "} 99\n" },
    { "node_intr_total", "{" NODE "} 12345\n" },
    { "node_forks_total", "{" NODE "} 7\n" },
    { "node_procs_running", "{" NODE "} 2\n" },
    { "node_vmstat_oom_kill", "{" NODE "} 4\n" },
    { "node_disk_reads_completed_total",
      "{device=\"nvme0n1\"," NODE "} 1\nnode_disk_reads_completed_total{device=\"vda\"," NODE
      "} 10\n" },
    { "node_network_receive_bytes_total", "{device=\"eth0\"," NODE "} 100\n" },
    { "node_network_receive_drop_total", "{device=\"eth0\"," NODE "} 4\n" },
    { "node_network_transmit_bytes_total", "{device=\"eth0\"," NODE "} 900\n" },
    { "node_network_transmit_errs_total", "{device=\"eth0\"," NODE "} 11\n" },
    { "node_time_seconds", "{" NODE "} 1700000005\n" },
    { "up", "{" NODE "} 1\n" },
};

static const struct {
    const char *name;
    const char *part;
} machine_parts[] = {
    { "node_cpu_seconds_total", "{cpu=\"0\"," NODE ",mode=\"idle\"} 4\n" },
    { "node_cpu_seconds_total", "{cpu=\"0\"," NODE ",mode=\"steal\"} 8\n" },
    { "node_disk_read_bytes_total", "{device=\"vda\"," NODE "} 15360\n" },
    { "node_disk_read_time_seconds_total", "{device=\"vda\"," NODE "} 4\n" },
    { "node_disk_io_now", "{device=\"vda\"," NODE "} 9\n" },
    { "node_disk_io_time_seconds_total", "{device=\"vda\"," NODE "} 10\n" },
    { "node_filesystem_size_bytes",
      "{device=\"/dev/root\",fstype=\"ext4\"," NODE ",mountpoint=\"/\"} " },
    { "node_filesystem_avail_bytes", "mountpoint=\"/\"} " },
    { "node_uname_info", "sysname=\"Linux\"" },
};

static void test_machine(void **state) {
    struct door_fixture *f = *state;
    char dir[64];
    make_proc(dir);
    reopen_with(f, -1, 5000, dir);
    door_run(f, 5000);

    for (size_t i = 0; i < ARRAY_LEN(machine_lines); i++) {
        char expected[512];
        snprintf(expected, sizeof(expected), "%s%s", machine_lines[i].name, machine_lines[i].lines);
        assert_string_equal(newest_of(f, machine_lines[i].name), expected);
    }

    for (size_t i = 0; i < ARRAY_LEN(machine_parts); i++) {
        const char *got = newest_of(f, machine_parts[i].name);
        if (strstr(got, machine_parts[i].part) == NULL) {
            fail_msg("no %s in %s", machine_parts[i].part, got);
        }
    }
    assert_null(strstr(newest_of(f, "node_filesystem_size_bytes"), "nfs"));
    /* A device that is gone goes stale; a file that is gone takes its families along. */
    write_proc(dir, "net/dev", "");
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "node_network_receive_bytes_total"),
                        "node_network_receive_bytes_total{device=\"eth0\"," NODE "} stale\n");
    door_close(f);
    f->options.proc_path = NULL;
    f->options.host_interval_ms = -1;
    door_open(f);
    remove_tree(dir);
}

static void test_the_real_machine(void **state) {
    struct door_fixture *f = *state;
    reopen_with(f, -1, 0, NULL); /* 15 s */
    door_run(f, 15000);
    static const char *const names[] = { "node_cpu_seconds_total", "node_memory_MemTotal_bytes",
                                         "node_load1", "node_boot_time_seconds",
                                         "node_filesystem_size_bytes" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_true(strlen(newest_of(f, names[i])) > 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_text_page),
        TEST(test_openmetrics_page),
        TEST(test_promtool_accepts_our_page),
        cmocka_unit_test(test_negotiation),
        TEST(test_own_families_land_in_the_store),
        TEST(test_machine),
        TEST(test_the_real_machine),
    };
    return cmocka_run_group_tests_name("ingest/monitor", tests, NULL, NULL);
}
