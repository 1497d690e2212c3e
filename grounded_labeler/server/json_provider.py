"""The JSON of responses: Flask's, with `JsonText` copied into it as it is."""

from itertools import chain
from typing import Any
from uuid import uuid4

from flask.json.provider import DefaultJSONProvider

from grounded_labeler.label_studio.json_text import JsonText


class CopyingProvider(DefaultJSONProvider):
    """Writes JSON as Flask does, and `JsonText` without reading it."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:  # noqa: ANN401 - as Flask's
        """See DefaultJSONProvider.dumps."""
        # Each text is left out first, under a name that nobody who sends text can know.
        mark = uuid4().hex
        texts: list[str] = []

        def left_out(value: Any) -> Any:  # noqa: ANN401 - whatever is no JSON
            if not isinstance(value, JsonText):
                return self.default(value)
            texts.append(value.text)
            return mark

        around = super().dumps(obj, default=left_out, **kwargs).split(f'"{mark}"')
        return "".join(chain(*zip(around, texts, strict=False), around[len(texts) :]))
