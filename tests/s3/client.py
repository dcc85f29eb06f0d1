#!/usr/bin/env python3
"""client WORD...: a few requests to any S3 service, for tests.

AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and
AWS_CA_BUNDLE say where and who.  It signs with sigv4.py, which is nothing of
what is tested.

make BUCKET [lock]            create a bucket
put BUCKET KEY FILE [H=V...]  store a file
get BUCKET KEY                its bytes on standard output
head BUCKET KEY               its headers
ls BUCKET [PREFIX]            sizes and keys
uploads BUCKET [PREFIX]       open uploads: id and key
rm BUCKET KEY [VERSION]
clear BUCKET [PREFIX]         abort and delete all of it
create BUCKET KEY             begin an upload: its id
part BUCKET KEY ID N FILE     the part's ETag
complete BUCKET KEY ID ETAG...
"""

import hashlib
import http.client
import os
import shutil
import ssl
import sys
import time
import urllib.parse

import shape
import sigv4


class Failed(Exception):
    pass


def connect(url):
    if url.scheme == "https":
        context = ssl.create_default_context(
            cafile=os.environ.get("AWS_CA_BUNDLE"))
        return http.client.HTTPSConnection(url.netloc, context=context)
    return http.client.HTTPConnection(url.netloc)


def request(method, bucket, key="", query=(), headers=(), body=b""):
    """body: bytes, or a path."""
    env = os.environ
    url = urllib.parse.urlsplit(env["AWS_ENDPOINT_URL"])
    path = f"/{bucket}/{key}" if key else f"/{bucket}"
    path = path.encode("utf-8", "surrogateescape")
    pairs = [(n.encode(), str(v).encode("utf-8", "surrogateescape"))
             for n, v in query]
    if isinstance(body, str):
        digest, size = hashlib.sha256(), os.path.getsize(body)
        with open(body, "rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
        payload, data = digest.hexdigest(), open(body, "rb")
    else:
        payload, data, size = hashlib.sha256(body).hexdigest(), body, len(body)
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    signed = sorted([("host", url.netloc), ("x-amz-date", when),
                     ("x-amz-content-sha256", payload), *headers])
    names = [n for n, _ in signed]
    region = env.get("AWS_REGION", "us-east-1")
    canonical = sigv4.canonical_request(method, path, pairs, signed, names,
                                        payload)
    signature = sigv4.signature(env["AWS_SECRET_ACCESS_KEY"], when, region,
                                canonical)
    send = dict(signed)
    send["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={env['AWS_ACCESS_KEY_ID']}/{when[:8]}/"
        f"{region}/s3/aws4_request, SignedHeaders={';'.join(names)},"
        f" Signature={signature}")
    send["Content-Length"] = str(size)
    conn = connect(url)
    target = sigv4.encode(path, True)
    if pairs:
        target += "?" + sigv4.canonical_query(pairs)
    conn.request(method, target, data, send)
    answer = conn.getresponse()
    if answer.status >= 300:
        raise Failed(f"{answer.status} {answer.read().decode()}")
    return answer


def pages(bucket, query, inner, marks):
    """The elements called inner of all pages; marks: request <- answer."""
    more = []
    while True:
        root = shape.parse(request("GET", bucket, query=query + more).read())
        yield from root.findall(inner)
        if root.findtext("IsTruncated") != "true":
            return
        more = [(ask, root.findtext(told)) for ask, told in marks
                if root.findtext(told)]


def objects(bucket, prefix=""):
    for c in pages(bucket, [("list-type", 2), ("prefix", prefix)], "Contents",
                   [("continuation-token", "NextContinuationToken")]):
        yield c.findtext("Size"), c.findtext("Key")


def open_uploads(bucket, prefix=""):
    for u in pages(bucket, [("uploads", ""), ("prefix", prefix)], "Upload",
                   [("key-marker", "NextKeyMarker"),
                    ("upload-id-marker", "NextUploadIdMarker")]):
        yield u.findtext("UploadId"), u.findtext("Key")


def upload_of(uid):
    return [("uploadId", uid)]


def main(word, bucket, *rest):
    if word == "make":
        lock = [("x-amz-bucket-object-lock-enabled", "true")] if rest else []
        request("PUT", bucket, headers=lock)
    elif word == "put":
        key, path, *headers = rest
        request("PUT", bucket, key, body=path,
                headers=[tuple(h.split("=", 1)) for h in headers])
    elif word == "get":
        shutil.copyfileobj(request("GET", bucket, *rest), sys.stdout.buffer)
    elif word == "head":
        for name, value in request("HEAD", bucket, *rest).getheaders():
            print(f"{name.lower()}: {value}")
    elif word == "ls":
        for size, key in objects(bucket, *rest):
            print(size, key)
    elif word == "uploads":
        for uid, key in open_uploads(bucket, *rest):
            print(uid, key)
    elif word == "rm":
        key, *version = rest
        request("DELETE", bucket, key, [("versionId", v) for v in version])
    elif word == "clear":
        for uid, key in open_uploads(bucket, *rest):
            request("DELETE", bucket, key, upload_of(uid))
        for _, key in objects(bucket, *rest):
            request("DELETE", bucket, key)
    elif word == "create":
        root = shape.parse(request("POST", bucket, rest[0],
                                   [("uploads", "")]).read())
        print(root.findtext("UploadId"))
    elif word == "part":
        key, uid, n, path = rest
        print(request("PUT", bucket, key, [("partNumber", n),
                                           *upload_of(uid)],
                      body=path).getheader("ETag"))
    elif word == "complete":
        key, uid, *etags = rest
        body = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag>"
                       "</Part>" for n, e in enumerate(etags, 1))
        answer = request("POST", bucket, key, upload_of(uid), body=(
            f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>"
            ).encode())
        sys.stdout.write(answer.read().decode())
    else:
        raise Failed(f"no such word: {word}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (Failed, OSError) as e:
        sys.exit(f"client: {e}")
