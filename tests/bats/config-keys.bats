# shellcheck shell=bash disable=SC2154
# The key table: limits of each disk, and that manual and example know it.
load common

disks="local ddup-bak btrfs zfs s3 restic proxmox-backup-server kopia"

setup() {
	export CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
}

# try DISK LINES...: is that a good configuration of the disk?
try() {
	local disk=$1
	shift
	{
		printf '[configuration "a"]\ndisk = %s\n' "$disk"
		case $disk in
		s3) echo bucket = b ;;
		restic) [[ "$1" == repository* ]] || echo repository = /srv/r ;;
		kopia) printf 'url = https://h\nusername = a@b\n' ;;
		pbs) printf 'url = https://h\ndatastore = d\ntoken-id = a@b!c\n' ;;
		esac
		printf '%s\n' "$@"
	} >"$CALA_CONFIG"
	chmod 600 "$CALA_CONFIG"
	run --separate-stderr cala-config show a
}
good() { try "$@"; [ "$status" -eq 0 ] || { echo "$stderr" >&2; return 1; }; }
bad() { try "$@"; [ "$status" -eq 2 ] || { echo "allowed: $*" >&2; return 1; }; }

many() { head -c "$1" /dev/zero | tr '\0' "${2:-x}"; }

@test "every key of every disk is in cala.conf(5)" {
	need jq
	for disk in $disks; do
		for key in $(cala-config info $disk | jq -r \
		    '.[] | .name + if .map then ".NAME" else "" end'); do
			grep -qx "\.It Cm $key" "$top/man/cala.conf.5" ||
				{ echo "$disk: $key" >&2; return 1; }
		done
	done
}

@test "the example has each disk once, and only its secret files are missing" {
	for disk in $disks; do
		[ "$(grep -c "^disk *= $disk\$" "$top/contrib/examples/cala.conf")" -eq 1 ]
	done
	cp "$top/contrib/examples/cala.conf" "$CALA_CONFIG"
	cala-config list >/dev/null
}

@test "kopia: 50 tags, names and values of 1 to 255 bytes" {
	tags=$(for i in $(seq 50); do echo "tags.t$i = v"; done)
	good kopia "$tags"
	bad kopia "$tags" "tags.one = more"
	[[ "$stderr" == *"tags: more than 50 of them"* ]]
	good kopia "tags.$(many 255) = $(many 255 y)"
	bad kopia "tags.$(many 256) = v"
	bad kopia "tags.t = $(many 256 y)"
	good kopia "tags.t = $(for _ in $(seq 127); do printf 'é'; done)"
	bad kopia "tags.t = $(for _ in $(seq 128); do printf 'é'; done)"
	bad kopia "tags. = v"
	bad kopia "tags.t ="
}

@test "restic: 50 prune jobs, names of variables, sizes of packs" {
	jobs=$(for i in $(seq 50); do echo "prune-jobs = 0 $i 5 * * * n$i"; done)
	good restic "$jobs"
	bad restic "$jobs" "prune-jobs = 0 0 6 * * *"
	good restic "environment.RESTIC_PASSWORD_FILE = /x"
	bad restic "environment.1x = y"
	bad restic "environment.A-B = y"
	good restic "pack-size = 64MiB" "cache-directory = /var/cache/r"
	bad restic "pack-size = 1MiB"
	bad restic "prune-jobs = 0 0 6 * *"
}

@test "s3: 10 tags, customer keys of 32 bytes, locks, parts" {
	tags=$(for i in $(seq 10); do echo "tags.t$i = v"; done)
	good s3 "$tags"
	bad s3 "$tags" "tags.one = more"
	bad s3 "tags.$(many 129) = v"
	good s3 "tags.empty ="
	good s3 "sse = customer" \
		"sse-customer-key = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	bad s3 "sse-customer-key = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg=="
	[[ "$stderr" != *AAECAw* ]]
	bad s3 "sse-customer-key = hunter2"
	good s3 "object-lock-mode = GOVERNANCE" "object-lock-retention = 30d" \
		"exact-parts = yes" "path-style = no" "unsigned-payload = on" \
		"cacert = /etc/ca.pem" "aws-profile = ops" "max-parts = 1000"
	bad s3 "object-lock-mode = forever"
	bad s3 "max-parts = 10001"
	bad s3 "cacert = ca.pem"
	bad s3 "retries = 101"
	bad local "retries = 1"
}

@test "pbs and ddup-bak: encryption, chunks" {
	good pbs "encryption-key-file = /etc/k" "encryption-password = x" \
		"master-public-key = /etc/m" "timeout = 2m"
	good ddup-bak "chunk-size = 64MiB" "compression_format = brotli"
	bad ddup-bak "chunk-size = 65MiB"
	bad ddup-bak "compression-format = zstd"
}

@test "a user or password in a URL is refused, and never printed" {
	bad s3 "endpoint = https://user:hunter2@host"
	[[ "$stderr" == *"user or password in the URL"* ]]
	[[ "$stderr" != *hunter2* ]]
	bad s3 "endpoint = ftp://user:hunter2@host"
	[[ "$stderr" != *hunter2* ]]
	bad s3 "endpoint = https://user:hun/ter2@host"
	[[ "$stderr" != *ter2* ]]
}

@test "a repository with a password in it is redacted, and kept from others" {
	good restic "repository = rest:https://u:hunter2@host/r"
	chmod 644 "$CALA_CONFIG"
	run --separate-stderr cala-config show a
	[ "$status" -eq 2 ]
	[[ "$stderr" == *"plain secret"* && "$stderr" != *hunter2* ]]
	chmod 600 "$CALA_CONFIG"
	run cala-config show a
	[[ "$output" == *"rest:https://u:***@host/r"* ]]
	run cala-config show --json a
	[[ "$output" != *hunter2* ]]
	run cala-config show --reveal a
	[[ "$output" == *hunter2* ]]
}
