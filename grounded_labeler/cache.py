"""Values kept within a number of bytes, and dicts within a number of entries."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol, TypeVar

from grounded_labeler import metrics

# What a value is, "features" or "mask" say, then what tells it from others of its kind.
Key = tuple[Hashable, ...]
Value = TypeVar("Value")


class Cache(Protocol):
    """Stores values by key for a while; threads share it."""

    def get(self, key: Key) -> Any | None:  # noqa: ANN401 - what was put under this kind of key
        """See `ByteCache.get`."""
        ...

    def put(self, key: Key, value: object, nbytes: int, *, share: float = 1.0) -> None:
        """See `ByteCache.put`."""
        ...

    def clear(self) -> None:
        """See `ByteCache.clear`."""
        ...


class ByteCache:
    """Stores values by key and evicts the least recently used ones beyond a number of bytes.

    Threads share it. A thread that misses computes the value and puts it in: two that miss
    at once both compute it, which is correct and only slow.
    """

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` counts the values alone; 0 stores nothing."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._bytes_of: Counter[Hashable] = Counter()  # of each kind
        self._kept: OrderedDict[Key, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Any | None:  # noqa: ANN401 - what was put under this kind of key
        """Return the value of `key`, None when it is not stored (any more)."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        metrics.CACHE.labels(str(key[0]), "miss" if kept is None else "hit").inc()
        return None if kept is None else kept[0]

    def put(self, key: Key, value: object, nbytes: int, *, share: float = 1.0) -> None:
        """Keep `value`, which takes `nbytes` bytes, unless that alone is too much.

        Values of its kind, together, take no more than a `share` of the memory, in (0, 1]:
        those before it are evicted beyond that. So what is large and soon had again leaves room
        for what is small and takes long.
        """
        if nbytes > self._max_bytes or not self._max_bytes:
            return
        with self._lock:
            self._evict(key)
            self._kept[key] = (value, nbytes)
            self._bytes += nbytes
            self._bytes_of[key[0]] += nbytes
            if share < 1:
                self._evict_beyond(share * self._max_bytes, key)
            while self._bytes > self._max_bytes:
                self._evict(next(iter(self._kept)))
            metrics.CACHE_BYTES.set(self._bytes)

    def _evict(self, key: Key) -> None:
        _, freed = self._kept.pop(key, (None, 0))
        self._bytes -= freed
        self._bytes_of[key[0]] -= freed

    def _evict_beyond(self, most_bytes: float, newest: Key) -> None:
        """Evict the oldest values of the kind of `newest`, but not that one, beyond so many."""
        kind = newest[0]
        excess = self._bytes_of[kind] - most_bytes
        oldest: list[Key] = []
        for key, (_, nbytes) in self._kept.items():
            if excess <= 0 or key == newest:
                break
            if key[0] == kind:
                oldest.append(key)
                excess -= nbytes
        for key in oldest:
            self._evict(key)

    def for_model(self, name: str) -> "ModelCache":
        """Return a view of this cache with keys of its own, for what the model `name` computes."""
        return ModelCache(self, name)

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget everything: memory is short."""
        with self._lock:
            self._kept.clear()
            self._bytes_of.clear()
            self._bytes = 0
            metrics.CACHE_BYTES.set(0)


class ModelCache:
    """A ByteCache, shared with other models, whose keys name one model.

    Models of one process may encode the same image: neither takes the other's values. Memory
    and shares of it are those of the whole cache, and `clear` clears it for all models.
    """

    def __init__(self, cache: ByteCache, name: str) -> None:
        self._cache, self._name = cache, name

    def get(self, key: Key) -> Any | None:  # noqa: ANN401 - as ByteCache.get
        """See `ByteCache.get`."""
        return self._cache.get(self._own(key))

    def put(self, key: Key, value: object, nbytes: int, *, share: float = 1.0) -> None:
        """See `ByteCache.put`."""
        self._cache.put(self._own(key), value, nbytes, share=share)

    def clear(self) -> None:
        """See `ByteCache.clear`."""
        self._cache.clear()

    def _own(self, key: Key) -> Key:
        # The kind of the value stays first: metrics and shares go by it.
        return key[0], self._name, *key[1:]


def put_newest(entries: dict[str, Value], key: str, value: Value, max_entries: int) -> None:
    """Make `value` the newest of `entries`, and evict the oldest beyond `max_entries`."""
    entries.pop(key, None)
    if len(entries) >= max_entries:
        entries.pop(next(iter(entries)), None)
    entries[key] = value
