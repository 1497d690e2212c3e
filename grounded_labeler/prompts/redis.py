"""Prompts in Redis, for all who are given its address."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from grounded_labeler.prompts.store import MAX_PROMPTS, Entry, StoreError
from grounded_labeler.prompts.text import decode, encode
from grounded_labeler.prompts.url import StoreAddress

_SECONDS = 2.0  # for connecting, and for each answer
_LEARNED = "grounded-labeler:learned"  # sorted set: project by the time it was learned
_PROMPTS = "grounded-labeler:prompts"  # hash: project to prompt
# One script is one step to all others. KEYS: the two above; ARGV: project, time, prompt, most.
_REMEMBER = """
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
if known and tonumber(known) > tonumber(ARGV[2]) then return end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
while redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[4]) do
  redis.call('HDEL', KEYS[2], redis.call('ZPOPMIN', KEYS[1])[1])
end
"""


class RedisStore:
    """The Redis database at `address`, with `most` projects in it.

    Connections are made when they are first needed, and belong to one process. Raises
    SettingsError for options of TLS that there are not.
    """

    remedy = "See that it runs, can be reached from here and takes what PROMPT_STORE says."

    def __init__(self, address: StoreAddress, most: int = MAX_PROMPTS) -> None:
        self.place = address.place
        self._address, self._most = address, most
        try:
            self._client = redis.Redis.from_url(
                address.url,
                socket_timeout=_SECONDS,
                socket_connect_timeout=_SECONDS,
                protocol=2,  # what every version and proxy speaks
            )
            redis.ConnectionPool.from_url(address.url).make_connection()  # reads the options
        except (redis.RedisError, TypeError, ValueError) as error:
            raise address.refusal(error) from None

    def newest(self, project: str) -> tuple[float, str] | None:
        key = encode(project)
        with self._told():
            both = self._client.pipeline(transaction=True)
            both.zscore(_LEARNED, key)
            both.hget(_PROMPTS, key)
            learned, prompt = both.execute()
            # Either may have been evicted where Redis is short of memory.
            return None if learned is None or prompt is None else (learned, decode(prompt))

    def remember(self, project: str, learned: float, prompt: str) -> None:
        arguments = (encode(project), repr(learned), encode(prompt), self._most)
        with self._told():
            self._client.eval(_REMEMBER, 2, _LEARNED, _PROMPTS, *arguments)

    def entries(self) -> list[Entry]:
        with self._told():
            both = self._client.pipeline(transaction=True)
            both.zrange(_LEARNED, 0, -1, withscores=True)
            both.hgetall(_PROMPTS)
            learned, prompts = both.execute()
            found = [
                Entry(decode(key), time, decode(prompts[key]))
                for key, time in learned
                if key in prompts  # else it was evicted where Redis is short of memory
            ]
        return sorted(found, key=lambda entry: (-entry.learned, entry.project))

    def forget(self, project: str) -> None:
        key = encode(project)
        with self._told():
            both = self._client.pipeline(transaction=True)
            both.zrem(_LEARNED, key)
            both.hdel(_PROMPTS, key)
            both.execute()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Every way in which this can fail, as StoreError."""
        try:
            yield
        except (redis.RedisError, OSError, UnicodeError) as error:
            raise StoreError(self._address.hide_secrets(str(error))) from None
