#!/usr/bin/env python3
"""fixtures KIND ID TIME DIR: store DIR as others do.

wings-tar      Wings' first way: backup.tar.didx
wings-pxar     the next: root.pxar.didx, modes and whole seconds alone
wings          the latest: with a catalog
wings-dump     a database: dump.didx of the file DIR
client         proxmox-backup-client: root.pxar.didx and a catalog
client-data    the same with change detection "data": two archives
client-meta    with "metadata": files that the previous snapshot has refer to
               its chunks

--uuid U       the backup's, in calagopus.json.blob (wings)
--server S     the server's; ID without its prefix by default
--key FILE     a key file (client): encrypted and signed; PBS_PASSWORD
--avg N        of chunks (4 MiB; the client: 64 KiB to 4 MiB)
--no-catalog   of the client
--exclude T    a pattern that the client was told

PBS_URL and so on as for client.py.
"""

import argparse
import io
import json
import os
import stat
import sys
import tarfile

import client
import formats
import pxar
import pxarw


def tar_of(path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as t:
        for name in sorted(os.listdir(path)):
            t.add(os.path.join(path, name), name)
    return out.getvalue()


def wings(b, args):
    server = args.server or args.id.partition("-")[2]
    kind, how = args.kind, {}
    if kind == "wings-tar":
        # a chunker of its own
        data, name = tar_of(args.dir), "backup.tar.didx"
        b.index(name, client.pieces(data, 1 << 20))
    elif kind == "wings-dump":
        name = "dump.didx"
        b.index(name, client.pieces(client.slurp(args.dir), 1 << 20))
        how = {"dump_file_name": f"{args.uuid}.sql"}
    else:
        name = "root.pxar.didx"
        root = pxarw.scan(args.dir, plain=True)
        data, _ = pxarw.Encoder().archive(root)
        b.index(name, pxarw.split(data, pxarw.fastcdc(data)))
        if kind == "wings":
            data = pxarw.catalog([(b"root.pxar", root)])
            how = {"catalog": "catalog.pcat1.didx"}
            b.index("catalog.pcat1.didx",
                    pxarw.split(data, pxarw.fastcdc(data)))
    b.blob("calagopus.json.blob", json.dumps({
        "backup_uuid": args.uuid, "server_uuid": server,
        "backup_id": args.id, "backup_time": args.time, "archive": name,
        **how, "wings_version": "1.2.0"}, separators=(",", ":")).encode())
    text = json.dumps({
        "backup-type": "host", "backup-id": args.id, "backup-time": args.time,
        "files": b.files, "unprotected": {}}, separators=(",", ":"))
    b.blob("index.json.blob", text.encode())


def told(root, pattern):
    """The file that the client makes of patterns on its command line."""
    n = pxarw.Node(b".pxarexclude-cli", stat.S_IFREG | 0o600)
    n.data, n.hidden = pattern.encode() + b"\n", True
    root.children.append(n)


def legacy(b, args):
    root = pxarw.scan(args.dir)
    if args.exclude:
        told(root, args.exclude)
    data, _ = pxarw.Encoder().archive(root)
    b.index("root.pxar.didx", pxarw.split(data, pxarw.buzhash(data, args.avg)))
    if not args.no_catalog:
        data = pxarw.catalog([(b"root.pxar.didx", root)])
        b.index("catalog.pcat1.didx",
                pxarw.split(data, pxarw.buzhash(data, 512 << 10)))


def two(b, args, old=None):
    """old: (index of the previous payload, path to (offset, what is same))."""
    root = pxarw.scan(args.dir)
    prelude = json.dumps({"exclude-patterns": args.exclude + "\n"},
                         separators=(",", ":")).encode() \
        if args.exclude else None

    def mark(n, path):
        for c in n.children:
            where = path + b"/" + c.name if path else c.name
            if c.link is None and c.type == "f" and where in old[1]:
                offset, same = old[1][where]
                if same == (c.mtime, len(c.data), c.mode):
                    c.reuse = offset
            mark(c, where)
    if old:
        mark(root, b"")
    e = pxarw.Encoder(True, prelude, old[0].entries if old else None)
    meta, pay = e.archive(root)
    b.index("root.mpxar.didx", pxarw.split(meta, pxarw.buzhash(meta,
                                                               args.avg)))
    name = "root.ppxar.didx"
    wid = b.do("POST", "/dynamic_index", {"archive-name": name})
    entries, at = [], 0

    def add(digest, size):
        nonlocal at
        b.do("PUT", "/dynamic_index", body={
            "wid": wid, "digest-list": [digest], "offset-list": [at]})
        at += size
        entries.append((at, bytes.fromhex(digest)))
    for pos, used in e.injected + [(len(pay), [])]:
        fresh = pay[at:pos]
        for data in pxarw.split(fresh, pxarw.buzhash(fresh, args.avg)):
            add(b.chunk(wid, data), len(data))
        for start, end, digest in used:
            add(digest.hex(), end - start)
    b.close_index(name, wid, entries)


def previous(b, key):
    """What the previous snapshot has, by reading it."""
    when = b.do("GET", "/previous_backup_time")
    index = formats.Index(b.previous("root.ppxar.didx"))
    r = client.Reader(b.name, when, key)
    a, places = pxar.Archive(r.content("root.mpxar.didx")), {}
    for e in a.walk():
        if e["type"] == "f":
            places[e["path"]] = e["body"], (
                tuple(e["mtime"]), e["size"], e["mode"] | stat.S_IFREG)
    r.close()
    return index, places


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("kind", choices=(
        "wings-tar", "wings-pxar", "wings", "wings-dump", "client",
        "client-data", "client-meta"))
    p.add_argument("id")
    p.add_argument("time", type=int)
    p.add_argument("dir")
    p.add_argument("--uuid", default="aaaa1111-0000-4000-8000-000000000001")
    p.add_argument("--server")
    p.add_argument("--key")
    p.add_argument("--avg", type=int, default=4 << 20)
    p.add_argument("--no-catalog", action="store_true")
    p.add_argument("--exclude")
    args = p.parse_args()
    key = formats.key_load(client.slurp(args.key),
                           client.env("PASSWORD").encode()) \
        if args.key else None
    b = client.Backup(args.id, args.time, key)
    if args.kind.startswith("wings"):
        wings(b, args)
    else:
        if args.kind == "client":
            legacy(b, args)
        elif args.kind == "client-data":
            two(b, args)
        else:
            two(b, args, previous(b, key))
        b.manifest()
    b.finish()


if __name__ == "__main__":
    try:
        main()
    except (client.Failed, client.Lost, formats.Bad, OSError) as e:
        sys.exit(f"fixtures: {e}")
