"""Kafka: a replicated log, three brokers that are controllers too (KRaft), from plain jars."""
