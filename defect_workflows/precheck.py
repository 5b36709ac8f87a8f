"""What is checked of a campaign, its host and this machine before anything is calculated."""

from __future__ import annotations

from pathlib import Path

from pymatgen.core import SETTINGS as PYMATGEN_SETTINGS
from pymatgen.core import Structure

from defect_workflows.campaign import Campaign
from defect_workflows.dft.run import check_potcars
from defect_workflows.errors import PotentialError, SettingError
from defect_workflows.incar import elements_of
from defect_workflows.moments import moments_of
from defect_workflows.settings import read_settings


def check_campaign(campaign: Campaign) -> Structure:
    """Check that the settings of a campaign fit its host, and return the host.

    Raises
    ------
    InputError
        If the host cannot be one.
    SettingError
        Names the key, what was found and what is expected.
    """
    host = campaign.host_structure()
    elements = campaign_elements(campaign, host)
    _check_chemical_potentials(campaign, elements)
    _check_elements(campaign, host, elements)
    if moments_of(host) is not None and not campaign.dft.spin:
        raise SettingError(
            f"dft.spin: found false, expected true for the magnetic moments of {campaign.host}"
        )
    check_potcars_here(campaign, elements)
    if campaign.potential.foundation is not None:
        # imported late: it brings torch
        from defect_workflows.mlip.foundation import check_foundation

        try:
            check_foundation(campaign.potential.foundation, host, elements)
        except PotentialError as error:
            raise SettingError(str(error)) from None
    return host


def campaign_elements(campaign: Campaign, host: Structure) -> list[str]:
    """Return the elements of the host, then those that defects bring."""
    own = [element.symbol for element in host.composition.elements]
    named = [request.name.split("_")[0] for request in campaign.defects.include or []]
    brought = [*campaign.defects.extrinsic, *(name for name in named if name != "v")]
    return list(dict.fromkeys([*own, *brought]))


def _check_chemical_potentials(campaign: Campaign, elements: list[str]) -> None:
    given = campaign.levels.chemical_potentials
    if given is None:
        return
    if missing := [element for element in elements if element not in given]:
        raise SettingError(
            f"levels.chemical_potentials: found {', '.join(given) or 'none'}, expected "
            f"{', '.join(missing)} too"
        )


def _check_elements(campaign: Campaign, host: Structure, elements: list[str]) -> None:
    """Check settings by element against the elements that there are."""
    dft = campaign.dft
    for key, settings in (
        ("incar", dft.incar),
        ("pbe_incar", dft.pbe_incar),
        ("hse06_incar", dft.hse06_incar),
    ):
        for tag, given in elements_of(settings).items():
            if unknown := [element for element in given if element not in elements]:
                raise SettingError(
                    f"dft.{key}.{tag}: found {unknown[0]}, expected elements of the campaign "
                    f"({', '.join(elements)})"
                )
    own = {element.symbol for element in host.composition.elements}
    twice = [element for element in dft.incar.get("MAGMOM", {}) if element in own]
    if twice and moments_of(host) is not None:
        raise SettingError(
            f"dft.incar.MAGMOM: found {twice[0]}, whose moments {campaign.host} gives by site, "
            "expected elements that the host lacks"
        )


def check_potcars_here(campaign: Campaign, elements: list[str]) -> list[str]:
    """Check the POTCARs where this machine has a folder of them; another one may run the campaign.

    As `check_potcars`, whose lines it returns.
    """
    settings = read_settings()
    folder = settings.potcar_directory or PYMATGEN_SETTINGS.get("PMG_VASP_PSP_DIR")
    if folder and Path(folder).is_dir():
        return check_potcars(campaign.dft, elements, settings)
    return []
