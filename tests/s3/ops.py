"""The operations of S3, each from a request to a response."""

import base64
import email.utils
import hashlib
import re
import secrets
import urllib.parse
from datetime import datetime
from xml.sax.saxutils import escape

import crc
import lists
from shape import (KEPT, SSE, SSEC, XML_MAX, Response, iso, malformed, number,
                   parse, tag, xml)
from sigv4 import Refused, encode
from store import Bucket, Part, Upload, Version


class Ops(lists.Lists):
    """req: see server.Request.  now(): the server's clock."""

    def __init__(self, store, settings, now):
        self.store, self.settings, self.now = store, settings, now

    # Which operation a request is, by the names of the published API.
    def name(self, req):
        q, m = req.query, req.method
        if req.bucket == "":
            return "ListBuckets" if m == "GET" else "Unknown"
        if req.key == b"":
            for word, ops in (
                    ("uploads", {"GET": "ListMultipartUploads"}),
                    ("location", {"GET": "GetBucketLocation"}),
                    ("versions", {"GET": "ListObjectVersions"}),
                    ("versioning", {"GET": "GetBucketVersioning",
                                    "PUT": "PutBucketVersioning"}),
                    ("object-lock", {"GET": "GetObjectLockConfiguration"}),
                    ("delete", {"POST": "DeleteObjects"})):
                if word in q:
                    return ops.get(m, "Unknown")
            if m == "GET":
                return ("ListObjectsV2" if q.get("list-type") == "2"
                        else "ListObjects")
            return {"HEAD": "HeadBucket", "PUT": "CreateBucket",
                    "DELETE": "DeleteBucket"}.get(m, "Unknown")
        if "uploads" in q:
            return "CreateMultipartUpload" if m == "POST" else "Unknown"
        if "uploadId" in q:
            return {"PUT": "UploadPart", "POST": "CompleteMultipartUpload",
                    "DELETE": "AbortMultipartUpload",
                    "GET": "ListParts"}.get(m, "Unknown")
        for word, name in (("tagging", "ObjectTagging"),
                           ("retention", "ObjectRetention"),
                           ("legal-hold", "ObjectLegalHold")):
            if word in q:
                return {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}.get(
                    m, "Unknown") + name
        if m == "PUT":
            return ("CopyObject" if "x-amz-copy-source" in req.headers
                    else "PutObject")
        return {"GET": "GetObject", "HEAD": "HeadObject",
                "DELETE": "DeleteObject"}.get(m, "Unknown")

    def run(self, req):
        function = getattr(self, req.op, None)
        if function is None or req.op[0].islower():
            raise Refused(501, "NotImplemented", "A header or query you"
                          " provided implies functionality that is not"
                          " implemented")
        if len(req.key) > 1024:
            raise Refused(400, "KeyTooLongError", "Your key is too long")
        if req.bucket and req.op != "CreateBucket":
            req.b = self.store.bucket(req.bucket)
        return function(req)

    # Buckets

    def ListBuckets(self, req):
        inner = "".join(
            f"<Bucket>{tag('Name', b)}{tag('CreationDate', iso(0))}</Bucket>"
            for b in sorted(self.store.buckets))
        return xml("ListAllMyBucketsResult", f"<Buckets>{inner}</Buckets>")

    def HeadBucket(self, req):
        return Response(200, {"x-amz-bucket-region": self.settings["region"]})

    def CreateBucket(self, req):
        req.drain()
        with self.store.lock:
            if req.bucket in self.store.buckets:
                raise Refused(409, "BucketAlreadyOwnedByYou",
                              "The bucket exists")
            b = self.store.buckets[req.bucket] = Bucket(req.bucket)
            if req.headers.get("x-amz-bucket-object-lock-enabled") == "true":
                b.lock = b.versioning = True
        return Response(200, {"Location": "/" + req.bucket})

    def DeleteBucket(self, req):
        with self.store.lock:
            if req.b.keys:
                raise Refused(409, "BucketNotEmpty", "The bucket you tried to"
                              " delete is not empty")
            del self.store.buckets[req.bucket]
        return Response(204)

    def GetBucketLocation(self, req):
        region = self.settings["region"]
        return xml("LocationConstraint",
                   "" if region == "us-east-1" else escape(region))

    def GetBucketVersioning(self, req):
        return xml("VersioningConfiguration",
                   tag("Status", "Enabled") if req.b.versioning else "")

    def PutBucketVersioning(self, req):
        root = parse(req.read(XML_MAX))
        req.b.versioning = root.findtext("Status") == "Enabled"
        return Response()

    def GetObjectLockConfiguration(self, req):
        if not req.b.lock:
            raise Refused(404, "ObjectLockConfigurationNotFoundError",
                          "Object Lock configuration does not exist for this"
                          " bucket")
        return xml("ObjectLockConfiguration",
                   tag("ObjectLockEnabled", "Enabled"))

    # Storing

    def attributes(self, req):
        """A Version with what PutObject and Create say about it."""
        v, h = Version(self.now()), req.headers
        meta = 0
        for name, value in h.items():
            if name in KEPT:
                v.headers[name] = value
            elif name.startswith("x-amz-meta-"):
                v.headers[name] = value
                meta += len(name) - 11 + len(value)
        if meta > 2048:
            raise Refused(400, "MetadataTooLarge", "Your metadata headers"
                          " exceed the maximum allowed metadata size")
        v.headers.setdefault("content-type", "binary/octet-stream")
        v.storage = h.get("x-amz-storage-class", "STANDARD")
        if v.storage not in self.settings["classes"]:
            raise Refused(400, "InvalidStorageClass", "The storage class you"
                          " specified is not valid")
        self.tags_of(v, h)
        self.sse_of(req, v)
        self.lock_of(req, v)
        return v

    @staticmethod
    def tags_of(v, h):
        for item in filter(None, h.get("x-amz-tagging", "").split("&")):
            name, _, value = item.partition("=")
            name = urllib.parse.unquote_plus(name)
            if name in v.tags or not 1 <= len(name) <= 128:
                raise Refused(400, "InvalidTag", "The tag is invalid")
            v.tags[name] = urllib.parse.unquote_plus(value)
            if len(v.tags[name]) > 256 or len(v.tags) > 10:
                raise Refused(400, "InvalidTag", "The tag is invalid")

    @staticmethod
    def sse_of(req, v):
        kind = req.headers.get(SSE)
        if kind is not None:
            if kind not in ("AES256", "aws:kms", "aws:kms:dsse"):
                raise Refused(400, "InvalidArgument", "The encryption method"
                              " specified is not supported")
            v.sse[SSE] = kind
            for name in ("-aws-kms-key-id", "-bucket-key-enabled"):
                if SSE + name in req.headers:
                    v.sse[SSE + name] = req.headers[SSE + name]
            if kind != "AES256":
                v.sse.setdefault(SSE + "-aws-kms-key-id",
                                 "arn:aws:kms:us-east-1:1:key/default")
        v.customer = customer(req)
        if v.customer:
            v.sse.update({SSEC + "algorithm": "AES256",
                          SSEC + "key-md5": v.customer})

    def lock_of(self, req, v):
        h = req.headers
        v.mode = h.get("x-amz-object-lock-mode")
        until = h.get("x-amz-object-lock-retain-until-date")
        hold = h.get("x-amz-object-lock-legal-hold")
        if not (v.mode or until or hold):
            return
        if not req.b.lock:
            raise Refused(400, "InvalidRequest",
                          "Bucket is missing Object Lock Configuration")
        if (v.mode is None) != (until is None):
            raise Refused(400, "InvalidArgument",
                          "x-amz-object-lock-retain-until-date and"
                          " x-amz-object-lock-mode must both be supplied")
        if v.mode not in (None, "GOVERNANCE", "COMPLIANCE"):
            raise Refused(400, "InvalidArgument", "Unknown wormMode directive")
        if until:
            v.until = stamp(until)
            if v.until <= self.now():
                raise Refused(400, "InvalidArgument", "The retain until date"
                              " must be in the future!")
        v.hold = hold == "ON"

    def conditions(self, req):
        """If-(None-)Match of a write; the store's lock is held."""
        now = req.b.current(req.key)
        if now is not None and now.marker:
            now = None
        if self.settings["no_if_none_match"]:
            return
        absent = req.headers.get("if-none-match")
        same = req.headers.get("if-match")
        if absent is not None and absent != "*":
            raise Refused(501, "NotImplemented", "If-None-Match takes *")
        failed = Refused(412, "PreconditionFailed", "At least one of the"
                         " pre-conditions you specified did not hold")
        if absent and now is not None:
            raise failed
        if same is not None:
            if now is None:
                raise Refused(404, "NoSuchKey",
                              "The specified key does not exist.")
            if same.strip('"') != now.etag:
                raise failed

    def take_body(self, req, name, named=None):
        """Body to a file, every digest that was announced checked.

        Gives (size, md5, {checksum: base64}); the file is removed when it is
        refused."""
        h = req.headers
        sums = {n[15:]: v for n, v in h.items()
                if n.startswith("x-amz-checksum-")
                and n[15:] in crc.NAMES}
        other = [n for n in h if n.startswith(("x-amz-checksum-",
                                               "x-amz-sdk-checksum-"))]
        if other and self.settings["no_checksums"]:
            raise Refused(self.settings["no_checksums"], "NotImplemented",
                          "A header you provided implies functionality that"
                          f" is not implemented: {other[0]}")
        if len(sums) > 1:
            raise Refused(400, "InvalidRequest", "Expecting a single"
                          " x-amz-checksum- header. Multiple checksum Types"
                          " are not allowed.")
        if named and named not in sums:
            raise Refused(400, "InvalidRequest", f"Checksum Type mismatch"
                          f" occurred, expected checksum Type: {named}")
        md5 = None if self.settings["no_content_md5"] else \
            h.get("content-md5")
        if md5 is not None and not re.match(r"[A-Za-z0-9+/]{22}==$", md5):
            raise Refused(400, "InvalidDigest",
                          "The Content-MD5 you specified is not valid.")
        digests = {"md5": hashlib.md5()}
        if req.payload != "UNSIGNED-PAYLOAD":
            digests["payload"] = hashlib.sha256()
        for word in sums:
            digests[word] = crc.new(word)
        file_name, f = name
        try:
            with f:
                size = req.receive(f, digests.values())
            got = {n: d.digest() for n, d in digests.items()}
            if "payload" in got and got["payload"].hex() != req.payload:
                raise Refused(400, "XAmzContentSHA256Mismatch", "The provided"
                              " 'x-amz-content-sha256' header does not match"
                              " what was computed.")
            if md5 is not None and crc.text(got["md5"]) != md5:
                raise Refused(400, "BadDigest", "The Content-MD5 you specified"
                              " did not match what we received.",
                              CalculatedDigest=crc.text(got["md5"]))
            for word, value in sums.items():
                if crc.text(got[word]) != value:
                    raise Refused(400, "BadDigest", f"The {word} you specified"
                                  " did not match the calculated checksum.")
            req.rot(self.store.path(file_name))
            return size, got["md5"], sums
        except BaseException:
            self.store.forget([file_name])
            raise

    def need_digest(self, req, v):
        if (v.mode or v.hold) and "content-md5" not in req.headers and not any(
                n.startswith("x-amz-checksum-") for n in req.headers):
            raise Refused(400, "InvalidRequest", "Content-MD5 OR"
                          " x-amz-checksum- HTTP header is required for Put"
                          " Part requests with Object Lock parameters")

    def PutObject(self, req):
        v = self.attributes(req)
        self.need_digest(req, v)
        with self.store.lock:
            self.conditions(req)
        name, f = self.store.new_file()
        v.size, md5, v.checksums = self.take_body(req, (name, f))
        v.checksum_type = "FULL_OBJECT" if v.checksums else None
        v.segments = [(name, v.size)] if v.size else []
        v.etag = (secrets.token_hex(16) if v.customer or "kms" in
                  v.sse.get(SSE, "") else md5.hex())
        with self.store.lock:
            try:
                self.conditions(req)
            except Refused:
                self.store.forget([name])
                raise
            v.mtime = self.now()
            self.store.place(req.b, req.key, v)
        return Response(200, self.written(req, v))

    def written(self, req, v):
        h = {"ETag": f'"{v.etag}"', **v.sse}
        if req.b.versioning:
            h["x-amz-version-id"] = v.id
        for name, value in v.checksums.items():
            h["x-amz-checksum-" + name] = value
            h["x-amz-checksum-type"] = v.checksum_type
        return h

    def CopyObject(self, req):
        source = urllib.parse.unquote_to_bytes(
            req.headers["x-amz-copy-source"].lstrip("/"))
        source, _, vid = source.partition(b"?versionId=")
        bucket, _, key = source.partition(b"/")
        with self.store.lock:
            old = self.store.bucket(bucket.decode()).find(
                key, vid.decode() or None)
            v = self.attributes(req)
            if req.headers.get("x-amz-metadata-directive") != "REPLACE":
                if (source, req.b.name) == (bucket + b"/" + req.key,
                                            bucket.decode()):
                    raise Refused(400, "InvalidRequest", "This copy request is"
                                  " illegal because it is trying to copy an"
                                  " object to itself without changing it")
                v.headers = dict(old.headers)
            if req.headers.get("x-amz-tagging-directive") != "REPLACE":
                v.tags = dict(old.tags)
            self.conditions(req)
            h = hashlib.md5()
            name, f = self.store.new_file()
            with f:
                for path, offset, size in self.store.pieces(old, 0, old.size):
                    with open(path, "rb") as g:
                        g.seek(offset)
                        while size > 0:
                            block = g.read(min(size, 1 << 20))
                            f.write(block)
                            h.update(block)
                            size -= len(block)
            v.size, v.segments = old.size, [(name, old.size)]
            v.etag, v.mtime = h.hexdigest(), self.now()
            self.store.place(req.b, req.key, v)
        return xml("CopyObjectResult", tag("LastModified", iso(v.mtime)),
                   tag("ETag", f'"{v.etag}"'))

    # Multipart

    def CreateMultipartUpload(self, req):
        v = self.attributes(req)
        req.drain()
        u = Upload(req.key, v, self.now())
        name = req.headers.get("x-amz-checksum-algorithm")
        if self.settings["mute_checksums"]:
            name = None
        if name is not None:
            if self.settings["no_checksums"]:
                raise Refused(self.settings["no_checksums"], "NotImplemented",
                              "A header you provided implies functionality"
                              " that is not implemented:"
                              " x-amz-checksum-algorithm")
            name = name.lower()
            kind = req.headers.get("x-amz-checksum-type") or (
                "FULL_OBJECT" if name in crc.FULL_ONLY else "COMPOSITE")
            if name not in crc.NAMES or (
                    kind == "COMPOSITE" and name in crc.FULL_ONLY) or (
                    kind == "FULL_OBJECT" and name in crc.COMPOSITE_ONLY):
                raise Refused(400, "InvalidRequest", f"The {kind} checksum"
                              f" type cannot be used with the {name} checksum"
                              " algorithm.")
            u.algorithm, u.checksum_type = name, kind
        with self.store.lock:
            req.b.uploads[u.id] = u
        h = dict(v.sse)
        if name:
            h["x-amz-checksum-algorithm"] = name.upper()
            h["x-amz-checksum-type"] = u.checksum_type
        return xml("InitiateMultipartUploadResult", tag("Bucket", req.bucket),
                   tag("Key", req.key.decode(errors="replace")),
                   tag("UploadId", u.id), headers=h)

    def UploadPart(self, req):
        n = number(req.query.get("partNumber"), 1, 10000, "Part number")
        if n > self.settings["max_parts"]:
            raise Refused(400, "InvalidArgument", "Part number must be an"
                          " integer between 1 and"
                          f" {self.settings['max_parts']}, inclusive")
        with self.store.lock:
            u = self.store.upload(req.b, req.key, req.query["uploadId"])
        if u.version.customer != customer(req):
            raise Refused(400, "InvalidRequest", "The multipart upload"
                          " initiate requested encryption. Subsequent part"
                          " requests must include the appropriate encryption"
                          " parameters.")
        self.need_digest(req, u.version)
        if req.length > 5 << 30:
            raise Refused(400, "EntityTooLarge", "Your proposed upload exceeds"
                          " the maximum allowed size")
        name, f = self.store.new_file()
        size, md5, sums = self.take_body(req, (name, f), u.algorithm)
        etag = md5.hex()
        if u.version.customer or "kms" in u.version.sse.get(SSE, ""):
            etag = secrets.token_hex(16)
        etag = req.other_etag(etag)
        try:
            self.store.add_part(req.b, req.key, u.id, n, Part(
                name, size, md5, etag, sums, self.now()))
        except Refused:
            self.store.forget([name])
            raise
        h = {"ETag": f'"{etag}"', **u.version.sse}
        h.update({"x-amz-checksum-" + k: v for k, v in sums.items()})
        return Response(200, h)

    def CompleteMultipartUpload(self, req):
        root = parse(req.read(XML_MAX))
        if root.tag != "CompleteMultipartUpload":
            raise malformed()
        listed = []
        for part in root.findall("Part"):
            sums = {}
            for child in part:
                if child.tag.startswith("Checksum"):
                    sums[child.tag[8:].lower()] = child.text
            etag = (part.findtext("ETag") or "").strip().removeprefix("W/")
            try:
                listed.append((int(part.findtext("PartNumber") or ""),
                               etag.strip('"'), sums))
            except ValueError:
                raise malformed() from None
        with self.store.lock:
            uid = req.query["uploadId"]
            self.store.upload(req.b, req.key, uid)
            self.conditions(req)
            u, v = self.store.complete(req.b, req.key, uid, listed,
                                       self.settings, self.now())
            whole = req.headers.get("x-amz-mp-object-size")
            if whole is not None and whole != str(v.size):
                raise Refused(400, "InvalidRequest", "The provided"
                              " x-amz-mp-object-size differs from the size of"
                              " the object")
            for name in crc.NAMES:
                want = req.headers.get("x-amz-checksum-" + name)
                if want is not None and v.checksums.get(name) != want:
                    raise Refused(400, "BadDigest", f"The {name} you specified"
                                  " did not match the calculated checksum.")
            self.store.finish(req.b, u, v)
        inner = [tag("Location", f"http://{req.host}/{req.bucket}/"
                                 + encode(req.key, True)),
                 tag("Bucket", req.bucket),
                 tag("Key", req.key.decode(errors="replace")),
                 tag("ETag", f'"{v.etag}"')]
        for name, value in v.checksums.items():
            inner.append(tag("Checksum" + name.upper(), value))
            inner.append(tag("ChecksumType", v.checksum_type))
        h = dict(v.sse)
        if req.b.versioning:
            h["x-amz-version-id"] = v.id
        return xml("CompleteMultipartUploadResult", *inner, headers=h)

    def AbortMultipartUpload(self, req):
        self.store.abort(req.b, req.key, req.query["uploadId"])
        return Response(204)

    # Reading

    def stored(self, req):
        v = req.b.find(req.key, req.query.get("versionId"))
        if v.marker:
            e = Refused(405, "MethodNotAllowed", "The specified method is not"
                        " allowed against this resource.")
            e.headers["x-amz-delete-marker"] = "true"
            raise e
        if v.customer != customer(req):
            if v.customer and SSEC + "key" not in req.headers:
                raise Refused(400, "InvalidRequest", "The object was stored"
                              " using a form of Server Side Encryption. The"
                              " correct parameters must be provided to"
                              " retrieve the object.")
            raise Refused(403 if v.customer else 400, "AccessDenied"
                          if v.customer else "InvalidRequest",
                          "Access Denied")
        quoted = f'"{v.etag}"'
        h = req.headers
        if "if-match" in h and not self.settings["no_if_match"] and \
                h["if-match"] not in (quoted, "*", v.etag):
            raise Refused(412, "PreconditionFailed", "At least one of the"
                          " pre-conditions you specified did not hold",
                          Condition="If-Match")
        if h.get("if-none-match") in (quoted, "*", v.etag):
            raise Refused(304, "NotModified", "Not Modified")
        return v

    def describe(self, req, v):
        h = {"ETag": f'"{v.etag}"', "Accept-Ranges": "bytes",
             "Last-Modified": email.utils.formatdate(v.mtime, usegmt=True),
             **v.headers, **v.sse}
        if v.storage != "STANDARD":
            h["x-amz-storage-class"] = v.storage
        if req.b.versioning:
            h["x-amz-version-id"] = v.id
        if v.tags:
            h["x-amz-tagging-count"] = str(len(v.tags))
        if v.mode:
            h["x-amz-object-lock-mode"] = v.mode
            h["x-amz-object-lock-retain-until-date"] = iso(v.until)
        if v.hold:
            h["x-amz-object-lock-legal-hold"] = "ON"
        return h

    def part_of(self, req, v):
        """(start, size, headers) of ?partNumber=N."""
        n = number(req.query["partNumber"], 1, 10000, "Part number")
        sizes = v.parts or [(1, v.size, v.checksums)]
        if n > len(sizes):
            raise Refused(416, "InvalidPartNumber",
                          "The requested partnumber is not satisfiable")
        start = sum(size for _, size, _ in sizes[:n - 1])
        h = {"x-amz-mp-parts-count": str(len(v.parts))} if v.parts else {}
        return start, sizes[n - 1][1], h

    def GetObject(self, req):
        with self.store.lock:
            v = self.stored(req)
        if v.storage in ("GLACIER", "DEEP_ARCHIVE"):
            raise Refused(403, "InvalidObjectState", "The operation is not"
                          " valid for the object's storage class")
        h = self.describe(req, v)
        start, length, status = 0, v.size, 200
        wanted = req.headers.get("range")
        if "partNumber" in req.query:
            start, length, more = self.part_of(req, v)
            h.update(more)
            status = 206
        elif wanted is not None and not self.settings["no_range"]:
            span = self.span(wanted, v)
            if span is not None:
                start, length = span
                status = 206
        if status == 206:
            h["Content-Range"] = f"bytes {start}-{start + length - 1}/{v.size}"
        elif req.headers.get("x-amz-checksum-mode") == "ENABLED":
            self.show_checksums(h, v)
        return Response(status, h,
                        pieces=self.store.pieces(v, start, length))

    @staticmethod
    def show_checksums(h, v):
        for name, value in v.checksums.items():
            h["x-amz-checksum-" + name] = value
            h["x-amz-checksum-type"] = v.checksum_type

    @staticmethod
    def span(text, v):
        m = re.match(r"bytes=(\d*)-(\d*)$", text)
        if not m or m.groups() == ("", ""):
            return None
        first, last = m.groups()
        if first == "":
            start, end = max(0, v.size - int(last)), v.size
        else:
            start = int(first)
            end = min(v.size, int(last) + 1 if last else v.size)
        if start >= end:
            e = Refused(416, "InvalidRange",
                        "The requested range is not satisfiable",
                        ActualObjectSize=str(v.size), RangeRequested=text)
            e.headers["Content-Range"] = f"bytes */{v.size}"
            raise e
        return start, end - start

    def HeadObject(self, req):
        with self.store.lock:
            v = self.stored(req)
        h = self.describe(req, v)
        h["Content-Length"] = str(v.size)
        if "partNumber" in req.query:
            start, length, more = self.part_of(req, v)
            h.update(more)
            h["Content-Length"] = str(length)
            h["Content-Range"] = f"bytes {start}-{start + length - 1}/{v.size}"
            return Response(206, h)
        if req.headers.get("x-amz-checksum-mode") == "ENABLED":
            self.show_checksums(h, v)
        return Response(200, h)

    # Deleting, and what is changed later

    def DeleteObject(self, req):
        bypass = req.headers.get("x-amz-bypass-governance-retention") == "true"
        return Response(204, self.store.remove(
            req.b, req.key, req.query.get("versionId"), bypass, self.now()))

    def DeleteObjects(self, req):
        body = req.read(XML_MAX)
        md5 = req.headers.get("content-md5")
        sums = {n[15:]: v for n, v in req.headers.items()
                if n.startswith("x-amz-checksum-") and n[15:] in crc.NAMES}
        if md5 is None and not sums:
            raise Refused(400, "MissingContentMD5",
                          "Missing required header for this request:"
                          " Content-MD5")
        if md5 is not None and crc.text(hashlib.md5(body).digest()) != md5:
            raise Refused(400, "BadDigest", "The Content-MD5 you specified did"
                          " not match what we received.")
        root = parse(body)
        objects = root.findall("Object")
        if root.tag != "Delete" or not 1 <= len(objects) <= 1000:
            raise malformed()
        quiet = root.findtext("Quiet") == "true"
        bypass = req.headers.get("x-amz-bypass-governance-retention") == "true"
        inner = []
        for o in objects:
            key = (o.findtext("Key") or "").encode()
            vid = o.findtext("VersionId")
            name = tag("Key", key.decode()) + (
                tag("VersionId", vid) if vid else "")
            try:
                self.store.remove(req.b, key, vid, bypass, self.now())
                if not quiet:
                    inner.append(f"<Deleted>{name}</Deleted>")
            except Refused as e:
                inner.append(f"<Error>{name}{tag('Code', e.code)}"
                             f"{tag('Message', e.message)}</Error>")
        return xml("DeleteResult", *inner)

    def GetObjectTagging(self, req):
        v = req.b.find(req.key, req.query.get("versionId"))
        return xml("Tagging", "<TagSet>", *(
            f"<Tag>{tag('Key', k)}{tag('Value', w)}</Tag>"
            for k, w in v.tags.items()), "</TagSet>")

    def PutObjectTagging(self, req):
        root = parse(req.read(XML_MAX))
        v = req.b.find(req.key, req.query.get("versionId"))
        v.tags = {t.findtext("Key"): t.findtext("Value") or ""
                  for t in root.iter("Tag")}
        return Response()

    def DeleteObjectTagging(self, req):
        req.b.find(req.key, req.query.get("versionId")).tags = {}
        return Response(204)

    def GetObjectRetention(self, req):
        v = req.b.find(req.key, req.query.get("versionId"))
        if not v.mode:
            raise Refused(404, "NoSuchObjectLockConfiguration", "The specified"
                          " object does not have a ObjectLock configuration")
        return xml("Retention", tag("Mode", v.mode),
                   tag("RetainUntilDate", iso(v.until)))

    def PutObjectRetention(self, req):
        root = parse(req.read(XML_MAX))
        v = req.b.find(req.key, req.query.get("versionId"))
        until = stamp(root.findtext("RetainUntilDate") or "")
        bypass = req.headers.get("x-amz-bypass-governance-retention") == "true"
        if v.mode and until < v.until and not (
                bypass and v.mode == "GOVERNANCE"):
            raise Refused(403, "AccessDenied", "Access Denied because object"
                          " protected by object lock.")
        v.mode, v.until = root.findtext("Mode"), until
        return Response()

    def GetObjectLegalHold(self, req):
        v = req.b.find(req.key, req.query.get("versionId"))
        return xml("LegalHold", tag("Status", "ON" if v.hold else "OFF"))

    def PutObjectLegalHold(self, req):
        root = parse(req.read(XML_MAX))
        if not req.b.lock:
            raise Refused(400, "InvalidRequest",
                          "Bucket is missing Object Lock Configuration")
        req.b.find(req.key, req.query.get("versionId")).hold = (
            root.findtext("Status") == "ON")
        return Response()


def stamp(text):
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise Refused(400, "InvalidArgument", "The date is malformed") \
            from None


def customer(req):
    """The MD5 of the customer's key, checked; None without one."""
    h = req.headers
    names = [SSEC + n for n in ("algorithm", "key", "key-md5")]
    if not any(n in h for n in names):
        return None
    if not req.tls:
        raise Refused(400, "InvalidRequest", "Requests specifying Server Side"
                      " Encryption with Customer provided keys must be made"
                      " over a secure connection.")
    bad = Refused(400, "InvalidArgument", "Requests specifying Server Side"
                  " Encryption with Customer provided keys must provide an"
                  " appropriate secret key.")
    try:
        key = base64.b64decode(h.get(SSEC + "key", ""), validate=True)
    except ValueError:
        raise bad from None
    if len(key) != 32 or h.get(SSEC + "algorithm") != "AES256":
        raise bad
    md5 = crc.text(hashlib.md5(key).digest())
    if h.get(SSEC + "key-md5") != md5:
        raise Refused(400, "InvalidArgument", "The calculated MD5 hash of the"
                      " key did not match the hash that was provided.")
    return md5
