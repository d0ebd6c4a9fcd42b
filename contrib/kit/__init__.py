"""What contrib/demo, contrib/cri and the integration tests share: a CRI client, images, registries, a daemon of one's own."""
