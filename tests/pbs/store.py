"""store: a datastore in the server's own layout below a folder.

Nothing is kept in memory but locks: what tests do to the files takes effect.
"""

import calendar
import os
import re
import threading
import time

import formats
from schema import Refused

TYPES = ("ct", "host", "vm")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
EXT = {".didx": "didx", ".fidx": "fidx", ".blob": "blob"}
MANIFEST = "index.json.blob"


def stamp(t):
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))
    except (OverflowError, ValueError, OSError):
        raise Refused(400, f"backup-time {t} is out of range") from None


def unstamp(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def kind_of(name):
    return EXT.get(os.path.splitext(name)[1])


def write(path, data):
    """Whole or not at all."""
    tmp = f"{path}.tmp{threading.get_ident()}"
    with open(tmp, "wb") as f:
        f.write(data)
    os.rename(tmp, path)


def read(path):
    with open(path, "rb") as f:
        return f.read()


class Locks:
    """Never waits: somebody has it, or it is ours."""

    def __init__(self):
        self.guard, self.held = threading.Lock(), {}

    def take(self, key, shared=False):
        with self.guard:
            n = self.held.get(key, 0)
            if n < 0 or n > 0 and not shared:
                return False
            self.held[key] = n + 1 if shared else -1
            return True

    def drop(self, key):
        with self.guard:
            n = self.held.get(key, 0)
            n = n - 1 if n > 0 else 0
            if n:
                self.held[key] = n
            else:
                self.held.pop(key, None)


class Group:
    def __init__(self, store, ns, kind, name):
        self.store, self.ns, self.kind, self.name = store, ns, kind, name
        self.path = os.path.join(store.ns_path(ns), kind, name)
        self.lock = ("group", store.name, ns, kind, name)

    def text(self):
        return f"{self.kind}/{self.name}"

    def exists(self):
        return os.path.isdir(self.path)

    def owner(self):
        try:
            return read(os.path.join(self.path, "owner")).decode().strip()
        except FileNotFoundError:
            raise Refused(400, f"group '{self.text()}' has no owner"
                               " - does it exist?") from None

    def set_owner(self, who):
        write(os.path.join(self.path, "owner"), f"{who}\n".encode())

    def snapshots(self):
        """Oldest first, broken and running ones included."""
        try:
            names = sorted(n for n in os.listdir(self.path)
                           if TIME.fullmatch(n))
        except FileNotFoundError:
            return []
        return [Snapshot(self, unstamp(n)) for n in names]

    def finished(self):
        return [s for s in self.snapshots() if s.has_manifest()]


class Snapshot:
    def __init__(self, group, when):
        self.group, self.store, self.time = group, group.store, when
        self.dir = stamp(when)
        self.path = os.path.join(group.path, self.dir)
        self.lock = group.lock + (when,)

    def text(self):
        return f"{self.group.text()}/{self.dir}"

    def exists(self):
        return os.path.isdir(self.path)

    def file(self, name):
        return os.path.join(self.path, name)

    def has_manifest(self):
        return os.path.exists(self.file(MANIFEST))

    def files(self):
        return sorted(n for n in os.listdir(self.path) if kind_of(n))

    def manifest(self):
        """The object and the size of its blob."""
        try:
            blob = read(self.file(MANIFEST))
            return formats.manifest_parse(blob), len(blob)
        except FileNotFoundError:
            raise Refused(400, f"unable to load blob '{self.file(MANIFEST)}'"
                          " - No such file or directory (os error 2)"
                          ) from None
        except formats.Bad as why:
            raise Refused(400, f"unable to parse manifest - {why}") from None

    def rewrite(self, change):
        """Known fields survive what change does to the manifest."""
        with self.store.manifest_lock:
            m, _ = self.manifest()
            m = formats.manifest_known(m)
            change(m)
            write(self.file(MANIFEST), formats.manifest_blob(m))

    def index(self, name):
        try:
            return formats.Index(read(self.file(name)))
        except (formats.Bad, FileNotFoundError) as why:
            raise Refused(400, f"unable to open index '{self.file(name)}'"
                               f" - {why}") from None

    def protected(self):
        return os.path.exists(self.file(".protected"))

    def protect(self, on):
        if on:
            write(self.file(".protected"), b"")
        elif self.protected():
            os.unlink(self.file(".protected"))

    def verify_failed(self):
        state = self.manifest()[0].get("unprotected", {}).get("verify_state")
        return isinstance(state, dict) and state.get("state") == "failed"

    def remove(self):
        """The manifest last would be a broken one: it goes first."""
        if self.has_manifest():
            os.unlink(self.file(MANIFEST))
        for n in os.listdir(self.path):
            os.unlink(self.file(n))
        os.rmdir(self.path)


class Store:
    def __init__(self, name, path):
        self.name, self.path = name, path
        self.locks = Locks()
        self.manifest_lock = threading.Lock()
        self.chunk_lock = threading.Lock()
        self.maintenance = None
        os.makedirs(os.path.join(path, ".chunks"), exist_ok=True)
        write(os.path.join(path, ".lock"), b"")

    def ns_path(self, ns):
        path = self.path
        for part in ns.split("/") if ns else ():
            path = os.path.join(path, "ns", part)
        return path

    def has_ns(self, ns):
        return os.path.isdir(self.ns_path(ns))

    def namespaces(self, parent="", depth=7):
        """The parent first, then below it, sorted."""
        yield parent
        if depth == 0:
            return
        try:
            names = sorted(os.listdir(os.path.join(self.ns_path(parent),
                                                   "ns")))
        except FileNotFoundError:
            return
        for n in names:
            yield from self.namespaces(f"{parent}/{n}" if parent else n,
                                       depth - 1)

    def group(self, p):
        return Group(self, p["ns"] or "", p["backup-type"], p["backup-id"])

    def snapshot(self, p):
        return Snapshot(self.group(p), p["backup-time"])

    def groups(self, ns):
        for kind in TYPES:
            base = os.path.join(self.ns_path(ns), kind)
            for n in sorted(os.listdir(base)) if os.path.isdir(base) else ():
                yield Group(self, ns, kind, n)

    def all_groups(self):
        for ns in self.namespaces():
            yield from self.groups(ns)

    # Chunks.

    def chunk_path(self, digest):
        """digest: hexadecimal."""
        return os.path.join(self.path, ".chunks", digest[:4], digest)

    def chunk(self, digest):
        try:
            return read(self.chunk_path(digest))
        except FileNotFoundError:
            raise Refused(400, f"store '{self.name}', unable to load chunk"
                          f" '{digest}' - No such file or directory"
                          " (os error 2)") from None

    def insert(self, digest, blob):
        """(was there already, bytes that are stored now)."""
        path = self.chunk_path(digest)
        with self.chunk_lock:
            try:
                old = os.path.getsize(path)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                write(path, blob)
                return False, len(blob)
            if old == len(blob):
                os.utime(path)
                return True, old
            if old == 0:
                write(path, blob)
                return False, len(blob)
            with open(path, "rb") as f:
                head = f.read(8)
            new = bytes(blob[:8])
            secret = formats.is_encrypted(head)
            if formats.is_encrypted(new):
                if not secret:
                    raise Refused(400, "overwriting unencrypted chunk"
                                  f" '{digest}' with encrypted one is not"
                                  " allowed!")
                if head == new == formats.CRYPT:
                    raise Refused(400, f"chunk size mismatch on insert for"
                                  f" {digest}: old {old} - new {len(blob)}")
                return True, old
            if old < len(blob):
                return True, old
            write(path, blob)
            return False, len(blob)

    def head(self, digest):
        """The first bytes of a chunk, or None."""
        try:
            with open(self.chunk_path(digest), "rb") as f:
                return f.read(12)
        except FileNotFoundError:
            return None


class NullStore(Store):
    """Forgets chunks but for their sizes: for measuring clients."""

    def __init__(self, name, path):
        super().__init__(name, path)
        self.sizes = {}

    def insert(self, digest, blob):
        with self.chunk_lock:
            old = self.sizes.get(digest)
            if old is None:
                self.sizes[digest] = len(blob), bytes(blob[:12])
                return False, len(blob)
            return True, old[0]

    def head(self, digest):
        return self.sizes.get(digest, (0, None))[1]
