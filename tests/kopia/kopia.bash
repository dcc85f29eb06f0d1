# A Kopia repository server for a suite, the real one.  shellcheck shell=bash
#
#	kopia_up DIR            make a repository in DIR and serve it by TLS on
#	                        loopback; sets KOPIA_URL, KOPIA_FP, KOPIA_DIR
#	kopia_down              end it by its id; in teardown
#	kopia_again             start it again: another port and certificate
#	kopia_conf FILE [LINE...]  a configuration "c" for calagopus@node1, with
#	                        more lines; lines that begin with - take one out
#	kopia_known B           B has a connection, as Wings leaves it: to make one
#	                        takes Kopia longer than most tests
#	kopia_as USER COMMAND…  the program itself, as one of the users
#	kopia_id UUID           the manifest id of a backup
#	kopia_wipe              delete every snapshot of calagopus@node1
#
# Users: calagopus@node1 and other@node2, whose passwords are user-pw and
# other-pw.

KOPIA_PASS='user-pw'
KOPIA_PASS2='other-pw'

kopia_need() {
	peer kopia
	PATH=$(dirname "$PEER"):$PATH
	need jq
}

# The server's own commands, straight at the repository.
kopia_direct() {
	env -i PATH="$PATH" HOME="$KOPIA_DIR" KOPIA_PASSWORD=repo-pw \
		KOPIA_CHECK_FOR_UPDATES=false \
		KOPIA_CONFIG_PATH="$KOPIA_DIR/srv.config" \
		kopia --disable-file-logging --log-level=error "$@"
}

kopia_up() {
	kopia_need
	export KOPIA_DIR=$1
	mkdir -p "$KOPIA_DIR"
	# Without caches: what is damaged on its disk is damaged for it.
	kopia_direct repository create filesystem --path="$KOPIA_DIR/repo" \
		--content-cache-size-mb=0 >"$KOPIA_DIR/out" 2>&1 &&
		kopia_direct server user add --user-password=$KOPIA_PASS \
			calagopus@node1 >>"$KOPIA_DIR/out" 2>&1 &&
		kopia_direct server user add --user-password=$KOPIA_PASS2 \
			other@node2 >>"$KOPIA_DIR/out" 2>&1 ||
		{ cat "$KOPIA_DIR/out"; return 1; }
	kopia_again
}

kopia_again() {
	local i
	: >"$KOPIA_DIR/err"
	# No function: its id must be the server's.
	env -i PATH="$PATH" HOME="$KOPIA_DIR" KOPIA_PASSWORD=repo-pw \
		KOPIA_CHECK_FOR_UPDATES=false \
		KOPIA_CONFIG_PATH="$KOPIA_DIR/srv.config" \
		kopia --disable-file-logging --log-level=error server start \
		--address=127.0.0.1:0 --tls-generate-cert \
		--tls-generate-rsa-key-size=2048 --server-username=ui \
		--server-password=ui --server-control-password=ctl \
		</dev/null >>"$KOPIA_DIR/out" 2>>"$KOPIA_DIR/err" 3>&- &
	export KOPIA_PID=$!
	for ((i = 0; i < 1200; i++)); do
		! grep -q 'SERVER ADDRESS:' "$KOPIA_DIR/err" || break
		kill -0 "$KOPIA_PID" || { cat "$KOPIA_DIR/err"; return 1; }
		sleep 0.05
	done
	KOPIA_FP=$(sed -n 's/^SERVER CERT SHA256: //p' "$KOPIA_DIR/err")
	KOPIA_URL=$(sed -n 's/^SERVER ADDRESS: //p' "$KOPIA_DIR/err")
	export KOPIA_FP KOPIA_URL
}

kopia_down() {
	[ -n "${KOPIA_PID:-}" ] || return 0
	kill "$KOPIA_PID" 2>/dev/null || :
	# In teardown_file it is no child of ours any more.
	wait "$KOPIA_PID" 2>/dev/null || :
	while kill -0 "$KOPIA_PID" 2>/dev/null; do
		sleep 0.05
	done
	KOPIA_PID=
}

kopia_conf() {
	local file=$1 line
	shift
	cat >"$file" <<-END
	[cala]
	backup-directory = $(cd "$(dirname "$file")" && pwd)/B
	[configuration "c"]
	disk = kopia
	url = $KOPIA_URL
	username = calagopus@node1
	password = $KOPIA_PASS
	fingerprint = $KOPIA_FP
	maintenance = no
	END
	for line; do
		case $line in
		-*) sed -i "/^${line#-} = /d" "$file" ;;
		*) sed -i "/^${line%% = *} = /d" "$file"
		   printf '%s\n' "$line" >>"$file" ;;
		esac
	done
	chmod 600 "$file"
	export CALA_CONFIG=$file
}

# kopia_client FILE USER: a connection without caches
kopia_client() {
	jq -n --arg url "$KOPIA_URL" --arg fp "$KOPIA_FP" --arg u "${2%@*}" \
		--arg h "${2#*@}" '{
		apiServer: {url: $url, serverCertFingerprint: $fp},
		caching: {}, hostname: $h, username: $u,
		enableActions: false}' >"$1"
}

kopia_known() {
	local user=calagopus@node1 slug
	slug=$(printf '%s\0%s' "$KOPIA_URL" $user | sha256sum | cut -c1-16)
	mkdir -p "$1"
	mkdir -m 700 "$1/.kopia"
	(umask 077 && kopia_client "$1/.kopia/$slug.config" $user)
}

kopia_as() {
	local user=$1 pass=$KOPIA_PASS conf
	shift
	[ "$user" = calagopus@node1 ] || pass=$KOPIA_PASS2
	conf=$KOPIA_DIR/$user.${KOPIA_URL##*:}.config
	# Once; not with `connect`, which takes its time.
	[ -f "$conf" ] || kopia_client "$conf" "$user"
	env -i PATH="$PATH" HOME="$KOPIA_DIR" KOPIA_PASSWORD="$pass" TZ=UTC \
		KOPIA_CHECK_FOR_UPDATES=false kopia --config-file="$conf" \
		--disable-file-logging --log-level=error "$@"
}

kopia_id() {
	kopia_as calagopus@node1 snapshot list --json --all \
		--tags="backup-uuid:$1" | jq -r '.[].id'
}

kopia_wipe() {
	local ids
	ids=$(kopia_as calagopus@node1 snapshot list --json --all |
		jq -r '.[].id')
	# shellcheck disable=SC2086
	[ -z "$ids" ] || kopia_as calagopus@node1 snapshot delete --delete $ids
}
