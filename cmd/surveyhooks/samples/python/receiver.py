"""A webhook receiver on Python's standard library alone (version 3.8 or later):

    WEBHOOK_SECRET=whsec_… PORT=3000 python3 receiver.py

It verifies the signature, takes each event once, answers 200, and works afterwards.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import queue
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY = 1024 * 1024  # an event has at most 256 KiB of data
TOLERANCE = 5 * 60  # seconds: an older request may be a replay


def load_key():
    secret = os.environ.get("WEBHOOK_SECRET", "")
    try:
        key = base64.b64decode(secret[len("whsec_"):], validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith("whsec_") or len(key) < 24:
        sys.exit("set WEBHOOK_SECRET to the signing secret of your endpoint: whsec_…")
    return key


def verify(key, headers, body):
    """Wants the body's bytes as they came: JSON that was parsed and written again is other bytes."""
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    signed = f"{message_id}.{timestamp}.".encode() + body
    want = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    # During a rotation there are two signatures; one of them has to fit.
    candidates = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(candidate.encode("utf-8", "replace"), want) for candidate in candidates)


class Inbox:
    """Takes each event once.

    In production this is one database table with a unique key on the id: inserting the event is taking it, and a worker
    reads the rows. Then nothing that was answered 200 is lost when this process dies.
    """

    def __init__(self):
        self.taken = set()
        self.lock = threading.Lock()
        self.work = queue.Queue()

    def take(self, event):
        with self.lock:
            if event["id"] in self.taken:
                return
            self.taken.add(event["id"])
        self.work.put(event)

    def process(self):
        while True:
            event = self.work.get()
            try:
                process_event(event)
            except Exception as error:  # It was answered 200 and will not come again. In production: keep it, and look at it.
                print(f"could not process {event['id']} {event['event']}: {error!r}", file=sys.stderr, flush=True)


def process_event(event):
    kind, data = event["event"], event["data"]
    if kind == "conversation.started":
        told = f" conversation={data['conversation']['id']}"
    elif kind == "conversation.completed":
        told = f" responses={len(data['responses'])}"
    elif kind == "question_response.upserted":
        told = f" answer={json.dumps(data['response']['answer'])}"
    else:  # test.webhook, and what will come one day
        told = ""
    print(f"processed {event['id']} {kind}{told}", flush=True)


def handler(key, inbox):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections open between webhooks

        def do_POST(self):
            length = self.headers.get("Content-Length", "")
            if self.path != "/webhooks/chattosurvey" or not length.isdigit() or int(length) > MAX_BODY:
                self.close_connection = True  # the body was not read
                self.answer(404 if self.path != "/webhooks/chattosurvey" else 413, {"error": "not accepted"})
                return
            body = self.rfile.read(int(length))
            if not verify(key, self.headers, body):
                self.answer(401, {"error": "invalid signature"})
                return
            inbox.take(json.loads(body))  # signed, hence ours, hence JSON
            self.answer(200, {"received": True})

        def answer(self, status, value):
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    return Handler


def main():
    key, inbox = load_key(), Inbox()
    threading.Thread(target=inbox.process, daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), handler(key, inbox))
    print(f"listening on http://127.0.0.1:{server.server_port}/webhooks/chattosurvey", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
