"""NATS JetStream: the only place that speaks to the bus."""
