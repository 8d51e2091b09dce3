"""Flink on a lab: two JobManagers that elect their leader by ZooKeeper, TaskManagers, and one job written in SQL."""
