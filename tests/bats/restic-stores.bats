# cala-restic over the network: MinIO through s3:, rest-server with TLS.

load common
load restic
load ../s3/s3

driver=cala-restic
S=11111111-aaaa-4bbb-8ccc-000000000001
U=aaaa1111-0000-4000-8000-000000000001

setup() {
	need jq tar openssl
	cd "$BATS_TEST_TMPDIR" || return
	restic_which new
}

teardown() {
	s3_stop
	if [ -n "${REST_PID:-}" ]; then
		kill "$REST_PID" 2>/dev/null || :
		wait "$REST_PID" || :
	fi
}

# all_of_it: what is done with any store
all_of_it() {
	sample t
	d init
	d check
	d put t -s $S --uuid $U --name 'one, two'
	[ "$(d list -s $S | jq -r .name)" = 'one, two' ]
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	d ls -b $U --json world | jq -e '.path == "world/region"'
	d get -b $U world 2>/dev/null | tar t | grep -qx world/region/r.0.0.mca
	mkdir out
	d restore "$PWD/out" -b $U
	diff <(facts t) <(facts out)
	d set -b $U --name three
	d verify -b $U
	d rm -b $U
	d gc
	[ -z "$(d list)" ]
}

@test "a repository in a bucket of MinIO" {
	s3_service minio "$BATS_TEST_TMPDIR/s3"
	unset "${!AWS_@}"
	REPO=s3:$S3_URL/bkt/restic
	restic_conf "$PWD/cala.conf" "environment.AWS_ACCESS_KEY_ID = $S3_ACCESS" \
		"environment.AWS_SECRET_ACCESS_KEY = $S3_SECRET" 'timeout = 5s'
	all_of_it
	sed -i "s|^environment.AWS_SECRET.*|environment.AWS_SECRET_ACCESS_KEY = wrong|" cala.conf
	fails 12 d list
	sed -i '/^environment.AWS/d' cala.conf
	# They may come from the environment, too.
	AWS_ACCESS_KEY_ID=$S3_ACCESS AWS_SECRET_ACCESS_KEY=$S3_SECRET d list
	s3_stop
	AWS_ACCESS_KEY_ID=$S3_ACCESS AWS_SECRET_ACCESS_KEY=$S3_SECRET \
		fails 13 d list
}

# rest_server [OPTION...]: sets REST_PID and REST (host:port)
rest_server() {
	local port tries=0
	peer rest-server
	port=$(s3_free_port)
	REST=127.0.0.1:$port
	"$PEER" --listen "$REST" --path "$PWD/rest" "$@" </dev/null \
		>rest.out 2>&1 3>&- &
	REST_PID=$!
	until (exec 9<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
		if ! kill -0 "$REST_PID" || [ $((tries += 1)) -gt 200 ]; then
			cat rest.out
			return 1
		fi
		sleep 0.1
	done
}

@test "a repository of rest-server, with TLS and a user of its own" {
	mkdir rest
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
		-addext subjectAltName=IP:127.0.0.1,DNS:localhost 2>/dev/null
	printf 'cala:{SHA}%s\n' "$(printf %s pass-word |
		openssl dgst -sha1 -binary | base64)" >htpasswd
	rest_server --tls --tls-cert cert.pem --tls-key key.pem \
		--htpasswd-file htpasswd
	REPO=rest:https://cala:pass-word@$REST/repo
	restic_conf "$PWD/cala.conf" "cacert = $PWD/cert.pem" 'timeout = 3s'
	all_of_it
	# The name and password of the store are said nowhere.
	run -13 --separate-stderr env -u x bash -c 'sed "s|'"$REST"'|127.0.0.1:1|" \
		cala.conf >no.conf; chmod 600 no.conf
		CALA_CONFIG=$PWD/no.conf cala-restic list -c c --debug'
	[[ $stderr != *pass-word* ]]
	sed -i '/^cacert/d' cala.conf
	fails 17 d list
	echo "cacert = $PWD/cert.pem" >>cala.conf
	sed -i 's/pass-word/wrong/' cala.conf
	fails 12 d list
	sed -i 's/cala:wrong@//' cala.conf
	printf '%s\n' 'environment.RESTIC_REST_USERNAME = cala' \
		'environment.RESTIC_REST_PASSWORD = pass-word' >>cala.conf
	d list
}
