/*
 * The machine from /proc, under node_exporter's names and labels, so that its dashboards and rules
 * work without an agent.
 * Source: prometheus/node_exporter, collectors cpu, meminfo, loadavg, filesystem, diskstats,
 * netdev, stat, vmstat, uname.
 */
#include <assert.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/mem.h"
#include "ingest/monitor.h"

#define FILE_BYTES_MAX  (1u << 20)
#define NAME_BYTES_MAX  128
#define SECTOR_BYTES    512
#define FILESYSTEMS_MAX 256
#define DEVICES_MAX     256
#define MOUNT_BYTES_MAX 1024

struct writer {
    struct sampler *sampler;
    struct tsdb_batch *batch;
    struct labels common;
};

void host_init(struct host *host, const char *proc_path) {
    host->proc_path = mem_strdup(proc_path);
    buf_init(&host->file, FILE_BYTES_MAX);
}

void host_finish(struct host *host) {
    mem_free(host->proc_path);
    buf_finish(&host->file);
}

/* ---- writing and reading ---- */

static void put(struct writer *writer,
                const char *name,
                enum family_type type,
                const char *help,
                const char *const *pairs,
                double value) {
    struct family_metadata metadata = { .type = type, .help = str_from(help), .unit = STR("") };
    tsdb_batch_metadata(writer->batch, str_from(name), &metadata);
    sampler_put(writer->sampler, str_from(name), pairs, writer->common, value);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

/* The next word of a line; empty at its end. */
static struct str word_next(struct str *line) {
    size_t start = 0;
    while (start < line->len && is_space(line->ptr[start])) {
        start++;
    }
    size_t end = start;
    while (end < line->len && !is_space(line->ptr[end])) {
        end++;
    }
    struct str word = str_n(line->ptr + start, end - start);
    *line = str_n(line->ptr + end, line->len - end);
    return word;
}

static bool number_next(struct str *line, double *ret) {
    return str_parse_f64(word_next(line), ret);
}

static bool line_next(struct str *text, struct str *ret) {
    if (text->len == 0) {
        return false;
    }
    str_cut(*text, '\n', ret, text);
    return true;
}

/* A word as C text, empty when it does not fit. */
static const char *word_copy(struct str word, char out[NAME_BYTES_MAX]) {
    size_t len = word.len < NAME_BYTES_MAX ? word.len : 0;
    memcpy(out, word.ptr, len);
    out[len] = '\0';
    return out;
}

/* ---- stat: CPU and counters ---- */

static void cpu_put(struct writer *writer, struct str name, struct str rest, double ticks_per_s) {
    static const char *const modes[] = { "user",   "nice", "system",  "idle",
                                         "iowait", "irq",  "softirq", "steal" };
    char cpu[NAME_BYTES_MAX];
    word_copy(str_n(name.ptr + 3, name.len - 3), cpu);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        double ticks;
        if (!number_next(&rest, &ticks)) {
            return;
        }
        const char *pairs[] = { "cpu", cpu, "mode", modes[i], NULL };
        put(writer, "node_cpu_seconds_total", FAMILY_COUNTER,
            "Seconds the CPUs spent in each mode.", pairs, ticks / ticks_per_s);
    }
}

static void stat_sample(struct host *host, struct writer *writer) {
    static const struct {
        const char *key;
        const char *name;
        enum family_type type;
        const char *help;
    } counters[] = {
        { "intr", "node_intr_total", FAMILY_COUNTER, "Total number of interrupts serviced." },
        { "ctxt", "node_context_switches_total", FAMILY_COUNTER,
          "Total number of context switches." },
        { "btime", "node_boot_time_seconds", FAMILY_GAUGE, "Unix time of the last boot." },
        { "processes", "node_forks_total", FAMILY_COUNTER, "Total number of forks." },
        { "procs_running", "node_procs_running", FAMILY_GAUGE,
          "Number of processes in runnable state." },
        { "procs_blocked", "node_procs_blocked", FAMILY_GAUGE,
          "Number of processes blocked waiting for I/O." },
    };

    double ticks_per_s = (double)sysconf(_SC_CLK_TCK);
    struct str text = proc_read(host->proc_path, "stat", &host->file);
    struct str line;
    while (line_next(&text, &line)) {
        struct str key = word_next(&line);
        if (key.len > 3 && str_starts_with(key, STR("cpu"))) {
            cpu_put(writer, key, line, ticks_per_s);
            continue;
        }
        double value;
        for (size_t i = 0; i < ARRAY_LEN(counters); i++) {
            if (str_eq_c(key, counters[i].key) && number_next(&line, &value)) {
                put(writer, counters[i].name, counters[i].type, counters[i].help, NULL, value);
            }
        }
    }
}

/* ---- meminfo, vmstat, loadavg ---- */

/* "Active(anon)" becomes node_memory_Active_anon_bytes. */
static void memory_put(struct writer *writer, struct str key, double value, bool is_kib) {
    char name[NAME_BYTES_MAX];
    int len = snprintf(name, sizeof(name), "node_memory_");
    size_t at = (size_t)len;
    for (size_t i = 0; i < key.len && at + 8 < sizeof(name); i++) {
        char c = key.ptr[i];
        if (c == ')' || c == ':') {
            continue;
        }
        name[at++] = c == '(' ? '_' : c;
    }
    snprintf(name + at, sizeof(name) - at, "%s", is_kib ? "_bytes" : "");
    if (metric_name_is_valid_legacy(str_from(name))) {
        put(writer, name, FAMILY_GAUGE, "Memory information field of /proc/meminfo.", NULL,
            is_kib ? value * 1024 : value);
    }
}

static void meminfo_sample(struct host *host, struct writer *writer) {
    struct str text = proc_read(host->proc_path, "meminfo", &host->file);
    struct str line;
    while (line_next(&text, &line)) {
        struct str key = word_next(&line);
        double value;
        if (key.len > 1 && number_next(&line, &value)) {
            memory_put(writer, key, value, str_eq_c(word_next(&line), "kB"));
        }
    }
}

static void vmstat_sample(struct host *host, struct writer *writer) {
    static const struct {
        const char *key;
        const char *name;
    } fields[] = {
        { "oom_kill", "node_vmstat_oom_kill" },     { "pgpgin", "node_vmstat_pgpgin" },
        { "pgpgout", "node_vmstat_pgpgout" },       { "pswpin", "node_vmstat_pswpin" },
        { "pswpout", "node_vmstat_pswpout" },       { "pgfault", "node_vmstat_pgfault" },
        { "pgmajfault", "node_vmstat_pgmajfault" },
    };
    struct str text = proc_read(host->proc_path, "vmstat", &host->file);
    struct str line;
    while (line_next(&text, &line)) {
        struct str key = word_next(&line);
        double value;
        for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
            if (str_eq_c(key, fields[i].key) && number_next(&line, &value)) {
                put(writer, fields[i].name, FAMILY_UNKNOWN, "Field of /proc/vmstat.", NULL, value);
            }
        }
    }
}

static void load_sample(struct host *host, struct writer *writer) {
    static const struct {
        const char *name;
        const char *help;
    } loads[] = {
        { "node_load1", "1m load average." },
        { "node_load5", "5m load average." },
        { "node_load15", "15m load average." },
    };
    struct str text = proc_read(host->proc_path, "loadavg", &host->file);
    for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
        double value;
        if (number_next(&text, &value)) {
            put(writer, loads[i].name, FAMILY_GAUGE, loads[i].help, NULL, value);
        }
    }
}

/* ---- disks ---- */

/* Partitions and devices that only mirror memory or files are left out, as node_exporter does. */
static bool is_whole_disk(struct str device) {
    static const char *const prefixes[] = { "loop", "ram", "zram", "fd" };
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (str_starts_with(device, str_from(prefixes[i]))) {
            return false;
        }
    }
    bool ends_in_digit =
        device.len > 0 && device.ptr[device.len - 1] >= '0' && device.ptr[device.len - 1] <= '9';
    bool is_lettered = str_starts_with(device, STR("sd")) || str_starts_with(device, STR("hd")) ||
                       str_starts_with(device, STR("vd")) || str_starts_with(device, STR("xvd"));
    if (is_lettered && ends_in_digit) {
        return false;
    }
    return !(str_starts_with(device, STR("nvme")) && str_find(device, STR("p")) != SIZE_MAX);
}

static void disks_sample(struct host *host, struct writer *writer) {
    static const struct {
        const char *name;
        enum family_type type;
        double scale; /* 0 = not exposed */
        const char *help;
    } columns[] = {
        { "node_disk_reads_completed_total", FAMILY_COUNTER, 1, "Reads completed successfully." },
        { "node_disk_reads_merged_total", FAMILY_COUNTER, 1, "Reads merged." },
        { "node_disk_read_bytes_total", FAMILY_COUNTER, SECTOR_BYTES, "Bytes read." },
        { "node_disk_read_time_seconds_total", FAMILY_COUNTER, 1e-3, "Seconds spent by reads." },
        { "node_disk_writes_completed_total", FAMILY_COUNTER, 1, "Writes completed." },
        { "node_disk_writes_merged_total", FAMILY_COUNTER, 1, "Writes merged." },
        { "node_disk_written_bytes_total", FAMILY_COUNTER, SECTOR_BYTES, "Bytes written." },
        { "node_disk_write_time_seconds_total", FAMILY_COUNTER, 1e-3, "Seconds spent by writes." },
        { "node_disk_io_now", FAMILY_GAUGE, 1, "I/Os in progress." },
        { "node_disk_io_time_seconds_total", FAMILY_COUNTER, 1e-3, "Seconds spent doing I/Os." },
        { "node_disk_io_time_weighted_seconds_total", FAMILY_COUNTER, 1e-3,
          "Weighted seconds spent doing I/Os." },
    };
    struct str text = proc_read(host->proc_path, "diskstats", &host->file);
    struct str line;
    size_t count = 0;
    while (line_next(&text, &line) && count < DEVICES_MAX) {
        word_next(&line); /* major */
        word_next(&line); /* minor */
        struct str device = word_next(&line);
        if (device.len == 0 || !is_whole_disk(device)) {
            continue;
        }
        count++;
        char name[NAME_BYTES_MAX];
        const char *pairs[] = { "device", word_copy(device, name), NULL };
        double value;
        for (size_t i = 0; i < ARRAY_LEN(columns) && number_next(&line, &value); i++) {
            double scaled = columns[i].scale < 1 ? value / 1000 : value * columns[i].scale;
            put(writer, columns[i].name, columns[i].type, columns[i].help, pairs, scaled);
        }
    }
}

/* ---- network ---- */

static void network_sample(struct host *host, struct writer *writer) {
    static const struct {
        size_t column; /* after the colon */
        const char *name;
    } columns[] = {
        { 0, "node_network_receive_bytes_total" },  { 1, "node_network_receive_packets_total" },
        { 2, "node_network_receive_errs_total" },   { 3, "node_network_receive_drop_total" },
        { 8, "node_network_transmit_bytes_total" }, { 9, "node_network_transmit_packets_total" },
        { 10, "node_network_transmit_errs_total" }, { 11, "node_network_transmit_drop_total" },
    };
    struct str text = proc_read(host->proc_path, "net/dev", &host->file);
    struct str line;
    size_t count = 0;
    while (line_next(&text, &line) && count < DEVICES_MAX) {
        struct str device;
        if (!str_cut(line, ':', &device, &line)) {
            continue; /* the two lines of the heading */
        }
        count++;
        char name[NAME_BYTES_MAX];
        const char *pairs[] = { "device", word_copy(str_trim(device), name), NULL };
        double value;
        size_t next = 0;
        for (size_t i = 0; next < ARRAY_LEN(columns) && number_next(&line, &value); i++) {
            if (columns[next].column == i) {
                put(writer, columns[next].name, FAMILY_COUNTER, "Network device statistic.", pairs,
                    value);
                next++;
            }
        }
    }
}

/* ---- file systems ---- */

/*
 * Nothing that is not storage, and nothing that may hang: a network file system whose server is
 * away would hold up the thread that keeps time.
 */
static bool is_local_storage(struct str type, struct str mount) {
    static const char *const types[] = {
        "ext2",  "ext3", "ext4",  "xfs", "btrfs",    "zfs",      "f2fs",  "vfat",
        "exfat", "ntfs", "ntfs3", "jfs", "reiserfs", "bcachefs", "tmpfs",
    };
    static const char *const mounts[] = { "/dev",
                                          "/proc",
                                          "/sys",
                                          "/run/credentials",
                                          "/var/lib/docker/",
                                          "/var/lib/containers/storage/" };
    for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
        if (str_starts_with(mount, str_from(mounts[i]))) {
            return false;
        }
    }
    if (str_eq_c(type, "overlay")) {
        return str_eq_c(mount, "/"); /* the root of a container */
    }
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (str_eq_c(type, types[i])) {
            return true;
        }
    }
    return false;
}

/* Octal escapes of /proc/mounts ("\040" is a blank). False when it does not fit. */
static bool mount_decode(struct str text, char out[MOUNT_BYTES_MAX]) {
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (len + 1 >= MOUNT_BYTES_MAX) {
            return false;
        }
        char c = text.ptr[i];
        if (c == '\\' && i + 3 < text.len) {
            c = (char)((text.ptr[i + 1] - '0') * 64 + (text.ptr[i + 2] - '0') * 8 +
                       (text.ptr[i + 3] - '0'));
            i += 3;
        }
        out[len++] = c;
    }
    out[len] = '\0';
    return len > 0;
}

static void filesystem_put(struct writer *writer, const char *const *pairs, const char *mount) {
    struct statvfs fs;
    if (statvfs(mount, &fs) != 0 || fs.f_blocks == 0) {
        return;
    }
    double block = (double)fs.f_frsize;

    const struct {
        const char *name;
        const char *help;
        double value;
    } gauges[] = {
        { "node_filesystem_size_bytes", "Filesystem size in bytes.", (double)fs.f_blocks * block },
        { "node_filesystem_free_bytes", "Filesystem free space in bytes.",
          (double)fs.f_bfree * block },
        { "node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.",
          (double)fs.f_bavail * block },
        { "node_filesystem_files", "Filesystem total file nodes.", (double)fs.f_files },
        { "node_filesystem_files_free", "Filesystem free file nodes.", (double)fs.f_ffree },
        { "node_filesystem_readonly", "Filesystem read-only status.",
          (fs.f_flag & ST_RDONLY) != 0 ? 1 : 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(gauges); i++) {
        put(writer, gauges[i].name, FAMILY_GAUGE, gauges[i].help, pairs, gauges[i].value);
    }
}

static void filesystems_sample(struct host *host, struct writer *writer) {
    struct str text = proc_read(host->proc_path, "mounts", &host->file);
    struct str line;
    size_t count = 0;
    struct map seen; /* of several mounts at one place the first is shown */
    map_init(&seen);
    while (line_next(&text, &line) && count < FILESYSTEMS_MAX) {
        struct str device = word_next(&line);
        struct str mount = word_next(&line);
        struct str type = word_next(&line);
        char path[MOUNT_BYTES_MAX];
        if (!is_local_storage(type, mount) || !mount_decode(mount, path) ||
            map_put(&seen, mount, host) != NULL) {
            continue;
        }
        count++;
        char device_text[NAME_BYTES_MAX];
        char type_text[NAME_BYTES_MAX];
        const char *pairs[] = { "device",     word_copy(device, device_text),
                                "fstype",     word_copy(type, type_text),
                                "mountpoint", path,
                                NULL };
        filesystem_put(writer, pairs, path);
    }
    map_finish(&seen, NULL);
}

/* ---- all of it ---- */

static void uname_sample(struct writer *writer) {
    struct utsname names;
    if (uname(&names) != 0) {
        return;
    }
    const char *pairs[] = {
        "domainname",   names.domainname, "machine",     names.machine, "nodename",
        names.nodename, "release",        names.release, "sysname",     names.sysname,
        "version",      names.version,    NULL,
    };
    put(writer, "node_uname_info", FAMILY_GAUGE,
        "Labeled system information as provided by the uname system call.", pairs, 1);
}

void host_sample(struct host *host,
                 struct sampler *sampler,
                 struct tsdb_batch *batch,
                 struct labels common) {
    struct writer writer = { .sampler = sampler, .batch = batch, .common = common };
    stat_sample(host, &writer);
    meminfo_sample(host, &writer);
    vmstat_sample(host, &writer);
    load_sample(host, &writer);
    disks_sample(host, &writer);
    network_sample(host, &writer);
    filesystems_sample(host, &writer);
    uname_sample(&writer);
    put(&writer, "node_time_seconds", FAMILY_GAUGE, "System time in seconds since epoch (1970).",
        NULL, (double)sampler->t_ms / 1000);
}
