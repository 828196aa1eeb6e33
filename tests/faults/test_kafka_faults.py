"""Kafka killed and restarted while programs append and read; brokers of the mock taken down.

What was confirmed (`acks=all`) is there, in order within each key, whatever dies.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import missing
from contract.real_server import own_namespace
from helpers import eventually

import labkit
from labkit import EventStream, NewEvent, Publisher, Subscriber, Worker, WorkQueue, servers
from labkit.broker import NewEntry
from labkit.brokers.kafka import settings
from labkit.errors import BatchError, BrokerUnavailable, LabkitError
from labkit.servers import KafkaServer

EVENTS = 100_000
BATCH = 1_000
KEYS = 50
SOON_MS = 1_500


@pytest.fixture(scope="module")
def server_of_these_tests() -> Iterator[KafkaServer]:
    if servers.find_kafka() is None:
        missing("Kafka (python tools/fetch_kafka.py, and Java 17)")
    with servers.start_kafka() as server:
        yield server


@pytest.fixture
def own_server(server_of_these_tests: KafkaServer) -> KafkaServer:
    """A Kafka to be killed at will; use a namespace."""
    return server_of_these_tests.start()


@pytest.fixture
def space() -> str:
    """A namespace that no other test has."""
    return own_namespace()


@pytest.fixture
def soon_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that died is missed after 1.5 s, here and in READER."""
    monkeypatch.setattr(settings, "SESSION_MS", SOON_MS)


@pytest.mark.timeout(600)
def test_what_was_confirmed_survives_three_kills_of_the_server(
    own_server: KafkaServer, space: str
) -> None:
    """100,000 entries; the node is killed 3 times meanwhile, and readers leave 10 times."""
    url = own_server.url
    confirmed: dict[str, list[int]] = defaultdict(list)
    unknown: set[int] = set()
    appended = threading.Event()
    progress = [0]

    def append_all() -> None:
        with labkit.connect(
            url, namespace=space, timeout=60.0, connect_timeout=30.0, trace=False
        ) as lab:
            log = lab.open_stream("events")
            for start in range(0, EVENTS, BATCH):
                numbers = range(start, start + BATCH)
                entries = [NewEntry(str(n).encode(), f"k{n % KEYS}") for n in numbers]
                try:
                    log.append(entries)
                    done = set(range(BATCH))
                except BatchError as error:
                    done = set(error.sent)
                    unknown.update(start + i for i in error.unknown)
                for i in sorted(done):
                    confirmed[f"k{(start + i) % KEYS}"].append(start + i)
                progress[0] = start + BATCH
        appended.set()

    writer = threading.Thread(target=append_all)
    writer.start()
    seen: dict[str, list[int]] = defaultdict(list)
    kills = deaths = 0
    with labkit.connect(
        url, namespace=space, timeout=60.0, connect_timeout=30.0, trace=False
    ) as lab:
        eventually(lambda: progress[0] or not writer.is_alive(), 60)
        group = lab.open_stream("events").open_group("readers", {})
        member = group.join("reader 0")
        count = 0

        def total() -> int:
            return sum(map(len, confirmed.values()))

        deadline = time.monotonic() + 300
        while not (appended.is_set() and len({n for ns in seen.values() for n in ns}) >= total()):
            assert appended.is_set() or writer.is_alive(), "the writer gave up"
            assert time.monotonic() < deadline, (
                f"{kills} kills, {deaths} deaths; {progress[0]:,} appended, {total():,} confirmed, "
                f"{count:,} read; {member!r} at {group.state()}"
            )
            if kills < 3 and progress[0] >= (kills + 1) * EVENTS // 4:
                own_server.kill()
                own_server.start()
                kills += 1
            entries = member.poll(2_000, 0.5).entries
            for entry in entries:
                seen[str(entry.key)].append(int(entry.body or b"-1"))
            count += len(entries)
            if deaths < 10 and count >= (deaths + 1) * EVENTS // 12:
                member.close()  # what it was given and has not committed comes again
                deaths += 1
                member = group.join(f"reader {deaths}")
            else:
                ends = {e.position.partition: e.position for e in entries}
                member.commit(ends)
        member.close()
    writer.join()
    assert (kills, deaths) == (3, 10)
    twice = 0
    for key, numbers in confirmed.items():
        first = list(dict.fromkeys(seen[key]))  # the first time that each was seen
        assert first == sorted(first), "order within a key"
        assert set(numbers) <= set(first), "a confirmed entry is lost"
        assert set(first) <= set(numbers) | unknown
        twice += len(seen[key]) - len(first)
    print(f"{EVENTS:,} appended, {len(unknown):,} unknown, {twice:,} delivered twice, 0 lost")
    assert len(confirmed) == KEYS


def test_members_whose_broker_dies_while_they_join_do_join(
    own_server: KafkaServer, space: str
) -> None:
    """librdkafka may lose the question that a join waits for; its next refresh asks again."""
    with labkit.connect(own_server.url, namespace=space, connect_timeout=30.0) as lab:
        log = lab.open_stream("events")
        log.append([NewEntry(b"first")])
        groups = [log.open_group(f"group {n}", {}) for n in range(30)]
        members = [group.join("reader") for group in groups]  # at all stages of joining
        own_server.kill()
        own_server.start()
        deadline = time.monotonic() + 60
        for member in members:
            while not member.parts:
                assert time.monotonic() < deadline
                member.poll(1, 0.1)
        for member in members:
            member.close()


READER = f"""
import sys, labkit
from labkit.brokers.kafka import settings
settings.SESSION_MS = {SOON_MS}
url, space, name = sys.argv[1:]
with labkit.connect(url, namespace=space, timeout=30.0, trace=False) as lab:
    member = lab.open_stream("events").open_group("readers", {{}}).join(name)
    while True:
        entries = member.poll(50, 1.0).entries
        for entry in entries:
            print(entry.key, entry.body.decode())
        sys.stdout.flush()  # done; and only then committed
        member.commit({{entry.position.partition: entry.position for entry in entries}})
"""


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("soon_missed")
def test_nothing_is_lost_when_members_are_killed_ten_times(
    own_server: KafkaServer, space: str
) -> None:
    """Each of ten processes is killed (SIGKILL) in the middle of its work, two at a time."""
    seen: dict[str, list[int]] = defaultdict(list)
    with labkit.connect(own_server.url, namespace=space, timeout=30.0, trace=False) as lab:
        log = lab.open_stream("events")
        total = 20_000
        for start in range(0, total, BATCH):
            numbers = range(start, start + BATCH)
            log.append([NewEntry(str(n).encode(), f"k{n % KEYS}") for n in numbers])
        for _ in range(5):
            for code, lines in _killed_in_the_middle(own_server.url, space, readers=2):
                assert code == -signal.SIGKILL
                for line in lines:
                    key, number = line.split()
                    seen[key].append(int(number))
        assert len({n for ns in seen.values() for n in ns}) < total, "nothing was left to do"
        with contextlib.closing(log.open_group("readers", {}).join("the last")) as last:

            def all_seen() -> bool:
                entries = last.poll(2_000, 0.5).entries
                for entry in entries:
                    seen[str(entry.key)].append(int(entry.body or b"-1"))
                last.commit({e.position.partition: e.position for e in entries})
                return len({n for ns in seen.values() for n in ns}) == total

            eventually(all_seen, 60)
    for numbers in seen.values():
        first = list(dict.fromkeys(numbers))
        assert first == sorted(first), "order within a key"


def _killed_in_the_middle(url: str, space: str, readers: int) -> list[tuple[int, list[str]]]:
    """Exit code and whole lines of each process, killed when work is in hand."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", READER, url, space, f"reader {n}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(readers)
    ]
    lines: list[list[str]] = [[] for _ in children]

    def listen_one(n: int) -> None:
        stdout = children[n].stdout
        assert stdout is not None
        for line in stdout:
            if line.endswith("\n"):
                lines[n].append(line)

    listeners = [threading.Thread(target=listen_one, args=(n,)) for n in range(readers)]
    try:
        for listener in listeners:
            listener.start()
        eventually(lambda: any(lines), 30)
    finally:
        for child in children:
            child.kill()
        for listener in listeners:
            listener.join()
    codes = [child.wait() for child in children]
    for child in children:
        assert child.stdout is not None
        child.stdout.close()
    return list(zip(codes, lines, strict=True))


def test_an_idempotent_producer_appends_once_across_a_kill(
    own_server: KafkaServer, space: str
) -> None:
    """librdkafka sends again what was on its way; the broker knows what it has already."""
    with labkit.connect(own_server.url, namespace=space, timeout=60.0, connect_timeout=30.0) as lab:
        log = lab.open_stream("events")
        log.append([NewEntry(b"first", "k")])
        kill = threading.Thread(target=lambda: (own_server.kill(), own_server.start()))
        kill.start()
        for n in range(50):
            log.append([NewEntry(str(n).encode(), "k")])
        kill.join()
        bodies = [entry.body for entry in log.read({}, 1_000, 0.0)]
    assert bodies == [b"first", *(str(n).encode() for n in range(50))]


def test_tasks_survive_the_server(own_server: KafkaServer, space: str) -> None:
    with labkit.connect(own_server.url, namespace=space, timeout=30.0, connect_timeout=30.0) as lab:
        queue = WorkQueue(lab, "rebooking")
        queue.put_many(range(200))
        seen: Counter[int] = Counter()
        with Worker(queue, lambda task: seen.update([task.content]), name="ada") as ada:
            ada.run(max_tasks=50)
            own_server.kill()
            own_server.start()
            ada.run(timeout=30.0, max_tasks=150)
            eventually(lambda: ada.run() == 0 and len(seen) == 200, 60)
        assert set(seen) == set(range(200))
        assert queue.depth().unfinished == 0


def test_a_subscriber_misses_nothing_while_the_server_is_away(
    own_server: KafkaServer, space: str
) -> None:
    with (
        labkit.connect(own_server.url, namespace=space, timeout=30.0, connect_timeout=30.0) as lab,
        Publisher(lab, sender="tower") as tower,
        Subscriber(lab, name="board") as board,
    ):
        board.subscribe("news")
        tower.publish("news", 1)
        own_server.kill()
        own_server.start()
        tower.publish("news", 2)
        got: list[Any] = []
        eventually(lambda: got.extend(i.content for i in board.drain()) or len(got) == 2, 30)
        assert got == [1, 2]
        assert board.stats().lost == 0


def test_a_paused_server_is_said_to_be_unreachable(own_server: KafkaServer, space: str) -> None:
    with labkit.connect(own_server.url, namespace=space, timeout=1.0, connect_timeout=5.0) as lab:
        lab.publish("news", b"1")
        log = lab.open_stream("log")
        log.append([NewEntry(b"1")])
        own_server.pause()
        with pytest.raises(BrokerUnavailable, match=r"may have\s+arrived") as caught:
            lab.publish("news", b"2")
        assert caught.value.sent
        for question in (log.extents, log.groups, lambda: log.read({}, 1, 1.0)):
            with pytest.raises(BrokerUnavailable, match="Start one with"):
                question()
        own_server.resume()
        eventually(lambda: _publishes(lab), 30)


def test_groups_that_nobody_tells_are_not_taken_for_none(
    own_server: KafkaServer, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of groups comes with errors beside it; that of a paused server is empty."""

    class Patient:
        def __init__(self, answer: Any) -> None:
            self.result = lambda timeout: answer.result(timeout + 5.0)

    with labkit.connect(own_server.url, namespace=space, timeout=1.0, connect_timeout=5.0) as lab:
        stream = EventStream(lab, "log")
        stream.append(1)
        ask = lab._client.admin.list_consumer_groups
        monkeypatch.setattr(lab._client.admin, "list_consumer_groups", lambda: Patient(ask()))
        own_server.pause()
        with pytest.raises(BrokerUnavailable, match="Start one with"):
            stream.log.groups()
        own_server.resume()


def test_nothing_is_left_of_a_server(own_server: KafkaServer) -> None:
    folder = own_server.folder.parent
    assert folder.is_dir()
    own_server.stop()
    assert not folder.exists()
    assert not own_server.running


def test_the_password_is_asked_for_and_never_shown() -> None:
    if servers.find_kafka() is None:
        missing("Kafka (python tools/fetch_kafka.py, and Java 17)")
    with servers.start_kafka(password="se.cret 1") as server:
        with labkit.connect(server.url) as lab:
            lab.publish("news", b"1")
            shown = (
                f"{lab!r} {lab.url} {lab.commands()} {lab.handover()!r} {server!r} {lab.native!r}"
            )
            assert "se.cret" not in shown
            assert "***" in lab.url
        wrong = server.url.replace("se.cret", "other")
        with pytest.raises(BrokerUnavailable, match="user and a password") as caught:
            labkit.connect(wrong, connect_timeout=3.0)
        assert "other" not in str(caught.value)
        assert "se.cret" not in server.log_tail(10_000)


def test_a_server_of_ours_lets_no_other_user_of_the_machine_in(kafka_server: KafkaServer) -> None:
    password = kafka_server.password
    assert password is not None
    assert len(password) >= 24
    with pytest.raises(BrokerUnavailable):
        labkit.connect(f"kafka://{kafka_server.address}", connect_timeout=2.0)
    assert kafka_server._controller_port is not None
    for port in (kafka_server.port, kafka_server._controller_port):
        assert _who_is_there(port) == b""  # hung up
    with servers.start_kafka(password=None) as server:  # the same question, to an open one
        assert server._controller_port is not None
        assert _who_is_there(server._controller_port) != b""
    assert password not in repr(kafka_server)
    commands = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True)
    assert "kafka.Kafka" in commands.stdout
    assert password not in commands.stdout


def _who_is_there(port: int) -> bytes:
    """Ask for the cluster (DescribeCluster, version 1, of its controllers) without logging in."""
    request = struct.pack(">hhih", 60, 1, 1, 1) + b"x" + bytes([0, 0, 2, 0])
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(struct.pack(">i", len(request)) + request)
        try:
            return line.recv(1_000)
        except ConnectionResetError:
            return b""


# --- the mock cluster's faults ----------------------------------------------------------------


@pytest.fixture
def lab() -> Iterator[Any]:
    with labkit.connect("kafka+embedded://?brokers=3&partitions=3", timeout=1.0) as lab:
        yield lab


def test_a_broker_that_is_down_is_said_to_be_unreachable_and_comes_back(lab: Any) -> None:
    lab.publish("news", b"1")
    for broker in (1, 2, 3):
        lab.faults.broker_down(broker)
    with pytest.raises(BrokerUnavailable):
        lab.publish("news", b"2")
    eventually(lambda: not lab.open_subscription().connected or lab.errors())
    for broker in (1, 2, 3):
        lab.faults.broker_up(broker)
    eventually(lambda: _publishes(lab))


def test_an_error_of_the_broker_is_tried_again_without_a_loss_or_a_duplicate() -> None:
    with labkit.connect("kafka+embedded://", timeout=30.0) as lab:
        stream = EventStream(lab, "events")
        stream.append("warm up", key="k")
        lab.faults.fail_next(0, [7, 6])  # a time-out, then not the leader any more
        stream.append_many([NewEvent(n, key="k") for n in range(20)])
        assert [event.content for event in stream.read()] == ["warm up", *range(20)]


def test_a_broker_too_slow_for_the_time_out_is_unreachable_until_it_is_quick_again(
    lab: Any,
) -> None:
    lab.publish("news", b"1")
    for broker in (1, 2, 3):
        lab.faults.round_trip(30.0, broker)
    with pytest.raises(BrokerUnavailable):
        lab.publish("news", b"2")
    for broker in (1, 2, 3):
        lab.faults.round_trip(0.0, broker)
    eventually(lambda: _publishes(lab))


def test_a_round_trip_of_a_broker_that_is_not_there_is_refused(lab: Any) -> None:
    with pytest.raises(LabkitError, match="brokers 1 to 3"):
        lab.faults.round_trip(0.1, 9)


def _publishes(lab: Any) -> bool:
    try:
        lab.publish("news", b"again")
    except LabkitError:
        return False
    return True


# --- other people's tools ---------------------------------------------------------------------


@pytest.fixture
def kcat(kafka_server: KafkaServer, tmp_path: Path) -> Callable[..., str]:
    if shutil.which("kcat") is None:
        missing("kcat")
    config = tmp_path / "kcat.conf"
    config.write_text(
        f"bootstrap.servers={kafka_server.address}\nsecurity.protocol=SASL_PLAINTEXT\n"
        f"sasl.mechanism=PLAIN\nsasl.username=labkit\nsasl.password={kafka_server.password}\n"
    )

    def run(*arguments: str, text: str = "") -> str:
        command = ["kcat", "-q", "-F", str(config), *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_kcat_reads_what_labkit_wrote(kafka_server: KafkaServer, kcat: Any) -> None:
    with labkit.connect(kafka_server.url, namespace=own_namespace()) as lab:
        EventStream(lab, "flights").append({"flight": "B6 739"}, key="B6 739")
        topic = lab.kafka.topic("flights")
        shown = kcat("-C", "-t", topic, "-e", "-f", "%k|%s\\n")
    key, _, body = shown.strip().partition("|")
    assert key == "B6 739"
    assert '"flight":"B6 739"' in body.replace(" ", "").replace("B6739", "B6 739")


def test_labkit_reads_what_kcat_wrote(kafka_server: KafkaServer, kcat: Any) -> None:
    with labkit.connect(kafka_server.url, namespace=own_namespace()) as lab:
        lab.kafka.create_topic("flights", 2)
        kcat("-P", "-t", lab.kafka.topic("flights"), "-K:", "-H", "source=kcat", text="JFK:hello\n")
        [entry] = lab.open_stream("flights").read({}, 10, 5.0)
    assert (entry.key, entry.body) == ("JFK", b"hello")
    assert entry.more == {"source": b"kcat"}
