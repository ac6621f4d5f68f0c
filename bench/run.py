"""tocsin beside its peers: one command, one run, tables of absolutes and ratios.

  make bench                                      everything, sized for a small machine
  BENCH_ONLY=ingest,disk make bench               some of: ingest latency memory disk crash query
  PROMETHEUS_BIN=a:b VICTORIAMETRICS_BIN=c …      other versions than the installed ones; empty: none
  BENCH_SCALE=10                                  ten times as many series
  BENCH_SEED=1

Each engine in turn gets the same remote-write load on a fresh directory. CPU is the server's own
(user + system, all threads), memory its anonymous resident set, disk every file of its directory.
tocsin acknowledges after fsync, the peers do not. Ratios above 1 are in favour of tocsin.
"""

import os
import platform
import signal
import sys
import time

import engines

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
SEED = int(os.environ.get("BENCH_SEED", "1"))
STEP_MS = 15000
DAY_MS = 24 * 3600 * 1000
SUITES = {}


def suite(function):
    SUITES[function.__name__] = function
    return function


def scaled(series):
    """A whole number of targets of 500 series."""
    return max(1, round(series * SCALE / 500)) * 500


def now_ms():
    return int(time.time() * 1000) // STEP_MS * STEP_MS


class Timed:
    """CPU seconds of an engine over a block."""

    def __init__(self, engine):
        self.engine = engine

    def __enter__(self):
        self.begin = self.engine.cpu_s()
        return self

    def __exit__(self, *_):
        self.seconds = max(self.engine.cpu_s() - self.begin, 1 / engines.TICK)


@suite
def ingest(make):
    """Samples per second and core: new series, known series, a tenth of them replaced a minute."""
    series, rounds = scaled(100000), 20
    start = now_ms() - (3 * rounds + 2) * STEP_MS
    rows = {}
    with make() as engine:
        idle = engine.anon_bytes()
        with Timed(engine) as cpu:
            created = engine.load(series=series, rounds=1, start_ms=start, seed=SEED)
        rows["series are new, samples/s per core"] = created["samples"] / cpu.seconds
        with Timed(engine) as cpu:
            steady = engine.load(series=series, rounds=rounds, start_ms=start + STEP_MS, seed=SEED)
        rows["series exist, samples/s per core"] = steady["samples"] / cpu.seconds
        rows["series exist, samples/s, one connection"] = steady["samples"] / steady["seconds"]
        with Timed(engine) as cpu:
            churn = engine.load(series=series, rounds=rounds, seed=SEED, churn=10,
                                start_ms=start + (rounds + 1) * STEP_MS)
        rows["churn of 10 %/min, samples/s per core"] = churn["samples"] / cpu.seconds
        many = engine.load(series=series, rounds=rounds // 2, seed=SEED, connections=4,
                           start_ms=start + (2 * rounds + 1) * STEP_MS)
        rows["series exist, samples/s, four connections"] = many["samples"] / many["seconds"]
        rows["-idle memory, bytes"] = idle
    return f"{series:,} series, {rounds} rounds", rows


@suite
def latency(make):
    """Acknowledgements at half of what one engine takes at most."""
    series, rounds = scaled(50000), 12
    rows = {}
    with make() as engine:
        start = now_ms() - 40 * STEP_MS
        full = engine.load(series=series, rounds=rounds, start_ms=start, connections=4, seed=SEED)
        rate = int(full["samples"] / full["seconds"] / 2)
        half = engine.load(series=series, rounds=rounds, rate=rate, connections=4, seed=SEED,
                           start_ms=start + rounds * STEP_MS)
        rows["half load, samples/s"] = rate
        rows["-ack p50, ms"] = half["ack_p50_ms"]
        rows["-ack p99, ms"] = half["ack_p99_ms"]
    return f"{series:,} series, four connections", rows


@suite
def memory(make):
    """Anonymous memory per active series after two hours, over sizes."""
    rows = {}
    for series in (scaled(2500), scaled(5000), scaled(10000), scaled(20000)):
        with make() as engine:
            idle = engine.anon_bytes()
            engine.load(series=series, rounds=480, start_ms=now_ms() - 480 * STEP_MS, seed=SEED)
            time.sleep(5)  # maintenance runs every few seconds
            rows[f"-{series:,} series, bytes/series"] = (engine.anon_bytes() - idle) / series
    return "480 rounds", rows


@suite
def disk(make):
    """A day of the mixed corpus: bytes per sample on disk and written, over sizes; a cold panel."""
    rows = {}
    rounds = DAY_MS // STEP_MS
    end = now_ms() // DAY_MS * DAY_MS  # a finished day: what is kept of it for long
    for series in (scaled(500), scaled(1000), scaled(2000)):
        with make() as engine:
            out = engine.load(series=series, rounds=rounds, start_ms=end - rounds * STEP_MS,
                              data="mixed", seed=SEED)
            settled = engine.wait_disk_settled()
            rows[f"-{series:,} series, bytes/sample on disk"] = settled / out["samples"]
            rows[f"-{series:,} series, bytes/sample written"] = (engine.device_bytes() /
                                                                out["samples"])
            if series == scaled(2000):
                rows.update(cold_panel(engine, end))
    return f"{rounds} rounds of the mixed corpus", rows


def cold_panel(engine, end_ms):
    """The first query after a restart with nothing in the page cache."""
    engine.stop()
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as handle:
            handle.write("3")
    except OSError:
        return {}
    engine.start()
    params = {"query": 'sum by (job) (last_over_time({cluster=~"prod-eu-west-[01]"}[5m]))',
              "start": end_ms / 1000 - 86400, "end": end_ms / 1000 - 60, "step": 300}
    _, cold = engine.query("query_range", **params)
    _, warm = engine.query("query_range", **params)
    return {"-24 h panel, half of the series, cold, ms": cold * 1000,
            "-the same again, ms": warm * 1000}


@suite
def crash(make):
    """kill -9 under way, then until a write is taken and a query answered."""
    series, rounds = scaled(100000), 10
    rows = {}
    with make() as engine:
        engine.load(series=series, rounds=rounds, start_ms=now_ms() - rounds * STEP_MS, seed=SEED)
        engine.stop(signal.SIGKILL)
        begin = time.monotonic()
        engine.start()
        engine.load(series=500, rounds=1, start_ms=now_ms(), seed=SEED)
        rows["-until a write is taken, s"] = time.monotonic() - begin
        while True:
            try:
                result, _ = engine.query("query", query="count(last_over_time(queue_depth[10m]))",
                                         time=now_ms() / 1000)
                if result:
                    break
            except OSError:
                time.sleep(0.05)
        rows["-until a query is answered, s"] = time.monotonic() - begin
    return f"{series:,} series, {rounds} rounds", rows


@suite
def query(make):
    """CPU of the queries people have on screens, warm."""
    series, rounds = scaled(120000), 30
    rows = {}
    with make() as engine:
        end = now_ms()
        engine.load(series=series, rounds=rounds, start_ms=end - rounds * STEP_MS, seed=SEED)
        engine.settle()
        shown = {
            "-10 k series: sum by (job) (rate), a step, CPU ms":
                ("query", {"query": "sum by (job) (rate(http_requests_total[5m]))",
                           "time": end / 1000}),
            "-10 k series: the same over 7 min at 15 s, CPU ms":
                ("query_range", {"query": "sum by (job) (rate(http_requests_total[5m]))",
                                 "start": end / 1000 - 420, "end": end / 1000, "step": 15}),
            "-three matchers of all series, CPU ms":
                ("query", {"query": 'count({job="kubernetes-pods-7",handler="/v1/resource/1",'
                                    'le="0.5"})', "time": end / 1000}),
        }
        for name, (path, params) in shown.items():
            engine.query(path, **params)
            with Timed(engine) as cpu:
                for _ in range(10):
                    engine.query(path, **params)
            rows[name] = cpu.seconds / 10 * 1000
    return f"{series:,} series, {rounds} rounds", rows


def shape(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def print_table(results, names):
    """Rows whose name begins with '-' are better when smaller."""
    print(f"{'':52}" + "".join(f"{name:>14}" for name in names) +
          "".join(f"{'x ' + name:>14}" for name in names[1:]))
    for row, ours in results[names[0]].items():
        line = f"{row.lstrip('-'):52}"
        values = [results[name].get(row) for name in names]
        line += "".join(f"{'-' if value is None else shape(value):>14}" for value in values)
        for value in values[1:]:
            ratio = None
            if value and ours:
                ratio = value / ours if row.startswith("-") else ours / value
            line += f"{'-' if ratio is None else f'{ratio:.2f}':>14}"
        print(line, flush=True)


def main():
    chosen = os.environ.get("BENCH_ONLY", ",".join(SUITES)).split(",")
    unknown = [name for name in chosen if name not in SUITES]
    if unknown:
        raise SystemExit(f"BENCH_ONLY: no suite {unknown[0]}; there are {', '.join(SUITES)}")
    contenders = engines.all_engines()
    print(f"seed {SEED}; {os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}")
    for name, _, binary in contenders:
        print(f"{name}: {engines.version_of(binary)}")
    for title in chosen:
        results = {}
        for name, make, _ in contenders:
            what, results[name] = SUITES[title](make)
        print(f"\n== {title}: {SUITES[title].__doc__.strip()} {what}")
        print_table(results, [name for name, _, _ in contenders])
    return 0


if __name__ == "__main__":
    sys.exit(main())
