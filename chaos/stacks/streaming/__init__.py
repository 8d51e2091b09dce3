"""Kafka and Flink together, with a job between their topics."""
