"""Names of images in a dataset say which file it is, and nothing that must not be told."""

import base64
import os

import pytest

from grounded_labeler.preannotate.names import Address, file_names, one_line, readable

FILE_URI = base64.urlsafe_b64encode(b"s3://bucket/farm/cow 1.jpg").decode()


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/upload/1/8ca21e96-wide.jpg", "upload/1/8ca21e96-wide.jpg"),
        ("/label-studio/data/upload/1/8ca21e96-wide.jpg", "upload/1/8ca21e96-wide.jpg"),
        ("http://ls:8080/data/upload/1/a%20b.jpg", "upload/1/a b.jpg"),
        ("/data/local-files/?d=local/local.png", "local/local.png"),
        ("/data/local-files?d=%2Flocal%5Cb.png", "local/b.png"),
        ("http://ls/data/local-files/?d=a/b%26c.png&other=1", "a/b&c.png"),
        ("/storage-data/uploaded/?filepath=upload/1/a.jpg", "upload/1/a.jpg"),
        (f"/tasks/5/resolve/?fileuri={FILE_URI}", "farm/cow 1.jpg"),
        (f"http://ls/projects/5/presign/?fileuri={FILE_URI}", "farm/cow 1.jpg"),
        ("/tasks/5/resolve/?fileuri=%ff", "task-5"),
        ("s3://bucket/farm/what?#is.jpg", "farm/what?#is.jpg"),
        ("gs://bucket/a.jpg", "a.jpg"),
        ("azure-blob://container/b/c.jpg", "b/c.jpg"),
        (
            "https://b.s3.amazonaws.com/farm/cow.jpg?X-Amz-Signature=secret&X-Amz-Credential=AK",
            "farm/cow.jpg",
        ),
        ("https://user:secret@host/a.jpg#part", "a.jpg"),
        ("https://host/%2e%2e/../etc//./passwd.png", "etc/passwd.png"),
        ("https://host/", "task-5"),
        ("https://host/?id=3", "task-5"),
        ("https://[host/a.jpg", "task-5"),
        ("", "task-5"),
        ("data:image/png;base64,iVBORw0KGgo=", "task-5.png"),
        ("DATA:image/jpeg,%ff", "task-5.jpg"),
        ("data:,x", "task-5"),
        (f"https://host/{'iVBORw0KGgo' * 30}", "task-5"),
    ],
)
def test_a_name_is_a_relative_path_without_query_or_content(uri: str, name: str) -> None:
    assert file_names([Address(5, "image", uri)]) == [name]


def test_every_image_has_a_name_of_its_own() -> None:
    same = "https://host/a/b.jpg?id="
    addresses = [
        Address(1, "left", f"{same}1"),
        Address(1, "right", f"{same}2"),
        Address(2, "left", f"{same}1"),
        Address(3, "left", "https://host/a/b-task-2.jpg"),
        Address(4, "left", "data:image/png;base64,AAAA"),
        Address(4, "right", "data:image/png;base64,AAAA"),
    ]
    assert file_names(addresses) == [
        "a/b.jpg",
        "a/b-task-1.jpg",
        "a/b-task-2.jpg",
        "a/b-task-2-task-3.jpg",
        "task-4.png",
        "task-4-task-4.png",
    ]
    many = file_names([Address(1, "image", "x.jpg")] * 20)
    assert len(set(many)) == 20


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xc3\xa9.jpg", "café.jpg"),
        (b"caf\xe9.jpg", r"caf\xe9.jpg"),
        (rb"caf\xe9.jpg", r"caf\\xe9.jpg"),
        (b"two\nlines\tof\x1b[31m.jpg", r"two\u000alines\u0009of\u001b[31m.jpg"),
        ("日本 1.jpg".encode(), "日本 1.jpg"),
    ],
)
def test_a_readable_name_is_one_line_and_no_other_has_it(name: bytes, shown: str) -> None:
    written = readable(os.fsdecode(name))
    assert written == shown
    assert written.encode()
    assert one_line(written) == written
