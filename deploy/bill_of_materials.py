"""`python -m deploy.bill_of_materials IMAGE FILE`: list what an image of buildah's storage has (CycloneDX, JSON).

Packages of Python and of Debian, with package URLs, so that scanners can judge the file instead of the image.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

_FIELD = re.compile(r"^(Package|Version|Architecture|Status): (.*)$", re.MULTILINE)


def packages(root: Path) -> Iterator[PackageURL]:
    """The installed packages below an image's root."""
    (python,) = (root / "opt" / "venv" / "lib").glob("python3.*/site-packages")
    for found in distributions(path=[str(python)]):
        yield PackageURL("pypi", name=found.name, version=found.version)
    for paragraph in (root / "var" / "lib" / "dpkg" / "status").read_text(encoding="utf-8").split("\n\n"):
        fields = dict(_FIELD.findall(paragraph))
        if fields.get("Status", "").endswith(" installed"):
            architecture = {"arch": fields["Architecture"]}
            yield PackageURL("deb", "debian", fields["Package"], fields["Version"], architecture)


def bill(root: Path) -> str:
    """The bill of materials of an image's root, as JSON."""
    parts = [Component(name=each.name, version=each.version, purl=each) for each in packages(root)]
    return JsonV1Dot6(Bom(components=parts)).output_as_string(indent=1)


def main(image: str, file: str) -> None:
    """Write the bill of an image to a file."""
    container = _buildah("from", image)
    try:
        Path(file).write_text(bill(Path(_buildah("mount", container))), encoding="utf-8")
    finally:
        _buildah("rm", container)


def _buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
