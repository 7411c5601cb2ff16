"""A site's book of any task."""

from collections.abc import Callable, Iterator

from clients.prompts.book import COMPLETIONS, Book, Reader, read_book
from clients.prompts.synthesis import WrittenBook, write_demo_books
from fl.settings import Settings
from fl.site import Site
from fl.site_list import book_path
from fl.tasks import COMPLETE, INTENT, TREND


def read_task_book(settings: Settings, site: Site) -> Book:
    """The site's book of `settings.task`. Raises BookError at the first bad line."""
    return read_book(book_path(settings, site), site=site, reader=reader_of(settings))


def write_task_books(settings: Settings) -> Iterator[WrittenBook]:
    """Write the demo sites' books of `settings.task`."""
    if settings.task == INTENT:
        from clients.insight.intents.demo_books import write_demo_intents

        return write_demo_intents(settings)
    if settings.task == TREND:
        from clients.insight.trends.demo_books import write_demo_trends

        return write_demo_trends(settings)
    return write_demo_books(settings)


def reader_of(settings: Settings) -> Reader:
    """What makes records of the lines of such a book."""
    return _READERS[settings.task](settings)


def _of_intents(settings: Settings) -> Reader:
    from clients.insight.intents.intent_book import intent_reader

    return intent_reader(settings)


def _of_trends(settings: Settings) -> Reader:
    from clients.insight.trends.trend_book import read_trend

    return Reader(
        record=read_trend, keys="history, target and t", command="./run.sh books task=trend"
    )


_READERS: dict[str, Callable[[Settings], Reader]] = {
    COMPLETE: lambda settings: COMPLETIONS,
    INTENT: _of_intents,
    TREND: _of_trends,
}
