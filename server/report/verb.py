"""The verb `report`: the rounds of a federation as Markdown and a picture."""

from pathlib import Path

from rich.console import Console

from fl import durable
from fl.errors import FederationError
from fl.settings import Settings
from fl.tasks import COMPLETE
from server.federation.round_log import RoundLog, newest_federation, read_status
from server.report.markdown import PICTURE, markdown, summary


def report(settings: Settings, *, federation: str, console: Console) -> Path:
    """Write report.md and its picture for a federation, the newest by default; return the folder.

    Raises FederationError where there is no round to report.
    """
    found = newest_federation(settings.federations_dir)
    folder = settings.federations_dir / federation if federation else found
    if folder is None or not folder.is_dir():
        raise FederationError(
            f"There is no federation {federation or 'yet'} under {settings.run_dir}. "
            "Run ./run.sh simulate with the same settings first."
        )
    reports = RoundLog(folder).reports()
    if not reports:
        raise FederationError(f"Federation {folder.name} has finished no round yet.")
    with console.status("drawing"):
        from server.report.figures import picture  # matplotlib takes a second

        said = summary(reports, read_status(folder), name=folder.name)
        of_task = "" if settings.task == COMPLETE else f", task={settings.task}"
        drawn = picture(reports, title=f"{settings.name}{of_task}, federation {folder.name}")
    out = settings.federations_dir.parent / "report"
    text = markdown(reports, read_status(folder), name=folder.name)
    durable.publish(out / PICTURE, drawn)
    durable.publish(out / "report.md", text.encode())
    console.print(f"  {said}", soft_wrap=True, highlight=False)
    console.print(f"  {out / 'report.md'}\n  {out / PICTURE}", soft_wrap=True, highlight=False)
    return out
