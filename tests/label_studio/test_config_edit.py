"""What is written into a label config is there, and everything else is as it was."""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_edit import ConfigEdits, LabelEdit, diff, edit_config

CONFIG = """<View>
  <!-- <Label value="Car"/> of old -->
  <TextArea name="prompt"  toName="image"
            editable='true'/>\r
  <Image name='image' value="$image" />
  <RectangleLabels name="boxes" toName="image">
    <Label value="Car" background="red"/>
    <Label   value='R&amp;D "x"'   prompt='old'></Label>
  </RectangleLabels>
  <brushlabels name="masks" toname="image"><LABEL VALUE="Car"  Score_Threshold = '0.1' />
    <Label alias="bike" value="A bicycle"/></brushlabels>
  <Choices name="c" toName="image"><Choice value="Car"/></Choices>
</View>
"""


def test_attributes_are_written_and_nothing_else_changes() -> None:
    edits = ConfigEdits(
        {
            "Car": LabelEdit(0.42, 'a "red" car'),
            'R&D "x"': LabelEdit(prompt="R & D < 3\n'new'"),
            "bike": LabelEdit(score_threshold=1),
        },
        detector="demo",
        segmenter="none",
    )
    edited = edit_config(CONFIG, edits)
    expected = CONFIG
    for old, new in [
        ("editable='true'/>", 'editable=\'true\' detector="demo" segmenter="none"/>'),
        (
            'value="Car" background="red"/>',
            'value="Car" background="red" prompt=\'a "red" car\' score_threshold="0.42"/>',
        ),
        ("prompt='old'></Label>", "prompt=\"R &amp; D &lt; 3&#10;'new'\"></Label>"),
        (
            "VALUE=\"Car\"  Score_Threshold = '0.1' />",
            'VALUE="Car"  Score_Threshold = "0.42" prompt=\'a "red" car\' />',
        ),
        ('value="A bicycle"/>', 'value="A bicycle" score_threshold="1.00"/>'),
    ]:
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert edited == expected
    labels = {label.value: label for label in read_label_config(edited).images[0].labels}
    assert labels["Car"].prompt == 'a "red" car'
    assert labels["Car"].score_threshold == 0.42
    assert labels['R&D "x"'].prompt == "R & D < 3\n'new'"
    assert labels["bike"].score_threshold == 1
    models = read_label_config(edited).models
    assert (models.detector, models.segmenter) == ("demo", "none")
    assert edit_config(edited, edits) == edited


def test_nothing_to_write_leaves_the_text() -> None:
    assert edit_config(CONFIG, ConfigEdits()) == CONFIG
    assert edit_config(CONFIG, ConfigEdits({"Car": LabelEdit()})) == CONFIG
    assert diff(CONFIG, CONFIG) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.42, "0.42"), (0.5, "0.50"), (0.0, "0.00"), (1.0, "1.00"), (0.123, "0.123"),
        (0.12345, "0.1234"), (0.99999, "0.9999"), (0.29999999999999993, "0.30"),
        (0.41999998688697815, "0.42"),  # as a float32 has it
    ],
)  # fmt: skip
def test_thresholds_have_two_to_four_digits(value: float, text: str) -> None:
    edited = edit_config(CONFIG, ConfigEdits({"bike": LabelEdit(value)}))
    assert re.findall(r'score_threshold="([\d.]+)"', edited) == [text]


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_a_threshold_that_is_no_fraction_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        edit_config(CONFIG, ConfigEdits({"Car": LabelEdit(value)}))


@pytest.mark.parametrize(
    ("xml", "edits", "sentence"),
    [
        (CONFIG, ConfigEdits({"Cat": LabelEdit(0.1)}), 'no <Label> that is saved as "Cat"'),
        (CONFIG, ConfigEdits({"A bicycle": LabelEdit(0.1)}), 'saved as "A bicycle"'),
        (CONFIG, ConfigEdits({"Car": LabelEdit(prompt="\0")}), "not valid XML"),
        (CONFIG, ConfigEdits({"Car": LabelEdit(prompt="\ud800")}), "not valid XML"),
        (
            CONFIG.replace('"prompt"', '"note"'), ConfigEdits(detector="demo"),
            "no prompt field to choose models with",
        ),
        ("<View", ConfigEdits(), "not valid XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + CONFIG, ConfigEdits(), "<!DOCTYPE>"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_one_sentence(
    xml: str, edits: ConfigEdits, sentence: str
) -> None:
    with pytest.raises(BadRequest, match=re.escape(sentence)) as error:
        edit_config(xml, edits)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    "before",
    [
        "", " \r\n", '<?xml version="1.0" encoding="latin-1"?>\n', '\n<?xml version="1.0"?>',
        "\ufeff", "<!-- Größe 🚗 -->",
    ],
)  # fmt: skip
def test_what_stands_before_the_tags_stays(before: str) -> None:
    xml = f"{before}{CONFIG.replace('red', 'größer 🚗')}"
    edited = edit_config(xml, ConfigEdits({"bike": LabelEdit(0.3)}))
    assert edited == xml.replace('"A bicycle"', '"A bicycle" score_threshold="0.30"')


def test_two_images_share_their_labels_and_have_a_prompt_field_each() -> None:
    xml = """<View><Image name="a" value="$a"/><Image name="b" value="$b"/>
      <TextArea name="one" toName="a" model_prompt="true"/><TextArea name="prompt" toName="b"/>
      <TextArea name="prompt2" toName="b"/>
      <RectangleLabels name="l" toName="a,b"><Label value="Car"/></RectangleLabels></View>"""
    edited = edit_config(xml, ConfigEdits(detector="demo"))
    assert edited.count('detector="demo"') == 2
    assert 'name="prompt2" toName="b"/>' in edited


def test_a_difference_is_shown_line_by_line() -> None:
    edited = edit_config(CONFIG, ConfigEdits({"bike": LabelEdit(0.3)}))
    shown = diff(CONFIG, edited).splitlines()
    assert [line for line in shown if line.startswith("-    ")] == [
        '-    <Label alias="bike" value="A bicycle"/></brushlabels>'
    ]
    assert [line for line in shown if line.startswith("+    ")] == [
        '+    <Label alias="bike" value="A bicycle" score_threshold="0.30"/></brushlabels>'
    ]
    assert len(shown) == 7


TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\n\t\r\"'<>&;= "),
    min_size=1,
    max_size=8,
)
SPACES = st.sampled_from(["", " ", "\n  ", "\r\n\t"])


@st.composite
def tags(draw: st.DrawFn, name: str, attributes: dict[str, str], inside: str) -> str:
    """A tag with attributes in any order, quotes, spaces and cases, and others between them."""

    def cased(word: str) -> str:
        return draw(st.sampled_from([word, word.upper(), word.title()]))

    def attribute(key: str, value: str) -> str:
        quote = draw(st.sampled_from("\"'"))
        for raw, entity in [("&", "&amp;"), ("<", "&lt;"), (quote, f"&#{ord(quote)};"),
                            ("\n", "&#10;"), ("\r", "&#xD;"), ("\t", "&#9;")]:  # fmt: skip
            value = value.replace(raw, entity)
        return f" {draw(SPACES)}{key}{draw(SPACES)}={draw(SPACES)}{quote}{value}{quote}"

    others = {"hint": "value='x' /> <Label", "background": "red"}
    own = attributes | (others if draw(st.booleans()) else {})
    keys = draw(st.permutations(sorted(own)))
    name = cased(name)
    written = "".join(attribute(cased(key), own[key]) for key in keys)
    if not inside and draw(st.booleans()):
        return f"<{name}{written}{draw(SPACES)}/>"
    return f"<{name}{written}{draw(SPACES)}>{inside}</{name}{draw(SPACES)}>"


@st.composite
def configs(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A label config, and the values its labels are saved with."""
    values = [value.strip() or "x" for value in draw(st.lists(TEXTS, min_size=1, max_size=4))]
    values = list(dict.fromkeys(value for value in values if not value.startswith("$")))
    values = values or ["Car"]
    controls = []
    for number in range(draw(st.integers(1, 2))):
        labels = []
        for value in values:
            own = {"value": value}
            if draw(st.booleans()):
                own = {"value": "shown", "alias": value}
            for key in ("score_threshold", "prompt"):
                if draw(st.booleans()):
                    own[key] = "0.1"
            labels.append(draw(tags("label", own, "")))
        name = {"name": f"c{number}", "toname": "image"}
        comment = draw(st.sampled_from(["", "<!-- <Label value='Car'/> -->", "<![CDATA[<a>]]>"]))
        controls.append(draw(tags("rectanglelabels", name, comment + "\n".join(labels))))
    image = draw(tags("image", {"name": "image", "value": "$image"}, ""))
    field = draw(tags("textarea", {"name": "prompt", "toname": "image"}, ""))
    return f"<View>{field}{image}{''.join(controls)}</View>", values


def elements(xml: str) -> Iterator[tuple[Element, dict[str, str]]]:
    for element in fromstring(xml).iter():
        yield element, {key.lower(): value for key, value in element.attrib.items()}


@settings(max_examples=300, deadline=None)
@given(st.data(), configs(), TEXTS, st.integers(0, 10_000))
def test_configs_differ_in_exactly_the_attributes_that_were_edited(
    data: st.DataObject, config: tuple[str, list[str]], prompt: str, steps: int
) -> None:
    xml, values = config
    value = data.draw(st.sampled_from(values))
    edits = ConfigEdits({value: LabelEdit(steps / 10_000, prompt)}, segmenter="none")
    try:
        edited = edit_config(xml, edits)
    except BadRequest as error:  # a ">" in a prompt, and no threshold
        assert "cannot be read" in str(error)
        return
    for (old, before), (new, after) in zip(elements(xml), elements(edited), strict=True):
        assert (old.tag, old.text, old.tail) == (new.tag, new.text, new.tail)
        if old.tag.lower() == "label" and (before.get("alias") or before["value"]) == value:
            assert float(after.pop("score_threshold")) == steps / 10_000
            assert after.pop("prompt") == prompt
            for name in ("prompt", "score_threshold"):
                before.pop(name, None)
        if old.tag.lower() == "textarea":
            assert after.pop("segmenter") == "none"
        assert before == after
    labels = read_label_config(edited).images[0].labels
    [label] = [one for one in labels if one.value == value]
    assert label.score_threshold == steps / 10_000
    # Whatever the texts of these attributes, everything around them is as it was.
    assert without(edited) == without(xml)


def without(xml: str) -> str:
    pattern = r"""\s+(?i:score_threshold|prompt|segmenter)\s*=\s*("[^"]*"|'[^']*')"""
    return re.sub(pattern, "", xml)
