# Hooks: programs before and after a backup.

load common

setup() {
	PATH=$PATH:$top/contrib/examples
	cd "$BATS_TEST_TMPDIR"
	mkdir srv store
	export CALA_CONFIG=$PWD/cala.conf
	echo hello >srv/file
	hook pre 'exit 0'
	hook post 'env | grep ^CALA_ | sort >post.env; echo ran >>post.ran'
	conf
}

# hook NAME SCRIPT
hook() {
	printf '#!/bin/sh\ncd %s\n%s\n' "$PWD" "$2" >"$1"
	chmod 755 "$1"
}

conf() {
	cat >cala.conf <<-EOT
	[server "survival"]
	path = $PWD/srv
	configuration = toy
	pre-backup = $PWD/pre one "two three"
	post-backup = $PWD/post
	$(printf '%s\n' "$@")
	[configuration "toy"]
	disk = toy
	directory = $PWD/store
	archive-format = tar
	EOT
	chmod 600 cala.conf
}

stored() {
	find store -name '*.tar' | wc -l
}

@test "hooks run before and after, without a shell, stdin closed, stdout on stderr" {
	hook pre 'printf "<%s>" "$@" >pre.args; cat >pre.stdin
		tr "\0" "\n" </proc/$PPID/comm >pre.parent; echo noise'
	run --separate-stderr cala backup survival --name n
	[ "$status" -eq 0 ]
	[[ $output =~ ^[0-9a-f-]{36}$ ]]
	[[ $stderr == *noise* ]]
	[ "$(cat pre.args)" = '<one><two three>' ]
	[ ! -s pre.stdin ]
	[ "$(cat pre.parent)" = cala ]
	grep -qx CALA_CODE=0 post.env
	grep -qx "CALA_BACKUP=$output" post.env
	grep -qx CALA_BACKUP_NAME=n post.env
	grep -qx CALA_STAGE=post-backup post.env
	grep -qx CALA_SERVER_NAME=survival post.env
	grep -qx "CALA_PATH=$PWD/srv" post.env
	grep -qx CALA_CONFIGURATION=toy post.env
	grep -qx CALA_DISK=toy post.env
	grep -qx CALA_BYTES=6 post.env
}

@test "75 from pre-backup skips the backup with status 0; post-backup still runs" {
	hook pre 'exit 75'
	run --separate-stderr cala backup survival
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	[ "$(stored)" -eq 0 ]
	grep -qx CALA_CODE=75 post.env
}

@test "a failing pre-backup stops the backup, and post-backup runs" {
	hook pre 'exit 9'
	run --separate-stderr cala backup survival
	[ "$status" -eq 1 ]
	[[ $stderr == *"pre-backup: exited with status 9"* ]]
	[ "$(stored)" -eq 0 ]
	grep -qx CALA_CODE=1 post.env
}

@test "a hook that is not there is 127, one that can't be run 126" {
	rm pre
	run cala backup survival
	[ "$status" -eq 127 ]
	echo x >pre
	run cala backup survival
	[ "$status" -eq 126 ]
	[ "$(stored)" -eq 0 ]
	[ "$(wc -l <post.ran)" -eq 2 ]
}

@test "a hook that takes too long is ended with all it started" {
	hook pre 'sleep 600 & echo $! >sleeper; wait'
	conf 'hook-timeout = 1s'
	run --separate-stderr cala backup survival
	[ "$status" -eq 18 ]
	[ "$(stored)" -eq 0 ]
	[ "$(cat post.ran)" = ran ]
	# Dead: gone, or a zombie that nobody has fetched yet.
	[[ $(ps -o stat= -p "$(cat sleeper)") =~ ^(Z.*)?$ ]]
}

@test "post-backup runs after a failed backup, too" {
	rmdir store
	: >store
	run cala backup survival
	[ "$status" -ne 0 ]
	grep -q 'CALA_CODE=[1-9]' post.env
}

@test "a failing post-backup leaves the backup and says so: status 3" {
	hook post 'exit 1'
	run --separate-stderr cala backup survival
	[ "$status" -eq 3 ]
	[[ $stderr == *"post-backup: exited with status 1"* ]]
	[ "$(stored)" -eq 1 ]
	[ -z "$(compgen -G "run/*.state")" ]
}

@test "what a hook leaves in the background does not hold the lock" {
	hook pre 'sleep 600 >/dev/null 2>&1 3>&- & echo $! >>sleeper'
	cala backup survival
	run cala backup survival
	[ "$status" -eq 0 ]
	xargs kill <sleeper
}

@test "hooks of [cala] hold where a server has none of its own" {
	sed -i '/^p[a-z]*-backup/d' cala.conf
	printf '[cala]\npost-backup = %s/post\n' "$PWD" >>cala.conf
	cala backup survival
	[ "$(cat post.ran)" = ran ]
}

@test "a damaged note of what a killed run owes ends no backups" {
	cala backup survival
	state=$(find run -name '*.lock')
	state=${state%.lock}.state
	for note in '' noise '[1' '{"v":1}' '{"job":"backup"}'; do
		printf '%s' "$note" >"$state"
		run --separate-stderr cala backup survival
		[ "$status" -eq 3 ] || [ "${note%%:*}" = '{"v"' ] ||
			[ "${note%%:*}" = '{"job"' ]
		[ -n "$output" ]
		[ ! -e "$state" ]
	done
	printf noise >"$state"
	run --separate-stderr cala break-lock survival
	[ "$status" -eq 3 ]
	[[ $stderr == *'not valid JSON'*'may be'*'owed'* ]]
	[ -z "$(find run -type f)" ]
}
