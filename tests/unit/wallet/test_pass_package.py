"""Other engines accept a pass, and none accepts it after a byte has changed."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from services.wallet.artwork import SUFFIXES, images_for
from services.wallet.artwork.palettes import PALETTES, Palette, palette_for
from services.wallet.inspection import judge_signature
from services.wallet.opened_pass import NotAPass, OpenedPass, open_pass
from services.wallet.package import PassPress
from services.wallet.pass_json import PassFacts, PassState, file_name
from services.wallet.signing import SigningCredentials

TOKEN = "t" * 43

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def openssl_accepts(folder: Path, root: Path) -> bool:
    command = [
        *("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "signature", "-content", "manifest.json"),
        *("-CAfile", str(root), "-purpose", "any", "-out", "/dev/null"),
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def sums_agree(folder: Path) -> bool:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    lines = "".join(f"{total}  {name}\n" for name, total in manifest.items())
    done = subprocess.run(
        ["sha1sum", "--check", "--strict"], cwd=folder, input=lines.encode(), capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.fixture
def unpacked(press: PassPress, facts: PassFacts, tmp_path: Path) -> Path:
    package = tmp_path / "card.pkpass"
    package.write_bytes(press.press(facts, TOKEN))
    folder = tmp_path / "card"
    if unzip := shutil.which("unzip"):
        subprocess.run([unzip, "-q", str(package), "-d", str(folder)], check=True)
    else:
        with zipfile.ZipFile(package) as archive:
            archive.extractall(folder)
    return folder


@needs_openssl
def test_unzip_sha1sum_and_openssl_accept_a_pass(unpacked: Path, keys: Path) -> None:
    assert sums_agree(unpacked)
    assert openssl_accepts(unpacked, keys / "pass_root.pem")


@needs_openssl
def test_the_manifest_has_newlines_and_its_signature_holds_byte_for_byte(unpacked: Path, keys: Path) -> None:
    manifest = (unpacked / "manifest.json").read_bytes()
    assert manifest.count(b"\n") > 10
    assert b"\r" not in manifest
    assert openssl_accepts(unpacked, keys / "pass_root.pem")
    (unpacked / "manifest.json").write_bytes(manifest.replace(b"\n", b"\r\n"))
    assert not openssl_accepts(unpacked, keys / "pass_root.pem")


@needs_openssl
def test_a_flipped_byte_in_any_file_is_refused(press: PassPress, facts: PassFacts, keys: Path, tmp_path: Path) -> None:
    opened = open_pass(press.press(facts, TOKEN))
    root = keys / "pass_root.pem"
    for index, (name, content) in enumerate(opened.files.items()):
        flipped = bytearray(content)
        # The last bytes of the signature file are the RSA signature itself; in other files any byte works.
        flipped[-3 if name == "signature" else len(flipped) // 2] ^= 1
        folder = tmp_path / str(index)
        for path, data in (opened.files | {name: bytes(flipped)}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        assert not (openssl_accepts(folder, root) and sums_agree(folder)), name


def test_the_manifest_lists_every_file_but_itself_and_the_signature(press: PassPress, facts: PassFacts) -> None:
    opened = open_pass(press.press(facts, TOKEN))
    assert set(json.loads(opened.files["manifest.json"])) == set(opened.files) - {"manifest.json", "signature"}
    assert opened.problems() == []


def test_all_sizes_of_icon_logo_and_strip_are_inside(press: PassPress, facts: PassFacts) -> None:
    files = open_pass(press.press(facts, TOKEN)).files
    for name, (width, height) in {"icon": (29, 29), "logo": (110, 50), "strip": (375, 144)}.items():
        for scale in (1, 2, 3):
            png = files[f"{name}@{scale}x.png" if scale > 1 else f"{name}.png"]
            assert png.startswith(b"\x89PNG\r\n\x1a\n")
            size = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
            assert size == (width * scale, height * scale)


def test_the_pass_of_every_tier_is_light(press: PassPress, facts: PassFacts) -> None:
    tiers = {palette_for(tier).name: tier for tier in ("genesis", *(f"tier-{number}" for number in range(100)))}
    assert tiers.keys() == {palette.name for palette in PALETTES}
    for name, tier in tiers.items():
        size = len(press.press(replace(facts, tier=tier), TOKEN))
        assert size < 120_000, f"a pass in {name} has {size} bytes"


@pytest.mark.parametrize("palette", PALETTES, ids=lambda palette: palette.name)
def test_a_strip_begins_in_the_colour_of_its_card(palette: Palette) -> None:
    images = images_for(palette)
    for suffix in SUFFIXES:
        strip = Image.open(io.BytesIO(images[f"strip{suffix}.png"]))
        assert strip.mode == "P"
        # Few colours, and the commonest is the card's: no seam shows where the strip meets the card.
        colours = strip.convert("RGB").getcolors(256)
        assert colours is not None
        assert max(colours)[1] == palette.background


def test_the_same_state_gives_the_same_pass_but_for_the_signature(press: PassPress, facts: PassFacts) -> None:
    first, second = (open_pass(press.press(facts, TOKEN)).files for _ in range(2))
    assert {**first, "signature": b""} == {**second, "signature": b""}
    assert list(first) == list(second)


def test_the_archive_is_one_that_zipfile_reads_without_complaint(
    press: PassPress, facts: PassFacts, tmp_path: Path
) -> None:
    package = tmp_path / "card.pkpass"
    package.write_bytes(press.press(facts, TOKEN))
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        assert len(set(archive.namelist())) == len(archive.namelist())


def test_pass_json_says_whose_pass_it_is(press: PassPress, facts: PassFacts) -> None:
    document = open_pass(press.press(facts, TOKEN)).document
    assert document["formatVersion"] == 1
    assert document["passTypeIdentifier"] == "pass.app.vyris.membership"
    assert document["teamIdentifier"] == "VYRISDEV01"
    assert document["serialNumber"] == facts.serial_number
    assert document["storeCard"]["primaryFields"][0]["value"] == "42"
    assert document["barcodes"][0] == {
        "format": "PKBarcodeFormatQR",
        "message": facts.public_id,
        "messageEncoding": "iso-8859-1",
        "altText": "Genesis 2025 · 42",
    }
    assert document["webServiceURL"] == "https://passes.example/"
    assert document["authenticationToken"] == TOKEN
    assert "voided" not in document


@pytest.mark.parametrize("state", [PassState.REVOKED, PassState.MOVED])
def test_a_pass_that_is_over_is_voided_and_keeps_its_serial_and_token(
    press: PassPress, facts: PassFacts, state: PassState
) -> None:
    document = open_pass(press.press(replace(facts, state=state), TOKEN)).document
    assert document["voided"] is True
    assert document["serialNumber"] == facts.serial_number
    assert document["authenticationToken"] == TOKEN


def test_every_word_on_the_card_is_translated(press: PassPress, facts: PassFacts) -> None:
    opened = open_pass(press.press(facts, TOKEN))
    assert opened.languages() == ["de", "en", "fr"]
    labels = [field["label"] for group in opened.document["storeCard"].values() for field in group]
    labels += [field["changeMessage"] for field in opened.document["storeCard"]["secondaryFields"][2:]]
    for language in ("de", "fr"):
        strings = opened.files[f"{language}.lproj/pass.strings"].decode()
        for phrase in [*labels, opened.document["description"]]:
            assert f'"{phrase}" = "' in strings
    assert opened.translate("MEMBER NO.", "de") == "MITGLIED NR."


def test_a_tier_without_a_design_gets_the_same_one_for_ever(press: PassPress, facts: PassFacts) -> None:
    strips = {
        tier: open_pass(press.press(replace(facts, tier=tier), TOKEN)).files["strip@3x.png"]
        for tier in ("genesis", "late-summer", "founders", "aurora", "x1", "x2", "x3", "x4")
    }
    assert len(set(strips.values())) > 3
    again = open_pass(press.press(replace(facts, tier="late-summer"), TOKEN)).files["strip@3x.png"]
    assert again == strips["late-summer"]
    assert strips["genesis"] not in [strip for tier, strip in strips.items() if tier != "genesis"]


def test_the_file_is_named_after_tier_and_number(facts: PassFacts) -> None:
    assert file_name(facts) == "vyris-genesis-42.pkpass"


@needs_openssl
def test_inspection_distinguishes_a_good_signature_from_a_bad_one(
    press: PassPress, facts: PassFacts, keys: Path, credentials: SigningCredentials
) -> None:
    opened = open_pass(press.press(facts, TOKEN))
    root = keys / "pass_root.pem"
    assert judge_signature(opened, root).holds is True
    assert judge_signature(opened, None).holds is True
    forged = OpenedPass(opened.files | {"manifest.json": b"{}\n"}, opened.document)
    assert judge_signature(forged, root).holds is False
    assert judge_signature(forged, None).holds is False
    assert forged.problems() != []


@pytest.mark.parametrize("junk", [b"", b"PK", b"\0" * 1000, b"not a zip"])
def test_a_file_that_is_no_pass_is_reported_as_such(junk: bytes) -> None:
    with pytest.raises(NotAPass):
        open_pass(junk)
