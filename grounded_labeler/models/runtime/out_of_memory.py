"""Every way torch, OpenVINO and numpy run out of memory as one error.

torch names the shortage of its own memory on a GPU with a class, but the CPU's and that of
CUDA's libraries only in the text of a RuntimeError, as OpenVINO does; numpy and Python raise
MemoryError.
"""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from grounded_labeler.errors import OutOfMemory

# "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. ...", or
# "not enough memory" on another system: c10/core/impl/alloc_cpu.cpp has no third.
_CPU_ALLOCATOR = "DefaultCPUAllocator: "
# "Check 'ptr' failed at src/plugins/intel_cpu/src/cpu_memory.cpp:257: Failed to allocate 8 bytes
# of memory", whichever node of the graph needed them.
_OPENVINO_CPU = "Failed to allocate"
# Of memory that CUDA and its libraries take for themselves, and of pinned memory: torch's class
# is for its own allocator alone.
_CUDA = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_TEXTS = (_CPU_ALLOCATOR, _OPENVINO_CPU, *_CUDA)


@contextmanager
def translate_memory_errors() -> Iterator[None]:
    """While open, or around the function it decorates, a lack of memory raises OutOfMemory.

    What the failed computation held is freed first, and on a GPU handed back to the
    device. So decorate the function that computes: what is held by one that still
    runs stays. Other errors pass unchanged.
    """
    try:
        yield
    except OutOfMemory:
        raise
    except (MemoryError, RuntimeError) as error:
        if not _is_memory_error(error):
            raise
        # The error keeps the frames it came through, and they keep their tensors.
        traceback.clear_frames(error.__traceback__)
        if (torch := sys.modules.get("torch")) is not None:
            torch.cuda.empty_cache()  # does nothing where no GPU is in use
        raise OutOfMemory(str(error) or type(error).__name__) from error


def _is_memory_error(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    return any(text in str(error) for text in _TEXTS)
