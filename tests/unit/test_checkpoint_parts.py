"""A file is cut at its tensors or not at all, and the pieces are the file."""

from __future__ import annotations

import json
import os
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tuneflow.checkpoint_parts import PACK, PACKED_BELOW, Span, cut
from tuneflow.checkpoints import Checkpoints
from tuneflow.errors import CheckpointCorruptError
from tuneflow.store import Store

LARGE = PACKED_BELOW
FILLER = bytes(LARGE)


def written(path, tensors, **metadata):
    save_file(tensors, path, metadata or None)
    return path


def floats(kibibytes, fill=0.0):
    return torch.full((kibibytes, 256), fill)


def sizes(path):
    return [span.size for span in cut(path)]


def joined(spans):
    return b"".join(chunk for span in spans for chunk in span.read())


def header_length(path):
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


class TestSafetensors:
    def test_is_cut_into_its_header_and_its_tensors(self, tmp_path):
        path = written(
            tmp_path / "model.safetensors", {"a": floats(300), "b": floats(256), "c": floats(1000)}
        )
        assert sizes(path) == [header_length(path), 300 << 10, 256 << 10, 1000 << 10]
        assert joined(cut(path)) == path.read_bytes()

    def test_packs_small_neighbours_and_no_others(self, tmp_path):
        tensors = {
            "a": floats(100),
            "b": floats(150),
            "c": floats(256),
            "d": floats(1),
            "e": floats(255),
        }
        path = written(tmp_path / "model.safetensors", tensors)
        assert sizes(path)[1:] == [250 << 10, 256 << 10, 256 << 10]
        assert joined(cut(path)) == path.read_bytes()

    def test_a_pack_is_limited(self, tmp_path):
        tensors = {f"{number:03}": floats(200) for number in range(50)}
        path = written(tmp_path / "model.safetensors", tensors)
        packs = sizes(path)[1:]
        assert packs == [4000 << 10, 4000 << 10, 2000 << 10]
        assert max(packs) <= PACK

    def test_empty_tensors_and_scalars_are_no_trouble(self, tmp_path):
        tensors = {
            "a": torch.zeros(0),
            "b": floats(400),
            "c": torch.tensor(1.0),
            "d": torch.zeros(0),
        }
        path = written(tmp_path / "model.safetensors", tensors)
        assert sorted(sizes(path)[1:]) == [4, 400 << 10]
        assert joined(cut(path)) == path.read_bytes()

    def test_a_changed_tensor_changes_one_part_and_new_metadata_only_the_header(self, tmp_path):
        tensors = {f"layer{number}": floats(300, number) for number in range(10)}
        old = cut(written(tmp_path / "old.safetensors", tensors, step="1"))
        tensors["layer7"] = floats(300, 99)
        new = cut(written(tmp_path / "new.safetensors", tensors, step="2"))
        differing = [
            number
            for number, (before, after) in enumerate(zip(old, new, strict=True))
            if joined([before]) != joined([after])
        ]
        assert differing == [0, 8]

    def test_a_small_file_is_one_part(self, tmp_path):
        path = written(tmp_path / "model.safetensors", {"a": floats(100)})
        assert sizes(path) == [path.stat().st_size]

    def test_survives_a_checkpoint_and_can_be_loaded(self, tmp_path):
        torch.manual_seed(1)
        tensors = {
            "half": torch.rand(300, 1000).half(),
            "brain": torch.rand(3, 70_001).bfloat16(),
            "bytes": torch.arange(251, dtype=torch.uint8),
            "deep.weight": torch.rand(2_000_000),
        }
        (tmp_path / "source").mkdir()
        path = written(tmp_path / "source" / "model.safetensors", tensors, format="pt")
        checkpoints = Checkpoints(Store(f"{tmp_path}/store"))
        manifest = checkpoints.save("a.json", tmp_path / "source", resource=1)
        assert len(manifest.files[0].parts) == 5
        checkpoints.restore("a.json", tmp_path / "target")
        restored = tmp_path / "target" / "model.safetensors"
        assert restored.read_bytes() == path.read_bytes()
        loaded = load_file(restored)
        assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def made(header, data=FILLER, length=None):
    """Return the bytes of a safetensors file with this header, which may be wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin, end):
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


class TestMalformed:
    def test_what_is_tested_here_would_be_cut_if_it_were_right(self, tmp_path):
        path = tmp_path / "x.safetensors"
        path.write_bytes(made({"a": tensor(0, LARGE)}))
        assert sizes(path)[1:] == [LARGE]

    @pytest.mark.parametrize(
        "content",
        [
            FILLER,
            b"\xff" * LARGE,
            made({"a": tensor(0, LARGE - 1)}),
            made({"a": tensor(0, LARGE + 1)}),
            made({"a": tensor(1, LARGE)}),
            made({"a": tensor(0, 10), "b": tensor(11, LARGE)}),
            made({"a": tensor(0, 10), "b": tensor(9, LARGE)}),
            made({"a": tensor(0, LARGE), "b": tensor(0, LARGE)}),
            made({"a": tensor(0, LARGE), "b": tensor(7, 7)}),
            made({"a": tensor(-1, LARGE)}),
            made({"a": tensor(LARGE, 0)}),
            made({"a": {"data_offsets": [0]}}),
            made({"a": {"data_offsets": [0, LARGE, LARGE]}}),
            made({"a": {"data_offsets": [0, float(LARGE)]}}),
            made({"a": {"data_offsets": [False, LARGE]}}),
            made({"a": {"data_offsets": "0"}}),
            made({"a": {}}),
            made({"a": None}),
            made({}),
            made([]),
            made(None),
            made(b"{" + b"x" * 100),
            made(b"\xff\xfe"),
            made(b"[" * 100_000),
            made(b'{"a":{"data_offsets":[0,1e999]}}'),
            made({"a": tensor(0, LARGE)}, length=2**64 - 1),
            made({"a": tensor(0, LARGE)}, length=0),
            made({"a": tensor(0, LARGE)}, length=5),
            made(json.dumps({"a": tensor(0, LARGE)}).encode().ljust((1 << 20) + 1)),
        ],
    )
    def test_is_one_part(self, tmp_path, content):
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        assert cut(path) == [Span(path, 0, len(content))]

    @given(st.binary(max_size=300), st.integers(0, 400))
    def test_whatever_it_holds_the_pieces_are_the_file(self, tmp_path_factory, noise, place):
        path = tmp_path_factory.mktemp("noise") / "x.safetensors"
        content = bytearray(made({"a": tensor(0, 1000), "b": tensor(1000, LARGE)}))
        content[place : place + len(noise)] = noise
        path.write_bytes(content)
        assert joined(cut(path)) == bytes(content)


class TestOtherFiles:
    def test_are_one_part_whatever_is_in_them(self, tmp_path):
        path = written(tmp_path / "model.bin", {"a": floats(300), "b": floats(300)})
        assert sizes(path) == [path.stat().st_size]

    def test_an_empty_file_has_no_parts(self, tmp_path):
        for name in ("empty", "empty.safetensors"):
            (tmp_path / name).touch()
            assert cut(tmp_path / name) == []

    def test_reading_a_file_that_has_become_shorter_or_is_gone_says_so(self, tmp_path):
        path = tmp_path / "model.bin"
        path.write_bytes(b"weights")
        (span,) = cut(path)
        os.truncate(path, 3)
        with pytest.raises(CheckpointCorruptError, match=r"model\.bin changed while"):
            joined([span])
        path.unlink()
        with pytest.raises(CheckpointCorruptError, match=r"model\.bin changed while"):
            joined([span])
