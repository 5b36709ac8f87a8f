"""Jobs: host and defects, configurations to label."""

from __future__ import annotations

from pymatgen.core import Structure

from defect_workflows import reuse
from defect_workflows.campaign import DefectSettings, SamplingSettings, SupercellSettings
from defect_workflows.defects.generate import generate
from defect_workflows.defects.sample import sample
from defect_workflows.documents.base import Matrix3D
from defect_workflows.documents.defects import ConfigurationSet, DefectSet


@reuse.job(output_schema=DefectSet)
def generate_defects(
    primitive: Structure,
    supercell_settings: SupercellSettings,
    defect_settings: DefectSettings,
    dielectric: Matrix3D | None,
) -> DefectSet:
    """Generate the host's supercell and the defect states."""
    return generate(primitive, supercell_settings, defect_settings, dielectric)


@reuse.job(output_schema=ConfigurationSet, data=["configurations"])
def sample_configurations(defects: DefectSet, settings: SamplingSettings) -> ConfigurationSet:
    """Make the configurations to label, reproducible from the seed."""
    return ConfigurationSet(configurations=sample(defects.states, defects.host.supercell, settings))
