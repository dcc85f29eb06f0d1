#!/usr/bin/env python3
"""pxar: a decoder of pxar archives and catalogs that shares no code with ours.

	pxar.py list ARCHIVE [PAYLOAD]     a JSON line an entry, checked all over
	pxar.py cat ARCHIVE PATH [PAYLOAD] a file's bytes, found by the tables
	pxar.py catalog CATALOG            a JSON line an entry
	pxar.py siphash NAME               the hash of a name

"list" walks the items from the front and compares what it finds with every
goodbye table: hashes, positions, sizes, and their order as a search tree.
"""

import hashlib
import json
import struct
import sys

MASK = (1 << 64) - 1


class Bad(Exception):
    pass


def siphash(data, k0=0x83ac3f1cfbb450db, k1=0xaa4f1b6879369fbd):
    def rot(x, b):
        return ((x << b) | (x >> (64 - b))) & MASK

    def mix(n):
        nonlocal a, b, c, d
        for _ in range(n):
            a = (a + b) & MASK
            c = (c + d) & MASK
            b = rot(b, 13) ^ a
            d = rot(d, 16) ^ c
            a = rot(a, 32)
            c = (c + b) & MASK
            a = (a + d) & MASK
            b = rot(b, 17) ^ c
            d = rot(d, 21) ^ a
            c = rot(c, 32)

    a, b = k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d
    c, d = k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573
    words = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for (m,) in struct.iter_unpack("<Q", words):
        d ^= m
        mix(2)
        a ^= m
    c ^= 255
    mix(4)
    return a ^ b ^ c ^ d


def tag(name):
    return siphash(f"__PROXMOX_FORMAT_{name}__".encode())


NAMES = """ENTRY_V2 ENTRY FILENAME SYMLINK DEVICE XATTR ACL_USER ACL_GROUP
    ACL_GROUP_OBJ ACL_DEFAULT ACL_DEFAULT_USER ACL_DEFAULT_GROUP FCAPS
    QUOTA_PROJID HARDLINK PXAR_PAYLOAD PXAR_PAYLOAD_REF GOODBYE VERSION
    PRELUDE PXAR_PAYLOAD_START_MARKER PXAR_PAYLOAD_TAIL_MARKER""".split()
KIND = {tag(n): n for n in NAMES}
TAIL = tag("PXAR_GOODBYE_TAIL_MARKER")
SHAPE = {0o100000: "f", 0o040000: "d", 0o120000: "l", 0o010000: "p",
         0o020000: "c", 0o060000: "b", 0o140000: "s"}


class Archive:
    def __init__(self, meta, payload=None, ordered=True):
        """ordered: names must be; no reader minds, and clients write them so
        unless they come from a stream."""
        self.b, self.pay, self.ordered = meta, payload, ordered
        self.at = 0
        self.split = self.item()[0] == "VERSION"
        if self.split:
            kind, body, end = self.item()
            if body != b"\2" + bytes(7):
                raise Bad(f"format version {body.hex()}")
            self.at = end
            if self.item()[0] == "PRELUDE":
                self.at = self.item()[2]
            if payload is not None:
                self.check_payload()
        self.root = self.at

    def check_payload(self):
        start, = struct.unpack_from("<Q", self.pay, 0)
        last, size = struct.unpack_from("<QQ", self.pay, len(self.pay) - 16)
        if (KIND.get(start) != "PXAR_PAYLOAD_START_MARKER" or size != 16 or
                KIND.get(last) != "PXAR_PAYLOAD_TAIL_MARKER"):
            raise Bad("payload: no marker at its start or end")

    def item(self, at=None):
        at = self.at if at is None else at
        if at + 16 > len(self.b):
            raise Bad(f"{at:#x}: the archive ends")
        kind, size = struct.unpack_from("<QQ", self.b, at)
        if kind not in KIND or size < 16 or at + size > len(self.b):
            raise Bad(f"{at:#x}: no item")
        return KIND[kind], self.b[at + 16:at + size], at + size

    def content(self, e):
        if not self.split:
            return self.b[e["body"]:e["body"] + e["size"]]
        if self.pay is None:
            return None
        kind, size = struct.unpack_from("<QQ", self.pay, e["body"])
        if KIND.get(kind) != "PXAR_PAYLOAD" or size != e["size"] + 16:
            raise Bad(f"payload {e['body']:#x}: not what is referred to")
        data = self.pay[e["body"] + 16:e["body"] + size]
        if len(data) != e["size"]:
            raise Bad("payload: ends early")
        return data

    def entry(self, at):
        """What begins with ENTRY or HARDLINK, and where it ends."""
        kind, body, end = self.item(at)
        if kind == "HARDLINK":
            back, = struct.unpack_from("<Q", body)
            if body[-1] != 0:
                raise Bad("hard link without NUL")
            return {"type": "h", "back": back, "target": body[8:-1]}, end
        e = {"xattr": [], "acl": []}
        if kind == "ENTRY_V2":
            mode, flags, uid, gid, sec, ns, zero = struct.unpack(
                "<QQIIqII", body)
            if zero or ns >= 10 ** 9:
                raise Bad("stat: padding or time")
        elif kind == "ENTRY":
            mode, flags, uid, gid, t = struct.unpack("<QQIIQ", body)
            sec, ns = divmod(t, 10 ** 9)
        else:
            raise Bad(f"{at:#x}: {kind} in place of an entry")
        e.update(type=SHAPE[mode & 0o170000], mode=mode & 0o7777, uid=uid,
                 gid=gid, flags=flags, mtime=[sec, ns])
        order = -1
        while e["type"] != "d" or end < len(self.b):
            if end == len(self.b):
                break
            kind, body, after = self.item(end)
            if kind == "XATTR":
                name, value = body.split(b"\0", 1)
                e["xattr"].append([name.decode(), value.hex()])
            elif kind == "FCAPS":
                e["xattr"].append(["security.capability", body.hex()])
            elif kind == "QUOTA_PROJID":
                e["projid"], = struct.unpack("<Q", body)
            elif kind.startswith("ACL_"):
                n = len(body) // 8
                e["acl"].append([kind, *struct.unpack(f"<{n}Q", body)])
            else:
                break
            rank = NAMES.index(kind)
            if rank < order:
                raise Bad(f"{end:#x}: {kind} is out of order")
            order, end = rank, after
        if e["type"] == "f":
            if kind != ("PXAR_PAYLOAD_REF" if self.split else "PXAR_PAYLOAD"):
                raise Bad(f"{end:#x}: {kind} in place of a content")
            if self.split:
                e["body"], e["size"] = struct.unpack("<QQ", body)
            else:
                e["body"], e["size"] = end + 16, len(body)
            end = after
        elif e["type"] == "l":
            if kind != "SYMLINK" or body[-1] != 0:
                raise Bad(f"{end:#x}: symlink")
            e["target"], end = body[:-1], after
        elif e["type"] in "bc":
            if kind != "DEVICE":
                raise Bad(f"{end:#x}: device")
            e["rdev"], end = struct.unpack("<QQ", body), after
        return e, end

    def walk(self):
        """Every entry, in order, with all tables checked."""
        e, at = self.entry(self.root)
        if e["type"] != "d":
            raise Bad("the root is no directory")
        e["path"] = b""
        yield e
        at = yield from self.directory(at, 0, b"", {})
        if at != len(self.b):
            raise Bad("bytes behind the end")

    def directory(self, at, begin, path, files):
        records, names = [], []
        # Not recursive: archives may be a thousand levels deep.
        stack = [(begin, path, records, names)]
        while stack:
            begin, path, records, names = stack[-1]
            kind, body, end = self.item(at)
            if kind == "GOODBYE":
                self.check_table(at, end, body, begin, records)
                # Proxmox's client adds this one last, to the root.
                if names[-1:] == [b".pxarexclude-cli"] and not path:
                    names.pop()
                if len(set(names)) != len(names):
                    raise Bad(f"{path!r}: a name twice")
                if self.ordered and names != sorted(names):
                    raise Bad(f"{path!r}: names are not sorted")
                at = end
                stack.pop()
                if stack:
                    pos, h = stack[-1][2][-1][:2]
                    stack[-1][2][-1] = (pos, h, at - pos, 0)
                continue
            if kind != "FILENAME" or body[-1] != 0 or b"/" in body or \
                    body.index(0) != len(body) - 1 or \
                    body in (b"\0", b".\0", b"..\0"):
                raise Bad(f"{at:#x}: {kind}: no name")
            name, pos = body[:-1], at
            names.append(name)
            e, end2 = self.entry(end)
            e["path"] = path + b"/" + name if path else name
            e["pos"] = pos
            size = end2 - pos
            if e["type"] == "f":
                files[pos] = e["path"]
                if self.split:
                    size += e["size"]
            elif e["type"] == "h":
                if not e["back"] or files.get(pos - e["back"]) != e["target"]:
                    raise Bad(f"{e['path']!r}: links to nowhere")
            yield e
            records.append((pos, siphash(name), size,
                            size - (end2 - pos)))
            at = end2
            if e["type"] == "d":
                stack.append((end, e["path"], [], []))
        return at

    def check_table(self, at, end, body, begin, records):
        rec = list(struct.iter_unpack("<QQQ", body))
        *rec, tail = rec
        if tail != (TAIL, at - begin, end - at):
            raise Bad(f"{at:#x}: a wrong tail")
        want = {(h, at - pos, size) for pos, h, size, _ in records}
        # A content that an earlier backup wrote does not count.
        short = {(h, at - pos, size - n) for pos, h, size, n in records}
        if len(rec) != len(records) or set(rec) - want - short:
            raise Bad(f"{at:#x}: a table of other entries")
        run = sorted(r[0] for r in rec)

        def order(i):
            seen, path = [], []
            while path or i < len(rec):
                while i < len(rec):
                    path.append(i)
                    i = 2 * i + 1
                i = path.pop()
                seen.append(rec[i][0])
                i = 2 * i + 2
            return seen
        if order(0) != run:
            raise Bad(f"{at:#x}: the table is no search tree")

    def find(self, path):
        """By the tables alone, from the end of the archive."""
        end, e = len(self.b), None
        for name in path.split(b"/"):
            mark, off, size = struct.unpack_from("<QQQ", self.b, end - 24)
            g = end - size
            if mark != TAIL:
                raise Bad("no tail")
            rec = list(struct.iter_unpack("<QQQ", self.b[g + 16:end - 24]))
            i, h = 0, siphash(name)
            while i < len(rec) and rec[i][0] != h:
                i = 2 * i + (1 if h < rec[i][0] else 2)
            if i >= len(rec):
                raise Bad(f"{name!r}: not there")
            pos = g - rec[i][1]
            kind, body, after = self.item(pos)
            if kind != "FILENAME" or body != name + b"\0":
                raise Bad(f"{name!r}: another name")
            e, _ = self.entry(after)
            end = pos + rec[i][2]
        if e["type"] == "h":
            e, _ = self.entry(self.item(pos - e["back"])[2])
        return e


def catalog(b):
    """(path, type, size, mtime) of all, deepest last."""
    magic = hashlib.sha256(b"Proxmox Backup Catalog file v1.0").digest()[:8]
    if b[:8] != magic:
        raise Bad("catalog: magic")

    def unsigned(at):
        n = shift = 0
        while True:
            n |= (b[at] & 127) << shift
            shift += 7
            at += 1
            if not b[at - 1] & 128:
                return n, at

    def signed(at):
        n = shift = 0
        while True:
            if b[at] == 0:
                return -n, at + 1
            n |= (b[at] & 127) << shift
            shift += 7
            at += 1
            if not b[at - 1] & 128:
                return n, at

    todo = [(struct.unpack("<Q", b[-8:])[0], b"")]
    while todo:
        start, path = todo.pop(0)
        size, at = unsigned(start)
        end = at + size
        count, at = unsigned(at)
        for _ in range(count):
            kind = chr(b[at])
            n, at = unsigned(at + 1)
            name, at = b[at:at + n], at + n
            size = mtime = None
            where = path + b"/" + name if path else name
            if kind == "d":
                delta, at = unsigned(at)
                todo.append((start - delta, where))
            elif kind == "f":
                size, at = unsigned(at)
                mtime, at = signed(at)
            elif kind not in "lhbcps":
                raise Bad(f"catalog: type {kind!r}")
            yield where, kind, size, mtime
        if at != end:
            raise Bad("catalog: a block of another length")


def text(v):
    return v.decode("utf-8", "surrogateescape").encode(
        "utf-8", "backslashreplace").decode()


def slurp(name):
    with open(name, "rb") as f:
        return f.read()


def main(argv):
    if len(argv) < 3:
        sys.exit(__doc__)
    verb, *names = argv[1:]
    if verb == "siphash":
        print(f"{siphash(names[0].encode()):016x}")
    elif verb == "catalog":
        for path, kind, size, mtime in catalog(slurp(names[0])):
            print(json.dumps({"path": text(path), "type": kind, "size": size,
                              "mtime": mtime}))
    elif verb == "cat":
        a = Archive(slurp(names[0]), slurp(names[2]) if names[2:] else None)
        sys.stdout.buffer.write(a.content(a.find(
            names[1].encode("utf-8", "surrogateescape"))))
    elif verb == "list":
        a = Archive(slurp(names[0]), slurp(names[1]) if names[1:] else None)
        for e in a.walk():
            if e["type"] == "f":
                data = a.content(e)
                if data is not None:
                    e["sha256"] = hashlib.sha256(data).hexdigest()
            for key in ("body", "pos", "back"):
                e.pop(key, None)
            print(json.dumps({k: text(v) if isinstance(v, bytes) else v
                              for k, v in e.items()}))


if __name__ == "__main__":
    try:
        main(sys.argv)
    except Bad as why:
        sys.exit(f"pxar.py: {why}")
