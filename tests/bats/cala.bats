# The dispatcher, with the toy driver (a shell script that keeps the contract)
# and with cala-local: what holds for one must hold for any.  Linked as
# cala-toydir.bats: with the toy that reads directories itself.

load common

setup() {
	PATH=$PATH:$top/contrib/examples
	cd "$BATS_TEST_TMPDIR"
	mkdir srv store keep
	export CALA_CONFIG=$PWD/cala.conf
	case ${BATS_TEST_FILENAME##*/} in
	cala-toydir.bats) toy=toydir ;;
	*) toy=toy ;;
	esac
	sid=9d8f2b6c-6a53-4a43-b6dd-0d3b8b1c9a11
	conf
	echo hello >srv/file
	mkdir srv/world
	seq 1 5000 >srv/world/level.dat
}

# conf [LINE...]: the configuration; lines are added to the server.
conf() {
	cat >cala.conf <<-EOT
	[server "$sid"]
	name = survival
	path = $PWD/srv
	configuration = toy
	$(printf '%s\n' "$@")
	[configuration "toy"]
	disk = $toy
	directory = $PWD/store
	archive-format = tar
	[configuration "local"]
	disk = local
	backup-directory = $PWD/keep
	EOT
	chmod 600 cala.conf
}

stored() {
	find store keep -name "*.tar*" | wc -l
}

@test "cala alone lists the commands and exits 0" {
	run --separate-stderr cala
	[ "$status" -eq 0 ]
	[ -z "$stderr" ]
	for v in backup restore list ls cat get delete lock unlock rename move \
		verify check status break-lock pack resolve; do
		[[ $output == *"  $v "* ]] || fail "no $v"
	done
}

@test "any other cala X runs cala-X with its arguments untouched" {
	mkdir bin
	printf '#!/bin/sh\nprintf "<%%s>" "$@"; exit 42\n' >bin/cala-frob
	chmod +x bin/cala-frob
	PATH=$PWD/bin:$PATH run --separate-stderr cala frob -q -- --json 'a b'
	[ "$status" -eq 42 ]
	[ "$output" = '<-q><--><--json><a b>' ]
}

@test "an unknown command is a usage error, also with a slash" {
	run --separate-stderr cala frobnicate
	[ "$status" -eq 2 ]
	[ -z "$output" ]
	[[ ${stderr_lines[0]} == "cala: error: no command 'frobnicate'" ]]
	# man says 16 for it, which is a full disk here.
	run --separate-stderr cala help frobnicate
	[ "$status" -eq 2 ]
	[[ ${stderr_lines[0]} == "cala: error: no command 'frobnicate'" ]]
	run cala ../cala-pack
	[ "$status" -eq 2 ]
	for v in policy doctor; do
		run cala $v
		[ "$status" -eq 2 ]
	done
}

@test "options may stand before the verb, and must be the verb's own" {
	run --separate-stderr cala -q list
	[ "$status" -eq 0 ]
	run --separate-stderr cala list --truncate
	[ "$status" -eq 2 ]
	run cala backup
	[ "$status" -eq 2 ]
	run cala --help
	[ "$status" -eq 0 ]
	run cala backup --help
	[ "$status" -eq 0 ]
	[[ ${lines[0]} == "usage: cala backup [options] SERVER..." ]]
	for v in backup restore list; do
		cala $v --help | awk 'length > 80 { exit 1 }'
	done
}

@test "backup prints the new UUID alone, and the record with --json" {
	run --separate-stderr cala backup survival --name n --group g --lock
	[ "$status" -eq 0 ]
	[[ $output =~ ^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$ ]]
	first=$output
	run --separate-stderr cala backup survival --json -c local
	[ "$status" -eq 0 ]
	[ "$(jq -r '.server + " " + .configuration' <<<"$output")" = "$sid local" ]
	run --separate-stderr cala list --json
	[ "$status" -eq 0 ]
	[ "$(jq '.backups | length' <<<"$output")" -eq 2 ]
	[ "$(jq -r ".backups[] | select(.uuid == \"$first\") |
		[.name, .group, .locked, .size] | @tsv" <<<"$output")" = \
		"n	g	true	$((6 + $(stat -c %s srv/world/level.dat)))" ]
	[ -z "$(ls -A run | grep -v '\.lock$')" ]
}

@test "the default name is the local time with offset" {
	TZ=America/New_York cala backup survival
	run jq -r .name store/*.json
	[[ $output =~ ^20[0-9-]{8}\ [0-9:]{8}\ -0[45]00$ ]]
}

@test "list piped is tab separated without header; --header adds it" {
	id=$(cala backup survival)
	run --separate-stderr cala list survival
	[ "${#lines[@]}" -eq 1 ]
	[ "$(cut -f 2 <<<"$output")" = "$id" ]
	[ "$(awk -F '\t' '{ print NF }' <<<"$output")" -eq 8 ]
	run --separate-stderr cala list --header
	[ "$(head -1 <<<"$output" | cut -f 1,2)" = "SERVER	BACKUP" ]
}

@test "ls, cat, get and verify find a backup by latest, oldest, UUID and prefix" {
	a=$(cala backup survival)
	echo changed >srv/file
	b=$(cala backup survival)
	[ "$(cala cat survival latest file)" = changed ]
	[ "$(cala cat survival oldest file)" = hello ]
	[ "$(cala cat survival "$a" file)" = hello ]
	[ "$(cala cat survival "${b:0:8}" file)" = changed ]
	cala ls survival latest world | grep -q level.dat
	cala ls survival latest -R --json | jq -r .path | grep -qx world/level.dat
	cala get survival latest world | tar t | grep -qx 'world/level.dat'
	run bash -o pipefail -c 'cala get survival latest --raw | tar t'
	[ "$status" -eq "$([ $toy = toy ] && echo 0 || echo 2)" ]
	cala verify survival latest
	run cala cat survival latest nonesuch
	[ "$status" -eq 10 ]
	run cala cat survival ffffffff file
	[ "$status" -eq 10 ]
	run cala cat survival xyz file
	[ "$status" -eq 2 ]
}

@test "what takes no lock needs no place for one" {
	# The driver, too, where only a capability lets that user in.
	mkdir -m 700 closed
	cp "$top/contrib/examples/cala-$toy" closed
	PATH=${PATH%:*}:$PWD/closed
	cala backup survival >/dev/null
	local user=()
	# Root always has /run/cala: be another, who may read all the same.
	[ "$(id -u)" != 0 ] || user=(setpriv --reuid=65534 --clear-groups
		--inh-caps=+dac_override --ambient-caps=+dac_override)
	bare() {
		"${user[@]}" env -u HOME -u XDG_RUNTIME_DIR -u XDG_STATE_HOME \
			-u RUNTIME_DIRECTORY "$@"
	}
	run --separate-stderr bare cala list survival
	echo "$output" "$stderr"
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 1 ]
	bare cala status survival
	run --separate-stderr bare cala backup survival
	[ "$status" -eq 2 ]
	[[ $stderr == *"no place for locks"* ]]
}

@test "a path like an option is a path" {
	echo dash >srv/-c
	cala backup survival
	run --separate-stderr cala cat survival latest -- -c
	[ "$output" = dash ]
}

@test "a UUID is searched in every configuration" {
	id=$(cala backup survival -c local)
	[ "$(cala cat survival "$id" file)" = hello ]
	[ "$(cala cat survival "${id:0:6}" file)" = hello ]
	# latest is never a union
	run cala cat survival latest file
	[ "$status" -eq 10 ]
	[ "$(cala cat survival latest file -c local)" = hello ]
}

@test "a store that can't be asked is 13, not 'no such backup'" {
	mkdir bin
	printf '#!/bin/sh\n[ "$1" = list ] && { echo down >&2; exit 13; }\nexec %s "$@"\n' \
		"$top/contrib/examples/cala-$toy" >bin/cala-$toy
	chmod +x bin/cala-$toy
	id=$(cala backup survival -c local)
	PATH=$PWD/bin:$PATH
	run --separate-stderr cala cat survival 12345678 file
	[ "$status" -eq 13 ]
	[[ $stderr == *down* ]]
	# found elsewhere: no harm
	[ "$(cala cat survival "$id" file 2>/dev/null)" = hello ]
	run --separate-stderr cala list --json
	[ "$status" -eq 13 ]
	[ "$(jq -r '.unreachable[0] | "\(.configuration) \(.code)"' <<<"$output")" = "toy 13" ]
	[ "$(jq '.backups | length' <<<"$output")" -eq 1 ]
}

@test "a folder that isn't there is a store that can't be reached: the others are listed" {
	id=$(cala backup survival -c local)
	cat >>cala.conf <<-EOT
	[configuration "away"]
	disk = local
	backup-directory = $PWD/away
	EOT
	run --separate-stderr cala list --json
	[ "$status" -eq 13 ]
	[ "$(jq -r '.backups[].uuid' <<<"$output")" = "$id" ]
	[ "$(jq -r '.unreachable[0] | "\(.configuration) \(.code)"' <<<"$output")" = "away 13" ]
	[[ $stderr == *"$PWD/away"* ]]
	run --separate-stderr cala cat survival 12345678 file
	[ "$status" -eq 13 ]
	run --separate-stderr cala status survival -c away
	[ "$status" -eq 13 ]
	mkdir -m 700 away
	run --separate-stderr cala list
	[ "$status" -eq 0 ]
	run --separate-stderr cala cat survival 12345678 file
	[ "$status" -eq 10 ]
}

@test "the node is lost: storage alone, servers by the UUID that list shows" {
	id=$(cala backup survival -c local)
	sed -n '/^\[configuration "local"/,/^$/p' cala.conf >new
	rm -r srv run
	mkdir run
	chmod 600 new
	mv new cala.conf
	server=$(cala list | cut -f 1)
	for verb in "restore $server latest --to out" "cat $server latest file" \
		"status $server" "prune $server --keep-last 1" \
		"delete $server oldest"; do
		run --separate-stderr cala $verb
		[ "$status" -eq 21 ]
		[[ $stderr == *"server '$server': no configuration"* ]]
		[[ $stderr == *"hint: say which with -c"* ]]
	done
	run --separate-stderr cala restore survival "$id" --to out
	[ "$status" -eq 10 ]
	[[ $stderr == *"'cala list' shows"* ]]
	cala restore "$server" latest --to out -c local
	[ "$(cat out/file)" = hello ]
	cala restore "$server" "$id" --to again
	[ "$(cat again/file)" = hello ]
}

@test "a driver that isn't there costs no hook and is 127" {
	conf "pre-backup = /bin/sh -c \"echo ran >$PWD/ran\""
	sed -i 's/disk = toy.*/disk = nonesuch/' cala.conf
	run --separate-stderr cala backup survival
	[ "$status" -ne 0 ]
	[ ! -e ran ]
}

@test "lock, unlock, rename, move; a locked backup is not deleted" {
	id=$(cala backup survival)
	cala lock survival "$id"
	run --separate-stderr cala delete survival "$id"
	[ "$status" -eq 22 ]
	[ "$(stored)" -eq 1 ]
	cala rename survival "$id" 'new name'
	cala move survival "$id" weekly
	[ "$(jq -r '.name + "/" + .group' store/*.json)" = "new name/weekly" ]
	cala unlock survival "$id"
	cala delete survival "$id" -n
	[ "$(stored)" -eq 1 ]
	cala delete survival "$id"
	[ "$(stored)" -eq 0 ]
}

@test "several servers: go on after a failure, the worst status wins" {
	run --separate-stderr cala backup nonesuch survival
	[ "$status" -eq 10 ]
	[ "$(stored)" -eq 1 ]
}

@test "maintenance is 20, nothing assigned 21, an unknown server 10" {
	sed -i 's/^disk = toy.*/&\nmaintenance = yes/' cala.conf
	run cala backup survival
	[ "$status" -eq 20 ]
	run cala backup survival -c toy
	[ "$status" -eq 20 ]
	sed -i '/^configuration = toy/d' cala.conf
	run cala backup survival
	[ "$status" -eq 21 ]
	run cala backup nonesuch
	[ "$status" -eq 10 ]
	[ "$(stored)" -eq 0 ]
}

@test "an unreadable file makes the backup partial: committed, status 3" {
	local drop=()
	# Root without capabilities reads what its mode lets it read.
	[ "$(id -u)" != 0 ] || drop=(setpriv --inh-caps=-all --bounding-set=-all)
	echo secret >srv/secret
	chmod 000 srv/secret
	run --separate-stderr "${drop[@]}" cala backup survival
	[ "$status" -eq 3 ]
	[ "$(jq .complete store/*.json)" = false ]
	run cala status survival
	[ "$status" -eq 10 ]
}

@test "rules that leave nothing over are no success" {
	run --separate-stderr cala backup survival -e '*'
	if [ $toy = toy ]; then
		[ "$status" -eq 4 ]
		[ "$(stored)" -eq 0 ]
	else
		# Only its driver knew, and it was stored by then.
		[ "$status" -eq 3 ]
		[[ $stderr == *"not one file"* ]]
	fi
}

@test "a failing packer stores nothing; its status is ours" {
	[ $toy = toy ] || inapplicable "cala starts no packer for it"
	mkdir bin
	printf '#!/bin/sh\n%s/cala-pack "$@"; kill -KILL $$\n' "${CALA_BUILD:-$top/build}" >bin/pack
	chmod +x bin/pack
	# beside cala, where tools are looked for first
	cp "$(command -v cala)" bin/cala && mv bin/pack bin/cala-pack
	run --separate-stderr bin/cala backup survival
	[ "$status" -eq 4 ]
	[[ $stderr == *"cala-pack: killed by SIGKILL"* ]]
	[ "$(stored)" -eq 0 ]
}

@test "status: 0 with a young whole backup, else 10" {
	run cala status survival
	[ "$status" -eq 10 ]
	cala backup survival
	run --separate-stderr cala status survival --max-age 1h
	[ "$status" -eq 0 ]
	[ "$(cut -f 1 <<<"$output")" = survival ]
	jq '.created = "2001-01-01T00:00:00Z"' store/*.json >new
	cat new >"$(ls store/*.json)"
	run --separate-stderr cala status survival --max-age 1h
	[ "$status" -eq 10 ]
	run --separate-stderr cala status survival --json
	[ "$status" -eq 0 ]
	[ "$(jq .ok <<<"$output")" = true ]
}

@test "check runs every driver's own check" {
	run --separate-stderr cala check
	[ "$status" -eq 0 ]
	[[ $output == *toy:* && $output == *local:* ]]
	rmdir store
	run cala check toy
	[ "$status" -ne 0 ]
	run cala check nonesuch
	[ "$status" -eq 2 ]
}

@test "dry run stores nothing and runs no hook" {
	conf "pre-backup = /bin/sh -c \"echo ran >$PWD/ran\""
	run --separate-stderr cala backup survival -n
	[ "$status" -eq 0 ]
	[[ $output == *level.dat* ]]
	[ "$(stored)" -eq 0 ]
	[ ! -e ran ]
}

@test "ignore rules come from configuration, server, -e and .pteroignore" {
	conf 'ignore = *.log'
	echo x >srv/a.log
	echo x >srv/b.tmp
	echo x >srv/c.old
	echo '*.old' >srv/.pteroignore
	cala backup survival -e '*.tmp'
	run cala ls survival latest -R
	[[ $output != *a.log* && $output != *b.tmp* && $output != *c.old* ]]
	[[ $output == *level.dat* ]]
}

@test "a locked server is 11 with the holder's name; --lock-wait waits" {
	mkfifo gate
	conf "pre-backup = /bin/cat $PWD/gate"
	cala backup survival >first 2>&1 &
	pid=$!
	exec 7>gate                     # opens when the hook reads
	run --separate-stderr cala backup survival
	[ "$status" -eq 11 ]
	[[ $stderr == *"pid $pid (backup)"* ]]
	run --separate-stderr cala break-lock survival
	[ "$status" -eq 11 ]
	cala backup survival --lock-wait 60s >second 2>&1 7>&- &
	second=$!
	# the second's own hook waits at the gate, too
	exec 7>&-
	wait "$pid"
	exec 7>gate
	exec 7>&-
	wait "$second"
	[ "$(stored)" -eq 2 ]
	cala break-lock survival
	[ -z "$(ls -A run)" ]
}

@test "ls into a closed pipe ends quietly by SIGPIPE" {
	mkdir srv/many
	(cd srv/many && seq 1 20000 | xargs touch)
	cala backup survival
	run bash -c 'cala ls survival latest -R 2>err | head -1; echo "${PIPESTATUS[0]}"'
	[ "${lines[1]}" -eq 141 ]
	[ ! -s err ]
}

@test "an empty directory is no backup unless it is meant" {
	mkdir void
	cat >>cala.conf <<-EOT
	[server "void"]
	path = $PWD/void
	configuration = local
	EOT
	for c in local toy; do
		run --separate-stderr cala backup void -c $c
		[ "$status" -eq 4 ]
		[ -z "$(cala list void -c $c)" ]
		cala backup --allow-empty void -c $c
		[ "$(cala list void -c $c | wc -l)" -eq 1 ]
	done
}

@test "restore, whole and in part, from any driver" {
	cala backup survival
	rm -r srv/world
	echo other >srv/file
	echo mine >srv/mine
	cala restore survival latest world
	[ "$(wc -l <srv/world/level.dat)" -eq 5000 ]
	[ "$(cat srv/file)" = other ]
	cala restore survival latest
	[ "$(cat srv/file srv/mine)" = "$(printf 'hello\nmine')" ]
	cala restore survival latest --to new
	diff -r new srv | grep -qx 'Only in srv: mine'
	[ "$(stat -c %y new/world)" = "$(stat -c %y srv/world)" ]
	cala restore survival latest --truncate
	diff -r new srv
	cala restore survival --discard-old
	rm -r srv
	cala restore survival latest
	diff -r new srv
	[ -z "$(find . -name '.cala-*' -o -name '*.part')" ]
}

@test "progress, limits, memory and jobs reach any driver" {
	opts=(--progress --limit-read 1G --limit-write 1G --limit-network 1G
		--memory 256M -j 2)
	cala backup survival "${opts[@]}"
	cala backup survival --json --no-progress | jq -e .complete
	cala restore survival latest --to new "${opts[@]}"
	rm srv/file
	cala restore survival latest "${opts[@]}"
	diff -r srv new
	cala verify survival latest "${opts[@]}"
	run cala ls survival latest --memory 1G
	[ "$status" -eq 2 ]
	# What is said here goes before what the configuration says, also 0.
	sed -i 's/^disk = toy.*/&\nlimit-read = 1M\nlimit-network = 1M/' cala.conf
	run --separate-stderr cala backup survival -v -v --limit-read 0
	[ "$status" -eq 0 ]
	[[ $stderr == *--limit-read=0* && $stderr == *--limit-network=1* ]]
	[[ $stderr != *--limit-read=1* ]]
}

@test "a limit of few descriptors is enough, or is said" {
	id=$(ulimit -n 64 && cala backup survival -c local)
	(ulimit -n 64 && cala restore survival "$id" --to "$PWD/new")
	[ "$(cat new/file)" = "$(cat srv/file)" ]
	# Far too few for anything.
	run --separate-stderr sh -c 'ulimit -n 8; exec cala backup survival -c local'
	[ "$status" -ne 0 ]
	[[ $stderr == *'Too many open files'* ]]
	run ! grep -q 'Invalid argument' <<<"$stderr"
}
