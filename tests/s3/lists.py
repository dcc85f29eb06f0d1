"""The operations that list: objects, versions, uploads, parts."""

import base64
import urllib.parse

from shape import iso, number, tag, xml
from sigv4 import Refused


class Lists:
    """The part of ops.Ops that lists."""

    @staticmethod
    def shower(q):
        """How keys are written: url-encoded the way servers do, or not."""
        if q.get("encoding-type") == "url":
            return lambda key: urllib.parse.quote_plus(key, safe="/-_.*")
        return lambda key: key.decode("utf-8", errors="replace")

    def listing(self, q, b, start, inclusive):
        """Walk keys after start: entries, whether more, the last seen."""
        limit = min(number(q.get("max-keys", "1000"), 0, 1 << 31, "max-keys"),
                    self.settings["page"])
        prefix = q.get("prefix", "").encode("latin-1")
        delimiter = q.get("delimiter", "").encode("latin-1")
        out, last = [], start
        keys = b.order()
        i = b.at(max(start, prefix)) if inclusive else max(
            b.after(start) if start else 0, b.at(prefix))
        while i < len(keys) and keys[i].startswith(prefix):
            key = keys[i]
            if b.keys[key][-1].marker:
                i += 1
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if len(out) >= limit:
                return out, True, last
            if cut >= 0:
                group = key[:cut + len(delimiter)]
                last = group + b"\xff\xff\xff\xff"
                out.append((group, None))
                i = b.after(last)
            else:
                out.append((key, b.keys[key][-1]))
                last = key
                i += 1
        return out, False, last

    @staticmethod
    def contents(out, show, owner=False):
        inner = []
        for key, v in out:
            if v is None:
                continue
            inner.append(
                f"<Contents>{tag('Key', show(key))}"
                f"{tag('LastModified', iso(v.mtime))}"
                + tag("ETag", f'"{v.etag}"') + tag("Size", v.size)
                + tag("StorageClass", v.storage)
                + ("<Owner><ID>1</ID></Owner>" if owner else "")
                + "</Contents>")
        inner += [f"<CommonPrefixes>{tag('Prefix', show(g))}</CommonPrefixes>"
                  for g, v in out if v is None]
        return inner

    def ListObjectsV2(self, req):
        q, show = req.query, self.shower(req.query)
        if self.settings["no_list_v2"]:
            raise Refused(501, "NotImplemented", "list-type is not known")
        token = q.get("continuation-token")
        start = q.get("start-after", "").encode("latin-1")
        if token:
            try:
                start = base64.b64decode(token.removeprefix("1/"),
                                         validate=True)
            except ValueError:
                raise Refused(400, "InvalidArgument", "The continuation token"
                              " provided is incorrect") from None
        with self.store.lock:
            out, more, last = self.listing(q, req.b, start, False)
        inner = [tag("Name", req.bucket),
                 tag("Prefix", show(q.get("prefix", "").encode("latin-1"))),
                 tag("MaxKeys", q.get("max-keys", 1000)),
                 tag("KeyCount", len(out)),
                 tag("IsTruncated", str(more).lower())]
        if token:
            inner.append(tag("ContinuationToken", token))
        if more:
            inner.append(tag("NextContinuationToken",
                             "1/" + base64.b64encode(last).decode()))
        if "delimiter" in q:
            inner.append(tag("Delimiter", q["delimiter"]))
        if "encoding-type" in q:
            inner.append(tag("EncodingType", "url"))
        return xml("ListBucketResult", *inner, *self.contents(
            out, show, q.get("fetch-owner") == "true"))

    def ListObjects(self, req):
        q, show = req.query, self.shower(req.query)
        start = q.get("marker", "").encode("latin-1")
        if q.get("delimiter") and start.endswith(
                q["delimiter"].encode("latin-1")):
            start += b"\xff\xff\xff\xff"
        with self.store.lock:
            out, more, last = self.listing(q, req.b, start, False)
        inner = [tag("Name", req.bucket),
                 tag("Prefix", show(q.get("prefix", "").encode("latin-1"))),
                 tag("Marker", show(q.get("marker", "").encode("latin-1"))),
                 tag("MaxKeys", q.get("max-keys", 1000)),
                 tag("IsTruncated", str(more).lower())]
        if more and "delimiter" in q:
            inner.append(tag("NextMarker", show(out[-1][0])))
        if "encoding-type" in q:
            inner.append(tag("EncodingType", "url"))
        return xml("ListBucketResult", *inner,
                   *self.contents(out, show, True))

    def ListObjectVersions(self, req):
        q, show = req.query, self.shower(req.query)
        limit = min(int(q.get("max-keys") or 1000), self.settings["page"])
        prefix = q.get("prefix", "").encode("latin-1")
        at = (q.get("key-marker", "").encode("latin-1"),
              q.get("version-id-marker", ""))
        with self.store.lock:
            rows = [(key, v, i == 0) for key in req.b.order()
                    if key.startswith(prefix)
                    for i, v in enumerate(reversed(req.b.keys[key]))]
        if at[0]:
            ids = [(key, v.id) for key, v, _ in rows]
            rows = (rows[ids.index(at) + 1:] if at in ids else
                    [r for r in rows if r[0] > at[0]])
        more = len(rows) > limit
        inner = []
        for key, v, latest in rows[:limit]:
            kind = "DeleteMarker" if v.marker else "Version"
            inner.append(
                f"<{kind}>{tag('Key', show(key))}{tag('VersionId', v.id)}"
                f"{tag('IsLatest', str(latest).lower())}"
                f"{tag('LastModified', iso(v.mtime))}"
                + ("" if v.marker else tag("ETag", f'"{v.etag}"')
                   + tag("Size", v.size) + tag("StorageClass", v.storage))
                + f"</{kind}>")
        if more:
            inner.append(tag("NextKeyMarker", show(rows[limit - 1][0])))
            inner.append(tag("NextVersionIdMarker", rows[limit - 1][1].id))
        if "encoding-type" in q:
            inner.append(tag("EncodingType", "url"))
        return xml("ListVersionsResult", tag("Name", req.bucket),
                   tag("IsTruncated", str(more).lower()), *inner)

    def ListParts(self, req):
        limit = min(int(req.query.get("max-parts") or 1000),
                    self.settings["page"])
        marker = int(req.query.get("part-number-marker") or 0)
        with self.store.lock:
            u = self.store.upload(req.b, req.key, req.query["uploadId"])
            todo = sorted(n for n in u.parts if n > marker)
            inner = []
            for n in todo[:limit]:
                p = u.parts[n]
                sums = "".join(tag("Checksum" + k.upper(), v)
                               for k, v in p.checksums.items())
                inner.append(f"<Part>{tag('PartNumber', n)}"
                             f"{tag('LastModified', iso(p.mtime))}"
                             + tag("ETag", f'"{p.etag}"')
                             + f"{tag('Size', p.size)}{sums}</Part>")
        more = len(todo) > limit
        last = todo[:limit][-1] if todo else 0
        return xml("ListPartsResult", tag("Bucket", req.bucket),
                   tag("Key", req.key.decode(errors="replace")),
                   tag("UploadId", u.id), tag("PartNumberMarker", marker),
                   tag("NextPartNumberMarker", last), tag("MaxParts", limit),
                   tag("IsTruncated", str(more).lower()), *inner)

    def ListMultipartUploads(self, req):
        q = req.query
        limit = min(int(q.get("max-uploads") or 1000), self.settings["page"])
        prefix = q.get("prefix", "").encode("latin-1")
        key_marker = q.get("key-marker", "").encode("latin-1")
        id_marker = q.get("upload-id-marker", "")
        show = self.shower(q)
        with self.store.lock:
            if self.settings["exact_upload_prefix"] and prefix:
                todo = [u for u in req.b.uploads.values() if u.key == prefix]
            else:
                todo = [u for u in req.b.uploads.values()
                        if u.key.startswith(prefix)]
        todo.sort(key=lambda u: (u.key, u.started, u.id))
        if key_marker:
            ids = [(u.key, u.id) for u in todo]
            if (key_marker, id_marker) in ids:
                todo = todo[ids.index((key_marker, id_marker)) + 1:]
            else:
                todo = [u for u in todo if u.key > key_marker]
        more = len(todo) > limit
        todo = todo[:limit]
        inner = [f"<Upload>{tag('Key', show(u.key))}{tag('UploadId', u.id)}"
                 f"{tag('Initiated', iso(u.started))}"
                 f"{tag('StorageClass', u.version.storage)}</Upload>"
                 for u in todo]
        if more:
            inner.append(tag("NextKeyMarker", show(todo[-1].key)))
            inner.append(tag("NextUploadIdMarker", todo[-1].id))
        if "encoding-type" in q:
            inner.append(tag("EncodingType", "url"))
        return xml("ListMultipartUploadsResult", tag("Bucket", req.bucket),
                   tag("KeyMarker", show(key_marker)),
                   tag("MaxUploads", limit),
                   tag("IsTruncated", str(more).lower()), *inner)
