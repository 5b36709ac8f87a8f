"""Models come back as they were saved, one's own or shared, never those of another hash."""

from __future__ import annotations

import base64
import hashlib

import pytest
import torch

from defect_workflows.documents.potential import CommitteeMember
from defect_workflows.errors import PotentialError
from defect_workflows.mlip import load
from defect_workflows.mlip.load import kept_model, load_model

CPU = torch.device("cpu")


def test_a_loaded_model_is_moved_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class CompiledPart(torch.nn.Module):
        """As e3nn's: it is where it was saved, and only `to` moves it."""

        place = "cpu"

        def _apply(self, function: object, recurse: bool = True) -> CompiledPart:
            self.place = function(torch.zeros(0, device=self.place)).device.type  # type: ignore[operator]
            return self

    saved = CompiledPart()
    monkeypatch.setattr(load, "from_bytes", lambda _: saved)
    content = b"a model"
    member = CommitteeMember.model_construct(
        seed=1,
        sha256=hashlib.sha256(content).hexdigest(),
        model=base64.b64encode(content).decode(),
    )
    load_model(member, torch.device("meta"))
    assert saved.place == "meta"


def test_a_kept_model_is_loaded_once_and_a_loaded_one_is_ones_own(
    members: list[CommitteeMember],
) -> None:
    kept, again = (kept_model(members[0].model_copy(), CPU) for _ in range(2))
    assert again is kept
    own = load_model(members[0], CPU)
    assert own is not kept
    for weight in own.parameters():
        weight.zero_()
    assert any(weight.abs().sum() > 0 for weight in kept_model(members[0], CPU).parameters())
    assert kept_model(members[1], CPU) is not kept


def test_a_kept_model_is_refused_under_another_hash(members: list[CommitteeMember]) -> None:
    kept_model(members[0], CPU)
    other = members[0].model_copy(update={"sha256": members[1].sha256})
    with pytest.raises(PotentialError, match=r"refused unread$"):
        kept_model(other, CPU)
