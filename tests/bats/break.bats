# What somebody with write access to the backup folder, or bad luck, leaves
# there: no secret is told, no lock is lost, the other backups stay usable.

load common

# run sets it.
stderr=

setup() {
	cd "$BATS_TEST_TMPDIR"
	mkdir srv store
	export CALA_CONFIG=$PWD/cala.conf
	printf 'motd=hello\n' >srv/server.properties
	cat >cala.conf <<-EOT
	[server "survival"]
	path = $PWD/srv
	configuration = fast
	[server "other"]
	path = $PWD/srv
	configuration = fast
	[configuration "fast"]
	disk = local
	backup-directory = $PWD/store
	EOT
	chmod 600 cala.conf
}

@test "a backup whose record is damaged is not deleted: it may be locked" {
	id=$(cala backup survival --lock)
	echo '{ broken' >"store/$id.json"
	run --separate-stderr cala delete survival "$id"
	[ "$status" -eq 14 ]
	[[ "$stderr" == *"its record can't be read"* ]]
	[ -e "store/$id.tar.zst" ]
	[ "$(cat "store/$id.json")" = '{ broken' ]
	run cala restore survival "$id" --to back
	[ "$status" -eq 3 ]
	cmp srv/server.properties back/server.properties
	rm "store/$id.json"
	run cala delete survival "$id"
	[ "$status" -eq 0 ]
	[ ! -e "store/$id.tar.zst" ]
}

@test "a damaged record is not overwritten by rename or unlock" {
	id=$(cala backup survival --lock)
	printf 'not ours' >"store/$id.json"
	run cala unlock survival "$id"
	[ "$status" -eq 14 ]
	run cala rename survival "$id" new
	[ "$status" -eq 14 ]
	[ "$(cat "store/$id.json")" = 'not ours' ]
}

@test "a record that is a link to a secret tells nothing of it" {
	id=$(cala backup survival)
	printf 'hunter2:secret\n' >secret
	rm "store/$id.json"
	ln -s ../secret "store/$id.json"
	run cala list
	[ "$status" -eq 3 ]
	[[ "$output" == *"symbolic link"* ]]
	[[ "$output" != *hunter2* ]]
	rm "store/$id.json"
	cp secret "store/$id.json"
	run cala list
	[ "$status" -eq 3 ]
	[[ "$output" == *"not valid JSON"* ]]
	[[ "$output" != *hunter2* ]]
	[ "$(cat secret)" = 'hunter2:secret' ]
}

@test "one damaged record hides no other backup, of no other server" {
	bad=$(cala backup other)
	id=$(cala backup survival)
	n=0
	for how in 'echo {' 'head -c 5000000 /dev/zero' 'printf [%.0s {1..100000}'; do
		eval "$how" >"store/$bad.json"
		run --separate-stderr cala list survival
		[ "$status" -eq 3 ]
		[ "$(cut -f 2 <<<"$output")" = "$id" ]
		[[ "$stderr" == *"$bad.json"* ]]
		[[ "$stderr" != *"could not be asked"* ]]
		run --separate-stderr cala status survival --max-age 1h
		[ "$status" -eq 3 ]
		[ "$(cut -f 2 <<<"$output")" = "$id" ]
		run cala restore survival latest --to "back$((++n))"
		[ "$status" -eq 3 ]
		cmp srv/server.properties "back$n/server.properties"
	done
	rm "store/$bad.json"
	mkfifo "store/$bad.json"
	run timeout 10 cala list survival
	[ "$status" -eq 3 ]
}

@test "deleting one of two archives of a UUID keeps the record of the other" {
	id=$(cala backup survival)
	tar -cf "store/$id.tar" -C srv .
	run --separate-stderr cala-local rm -c fast -b "$id"
	[ "$status" -eq 0 ]
	[[ "$stderr" == *"another file of this backup stays: $id.tar.zst"* ]]
	run cala verify survival "$id"
	[ "$status" -eq 0 ]
	run cala delete survival "$id"
	[ "$status" -eq 0 ]
	[ -z "$(find store -name "$id*")" ]
}

@test "a backup from the future is no young backup" {
	id=$(cala backup survival)
	run cala status survival --max-age 1h
	[ "$status" -eq 0 ]
	sed -i -E 's/"created":"[0-9]{4}/"created":"2999/' "store/$id.json"
	run --separate-stderr cala status survival --max-age 1h
	[ "$status" -eq 10 ]
	[[ "$stderr" == *"made in the future"* ]]
	# Nor does it hide, as the latest for ever, those made since.
	echo since >srv/server.properties
	new=$(cala backup survival)
	run --separate-stderr cala cat survival latest server.properties
	[ "$status" -eq 0 ]
	[ "$output" = since ]
	[[ "$stderr" == *"$id is dated in the future and passed over"* ]]
	cala delete survival "$new"
	run cala ls survival latest
	[ "$status" -eq 0 ]
}

@test "what a closed or full standard output loses is an error" {
	cala backup survival
	for cmd in 'cala-pack -C srv .' 'cala get survival latest' \
	    'cala get --raw survival latest' 'cala list survival' \
	    'cala cat survival latest server.properties'; do
		run bash -c "$cmd >&-"
		echo "$cmd: $status"
		[ "$status" -ne 0 ]
		run bash -c "$cmd >/dev/full"
		[ "$status" -ne 0 ]
	done
	run bash -c 'cala-unpack --to new <&-'
	[ "$status" -eq 4 ]
	[ ! -e new ]
}

@test "restore --to works right after one that was killed, while it unwinds" {
	cala backup survival
	mkdir new.part
	: >new.part/.cala-restore-to
	exec 7<new.part
	flock -n 7
	( sleep 0.3; rm -r new.part ) 3>&- 7<&- &
	(
		# The unwinding unpacker: it holds the lock until all is gone.
		while [ -e new.part ]; do sleep 0.1; done
	) 3>&- &
	exec 7<&-
	run cala restore survival latest --to new
	wait
	echo "$output"
	[ "$status" -eq 0 ]
	cmp srv/server.properties new/server.properties
	[ ! -e new.part ]
}

@test "temporary files of killed runs go with the next one" {
	: >.cala.conf.0123456789ab.part
	: >.cala.conf.mine.part
	run cala-config set fast description=new
	[ "$status" -eq 0 ]
	[ ! -e .cala.conf.0123456789ab.part ]
	[ -e .cala.conf.mine.part ]
	cala backup survival
	id=$(basename run/*.lock .lock)
	: >"run/.$id.state.0123456789ab.part"
	cala backup survival
	[ "$(ls -A run)" = "$id.lock" ]
}
