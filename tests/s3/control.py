"""The side port's words beyond those of side.py; peak: the most connections
open at once.

{"do": "key", "access": A, "secret": S, "token": T, "expires": in seconds}
{"do": "keys", "bucket": B} keys, a line each;  "sizes": true
{"do": "uploads", "bucket": B}     open uploads: id, key, parts
                                  "now": also while a request is under way
{"do": "upload", "bucket": B, "key": K, "age": seconds}   begin one
{"do": "bytes", "bucket": B, "key": K}     the object itself
{"do": "about", "bucket": B, "key": K}     what is known of it, as JSON
{"do": "put", "bucket": B, "key": K, "file": F}   store it, as others would
{"do": "damage", "bucket": B, "key": K, "at": N}  flip a bit of byte N
{"do": "cut", "bucket": B, "key": K, "size": N}   shorten the stored bytes
{"do": "age", "bucket": B, "key": K, "seconds": N}  it is that much older
"""

import hashlib
import json
import os
import shutil

import store


def key_of(say):
    return say["key"].encode("utf-8", "surrogateescape")


def find(server, say):
    return server.store.bucket(say["bucket"]).find(key_of(say),
                                                   say.get("version"))


def keep(server, say):
    b, v = server.store.bucket(say["bucket"]), store.Version(server.now())
    name, f = server.store.new_file()
    md5 = hashlib.md5()
    with f, open(say["file"], "rb") as g:
        while block := g.read(1 << 20):
            f.write(block)
            md5.update(block)
    v.size, v.etag = os.path.getsize(say["file"]), md5.hexdigest()
    v.segments = [(name, v.size)]
    v.headers = {"content-type": say.get("type", "binary/octet-stream")}
    v.mtime -= say.get("age", 0)
    server.store.place(b, key_of(say), v)


def begin(server, say):
    b = server.store.bucket(say["bucket"])
    u = store.Upload(key_of(say), store.Version(server.now()),
                   server.now() - say.get("age", 0))
    b.uploads[u.id] = u
    return u.id


def about(v):
    return json.dumps({
        "size": v.size, "etag": v.etag, "parts": [n for _, n, _ in v.parts],
        "headers": v.headers, "sse": v.sse, "storage": v.storage,
        "tags": v.tags, "mode": v.mode, "until": v.until, "hold": v.hold,
        "checksums": v.checksums, "checksum_type": v.checksum_type,
        "customer": v.customer, "mtime": v.mtime, "version": v.id})


def segment(v, at):
    for name, size in v.segments:
        if at < size:
            return name, at
        at -= size
    raise ValueError("beyond the end")


def flip(server, v, at):
    name, at = segment(v, at)
    store.flip_file(server.store.path(name), at)


def cut(server, v, size):
    """As if the service had lost the end, and known no better."""
    kept, left = [], size
    for name, n in v.segments:
        take = min(n, left)
        if take:
            with open(server.store.path(name), "r+b") as f:
                f.truncate(take)
            kept.append((name, take))
        left -= take
    v.segments, v.size = kept, size


def act(server, do, say, out):
    if do == "key":
        expires = say.get("expires")
        server.keys[say["access"]] = {
            "secret": say["secret"], "token": say.get("token"),
            "expires": None if expires is None else server.now() + expires}
    elif do == "keys":
        b = server.store.bucket(say["bucket"])
        with server.store.lock:
            return "\n".join(
                key.decode("utf-8", "surrogateescape")
                + (f" {b.keys[key][-1].size}" if say.get("sizes") else "")
                for key in b.order() if not b.keys[key][-1].marker)
    elif do == "uploads":
        if not say.get("now"):
            server.quiet()
        b = server.store.bucket(say["bucket"])
        return "\n".join(f"{u.id} {u.key.decode()} {len(u.parts)}"
                         for u in b.uploads.values())
    elif do == "upload":
        return begin(server, say)
    elif do == "bytes":
        v = find(server, say)
        for path, offset, size in server.store.pieces(v, 0, v.size):
            with open(path, "rb") as f:
                f.seek(offset)
                shutil.copyfileobj(f, out, 1 << 20)
    elif do == "about":
        return about(find(server, say))
    elif do == "put":
        keep(server, say)
    elif do == "damage":
        flip(server, find(server, say), say["at"])
    elif do == "cut":
        cut(server, find(server, say), say["size"])
    elif do == "age":
        find(server, say).mtime -= say["seconds"]
    else:
        raise ValueError(f"no such word: {do}")
    return ""
