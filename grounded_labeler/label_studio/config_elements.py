"""The elements of a label config with their places in its text, for who writes into it."""

from dataclasses import dataclass, field
from xml.etree.ElementTree import Element
from xml.parsers import expat

from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config_tags import Tag, read_tag


@dataclass
class ConfigElement:
    """An element, and where it is; places are those of the text's UTF-8 bytes.

    `labels` are the values and aliases of the `<Label>` tags in it.
    """

    start: int
    kind: str
    attributes: dict[str, str]
    parent: "ConfigElement | None"
    close: int = 0  # where its end tag begins; where it ends if it has none
    labels: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name; empty where it has none."""
        return self.attributes.get("name", "")

    @property
    def tag(self) -> Tag:
        """The tag as the rules for configs take it."""
        return read_tag(Element(self.kind, self.attributes))

    @property
    def images(self) -> list[str]:
        """The names that its toName has."""
        return [part.strip() for part in self.attributes.get("toname", "").split(",")]


def read_elements(text: str) -> list[ConfigElement]:
    """Return the elements, in the order of the text; names in lower case, as the editor has them.

    Raises BadRequest for what is not valid XML, or declares a document type.
    """
    found: list[ConfigElement] = []
    open_now: list[ConfigElement] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        own = {key.lower(): value for key, value in attributes.items()}
        parent = open_now[-1] if open_now else None
        one = ConfigElement(parser.CurrentByteIndex, name.lower(), own, parent)
        if one.kind == "label":
            for above in open_now:
                above.labels += [own.get("value", ""), own.get("alias", "")]
        open_now.append(one)
        found.append(one)

    def end(_: str) -> None:
        open_now.pop().close = parser.CurrentByteIndex

    def refuse(*_: object) -> None:
        raise BadRequest("The label config has a <!DOCTYPE> declaration: remove it.")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise BadRequest(f"The label config is not valid XML: {error}.") from None
    return found
