# The Proxmox Backup Server that the other suites use, before they believe it.

load common
load ../pbs/pbs

setup() {
	need python3 openssl jq
	cd "$BATS_TEST_TMPDIR" || return
	pbs_need
}

teardown() {
	pbs_stop
}

# refused STATUS TEXT COMMAND...: the other client says so
refused() {
	local status_=$1 text=$2
	shift 2
	run "$@"
	if [ "$status" -eq 0 ] || [[ $output != "$status_ "*"$text"* ]]; then
		echo "not $status_ $text: $output: $*"
		return 1
	fi
}

@test "its formats are the published ones" {
	run pbs_run formats.py --self-test
	[ "$status" -eq 0 ]
}

@test "a snapshot comes back: archive, image and blob" {
	pbs_start
	head -c 300000 /dev/urandom >a
	seq 1 1000 >b
	head -c 5000000 /dev/zero >i
	pbs_client backup vm-demo 1700000000 x.didx=a i.img.fidx=i note.conf.blob=b
	pbs_client cat vm-demo 1700000000 x.didx | cmp - a
	pbs_client cat vm-demo 1700000000 i.img.fidx | cmp - i
	pbs_client cat vm-demo 1700000000 note.conf.blob | cmp - b
	[ "$(pbs_snapshots)" = "- host/vm-demo 1700000000 whole" ]
	pbs_sound
}

# Most of what follows talks to it through client.py as a library.
prelude='
import hashlib, json, os, struct, sys, time
import client, formats
from client import Backup, Failed, Lost, Reader, Session, call, place, pieces

def no(status, text, f, *a, **k):
    try:
        got = f(*a, **k)
    except Failed as e:
        assert e.status == status and text in e.text, (e.status, e.text)
        return
    raise AssertionError(f"not refused: {got!r}")

def begun(*a, **k):
    """A session; the one before holds the lock until it is closed."""
    for _ in range(500):
        try:
            return Backup(*a, **k)
        except Failed as e:
            if "another backup" not in e.text:
                raise
        time.sleep(0.02)
    raise AssertionError("locked for ever")

def simple(name, when, **k):
    b = begun(name, when, **k)
    b.blob("a.conf.blob", b"hello")
    b.manifest()
    b.finish()

P = {"digest": "0" * 64, "size": 1, "encoded-size": 13, "wid": 1}
def chunk(data):
    blob = formats.blob_encode(data, False)
    return dict(P, digest=hashlib.sha256(data).hexdigest(), size=len(data),
                **{"encoded-size": len(blob)}), blob
'

py() {
	{
		echo "$prelude"
		cat
	} >test.py
	pbs_python <test.py
}

@test "credentials: both spellings, percent, and 401 for all else" {
	pbs_start
	pbs_do token 'id=cala@pbs!odd' 'secret=a:b %é' role=DatastoreBackup
	py <<-'END'
	assert call("GET", "ping", auth="") == {"pong": True}
	for kind in "= ":
	    assert call("GET", "version", auth=client.credentials(kind))
	secret = os.environ["PBS_SECRET"]
	for bad in ("", "PBSAPIToken:cala@pbs!node1:" + secret,
	            "pbsapitoken=cala@pbs!node1:" + secret,
	            "PBSAPIToken=cala@pbs!node1", "Basic eDp5",
	            "PBSAPIToken=cala@pbs!node1:x" + secret,
	            "PBSAPIToken=cala@pbs!node2:" + secret):
	    no(401, "authentication failed", call, "GET", "version", auth=bad)
	    no(401, "authentication failed", call, "GET", "none", auth=bad)
	assert call("GET", "version",
	            auth="PBSAPIToken=cala@pbs!odd:a%3Ab%20%25%C3%A9")
	no(404, "", call, "GET", "none")
	no(404, "", call, "POST", "version")
	no(400, "", call, "GET", "admin/.x")
	no(414, "", call, "GET", "version?" + "x" * 3100)
	END
	pbs_do token 'id=cala@pbs!old' secret=x expires=-1
	PBS_TOKEN='cala@pbs!old' PBS_SECRET=x refused 401 auth pbs_client rest GET version
	pbs_do set release:='"4.2"'
	PBS_SECRET=x refused 401 'authentication failed' pbs_client rest GET version
	pbs_sound
}

@test "parameters: unknown, missing, twice, of another type, by class" {
	pbs_start
	py <<-'END'
	simple("a", 1700000000)
	S = "S/snapshots"
	no(400, "parameter verification failed - 'x'", call, "GET", S, {"x": 1})
	no(400, "not optional", call, "DELETE", S, {"backup-id": "a"})
	no(400, "'backup-id'", call, "GET", S + "?backup-id=a&backup-id=a")
	no(400, "'ns'", call, "GET", S, {"ns": "/".join("abcdefgh")})
	no(400, "'ns'", call, "GET", S, {"ns": "a//b"})
	no(400, "'backup-type'", call, "GET", S, {"backup-type": "disk"})
	t = {"backup-type": "host", "backup-id": "a", "backup-time": 1700000000}
	no(400, "'backup-time'", call, "GET", "S/notes", dict(t, **{"backup-time": 0}))
	no(400, "'backup-id'", call, "GET", "S/notes", dict(t, **{"backup-id": "-a"}))
	# JSON hides the query, knows types, and is no place for strings of digits
	assert call("PUT", "S/notes", {"x": 1}, dict(t, notes="a\nü")) is None
	assert call("GET", "S/notes", t) == "a\nü"
	no(400, "integer", call, "PUT", "S/notes",
	   body=dict(t, notes="", **{"backup-time": "1700000000"}))
	no(400, "not optional", call, "PUT", "S/notes", t, {"notes": "x"})
	form = client.query(dict(t, notes="by form")).encode()
	call("PUT", "S/notes", body=form,
	     content="application/x-www-form-urlencoded;charset=UTF-8")
	assert call("GET", "S/notes", t) == "by form"
	no(400, "content type", call, "PUT", "S/notes", t, b"notes=x",
	   content="text/plain")
	no(400, "", call, "PUT", "S/notes", body=dict(t, notes="x" * 65536))
	assert call("GET", S, {"_dc": 1})[0]["comment"] == "by form"
	END
	pbs_do set release:='"4.1"'
	py <<-'END'
	t = {"backup-type": "host", "backup-id": "a", "backup-time": 1700000000}
	call("PUT", "S/notes", body=dict(t, notes="x" * 65536))
	no(400, "", call, "PUT", "S/notes", body=dict(t, notes="x" * 524288))
	END
	pbs_sound
}

@test "the upgrade is refused where the real one refuses, in that order" {
	pbs_start
	pbs_do token 'id=cala@pbs!weak' secret=w role=DatastoreAudit
	pbs_do token 'id=other@pbs!t' secret=o role=DatastoreBackup
	pbs_do token 'id=cala@pbs!twin' secret=t role=DatastoreAdmin
	pbs_do token 'id=cala@pbs!none' secret=n
	py <<-'END'
	simple("a", 1700000000)
	no(401, "", Backup, "a", 1700000001, auth="PBSAPIToken=x@pbs!y:z")
	no(400, "'no-cache'", Backup, "a", 1700000001, more={"no-cache": True})
	no(400, "'backup-time'", Backup, "a", 0)
	weak = "PBSAPIToken=cala@pbs!weak:w"
	# the user's own grant is the weak one now; the strong token has less, too
	no(403, "", Backup, "a", 1700000001, auth=weak)
	no(403, "permission", call, "GET", "S/snapshots",
	   auth="PBSAPIToken=cala@pbs!none:n")
	END
	pbs_do grant 'id=cala@pbs' path=/datastore role=DatastoreAdmin
	pbs_do maintenance mode=read-only
	refused 400 'read-only maintenance' pbs_client backup a 1700000001
	pbs_client cat a 1700000000 a.conf.blob
	pbs_do maintenance mode=
	py <<-'END'
	P = "proxmox-backup-protocol-v1"
	no(400, "Upgrade", Session, "backup", place("a", 5), headers={"Upgrade": ""})
	no(400, "Upgrade", Session, "backup", place("a", 5), protocol=P.upper())
	no(400, "Upgrade", Session, "backup", place("a", 5), protocol=P + ", h2c")
	no(400, "http version", Session, "backup", place("a", 5), version="HTTP/1.0")
	no(404, "namespace", Session, "backup", dict(place("a", 5), ns="none"))
	no(400, "benchmark", Backup, "a", 1700000001, more={"benchmark": True})
	no(400, "benchmark", Backup, "benchmark", 1700000001)
	no(400, "no such datastore", Session, "backup", dict(
	   place("a", 5), store="nostore"))
	no(400, "older", Backup, "a", 1700000000)
	no(400, "older", Backup, "a", 1600000000)
	no(400, "owner", Backup, "a", 1700000001, auth="PBSAPIToken=cala@pbs!twin:t")
	no(400, "owner", Backup, "a", 1700000001, auth="PBSAPIToken=other@pbs!t:o")
	one = begun("a", 1700000001)
	no(400, "another", Backup, "a", 1700000002)
	no(400, "lock", Session, "reader", place("a", 1700000001))
	t = {"backup-type": "host", "backup-id": "a"}
	for when in 1700000000, 1700000001:
	    no(400, "lock", call, "DELETE", "S/snapshots", dict(t, **{"backup-time": when}))
	    no(400, "lock", call, "PUT", "S/protected",
	       dict(t, protected=True, **{"backup-time": when}))
	no(400, "lock", call, "DELETE", "S/groups", t)
	one.sock.close()
	END
	pbs_do idle
	[ "$(pbs_snapshots)" = "- host/a 1700000000 whole" ]
	# a user is owner of what his tokens own, and not the other way
	pbs_do owner id=a 'owner=cala@pbs'
	refused 400 owner pbs_client backup a 1700000003
	# a directory that is there, and verified ones that failed
	pbs_do owner id=a 'owner=cala@pbs!node1'
	mkdir "$PBS_DIR/store1/host/a/2023-11-14T22:13:25Z"
	refused 400 'already exists' pbs_client backup a 1700000005
	rmdir "$PBS_DIR/store1/host/a/2023-11-14T22:13:25Z"
	pbs_do verified id=a time=1700000000 state=failed
	py <<-'END'
	b = begun("a", 1600000000)
	assert b.do("GET", "/previous_backup_time") is None
	no(400, "no valid previous", b.raw, "GET", "/previous",
	   {"archive-name": "index.json.blob"})
	b.sock.close()
	b = begun("benchmark", 1700000000, more={"benchmark": True})
	b.do("POST", "/speedtest", body=bytes(100000), content="x/y")
	b.close()
	END
	pbs_do idle
	[ "$(pbs_snapshots)" = "- host/a 1700000000 whole" ]
	pbs_sound
}

@test "chunks: every check of the real one" {
	pbs_start
	py <<-'END'
	b = begun("a", 1700000000)
	up = lambda p, blob, kind="dynamic": b.do(
	    "POST", f"/{kind}_chunk", p, blob, "application/octet-stream")
	for path in ("/api2/json/dynamic_index", "/none", "/chunk"):
	    no(404, "", b.do, "POST", path)
	no(404, "", b.do, "GET", "/dynamic_index")
	assert {"subdir": "blob"} in b.do("GET", "/")
	new = lambda name, kind="dynamic", **k: b.do(
	    "POST", f"/{kind}_index", dict(k, **{"archive-name": name}))
	no(400, "extension", new, "x.fidx")
	no(400, "'archive-name'", new, ".x.didx")
	assert new("x.didx") == 1
	no(400, "'size'", new, "x.img.fidx", "fixed")
	no(400, "'size'", new, "x.img.fidx", "fixed", size=0)
	assert new("x.img.fidx", "fixed", size=9 << 20) == 2
	p, blob = chunk(b"hello")
	for name, values in (("size", (0, (16 << 20) + 1)), ("wid", (0, 257, "x")),
	                     ("encoded-size", (12, 16777261)),
	                     ("digest", (p["digest"].upper(), p["digest"][1:]))):
	    for v in values:
	        no(400, f"'{name}'", up, dict(p, **{name: v}), blob)
	no(400, "duplicate", b.do, "POST", "/dynamic_chunk?wid=1&" + client.query(p),
	   None, blob)
	no(400, "unexpected length", up, p, blob[:-1])
	no(400, "larger", up, p, blob + b"x")
	no(400, "magic", up, p, b"?" + blob[1:])
	no(400, "digest", up, dict(p, digest="0" * 64), blob)
	no(400, "length", up, dict(p, size=6), blob)
	no(400, "more than", up, dict(p, size=4), blob)
	small = formats.blob_encode(bytes(9000))
	assert small[:8] == formats.ZSTD
	z = dict(P, size=9000, digest=hashlib.sha256(bytes(9000)).hexdigest(),
	         **{"encoded-size": len(small)})
	no(400, "zstd", up, z, small[:-1] + bytes([small[-1] ^ 1]))
	no(400, "", up, dict(z, size=8999), small)
	no(400, "not registered", up, dict(p, wid=7), blob)
	no(400, "not registered", up, dict(p, wid=2), blob)
	# that one is in the store, and nobody knows it here
	add = lambda wid, d, o, kind="dynamic": b.do("PUT", f"/{kind}_index", body={
	    "wid": wid, "digest-list": d, "offset-list": o})
	no(400, "no such chunk", add, 1, [p["digest"]], [0])
	assert up(p, blob) == p["digest"] == up(p, blob)
	no(400, "length", add, 1, [p["digest"]], [])
	no(400, "offset", add, 1, [p["digest"]], [1])
	no(400, "not registered", add, 2, [p["digest"]], [0])
	add(1, [], [])
	# what comes before the wrong one stays
	no(400, "offset", add, 1, [p["digest"]] * 3, [0, 5, 11])
	add(1, [p["digest"]], [10])
	end = [(n, bytes.fromhex(p["digest"])) for n in (5, 10, 15)]
	done = {"wid": 1, "chunk-count": 3, "size": 15,
	        "csum": formats.dynamic_csum(end).hex()}
	no(400, "not registered", b.do, "POST", "/fixed_close", done)
	no(400, "'size'", b.do, "POST", "/dynamic_close", dict(done, size=0))
	b.do("POST", "/dynamic_close", done)
	b.listed("x.didx", 15, done["csum"])
	no(400, "not registered", b.do, "POST", "/dynamic_close", done)
	for wrong in ({"chunk-count": 2}, {"size": 6}, {"csum": "0" * 64}):
	    wid = new(f"y{len(wrong)}{list(wrong)[0]}.didx")
	    up(dict(p, wid=wid), blob)
	    add(wid, [p["digest"]], [0])
	    good = {"wid": wid, "chunk-count": 1, "size": 5,
	            "csum": formats.dynamic_csum(end[:1]).hex()}
	    no(400, "close failed", b.do, "POST", "/dynamic_close",
	       dict(good, **wrong))
	    no(400, "not registered", b.do, "POST", "/dynamic_close", good)
	# fixed
	big, tail = bytes(4 << 20), bytes(1 << 20)
	pb, bb = chunk(big)
	pt, bt = chunk(tail)
	pb["wid"] = pt["wid"] = 2
	no(400, "large", up, dict(chunk(bytes(5 << 20))[0], wid=2),
	   chunk(bytes(5 << 20))[1], "fixed")
	up(pb, bb, "fixed")
	up(pt, bt, "fixed")
	no(400, "multiple end", up, dict(p, wid=2), blob, "fixed")
	no(400, "unaligned", add, 2, [pb["digest"]], [4096], "fixed")
	no(400, "exceeds", add, 2, [pb["digest"]], [8 << 20], "fixed")
	no(400, "unexpected length", add, 2, [pt["digest"]], [0], "fixed")
	add(2, [pt["digest"], pb["digest"]], [8 << 20, 0], "fixed")
	csum = hashlib.sha256(bytes.fromhex(pb["digest"]) * 2
	                      + bytes.fromhex(pt["digest"])).hexdigest()
	add(2, [pb["digest"]], [4 << 20], "fixed")
	b.do("POST", "/fixed_close", {"wid": 2, "chunk-count": 3, "size": 9 << 20,
	                              "csum": csum})
	b.listed("x.img.fidx", 9 << 20, csum)
	# blobs: unlike chunks, their sum matters
	put = lambda name, data, n=None: b.do("POST", "/blob", {
	    "file-name": name, "encoded-size": len(data) if n is None else n}, data)
	good = formats.blob_encode(b"hello")
	no(400, "extension", put, "a.txt", good)
	no(400, "", put, "a.blob", good, len(good) + 1)
	no(400, "'encoded-size'", put, "a.blob", good, 16777261)
	no(400, "magic", put, "a.blob", b"?" + good[1:])
	no(400, "CRC", put, "a.blob", good[:-1] + b"x")
	b.blob("a.blob", b"hello")
	b.manifest()
	b.finish()
	no(400, "", lambda: Backup("a", 1700000000))
	END
	pbs_do idle
	[ ! -s "$PBS_DIR/flags" ]
	pbs_sound
}

@test "a chunk of another kind than the stored one, and a wrong CRC" {
	pbs_start
	py <<-'END'
	key = formats.Key(bytes(range(32)))
	b = begun("a", 1700000000)
	b.do("POST", "/dynamic_index", {"archive-name": "x.didx"})
	data = bytes(9000)
	p, plain = chunk(data)
	small, secret = formats.blob_encode(data), formats.blob_encode(data, False, key)
	up = lambda blob: b.do("POST", "/dynamic_chunk", dict(p, **{
	    "encoded-size": len(blob)}), blob)
	up(plain)
	no(400, "encrypted", up, secret)
	up(small)                       # smaller: it replaces
	up(plain)                       # larger: it does not
	bad = small[:8] + b"0000" + small[12:]
	up(bad)
	b.sock.close()
	END
	pbs_do idle
	grep -q 'CRC' "$PBS_DIR/flags"
	# the stored one is small and right
	[ "$(find "$PBS_DIR/store1/.chunks" -type f -size -2)" ]
	[ "$(pbs_snapshots)" = "" ]
}

@test "previous makes known, and only what it says" {
	pbs_start
	py <<-'END'
	b = begun("a", 1700000000)
	assert b.do("GET", "/previous_backup_time") is None
	b.index("x.didx", [b"one", b"two"])
	b.index("y.didx", [b"three"])
	b.manifest()
	b.finish()
	b = begun("a", 1700000009)
	assert b.do("GET", "/previous_backup_time") == 1700000000
	sha = lambda t: hashlib.sha256(t).hexdigest()
	wid = b.do("POST", "/dynamic_index", {"archive-name": "x.didx"})
	add = lambda t, at: b.do("PUT", "/dynamic_index", body={
	    "wid": wid, "digest-list": [sha(t)], "offset-list": [at]})
	no(400, "no such chunk", add, b"one", 0)
	no(400, "", b.previous, "none.didx")
	no(404, "", b.previous, "none.blob")
	no(400, "", b.previous, "none.txt")
	assert formats.manifest_parse(b.previous("index.json.blob"))
	index = formats.Index(b.previous("x.didx"))
	assert [e[:2] for e in index.entries] == [(0, 3), (3, 6)]
	add(b"one", 0)
	add(b"one", 3)
	no(400, "no such chunk", add, b"three", 6)
	b.known |= {sha(b"one"), sha(b"two")}
	b.close_index("x.didx", wid, [(3, bytes.fromhex(sha(b"one"))),
	                              (6, bytes.fromhex(sha(b"one")))])
	# an image that takes over what it does not send
	b.manifest()
	b.finish()
	big = bytes(8 << 20)
	b = begun("i", 1700000000)
	b.image("i.img.fidx", big)
	b.manifest()
	b.finish()
	csum = b.files[0]["csum"]
	b = begun("i", 1700000001)
	make = lambda **k: b.do("POST", "/fixed_index", dict(
	    {"archive-name": "i.img.fidx", "size": 8 << 20,
	     "reuse-csum": csum}, **k))
	no(400, "csum", make, **{"reuse-csum": "0" * 64})
	no(400, "chunk counts", make, size=4 << 20)
	wid = make()
	b.do("POST", "/fixed_close", {"wid": wid, "chunk-count": 0,
	                              "size": 8 << 20, "csum": csum})
	b.listed("i.img.fidx", 8 << 20, csum)
	b.manifest()
	b.finish()
	b = begun("j", 1700000001)
	no(400, "no valid previous", make)
	b.sock.close()
	END
	pbs_sound
}

@test "finish: what is missing, twice, and what a strict server sees" {
	pbs_start
	py <<-'END'
	b = begun("a", 1700000000)
	end = lambda: b.do("POST", "/finish")
	no(400, "valid files", end)
	wid = b.do("POST", "/dynamic_index", {"archive-name": "x.didx"})
	no(400, "open index writer", end)
	b.do("POST", "/blob", {"file-name": "index.json.blob", "encoded-size": 16},
	     formats.blob_encode(b"null", False))
	b.index("y.didx", [b"y"])
	no(400, "open index writer", end)
	entries = [(1, bytes.fromhex(b.chunk(wid, b"x")))]
	b.do("PUT", "/dynamic_index", body={"wid": wid, "digest-list": [
	    entries[0][1].hex()], "offset-list": [0]})
	b.close_index("x.didx", wid, entries)
	no(400, "manifest", end)
	END
	[ ! -s "$PBS_DIR/flags" ]
	pbs_do idle
	[ "$(pbs_snapshots)" = "" ]
	py <<-'END'
	def wrong(text, **change):
	    wrong.when += 1
	    b = begun("b", 1700000000 + wrong.when)
	    b.blob("n.conf.blob", b"x")
	    change = {k.replace("_", "-"): v for k, v in change.items()}
	    files = change.pop("files", None)
	    if files:
	        change["files"] = files(b.files[0])
	    b.manifest(**change)
	    no(400, "strict: manifest: " + text, b.do, "POST", "/finish")
	    b.sock.close()
	wrong.when = 0
	import time
	for args in (("of another", {"backup_id": "c"}),
	             ("of another", {"backup_time": 7}),
	             ("has", {"extra": 1}),
	             ("lists a file twice", {"files": lambda f: [f, f]}),
	             ("lists", {"files": lambda f: []}),
	             ("n.conf.blob: 14", {"files": lambda f: [dict(f, size=14)]}),
	             ("n.conf.blob: 13", {"files": lambda f: [dict(f, csum="0" * 64)]}),
	             ("n.conf.blob: no crypt", {"files": lambda f: [
	                 {k: v for k, v in f.items() if k != "crypt-mode"}]}),
	             ("n.conf.blob: is not", {"files": lambda f: [
	                 dict(f, **{"crypt-mode": "encrypt"})]}),
	             ("signature and", {"signature": "00" * 32})):
	    while True:         # the lock is there until the other end has closed
	        try:
	            wrong(args[0], **args[1])
	            break
	        except Failed as e:
	            assert e.status == 400 and "another backup" in e.text, e
	            time.sleep(0.02)
	END
	[ "$(wc -l <"$PBS_DIR/flags")" -ge 10 ]
	pbs_do set strict=false
	py <<-'END'
	import time
	b = begun("c", 1700000000)
	b.blob("n.conf.blob", b"x")
	b.manifest(extra=1, unprotected={"mine": [1]})
	b.do("POST", "/finish")
	no(400, "finished", b.do, "POST", "/finish")
	no(400, "finished", b.raw, "GET", "/previous", {"archive-name": "x.didx"})
	no(400, "finished", b.do, "POST", "/dynamic_index", {"archive-name": "z.didx"})
	b.close()
	r = Reader("c", 1700000000)
	m = formats.manifest_parse(r.download("index.json.blob"))
	assert "extra" not in m and m["unprotected"]["mine"] == [1]
	assert m["unprotected"]["chunk_upload_stats"]["size"] > 0
	END
	pbs_do idle
}

@test "a lost connection takes the snapshot along, and no chunk or group" {
	pbs_start
	py <<-'END'
	b = begun("a", 1700000000)
	b.index("x.didx", [b"hello"])
	b.sock.close()
	END
	pbs_do idle
	[ "$(pbs_snapshots)" = "" ]
	[ "$(cat "$PBS_DIR/store1/host/a/owner")" = 'cala@pbs!node1' ]
	[ "$(pbs_chunks | wc -l)" -eq 1 ]
	[ -z "$(pbs_do locks)" ]
	pbs_do tasks | grep 'backup connection\|finished flag'
	# 3.2 keeps the lock until the connection ends, 4.x until finish
	py <<-'END'
	b = begun("a", 1700000000)
	b.index("x.didx", [b"hello"])
	b.manifest()
	b.do("POST", "/finish")
	no(400, "another backup", Backup, "a", 1700000001)
	b.close()
	END
	pbs_do idle
	pbs_do set release:='"4.2"'
	py <<-'END'
	b = begun("a", 1700000002)
	b.index("x.didx", [b"hello"])
	b.manifest()
	b.do("POST", "/finish")
	c = begun("a", 1700000003, more={"no-cache": True})
	wid = c.do("POST", "/fixed_index", {"archive-name": "g.img.fidx"})
	c.sock.close()
	END
	pbs_sound
}

@test "the reader gives what was downloaded before, and nothing else" {
	pbs_start
	pbs_do token 'id=other@pbs!t' secret=o role=DatastoreBackup
	pbs_do token 'id=other@pbs!none' secret=n
	py <<-'END'
	b = begun("a", 1700000000)
	b.index("x.didx", [b"one", b"two"])
	b.index("y.didx", [b"three"])
	b.manifest()
	b.finish()
	sha = lambda t: hashlib.sha256(t).hexdigest()
	r, q = Reader("a", 1700000000), Reader("a", 1700000000)
	no(401, "", r.chunk, sha(b"one"))
	assert formats.Index(r.download("x.didx")).size == 6
	assert formats.blob_decode(r.chunk(sha(b"one"))) == b"one"
	no(401, "", r.chunk, sha(b"three"))
	no(401, "", q.chunk, sha(b"one"))
	no(404, "", r.download, "none.blob")
	no(400, "", r.download, "none.didx")
	no(400, "extension", r.download, "none.txt")
	no(400, "'digest'", r.chunk, sha(b"one").upper())
	no(404, "", r.raw, "POST", "/finish")
	t = {"backup-type": "host", "backup-id": "a", "backup-time": 1700000000}
	no(400, "lock", call, "DELETE", "S/snapshots", t)
	no(400, "'benchmark'", Reader, "a", 1700000000, more={"benchmark": True})
	no(400, "does not exist", Reader, "a", 1700000001)
	no(400, "permission", Reader, "a", 1700000000,
	   auth="PBSAPIToken=other@pbs!none:n")
	no(400, "owner", Reader, "a", 1700000000, auth="PBSAPIToken=other@pbs!t:o")
	assert len(r.raw("GET", "/speedtest")) == 1 << 20
	END
	f=$(find "$PBS_DIR/store1/.chunks" -type f -size 1 | head -n 1)
	rm "$f"
	run pbs_client cat a 1700000000 x.didx
	[ "$status" -ne 0 ] || run pbs_client cat a 1700000000 y.didx
	[[ $output == *'unable to load chunk'* ]]
	run pbs_sound
	[ "$status" -ne 0 ]
}

@test "windows, few streams, byte by byte, late and disordered answers" {
	pbs_start
	head -c 700000 /dev/urandom >a
	pbs_do set window=70000 frame=16384 streams=1 bytewise=true
	pbs_client backup a 1700000000 x.didx=a
	pbs_do set window=33554432 frame=4194304 streams=0 bytewise=false
	pbs_do set surplus=false shuffle=0.05 hold=8
	py <<-'END'
	data = client.slurp("a")
	b = begun("b", 1700000000)
	wid = b.do("POST", "/dynamic_index", {"archive-name": "x.didx"})
	at, entries, waiting = 0, [], []
	for piece in pieces(data):
	    p, blob = chunk(piece)
	    waiting.append(b.start("POST", "/dynamic_chunk", dict(p, wid=wid), blob))
	    at += len(piece)
	    entries.append((at, bytes.fromhex(p["digest"])))
	order = []
	while len(order) < len(waiting):
	    b.read()
	    order += [s for s in b.done if s not in order]
	assert order != sorted(order), order
	for sid in waiting:
	    b.wait(sid)
	b.do("PUT", "/dynamic_index", body={
	    "wid": wid, "digest-list": [d.hex() for _, d in entries],
	    "offset-list": [0] + [e for e, _ in entries[:-1]]})
	b.close_index("x.didx", wid, entries)
	b.manifest()
	b.finish()
	END
	pbs_client cat b 1700000000 x.didx | cmp - a
	[ "$(pbs_do peak)" -ge 8 ]
	pbs_sound
}

@test "too much for a window is a protocol error" {
	pbs_start
	pbs_do set window=70000
	py <<-'END'
	import h2.exceptions
	b = begun("a", 1700000000)
	b.index("x.didx", [b"x"])
	p, blob = chunk(bytes(range(256)) * 1000)
	sid = b.start("POST", "/dynamic_chunk", dict(p, **{"encoded-size": 9 << 20}),
	              b"", end=False)
	# by hand: h2 would not
	raw = struct.pack(">I", 100000)[1:] + b"\0\0" + struct.pack(">I", sid) \
	    + bytes(100000)
	try:
	    b.sock.sendall(raw)
	    while b.goaway is None:
	        b.read()
	except Lost:
	    pass
	assert b.goaway == 3, b.goaway
	END
	pbs_do idle
	grep -q 'FlowControl' "$PBS_DIR/flags"
	[ "$(pbs_snapshots)" = "" ]
}

@test "namespaces, groups, notes, protection, prune" {
	pbs_start
	py <<-'END'
	make = lambda **k: call("POST", "S/namespace", body=k)
	assert make(name="a") == "a" and make(name="b", parent="a") == "a/b"
	assert make(name="b", parent="a") == "a/b"
	no(400, "not exist", make, name="x", parent="none")
	no(400, "'name'", make, name="a/b")
	ns = lambda **k: [x["ns"] for x in call("GET", "S/namespace", k)]
	assert ns() == ["", "a", "a/b"] and ns(parent="a") == ["a", "a/b"]
	assert ns(**{"max-depth": 0}) == [""]
	no(404, "", Session, "backup", dict(place("x", 5), ns="b"))
	os.environ["PBS_NS"] = "a/b"
	for when in (0, 3600, 86400, 90000, 2 * 86400):
	    simple("x", 1700000000 + when)
	os.environ["PBS_NS"] = ""
	assert call("GET", "S/snapshots") == [] == call("GET", "S/groups")
	g, = call("GET", "S/groups", {"ns": "a/b"})
	assert g["backup-count"] == 5 and g["owner"] == "cala@pbs!node1"
	grp = {"ns": "a/b", "backup-type": "host", "backup-id": "x"}
	t = dict(grp, **{"backup-time": 1700000000})
	assert call("GET", "S/notes", t) == ""
	call("PUT", "S/notes", body=dict(t, notes="first\nsecond ü"))
	call("PUT", "S/protected", body=dict(t, protected=True))
	call("PUT", "S/group-notes", dict(grp, notes="g\nh"))
	assert call("GET", "S/protected", t) is True
	row, = [r for r in call("GET", "S/snapshots", {"ns": "a/b"})
	        if r["backup-time"] == 1700000000]
	assert row["comment"] == "first" and row["protected"]
	assert call("GET", "S/groups", {"ns": "a/b"})[0]["comment"] == "g"
	assert call("GET", "S/notes", t) == "first\nsecond ü"
	assert [f["filename"] for f in call("GET", "S/files", t)] == [
	    "a.conf.blob", "index.json.blob"]
	no(400, "protected", call, "DELETE", "S/snapshots", t)
	no(400, "'keep-last'", call, "POST", "S/prune", body=dict(grp, **{"keep-last": 0}))
	keep = lambda **k: [(r["backup-time"] - 1700000000, r["keep"])
	    for r in call("POST", "S/prune", body=dict(grp, **{
	        n.replace("_", "-"): v for n, v in k.items()}))]
	assert all(k for _, k in keep(dry_run=True))
	want = [(0, True), (3600, False), (86400, False), (90000, True), (172800, True)]
	assert keep(keep_last=1, keep_daily=1, dry_run=True) == want
	assert keep(keep_last=1, keep_daily=1) == want
	assert len(call("GET", "S/snapshots", {"ns": "a/b"})) == 3
	no(400, "partially", call, "DELETE", "S/groups", grp)
	call("PUT", "S/protected", dict(t, protected=False))
	no(400, "not empty", call, "DELETE", "S/namespace", {"ns": "a"})
	call("DELETE", "S/snapshots", t)
	no(400, "not exist", call, "DELETE", "S/snapshots", t)
	no(400, "not exist", call, "DELETE", "S/groups", dict(grp, **{"backup-id": "z"}))
	call("DELETE", "S/namespace", {"ns": "a", "delete-groups": True})
	assert ns() == [""]
	END
	pbs_sound
}

@test "verify jobs, tasks and logs; what others may not see" {
	pbs_start
	pbs_do token 'id=other@pbs!t' secret=o role=DatastoreBackup
	py <<-'END'
	import time, urllib.parse
	b = begun("a", 1700000000)
	b.index("x.didx", [b"one" * 999])
	b.manifest()
	b.finish()
	t = {"backup-type": "host", "backup-id": "a", "backup-time": 1700000000}
	def job(**k):
	    upid = call("POST", "S/verify", body=dict(k, **{"ignore-verified": False}))
	    path = "nodes/localhost/tasks/" + urllib.parse.quote(upid, safe="")
	    while call("GET", path + "/status")["status"] == "running":
	        time.sleep(0.02)
	    return upid, path, call("GET", path + "/status")["exitstatus"]
	no(400, "do not specify", job, **{"backup-id": "a"})
	upid, path, status = job(**t)
	assert status == "OK", status
	assert upid.split(":")[7].endswith("host-a-6553F100"), upid
	row, = call("GET", "S/snapshots")
	assert row["verification"] == {"upid": upid, "state": "ok"}
	lines = call("GET", path + "/log", {"limit": 0})
	assert lines[-1]["t"].endswith("TASK OK")
	found = call("GET", "nodes/localhost/tasks", {"typefilter": "backup"})
	assert [x["worker_id"] for x in found] == ["store1:host/a"]
	other = {"auth": "PBSAPIToken=other@pbs!t:o"}
	no(403, "", call, "GET", path + "/status", **other)
	assert call("GET", "S/snapshots", **other) == []
	no(400, "owner", call, "GET", "S/notes", t, **other)
	no(403, "", call, "POST", "S/namespace", body={"name": "a"}, **other)
	assert call("GET", "access/permissions", {"path": "/datastore/store1"},
	            **other) == {"/datastore/store1": {"Datastore.Backup": True}}
	assert call("GET", "access/permissions", {"path": "/x"}, **other) == {}
	END
	chunk=$(pbs_chunks)
	printf 'not what it was' | dd of="$chunk" bs=1 seek=20 conv=notrunc status=none
	py <<-'END'
	import time, urllib.parse
	upid = call("POST", "S/verify", body={"ignore-verified": False})
	path = "nodes/localhost/tasks/" + urllib.parse.quote(upid, safe="")
	while call("GET", path + "/status")["status"] == "running":
	    time.sleep(0.02)
	assert "failed" in call("GET", path + "/status")["exitstatus"]
	b = begun("a", 1600000000)
	assert b.do("GET", "/previous_backup_time") is None
	b.sock.close()
	END
	run pbs_sound
	[ "$status" -ne 0 ]
	[[ $output == *CRC* ]]
}

@test "rules strike: cut, reset, status, RST_STREAM, GOAWAY, garbage, bytes" {
	pbs_start
	head -c 300000 /dev/urandom >a
	pbs_client backup a 1700000000 x.didx=a n.conf.blob=a
	gone() {
		run pbs_client backup b 1700000000 x.didx=a
		[ "$status" -ne 0 ]
		pbs_do idle
		[[ $(pbs_snapshots) != *host/b* ]]
		pbs_do clear
	}
	pbs_fault cut 'op=session backup' after=100000
	gone
	pbs_fault cut 'op=session backup' after=300 side=out
	gone
	for when in head late "done"; do
		pbs_fault reset 'op=POST dynamic_chunk' nth=3 "when=$when"
		gone
	done
	pbs_fault reset 'op=upgrade backup' when=done
	gone
	pbs_fault close 'op=POST finish' when=head
	gone
	pbs_fault rst 'op=POST dynamic_chunk' code=7
	gone
	[[ $output == -7* ]]
	pbs_fault goaway 'op=PUT dynamic_index' code=2 when=done
	gone
	pbs_fault garbage 'op=POST dynamic_close' hex=000001000000000000ff
	gone
	pbs_fault status 'op=POST dynamic_chunk' nth=2 status=503 text=busy when=early
	refused 503 busy pbs_client backup b 1700000000 x.didx=a
	pbs_do idle
	pbs_do clear
	pbs_fault nospace 'op=POST dynamic_chunk' nth=2
	refused 400 'No space left on device' pbs_client backup b 1700000000 x.didx=a
	pbs_do idle
	pbs_do lock id=b
	refused 400 'another backup is already running' pbs_client backup b 1700000000 x.didx=a
	pbs_do unlock id=b
	for f in flip truncate longer swap; do
		pbs_fault $f 'op=GET chunk' nth=2 after=30
		run pbs_client cat a 1700000000 x.didx
		[ "$status" -ne 0 ]
		pbs_do idle
	done
	pbs_client cat a 1700000000 x.didx | cmp - a
	old=$PBS_FINGERPRINT
	new=$(pbs_do certificate)
	[ "$new" != "$old" ]
	run pbs_client rest GET version
	[[ $output == *'another certificate'* ]]
	PBS_FINGERPRINT=$new
	pbs_fault json 'op=GET version' 'text={"data":'
	run pbs_client rest GET version
	[ "$status" -ne 0 ]
	pbs_do set chunked=true
	pbs_client rest GET S/snapshots
	pbs_fault truncate 'op=GET S/snapshots' after=20
	run pbs_client rest GET S/snapshots
	[ "$status" -ne 0 ]
	pbs_sound
}

@test "what is stored survives its restart" {
	pbs_start
	echo hello >a
	pbs_client backup a 1700000000 n.conf.blob=a
	pbs_stop
	pbs_start
	[ "$(pbs_client cat a 1700000000 n.conf.blob)" = hello ]
	pbs_sound
}

@test "plain HTTP and old TLS are refused" {
	pbs_start
	run curl -s -o /dev/null -w '%{http_code} %{redirect_url}' \
		"http://127.0.0.1:$PBS_PORT/x?y"
	[ "$output" = "301 https://127.0.0.1:$PBS_PORT/x?y" ]
	run openssl s_client -connect "127.0.0.1:$PBS_PORT" -tls1_1 \
		-cipher 'ALL:@SECLEVEL=0' </dev/null
	[ "$status" -ne 0 ]
	run openssl s_client -connect "127.0.0.1:$PBS_PORT" -alpn h2 </dev/null
	[[ $output == *'No ALPN negotiated'* ]]
}
