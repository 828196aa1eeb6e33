"""One message at a time: a single publish, and there and back through an echo elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _bench import median, program

from peers.pubsub_ends import open_lab

BODY = b"x" * 100
ANYBODY = "benchmark"
"""A user that may publish and nothing else, with any password, while redis-benchmark runs."""

SCRIPT = Path(__file__).resolve().parent.parent / "pubsub.py"

Trip = Callable[[], object]


# --- the other end: sends back what it hears -----------------------------------------------------


def echo_contract(url: str) -> None:
    from labkit.broker import Received

    with open_lab(url) as lab:
        subscription = lab.open_subscription()
        subscription.add("there:contract")
        print("ready", flush=True)
        while True:
            item = subscription.poll(60)
            if isinstance(item, Received):
                lab.publish("back:contract", item.body)


def echo_labkit(url: str) -> None:
    import labkit

    with (
        open_lab(url) as lab,
        labkit.Publisher(lab) as publisher,
        labkit.Subscriber(lab) as subscriber,
    ):
        subscriber.subscribe("there:labkit")
        subscriber.set_message_callback(
            lambda _, message: publisher.publish("back:labkit", message.content)
        )
        subscriber.listen()
        print("ready", flush=True)
        while True:
            time.sleep(60)


def echo_redis_py(url: str) -> None:
    import redis

    client = redis.Redis.from_url(url)
    listener = _listener(client, "there:redis-py")
    print("ready", flush=True)
    while True:
        message = listener.get_message(timeout=60)
        if message is not None:
            client.publish("back:redis-py", message["data"])


def _listener(client: Any, channel: str) -> Any:
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(channel)
    listener.get_message(timeout=1)
    return listener


# --- this end ------------------------------------------------------------------------------------


@contextmanager
def trip_contract(url: str) -> Iterator[Trip]:

    with open_lab(url) as lab:
        subscription = lab.open_subscription()
        subscription.add("back:contract")

        def trip() -> None:
            lab.publish("there:contract", BODY)
            assert subscription.poll(5) is not None

        yield trip


@contextmanager
def trip_labkit(url: str) -> Iterator[Trip]:
    import labkit

    with (
        open_lab(url) as lab,
        labkit.Publisher(lab) as publisher,
        labkit.Subscriber(lab) as subscriber,
    ):
        subscriber.subscribe("back:labkit")
        content = BODY.decode()

        def trip() -> None:
            publisher.publish("there:labkit", content)
            assert len(subscriber.drain(max_messages=1, timeout=5)) == 1

        yield trip


@contextmanager
def trip_redis_py(url: str) -> Iterator[Trip]:
    import redis

    client = redis.Redis.from_url(url)
    listener = _listener(client, "back:redis-py")

    def trip() -> None:
        client.publish("there:redis-py", BODY)
        assert listener.get_message(timeout=5) is not None

    yield trip
    listener.close()
    client.close()


ECHOES = {"contract": echo_contract, "labkit": echo_labkit, "redis-py": echo_redis_py}
TRIPS = {"contract": trip_contract, "labkit": trip_labkit, "redis-py": trip_redis_py}


def round_trips(url: str, trips: int, rounds: int) -> dict[str, list[list[float]]]:
    """For each program and round, what each trip took, in microseconds."""
    took: dict[str, list[list[float]]] = {name: [] for name in TRIPS}
    with ExitStack() as stack:
        ways = {}
        for name, open_trip in TRIPS.items():
            stack.enter_context(program(SCRIPT, "--echo", name, url=url))
            ways[name] = stack.enter_context(open_trip(url))
            for _ in range(100):
                ways[name]()
        for _ in range(rounds):
            for name, trip in ways.items():
                found = []
                for _ in range(trips):
                    began = time.perf_counter()
                    trip()
                    found.append((time.perf_counter() - began) * 1e6)
                took[name].append(found)
    return took


def single(url: str, count: int, rounds: int) -> dict[str, float]:
    """Publishes per second, one after the other, heard by nobody."""
    import redis

    client = redis.Redis.from_url(url)
    rates: dict[str, list[float]] = {"labkit": [], "redis-py": []}
    with open_lab(url) as lab:
        for _ in range(rounds):
            for name, publish in (("labkit", lab.publish), ("redis-py", client.publish)):
                began = time.perf_counter()
                for _ in range(count):
                    publish("bench:nobody", BODY)
                rates[name].append(count / (time.perf_counter() - began))
    client.close()
    return {name: median(values) for name, values in rates.items()}


def redis_benchmark(url: str, count: int) -> float | None:
    """What Redis' own program gets for PUBLISH, 100 at a time; None where it is not installed."""
    import redis

    path = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if path is None:
        return None
    parts = urlsplit(url)
    command = [path, "-h", str(parts.hostname), "-p", str(parts.port), "-P", "100", "-q"]
    command += ["--user", ANYBODY, "-a", "no-secret"]  # a password would stand there for all to see
    command += ["-n", str(count), "PUBLISH", "bench:nobody", BODY.decode()]
    with redis.Redis.from_url(url) as client:
        client.acl_setuser(
            ANYBODY, enabled=True, nopass=True, channels=["*"], commands=["+publish"]
        )
        try:
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        finally:
            client.acl_deluser(ANYBODY)
    return float(re.findall(r"([\d.]+) requests per second", output)[-1])
