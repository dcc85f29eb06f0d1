"""access: who may do what; and the tasks that are started."""

import os
import re
import threading
import time
import urllib.parse

from schema import Refused

ROLES = {
    "DatastoreBackup": {"Backup"},
    "DatastorePowerUser": {"Backup", "Prune"},
    "DatastoreReader": {"Audit", "Read", "Verify"},
    "DatastoreAdmin": {"Audit", "Modify", "Read", "Verify", "Backup", "Prune"},
    "DatastoreAudit": {"Audit"},
    "NoAccess": set(),
}


def user_of(auth):
    return auth.rsplit("!", 1)[0] if "!" in auth else auth


class Acl:
    """tokens: id to {secret, expires}; grants: id to {path: roles}."""

    def __init__(self, now):
        self.now = now
        self.tokens, self.grants = {}, {"root@pam": {"/": ["root"]}}

    def token(self, name, secret, expires=None):
        self.tokens[name] = {"secret": secret, "expires": expires}

    def grant(self, who, path, roles):
        for r in roles:
            if r not in ROLES:
                raise ValueError(f"no role {r}")
        self.grants.setdefault(who, {})[path] = list(roles)

    def direct(self, who, path):
        """The nearest grant on the way from the root wins."""
        if who == "root@pam":
            return ROLES["DatastoreAdmin"] | {"Sys.Audit"}
        paths, found, at = self.grants.get(who, {}), set(), ""
        parts = [p for p in path.split("/") if p]
        for name in ["", *parts]:
            at = f"{at}/{name}" if name else at
            if (at or "/") in paths:
                found = set()
                for r in paths[at or "/"]:
                    found |= ROLES[r]
        return found

    def at(self, who, path):
        got = self.direct(who, path)
        if "!" in who:
            got = got & self.direct(user_of(who), path)
        return got

    def privs(self, who, store, ns=""):
        return self.at(who, f"/datastore/{store}" + (f"/{ns}" if ns else ""))

    def below(self, who, store):
        """Has it anything in any namespace?"""
        paths = set(self.grants.get(who, {})) | \
            set(self.grants.get(user_of(who), {}))
        base = f"/datastore/{store}"
        return any(self.at(who, p) for p in {base, *paths}
                   if p == base or p.startswith(base + "/"))

    def owns(self, who, owner):
        return who == owner or ("!" in owner and user_of(owner) == who)

    def login(self, header):
        """The id behind an Authorization header."""
        def no(why):
            raise Refused(401, f"authentication failed - {why}")
        if not header or not header.startswith("PBSAPIToken") or \
                header[11:12] not in ("=", " "):
            no("no authentication credentials provided.")
        name, colon, secret = header[12:].partition(":")
        if not colon:
            no("missing token secret")
        secret = urllib.parse.unquote(secret, errors="strict")
        known = self.tokens.get(name)
        if known is None:
            no("user account or token disabled or expired.")
        if known["expires"] is not None and self.now() >= known["expires"]:
            no("user account or token disabled or expired.")
        if known["secret"] != secret:
            no("invalid token secret")
        return name


def escape(text):
    """systemd's way for names of units."""
    out = []
    for i, b in enumerate(text.encode()):
        c = chr(b)
        if c == "/":
            out.append("-")
        elif re.fullmatch("[A-Za-z0-9_.]", c) and not (c == "." and i == 0):
            out.append(c)
        else:
            out.append(f"\\x{b:02x}")
    return "".join(out)


class Task:
    def __init__(self, number, kind, name, auth, now):
        self.kind, self.name, self.auth, self.now = kind, name, auth, now
        self.start, self.stop, self.status = int(now()), None, None
        self.abort = threading.Event()
        self.lines = []
        self.upid = (f"UPID:localhost:{os.getpid():08X}:{7:08X}:{number:08X}:"
                     f"{self.start:08X}:{kind}:{escape(name)}:{auth}:")
        self.say(f"starting {kind} {name}")

    def say(self, text):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00",
                              time.gmtime(self.now()))
        self.lines.append(f"{stamp}: {text}")

    def end(self, status):
        if self.stop is None:
            self.stop, self.status = int(self.now()), status
            self.say("TASK OK" if status == "OK" else f"TASK ERROR: {status}")

    def about(self, more):
        out = {"upid": self.upid, "node": "localhost", "pid": os.getpid(),
               "pstart": 7, "starttime": self.start, **more}
        return out

    def row(self):
        out = self.about({"worker_type": self.kind, "worker_id": self.name,
                          "user": self.auth})
        if self.stop is not None:
            out.update(endtime=self.stop, status=self.status)
        return out

    def state(self):
        out = self.about({"type": self.kind, "id": self.name,
                          "user": user_of(self.auth)})
        if "!" in self.auth:
            out["tokenid"] = self.auth.rsplit("!", 1)[1]
        out["status"] = "running" if self.stop is None else "stopped"
        if self.stop is not None:
            out["exitstatus"] = self.status
        return out


class Tasks:
    def __init__(self, now):
        self.now, self.list, self.guard = now, [], threading.Lock()

    def start(self, kind, name, auth):
        with self.guard:
            t = Task(len(self.list), kind, name, auth, self.now)
            self.list.append(t)
            return t

    def find(self, upid):
        for t in self.list:
            if t.upid == upid:
                return t
        raise Refused(400, f"no such task: {upid}")
