"""Kafka: a real one, or librdkafka's own mock cluster in this process."""

from labkit.brokers.kafka.broker import open_broker

__all__ = ["open_broker"]
