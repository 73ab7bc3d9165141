#!/usr/bin/env python3
"""A pod's program in the demo: an HTTP server that says its name. /bytes/N sends N bytes that can be checked; what is
posted is answered with its length and SHA-256."""

import hashlib
import os
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = os.environ.get("NAME", socket.gethostname())
MOST_BYTES = 1 << 30


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/bytes/"):
            return self.send_bytes(self.path.split("/")[2])
        peer = self.client_address[0].removeprefix("::ffff:")
        self.send_text(f"{NAME} {self.path} from {peer}\n")

    def send_text(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        left, digest = min(int(self.headers.get("Content-Length", 0)), MOST_BYTES), hashlib.sha256()
        length = left
        while left > 0:
            part = self.rfile.read(min(left, 65536))
            if not part:
                return
            digest.update(part)
            left -= len(part)
        self.send_text(f"{NAME} took {length} {digest.hexdigest()}\n")

    def send_bytes(self, count):
        """A stream slow enough (about 20 MB/s) to be in flight while something happens to the node."""
        if not count.isdigit() or int(count) > MOST_BYTES:
            return self.send_error(400, f"/bytes/N takes a number up to {MOST_BYTES}")
        left = int(count)
        self.send_response(200)
        self.send_header("Content-Length", str(left))
        self.end_headers()
        block = hashlib.sha512(NAME.encode()).digest() * 1024  # 64 KiB
        while left > 0:
            part = block[: min(left, len(block))]
            self.wfile.write(part)
            left -= len(part)
            time.sleep(0.003)

    def log_message(self, *_):
        pass


class DualStack(ThreadingHTTPServer):
    address_family = socket.AF_INET6  # with IPV6_V6ONLY off: IPv4 too
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


if __name__ == "__main__":
    DualStack(("::", int(sys.argv[1]) if len(sys.argv) > 1 else 8080), Hello).serve_forever()
