"""A table of a large file, read in pages where a few entries answer the question.

libtorch's string table is 20 MB and a diagnosis compares a few hundred of its names. Pages are kept
until they add up to half of the table; from then on all of it is in memory, so that a thorough run
pays at most one and a half times the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["PagedTable"]

_SHIFT = 12
_SMALL = 256 << 10  # a table that one read gets sooner than the pages of its entries
_PAGE = 1 << _SHIFT


class PagedTable:
    """``size`` bytes at file ``offset``. ``read(offset, size)`` gets bytes of the file."""

    def __init__(self, read: Callable[[int, int], bytes], offset: int, size: int) -> None:
        self.size = size
        self._read = read
        self._offset = offset
        self._pages: dict[int, bytes] = {}
        self._enough = size // _PAGE // 2
        self._whole: bytes | None = None

    def get(self, start: int, size: int) -> bytes:
        """Bytes ``start`` to ``start + size``, fewer at the end of the table."""
        if self._whole is None and size > self.size // 2:
            self._read_whole()
        if self._whole is not None:
            return self._whole[start : start + size]
        first, last = start >> _SHIFT, (start + size - 1) >> _SHIFT
        page, begin = self._page(first), start & (_PAGE - 1)
        if first == last:
            return page[begin : begin + size]
        pieces = [page, *(self._page(number) for number in range(first + 1, last + 1))]
        return b"".join(pieces)[begin : begin + size]

    def until_nul(self, start: int, limit: int) -> bytes | None:
        """Bytes from ``start`` up to a NUL or the table's end; None: longer than ``limit``."""
        if self._whole is None:
            page, begin = self._page(start >> _SHIFT), start & (_PAGE - 1)
            end = page.find(b"\0", begin)
            if end >= 0:
                return page[begin:end]
            return self._long(start, page[begin:], limit)
        end = self._whole.find(b"\0", start, start + limit + 1)
        if end < 0 and self.size - start > limit:
            return None
        return self._whole[start : end if end >= 0 else self.size]

    def all_until_nul(self, starts: Sequence[int], limit: int) -> list[bytes] | None:
        """:meth:`until_nul` of each of ``starts``; None when one is longer than ``limit``."""
        if self._whole is None and self.size <= _SMALL and len(starts) > 1:
            self._read_whole()
        if self._whole is not None:
            whole, find = self._whole, self._whole.find
            ends = [find(b"\0", start) for start in starts]
            if all(0 <= end - start <= limit for start, end in zip(starts, ends, strict=True)):
                return [whole[start:end] for start, end in zip(starts, ends, strict=True)]
        found = []
        for start in starts:
            text = self.until_nul(start, limit)
            if text is None:
                return None
            found.append(text)
        return found

    def _long(self, start: int, head: bytes, limit: int) -> bytes | None:
        """A string that goes on in the next page."""
        pieces, length, number = [head], len(head), start >> _SHIFT
        while start + length < self.size:
            number += 1
            page = self._page(number)
            end = page.find(b"\0")
            pieces.append(page if end < 0 else page[:end])
            length += len(pieces[-1])
            if end >= 0:
                break
            if length > limit:
                return None
        return b"".join(pieces)

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is not None:
            return page
        place = number << _SHIFT
        if self._whole is None and len(self._pages) >= self._enough:
            self._read_whole()
        if self._whole is not None:
            return self._whole[place : place + _PAGE]
        page = self._read(self._offset + place, max(0, min(_PAGE, self.size - place)))
        self._pages[number] = page
        return page

    def _read_whole(self) -> None:
        self._whole = self._read(self._offset, self.size)
        self._pages.clear()
