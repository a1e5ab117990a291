"""A manifest is read as it was written, or not at all."""

from __future__ import annotations

import json

import pytest
from blake3 import blake3

from tuneflow.errors import CheckpointCorruptError, SpecError
from tuneflow.jsonio import dumps
from tuneflow.manifest import FileEntry, Manifest, Part

DIGEST = "ab" * 32
OTHER = "cd" * 32
COPY = "0123456789abcdef"
PART = {"size": 1, "hash": DIGEST}
FILE = {"path": "a", "size": 1, "parts": [PART]}

VERSION_1 = (
    b'{"version":1,"resource":27,"files":[{"path":"model.bin","size":7000,"hash":'
    b'"aca019810151762994ff7e815a9ae81ceeea50c6a21341377872d0792bbb2e83"},'
    b'{"path":"optim/deep/state","size":8,"hash":'
    b'"1e7d848dafc208165740e4eaf85edf6bfec58f576e46edee9d8e4bef74bc3740"},'
    b'{"path":"zero","size":0,"hash":'
    b'"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"}],'
    b'"reports":[{"loss":0.5,"resource":26},{"loss":"NaN"}],'
    b'"checksum":"78152e1abfad6f9bd9d36dc46ce028e9066b83065dd59dcb1315d60b7ed54437"}'
)
"""What the first version of tuneflow wrote."""


def sealed(**changes):
    """Return a manifest with fields replaced and the checksum made right for them."""
    content = json.loads(Manifest(1, (FileEntry("a", (Part(1, DIGEST),)),)).to_bytes())
    del content["checksum"]
    content.update(changes)
    return dumps({**content, "checksum": blake3(dumps(content).encode()).hexdigest()}).encode()


def sealed_1(*files):
    """Return a manifest of version 1 with these files."""
    return sealed(version=1, files=[*files])


class TestVersion2:
    def test_equal_manifests_are_equal_bytes_and_come_back(self):
        parts = (Part(3, DIGEST), Part(5, OTHER, COPY))
        manifest = Manifest(2.5, (FileEntry("a/ü.bin", parts),), ({"x": [1, None]},))
        assert Manifest.from_bytes(manifest.to_bytes()) == manifest
        assert manifest.files[0].size == 8
        assert Manifest.from_bytes(sealed()) == Manifest(1, (FileEntry("a", (Part(1, DIGEST),)),))

    def test_an_empty_file_has_no_parts_and_needs_no_blob(self):
        manifest = Manifest(1, (FileEntry("empty", ()),))
        assert Manifest.from_bytes(manifest.to_bytes()) == manifest
        assert manifest.blobs() == set()

    def test_names_each_blob_that_it_needs_once(self):
        files = (
            FileEntry("a", (Part(1, DIGEST), Part(1, OTHER, COPY))),
            FileEntry("b", (Part(1, DIGEST),)),
        )
        assert Manifest(1, files).blobs() == {f"blobs/ab/{DIGEST}", f"blobs/cd/{OTHER}-{COPY}"}

    def test_every_torn_or_flipped_byte_is_noticed(self):
        files = (FileEntry("a/b", (Part(3, DIGEST), Part(1, OTHER, COPY))),)
        data = Manifest(2.5, files, ({"loss": 0.25},)).to_bytes()
        for position in range(len(data)):
            flipped = bytearray(data)
            flipped[position] ^= 1
            for damaged in (bytes(flipped), data[:position]):
                with pytest.raises(CheckpointCorruptError):
                    Manifest.from_bytes(damaged)

    @pytest.mark.parametrize(
        "path",
        ["", "/etc/passwd", "../x", "a/../x", "a//x", "./x", "a/", "C:x", "c:/x", "a\\x", "a\0x"],
    )
    def test_refuses_hostile_paths_on_write_and_on_read(self, path):
        with pytest.raises(SpecError):
            Manifest(1, (FileEntry(path, ()),)).to_bytes()
        with pytest.raises(CheckpointCorruptError, match="hostile"):
            Manifest.from_bytes(sealed(files=[{**FILE, "path": path}]))

    @pytest.mark.parametrize(
        "part",
        [
            [1, DIGEST],
            {"size": 1},
            {**PART, "mode": 7},
            {**PART, "size": 0},
            {**PART, "size": -1},
            {**PART, "size": 1.0},
            {**PART, "size": True},
            {**PART, "size": 2**54},
            {**PART, "hash": "../" + DIGEST},
            {**PART, "hash": DIGEST.upper()},
            {**PART, "hash": DIGEST + "\n"},
            {**PART, "hash": None},
            {**PART, "copy": ""},
            {**PART, "copy": None},
            {**PART, "copy": "../../../etc/pas"},
            {**PART, "copy": COPY.upper()},
            {**PART, "copy": COPY + "00"},
        ],
    )
    def test_refuses_parts_that_it_would_not_write(self, part):
        with pytest.raises(CheckpointCorruptError, match="the manifest gives a"):
            Manifest.from_bytes(sealed(files=[{**FILE, "parts": [part]}]))

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": 3},
            {"version": 0},
            {"version": True},
            {"version": "2"},
            {"resource": True},
            {"resource": "1"},
            {"resource": None},
            {"files": {}},
            {"files": [["a", 1, [PART]]]},
            {"files": [{"path": "a", "size": 1}]},
            {"files": [{"path": "a", "size": 1, "hash": DIGEST}]},
            {"files": [{**FILE, "mode": 7}]},
            {"files": [{**FILE, "path": 1}]},
            {"files": [{**FILE, "size": 2}]},
            {"files": [{**FILE, "size": 1.0}]},
            {"files": [{**FILE, "size": True}]},
            {"files": [{**FILE, "size": -1, "parts": []}]},
            {"files": [{**FILE, "parts": {}}]},
            {"files": [{**FILE, "parts": [PART, PART]}]},
            {"files": [FILE, FILE]},
            {"files": [FILE, {**FILE, "path": "a/b"}]},
            {"files": [FILE, {"path": "b", "size": 2, "parts": [{**PART, "size": 2}]}]},
            {"reports": {}},
            {"reports": ["x"]},
            {"extra": 1},
        ],
    )
    def test_refuses_anything_that_it_would_not_write(self, changes):
        with pytest.raises(CheckpointCorruptError, match="the manifest"):
            Manifest.from_bytes(sealed(**changes))

    @pytest.mark.parametrize(
        "data", [b"[]", b"\xff", b"null", b'{"a":1e999}', b'{"a":NaN}', b"[" * 100_000]
    )
    def test_refuses_other_json_and_what_is_no_json(self, data):
        with pytest.raises(CheckpointCorruptError):
            Manifest.from_bytes(data)


class TestVersion1:
    def test_is_read_with_one_part_for_each_file(self):
        manifest = Manifest.from_bytes(VERSION_1)
        model = Part(7000, blake3(b"weights" * 1000).hexdigest())
        state = Part(8, blake3(b"momentum").hexdigest())
        assert manifest == Manifest(
            27,
            (
                FileEntry("model.bin", (model,)),
                FileEntry("optim/deep/state", (state,)),
                FileEntry("zero", ()),
            ),
            ({"loss": 0.5, "resource": 26}, {"loss": "NaN"}),
        )
        assert manifest.blobs() == {
            f"blobs/ac/{model.hash}",
            f"blobs/1e/{state.hash}",
        }

    def test_every_torn_or_flipped_byte_is_noticed(self):
        for position in range(len(VERSION_1)):
            flipped = bytearray(VERSION_1)
            flipped[position] ^= 1
            for damaged in (bytes(flipped), VERSION_1[:position]):
                with pytest.raises(CheckpointCorruptError):
                    Manifest.from_bytes(damaged)

    @pytest.mark.parametrize(
        "file",
        [
            FILE,
            {"path": "a", "size": 1},
            {"path": "../a", "size": 1, "hash": DIGEST},
            {"path": "a", "size": 1, "hash": DIGEST.upper()},
            {"path": "a", "size": 1.0, "hash": DIGEST},
            {"path": "a", "size": -1, "hash": DIGEST},
            {"path": "a", "size": 0, "hash": DIGEST},
        ],
    )
    def test_refuses_what_it_never_was(self, file):
        with pytest.raises(CheckpointCorruptError, match="the manifest"):
            Manifest.from_bytes(sealed_1(file))
