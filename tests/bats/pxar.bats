# A real tree into pxar and back, with a decoder in Python in between that
# shares no code with ours.

load common

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_TMPDIR" || return
	px=${CALA_BUILD:-$top/build}/tests/pxar/pxar
	[ -x "$px" ]
	sample t
	# walk leaves sockets out, and nothing else
	mkdir -p t/deep/er
	ln t/hard t/deep/er/third
	if [ "$(id -u)" = 0 ]; then
		setfacl -d -m u:7:rx t/deep 2>/dev/null || true
		touch t/caps
		setcap cap_net_raw+ep t/caps 2>/dev/null || true
	fi
}

theirs() {
	python3 "$top/tests/pbs/pxar.py" "$@"
}

# same A B: all that can be compared of two trees.
same() {
	diff <(facts "$1") <(facts "$2")
}

@test "a tree comes back from version 1, as a stream and by the tables" {
	"$px" pack t m c
	mkdir s r
	"$px" unpack s m
	same t s
	"$px" get r m - ""
	same t r
}

@test "a tree comes back from version 2, as a stream and by the tables" {
	"$px" pack t m c p
	mkdir s r
	"$px" unpack s m p
	same t s
	"$px" get r m p ""
	same t r
}

@test "the other decoder finds nothing wrong, and the same bytes" {
	"$px" pack t m1 c1
	"$px" pack t m2 c2 p2
	theirs list m1 >one
	theirs list m2 p2 >two
	cmp one two
	cmp c1 c2
	(cd t && find . -printf x | wc -c) >n
	[ "$(wc -l <one)" -eq "$(cat n)" ]
	jq -r 'select(.type == "f") | .sha256' one | sort >got
	for p in t/server.properties t/zero t/sparse t/logs/latest.log; do
		grep -q "$(sha256sum <$p | cut -d' ' -f1)" got
	done
	[ "$(jq -r 'select(.type == "h").path' one | wc -l)" -eq 2 ]
	theirs cat m1 deep/er/third | cmp - t/server.properties
	theirs cat m2 world/region/r.0.0.mca p2 |
		cmp - t/world/region/r.0.0.mca
}

@test "the other decoder reads our catalog: every name, size and time" {
	"$px" pack t m c
	theirs catalog c | jq -r 'select(.path != "root.pxar.didx") |
		[.path, .type, .size, .mtime] | @tsv' |
		sed 's/^root.pxar.didx.//' | sort >got
	theirs list m | jq -r 'select(.path != "") | if .type == "f" then
		[.path, .type, .size, .mtime[0]] else
		[.path, .type, null, null] end | @tsv' | sort >want
	diff want got
}

@test "one link of three asked for alone is the file" {
	"$px" pack t m c
	mkdir r
	"$px" get r m - deep/er/third
	cmp t/server.properties r/deep/er/third
	[ "$(stat -c %h r/deep/er/third)" -eq 1 ]
}

@test "listing and reading one name take a few small reads" {
	head -c 20000000 /dev/zero >t/world/big
	"$px" pack t m c
	"$px" ls m world 2>cost >list
	[ "$(jq -r .path list | tr '\n' ' ')" = "world/big world/region " ]
	[ "$(cat cost)" -lt 100000 ]
	"$px" cat m logs/latest.log | cmp - t/logs/latest.log
}

@test "a cut archive is never whole" {
	"$px" pack t m c
	size=$(stat -c %s m)
	for n in 0 1 55 56 1000 $((size / 2)) $((size - 1)); do
		head -c "$n" m >short
		rm -rf r
		mkdir r
		run "$px" unpack r short
		[ "$status" -eq 4 ]
	done
}
