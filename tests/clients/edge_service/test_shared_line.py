"""Whose bytes on the shared connection are whose."""

from clients.edge_service.shared_line import SharedLine
from fl.link.relay import Crossed


def test_who_is_alone_from_begin_to_end_gets_the_bytes() -> None:
    now = Crossed(up=5, down=50)
    line = SharedLine(lambda: now)
    first = line.take()
    now = Crossed(up=15, down=70)
    assert first.end() == Crossed(up=10, down=20)
    second = line.take()  # after it, not beside it
    now = Crossed(up=16, down=72)
    assert second.end() == Crossed(up=1, down=2)


def test_nobody_can_say_whose_the_bytes_of_overlapping_ones_are() -> None:
    line = SharedLine(lambda: Crossed(up=5, down=50))
    first, second = line.take(), line.take()
    assert first.end() is None
    third = line.take()  # the second is still on its way
    assert second.end() is None
    assert third.end() is None
    assert line.take().end() == Crossed(up=0, down=0)


def test_where_the_socket_is_not_seen_nothing_is_said() -> None:
    assert not SharedLine(None).seen
    assert SharedLine(None).take().end() is None
