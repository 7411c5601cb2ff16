"""Make the gRPC stubs from the .proto files, or check that the committed ones are current.

    python -m fl.wire.stubs          writes *_pb2.py, *_pb2.pyi, *_pb2_grpc.py beside the .proto
    python -m fl.wire.stubs --check  changes nothing; ends with 1 and names what is stale

The stubs are made with the package path as the proto path, so that they import as
`fl.wire.netgpt.v1.generation_pb2` without being rewritten.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROTO_FOLDER = Path("fl/wire/netgpt/v1")


def make_stubs(into: Path) -> list[Path]:
    """Write the stubs of every .proto below `into`, mirroring the tree; return relative paths."""
    # Only developers have grpcio-tools, so it is imported where it is needed.
    from grpc_tools import protoc

    written: list[Path] = []
    for proto in sorted((ROOT / PROTO_FOLDER).glob("*.proto")):
        outputs = [f"--{kind}={into}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
        if protoc.main(["protoc", f"-I{ROOT}", *outputs, str(proto)]) != 0:
            raise RuntimeError(f"protoc refused {proto}; its message is above.")
        stem = PROTO_FOLDER / proto.stem
        written += [stem.with_name(stem.name + end) for end in ("_pb2.py", "_pb2.pyi")]
        written.append(stem.with_name(stem.name + "_pb2_grpc.py"))
    return written


def stale_stubs() -> list[Path]:
    """Committed stubs, relative to the project folder, that differ from freshly made ones."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_stubs(Path(folder))
        return [stub for stub in made if _bytes(Path(folder) / stub) != _bytes(ROOT / stub)]


def _bytes(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def main(arguments: Sequence[str]) -> int:
    """Run the command line; 0 done, 1 stale, 2 wrong use."""
    if list(arguments) == ["--check"]:
        stale = stale_stubs()
        for stub in stale:
            print(f"{stub} is not what its .proto says. Run: python -m fl.wire.stubs")
        return 1 if stale else 0
    if arguments:
        print(f"Expected nothing or --check, found {' '.join(arguments)!r}.", file=sys.stderr)
        return 2
    for stub in make_stubs(ROOT):
        print(stub)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
