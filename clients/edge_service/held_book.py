"""The site's prompt book in memory, read again when its file has changed."""

import threading
from pathlib import Path

from clients.prompts.book import COMPLETIONS, Book, Reader, read_book
from fl.site import Site

Stamp = tuple[int, int, int]  # inode, bytes, nanoseconds of the last change


class HeldBook:
    """Safe to use from several threads."""

    def __init__(self, path: Path, site: Site, reader: Reader = COMPLETIONS) -> None:
        self._path, self._site, self._reader = path, site, reader
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._book: Book | None = None

    def book(self) -> Book:
        """The book as it is on disk now. Raises BookError."""
        with self._lock:
            stamp = self._stamp_now()
            if self._book is None or stamp != self._stamp:
                self._book = None  # what can no longer be read must not be learned from
                self._book = read_book(self._path, site=self._site, reader=self._reader)
                self._stamp = stamp
            return self._book

    def sizes(self) -> tuple[int, int]:
        """(training prompts, held-out prompts) as last read; zeros where it could not be."""
        book = self._book
        return (len(book.train), len(book.heldout)) if book else (0, 0)

    def _stamp_now(self) -> Stamp | None:
        """Taken before reading: a change during that is then noticed at the next look."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
