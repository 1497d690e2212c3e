"""What a label config lacks is added to it, and nothing else changes."""

import re

import pytest

from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_additions import Additions, complete_config
from grounded_labeler.label_studio.config_edit import diff
from tests.helpers.asking import IMAGE, TUTORIAL, interface, view

BOXES = """<View>
  <Image name="img" value="$picture"/>
  <!-- ours -->
  <RectangleLabels name="b" toName="img" strokeWidth='3'>
    <Label value="Car" background="red"/>
  </RectangleLabels>
</View>"""
CAR_PERSON = Additions(("Car", "Person"), with_masks=True)


def added(before: str, after: str) -> list[str]:
    return [line[1:].strip() for line in diff(before, after).splitlines()[2:] if line[0] == "+"]


def removed(before: str, after: str) -> list[str]:
    return [line[1:].strip() for line in diff(before, after).splitlines()[2:] if line[0] == "-"]


def test_what_is_missing_is_added_and_the_rest_stays() -> None:
    after = complete_config(BOXES, CAR_PERSON)
    assert added(BOXES, after) == [
        '<TextArea name="prompt" toName="img" editable="true" rows="2" maxSubmissions="1" '
        'showSubmitButton="true"/>',
        '<TextArea name="status" toName="img" smart="false" rows="1" maxSubmissions="1"/>',
        '<RectangleLabels name="b" toName="img" strokeWidth=\'3\' smart="true">',
        '<Label value="Person"/>',
    ]
    assert removed(BOXES, after) == ['<RectangleLabels name="b" toName="img" strokeWidth=\'3\'>']
    [target] = read_label_config(after).images
    assert (target.prompt_name, target.status_name) == ("prompt", "status")
    assert [label.value for label in target.labels] == ["Car", "Person"]
    assert target.has_smart_tools


@pytest.mark.parametrize(
    "before",
    ["", "<View></View>", "<View/>", "<View>\n</View>\n", "<View >\n  <Header value='x'/>\n</View>",
     BOXES, TUTORIAL, view(IMAGE), view(IMAGE, '<RectangleLabels name="b" toName="image"/>'),
     view('<Image name="image" value="$image"></Image>'),
     view(IMAGE, '<Choices name="prompt" toName="image"><Choice value="a"/></Choices>',
          '<Choices name="boxes" toName="image"><Choice value="a"/></Choices>')],
)  # fmt: skip
@pytest.mark.parametrize("with_masks", [False, True])
def test_a_second_time_adds_nothing_and_label_studio_reads_it(
    before: str, with_masks: bool
) -> None:
    wanted = Additions(("Car", 'a "b" & <c>'), with_masks=with_masks)
    after = complete_config(before, wanted)
    assert complete_config(after, wanted) == after
    [target] = read_label_config(after).images
    assert target.prompt_name
    assert {"Car", 'a "b" & <c>'} <= {label.value for label in target.labels}
    interface(after).validate()  # raises
    names = re.findall(r' name="([^"]*)"', after)
    assert len(names) == len(set(names))


def test_an_empty_config_shows_what_tasks_have() -> None:
    after = complete_config("<View></View>", Additions(("Car",), data_key="photo"))
    assert after.splitlines() == [
        "<View>",
        '  <TextArea name="prompt" toName="image" editable="true" rows="2" maxSubmissions="1" '
        'showSubmitButton="true"/>',
        '  <TextArea name="status" toName="image" smart="false" rows="1" maxSubmissions="1"/>',
        '  <Image name="image" value="$photo"/>',
        '  <RectangleLabels name="boxes" toName="image">',
        '    <Label value="Car"/>',
        "  </RectangleLabels>",
        "</View>",
    ]


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    config = view(IMAGE, '<Choices name="prompt" toName="image"><Choice value="a"/></Choices>')
    after = complete_config(config, Additions(("Car",)))
    [target] = read_label_config(after).images
    assert target.prompt_name == "prompt2"


def test_labels_that_tasks_bring_and_smart_tags_are_left_alone() -> None:
    config = view(
        IMAGE,
        '<RectangleLabels name="b" toName="image" value="$brands" smart="false"/>',
        '<KeyPointLabels name="k" toName="image" smartOnly="true"><Label value="Car"/>'
        "</KeyPointLabels>",
        '<BrushLabels name="m" toName="other"><Label value="x"/></BrushLabels>',
    )
    after = complete_config(config, Additions(("Car",), with_masks=True))
    for tag in ("RectangleLabels", "KeyPointLabels", "BrushLabels"):
        [old] = re.findall(f"<{tag}.*?>", config)
        assert old in after


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ('<View><Text name="t" value="$text"/></View>', 'no project of images.*"\\$text"'),
        ('<View><HyperText name="t" value="$text"/></View>', "no project of images"),
        (view(IMAGE), "has no labels to draw with: name some, as --labels Car,Person"),
        ("<View>", "not valid XML"),
        ('<!DOCTYPE x [<!ENTITY y "z">]><View>&y;</View>', "DOCTYPE"),
    ],
)
def test_what_cannot_be_completed_is_said(config: str, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        complete_config(config, Additions())


DRAWN_ON = '<RectangleLabels name="b" toName="after"><Label value="Car"/></RectangleLabels>'
TWO = view('<Image name="before" value="$a"/>', '<Image name="after" value="$b"/>', DRAWN_ON)


def test_of_several_images_the_one_that_is_drawn_on_is_completed() -> None:
    [target] = read_label_config(complete_config(TWO, CAR_PERSON)).images
    assert (target.name, target.prompt_name) == ("after", "prompt")
    assert [label.value for label in target.labels] == ["Car", "Person"]


@pytest.mark.parametrize(
    "skipped",
    [
        IMAGE + '<TextArea name="prompt" toName="image" model_skip="true"/>'
        '<RectangleLabels name="b" toName="image"><Label value="Car"/></RectangleLabels>',
        IMAGE + '<RectangleLabels name="b" toName="image" model_skip="true"><Label value="x"/>'
        "</RectangleLabels>",
        '<Image name="other" value="$other" model_skip="true"/>' + IMAGE,
        # A line, which nothing found is drawn as.
        IMAGE + '<VectorLabels name="v" toName="image"><Label value="x"/></VectorLabels>',
    ],
)
def test_what_the_service_leaves_alone_counts_as_not_there(skipped: str) -> None:
    after = complete_config(view(skipped), CAR_PERSON)
    [old] = re.findall('<[^<]* model_skip="true"|<VectorLabels [^<]*', skipped)
    assert old in after
    [target] = read_label_config(after).images
    assert target.name == "image"
    assert target.prompt_name
    assert {"Car", "Person"} <= {label.value for label in target.labels}
    assert complete_config(after, CAR_PERSON) == after


def test_tags_to_draw_with_that_have_no_labels_get_them_from_a_tag() -> None:
    bare = view(IMAGE, '<Rectangle name="b" toName="image"/>')
    after = complete_config(bare, CAR_PERSON)
    assert '<Labels name="labels" toName="image">' in after
    [target] = read_label_config(after).images
    assert [label.value for label in target.labels] == ["Car", "Person"]
    interface(after).validate()  # raises
    assert complete_config(after, CAR_PERSON) == after
    assert "<Labels" not in complete_config(bare, Additions())


@pytest.mark.parametrize("root", [IMAGE, DRAWN_ON])
def test_what_stands_in_no_view_is_said(root: str) -> None:
    with pytest.raises(BadRequest, match="must begin with <View>"):
        complete_config(root, CAR_PERSON)
