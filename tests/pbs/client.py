#!/usr/bin/env python3
"""client WORD...: a client of Proxmox Backup Server, for tests.

PBS_URL, PBS_FINGERPRINT, PBS_TOKEN, PBS_SECRET, PBS_STORE and PBS_NS say where
and who.  It shares no code with what is tested.

rest METHOD PATH [K=V...]     a call; the answer's data, or "STATUS text" and 1
json METHOD PATH JSON         the same with a body
backup ID TIME NAME=FILE...   a snapshot: .didx cut every 64 KiB, .fidx, .blob;
                              with --key FILE encrypted and signed
cat ID TIME NAME              the content of an archive or blob; --key FILE
"""

import argparse
import hashlib
import json
import os
import socket
import ssl
import struct
import sys
import urllib.parse

import h2.config
import h2.connection
import h2.events
import h2.settings

import formats

PIECE = 65536


class Failed(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status} {text}")
        self.status, self.text = status, text


class Lost(Exception):
    """The connection ended."""


def env(name, default=""):
    return os.environ.get(f"PBS_{name}", default)


def address():
    url = urllib.parse.urlsplit(env("URL"))
    return url.hostname, url.port


def connect(host=None, port=None):
    if host is None:
        host, port = address()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sock = socket.create_connection((host, port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock = context.wrap_socket(sock)
    der = sock.getpeercert(binary_form=True)
    if env("FINGERPRINT") and formats.colons(
            hashlib.sha256(der).digest()) != env("FINGERPRINT"):
        raise Failed(0, "another certificate")
    return sock


def credentials(kind="="):
    secret = urllib.parse.quote(env("SECRET"), safe="")
    return f"PBSAPIToken{kind}{env('TOKEN')}:{secret}"


def query(items):
    def text(v):
        return {True: "true", False: "false"}.get(v, str(v)) \
            if isinstance(v, bool) else str(v)
    return urllib.parse.urlencode([(k, text(v)) for k, v in items.items()
                                   if v is not None])


class Http:
    """One connection of HTTP/1.1; every call has it to itself."""

    def __init__(self):
        self.sock, self.buffer = connect(), b""

    def more(self):
        try:
            data = self.sock.recv(1 << 16)
        except (OSError, ssl.SSLError) as why:
            raise Lost(str(why)) from None
        if not data:
            raise Lost("end of file")
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("latin-1")

    def take(self, n):
        while len(self.buffer) < n:
            self.more()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def send(self, method, target, headers, body=b"", version="HTTP/1.1"):
        host, port = address()
        lines = [f"{method} {target} {version}", f"Host: {host}:{port}"]
        lines += [f"{n}: {v}" for n, v in headers.items()]
        if body or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {len(body)}")
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    def head(self):
        status = int(self.line().split(" ")[1])
        headers = {}
        while line := self.line():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return status, headers

    def body(self, headers):
        if headers.get("transfer-encoding") == "chunked":
            out = b""
            while n := int(self.line(), 16):
                out += self.take(n)
                self.take(2)
            self.take(2)
            return out
        return self.take(int(headers.get("content-length", "0")))


def call(method, path, items=None, body=None, auth=None, headers=None,
         content=None, raw=False):
    """items: the query; body: bytes, or an object for JSON."""
    http = Http()
    send = {"Authorization": credentials() if auth is None else auth}
    if auth == "":
        del send["Authorization"]
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        send["Content-Type"] = "application/json"
    if content:
        send["Content-Type"] = content
    send.update(headers or {})
    path = path.replace("S/", f"admin/datastore/{env('STORE', 'store1')}/", 1) \
        if path.startswith("S/") else path
    target = path if path.startswith("/") else f"/api2/json/{path}"
    if items:
        target += "?" + query(items)
    http.send(method, target, send, body or b"")
    status, got = http.head()
    data = http.body(got)
    http.sock.close()
    if status >= 300:
        raise Failed(status, data.decode())
    if raw or got.get("content-type") == "application/octet-stream":
        return data
    return json.loads(data)["data"]


class Session:
    """An upgraded connection."""

    def __init__(self, kind, items, protocol=None, auth=None, headers=None,
                 version="HTTP/1.1", window=1 << 30):
        http = Http()
        protocol = protocol or {
            "backup": "proxmox-backup-protocol-v1",
            "reader": "proxmox-backup-reader-protocol-v1"}[kind]
        send = {"Authorization": auth or credentials(),
                "Connection": "upgrade", "Upgrade": protocol}
        send.update(headers or {})
        send = {n: v for n, v in send.items() if v}
        http.send("GET", f"/api2/json/{kind}?{query(items)}", send,
                  version=version)
        status, got = http.head()
        if status != 101:
            raise Failed(status, http.body(got).decode())
        self.sock = http.sock
        self.h = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8"))
        code = h2.settings.SettingCodes
        self.h.local_settings = h2.settings.Settings(
            client=True, initial_values={
                code.ENABLE_PUSH: 0, code.INITIAL_WINDOW_SIZE: window,
                code.MAX_FRAME_SIZE: 4 << 20})
        self.h.max_inbound_frame_size = 4 << 20
        self.h.initiate_connection()
        if window > 65535:
            self.h.increment_flow_control_window(window - 65535)
        self.answers, self.done, self.settings = {}, {}, None
        self.goaway = None
        self.flush()
        if http.buffer:
            self.feed(http.buffer)

    def flush(self):
        data = self.h.data_to_send()
        if data:
            try:
                self.sock.sendall(data)
            except (OSError, ssl.SSLError) as why:
                raise Lost(str(why)) from None

    def feed(self, data):
        for e in self.h.receive_data(data):
            if isinstance(e, h2.events.ResponseReceived):
                self.answers[e.stream_id] = [
                    int(dict(e.headers)[":status"]), bytearray()]
            elif isinstance(e, h2.events.DataReceived):
                self.h.acknowledge_received_data(e.flow_controlled_length,
                                                 e.stream_id)
                self.answers[e.stream_id][1] += e.data
            elif isinstance(e, h2.events.StreamEnded):
                self.done[e.stream_id] = self.answers.get(e.stream_id)
            elif isinstance(e, h2.events.StreamReset):
                if e.stream_id not in self.done:
                    self.done[e.stream_id] = [-int(e.error_code),
                                              b"reset by the server"]
            elif isinstance(e, h2.events.RemoteSettingsChanged):
                self.settings = {int(k): v.new_value for k, v in
                                 e.changed_settings.items()}
            elif isinstance(e, h2.events.ConnectionTerminated):
                self.goaway = int(e.error_code)
        self.flush()

    def read(self):
        try:
            data = self.sock.recv(1 << 18)
        except (OSError, ssl.SSLError) as why:
            raise Lost(str(why)) from None
        if not data:
            raise Lost("end of file")
        self.feed(data)

    def start(self, method, path, items=None, body=b"", content=None,
              end=True):
        target = path + ("?" + query(items) if items else "")
        sid = self.h.get_next_available_stream_id()
        headers = [(":method", method), (":scheme", "https"),
                   (":authority", "localhost:8007"), (":path", target)]
        if not isinstance(body, (bytes, bytearray)):
            body, content = json.dumps(body).encode(), "application/json"
        if content:
            headers.append(("content-type", content))
        self.h.send_headers(sid, headers, end_stream=end and not body)
        self.flush()
        view = memoryview(body)
        while view and sid not in self.done:
            n = min(len(view), self.h.local_flow_control_window(sid),
                    self.h.max_outbound_frame_size, 1 << 18)
            if n == 0:
                self.read()
                continue
            self.h.send_data(sid, bytes(view[:n]),
                             end_stream=end and n == len(view))
            self.flush()
            view = view[n:]
        return sid

    def wait(self, sid):
        while sid not in self.done:
            self.read()
        status, data = self.done.pop(sid)
        if status < 0 or status >= 300:
            raise Failed(status, bytes(data).decode("utf-8", "replace"))
        return bytes(data)

    def raw(self, method, path, items=None, body=b"", content=None):
        return self.wait(self.start(method, path, items, body, content))

    def do(self, method, path, items=None, body=b"", content=None):
        return json.loads(self.raw(method, path, items, body, content))["data"]

    def close(self):
        self.h.close_connection()
        try:
            self.flush()
        except Lost:
            pass
        self.sock.close()


def place(name, when, kind="host", **more):
    """The parameters of a snapshot."""
    out = {"store": env("STORE", "store1"), "backup-type": kind, "backup-id": name,
           "backup-time": when, "ns": env("NS") or None}
    out.update({k.replace("_", "-"): v for k, v in more.items()})
    return out


class Backup(Session):
    def __init__(self, name, when, key=None, kind="host", **how):
        more = how.pop("more", {})
        super().__init__("backup", place(name, when, kind, **more), **how)
        self.key, self.files, self.known = key, [], set()
        self.kind, self.name, self.when = kind, name, when
        self.notes = None

    def mode(self):
        return "encrypt" if self.key else "none"

    def digest(self, data):
        return self.key.digest(data) if self.key else \
            hashlib.sha256(data).digest()

    def chunk(self, wid, data, fixed=False):
        """Upload it, if it is not known; the digest in hexadecimal."""
        d = self.digest(data).hex()
        if d not in self.known:
            blob = formats.blob_encode(data, key=self.key)
            self.do("POST", f"/{'fixed' if fixed else 'dynamic'}_chunk",
                    {"digest": d, "encoded-size": len(blob),
                     "size": len(data), "wid": wid}, blob,
                    "application/octet-stream")
            self.known.add(d)
        return d

    def index(self, name, chunks):
        """A dynamic index of these pieces."""
        wid = self.do("POST", "/dynamic_index", {"archive-name": name})
        entries, at = [], 0
        for data in chunks:
            d = self.chunk(wid, data)
            self.do("PUT", "/dynamic_index", body={
                "wid": wid, "digest-list": [d], "offset-list": [at]})
            at += len(data)
            entries.append((at, bytes.fromhex(d)))
        self.close_index(name, wid, entries)

    def close_index(self, name, wid, entries):
        csum, size = formats.dynamic_csum(entries), entries[-1][0]
        self.do("POST", "/dynamic_close", {
            "wid": wid, "chunk-count": len(entries), "size": size,
            "csum": csum.hex()})
        self.listed(name, size, csum.hex())

    def image(self, name, data):
        wid = self.do("POST", "/fixed_index", {"archive-name": name,
                                               "size": len(data)})
        digests = []
        for at in range(0, len(data), formats.FIXED):
            d = self.chunk(wid, data[at:at + formats.FIXED], True)
            self.do("PUT", "/fixed_index", body={
                "wid": wid, "digest-list": [d], "offset-list": [at]})
            digests.append(bytes.fromhex(d))
        csum = hashlib.sha256(b"".join(digests)).hexdigest()
        self.do("POST", "/fixed_close", {
            "wid": wid, "chunk-count": len(digests), "size": len(data),
            "csum": csum})
        self.listed(name, len(data), csum)

    def listed(self, name, size, csum, mode=None):
        self.files.append({"filename": name, "crypt-mode": mode or self.mode(),
                           "size": size, "csum": csum})

    def blob(self, name, data, encode=True, mode=None, compress=True):
        key = self.key if mode in (None, "encrypt") else None
        if encode:
            data = formats.blob_encode(data, compress, key)
        self.do("POST", "/blob", {"file-name": name,
                                  "encoded-size": len(data)}, data,
                "application/octet-stream")
        if name != "index.json.blob":
            self.listed(name, len(data), hashlib.sha256(data).hexdigest(),
                        mode)

    def previous(self, name):
        return self.raw("GET", "/previous", {"archive-name": name})

    def manifest(self, pretty=True, **more):
        m = {"backup-type": self.kind, "backup-id": self.name,
             "backup-time": self.when, "files": self.files,
             "signature": None, "unprotected": {}}
        if self.key:
            m["signature"] = self.key.sign(m)
            m["unprotected"]["key-fingerprint"] = self.key.fingerprint
        if self.notes is not None:
            m["unprotected"]["notes"] = self.notes
        m.update(more)
        text = json.dumps(m, indent=2 if pretty else None,
                          separators=None if pretty else (",", ":"))
        self.blob("index.json.blob", text.encode(), mode="none")

    def finish(self):
        self.do("POST", "/finish")
        self.close()


class Reader(Session):
    def __init__(self, name, when, key=None, kind="host", **how):
        more = how.pop("more", {})
        super().__init__("reader", place(name, when, kind, **more), **how)
        self.key = key

    def download(self, name):
        return self.raw("GET", "/download", {"file-name": name})

    def chunk(self, digest):
        return self.raw("GET", "/chunk", {"digest": digest})

    def content(self, name):
        data = self.download(name)
        if name.endswith(".blob"):
            return formats.blob_decode(data, self.key)
        out, index = b"", formats.Index(data)
        for start, end, digest in index.entries:
            plain = formats.blob_decode(self.chunk(digest.hex()), self.key,
                                        end - start)
            has = self.key.digest(plain) if self.key else \
                hashlib.sha256(plain).digest()
            if has != digest or len(plain) != end - start:
                raise formats.Bad(f"chunk {digest.hex()}")
            out += plain
        return out


def pieces(data, size=PIECE):
    return [data[i:i + size] for i in range(0, len(data), size)]


def slurp(path):
    with open(path, "rb") as f:
        return f.read()


def value(text):
    return {"true": True, "false": False}.get(text, text)


def main(argv):
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--key")
    p.add_argument("word")
    p.add_argument("rest", nargs="*")
    args = p.parse_args(argv)
    key = formats.key_load(slurp(args.key), env("PASSWORD").encode()) \
        if args.key else None
    word, rest = args.word, args.rest
    if word == "rest":
        got = call(rest[0], rest[1], {
            k: value(v) for k, _, v in (x.partition("=") for x in rest[2:])})
        if isinstance(got, bytes):
            sys.stdout.buffer.write(got)
        else:
            print(json.dumps(got))
    elif word == "json":
        print(json.dumps(call(rest[0], rest[1], body=json.loads(rest[2]))))
    elif word == "backup":
        b = Backup(rest[0], int(rest[1]), key)
        for item in rest[2:]:
            name, _, path = item.partition("=")
            data = slurp(path)
            if name.endswith(".didx"):
                b.index(name, pieces(data))
            elif name.endswith(".fidx"):
                b.image(name, data)
            else:
                b.blob(name, data)
        b.manifest()
        b.finish()
    elif word == "cat":
        r = Reader(rest[0], int(rest[1]), key)
        sys.stdout.buffer.write(r.content(rest[2]))
        r.close()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Failed, Lost, formats.Bad, OSError, struct.error) as e:
        sys.exit(f"{e}")
