"""schema: what parameters an endpoint takes, and how they are written.

Two classes: Q takes its parameters from the query whatever the body is; P
takes them from the query and a form, or from a JSON body alone.
"""

import json
import re
import urllib.parse


class Refused(Exception):
    """The request is answered with this status and text."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


class Wrong(Exception):
    pass


NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._\-]*")
NUMBER = re.compile(r"[+-]?[0-9]+")
TRUE, FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")


class Type:
    def __init__(self, optional=False, default=None):
        self.optional, self.default = optional, default


class Int(Type):
    def __init__(self, low, high, **how):
        super().__init__(**how)
        self.low, self.high = low, high

    def query(self, text):
        if not NUMBER.fullmatch(text):
            raise Wrong("unable to parse integer")
        return self.check(int(text))

    def check(self, v):
        if type(v) is not int:
            raise Wrong("Expected integer value.")
        if self.low is not None and v < self.low:
            raise Wrong(f"value must have a minimum value of {self.low}"
                        f" (got {v})")
        if self.high is not None and v > self.high:
            raise Wrong(f"value must have a maximum value of {self.high}"
                        f" (got {v})")
        return v


class Bool(Type):
    def query(self, text):
        low = text.lower()
        if low not in TRUE + FALSE:
            raise Wrong("Expected boolean value.")
        return low in TRUE

    def check(self, v):
        if not isinstance(v, bool):
            raise Wrong("Expected boolean value.")
        return v


class Str(Type):
    def __init__(self, pattern=None, low=0, high=None, words=None, **how):
        super().__init__(**how)
        self.pattern = re.compile(pattern) if pattern else None
        self.low, self.high, self.words = low, high, words

    def query(self, text):
        return self.check(text)

    def check(self, v):
        if not isinstance(v, str):
            raise Wrong("Expected string value.")
        if len(v) < self.low or self.high is not None and len(v) > self.high:
            raise Wrong(f"value must be {self.low} to {self.high}"
                        " characters long")
        if self.words is not None and v not in self.words:
            raise Wrong(f"value '{v}' is not defined in the enumeration.")
        if self.pattern is not None and not self.pattern.fullmatch(v):
            raise Wrong("value does not match the regex pattern")
        return v


class Ns(Str):
    """Up to eight components by its pattern, seven by its parser."""

    def check(self, v):
        super().check(v)
        parts = v.split("/") if v else []
        if len(v) > 256 or len(parts) > 8 or \
                not all(NAME.fullmatch(p) for p in parts):
            raise Wrong("value does not match the regex pattern")
        if len(parts) > 7:
            raise Wrong("namespace to deep, 8 > max 7")
        return v


class List(Type):
    def __init__(self, item, **how):
        super().__init__(**how)
        self.item = item

    def query(self, text):
        return self.item.query(text)

    def check(self, v):
        if not isinstance(v, list):
            raise Wrong("Expected array - got scalar value.")
        return [self.item.check(x) for x in v]


def store(**how):
    return Str(NAME.pattern, 3, 32, **how)


def kind(**how):
    return Str(words=("vm", "ct", "host"), **how)


def name(**how):
    return Str(NAME.pattern, **how)


def when(**how):
    return Int(1, None, **how)


def ns():
    return Ns(optional=True)


def digest(**how):
    return Str("[a-f0-9]{64}", **how)


def csum(**how):
    return Str("[A-Fa-f0-9]{64}", **how)


def wid():
    return Int(1, 256)


def triple():
    return {"backup-type": kind(), "backup-id": name(), "backup-time": when(),
            "ns": ns()}


def group():
    return {"backup-type": kind(), "backup-id": name(), "ns": ns()}


def pairs(raw):
    """A query or form: a list of names and values."""
    out = []
    for part in raw.split("&"):
        if part:
            n, _, v = part.partition("=")
            out.append(tuple(
                urllib.parse.unquote_to_bytes(x.replace("+", " "))
                .decode("utf-8", "replace") for x in (n, v)))
    return [(n, v) for n, v in out if n != "_dc"]


def refuse(errors):
    lines = [f"'{n}': {why}" for n, why in errors]
    if len(lines) == 1:
        raise Refused(400, f"parameter verification failed - {lines[0]}")
    raise Refused(400, "parameter verification errors\n" + "".join(
        f"parameter {line}\n" for line in lines))


def finish(types, got, errors):
    for n, t in types.items():
        if n not in got:
            if t.optional:
                got[n] = t.default
            elif n not in [e[0] for e in errors]:
                errors.append(
                    (n, "parameter is missing and it is not optional."))
    if errors:
        refuse(errors)
    return got


def from_pairs(types, items):
    got, errors = {}, []
    for n, v in items:
        t = types.get(n)
        try:
            if t is None:
                raise Wrong("schema does not allow additional properties.")
            if isinstance(t, List):
                got.setdefault(n, []).append(t.query(v))
            elif n in got:
                raise Wrong("duplicate parameter.")
            else:
                got[n] = t.query(v)
        except Wrong as why:
            errors.append((n, why))
    return finish(types, got, errors)


def from_json(types, fixed, body):
    try:
        j = json.loads(body) if body else {}
    except ValueError:
        raise Refused(400, "unable to parse JSON parameters") from None
    if not isinstance(j, dict):
        raise Refused(400, "parameter verification failed - not an object")
    got, errors = {}, []
    for n, v in j.items():
        t = types.get(n)
        try:
            if t is None:
                raise Wrong("schema does not allow additional properties.")
            got[n] = t.check(v)
        except Wrong as why:
            errors.append((n, why))
    for n, v in fixed:
        try:
            if n in got:
                raise Wrong("duplicate parameter.")
            got[n] = types[n].query(v)
        except Wrong as why:
            errors.append((n, why))
    return finish(types, got, errors)


FORM, JSON = "application/x-www-form-urlencoded", "application/json"


def class_q(types, fixed, query):
    return from_pairs(types, fixed + pairs(query))


def class_p(types, fixed, query, content_type, body):
    """fixed: path parameters."""
    what = (content_type or "").partition(";")[0].strip()
    if what not in ("", FORM, JSON):
        raise Refused(400, f"unsupported content type {what}")
    if what == JSON:
        return from_json(types, fixed, body)
    return from_pairs(types, fixed + pairs(query)
                      + pairs(body.decode("utf-8", "replace")))
