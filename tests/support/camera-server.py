"""A camera behind Python's http.server, as it is found in the wild: each path is another way to send JPEGs, or not to.

usage: camera-server.py FOLDER [CERTIFICATE KEY]

The JPEGs are the files of FOLDER, in turn. The first line of the standard output is the port. Each request is a line
there. `/watching` answers with the number of streams that are being sent.
"""

import hashlib
import http.server
import pathlib
import socket
import ssl
import sys
import threading
import time
import urllib.request

PICTURES = [path.read_bytes() for path in sorted(pathlib.Path(sys.argv[1]).iterdir())]
INTERVAL = 0.02
REALM, USER, PASSWORD, TOKEN = "cam", "me", "p@ss word", "abc123"

# Ways to separate pictures: before and after each, for its length.
PARTS = {
    "book": ("\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {n}\r\n\r\n", ""),
    "behind": ("Content-Type: image/jpeg\r\nContent-Length: {n}\r\n\r\n", "\r\n--frame\r\n"),
    "no-length": ("--frame\r\nContent-Type: image/jpeg\r\n\r\n", "\r\n"),
    "line-feeds": ("--frame\ncontent-length:{n}\nCONTENT-TYPE:image/jpeg\n\n", "\n"),
    "no-dashes": ("frame\r\nContent-Type: image/jpeg\r\nContent-Length: {n}\r\n\r\n", "\r\n"),
    "more-dashes": ("----frame\r\nContent-Type: image/jpeg\r\nContent-Length: {n}\r\n\r\n", "\r\n"),
    "too-long": ("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {more}\r\n\r\n", "\r\n"),
    "too-short": ("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {less}\r\n\r\n", "\r\n"),
    "shuffled": ("--frame\r\nX-Timestamp: 1.5\r\ncOnTeNt-LeNgTh: {n}\r\nX-A: b\r\ncontent-type:image/jpeg\r\n\r\n", "\r\n"),
    "other-parts": (
        "--frame\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello\r\n"
        "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {n}\r\n\r\n",
        "\r\n",
    ),
    "headless": ("", ""),
}
BOUNDARIES = {"quoted": ';boundary="--frame"', "unnamed": ""}

watching, lock = 0, threading.Lock()


def md5(*parts):
    return hashlib.md5(":".join(parts).encode()).hexdigest()


def sha256(*parts):
    return hashlib.sha256(":".join(parts).encode()).hexdigest()


class Camera(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A connection of its own counts the pictures that it got.
    nonces = {}

    def log_message(self, format, *args):
        print(self.path, self.headers.get("Host"), self.headers.get("User-Agent"), flush=True)

    def head(self, status, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def whole(self, status, content_type, body, *headers):
        self.head(status, ("Content-Type", content_type), ("Content-Length", str(len(body))), *headers)
        self.wfile.write(body)

    def do_GET(self):
        name, _, how = self.path.strip("/").partition("/")
        method = getattr(self, name.replace("-", "_"), None)
        if name in PARTS or name in BOUNDARIES:
            self.stream(name)
        elif method:
            method(how) if how else method()
        else:
            self.whole(404, "text/html", b"<html>no such page</html>")

    def pictures(self):
        global watching
        with lock:
            watching += 1
        try:
            while True:
                for picture in PICTURES:
                    yield picture
                    time.sleep(INTERVAL)
        finally:
            with lock:
                watching -= 1

    def parts(self, name):
        before, after = PARTS.get(name, PARTS["book"])
        for picture in self.pictures():
            n = len(picture)
            yield before.format(n=n, more=n + 333, less=n - 333).encode() + picture + after.encode()

    def stream(self, name):
        self.close_connection = True
        boundary = BOUNDARIES.get(name, ";boundary=frame")
        self.head(200, ("Content-Type", "multipart/x-mixed-replace" + boundary), ("Connection", "close"))
        for part in self.parts(name):
            self.wfile.write(part)

    # Other ways to send a stream.

    def preamble(self):
        self.head(200, ("Content-Type", "multipart/x-mixed-replace;boundary=frame"), ("Connection", "close"))
        self.wfile.write(b"Your client shows no streams: get another.\r\n\r\n" * 50)
        for part in self.parts("book"):
            self.wfile.write(part)

    def chunked(self):
        self.head(
            200, ("Content-Type", "multipart/x-mixed-replace;boundary=frame"), ("Transfer-Encoding", "chunked")
        )
        for part in self.parts("book"):
            for begin in range(0, len(part), 100):
                chunk = part[begin : begin + 100]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def old(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nServer : old\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        for part in self.parts("no-length"):
            self.wfile.write(part)

    def bare(self):
        self.close_connection = True
        self.head(200, ("Content-Type", "image/jpeg"), ("Connection", "close"))
        for picture in self.pictures():
            self.wfile.write(picture)

    def closing(self):
        self.close_connection = True
        self.head(200, ("Content-Type", "multipart/x-mixed-replace;boundary=frame"), ("Connection", "close"))
        self.wfile.write(next(self.parts("book")) + b"\r\n--frame--\r\n")

    def burst(self):
        """Three pictures at a time: two of them are not the newest."""
        self.head(200, ("Content-Type", "multipart/x-mixed-replace;boundary=frame"), ("Connection", "close"))
        parts = self.parts("book")
        while True:
            self.wfile.write(next(parts) + next(parts) + next(parts))

    # Single pictures.

    def single(self):
        self.whole(200, "image/jpeg", next(self.pictures()))

    def single_typeless(self):
        self.whole(200, "application/octet-stream", next(self.pictures()))

    def single_old(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + next(self.pictures()))
        self.close_connection = True

    def single_chunked(self):
        self.head(200, ("Content-Type", "image/jpeg"), ("Transfer-Encoding", "chunked"))
        picture = next(self.pictures())
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(picture), picture))

    # Redirects.

    def moved(self):
        self.whole(302, "text/html", b"<html>over there</html>", ("Location", "/book"))

    def moved_single(self):
        self.whole(307, "text/html", b"", ("Location", "single"))

    def circle(self):
        self.whole(302, "text/html", b"", ("Location", "/circle"))

    def away(self):
        self.whole(302, "text/html", b"", ("Location", "http://elsewhere.invalid/?token=geheim"))

    # Credentials.

    def refuse(self, *challenges):
        self.whole(401, "text/html", b"<html>who?</html>", *[("WWW-Authenticate", value) for value in challenges])

    def basic(self, then="book"):
        if self.headers.get("Authorization") != "Basic bWU6cEBzcyB3b3Jk":
            return self.refuse('Basic realm="cam"')
        self.path = "/" + then
        self.do_GET()

    def bearer(self):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse("Bearer")
        self.stream("book")

    def digest(self, how):
        """md5 and sha256 once, `stale` with a nonce that is good for three requests."""
        algorithm, hashed = {"sha256": ("SHA-256", sha256)}.get(how, ("MD5", md5))
        nonce, is_stale = f"nonce{len(self.nonces)}", False
        scheme, _, values = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Digest":
            given = urllib.request.parse_keqv_list(urllib.request.parse_http_list(values))
            used = self.nonces.get(given["nonce"], [])
            ha1, ha2 = hashed(USER, REALM, PASSWORD), hashed("GET", self.path)
            right = hashed(ha1, given["nonce"], given["nc"], given["cnonce"], given["qop"], ha2)
            fresh = given["nonce"] in self.nonces and given["nc"] not in used
            if given["response"] == right and given["uri"] == self.path and fresh:
                used.append(given["nc"])
                if how != "stale":
                    return self.stream("book")
                if len(used) <= 3:
                    return self.single()
                is_stale = True
        self.nonces[nonce] = []
        stale = ", stale=TRUE" if is_stale else ""
        self.refuse(
            'Basic realm="unused"',
            f'Digest realm="cam", qop="auth,auth-int", algorithm={algorithm}, nonce="{nonce}", opaque="x y"{stale}',
        )

    # No pictures.

    def html(self):
        self.whole(200, "text/html; charset=utf-8", b"<!DOCTYPE html>\n<html><h1>Welcome: to the camera</h1>" * 40)

    def png(self):
        self.whole(200, "image/png", b"\x89PNG\r\n\x1a\n" + bytes(2000))

    def png_parts(self):
        self.head(200, ("Content-Type", "multipart/x-mixed-replace;boundary=frame"), ("Connection", "close"))
        while True:
            self.wfile.write(b"--frame\r\nContent-Type: image/png\r\nContent-Length: 50\r\n\r\n" + bytes(50) + b"\r\n")
            time.sleep(INTERVAL)

    def h264(self):
        self.head(200, ("Content-Type", "video/h264"), ("Connection", "close"))
        while True:
            self.wfile.write(b"\0\0\0\1\x67" + b"x" * 5000)

    def empty(self):
        self.whole(200, "image/jpeg", b"")

    def cut(self):
        self.whole(200, "image/jpeg", PICTURES[0][:300])

    def endless(self):
        self.head(200, ("Content-Type", "multipart/x-mixed-replace;boundary=frame"), ("Connection", "close"))
        self.wfile.write(b"--frame\r\n")
        while True:
            self.wfile.write(b"X-Header: value\r\n" * 100)

    def endless_head(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            self.wfile.write(b"X-Header: value\r\n" * 100)

    def busy(self):
        self.whole(503, "text/plain", b"no camera", ("Retry-After", "3"))

    def broken(self):
        self.whole(500, "text/plain", b"oops")

    def forbidden(self):
        self.whole(403, "text/plain", b"no")

    def no_http(self):
        self.wfile.write(b"220 mail.example ESMTP\r\n" * 10)
        self.close_connection = True

    def silent(self):
        self.head(200, ("Content-Type", "multipart/x-mixed-replace;boundary=frame"), ("Connection", "close"))
        self.rfile.read()

    def pausing(self):
        """Ten pictures, then nothing, on every connection."""
        self.head(200, ("Content-Type", "multipart/x-mixed-replace;boundary=frame"), ("Connection", "close"))
        parts = self.parts("book")
        for _ in range(10):
            self.wfile.write(next(parts))
        self.rfile.read()

    def mute(self):
        self.rfile.read()

    def watching(self):
        self.whole(200, "text/plain", str(watching).encode())


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET6

    def server_bind(self):
        # IPv4 too.
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request, client_address):
        # A viewer that leaves.
        pass


server = Server(("::", 0), Camera)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
