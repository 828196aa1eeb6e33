"""Work queues on a real RabbitMQ: the same promises, and what only it can show."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import pika
import pytest
from contract.queue_contract import LetPass, QueueContract, nothing
from contract.rabbit_peer import management
from contract.real_server import OnRabbitMQ
from helpers import eventually

import labkit
from labkit import Reject, RetryPolicy, Task, Worker, WorkQueue
from labkit.broker import Depth, QueueBroker
from labkit.errors import BrokerRefused
from labkit.servers import RabbitServer


class OnQueues(OnRabbitMQ):
    pause, long_pause = 1.0, 1.5  # its queues let a task go when its time has come, seen or not

    @pytest.fixture
    def live(self, lab: Any) -> Any:
        return lab

    @pytest.fixture
    def let_pass(self) -> LetPass:
        return time.sleep  # a real lease takes real time


class TestQuorumQueues(OnQueues, QueueContract):
    """kind="stream", the default."""

    put_commands: ClassVar = {"stream": "basic.publish"}

    @pytest.fixture
    def kind(self) -> str:
        return "stream"

    def test_the_management_interface_counts_the_same(
        self, lab: QueueBroker, queue: WorkQueue, server: RabbitServer
    ) -> None:
        queue.put_many(range(5))
        with Worker(queue, lambda _: Reject("no"), name="ada") as ada:
            ada.run_one()
        with Worker(queue, nothing, name="bob", ack="manual", prefetch=2) as bob:
            bob.run_one()
            assert queue.depth() == Depth(2, 2, 0, 1)

            def counted() -> tuple[int, int, int]:
                rows = {row["name"]: row for row in management(server, "/api/queues")}
                tasks = rows.get(f"{lab.namespace}rebooking", {})
                letters = rows.get(f"{lab.namespace}rebooking.dead", {})
                return (
                    tasks.get("messages_ready", -1),
                    tasks.get("messages_unacknowledged", -1),
                    letters.get("messages_ready", -1),
                )

            eventually(lambda: counted() == (2, 2, 1))

    def test_done_is_done_although_tasks_move_while_they_are_counted(
        self, lab: QueueBroker
    ) -> None:
        def handler(task: Task) -> None:
            if task.content == 3:
                raise KeyError("seat")

        policy = RetryPolicy(attempts=3, first=0.05)
        for attempt in range(4):
            queue = WorkQueue(lab, f"moving-{attempt}")
            with Worker(queue, handler, retry=policy) as ada:
                queue.put_many(range(10))
                ada.start()
                assert queue.wait_until_done()
                assert queue.depth() == Depth(0, 0, 0, 1)

    def test_a_plain_client_puts_and_takes(
        self, lab: QueueBroker, queue: WorkQueue, server: RabbitServer
    ) -> None:
        queue.depth()
        name = f"{lab.namespace}rebooking"
        with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish("", name, b"not a labkit message", mandatory=True)
            with Worker(queue, nothing, name="ada") as ada:
                ada.run_one()
            assert queue.dead_letters()[0].content == b"not a labkit message"
            queue.put("B6 739", id="t")
            method, properties, body = channel.basic_get(name)
            assert (properties.message_id, properties.delivery_mode) == ("t", 2)
            assert b"B6 739" in body
            channel.basic_ack(method.delivery_tag)

    def test_a_program_that_dies_gives_its_tasks_back_at_once(
        self, lab: QueueBroker, queue: WorkQueue, server: RabbitServer
    ) -> None:
        queue.put("work")
        other = labkit.connect(server.url, namespace=lab.namespace, connect_timeout=20)
        dead = Worker(WorkQueue(other, "rebooking", lease=1000), nothing, name="ada")
        assert dead.take() is not None
        other._core.line("consuming").connection.ioloop.add_callback_threadsafe(
            other._core.line("consuming").connection._transport.abort
        )
        seen: list[Task] = []
        with Worker(queue, seen.append, name="bob") as bob:
            assert bob.run_one(timeout=30) is not None
        assert seen[0].attempt == 2
        assert "a worker died with it" in seen[0].errors[0]
        other.close()

    def test_rabbitmq_itself_ends_what_is_delivered_too_often(
        self, lab: QueueBroker, server: RabbitServer, make: Any
    ) -> None:
        queue = make(max_deliveries=3)
        queue.put("poison", id="t")
        with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
            channel = connection.channel()
            for _ in range(3):
                method = eventually(lambda: channel.basic_get(f"{lab.namespace}rebooking")[0])
                channel.basic_nack(method.delivery_tag, requeue=True)
        [letter] = eventually(queue.dead_letters)
        assert letter.id == "t"
        assert "delivery_limit" in letter.reason
        assert queue.redrive() == 1

    def test_other_arguments_are_refused_and_named(self, queue: WorkQueue, make: Any) -> None:
        queue.put("a")
        other = make(max_deliveries=7)
        with pytest.raises(BrokerRefused, match=r"'x-delivery-limit' is '?19'?, not '?6'?"):
            other.put("b")
        queue.put("c")  # the refusal closed one channel, not ours
        assert queue.depth().ready == 2

    def test_a_queue_that_somebody_deletes_is_declared_again(
        self, lab: QueueBroker, queue: WorkQueue, server: RabbitServer
    ) -> None:
        queue.put("lost with the queue")
        with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
            connection.channel().queue_delete(f"{lab.namespace}rebooking")
        queue.put("kept")
        assert queue.depth().ready == 1

    def test_a_dead_letter_needs_its_queue_and_makes_it(
        self, lab: QueueBroker, queue: WorkQueue, server: RabbitServer
    ) -> None:
        queue.put("B6 739", id="t")
        with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
            connection.channel().queue_delete(f"{lab.namespace}rebooking.dead")
        with Worker(queue, lambda _: Reject("no seat"), name="ada") as ada:
            ada.run_one()
        assert [letter.id for letter in queue.dead_letters()] == ["t"]

    def test_the_commands_name_the_queue_that_it_was(
        self, lab: QueueBroker, queue: WorkQueue
    ) -> None:
        queue.put("now", priority="high")
        queue.put("any time")
        with Worker(queue, nothing, name="ada", prefetch=2) as ada:
            ada.run()
        shown = [str(line) for line in str(lab.commands(200)).splitlines() if "<take>" in str(line)]
        named = [f"queue='{lab.namespace}rebooking{end}'" for end in (".high", "")]
        assert len(shown) == 2
        assert all(name in line for name, line in zip(named, shown, strict=True))

    def test_what_is_put_survives_a_restart_of_the_lab(
        self, lab: QueueBroker, queue: WorkQueue, server: RabbitServer
    ) -> None:
        queue.put("kept", delay=0.05)
        with labkit.connect(server.url, namespace=lab.namespace, connect_timeout=20) as other:
            again = WorkQueue(other, "rebooking", lease=30)
            eventually(lambda: again.depth() == Depth(1, 0, 0, 0))


class TestClassicQueues(OnQueues, QueueContract):
    """kind="list": one queue with x-max-priority."""

    put_commands: ClassVar = {"list": "basic.publish"}

    @pytest.fixture
    def kind(self) -> str:
        return "list"

    def test_priorities_are_the_queues_own(
        self, lab: QueueBroker, queue: WorkQueue, server: RabbitServer
    ) -> None:
        queue.put("low", priority="low")
        queue.put("high", priority="high")
        with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
            body = connection.channel().basic_get(f"{lab.namespace}rebooking")[2]
        assert b"high" in body
