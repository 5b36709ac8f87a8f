"""An untrained MACE: one readout per head, the charge embedded, E0s given."""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import torch
from ase.data import atomic_numbers
from e3nn import o3
from mace import modules
from mace.cli.convert_cueq_e3nn import run as to_e3nn
from mace.cli.convert_e3nn_cueq import run as to_cuequivariance
from mace.tools.torch_geometric.dataloader import DataLoader

from defect_workflows.campaign import ChargeEmbedding
from defect_workflows.charge import TRAINING_KEY
from defect_workflows.mlip.baseline import Reference
from defect_workflows.mlip.presets import Preset

if TYPE_CHECKING:
    from mace.data import AtomicData


def build_model(
    graphs: list[AtomicData],
    reference: Reference,
    preset: Preset,
    charge: ChargeEmbedding = "categorical",
) -> modules.ScaleShiftMACE:
    """Return an untrained MACE with one readout per head and the charge embedded."""
    charges = sorted({charge for _, charge in reference.offsets})
    loader = DataLoader(cast("Any", graphs), batch_size=16)
    _, rms_forces = modules.compute_mean_rms_energy_forces(loader, reference.atom_energies)
    no_shift: Any = [0.0] * len(reference.heads)  # annotated as a number there, one per head here
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.ScaleShiftMACE(
        r_max=preset.cutoff,
        num_bessel=preset.radial_functions,
        num_polynomial_cutoff=5,
        max_ell=preset.max_ell,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=preset.interactions,
        num_elements=len(reference.elements),
        hidden_irreps=(preset.channels * o3.Irreps.spherical_harmonics(preset.max_l))
        .sort()
        .irreps.simplify(),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        radial_MLP=list(preset.radial),
        atomic_energies=reference.atom_energies,
        avg_num_neighbors=modules.compute_avg_num_neighbors(loader),
        atomic_numbers=[atomic_numbers[element] for element in reference.elements],
        correlation=preset.correlation,
        use_reduced_cg=False,  # True means another model where cuequivariance is installed
        pair_repulsion=True,  # ZBL: no holes where atoms come closer than in any label
        heads=list(reference.heads),
        atomic_inter_scale=rms_forces,
        atomic_inter_shift=no_shift,
        embedding_specs={TRAINING_KEY: charge_embedding(charge, charges, preset.embedding_size)},
    )


def charge_embedding(kind: ChargeEmbedding, charges: Sequence[int], size: int) -> dict[str, Any]:
    """Return MACE's specification of how the total charge is embedded.

    Parameters
    ----------
    kind
        'categorical': a vector per integer in the range of the charges, each learned alone.
        'continuous': the number q itself, unscaled, through a perceptron of two layers.
    charges
        Charges trained on, in units of e.
    size
        Length of the vector that MACE adds, projected, to the features of every atom.
    """
    if kind == "continuous":
        return {"type": "continuous", "per": "graph", "in_dim": 1, "emb_dim": size}
    lowest, highest = min(charges), max(charges)
    return {
        "type": "categorical",
        "per": "graph",
        "num_classes": highest - lowest + 1,
        "offset": -lowest,
        "emb_dim": size,
    }


def accelerated(model: Any) -> Any:
    """Return the model with cuequivariance's kernels: on a GPU, where its packages are installed.

    Elsewhere the model itself is returned. What is stored is `plain` again.
    """
    device = next(model.parameters()).device.type
    packages = ("cuequivariance_torch", "cuequivariance_ops_torch")
    if device != "cuda" or not all(map(find_spec, packages)):
        return model
    return to_cuequivariance(model, device=device).to(device)


def plain(model: Any) -> Any:
    """Return the model without cuequivariance's kernels: one file serves every machine."""
    # an e3nn model has its contractions one by one, cuequivariance one weight for all
    if hasattr(model.products[0].symmetric_contractions, "contractions"):
        return model
    return to_e3nn(model, device="cpu")
