"""Kafka: topics, the CloudEvents producer, and the consumer loop."""
