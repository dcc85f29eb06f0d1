"""session: what happens behind the two upgrades.

A session owns locks and, for a backup, a snapshot that is not there until
finish: end() takes it away again when the connection is lost before.
"""

import hashlib
import os
import threading

import formats
import schema
import store as storage
from schema import Refused

EXTENSIONS = {"dynamic": ".didx", "fixed": ".fidx"}


class Raw:
    """An answer that is bytes."""

    def __init__(self, data):
        self.data = data


class Endpoint:
    """raw: the body is a payload (class Q)."""

    def __init__(self, run, raw=False, body=0, **types):
        self.run, self.raw, self.body = run, raw, body
        self.types = {n.replace("_", "-"): t for n, t in types.items()}


class Writer:
    def __init__(self, session, wid, name, fixed, size=None, old=None):
        self.session, self.wid, self.name, self.fixed = session, wid, name, fixed
        self.guard = threading.Lock()
        self.entries, self.end = [], 0
        self.size, self.old = size, old
        self.count = self.small = 0
        self.stats = dict.fromkeys(
            ("count", "size", "compressed_size", "duplicates"), 0)
        if fixed and size is not None:
            self.entries = [bytes(32)] * -(-size // formats.FIXED)
        if old is not None:
            self.entries = [d for _, _, d in old.entries]
        base = os.path.splitext(name)[0]
        self.tmp = session.snap.file(
            f"{base}.tmp_{'fidx' if fixed else 'didx'}")
        storage.write(self.tmp, b"")

    def append(self, digest, offset, length):
        if not self.fixed:
            if offset != self.end:
                raise Refused(400, f"dynamic writer '{self.name}' append"
                                   f" chunk failed - got strange chunk offset"
                                   f" (expected {self.end}, got {offset})")
            self.end += length
            self.entries.append((self.end, digest))
            self.count += 1
            return
        end = offset + length
        if self.size is None:                   # growable (4.2)
            if self.end % formats.FIXED and end > self.end:
                raise Refused(400, "write chunk after the end of the image")
            slots = -(-end // formats.FIXED)
            self.entries += [bytes(32)] * (slots - len(self.entries))
            self.end = max(self.end, end)
        elif end > self.size:
            raise Refused(400, f"write chunk data exceeds size ({end} >="
                               f" {self.size})")
        if length != formats.FIXED and end != (
                self.end if self.size is None else self.size):
            raise Refused(400, f"chunk with unexpected length {length}")
        if offset % formats.FIXED:
            raise Refused(400, f"got unaligned chunk (pos = {offset})")
        self.entries[offset // formats.FIXED] = digest
        self.count += 1

    def close(self, count, size, csum):
        if count != self.count:
            raise Refused(400, f"{'fixed' if self.fixed else 'dynamic'} writer"
                               f" '{self.name}' close failed - unexpected chunk"
                               f" count ({self.count} != {count})")
        if self.fixed:
            self.close_fixed(count, size)
            data = formats.fixed_index(self.size, self.entries)
        else:
            if size != self.end:
                raise Refused(400, f"dynamic writer '{self.name}' close failed"
                                   f" - unexpected file size ({self.end} !="
                                   f" {size})")
            data = formats.dynamic_index(self.entries)
        if data[32:64] != csum:
            raise Refused(400, f"writer '{self.name}' close failed - got"
                               " unexpected checksum")
        storage.write(self.tmp, data)
        os.rename(self.tmp, self.session.snap.file(self.name))

    def close_fixed(self, count, size):
        if self.size is None:
            self.size = self.end
        if self.old is None:
            if count != len(self.entries):
                raise Refused(400, f"fixed writer '{self.name}' close failed -"
                                   f" unexpected chunk count ({count} !="
                                   f" {len(self.entries)})")
            if size != self.size:
                raise Refused(400, f"fixed writer '{self.name}' close failed -"
                                   f" unexpected file size ({self.size} !="
                                   f" {size})")


class Session:
    """What both kinds have in common; close() is what ends the locks."""

    def __init__(self, server, kind, auth, snap, debug):
        self.server, self.kind, self.auth, self.snap = server, kind, auth, snap
        self.store = snap.store
        self.debug = debug
        self.guard = threading.RLock()
        self.locks = []
        self.ended = False
        self.task = None

    def own(self, lock):
        self.locks.append(lock)

    def unlock(self):
        while self.locks:
            self.store.locks.drop(self.locks.pop())


class Backup(Session):
    def __init__(self, server, auth, snap, previous, benchmark, debug):
        super().__init__(server, "backup", auth, snap, debug)
        self.previous, self.benchmark = previous, benchmark
        self.finished = self.finishing = False
        self.uid = self.files = 0
        self.writers, self.known = {}, {}
        self.uploaded = {}              # name: (kind, content size, csum)
        self.stats = dict.fromkeys(
            ("count", "size", "compressed_size", "duplicates"), 0)

    # Helpers.

    def alive(self):
        if self.finished:
            raise Refused(400, "backup already marked as finished.")
        if self.finishing:
            raise Refused(400, "backup is already in the process of finishing.")

    def writer(self, wid, fixed):
        w = self.writers.get(wid)
        if w is None or w.fixed != fixed:
            kind = "fixed" if fixed else "dynamic"
            raise Refused(400, f"{kind} writer '{wid}' not registered")
        return w

    def strict(self, text):
        """What the real server lets pass, and somebody would find later."""
        if self.server.settings["strict"]:
            self.server.flag(text)
            raise Refused(400, f"strict: {text}")

    # Endpoints.

    def previous_backup_time(self, _p, _body):
        return self.previous.time if self.previous else None

    def get_previous(self, p, _body):
        name = p["archive-name"]
        with self.guard:
            self.alive()
            if self.previous is None:
                raise Refused(400, "no valid previous backup")
            kind = storage.kind_of(name)
            if kind is None:
                raise Refused(400, f"unknown archive type: {name}")
            path = self.previous.file(name)
            if kind != "blob":
                index = self.previous.index(name)
                for start, end, digest in index.entries:
                    self.known[digest.hex()] = end - start
            elif not os.path.exists(path):
                raise Refused(404, f"unable to open file {path}")
            return Raw(storage.read(path))

    def dynamic_index(self, p, _body):
        return self.create(p["archive-name"], False)

    def fixed_index(self, p, _body):
        name, size, reuse = p["archive-name"], p["size"], p["reuse-csum"]
        if size is None:
            if not self.server.at_least(4, 2):
                schema.refuse([("size", "parameter is missing and it is not"
                                        " optional.")])
            if reuse is not None:
                raise Refused(400, "cannot create a growable index with reuse")
        old = None
        if reuse is not None:
            if self.previous is None:
                raise Refused(400, "no valid previous backup")
            old = self.previous.index(name)
            if old.csum.hex() != reuse.lower():
                raise Refused(400, "expected csum doesn't match last backup's,"
                                   " cannot do incremental backup")
            if len(old.entries) != -(-size // formats.FIXED):
                raise Refused(400, "previous and current chunk counts differ")
        return self.create(name, True, size, old)

    def create(self, name, fixed, size=None, old=None):
        want = ".fidx" if fixed else ".didx"
        with self.guard:
            self.alive()
            if not name.endswith(want):
                raise Refused(400, f"wrong archive extension: '{name}'")
            if name in self.uploaded or \
                    any(w.name == name for w in self.writers.values()):
                self.strict(f"{name} is written twice")
            self.uid += 1
            self.writers[self.uid] = Writer(self, self.uid, name, fixed, size,
                                            old)
            return self.uid

    def dynamic_chunk(self, p, body):
        return self.chunk(p, body, False)

    def fixed_chunk(self, p, body):
        return self.chunk(p, body, True)

    def chunk(self, p, body, fixed):
        digest, size = p["digest"], p["size"]
        if len(body) != p["encoded-size"]:
            raise Refused(400, f"got blob with unexpected length"
                               f" ({p['encoded-size']} != {len(body)})")
        try:
            _, said, has = formats.blob_shape(body)
            if not formats.is_encrypted(body):
                data = formats.blob_decode(body, limit=size, check=False)
                if len(data) != size:
                    raise formats.Bad(
                        f"detected chunk with wrong length ({len(data)} !="
                        f" {size})")
                if hashlib.sha256(data).hexdigest() != digest:
                    raise formats.Bad("detected chunk with wrong digest.")
        except formats.Bad as why:
            raise Refused(400, str(why)) from None
        if said != has:
            self.server.flag(f"chunk {digest}: CRC {said:08x}, not {has:08x}")
        twice, stored = self.store.insert(digest, formats.blob_fix(body))
        with self.guard:
            self.alive()
            w = self.writer(p["wid"], fixed)
            if fixed:
                if size > formats.FIXED:
                    raise Refused(400, f"fixed writer '{w.name}' - got large"
                                       f" chunk ({size} > {formats.FIXED})")
                if size < formats.FIXED:
                    w.small += 1
                    if w.small > 1:
                        raise Refused(400, f"fixed writer '{w.name}' - detected"
                                           " multiple end chunks (chunk size"
                                           " too small)")
            w.stats["count"] += 1
            w.stats["size"] += size
            w.stats["compressed_size"] += stored
            w.stats["duplicates"] += twice
            self.known[digest] = size
        return digest

    def dynamic_append(self, p, _body):
        return self.append(p, False)

    def fixed_append(self, p, _body):
        return self.append(p, True)

    def append(self, p, fixed):
        digests, offsets = p["digest-list"], p["offset-list"]
        if len(digests) != len(offsets):
            raise Refused(400, f"offset list has wrong length ("
                               f"{len(offsets)} != {len(digests)})")
        with self.guard:
            self.alive()
            w = self.writer(p["wid"], fixed)
            for digest, offset in zip(digests, offsets):
                length = self.known.get(digest)
                if length is None:
                    raise Refused(400, f"no such chunk {digest}")
                w.append(bytes.fromhex(digest), offset, length)

    def dynamic_close(self, p, _body):
        return self.close(p, False)

    def fixed_close(self, p, _body):
        return self.close(p, True)

    def close(self, p, fixed):
        with self.guard:
            self.alive()
            self.writer(p["wid"], fixed)
            w = self.writers.pop(p["wid"])
            try:
                w.close(p["chunk-count"], p["size"], bytes.fromhex(p["csum"]))
            except Refused:
                os.unlink(w.tmp)
                raise
            for k, n in w.stats.items():
                self.stats[k] += n
            self.uploaded[w.name] = ("index", w.size if fixed else w.end,
                                     p["csum"].lower())
            self.files += 1

    def blob(self, p, body):
        name = p["file-name"]
        if not name.endswith(".blob"):
            raise Refused(400, f"wrong blob file extension: '{name}'")
        if len(body) != p["encoded-size"]:
            raise Refused(400, f"got blob with unexpected length"
                               f" ({p['encoded-size']} != {len(body)})")
        try:
            formats.blob_check(body)
        except formats.Bad as why:
            raise Refused(400, str(why)) from None
        with self.guard:
            if self.finished or self.ended:
                self.strict(f"{name} comes after finish")
            elif name in self.uploaded:
                self.strict(f"{name} is written twice")
            storage.write(self.snap.file(name), bytes(body))
            self.uploaded[name] = ("blob", len(body),
                                   hashlib.sha256(body).hexdigest())
            self.stats["size"] += len(body)
            self.files += 1

    def speedtest(self, _p, _body):
        return None

    def finish(self, _p, _body):
        with self.guard:
            self.alive()
            if self.writers:
                raise Refused(400, "found open index writer - unable to finish"
                                   " backup")
            if not self.files:
                raise Refused(400, "backup does not contain valid files (file"
                                   " count == 0)")
            m, _ = self.snap.manifest()
            self.check_manifest(m)
            self.finishing = True
            try:
                self.snap.rewrite(lambda m: m["unprotected"].update(
                    chunk_upload_stats=dict(self.stats)))
                if self.previous and not self.previous.exists():
                    raise Refused(400, "cannot finish backup: base snapshot"
                                       f" {self.previous.dir} was removed"
                                       " during backup")
            finally:
                self.finishing = False
            self.finished = True
            if self.server.at_least(4, 0):
                self.unlock()

    def check_manifest(self, m):
        """The part that only a strict server looks at."""
        def wrong(text):
            self.strict(f"manifest: {text}")
        g = self.snap.group
        if (m["backup-type"], m["backup-id"], m["backup-time"]) != (
                g.kind, g.name, self.snap.time):
            wrong("of another snapshot")
        unknown = set(m) - set(formats.FIELDS)
        if unknown:
            wrong(f"has {sorted(unknown)}")
        names = [f["filename"] for f in m["files"]]
        if len(set(names)) != len(names):
            wrong("lists a file twice")
        want = set(self.uploaded) - {storage.MANIFEST}
        if set(names) != want:
            wrong(f"lists {sorted(names)}, not {sorted(want)}")
        modes = set()
        for f in m["files"]:
            name = f["filename"]
            if name not in self.uploaded:
                continue
            _, size, csum = self.uploaded[name]
            if f["size"] != size or f["csum"] != csum:
                wrong(f"{name}: {f['size']} {f['csum']}, not {size} {csum}")
            if "crypt-mode" not in f:
                wrong(f"{name}: no crypt-mode")
            modes.add(f.get("crypt-mode"))
            self.check_mode(f, wrong)
        key = m.get("unprotected", {}).get("key-fingerprint")
        if (m.get("signature") is not None) != (key is not None):
            wrong("signature and key-fingerprint don't come together")
        if modes - {"none"} and key is None:
            wrong("is not signed")

    def check_mode(self, f, wrong):
        name, secret = f["filename"], f.get("crypt-mode") == "encrypt"
        if name.endswith(".blob"):
            with open(self.snap.file(name), "rb") as b:
                if formats.is_encrypted(b.read(8)) != secret and \
                        name != "rsa-encrypted.key.blob":
                    wrong(f"{name}: is not {f['crypt-mode']}")
            return
        for digest in {d for _, _, d in self.snap.index(name).entries}:
            head = self.store.head(digest.hex())
            if head is None:
                wrong(f"{name}: no chunk {digest.hex()}")
            elif formats.is_encrypted(head) != secret:
                wrong(f"{name}: chunk {digest.hex()} is not"
                      f" {f.get('crypt-mode')}")

    def list(self, _p, _body):
        return [{"subdir": n} for n in sorted({
            path.lstrip("/") for _, path in BACKUP if path != "/"})]

    def end(self, why):
        """The connection is gone."""
        with self.guard:
            if self.ended:
                return
            self.ended = True
            if not self.finished or self.benchmark:
                if self.snap.exists():
                    for n in os.listdir(self.snap.path):
                        os.unlink(self.snap.file(n))
                    os.rmdir(self.snap.path)
            if self.finished or self.benchmark:
                self.task.end("OK")
            else:
                self.task.end("backup ended but finished flag is not set."
                              if why == "" else f"connection error: {why}")
            self.unlock()


class Reader(Session):
    def __init__(self, server, auth, snap, debug):
        super().__init__(server, "reader", auth, snap, debug)
        self.readable = set()

    def download(self, p, _body):
        name = p["file-name"]
        kind = storage.kind_of(name)
        if kind is None:
            raise Refused(400, f"cannot download '{name}', wrong extension")
        path = self.snap.file(name)
        if kind == "blob":
            if not os.path.exists(path):
                raise Refused(404, f"open file '{path}' failed - not found")
        else:
            index = self.snap.index(name)
            with self.guard:
                self.readable.update(d.hex() for _, _, d in index.entries)
        return Raw(storage.read(path))

    def chunk(self, p, _body):
        with self.guard:
            allowed = p["digest"] in self.readable
        if not allowed:
            raise Refused(401, f"download chunk {p['digest']} not allowed")
        return Raw(self.store.chunk(p["digest"]))

    def speedtest(self, _p, _body):
        return Raw(b"A" * (1 << 20))

    def list(self, _p, _body):
        return [{"subdir": n} for n in ("chunk", "download", "speedtest")]

    def end(self, _why):
        with self.guard:
            if not self.ended:
                self.ended = True
                self.task.end("OK")
                self.unlock()


def chunk_types():
    return {"wid": schema.wid(), "digest": schema.digest(),
            "size": schema.Int(1, formats.CHUNK_MAX),
            "encoded_size": schema.Int(13, formats.BLOB_MAX)}


def append_types():
    return {"wid": schema.wid(), "digest_list": schema.List(schema.digest()),
            "offset_list": schema.List(schema.Int(0, None))}


def close_types(least):
    return {"wid": schema.wid(), "chunk_count": schema.Int(least, None),
            "size": schema.Int(least, None), "csum": schema.csum()}


BACKUP = {
    ("GET", "/"): Endpoint(Backup.list),
    ("GET", "/previous_backup_time"): Endpoint(Backup.previous_backup_time),
    ("GET", "/previous"): Endpoint(Backup.get_previous, raw=True,
                                   archive_name=schema.name()),
    ("POST", "/dynamic_index"): Endpoint(Backup.dynamic_index,
                                         archive_name=schema.name()),
    ("POST", "/dynamic_chunk"): Endpoint(Backup.dynamic_chunk, raw=True,
                                         body="encoded-size", **chunk_types()),
    ("PUT", "/dynamic_index"): Endpoint(Backup.dynamic_append,
                                        **append_types()),
    ("POST", "/dynamic_close"): Endpoint(Backup.dynamic_close,
                                         **close_types(1)),
    ("POST", "/fixed_index"): Endpoint(
        Backup.fixed_index, archive_name=schema.name(),
        size=schema.Int(1, None, optional=True),
        reuse_csum=schema.csum(optional=True)),
    ("POST", "/fixed_chunk"): Endpoint(Backup.fixed_chunk, raw=True,
                                       body="encoded-size", **chunk_types()),
    ("PUT", "/fixed_index"): Endpoint(Backup.fixed_append, **append_types()),
    ("POST", "/fixed_close"): Endpoint(Backup.fixed_close, **close_types(0)),
    ("POST", "/blob"): Endpoint(
        Backup.blob, raw=True, body="encoded-size", file_name=schema.name(),
        encoded_size=schema.Int(12, formats.BLOB_MAX)),
    ("POST", "/speedtest"): Endpoint(Backup.speedtest, raw=True, body=-1),
    ("POST", "/finish"): Endpoint(Backup.finish),
}

READER = {
    ("GET", "/"): Endpoint(Reader.list),
    ("GET", "/download"): Endpoint(Reader.download, raw=True,
                                   file_name=schema.name()),
    ("GET", "/chunk"): Endpoint(Reader.chunk, raw=True,
                                digest=schema.digest()),
    ("GET", "/speedtest"): Endpoint(Reader.speedtest, raw=True),
}


def upgrade(headers, version, protocol):
    if headers.get("upgrade") != protocol:
        raise Refused(400, "invalid 'Upgrade' header"
                      if "upgrade" in headers else "missing Upgrade header")
    if version != "HTTP/1.1":
        raise Refused(400, f"unexpected http version '{version}' (expected"
                           " version < 2)")


BACKUP_TYPES = {"store": schema.store(), **schema.triple(),
                "debug": schema.Bool(optional=True, default=False),
                "benchmark": schema.Bool(optional=True, default=False)}
NO_CACHE = {"no-cache": schema.Bool(optional=True, default=False)}
READER_TYPES = {"store": schema.store(), **schema.triple(),
                "debug": schema.Bool(optional=True, default=False)}


def open_backup(server, auth, query, headers, version):
    """All that comes before 101, in the server's order."""
    types = dict(BACKUP_TYPES, **NO_CACHE) if server.at_least(4, 0) else \
        BACKUP_TYPES
    p = schema.class_q(types, [], query)
    if "Backup" not in server.acl.privs(auth, p["store"], p["ns"]):
        raise Refused(403, "permission check failed - missing"
                           " Datastore.Backup on"
                           f" /datastore/{p['store']}")
    store = server.find_store(p["store"], writing=True)
    upgrade(headers, version, "proxmox-backup-protocol-v1")
    if not store.has_ns(p["ns"] or ""):
        raise Refused(404, f"namespace '{p['ns']}' not found")
    g = store.group(p)
    bench = (g.kind, g.name) == ("host", "benchmark")
    if p["benchmark"] != bench:
        raise Refused(400, "unable to run benchmark without --benchmark flags"
                      if bench else
                      "benchmark flags is only allowed on 'host/benchmark'")
    taken = []
    try:
        return locked_backup(server, auth, p, store, g, taken)
    except Exception:
        for lock in taken:
            store.locks.drop(lock)
        raise


def locked_backup(server, auth, p, store, g, taken):
    if not store.locks.take(g.lock):
        raise Refused(400, (
            "unable to acquire backup group lock - EWOULDBLOCK: Operation"
            " would block" if server.at_least(4, 0) else
            f"unable to acquire lock on backup group '{g.path}' - another"
            " backup is already running"))
    taken.append(g.lock)
    if not g.exists():
        os.makedirs(g.path)
        g.set_owner(auth)
    if not p["benchmark"] and not server.acl.owns(auth, g.owner()):
        raise Refused(400, f"backup owner check failed ({auth} !="
                           f" {g.owner()})")
    finished = g.finished()
    previous = finished[-1] if finished else None
    if previous and previous.verify_failed():
        previous = None
    snap = store.snapshot(p)
    if previous:
        if snap.time <= previous.time:
            raise Refused(400, "backup timestamp is older than last backup.")
        if not store.locks.take(previous.lock, shared=True):
            raise Refused(400, f"unable to acquire lock on snapshot"
                               f" '{previous.text()}' - base snapshot is"
                               " already locked by another operation")
        taken.append(previous.lock)
    if snap.exists():
        raise Refused(400, f"backup directory already exists:"
                           f" '{snap.path}'")
    if not store.locks.take(snap.lock):
        raise Refused(400, f"unable to acquire snapshot lock on"
                           f" '{snap.text()}' - internal error, tried creating"
                           " snapshot that's already in use")
    taken.append(snap.lock)
    os.mkdir(snap.path)
    s = Backup(server, auth, snap, previous, p["benchmark"], p["debug"])
    for lock in taken:
        s.own(lock)
    s.task = server.tasks.start("backup", f"{store.name}:{g.text()}", auth)
    return s


def open_reader(server, auth, query, headers, version):
    p = schema.class_q(READER_TYPES, [], query)
    privs = server.acl.privs(auth, p["store"], p["ns"])
    if not privs & {"Read", "Backup"}:
        raise Refused(400, "permission check failed - missing"
                           " Datastore.Read or Datastore.Backup")
    store = server.find_store(p["store"], writing=False)
    upgrade(headers, version, "proxmox-backup-reader-protocol-v1")
    snap = store.snapshot(p)
    if "Read" not in privs and not server.acl.owns(auth, snap.group.owner()):
        raise Refused(400, f"backup owner check failed ({auth} !="
                           f" {snap.group.owner()})")
    if not snap.exists():
        raise Refused(400, f"snapshot {snap.text()} does not exist.")
    if not store.locks.take(snap.lock, shared=True):
        raise Refused(400, f"unable to acquire shared snapshot lock on"
                           f" '{snap.text()}' - locked by another operation")
    s = Reader(server, auth, snap, p["debug"])
    s.own(snap.lock)
    s.task = server.tasks.start(
        "reader", f"{store.name}:{snap.group.text()}/{snap.time:08X}", auth)
    return s
