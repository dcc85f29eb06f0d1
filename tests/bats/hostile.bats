# Archives that mean harm: whatever they say, nothing outside the target may
# change, and the exit status tells.

load common

# run sets it.
stderr=

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
	mkdir outside out
	echo canary >outside/canary
	echo secret >outside/secret && chmod 600 outside/secret
	mkdir outside/dir && echo x >outside/dir/x
	touch -d 2001-02-03T04:05:06Z outside/* outside
	before=$(facts outside)
	passwd=$(stat -c '%a %u %g %h %y' /etc/passwd; sha256sum </etc/passwd)
}

teardown() {
	[ "$(facts outside)" = "$before" ]
	[ "$(stat -c '%a %u %g %h %y' /etc/passwd; sha256sum </etc/passwd)" = "$passwd" ]
}

# make CODE: python that adds to the tar t; f(name, bytes, **) and
# e(name, type, **) are there.
make() {
	python3 - "$BATS_TEST_TMPDIR" "$1" <<'PY' || return 1
import io, sys, tarfile
top = sys.argv[1]
t = tarfile.open("t.tar", "w", format=tarfile.PAX_FORMAT)
def e(name, type, data=None, **kw):
    i = tarfile.TarInfo(name)
    i.type = type
    i.mode = 0o666
    for k, v in kw.items():
        setattr(i, k, v)
    if data is not None:
        i.size = len(data)
    t.addfile(i, io.BytesIO(data) if data is not None else None)
def f(name, data=b"evil\n", **kw):
    e(name, tarfile.REGTYPE, data, **kw)
SYM, LNK, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
CHR, BLK, FIFO = tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE
exec(sys.argv[2])
t.close()
PY
}

@test "absolute names land inside" {
	make 'f(top + "/outside/canary"); f("/etc/passwd"); f("//etc//x")'
	run cala-unpack -C out <t.tar
	[ "$status" -eq 0 ] || [ "$status" -eq 3 ]
	[ ! -e /etc/x ]
}

@test "names that climb are left out, exit 3" {
	make 'f("../outside/canary"); f("a/../../outside/canary"); f(".."); f("ok", b"fine"); e("../outside", DIR, mode=0o777); e("../outside/new", DIR)'
	run --separate-stderr cala-unpack -C out <t.tar
	[ "$status" -eq 3 ]
	[ "$(cat out/ok)" = fine ]
	[ "$(ls -A out)" = ok ]
	[ ! -e outside/new ]
}

@test "a symbolic link and then a file through it" {
	make 'e("l", SYM, linkname=top + "/outside"); f("l/canary"); f("l/new"); e("m", SYM, linkname="../outside"); f("m/dir/x"); e("m/dir", DIR, mode=0o777); e("c", SYM, linkname=top + "/outside/canary"); f("c", b"good")'
	run --separate-stderr cala-unpack -C out <t.tar
	[ "$status" -eq 3 ]
	[[ "$stderr" == *"a symbolic link is in the way; not followed"* ]]
	[ -L out/l ] && [ ! -L out/c ] && [ "$(cat out/c)" = good ]
	[ ! -e outside/new ]
}

@test "a directory that turns into a link and back" {
	make '
for i in range(20):
    e("d", DIR, mode=0o777); f("d/f%d" % i); e("d", SYM, linkname="../outside"); f("d/canary"); f("d/new")'
	run cala-unpack -C out <t.tar
	[ "$status" -eq 3 ]
	[ ! -e outside/new ]
}

@test "a link that was there before is not followed either" {
	ln -s ../outside out/l
	make 'f("l/canary"); f("l/sub/new")'
	run cala-unpack -C out <t.tar
	[ "$status" -eq 3 ]
	[ -L out/l ]
	make 'e("l", DIR); f("l/canary", b"mine")'
	run cala-unpack -C out <t.tar
	[ "$status" -eq 0 ]
	[ ! -L out/l ] && [ "$(cat out/l/canary)" = mine ]
}

@test "hard links to outside, and through a link" {
	make 'e("h1", LNK, linkname="/etc/passwd"); f("h1"); e("h2", LNK, linkname="../outside/secret"); e("l", SYM, linkname="../outside"); e("h3", LNK, linkname="l/secret"); f("h3", mode=0o777); e("h4", LNK, linkname="l"); f("h4", b"good")'
	run cala-unpack -C out <t.tar
	[ "$status" -eq 3 ]
	[ "$(stat -c %h outside/secret)" = 1 ]
	[ "$(cat out/h4)" = good ]
}

@test "a link's metadata never reaches its target" {
	make 'e("s", SYM, linkname="../outside/secret", mode=0o777, mtime=1, uid=1234, gid=1234)
'
	run cala-unpack -C out <t.tar
	[ "$status" -eq 0 ]
	[ -L out/s ]
}

@test "devices need root; with it they are devices" {
	make 'e("n", CHR, devmajor=1, devminor=3); e("b", BLK, devmajor=7, devminor=200); e("p", FIFO)'
	run cala-unpack -C out <t.tar
	[ -p out/p ]
	if [ "$(id -u)" = 0 ]; then
		[ "$status" -eq 0 ] && [ -c out/n ] && [ -b out/b ]
	else
		[ "$status" -eq 3 ] && [ ! -e out/n ]
	fi
}

@test "a file for a directory and the reverse: warnings, exit 3" {
	make 'f("a", b"file"); f("a/b"); e("a", DIR); e("d", DIR); f("d/x", b"x"); f("d"); e("d", SYM, linkname="a")'
	run cala-unpack -C out <t.tar
	[ "$status" -eq 3 ]
	[ "$(cat out/a)" = file ] && [ "$(cat out/d/x)" = x ]
}

@test "the same name many times: the last one stands" {
	make '
for i in range(500): f("x", b"%d" % i)
f("big", b"1" * 700000); f("big", b"2" * 300000); f("big", b"3")'
	for j in 1 4; do
		cala-unpack -j $j -C out <t.tar
		[ "$(cat out/x)" = 499 ] && [ "$(cat out/big)" = 3 ]
	done
}

@test "names with control characters reach no terminal" {
	make 'f("a\x1b]0;owned\x07b"); f("n\nl"); f("../\x1b[2Jx"); f("a\x1b]0;owned\x07b/y")'
	run --separate-stderr cala-unpack -vv -C out <t.tar
	[ "$status" -eq 3 ]
	[[ "$stderr" != *$'\x1b'* ]]
	run --separate-stderr cala-unpack -n -C out <t.tar
	[[ "$output" != *$'\x1b'* ]]
}

@test "100,000 components are refused, 900 are made" {
	make 'f("a/" * 100000 + "f"); f("b/" * 900 + "f", b"deep"); f("ok", b"fine")'
	run cala-unpack -C out <t.tar
	[ "$status" -eq 3 ] || [ "$status" -eq 14 ]
	[ ! -e out/a ]
}

@test "a size that is only announced costs nothing" {
	python3 - <<'PY'
import tarfile
i = tarfile.TarInfo("huge")
i.size = 1 << 60
open("t.tar", "wb").write(i.tobuf(tarfile.GNU_FORMAT) + b"x" * 5000)
PY
	run --separate-stderr cala-unpack --max-size 1G -C out <t.tar
	[ "$status" -eq 16 ]
	run --separate-stderr cala-unpack -C out <t.tar
	[ "$status" -eq 4 ] || [ "$status" -eq 14 ] || [ "$status" -eq 16 ]
	[ -z "$(ls -A out)" ]
}

@test "a bomb stops at --max-size" {
	head -c 300M /dev/zero >zeros
	tar -c zeros | zstd -q >bomb.tar.zst
	rm zeros
	run cala-unpack --max-size 100M -C out <bomb.tar.zst
	[ "$status" -eq 16 ]
	[ -z "$(ls -A out)" ]
}

@test "entries stop at --max-entries; without, memory does not grow" {
	python3 - <<'PY' | gzip -1 >t.tar.gz
import sys, tarfile
for i in range(200000):
    sys.stdout.buffer.write(tarfile.TarInfo("d/%06d" % i).tobuf(tarfile.USTAR_FORMAT))
sys.stdout.buffer.write(bytes(1024))
PY
	run cala-unpack --max-entries 1000 --to few <t.tar.gz
	[ "$status" -eq 16 ]
	[ ! -e few ]
	run python3 - <<'PY'
import resource, subprocess
n = 0
p = subprocess.Popen(["cala-unpack", "-n", "-C", "out"], stdin=open("t.tar.gz"),
                     stdout=subprocess.PIPE)
n = sum(1 for _ in p.stdout)
assert p.wait() == 0 and n == 200000, n
kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
assert kib < 256 * 1024, kib
PY
	[ "$status" -eq 0 ]
}

@test "zip: climbing names, absolute names, links" {
	python3 - "$BATS_TEST_TMPDIR" <<'PY'
import sys, zipfile
top = sys.argv[1]
z = zipfile.ZipFile("t.zip", "w")
z.writestr("../outside/canary", "evil")
z.writestr("/etc/cala-evil", "evil")
z.writestr("a\\..\\..\\outside\\x", "evil")
l = zipfile.ZipInfo("l")
l.create_system = 3
l.external_attr = 0o120777 << 16
z.writestr(l, top + "/outside")
z.writestr("l/canary", "evil")
z.writestr("ok", "fine")
z.close()
PY
	for how in '-i t.zip' '-i -'; do
		rm -rf out && mkdir out
		# shellcheck disable=SC2086
		run cala-unpack $how -C out <t.zip
		[ "$status" -eq 3 ]
		[ "$(cat out/ok)" = fine ]
		[ ! -e /etc/cala-evil ] && [ ! -e outside/x ]
	done
}

@test "noise is no archive" {
	head -c 100000 /dev/urandom >noise
	for n in 0 1 512 100000; do
		run bash -c "head -c $n noise | cala-unpack --to new"
		[ "$status" -eq 14 ] || [ "$status" -eq 4 ]
		[ ! -e new ] && [ ! -e new.part ]
	done
}

@test "somebody swaps directories for links while we unpack" {
	make '
for i in range(4000): f("d/%d/%d" % (i % 300, i))'
	mkdir out/d && ln -s ../outside out/l
	python3 - <<'PY' &
import ctypes, os
libc = ctypes.CDLL(None)
while not os.path.exists("stop"):
    for _ in range(200):
        libc.renameat2(-100, b"out/d", -100, b"out/l", 2)
PY
	pid=$!
	run cala-unpack -C out <t.tar
	touch stop
	wait $pid
	[ "$status" -eq 0 ] || [ "$status" -eq 3 ]
	[ "$(ls -A outside)" = "$(printf 'canary\ndir\nsecret')" ]
}

@test "entries that are only announced cost nothing, and are missed" {
	python3 - <<'PY'
import io, struct, zipfile, zlib
b = io.BytesIO()
z = zipfile.ZipFile(b, "w", zipfile.ZIP_DEFLATED)
z.writestr("f00000", bytes(10000000))
z.close()
d = b.getvalue()
i = d.rindex(b"PK\5\6")
n, l, o = struct.unpack("<HII", d[i + 10:i + 20])
def end64(n, l, o):
    return struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, n, n, l, o) + \
        struct.pack("<IIQI", 0x07064b50, 0, i, 1) + \
        struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, 0xffff, 0xffff, 0xffffffff, 0xffffffff, 0)
open("many.zip", "wb").write(d[:i] + end64(10**9, l, o))
open("directory.zip", "wb").write(d[:i] + end64(1, 2**62, o))
# 2000 names for one place in the file
m = b"".join(d[o:o + l].replace(b"f00000", b"f%05d" % k) for k in range(2000))
open("overlap.zip", "wb").write(d[:o] + m +
    struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, 2000, 2000, len(m), o, 0))
# the sizes in both headers are a lie
e = bytearray(d)
e[o + 24:o + 28] = e[22:26] = struct.pack("<I", 10)
open("size.zip", "wb").write(e)
def seven(name, h, size=None):
    s = struct.pack("<QQI", 0, size or len(h), zlib.crc32(h))
    open(name, "wb").write(b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(s)) + s + h)
many = b"\xff" + struct.pack("<Q", 10**9)
seven("files.7z", b"\x01\x05" + many + b"\x00\x00")
seven("packs.7z", b"\x01\x04\x06\x00" + many + b"\x09" + b"\x01" * 5)
seven("header.7z", b"", 1 << 40)
PY
	for f in many.zip directory.zip overlap.zip size.zip files.7z packs.7z \
	    header.7z; do
		python3 - $f <<'PY'
import resource, subprocess, sys
for argv in ["cala-unpack", "-C", "out"], ["cala-unpack", "-C", "out", "-i", sys.argv[1]]:
    s = subprocess.run(argv, stdin=open(sys.argv[1])).returncode
    assert s in (4, 14), (sys.argv[1], s)
kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
assert kib < 256 * 1024, kib
PY
	done
	# of the 2000 names at most one can have come
	[ "$(du -sm out | cut -f1)" -lt 30 ]
}

@test "windows of 2 GiB, bombs in zip and 7z, negative sizes" {
	need zip 7z
	head -c 20M /dev/zero | zstd -q --ultra -1 --long=31 >window.tar.zst
	run --separate-stderr cala-unpack -C out <window.tar.zst
	[ "$status" -eq 14 ]
	[[ "$stderr" == *"zstd -d --long=31"* ]]
	head -c 100M /dev/zero >zeros
	zip -q1 bomb.zip zeros
	7z a -bd -mx=1 bomb.7z zeros >/dev/null
	rm zeros
	for f in bomb.zip bomb.7z; do
		run cala-unpack --max-size 10M -C out <$f
		[ "$status" -eq 16 ]
		[ -z "$(ls -A out)" ]
	done
	python3 - <<'PY'
import tarfile
b = bytearray(tarfile.TarInfo("negative").tobuf(tarfile.GNU_FORMAT))
b[124:136] = b"\xff" * 12
b[148:156] = b" " * 8
b[148:156] = b"%06o\0 " % sum(b)
open("t.tar", "wb").write(bytes(b) + bytes(1024))
PY
	run cala-unpack -C out <t.tar
	[ "$status" -eq 14 ]
}

@test "links in circles" {
	make 'e("a", SYM, linkname="b"); e("b", SYM, linkname="a"); e("s", SYM, linkname="s"); f("a/f"); f("s/f"); e("h", LNK, linkname="a"); e("g", LNK, linkname="g"); e("i", LNK, linkname="j"); e("j", LNK, linkname="i"); f("ok", b"fine")'
	for how in '-i t.tar' '-i -'; do
		rm -rf out && mkdir out
		# shellcheck disable=SC2086
		run timeout 60 cala-unpack $how -C out <t.tar
		[ "$status" -eq 3 ]
		[ "$(cat out/ok)" = fine ]
		[ ! -e out/g ] && [ ! -e out/i ]
	done
}

# dictionary FILE: let an xz, lzip or 7z of one block ask for all it may.
dictionary() {
	python3 - "$1" <<'PY'
import sys, zlib
p = sys.argv[1]
b = bytearray(open(p, "rb").read())
crc = lambda x: zlib.crc32(bytes(x)).to_bytes(4, "little")
if b[:4] == b"LZIP":
    b[5] = 29                           # 512 MiB
elif b[:6] == b"\xfd7zXZ\0":
    n = (b[12] + 1) * 4                 # the block's header
    i = b.index(b"\x21\x01", 14)
    b[i + 2] = 40                       # 4 GiB
    b[12 + n - 4:12 + n] = crc(b[12:12 + n - 4])
else:
    off, size = (int.from_bytes(b[k:k + 8], "little") for k in (12, 20))
    at = 32 + off
    i = b.index(b"\x21\x21\x01", at)
    b[i + 3] = 40
    b[28:32] = crc(b[at:at + size])
    b[8:12] = crc(b[12:32])
open(p, "wb").write(b)
PY
}

@test "a dictionary that asks for gigabytes: exit 16, what to do, and no memory" {
	need xz lzip
	[ -z "${CALA_SANITIZE:-}" ] || skip "sanitizers need address space"
	make 'f("a", b"x" * 1000000)'
	mv t.tar plain.tar
	xz -c plain.tar >t.tar.xz
	lzip -c plain.tar >t.tar.lz
	cala-unpack --to ok <t.tar.xz
	for f in t.tar.xz t.tar.lz; do
		dictionary $f
		run --separate-stderr bash -c 'ulimit -v 300000
			cala-unpack -C out <'$f
		[ "$status" -eq 16 ]
		[[ $stderr == *"of memory"* && $stderr == *"hint: --memory"* ]]
		[ -z "$(ls out)" ]
	done
	# The larger one is no bomb where it is allowed.
	need=$(sed -n 's/.*--memory \([0-9]*\).*/\1/p' <<<"$stderr")
	cala-unpack --to big --memory "$need" <t.tar.lz
	cmp ok/a big/a
	# The sink that looks for its end says the same and stores nothing.
	printf '[configuration "c"]\ndisk = local\nbackup-directory = %s\n' \
		"$PWD/keep" >c.conf && chmod 600 c.conf
	run --separate-stderr cala-local --config-file c.conf put -c c \
		-s 9d8f2b6c-6a53-4a43-b6dd-0d3b8b1c9a11 <t.tar.lz
	[ "$status" -eq 16 ]
	[ -z "$(ls -A keep)" ]
	cala-local --config-file c.conf put -c c --memory "$need" \
		-s 9d8f2b6c-6a53-4a43-b6dd-0d3b8b1c9a11 <t.tar.lz
}

@test "a 7z that asks for gigabytes gets none where there are none" {
	need 7z
	[ -z "${CALA_SANITIZE:-}" ] || skip "sanitizers need address space"
	head -c 1000000 /dev/urandom >a
	7z a -bd -mhc=off t.7z a >/dev/null
	cala-unpack --to ok <t.7z
	dictionary t.7z
	run --separate-stderr bash -c 'ulimit -v 300000; cala-unpack -C out <t.7z'
	[ "$status" -eq 1 ]
	[[ $stderr == *"out of memory"* ]]
	[ -z "$(ls out)" ]
}
