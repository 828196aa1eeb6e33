"""Redis, Valkey and the embedded broker (fakeredis): one code path for all three."""

from labkit.brokers.redis.broker import RedisBroker, open_broker

__all__ = ["RedisBroker", "open_broker"]
