"""Remote read by hand: requests, sampled replies, streamed frames with XOR chunks.

An independent reader of upstream's documents (protobuf fields, CRC-32C frames, Gorilla chunks), so
that the engine's writer is not checked against itself.
"""

import struct

RESPONSE_TYPES = {"samples": 0, "streamed": 1}
MATCH_TYPES = {"=": 0, "!=": 1, "=~": 2, "!~": 3}


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def read_varint(data, pos):
    value = shift = 0
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, pos


def fields(data):
    """(number, value) of every field; value is int, float bits or bytes."""
    pos = 0
    while pos < len(data):
        key, pos = read_varint(data, pos)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, pos = read_varint(data, pos)
        elif wire == 1:
            value, pos = data[pos:pos + 8], pos + 8
        elif wire == 2:
            size, pos = read_varint(data, pos)
            value, pos = data[pos:pos + size], pos + size
            assert len(value) == size, "truncated field"
        else:
            raise AssertionError(f"wire type {wire}")
        yield number, value


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def snappy_literal(data):
    """A valid snappy block made of literals only."""
    out = bytearray(varint(len(data)))
    for start in range(0, len(data), 60):
        piece = data[start:start + 60]
        out.append((len(piece) - 1) << 2)
        out += piece
    return bytes(out)


def snappy_decode(data):
    size, pos = read_varint(data, 0)
    out = bytearray()
    while pos < len(data):
        tag = data[pos]
        pos += 1
        kind = tag & 3
        if kind == 0:
            length = tag >> 2
            if length >= 60:
                extra = length - 59
                length = int.from_bytes(data[pos:pos + extra], "little")
                pos += extra
            out += data[pos:pos + length + 1]
            pos += length + 1
            continue
        if kind == 1:
            length, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[pos]
            pos += 1
        else:
            width = 2 if kind == 2 else 4
            length, offset = (tag >> 2) + 1, int.from_bytes(data[pos:pos + width], "little")
            pos += width
        for _ in range(length):
            out.append(out[-offset])
    assert len(out) == size
    return bytes(out)


def request(start_ms, end_ms, matchers, accepted):
    query = field(1, start_ms) + field(2, end_ms)
    for kind, name, value in matchers:
        query += field(3, field(1, MATCH_TYPES[kind]) + field(2, name) + field(3, value))
    body = field(1, query)
    for name in accepted:
        body += field(2, RESPONSE_TYPES[name])
    return snappy_literal(body)


def decode_label(data):
    values = dict(fields(data))
    return values[1].decode(), values[2].decode()


def decode_sampled(reply):
    """[(labels, [(t_ms, value)])] of the first query."""
    results = [value for number, value in fields(snappy_decode(reply)) if number == 1]
    assert len(results) == 1
    series = []
    for _, timeseries in fields(results[0]):
        labels, samples = [], []
        for number, value in fields(timeseries):
            if number == 1:
                labels.append(decode_label(value))
            elif number == 2:
                sample = dict(fields(value))
                samples.append((signed(sample.get(2, 0)),
                                struct.unpack("<d", sample.get(1, bytes(8)))[0]))
        series.append((labels, samples))
    return series


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


class Bits:
    def __init__(self, data):
        self.data = data
        self.pos = 0

    def read(self, count):
        value = 0
        for _ in range(count):
            value = value << 1 | self.data[self.pos >> 3] >> (7 - self.pos % 8) & 1
            self.pos += 1
        return value

    def varint(self):
        value = shift = 0
        while True:
            byte = self.read(8)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value


def decode_delta(bits):
    for prefix, width in enumerate((0, 14, 17, 20)):
        if bits.read(1) == 0:
            if prefix == 0:
                return 0
            value = bits.read(width)
            return value - (1 << width) if value > 1 << (width - 1) else value
    return signed(bits.read(64))


def decode_xor_chunk(data):
    """Samples of one Gorilla chunk: count, varint t0, raw v0, deltas of deltas, xored values."""
    count = struct.unpack(">H", data[:2])[0]
    bits = Bits(data[2:])
    samples = []
    t = delta = value = leading = trailing = 0
    for index in range(count):
        if index == 0:
            raw = bits.varint()
            t = raw >> 1 ^ -(raw & 1)
            value = bits.read(64)
        else:
            if index == 1:
                delta = bits.varint()
            else:
                delta += decode_delta(bits)
            t += delta
            if bits.read(1):
                if bits.read(1):
                    leading = bits.read(5)
                    significant = bits.read(6) or 64
                    trailing = 64 - leading - significant
                value ^= bits.read(64 - leading - trailing) << trailing
        samples.append((t, struct.unpack(">d", value.to_bytes(8, "big"))[0]))
    return samples


def decode_streamed(reply):
    """Frames: uvarint length, big-endian CRC-32C, ChunkedReadResponse with one series each."""
    pos = 0
    series = []
    while pos < len(reply):
        size, pos = read_varint(reply, pos)
        assert size <= (1 << 20) + 65536, "a frame is at most about 1 MiB"
        crc = struct.unpack(">I", reply[pos:pos + 4])[0]
        data = reply[pos + 4:pos + 4 + size]
        pos += 4 + size
        assert len(data) == size and crc32c(data) == crc, "frame is damaged"
        chunked = [value for number, value in fields(data) if number == 1]
        assert len(chunked) == 1, "one series per frame"
        labels, samples = [], []
        for number, value in fields(chunked[0]):
            if number == 1:
                labels.append(decode_label(value))
            elif number == 2:
                chunk = dict(fields(value))
                assert chunk[3] == 1, "XOR encoding"
                decoded = decode_xor_chunk(chunk[4])
                assert signed(chunk.get(1, 0)) == decoded[0][0]
                assert signed(chunk.get(2, 0)) == decoded[-1][0]
                samples += decoded
        if series and series[-1][0] == labels:
            series[-1][1].extend(samples)
        else:
            series.append((labels, samples))
    return series
