#!/usr/bin/env python3
"""creds FOLDER: the services that hand out AWS credentials, on 127.0.0.1.

The instance's (IMDSv2), a container's and STS, each with the key in
FOLDER/key ("id secret token"); FOLDER/port has the port once it listens, and
FOLDER/asked a line a request.
"""

import http.server
import json
import os
import sys
import urllib.parse

folder = sys.argv[1]


def key():
    with open(os.path.join(folder, "key"), encoding="ascii") as f:
        return f.read().split()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, text):
        with open(os.path.join(folder, "asked"), "a", encoding="ascii") as f:
            f.write(f"{self.command} {self.path} {status}\n")
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def document(self):
        ident, secret, token = key()
        return json.dumps({"Code": "Success", "AccessKeyId": ident,
                           "SecretAccessKey": secret, "Token": token,
                           "Expiration": "2099-01-01T00:00:00Z"})

    def do_PUT(self):
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        good = self.path == "/latest/api/token" and ttl == "21600"
        self.say(200 if good else 400, "metadata-token")

    def do_GET(self):
        base = "/latest/meta-data/iam/security-credentials/"
        if self.path == "/container":
            good = self.headers.get("Authorization") == "Bearer x"
            self.say(200 if good else 401, self.document())
        elif self.headers.get("X-aws-ec2-metadata-token") != "metadata-token":
            self.say(401, "")
        elif self.path == base:
            self.say(200, "game-host\n")
        elif self.path == base + "game-host":
            self.say(200, self.document())
        else:
            self.say(404, "")

    def do_CONNECT(self):
        self.say(403, "")

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(
            int(self.headers["Content-Length"])).decode())
        ident, secret, token = key()
        if form.get("WebIdentityToken") != ["web+/= token"] or \
                form.get("RoleArn") != ["arn:aws:iam::1:role/games"] or \
                form.get("Action") != ["AssumeRoleWithWebIdentity"]:
            self.say(400, "<ErrorResponse><Error><Code>InvalidIdentityToken"
                     "</Code><Message>no such token</Message></Error>"
                     "</ErrorResponse>")
            return
        self.say(200, "<AssumeRoleWithWebIdentityResponse><"
                 "AssumeRoleWithWebIdentityResult><Credentials>"
                 f"<AccessKeyId>{ident}</AccessKeyId>"
                 f"<SecretAccessKey>{secret}</SecretAccessKey>"
                 f"<SessionToken>{token}</SessionToken>"
                 "<Expiration>2099-01-01T00:00:00Z</Expiration>"
                 "</Credentials></AssumeRoleWithWebIdentityResult>"
                 "</AssumeRoleWithWebIdentityResponse>")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(os.path.join(folder, "port.new"), "w", encoding="ascii") as out:
    out.write(str(server.server_port))
os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
server.serve_forever()
