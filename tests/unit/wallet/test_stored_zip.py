"""`zipfile` reads the archives that we write."""

from __future__ import annotations

import io
import string
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from services.wallet.stored_zip import StoredZip

NAMES = st.text(string.ascii_letters + string.digits + "@./-_", min_size=1, max_size=30)
FILES = st.dictionaries(NAMES, st.binary(max_size=300), max_size=6)


@given(FILES, FILES)
def test_the_archive_returns_what_was_put_in(fixed: dict[str, bytes], files: dict[str, bytes]) -> None:
    files = {name: content for name, content in files.items() if name not in fixed}
    with zipfile.ZipFile(io.BytesIO(StoredZip(fixed).with_files(files))) as archive:
        assert archive.testzip() is None
        assert {entry.filename: archive.read(entry) for entry in archive.infolist()} == {**fixed, **files}


@given(FILES)
def test_the_same_files_are_the_same_bytes(files: dict[str, bytes]) -> None:
    assert StoredZip(files).with_files({}) == StoredZip(files).with_files({})
