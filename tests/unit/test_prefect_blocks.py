"""Storage blocks and the credentials in them, as far as that can be told without a server."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from tuneflow.errors import SpecError
from tuneflow.prefect.blocks import StudyStorage
from tuneflow.prefect.lending import _Lent, lend_credentials, storage_name, storage_url

SECRET = "a-key-that-nobody-may-see"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET}


@pytest.fixture
def lent(monkeypatch):
    """What has been lent in a process whose environment has none of these variables."""
    environment = {k: v for k, v in os.environ.items() if k not in CREDENTIALS}
    monkeypatch.setattr(os, "environ", environment)
    return _Lent()


class TestBlock:
    def test_its_url_is_that_of_a_storage(self):
        assert StudyStorage(url="s3://bucket/studies/").url == "s3://bucket/studies"
        assert StudyStorage(url="/studies").url == "file:///studies"
        with pytest.raises(ValidationError, match="'gopher:' is no kind of storage"):
            StudyStorage(url="gopher://bucket")

    def test_credentials_are_what_a_storage_is_opened_with_and_nothing_else(self):
        with pytest.raises(ValidationError, match="no storage is opened with this variable"):
            StudyStorage(url="s3://bucket", credentials={"PYTHONPATH": "/elsewhere"})

    def test_credentials_are_texts(self):
        with pytest.raises(ValidationError, match=r'credentials\.AWS_ALLOW_HTTP.*such as "true"'):
            StudyStorage(url="s3://bucket", credentials={"AWS_ALLOW_HTTP": True})

    def test_nothing_that_is_printed_of_it_has_a_secret(self):
        block = StudyStorage(url="s3://bucket", credentials=CREDENTIALS)
        assert SECRET not in f"{block!r} {block} {block.model_dump_json()} {block.model_dump()}"

    @pytest.mark.parametrize("name", ["HOME", "AWS_X"])
    def test_no_error_repeats_a_value(self, name):
        wrong = {name: [SECRET], **CREDENTIALS}
        with pytest.raises(ValidationError) as caught:
            StudyStorage(url="s3://bucket", credentials=wrong)
        assert SECRET not in str(caught.value)

    def test_an_error_about_its_url_does_not_repeat_it(self):
        with pytest.raises(ValidationError) as caught:
            StudyStorage(url=f"s3://somebody:{SECRET}@bucket/studies")
        assert SECRET not in str(caught.value)


class TestNames:
    def test_urls_and_paths_are_normalised(self, tmp_path):
        assert storage_name("s3://bucket/studies/") == "s3://bucket/studies"
        assert storage_name(tmp_path) == storage_url(tmp_path) == tmp_path.as_uri()

    def test_the_name_of_a_block_travels_as_it_is(self):
        assert storage_name("block:studies") == "block:studies"

    def test_a_block_that_was_saved_travels_by_its_name(self):
        assert storage_name(saved("studies", CREDENTIALS)) == "block:studies"

    def test_a_block_without_secrets_travels_as_its_url(self):
        assert storage_name(StudyStorage(url="s3://bucket/studies")) == "s3://bucket/studies"

    def test_secrets_that_were_not_saved_do_not_travel(self):
        with pytest.raises(SpecError, match=r"storage: a block with credentials.*save it") as told:
            storage_name(StudyStorage(url="s3://bucket", credentials=CREDENTIALS))
        assert SECRET not in str(told.value)

    def test_a_block_without_a_name_is_refused(self):
        with pytest.raises(SpecError, match="names no block"):
            storage_name("block:")


class TestLending:
    def test_a_url_lends_nothing(self, monkeypatch):
        before = dict(os.environ)
        assert lend_credentials("s3://bucket/studies/") == "s3://bucket/studies"
        assert dict(os.environ) == before

    def test_credentials_become_known_to_the_process(self, lent):
        lent.lend("block:one", CREDENTIALS)
        assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET

    def test_what_the_process_has_already_is_never_replaced(self, lent):
        os.environ["AWS_ACCESS_KEY_ID"] = "another"
        with pytest.raises(SpecError, match="sets AWS_ACCESS_KEY_ID, and this process has") as told:
            lent.lend("block:one", CREDENTIALS)
        assert os.environ["AWS_ACCESS_KEY_ID"] == "another"
        assert "AWS_SECRET_ACCESS_KEY" not in os.environ
        assert "somebody" not in str(told.value)

    def test_the_same_value_from_elsewhere_is_no_conflict(self, lent):
        os.environ["AWS_ACCESS_KEY_ID"] = "somebody"
        lent.lend("block:one", CREDENTIALS)
        assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET

    def test_two_blocks_that_disagree_are_one_clear_error(self, lent):
        lent.lend("block:one", CREDENTIALS)
        with pytest.raises(SpecError, match="block:two sets AWS_ACCESS_KEY_ID, and block:one") as e:
            lent.lend("block:two", {**CREDENTIALS, "AWS_ACCESS_KEY_ID": "another"})
        assert "another value; a process has one set of credentials" in str(e.value)
        assert os.environ["AWS_ACCESS_KEY_ID"] == "somebody"

    def test_two_blocks_that_agree_get_on(self, lent):
        lent.lend("block:one", CREDENTIALS)
        lent.lend("block:two", CREDENTIALS)
        assert os.environ["AWS_ACCESS_KEY_ID"] == "somebody"

    def test_a_block_whose_key_was_changed_on_the_server_lends_the_new_one(self, lent):
        lent.lend("block:one", CREDENTIALS)
        lent.lend("block:one", {**CREDENTIALS, "AWS_SECRET_ACCESS_KEY": "a-new-one"})
        assert os.environ["AWS_SECRET_ACCESS_KEY"] == "a-new-one"


def saved(name, credentials):
    """Return a block as it is once Prefect's server has it."""
    block = StudyStorage(url="s3://bucket/studies", credentials=credentials)
    block._block_document_name = name
    return block
