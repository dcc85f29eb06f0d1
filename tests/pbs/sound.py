#!/usr/bin/env python3
"""sound WORD FOLDER...: decode what a server has stored, and compare.

check FOLDER                  every snapshot of every datastore: its manifest
                              and signature, indexes, chunks, archives, their
                              tables, the catalog and the blobs
manifest FOLDER SNAPSHOT      as JSON
content FOLDER SNAPSHOT NAME  an archive's or blob's plain bytes
list FOLDER SNAPSHOT          a JSON line an entry of its archive
cat FOLDER SNAPSHOT PATH      a file out of it
chunks FOLDER SNAPSHOT NAME   end, digest and kind of every chunk

SNAPSHOT is ID or ID/TIME (Unix seconds) in the namespace PBS_NS; without a time
the newest that is finished.  PBS_KEY: a key file; PBS_KEY_PASSWORD.
PBS_BROKEN=may: "check" lets snapshots without manifest pass.  PBS_ORDER=any:
names in archives may come as a stream had them.
"""

import hashlib
import json
import os
import sys

import formats
import pxar
import store as storage
from formats import Bad
from schema import Refused


def key():
    path = os.environ.get("PBS_KEY")
    if not path:
        return None
    with open(path, encoding="utf-8") as f:
        return formats.key_load(
            f.read(), os.environ.get("PBS_KEY_PASSWORD", "").encode())


def stores(folder):
    return [storage.Store(n, os.path.join(folder, n))
            for n in sorted(os.listdir(folder))
            if os.path.isdir(os.path.join(folder, n, ".chunks"))]


def find(folder, text):
    st = stores(folder)[0]
    name, _, when = text.partition("/")
    g = storage.Group(st, os.environ.get("PBS_NS", ""), "host", name)
    if when:
        return storage.Snapshot(g, int(when))
    done = g.finished()
    if not done:
        raise Bad(f"{g.text()} has no snapshot")
    return done[-1]


def plain(snap, name, k):
    """All of an archive, every chunk checked."""
    mode = next((f.get("crypt-mode", "none") for f in
                 snap.manifest()[0]["files"] if f["filename"] == name), "none")
    out = []
    for start, end, digest in snap.index(name).entries:
        blob = snap.store.chunk(digest.hex())
        if formats.is_encrypted(blob) != (mode == "encrypt"):
            raise Bad(f"{name}: a chunk is not {mode}")
        data = formats.blob_decode(blob, k, end - start)
        has = k.digest(data) if mode == "encrypt" else \
            hashlib.sha256(data).digest()
        if has != digest:
            raise Bad(f"{name}: chunk {digest.hex()} is another")
        if len(data) != end - start:
            raise Bad(f"{name}: chunk {digest.hex()} has {len(data)} bytes,"
                      f" not {end - start}")
        out.append(data)
    return b"".join(out)


def archive(snap, name, k):
    order = os.environ.get("PBS_ORDER") != "any"
    base = name.removesuffix(".didx")
    if base.endswith(".mpxar"):
        other = base.removesuffix(".mpxar") + ".ppxar.didx"
        return pxar.Archive(plain(snap, name, k), plain(snap, other, k), order)
    return pxar.Archive(plain(snap, name, k), ordered=order)


def main_archive(snap):
    for f in snap.manifest()[0]["files"]:
        if f["filename"].endswith((".pxar.didx", ".mpxar.didx")):
            return f["filename"]
    raise Bad(f"{snap.text()}: no archive")


def check_manifest(snap, k):
    m, _ = snap.manifest()
    g = snap.group
    if (m["backup-type"], m["backup-id"], m["backup-time"]) != (
            g.kind, g.name, snap.time):
        raise Bad("the manifest is another snapshot's")
    un, sign = m.get("unprotected", {}), m.get("signature")
    if "chunk_upload_stats" not in un:
        raise Bad("was never finished")
    told = un.get("key-fingerprint")
    if (sign is None) != (told is None):
        raise Bad("signature and fingerprint don't come together")
    if k and told:
        if told != k.fingerprint:
            raise Bad("another key's fingerprint")
        if sign != k.sign(m):
            raise Bad("a wrong signature")
    return m


def compare_catalog(snap, catalog, archives):
    """archives: name to entries."""
    have = {}
    for path, kind, size, mtime in pxar.catalog(catalog):
        top, _, below = path.partition(b"/")
        if path == top:
            if kind != "d":
                raise Bad("catalog: an archive that is no directory")
            have[top] = {}
        else:
            if below in have[top]:
                raise Bad(f"catalog: {below!r} twice")
            have[top][below] = (kind, size, mtime)
    names = {n.encode(): n for n in archives}
    names.update({n.removesuffix(".didx").encode(): n for n in archives})
    for top, entries in have.items():
        if top not in names:
            raise Bad(f"catalog: {top!r} is no archive of the snapshot")
        want = {}
        for e in archives.pop(names[top]):
            if e["path"] != b"":
                file = e["type"] == "f"
                want[e["path"]] = (e["type"], e["size"] if file else None,
                                   e["mtime"][0] if file else None)
        for path in sorted(set(want) | set(entries)):
            if want.get(path) != entries.get(path):
                raise Bad(f"catalog: {path!r}: {entries.get(path)}, in the"
                          f" archive {want.get(path)}")
    if archives:
        raise Bad(f"catalog: lacks {sorted(archives)}")


def check(snap, k):
    m = check_manifest(snap, k)
    names = [f["filename"] for f in m["files"]]
    on_disk = set(os.listdir(snap.path)) - {
        storage.MANIFEST, ".protected", "client.log.blob"}
    if on_disk != set(names) or len(set(names)) != len(names):
        raise Bad(f"{sorted(on_disk)} are there, {sorted(names)} are listed")
    archives, catalog = {}, None
    for f in m["files"]:
        name, mode = f["filename"], f.get("crypt-mode", "none")
        data = storage.read(snap.file(name))
        if name.endswith(".blob"):
            if len(data) != f["size"] or \
                    hashlib.sha256(data).hexdigest() != f["csum"]:
                raise Bad(f"{name}: another checksum")
            if name != "rsa-encrypted.key.blob" and \
                    formats.is_encrypted(data) != (mode == "encrypt"):
                raise Bad(f"{name}: not {mode}")
            text = formats.blob_decode(data, k)
            if ".json." in name:
                json.loads(text)
            continue
        index = formats.Index(data)
        if index.said != index.csum:
            raise Bad(f"{name}: a wrong sum in the header")
        if index.csum.hex() != f["csum"] or index.size != f["size"]:
            raise Bad(f"{name}: another checksum")
        if name.endswith((".pxar.didx", ".mpxar.didx")):
            a = archive(snap, name, k)
            entries = list(a.walk())
            if name.endswith(".pxar.didx"):
                archives[name] = entries
            for e in entries:
                if e["type"] == "f":
                    a.content(e)
        elif name == "catalog.pcat1.didx":
            catalog = plain(snap, name, k)
        else:
            plain(snap, name, k)
    if catalog is not None:
        compare_catalog(snap, catalog, archives)


def check_all(folder):
    k, bad = key(), 0
    for st in stores(folder):
        for g in st.all_groups():
            g.owner()
            for s in g.snapshots():
                try:
                    if s.has_manifest():
                        check(s, k)
                    elif os.environ.get("PBS_BROKEN") != "may":
                        raise Bad("is there, and not whole")
                except (Bad, pxar.Bad, Refused, ValueError) as why:
                    bad += 1
                    print(f"{g.ns or '-'} {s.text()}: {why}")
    return bad


def entry(e):
    for name in ("body", "pos", "back"):
        e.pop(name, None)
    return json.dumps({k: pxar.text(v) if isinstance(v, bytes) else v
                       for k, v in e.items()})


def main(word, folder, *rest):
    if word == "check":
        return 1 if check_all(folder) else 0
    k, snap, out = key(), find(folder, rest[0]), sys.stdout.buffer
    if word == "manifest":
        print(json.dumps(snap.manifest()[0]))
    elif word == "content" and rest[1].endswith(".blob"):
        out.write(formats.blob_decode(storage.read(snap.file(rest[1])), k))
    elif word == "content":
        out.write(plain(snap, rest[1], k))
    elif word == "list":
        a = archive(snap, main_archive(snap), k)
        for e in a.walk():
            if e["type"] == "f":
                e["sha256"] = hashlib.sha256(a.content(e)).hexdigest()
            print(entry(e))
    elif word == "cat":
        a = archive(snap, main_archive(snap), k)
        out.write(a.content(a.find(rest[1].encode("utf-8",
                                                  "surrogateescape"))))
    elif word == "chunks":
        for _, end, digest in snap.index(rest[1]).entries:
            head = snap.store.head(digest.hex())
            print(end, digest.hex(), formats.KINDS[head[:8]])
    else:
        sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        sys.exit(main(*sys.argv[1:]))
    except (Bad, pxar.Bad, Refused) as e:
        sys.exit(f"sound: {e}")
