"""The verb `study-methods`: all runs, then tables, a picture and the raw numbers."""

import json

from rich.console import Console
from rich.text import Text

from clients.study.methods.grid import measure_methods, runs_folder
from clients.study.methods.results import as_json
from clients.study.methods.tables import markdown
from fl import durable
from fl.settings import Settings

PICTURE = "methods.png"


def study_methods(settings: Settings, console: Console) -> None:
    """Measure what is missing, and write methods.md, methods.png and methods.json."""
    runs = measure_methods(settings, runs_folder(settings), console)
    from clients.study.methods.figures import picture  # matplotlib takes a second

    out = settings.run_dir / "study-methods"
    text = markdown(runs, settings.study)
    raw = json.dumps([as_json(run) for run in runs], separators=(",", ":"))
    durable.publish(out / PICTURE, picture(runs))
    durable.publish(out / "methods.json", (raw.replace('{"job"', '\n{"job"') + "\n").encode())
    durable.publish(out / "methods.md", f"{text}\n![All arms]({PICTURE})\n".encode())
    console.print(Text(text), soft_wrap=True)
    console.print(f"  {out / 'methods.md'}\n  {out / PICTURE}", soft_wrap=True, highlight=False)
