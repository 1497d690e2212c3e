"""Parts of models as OpenVINO graphs: converted once from torch, and stored in files."""

import errno
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import openvino
from tokenizers import Tokenizer

from grounded_labeler.models.runtime.facts import write_facts, write_sums, write_tokenizer
from grounded_labeler.models.runtime.graph import SubModel

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def export(
    parts: Mapping[str, SubModel],
    folder: Path,
    facts: "DataclassInstance",
    tokenizer: Tokenizer | None = None,
) -> None:
    """Write each part's graph into `folder` with what must be known of the model, all or none.

    Whoever runs the graphs reads `facts` and, if the model has one, its tokenizer with
    `runtime.facts`. Raises OSError when something cannot be written.
    """
    # It imports the package that it mends, which takes seconds.
    from grounded_labeler.models.runtime.openvino_tracing import traceable  # noqa: PLC0415

    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".export-"))
    try:
        for name, part in parts.items():
            with traceable():
                example = part.example()
                shapes = [list(one.shape) for one in example] if part.fixed_shapes else None
                graph = openvino.convert_model(part.module, example_input=example, input=shapes)
            _save(graph, made / f"{name}.xml")
        write_facts(made, facts)
        if tokenizer is not None:
            write_tokenizer(made, tokenizer)
        write_sums(made)
        made.chmod(0o755)  # mkdtemp's is for its owner only
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _save(graph: openvino.Model, file: Path) -> None:
    try:
        openvino.save_model(graph, file, compress_to_fp16=False)
    except RuntimeError as error:  # "basic_ios::clear: iostream error" is all it says
        free = shutil.disk_usage(file.parent).free
        raise OSError(
            errno.EIO, f"OpenVINO cannot write it, {free} bytes are free", file
        ) from error
