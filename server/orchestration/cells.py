"""Links that sites share, as what management has set leaves them to each."""

from collections.abc import Callable

from fl.link.speed import LinkSpeed
from fl.network.rules import Rules, carved, own_link


class Cells:
    """One cloud's. Not for threads."""

    def __init__(self, tell: Callable[[str, LinkSpeed], object]) -> None:
        """`tell` hears the name and the speed of every link that is new or has changed."""
        self._tell, self._rules = tell, Rules()
        self._speeds: dict[str, LinkSpeed] = {}  # cell -> its link, the newest word about it
        self._cell_of: dict[str, str] = {}  # site -> the one cell that it is in

    def put(self, site_id: str, cell: str, speed: LinkSpeed | None) -> None:
        """A site is in this cell now, and in no other; None where it knows no link."""
        before = self._cell_of.get(site_id)
        self._cell_of[site_id] = cell
        if speed is not None:
            self._speeds[cell] = speed
        if speed is not None or before != cell:
            self._carve(cell)
        if before not in (None, cell):
            self._carve(str(before))

    def obey(self, rules: Rules) -> None:
        """Follow what management has set."""
        if rules != self._rules:
            self._rules = rules
            for cell in self._speeds:
                self._carve(cell)

    def link_of(self, site_id: str, cell: str) -> str:
        """The link that a site's bytes are promised on; its cell's where none is its own yet."""
        own = own_link(self._rules, cell, site_id)
        if own != cell and self._cell_of.get(site_id) != cell:
            self.put(site_id, cell, None)
        return own if cell in self._speeds else cell

    def _carve(self, cell: str) -> None:
        if (speed := self._speeds.get(cell)) is None:
            return
        members = sorted(site for site, its in self._cell_of.items() if its == cell)
        for name, its in carved(self._rules, cell, speed, members).items():
            self._tell(name, its)
