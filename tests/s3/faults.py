"""Rules that make the server misbehave, and the settings that change it.

A rule is an object:
	op, method, bucket, key   globs; absent: any
	query                     text that the raw query must contain
	nth, count                from the nth match on (1), so often (1; 0: always);
                          a request that another rule strikes counts, too
	percent, seed             of those, so many by a seeded draw (100)
	action, and its arguments by their names:
status   {status, code, message, headers, body, when}
         an answer instead of the real one.  when: "early" (the body is not
         read), "late" (it is, and dropped), "stored" (the request is carried
         out first).
reset    {when, after}   RST: "head" before the body, "body" after so many of
         its bytes, "late" after all of it, "stored" when carried out,
         "response" after so many bytes of the answer's body.
close    like reset, by a plain end of the connection.
stall    {when, after, seconds}  silence at the same points, then on.
slow     {rate}          bytes a second, both ways.
truncate {after}         the answer's body ends there, the length is a lie.
flip     {at}            one byte differs on the wire (PUT: before digests,
         GET: in the answer).
rot      {at}            one byte of what was stored differs, digests not.
etag     {value}         of the answer: wrong none bare weak opaque, or other:
         the server keeps another than it tells.
range    {shift, total, longer}   a wrong Content-Range, or more bytes.
whole    {}              Range is ignored: 200.
replace  {size}          the object is another one from now on.
blanks   {seconds, before, then}  Complete: spaces first; before: even before
         the XML declaration; then: "result", or the code of an error.
body     {text, file, status, headers, repeat}  this text as the answer.
list     {mode}          repeat-token, no-token or empty: pages of a list.
expect   {mode}          silent: no 100; refuse: 417.
redirect {status, region, location, endpoint}
sticky   {times}         Abort says 204, and the parts stay, so many times.
late-part {}             Abort, after which one more part lands.
"""

import fnmatch

import side

SETTINGS = {
    "region": "us-east-1",
    "clock": 0,                 # seconds added to the real one
    "date": "normal",           # none, stale (with Age)
    "min_part": 5 << 20,
    "max_parts": 10000,
    "max_object": 5 << 40,
    "equal_parts": False,
    "page": 1000,
    "classes": ["STANDARD", "STANDARD_IA", "ONEZONE_IA", "GLACIER_IR",
                "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY", "GLACIER",
                "DEEP_ARCHIVE"],
    "no_checksums": 0,          # 501 or 400: checksum headers are refused
    "mute_region": False,       # no header tells the right one
    "mute_checksums": False,    # announced ones are passed over in silence
    "no_content_md5": False,    # it is not compared
    "no_if_none_match": False,  # conditions of writes are ignored
    "no_if_match": False,       # of reads, too
    "no_range": False,
    "no_list_v2": False,
    "exact_upload_prefix": False,
    "requests": 0,              # a connection silently ends after so many
    "refuse": 0,                # so many connections are reset when accepted
    "domains": ["localhost"],   # BUCKET.localhost is the virtual-host style
    "base": "",                 # a base path before the bucket
    "no_virtual": False,
}


FIELDS = {"op", "method", "bucket", "key", "query", "nth", "count", "percent",
          "seed", "status", "code", "message", "headers", "body", "when",
          "after", "seconds", "rate", "at", "value", "shift", "total",
          "longer", "size", "before", "then", "text", "file", "repeat",
          "mode", "region", "location", "endpoint", "times", "every"}


class Faults(side.Rules):
    def __init__(self):
        super().__init__({"action"}, FIELDS)

    def match(self, req):
        """The rule for this request, or None."""
        have = {"op": req.op, "method": req.method, "bucket": req.bucket,
                "key": req.key.decode("latin-1")}
        return self.strike(
            lambda r: all(fnmatch.fnmatchcase(have[k], r[k])
                          for k in have if k in r)
            and r.get("query", "") in req.raw_query) or None
