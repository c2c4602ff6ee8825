import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_asm.read_ahead import ReadAhead


def threads() -> int:
    return sum(thread.name == "read-ahead" for thread in threading.enumerate())


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
    deadline = time.monotonic() + 10
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
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
    assert threads() == 0
