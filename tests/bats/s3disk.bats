# cala-s3 and cala on an S3 disk, against our own service: names, records,
# foreign objects, leftovers, and a store that lies.

load common
load ../s3/s3

driver=cala-s3
S=11111111-aaaa-4bbb-8ccc-000000000001
S2=11111111-aaaa-4bbb-8ccc-000000000002
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa2222-0000-4000-8000-000000000002
U3=bbbb3333-0000-4000-8000-000000000003

setup() {
	need python3 jq tar
	cd "$BATS_TEST_TMPDIR" || return
	export XDG_STATE_HOME=$BATS_TEST_TMPDIR/state
	s3_start
	s3_conf "$BATS_TEST_TMPDIR/cala.conf"
}

teardown() {
	s3_stop
}

# small UUID [SERVER]: a small backup of a fixed tree.
small() {
	mkdir -p t
	echo one >t/one
	cala-pack -C t . 2>/dev/null | d put -s "${2:-$S}" --uuid "$1" >/dev/null
}

# theirs KEY FILE: an object as a panel or anybody else stores it.
theirs() {
	s3_do put bucket=bkt "key=$1" "file=$PWD/$2" "${@:3}"
}

@test "key, content type and record are where a panel and we look for them" {
	mkdir t
	echo x >t/x
	for f in tar tar.gz tar.xz tar.lz tar.bz2 tar.lz4 tar.zst zip; do
		cala-pack -f $f -C t . | d put -s $S >rec
		key=$S/$(jq -r .uuid rec).$f
		s3_do about bucket=bkt "key=$key" | jq -r \
			'.headers["content-type"]' >>types
		[ "$(jq -r .checksum.value rec)" = \
			"$(s3_bytes "$key" | sha256sum | cut -d' ' -f1)" ]
		s3_bytes "$S/.cala/$(jq -r .uuid rec).json" | cmp - rec
		[ "$(d cat -b "$(jq -r .uuid rec)" x)" = x ]
	done
	diff types - <<-END
	application/x-tar
	application/x-gzip
	application/x-xz
	application/x-lzip
	application/x-bzip2
	application/x-lz4
	application/zstd
	application/zip
	END
	s3_sound
}

@test "the record is durable before the object appears" {
	small $U
	s3_do log | jq -r 'select(.method == "PUT") | .key' >puts
	diff puts - <<-END
	$S/.cala/$U.json
	$S/$U.tar.zst
	END
	# A store that takes no record gets no object.
	s3_fault status method=PUT "key=*.json" status=403 code=AccessDenied count=0
	fails 12 small $U2
	[ "$(s3_keys | grep -c $U2)" -eq 0 ]
	# And an object that fails takes its record along.
	s3_do clear
	s3_fault status method=PUT "key=*.zst" status=403 code=AccessDenied count=0
	fails 12 small $U2
	[ "$(s3_keys | grep -c $U2)" -eq 0 ]
	[ "$(listed)" = "$U " ]
}

@test "an answer that is lost is no failure, and no second backup" {
	mkdir t
	s3_blob 12000000 >t/x
	cala-pack -C t . >big
	small $U3
	for f in "reset op=PutObject key=*.zst when=stored" \
		"reset op=PutObject key=*.json when=stored" \
		"reset op=CompleteMultipartUpload when=stored" \
		"status op=CompleteMultipartUpload when=stored status=500" \
		"blanks op=CompleteMultipartUpload seconds=1 then=InternalError"; do
		s3_do clear
		# shellcheck disable=SC2086
		s3_fault $f count=1
		case $f in
		*Put*) cala-pack -C t one >in 2>/dev/null ;;
		*) cp big in ;;
		esac
		d put -s $S2 <in >rec
		[ "$(s3_do used)" = 1 ]
		[ "$(d list -s $S2 | jq -cS .)" = "$(jq -cS . rec)" ]
		d verify -b "$(jq -r .uuid rec)" --read-data
		d rm -b "$(jq -r .uuid rec)"
	done
	[ "$(s3_keys | wc -l)" -eq 2 ]
	s3_sound
}

@test "what a panel stored is listed, read, imported and deleted" {
	mkdir t
	seq 1 3000 >t/n
	tar -C t -czf one.tar.gz .
	tar -C t -cf two.tar .
	zstd -q -o two.tar.zst two.tar
	theirs "$S/$U.tar.gz" one.tar.gz age=86400
	theirs "$S2/$U2.tar.zst" two.tar.zst
	d list | jq -se --arg s $S --argjson n "$(stat -c %s one.tar.gz)" '
		length == 2 and all(.[]; .foreign and .disk == "s3") and
		(map(select(.server == $s)) | .[0].stored == $n)'
	d list -s $S | jq -e '.created | fromdateiso8601 < now - 86000'
	[ "$(listed -s $S2)" = "$U2 " ]
	d cat -b $U n | cmp - t/n
	d cat -s $S2 -b latest n | cmp - t/n
	d get -b $U2 | tar -xO n | cmp - t/n
	d get -b $U --raw | cmp - one.tar.gz
	d verify -b $U
	run d ls -v -b $U
	[[ $output == *"from the start"* || $output == *scann* ]]

	before=$(d list -s $S | jq -r .created)
	d import -s $S2 -n | grep -q "would import $S2/$U2"
	[ "$(s3_keys | grep -c json)" -eq 0 ]
	d import -s $S --json | jq -e --arg u $U --arg b "$before" \
		'.uuid == $u and .created == $b and (has("foreign") | not)'
	[ "$(s3_keys | grep -c json)" -eq 1 ]
	d import | grep -q "imported $S2/$U2"
	d import | grep -q 'nothing to import'
	d list | jq -se 'all(.[]; has("foreign") | not)'
	d set -b $U --name kept --lock
	fails 22 d rm -b $U
	d rm -b $U2
	[ "$(s3_keys | tr '\n' ' ')" = "$S/$U.tar.gz $S/.cala/$U.json " ] ||
		[ "$(s3_keys | sort | tr '\n' ' ')" = "$S/.cala/$U.json $S/$U.tar.gz " ]
	s3_sound
}

@test "keys that are no backups are never listed and never touched" {
	small $U
	echo x >x
	up=${S^^}
	while IFS= read -r key; do
		theirs "$key" x age=200000
	done <<-END
	$S/$U2
	$S/$U2.
	$S/$U2.sql
	$S/$U2.tar.zst.part
	$S/x/$U2.tar.gz
	$S/../$U2.tar.gz
	$S//$U2.tar.gz
	$up/$U2.tar.gz
	$S/.cala/$U2
	$S/.cala/$U2.json.bak
	$S/.cala/../$U2.json
	$S/.cala/$U3.json
	/$S/$U2.tar.gz
	$U2.tar.gz
	.cala/other
	photos/$S/$U2.tar.gz
	END
	s3_env
	s3_client put bkt $'e\e[31m\nscape' x
	s3_keys | sort >before
	[ "$(listed)" = "$U " ]
	d import
	d gc
	fails 10 d rm -b $U2
	d rm -b $U
	[ "$(s3_keys | sort | grep -vc "$U.\|$U\$")" -eq "$(grep -vc "$U.\|$U\$" before)" ]
	[ "$(listed)" = "" ]
}

@test "a record that speaks of another backup is not believed" {
	small $U
	small $U2
	s3_bytes "$S/.cala/$U2.json" >other
	theirs "$S/.cala/$U.json" other
	run --separate-stderr d list -s $S
	[ "$status" -eq 3 ]
	[[ $stderr == *"describes backup $U2"* ]]
	jq -se --arg u $U '(map(select(.uuid == $u)) | .[0].foreign)' <<<"$output"
	fails 14 d set -b $U --name x
	fails 14 d rm -b $U
	[[ $stderr == *hint* ]]
	[ "$(s3_keys | grep -c "$U")" -eq 2 ]
	# Nor one of another server, one that is nonsense, or endless.
	sed "s/$S/$S2/; s/$U2/$U/" other >wrong
	theirs "$S/.cala/$U.json" wrong
	run --separate-stderr d list
	[ "$status" -eq 3 ]
	echo '{"v":1' >wrong
	theirs "$S/.cala/$U.json" wrong
	run --separate-stderr d list
	[ "$status" -eq 3 ]
	head -c 5000000 /dev/zero >wrong
	theirs "$S/.cala/$U.json" wrong
	run --separate-stderr d list
	[ "$status" -eq 3 ]
	[ "$(d cat -b $U one)" = one ]
}

@test "a record that can't be had now is no reason to call a backup foreign" {
	small $U
	printf 'retries = 1\n' >>cala.conf
	s3_fault status method=GET "key=*.json" status=403 code=AccessDenied count=0
	fails 12 d list
	[ -z "$output" ]
	fails 12 d rm -b $U
	s3_do clear
	[ "$(listed)" = "$U " ]
}

@test "an index is read with a few small requests" {
	mkdir -p t/a t/b
	s3_blob 12000000 >t/a/big
	s3_blob 300000 >t/b/small
	seq 1 50000 >t/b/text
	cala-pack -C t . | d put -s $S --uuid $U >/dev/null
	s3_do log count=true >n0
	[ "$(d ls -b $U -s $S | wc -l)" -eq 2 ]
	d cat -b $U -s $S b/text | cmp - t/b/text
	s3_do log >requests
	tail -n +$(($(cat n0) + 1)) requests | jq -s '[.[] |
		select(.op == "GetObject") | .sent // .length // 0] | add' >bytes
	[ "$(tail -n +$(($(cat n0) + 1)) requests | wc -l)" -le 12 ]
	d verify -b $U | grep -q 'index is whole'
	d verify -b $U --read-data | grep -q SHA-256
	s3_do damage bucket=bkt "key=$S/$U.tar.zst" at=5000000
	d verify -b $U
	report_fails 14 '' d verify -b $U --read-data
}

@test "an index that lies is no index, or an error: never other bytes" {
	mkdir -p t
	s3_blob 5000000 >t/big
	seq 1 50000 >t/text
	cala-pack -C t . >whole
	size=$(stat -c %s whole)
	at=$(grep -abo CALAIDX1 whole | tail -1 | cut -d: -f1)
	# Its magic; what is in it; its hash; the seek table's count, flags and
	# magic; a frame's size there; its end.
	for hit in "$at" $((at + 12)) $((at + 40)) $((size - 9)) \
		$((size - 5)) $((size - 1)) $((size - 20)) cut; do
		cp whole bad
		if [ "$hit" = cut ]; then
			truncate -s $((size - 30)) bad
		else
			python3 - bad "$hit" <<-'END'
			import sys
			with open(sys.argv[1], "r+b") as f:
			    f.seek(int(sys.argv[2]))
			    byte = f.read(1)
			    f.seek(-1, 1)
			    f.write(bytes([byte[0] ^ 0x41]))
			END
		fi
		theirs "$S/$U.tar.zst" bad
		run --separate-stderr bash -c "cala-s3 cat -c c -s $S -b $U text >got"
		echo "$hit: $status: $stderr"
		# 3: said, and read from its start instead
		[[ $status =~ ^(0|3|14)$ ]]
		[ "$status" -eq 14 ] || cmp got t/text
		run --separate-stderr bash -c "cala-s3 get -c c -s $S -b $U >got"
		[[ $status =~ ^(0|3|14)$ ]]
		[ "$status" -eq 14 ] || tar xOf got text | cmp - t/text
		d rm -b $U >/dev/null
	done
}

@test "an object that was cut is found without reading it" {
	mkdir t
	s3_blob 200000 >t/x
	cala-pack -C t . | d put -s $S --uuid $U >/dev/null
	s3_do cut bucket=bkt "key=$S/$U.tar.zst" size=100000
	report_fails 14 '' d verify -b $U
	[[ $output == *"the record says"* ]]
	fails 14 d get -b $U --raw >/dev/null
}

@test "an object that was cut is listed, but not as whole" {
	small $U
	small $U2
	printf '[server "x"]\nuuid = %s\npath = %s/t\nconfiguration = c\n' \
		$S "$PWD" >>cala.conf
	cala status x --max-age 1h
	s3_do cut bucket=bkt "key=$S/$U2.tar.zst" size:=300
	run --separate-stderr d list -s $S
	[ "$(jq -c '[.uuid[0:8], .complete]' <<<"$output" | tr '\n' ' ')" = \
		'["aaaa1111",true] ["aaaa2222",false] ' ]
	[[ $stderr == *"$U2.tar.zst: damaged: it has 300 bytes"* ]]
	# The whole one is the newest that counts.
	[ "$(cala cat x latest one 2>err)" = one ]
	d rm -s $S -b $U
	run -10 cala status x --max-age 1h
	# A change of its name does not write that into the record.
	d set -s $S -b $U2 --name cut
	s3_bytes "$S/.cala/$U2.json" | jq -e '.complete and .name == "cut"'
}

@test "verify calls a checksum the record's only after comparing it" {
	mkdir t
	echo one >t/one
	for f in zip 7z; do
		u=${U%1}$((n += 1))
		cala-pack -f $f -C t . | d put -s $S --uuid "$u" >/dev/null
		d verify -b "$u" --read-data | grep -q "its SHA-256 is the record's"
		# What no checksum of the format's own covers.
		at=10
		[ $f = zip ] || at=6
		s3_do damage bucket=bkt "key=$S/$u.$f" at=$at
		report_fails 14 '' d verify -b "$u" --read-data
	done
	small $U2
	s3_bytes "$S/.cala/$U2.json" |
		jq -c '.checksum = {type: "other", value: "00"}' >rec
	theirs "$S/.cala/$U2.json" rec
	run -0 d verify -b $U2 --read-data
	[[ $output == *"none that cala knows"* && $output != *"SHA-256 is"* ]]
}

@test "an overlay is begun only when all of the object is known to be whole" {
	mkdir -p t v
	head -c 300000 /dev/urandom >t/a
	head -c 300000 /dev/urandom >t/b
	echo live >v/a
	cat >>cala.conf <<-END
	[server "$S"]
	name = survival
	path = $PWD/v
	configuration = c
	END
	tar cf - -C t . | gzip -1 >whole
	head -c 500000 whole >cut
	tar cf - -C t . | head -c 500000 >cut.tar
	{ (cd t && bsdtar --format zip -cf - a b) || :; } >z.zip
	python3 - z.zip <<-'END'
	import sys
	with open(sys.argv[1], "r+b") as f:
	    f.seek(-200000, 2)
	    byte = f.read(1)
	    f.seek(-1, 1)
	    f.write(bytes([byte[0] ^ 1]))
	END
	for f in cut:tar.gz cut.tar:tar z.zip:zip; do
		theirs "$S/$U.${f#*:}" "${f%:*}"
		for how in '' --truncate "--to $PWD/new"; do
			# shellcheck disable=SC2086
			run --separate-stderr cala restore -v survival $U $how
			echo "$f $how: $stderr"
			[ "$status" -eq 14 ] || { [ -n "$how" ] &&
				[ "$status" -eq 4 ]; }
			[ "$(ls -A v)" = a ] && [ "$(cat v/a)" = live ]
			[ ! -e new ]
			# What is staged is fetched once.
			if [ -z "$how" ]; then
				[[ $stderr == *'fetched once before'* ]]
			else
				[[ $stderr != *'fetched once before'* ]]
			fi
		done
		d rm -b $U >/dev/null
	done
	theirs "$S/$U.tar.gz" whole
	cala restore survival $U
	cmp t/a v/a && cmp t/b v/b
}

@test "an object that is replaced while it is read" {
	mkdir t
	s3_blob 30000000 >t/x
	cala-pack -C t . | d put -s $S --uuid $U >/dev/null
	s3_fault replace op=GetObject "key=*.zst" nth=2 size=30000000
	fails 14 sh -c 'cala-s3 get -c c -b '$U' --raw >/dev/null'
}

@test "two writers of one UUID on two machines: one wins, with its own record" {
	mkdir t
	echo a >t/which
	tar -C t -cf a.tar .
	echo b >t/which
	tar -C t -cf b.tar .
	for i in 1 2 3; do
		u=$(cat /proc/sys/kernel/random/uuid)
		mkfifo fa fb
		XDG_STATE_HOME=$PWD/m1 cala-s3 put -c c -s $S --uuid "$u" --name a \
			<fa >oa 2>ea &
		one=$!
		XDG_STATE_HOME=$PWD/m2 cala-s3 put -c c -s $S --uuid "$u" --name b \
			<fb >ob 2>eb &
		two=$!
		exec 7>fa 8>fb
		cat a.tar >&7
		cat b.tar >&8
		exec 7>&- 8>&-
		sa=0 sb=0
		wait $one || sa=$?
		wait $two || sb=$?
		echo "$i: $sa $sb"
		[ "$sa $sb" = '0 15' ] || [ "$sa $sb" = '15 0' ]
		[ "$(d cat -b "$u" which)" = \
			"$(d list | jq -r --arg u "$u" 'select(.uuid == $u).name')" ]
		rm fa fb
	done
	s3_sound ea eb
}

# in_parts: wait until an upload has a part.  One without may be there before
# its process is told so.
in_parts() {
	until s3_uploads | grep -q ' [1-9][0-9]*$'; do
		kill -0 $pid
		sleep 0.05
	done
}

@test "gc aborts what killed uploads left here, at once" {
	mkfifo f
	cala-s3 put -c c -s $S --uuid $U <f >out 2>err &
	pid=$!
	exec 7>f
	mkdir t
	s3_blob 40000000 >t/x
	tar -C t -cf t.tar .
	head -c 38000000 t.tar >&7
	in_parts
	# Not while it lives.
	d gc | grep -q 'nothing to do'
	[ -n "$(s3_uploads)" ]
	kill -KILL $pid
	wait $pid || true
	exec 7>&-
	d gc -n | grep -q "would abort an upload to $S/$U.tar"
	[ -n "$(s3_uploads)" ]
	d gc | grep -q "aborting an upload to $S/$U.tar"
	[ -z "$(s3_uploads)" ]
	d gc | grep -q 'nothing to do'
	[ -z "$(find state -name '*.upload')" ]
	s3_sound
}

# killed_put KEY: an upload by cala-s3put, killed with parts in the store.
killed_put() {
	rm -f f
	mkfifo f
	cala-s3put -c c "$1" <f >out 2>err &
	pid=$!
	exec 7>f
	s3_blob 38000000 >&7
	in_parts
	kill -KILL $pid
	wait $pid || true
	exec 7>&-
}

@test "gc aborts what a killed cala-s3put left, whatever its key" {
	killed_put mc/today
	d gc -n | grep -q 'would abort an upload to mc/today'
	[ -n "$(s3_uploads)" ]
	d gc | grep -q 'aborting an upload to mc/today'
	[ -z "$(s3_uploads)" ]
	d gc | grep -q 'nothing to do'
	s3_sound
}

@test "so does the next large upload by cala-s3put" {
	killed_put mc/today
	s3_blob 20000000 | cala-s3put -c c mc/tomorrow 2>err
	grep -q 'aborting an upload to mc/today' err
	[ -z "$(s3_uploads)" ]
	[ -z "$(find state -name '*.upload')" ]
	s3_blob 20000000 | cala-s3put -c c mc/tomorrow 2>err
	[ ! -s err ]
	s3_sound
}

@test "so does the next backup, however small" {
	killed_put mc/today
	mkdir t && echo x >t/f
	cala-pack -C t . | d put -s $S --uuid $U 2>err
	grep -q 'aborting an upload to mc/today' err
	[ -z "$(s3_uploads)" ]
	[ -z "$(find state -name '*.upload')" ]
	s3_sound
}

@test "gc: uploads of other machines only when nothing came for a day" {
	s3_do upload bucket=bkt "key=$S/$U.tar.gz" age=90000
	s3_do upload bucket=bkt "key=$S/$U2.tar.gz" age=3600
	s3_do upload bucket=bkt "key=photos/big" age=900000
	id=$(s3_do upload bucket=bkt "key=$S/$U3.tar" age=900000 | head -1)
	echo x >x
	s3_env
	s3_client part bkt "$S/$U3.tar" "$id" 1 x
	d gc >out
	cat out
	[ "$(s3_uploads | cut -d' ' -f2 | sort | tr '\n' ' ')" = \
		"$S/$U2.tar.gz $S/$U3.tar photos/big " ]
	[ "$(grep -c aborting out)" -eq 1 ]
}

@test "gc: records without object, after a day" {
	small $U
	small $U2
	small $U3
	for u in $U $U2; do
		s3_bytes "$S/.cala/$u.json" >"$u"
		d rm -b "$u"
	done
	theirs "$S/.cala/$U.json" $U age=90000
	theirs "$S/.cala/$U2.json" $U2 age=3600
	echo other >x
	theirs "$S/.cala/$U.json.x" x age=90000
	theirs .cala/check-0123456789abcdef x age=7200
	[ "$(listed)" = "$U3 " ]
	d gc --dry-run | grep -q 'would remove'
	d gc
	[ "$(s3_keys | grep -c "$U.json\$")" -eq 0 ]
	[ "$(s3_keys | grep -c "$U2.json\$")" -eq 1 ]
	[ "$(s3_keys | grep -c "check-")" -eq 0 ]
	[ "$(listed)" = "$U3 " ]
	d verify -b $U3
}

@test "an upload that was killed between record and object can be made again" {
	small $U
	s3_bytes "$S/.cala/$U.json" >rec
	d rm -b $U
	sed 's/"locked":false/"locked":true/' rec >left
	theirs "$S/.cala/$U.json" left
	small $U
	d list | jq -e '.locked == false'
	d verify -b $U
}

@test "check says what is wrong, and leaves nothing" {
	s3_keys >before
	run --separate-stderr d check
	[ "$status" -eq 0 ]
	for word in 127.0.0.1 connected signature listed stored back range \
		'in parts' aborted deleted; do
		[[ $output == *$word* ]] || { echo "$word: $output"; return 1; }
	done
	s3_keys | cmp - before
	[ -z "$(s3_uploads)" ]
	s3_sound

	S3_UNSIGNED=may
	s3_conf cala.conf "retries = 1"
	sed -i 's/^secret-key.*/secret-key = wrong/' cala.conf
	report_fails 12 '' d check
	[[ $output == *'failed: signature'* && $stderr == *hint* ]]
	s3_conf cala.conf
	sed -i 's/^bucket.*/bucket = nothing/' cala.conf
	report_fails 10 '' d check
	[[ $output == *'failed: bucket'* && $stderr == *hint* ]]
	s3_conf cala.conf "timeout = 1"
	sed -i "s,^endpoint.*,endpoint = http://127.0.0.1:$(s3_free_port)," cala.conf
	report_fails 13 '' d check
	[[ $output == *'failed: connect'* && $stderr == *hint* ]]
	sed -i 's,^endpoint.*,endpoint = http://no.such.host.invalid,' cala.conf
	report_fails 13 '' d check
	[[ $output == *'failed: resolve'* ]]
	s3_conf cala.conf "storage-class = NONSENSE"
	report_fails 2 '' d check
	[[ $output == *'failed: put'* ]]
	s3_keys | cmp - before
	s3_conf cala.conf
	s3_fault status op=AbortMultipartUpload status=403 code=AccessDenied count=1
	report_fails 12 '' d check
	[[ $output == *'failed: multipart'* ]]
	[ -z "$(s3_uploads)" ]
	s3_do clear
	s3_fault status method=DELETE status=403 code=AccessDenied count=0
	report_fails 12 '' d check
	[[ $output == *'failed: delete'* || $output == *'failed: multipart'* ]]
}

@test "check: the certificate" {
	s3_stop
	s3_start --tls
	S3_ENDPOINT=$S3_TLS_URL s3_conf cala.conf "cacert = $S3_CA"
	d check | grep -q 'certificate is trusted'
	small $U
	[ "$(d cat -b $U one)" = one ]
	S3_ENDPOINT=$S3_TLS_URL s3_conf cala.conf
	report_fails 17 '' d check
	[[ $output == *'failed: TLS'* && $stderr == *cacert* ]]
}

@test "credentials: the environment, when the configuration has none" {
	small $U
	sed -i '/^access-key/d; /^secret-key/d' cala.conf
	fails 12 d list
	[[ $stderr == *AWS_ACCESS_KEY_ID* ]]
	export HOME=$PWD
	mkdir .aws
	printf '[ops]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
		"$S3_ACCESS" "$S3_SECRET" >.aws/credentials
	chmod 600 .aws/credentials
	AWS_PROFILE=ops run -0 d list
	echo "aws-profile = ops" >>cala.conf
	[ "$(listed)" = "$U " ]
	sed -i '/^aws-profile/d' cala.conf
	export AWS_ACCESS_KEY_ID=$S3_ACCESS AWS_SECRET_ACCESS_KEY=$S3_SECRET
	[ "$(listed)" = "$U " ]
	s3_sound
}

@test "credentials that expire are read again, and 12 when there are none" {
	export HOME=$PWD
	mkdir .aws
	s3_do key access=TEMP secret=first token=tok1
	sed -i '/^access-key/d; /^secret-key/d' cala.conf
	printf '[default]\ncredential_process = /bin/sh %s/process\n' "$PWD" \
		>.aws/config
	cat >process <<-'END'
	n=$(cat "$HOME/asked" 2>/dev/null || echo 0)
	echo $((n + 1)) >"$HOME/asked"
	cat "$HOME/key$n" 2>/dev/null || cat "$HOME/key1"
	END
	echo '{"Version":1,"AccessKeyId":"TEMP","SecretAccessKey":"first","SessionToken":"old"}' >key0
	echo '{"Version":1,"AccessKeyId":"TEMP","SecretAccessKey":"first","SessionToken":"tok1"}' >key1
	s3_fault status op=ListObjectsV2 status=400 code=ExpiredToken count=1
	d list
	[ "$(cat asked)" -eq 2 ]
	s3_do clear
	s3_fault status op=ListObjectsV2 status=400 code=ExpiredToken count=0
	fails 12 d list
}

@test "lists that lie are refused, or what they say is not believed" {
	small $U
	fault() {
		s3_do clear
		s3_fault body op=ListObjectsV2 status=200 count=0 "$@"
	}
	list() {
		printf '%s' '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>'
		printf '<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"x"</ETag><Size>%s</Size></Contents>' "$@"
		printf '</ListBucketResult>'
	}
	list "$S/../../etc/passwd" 1 "../$S/$U.tar" 1 "$S/$U.tar/../x" 1 >body
	fault "file=$PWD/body"
	run -0 d list
	[ -z "$output" ]
	list "$S/$U.tar&#10;x" 1 >body
	fault "file=$PWD/body"
	run -0 d list
	[ -z "$output" ]
	list "$S/$U.tar" -5 >body
	fault "file=$PWD/body"
	fails 14 d list
	list "$S/$U.tar" 99999999999999999999999 >body
	fault "file=$PWD/body"
	fails 14 d list
	{ list "$S/$U.tar" 1; list "$S/$U.tar" 1; } >body
	fault "file=$PWD/body"
	fails 14 d list
	printf '<!DOCTYPE x [<!ENTITY a "aaaa">]><ListBucketResult>&a;</ListBucketResult>' >body
	fault "file=$PWD/body"
	fails 14 d list
	# More than exists: the object that was promised is not there.
	list "$S/$U2.tar.zst" 123456 >body
	fault "file=$PWD/body"
	run d get -s $S -b $U2 --raw
	[ "$status" -eq 10 ] || [ "$status" -eq 14 ]
}

@test "a size that the list invents is no size to trust" {
	small $U
	n=$(s3_bytes "$S/$U.tar.zst" | wc -c)
	e=$(s3_do about bucket=bkt "key=$S/$U.tar.zst" | jq -r .etag)
	printf '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"%s"</ETag><Size>%s</Size></Contents></ListBucketResult>' \
		"$S/$U.tar.zst" "$e" $((n + 500)) >body
	s3_fault body op=ListObjectsV2 status=200 count=0 "file=$PWD/body"
	report_fails 14 '' d verify -s $S -b $U
	run d ls -s $S -b $U
	[ "$status" -eq 14 ] || [ "$status" -eq 0 ]
	run d get -s $S -b $U
	[ "$status" -eq 14 ] || [ "$status" -eq 0 ]
}

@test "a list of 100 MB and more is refused in little memory" {
	{
		printf '<?xml version="1.0"?><ListBucketResult><Contents><Key>'
		head -c 100000000 /dev/zero | tr '\0' k
		printf '</Key></Contents></ListBucketResult>'
	} >body
	s3_fault body op=ListObjectsV2 status=200 count=0 "file=$PWD/body"
	run --separate-stderr s3_peak peak cala-s3 list -c c
	[ "$status" -eq 14 ]
	[ "$(cat peak)" -lt 60000 ]
	rm body
}

@test "a bucket full of strangers: asked by server, in little memory" {
	small $U
	small $U2 $S2
	for i in 1 2 3 4 5 6; do
		python3 - $i >page$i <<-'END'
		import sys
		n = int(sys.argv[1])
		print('<?xml version="1.0"?><ListBucketResult><KeyCount>1000'
		      '</KeyCount><IsTruncated>true</IsTruncated>'
		      '<NextContinuationToken>t%d</NextContinuationToken>' % n)
		for i in range(1000):
		    print('<Contents><Key>a/%d/%s</Key><LastModified>2026-01-01T'
		          '00:00:00.000Z</LastModified><ETag>"x"</ETag><Size>1'
		          '</Size></Contents>' % (n * 1000 + i, 'k' * 900))
		print('</ListBucketResult>')
		END
		s3_fault body op=ListObjectsV2 status=200 count=1 "file=$PWD/page$i"
	done
	s3_peak peak cala-s3 list -c c >out
	[ "$(jq -r .uuid out | sort | tr '\n' ' ')" = "$U $U2 " ]
	[ "$(s3_count op=ListObjectsV2)" -ge 9 ]
	echo "peak: $(cat peak) KiB"
	[ "$(cat peak)" -lt 60000 ]
}

@test "one UUID under two servers: -s says which" {
	small $U
	small $U $S2
	fails 2 d rm -b $U
	[[ $stderr == *"$S"* && $stderr == *"$S2"* ]]
	fails 2 d cat -b $U one
	[ "$(d cat -s $S2 -b $U one)" = one ]
	d rm -s $S2 -b $U
	[ "$(listed)" = "$U " ]
	[ "$(d list | jq -r .server)" = $S ]
}

@test "set does not undo what another set did meanwhile" {
	small $U
	d set -b $U --name one
	s3_bytes "$S/.cala/$U.json" >one
	sed 's/"locked":false/"locked":true/' one >two
	# Between our reading and our writing somebody locks it.
	s3_fault stall op=PutObject "key=*.json" when=head seconds=1
	cala-s3 set -c c -b $U --name three >out 2>err &
	pid=$!
	until [ "$(s3_do used | tail -1)" = 1 ]; do sleep 0.02; done
	theirs "$S/.cala/$U.json" two
	status=0
	wait $pid || status=$?
	cat err
	[ "$status" -eq 11 ]
	d list | jq -e '.locked and .name == "one"'
}

@test "what the store keeps is not removed: 22" {
	s3_env
	s3_client make locked lock
	S3_BUCKET=locked s3_conf cala.conf 'object-lock-mode = governance' \
		'object-lock-retention = 1d'
	d check >out
	grep -q 'locks objects' out
	small $U
	fails 22 d rm -b $U
	[[ $stderr == *"until"* ]]
	[ "$(listed)" = "$U " ]
	d set -b $U --name renamed
	d list | jq -e '.name == "renamed"'
}

@test "a lock is a legal hold where the store locks objects" {
	s3_env
	s3_client make locked lock
	S3_BUCKET=locked s3_conf cala.conf 'object-lock-legal-hold = no' \
		'object-lock-mode = governance' 'object-lock-retention = 1'
	small $U
	d set -b $U --lock
	s3_do about bucket=locked "key=$S/$U.tar.zst" | jq -e '.hold == "ON" or .hold == true'
	fails 22 d rm -b $U
	d set -b $U --no-lock
	s3_do about bucket=locked "key=$S/$U.tar.zst" | jq -e '.hold != "ON" and .hold != true'
	until d rm -b $U; do sleep 0.3; done
	[ "$(listed)" = "" ]
	[ "$(S3_BUCKET=locked s3_keys | grep -c tar)" -eq 0 ]
}

# The dispatcher with this disk, whichever service is behind it.
cycle() {
	local u f
	keys() { s3_client ls bkt "$S/" | cut -d" " -f2; }
	s3_env
	mkdir -p v/$S/world
	echo motd=hello >v/$S/server.properties
	seq 1 5000 >v/$S/world/level.dat
	cat >>cala.conf <<-END
	[cala]
	volumes = $PWD/v
	node = n
	[node "n"]
	configuration = c
	[server "$S"]
	name = survival
	END
	cala backup survival --name first
	u=$(cala list survival --json | jq -r '.backups[].uuid')
	[ "$(keys | grep -c "^$S/$u.tar.zst\$")" -eq 1 ]
	cala list survival | grep -q first
	cala ls survival latest world | grep -q level.dat
	[ "$(cala cat survival latest server.properties)" = motd=hello ]
	cala get survival latest world | tar -xO world/level.dat |
		cmp - v/$S/world/level.dat
	cala rename survival "$u" second
	cala list survival | grep -q second
	cala lock survival "$u"
	run cala delete survival "$u"
	[ "$status" -eq 22 ]
	cala unlock survival "$u"
	cala verify survival latest
	cala verify survival latest --read-data
	cala check c
	cala restore survival latest --to "$PWD/out"
	diff -r v/$S out
	for f in none:tar gz:tar.gz xz:tar.xz lzip:tar.lz bz2:tar.bz2 lz4:tar.lz4; do
		sed -i '/^compression/d' cala.conf
		sed -i "s/^bucket = bkt/&\ncompression = ${f%:*}/" cala.conf
		cala backup survival
		keys | grep -q "\.${f#*:}\$"
	done
	cala delete survival "$u"
	[ "$(cala list survival --json | jq '.backups | length')" -eq 6 ]
}

@test "cala on an S3 disk: backup, list, look, restore, lock, delete" {
	cycle
	s3_sound
}

@test "cala on MinIO" {
	s3_stop
	s3_service minio "$PWD/minio"
	s3_conf cala.conf
	cycle
}

@test "cala on versitygw" {
	s3_stop
	s3_service versitygw "$PWD/versitygw"
	s3_conf cala.conf
	cycle
}

@test "killed at any moment: what is listed is whole, and gc leaves nothing" {
	mkdir t
	s3_blob 20000000 >t/x
	cala-pack -C t . >whole.tar.zst
	s3_conf cala.conf 'part-size = 5MiB'
	# The moments that matter last a little.
	s3_fault stall op=CreateMultipartUpload when=stored seconds:=0.1 count=0
	s3_fault stall method=PUT "key=*.json" when=stored seconds:=0.2 count=0
	s3_fault blanks op=CompleteMultipartUpload seconds:=0.3 then=result count=0
	for i in $(seq 1 10); do
		cala-s3 put -c c -s $S <whole.tar.zst >out 2>err &
		pid=$!
		sleep "0.$((i * 7 % 10))$i"
		kill -KILL $pid 2>/dev/null || :
		wait $pid || :
	done
	s3_do clear
	# No object without its record.
	d list -s $S | jq -se 'all(.[]; has("foreign") | not)'
	for u in $(d list -s $S | jq -r .uuid); do
		d verify -b "$u" -s $S --read-data >/dev/null
	done
	d gc >/dev/null
	# What was noted is gone.  An upload that its process was never told of
	# has no parts, and goes when nothing came for a day.
	[ -z "$(find state -name '*.upload' -size +0)" ]
	run ! grep -v ' 0$' < <(s3_uploads)
	find state -name '*.upload' -exec touch -d '1 hour ago' {} +
	s3_do set clock=90000
	d gc >/dev/null
	[ -z "$(s3_uploads)" ]
	[ -z "$(find state -name '*.upload')" ]
	S3_UNSIGNED=may s3_sound
}

@test "killed before the store's answer: the empty upload goes after a day" {
	mkdir t
	s3_blob 20000000 >t/x
	cala-pack -C t . >whole.tar.zst
	s3_conf cala.conf 'part-size = 5MiB'
	s3_fault stall op=CreateMultipartUpload when=stored
	cala-s3 put -c c -s $S <whole.tar.zst >out 2>err 3>&- &
	pid=$!
	until [ -n "$(s3_do uploads bucket=bkt now=true)" ]; do
		kill -0 $pid
		sleep 0.05
	done
	kill -KILL $pid
	wait $pid || true
	s3_do clear
	[[ $(s3_uploads) == *" 0" ]]
	# Nobody knows that it isn't another machine's, at work just now.
	d gc | grep -q 'nothing to do'
	[ -n "$(s3_uploads)" ]
	s3_do set clock=90000
	d gc | grep -q 'nothing came for a day'
	[ -z "$(s3_uploads)" ]
	S3_UNSIGNED=may s3_sound
}

@test "every command of this machine's uploads is its own: no state directory" {
	export XDG_STATE_HOME=/proc/nowhere
	small $U
	[ "$(d cat -b $U one)" = one ]
	d gc | grep -q 'nothing to do'
}
