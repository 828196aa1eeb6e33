"""RabbitMQ over AMQP 0-9-1, by pika."""

from labkit.brokers.rabbitmq.broker import RabbitBroker, open_broker

__all__ = ["RabbitBroker", "open_broker"]
