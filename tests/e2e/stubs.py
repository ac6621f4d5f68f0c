"""Receivers the engine notifies in tests: a Slack incoming webhook and a real SMTP server."""

import email
import email.policy
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller

from engine import free_port


class SlackStub:
    """Keeps every payload; `script` holds (status, headers) replies to give first."""

    def __init__(self):
        self.payloads = []
        self.script = []
        self.lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with stub.lock:
                    status, headers = stub.script.pop(0) if stub.script else (200, {})
                    if status == 200:
                        stub.payloads.append({"at": time.time(), **json.loads(body)})
                text = b"ok" if status == 200 else b"no"
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/services/T/B/X"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def texts(self):
        with self.lock:
            return [json.dumps(payload, ensure_ascii=False) for payload in self.payloads]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class MailStub:
    """aiosmtpd on a free port; keeps (sender, recipients, parsed message)."""

    def __init__(self):
        self.mails = []
        stub = self

        class Handler:
            async def handle_DATA(self, server, session, envelope):
                message = email.message_from_bytes(envelope.content, policy=email.policy.default)
                stub.mails.append((envelope.mail_from, list(envelope.rcpt_tos), message))
                return "250 accepted"

        self.port = free_port()
        self.controller = Controller(Handler(), hostname="127.0.0.1", port=self.port)
        self.controller.start()

    def subjects(self):
        return [str(message["Subject"]) for _, _, message in self.mails]

    def close(self):
        self.controller.stop()
