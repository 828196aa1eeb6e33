"""librdkafka's mock cluster: it speaks Kafka's protocol on loopback, in this process.

It is inside confluent-kafka's wheel, and driven here through ctypes. It keeps its records in
memory, about 5 MB a partition, and forgets the oldest ones beyond that.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import weakref
from pathlib import Path

from labkit.errors import ConfigurationError, LabkitError, ServerError

DEFAULT_BROKERS = 1
MOST_BROKERS = 9
_PRODUCER = 0
_OK = 0

_shared: weakref.WeakValueDictionary[str, MockKafka] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class MockKafka:
    """A mock cluster and its faults. Made by `connect("kafka+embedded://")`, or here.

    Args:
        brokers: how many brokers, numbered from 1.

    Raises:
        ServerError: librdkafka has none, or its library was not found.
    """

    def __init__(self, brokers: int = DEFAULT_BROKERS) -> None:
        if isinstance(brokers, bool) or not 1 <= brokers <= MOST_BROKERS:
            raise ConfigurationError(f"brokers is from 1 to {MOST_BROKERS}, got {brokers!r}.")
        self.brokers = brokers
        self.groups: dict[str, set[str]] = {}  # by topic; the cluster itself lists none
        self.known_outside = False  # another process was told of it
        self._users = 0
        self._guard = threading.Lock()
        self._library = library = _library()
        why = ctypes.create_string_buffer(512)
        config = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(config, b"log_level", b"0", why, len(why))
        self._client = library.rd_kafka_new(_PRODUCER, config, why, len(why))
        if not self._client:
            raise ServerError(f"The mock cluster cannot start: {why.value.decode()}.")
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, brokers)
        if not self._cluster:
            library.rd_kafka_destroy(self._client)
            raise ServerError("The mock cluster cannot start: no port on loopback, perhaps.")
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.address = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic; nothing happens if it is there."""
        name, copies = topic.encode(), min(3, self.brokers)
        self._library.rd_kafka_mock_topic_create(self._living(), name, partitions, copies)

    def broker_down(self, broker: int = 1) -> None:
        """A broker goes: connections break, and new ones are refused."""
        self._check(broker)
        self._answer(self._library.rd_kafka_mock_broker_set_down(self._living(), broker))

    def broker_up(self, broker: int = 1) -> None:
        """It comes back, with what it had."""
        self._check(broker)
        self._answer(self._library.rd_kafka_mock_broker_set_up(self._living(), broker))

    def round_trip(self, seconds: float, broker: int = 1) -> None:
        """Every answer of a broker takes so long."""
        self._check(broker)
        if not 0 <= seconds <= 60:
            raise ConfigurationError(f"A round trip is from 0 to 60 seconds, got {seconds}.")
        milliseconds = round(seconds * 1000)
        self._answer(
            self._library.rd_kafka_mock_broker_set_rtt(self._living(), broker, milliseconds)
        )

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        """Another broker leads the partition."""
        self._check(broker)
        self._answer(
            self._library.rd_kafka_mock_partition_set_leader(
                self._living(), topic.encode(), partition, broker
            )
        )

    def fail_next(self, request: int, errors: list[int]) -> None:
        """The next requests of a kind are answered with errors, one after the other.

        Args:
            request: number of the request in Kafka's protocol: 0 produce, 1 fetch, 8 commit.
            errors: Kafka's error codes: 7 is a time-out, 6 not the leader.
        """
        array = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._living(), request, len(errors), array
        )

    def hold(self) -> MockKafka:
        """Somebody uses it; it ends when all have let go."""
        with self._guard:
            self._users += 1
        return self

    def let_go(self) -> None:
        """One less uses it; after the last one it ends."""
        with self._guard:
            self._users -= 1
            if self._users > 0:
                return
        self.close()

    def close(self) -> None:
        """End it; what it held is gone. Closing twice is fine."""
        with self._guard:
            if not self._cluster:
                return
            cluster, self._cluster = self._cluster, None
            self._library.rd_kafka_mock_cluster_destroy(cluster)
            self._library.rd_kafka_destroy(self._client)

    def __enter__(self) -> MockKafka:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"at {self.address}" if self._cluster else "closed"
        return f"<MockKafka of {self.brokers} brokers, {state}>"

    def _living(self) -> int:
        if not self._cluster:
            raise ServerError("This mock cluster has ended. Connect again for a new one.")
        return int(self._cluster)

    def _check(self, broker: int) -> None:
        if isinstance(broker, bool) or not 1 <= broker <= self.brokers:
            raise ConfigurationError(
                f"The cluster has brokers 1 to {self.brokers}, got {broker!r}. "
                "More of them: connect('kafka+embedded://?brokers=3')."
            )

    def _answer(self, code: int) -> None:
        if code != _OK:
            raise ServerError(f"The mock cluster refuses: error {code} of librdkafka.")


def mock_cluster(name: str, brokers: int) -> MockKafka:
    """A cluster of one's own, or the one that this process shares by that name; held once."""
    if not name:
        return MockKafka(brokers).hold()
    with _lock:
        cluster = _shared.get(name)
        if cluster is None or not cluster._cluster:
            cluster = _shared[name] = MockKafka(brokers)
        return cluster.hold()


def _library() -> ctypes.CDLL:
    """librdkafka as confluent-kafka has loaded it, with the types of what is called here."""
    try:
        import confluent_kafka
    except ImportError:
        raise LabkitError(HOW_TO_INSTALL) from None
    library = None
    for path in _candidates(Path(confluent_kafka.__file__).parent):
        try:
            library = ctypes.CDLL(path)
            library.rd_kafka_mock_cluster_new  # noqa: B018
            break
        except (OSError, AttributeError):
            library = None
    if library is None:
        raise ServerError("librdkafka's library was not found, and with it its mock cluster.")
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    size = ctypes.c_size_t
    signatures = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, size]),
        "rd_kafka_new": (pointer, [number, pointer, text, size]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_broker_set_down": (number, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_up": (number, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_rtt": (number, [pointer, ctypes.c_int32, number]),
        "rd_kafka_mock_partition_set_leader": (
            number,
            [pointer, text, ctypes.c_int32, ctypes.c_int32],
        ),
        "rd_kafka_mock_push_request_errors_array": (
            None,
            [pointer, ctypes.c_int16, size, ctypes.POINTER(number)],
        ),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _candidates(package: Path) -> list[str]:
    """Where the wheel keeps it: beside the package (Linux, Windows), or inside it (macOS)."""
    folders = [package.with_name("confluent_kafka.libs"), package / ".dylibs", package]
    names = [str(path) for folder in folders for path in sorted(folder.glob("*rdkafka*"))]
    if sys.platform == "linux":  # the very file, however it is called
        lines = Path("/proc/self/maps").read_text().splitlines()
        names[:0] = sorted({line.split()[-1] for line in lines if "rdkafka" in line})
    return names


HOW_TO_INSTALL = (
    "Kafka needs the package confluent-kafka: pip install 'messaging-lab[kafka]'. "
    "It brings a small cluster along: labkit.connect('kafka+embedded://')."
)
