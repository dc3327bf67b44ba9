"""The server's half of WebSocket framing (RFC 6455): bytes in, messages out, and back.

It knows bytes and its own state: no sockets, trio, clock or logging, so that every rule can be tested as data.
Extensions are not negotiated, so all reserved bits must be zero.

Own code, because a relay spends most of its time decoding small frames. Microseconds per frame (64 of 100 bytes in a
read, as in `tests/bench/frames.py`): 0.7 here, 4.6 with websockets and its C extension, 7.5 with wsproto. wsproto does
the handshake (`handshake.py`), and the tests compare this module with it.
"""

from codecs import utf_8_decode
from struct import Struct

__all__ = [
    "BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT",
    "Decoder", "Violation", "encode", "encode_close", "encode_text", "parse_close",
]  # fmt: skip

CONTINUATION = 0
TEXT = 1
BINARY = 2
CLOSE = 8
PING = 9
PONG = 10

_PROTOCOL_ERROR = 1002
_NO_CODE = 1005
_NOT_UTF8 = 1007
_TOO_BIG = 1009

_FINAL_BIT = 0x80
_RESERVED_BITS = 0x70
_OPCODE_BITS = 0x0F
_MASKED_BIT = 0x80
_LENGTH_BITS = 0x7F
_OPCODES = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))

_MAX_SHORT_BYTES = 125  # the longest payload of a control frame, and of a header without an extended length
_TWO_BYTES = 126  # in place of a length: it follows in two bytes
_EIGHT_BYTES = 127
_MAX_TWO_BYTE_LENGTH = 0xFFFF  # the longest payload with a length in two bytes
# The smallest length that may take this many bytes.
_MIN_LENGTHS = {2: _MAX_SHORT_BYTES + 1, 8: _MAX_TWO_BYTE_LENGTH + 1}
_HEADER_BYTES = 2
_MASK_BYTES = 4

_from_bytes = int.from_bytes
_pack_short = Struct("!BB").pack
_pack_two_bytes = Struct("!BBH").pack
_pack_eight_bytes = Struct("!BBQ").pack
_unpack_16_32 = Struct("!HI").unpack_from

# The first two bytes of a message in one masked frame of up to 64 KiB: opcode, and length or _TWO_BYTES.
_WHOLE = {
    (_FINAL_BIT | opcode) << 8 | _MASKED_BIT | length: (opcode, length)
    for opcode in (TEXT, BINARY)
    for length in range(_TWO_BYTES + 1)
}
_OTHER = (CONTINUATION, -1)

# A mask times _REPEAT[length], shifted right by _EXCESS[length], is the mask repeated over that many bytes.
# Multiplying is cheaper than repeating it as bytes; beyond this length only the XOR itself matters.
_MAX_REPEATED_BYTES = 512
_REPEAT = [many for count in range(_MAX_REPEATED_BYTES // 4 + 1) for many in [_from_bytes(b"\0\0\0\1" * count)] * 4][3:]
_EXCESS = [-length % 4 * 8 for length in range(_MAX_REPEATED_BYTES + 1)]


class Violation(Exception):
    """The peer broke a rule of the framing.

    Attributes:
        code: the close code to answer with: 1002 protocol error, 1007 text that is not UTF-8, 1009 too big.
        reason: what was wrong, in a text short enough for a close frame.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class _Fragments:
    """A message whose final fragment has not come."""

    __slots__ = ("checked", "opcode", "payload")

    def __init__(self, opcode: int) -> None:
        self.opcode = opcode
        self.payload = bytearray()
        self.checked = 0  # bytes of the payload known to be UTF-8

    def add(self, fragment: bytes, *, final: bool) -> None:
        """Append a fragment; raise Violation as soon as a text cannot be valid UTF-8."""
        self.payload += fragment
        if self.opcode == TEXT:
            # Only a character that was split is decoded twice: at most three bytes.
            length = _utf8_length(memoryview(self.payload)[self.checked :], final=final)
            if length is None:
                raise Violation(_NOT_UTF8, "the text is not valid UTF-8")
            self.checked += length


class Decoder:
    """Turns the bytes of one client into messages.

    Between two reads it keeps at most the `limit` bytes of one message and a frame header, or a control frame
    (131 bytes at most) that came between fragments. An idle decoder keeps nothing but its own six slots.

    Attributes:
        violation: the rule that the client broke, if any; nothing is decoded after it.
        fragments: the number of frames that did not end their message; the reader of this count resets it.
        held: bytes kept of an unfinished message.
    """

    __slots__ = ("_buffer", "_closed", "_fragments", "_limit", "_needed", "fragments", "held", "violation")

    def __init__(self, *, limit: int) -> None:
        """Make a decoder for messages of at most `limit` bytes, all fragments of a message together."""
        self.violation: Violation | None = None
        self.fragments = 0
        self.held = 0
        self._limit = limit
        self._closed = False
        self._fragments: _Fragments | None = None
        self._buffer: bytearray | None = None  # the beginning of a frame
        self._needed = 0  # the length at which that buffer can be decoded further

    @property
    def kept(self) -> list[bytearray]:
        """The bytes kept between two reads: the beginning of a frame, and the payload of an unfinished message."""
        parts = (self._buffer, self._fragments.payload if self._fragments is not None else None)
        return [part for part in parts if part is not None]

    def stop(self) -> None:
        """Decode nothing more, and drop the kept bytes."""
        self._closed = True
        self._buffer = self._fragments = None
        self.held = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take the bytes of one read; return the messages and control frames they complete, in order.

        A violation is not raised: the messages before it are returned, and `violation` is set. Bytes after a violation
        or a CLOSE are ignored.

        Returns:
            Opcode and payload of each: the payload of a text is UTF-8, that of a CLOSE is one `parse_close` reads.
        """
        if self._closed:
            return []
        buffer = self._buffer
        if buffer is not None:
            if len(buffer) + len(data) < self._needed:
                buffer += data
                self.held += len(data)
                return []
            data = b"".join((buffer, data))
            self._buffer = None
        messages: list[tuple[int, bytes]] = []
        try:
            offset = self._decode(data, messages)
        except Violation as violation:
            self.violation = violation.with_traceback(None)
            self._closed = True
        else:
            if offset < len(data) and not self._closed:
                self._buffer = bytearray(data[offset:])
        if self._closed:
            self._fragments = None
        if self._buffer is not None or self._fragments is not None or self.held:
            self.held = self._count_held()
        return messages

    def _count_held(self) -> int:
        buffer, fragments = self._buffer, self._fragments
        size = 0 if buffer is None else len(buffer)
        return size if fragments is None else size + len(fragments.payload)

    def _decode(self, data: bytes, messages: list[tuple[int, bytes]]) -> int:
        """Append the messages in `data` to `messages`; return the offset of the first unused byte.

        Most input is whole messages of ten to a few hundred bytes, many in one read. They are decoded inline, without a
        function call. `_decode_frame` handles everything else, and all errors.
        """
        offset = 0
        available = len(data)
        limit = self._limit
        append = messages.append
        while offset < available:
            if available - offset >= _HEADER_BYTES + 2 + _MASK_BYTES and self._fragments is None:
                head, mask = _unpack_16_32(data, offset)
                opcode, length = _WHOLE.get(head, _OTHER)
                start = offset + _HEADER_BYTES + _MASK_BYTES
                if length == _TWO_BYTES:
                    length, mask = _unpack_16_32(data, offset + _HEADER_BYTES)
                    start += 2
                    if length <= _MAX_SHORT_BYTES:
                        length = -1
                end = start + length
                if 0 <= length <= limit and end <= available:
                    if length <= _MAX_REPEATED_BYTES:
                        stream = mask * _REPEAT[length] >> _EXCESS[length]
                        payload = (_from_bytes(data[start:end]) ^ stream).to_bytes(length)
                    else:
                        payload = _unmask(data[start - _MASK_BYTES : start], data[start:end])
                    if opcode == TEXT and not payload.isascii() and _utf8_length(payload) is None:
                        raise Violation(_NOT_UTF8, "the text is not valid UTF-8")
                    append((opcode, payload))
                    offset = end
                    continue
            end = self._decode_frame(data, offset, messages)
            if end == offset or self._closed:
                return offset
            offset = end
        return offset

    def _decode_frame(self, data: bytes, offset: int, messages: list[tuple[int, bytes]]) -> int:
        """Decode one frame of any kind at `offset`; return where it ends, or `offset` if it is incomplete.

        Each rule is checked as soon as its bytes are there, in order, so that the result does not depend on how the
        stream was split into reads.
        """
        available = len(data) - offset
        if available < _HEADER_BYTES:
            self._needed = _HEADER_BYTES
            return offset
        first = data[offset]
        opcode = first & _OPCODE_BITS
        length = data[offset + 1] & _LENGTH_BITS
        self._check_header(first, data[offset + 1])
        extended = 2 if length == _TWO_BYTES else 8 if length == _EIGHT_BYTES else 0
        if extended:
            if available < _HEADER_BYTES + extended:
                self._needed = _HEADER_BYTES + extended
                return offset
            length = _extended_length(data[offset + _HEADER_BYTES : offset + _HEADER_BYTES + extended])
        fragments = self._fragments
        if opcode < CLOSE and length + (len(fragments.payload) if fragments else 0) > self._limit:
            raise Violation(_TOO_BIG, f"a message may have {self._limit} bytes")
        start = offset + _HEADER_BYTES + extended + _MASK_BYTES
        end = start + length
        if end > len(data):
            self._needed = end - offset
            return offset
        payload = _unmask(data[start - _MASK_BYTES : start], data[start:end])
        if opcode >= CLOSE:
            if opcode == CLOSE:
                parse_close(payload)
                self._closed = True
            messages.append((opcode, payload))
        else:
            self._add_fragment(opcode, payload, messages, final=first >= _FINAL_BIT)
        return end

    def _check_header(self, first: int, second: int) -> None:
        """Check the two bytes that every header has."""
        opcode = first & _OPCODE_BITS
        if first & _RESERVED_BITS:
            raise Violation(_PROTOCOL_ERROR, "a reserved bit is set and no extension was agreed on")
        if opcode not in _OPCODES:
            raise Violation(_PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if opcode >= CLOSE:
            if first < _FINAL_BIT:
                raise Violation(_PROTOCOL_ERROR, "a control frame must not be fragmented")
            if second & _LENGTH_BITS > _MAX_SHORT_BYTES:
                raise Violation(_PROTOCOL_ERROR, f"a control frame may have {_MAX_SHORT_BYTES} bytes")
        elif opcode == CONTINUATION:
            if self._fragments is None:
                raise Violation(_PROTOCOL_ERROR, "a continuation frame without a message to continue")
        elif self._fragments is not None:
            raise Violation(_PROTOCOL_ERROR, "a new message began before the last one was finished")
        if second < _MASKED_BIT:
            raise Violation(_PROTOCOL_ERROR, "a client's frame must be masked")

    def _add_fragment(self, opcode: int, payload: bytes, messages: list[tuple[int, bytes]], *, final: bool) -> None:
        """Add a data frame to its message, and the message to `messages` if it is complete."""
        fragments = self._fragments
        if fragments is None:
            fragments = _Fragments(opcode)
        fragments.add(payload, final=final)
        if final:
            messages.append((fragments.opcode, bytes(fragments.payload)))
            self._fragments = None
        else:
            self.fragments += 1
            self._fragments = fragments


def _extended_length(field: bytes) -> int:
    """Read a length field of 2 or 8 bytes, which must be the shortest that holds the length."""
    length = _from_bytes(field)
    if length < _MIN_LENGTHS[len(field)]:
        raise Violation(_PROTOCOL_ERROR, "a length must take as few bytes as it can")
    if length >> 63:
        raise Violation(_PROTOCOL_ERROR, "the top bit of a length must be zero")
    return length


def _unmask(mask: bytes, payload: bytes) -> bytes:
    """Undo the masking with one XOR of two integers, which in CPython is faster than any loop."""
    length = len(payload)
    stream = (mask * ((length + 3) >> 2))[:length]
    return (_from_bytes(payload) ^ _from_bytes(stream)).to_bytes(length)


def _utf8_length(data: bytes | memoryview, *, final: bool = True) -> int | None:
    """Return how many bytes are complete UTF-8 characters; None if they cannot be valid UTF-8.

    The codec's error is caught here: it holds the text, which must not get into a log with a traceback.
    """
    try:
        return utf_8_decode(data, "strict", final)[1]
    except UnicodeDecodeError:
        return None


def _may_travel(code: int) -> bool:
    """Return whether a close code may stand in a frame (RFC 6455 section 7.4, and IANA's list since)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def parse_close(payload: bytes) -> tuple[int, str]:
    """Read a CLOSE frame.

    Returns:
        The code and the reason; (1005, "") for an empty frame.

    Raises:
        Violation: one byte alone, a code that must not be sent, a reason that is not UTF-8.
    """
    if not payload:
        return _NO_CODE, ""
    if len(payload) == 1:
        raise Violation(_PROTOCOL_ERROR, "a close code has two bytes")
    code = _from_bytes(payload[:2])
    if not _may_travel(code):
        raise Violation(_PROTOCOL_ERROR, f"close code {code} must not be sent")
    if _utf8_length(payload[2:]) is None:
        raise Violation(_NOT_UTF8, "the close reason is not valid UTF-8")
    return code, payload[2:].decode()


def encode(opcode: int, payload: bytes) -> bytes:
    """Return one final, unmasked frame.

    Raises:
        ValueError: a control frame of more than 125 bytes.
    """
    first = _FINAL_BIT | opcode
    length = len(payload)
    if length <= _MAX_SHORT_BYTES:
        return _pack_short(first, length) + payload
    if opcode >= CLOSE:
        raise ValueError(f"a control frame may have {_MAX_SHORT_BYTES} bytes, not {length}")
    if length < _MIN_LENGTHS[8]:
        return _pack_two_bytes(first, _TWO_BYTES, length) + payload
    return _pack_eight_bytes(first, _EIGHT_BYTES, length) + payload


def encode_text(payload: bytes) -> bytes:
    """Return a text in one final, unmasked frame: the usual frame of a relay."""
    length = len(payload)
    if _MAX_SHORT_BYTES < length <= _MAX_TWO_BYTE_LENGTH:
        return _pack_two_bytes(_FINAL_BIT | TEXT, _TWO_BYTES, length) + payload
    return encode(TEXT, payload)


def encode_close(code: int, reason: str = "") -> bytes:
    """Return a CLOSE frame; the reason is cut to 123 bytes, never inside a character.

    1005, which `parse_close` returns for an empty CLOSE, becomes an empty CLOSE again, so that a CLOSE can be echoed.

    Raises:
        ValueError: a code that must not be sent.
    """
    if code == _NO_CODE:
        return encode(CLOSE, b"")
    if not _may_travel(code):
        raise ValueError(f"close code {code} must not be sent")
    text = reason.encode(errors="replace")[: _MAX_SHORT_BYTES - 2].decode(errors="ignore")
    return encode(CLOSE, code.to_bytes(2) + text.encode())
