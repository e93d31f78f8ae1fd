"""IP packets as bytes: the virtio header in front, checksums, segments, batches, and queues of flows."""
