# cala prune and cala copy: what goes, what stays, and where else it is.

load common

setup() {
	need jq
	PATH=$PATH:$top/contrib/examples
	cd "$BATS_TEST_TMPDIR"
	mkdir srv keep toys dirs
	export CALA_CONFIG=$PWD/cala.conf
	sid=9d8f2b6c-6a53-4a43-b6dd-0d3b8b1c9a11
	cat >cala.conf <<-EOT
	[server "$sid"]
	name = survival
	path = $PWD/srv
	configuration = local
	[configuration "local"]
	disk = local
	backup-directory = $PWD/keep
	[configuration "toy"]
	disk = toy
	directory = $PWD/toys
	[configuration "dirs"]
	disk = toydir
	directory = $PWD/dirs
	[group "survival/daily"]
	keep-daily = 2
	EOT
	chmod 600 cala.conf
	echo hello >srv/file
}

# made DAY GROUP [OPTION...]: a backup of that day; its UUID
made() {
	local day=$1 group=$2
	shift 2
	cala-pack -f tar -C srv . 2>/dev/null | cala-local put -c local \
		-s $sid --created "2026-03-${day}T12:00:00Z" \
		--group "$group" "$@" | jq -r .uuid
}

left() {
	cala list survival --json | jq -r '.backups[].created[8:10]' |
		sort | tr '\n' ' '
}

@test "prune: each group by its rules, those without any not at all" {
	for d in 01 02 03 04; do made $d daily; made $d hand; done >/dev/null
	made 05 '' >/dev/null
	run --separate-stderr cala prune survival -n
	[ "$status" -eq 0 ]
	[ "$(grep -c '^remove' <<<"$output")" -eq 2 ]
	[ "$(grep -c 'daily$' <<<"$output")" -eq 2 ]
	[ "$(grep -c 'no rule$' <<<"$output")" -eq 5 ]
	[ "$(left)" = "01 01 02 02 03 03 04 04 05 " ]
	run --separate-stderr cala prune survival
	[ "$status" -eq 0 ]
	[ "$(cut -f 1 <<<"$output" | sort -u)" = removed ]
	[ "$(left)" = "01 02 03 03 04 04 05 " ]
	# Said here: for every group, each on its own.
	cala prune survival --keep-last 1
	[ "$(left)" = "04 04 05 " ]
	[ -z "$(ls -A run | grep -v '\.lock$')" ]
}

@test "prune: --group, --json, no rule, locked, partial, the last whole one" {
	a=$(made 01 x --lock)
	b=$(made 02 x)
	c=$(made 03 x)
	made 04 y >/dev/null
	run cala prune survival
	[ "$status" -eq 2 ]
	run cala prune survival --keep-last 0
	[ "$status" -eq 2 ]
	jq -c '.complete = false' "keep/$c.json" >j && mv j "keep/$c.json"
	run --separate-stderr cala prune survival --group x --keep-within 1h \
		-n --json
	[ "$status" -eq 0 ]
	jq -se --arg a "$a" --arg b "$b" --arg c "$c" '
		(map(select(.uuid == $a))[0].rule == "locked") and
		(map(select(.uuid == $b))[0].rule == "last whole one") and
		(map(select(.uuid == $c))[0].action == "keep") and
		(map(select(.group == "y"))[0].rule == "no rule")' <<<"$output"
	cala prune survival --group x --keep-within 1h
	[ "$(left)" = "01 02 03 04 " ]
	cala unlock survival "$a"
	cala prune survival --group x --keep-last 1
	[ "$(left)" = "02 03 04 " ]
}

@test "prune: what a wrong clock has dated ahead costs no backup made since" {
	for d in 01 02 03; do made $d ''; done >/dev/null
	cala-pack -f tar -C srv . 2>/dev/null | cala-local put -c local \
		-s $sid --created 2099-03-04T12:00:00Z >/dev/null
	cala prune survival --keep-last 1
	[ "$(left)" = "03 04 " ]
	id=$(cala backup survival)
	cala prune survival --keep-last 1
	cala verify survival "$id"
}

@test "prune removes nothing of another server, or that another program made" {
	other=11111111-aaaa-4bbb-8ccc-000000000001
	made 01 '' >/dev/null
	made 02 '' >/dev/null
	cala-pack -f tar -C srv . 2>/dev/null |
		cala-local put -c local -s $other >/dev/null
	tar -C srv -czf keep/aaaa1111-0000-4000-8000-000000000001.tar.gz .
	cala prune survival --keep-last 1
	[ "$(cala list --json | jq '.backups | length')" -eq 3 ]
}

@test "a driver that lists other servers' backups, too, costs them nothing" {
	other=11111111-aaaa-4bbb-8ccc-000000000001
	mkdir bin
	cat >bin/cala-toy <<-EOT
	#!/bin/sh
	[ "\$1" != list ] || exec "$top/contrib/examples/cala-toy" list -c toy
	exec "$top/contrib/examples/cala-toy" "\$@"
	EOT
	chmod +x bin/cala-toy
	PATH=$PWD/bin:$PATH
	mine=$(cala-pack -f tar -C srv . 2>/dev/null | cala-toy put -c toy \
		-s $sid --created 2026-03-01T12:00:00Z | jq -r .uuid)
	echo other >srv/file
	theirs=$(cala-pack -f tar -C srv . 2>/dev/null | cala-toy put -c toy \
		-s $other --created 2026-03-02T12:00:00Z | jq -r .uuid)
	[ "$(cala list survival -c toy | cut -f 2)" = "$mine" ]
	[ "$(cala cat survival latest -c toy file)" = hello ]
	cala prune survival -c toy --keep-last 1
	[ -e "toys/$mine.tar" ] && [ -e "toys/$theirs.tar" ]
}

@test "prune under a running backup is 11; a store that can't be asked, its status" {
	made 01 '' >/dev/null
	mkfifo gate
	sed -i "s|^configuration = local|&\npre-backup = /bin/cat $PWD/gate|" cala.conf
	cala backup survival >/dev/null 2>&1 &
	exec 7>gate
	run cala prune survival --keep-last 1
	[ "$status" -eq 11 ]
	cala prune survival --keep-last 1 -n >/dev/null
	exec 7>&-
	wait
	rm -r keep
	run cala prune survival --keep-last 1
	[ "$status" -ne 0 ] && [ "$status" -ne 3 ]
}

@test "copy: the same backup in another configuration, under its UUID" {
	echo '*.log' >srv/.pteroignore
	id=$(cala backup survival --name 'a b' --group g --lock)
	run --separate-stderr cala copy survival latest --to toy -n
	[ "$status" -eq 0 ] && [ -z "$output" ]
	[ -z "$(ls toys)" ]
	# The toy keeps plain tar only, so what is copied has to be one.
	run cala copy survival latest --to toy
	[ "$status" -eq 4 ]
	sed -i 's/^disk = local/&\narchive-format = tar/' cala.conf
	id=$(cala backup survival --name 'a b' --group g --lock)
	run --separate-stderr cala copy survival "$id" --to toy
	echo "$stderr"
	[ "$status" -eq 0 ]
	[ "$output" = "$id" ]
	rec() { jq -S '{uuid, server, name, group, locked, created, size, files,
		complete, ignored, warnings, checksum}' "$1"; }
	[ "$(rec "keep/$id.json")" = "$(rec "toys/$id.json")" ]
	jq -e '.ignored == ["*.log"] and .configuration == "toy"' "toys/$id.json"
	cala verify survival "$id" -c toy
	cmp "keep/$id.tar" "toys/$id.tar"
	run cala copy survival "$id" --to toy -c local
	[ "$status" -eq 15 ]
	run cala copy survival "$id" --to local -c local
	[ "$status" -eq 15 ]
	run cala copy survival "$id" --to nowhere
	[ "$status" -eq 2 ]
	run cala copy survival "$id" --to dirs
	[ "$status" -eq 2 ]
	run cala copy survival "$id"
	[ "$status" -eq 2 ]
}

@test "copy: from a store of trees; partial stays partial; damage is not copied" {
	sed -i -E 's/^disk = (local|toy)$/&\narchive-format = tar/' cala.conf
	id=$(cala backup survival -c dirs)
	cala copy survival "$id" -c dirs --to local
	[ "$(cala cat survival "$id" file -c local)" = hello ]
	jq -c '.complete = false' "dirs/$id.json" >j && mv j "dirs/$id.json"
	run --separate-stderr cala copy survival "$id" -c dirs --to toy
	[ "$status" -eq 3 ]
	[ "$(jq .complete "toys/$id.json")" = false ]
	id=$(cala backup survival -c dirs)
	printf X | dd of="dirs/$id.tar" bs=1 seek=1600 conv=notrunc status=none
	run --separate-stderr cala copy survival "$id" -c dirs --to toy
	[ "$status" -eq 14 ]
	[ ! -e "toys/$id.tar" ]
	[ -z "$(ls -A run | grep -v '\.lock$')" ]
}

@test "copy: trees become archives with an index, as a backup there has one" {
	id=$(cala backup survival -c dirs)
	cala copy survival "$id" -c dirs --to local
	cala verify survival "$id" -c local
	grep -aq CALAIDX1 "keep/$id.tar.zst"
	mkdir back
	cala-unpack -C back <"keep/$id.tar.zst"
	diff -r --no-dereference srv back
	# What the source itself calls damaged is no copy.
	id=$(cala backup survival -c dirs)
	printf X | dd of="dirs/$id.tar" bs=1 seek=1600 conv=notrunc status=none
	run cala copy survival "$id" -c dirs --to local
	[ "$status" -eq 14 ]
	[ ! -e "keep/$id.tar.zst" ]
}

@test "the node is lost: the store's configuration and a UUID are enough" {
	id=$(cala backup survival)
	cat >lost.conf <<-EOT
	[configuration "local"]
	disk = local
	backup-directory = $PWD/keep
	EOT
	chmod 600 lost.conf
	export CALA_CONFIG=$PWD/lost.conf
	cala list >out
	grep "$sid" out | grep "$id"
	run --separate-stderr cala restore survival latest --to "$PWD/new"
	[ "$status" -eq 10 ]
	[[ $stderr == *"no server 'survival' in the configuration"*UUID* ]]
	cala restore $sid latest -c local --to "$PWD/new"
	[ "$(cat new/file)" = hello ]
}
