"""make demo: the main job on your terminal, in about a minute.

Starts the engine, a fake LLM provider, the FastAPI producer with four workers, a Slack stub and a
real SMTP server; puts load on the producer, switches a provider outage on and off, and prints what
happens to the alert: pending, firing, delivered, resolved.
"""

import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
os.environ["TOCSIN_BINARY"] = os.path.abspath(sys.argv[1] if len(sys.argv) > 1
                                              else os.path.join(ROOT, "build", "tocsin"))

import pathlib  # noqa: E402

from backend import Backend  # noqa: E402
from engine import Engine, free_port, wait_for  # noqa: E402
from llm_provider import Provider  # noqa: E402
from stubs import MailStub, SlackStub  # noqa: E402

ALERT = "LLMProviderDown"
STARTED = time.monotonic()


def say(text):
    print(f"{time.monotonic() - STARTED:6.1f} s  {text}", flush=True)


def quick_rules(directory):
    """The shipped rules with `for` at 5 s and a 1 s interval, so that nobody waits for minutes."""
    with open(os.path.join(ROOT, "rules.d", "hedge_fund.yml"), encoding="utf-8") as handle:
        text = handle.read()
    text = re.sub(r"(\s)for: \w+", r"\1for: 5s", text)
    text = re.sub(r"(\n  - name: [^\n]+\n)(    interval: \w+\n)?", r"\1    interval: 1s\n", text)
    path = pathlib.Path(directory) / "rules.yml"
    path.write_text(text)
    return str(path)


def put_load(backend, stop):
    """Requests on a few threads until told to stop."""
    def one():
        rng = random.Random(threading.get_ident())
        while not stop.is_set():
            path = rng.choice(["/ping", "/ping", "/api/analyze?ticker=AAPL", "/api/fail"])
            backend.call("GET", path)
            stop.wait(0.05)

    threads = [threading.Thread(target=one, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    return threads


def state(engine):
    states = [alert["state"] for alert in engine.alerts()
              if alert["labels"]["alertname"] == ALERT]
    return "firing" if "firing" in states else "pending" if "pending" in states else "inactive"


def follow(engine, wanted, timeout_s=60):
    wait_for(f"{ALERT} {wanted}", lambda: state(engine) == wanted, timeout_s)
    say(f"alert {ALERT} is {wanted}")


def show_told(engine, slack, mail, word):
    slack_text = wait_for("Slack", lambda: [
        t for t in slack.texts() if ALERT in t and word in t.lower()], 60)
    say(f"Slack stub received {len(slack_text)} message(s) about it being {word}")
    subjects = wait_for("mail", lambda: [
        s for s in mail.subjects() if ALERT in s and word in s.lower()], 60)
    say(f"mail arrived: {subjects[-1]}")
    for message in reversed(engine.get("/api/v1/inbox?limit=20")["data"]["messages"]):
        if message["status"] == word and ALERT in message["text"] + message["title"]:
            say("inbox:")
            for line in message["text"].strip().splitlines():
                print("          | " + line)


def main():
    directory = tempfile.mkdtemp(prefix="tocsin-demo-")
    slack, mail, provider = SlackStub(), MailStub(), Provider()
    engine = Engine(os.path.join(directory, "data"),
                    [f"--rules.path={quick_rules(directory)}", "--events.sample-interval=1s"],
                    env={"ALERT_WEBHOOK_URL": slack.url, "ALERT_EMAIL": "oncall@example.com",
                         "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mail.port),
                         "SMTP_STARTTLS": "false", "SMTP_FROM": "tocsin@example.com"},
                    port=free_port())
    backend = None
    stop = threading.Event()
    try:
        engine.start()
        say(f"engine at {engine.url} (open it in a browser)")
        backend = Backend(directory, engine.url, provider.url, requests_max=200)
        say(f"producer with 4 uvicorn workers at {backend.url}, restarting every 200 requests")
        threads = put_load(backend, stop)
        wait_for("counters", lambda: engine.value("sum(hedge_fund_llm_calls_total)"), 30)
        say(f"{engine.value('sum(hedge_fund_requests_total)'):.0f} requests and "
            f"{engine.value('sum(hedge_fund_llm_calls_total)'):.0f} LLM calls counted")
        say("outage of the LLM provider: ON")
        provider.outage = {"*"}
        follow(engine, "pending")
        follow(engine, "firing")
        show_told(engine, slack, mail, "firing")
        say("outage of the LLM provider: OFF")
        provider.outage = set()
        follow(engine, "inactive")
        show_told(engine, slack, mail, "resolved")
        stop.set()
        for thread in threads:
            thread.join(10)
        say(f"done: {engine.value('sum(hedge_fund_requests_total)'):.0f} requests counted by "
            f"{backend.worker_count()} workers over time, no counter dipped: "
            f"{engine.value('sum(resets(hedge_fund_requests_total[1h]))') or 0:.0f} resets")
    except BaseException:
        print("\n".join(engine.log[-30:]))
        raise
    finally:
        stop.set()
        if backend is not None:
            backend.stop()
        engine.stop()
        slack.close()
        mail.close()
        provider.close()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
