"""Whatever is sent: never a 500, never a traceback, always strict JSON of the right length."""

import base64
import gzip
import io
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4
from xml.sax.saxutils import quoteattr

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from werkzeug.test import TestResponse

from grounded_labeler.core.prompt import MAX_CHARACTERS, MAX_PHRASES
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.projects import ProjectRegistry
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.prompts.sqlite import SQLiteStore
from grounded_labeler.service import Service
from tests.conftest import client_of
from tests.helpers.asking import (
    BRUSH,
    IMAGE,
    PROMPT,
    RECTANGLES,
    STATUS,
    TUTORIAL,
    body,
    typed,
    view,
)
from tests.helpers.drawing import box, click, stroke
from tests.helpers.label_studio import TOKEN

NewClient = Callable[[], FlaskClient]

# What would tell a stranger how the service is built, or where.
GIVEAWAYS = (
    "Traceback",
    'File "',
    "site-packages",
    ".py",
    str(Path(__file__).parents[2]),
    TOKEN,
)
EXPECTED = {200, 400, 413}


def examples(number: int) -> settings:
    """The same requests in every run; a fixture makes a new application for each of them."""
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def make_image() -> str:
    image = Image.new("RGB", (48, 32), "white")
    ImageDraw.Draw(image).ellipse((12, 6, 32, 26), fill=(220, 30, 30))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


IMAGE_URL = make_image()


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request leaves this machine: only its own address resolves."""
    real = socket.getaddrinfo

    def resolve(host: str, *args: Any, **kwargs: Any) -> Any:
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "no names here")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture
def new_client(
    make_service: Callable[..., Service], tmp_path: Path, no_names: None
) -> Iterator[NewClient]:
    """A client of a service that remembers nothing yet."""
    service = make_service()

    def make() -> FlaskClient:
        memory = PromptHistory(SQLiteStore(tmp_path / f"{uuid4().hex}.sqlite3"))
        return client_of(replace(service, prompts=memory, projects=ProjectRegistry()))

    yield make


def checked(response: TestResponse, expected: set[int] = EXPECTED) -> Any:
    """The answer, which gives nothing away and is JSON that every parser reads."""
    assert response.status_code in expected, (response.status, response.text[:500])
    text = response.data.decode()
    assert not [word for word in GIVEAWAYS if word in text]
    answer = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    if response.status_code != 200:
        assert list(answer) == ["error"]
        assert isinstance(answer["error"], str)
        assert answer["error"].strip()
    return answer


def refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), "a key stands twice in an object"
    return found


def check_predictions(response: TestResponse, request: Any) -> None:
    """One prediction per task, and with a result if anybody waits for one."""
    answer = checked(response)
    if response.status_code != 200:
        return
    assert list(answer) == ["results"]
    assert len(answer["results"]) == len(request["tasks"])
    asked = (request.get("params") or {}).get("context") is not None
    for prediction in answer["results"]:
        assert isinstance(prediction["model_version"], str)
        assert prediction["model_version"]
        assert ("result" in prediction) != ("error" in prediction)
        assert "result" in prediction or not asked
        shapes = [
            result["id"]
            for result in prediction.get("result", [])
            if result["type"] not in ("textarea", "labels")
        ]
        assert len(set(shapes)) == len(shapes)


def post(client: FlaskClient, path: str, request: object) -> TestResponse:
    """NaN and Infinity go as Python writes them, halves of surrogate pairs as \\ud800."""
    return client.post(path, data=json.dumps(request), content_type="application/json")


def send_everywhere(client: FlaskClient, config: object, context: object, tasks: Any) -> None:
    """One label config, context and tasks in every request that may hold them, in turn."""
    checked(post(client, "/setup", {"project": "1.2", "schema": config}))
    request = {
        "tasks": tasks,
        "project": "1.2",
        "label_config": config,
        "params": {"context": context},
    }
    check_predictions(post(client, "/predict", request), request)
    annotation = context if isinstance(context, dict) else {"result": context}
    event = {"project": {"id": 1, "label_config": config}, "annotation": annotation}
    checked(post(client, "/webhook", event))
    # With what was remembered now, if anything was.
    request["params"] = {"context": None}
    check_predictions(post(client, "/predict", request), request)


# Texts

wild_text = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "",
            " ",
            "\0",
            "\ud800",
            "\udfff circle",
            "circle\r\nX-Injected: 1",
            "\u202ecircle\u202c",
            "عَرَبِيّ",
            "👩‍👩‍👧‍👦 🔴",
            "ﷺ" * 50,
            "circle" * 2000,
            "circle . " * 300,
            "_" * 5000,
            "-> -> ->",
            "circle -> ",
            "-> Circle",
            "-circle",
            "- . , ; \n",
            "[CLS] [SEP] [MASK] [PAD] ##s ?",
            "%s %d {} {0.__class__}",
            "<script>alert(1)</script>",
            "'; DROP TABLE prompts; --",
            "../../etc/passwd",
            "circle, square_Square, -star, İ, ß, ﬁ, K",
        ]
    ),
)
wild_number = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 0.5, 1.0000001, -0.0, 1e-320, True]),
)
wild_json = st.recursive(
    st.one_of(st.none(), st.booleans(), wild_number, wild_text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(wild_text, inner, max_size=3)
    ),
    max_leaves=6,
)

# Label configs

names = st.sampled_from(
    ["image", "image2", "label", "prompt", "status", "box_threshold", "text_threshold", "", "é b"]
)
targets = st.sampled_from(["image", "image", "image2", "image,image2", " image , ", ",,,", "", "x"])
labels = st.one_of(
    st.sampled_from(
        ["Circle", "circle, , round thing", "$labels", "$", "-a", "a -> b", "\t\n", ""]
    ),
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")),
)
fractions = st.sampled_from(["", "0", "1", "0.3", "1e-400", "1_0e-1", "\u0660.\u0663"])
switches = st.sampled_from(["true", "false", "True", "1", ""])
attributes = st.fixed_dictionaries(
    {},
    optional={
        "name": names,
        "NAME": names,
        "toName": targets,
        "value": st.one_of(
            st.sampled_from(["$image", "$image", "$none", "$a,$b", "image"]), labels
        ),
        "valueList": labels,
        "alias": labels,
        "predicted_values": labels,
        "prompt": labels,
        "model_score_threshold": fractions,
        "text_threshold": fractions,
        "nms_threshold": fractions,
        "max_regions": st.sampled_from(["", "1", "\u0663", "9" * 30]),
        "defaultValue": fractions,
        "smart": switches,
        "perRegion": switches,
        "model_skip": switches,
        "xml:lang": labels,
    },
)
wrong_attribute = st.sampled_from(
    [
        f'{name}="{value}"'
        for name in ("model_score_threshold", "text_threshold", "nms_threshold", "max_regions")
        for value in ("nan", "-inf", "-1", "1e400", "0x1", "²", "9" * 5000, "%s{}", "&#10;", "\0")
    ]
    + ['toName="image"', "toName", 'value="<"', 'x:y="1"', 'xmlns="http://a/b"', 'xmlns:x=""']
)
TAGS = (
    *("Image", "RectangleLabels", "BrushLabels", "PolygonLabels", "Labels", "Rectangle", "Brush"),
    *("Polygon", "TextArea", "Number", "Label", "View", "Style", "Choices", "image", "LABEL"),
)


def element(tag: str, own: dict[str, str], inside: list[str]) -> str:
    written = "".join(f" {name}={quoteattr(value)}" for name, value in own.items())
    return f"<{tag}{written}>{''.join(inside)}</{tag}>"


wild_tag = st.recursive(
    st.builds(element, st.sampled_from(TAGS), attributes, st.just([])),
    lambda inner: st.builds(
        element, st.sampled_from(TAGS), attributes, st.lists(inner, max_size=3)
    ),
    max_leaves=6,
)
drawable = st.sampled_from(
    [
        IMAGE,
        RECTANGLES,
        BRUSH,
        PROMPT,
        STATUS,
        '<Rectangle name="r" toName="image"/>',
        '<Polygon name="p" toName="image"/>',
        '<Labels name="names" toName="image"><Label value="Circle" alias="c"/></Labels>',
        '<Number name="box_threshold" toName="image" defaultValue="0"/>',
        '<Image name="image2" value="$image"/>',
        '<BrushLabels name="b" toName="image,image2" max_regions="3"><Label value="a"/>'
        "</BrushLabels>",
        '<PolygonLabels name="q" toName="image2" nms_threshold="0"><Label value="$x"/>'
        "</PolygonLabels>",
        '<TextArea name="prompt" toName="image2"/>',
    ]
)
# Most of them can be drawn with, so that what is wild is read, too.
some_config = st.builds(
    lambda start, parts: view(*start, *parts),
    st.sampled_from([(), (IMAGE, PROMPT, RECTANGLES), (IMAGE, PROMPT, BRUSH), (IMAGE, RECTANGLES)]),
    st.lists(st.one_of(drawable, wild_tag), max_size=5),
)
broken_config = st.one_of(
    some_config.flatmap(lambda xml: st.integers(0, len(xml)).map(lambda cut: xml[:cut])),
    st.builds(str.__add__, some_config, some_config),
    st.builds(
        str.__add__,
        st.sampled_from(
            [
                '<?xml version="1.0" encoding="utf-16"?>',
                '<?xml version="1.0" encoding="nonsense"?>',
                '<?xml version="9"?>',
                "<!DOCTYPE View>",
                '<!DOCTYPE View [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
                "\ufeff",
                "\0",
                "<!-- -- -->",
                "<?php 1 ?>",
                "&e;",
            ]
        ),
        some_config,
    ),
    st.builds(
        lambda xml, wrong: xml.replace(" toName", f" {wrong} toName", 1),
        some_config,
        wrong_attribute,
    ),
    st.builds(
        lambda xml, text: xml.replace("Circle", text),
        some_config,
        st.one_of(wild_text, st.sampled_from(["&e;", "&#0;", "&#xD800;", "<![CDATA[]]>"])),
    ),
    wild_json,
)


def with_attribute(attribute: str) -> str:
    return TUTORIAL.replace("<RectangleLabels", f"<RectangleLabels {attribute}")


@examples(60)
@given(config=some_config)
@example(config=with_attribute('model_score_threshold="0" text_threshold="0" nms_threshold="1"'))
@example(config=with_attribute(f'max_regions="{"9" * 4000}"'))
@example(config=view(IMAGE, PROMPT, '<Rectangle name="a" toName="image"/>' * 2, RECTANGLES * 2))
@example(config=TUTORIAL.replace('value="Circle"', 'value="\x7f\u0085\u2028"'))
def test_any_label_config(new_client: NewClient, config: str) -> None:
    send_everywhere(new_client(), config, typed("circle"), [{"data": {"image": IMAGE_URL}}])


@examples(60)
@given(config=broken_config)
@example(config="<View>" * 50_000)
@example(config="<View>" * 50_000 + "</View>" * 50_000)
@example(config='<!DOCTYPE v [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><View>&b;</View>')
@example(config=with_attribute('max_regions="²"'))
@example(config=with_attribute(f'max_regions="{"9" * 5000}"'))
@example(config=with_attribute('model_score_threshold="nan"'))
def test_any_broken_label_config(new_client: NewClient, config: object) -> None:
    send_everywhere(new_client(), config, typed("circle"), [{"data": {"image": IMAGE_URL}}])


# Contexts

entry = st.fixed_dictionaries(
    {},
    optional={
        "from_name": st.one_of(names, wild_json),
        "to_name": st.one_of(names, wild_json),
        "type": st.one_of(st.sampled_from(["textarea", "number"]), wild_json),
        "id": wild_json,
        "value": st.one_of(
            st.fixed_dictionaries(
                {},
                optional={
                    "text": st.one_of(wild_text, st.lists(st.one_of(wild_text, wild_json))),
                    "number": st.one_of(wild_number, wild_json),
                },
            ),
            wild_json,
        ),
    },
)
prompt = st.builds(
    lambda text: {"from_name": "prompt", "to_name": "image", "value": {"text": text}},
    st.one_of(wild_text, st.lists(st.one_of(wild_text, wild_json), max_size=3), wild_json),
)
threshold = st.builds(
    lambda name, number: {"from_name": name, "to_name": "image", "value": {"number": number}},
    st.sampled_from(["box_threshold", "text_threshold"]),
    st.one_of(wild_number, wild_json),
)
some_context = st.one_of(
    st.builds(
        lambda result: {"result": result},
        st.lists(st.one_of(prompt, prompt, threshold, entry, wild_json), max_size=4),
    ),
    st.builds(lambda result: {"result": result}, wild_json),
    wild_json,
)


@examples(60)
@given(context=some_context)
@example(context=typed("\ud800"))
@example(context=typed("\0"))
@example(context=typed("circle " * 50_000))
@example(context=typed("o" * 1_000_000))
@example(context=typed("-> " * 100_000))
@example(context=typed(" . ".join(f"thing {i}" for i in range(300))))
@example(context={"result": [{"from_name": "prompt", "value": {"text": {"text": ["circle"]}}}]})
@example(context={"result": typed("circle")["result"] * 3000})
@example(
    context={
        "result": [
            *typed("circle")["result"],
            {"from_name": "box_threshold", "value": {"number": 10**4000}},
        ]
    }
)
@example(
    context={
        "result": [
            *typed("circle")["result"],
            {"from_name": "text_threshold", "value": {"number": float("nan")}},
        ]
    }
)
def test_any_context(new_client: NewClient, context: object) -> None:
    send_everywhere(new_client(), TUTORIAL, context, [{"id": 1, "data": {"image": IMAGE_URL}}])


# Shapes

position = st.one_of(st.floats(-10, 110), wild_number, wild_json)
shape = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [f"{kind}{of}" for kind in ("keypoint", "rectangle", "ellipse", "brush")
             for of in ("labels", "")] + ["labels"]
        ),
        "value": st.one_of(
            st.fixed_dictionaries(
                {"x": position, "y": position},
                optional={
                    **dict.fromkeys(("width", "height", "radiusX", "radiusY"), position),
                    "rotation": position,
                    "positive": st.one_of(st.booleans(), wild_json),
                    "rle": st.one_of(st.lists(st.integers(-1, 256)), wild_json),
                    "keypointlabels": st.one_of(st.just(["Circle"]), wild_json),
                },
            ),
            wild_json,
        ),
    },
    optional={
        "id": st.one_of(names, wild_json),
        "from_name": st.one_of(names, wild_json),
        "to_name": st.one_of(st.just("image"), names, wild_json),
        "is_positive": st.one_of(st.booleans(), wild_json),
    },
)  # fmt: skip
wild_event = st.one_of(st.sampled_from(["capabilities", "prewarm", "release"]), wild_json)


@examples(100)
@given(shapes=st.lists(st.one_of(shape, prompt, wild_json), max_size=5))
@example(shapes=[box(0, 0, 10**400, float("nan"))])
@example(shapes=[click(50, 50) for _ in range(20_000)])
@example(shapes=[box(1, 1, 50, 50) for _ in range(20_000)])
@example(shapes=[stroke([255] * 400_000)])
@example(shapes=[stroke([0x7F, 255, 255, 255, 0x38, 0x88, 0x88, 0x80])])  # 2**31 values
@example(shapes=[click(50, 50) | {"from_name": ["points"]}])
def test_any_shapes(new_client: NewClient, shapes: list[object]) -> None:
    context = {"result": shapes}
    send_everywhere(new_client(), TUTORIAL, context, [{"id": 1, "data": {"image": IMAGE_URL}}])


@examples(30)
@given(event=wild_event, result=wild_json)
def test_any_event(new_client: NewClient, event: object, result: object) -> None:
    context = {"event": event, "result": result}
    send_everywhere(new_client(), TUTORIAL, context, [{"id": 1, "data": {"image": IMAGE_URL}}])


# Tasks

address = st.one_of(
    st.just(IMAGE_URL),
    st.sampled_from(
        [
            "",
            " ",
            IMAGE_URL[:-9],
            IMAGE_URL + "!",
            "data:",
            "data:image/png;base64",
            "data:image/png;base64,",
            "data:image/png;base64,%FF%",
            "data:image/png;base64,é",
            "data:text/html;base64,aGk=",
            "/data/upload/1/wide.jpg?x=\r\nX: 1",
            "/data/upload/../../api/token",
            "/data/local-files/?d=../../../etc/passwd",
            "//127.0.0.1/x",
            "http://",
            "http://[",
            "http://[::1%25lo]/x",
            "http://127.0.0.1:0/x",
            "http://127.0.0.1:99999/x",
            "http://127.0.0.1:9" + "9" * 5000 + "/x",
            "http://user:pass@127.0.0.1/x",
            "http://" + "a" * 300 + "/x",
            "http://xn--a/x",
            "http://é\ud800/x",
            "file:///etc/passwd",
            "s3://bucket/\ud800.png",
            "gs://",
            "javascript:alert(1)",
        ]
    ),
    st.builds(str.__add__, st.sampled_from(["http://", "/data/upload/1/", "s3://"]), wild_text),
    wild_json,
)
some_task = st.fixed_dictionaries(
    {"data": st.one_of(st.fixed_dictionaries({"image": address}), wild_json)},
    optional={
        "id": st.one_of(st.sampled_from([10**400, -1, 1.5, float("nan")]), wild_json),
        "annotations": wild_json,
        "drafts": wild_json,
        "predictions": wild_json,
        "meta": wild_json,
        "project": wild_json,
    },
)
good_task = st.builds(
    lambda task, image: task | {"data": {"image": image}},
    some_task,
    address,
)
some_tasks = st.one_of(
    st.lists(good_task, min_size=1, max_size=4),
    st.lists(good_task, min_size=1, max_size=4),
    st.lists(st.one_of(some_task, wild_json), max_size=3),
    wild_json,
)


@examples(60)
@given(tasks=some_tasks)
@example(tasks=[{"id": 10**4000, "data": {"image": "s3://a/b.png"}}])
@example(tasks=[{"id": float("nan"), "data": {"image": "s3://a/b.png"}}])
@example(tasks=[{"id": True, "data": {"image": "s3://a/b.png"}}])
@example(tasks=[{"id": "\ud800\r\n", "data": {"image": 5}}])
@example(tasks=[{"id": {"id": [1]}, "data": {"image": None}}, {"data": {"image": IMAGE_URL}}])
@example(tasks=[{"data": {"\ud800\r\nX: 1": IMAGE_URL}}])
@example(tasks=[{"data": {"image": IMAGE_URL}}] * 12)
def test_any_tasks(new_client: NewClient, tasks: Any) -> None:
    send_everywhere(new_client(), TUTORIAL, typed("circle"), tasks)


@examples(60)
@given(
    setup=st.fixed_dictionaries(
        {"schema": st.just(TUTORIAL)},
        optional={
            "project": wild_json,
            "hostname": address,
            "access_token": wild_json,
            "extra_params": wild_json,
        },
    ),
    image=st.one_of(st.sampled_from(["/data/upload/1/wide.jpg", "s3://a/b.png"]), address),
)
@example(
    setup={"schema": TUTORIAL, "project": "1", "hostname": "http://["}, image="/data/upload/1/a"
)
@example(
    setup={"schema": TUTORIAL, "project": "1", "hostname": "http://\ud800/"},
    image="/data/upload/1/a",
)
@example(
    setup={
        "schema": TUTORIAL,
        "project": "1",
        "hostname": "http://127.0.0.1",
        "access_token": "\r",
    },
    image="/data/upload/1/a",
)
def test_any_setup(
    make_service: Callable[..., Service], no_names: None, setup: dict[str, Any], image: object
) -> None:
    """A Label Studio that a stranger names is asked for images then."""
    client = client_of(make_service(LABEL_STUDIO_URL="", LABEL_STUDIO_API_KEY=""))
    checked(post(client, "/setup", setup))
    request = body([IMAGE_URL], typed("circle")) | {"project": setup.get("project")}
    request["tasks"] = [{"id": 1, "data": {"image": image}}]
    check_predictions(post(client, "/predict", request), request)
    checked(client.get("/versions"))


# Bodies

GOOD = json.dumps(body([IMAGE_URL], typed("circle"))).encode()
PATHS = ("/predict", "/setup", "/webhook", "/versions")


def altered(data: bytes, at: int, cut: int, insert: bytes) -> bytes:
    return data[:at] + insert + data[at + cut :]


raw_bodies = st.one_of(
    st.binary(max_size=200),
    st.builds(
        altered,
        st.just(GOOD),
        st.integers(0, len(GOOD)),
        st.integers(0, 40),
        st.one_of(
            st.sampled_from(
                [
                    *(b"", b"NaN", b"Infinity", b"\x00", b"\xff", b"]", b"}", b",", b'"', b"1e999"),
                    *(b"\\ud800", b"\\u12", b'"tasks":null,', b"[" * 5000, b'{"a":' * 5000),
                ]
            ),
            st.binary(max_size=9),
        ),
    ),
    st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "utf-7"]).map(GOOD.decode().encode),
)
content_types = st.one_of(
    st.sampled_from(
        [
            "application/json",
            "application/json; charset=utf-16",
            "application/json; charset=nonsense",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "multipart/form-data; boundary=x",
            "text/plain",
            "",
            ";",
            "é",
        ]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
)


@examples(200)
@given(raw=raw_bodies, content_type=content_types, path=st.sampled_from(PATHS))
@example(raw=b"", content_type="application/json", path="/predict")
@example(raw=b"null", content_type="application/json", path="/setup")
@example(raw=b"[" * 10_000, content_type="application/json", path="/predict")
@example(raw=b"[" * 100_000 + b"]" * 100_000, content_type="application/json", path="/predict")
@example(raw=b'{"a":' * 100_000 + b"1" + b"}" * 100_000, content_type="", path="/webhook")
@example(raw=b'{"tasks":' + b"9" * 5000 + b"}", content_type="application/json", path="/predict")
@example(raw=GOOD.replace(b'"tasks"', b'"tasks": [], "tasks"'), content_type="", path="/predict")
@example(raw=GOOD.replace(b'"id": 1', b'"id": NaN'), content_type="", path="/predict")
@example(raw=GOOD.replace(b'"id": 1', b'"id": -Infinity'), content_type="", path="/predict")
@example(raw=GOOD.decode().encode("utf-16"), content_type="application/json", path="/predict")
@example(raw=gzip.compress(GOOD), content_type="application/json", path="/predict")
def test_any_body(new_client: NewClient, raw: bytes, content_type: str, path: str) -> None:
    response = new_client().post(path, data=raw, content_type=content_type)
    answer = checked(response)
    if path == "/predict" and response.status_code == 200:
        check_predictions(response, json.loads(raw))
    assert isinstance(answer, dict)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "nonsense"])
def test_a_compressed_body_is_refused(new_client: NewClient, encoding: str) -> None:
    headers = {"Content-Encoding": encoding}
    response = new_client().post("/predict", data=gzip.compress(GOOD), headers=headers)
    assert "JSON" in checked(response, {400})["error"]


@examples(60)
@given(
    header=st.one_of(
        st.sampled_from(
            ["Basic", "Basic ", "Basic !", "Basic =", "Basic 4Q==", "Basic OjpcdTAwMDA="]
        ),
        st.binary(max_size=12).map(lambda raw: f"Basic {base64.b64encode(raw).decode()}"),
        st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20),
    ),
    path=st.sampled_from((*PATHS, "/metrics", "/openapi.json", "/nowhere")),
)
def test_any_login(make_service: Callable[..., Service], header: str, path: str) -> None:
    client = client_of(make_service(BASIC_AUTH_USER="me", BASIC_AUTH_PASS="s3cr3t"))
    response = client.post(path, data=GOOD, headers={"Authorization": header})
    assert "s3cr3t" not in str(checked(response, {401}))


@pytest.mark.parametrize("place", ["id", "image", "project", "context", "label_config", "login"])
def test_nesting_just_within_what_can_be_read(new_client: NewClient, place: str) -> None:
    """What the JSON parser has just enough stack for may be too deep for repr() later on."""
    client = new_client()
    request = body([IMAGE_URL], typed("circle"))
    [task] = request["tasks"]
    holder = {"id": task, "image": task["data"], "context": request["params"]}
    holder["login"] = request["params"]
    if place == "id":
        task["data"]["image"] = None  # an error that names the task
    holder.get(place, request)[place] = "DEEP"
    text = json.dumps(request)

    def answer(depth: int) -> TestResponse:
        deep = text.replace('"DEEP"', "[" * depth + "]" * depth)
        return client.post("/predict", data=deep, content_type="application/json")

    def is_read(depth: int) -> bool:
        return "nested too deeply" not in answer(depth).text

    low, high = 1, 20_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_read(middle) else (low, middle)
    for depth in range(low - 15, low + 2):
        checked(answer(depth))


# A quarter of the characters a label config may have, and less.
PIECES = {
    "nested": (
        '<RectangleLabels name="r" toName="image">' * 4000
        + '<Label value="a"/>'
        + "</RectangleLabels>" * 4000
    ),
    "pairs": (
        '<Rectangle name="r" toName="image"/>' * 700
        + '<Labels name="l" toName="image"><Label value="a"/></Labels>' * 700
    ),
    "images": (
        "".join(f'<Image name="i{i}" value="$i"/>' for i in range(4000))
        + f'<RectangleLabels name="r" toName="{",".join(f"i{i}" for i in range(4000))}"/>'
    ),
}


@pytest.mark.parametrize("shape", PIECES)
def test_a_label_config_cannot_keep_the_service_busy(new_client: NewClient, shape: str) -> None:
    """Before there was a limit each took seconds, and Label Studio waits 3 s for /setup."""
    config = view(IMAGE, PIECES[shape])
    assert len(config) < 300_000
    response = post(new_client(), "/setup", {"project": "1.2", "schema": config})
    checked(response)
    assert response.status_code == 400
    assert "more than 50 images or control tags" in response.get_json()["error"]


def answers_when_typed_and_when_saved(client: FlaskClient, prompt: str) -> tuple[str, str]:
    """What is said of a typed prompt, and of the next image once it was in an annotation."""
    context = typed(prompt)
    request = body([IMAGE_URL], context)
    told = post(client, "/predict", request)
    check_predictions(told, request)
    event = {"project": {"id": 1, "label_config": TUTORIAL}, "annotation": context}
    checked(post(client, "/webhook", event))
    request = body([IMAGE_URL])
    following = post(client, "/predict", request)
    check_predictions(following, request)
    return told.text, following.text


def test_a_prompt_cannot_keep_the_models_busy(new_client: NewClient) -> None:
    """A long list pasted by mistake must not make everybody else wait."""
    prompt = ". ".join(f"thing {i}" for i in range(MAX_PHRASES + 1))
    told, following = answers_when_typed_and_when_saved(new_client(), prompt)
    assert "1,501 phrases" in told
    assert "thing" not in following  # it was not learned


def test_a_prompt_too_long_to_keep_is_not_kept(new_client: NewClient) -> None:
    """It would be in the file of prompts and in every answer; its one phrase is short."""
    prompt = "thing" + "." * MAX_CHARACTERS
    told, following = answers_when_typed_and_when_saved(new_client(), prompt)
    assert "more than 40,000 characters" in told
    assert "thing" not in following


def test_labels_that_many_controls_share_are_kept_once() -> None:
    """Within the limit on tags; each control and image had a copy of its own."""
    images = "".join(f'<Image name="i{i}" value="$i"/>' for i in range(25))
    names = ",".join(f"i{i}" for i in range(25))
    owners = "".join(
        f'<Labels name="l{k}" toName="{names}">'
        + "".join(f'<Label value="{k}-{n}"/>' for n in range(300))
        + "</Labels>"
        for k in range(20)
    )
    boxes = "".join(f'<Rectangle name="r{k}" toName="{names}"/>' for k in range(20))
    config = read_label_config(view(images, owners, boxes))
    controls = [control for target in config.images for control in target.controls]
    assert len(controls) == 25 * 20 * 20
    assert len({id(control.labels) for control in controls}) == 20
