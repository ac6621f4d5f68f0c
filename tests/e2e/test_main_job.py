"""The main job, end to end: real workers push, alerts fire and resolve, people are told.

Goal: what four restarting uvicorn workers were acknowledged is exactly what the engine counts; the
shipped rules go pending, firing, resolved on time; Slack and a real SMTP server hold the right
messages; ten kill -9 in mid-flow lose nothing and restart no `for` clock.
Method: an outside record (the workers' journals) is the oracle; the shipped rule file runs with
its durations scaled down, expressions untouched otherwise.
"""

import collections
import json
import os
import random
import re
import time

import pytest

from backend import Backend, settle
from engine import ROOT, free_port, wait_for
from llm_provider import Provider
from tocsin_events import Events

BUCKETS = {0.1, 0.25, 0.5, 1, 2.5, 5, 10, float("inf")}


def scaled_rules(tmp_path, for_s):
    """rules.d/hedge_fund.yml with every `for` at for_s, 1 s evaluation, and short windows."""
    with open(os.path.join(ROOT, "rules.d", "hedge_fund.yml"), encoding="utf-8") as handle:
        text = handle.read()
    text = re.sub(r"(\s)for: \w+", rf"\1for: {for_s}s", text)
    text = re.sub(r"\[\d+[mh]\]", "[15s]", text)
    text = re.sub(r"(\n  - name: [^\n]+\n)(    interval: \w+\n)?", r"\1    interval: 1s\n", text)
    path = tmp_path / "rules.yml"
    path.write_text(text)
    return str(path)


@pytest.fixture
def provider():
    stub = Provider()
    yield stub
    stub.close()


def notify_env(slack, mail):
    return {"ALERT_WEBHOOK_URL": slack.url, "ALERT_EMAIL": "oncall@example.com",
            "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mail.port), "SMTP_STARTTLS": "false",
            "SMTP_FROM": "tocsin@example.com"}


def request_oracle(lines, what):
    """Counter of (method, endpoint, status) over request events of that kind of journal line."""
    return collections.Counter(
        (line["method"], line["route"], str(line["status"]))
        for line in lines if line["what"] == what and line["kind"] == "request")


def request_counts(engine):
    """The same from the engine's counters."""
    return {(labels["method"], labels["endpoint"], labels["status"]): int(value)
            for labels, value in engine.query("hedge_fund_requests_total")}


def alert_state(engine, name):
    states = [alert["state"] for alert in engine.alerts()
              if alert["labels"]["alertname"] == name]
    return states[0] if states else "inactive"


def inbox(engine):
    return engine.get("/api/v1/inbox?limit=1000")["data"]["messages"]


def test_counts_equal_the_oracle(make_engine, tmp_path, provider):
    engine = make_engine(port=free_port()).start()
    backend = Backend(tmp_path, engine.url, provider.url, requests_max=40)
    calls = ([("GET", "/ping")] * 150 + [("GET", "/api/analyze?ticker=AAPL")] * 60 +
             [("GET", "/api/analyze?ticker=bad1")] * 20 + [("GET", "/api/fail")] * 25 +
             [("POST", "/hedge-fund/run")] * 15)
    random.Random(7).shuffle(calls)
    backend.load(calls)
    wait_for("a worker that reached its limit is replaced", lambda: backend.worker_count() > 4, 30)
    backend.load([("GET", "/ping")] * 40)
    settle(backend)
    backend.stop()
    settle(backend)

    lines = backend.journal()
    assert request_oracle(lines, "made") == request_oracle(lines, "acked")
    oracle = dict(request_oracle(lines, "acked"))
    wait_for("counters equal the oracle", lambda: request_counts(engine) == oracle, 15)

    llm = [line for line in lines if line["what"] == "acked" and line["kind"] == "llm"]
    assert engine.value("sum(hedge_fund_llm_calls_total)") == len(llm)
    assert engine.value(
        'sum(hedge_fund_request_duration_seconds_bucket{le="+Inf"})') == sum(oracle.values())
    les = {float(labels["le"]) for labels, _ in
           engine.query("count by (le) (hedge_fund_request_duration_seconds_bucket)")}
    assert les == BUCKETS
    # No counter ever dips, over all restarts of workers.
    assert engine.value("sum(resets(hedge_fund_requests_total[1h]))") == 0
    engine.stop()


def test_alert_life_cycle(make_engine, tmp_path, slack, mail, provider):
    rules = scaled_rules(tmp_path, for_s=4)
    engine = make_engine(f"--rules.path={rules}", "--events.sample-interval=1s",
                         env=notify_env(slack, mail), port=free_port()).start()
    backend = Backend(tmp_path, engine.url, provider.url, requests_max=1000)

    provider.outage = {"*"}
    backend.load([("GET", "/api/analyze?ticker=AAPL")] * 12)
    wait_for("LLMProviderDown pending",
             lambda: alert_state(engine, "LLMProviderDown") == "pending", 20)
    alert = [a for a in engine.alerts() if a["labels"]["alertname"] == "LLMProviderDown"][0]
    assert alert["labels"]["severity"] == "critical"
    wait_for("LLMProviderDown firing",
             lambda: alert_state(engine, "LLMProviderDown") == "firing", 20)
    wait_for("Slack is told", lambda: any("LLMProviderDown" in t for t in slack.texts()), 30)
    wait_for("mail arrives", lambda: any("LLMProviderDown" in s for s in mail.subjects()), 30)

    provider.outage = set()
    backend.load([("GET", "/api/analyze?ticker=AAPL")] * 12)
    wait_for("LLMProviderDown inactive",
             lambda: alert_state(engine, "LLMProviderDown") == "inactive", 20)
    wait_for("Slack hears of the end", lambda: any(
        "LLMProviderDown" in t and "resolved" in t.lower() for t in slack.texts()), 60)
    wait_for("mail tells of the end", lambda: any(
        "LLMProviderDown" in s and "resolved" in s.lower() for s in mail.subjects()), 60)

    # On time: pending for exactly `for`, seen in the stored history.
    pending = engine.query('count_over_time(ALERTS{alertname="LLMProviderDown",'
                           'alertstate="pending"}[10m])')
    assert [value for _, value in pending] == [4.0]
    statuses = [m["status"] for m in inbox(engine) if "LLMProviderDown" in json.dumps(m)]
    assert sorted(statuses) == ["firing", "resolved"], "told twice, without a fault"
    # A clean goodbye is not an outage; silence of all workers is.
    wait_for("up", lambda: engine.value('up{job="hedge-fund-backend"}') == 1, 10)
    backend.stop()
    settle(backend)
    wait_for("gone, not down",
             lambda: engine.value('up{job="hedge-fund-backend"}') is None, 20)
    assert alert_state(engine, "ServiceDown") == "inactive"
    engine.stop()


def test_every_seed_alert(make_engine, tmp_path):
    """The other five of the seed's alerts, and the twin of the one that can never fire."""
    rules = scaled_rules(tmp_path, for_s=3)
    engine = make_engine(f"--rules.path={rules}", "--events.sample-interval=1s").start()
    events = Events(engine.url, app="hedge_fund", job="hedge-fund-backend", beat_s=1)
    expected = {"HighErrorRate", "HighMemoryUsage", "HighCPUUsage", "HighLatencyP95"}
    cpu_s = 0.0

    def firing():
        nonlocal cpu_s
        cpu_s += 1.0  # twice a second: two cores busy
        for status in (200, 500):
            events.send("request", method="GET", route="/slow", status=status, duration_ms=12000)
        events.send("resource", rss_bytes=6 << 30, cpu_seconds=1000 + cpu_s)
        return expected <= {alert["labels"]["alertname"] for alert in engine.alerts()
                            if alert["state"] == "firing"}

    # Beats only: the client's own figures about this process would mix with the made-up ones.
    events._beat = lambda: events.send("beat", interval_s=1)
    wait_for("four alerts fire", firing, 60, 0.5)
    assert alert_state(engine, "HighLatency") == "inactive", "its bucket ceiling is its threshold"
    assert alert_state(engine, "ServiceDown") == "inactive"

    events.abandon()  # no goodbye: the process is gone
    wait_for("ServiceDown fires", lambda: alert_state(engine, "ServiceDown") == "firing", 30)
    wait_for("what was high resolves", lambda: all(
        alert_state(engine, name) == "inactive" for name in expected), 60, 0.5)
    assert engine.stop() == 0


def test_kill_in_mid_flow(make_engine, tmp_path, slack, mail, provider):
    """Ten kill -9 while workers push and an alert with a long `for` is pending."""
    seed = int(os.environ.get("TOCSIN_SEED", "0")) or random.randrange(1, 1 << 30)
    print(f"TOCSIN_SEED={seed}")
    rng = random.Random(seed)
    rules = scaled_rules(tmp_path, for_s=20)
    engine = make_engine(f"--rules.path={rules}", "--events.sample-interval=1s",
                         env=notify_env(slack, mail), port=free_port()).start()
    backend = Backend(tmp_path, engine.url, provider.url, requests_max=80)
    provider.outage = {"*"}
    backend.load([("GET", "/api/analyze?ticker=AAPL")] * 12)
    wait_for("pending", lambda: alert_state(engine, "LLMProviderDown") == "pending", 20)
    active_at = [a["activeAt"] for a in engine.alerts()
                 if a["labels"]["alertname"] == "LLMProviderDown"]

    for _ in range(10):
        backend.load([("GET", "/ping")] * rng.randrange(5, 40), threads=4)
        time.sleep(rng.uniform(0, 0.8))
        engine.kill()
        engine.start()
        again = [a["activeAt"] for a in engine.alerts()
                 if a["labels"]["alertname"] == "LLMProviderDown"]
        assert again == active_at, "the `for` clock restarted"

    wait_for("firing", lambda: alert_state(engine, "LLMProviderDown") == "firing", 40)
    wait_for("Slack is told", lambda: any("LLMProviderDown" in t for t in slack.texts()), 30)
    engine.kill()
    provider.outage = set()
    engine.start()
    backend.load([("GET", "/api/analyze?ticker=AAPL")] * 12)
    wait_for("Slack hears of the end", lambda: any(
        "LLMProviderDown" in t and "resolved" in t.lower() for t in slack.texts()), 60)

    backend.stop()
    settle(backend)
    lines = backend.journal()
    oracle = dict(request_oracle(lines, "acked"))
    assert request_oracle(lines, "made") == request_oracle(lines, "acked")
    wait_for("every acknowledged event, once",
             lambda: request_counts(engine) == oracle, 20)
    statuses = [m["status"] for m in inbox(engine) if "LLMProviderDown" in json.dumps(m)]
    assert sorted(statuses) == ["firing", "resolved"], "inbox is exactly-once"
    assert engine.stop() == 0
