# The tests' own machinery: packages, the runner's counting, make install.

load common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

# fake PROGRAM: a stand-in that logs how it was called.
fake() {
	mkdir -p fake
	printf '#!/bin/sh\necho "%s $*" >>%q\n%s\n' "$1" "$PWD/calls" \
	    "${2-}" >"fake/$1"
	chmod +x "fake/$1"
}

# bare PROGRAM...: a PATH with only these and our stand-ins.
bare() {
	local p
	mkdir -p bare
	for p in sh dash cat echo sort tr env grep "$@"; do
		ln -sf "$(command -v "$p")" bare/
	done
}

@test "deps says nothing and asks nobody when all is there" {
	fake apt-get
	PATH=$PWD/fake:$PATH run "$top/tests/deps" build test
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	[ ! -e calls ]
}

@test "deps -n names the packages that are missing, and only these" {
	bare
	PATH=$PWD/bare run "$top/tests/deps" -n bench
	[ "$status" -eq 0 ]
	[ "$output" = "$(printf '%s\n' libarchive-tools pigz python3 tar zstd)" ]
}

@test "deps without apt-get says exactly what to install, and fails" {
	bare id
	PATH=$PWD/bare run "$top/tests/deps" bench
	[ "$status" -eq 1 ]
	[[ $output == *'no apt-get'* ]]
	[[ $output == *$'\n  zstd'* ]]
}

@test "deps takes the package this release knows, after one update" {
	bare id touch
	fake apt-get "case \$* in *update*) : >$PWD/updated ;; esac"
	fake apt-cache "[ -e $PWD/updated ] && case \$2 in
		p7zip-full) echo '  Candidate: (none)' ;;
		*) echo '  Candidate: 1.0' ;; esac"
	fake id 'echo 0'
	PATH=$PWD/fake:$PWD/bare run "$top/tests/deps" test
	# Nothing was really installed, and deps says so.
	[ "$status" -eq 1 ]
	[[ $output == *'still missing after apt-get install'* ]]
	grep -q '^apt-get .* update$' calls
	grep '^apt-get .* install ' calls >installs
	grep -qw 7zip installs
	run ! grep -qw p7zip-full installs
}

@test "deps as an ordinary user without sudo fails with the list" {
	bare
	fake id 'echo 1000'
	fake apt-get
	PATH=$PWD/fake:$PWD/bare run "$top/tests/deps" bench </dev/null
	[ "$status" -eq 1 ]
	[[ $output == *'not root'* && $output == *zstd* ]]
	run ! grep -q apt-get calls
}

@test "deps refuses a set it does not know" {
	run "$top/tests/deps" nonsense
	[ "$status" -eq 2 ]
}

# sandbox: a project with nothing but the runner.
sandbox() {
	mkdir -p p/tests/bats
	cp "$top/tests/run" p/tests/
	at=@
	unset O TESTS JOBS
}

@test "the runner counts every case and gives the reason of every skip" {
	sandbox
	# bats takes any line that begins with @test for one of its own.
	cat >p/tests/bats/a.bats <<-END
	${at}test "one" { true; }
	${at}test "two" { skip "no such thing here"; }
	${at}test "three # with a mark" { echo said; false; }
	END
	echo '@test "four" { true; }' >p/tests/bats/b.bats
	run p/tests/run
	[ "$status" -eq 1 ]
	[[ $output == *'2 passed, 1 failed, 1 skipped'* ]]
	[[ $output == *'failed: bats a: three # with a mark'* ]]
	[ "${lines[-1]}" = 'skipped: bats a: two: no such thing here' ]
	[[ $output == *'| # said'* ]]
	[ "$(cat p/build/log/totals)" = '2 1 1' ]
}

@test "the runner ends with the totals when all passed" {
	sandbox
	echo '@test "one" { true; }' >p/tests/bats/a.bats
	run p/tests/run
	[ "$status" -eq 0 ]
	[ "${lines[-1]}" = '1 passed, 0 failed, 0 skipped' ]
}

@test "the runner counts nowhere what does not apply, and only that" {
	sandbox
	cat >p/tests/bats/a.bats <<-END
	${at}test "one" { true; }
	${at}test "two" { skip "does not apply: takes streams only"; }
	${at}test "three" { echo "# skip does not apply: not said by skip"; false; }
	END
	run p/tests/run
	[ "$status" -eq 1 ]
	[[ $output == *'1 passed, 1 failed, 0 skipped'* ]]
	[[ $output == *'failed: bats a: three'* ]]
}

@test "the runner takes no test, no end and no plan for a failure" {
	sandbox
	run p/tests/run
	[ "$status" -eq 1 ]
	printf 'load nowhere\n@test "one" { true; }\n' >p/tests/bats/a.bats
	run p/tests/run
	[ "$status" -eq 1 ]
	echo '@test "kills its runner" { kill -9 $PPID; kill -9 $$; }' \
	    >p/tests/bats/a.bats
	run p/tests/run
	[ "$status" -eq 1 ]
	echo '@test "hangs" { sleep 600; }' >p/tests/bats/a.bats
	TEST_TIMEOUT=1 run p/tests/run
	[ "$status" -eq 1 ]
	[[ $output == *'did not end within 1 s'* ]]
	run p/tests/run nonsense
	[ "$status" -eq 1 ]
	[[ $output == *"no test is called 'nonsense'"* ]]
}

@test "the runner ends what a test left running" {
	sandbox
	cat >p/tests/bats/a.bats <<-END
	${at}test "leaves two behind" {
		sleep 600 3>&- &
		echo \$! >$PWD/left
		setsid sh -c 'echo \$\$ >>$PWD/left; exec sleep 600' 3>&- &
		while [ "\$(wc -l <$PWD/left)" -lt 2 ]; do sleep 0.01; done
	}
	END
	run p/tests/run
	[ "$status" -eq 0 ]
	for pid in $(cat left); do
		run ! kill -0 "$pid"
	done
}

# built: the tools as they are, with nothing that could start a compiler.
built() {
	mkdir -p b
	cp -a "${CALA_BUILD:-$top/build}"/cala* b/
}

install_to() {
	make -s -C "$top" O="$PWD/b" -o all "$1" DESTDIR="$PWD/d" PREFIX=/usr
}

@test "make install puts everything under DESTDIR, uninstall takes it away" {
	built
	install_to install
	[ -x d/usr/bin/cala ]
	[ -f d/usr/share/man/man1/cala.1 ]
	[ -f d/usr/share/man/man5/cala.conf.5 ]
	[ -f d/usr/share/doc/cala/README ]
	[ -f d/usr/share/doc/cala/examples/cala.conf ]
	grep -q '^ExecStart=/usr/bin/cala ' d/usr/share/doc/cala/examples/cala@.service
	[ -f d/usr/share/bash-completion/completions/cala ]
	[ -f d/usr/share/zsh/site-functions/_cala ]
	[ -f d/usr/share/fish/vendor_completions.d/cala.fish ]
	for tool in "$top"/bin/*.c; do
		tool=$(basename "$tool" .c)
		[ -x "d/usr/bin/$tool" ]
		[ "$(stat -c %a "d/usr/bin/$tool")" = 755 ]
		[ -f "d/usr/share/man/man1/$tool.1" ]
		[ -e "d/usr/share/bash-completion/completions/$tool" ]
		d/usr/bin/"$tool" --version | grep -q "^$tool "
	done
	# Links point beside themselves, wherever the tree is put.
	run -1 grep -r . <(find d -type l -lname '/*')
	run -1 grep . <(find d -xtype l)
	install_to install
	install_to uninstall
	run -1 grep . <(find d ! -type d)
	[ ! -e d/usr/share/doc/cala ]
}

@test "make install never writes below /etc" {
	built
	install_to install
	[ ! -e d/etc ]
}

@test "a header change rebuilds its users, nothing else does" {
	make -s -C "$top" O="$PWD/o" "$PWD/o/lib/base/str.o" \
	    "$PWD/o/lib/base/buf.o"
	run make -s -C "$top" O="$PWD/o" -q "$PWD/o/lib/base/str.o"
	[ "$status" -eq 0 ]
	run make -C "$top" O="$PWD/o" -n -W lib/base/str.h \
	    "$PWD/o/lib/base/str.o" "$PWD/o/lib/base/buf.o"
	grep -q -- '-c -o .*/str\.o' <<<"$output"
	run ! grep -q -- '-c -o .*/buf\.o' <<<"$output"
	run make -C "$top" O="$PWD/o" CFLAGS=-O1 -n "$PWD/o/lib/base/str.o"
	[[ $output == *' -O1 '* ]]
}

@test "what was built is hardened" {
	if [ -n "${CALA_SANITIZE-}" ]; then
		# Its own kind of hardening; that it is there is what counts.
		nm -D "$CALA_BUILD/cala-pack" | grep -q __asan_init
		return
	fi
	run readelf -hldW "${CALA_BUILD:-$top/build}/cala-pack"
	[ "$status" -eq 0 ]
	[[ $output == *'DYN (Position-Independent Executable file)'* ]]
	[[ $output == *GNU_RELRO* ]]
	[[ $output == *NOW* ]]
	[[ $output =~ GNU_STACK[^\n]*\ RW\  ]]
}

@test "the generator makes the same bytes for the same seed" {
	"$top/tests/gen-tree" --small a
	"$top/tests/gen-tree" --small b
	"$top/tests/gen-tree" --small --seed 2 c
	diff -r --no-dereference a b
	run ! diff -rq a c
	[ "$(find a -type f | wc -l)" -gt 500 ]
	run "$top/tests/gen-tree" --small a
	[ "$status" -ne 0 ]
	"$top/tests/gen-tree" --many 1001 m
	[ "$(find m -type f | wc -l)" -eq 1001 ]
	[ -z "$(find m -type f -size +4096c)" ]
}
