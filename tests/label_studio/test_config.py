import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface.interface import LabelInterface

from grounded_labeler.core.types import Label
from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.image_value import ImageValue
from grounded_labeler.label_studio.schema import Control, ImageTarget, LabelConfig, Overrides

PREDICTS = sorted(
    (Path(__file__).parents[1] / "data" / "label-studio").glob("0[3-9]*_predict*.json")
)
IMAGE = '<Image name="image" value="$image"/>'
CATS = '<RectangleLabels name="label" toName="image"><Label value="cat"/></RectangleLabels>'


def one(inside: str) -> ImageTarget:
    """The only image target of a config with one <Image> and these tags."""
    (target,) = read_label_config(f"<View>{IMAGE}{inside}</View>").images
    return target


def labels_of(*tags: str) -> tuple[Label, ...]:
    return one(f'<RectangleLabels name="a" toName="image">{"".join(tags)}</RectangleLabels>').labels


def test_the_tutorials_config_is_read() -> None:
    xml = json.loads(PREDICTS[0].read_text())["body"]["label_config"]
    labels = (Label("cats"), Label("house"))
    assert read_label_config(xml) == LabelConfig(
        (
            ImageTarget(
                name="image",
                value=ImageValue("$image"),
                controls=(
                    Control("label", "image", "box", "rectanglelabels", "label", labels),
                    Control("label2", "image", "brush", "brushlabels", "label2", labels),
                ),
                labels=labels,
                prompt_name="prompt",
            ),
        )
    )


@pytest.mark.parametrize("path", PREDICTS, ids=lambda path: path.stem)
def test_captured_configs_are_read_as_the_sdk_reads_them(path: Path) -> None:
    xml = json.loads(path.read_text())["body"]["label_config"]
    (target,) = read_label_config(xml).images
    known: Any = LabelInterface(xml)
    assert known.get_object(target.name).value_name == target.value.name
    for control in target.controls:
        theirs = known.get_control(control.name)
        assert theirs.tag.lower() == control.result_type
        assert theirs.to_name == [control.to_name]
        assert theirs.labels == [label.value for label in control.labels]
    assert known.get_control(target.prompt_name).tag == "TextArea"


def test_a_label_with_an_alias_is_called_as_the_sdk_calls_it() -> None:
    xml = (
        f'<View>{IMAGE}<BrushLabels name="a" toName="image">'
        '<View><Label value="Cat" alias="C"/></View><Label value="D &amp; &#233;"/>'
        "</BrushLabels></View>"
    )
    known: Any = LabelInterface(xml)
    (target,) = read_label_config(xml).images
    assert [label.value for label in target.labels] == known.get_control("a").labels


@pytest.mark.parametrize(
    ("tags", "geometry", "result_type", "labels_name", "values"),
    [
        (
            '<PolygonLabels name="p" toName="image"><Label value="a"/></PolygonLabels>',
            "polygon", "polygonlabels", "p", ["a"],
        ),
        (
            '<Labels name="l" toName="image"><Label value="a"/></Labels>'
            '<Rectangle name="r" toName="image"/>',
            "box", "rectangle", "l", ["a"],
        ),
        (
            '<Brush name="b" toName="image"/>'
            '<Labels name="l" toName="image"><Label value="a"/></Labels>',
            "brush", "brush", "l", ["a"],
        ),
        (
            '<Polygon name="p" toName="image"/>'
            '<Labels name="l" toName="text"><Label value="a"/></Labels>',  # labels of a text
            "polygon", "polygon", "p", [],
        ),
        ('<Rectangle name="r" toName="image"/>', "box", "rectangle", "r", []),
        # The editor compares the names of tags and attributes in lower case.
        (
            '<rectanglelabels Name="r" toname="image"><label VALUE="a"/></rectanglelabels>',
            "box", "rectanglelabels", "r", ["a"],
        ),
        # Labels that come from the task's data are not known here.
        ('<BrushLabels name="b" toName="image" value="$labels"/>', "brush", "brushlabels", "b", []),
        (
            '<BrushLabels name="b" toName="image"><Label value="$kind"/></BrushLabels>',
            "brush", "brushlabels", "b", [],
        ),
        # Containers between the tags, at any depth.
        (
            '<View><Collapse><RectangleLabels name="r" toName="image"><View>'
            '<Label value="a"/></View><Label value="b"/></RectangleLabels></Collapse></View>',
            "box", "rectanglelabels", "r", ["a", "b"],
        ),
    ],
)  # fmt: skip
def test_every_usable_tag_is_found(
    tags: str, geometry: str, result_type: str, labels_name: str, values: list[str]
) -> None:
    (control,) = one(tags).controls
    assert (control.geometry, control.result_type) == (geometry, result_type)
    assert (control.to_name, control.labels_name) == ("image", labels_name)
    assert [label.value for label in control.labels] == values


def test_each_image_has_its_own_tags_in_document_order() -> None:
    config = read_label_config(
        """<View>
          <BrushLabels name="m" toName="left, right"><Label value="cat"/></BrushLabels>
          <Image name="right" value="$b"/><Image name="left" value="$a"/>
          <Image name="unused" value="$c"/>
          <RectangleLabels name="r" toName="left"><Label value="dog"/></RectangleLabels>
          <TextArea name="prompt" toName="left"/>
          <TextArea name="ask" toName="right" model_prompt="true"/>
          <TextArea name="status" toName="right"/>
        </View>"""
    )
    right, left = config.images
    assert (right.name, right.value.name, left.name, left.value.name) == ("right", "b", "left", "a")
    assert [(c.name, c.to_name) for c in right.controls] == [("m", "right")]
    assert [(c.name, c.to_name) for c in left.controls] == [("m", "left"), ("r", "left")]
    assert [label.value for label in left.labels] == ["cat", "dog"]
    assert (left.prompt_name, left.status_name) == ("prompt", None)
    assert (right.prompt_name, right.status_name) == ("ask", "status")


@pytest.mark.parametrize(
    ("tag", "label"),
    [
        ('<Label value="cat"/>', Label("cat")),
        (
            '<Label value="cat" predicted_values=" kitten,, tabby ,kitten"/>',
            Label("cat", ("kitten", "tabby")),
        ),
        ('<Label value="cat" prompt=" a small cat "/>', Label("cat", (), "a small cat")),
        ('<Label value="cat" score_threshold="0.42"/>', Label("cat", score_threshold=0.42)),
        ('<Label value="cat" SCORE_THRESHOLD=" 0 "/>', Label("cat", score_threshold=0.0)),
        ('<Label value="cat" score_threshold=""/>', Label("cat")),
        (
            '<Label value="cat"/><Label value="cat" score_threshold="0"/>',
            Label("cat", score_threshold=0.0),
        ),
        # Regions are saved with the alias; people read, and type, the value.
        ('<Label value="Cat" alias="C1"/>', Label("C1", ("Cat",), "Cat")),
        (
            '<Label value="Cat" alias="C1" prompt="small cat" predicted_values="kitten"/>',
            Label("C1", ("Cat", "kitten"), "small cat"),
        ),
        ('<Label alias="C1"/>', Label("C1")),
        ('<Label value="cat" alias="cat"/>', Label("cat")),
        # What is saved must equal the config to the letter.
        ('<Label value=" Cat &amp; &lt;b&gt; é "/>', Label(" Cat & <b> é ")),
    ],
)
def test_a_label_is_read_with_its_attributes(tag: str, label: Label) -> None:
    assert labels_of(tag) == (label,)


def test_a_label_without_a_value_is_passed_over() -> None:
    assert labels_of("<Label/>", '<Label value=""/>', '<Label value="a"/>') == (Label("a"),)


def test_equal_labels_of_several_tags_become_one() -> None:
    target = one(
        """<RectangleLabels name="a" toName="image">
             <Label value="cat" predicted_values="kitten"/><Label value="dog"/></RectangleLabels>
           <BrushLabels name="b" toName="image">
             <Label value="cat" predicted_values="tabby, kitten" prompt="small cat"/></BrushLabels>
        """
    )
    assert target.labels == (Label("cat", ("kitten", "tabby"), "small cat"), Label("dog"))
    assert target.controls[1].labels == (Label("cat", ("tabby", "kitten"), "small cat"),)


@pytest.mark.parametrize(
    ("textareas", "prompt_name", "status_name"),
    [
        ("", None, None),
        # A note is no prompt.
        ('<TextArea name="notes" toName="image"/>', None, None),
        ('<TextArea name="Prompt" toName="image"/>', None, None),
        ('<TextArea name="t" toName="image" model_prompt="true"/>', "t", None),
        ('<textarea name="t" toname="image" MODEL_PROMPT=" True "/>', "t", None),
        # A mark is nearer than a name, either way.
        (
            '<TextArea name="prompt" toName="image"/>'
            '<TextArea name="t" toName="image" model_prompt="true"/>',
            "t", None,
        ),
        ('<TextArea name="prompt" toName="image" model_prompt="false"/>', None, None),
        # By its name, wherever it stands.
        (
            '<TextArea name="notes" toName="image"/><TextArea name="prompt" toName="image"/>',
            "prompt", None,
        ),
        (
            '<TextArea name="status" toName="image" smart="false"/>'
            '<TextArea name="ask" toName="image"/>',
            None, "status",
        ),
        ('<TextArea name="status" toName="image"/>', None, "status"),
        # A text for each region, what is told, one that waits for Submit, and one of another tag.
        ('<TextArea name="prompt" toName="image" perRegion="true"/>', None, None),
        ('<TextArea name="status" toName="image" model_prompt="true"/>', None, "status"),
        ('<TextArea name="prompt" toName="image" smart="false"/>', "prompt", None),
        ('<TextArea name="prompt" toName="text"/>', None, None),
    ],
)  # fmt: skip
def test_the_prompt_and_the_status_field_are_found_by_name(
    textareas: str, prompt_name: str | None, status_name: str | None
) -> None:
    target = one(CATS + textareas)
    assert (target.prompt_name, target.status_name) == (prompt_name, status_name)


@pytest.mark.parametrize(
    ("attributes", "extra", "expected"),
    [
        ("", "", Overrides()),
        (
            'model_score_threshold="0.4" text_threshold="0" nms_threshold="1" max_regions="7"',
            "",
            Overrides(0.4, 0.0, 1.0, 7),
        ),
        ('model_score_threshold=" 0.4 " max_regions=""', "", Overrides(0.4)),
        # The first tag that sets an attribute wins, in document order.
        (
            'text_threshold="0.1"',
            '<Brush name="b" toName="image" text_threshold="0.2" max_regions="3"/>',
            Overrides(text_threshold=0.1, max_regions=3),
        ),
        # A tag that is left alone sets nothing.
        (
            "",
            '<Brush name="b" toName="image" model_skip="true" max_regions="3"/>',
            Overrides(),
        ),
    ],
)
def test_a_project_makes_settings_in_its_config(
    attributes: str, extra: str, expected: Overrides
) -> None:
    target = one(f'<RectangleLabels name="a" toName="image" {attributes}/>{extra}')
    assert target.overrides == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            '<Number name="box_threshold" toName="image" defaultValue="0.3"/>'
            '<Number name="text_threshold" toName="image"/>',
            Overrides(box_threshold=0.3),
        ),
        (
            '<Number name="text_threshold" toName="image" defaultValue="0"/>',
            Overrides(text_threshold=0),
        ),
        ('<Number name="box_threshold" toName="text" defaultValue="0.3"/>', Overrides()),
        ('<Number name="count" toName="image" defaultValue="3"/>', Overrides()),
    ],
)
def test_what_a_number_field_shows_untouched_is_known_apart(
    fields: str, expected: Overrides
) -> None:
    target = one(f'<RectangleLabels name="a" toName="image"/>{fields}')
    assert (target.displayed, target.overrides) == (expected, Overrides())


@pytest.mark.parametrize(
    ("textareas", "notes"),
    [
        ('<TextArea name="a" toName="image"/><TextArea name="b" toName="image"/>', ("a", "b")),
        ('<TextArea name="a" toName="image"/><TextArea name="prompt" toName="image"/>', ()),
        ('<TextArea name="a" toName="image" perRegion="true"/>', ()),
        ('<TextArea name="a" toName="image" smart="false"/>', ()),
        ('<TextArea name="status" toName="image"/>', ()),
    ],
)
def test_fields_that_people_may_take_for_the_prompt(textareas: str, notes: tuple[str, ...]) -> None:
    assert one(CATS + textareas).notes == notes


@pytest.mark.parametrize(
    ("prompt", "tag", "expected"),
    [
        ("", "", None),
        ('tiles="auto"', "", "auto"),
        ("", 'tiles="0800"', "800"),
        ('tiles=" OFF "', 'tiles="800"', "off"),
    ],
)
def test_a_project_chooses_its_tiles(prompt: str, tag: str, expected: str | None) -> None:
    field = f'<TextArea name="prompt" toName="image" {prompt}/>'
    target = one(f'{field}<RectangleLabels name="a" toName="image" {tag}/>')
    assert target.tiles == expected


def test_tiles_that_are_none_are_refused() -> None:
    with pytest.raises(BadRequest, match=r'has tiles="12", which must be off, auto or a number'):
        one('<RectangleLabels name="a" toName="image" tiles="12"/>')


@pytest.mark.parametrize("value", ["high", "1.5", "-0.1", "40", "0,4", "nan", "inf"])
@pytest.mark.parametrize("attribute", ["model_score_threshold", "text_threshold", "nms_threshold"])
def test_a_threshold_that_is_no_fraction_is_refused(attribute: str, value: str) -> None:
    with pytest.raises(BadRequest) as caught:
        one(f'<BrushLabels name="mask" toName="image" {attribute}="{value}"/>')
    assert f'<BrushLabels name="mask"> has {attribute}="{value}"' in str(caught.value)
    assert "from 0 to 1" in str(caught.value)


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many", "1e3"])
def test_max_regions_must_be_a_whole_number(value: str) -> None:
    with pytest.raises(BadRequest, match=f'max_regions="{value}", which must be a whole number'):
        one(f'<BrushLabels name="mask" toName="image" max_regions="{value}"/>')


def test_a_number_fields_default_must_be_a_fraction() -> None:
    with pytest.raises(BadRequest, match=r'name="box_threshold"> has defaultValue="30"'):
        one(f'{CATS}<Number name="box_threshold" toName="image" defaultValue="30"/>')


def test_skipped_tags_are_left_alone() -> None:
    target = one(f'{CATS}<BrushLabels name="b" toName="image" model_skip="true"/>')
    assert [control.name for control in target.controls] == ["label"]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (None, "has no label config"),
        ({"View": {}}, "has no label config"),
        ("", "has no label config"),
        (" \n", "has no label config"),
        ("label the cats", "not valid XML"),
        ("<View><Image></View>", "not valid XML"),
        ("<View/><View/>", "not valid XML"),
        ('<View a="&nbsp;"/>', "not valid XML"),
        ("<View \ud800/>", "not valid XML"),
        ("<View>\x00</View>", "not valid XML"),
        ("<View/>", "no <Image> tag"),
        (f"<View>{CATS}</View>", "no <Image> tag"),
        # Values this service does not read: a word, two fields, a skipped image, several images.
        (
            f'<View><Image name="image" valueList="$images"/>{CATS}</View>',
            '<Image name="image"> shows several images, valueList="$images", which this service '
            'does not read: use a tag for each of them, <Image value="$images[0]"/>',
        ),
        (
            f'<View><Image name="image" value="$a" valuelist="$b"/>{CATS}</View>',
            'valueList="$b"',
        ),
        (
            f'<View><Image name="other" value="$a"/><Image name="image" valueList="$b"/>{CATS}'
            "</View>",
            'valueList="$b"',
        ),
        (
            '<View><Repeater on="$images" indexFlag="{{idx}}">'
            '<Image name="image_{{idx}}" value="$images[{{idx}}]"/></Repeater></View>',
            '<Image name="image_{{idx}}"> is repeated by a <Repeater>',
        ),
        (f'<View><Image name="image" value="a.png"/>{CATS}</View>', "no <Image> tag"),
        (f'<View><Image name="image" value="$a,$b"/>{CATS}</View>', "no <Image> tag"),
        (f'<View><Image value="$image"/>{CATS}</View>', "no <Image> tag"),
        (
            f'<View><Image name="image" value="$image" model_skip="true"/>{CATS}</View>',
            'no <Image> tag that is not marked model_skip="true"',
        ),
        (f"<View>{IMAGE}</View>", "add one of <RectangleLabels>, <BrushLabels>"),
        (f'<View>{IMAGE}<Choices name="c" toName="image"/></View>', 'on image "image"'),
        (f'<View>{IMAGE}<KeyPointLabels name="k" toName="image"/></View>', "no tag to draw with"),
        (f'<View>{IMAGE}<Brush name="b" toName="img"/></View>', "no tag to draw with"),
        (f'<View>{IMAGE}<Brush toName="image"/></View>', "no tag to draw with"),
        (
            f'<View>{IMAGE}<Brush name="b" toName="image" model_skip="true"/></View>',
            'All tags that could draw on image "image" are marked model_skip="true", which has '
            'this service leave them alone: take it out of <Brush name="b">.',
        ),
        (
            f'<View>{IMAGE}<Brush name="b" toName="image" model_skip="true"/>'
            '<RectangleLabels name="r" toName="image" model_skip="true"/></View>',
            'take it out of <Brush name="b"> or <RectangleLabels name="r">.',
        ),
        (
            f'<View>{IMAGE}<Brush name="b" toName="other" model_skip="true"/></View>',
            'no tag to draw with on image "image"',
        ),
    ],
)
def test_an_unusable_config_is_refused_with_a_reason(xml: object, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_label_config(xml)
    assert message in str(caught.value)


def entity_bomb() -> str:
    levels = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(12))
    return f'<!DOCTYPE b [<!ENTITY e0 "ha">{levels}]><View>&e12;</View>'


@pytest.mark.parametrize(
    "xml",
    [
        entity_bomb(),
        f'<!DOCTYPE q [<!ENTITY a "{"a" * 100_000}">]><View>{"&a;" * 100_000}</View>',
        '<!DOCTYPE v [<!ENTITY f SYSTEM "file:///etc/hostname">]><View>&f;</View>',
        '<!DOCTYPE v SYSTEM "http://127.0.0.1/labels.dtd"><View/>',
        f"<!DOCTYPE View><View>{IMAGE}{CATS}</View>",
        "<View>" * 20_000,
        "<View>" * 20_000 + "</View>" * 20_000,
    ],
    ids=["nested", "quadratic", "file", "external", "plain doctype", "unclosed", "deep"],
)
def test_hostile_xml_is_refused_at_once(xml: str) -> None:
    with pytest.raises(BadRequest):  # an expanded bomb would take for ever, or all memory
        read_label_config(xml)


@pytest.mark.parametrize("declared", ["utf-8", "utf-16", "latin-1", "no-such-code"])
def test_a_declared_encoding_does_not_matter(declared: str) -> None:
    xml = f'\n<?xml version="1.0" encoding="{declared}"?>\n<View>{IMAGE}{CATS}</View>'
    assert read_label_config(xml).images[0].name == "image"


def test_comments_and_style_are_no_tags() -> None:
    target = one(f"<!-- <Label value='x'/> --><?pi x?><Style>.a {{ color: red }}</Style>{CATS}")
    assert target.labels == (Label("cat"),)


def test_a_config_is_parsed_once() -> None:
    xml = f"<View>{IMAGE}{CATS}</View>"
    assert read_label_config(xml) is read_label_config(f"  {xml}\n")


@given(st.one_of(st.text(), st.text(alphabet='<>/="&;$ ViewImagenaltoNR')))
def test_any_text_gives_a_config_or_a_bad_request(xml: str) -> None:
    try:
        config = read_label_config(xml)
    except BadRequest:
        return
    assert config.images


def test_a_config_has_a_largest_size() -> None:
    with pytest.raises(BadRequest, match="more than 1,000,000 characters"):
        read_label_config(f"<View>{IMAGE}{CATS}<!--{'x' * 1_000_000}--></View>")


def test_a_bare_tag_may_have_several_labels_tags() -> None:
    target = one(
        '<Rectangle name="r" toName="image"/>'
        '<Labels name="kind" toName="image"><Label value="cat"/></Labels>'
        '<Labels name="state" toName="image"><Label value="wet"/></Labels>'
    )
    assert [
        (control.name, control.labels_name, [label.value for label in control.labels])
        for control in target.controls
    ] == [("r", "kind", ["cat"]), ("r", "state", ["wet"])]
    assert [label.value for label in target.labels] == ["cat", "wet"]


def test_a_labels_tag_may_hold_thresholds() -> None:
    target = one(
        '<Rectangle name="r" toName="image"/>'
        '<Labels name="l" toName="image" model_score_threshold="0.5" max_regions="3"/>'
    )
    assert (target.overrides.box_threshold, target.overrides.max_regions) == (0.5, 3)


@pytest.mark.parametrize("value", ["1.01", "-0.1", "nan", "high", "40%"])
def test_a_label_s_threshold_is_a_fraction(value: str) -> None:
    tag = f'<RectangleLabels name="b" toName="image"><Label value="Cat" score_threshold="{value}"/>'
    with pytest.raises(BadRequest) as refused:
        read_label_config(f'<View><Image name="image" value="$i"/>{tag}</RectangleLabels></View>')
    assert str(refused.value) == (
        f'In the label config, <Label value="Cat"> has score_threshold="{value}", which must be a '
        "number from 0 to 1."
    )
