"""A job as small as can be: copies `in` to `out` with a running count a key, in a transaction each 0.3 s."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

from confluent_kafka import Consumer, Producer, TopicPartition

EACH_S = 0.3


class SmallJob:
    """Runs between `start` and `stop`; `hold` leaves the transaction under way open, `abort` takes it back."""

    def __init__(self, bootstrap: str, source: str, sink: str, partitions: int = 4) -> None:
        self.abort = self.hold = False
        self._bootstrap, self._sink = bootstrap, sink
        self._ending = threading.Event()
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "job", "enable.auto.commit": False, "log_level": 2}
        )
        self._consumer.assign([TopicPartition(source, number, 0) for number in range(partitions)])
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "transactional.id": f"{sink}-job", "linger.ms": 0, "log_level": 2}
        )
        self._counts: Counter[str] = Counter()
        self.trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._producer.init_transactions(20)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.trouble:
            raise self.trouble

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._transaction()
        except BaseException as error:  # noqa: BLE001  the test that stops it raises it
            self.trouble = error
        finally:
            self._consumer.close()

    def _transaction(self) -> None:
        self._producer.begin_transaction()
        until = time.monotonic() + EACH_S
        while (time.monotonic() < until or self.hold) and not self._ending.is_set():
            if (message := self._consumer.poll(0.02)) is not None and message.error() is None:
                self._copy(message)
        if self.abort:
            self._producer.abort_transaction(20)
        elif not self.hold:
            self._producer.commit_transaction(20)

    def _copy(self, message) -> None:
        said = json.loads(message.value())
        self._counts[said["k"]] += 1
        text = json.dumps({**said, "count": self._counts[said["k"]]})
        self._producer.produce(self._sink, text, message.key(), message.partition())
