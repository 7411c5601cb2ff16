"""A release as a folder: the same bytes whenever it is made, and nothing but what was signed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fl.adapter import Adapter, digest
from fl.adapter_file import CONFIG_FILE, TENSOR_FILE
from fl.errors import ReleaseError
from fl.release import AdapterRelease
from fl.release_file import (
    MANIFEST,
    SIGNATURE,
    SentRelease,
    open_release,
    read_release,
    sign_release,
    write_release,
)
from fl.signing import sign
from tests.fl.adapters import drawn
from tests.fl.releases import CLOUD_KEY, KEY, OTHER_CLOUD_KEY, OTHER_KEY, signed

FILES = {CONFIG_FILE, TENSOR_FILE, MANIFEST, SIGNATURE}


def written(folder: Path, release: AdapterRelease | None = None) -> dict[str, bytes]:
    """Contents by name of a release written into this new folder."""
    write_release(folder, release or signed(1))
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    release = signed(1, number=3, federation="002")
    assert written(tmp_path / "3", release).keys() == FILES
    read = read_release(tmp_path / "3", CLOUD_KEY)
    assert replace(read, shared=release.shared) == release
    assert digest(read.shared) == digest(drawn(1))
    assert read.metrics == {"mean_heldout_loss": 2.0, "sites": 8.0}


def test_the_same_release_has_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\n"
        "from tests.fl.releases import signed\n"
        "from fl.release_file import write_release\n"
        "write_release(pathlib.Path(sys.argv[1]), signed(1))"
    )
    here = [written(tmp_path / f"here-{n}") for n in range(8)]
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "there")], check=True)
    there = {file.name: file.read_bytes() for file in (tmp_path / "there").iterdir()}
    assert all(files == there for files in here)


def test_the_manifest_says_what_the_release_is_and_not_when() -> None:
    manifest = json.loads(signed(1, number=3).manifest)
    assert manifest.pop("files").keys() == {CONFIG_FILE, TENSOR_FILE}
    assert manifest.pop("libraries").keys() == {"flwr", "netgpt", "numpy", "safetensors"}
    assert manifest == {
        "alpha": 4.0,
        "base_model_fingerprint": "0" * 64,
        "digest": digest(drawn(1)),
        "fan_in_fan_out": True,
        "federation": "001",
        "method": "fedavg",
        "metrics": {"mean_heldout_loss": 2.0, "sites": 8.0},
        "number": 3,
        "parent_digest": "abc",
        "rank": 2,
        "round_number": 3,
        "schema": 2,
        "task": "complete",
        "target_modules": ["c_attn", "c_fc"],
    }


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_flipped_bit_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "1"
    good = written(folder)[name]
    for position in sorted({0, 7, len(good) // 3, len(good) // 2, len(good) - 1}):
        for bit in (0, 7):
            bad = bytearray(good)
            bad[position] ^= 1 << bit
            (folder / name).write_bytes(bad)
            said = "signature" if name in (MANIFEST, SIGNATURE) else f"{name} has sha256"
            with pytest.raises(ReleaseError, match=said):
                read_release(folder, CLOUD_KEY)
    (folder / name).write_bytes(good)
    read_release(folder, CLOUD_KEY)


def _link_to_itself(folder: Path) -> None:
    (folder / TENSOR_FILE).rename(folder.parent / "elsewhere")
    (folder / TENSOR_FILE).symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda folder: (folder / SIGNATURE).unlink(), "manifest.sig is missing"),
        (lambda folder: (folder / CONFIG_FILE).unlink(), "not those of the manifest: adapter_conf"),
        (lambda folder: (folder / "more.bin").write_bytes(b""), r"of the manifest: more\.bin"),
        (lambda folder: (folder / SIGNATURE).write_bytes(b""), "signature"),
        (lambda folder: os.truncate(folder / TENSOR_FILE, 100), "safetensors has sha256"),
        (lambda folder: os.truncate(folder / MANIFEST, 2 << 20), "larger than"),
        (_link_to_itself, "no plain file"),
    ],
)
def test_a_folder_that_is_not_the_signed_one_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    written(tmp_path / "1")
    damage(tmp_path / "1")
    with pytest.raises(ReleaseError, match=said) as refused:
        read_release(tmp_path / "1", CLOUD_KEY)
    assert str(tmp_path / "1") in str(refused.value)


def test_a_release_of_another_cloud_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "1", signed(1, key=OTHER_KEY))
    read_release(tmp_path / "1", OTHER_CLOUD_KEY)
    with pytest.raises(ReleaseError, match=r"another cloud made it, whose signing\.pub"):
        read_release(tmp_path / "1", CLOUD_KEY)


def _with_value(name: str, index: tuple[int, int], value: float) -> Adapter:
    adapter = drawn(1)
    tensors = {n: t.copy() for n, t in adapter.tensors.items()}
    tensors[name][index] = value
    return replace(adapter, tensors=tensors)


@pytest.mark.parametrize(
    ("shared", "said"),
    [
        (_with_value(next(iter(drawn(1).tensors)), (1, 1), 0.25), "says digest"),
        (replace(drawn(1), tensors={}), "says digest"),
        (replace(drawn(1), spec=replace(drawn(1).spec, alpha=8.0)), "says alpha = 4.0, the adapte"),
        (
            replace(drawn(1), spec=replace(drawn(1).spec, base_model_fingerprint="f" * 64)),
            "says base_model_fingerprint",
        ),
    ],
)
def test_an_adapter_that_the_manifest_does_not_describe_is_refused(
    shared: Adapter, said: str
) -> None:
    release = signed(1)
    sent = SentRelease(manifest=release.manifest, signature=release.signature, shared=drawn(1))
    assert replace(sent.open(CLOUD_KEY), shared=release.shared) == release
    with pytest.raises(ReleaseError, match=said):
        replace(sent, shared=shared).open(CLOUD_KEY)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b"", "no JSON object"),
        (b"[" * 50_000, "no JSON object"),
        (b"\xff", "no JSON object"),
        (b'{"schema": 1}', "schema 1, this version reads 2"),
        (signed(1).manifest.replace(b'"number": 1', b'"number": "1"'), "'1' is no int"),
        (signed(1).manifest.replace(b'"method"', b'"madness"'), "KeyError"),
        (signed(1).manifest.replace(b'"sites": 8.0', b'"sites": "x"'), "'x' is no float"),
    ],
)
def test_a_signed_manifest_of_another_version_is_an_error_with_words(
    manifest: bytes, said: str
) -> None:
    with pytest.raises(ReleaseError, match=said):
        open_release(manifest, sign(manifest, KEY), drawn(1), CLOUD_KEY)


def test_a_metric_that_is_no_number_is_not_signed() -> None:
    with pytest.raises(ReleaseError, match=r"finite numbers, found \{'loss': nan\}"):
        sign_release(
            drawn(1),
            federation="001",
            number=1,
            parent_digest="",
            method="fedavg",
            round_number=1,
            metrics={"loss": float("nan")},
            key=KEY,
        )


def test_a_release_is_not_written_under_a_manifest_of_other_files(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="another version"):
        write_release(tmp_path / "1", replace(signed(1), shared=drawn(2)))
    assert not (tmp_path / "1").exists()
