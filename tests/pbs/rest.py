"""rest: the API over HTTP/1.1, S/… being admin/datastore/STORE/…."""

import base64
import io
import os
import shutil
import threading
import time
import urllib.parse
import zipfile

import formats
import pxar
import schema
import store as storage
from schema import Bool, Int, Refused, Str
from session import Raw

MAP = {}


class Call:
    """One request; params are checked, auth is known."""

    def __init__(self, server, auth, store=None, upid=None):
        self.server, self.auth, self.name, self.upid = server, auth, store, upid
        self.more = {}                  # beside data
        self.store = None

    def need(self, p, full, limited=None):
        """Privileges on the namespace; with limited: and to own the group."""
        privs = self.server.acl.privs(self.auth, self.name, p.get("ns") or "")
        if privs & set(full):
            self.find()
            return
        if limited is None or limited not in privs:
            raise Refused(403, "permission check failed")
        self.find()
        owner = self.store.group(p).owner()
        if not self.server.acl.owns(self.auth, owner):
            raise Refused(400, f"backup owner check failed ({self.auth} !="
                               f" {owner})")

    def find(self):
        self.store = self.server.find_store(self.name, writing=False)


def endpoint(method, path, /, raw=False, body=0, free=False, **types):
    def add(run):
        MAP[method, path] = (run, raw, body, free, {
            n.replace("_", "-"): t for n, t in types.items()})
        return run
    return add


def with_group(**more):
    return {**{n.replace("-", "_"): t for n, t in schema.group().items()},
            **more}


def with_triple(**more):
    return {**{n.replace("-", "_"): t for n, t in schema.triple().items()},
            **more}


# Who and what.

@endpoint("GET", "ping", free=True)
def ping(_c, _p, _b):
    return {"pong": True}


@endpoint("GET", "version")
def version(c, _p, _b):
    return {"version": c.server.settings["release"], "release": "4",
            "repoid": "0123456789abcdef"}


@endpoint("GET", "access/permissions", path=Str(optional=True),
          auth_id=Str(optional=True))
def permissions(c, p, _b):
    path = p["path"] or "/"
    privs = c.server.acl.at(c.auth, path)
    if not privs:
        return {}
    return {path: {f"Datastore.{n}": True for n in sorted(privs)
                   if "." not in n}}


@endpoint("GET", "admin/datastore")
def datastores(c, _p, _b):
    out = []
    for name, st in sorted(c.server.stores.items()):
        if c.server.acl.below(c.auth, name):
            row = {"store": name, "comment": "a test"}
            if st.maintenance:
                row["maintenance"] = st.maintenance
            if c.server.at_least(4, 0):
                row.update({"mount-status": "nonremovable",
                            "backend-type": "filesystem"})
            out.append(row)
    return out


@endpoint("GET", "S/status", verbose=Bool(optional=True, default=False))
def status(c, p, _b):
    privs = c.server.acl.privs(c.auth, c.name)
    if not privs and not c.server.acl.below(c.auth, c.name):
        raise Refused(403, "permission check failed")
    c.find()
    s = c.server.settings
    seen = privs & {"Audit", "Backup"}
    out = {n: s[n] if seen else 0 for n in ("total", "used", "avail")}
    if p["verbose"]:
        out["counts"] = {"host": {"groups": 0, "snapshots": 0}, "ct": None,
                         "vm": None, "other": None}
        for g in c.store.all_groups():
            if g.kind == "host":
                out["counts"]["host"]["groups"] += 1
                out["counts"]["host"]["snapshots"] += len(g.snapshots())
        out["gc-status"] = {"upid": None, **dict.fromkeys(
            ("index-file-count", "index-data-bytes", "disk-bytes",
             "disk-chunks", "removed-bytes", "removed-chunks", "pending-bytes",
             "pending-chunks", "removed-bad", "still-bad"), 0)}
    if c.server.at_least(4, 0):
        out["backend-type"] = "filesystem"
    return out


@endpoint("GET", "status/datastore-usage")
def usage(c, _p, _b):
    s = c.server.settings
    return [{"store": n, "total": s["total"], "used": s["used"],
             "avail": s["avail"]} for n in sorted(c.server.stores)
            if c.server.acl.below(c.auth, n)]


# Namespaces.

@endpoint("GET", "S/namespace", parent=schema.ns(),
          max_depth=Int(0, 7, optional=True, default=7))
def namespaces(c, p, _b):
    c.find()
    parent = p["parent"] or ""
    if not c.store.has_ns(parent):
        raise Refused(400, f"namespace '{parent}' does not exist")
    seen = [ns for ns in c.store.namespaces(parent, p["max-depth"])
            if c.server.acl.privs(c.auth, c.name, ns)
            & {"Audit", "Modify", "Read", "Backup"}]
    if not seen:
        raise Refused(403, "permission check failed")
    return [{"ns": ns} for ns in seen]


@endpoint("POST", "S/namespace", name=Str(schema.NAME.pattern, 1, 32),
          parent=schema.ns())
def make_namespace(c, p, _b):
    parent = p["parent"] or ""
    c.need({"ns": parent}, ["Modify"])
    if not c.store.has_ns(parent):
        raise Refused(400, f"cannot create namespace below '{parent}' - it"
                           " does not exist")
    ns = f"{parent}/{p['name']}" if parent else p["name"]
    if ns.count("/") >= 7:
        raise Refused(400, "namespace to deep, 8 > max 7")
    os.makedirs(c.store.ns_path(ns), exist_ok=True)
    return ns


@endpoint("DELETE", "S/namespace", ns=schema.Ns(),
          delete_groups=Bool(optional=True, default=False))
def remove_namespace(c, p, _b):
    ns = p["ns"]
    if not ns:
        raise Refused(400, "cannot delete root namespace!")
    c.need({"ns": ns.rpartition("/")[0]}, ["Modify"])
    if not c.store.has_ns(ns):
        raise Refused(400, f"namespace '{ns}' does not exist")
    groups = [g for n in c.store.namespaces(ns) for g in c.store.groups(n)]
    if groups and not p["delete-groups"]:
        raise Refused(400, "namespace not empty")
    for g in groups:
        if any(s.protected() for s in g.snapshots()):
            raise Refused(400, "group contains protected snapshots")
    shutil.rmtree(c.store.ns_path(ns))


# Groups.

def comment_of(path):
    if os.path.exists(path):
        text = storage.read(path).decode()
        return text.split("\n", 1)[0]
    return None


def listable(c, ns):
    privs = c.server.acl.privs(c.auth, c.name, ns)
    if not privs & {"Audit", "Backup"}:
        raise Refused(403, "permission check failed")
    c.find()
    return "Audit" in privs


@endpoint("GET", "S/groups", ns=schema.ns())
def groups(c, p, _b):
    everything = listable(c, p["ns"] or "")
    out = []
    for g in c.store.groups(p["ns"] or ""):
        owner = g.owner()
        if not everything and not c.server.acl.owns(c.auth, owner):
            continue
        done = g.finished()
        if not done and not c.server.at_least(4, 0):
            continue
        row = {"backup-type": g.kind, "backup-id": g.name,
               "last-backup": done[-1].time if done else 0,
               "backup-count": len(done), "owner": owner,
               "files": done[-1].files() if done else []}
        comment = comment_of(os.path.join(g.path, "notes"))
        if comment is not None:
            row["comment"] = comment
        out.append(row)
    return out


@endpoint("DELETE", "S/groups", **with_group(error_on_protected=Bool(
    optional=True, default=True)))
def remove_group(c, p, _b):
    c.need(p, ["Modify"], "Prune")
    g = c.store.group(p)
    if not g.exists():
        raise Refused(400, f"group {g.text()} does not exist")
    if not c.store.locks.take(g.lock):
        raise Refused(400, "unable to acquire lock on backup group")
    removed = kept = 0
    try:
        for s in g.snapshots():
            if s.protected():
                kept += 1
                continue
            forget_one(c, s)
            removed += 1
        if not kept:
            shutil.rmtree(g.path)
    finally:
        c.store.locks.drop(g.lock)
    if kept and (p["error-on-protected"] or not c.server.at_least(4, 0)):
        raise Refused(400, f"group only partially deleted due to protected"
                           f" snapshots")
    if c.server.at_least(4, 0):
        return {"removed-groups": int(not kept), "removed-snapshots": removed,
                "protected-snapshots": kept}
    return None


@endpoint("GET", "S/group-notes", **with_group())
def group_notes(c, p, _b):
    c.need(p, ["Audit"], "Backup")
    path = os.path.join(c.store.group(p).path, "notes")
    return storage.read(path).decode() if os.path.exists(path) else ""


@endpoint("PUT", "S/group-notes", **with_group(notes=Str()))
def set_group_notes(c, p, _b):
    c.need(p, ["Modify"], "Backup")
    g = c.store.group(p)
    if not g.exists():
        raise Refused(400, f"group {g.text()} does not exist")
    storage.write(os.path.join(g.path, "notes"), p["notes"].encode())


@endpoint("POST", "S/change-owner", **with_group(new_owner=Str(low=3,
                                                               high=64)))
def change_owner(c, p, _b):
    c.need(p, ["Modify"])
    c.store.group(p).owner()
    c.store.group(p).set_owner(p["new-owner"])


# Snapshots.

def describe_files(snap):
    """As they are listed, and the manifest."""
    m, size = snap.manifest()
    out = [{k: f[k] for k in ("filename", "crypt-mode", "size") if k in f}
           for f in m["files"]]
    for f in out:
        f.setdefault("crypt-mode", "none")
    out.append({"filename": storage.MANIFEST, "size": size, "crypt-mode":
                "sign-only" if m.get("signature") else "none"})
    known = {f["filename"] for f in out}
    out += [{"filename": n} for n in snap.files() if n not in known]
    return out, m


def describe(snap):
    row = {"backup-type": snap.group.kind, "backup-id": snap.group.name,
           "backup-time": snap.time, "owner": snap.group.owner(),
           "protected": snap.protected()}
    try:
        row["files"], m = describe_files(snap)
    except Refused:
        row["files"] = [{"filename": n} for n in snap.files()]
        return row
    row["size"] = sum(f.get("size", 0) for f in row["files"])
    un = m.get("unprotected", {})
    if un.get("notes"):
        row["comment"] = un["notes"].split("\n", 1)[0]
    if "key-fingerprint" in un:
        row["fingerprint"] = un["key-fingerprint"]
    if "verify_state" in un:
        row["verification"] = un["verify_state"]
    return row


@endpoint("GET", "S/snapshots", ns=schema.ns(),
          backup_type=schema.kind(optional=True),
          backup_id=schema.name(optional=True))
def snapshots(c, p, _b):
    ns = p["ns"] or ""
    everything = listable(c, ns)
    if not c.store.has_ns(ns):
        raise Refused(400, f"namespace '{ns}' does not exist")
    out = []
    for g in c.store.groups(ns):
        if p["backup-type"] not in (None, g.kind) or \
                p["backup-id"] not in (None, g.name):
            continue
        if not everything and not c.server.acl.owns(c.auth, g.owner()):
            continue
        out += [describe(s) for s in g.snapshots()]
    # No order is promised.
    return sorted(out, key=lambda r: hash((r["backup-id"], r["backup-time"])))


def existing(c, p):
    snap = c.store.snapshot(p)
    if not snap.exists():
        raise Refused(400, f"snapshot {snap.text()} does not exist")
    return snap


@endpoint("GET", "S/files", **with_triple())
def files(c, p, _b):
    c.need(p, ["Audit", "Read"], "Backup")
    return describe_files(existing(c, p))[0]


def forget_one(c, snap):
    if snap.protected():
        raise Refused(400, f"cannot remove protected snapshot {snap.text()}")
    if not c.store.locks.take(snap.lock):
        raise Refused(400, f"unable to acquire lock on snapshot"
                           f" '{snap.text()}' - possibly running or in use")
    try:
        snap.remove()
    finally:
        c.store.locks.drop(snap.lock)


@endpoint("DELETE", "S/snapshots", **with_triple())
def forget(c, p, _b):
    c.need(p, ["Modify"], "Prune")
    forget_one(c, existing(c, p))


@endpoint("GET", "S/notes", **with_triple())
def notes(c, p, _b):
    c.need(p, ["Audit"], "Backup")
    return existing(c, p).manifest()[0].get("unprotected", {}).get("notes", "")


@endpoint("PUT", "S/notes", **with_triple(notes=Str()))
def set_notes(c, p, _b):
    c.need(p, ["Modify"], "Backup")
    existing(c, p).rewrite(
        lambda m: m["unprotected"].update(notes=p["notes"]))


@endpoint("GET", "S/protected", **with_triple())
def protected(c, p, _b):
    c.need(p, ["Audit"], "Backup")
    return existing(c, p).protected()


@endpoint("PUT", "S/protected", **with_triple(protected=Bool()))
def set_protected(c, p, _b):
    c.need(p, ["Modify"], "Backup")
    snap = existing(c, p)
    if not c.store.locks.take(snap.lock):
        raise Refused(400, f"unable to acquire lock on snapshot"
                           f" '{snap.text()}' - locked by another operation")
    try:
        snap.protect(p["protected"])
    finally:
        c.store.locks.drop(snap.lock)


# Prune.

KEEPS = (("last", None), ("hourly", "%Y/%m/%d/%H"), ("daily", "%Y/%m/%d"),
         ("weekly", "%G/%V"), ("monthly", "%Y/%m"), ("yearly", "%Y"))


def keep_types():
    return {f"keep_{n}": Int(1, None, optional=True) for n, _ in KEEPS}


def plan(snaps, p):
    """Snapshots to keep, remove, protected or keep-partial."""
    snaps = sorted(snaps, key=lambda s: -s.time)
    mark = {}
    for i, s in enumerate(snaps):
        if not s.has_manifest():
            mark[s] = "keep-partial" if i == 0 else "remove"
    for name, form in KEEPS:
        count = p.get(f"keep-{name}")
        if count is None:
            continue

        def period(s, form=form):
            return s.time if form is None else time.strftime(
                form, time.localtime(s.time))
        done = {period(s) for s in snaps if mark.get(s) == "keep"}
        new = set()
        for s in snaps:
            if s in mark:
                continue
            if s.protected():
                mark[s] = "protected"
                continue
            which = period(s)
            if which in done:
                continue
            if which not in new:
                if len(new) >= count:
                    break
                new.add(which)
                mark[s] = "keep"
            else:
                mark[s] = "remove"
    return [(s, "protected" if s.protected() else mark.get(s, "remove"))
            for s in reversed(snaps)]


@endpoint("POST", "S/prune", **with_group(
    dry_run=Bool(optional=True, default=False),
    use_task=Bool(optional=True, default=False), **keep_types()))
def prune(c, p, _b):
    c.need(p, ["Modify"], "Prune")
    g = c.store.group(p)
    none = all(p[f"keep-{n}"] is None for n, _ in KEEPS)
    task = c.server.tasks.start("prune", f"{c.name}:{g.text()}", c.auth)
    out = []
    for s, mark in plan(g.snapshots(), p):
        keep = none or mark != "remove"
        row = {"backup-type": g.kind, "backup-id": g.name,
               "backup-time": s.time, "keep": keep,
               "protected": mark == "protected"}
        if p["dry-run"] and g.ns:
            row["ns"] = g.ns
        out.append(row)
        if not keep and not p["dry-run"]:
            try:
                forget_one(c, s)
            except Refused as why:
                task.say(f"failed to remove dir {s.path}: {why}")
    task.end("OK")
    return task.upid if p["use-task"] else out


# Verify.

@endpoint("POST", "S/verify", ns=schema.ns(),
          backup_type=schema.kind(optional=True),
          backup_id=schema.name(optional=True),
          backup_time=schema.when(optional=True),
          ignore_verified=Bool(optional=True, default=True),
          outdated_after=Int(0, None, optional=True),
          max_depth=Int(0, 7, optional=True, default=7))
def verify(c, p, _b):
    have = [p[n] is not None
            for n in ("backup-type", "backup-id", "backup-time")]
    if have not in ([False] * 3, [True, True, False], [True] * 3):
        raise Refused(400, "parameters do not specify a backup group or"
                           " snapshot")
    if have[0]:
        c.need(p, ["Verify"], "Backup")
        g = c.store.group(p)
        todo = [existing(c, p)] if have[2] else g.finished()
        name = f"{c.name}:{p['ns'] or ''}:{g.text()}"
        kind = "verify_snapshot" if have[2] else "verify_group"
        if have[2]:
            name += f"/{p['backup-time']:08X}"
    else:
        if "Verify" not in c.server.acl.privs(c.auth, c.name, p["ns"] or ""):
            raise Refused(403, "permission check failed")
        c.find()
        todo = [s for ns in c.store.namespaces(p["ns"] or "", p["max-depth"])
                for g in c.store.groups(ns) for s in g.finished()]
        kind, name = "verify", c.name
    task = c.server.tasks.start(kind, name, c.auth)
    threading.Thread(target=verify_all, args=(c.server, task, todo,
                                              p["ignore-verified"]),
                     daemon=True).start()
    return task.upid


def verify_all(server, task, todo, ignore):
    failed = 0
    task.abort.wait(server.settings["new_delay"])
    if task.abort.is_set():
        task.end("received abort")
        return
    for snap in todo:
        try:
            old = snap.manifest()[0].get("unprotected", {}).get(
                "verify_state", {})
            if ignore and old.get("state") == "ok":
                continue
            bad = list(wrongs(snap))
            if server.settings["verify"] == "failed":
                bad.append("as told")
            for text in bad:
                task.say(f"{snap.text()}: {text}")
            state = {"upid": task.upid, "state": "failed" if bad else "ok"}
            snap.rewrite(lambda m, state=state: m["unprotected"].update(
                verify_state=state))
        except Refused as why:
            bad = [str(why)]
            task.say(f"{snap.text()}: {why}")
        failed += bool(bad)
    task.end(f"verification failed on {failed} snapshots - please check the"
             " log for details" if failed else "OK")


def wrongs(snap):
    """What the server's own verify would find."""
    m, _ = snap.manifest()
    for f in m["files"]:
        name, path = f["filename"], snap.file(f["filename"])
        try:
            data = storage.read(path)
        except FileNotFoundError:
            yield f"{name} is missing"
            continue
        secret = f.get("crypt-mode") == "encrypt"
        try:
            if name.endswith(".blob"):
                if formats.hashlib.sha256(data).hexdigest() != f["csum"] or \
                        len(data) != f["size"]:
                    yield f"{name}: another checksum"
                formats.blob_check(data)
                continue
            index = formats.Index(data)
            if index.csum.hex() != f["csum"] or index.size != f["size"]:
                yield f"{name}: another checksum"
        except formats.Bad as why:
            yield f"{name}: {why}"
            continue
        for start, end, digest in index.entries:
            try:
                blob = snap.store.chunk(digest.hex())
                formats.blob_check(blob)
                if formats.is_encrypted(blob) != secret:
                    yield f"chunk {digest.hex()}: of another crypt mode"
                elif not secret:
                    plain = formats.blob_decode(blob, limit=end - start)
                    if len(plain) != end - start or formats.hashlib.sha256(
                            plain).digest() != digest:
                        yield f"chunk {digest.hex()}: other content"
            except (formats.Bad, Refused) as why:
                yield f"chunk {digest.hex()}: {why}"


# Files of snapshots.

def stored(c, p, name):
    snap = existing(c, p)
    path = snap.file(name)
    if not os.path.exists(path):
        raise Refused(404, f"unable to open file {path}")
    return snap, storage.read(path)


@endpoint("GET", "S/download", raw=True, **with_triple(
    file_name=schema.name()))
def download(c, p, _b):
    c.need(p, ["Read"], "Backup")
    return Raw(stored(c, p, p["file-name"])[1])


def decoded(snap, name, key=None):
    """All of an archive, plain."""
    out = bytearray()
    for start, end, digest in snap.index(name).entries:
        out += formats.blob_decode(snap.store.chunk(digest.hex()), key,
                                   limit=end - start)
    return bytes(out)


def plain(snap, name):
    m, _ = snap.manifest()
    for f in m["files"]:
        if f["filename"] == name:
            if f.get("crypt-mode") == "encrypt":
                raise Refused(400, f"cannot decode '{name}' - is encrypted")
            index = None if name.endswith(".blob") else snap.index(name)
            if index and index.csum.hex() != f["csum"]:
                raise Refused(400, f"'{name}': wrong checksum")
            return
    raise Refused(400, f"manifest does not contain file '{name}'")


@endpoint("GET", "S/download-decoded", raw=True, **with_triple(
    file_name=schema.name()))
def download_decoded(c, p, _b):
    c.need(p, ["Read"], "Backup")
    name = p["file-name"]
    snap, data = stored(c, p, name)
    plain(snap, name)
    kind = storage.kind_of(name)
    if kind is None:
        raise Refused(400, "cannot download '{name}' files")
    try:
        return Raw(formats.blob_decode(data) if kind == "blob" else
                   decoded(snap, name))
    except formats.Bad as why:
        raise Refused(400, str(why)) from None


def decode_path(text):
    if text in ("root", "/"):
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as why:
        raise Refused(400, f"base64 decode failed - {why}") from None


@endpoint("GET", "S/catalog", **with_triple(
    filepath=Str(), archive_name=schema.name(optional=True)))
def catalog(c, p, _b):
    c.need(p, ["Read"], "Backup")
    snap = existing(c, p)
    plain(snap, "catalog.pcat1.didx")
    path = decode_path(p["filepath"])
    want = path.removeprefix(b"/")
    out = []
    try:
        found = want == b""
        for where, kind, size, mtime in pxar.catalog(
                decoded(snap, "catalog.pcat1.didx")):
            found = found or where == want and kind == "d"
            base, _, name = where.rpartition(b"/")
            if base != want:
                continue
            row = {"filepath": base64.b64encode(want + b"/" + name).decode(),
                   "text": name.decode("utf-8", "replace"), "type": kind,
                   "leaf": kind != "d"}
            if kind == "f":
                row.update(size=size, mtime=mtime)
            out.append(row)
    except (pxar.Bad, formats.Bad, IndexError) as why:
        raise Refused(400, f"broken catalog - {why}") from None
    if not found:
        raise Refused(400, f"path {want!r} not found in catalog")
    return out


@endpoint("GET", "S/pxar-file-download", raw=True, **with_triple(
    filepath=Str(), tar=Bool(optional=True, default=False),
    archive_name=schema.name(optional=True)))
def file_download(c, p, _b):
    c.need(p, ["Read"], "Backup")
    snap = existing(c, p)
    archive, _, path = decode_path(p["filepath"]).lstrip(b"/").partition(b"/")
    name = archive.decode("utf-8", "replace")
    plain(snap, name)
    try:
        a = pxar.Archive(decoded(snap, name))
        e = a.find(path)
        if e["type"] == "f":
            return Raw(a.content(e))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as z:
            for x in a.walk():
                if x["type"] == "f" and x["path"].startswith(path + b"/"):
                    z.writestr(x["path"].decode("utf-8", "replace"),
                               a.content(x))
        return Raw(out.getvalue())
    except (pxar.Bad, formats.Bad) as why:
        raise Refused(400, str(why)) from None


@endpoint("POST", "S/upload-backup-log", raw=True, body=formats.BLOB_MAX,
          **with_triple())
def upload_log(c, p, body):
    privs = c.server.acl.privs(c.auth, c.name, p["ns"] or "")
    if "Backup" not in privs:
        raise Refused(403, "permission check failed")
    c.need(p, [], "Backup")
    snap = existing(c, p)
    path = snap.file("client.log.blob")
    if os.path.exists(path):
        raise Refused(400, "backup already contains a log.")
    try:
        formats.blob_check(body)
    except formats.Bad as why:
        raise Refused(400, str(why)) from None
    storage.write(path, body)


# Tasks.

def may_see(c, task):
    return c.server.acl.owns(c.auth, task.auth) or \
        "Sys.Audit" in c.server.acl.direct(c.auth, "/system/tasks")


@endpoint("GET", "nodes/localhost/tasks", start=Int(0, None, optional=True,
                                                    default=0),
          limit=Int(0, None, optional=True, default=50),
          running=Bool(optional=True, default=False),
          errors=Bool(optional=True, default=False),
          store=schema.store(optional=True),
          since=Int(0, None, optional=True), until=Int(0, None, optional=True),
          typefilter=Str(optional=True), userfilter=Str(optional=True),
          statusfilter=schema.List(Str(), optional=True))
def tasks(c, p, _b):
    found = []
    for t in reversed(c.server.tasks.list):
        row = t.row()
        if not may_see(c, t) or \
                p["running"] and t.stop is not None or \
                p["errors"] and t.status in (None, "OK") or \
                p["store"] and not t.name.startswith(p["store"]) or \
                p["typefilter"] and p["typefilter"] not in t.kind or \
                p["userfilter"] and p["userfilter"] not in t.auth or \
                p["since"] and t.start < p["since"] or \
                p["until"] and t.start > p["until"]:
            continue
        found.append(row)
    c.more["total"] = len(found)
    return found[p["start"]:][:p["limit"] or None]


def one_task(c):
    t = c.server.tasks.find(c.upid)
    if not may_see(c, t):
        raise Refused(403, "permission check failed")
    return t


@endpoint("GET", "T/status")
def task_status(c, _p, _b):
    return one_task(c).state()


@endpoint("GET", "T/log", start=Int(0, None, optional=True, default=0),
          limit=Int(0, None, optional=True, default=50),
          download=Bool(optional=True, default=False),
          test_status=Bool(optional=True, default=False))
def task_log(c, p, _b):
    t = one_task(c)
    active = t.stop is None
    lines = list(t.lines)
    if p["download"]:
        return Raw("".join(line + "\n" for line in lines).encode())
    first = max(p["start"], 1)
    c.more.update(total=len(lines), success=1)
    if p["test-status"]:
        c.more["active"] = active
    rows = [{"n": n, "t": line} for n, line in enumerate(lines, 1)
            if n >= first]
    return rows[:p["limit"] or None]


@endpoint("DELETE", "T")
def task_stop(c, _p, _b):
    one_task(c).abort.set()


# Finding the endpoint of a path.

def locate(path):
    """The shape of it, and what stands for S and T: (shape, store, upid)."""
    parts = [urllib.parse.unquote(x) for x in path.split("/") if x]
    if any(x.startswith(".") for x in parts):
        raise Refused(400, "Path contains illegal components.")
    if parts[:2] != ["api2", "json"]:
        return None, None, None
    parts = parts[2:]
    if parts[:2] == ["admin", "datastore"] and len(parts) > 2:
        return "/".join(["S", *parts[3:]]), parts[2], None
    if parts[:3] == ["nodes", "localhost", "tasks"] and len(parts) > 3:
        return "/".join(["T", *parts[4:]]), None, parts[3]
    return "/".join(parts), None, None


def find(method, path):
    """(op, run, raw, body, free, types, store, upid); run None: 404."""
    shape, name, upid = locate(path)
    entry = MAP.get((method, shape), (None, False, 0, False, {}))
    return (f"{method} {shape}", *entry, name, upid)
