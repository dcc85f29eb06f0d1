"""What the test server keeps: buckets, versions of objects, open uploads.

Bytes are files of their own below one folder, and an object is a list of
them (a completed upload copies nothing).  Everything else is in memory, and
in state.pickle between two runs of the server.
"""

import bisect
import hashlib
import os
import pickle
import secrets
import threading
import uuid

import crc
from sigv4 import Refused


class Version:
    """One state of one key."""

    def __init__(self, now):
        self.id = "null"
        self.marker = False
        self.segments = []          # (file name, bytes)
        self.size = 0
        self.etag = ""
        self.mtime = now
        self.headers = {}           # content-type, x-amz-meta-…, as stored
        self.sse = {}               # headers to answer
        self.customer = None        # MD5 of the customer's key, base64
        self.storage = "STANDARD"
        self.tags = {}
        self.mode = self.until = None
        self.hold = False
        self.checksums = {}         # name: base64 text
        self.checksum_type = None
        self.parts = []             # (number, size, {name: base64})


class Upload:
    def __init__(self, key, version, now):
        self.id = secrets.token_urlsafe(18) + "+/="
        self.key = key
        self.version = version      # what will become of it
        self.started = now
        self.parts = {}             # number: Part
        self.algorithm = self.checksum_type = None
        self.sticky = 0             # aborts that only pretend


class Part:
    def __init__(self, name, size, md5, etag, checksums, now):
        self.name, self.size = name, size
        self.md5, self.etag = md5, etag
        self.checksums = checksums
        self.mtime = now


class Bucket:
    def __init__(self, name):
        self.name = name
        self.versioning = False
        self.lock = False
        self.keys = {}              # key (bytes): [Version], the last current
        self.sorted = None          # keys in order, made on demand
        self.uploads = {}

    def order(self):
        if self.sorted is None:
            self.sorted = sorted(self.keys)
        return self.sorted

    def after(self, key):
        return bisect.bisect_right(self.order(), key)

    def at(self, key):
        return bisect.bisect_left(self.order(), key)

    def current(self, key):
        versions = self.keys.get(key)
        return versions[-1] if versions else None

    def find(self, key, vid=None):
        """The version, or Refused as a GET would be."""
        versions = self.keys.get(key)
        if vid is not None:
            for v in versions or ():
                if v.id == vid:
                    return v
            raise Refused(404, "NoSuchVersion",
                          "The specified version does not exist.")
        if not versions or versions[-1].marker:
            e = Refused(404, "NoSuchKey",
                        "The specified key does not exist.")
            if versions:
                e.headers["x-amz-delete-marker"] = "true"
            raise e
        return versions[-1]


class Store:
    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.RLock()
        self.buckets = {}
        os.makedirs(os.path.join(folder, "data"), exist_ok=True)
        self.state = os.path.join(folder, "state.pickle")
        if os.path.exists(self.state):
            with open(self.state, "rb") as f:
                self.buckets = pickle.load(f)

    def save(self):
        with self.lock, open(self.state + ".new", "wb") as f:
            pickle.dump(self.buckets, f)
        os.rename(self.state + ".new", self.state)

    def path(self, name):
        return os.path.join(self.folder, "data", name)

    def new_file(self):
        name = uuid.uuid4().hex
        return name, open(self.path(name), "xb", buffering=0)

    def forget(self, names):
        for name in names:
            try:
                os.unlink(self.path(name))
            except FileNotFoundError:
                pass

    def bucket(self, name):
        b = self.buckets.get(name)
        if b is None:
            raise Refused(404, "NoSuchBucket",
                          "The specified bucket does not exist",
                          BucketName=name)
        return b

    def place(self, bucket, key, version):
        """Make version the current one of key."""
        with self.lock:
            versions = bucket.keys.get(key)
            if versions is None:
                versions = bucket.keys[key] = []
                bucket.sorted = None
            if bucket.versioning:
                version.id = uuid.uuid4().hex
            else:
                for v in versions:
                    self.forget(n for n, _ in v.segments)
                versions.clear()
            versions.append(version)

    def remove(self, bucket, key, vid, bypass, now):
        """DELETE; gives the headers of the answer."""
        with self.lock:
            versions = bucket.keys.get(key, [])
            if vid is None and bucket.versioning:
                marker = Version(now)
                marker.marker = True
                self.place(bucket, key, marker)
                return {"x-amz-delete-marker": "true",
                        "x-amz-version-id": marker.id}
            answer = {}
            for v in list(versions):
                if vid is not None and v.id != vid:
                    continue
                self.guard(v, bypass, now)
                versions.remove(v)
                self.forget(n for n, _ in v.segments)
                if vid is not None:
                    answer["x-amz-version-id"] = vid
                if v.marker:
                    answer["x-amz-delete-marker"] = "true"
            if not versions and key in bucket.keys:
                del bucket.keys[key]
                bucket.sorted = None
            return answer

    @staticmethod
    def guard(v, bypass, now):
        retained = v.mode and v.until > now
        if retained and v.mode == "GOVERNANCE" and bypass:
            retained = False
        if v.hold or retained:
            raise Refused(403, "AccessDenied", "Access Denied because object"
                          " protected by object lock.")

    def upload(self, bucket, key, uid):
        u = bucket.uploads.get(uid)
        if u is None or u.key != key:
            raise Refused(404, "NoSuchUpload", "The specified upload does not"
                          " exist. The upload ID may be invalid, or the upload"
                          " may have been aborted or completed.", UploadId=uid)
        return u

    def add_part(self, bucket, key, uid, number, part):
        with self.lock:
            u = self.upload(bucket, key, uid)
            old = u.parts.get(number)
            u.parts[number] = part
            if old:
                self.forget([old.name])

    def abort(self, bucket, key, uid):
        with self.lock:
            u = self.upload(bucket, key, uid)
            if u.sticky > 0:
                u.sticky -= 1
                return
            del bucket.uploads[uid]
            self.forget(p.name for p in u.parts.values())

    def complete(self, bucket, key, uid, listed, rules, now):
        """listed: [(number, etag, {name: base64})]; gives the version."""
        with self.lock:
            u = self.upload(bucket, key, uid)
            if not listed:
                raise Refused(400, "MalformedXML", "The XML you provided was"
                              " not well-formed")
            if len(listed) > rules["max_parts"]:
                raise Refused(400, "InvalidArgument", "Too many parts")
            numbers = [n for n, _, _ in listed]
            if numbers != sorted(set(numbers)):
                raise Refused(400, "InvalidPartOrder", "The list of parts was"
                              " not in ascending order.")
            parts = []
            for number, etag, sums in listed:
                p = u.parts.get(number)
                if p is None or etag != p.etag:
                    raise Refused(400, "InvalidPart", "One or more of the"
                                  " specified parts could not be found.",
                                  PartNumber=str(number), UploadId=uid)
                for name, value in sums.items():
                    if p.checksums.get(name) != value:
                        raise Refused(400, "InvalidPart", f"The {name} of part"
                                      f" {number} differs")
                if (u.algorithm and u.checksum_type == "COMPOSITE"
                        and u.algorithm not in sums):
                    raise Refused(400, "InvalidRequest", "The upload was"
                                  f" created using a {u.algorithm} checksum:"
                                  " the complete request must include it"
                                  " for each part")
                parts.append(p)
            if u.algorithm and numbers != list(range(1, len(numbers) + 1)):
                raise Refused(400, "InvalidPartOrder", "With checksums the"
                              " parts must be consecutive from 1")
            for number, p in zip(numbers[:-1], parts[:-1]):
                if p.size < rules["min_part"]:
                    raise Refused(400, "EntityTooSmall", "Your proposed upload"
                                  " is smaller than the minimum allowed size",
                                  ProposedSize=str(p.size),
                                  MinSizeAllowed=str(rules["min_part"]),
                                  PartNumber=str(number), ETag=p.etag)
            if rules["equal_parts"] and (
                    any(p.size != parts[0].size for p in parts[:-1])
                    or parts[-1].size > parts[0].size):
                raise Refused(400, "InvalidPart", "All non-trailing parts must"
                              " have the same length.")
            v = u.version
            v.segments = [(p.name, p.size) for p in parts]
            v.size = sum(p.size for p in parts)
            if v.size > rules["max_object"]:
                raise Refused(400, "EntityTooLarge", "Your proposed upload"
                              " exceeds the maximum allowed object size.")
            v.parts = [(n, p.size, p.checksums)
                       for n, p in zip(numbers, parts)]
            joined = hashlib.md5(b"".join(p.md5 for p in parts)).hexdigest()
            v.etag = f"{joined}-{len(parts)}"
            if v.customer or v.sse.get("x-amz-server-side-encryption",
                                       "").startswith("aws:kms"):
                v.etag = f"{secrets.token_hex(16)}-{len(parts)}"
            if u.algorithm:
                self.join_checksums(u, v, parts)
            v.mtime = now
            return u, v

    @staticmethod
    def join_checksums(u, v, parts):
        name, kind = u.algorithm, u.checksum_type
        raw = [crc.base64.b64decode(p.checksums[name]) for p in parts]
        v.checksum_type = kind
        if kind == "COMPOSITE":
            v.checksums[name] = crc.composite(name, raw)
        else:
            v.checksums[name] = crc.text(crc.combine(
                name, list(zip(raw, (p.size for p in parts)))))

    def finish(self, bucket, u, v):
        """The complete() that was accepted becomes the object."""
        with self.lock:
            bucket.uploads.pop(u.id, None)
            used = {name for name, _ in v.segments}
            self.forget(p.name for p in u.parts.values()
                        if p.name not in used)
            self.place(bucket, u.key, v)

    def pieces(self, v, start, length):
        """(path, offset, bytes) that hold length bytes from start."""
        out, at = [], 0
        for name, size in v.segments:
            lo, hi = max(start, at), min(start + length, at + size)
            if lo < hi:
                out.append((self.path(name), lo - at, hi - lo))
            at += size
        return out


def flip_file(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes((byte[0] ^ 0x20,)))
