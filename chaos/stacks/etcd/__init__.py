"""etcd: a replicated key-value store, the smallest stack whose loss of state can be seen."""
