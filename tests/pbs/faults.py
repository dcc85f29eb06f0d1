"""Rules that make the server misbehave, and the settings that change it.

A rule is an object:
	op            glob: "GET version", "GET S/snapshots", "POST S/verify",
	              "upgrade backup", "upgrade reader"; in sessions "POST
	              dynamic_chunk", "PUT dynamic_index", "GET chunk", …, and
	              "session backup", "session reader" for all of a connection
	query         text that the raw query must contain
	nth, count    from the nth match on (1), so often (1; 0: always)
	action, and its arguments by their names:
status    {status, text, when}   an answer instead of the real one.  when:
          "early" (the body is not read), "late" (it is, and dropped), "done"
          (the request is carried out first).  Without a text: what the real
          server says.
nospace   {}               what the real server says when the disk is full
reset     {when, after}    RST: "head" before the body, "body" after so many of
          its bytes, "late" after all of it, "done" when carried out, "response"
          after so many bytes of the answer's body.
close     like reset, by a plain end of TCP, without a word of TLS.
cut       {after, side}    of a session: RST after so many bytes "in" or "out".
stall     {when, seconds}  no answer to this request at "late" or "done"; others
          go on.
freeze    {seconds}        the whole connection is silent.
rst       {code, when}     RST_STREAM.
goaway    {code, last, when, text}   GOAWAY; last: the last stream that counts
          (this one); then the end of the connection.
garbage   {hex, when}      these bytes in the place of frames.
flip      {at}             a byte of the answer's body differs.
truncate  {after}          the body ends there, as if that were all.
longer    {size}           so many bytes too much.
swap      {digest}         the blob of another chunk; without a digest: of any.
json      {text}           this body, with status 200.
"""

import fnmatch

import side

SETTINGS = {
    "release": "3.2",           # or 4.1, 4.2
    "strict": True,             # what only verify would find is refused, too
    "delay_401": 0,             # the real one waits 3 s
    "window": 33554432,         # of a stream and of a connection
    "frame": 4194304,
    "streams": 0,               # MAX_CONCURRENT_STREAMS; 0: none is said
    "header_list": 16777216,
    "bytewise": False,          # 101 and SETTINGS come byte by byte
    "surplus": True,            # SETTINGS come with 101, in one write
    "chunked": False,           # all REST answers
    "shuffle": 0,               # answers wait up to so many seconds, by chance
    "hold": 0,                  # chunk uploads are answered so many at a time
    "latency": 0,               # every answer waits so long
    "before_101": 0,            # seconds
    "finish": 0,                # seconds that finish takes
    "refuse": 0,                # so many connections are reset when accepted
    "total": 1000000000000, "used": 10000000000, "avail": 990000000000,
    "verify": "ok",             # or "failed": the task fails
    "linger": 0,                # locks stay so long after the connection (3.2)
    "new_delay": 0,             # a verify job takes so long
}

FIELDS = {"query", "nth", "count", "status", "text", "when", "after", "side",
          "seconds", "code", "last", "hex", "at", "size", "digest"}


class Faults(side.Rules):
    def __init__(self):
        super().__init__({"action", "op"}, FIELDS)

    def match(self, op, query=""):
        """The rule for this request, or {}."""
        return self.strike(lambda r: fnmatch.fnmatchcase(op, r["op"])
                           and r.get("query", "") in query)
