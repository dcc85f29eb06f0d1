"""pxarw: pxar archives, catalogs and chunkers, written for fixtures.

Archives of format 1 and 2, catalogs, buzhash as Proxmox's client cuts and
FastCDC as Wings does; for small trees, and compared with published values:

	pxarw.py --self-test
"""

import hashlib
import os
import stat
import struct
import sys

import pxar

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.join(HERE, "..", "vectors")
M64 = (1 << 64) - 1
TYPES = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l",
         stat.S_IFIFO: "p", stat.S_IFCHR: "c", stat.S_IFBLK: "b",
         stat.S_IFSOCK: "s"}


class Node:
    """One object; attrs: (item, content) in the order of the format."""

    def __init__(self, name, mode, uid=0, gid=0, mtime=(0, 0), flags=0):
        self.name, self.mode, self.uid, self.gid = name, mode, uid, gid
        self.mtime, self.flags, self.attrs = mtime, flags, []
        self.data, self.target, self.rdev = b"", b"", (0, 0)
        self.link = None                # the path that a hard link repeats
        self.children = []
        self.reuse = None               # where it lies in an old payload
        self.hidden = False             # the client's own file: sorts last

    @property
    def type(self):
        return "h" if self.link is not None else TYPES[stat.S_IFMT(self.mode)]

    def stat(self):
        return struct.pack("<QQIIqII", self.mode, self.flags, self.uid,
                           self.gid, *self.mtime, 0)


def item(kind, content=b""):
    return struct.pack("<QQ", pxar.tag(kind), 16 + len(content)) + content


def heap(ordered):
    out, it = [None] * len(ordered), iter(ordered)

    def fill(i):
        if i < len(out):
            fill(2 * i + 1)
            out[i] = next(it)
            fill(2 * i + 2)
    fill(0)
    return out


class Encoder:
    def __init__(self, split=False, prelude=None, old=None):
        """old: the entries of a payload's index, whose chunks are used again
        for files with reuse; zeros stand for them."""
        self.meta, self.split, self.old = bytearray(), split, old
        self.pay = bytearray()
        self.places = {}                # path: position of its FILENAME
        self.run = None                 # old offsets: first chunk's, end
        self.injected = []              # (position, entries of old)
        if split:
            self.meta += item("VERSION", struct.pack("<Q", 2))
            if prelude is not None:
                self.meta += item("PRELUDE", prelude)
            self.pay += item("PXAR_PAYLOAD_START_MARKER")

    def archive(self, root):
        self.directory(root, 0, b"")
        if self.split:
            self.end_run()
            self.pay += item("PXAR_PAYLOAD_TAIL_MARKER")
        return bytes(self.meta), bytes(self.pay) if self.split else None

    def begin(self, n):
        self.meta += item("ENTRY_V2", n.stat())
        for kind, content in sorted(n.attrs,
                                    key=lambda a: pxar.NAMES.index(a[0])):
            self.meta += item(kind, content)

    def directory(self, n, begin, path):
        self.begin(n)
        records = []
        for c in sorted(n.children, key=lambda x: (x.hidden, x.name)):
            pos, extra = len(self.meta), 0
            where = path + b"/" + c.name if path else c.name
            self.meta += item("FILENAME", c.name + b"\0")
            if c.link is not None:
                self.meta += item("HARDLINK", struct.pack(
                    "<Q", pos - self.places[c.link]) + c.link + b"\0")
            elif c.type == "d":
                self.directory(c, len(self.meta), where)
            else:
                self.places[where] = pos
                extra = self.leaf(c)
            records.append((pxar.siphash(c.name), pos,
                            len(self.meta) - pos + extra))
        g = len(self.meta)
        table = [(h, g - pos, size) for h, pos, size in
                 heap(sorted(records))]
        table.append((pxar.TAIL, g - begin, 16 + 24 * (len(records) + 1)))
        self.meta += item("GOODBYE", b"".join(
            struct.pack("<QQQ", *r) for r in table))

    def leaf(self, n):
        """What the table counts beyond the bytes that are here."""
        self.begin(n)
        if n.type == "f" and not self.split:
            self.meta += item("PXAR_PAYLOAD", n.data)
        elif n.type == "f" and n.reuse is not None:
            self.meta += item("PXAR_PAYLOAD_REF", struct.pack(
                "<QQ", self.again(n.reuse, n.reuse + 16 + len(n.data)),
                len(n.data)))
        elif n.type == "f":
            self.end_run()
            self.meta += item("PXAR_PAYLOAD_REF", struct.pack(
                "<QQ", len(self.pay), len(n.data)))
            self.pay += item("PXAR_PAYLOAD", n.data)
            return len(n.data)          # the encoder's quirk
        elif n.type == "l":
            self.meta += item("SYMLINK", n.target + b"\0")
        elif n.type in "bc":
            self.meta += item("DEVICE", struct.pack("<QQ", *n.rdev))
        return 0


    def again(self, start, end):
        """Where old bytes will be; those that touch share their chunks."""
        if self.run is None or self.run[1] != start:
            self.end_run()
            first = next(a for a, b, _ in self.old if b > start)
            self.run = first, end
        self.run = self.run[0], end
        return len(self.pay) + start - self.run[0]

    def end_run(self):
        if self.run is None:
            return
        first, end = self.run
        used = [e for e in self.old if e[0] >= first and e[0] < end]
        self.injected.append((len(self.pay), used))
        self.pay += bytes(used[-1][1] - used[0][0])
        self.run = None


def varint(v):
    out = bytearray()
    while v > 127:
        out.append(v & 127 | 128)
        v >>= 7
    return bytes(out + bytes([v]))


def signed(v):
    if v >= 0:
        return varint(v)
    low = varint(-v)
    return low[:-1] + bytes([low[-1] | 128, 0])


def catalog(archives):
    """archives: (name of the top entry, root)."""
    out = bytearray(hashlib.sha256(
        b"Proxmox Backup Catalog file v1.0").digest()[:8])

    def block(entries):
        start, body = len(out), bytearray(varint(len(entries)))
        for kind, name, a, b in entries:
            body += kind.encode() + varint(len(name)) + name
            if kind == "d":
                body += varint(start - a)
            elif kind == "f":
                body += varint(a) + signed(b)
        out.extend(varint(len(body)) + body)
        return start

    def directory(n):
        entries = []
        for c in sorted(n.children, key=lambda x: (x.hidden, x.name)):
            if c.type == "d":
                entries.append(("d", c.name, directory(c), 0))
            else:
                entries.append((c.type, c.name, len(c.data), c.mtime[0]))
        return block(entries)
    top = block([("d", name, directory(root), 0) for name, root in archives])
    return bytes(out + struct.pack("<Q", top))


# Chunkers: the ends of all chunks.

def buzhash_table():
    with open(os.path.join(VECTORS, "pxar", "buzhash-table.txt"),
              encoding="ascii") as f:
        return [int(w, 16) for line in f if not line.startswith("#")
                for w in line.split()]


def buzhash(data, avg=4 << 20, most=None):
    table = buzhash_table()
    low, high, mask = avg // 4, avg * 4, 2 * avg - 1
    top, at, ends = mask - 2, 0, []
    while at < len(data) and (most is None or len(ends) < most):
        n, h = min(low, len(data) - at), 0
        if n == low:
            for j in range(64):
                t = table[data[at + n - 1 - j]]
                k = j % 32
                h ^= (t << k | t >> (32 - k)) & 0xffffffff
            end = min(at + high, len(data))
            p = at + n
            while (h & mask) < top and p < end:
                h = (h << 1 | h >> 31) & 0xffffffff
                h ^= table[data[p - 64]] ^ table[data[p]]
                p += 1
            n = p - at
        at += n
        ends.append(at)
    return ends


MASKS = {13: 0x0000d90303530000, 15: 0x0000d90f03530000,
         19: 0x0000d91707537000, 21: 0x0000d91767537000,
         23: 0x0000d93777537000}


def fastcdc(data, low=1 << 20, avg=4 << 20, high=16 << 20, most=None):
    """avg is a power of two that MASKS knows the neighbours of."""
    gear = [int.from_bytes(hashlib.md5(bytes([i]) * 64).digest()[:8], "big")
            for i in range(256)]
    twice = [g << 1 & M64 for g in gear]
    bits = avg.bit_length() - 1
    strict, loose = MASKS[bits + 1], MASKS[bits - 1]
    at, ends = 0, []
    while at < len(data) and (most is None or len(ends) < most):
        n = min(high, len(data) - at)
        if n > low:
            n = cut(data, at, n, min(n, avg), low, (gear, twice),
                    (strict, loose))
        at += n
        ends.append(at)
    return ends


def cut(b, at, n, center, low, gears, masks):
    gear, twice = gears
    h, i = 0, low // 2
    for end, mask in ((center // 2, masks[0]), (n // 2, masks[1])):
        double = mask << 1 & M64
        while i < end:
            p = at + 2 * i
            h = (h << 2) + twice[b[p]] & M64
            if not h & double:
                return 2 * i
            h = h + gear[b[p + 1]] & M64
            if not h & mask:
                return 2 * i + 1
            i += 1
    return n


def split(data, ends):
    return [data[a:b] for a, b in zip([0] + ends[:-1], ends)]


# From the file system.

ACL = {1: None, 2: "USER", 4: "GROUP_OBJ", 8: "GROUP", 16: "MASK", 32: None}


def acl_items(raw, default):
    entries = list(struct.iter_unpack("<HHI", raw[4:]))
    perm = {tag: p for tag, p, _ in entries if tag not in (2, 8)}
    unset, out = M64, []
    prefix = "ACL_DEFAULT_" if default else "ACL_"
    for tag, name in ((2, "USER"), (8, "GROUP")):
        out += [(prefix + name, struct.pack("<QQ", who, p))
                for t, p, who in sorted(entries, key=lambda x: x[2])
                if t == tag]
    if default:
        out.insert(0, ("ACL_DEFAULT", struct.pack(
            "<QQQQ", *(perm.get(t, unset) for t in (1, 4, 32, 16)))))
    elif 4 in perm and 16 in perm:
        out.append(("ACL_GROUP_OBJ", struct.pack("<Q", perm[4])))
    return out


def attributes(path):
    out, last = [], []
    for name in os.listxattr(path, follow_symlinks=False):
        value = os.getxattr(path, name, follow_symlinks=False)
        if name.startswith(("user.", "trusted.")):
            out.append(("XATTR", name.encode() + b"\0" + value))
        elif name == "security.capability":
            last.append(("FCAPS", value))
    for name, default in (("system.posix_acl_access", False),
                          ("system.posix_acl_default", True)):
        try:
            out += acl_items(os.getxattr(path, name), default)
        except OSError:
            pass
    return out + last


def scan(path, plain=False):
    """A tree; plain: as Wings stores it, modes and whole seconds alone."""
    seen = {}

    def one(full, name, where):
        st = os.lstat(full)
        mtime = divmod(st.st_mtime_ns, 10 ** 9)
        kind = TYPES[stat.S_IFMT(st.st_mode)]
        if plain:
            if kind not in "fdl":
                return None
            n = Node(name, st.st_mode, mtime=(mtime[0], 0))
        else:
            n = Node(name, st.st_mode, st.st_uid, st.st_gid, mtime)
            if kind in "fd":
                n.attrs = attributes(full)
        if kind == "f":
            key = st.st_dev, st.st_ino
            if not plain and st.st_nlink > 1 and key in seen:
                n.link = seen[key]
                return n
            seen[key] = where
            with open(full, "rb") as f:
                n.data = f.read()
        elif kind == "l":
            n.target = os.readlink(full)
        elif kind in "bc":
            n.rdev = os.major(st.st_rdev), os.minor(st.st_rdev)
        elif kind == "d":
            for child in sorted(os.listdir(full)):
                c = one(os.path.join(full, child), child,
                        where + b"/" + child if where else child)
                if c is not None:
                    n.children.append(c)
        return n
    root = one(os.fsencode(path), b"", b"")
    if plain:
        root.mode = stat.S_IFDIR | 0o755
    return root


# Published values.

def read_vector(name):
    with open(os.path.join(VECTORS, "pxar", name), "rb") as f:
        return f.read()


def operations(name):
    """The tree that a tree-X.txt describes."""
    meta, stack, root = None, [], None
    for line in read_vector(name).decode().splitlines():
        op, *a = line.split("\t")
        if op == "META":
            mode, flags, uid, gid, sec, ns = map(int, a)
            meta = Node(b"", mode, uid, gid, (sec, ns), flags)
        elif op in ("XATTR", "FCAPS"):
            meta.attrs.append((op, a[0].encode() + b"\0" + bytes.fromhex(a[1])
                               if op == "XATTR" else bytes.fromhex(a[0])))
        elif op in OPS:
            meta.attrs.append((OPS[op], struct.pack(
                f"<{len(a)}Q", *(int(x, 0) & M64 for x in a))))
        elif op == "END":
            stack.pop()
        else:
            n = meta
            if op == "ROOT":
                root = n
            else:
                if op == "HARDLINK":
                    n = Node(b"", stat.S_IFREG)
                    n.link = a[1].encode()
                n.name = a[0].encode()
                stack[-1].children.append(n)
            if op == "FILE":
                n.data = bytes.fromhex(a[1]) if len(a) > 1 else b""
            elif op == "SYMLINK":
                n.target = a[1].encode()
            elif op == "DEVICE":
                n.rdev = int(a[1]), int(a[2])
            if op in ("ROOT", "DIR"):
                stack.append(n)
    return root


OPS = {"ACLU": "ACL_USER", "ACLG": "ACL_GROUP", "ACLGO": "ACL_GROUP_OBJ",
       "ACLD": "ACL_DEFAULT", "ACLDU": "ACL_DEFAULT_USER",
       "ACLDG": "ACL_DEFAULT_GROUP", "PROJ": "QUOTA_PROJID"}


def splitmix(seed, words):
    x, out = seed, []
    for _ in range(words):
        x = x + 0x9E3779B97F4A7C15 & M64
        z = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & M64
        z = (z ^ z >> 27) * 0x94D049BB133111EB & M64
        out.append(z ^ z >> 31)
    return struct.pack(f"<{words}Q", *out)


def self_test():
    def same(what, a, b):
        if a != b:
            raise AssertionError(f"{what}: {a!r:.200} is not {b!r:.200}")
    for t in "ABC":
        root = operations(f"tree-{t}.txt")
        same(t, Encoder().archive(root)[0], read_vector(f"tree-{t}.pxar"))
        same(t, catalog([(b"root.pxar.didx", root)]),
             read_vector(f"tree-{t}.pcat1"))
        prelude = b'{"exclude-patterns":"*.tmp\\n"}' if t == "C" else None
        meta, pay = Encoder(True, prelude).archive(root)
        same(t, meta, read_vector(f"tree-{t}.mpxar"))
        same(t, pay, read_vector(f"tree-{t}.ppxar"))
    same("buzhash", buzhash(splitmix(0, 50000), 65536, 4),
         [42266, 67505, 130925, 374735])
    count = b"".join(struct.pack("<I", i) for i in range(105000))
    same("buzhash", buzhash(count, 65536, 2), [143377, 405521])
    same("fastcdc", fastcdc(splitmix(1, 140000), 262144, 1 << 20, 4 << 20, 2),
         [278755, 278755 + 827435])


if __name__ == "__main__":
    if sys.argv[1:] != ["--self-test"]:
        sys.exit(__doc__)
    self_test()
