"""What a run settled after its search, as `choice.json` has it: the student, or that none is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hwn2n.budget.cost import cost_from_json
from hwn2n.errors import InputError
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate
from hwn2n.run.folder import RunFolder, read_json


@dataclass(frozen=True, kw_only=True)
class Settled:
    """`candidate` is the id of the one that becomes the student, built by `decision`; None before
    the choice, and where `none_found`: then `note` says why, and `again` what those cost, by id,
    that were inside until they were measured again (`search.choose`)."""

    candidate: int | None = None
    decision: Mapping[str, Any] | None = None
    none_found: bool = False
    note: str | None = None
    again: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: RunFolder) -> Settled:
        """What the folder says. Raises `InputError` where that is damaged."""
        path = folder.choice
        if not path.exists():
            return cls()
        data = read_json(path)
        try:
            number, note, decision = data["candidate"], data.get("note"), data.get("decision")
            again = {
                int(key): {name: dict(found[name]) for name in ("cost", "teacher")}
                for key, found in data.get("again", {}).items()
            }
            for cost in (cost for found in again.values() for cost in found.values()):
                cost_from_json(cost)  # so that whoever reads it later need not fear it
            return cls(
                candidate=None if number is None else int(number),
                decision=None if decision is None else Decision.from_json(decision).to_json(),
                none_found=number is None,
                note=None if note is None else str(note),
                again=again,
            )
        except (AttributeError, KeyError, TypeError, ValueError, InputError) as error:
            raise InputError(f"{path}: must be the choice of a run ({error!r})") from error

    def measured_again(self, candidates: Iterable[Candidate]) -> dict[int, Candidate]:
        """The candidates that were, with what they cost then."""
        return {
            c.id: replace(c, satisfied=False, **self.again[c.id])
            for c in candidates
            if c.id is not None and c.id in self.again
        }
