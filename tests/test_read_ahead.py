import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_asm.read_ahead import ReadAhead


def threads() -> int:
    return sum(thread.name == "read-ahead" for thread in threading.enumerate())


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@given(items=st.lists(st.integers()), size=st.integers(1, 4))
def test_the_same_items_in_the_same_order(items, size):
    ahead = ReadAhead(items, size)
    assert list(ahead) == items
    assert list(ahead) == items  # and once more
    assert threads() == 0


def test_items_are_made_while_others_are_used():
    made = []
    items = iter(ReadAhead((made.append(index) or index for index in range(10)), 2))
    assert next(items) == 0
    wait_for(lambda: len(made) >= 3)
    assert 3 <= len(made) <= 4  # the next two are ready, and one may wait for its place
    items.close()


def test_what_is_raised_comes_in_its_turn():
    def items():
        yield 1
        raise OSError("gone")

    ahead = iter(ReadAhead(items(), 4))
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)
    assert threads() == 0


def test_the_thread_ends_where_nobody_listens():
    ahead = iter(ReadAhead(range(1000), 1))
    next(ahead)
    assert threads() == 1
    ahead.close()
    wait_for(lambda: threads() == 0)


def test_leaving_does_not_wait_for_a_slow_item():
    pause = threading.Event()
    ahead = iter(ReadAhead((pause.wait(60) if index else index for index in range(9)), 1))
    next(ahead)
    start = time.monotonic()
    ahead.close()
    assert time.monotonic() - start < 30
    pause.set()
    wait_for(lambda: threads() == 0)


def test_it_is_as_long_as_what_it_reads():
    assert len(ReadAhead([1, 2, 3], 1)) == 3
    with pytest.raises(TypeError):
        len(ReadAhead(iter([1]), 1))
