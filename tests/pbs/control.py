"""The side port: one JSON object a connection, a line or more of answer.

{"do": "fault", …rule}      arm a rule (faults.py)
{"do": "clear"}             forget all rules
{"do": "used"}              how often each rule struck, a line each
{"do": "set", …settings}    change settings (faults.SETTINGS)
{"do": "sync"}              wait until no request is under way
{"do": "idle"}              wait until no session is, either
{"do": "log", …}            log lines whose fields equal these, or match as
                            globs; "count": true; "field": NAME
{"do": "peak"}              most requests of a session open at once
{"do": "token", "id": T, "secret": S, "expires": in seconds, "role": R}
                            R on /datastore for it and its user
{"do": "grant", "id": WHO, "path": P, "role": R}     "" takes away
{"do": "certificate", "name": N}  a new one; its fingerprint
{"do": "maintenance", "store": S, "mode": M}         "": none
{"do": "lock", …group}      as if another backup of it ran; "unlock"
{"do": "hold", …snapshot}   as if a reader had it; "release"
{"do": "owner", …group, "owner": WHO}
{"do": "snapshots", "store": S}   ns type/id/time of all, finished or not
{"do": "verified", …snapshot, "state": "failed"}
{"do": "unfinished", …snapshot}   as if it had broken off before finish
{"do": "tasks"}             upid kind status, a line each
{"do": "locks", "store": S}       what is locked, a line each
A group is store (store1), ns, type (host), id; a snapshot has a time, too.
"""

import fnmatch
import json
import threading

import faults


def group(server, say):
    st = server.stores[say.get("store", "store1")]
    return st.group({"ns": say.get("ns", ""), "backup-id": say["id"],
                     "backup-type": say.get("type", "host")})


def snapshot(server, say):
    st = server.stores[say.get("store", "store1")]
    return st.snapshot({"ns": say.get("ns", ""), "backup-id": say["id"],
                        "backup-type": say.get("type", "host"),
                        "backup-time": say["time"]})


def same(have, want):
    if isinstance(want, str) and isinstance(have, str):
        return fnmatch.fnmatchcase(have, want)
    return have == want


def log(server, say):
    server.quiet()
    want = {k: v for k, v in say.items() if k not in ("count", "field")}
    found = []
    with open(server.log_file.name, encoding="utf-8") as f:
        for line in f:
            entry = json.loads(line)
            if all(same(entry.get(k), v) for k, v in want.items()):
                found.append(entry)
    if say.get("count"):
        return str(len(found))
    if "field" in say:
        return "\n".join(str(e.get(say["field"])) for e in found)
    return "\n".join(map(json.dumps, found))


def snapshots(server, say):
    out = []
    for g in server.stores[say.get("store", "store1")].all_groups():
        for s in g.snapshots():
            state = "whole" if s.has_manifest() else "broken"
            out.append(f"{g.ns or '-'} {g.text()} {s.time} {state}")
    return "\n".join(out)


def take(server, g, lock, shared):
    if not g.store.locks.take(lock, shared):
        raise ValueError("it is locked already")


def token(server, say):
    expires = say.get("expires")
    server.acl.token(say["id"], say["secret"],
                     None if expires is None else server.now() + expires)
    if "role" in say:
        for who in (say["id"], say["id"].rsplit("!", 1)[0]):
            server.acl.grant(who, "/datastore", [say["role"]])


def act(server, say):
    do = say.pop("do")
    if do == "fault":
        server.faults.add(say)
    elif do == "clear":
        server.faults.clear()
    elif do == "used":
        return "\n".join(map(str, server.faults.used()))
    elif do == "set":
        for name in say:
            if name not in faults.SETTINGS:
                raise ValueError(f"no setting {name}")
        server.settings.update(say)
    elif do == "sync":
        if not server.quiet():
            raise ValueError("a request does not end")
    elif do == "idle":
        if not server.idle():
            raise ValueError("a session does not end")
    elif do == "log":
        return log(server, say)
    elif do == "peak":
        return str(server.peak)
    elif do == "token":
        token(server, say)
    elif do == "grant":
        server.acl.grant(say["id"], say["path"],
                         [say["role"]] if say["role"] else [])
    elif do == "certificate":
        return server.certify(say.get("name", "localhost"))
    elif do == "maintenance":
        server.stores[say.get("store", "store1")].maintenance = say["mode"] or None
    elif do == "lock":
        g = group(server, say)
        take(server, g, g.lock, False)
    elif do == "unlock":
        g = group(server, say)
        g.store.locks.drop(g.lock)
    elif do == "hold":
        s = snapshot(server, say)
        take(server, s, s.lock, True)
    elif do == "release":
        s = snapshot(server, say)
        s.store.locks.drop(s.lock)
    elif do == "owner":
        group(server, say).set_owner(say["owner"])
    elif do == "verified":
        snapshot(server, say).rewrite(lambda m: m["unprotected"].update(
            verify_state={"upid": "UPID:x", "state": say["state"]}))
    elif do == "unfinished":
        snapshot(server, say).rewrite(
            lambda m: m["unprotected"].pop("chunk_upload_stats"))
    elif do == "snapshots":
        return snapshots(server, say)
    elif do == "tasks":
        return "\n".join(f"{t.upid} {t.kind} {t.status or 'running'}"
                         for t in server.tasks.list)
    elif do == "locks":
        return "\n".join(map(str, server.stores[say.get("store", "store1")]
                             .locks.held))
    else:
        raise ValueError(f"no such word: {do}")
    return ""


def one(server, sock):
    with sock, sock.makefile("rwb") as f:
        try:
            text = act(server, json.loads(f.readline()))
            if text:
                f.write((text + "\n").encode())
        except Exception as e:
            f.write(f"!{type(e).__name__}: {e}\n".encode())


def serve(server, listener):
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=one, args=(server, sock),
                         daemon=True).start()
