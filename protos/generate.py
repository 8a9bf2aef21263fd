"""Generate the Python messages and stubs in `vyris/` and `buf/`, and the descriptor set for the gateway.

python protos/generate.py           write them
python protos/generate.py --check   exit with 1 if the files in the repository are not up to date
python protos/generate.py --lint    lint the protos with buf
"""

from __future__ import annotations

import argparse
import filecmp
import json
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
REPOSITORY = PROTOS.parent
DESCRIPTOR_SET = Path("gateway/descriptors.binpb")
RULES = "buf/validate/validate.proto"  # of protovalidate; see protos/README.md


def compile_into(root: Path) -> None:
    """Write `*_pb2*.py[i]` below `vyris` and `buf`, and the descriptor set, below `root`."""
    (root / DESCRIPTOR_SET).parent.mkdir(parents=True, exist_ok=True)
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("vyris/**/*.proto"))
    _run_protoc(
        f"--python_out={root}",
        f"--grpc_python_out={root}",
        f"--mypy_out={root}",
        f"--mypy_grpc_out={root}",
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={root / DESCRIPTOR_SET}",
        *sources,
    )
    for folder in {path.parent for path in root.glob("vyris/**/*_pb2.py")}:
        for package in (folder, folder.parent):
            (package / "__init__.py").touch()
    # `buf` gets no __init__.py: other distributions may put generated code of theirs there.
    _run_protoc(f"--python_out={root}", f"--mypy_out={root}", RULES)


def _run_protoc(*arguments: str) -> None:
    bundled = resources.files("grpc_tools") / "_proto"
    google_apis = Path(str(resources.files("google.api"))).parents[1]
    code = protoc.main(["protoc", f"-I{PROTOS}", f"-I{bundled}", f"-I{google_apis}", *arguments])
    if code != 0:
        raise SystemExit(f"protoc failed with {code}; see its messages above")


def generated_files(root: Path) -> set[Path]:
    """The paths, relative to `root`, of all generated files."""
    found = {
        path.relative_to(root)
        for package in ("buf", "vyris")
        for path in root.glob(f"{package}/**/*_pb2*.py*")
        if path.suffix in {".py", ".pyi"}
    }
    return found | {DESCRIPTOR_SET}


def check() -> int:
    """Compare the files in the repository with freshly generated ones."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        compile_into(fresh)
        wanted = generated_files(fresh)
        stale = sorted(
            str(path)
            for path in wanted | generated_files(REPOSITORY)
            if not (REPOSITORY / path).exists()
            or not (fresh / path).exists()
            or not filecmp.cmp(REPOSITORY / path, fresh / path, shallow=False)
        )
    for path in stale:
        print(f"not what protos/generate.py makes: {path}", file=sys.stderr)
    if stale:
        print("run `make protos` and commit the result", file=sys.stderr)
    return 1 if stale else 0


def lint() -> int:
    """Lint the protos with buf. The imports come from packages, so buf gets a descriptor set."""
    settings = json.dumps(
        {
            "version": "v2",
            "lint": {
                "use": ["STANDARD", "COMMENTS"],
                # google.api.HttpBody is the type of every body that is not JSON.
                "except": ["RPC_REQUEST_RESPONSE_UNIQUE", "RPC_REQUEST_STANDARD_NAME", "RPC_RESPONSE_STANDARD_NAME"],
                "ignore": ["google", "buf"],
            },
        }
    )
    return subprocess.call(["buf", "lint", str(REPOSITORY / DESCRIPTOR_SET), "--config", settings])


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true")
    choice.add_argument("--lint", action="store_true")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    if arguments.lint:
        return lint()
    compile_into(REPOSITORY)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
