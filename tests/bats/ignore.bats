#!/usr/bin/env bats
# The rules of what is not packed, through the tool.  Agreement with git is
# tests/unit/t_match.c's.

load common

setup() {
	d=$BATS_TEST_TMPDIR/srv
	mkdir -p "$d"/game/csgo/cfg "$d"/game/csgo/bin "$d"/logs
	echo 1 >"$d"/game/csgo/cfg/server.cfg
	echo 2 >"$d"/game/csgo/bin/engine
	echo 3 >"$d"/logs/a.log
	echo 4 >"$d"/logs/keep.log
	echo 5 >"$d"/top.txt
}

names() {
	cala-pack -f tar -C "$d" "$@" . >"$BATS_TEST_TMPDIR"/t.tar
	tar tf "$BATS_TEST_TMPDIR"/t.tar | LC_ALL=C sort -u
}

@test "a re-include below an excluded directory packs it without its parents" {
	run names -e '*' -e '!game/csgo/cfg'
	assert_success
	assert_output "./
game/csgo/cfg/
game/csgo/cfg/server.cfg"
}

@test "the last matching rule wins" {
	run names -e game -e '*.log' -e '!keep.log' -e '*.txt'
	assert_success
	assert_output "./
logs/
logs/keep.log"
}

@test ".pteroignore comes last and is itself packed" {
	printf '!keep.log\n# no rule\ngame/\n' >"$d"/.pteroignore
	run names -e '*.log' -e '*.txt'
	assert_success
	assert_output "./
.pteroignore
logs/
logs/keep.log"
}
