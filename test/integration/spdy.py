"""SPDY/3.1 as a client speaks it, for the tests: after the drafts of the Chromium project, sharing nothing with the daemon."""
import struct
import zlib

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 1

_WORDS = """options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length content-location
content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range
if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer
retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status
200_OK version HTTP/1.1 url public set-cookie keep-alive origin"""
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug "
    "Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(w)) + w.replace("_", " ").encode() for w in _WORDS.split()) + _TEXT.encode()


def control(kind, content=b"", flags=0, version=3):
    return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | len(content)) + content


def data(stream, content=b"", flags=0):
    return struct.pack(">II", stream, flags << 24 | len(content)) + content


class Spdy:
    """One connection's framing. Bytes leave through send(bytes); take(bytes) yields what came, as tuples."""

    def __init__(self, send):
        self.send = send
        self.deflate = zlib.compressobj(9, zdict=DICTIONARY)
        self.inflate = zlib.decompressobj(zdict=DICTIONARY)
        self.next = 1
        self.left = b""
        self.pongs = []
        self.windows = {}  # what the server gave back, by stream

    def compress(self, block):
        return self.deflate.compress(block) + self.deflate.flush(zlib.Z_SYNC_FLUSH)

    def block(self, headers):
        out = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.encode(), value.encode()):
                out += struct.pack(">I", len(text)) + text
        return out

    def open(self, headers, flags=0):
        stream, self.next = self.next, self.next + 2
        self.send(control(SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + self.compress(self.block(headers)), flags))
        return stream

    def write(self, stream, content, fin=False):
        for at in range(0, len(content), 32768):
            self.send(data(stream, content[at:at + 32768]))
        if fin:
            self.finish(stream)

    def finish(self, stream):
        self.send(data(stream, flags=FIN))

    def reset(self, stream, status=5):
        self.send(control(RST_STREAM, struct.pack(">II", stream, status)))

    def ping(self, number=1):
        self.send(control(PING, struct.pack(">I", number)))

    def take(self, content):
        """Yields ("reply" | "data" | "fin" | "reset" | "goaway", stream, content)."""
        self.left += content
        while len(self.left) >= 8:
            first, second = struct.unpack(">II", self.left[:8])
            flags, length = second >> 24, second & 0xFFFFFF
            if len(self.left) < 8 + length:
                return
            body, self.left = self.left[8:8 + length], self.left[8 + length:]
            if not first & 0x80000000:
                if body:
                    yield "data", first, body
                if flags & FIN:
                    yield "fin", first, b""
                continue
            assert first >> 16 == 0x8003, f"a frame of another version: {first:#x}"
            kind = first & 0xFFFF
            if kind == SYN_REPLY:
                block = self.inflate.decompress(body[4:])
                assert block[:4] == b"\0\0\0\0", block
                yield "reply", struct.unpack(">I", body[:4])[0], b""
            elif kind == RST_STREAM:
                yield "reset", *struct.unpack(">II", body)
            elif kind == PING:
                self.pongs.append(struct.unpack(">I", body)[0])
            elif kind == GOAWAY:
                yield "goaway", 0, b""
            elif kind == WINDOW_UPDATE:
                stream, more = struct.unpack(">II", body)
                self.windows[stream] = self.windows.get(stream, 0) + more
            else:
                raise AssertionError(f"an unexpected frame of type {kind}")
