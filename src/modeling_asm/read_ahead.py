"""A thread that makes the next items while those before are used."""

import queue
import threading
from collections.abc import Iterable, Iterator


WAIT = 0.1  # seconds after which a full queue's thread looks whether anybody still listens


class ReadAhead:
    """Iterate over something in a thread of its own, some items ahead of their use.

    The order stays. What the thread raises is raised where the item would have come. Where the items are no longer
    wanted, the thread ends with the one that it is at. `items` is iterated over in that thread.

    Args:
        items: What to iterate over.
        size: How many items may be ready.
    """

    def __init__(self, items: Iterable, size: int):
        self.items, self.size = items, size

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator:
        ready, closed = queue.Queue(self.size), threading.Event()

        def put(item, error: BaseException | None = None):
            while not closed.is_set():
                try:
                    return ready.put((item, error), timeout=WAIT)
                except queue.Full:
                    continue

        def read():
            try:
                for item in self.items:
                    put(item)
                    if closed.is_set():
                        return
                put(None, StopIteration())
            except BaseException as error:
                put(None, error)

        thread = threading.Thread(target=read, name="read-ahead", daemon=True)
        thread.start()
        try:
            while True:
                item, error = ready.get()
                if isinstance(error, StopIteration):
                    return
                if error is not None:
                    raise error
                yield item
        finally:
            closed.set()
            if thread is not threading.current_thread():  # which may collect this iterator as garbage
                thread.join(WAIT)
