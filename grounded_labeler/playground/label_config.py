"""A label config that has the service find what the playground shows."""

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from grounded_labeler.playground.selection import Limits
from grounded_labeler.server.inspector import Inspection
from grounded_labeler.weights.catalog import NO_SEGMENTER


def write_label_config(seen: Inspection, limits: Limits, names: tuple[str, str]) -> str:
    """Write a whole label config, XML: labels with their prompts, thresholds and models.

    A phrase that means no label becomes one. `names` are the detector's and the segmenter's.
    """
    labels = [f"    <Label{_attributes(one)}/>" for one in _labels(seen)]
    thresholds = _attributes(
        {"model_score_threshold": f"{limits.box:.4g}", "text_threshold": f"{limits.text:.4g}"}
    )
    detector, segmenter = names
    models = _attributes({"detector": detector, "segmenter": segmenter})
    controls = ["RectangleLabels"] + ["BrushLabels"] * (segmenter != NO_SEGMENTER)
    lines = [
        "<View>",
        '  <TextArea name="prompt" toName="image" editable="true" rows="2" maxSubmissions="1"'
        f"{models}/>",
        '  <TextArea name="status" toName="image" smart="false" rows="1" maxSubmissions="1"/>',
        '  <Image name="image" value="$image"/>',
    ]
    for number, tag in enumerate(controls):
        name = "label" if number == 0 else "mask"
        lines += [f'  <{tag} name="{name}" toName="image"{thresholds}>', *labels, f"  </{tag}>"]
    return "\n".join([*lines, "</View>"]) + "\n"


def _labels(seen: Inspection) -> list[dict[str, str]]:
    """The attributes of each label, in the order of the phrases.

    What negative phrases find is left out of all labels, so that one of them may have them.
    Where the phrases of a label have different thresholds, its prompt says them.
    """
    phrases: dict[str, list[tuple[str, float | None]]] = {}
    negative: list[str] = []
    rows = zip(seen.prompt.phrases, seen.phrase_labels, seen.score_thresholds, strict=True)
    for phrase, label, threshold in rows:
        if phrase.negative:
            negative.append(_with_threshold(f"-{phrase.text}", threshold))
        else:
            phrases.setdefault(label or phrase.text, []).append((phrase.text, threshold))
    labels = []
    for value, own in phrases.items():
        attributes = {"value": value}
        (_, threshold), *others = own
        is_same = all(other == threshold for _, other in others)
        asked = [text if is_same else _with_threshold(text, limit) for text, limit in own]
        asked, negative = asked + negative, []
        if asked != [value]:
            attributes["prompt"] = _joined(asked)
        if is_same and threshold is not None:
            attributes["score_threshold"] = f"{threshold:.4g}"
        labels.append(attributes)
    return labels


def _with_threshold(phrase: str, threshold: float | None) -> str:
    return phrase if threshold is None else f"{phrase} > {threshold:.4g}"


def _joined(phrases: Sequence[str]) -> str:
    return " . ".join(phrases)


def _attributes(named: dict[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in named.items())
