"""Requests and responses as XML and headers."""

import re
import xml.etree.ElementTree as ElementTree
from datetime import datetime, timezone
from xml.sax.saxutils import escape

from sigv4 import Refused

NS = "http://s3.amazonaws.com/doc/2006-03-01/"
DECL = '<?xml version="1.0" encoding="UTF-8"?>\n'
KEPT = ("content-type", "cache-control", "content-disposition",
        "content-encoding", "content-language", "expires")
SSE = "x-amz-server-side-encryption"
SSEC = SSE + "-customer-"
XML_MAX = 2 << 20


class Response:
    def __init__(self, status=200, headers=None, body=b"", pieces=None):
        self.status = status
        self.headers = dict(headers or {})
        self.body = body.encode() if isinstance(body, str) else body
        self.pieces = pieces        # instead of body: (path, offset, bytes)

    def length(self):
        if self.pieces is not None:
            return sum(n for _, _, n in self.pieces)
        return len(self.body)


def xml(root, *inner, status=200, headers=None):
    h = {"Content-Type": "application/xml"}
    h.update(headers or {})
    return Response(status, h, f'{DECL}<{root} xmlns="{NS}">'
                    f'{"".join(inner)}</{root}>')


def tag(name, value):
    return f"<{name}>{escape(str(value))}</{name}>"


def iso(t):
    return datetime.fromtimestamp(t, timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%S.") + f"{int(t * 1000) % 1000:03d}Z"


def error(e, resource, request_id):
    inner = "".join(tag(k, v) for k, v in e.extra.items())
    body = (f"{DECL}<Error>{tag('Code', e.code)}{tag('Message', e.message)}"
            f"{tag('Resource', resource)}{tag('RequestId', request_id)}"
            f"{inner}</Error>")
    headers = {"Content-Type": "application/xml"}
    headers.update(e.headers)
    return Response(e.status, headers, body)


def malformed():
    return Refused(400, "MalformedXML", "The XML you provided was not"
                   " well-formed or did not validate against our published"
                   " schema")


def parse(body):
    """A request's XML, with local names."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise malformed() from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def number(text, low, high, what):
    if not re.match(r"\d{1,10}$", text or "") or not low <= int(text) <= high:
        raise Refused(400, "InvalidArgument", f"{what} must be an integer"
                      f" between {low} and {high}, inclusive")
    return int(text)
