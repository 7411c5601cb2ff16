"""Who may import whom, and which framework stands where. Findings are printed as file:line."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SIDES = ("fl", "clients", "server")
GENERATED = "_pb2"

# importer (a package or module) -> what it must not import
FORBIDDEN = {
    "fl": ("clients", "server", "torch", "transformers", "peft", "tests"),
    "clients": ("server", "tests"),
    "server": ("clients", "tests"),
    "clients.learning": ("clients.asking",),
    "clients.asking": ("clients.learning",),
    "clients.prompts": ("clients.learning", "clients.asking", "clients.edge_service"),
    "clients.workflow": ("clients.asking", "clients.learning", "clients.edge_service"),
    "server.federation": ("server.generation", "server.deployment"),
    "server.generation": ("server.federation", "server.deployment"),
}
# framework -> the only places that import it
_GRPC = (
    "fl.wire",
    "clients.asking.cloud_channel",
    "clients.splitting.split_answer",
    "clients.orchestration.cloud_desk",
    "clients.release_channel",
    "clients.learning.courier",
    "clients.edge_service",
    "server.service",
    "server.generation_service",
    "server.generation.workers.grpc_line",
    "server.release_service",
    "server.split_service",
)
AT_THE_RIM = {
    "flwr": ("fl.flower_records", "clients.learning.flower_app", "server.federation"),
    "omegaconf": ("fl.settings",),
    "yaml": (
        "fl.settings",
        "clients.workflow.workflow_file",
        "clients.insight.intents.schema_file",
    ),
    "jsonschema": ("clients.insight.intents.study",),
    "sklearn": ("clients.insight.intents.words_baseline",),
    "peft": ("clients.edge_model", "clients.lean_layers", "server.tuning"),
    "ray": (),
    "grpc": _GRPC,
    "grpc_health": _GRPC,
    "grpc_reflection": ("server.service",),
    "httpx": ("server.deployment.fleet_gate", "server.generation.remote"),
    "starlette": ("fl.openai_api", "server.deployment.fleet_gate"),
    "uvicorn": ("fl.openai_api", "server.deployment.fleet_gate"),
    "prometheus_client": ("fl.service_metrics",),
    "gguf": ("server.gguf_export", "server.gguf_vocabulary"),
    "cryptography": (
        "fl.signing",
        "fl.release_file",
        "fl.tls_check",
        "fl.wire",
        "clients",
        "server",
    ),
    "psutil": ("fl.process_group",),
    "matplotlib": (
        "clients.compare.figures",
        "clients.insight.intents.figures",
        "clients.insight.acting.cache_figure",
        "clients.insight.trends.figures",
        "clients.insight.trends.study_figure",
        "clients.orchestrate.figures",
        "clients.study.methods.figures",
        "server.report.figures",
    ),
    "tensorboard": ("server.federation.tensorboard",),
}
FORBIDDEN_FILES = ("utils", "common", "helpers", "manager")


def sources() -> Iterator[tuple[Path, str]]:
    """Every source file with its module name."""
    for side in SIDES:
        for file in sorted((PROJECT / side).rglob("*.py")):
            if GENERATED not in file.name:
                yield file, ".".join(file.relative_to(PROJECT).with_suffix("").parts)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, those inside functions included."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            for alias in node.names:  # `from server import generation` imports a module too
                yield node.lineno, f"{node.module}.{alias.name}"


def within(module: str, package: str) -> bool:
    """Is `module` the package or something in it? `server.service_errors` is of server.service."""
    return module == package or module.startswith((package + ".", package + "_"))


def test_imports_point_the_right_way() -> None:
    findings = [
        f"{file.relative_to(PROJECT)}:{line}: {module} must not import {name}"
        for file, module in sources()
        for line, name in imports(file)
        for importer, forbidden in FORBIDDEN.items()
        if module == importer or module.startswith(importer + ".")
        if any(name == banned or name.startswith(banned + ".") for banned in forbidden)
    ]
    assert not findings, "\n" + "\n".join(findings)


def test_frameworks_stay_at_the_rim() -> None:
    findings = [
        f"{file.relative_to(PROJECT)}:{line}: {framework} is imported only by {places or 'nobody'}"
        for file, module in sources()
        for line, name in imports(file)
        for framework, places in AT_THE_RIM.items()
        if name.split(".")[0] == framework and not any(within(module, place) for place in places)
    ]
    assert not findings, "\n" + "\n".join(findings)


def test_no_file_is_called_after_nothing() -> None:
    findings = [
        str(file.relative_to(PROJECT))
        for file, _ in sources()
        if any(word in file.stem for word in FORBIDDEN_FILES)
    ]
    assert not findings, findings


def test_nothing_pickles() -> None:
    findings = [
        f"{file.relative_to(PROJECT)}:{line}: {name}"
        for file, _ in sources()
        for line, name in imports(file)
        if name.split(".")[0] in ("pickle", "dill", "cloudpickle", "joblib", "shelve")
    ]
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize(
    ("module", "package", "inside"),
    [
        ("server.service_errors", "server.service", True),
        ("server.services", "server.service", False),
        ("fl.wire.codec", "fl.wire", True),
    ],
)
def test_the_test_knows_what_is_inside(module: str, package: str, inside: bool) -> None:
    assert within(module, package) is inside
