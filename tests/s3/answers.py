"""Answers that a rule of faults.py makes or bends."""

import re

import shape
from sigv4 import Refused


def canned(f):
    status = f.get("status", 503)
    headers = dict(f.get("headers", {}))
    if "body" in f:
        headers.setdefault("Content-Type", "text/html")
        return shape.Response(status, headers, f["body"])
    e = Refused(status, f.get("code", "SlowDown"),
                f.get("message", "Please reduce your request rate."))
    if "region" in f:
        e.extra["Region"] = f["region"]
    e.headers = headers
    return shape.error(e, "", "0")


def scripted(f):
    headers = {"Content-Type": "application/xml"}
    headers.update(f.get("headers", {}))
    if "file" in f:
        with open(f["file"], "rb") as g:
            body = g.read()
    else:
        body = f.get("text", "").encode()
    return shape.Response(f.get("status", 200), headers,
                        body * f.get("repeat", 1))


def redirect(f, req):
    status = f.get("status", 307)
    e = Refused(status, {301: "PermanentRedirect", 307: "TemporaryRedirect",
                         400: "AuthorizationHeaderMalformed"}.get(
                             status, "Redirect"), "Use another endpoint.")
    if "region" in f:
        e.headers["x-amz-bucket-region"] = f["region"]
        if status == 400:
            e.extra["Region"] = f["region"]
    if "location" in f:
        e.headers["Location"] = f["location"] + req.target
    if "endpoint" in f:
        e.extra["Endpoint"] = f["endpoint"]
    return shape.error(e, req.raw_path, "0")


def bend(req, response):
    """What rules change in an answer that is otherwise right."""
    f = req.fault
    if not f:
        return response
    h = response.headers
    action = f["action"]
    if action == "etag" and "ETag" in h:
        h["ETag"] = {"wrong": '"00000000000000000000000000000000"',
                     "none": None, "bare": h["ETag"].strip('"'),
                     "weak": "W/" + h["ETag"], "opaque": h["ETag"],
                     "other": f'"{getattr(req, "told", "")}"'}.get(
                         f.get("value"), f.get("value"))
    if action == "range" and "Content-Range" in h:
        m = re.match(r"bytes (\d+)-(\d+)/(\d+)", h["Content-Range"])
        a, b, total = map(int, m.groups())
        shift = f.get("shift", 0)
        h["Content-Range"] = (f"bytes {a + shift}-{b + shift}/"
                              f"{total + f.get('total', 0)}")
    if action == "list" and response.status == 200:
        response.body = bend_list(f.get("mode"), req, response.body)
    if action == "blanks" and f.get("then", "result") != "result":
        response.body = shape.error(Refused(200, f["then"], "late"), "",
                                  "0").body
    return response


def bend_list(mode, req, body):
    text = body.decode()
    if mode == "empty":
        text = re.sub(r"<Contents>.*</Contents>", "", text, flags=re.S)
        text = re.sub(r"<KeyCount>\d+<", "<KeyCount>0<", text)
    elif mode == "no-token":
        text = re.sub(r"<NextContinuationToken>[^<]*</NextContinuationToken>",
                      "", text)
    if mode in ("repeat-token", "empty"):
        token = req.query.get("continuation-token") or "1/YQ=="
        text = re.sub(r"<IsTruncated>\w+<", "<IsTruncated>true<", text)
        text = re.sub(r"<NextContinuationToken>[^<]*</NextContinuationToken>",
                      "", text)
        token = shape.escape(token)
        text = text.replace("<IsTruncated>", "<NextContinuationToken>"
                            f"{token}</NextContinuationToken><IsTruncated>")
    return text.encode()
