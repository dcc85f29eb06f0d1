#!/usr/bin/env python3
"""server [OPTION]... FOLDER: an S3 service on 127.0.0.1, for tests.

It verifies every signature by itself, stores below FOLDER, writes one JSON
line a request to FOLDER/log, and misbehaves on command (faults.py).  When it
listens, FOLDER/ports has three numbers: plain, TLS (0 without --tls), and a
side port that takes one JSON object a connection (control.py).
"""

import argparse
import email.utils
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse

import answers
import control
import crc
import faults
import ops
import shape
import side
import sigv4
import store
from sigv4 import Refused

HEAD_MAX = 64 << 10
BLOCK = 1 << 20
REASON = {200: "OK", 204: "No Content", 206: "Partial Content",
          301: "Moved Permanently", 304: "Not Modified",
          307: "Temporary Redirect", 400: "Bad Request", 403: "Forbidden",
          404: "Not Found", 412: "Precondition Failed",
          416: "Requested Range Not Satisfiable", 503: "Slow Down"}
TARGET = re.compile(r"/(?:[A-Za-z0-9\-._~/]|%[0-9A-F]{2})*"
                    r"(?:\?(?:[A-Za-z0-9\-._~=&]|%[0-9A-F]{2})*)?$")


class Gone(Exception):
    """The connection is over: the peer left, or a rule ended it."""


class Request:
    """One request; its body is read through receive() and read()."""

    def __init__(self, conn, head):
        self.conn, self.server = conn, conn.server
        self.tls = conn.tls
        lines = head.split("\r\n")
        self.method, self.target, version = lines[0].split(" ")
        if version != "HTTP/1.1":
            raise Refused(400, "BadRequest", "HTTP/1.1 only")
        self.header_list = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise Refused(400, "BadRequest", "a header is malformed")
            self.header_list.append((name.lower(), value.strip()))
        self.headers = {}
        for name, value in self.header_list:
            self.headers.setdefault(name, value)
        self.raw_path, _, self.raw_query = self.target.partition("?")
        self.path = urllib.parse.unquote_to_bytes(self.raw_path)
        self.pairs = sigv4.split_query(self.raw_query)
        self.query = {n.decode("latin-1"): v.decode("latin-1")
                      for n, v in self.pairs}
        self.host = self.headers.get("host", "")
        self.locate()
        length = self.headers.get("content-length", "0")
        if not length.isdigit():
            raise Refused(400, "BadRequest", "Content-Length is malformed")
        self.length = self.left = int(length)
        self.payload = "UNSIGNED-PAYLOAD"
        self.kind = ""                  # how it was signed
        self.fault = None
        self.continued = "expect" not in self.headers
        self.received = 0

    def locate(self):
        """Bucket and key, by path or by host."""
        settings = self.server.settings
        path = self.path
        base = settings["base"].encode()
        if base and path.startswith(base + b"/"):
            path = path[len(base):]
        name = self.host.rsplit(":", 1)[0]
        for domain in settings["domains"]:
            if name.endswith("." + domain) and not settings["no_virtual"]:
                self.bucket = name[:-len(domain) - 1]
                self.key = path[1:]
                self.style = "virtual"
                return
        bucket, _, self.key = path[1:].partition(b"/")
        self.bucket = bucket.decode("latin-1")
        self.style = "path"

    def at(self, *when):
        """The rule, when it strikes at one of these points."""
        f = self.fault
        return f if f and f.get("when", "late") in when else None

    def interrupt(self, point):
        """reset, close and stall at a named point."""
        f = self.at(point)
        if not f:
            return
        if f["action"] == "stall":
            self.conn.wait(f.get("seconds", 3600))
        elif f["action"] == "reset":
            self.conn.reset()
        elif f["action"] == "close":
            raise Gone

    def go_on(self):
        """Say 100 where it is waited for."""
        if self.continued:
            return
        self.continued = True
        f = self.fault
        if f and f["action"] == "expect":
            if f.get("mode") == "refuse":
                raise Refused(417, "ExpectationFailed", "no expectations")
            return
        self.conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def blocks(self):
        """The body in blocks, as rules bend it."""
        self.go_on()
        f = self.fault or {}
        buffer = self.conn.buffer
        cut = (f.get("after", 0) if f.get("when") == "body" and
               f["action"] in ("reset", "close", "stall") else None)
        rate = f.get("rate", 0) if f.get("action") == "slow" else 0
        flip = f.get("at", 0) if f.get("action") == "flip" else None
        while self.left > 0:
            want = min(self.left, BLOCK)
            if rate:
                want = min(want, max(1, rate // 20))
            if cut is not None and self.received < cut:
                want = min(want, cut - self.received)
            elif cut is not None:
                self.interrupt("body")
                cut = None
            n = self.conn.fill(want)
            if rate:
                time.sleep(n / rate)
            if flip is not None and \
                    self.received <= flip < self.received + n:
                buffer[flip - self.received] ^= 0x20
            self.received += n
            self.left -= n
            yield buffer[:n]

    def receive(self, f, digests):
        """Body to the file f and through digests; gives its size."""
        size = 0
        for block in self.blocks():
            for d in digests:
                d.update(block)
            f.write(block)
            size += len(block)
        return size

    def read(self, most):
        """A small body; its signed hash is checked here."""
        if self.length > most:
            raise Refused(400, "MaxMessageLengthExceeded",
                          "Your request was too big.")
        body = b"".join(bytes(b) for b in self.blocks())
        if self.payload != "UNSIGNED-PAYLOAD" and \
                sigv4.hashlib.sha256(body).hexdigest() != self.payload:
            raise Refused(400, "XAmzContentSHA256Mismatch", "The provided"
                          " 'x-amz-content-sha256' header does not match what"
                          " was computed.")
        return body

    def drain(self):
        for _ in self.blocks():
            pass

    def rot(self, path):
        f = self.fault
        if f and f["action"] == "rot":
            store.flip_file(path, f.get("at", 0))

    def other_etag(self, etag):
        """What the server keeps, where a rule makes it tell another."""
        f = self.fault
        if f and f["action"] == "etag" and f.get("value") in (
                "other", "opaque"):
            self.told = etag
            return sigv4.hashlib.md5(etag.encode()).hexdigest()
        return etag


class Connection:
    def __init__(self, server, sock, tls, number):
        self.server, self.sock, self.tls = server, sock, tls
        self.number = number
        self.storage = bytearray(BLOCK)
        self.buffer = memoryview(self.storage)
        self.ahead = b""                # read, and not yet asked for
        self.sent = 0

    def run(self):
        try:
            served = 0
            while self.serve():
                served += 1
                most = self.server.settings["requests"]
                if most and served >= most:
                    return
        except (OSError, Gone, ssl.SSLError):
            pass
        finally:
            self.server.closed(self)
            try:
                self.sock.close()
            except OSError:
                pass

    def head(self):
        data = self.ahead
        while b"\r\n\r\n" not in data:
            if len(data) > HEAD_MAX:
                raise Gone
            more = self.sock.recv(BLOCK)
            if not more:
                raise Gone
            data += more
        head, _, self.ahead = data.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def fill(self, want):
        """So many bytes of the body, as many as come at once, to buffer."""
        if self.ahead:
            n = min(want, len(self.ahead))
            self.buffer[:n] = self.ahead[:n]
            self.ahead = self.ahead[n:]
            return n
        flags = 0 if self.tls else socket.MSG_WAITALL
        n = self.sock.recv_into(self.buffer, want, flags) if flags else \
            self.sock.recv_into(self.buffer, want)
        if n == 0:
            raise Gone
        return n

    def send(self, data):
        self.sock.sendall(data)

    def reset(self):
        sock = self.sock
        if self.tls:
            sock = socket.socket(fileno=os.dup(sock.fileno()))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))
        self.sock.close()
        sock.close()
        raise Gone

    def wait(self, seconds):
        """Silence, until the peer gives up or the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.server.stopping.is_set():
            time.sleep(0.05)
            try:
                flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
                fd = socket.socket(fileno=os.dup(self.sock.fileno()))
                with fd:
                    if fd.recv(1, flags) == b"":
                        raise Gone
            except BlockingIOError:
                pass

    def serve(self):
        """One request; False when the connection is to end."""
        head = self.head()
        server = self.server
        with server.busy():
            entry = {"conn": self.number, "tls": self.tls,
                     "time": round(time.time(), 3)}
            self.sent = 0
            req = None
            try:
                req = Request(self, head)
                keep = self.answer(req, entry)
            except Refused as e:        # of the head itself
                keep = False
                entry["status"] = e.status
                self.respond(None, shape.error(e, "", "0"), False)
            except (Gone, OSError):
                entry["gone"] = True
                raise
            finally:
                entry["out"] = self.sent
                if req is not None:
                    entry["in"] = req.received
                server.log(entry)
        return keep

    def answer(self, req, entry):
        server = self.server
        req.op = server.ops.name(req)
        entry.update(method=req.method, bucket=req.bucket, op=req.op,
                     key=req.key.decode("utf-8", "surrogateescape"),
                     query=req.raw_query, host=req.host, style=req.style,
                     length=req.length, headers={
                         n: v for n, v in req.headers.items()
                         if n not in ("authorization", "host")
                         and n != shape.SSEC + "key"})
        for name in ("range", "if-match", "if-none-match"):
            if name in req.headers:
                entry[name] = req.headers[name]
        req.fault = f = server.faults.match(req)
        if f:
            entry["fault"] = f["action"]
        keep = req.headers.get("connection", "").lower() != "close"
        try:
            req.interrupt("head")
            if f and f["action"] == "status" and f.get("when") == "early":
                response = answers.canned(f)
            else:
                self.check(req, entry)
                response = self.carry_out(req)
        except Refused as e:
            if e.code == "AuthorizationHeaderMalformed" and not \
                    server.settings["mute_region"]:
                e.headers["x-amz-bucket-region"] = server.settings["region"]
            response = shape.error(e, req.raw_path, entry["id"])
            entry["code"] = e.code
        response = answers.bend(req, response)
        entry["status"] = response.status
        if req.left > 0:
            # The rest of the body is not wanted; a 100 was not said, or the
            # peer is to see the answer although it still sends.
            keep = False
        self.respond(req, response, keep)
        if req.left > 0:
            self.linger()
        return keep

    def check(self, req, entry):
        """Everything that the head alone decides."""
        server = self.server
        entry["id"] = f"{self.number}-{time.monotonic_ns():x}"
        if not TARGET.match(req.target):
            raise Refused(400, "InvalidURI", "Couldn't parse the specified"
                          " URI.")
        if "transfer-encoding" in req.headers:
            raise Refused(501, "NotImplemented", "A header you provided"
                          " implies functionality that is not implemented:"
                          " Transfer-Encoding")
        if req.method in ("PUT", "POST") and \
                "content-length" not in req.headers:
            raise Refused(411, "MissingContentLength", "You must provide the"
                          " Content-Length HTTP header.")
        entry["signed"] = False
        req.kind, req.payload, entry["access"] = sigv4.verify(
            req.method, req.path, req.pairs, req.header_list, server.keys,
            server.settings["region"], server.now())
        entry["signed"] = True
        entry["by"], entry["payload"] = req.kind, (
            "unsigned" if req.payload == "UNSIGNED-PAYLOAD" else "signed")
        if server.strict and not self.tls and req.length > 0 and \
                req.kind == "header" and req.payload == "UNSIGNED-PAYLOAD":
            raise Refused(400, "InvalidRequest", "UNSIGNED-PAYLOAD over plain"
                          " HTTP is refused here")

    def carry_out(self, req):
        f = req.fault or {}
        action = f.get("action")
        if action == "status" and f.get("when", "late") == "late":
            req.drain()
            return answers.canned(f)
        if action == "redirect":
            return answers.redirect(f, req)
        if action == "body":
            req.drain()
            return answers.scripted(f)
        if action == "replace":
            self.server.replace(req, f.get("size"))
        if action == "whole":
            req.headers.pop("range", None)
        if action in ("reset", "close", "stall") and \
                f.get("when", "late") == "late":
            req.drain()
            req.interrupt("late")
        if action == "sticky":
            b = self.server.store.bucket(req.bucket)
            u = self.server.store.upload(b, req.key, req.query["uploadId"])
            u.sticky = f.get("times", 1)
        response = self.server.ops.run(req)
        if req.left:
            req.drain()
        if action == "late-part":
            self.server.late_part(req)
        req.interrupt("stored")
        if action == "status":          # stored
            return answers.canned(f)
        return response

    def respond(self, req, response, keep):
        server = self.server
        f = (req.fault if req else None) or {}
        action = f.get("action")
        length = response.length()
        lines = [f"HTTP/1.1 {response.status} "
                 f"{REASON.get(response.status, 'Whatever')}"]
        headers = {"Server": "cala-test", "x-amz-request-id":
                   f"{self.number:08X}", "x-amz-id-2": "aWQ="}
        server.stamp(headers)
        headers.update(response.headers)
        blanks = action == "blanks" and response.status == 200
        bare = req and req.method == "HEAD" or response.status in (204, 304)
        if blanks:
            headers["Transfer-Encoding"] = "chunked"
        elif not bare:
            headers["Content-Length"] = str(length + f.get("longer", 0))
        elif response.status not in (204, 304):
            headers.setdefault("Content-Length", str(length))
        headers["Connection"] = "keep-alive" if keep else "close"
        lines += [f"{n}: {v}" for n, v in headers.items() if v is not None]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if req:
            req.continued = True
        if blanks:
            self.send(head)
            return self.send_blanks(f, response)
        if bare:
            return self.send(head)
        if response.pieces is None and not f:
            self.send(head + response.body)
            self.sent += length
            return None
        self.send(head)
        return self.send_body(req, response, f)

    def send_body(self, req, response, f):
        action = f.get("action")
        stop = None
        if action == "truncate":
            stop = f.get("after", 0)
        elif action in ("reset", "close", "stall") and \
                f.get("when") == "response":
            stop = f.get("after", 0)
        for block in self.outgoing(response, f, stop):
            if stop is not None and self.sent == stop:
                if action == "truncate":
                    raise Gone
                req.interrupt("response")
                stop = None
            if isinstance(block, tuple):
                path, offset, size = block
                with open(path, "rb") as g:
                    self.sock.sendfile(g, offset, size)
                self.sent += size
            else:
                self.send(block)
                self.sent += len(block)
        if stop is not None and self.sent >= stop:
            if action == "truncate":
                raise Gone
            req.interrupt("response")
        if f.get("longer"):
            self.send(b"Z" * f["longer"])

    def outgoing(self, response, f, stop):
        """Blocks of bytes, or whole files for sendfile()."""
        pieces = response.pieces
        if pieces is not None and not (set(f) & {"rate", "at", "after"}):
            yield from pieces
            return
        rate, flip, done = f.get("rate", 0), None, 0
        if f.get("action") == "flip" and pieces is not None:
            flip = f.get("at", 0)
        step = min(BLOCK, max(1, rate // 20)) if rate else BLOCK
        for block in self.small(pieces, response.body, step):
            if stop is not None and done < stop < done + len(block):
                yield block[:stop - done]
                block = block[stop - done:]
                done = stop
            if flip is not None and done <= flip < done + len(block):
                block = bytearray(block)
                block[flip - done] ^= 0x20
            done += len(block)
            yield bytes(block)
            if rate:
                time.sleep(len(block) / rate)

    @staticmethod
    def small(pieces, body, step):
        if pieces is None:
            for i in range(0, len(body), step):
                yield body[i:i + step]
            return
        for path, offset, size in pieces:
            with open(path, "rb") as g:
                g.seek(offset)
                while size > 0:
                    block = g.read(min(step, size))
                    size -= len(block)
                    yield block

    def send_blanks(self, f, response):
        def chunk(data):
            self.send(b"%x\r\n%s\r\n" % (len(data), data))
        body = response.body
        decl = shape.DECL.encode()
        if not f.get("before"):
            chunk(decl)
            body = body.removeprefix(decl)
        every = f.get("every", 1)
        for _ in range(max(1, int(f.get("seconds", 3) / every))):
            chunk(b" ")
            time.sleep(every)
        chunk(body)
        self.send(b"0\r\n\r\n")

    def linger(self):
        """Let the peer see the answer: an RST would swallow it."""
        sock = self.sock
        if self.tls:
            return
        sock.shutdown(socket.SHUT_WR)
        end = time.monotonic() + 2
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                        struct.pack("ll", 0, 200000))
        while time.monotonic() < end:
            try:
                if not sock.recv_into(self.buffer):
                    return
            except OSError:
                return


class Server:
    def __init__(self, folder, args):
        self.folder = folder
        self.store = store.Store(folder)
        self.settings = dict(faults.SETTINGS, region=args.region)
        self.keys = {args.access: {"secret": args.secret}}
        self.faults = faults.Faults()
        self.ops = ops.Ops(self.store, self.settings, self.now)
        self.strict = not args.lax
        self.stopping = threading.Event()
        self.log_lock = threading.Condition()
        self.log_file = open(os.path.join(folder, "log"), "a", buffering=1,
                             encoding="utf-8", errors="surrogateescape")
        self.active = self.connections = self.open = self.peak = 0
        for name in args.bucket:
            b = self.store.buckets.setdefault(name, store.Bucket(name))
            b.versioning = b.versioning or args.versioning or args.lock
            b.lock = b.lock or args.lock

    def now(self):
        return time.time() + self.settings["clock"]

    def stamp(self, headers):
        mode, now = self.settings["date"], self.now()
        if mode == "none":
            return
        if mode == "stale":
            now -= 3600
            headers["Age"] = "3600"
        headers["Date"] = email.utils.formatdate(now, usegmt=True)

    def busy(self):
        return Busy(self)

    def log(self, entry):
        with self.log_lock:
            self.log_file.write(json.dumps(entry) + "\n")

    def quiet(self):
        """Wait until no request is under way."""
        with self.log_lock:
            return self.log_lock.wait_for(lambda: self.active == 0, 10)

    def closed(self, _conn):
        with self.log_lock:
            self.open -= 1

    def replace(self, req, size):
        """Somebody else's object takes the place of this one."""
        b = self.store.bucket(req.bucket)
        old = b.find(req.key)
        v = store.Version(self.now())
        v.headers = dict(old.headers)
        v.size = old.size if size is None else size
        name, f = self.store.new_file()
        data = b"R" * v.size
        with f:
            f.write(data)
        v.segments = [(name, v.size)]
        v.etag = sigv4.hashlib.md5(data).hexdigest()
        self.store.place(b, req.key, v)

    def late_part(self, req):
        """A part that was under way lands after the abort."""
        b = self.store.bucket(req.bucket)
        u = store.Upload(req.key, store.Version(self.now()), self.now())
        u.id = req.query["uploadId"]
        name, f = self.store.new_file()
        f.close()
        u.parts[1] = store.Part(name, 0, b"", "late", {}, self.now())
        with self.store.lock:
            b.uploads[u.id] = u

    def accept(self, listener, context):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self.log_lock:
                self.connections += 1
                self.open += 1
                self.peak = max(self.peak, self.open)
                number = self.connections
            threading.Thread(target=self.start, daemon=True,
                             args=(sock, context, number)).start()

    def start(self, sock, context, number):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.settings["refuse"] > 0:
            self.settings["refuse"] -= 1
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                            struct.pack("ii", 1, 0))
            sock.close()
            self.closed(None)
            return
        if context is not None:
            try:
                sock = context.wrap_socket(sock, server_side=True)
            except (OSError, ssl.SSLError):
                sock.close()
                self.closed(None)
                return
        Connection(self, sock, context is not None, number).run()


class Busy:
    def __init__(self, server):
        self.server = server

    def __enter__(self):
        with self.server.log_lock:
            self.server.active += 1

    def __exit__(self, *_):
        with self.server.log_lock:
            self.server.active -= 1
            self.server.log_lock.notify_all()


def listen():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind(("127.0.0.1", 0))
    s.listen(256)
    return s


def certificate(folder, kind):
    """A throw-away CA and a certificate of its own; gives an SSLContext."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True,
                       stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    names = {"wrong-host": "DNS:elsewhere.invalid"}.get(
        kind, "DNS:localhost,DNS:*.localhost,IP:127.0.0.1")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem",
            "-subj", "/CN=cala test CA", "-days", "2")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr",
            "-subj", "/CN=localhost")
    with open(os.path.join(folder, "ext"), "w", encoding="ascii") as f:
        f.write(f"subjectAltName={names}\n")
    # "ca", as "x509 -days -1" is refused since OpenSSL 3.4
    with open(os.path.join(folder, "ca.conf"), "w", encoding="ascii") as f:
        f.write("[ca]\ndefault_ca = a\n[a]\nnew_certs_dir = .\n"
                "database = ca.db\nserial = ca.srl\npolicy = p\n"
                "default_md = sha256\n[p]\ncommonName = supplied\n")
    open(os.path.join(folder, "ca.db"), "w", encoding="ascii").close()
    at = time.time() + (-86400 if kind == "expired" else 2 * 86400)
    end = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at))
    openssl("ca", "-config", "ca.conf", "-batch", "-notext", "-create_serial",
            "-cert", "ca.pem", "-keyfile", "ca.key", "-in", "server.csr",
            "-out", "server.pem", "-extfile", "ext",
            "-startdate", "20200101000000Z", "-enddate", end)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, "server.pem"),
                            os.path.join(folder, "server.key"))
    return context


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("folder")
    p.add_argument("--bucket", action="append", default=[])
    p.add_argument("--access", default="AKIDEXAMPLE")
    p.add_argument("--secret", default="test/Secret+Key0123456789")
    p.add_argument("--region", default="us-east-1")
    p.add_argument("--versioning", action="store_true")
    p.add_argument("--lock", action="store_true", help="object lock")
    p.add_argument("--lax", action="store_true",
                   help="unsigned bodies over plain HTTP are taken")
    p.add_argument("--tls", nargs="?", const="good",
                   choices=("good", "expired", "wrong-host"))
    args = p.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    server = Server(args.folder, args)
    plain, words = listen(), listen()
    listeners, tls_port = [(plain, None)], 0
    if args.tls:
        context = certificate(args.folder, args.tls)
        tls = listen()
        listeners.append((tls, context))
        tls_port = tls.getsockname()[1]
    for listener, context in listeners:
        threading.Thread(target=server.accept, args=(listener, context),
                         daemon=True).start()
    threading.Thread(target=side.serve, args=(server, words, control.act),
                     daemon=True).start()
    done = threading.Event()
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda *_: done.set())
    ports = os.path.join(args.folder, "ports")
    with open(ports + ".new", "w", encoding="ascii") as f:
        print(plain.getsockname()[1], tls_port, words.getsockname()[1], file=f)
    os.rename(ports + ".new", ports)
    done.wait()
    server.stopping.set()
    server.store.save()
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sigv4.self_test()
        crc.self_test()
    else:
        main()
