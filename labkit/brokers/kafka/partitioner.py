"""Where a key goes: the arithmetic of librdkafka's partitioners."""

from __future__ import annotations

import zlib

from labkit.errors import ConfigurationError

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_SEED = 0x9747B28C


def consistent(key: bytes, partitions: int) -> int:
    """CRC-32 of the key: librdkafka's `consistent` and `consistent_random`."""
    return zlib.crc32(key) % partitions


def murmur2(key: bytes, partitions: int) -> int:
    """MurmurHash2 of the key, without its sign: what Kafka's Java clients do."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


PARTITIONERS = {
    "consistent_random": consistent,
    "consistent": consistent,
    "murmur2_random": murmur2,
    "murmur2": murmur2,
}


def partition_of(key: bytes, partitions: int, partitioner: str) -> int:
    """The partition of a key."""
    if partitioner not in PARTITIONERS:
        raise ConfigurationError(
            f"partitioner is one of {', '.join(PARTITIONERS)}, got {partitioner!r}."
        )
    return PARTITIONERS[partitioner](key, partitions)


def _murmur2(data: bytes) -> int:
    h = (_SEED ^ len(data)) & _MASK
    whole = len(data) - len(data) % 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15
