"""What the side ports of our test servers have in common: rules that make a
server misbehave, its settings, its log.

A connection says one JSON object and gets a line or more of answer:

{"do": "fault", …rule}      arm a rule
{"do": "clear"}             forget all rules
{"do": "used"}              how often each rule struck, a line each
{"do": "set", …settings}    change settings
{"do": "sync"}              wait until no request is under way
{"do": "log", …}            log lines whose fields equal these, or match as
                            globs; "count": true; "field": NAME
{"do": "peak"}              the most at once, of what the server counts

Each server's control.py has more words, and its faults.py the rules and
settings.  Of every rule: nth, count: from the nth match on (1), so often (1; 0:
always); percent, seed: of those, so many by a seeded draw (100).
"""

import fnmatch
import json
import random
import threading


class Rules:
    def __init__(self, needed, known):
        self.needed, self.known = needed, needed | known
        self.rules, self.lock = [], threading.Lock()

    def add(self, rule):
        unknown = set(rule) - self.known
        if unknown or self.needed - set(rule):
            raise ValueError(f"no such fields: {' '.join(sorted(unknown))}")
        with self.lock:
            self.rules.append(dict(rule, seen=0, used=0, random=random.Random(
                rule.get("seed", 1))))

    def clear(self):
        with self.lock:
            self.rules.clear()

    def used(self):
        with self.lock:
            return [r["used"] for r in self.rules]

    def strike(self, fits):
        """The rule for a request that fits(rule) tells, or {}; at most one
        applies, and one that another strikes counts, too."""
        struck = {}
        with self.lock:
            for r in self.rules:
                if not fits(r):
                    continue
                r["seen"] += 1
                count = r.get("count", 1)
                if (not struck and r["seen"] >= r.get("nth", 1)
                        and (not count or r["used"] < count)
                        and r["random"].random() * 100 < r.get("percent",
                                                               100)):
                    r["used"] += 1
                    struck = r
        return struck


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


def act(server, do, say):
    """The words above; None for another."""
    if do == "fault":
        server.faults.add(say)
    elif do == "clear":
        server.faults.clear()
    elif do == "used":
        return "\n".join(map(str, server.faults.used()))
    elif do == "set":
        for name in say:
            if name not in server.settings:
                raise ValueError(f"no setting {name}")
        server.settings.update(say)
    elif do == "sync":
        if not server.quiet():
            raise ValueError("a request does not end")
    elif do == "log":
        return log(server, say)
    elif do == "peak":
        return str(server.peak)
    else:
        return None
    return ""


def one(server, more, sock):
    with sock, sock.makefile("rwb") as f:
        try:
            say = json.loads(f.readline())
            do = say.pop("do")
            text = act(server, do, say)
            if text is None:
                text = more(server, do, say, f)
            if text:
                f.write((text + "\n").encode("utf-8", "surrogateescape"))
        except Exception as e:
            f.write(f"!{type(e).__name__}: {e}\n".encode())


def serve(server, listener, more):
    """more(server, do, say, out): a server's own words."""
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=one, args=(server, more, sock),
                         daemon=True).start()
