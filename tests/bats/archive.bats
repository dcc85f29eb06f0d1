# Archives of others, both ways: what GNU tar, bsdtar, zip, 7z, the compressors
# and Wings write is read, and what we write is read by them.

load common

# run sets it.
stderr=

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

# tree: what every format can hold.
tree() {
	mkdir -p src/world/region src/empty
	head -c 200000 /dev/urandom >src/world/region/r.0.0.mca
	seq 1 30000 >src/latest.log
	printf 'motd=hello\n' >src/server.properties
	: >src/zero
	ln -s server.properties src/soft
	printf 'u\n' >src/$'\xc3\xbcber'
	chmod 0640 src/server.properties
	find src -exec touch -h -d '2001-02-03T04:05:06Z' {} +
}

# back ARCHIVE: unpack it from a pipe and from a file, compare with src.
back() {
	rm -rf one two && mkdir one two
	cala-unpack -C one <"$1"
	cala-unpack -C two -i "$1"
	diff <(facts src) <(facts one)
	diff <(facts src) <(facts two)
}

@test "zip: names that are no UTF-8 come back as the bytes they are" {
	mkdir -p src/$'d\xff'
	printf 'l\n' >src/$'latin-\xe9'
	printf 'u\n' >src/$'utf-\xc3\xa9'
	printf 'b\n' >src/$'d\xff/\xc3\xa9'
	ln -s $'latin-\xe9' src/$'\xc3\xa9-to-latin'
	ln -s $'utf-\xc3\xa9' src/$'\xe9-to-utf'
	find src -exec touch -h -d '2001-02-03T04:05:06Z' {} +
	cala-pack -f zip -C src . >a.zip
	for LC_ALL in C C.UTF-8; do
		back a.zip
	done
	need 7z
	7z t a.zip
}

@test "7z: UTF-8 names come back in any locale, others spelled out" {
	mkdir src
	printf 'l\n' >src/$'latin-\xe9'
	printf 'u\n' >src/$'utf-\xc3\xa9'
	run --separate-stderr cala-pack -f 7z -o a.7z -C src .
	[ "$status" -eq 3 ]
	[[ "$stderr" == *"names that are not UTF-8 (stored with %XX): 1, first: "* ]]
	for LC_ALL in C C.UTF-8; do
		rm -rf out && mkdir out
		cala-unpack -C out <a.7z
		[ "$(cat out/$'utf-\xc3\xa9')" = u ]
		[ "$(cat out/latin-%E9)" = l ]
	done
}
