"""Compiled graphs kept beside the graphs they were compiled from: seconds less at each start.

OpenVINO compiles a graph for one kind of CPU. What it made lies in the folder `compiled` of the
exported graphs, under a name that says of what and for what it was made, with a checksum. A file
that is missing, damaged or of another CPU or OpenVINO is made again. Where the graphs' folder
cannot be written to, as in a container, those that are missing there are kept in another folder, if
there is one.
"""

import hashlib
import logging
import mmap
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

_FOLDER = "compiled"
_DIGITS = 16
# Of each graph: for another precision, or of machines of two kinds that share the folder.
_MOST_KEPT = 2


class CompiledFile:
    """Where the compiled form of one graph is kept."""

    def __init__(
        self, graph: Path, made_for: Iterable[object], elsewhere: Path | None = None
    ) -> None:
        """Say of what and for what it is made; raises OSError when the weights are missing.

        Args:
            graph: the `.xml` file; its weights lie beside it.
            made_for: all else that decides what is made of the weights: what is in `graph`, which
                is not read here, the CPU, the precision.
            elsewhere: the folder to keep it below where that of the graph cannot be written to.
        """
        weights = graph.with_suffix(".bin").stat()
        key = hashlib.sha256(repr((weights.st_size, weights.st_mtime_ns, *made_for)).encode())
        self._elsewhere = None if os.access(graph.parent, os.W_OK) else elsewhere
        self._beside, self._graph = graph.parent / _FOLDER, graph.stem
        self._folder = self._beside
        if self._elsewhere is not None:
            self._folder = self._elsewhere / graph.parent.name
        self._stem = f"{graph.stem}-{key.hexdigest()[:_DIGITS]}"

    def read(self) -> mmap.mmap | None:
        """Map the file; None when there is none or it is damaged, which is removed then."""
        for file in self._files():
            try:
                with file.open("rb") as opened:
                    content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
            except (OSError, ValueError):  # an empty file cannot be mapped
                self._remove(file)
                continue
            if file.stem.endswith(f"-{zlib.crc32(content):08x}"):
                return content
            self._remove(file)
        return None

    def exists(self) -> bool:
        """Tell whether there is a file to read, damaged or not."""
        return bool(self._files())

    def write(self, content: bytes | memoryview) -> None:
        """Keep `content`, whole or not at all; drops the oldest of the graph's files."""
        file = self._folder / f"{self._stem}-{zlib.crc32(content):08x}.blob"
        try:
            self._folder.mkdir(parents=self._elsewhere is not None, exist_ok=True)
            descriptor, made = tempfile.mkstemp(dir=self._folder, prefix=".compiled-")
            try:
                with os.fdopen(descriptor, "wb") as opened:
                    opened.write(content)
                Path(made).chmod(0o644)  # mkstemp's is for its owner only
                Path(made).replace(file)
            finally:
                Path(made).unlink(missing_ok=True)
            others = [one for one in self._folder.glob(f"{self._graph}-*.blob") if one != file]
            # Of the same key: another process compiled it at the same time.
            same = [one for one in others if one.name.startswith(f"{self._stem}-")]
            others = [one for one in others if one not in same]
            others.sort(key=lambda one: one.stat().st_mtime_ns, reverse=True)
        except OSError as error:
            logger.info("%s is compiled again at each start: %s", self._graph, error)
            return
        for old in same + others[_MOST_KEPT - 1 :]:
            self._remove(old)
        if self._elsewhere is not None:
            self._drop_older_models(self._elsewhere)

    def forget(self) -> None:
        """Remove the file, as what is in it is of no use."""
        for file in self._files():
            self._remove(file)

    def _files(self) -> list[Path]:
        """Those of this graph; last the ones beside it that are only read, where there are some."""
        folders = dict.fromkeys((self._folder, self._beside))
        return [file for folder in folders for file in folder.glob(f"{self._stem}-*.blob")]

    def _drop_older_models(self, elsewhere: Path) -> None:
        """Remove what was kept of the same model's graphs before these: nobody else would."""
        model, _, digest = self._folder.name.rpartition("-")
        for old in elsewhere.glob(f"{model}-{'?' * len(digest)}"):
            if model and old != self._folder:
                shutil.rmtree(old, ignore_errors=True)

    @staticmethod
    def _remove(file: Path) -> None:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            logger.info("%s cannot be removed: %s", file, error)
