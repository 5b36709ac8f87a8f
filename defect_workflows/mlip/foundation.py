"""A foundation model as the start: its weights in a model with our heads and the charge embedded.

mace-torch's own fine-tuning loses the charge embedding without a word. Here its helper fills a
model without one, the weights go on into a model that has it, and that the new model says what the
file says is measured before it is used. A model file is a pickle: reading it runs what its maker
put there, so the user vouches for it.
"""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from mace import modules
from mace.tools import AtomicNumberTable
from mace.tools.finetuning_utils import load_foundations_elements
from mace.tools.scripts_utils import extract_config_mace_model
from mace.tools.torch_geometric.dataloader import DataLoader

from defect_workflows.campaign import ChargeEmbedding
from defect_workflows.charge import TRAINING_KEY, to_atoms, with_charge
from defect_workflows.errors import PotentialError
from defect_workflows.fidelity import CAMPAIGN_FIDELITIES
from defect_workflows.mlip.baseline import Reference
from defect_workflows.mlip.dataset import atomic_data, default_dtype
from defect_workflows.mlip.model import charge_embedding, plain

if TYPE_CHECKING:
    from mace.data import AtomicData
    from pymatgen.core import Structure

ONLY_HEAD = "Default"
"""Head of a model file from before MACE had heads (MACE-MP-0 of 2023): the name that MACE uses."""

LARGEST_DIFFERENCE = 1e-4
"""Energy in eV by which the start may differ from the foundation model, and force in eV/Å."""


def read_foundation(path: Path) -> tuple[Any, str]:
    """Return the foundation model in a file, in double precision on the CPU, and its sha256.

    Raises
    ------
    PotentialError
        If the file is missing, or no plain `ScaleShiftMACE` with one head. A file from before MACE
        had heads has one, 'Default', as in MACE itself.
    """
    content = _content(path)
    try:
        # weights_only=False: MACE models are whole pickled modules
        model = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except Exception as error:  # unpickling raises whatever the file asks for
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise _refusal(path, f"no model file ({reason})") from None
    if isinstance(model, Mapping) and all(torch.is_tensor(value) for value in model.values()):
        raise _refusal(path, "weights without their model (a state dict)")
    # exactly: what is derived from it (MACELES, PolarMACE) has parts that would be lost
    if type(model) is not modules.ScaleShiftMACE:
        raise _refusal(path, type(model).__name__)
    if not hasattr(model, "heads"):
        model.heads = [ONLY_HEAD]
    if len(model.heads) != 1:
        raise _refusal(path, f"heads {', '.join(model.heads)}; mace_select_head keeps one")
    if hasattr(model, "joint_embedding"):
        raise _refusal(path, f"an embedding of {', '.join(model.embedding_specs)} already")
    # as when a model is loaded: map_location does not reach e3nn's compiled parts
    model = model.to("cpu").double().eval()
    try:
        return plain(model), hashlib.sha256(content).hexdigest()
    except Exception as error:  # cuequivariance's kernels, of which MACE converts some
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise _refusal(path, f"kernels that MACE cannot convert to e3nn's ({reason})") from None


def check_foundation(path: Path, host: Structure, elements: Sequence[str]) -> None:
    """Check, before anything is paid for, that training can start from a foundation model.

    What a training does with it is done once, on the host, with charges and E0s of no meaning.

    Parameters
    ----------
    path
        The file.
    host
        Host cell.
    elements
        Elements of the campaign.

    Raises
    ------
    PotentialError
        As `read_foundation` and `transplant`.
    """
    model, _ = read_foundation(path)
    known = sorted(elements, key=lambda element: atomic_numbers[element])
    energies = np.zeros((len(CAMPAIGN_FIDELITIES), len(known)))
    offsets = {(head, charge): 0.0 for head in CAMPAIGN_FIDELITIES for charge in (-1, 0, 1)}
    reference = Reference(list(CAMPAIGN_FIDELITIES), known, energies, offsets)
    transplant(model, path, reference, 4, [with_charge(host, 0)])


def foundation_hash(path: Path) -> str:
    """Return the sha256 of a foundation model's file, unread.

    Raises
    ------
    PotentialError
        If the file is missing.
    """
    return hashlib.sha256(_content(path)).hexdigest()


def transplant(
    foundation: Any,
    path: Path,
    reference: Reference,
    embedding_size: int,
    structures: Sequence[Structure],
    charge: ChargeEmbedding = "categorical",
) -> modules.ScaleShiftMACE:
    """Return a model with the weights of a foundation model, our heads, E0s, and the charge.

    Architecture and cutoff are the file's. Every head gets the file's readout. The embedding of the
    charge begins with the output zero, so that the charge does not matter yet.

    Parameters
    ----------
    foundation, path
        The model, as `read_foundation` returns it, and its file, for messages.
    reference
        Heads, elements, E0s and charges of the new model.
    embedding_size
        Numbers that a charge is embedded in.
    structures
        Some structures to measure the new model on, at every charge and head.
    charge
        How the charge is embedded.

    Raises
    ------
    PotentialError
        If an element is missing in the file, if its architecture is one that cannot be taken over,
        or if the new model does not have the interaction energies and forces of the old one.
    """
    elements = [chemical_symbols[number] for number in foundation.atomic_numbers.tolist()]
    if missing := [element for element in reference.elements if element not in elements]:
        raise _refusal(path, f"no {', '.join(missing)} among its elements")
    charges = sorted({charge for _, charge in reference.offsets})
    numbers = [atomic_numbers[element] for element in reference.elements]
    try:
        contractions = foundation.products[0].symmetric_contractions.contractions
        with default_dtype(torch.float64):
            architecture = extract_config_mace_model(foundation) | {
                "heads": list(reference.heads),
                "atomic_energies": reference.atom_energies,
                "atomic_numbers": numbers,
                "num_elements": len(numbers),
                "atomic_inter_scale": [float(foundation.scale_shift.scale)] * len(reference.heads),
                "atomic_inter_shift": [float(foundation.scale_shift.shift)] * len(reference.heads),
            }
            plain = modules.ScaleShiftMACE(**architecture)
            with torch.no_grad():
                load_foundations_elements(
                    plain,
                    foundation,
                    AtomicNumberTable(numbers),
                    load_readout=True,
                    max_L=len(contractions) - 1,
                )
            embedding = {TRAINING_KEY: charge_embedding(charge, charges, embedding_size)}
            model = modules.ScaleShiftMACE(**{**architecture, "embedding_specs": embedding})
    except Exception as error:  # MACE checks little: an unknown part ends in whatever it runs into
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise _refusal(path, f"an architecture that cannot be taken over ({reason})") from None
    # the helper copies whatever has the same shape, E0s too
    weights = {k: v for k, v in plain.state_dict().items() if "atomic_energies" not in k}
    model.load_state_dict(weights, strict=False)
    for new, old in zip(model.interactions, foundation.interactions, strict=True):
        new.avg_num_neighbors = old.avg_num_neighbors
    torch.nn.init.zeros_(cast("Any", model.joint_embedding.project[0]).weight)
    _compare(model, foundation, path, reference, charges, structures)
    return model


def align(model: Any, graphs: list[AtomicData]) -> None:
    """Shift the energies per atom of each head such that they fit the labels on average.

    E0s are fitted as if there were no other energy. A foundation model brings its cohesive energy,
    of some eV per atom, which would be the first thing to be unlearnt.
    """
    device = next(model.parameters()).device
    errors: list[list[float]] = [[] for _ in model.heads]
    for batch in DataLoader(cast("Any", graphs), batch_size=16):
        batch = batch.to(device)
        energies = model(batch.to_dict(), compute_force=False)["energy"].detach()
        per_atom = (batch.energy - energies) / (batch.ptr[1:] - batch.ptr[:-1])
        for head, error in zip(batch.head.tolist(), per_atom.tolist(), strict=True):
            errors[head].append(error)
    means = [sum(own) / len(own) if own else 0.0 for own in errors]
    model.scale_shift.shift += model.scale_shift.shift.new_tensor(means)


def _compare(
    model: Any,
    foundation: Any,
    path: Path,
    reference: Reference,
    charges: Sequence[int],
    structures: Sequence[Structure],
) -> None:
    """Measure the new model against the foundation model."""
    for structure in structures:
        try:
            (energy, forces) = _interaction(foundation, structure, foundation.heads[0])
        except (AttributeError, RuntimeError) as error:  # parts that this version of MACE expects
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            raise _refusal(
                path, f"a model that this version of MACE cannot run ({reason})"
            ) from None
        for head in reference.heads:
            for charge in charges:
                new_energy, new_forces = _interaction(model, with_charge(structure, charge), head)
                difference = max(abs(new_energy - energy), float((new_forces - forces).abs().max()))
                if not difference <= LARGEST_DIFFERENCE:  # not a number is no agreement
                    raise _refusal(
                        path,
                        f"an architecture that cannot be taken over (charge {charge}, head {head}: "
                        f"{difference:.1e} eV or eV/Å off)",
                    )


def _interaction(model: Any, structure: Structure, head: Any) -> tuple[float, torch.Tensor]:
    """Return the energy without E0s in eV, and the forces in eV/Å."""
    graph = atomic_data(
        to_atoms(structure),
        fidelity=head,
        heads=model.heads,
        elements=[chemical_symbols[number] for number in model.atomic_numbers.tolist()],
        cutoff=float(model.r_max),
        dtype=torch.float64,
    )
    (batch,) = DataLoader(cast("Any", [graph]), batch_size=1)
    output = model(batch.to_dict(), compute_force=True)
    return output["interaction_energy"].item(), output["forces"].detach()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PotentialError(
            f"potential.foundation: {path}: cannot be read on this machine ({reason}), "
            "expected a MACE model file"
        ) from None


def _refusal(path: Path, found: str) -> PotentialError:
    return PotentialError(
        f"potential.foundation: {path}: found {found}, expected a plain ScaleShiftMACE of one head "
        "that knows the campaign's elements"
    )
