"""`ask` where neither an edge service nor a cloud runs."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from clients.demo_asking import ask_and_show
from fl.errors import GenerationError
from fl.settings import load
from fl.site_list import hosted_site
from tests.clients.edge_service.tiny_service import NOBODY, tiny_site


def test_without_a_cloud_the_enriched_prompt_is_shown_before_the_typed_error(
    tmp_path: Path,
) -> None:
    site = tiny_site(tmp_path)
    site.put_in_use(site.release())
    settings = load([*site.arguments, f"service.address={NOBODY}"])
    console = Console(file=StringIO(), width=200)
    with pytest.raises(GenerationError, match=r"Start it with \./run\.sh serve") as failed:
        ask_and_show(settings, ["a table"], [hosted_site(settings)], console)
    assert failed.value.status == "UNAVAILABLE"
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "short      a table" in shown
    [written] = [line for line in shown.splitlines() if line.startswith("    enriched")]
    assert len(written.split()) > 1
