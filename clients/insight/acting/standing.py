"""What a site has of the network as the rules leave it, and when that is less than before."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isinf

from clients.insight.acting.actuator import Figure
from fl.link.speed import LinkSpeed
from fl.network.rules import Rules, carved, own_link, worker_share
from fl.orchestration.admission import Admission, Wanted
from fl.orchestration.batch_server import Pace

CLOUD = "cloud"
MOST_COUNTED = 500  # requests at once


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What there is: sites and their cells, links, workers, and a usual request."""

    cell_of: Mapping[str, str]  # site -> cell
    links: Mapping[str, LinkSpeed]  # by cell
    workers: Mapping[str, Pace]
    admission: str
    slack: float
    deadline_s: float  # of a request where nobody says; 0 = none
    mode: str
    tokens: float  # of a usual answer
    bytes_up: float
    bytes_down: float
    names: Mapping[str, str]  # what requests call sites and the cloud -> what they are here

    def members(self, cell: str) -> list[str]:
        """The sites of a cell."""
        return [site for site, its in self.cell_of.items() if its == cell]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A site's."""

    up_bytes_s: float
    down_bytes_s: float
    share: float  # of a worker's time that it can count on
    deadline_s: float  # 0 = none
    mode: str
    denied: bool
    seconds: float  # of a usual request in the cloud
    admitted: float  # usual requests that come in when all ask at once; inf without a deadline

    def told(self) -> dict[str, str]:
        """As people read it."""
        counted = f"{MOST_COUNTED} or more" if self.admitted == MOST_COUNTED else None
        return {
            "link up Mbit/s": mbit(self.up_bytes_s),
            "link down Mbit/s": mbit(self.down_bytes_s),
            "share of workers it can count on": f"{self.share:.2f}",
            "deadline s": f"{self.deadline_s:g}",
            "mode": self.mode,
            "kept from the cloud": "yes" if self.denied else "no",
            "usual request in the cloud s": f"{self.seconds:.3f}",
            "admitted at once within it": counted
            or ("all: no deadline" if isinf(self.admitted) else f"{self.admitted:.0f}"),
        }


def takes_away(before: Standing, after: Standing) -> bool:
    """Is anything worse, or does something leave the site, or stay there, that did not before?"""
    return (
        after.up_bytes_s < before.up_bytes_s
        or after.down_bytes_s < before.down_bytes_s
        or after.share < before.share
        or after.admitted < before.admitted
        or after.seconds > before.seconds
        or (after.mode, after.denied) != (before.mode, before.denied)
    )


class Standings:
    """Of the sites of one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._its = deployment
        self._counted: dict[tuple[LinkSpeed, float, float], tuple[float, float]] = {}

    def of(self, rules: Rules, site: str) -> Standing:
        """A site's under these rules."""
        cell, share = self._its.cell_of[site], worker_share(rules, site)
        links = carved(rules, cell, self._its.links[cell], self._its.members(cell))
        link = links[own_link(rules, cell, site)]
        deadline_s = rules.number("deadline", site) or self._its.deadline_s
        key = (link, share, deadline_s)
        if key not in self._counted:
            self._counted[key] = self._count(*key)
        seconds, admitted = self._counted[key]
        denied = rules.number("deny", site) > 0
        return Standing(
            up_bytes_s=link.up_bytes_s,
            down_bytes_s=link.down_bytes_s,
            share=share,
            deadline_s=deadline_s,
            mode="edge" if denied else rules.word("mode", site) or self._its.mode,
            denied=denied,
            seconds=seconds,
            admitted=admitted,
        )

    def _count(self, link: LinkSpeed, share: float, deadline_s: float) -> tuple[float, float]:
        """Seconds of a usual request, and how many come in when all ask at once."""
        its = self._its
        admission = Admission(its.admission, slack=its.slack)
        for name, pace in its.workers.items():
            admission.worker(name, pace)
        admission.link("its", link)

        def wanted(number: int) -> Wanted:
            return Wanted(
                request_id=str(number),
                link="its",
                deadline_s=deadline_s,
                bytes_up=its.bytes_up,
                bytes_down=its.bytes_down,
                tokens=its.tokens,
                ready_s=0.0,
                own_s=inf,
                share=share,
            )

        alone = min(admission.expect(0.0, wanted(0), name).total for name in its.workers)
        if not deadline_s:
            return alone, inf
        admitted = 0
        while admitted < MOST_COUNTED:
            if admission.admit(0.0, wanted(admitted)).place != "cloud":
                break
            admitted += 1
        return alone, admitted


def compared(
    standings: Standings, asked: list[str], everybody: list[str], before: Rules, after: Rules
) -> tuple[tuple[Figure, ...], bool]:
    """The figures of the sites that are asked about and of one whom it costs something, and
    whether anything is taken from anybody.
    """
    pairs = {site: (standings.of(before, site), standings.of(after, site)) for site in everybody}
    losers = [site for site, pair in pairs.items() if takes_away(*pair)]
    others = [site for site in losers if site not in asked]
    figures = [
        Figure(what=f"{site}: {what}", before=then, after=now)
        for site in [*asked, *others[:1]]
        for (what, then), now in zip(
            pairs[site][0].told().items(), pairs[site][1].told().values(), strict=True
        )
        if site in asked or then != now
    ]
    if others[1:]:
        said = f"other sites that have less, as {others[0]}"
        figures.append(Figure(what=said, before="0", after=str(len(others[1:]))))
    return tuple(figures), bool(losers)


def mbit(bytes_s: float) -> str:
    """Megabits a second."""
    return "no bound" if isinf(bytes_s) else f"{bytes_s / 125_000:.3g}"
