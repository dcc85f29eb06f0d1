"""The side port's words beyond those of side.py; peak: the most requests of a
session open at once.

{"do": "idle"}              wait until no request is under way, and no session
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


def group(server, say):
    st = server.stores[say.get("store", "store1")]
    return st.group({"ns": say.get("ns", ""), "backup-id": say["id"],
                     "backup-type": say.get("type", "host")})


def snapshot(server, say):
    st = server.stores[say.get("store", "store1")]
    return st.snapshot({"ns": say.get("ns", ""), "backup-id": say["id"],
                        "backup-type": say.get("type", "host"),
                        "backup-time": say["time"]})


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


def act(server, do, say, _out):
    if do == "idle":
        if not server.idle():
            raise ValueError("a session does not end")
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
