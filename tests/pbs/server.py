#!/usr/bin/env python3
"""server [OPTION]... FOLDER: a Proxmox Backup Server on 127.0.0.1, for tests.

It speaks TLS with a certificate of its own, makes the checks that the real one
makes, stores below FOLDER/STORE in the real layout, writes one JSON line a
request to FOLDER/log, and misbehaves on command (faults.py).  What a client
did that is merely not right goes to FOLDER/flags.  When it listens,
FOLDER/ports has two numbers, its port and that of a side port (control.py), and
FOLDER/fingerprint the certificate's.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import traceback

import access
import control
import faults
import formats
import h2wire
import rest
import schema
import session as sessions
import side
import store
from schema import Refused

HEAD_MAX = 64 << 10
REASON = {101: "Switching Protocols", 200: "OK", 301: "Moved Permanently",
          308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized",
          403: "Forbidden", 404: "Not Found", 414: "URI Too Long",
          500: "Internal Server Error", 503: "Service Unavailable"}


class Gone(Exception):
    pass


class Head:
    def __init__(self, text):
        lines = text.split("\r\n")
        self.method, self.target, self.version = lines[0].split(" ")
        self.headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise Gone
            self.headers[name.lower()] = value.strip()
        self.path, _, self.query = self.target.partition("?")


class Wire:
    """One TCP connection: TLS, HTTP/1.1, and perhaps an upgrade."""

    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self.ahead = b""
        self.fault = {}

    def run(self):
        try:
            if self.handshake():
                while self.one():
                    pass
        except (OSError, ssl.SSLError, Gone):
            pass
        except Exception as e:
            self.server.oops(e)
        finally:
            try:
                self.sock.close()
            except OSError:
                pass

    def handshake(self):
        self.sock.settimeout(10)
        first = b""
        while len(first) < 5:
            first = self.sock.recv(5, socket.MSG_PEEK)
            if not first:
                return False
            if len(first) < 5:
                time.sleep(0.01)
        if first[:2] != b"\x16\x03":
            self.redirect()
            return False
        self.sock = self.server.context.wrap_socket(self.sock,
                                                    server_side=True)
        self.sock.settimeout(None)
        return True

    def redirect(self):
        head = self.head()
        status = 301 if head.method in ("GET", "HEAD") else 308
        host = head.headers.get("host", "")
        self.server.flag(f"plain HTTP: {head.method} {head.path}")
        self.send_head(status, {"location": f"https://{host}{head.target}",
                                "content-length": "0"})

    def head(self):
        data = self.ahead
        while b"\r\n\r\n" not in data:
            if len(data) > HEAD_MAX:
                raise Gone
            more = self.sock.recv(1 << 16)
            if not more:
                raise Gone
            data += more
        head, _, self.ahead = data.partition(b"\r\n\r\n")
        return Head(head.decode("latin-1"))

    def more(self):
        if self.ahead:
            data, self.ahead = self.ahead, b""
            return data
        data = self.sock.recv(1 << 16)
        if not data:
            raise Gone
        return data

    def body(self, head, most):
        """All of it; a longer one is refused."""
        if "100-continue" in head.headers.get("expect", "").lower():
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        out = bytearray()
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            buf = b""
            while True:
                while b"\r\n" not in buf:
                    buf += self.more()
                size, _, buf = buf.partition(b"\r\n")
                n = int(size.split(b";")[0], 16)
                while len(buf) < n + 2:
                    buf += self.more()
                out += buf[:n]
                buf = buf[n + 2:]
                if n == 0:
                    self.ahead = buf
                    break
        else:
            left = int(head.headers.get("content-length", "0"))
            while left > 0:
                data = self.more()
                out += data[:left]
                self.ahead = data[left:]
                left -= min(left, len(data))
                if len(out) > most:
                    raise Refused(400, "Request body too large")
        if len(out) > most:
            raise Refused(400, "Request body too large")
        return bytes(out)

    def one(self):
        """One request; False when no other may follow."""
        head = self.head()
        server, start = self.server, time.monotonic()
        entry = {"op": f"{head.method} {head.path}", "kind": "rest",
                 "conn": self.number, "query": head.query, "in": 0, "out": 0,
                 "status": 0, "text": None, "version": head.version,
                 "type": head.headers.get("content-type")}
        server.enter()
        keep = head.headers.get("connection", "").lower() != "close"
        session = None
        try:
            try:
                session = self.answer(head, entry)
            except Refused as e:
                entry.update(status=e.status, text=e.text)
                if e.status == 401:
                    time.sleep(server.settings["delay_401"])
                    if server.at_least(4, 0):
                        e.text = "authentication failed"
                self.respond(entry, e.status, e.text.encode(), "text", keep)
        except (Gone, OSError, ssl.SSLError):
            entry["gone"] = True
            keep = False
        finally:
            entry["ms"] = round((time.monotonic() - start) * 1000)
            entry["fault"] = self.fault.get("action")
            server.log(entry)
            server.leave()
        if session is None:
            return keep
        if isinstance(session, h2wire.Connection):
            session.run(self.ahead)
        return False

    def interrupt(self, point):
        f = self.fault
        if f.get("when", "late") != point:
            return
        if f.get("action") == "reset":
            self.reset()
            raise Gone
        if f.get("action") == "close":
            raise Gone
        if f.get("action") in ("stall", "freeze"):
            self.server.stopping.wait(f.get("seconds", 3600))
        if f.get("action") == "garbage":
            self.sock.sendall(bytes.fromhex(f.get("hex", "") or "00ff" * 50))
            raise Gone

    def reset(self):
        """RST, past what TLS would still say."""
        raw = socket.socket(fileno=os.dup(self.sock.fileno()))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                       struct.pack("ii", 1, 0))
        self.sock.close()
        raw.close()

    def answer(self, head, entry):
        server = self.server
        if len(head.target) > 3072:
            entry["status"] = 414
            self.respond(entry, 414, b"", "text", True)
            return None
        op, run, raw, body, free, types, store_name, upid = rest.find(
            head.method, head.path)
        entry["op"] = op
        kind = op.rpartition(" ")[2] if op in ("GET backup", "GET reader") \
            else None
        if kind:
            entry["op"] = f"upgrade {kind}"
        self.fault = server.faults.match(entry["op"], head.query)
        f, data = self.fault, b""
        self.interrupt("head")
        most = body if raw else 65535 if not server.at_least(4, 0) else 524287
        if f.get("action") == "status" and f.get("when") == "early":
            raise Refused(f["status"], f.get("text", ""))
        data = self.body(head, most)
        entry["in"] = len(data)
        self.interrupt("late")
        if f.get("action") == "status" and f.get("when", "late") == "late":
            raise Refused(f["status"], f.get("text", ""))
        if f.get("action") == "nospace":
            raise Refused(400, "ENOSPC: No space left on device")
        if f.get("action") == "json":
            self.respond(entry, 200, f.get("text", "").encode(), "json", True)
            return None
        auth = None
        if not free:
            auth = server.acl.login(head.headers.get("authorization"))
            entry["auth"] = auth
        if kind:
            return self.upgrade(kind, auth, head, entry)
        if run is None:
            raise Refused(404, f"Path '{head.path}' not found.")
        call = rest.Call(server, auth, store_name, upid)
        if raw:
            params = schema.class_q(types, [], head.query)
        else:
            params = schema.class_p(types, [], head.query,
                                    head.headers.get("content-type"), data)
        result = run(call, params, data)
        if server.settings["latency"]:
            time.sleep(server.settings["latency"])
        self.interrupt("done")
        if f.get("action") == "status":
            raise Refused(f["status"], f.get("text", ""))
        keep = head.headers.get("connection", "").lower() != "close"
        if isinstance(result, sessions.Raw):
            self.respond(entry, 200, result.data, "raw", keep)
        else:
            text = json.dumps({"data": result, **call.more}).encode()
            self.respond(entry, 200, text, "json", keep)
        return None

    def upgrade(self, kind, auth, head, entry):
        server = self.server
        opener = sessions.open_backup if kind == "backup" else \
            sessions.open_reader
        session = opener(server, auth, head.query, head.headers, head.version)
        try:
            if server.settings["before_101"]:
                server.stopping.wait(server.settings["before_101"])
            self.interrupt("done")
            if self.fault.get("action") == "status":
                raise Refused(self.fault["status"], self.fault.get("text", ""))
            h2 = h2wire.Connection(self, session)
            entry["status"] = 101
            self.send_101(head.headers["upgrade"], h2.settings_frames())
        except BaseException:
            session.end("the upgrade failed")
            raise
        return h2

    def send_101(self, protocol, frames):
        text = (f"HTTP/1.1 101 {REASON[101]}\r\nconnection: upgrade\r\n"
                f"upgrade: {protocol}\r\ndate: {self.server.date()}\r\n\r\n"
                ).encode()
        s = self.server.settings
        if s["bytewise"]:
            for b in text + frames:
                self.sock.sendall(bytes([b]))
        elif s["surplus"]:
            self.sock.sendall(text + frames)
        else:
            self.sock.sendall(text)
            self.sock.sendall(frames)

    def respond(self, entry, status, body, kind, keep):
        f = self.fault
        if f.get("action") == "truncate":
            cut = f.get("after", 0)
        elif f.get("when") == "response" and \
                f.get("action") in ("reset", "close"):
            cut = f.get("after", 0)
        else:
            cut = None
        if f.get("action") == "flip" and body:
            at = f.get("at", len(body) // 2) % len(body)
            body = body[:at] + bytes([body[at] ^ 0x20]) + body[at + 1:]
        entry["status"], entry["out"] = status, len(body)
        headers = {"date": self.server.date()}
        headers["content-type"] = "application/octet-stream" if kind == "raw" \
            else "application/json;charset=UTF-8"
        chunked = status == 200 and (kind == "raw" or
                                     self.server.settings["chunked"])
        if chunked:
            headers["transfer-encoding"] = "chunked"
        else:
            headers["content-length"] = str(len(body))
        if not keep:
            headers["connection"] = "close"
        self.send_head(status, headers)
        whole, body = len(body), body[:cut]
        if chunked:
            # Small pieces: nobody shall count on one.
            step = 1000 if kind != "raw" else 65536
            for i in range(0, len(body), step):
                piece = body[i:i + step]
                self.sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            if cut is None or cut >= whole:
                self.sock.sendall(b"0\r\n\r\n")
        else:
            self.sock.sendall(body)
        if cut is not None:
            if f.get("action") == "reset":
                self.reset()
            raise Gone

    def send_head(self, status, headers):
        lines = [f"HTTP/1.1 {status} {REASON.get(status, 'Whatever')}"]
        lines += [f"{n}: {v}" for n, v in headers.items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


class Server:
    def __init__(self, folder, args):
        self.folder = folder
        self.settings = dict(faults.SETTINGS, release=args.release)
        self.faults = faults.Faults()
        self.acl = access.Acl(self.now)
        self.tasks = access.Tasks(self.now)
        kind = store.NullStore if args.null else store.Store
        self.stores = {n: kind(n, os.path.join(folder, n))
                       for n in args.store}
        self.pool = concurrent.futures.ThreadPoolExecutor(32)
        self.stopping = threading.Event()
        self.log_lock = threading.Condition()
        self.log_file = open(os.path.join(folder, "log"), "a", buffering=1,
                             encoding="utf-8")
        self.flag_file = open(os.path.join(folder, "flags"), "a", buffering=1,
                              encoding="utf-8")
        self.active = self.connections = self.peak = self.sessions = 0
        self.context = None

    def now(self):
        return time.time()

    def date(self):
        return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())

    def at_least(self, major, minor):
        have = tuple(int(x) for x in self.settings["release"].split("."))
        return have >= (major, minor)

    def find_store(self, name, writing):
        st = self.stores.get(name)
        if st is None:
            raise Refused(400, f"no such datastore '{name}'")
        mode = st.maintenance
        if mode and (writing or mode != "read-only"):
            raise Refused(400, f"datastore '{name}' is in {mode} maintenance"
                               " mode")
        return st

    def another_chunk(self, st, digest, other):
        """A whole blob, of other content than asked for."""
        base = os.path.join(st.path, ".chunks")
        if other is None:
            other = next(n for d in sorted(os.listdir(base))
                         for n in sorted(os.listdir(os.path.join(base, d)))
                         if n != digest and not n.endswith(".bad"))
        return st.chunk(other)

    def later(self, seconds, run, *args):
        def wait():
            if not self.stopping.wait(seconds):
                run(*args)
        threading.Thread(target=wait, daemon=True).start()

    def enter(self):
        with self.log_lock:
            self.active += 1

    def leave(self):
        with self.log_lock:
            self.active -= 1
            self.log_lock.notify_all()

    def count_session(self, n):
        with self.log_lock:
            self.sessions += n
            self.log_lock.notify_all()

    def quiet(self):
        """Wait until no request is under way."""
        with self.log_lock:
            return self.log_lock.wait_for(lambda: self.active == 0, 10)

    def idle(self):
        with self.log_lock:
            return self.log_lock.wait_for(
                lambda: self.active == 0 and self.sessions == 0, 10)

    def log(self, entry):
        with self.log_lock:
            self.log_file.write(json.dumps(dict(
                entry, time=round(time.time(), 3))) + "\n")

    def flag(self, text):
        with self.log_lock:
            self.flag_file.write(text + "\n")

    def oops(self, e):
        with self.log_lock:
            traceback.print_exception(e, file=sys.stderr)
            sys.stderr.flush()

    def accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.log_lock:
                self.connections += 1
                number = self.connections
            if self.settings["refuse"] > 0:
                self.settings["refuse"] -= 1
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                struct.pack("ii", 1, 0))
                sock.close()
                continue
            threading.Thread(target=Wire(self, sock, number).run,
                             daemon=True).start()

    def certify(self, name="localhost"):
        """A new certificate from here on; its fingerprint."""
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem", "-out",
             "cert.pem", "-subj", f"/CN={name}", "-days", "2", "-addext",
             f"subjectAltName=DNS:{name},IP:127.0.0.1"],
            cwd=self.folder, check=True, stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        cert = os.path.join(self.folder, "cert.pem")
        context.load_cert_chain(cert, os.path.join(self.folder, "key.pem"))
        self.context = context
        with open(cert, encoding="ascii") as f:
            der = ssl.PEM_cert_to_DER_cert(f.read())
        text = formats.colons(hashlib.sha256(der).digest())
        store.write(os.path.join(self.folder, "fingerprint"),
                    f"{text}\n".encode())
        return text


def listen():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    s.listen(256)
    return s


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("folder")
    p.add_argument("--store", action="append", default=[])
    p.add_argument("--release", default="3.2")
    p.add_argument("--null", action="store_true",
                   help="chunks are checked and not kept")
    p.add_argument("--token", default="cala@pbs!node1")
    p.add_argument("--secret", default="3f0c52ae-test-secret-0123456789ab")
    args = p.parse_args()
    args.store = args.store or ["store1"]
    os.makedirs(args.folder, exist_ok=True)
    server = Server(args.folder, args)
    server.certify()
    server.acl.token(args.token, args.secret)
    for who in (args.token, access.user_of(args.token)):
        server.acl.grant(who, "/datastore", ["DatastoreAdmin"])
    listener, words = listen(), listen()
    threading.Thread(target=server.accept, args=(listener,),
                     daemon=True).start()
    threading.Thread(target=side.serve, args=(server, words, control.act),
                     daemon=True).start()
    done = threading.Event()
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda *_: done.set())
    store.write(os.path.join(args.folder, "ports"),
                f"{listener.getsockname()[1]} {words.getsockname()[1]}\n"
                .encode())
    done.wait()
    server.stopping.set()
    os._exit(0)


if __name__ == "__main__":
    main()
