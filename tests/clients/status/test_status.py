"""What people read of the deployment, from figures made by hand."""

import io

from rich.console import Console

from clients.ledger.entry import Entry
from clients.status.now import Now, SiteNow, last_minute
from clients.status.page import page
from fl.wire.netgpt.v1 import edge_pb2
from fl.wire.netgpt.v1 import orchestration_pb2 as pb


def entry(seconds: float, *, outcome: str = "stop", mode: str = "synergy") -> Entry:
    texts = {"request_id": "r", "site_id": "elm", "wanted": "auto", "counted": "socket"}
    texts |= {"mode": mode, "outcome": outcome, "federation": "001", "cloud_release": "base"}
    numbers = dict.fromkeys([name for name in Entry.__dataclass_fields__ if name not in texts], 100)
    return Entry(**(numbers | texts | {"total_seconds": seconds}))  # type: ignore[arg-type]


def shown(now: Now) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(page(now))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_last_minute_is_added_up() -> None:
    assert last_minute([]) is None
    minute = last_minute(
        [entry(0.1), entry(0.3, mode="edge"), entry(0.2), entry(9.0, outcome="UNAVAILABLE")]
    )
    assert minute is not None
    assert (minute.requests, minute.failed, minute.p50_s, minute.p99_s) == (4, 1, 0.2, 9.0)
    assert (minute.bytes_up, minute.modes) == (400, "edge 1, synergy 3")


def test_the_page_names_all_within_a_usual_terminal() -> None:
    learning = edge_pb2.Learning(kind="train", round_number=2, step=3, steps=20)
    service = edge_pb2.GetStatusResponse(
        site_id="elm", federation="001", release_number=7, waiting=3, learning=learning
    )
    cloud = pb.ShowResponse(
        sites=[
            pb.SiteShown(
                advert=pb.SiteAdvert(
                    site_id="elm",
                    cell="valley",
                    cores=2,
                    memory_mb=4096,
                    step_s=0.003,
                    row_s=0.001,
                    link=pb.Link(rtt_s=0.6, up_bytes_s=375_000, down_bytes_s=3_125_000),
                    federation="001",
                    release_number=7,
                ),
                age_s=4,
            )
        ],
        workers=[
            pb.WorkerShown(name="w1", alive=True, running=5, promised=6, step_s=0.002, row_s=0.001),
            pb.WorkerShown(name="w2", alive=False, restarts=2),
        ],
        admission="joint",
        to_cloud=10,
        to_edge=4,
        shed=1,
        model="netgpt-cloud",
        cloud_release="cloud/3",
    )
    sites = (
        SiteNow(id="elm", service=service, shelf="001/6", minute=last_minute([entry(0.2)])),
        SiteNow(id="oak", service=None, shelf="", minute=None),
    )
    text = shown(Now(sites=sites, cloud=cloud, trouble=""))
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.split()}
    assert "…" not in text  # nothing is cut off at 80 columns
    assert "train, round 2, step 3 of 20" in text
    assert lines["oak"] == ["oak", "none", "-", "-", "-"]
    assert lines["w1"] == ["w1", "runs", "5", "0", "6", "3.00", "1.00", "0"]
    assert lines["w2"][1] == "away"
    assert "admission joint: 10 to the cloud, 4 to their sites, 1 shed" in " ".join(text.split())
    rows = [line.split() for line in text.splitlines()]
    assert ["elm", "valley", "600", "3.0", "25.0", "4"] in rows
    assert ["elm", "001/7", "2", "4,096", "250", "0", "4"] in rows


def test_a_cloud_that_is_away_is_said() -> None:
    text = shown(Now(sites=(), cloud=None, trouble="No cloud service answers."))
    assert "No cloud service answers." in text
