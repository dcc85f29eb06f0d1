# cala-browse over the driver's own ls, cat and get.

load common

setup() {
	PATH=$PATH:$top/contrib/examples
	cd "$BATS_TEST_TMPDIR"
	mkdir srv store keep
	export CALA_CONFIG=$PWD/cala.conf
	export TMPDIR=$BATS_TEST_TMPDIR
	cat >cala.conf <<-EOT
	[server "survival"]
	path = $PWD/srv
	configuration = toy
	[configuration "toy"]
	disk = toy
	directory = $PWD/store
	archive-format = tar
	[configuration "local"]
	disk = local
	backup-directory = $PWD/keep
	EOT
	chmod 600 cala.conf
	mkdir -p srv/world/region srv/logs
	echo hello >srv/file
	seq 1 9000 >srv/world/region/r.0.0.mca
	ln -s file srv/soft
	touch -d '2001-02-03T04:05:06Z' srv/logs/old.log
	printf 'x' >srv/$'new\nline'
	printf 'y' >srv/$'latin-\xe9'
}

@test "tree indents what is below; names can't fool a terminal" {
	cala backup survival
	run --separate-stderr cala-browse tree survival latest
	[ "$status" -eq 0 ]
	grep -qx 'world/' <<<"$output"
	grep -qx '  region/' <<<"$output"
	grep -qx '    r.0.0.mca' <<<"$output"
	grep -qx 'soft -> file' <<<"$output"
	grep -qxF 'new\nline' <<<"$output"
	run --separate-stderr cala-browse tree survival latest world
	[ "$(head -1 <<<"$output")" = "region/" ]
	run cala-browse tree survival latest nonesuch
	[ "$status" -eq 10 ]
}

@test "find by name, path, type, size and time; -0 gives exact bytes" {
	cala backup survival
	f() { cala-browse find "$@" survival latest; }
	[ "$(f --name 'r.*.mca')" = world/region/r.0.0.mca ]
	[ "$(f --name 'world/*/r.0*')" = world/region/r.0.0.mca ]
	[ "$(f --type l)" = soft ]
	[ "$(f --larger 10K)" = world/region/r.0.0.mca ]
	[ "$(f --older 2002-01-01 --type f)" = logs/old.log ]
	[ "$(f --newer 1h --smaller 7 --name 'fil?')" = file ]
	f --type f -0 | tr '\0' '@' | grep -q 'line@'
	f --name 'latin*' -0 | grep -qaz $'^latin-\xe9$'
	[ "$(f --name 'latin*' --json | jq -r .path_b64 | base64 -d | od -An -tx1 | tr -d ' \n')" = 6c6174696e2de9 ]
	run f --type xx
	[ "$status" -eq 2 ]
}

@test "diff of a backup and the directory it was made of is empty" {
	cala backup survival
	run --separate-stderr cala-browse diff survival latest
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "diff names what came, went and changed, and how" {
	a=$(cala backup survival)
	rm srv/soft
	echo more >>srv/file
	chmod 600 srv/logs/old.log
	mkdir srv/plugins
	echo x >srv/plugins/p.jar
	rm -r srv/world/region
	echo now-a-file >srv/world/region
	run --separate-stderr cala-browse diff survival latest
	[ "$status" -eq 0 ]
	want=$(printf '%s\n' $'~\tfile\tsize,mtime' $'~\tlogs/old.log\tmode' \
		$'+\tplugins' $'+\tplugins/p.jar' $'-\tsoft' \
		$'~\tworld/region\ttype' $'-\tworld/region/r.0.0.mca')
	[ "$output" = "$want" ]
	b=$(cala backup survival)
	run --separate-stderr cala-browse diff survival "$a" "$b"
	[ "$output" = "$want" ]
	run --separate-stderr cala-browse diff survival "$b" "$a" --json
	[ "$(jq -r 'select(.path == "plugins") | .change' <<<"$output")" = removed ]
	mkdir other
	run --separate-stderr cala-browse diff survival "$b" --dir other
	[ "$(grep -c '^-' <<<"$output")" -eq "$(cala-browse ls -R survival "$b" | wc -l)" ]
	[ -z "$(grep '^[+~]' <<<"$output")" ]
}

@test "diff between two disks" {
	a=$(cala backup survival)
	b=$(cala backup survival -c local)
	run --separate-stderr cala-browse diff survival "$a" "$b"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "ls, cat and get are the driver's" {
	cala backup survival
	[ "$(cala-browse cat survival latest file)" = hello ]
	cala-browse ls survival latest world | grep -q region
	cala-browse get survival latest world | tar t | grep -qx world/region/r.0.0.mca
	run cala-browse frob survival latest
	[ "$status" -eq 2 ]
	run cala browse cat survival latest nonesuch
	[ "$status" -eq 10 ]
}

@test "a reader that goes away ends a listing without a word" {
	seq -f 'srv/logs/%06g' 4000 | xargs touch
	cala backup survival -c local
	for verb in find tree 'ls -R'; do
		# shellcheck disable=SC2086 # a verb and its option
		run --separate-stderr bash -c \
		    'cala-browse "$@" | head -n 1; exit "${PIPESTATUS[0]}"' - \
		    $verb -c local survival latest
		[ "$status" -eq 141 ] || [ "$status" -eq 0 ]
		[ -z "$stderr" ]
	done
}

@test "a listing that a full disk swallows is a failure" {
	cala backup survival
	local cmd
	for cmd in 'cala list' 'cala ls survival latest' \
	    'cala-browse find survival latest' 'cala-resolve survival' \
	    'cala-browse diff survival latest --dir keep' 'cala --help'; do
		run bash -c "$cmd >/dev/full"
		[ "$status" -ne 0 ]
	done
}
