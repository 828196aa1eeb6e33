"""What was made before a fork works in the parent alone, and the child cannot end it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.servers import RedisServer

StartServer = Callable[..., RedisServer]

FORKED = """
import os, signal, sys
import labkit
from labkit.errors import ConfigurationError

lab = labkit.connect(sys.argv[1])
desk = labkit.Responder(lab, "seats", lambda request: request.content, name="desk").connect()
desk.start()
board = labkit.Subscriber(lab, name="board").connect()
board.subscribe("news")
queue = labkit.WorkQueue(lab, "rebooking")
worker = labkit.Worker(queue, lambda task: None, name="ada")
tower = labkit.Publisher(lab, "tower").connect()
gate = labkit.Requester(lab, "gate").connect()
THING = {thing}

def locks(thing, depth=3):
    for value in vars(thing).values():
        if hasattr(value, "acquire") and hasattr(value, "release"):
            yield value
        elif depth and type(value).__module__.startswith("labkit.patterns"):
            if hasattr(value, "__dict__"):
                yield from locks(value, depth - 1)

held = [lock for lock in locks(THING) if lock.acquire(timeout=1)]  # as other threads may
child = os.fork()
if child == 0:
    signal.alarm(20)
    for use in (lambda: {use}, lambda: THING.stats()):
        try:
            print("done all the same:", use())
        except ConfigurationError as error:
            print(error)
    print(repr(THING))
    {end}
    sys.exit()
for lock in held:
    lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
{still}
tower.disconnect(), gate.disconnect(), desk.disconnect(), board.disconnect(), worker.stop()
lab.close()
"""

CASES = {
    "Publisher 'tower'": (
        "tower",
        "THING.publish('news', 1)",
        "THING.disconnect()",
        "THING.publish('news', 2); assert [i.content for i in board.drain(timeout=5)] == [2]",
    ),
    "Subscriber 'board'": (
        "board",
        "THING.drain()",
        "THING.disconnect()",
        "tower.publish('news', 1); assert [i.content for i in THING.drain(timeout=5)] == [1]",
    ),
    "WorkQueue 'rebooking'": (
        "queue",
        "THING.put('a task')",
        "del THING",
        "THING.put('a task'); assert THING.depth().ready == 1",
    ),
    "Worker 'ada'": (
        "worker",
        "THING.run_one()",
        "THING.stop()",
        "queue.put('a task'); assert THING.run_one().what == 'done'",
    ),
    "Requester 'gate'": (
        "gate",
        "THING.request('seats', 1)",
        "THING.disconnect()",
        "assert THING.request('seats', 2).content == 2",
    ),
    "Responder 'desk'": (
        "desk",
        "THING.serve_one()",
        "THING.disconnect()",
        "assert gate.request('seats', 3).content == 3",
    ),
}


@pytest.fixture
def server(start_server: StartServer) -> RedisServer:
    return start_server()


@pytest.mark.parametrize("name", CASES)
def test_a_fork_cannot_use_or_end_what_its_parent_made(server: RedisServer, name: str) -> None:
    thing, use, end, still = CASES[name]
    program = FORKED.format(thing=thing, use=use, end=end, still=still)
    ran = subprocess.run(
        [sys.executable, "-c", program, server.url], capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    refusal = f"{name} was made in another process; make one in each process."
    assert ran.stdout.splitlines()[:2] == [refusal, refusal]
    assert name in ran.stdout.splitlines()[2]  # it can be shown


SPAWNED = """
import multiprocessing, sys
import labkit

def ask(url, answers):
    with labkit.connect(url) as lab, labkit.Requester(lab, "gate") as gate:
        answers.put([gate.request("seats", n).content for n in range(20)])

if __name__ == "__main__":
    spawn = multiprocessing.get_context(sys.argv[2])
    with labkit.connect(sys.argv[1]) as lab:
        with labkit.Responder(lab, "seats", lambda request: request.content) as desk:
            answers = spawn.Queue()
            children = [spawn.Process(target=ask, args=(sys.argv[1], answers)) for _ in range(2)]
            for child in children:
                child.start()
            desk.serve(max_requests=40, timeout=30)
            print(*(answers.get(timeout=10) == list(range(20)) for _ in children))
            for child in children:
                child.join()
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_that_make_their_own_get_their_own_answers(
    server: RedisServer, method: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(SPAWNED)
    ran = subprocess.run(
        [sys.executable, program, server.url, method], capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == ("True True\n", "")
