"""SigV4 as a server sees it: from the bytes of a request to a verdict.

Written against the published algorithm and its examples; `python3 sigv4.py`
recomputes those.  Nothing here is shared with the client under test.
"""

import datetime
import hashlib
import hmac
import re
import urllib.parse

UNRESERVED = (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
              b"0123456789-._~")
EMPTY = hashlib.sha256(b"").hexdigest()
SKEW = 900


class Refused(Exception):
    """An answer other than yes: status, code, message, extra elements."""

    def __init__(self, status, code, message, **extra):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.extra = extra
        self.headers = {}


def encode(raw, keep_slash=False):
    return "".join(chr(b) if b in UNRESERVED or (keep_slash and b == 0x2f)
                   else f"%{b:02X}" for b in raw)


def split_query(text):
    """A query as it was sent, to pairs of bytes."""
    pairs = []
    for item in text.split("&"):
        if item:
            name, _, value = item.partition("=")
            pairs.append((urllib.parse.unquote_to_bytes(name),
                          urllib.parse.unquote_to_bytes(value)))
    return pairs


def canonical_query(pairs):
    return "&".join(f"{n}={v}" for n, v in
                    sorted((encode(n), encode(v)) for n, v in pairs))


def canonical_request(method, path, pairs, headers, signed, payload):
    """path: bytes, decoded.  headers: list of (lower name, value)."""
    lines = []
    for name in signed:
        values = [" ".join(v.split()) for n, v in headers if n == name]
        lines.append(f"{name}:{','.join(values)}\n")
    return "\n".join((method, encode(path, True) or "/",
                      canonical_query(pairs), "".join(lines),
                      ";".join(signed), payload))


def signing_key(secret, date, region):
    key = b"AWS4" + secret.encode()
    for word in (date, region, "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return key


def string_to_sign(when, scope, canonical):
    return "\n".join(("AWS4-HMAC-SHA256", when, scope,
                      hashlib.sha256(canonical.encode()).hexdigest()))


def signature(secret, when, region, canonical):
    scope = f"{when[:8]}/{region}/s3/aws4_request"
    text = string_to_sign(when, scope, canonical)
    return hmac.new(signing_key(secret, when[:8], region), text.encode(),
                    hashlib.sha256).hexdigest()


def parse_when(text):
    return datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(
        tzinfo=datetime.timezone.utc).timestamp()


AUTH = re.compile(r"AWS4-HMAC-SHA256 Credential=([^ ,]+), ?"
                  r"SignedHeaders=([^ ,]+), ?Signature=([0-9a-f]{64})$")


def denied(message, **extra):
    return Refused(403, "AccessDenied", message, **extra)


def scope_of(credential, region):
    part = credential.split("/")
    if len(part) < 5 or part[-1] != "aws4_request" or part[-2] != "s3":
        raise Refused(400, "AuthorizationHeaderMalformed",
                      "The authorization header is malformed; the Credential"
                      " is mal-formed")
    access, date, got = "/".join(part[:-4]), part[-4], part[-3]
    if got != region:
        raise Refused(400, "AuthorizationHeaderMalformed",
                      "The authorization header is malformed; the region "
                      f"'{got}' is wrong; expecting '{region}'", Region=region)
    return access, date


def compare(secret, region, when, given, canonical, access):
    want = signature(secret, when, region, canonical)
    if not hmac.compare_digest(want, given):
        scope = f"{when[:8]}/{region}/s3/aws4_request"
        raise Refused(403, "SignatureDoesNotMatch",
                      "The request signature we calculated does not match the"
                      " signature you provided.", AWSAccessKeyId=access,
                      StringToSign=string_to_sign(when, scope, canonical),
                      CanonicalRequest=canonical, SignatureProvided=given)


def check_token(keys, access, token, now):
    """keys: {access: {secret, token, expires}}; gives the secret."""
    key = keys.get(access)
    if key is None:
        raise Refused(403, "InvalidAccessKeyId", "The AWS Access Key Id you"
                      " provided does not exist in our records.",
                      AWSAccessKeyId=access)
    if key.get("expires") is not None and now >= key["expires"]:
        raise Refused(400, "ExpiredToken",
                      "The provided token has expired.")
    if (key.get("token") or "") != (token or ""):
        raise Refused(400, "InvalidToken", "The provided token is malformed or"
                      " otherwise invalid.")
    return key["secret"]


def verify(method, path, pairs, headers, keys, region, now):
    """Judge a request's signature; gives (kind, payload hash, access key).

    path: decoded bytes.  pairs: decoded query.  headers: (lower name, value).
    """
    first = {}
    for name, value in headers:
        first.setdefault(name, value)
    query = {n.decode("latin-1"): v.decode("latin-1") for n, v in pairs}
    if "X-Amz-Algorithm" in query:
        return verify_query(method, path, pairs, query, headers, keys, region,
                            now)
    if "authorization" not in first:
        raise denied("Access Denied")
    match = AUTH.match(first["authorization"])
    if not match:
        raise Refused(400, "AuthorizationHeaderMalformed",
                      "The authorization header is malformed")
    credential, signed, given = match.groups()
    signed = signed.split(";")
    if signed != sorted(set(signed)) or [s.lower() for s in signed] != signed:
        raise Refused(400, "AuthorizationHeaderMalformed",
                      "SignedHeaders are not in order")
    access, date = scope_of(credential, region)
    need_signed(headers, signed)
    when = first.get("x-amz-date")
    if when is None:
        raise denied("AWS authentication requires a valid Date or x-amz-date"
                     " header")
    payload = first.get("x-amz-content-sha256")
    if payload is None:
        raise Refused(400, "InvalidRequest", "Missing required header for this"
                      " request: x-amz-content-sha256")
    if not re.match(r"([0-9a-f]{64}|UNSIGNED-PAYLOAD)$", payload):
        raise Refused(501, "NotImplemented",
                      f"x-amz-content-sha256 {payload} is not implemented")
    try:
        sent = parse_when(when)
    except ValueError:
        raise denied("x-amz-date is malformed") from None
    if when[:8] != date:
        raise Refused(403, "SignatureDoesNotMatch",
                      "Date in Credential scope does not match x-amz-date")
    if abs(sent - now) > SKEW:
        stamp = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
        raise Refused(403, "RequestTimeTooSkewed", "The difference between the"
                      " request time and the current time is too large.",
                      RequestTime=when,
                      ServerTime=stamp.strftime("%Y-%m-%dT%H:%M:%SZ"),
                      MaxAllowedSkewMilliseconds=str(SKEW * 1000))
    secret = check_token(keys, access, first.get("x-amz-security-token"), now)
    compare(secret, region, when, given,
            canonical_request(method, path, pairs, headers, signed, payload),
            access)
    return "header", payload, access


def need_signed(headers, signed):
    missing = sorted({n for n, _ in headers if n.startswith("x-amz-")
                      and n not in signed})
    if "host" not in signed:
        missing.insert(0, "host")
    if missing:
        raise denied("There were headers present in the request which were"
                     " not signed", HeadersNotSigned=", ".join(missing))


def verify_query(method, path, pairs, query, headers, keys, region, now):
    for name in ("Credential", "Date", "Expires", "SignedHeaders",
                 "Signature"):
        if f"X-Amz-{name}" not in query:
            raise Refused(400, "AuthorizationQueryParametersError",
                          f"X-Amz-{name} is missing")
    when, expires = query["X-Amz-Date"], query["X-Amz-Expires"]
    if not expires.isdigit() or not 1 <= int(expires) <= 604800:
        raise Refused(400, "AuthorizationQueryParametersError",
                      "X-Amz-Expires must be between 1 and 604800 seconds")
    access, date = scope_of(query["X-Amz-Credential"], region)
    signed = query["X-Amz-SignedHeaders"].split(";")
    need_signed(headers, signed)
    start = parse_when(when)
    if start > now + SKEW:
        raise denied("Request is not valid yet")
    if now >= start + int(expires):
        raise denied("Request has expired", Expires=expires)
    secret = check_token(keys, access, query.get("X-Amz-Security-Token"), now)
    if when[:8] != date:
        raise denied("Invalid credential date")
    rest = [(n, v) for n, v in pairs if n != b"X-Amz-Signature"]
    compare(secret, region, when, query["X-Amz-Signature"],
            canonical_request(method, path, rest, headers, signed,
                              "UNSIGNED-PAYLOAD"), access)
    return "query", "UNSIGNED-PAYLOAD", access


def self_test():
    """The published examples, and some whose parts are hard to encode."""
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    access, when = "AKIAIOSFODNN7EXAMPLE", "20130524T000000Z"
    host = ("host", "examplebucket.s3.amazonaws.com")
    date = ("x-amz-date", when)

    def empty(value=EMPTY):
        return ("x-amz-content-sha256", value)
    odd = bytes.fromhex(
        "2f626b742f73727620312fc3a42b623d63266440653a662c67272868292a217e2425"
        "3f233b5b785d7b797d7c5e605c223c3e2e7461722e7a7374")
    port = ("host", "s3.example.com:9000")
    unsigned = empty("UNSIGNED-PAYLOAD")
    table = [
        ("GET", b"/test.txt", "", [host, ("range", "bytes=0-9"), empty(),
                                   date],
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("PUT", b"/test$file.text", "",
         [("date", "Fri, 24 May 2013 00:00:00 GMT"), host,
          empty(hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()), date,
          ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        ("GET", b"/", "lifecycle", [host, empty(), date],
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("GET", b"/", "prefix=J&max-keys=2", [host, empty(), date],
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ("PUT", odd, "uploadId=VXBsb2Fk%2B%2F%3DID&partNumber=7",
         [port, unsigned, date],
         "96b6624a4d9a83f8d41e86cea7b6447283ae32089935d63f563bd2f09b493938"),
        ("PUT", odd, "partNumber=7&uploadId=VXBsb2Fk%2B%2F%3DID",
         [port, unsigned, date,
          ("x-amz-security-token", "AQoDYXdzEJr//EXAMPLE+TOKEN==")],
         "c11ea1bdd107ff863b6302e232b927f739c8f383bf3d214c1569f43bd4425f08"),
    ]
    now = parse_when(when) + 10
    for method, path, query, headers, want in table:
        signed = [n for n, _ in headers]
        token = dict(headers).get("x-amz-security-token")
        keys = {access: {"secret": secret, "token": token}}
        auth = (f"AWS4-HMAC-SHA256 Credential={access}/20130524/us-east-1/s3/"
                f"aws4_request, SignedHeaders={';'.join(signed)},"
                f" Signature={want}")
        args = (method, path, split_query(query))
        verify(*args, headers + [("authorization", auth)], keys, "us-east-1",
               now)
        for change in (lambda h: [(n, v + "x" if n == "host" else v)
                                  for n, v in h],
                       lambda h: h + [("x-amz-acl", "public-read")]):
            try:
                verify(*args, change(headers) + [("authorization", auth)],
                       keys, "us-east-1", now)
            except Refused as e:
                assert e.status == 403, e.code
            else:
                raise AssertionError("a changed request was accepted")
    query = ("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + access +
             "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=" + when +
             "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
             "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
    keys = {access: {"secret": secret}}
    verify("GET", b"/test.txt", split_query(query), [host], keys, "us-east-1",
           now)
    for late, message in ((86400, "expired"), (-2000, "not valid yet")):
        try:
            verify("GET", b"/test.txt", split_query(query), [host], keys,
                   "us-east-1", now + late)
        except Refused as e:
            assert message in e.message, e.message
        else:
            raise AssertionError("an expired URL was accepted")
    # Sorted by name, then by value, not as whole strings.
    assert canonical_query(split_query("a-b=1&a=2&a=1")) == "a=1&a=2&a-b=1"


if __name__ == "__main__":
    self_test()
    print("ok")
