"""formats: blobs, keys, indexes and manifests of Proxmox Backup Server.

Written from the description of the formats alone; libzstd and the
cryptography package do what they are for, and nothing else is foreign.

	formats.py --self-test     against published values
"""

import base64
import ctypes
import ctypes.util
import hashlib
import hmac
import json
import os
import struct
import sys
import time
import zlib

CHUNK_MAX = 16 << 20
BLOB_MAX = CHUNK_MAX + 44
FIXED = 4 << 20


class Bad(Exception):
    """What was read is not what it should be."""


def magic(what):
    return hashlib.sha256(f"Proxmox Backup {what} v1.0".encode()).digest()[:8]


PLAIN = magic("uncompressed blob")
ZSTD = magic("zstd compressed blob")
CRYPT = magic("encrypted blob")
ZCRYPT = magic("zstd compressed encrypted blob")
KINDS = {PLAIN: "plain", ZSTD: "zstd", CRYPT: "encrypted",
         ZCRYPT: "zstd, encrypted"}
DYNAMIC = bytes.fromhex("1c914ea519bab3cd")
FIDX = bytes.fromhex("2f7f41ed91fd0fcd")

_z = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
_z.ZSTD_compressBound.restype = ctypes.c_size_t
_z.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
_z.ZSTD_isError.argtypes = [ctypes.c_size_t]
_z.ZSTD_getErrorName.restype = ctypes.c_char_p
_z.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]
_z.ZSTD_compress.restype = ctypes.c_size_t
_z.ZSTD_compress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p,
                             ctypes.c_size_t, ctypes.c_int]
_z.ZSTD_decompress.restype = ctypes.c_size_t
_z.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t,
                               ctypes.c_char_p, ctypes.c_size_t]


def zstd_compress(data, level=1):
    room = _z.ZSTD_compressBound(len(data))
    out = ctypes.create_string_buffer(room)
    n = _z.ZSTD_compress(out, room, data, len(data), level)
    if _z.ZSTD_isError(n):
        raise Bad("zstd: " + _z.ZSTD_getErrorName(n).decode())
    return ctypes.string_at(out, n)


def zstd_decompress(data, limit):
    """All frames, at most limit bytes; trailing garbage is an error."""
    room = max(limit, 1)
    out = bytearray(room)
    view = (ctypes.c_char * room).from_buffer(out)
    n = _z.ZSTD_decompress(view, room, data, len(data))
    del view
    if _z.ZSTD_isError(n):
        raise Bad("zstd: " + _z.ZSTD_getErrorName(n).decode())
    del out[n:]
    return bytes(out)


def is_encrypted(blob):
    return bytes(blob[:8]) in (CRYPT, ZCRYPT)


def blob_shape(blob):
    """The kind, the CRC that it says and the one that it has."""
    if len(blob) < 12:
        raise Bad("blob too small")
    kind = bytes(blob[:8])
    if kind not in KINDS:
        raise Bad(f"unknown blob magic {kind.hex()}")
    head = 44 if kind in (CRYPT, ZCRYPT) else 12
    if len(blob) < head:
        raise Bad("encrypted blob too small")
    said, = struct.unpack_from("<I", blob, 8)
    return kind, said, zlib.crc32(memoryview(blob)[head:])


def blob_check(blob):
    kind, said, has = blob_shape(blob)
    if said != has:
        raise Bad(f"wrong CRC: {said:08x}, not {has:08x}")
    return kind


def blob_fix(blob):
    """With the CRC that belongs there, as the server stores chunks."""
    _, said, has = blob_shape(blob)
    if said == has:
        return bytes(blob)
    return bytes(blob[:8]) + struct.pack("<I", has) + bytes(blob[12:])


def blob_decode(blob, key=None, limit=128 << 20, check=True):
    kind = blob_check(blob) if check else blob_shape(blob)[0]
    if kind in (CRYPT, ZCRYPT):
        if key is None:
            raise Bad("encrypted, and no key is given")
        data = key.decrypt(blob[12:28], blob[28:44], bytes(blob[44:]))
    else:
        data = bytes(blob[12:])
    if kind in (ZSTD, ZCRYPT):
        data = zstd_decompress(data, limit)
    if len(data) > limit:
        raise Bad("decodes to more than it may")
    return data


def blob_encode(data, compress=True, key=None):
    body, small = data, zstd_compress(data) if compress else None
    if small is not None and len(small) < len(data):
        body = small
    packed = body is not data
    if key is None:
        return ((ZSTD if packed else PLAIN)
                + struct.pack("<I", zlib.crc32(body)) + body)
    iv, tag, body = key.encrypt(body)
    return ((ZCRYPT if packed else CRYPT)
            + struct.pack("<I", zlib.crc32(body)) + iv + tag + body)


def colons(raw):
    return ":".join(f"{b:02x}" for b in raw)


class Key:
    def __init__(self, enc_key):
        if len(enc_key) != 32:
            raise Bad("a key has 32 bytes")
        self.enc_key = enc_key
        self.id_key = hashlib.pbkdf2_hmac("sha256", enc_key, b"_id_key", 10)
        self.fingerprint = colons(hashlib.sha256(hashlib.sha256(
            b"Proxmox Backup Encryption Key Fingerprint").digest()
            + self.id_key).digest())

    def digest(self, data):
        h = hashlib.sha256(data)
        h.update(self.id_key)
        return h.digest()

    def encrypt(self, data, iv=None):
        iv = iv or os.urandom(16)
        out = aead(self.enc_key).encrypt(iv, bytes(data), None)
        return iv, out[-16:], out[:-16]

    def decrypt(self, iv, tag, data):
        return unseal(self.enc_key, iv, tag, data)

    def sign(self, manifest):
        return hmac.new(self.id_key, canonical(manifest).encode(),
                        "sha256").hexdigest()


def aead(key):
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    return AESGCM(key)


def unseal(key, iv, tag, data):
    from cryptography.exceptions import InvalidTag
    try:
        return aead(key).decrypt(bytes(iv), bytes(data) + bytes(tag), None)
    except InvalidTag:
        raise Bad("wrong key or altered: the tag does not match") from None


def scrypt(password, salt, n, r, p):
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, dklen=32,
                          maxmem=256 * n * r)


def key_load(text, password=b""):
    """A key file; the password as bytes."""
    j = json.loads(text)
    data = base64.b64decode(j["data"], validate=True)
    kdf = j["kdf"]
    if kdf is None:
        raw = data
    else:
        (name, how), = kdf.items()
        salt = base64.b64decode(how["salt"], validate=True)
        if name == "Scrypt":
            derived = scrypt(password, salt, how["n"], how["r"], how["p"])
        elif name == "PBKDF2":
            derived = hashlib.pbkdf2_hmac("sha256", password, salt,
                                          how["iter"])
        else:
            raise Bad(f"key file: kdf {name}")
        raw = unseal(derived, data[:16], data[16:32], data[32:])
    key = Key(raw)
    told = j.get("fingerprint")
    if told is not None and told != key.fingerprint:
        raise Bad("key file: another fingerprint than its key's")
    for name in ("created", "modified"):
        if name not in j:
            raise Bad(f"key file: no {name}")
    return key


def key_save(key, password=None, when=1700000000, n=65536):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(when))
    if password is None:
        kdf, data = None, key.enc_key
    else:
        salt = os.urandom(32)
        derived = scrypt(password, salt, n, 8, 1)
        iv, out = os.urandom(16), None
        out = aead(derived).encrypt(iv, key.enc_key, None)
        data = iv + out[-16:] + out[:-16]
        kdf = {"Scrypt": {"n": n, "r": 8, "p": 1,
                          "salt": base64.b64encode(salt).decode()}}
    return json.dumps({"kdf": kdf, "created": stamp, "modified": stamp,
                       "data": base64.b64encode(data).decode(),
                       "fingerprint": key.fingerprint})


def canonical(manifest):
    signed = {k: v for k, v in manifest.items()
              if k not in ("signature", "unprotected")}
    return json.dumps(signed, sort_keys=True, separators=(",", ":"),
                      ensure_ascii=False)


def dynamic_csum(entries):
    h = hashlib.sha256()
    for end, digest in entries:
        h.update(struct.pack("<Q", end) + digest)
    return h.digest()


class Index:
    """entries: (start, end, digest); said: the sum that its header has."""

    def __init__(self, data):
        if len(data) < 4096:
            raise Bad("index: too small")
        self.uuid = data[8:24]
        self.ctime, = struct.unpack_from("<q", data, 24)
        self.said, body = data[32:64], data[4096:]
        self.entries, at = [], 0
        self.csum = hashlib.sha256(body).digest()
        if data[:8] == DYNAMIC:
            self.fixed, zero = False, data[64:4096]
            if len(body) % 40:
                raise Bad("index: not a whole number of entries")
            for end, digest in struct.iter_unpack("<Q32s", body):
                if not at < end <= at + CHUNK_MAX:
                    raise Bad(f"index: a chunk from {at} to {end}")
                self.entries.append((at, end, digest))
                at = end
        elif data[:8] == FIDX:
            self.fixed, zero = True, data[80:4096]
            size, step = struct.unpack_from("<QQ", data, 64)
            if step == 0 or step & (step - 1) or not size or \
                    len(body) != -(-size // step) * 32:
                raise Bad("index: sizes")
            for i in range(0, len(body), 32):
                end = min(at + step, size)
                self.entries.append((at, end, body[i:i + 32]))
                at = end
        else:
            raise Bad(f"index: magic {data[:8].hex()}")
        if zero.strip(b"\0"):
            raise Bad("index: a header that is not zero")
        self.size = at


def index_head(kind, csum, ctime=None, extra=b"", uuid=None):
    head = (kind + (uuid or os.urandom(16)) + struct.pack(
        "<q", int(time.time()) if ctime is None else ctime) + csum + extra)
    return head.ljust(4096, b"\0")


def dynamic_index(entries, **how):
    """entries: (end, digest)."""
    body = b"".join(struct.pack("<Q", end) + d for end, d in entries)
    return index_head(DYNAMIC, hashlib.sha256(body).digest(), **how) + body


def fixed_index(size, digests, **how):
    body = b"".join(digests)
    return index_head(FIDX, hashlib.sha256(body).digest(),
                      extra=struct.pack("<QQ", size, FIXED), **how) + body


FIELDS = ("backup-type", "backup-id", "backup-time", "files", "signature",
          "unprotected")
FILE_FIELDS = ("filename", "size", "csum", "crypt-mode")


def manifest_parse(blob):
    """The object; only what a server would understand is required."""
    if is_encrypted(blob):
        raise Bad("manifest: encrypted")
    try:
        m = json.loads(blob_decode(blob, limit=16 << 20))
    except ValueError as why:
        raise Bad(f"manifest: {why}") from None
    if not isinstance(m, dict):
        raise Bad("manifest: no object")
    for name, kind in (("backup-type", str), ("backup-id", str),
                       ("backup-time", int), ("files", list)):
        if not isinstance(m.get(name), kind) or m[name] is True:
            raise Bad(f"manifest: {name}")
    if m["backup-type"] not in ("vm", "ct", "host"):
        raise Bad("manifest: backup-type")
    if not isinstance(m.get("unprotected", {}), dict):
        raise Bad("manifest: unprotected")
    if not isinstance(m.get("signature", ""), (str, type(None))):
        raise Bad("manifest: signature")
    for f in m["files"]:
        if not isinstance(f, dict) or not isinstance(
                f.get("filename"), str) or type(f.get("size")) is not int \
                or f["size"] < 0 or not isinstance(f.get("csum"), str):
            raise Bad("manifest: an entry of files")
        if len(bytes.fromhex(f["csum"])) != 32:
            raise Bad("manifest: a csum")
        if f.get("crypt-mode", "none") not in ("none", "encrypt",
                                               "sign-only"):
            raise Bad("manifest: a crypt-mode")
    return m


def manifest_known(m):
    """What survives when a server rewrites it."""
    out = {k: m[k] for k in FIELDS if k in m}
    out["files"] = [{k: f[k] for k in FILE_FIELDS if k in f}
                    for f in m["files"]]
    out.setdefault("unprotected", {})
    return out


def manifest_blob(m, compress=True):
    return blob_encode(json.dumps(m, indent=2, sort_keys=True,
                                  ensure_ascii=False).encode(), compress)


def self_test():
    def same(a, b):
        if a != b:
            raise AssertionError(f"{a!r} is not {b!r}")
    same([k.hex() for k in (PLAIN, ZSTD, CRYPT, ZCRYPT)],
         ["42ab3807be8370a1", "31b958426fb6a37f", "7b6785be222d4cf0",
          "e6591bbf0bbfd80b"])
    hello = b"hello pbs\n"
    same(blob_encode(hello, False).hex(),
         "42ab3807be8370a10e95d40068656c6c6f207062730a")
    small = bytes.fromhex("31b958426fb6a37f6aa7df0928b52ffd60000f4d0000104141"
                          "0100fbf70116")
    same(blob_decode(small), b"A" * 4096)
    key = Key(bytes(range(32)))
    same(key.id_key.hex(), "7c2c013efd07f3b25717a485263343cd4d292a4b65c200bb3b"
                           "18ea227abe225c")
    same(key.fingerprint, "0e:ab:d4:46:0b:6e:b9:ca:34:50:23:de:e2:b7:78:c7:90:"
                          "e5:4a:16:83:b9:65:9c:0a:57:ae:19:90:90:15:9b")
    same(key.digest(hello).hex(), "7cbefaa3f86013acc6a1e9224f6c601a93fdaa96670"
                                  "a253bdef9511df6e0b498")
    secret = bytes.fromhex(
        "7b6785be222d4cf0222812a2101112131415161718191a1b1c1d1e1f0718f768d104"
        "24d52069544b89cdffade23f560c88514bcd1801")
    same(blob_decode(secret, key), hello)
    iv, tag, body = key.encrypt(hello, bytes(range(16, 32)))
    same(CRYPT + secret[8:12] + iv + tag + body, secret)
    a, b = b"a" * 65536, b"b" * 1000
    didx = dynamic_index(
        [(65536, hashlib.sha256(a).digest()),
         (66536, hashlib.sha256(b).digest())], ctime=1700000000,
        uuid=bytes.fromhex("00112233445566778899aabbccddeeff"))
    same(hashlib.sha256(didx).hexdigest(), "58bfd4c456c1458e76364c43f561ce1ba3"
                                           "6e08a3252502212ad37d5920cfa822")
    same(Index(didx).size, 66536)
    fidx = fixed_index(
        5 << 20, [hashlib.sha256(bytes(4 << 20)).digest(),
                  hashlib.sha256(b"\1" * (1 << 20)).digest()],
        ctime=1700000000,
        uuid=bytes.fromhex("00112233445566778899aabbccddeeff"))
    same(hashlib.sha256(fidx).hexdigest(), "8a56949227af8ca93c974dc216c2d48044"
                                           "81ecce96dbbea6d7feb4a8794fc35f")
    elsa = {"backup-type": "host", "backup-id": "elsa",
            "backup-time": 1593179765, "unprotected": {}, "signature": None,
            "files": [{"filename": "test1.img.fidx", "crypt-mode": "encrypt",
                       "size": 200, "csum": "01" * 32},
                      {"filename": "abc.blob", "crypt-mode": "none",
                       "size": 200, "csum": "02" * 32}]}
    same(Key(scrypt(b"test", b"", 65536, 8, 1)).sign(elsa),
         "d7b446fb7db081662081d4b40fedd858a1d6307a5aff4ecff7d5bf4fd35679e9")
    file = ('{"kdf":{"Scrypt":{"n":65536,"r":8,"p":1,"salt":"AAECAwQFBgcICQoL'
            'DA0ODxAREhMUFRYXGBkaGxwdHh8="}},"created":"2023-11-14T22:13:20+00'
            ':00","modified":"2023-11-14T22:13:20+00:00","data":"EBESExQVFhcYG'
            'RobHB0eH2of8v0goUABRKl16kktup4Z3FaZHMVRxxBMKkqdkl9FgO4OtlrVYwa5vN'
            'MB7V+nBg=="}')
    same(key_load(file, b"password").enc_key, key.enc_key)
    same(key_load(key_save(key, b"12345", n=1024), b"12345").enc_key,
         key.enc_key)


if __name__ == "__main__":
    if sys.argv[1:] != ["--self-test"]:
        sys.exit(__doc__)
    self_test()
