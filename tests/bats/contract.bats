# The contract of cala-driver(7), for any driver.
#
#	CALA_DRIVER       the driver's executable
#	CALA_DRIVER_CONF  a shell file that defines, for tests:
#	  driver_setup DIR   make a store below DIR and write DIR/cala.conf with a
#	                     [configuration "c"] that has a line "maintenance = no"
#	  driver_teardown    optional: undo what DIR's removal does not
#	  driver_damage UUID optional: change bytes of that stored backup
#	  driver_leftovers   optional: print what an interrupted put left
#	  driver_setup_file, driver_teardown_file
#	                     optional: once before and after all tests
#	  whole_dirs         set: put DIR takes what can't be read, too
#	  utf8_names         set: keeps no names that are not UTF-8 as they are,
#	                     which makes such a backup partial
#
# Without them: cala-local; linked as contract-toy.bats and
# contract-toydir.bats: the toy driver, which takes a stream or a directory; as
# contract-NAME.bats: cala-NAME, with contract-NAME.bash.

load common

S=11111111-aaaa-4bbb-8ccc-000000000001
S2=11111111-aaaa-4bbb-8ccc-000000000002
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa2222-0000-4000-8000-000000000002
U3=bbbb3333-0000-4000-8000-000000000003

which_driver() {
	driver=${CALA_DRIVER:-cala-local}
	conf=${CALA_DRIVER_CONF:-$BATS_TEST_DIRNAME/contract-local.bash}
	case ${BATS_TEST_FILENAME##*/} in
	contract-toy.bats | contract-toydir.bats)
		driver=${BATS_TEST_FILENAME##*/contract-}
		driver=$top/contrib/examples/cala-${driver%.bats}
		conf=$BATS_TEST_DIRNAME/contract-toy.bash ;;
	contract-*.bats)
		driver=${BATS_TEST_FILENAME##*/contract-}
		driver=cala-${driver%.bats}
		conf=${BATS_TEST_FILENAME%.bats}.bash ;;
	esac
	# shellcheck disable=SC1090
	source "$conf"
}

setup_file() {
	which_driver
	! declare -F driver_setup_file >/dev/null || driver_setup_file
}

teardown_file() {
	which_driver
	! declare -F driver_teardown_file >/dev/null || driver_teardown_file
}

setup() {
	need jq tar
	which_driver
	need "$driver"
	cd "$BATS_TEST_TMPDIR" || return
	driver_setup "$BATS_TEST_TMPDIR"
	export CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
	takes=$("$driver" info | jq -r .takes)
}

teardown() {
	! declare -F driver_teardown >/dev/null || driver_teardown
}

# tree DIR: small, with two levels and a link.
tree() {
	mkdir -p "$1/world/region" "$1/empty"
	printf 'motd=hello\n' >"$1/server.properties"
	seq 1 5000 >"$1/world/level.dat"
	printf 'r' >"$1/world/region/r.0.0.mca"
	ln -s server.properties "$1/link"
}

# store DIR [OPTION...]: put it, however this driver takes a backup.
store() {
	local dir=$1
	shift
	if [ "$takes" = dir ]; then
		d put "$dir" -s "$S" "$@"
	else
		tar -C "$dir" --format=pax -cf - . | d put -s "$S" "$@"
	fi
}

streams() {
	[ "$takes" != dir ] || inapplicable "takes directories only"
}

@test "info says what the driver can do" {
	run --separate-stderr "$driver" info
	[ "$status" -eq 0 ]
	jq -e '.v == 1 and (.driver | type) == "string" and
		(.disk | type) == "string" and (.version | type) == "string" and
		(.takes | IN("stream", "dir", "both")) and
		(.raw | type) == "boolean" and
		(.verbs - ["restore"] | sort) == (["info", "put", "get", "ls",
		"cat", "list", "set", "rm", "check", "verify", "gc"] | sort) and
		all(.keys[]; (.name | type) == "string" and
		(.type | type) == "string" and (.secret | type) == "boolean")' \
		<<<"$output"
}

@test "put prints the record, and list has the same" {
	tree t
	run --separate-stderr store t --uuid $U --name "before 'x' é" --group daily
	[ "$status" -eq 0 ]
	[ "$(wc -l <<<"$output")" -eq 1 ]
	jq -e --arg u $U --arg s $S '.v == 1 and .uuid == $u and
		.server == $s and .name == "before '"'x'"' é" and
		.group == "daily" and .locked == false and .complete == true and
		.configuration == "c" and (.disk | type) == "string" and
		.changed == 0 and .warnings_count == 0 and .warnings == [] and
		.ignored == [] and (.host | type) == "string" and
		(.created | fromdateiso8601? // (sub("\\.[0-9]+Z"; "Z") |
		fromdateiso8601)) > 1600000000 and
		(.completed | type) == "string"' <<<"$output"
	[ "$(d list | jq -cS .)" = "$(jq -cS . <<<"$output")" ]
}

@test "an empty store lists nothing, successfully" {
	run --separate-stderr d list
	[ "$status" -eq 0 ] && [ -z "$output" ]
}

@test "list -s shows that server's backups only" {
	tree t
	store t --uuid $U
	S=$S2 store t --uuid $U2
	[ "$(listed)" = "$U $U2 " ]
	[ "$(listed -s $S)" = "$U " ]
	[ "$(listed -s $S2)" = "$U2 " ]
	[ "$(listed -s 99999999-aaaa-4bbb-8ccc-000000000001)" = "" ]
}

@test "what was put comes back whole" {
	tree t
	chmod 640 t/server.properties
	touch -d '2001-02-03T04:05:06Z' t/world/level.dat
	store t --uuid $U
	mkdir out
	d get -b $U >out.tar
	tar -C out -xpf out.tar
	diff -r --no-dereference t out
	[ "$(stat -c '%a' out/server.properties)" = 640 ]
	[ "$(stat -c '%Y' out/world/level.dat)" = "$(date -d '2001-02-03T04:05:06Z' +%s)" ]
	[ "$(readlink out/link)" = server.properties ]
}

@test "get PATH gives that part under its full path" {
	tree t
	store t --uuid $U
	mkdir out
	d get -b $U world/region server.properties | tar -C out -xpf -
	[ "$(cd out && find . -type f | sort | tr '\n' ' ')" = \
		"./server.properties ./world/region/r.0.0.mca " ]
	run --separate-stderr d get -b $U world/nothing
	[ "$status" -eq 10 ]
	[ -z "$output" ]
}

@test "get --raw gives the bytes that were put" {
	streams
	[ "$("$driver" info | jq .raw)" = true ] || inapplicable "keeps no archives"
	tree t
	tar -C t -cf t.tar .
	d put -s $S --uuid $U <t.tar
	d get -b $U --raw | cmp - t.tar
}

@test "ls lists a directory" {
	tree t
	store t --uuid $U
	[ "$(d ls -b $U --json | jq -r '.type + " " + .path' | sort | tr '\n' ' ')" = \
		"d empty d world f server.properties l link " ]
	[ "$(d ls -b $U --json world | jq -r .path | sort | tr '\n' ' ')" = \
		"world/level.dat world/region " ]
	[ "$(d ls -b $U --json -R world/ | jq -r .path | sort | tr '\n' ' ')" = \
		"world/level.dat world/region world/region/r.0.0.mca " ]
	d ls -b $U --json -R | jq -se 'length == 7 and all(.[];
		has("size") and has("mtime") and (.mode | test("^0[0-7]{3}$")) and
		(.uid | type) == "number" and (.gid | type) == "number")'
	d ls -b $U --json server.properties | jq -e '.size == 11'
	d ls -b $U --json link | jq -e '.target == "server.properties"'
	[ "$(d ls -b $U | wc -l)" -eq 4 ]
	fails 10 d ls -b $U nothing
	fails 2 d ls -b $U ../x
}

@test "names are bytes" {
	mkdir t
	printf 'n\n' >$'t/new\nline'
	printf 'l\n' >$'t/latin-\xe9'
	printf 'e\n' >$'t/esc\e[1m'
	if [ -n "${utf8_names:-}" ]; then
		run --separate-stderr store t --uuid $U
		[ "$status" -eq 3 ]
		jq -e '.warnings_count == 1 and .complete == false and
			(.warnings[0] | contains("latin-\\xe9"))' <<<"$output"
		d rm -b $U
		rm $'t/latin-\xe9'
		printf 'l\n' >t/latin-é
	fi
	store t --uuid $U
	d ls -b $U --json >ls
	[ "$(wc -l <ls)" -eq 3 ]
	jq -se 'any(.[]; .path == "new\nline")' ls
	[ -n "${utf8_names:-}" ] ||
		[ "$(jq -r 'select(has("path_b64")).path_b64' ls | base64 -d)" = $'latin-\xe9' ]
	[ "$(d cat -b $U $'new\nline')" = n ]
	[ "$(d cat -b $U "$(cd t && echo latin-*)")" = l ]
	[ "$(d ls -b $U | wc -l)" -eq 3 ]
	[ "$(d ls -b $U | grep -c $'\e')" -eq 0 ]
	mkdir out
	d get -b $U | tar -C out -xf -
	diff -r t out
}

@test "cat gives a file's bytes, and parts of them" {
	tree t
	store t --uuid $U
	d cat -b $U world/level.dat | cmp - t/world/level.dat
	[ "$(d cat -b $U server.properties --offset 5)" = hello ]
	[ "$(d cat -b $U server.properties --offset 5 --length 2)" = he ]
	[ "$(d cat -b $U server.properties --offset 5000 | wc -c)" -eq 0 ]
	fails 10 d cat -b $U nothing
	fails 2 d cat -b $U world
}

@test "latest, oldest and prefixes find a backup" {
	tree t
	store t --uuid $U2 --created 2020-01-01T00:00:00Z
	store t --uuid $U --created 2022-01-01T00:00:00Z
	store t --uuid $U3 --created 2021-01-01T00:00:00Z
	echo only >t/only
	S=$S2 store t --uuid cccc4444-0000-4000-8000-000000000004
	[ "$(d cat -s $S -b latest server.properties)" = motd=hello ]
	d verify -s $S -b oldest
	[ "$(d cat -b cccc only)" = only ]
	d ls -b aaaa1 >/dev/null
	d ls -b BBBB3333 >/dev/null
	fails 2 d ls -b aaaa
	fails 10 d ls -b dddd
	fails 2 d ls -b latest
	fails 2 d ls -b no-uuid
	fails 10 d ls -s 99999999-aaaa-4bbb-8ccc-000000000001 -b latest
}

@test "a whole backup is latest before a partial one" {
	streams
	tree t
	echo whole >t/which
	store t --uuid $U --created 2020-01-01T00:00:00Z
	echo partial >t/which
	run d put -s $S --uuid $U2 --created 2021-01-01T00:00:00Z -- \
		sh -c 'tar -C t -cf - .; exit 3'
	[ "$status" -eq 3 ]
	[ "$(d cat -s $S -b latest which)" = whole ]
	[ "$(d cat -s $S -b $U2 which)" = partial ]
}

@test "set changes name, group and lock, and nothing else" {
	tree t
	store t --uuid $U --name one --group g
	d list | jq -cS 'del(.name, .group, .locked)' >before
	run --separate-stderr d set -b $U --name two --group h --lock
	[ "$status" -eq 0 ]
	jq -e '.name == "two" and .group == "h" and .locked' <<<"$output"
	d list | jq -e '.name == "two" and .group == "h" and .locked'
	d set -b $U --group '' --no-lock
	d list | jq -e '.name == "two" and (has("group") | not) and
		.locked == false'
	d list | jq -cS 'del(.name, .group, .locked)' | cmp - before
	fails 2 d set -b $U
	fails 2 d set -b aaaa1111 --name x
	fails 2 d set -b $U --name $'\xff'
	fails 2 d set -b $U --name "$(printf 'x%.0s' $(seq 256))"
	fails 10 d set -b $U2 --name x
	d list | jq -e '.name == "two"'
}

@test "a name may hold anything that is text" {
	tree t
	n=$'a "b" \\ \n\té 😀 $(x) %s'
	store t --uuid $U --name "$n"
	d list | jq -e --arg n "$n" '.name == $n'
}

@test "set --server does not take another server's backup" {
	tree t
	store t --uuid $U
	fails 15 d set -b $U --server $S2
	d set -b $U --server $S
	d list | jq -e --arg s $S '.server == $s'
}

@test "rm deletes exactly that backup" {
	tree t
	store t --uuid $U
	store t --uuid $U2
	d rm -b $U
	[ "$(listed)" = "$U2 " ]
	fails 10 d rm -b $U
	fails 10 d get -b $U
	fails 2 d rm -b aaaa
	fails 2 d rm -s $S -b latest
	fails 2 d rm
	[ "$(listed)" = "$U2 " ]
	d verify -b $U2
}

@test "rm --dry-run deletes nothing" {
	tree t
	store t --uuid $U
	d rm -b $U --dry-run
	[ "$(listed)" = "$U " ]
}

@test "a locked backup is not removed" {
	tree t
	store t --uuid $U --lock
	fails 22 d rm -b $U
	[ "$(listed)" = "$U " ]
	d verify -b $U
	d set -b $U --no-lock
	d rm -b $U
	[ "$(listed)" = "" ]
}

@test "another server's backup is not found" {
	tree t
	store t --uuid $U
	fails 10 d rm -s $S2 -b $U
	fails 10 d set -s $S2 -b $U --lock
	[ "$(listed)" = "$U " ]
}

@test "a UUID that is taken is refused, and the first stays" {
	tree t
	store t --uuid $U --name first
	echo second >t/second
	fails 15 store t --uuid $U --name second
	[ "$(d list | jq -r .name)" = first ]
	fails 10 d cat -b $U second
	d verify -b $U
}

@test "wrong usage is exit 2" {
	fails 2 "$driver"
	fails 2 "$driver" frobnicate -c c
	fails 2 "$driver" list
	fails 2 "$driver" list -c nothing
	fails 2 d list --frobnicate
	fails 2 d ls
	fails 2 d cat -b $U
	fails 2 d put --uuid $U </dev/null
	fails 2 d put -s $S --uuid nonsense </dev/null
	fails 2 d put -s $S --name $'\xff' </dev/null
}

@test "maintenance blocks what reads or changes data, and only that" {
	tree t
	store t --uuid $U
	sed -i 's/^maintenance = no/maintenance = yes/' cala.conf
	fails 20 store t --uuid $U2
	fails 20 d get -b $U
	fails 20 d cat -b $U server.properties
	fails 20 d rm -b $U
	fails 20 d gc
	[ "$(listed)" = "$U " ]
	d ls -b $U
	d set -b $U --name x
	d check
	d verify -b $U
	sed -i 's/^maintenance = yes/maintenance = no/' cala.conf
	d get -b $U >/dev/null
}

@test "a stream that is cut short stores nothing" {
	streams
	tree t
	tar -C t -cf whole.tar .
	# At a block boundary, before the end marks; inside a block; one block.
	end=$(($(stat -c %s whole.tar) / 2 / 512 * 512))
	for n in $end $((end + 100)) 512 100 1; do
		head -c "$n" whole.tar >cut
		fails 4 d put -s $S --uuid $U <cut
		[ "$(listed)" = "" ]
	done
	echo 'this is no archive' >garbage
	fails 4 d put -s $S --uuid $U <garbage
	head -c 100000 /dev/urandom >garbage
	fails 4 d put -s $S --uuid $U <garbage
	[ "$(listed)" = "" ]
	d put -s $S --uuid $U <whole.tar
}

@test "an empty stream is stored only when allowed" {
	streams
	fails 4 d put -s $S --uuid $U </dev/null
	[ "$(listed)" = "" ]
	run d put -s $S --uuid $U --allow-empty </dev/null
	[ "$status" -eq 0 ] || [ "$status" -eq 2 ]
}

@test "an empty directory is a backup" {
	mkdir t
	store t --uuid $U
	[ "$(d ls -b $U | wc -l)" -eq 0 ]
	d verify -b $U
}

# with_fd BYTES COMMAND...: BYTES wait at descriptor 9
with_fd() {
	local bytes=$1
	shift
	"$@" 9< <(printf %s "$bytes")
}

@test "--commit-fd: C commits, anything else stores nothing" {
	streams
	tree t
	tar -C t -cf t.tar .
	put9() { d put -s $S --uuid $U --commit-fd 9 <t.tar; }
	fails 4 with_fd A put9
	fails 4 with_fd '' put9
	fails 4 with_fd c put9
	fails 2 put9 9<&-
	[ "$(listed)" = "" ]
	with_fd C put9
	[ "$(listed)" = "$U " ]
	d verify -b $U
}

@test "--commit-fd does not make a truncated stream whole" {
	streams
	tree t
	tar -C t -cf - . | head -c 3000 >cut
	put9() { d put -s $S --uuid $U --commit-fd 9 <cut; }
	fails 4 with_fd C put9
	[ "$(listed)" = "" ]
}

@test "put -- COMMAND commits when the command succeeds" {
	streams
	tree t
	d put -s $S --uuid $U -- tar -C t -cf - .
	d verify -b $U
	fails 4 d put -s $S --uuid $U2 -- sh -c 'tar -C t -cf - .; exit 5'
	fails 4 d put -s $S --uuid $U2 -- \
		sh -c 'tar -C t -cf - .; kill -KILL $$'
	run -127 d put -s $S --uuid $U2 -- /nonexistent
	[ "$(listed)" = "$U " ]
}

@test "put -- COMMAND: exit 3 is a partial backup" {
	streams
	tree t
	run --separate-stderr d put -s $S --uuid $U -- \
		sh -c 'tar -C t -cf - .; exit 3'
	[ "$status" -eq 3 ]
	jq -e '.complete == false' <<<"$output"
	d list | jq -e '.complete == false'
	d verify -b $U
}

@test "--facts: the producer's report is in the record" {
	streams
	tree t
	tar -C t -cf t.tar .
	f='{"v":1,"type":"summary","ok":true,"code":0,"files":4,"entries":8,
		"size":23905,"changed":2,"excluded":1,"warnings_count":0,
		"warnings":[],"ignored":["*.log","!keep"],"later":[]}'
	echo "$f" >facts
	d put -s $S --uuid $U --facts facts <t.tar
	d list | jq -e '.files == 4 and .size == 23905 and .changed == 2 and
		.ignored == ["*.log", "!keep"] and .complete'
	jq '.code = 3 | .warnings_count = 2 | .warnings = ["a", "b"]' \
		<<<"$f" >facts
	run --separate-stderr d put -s $S --uuid $U2 --facts facts <t.tar
	[ "$status" -eq 3 ]
	jq -e '.complete == false and .warnings_count == 2 and
		.warnings == ["a", "b"]' <<<"$output"
	fails 4 d put -s $S --uuid $U3 --facts nothing <t.tar
	echo '{"v":1,"type":"summary","warnings":7}' >facts
	fails 14 d put -s $S --uuid $U3 --facts facts <t.tar
	echo 'nonsense' >facts
	fails 14 d put -s $S --uuid $U3 --facts facts <t.tar
	[ "$(listed)" = "$U $U2 " ]
}

@test "two puts at once are two backups" {
	tree t
	store t --uuid $U >a 2>&1 &
	one=$!
	store t --uuid $U2 >b 2>&1 &
	two=$!
	wait $one
	wait $two
	[ "$(listed)" = "$U $U2 " ]
	d verify -b $U
	d verify -b $U2
}

@test "two puts of one UUID at once: one is stored, the other refused" {
	streams
	tree t
	echo a >t/which
	tar -C t -cf a.tar .
	echo b >t/which
	tar -C t -cf b.tar .
	mkfifo fa fb
	d put -s $S --uuid $U --name a <fa >oa 2>ea &
	one=$!
	d put -s $S --uuid $U --name b <fb >ob 2>eb &
	two=$!
	# Both have begun before either can end.
	exec 7>fa 8>fb
	cat a.tar >&7
	cat b.tar >&8
	exec 7>&- 8>&-
	sa=0 sb=0
	wait $one || sa=$?
	wait $two || sb=$?
	echo "$sa $sb"
	[ "$sa $sb" = '0 15' ] || [ "$sa $sb" = '15 0' ]
	[ "$(listed)" = "$U " ]
	d verify -b $U
	[ "$(d cat -b $U which)" = "$(d list | jq -r .name)" ]
}

@test "SIGTERM midway stores nothing and leaves nothing" {
	streams
	mkdir t
	head -c 3000000 /dev/urandom >t/big
	tar -C t -cf t.tar .
	mkfifo f
	"$driver" put -c c -s $S --uuid $U <f >out 2>err &
	pid=$!
	exec 7>f
	# More than a pipe holds: the driver is reading when this returns.
	head -c 2500000 t.tar >&7
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	exec 7>&-
	[ "$status" -eq 143 ]
	[ ! -s out ]
	[ "$(listed)" = "" ]
	if declare -F driver_leftovers >/dev/null; then
		[ -z "$(driver_leftovers)" ]
	fi
	d put -s $S --uuid $U <t.tar
}

@test "SIGKILL midway stores nothing, and the next put works" {
	streams
	mkdir t
	head -c 3000000 /dev/urandom >t/big
	tar -C t -cf t.tar .
	mkfifo f
	"$driver" put -c c -s $S --uuid $U <f >out 2>err &
	pid=$!
	exec 7>f
	head -c 2500000 t.tar >&7
	kill -KILL $pid
	wait $pid || true
	exec 7>&-
	[ "$(listed)" = "" ]
	d put -s $S --uuid $U <t.tar
	d gc
	[ "$(listed)" = "$U " ]
	d verify -b $U
	if declare -F driver_leftovers >/dev/null; then
		[ -z "$(driver_leftovers)" ]
	fi
}

@test "check tries the store and says each step" {
	run --separate-stderr d check
	echo "$output" "$stderr"
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -ge 3 ]
}

@test "verify proves a whole backup, and 10 for none" {
	tree t
	store t --uuid $U
	run --separate-stderr d verify -b $U --read-data
	[ "$status" -eq 0 ] && [ -n "$output" ]
	d verify -b $U --read-data=50
	run d verify -b $U2
	[ "$status" -eq 10 ]
}

@test "a damaged backup is found by verify and by get" {
	declare -F driver_damage >/dev/null || skip "no way to damage it"
	tree t
	store t --uuid $U
	driver_damage $U
	run d verify -b $U
	[ "$status" -eq 14 ]
	run bash -c '"$1" get -c c -b "$2" | cat >/dev/null; exit ${PIPESTATUS[0]}' \
		_ "$driver" $U
	[ "$status" -eq 14 ]
	# It is still there: what can be saved is the owner's to decide.
	[ "$(listed)" = "$U " ]
}

@test "gc says what it did, and leaves backups alone" {
	run --separate-stderr d gc
	[ "$status" -eq 0 ] && [ -n "$output" ]
	tree t
	store t --uuid $U
	d gc
	d gc --dry-run
	[ "$(listed)" = "$U " ]
	d verify -b $U
}

@test "put takes what info says, a folder under the path of --as, and no more" {
	tree t
	case $takes in
	stream) fails 2 d put t -s $S ;;
	dir) fails 2 d put -s $S </dev/null ;;
	esac
	[ -z "$(d list)" ]
	[ "$takes" != stream ] || return 0
	d put "$PWD/t" -s $S --uuid $U --as /srv/other
	[ "$(d cat -b $U server.properties)" = motd=hello ]
}

directories() {
	[ "$takes" != stream ] || inapplicable "takes streams only"
}

@test "put DIR leaves out what the rules of --exclude-from match, and no more" {
	directories
	tree t
	touch t/a.log t/keep.log t/world/b.log t/world/#x
	printf '%s\n' '# rules' '*.log' '!keep.log' '/world/region/' >rules
	d put "$PWD/t" -s $S --uuid $U --exclude-from "$PWD/rules"
	[ "$(d ls -b $U -R --json | jq -r .path | sort | tr '\n' ' ')" = \
		"empty keep.log link server.properties world world/#x world/level.dat " ]
	fails 2 d put -s $S --uuid $U2 --exclude-from "$PWD/rules" </dev/null
	fails 10 d put "$PWD/t" -s $S --uuid $U2 --exclude-from "$PWD/none"
}

@test "put DIR: what can't be read is left out, named, and exit 3" {
	directories
	[ -z "${whole_dirs:-}" ] || inapplicable "takes what can't be read, too"
	tree t
	echo secret >t/secret
	chmod 000 t/secret
	local drop=()
	# Root without capabilities reads what its mode lets it read.
	[ "$(id -u)" != 0 ] || drop=(setpriv --inh-caps=-all --bounding-set=-all)
	run --separate-stderr "${drop[@]}" "$driver" put "$PWD/t" -c c -s $S \
		--uuid $U
	echo "$output" "$stderr"
	[ "$status" -eq 3 ]
	jq -e '.complete == false and .warnings_count == 1 and
		(.warnings[0] | contains("secret"))' <<<"$output"
	d list | jq -e '.complete == false and .warnings_count == 1'
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	d verify -b $U
}

@test "put of a DIR that is none stores nothing" {
	directories
	echo file >f
	run d put "$PWD/nothing" -s $S --uuid $U
	[ "$status" -ne 0 ] && [ "$status" -ne 3 ]
	run d put "$PWD/f" -s $S --uuid $U
	[ "$status" -ne 0 ] && [ "$status" -ne 3 ]
	[ "$(listed)" = "" ]
	fails 2 d put "$PWD/f" "$PWD" -s $S
	fails 2 d put "$PWD" -s $S -- true
	fails 2 d put "$PWD" -s $S --commit-fd 9 9</dev/null
}

@test "what a job passes on is taken: limits, memory, progress" {
	tree t
	store t --uuid $U --limit-write 1G --limit-network 1G --memory 256M \
		--no-progress
	[ "$takes" = stream ] || d put "$PWD/t" -s $S --uuid $U2 -j 2 \
		--limit-read 1G --memory 256M --progress -v
	d verify -b $U --limit-read 1G --memory 256M -j 2
	d get -b $U --limit-read 1G --memory 256M -j 2 --no-progress | tar t >/dev/null
}

@test "restore fills an empty folder, and no other" {
	"$driver" info | jq -e '.verbs | index("restore")' || inapplicable "has none"
	tree t
	chmod 640 t/server.properties
	touch -d '2001-02-03T04:05:06Z' t/world/level.dat t/empty
	store t --uuid $U
	mkdir out part full
	d restore "$PWD/out" -b $U
	diff -r --no-dereference t out
	[ "$(stat -c '%a' out/server.properties)" = 640 ]
	[ "$(stat -c '%Y' out/world/level.dat out/empty | uniq)" = "$(date -d '2001-02-03T04:05:06Z' +%s)" ]
	d restore "$PWD/part" -b $U world/region
	[ "$(cd part && find . -type f)" = ./world/region/r.0.0.mca ]
	touch full/x
	fails 15 d restore "$PWD/full" -b $U
	[ "$(ls -A full)" = x ]
	run d restore "$PWD/nothing" -b $U
	[ "$status" -ne 0 ] && [ ! -e nothing ]
	fails 10 d restore "$PWD/full" -b $U2
	sed -i 's/^maintenance = no/maintenance = yes/' cala.conf
	fails 20 d restore "$PWD/full" -b $U
}

@test "restore of a damaged backup fails" {
	"$driver" info | jq -e '.verbs | index("restore")' || inapplicable "has none"
	declare -F driver_damage >/dev/null || skip "no way to damage it"
	tree t
	store t --uuid $U
	driver_damage $U
	mkdir out
	fails 14 d restore "$PWD/out" -b $U
}
