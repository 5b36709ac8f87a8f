"""What a machine knows: VASP command, store, scratch, device. Environment variables and a file.

Every field is read from the environment variable ``DEFECT_WORKFLOWS_<FIELD>`` or else from the YAML
file named by ``DEFECT_WORKFLOWS_SETTINGS`` (default ``~/.config/defect-workflows/settings.yaml``).
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from defect_workflows.errors import InputError, short

PREFIX = "DEFECT_WORKFLOWS_"
DEFAULT_FILE = Path("~/.config/defect-workflows/settings.yaml")


def settings_file() -> Path:
    """Return the settings file of this machine."""
    return Path(os.environ.get(f"{PREFIX}SETTINGS", DEFAULT_FILE)).expanduser()


class Settings(BaseSettings):
    """Machine facts, never part of a campaign."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    vasp_command: str | None = Field(
        default=None, description="Command of vasp_std, e.g. 'srun vasp_std'."
    )
    vasp_gamma_command: str | None = Field(
        default=None, description="Command of vasp_gam. Default: vasp_command."
    )
    potcar_directory: Path | None = Field(
        default=None, description="Folder of POTCARs in pymatgen's layout. Default: pymatgen's own."
    )
    custodian_poll: float = Field(
        default=10.0, gt=0, description="Seconds between custodian's looks at a running VASP."
    )
    vasp_max_errors: int = Field(
        default=5, ge=0, description="Corrections by custodian after which a run is given up."
    )
    vasp_timeout: float = Field(
        default=86400.0, gt=0, description="Seconds of silence after which VASP counts as hanging."
    )
    store: Path | None = Field(
        default=None,
        description="File with a jobflow JobStore (mode 600: it may hold credentials).",
    )
    trusted_packages: list[str] = Field(
        default_factory=list,
        description="Packages beside those of the stack whose classes results in the store may be "
        "made of: those of your own Makers and documents.",
    )
    scratch: Path | None = Field(default=None, description="Scratch folder of VASP runs.")
    checkpoints: Path = Field(
        default_factory=lambda: (
            Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
            / "defect-workflows"
            / "checkpoints"
        ),
        description="Folder of the state of trainings and searches that are not finished; one that "
        "was killed goes on where it finds its own.",
    )
    workers: int = Field(
        default_factory=lambda: max(1, os.cpu_count() or 1),
        ge=1,
        description="Jobs run at once by the local runner.",
    )
    rehearsal: bool = Field(
        default=False, description="True when the VASP command is the stand-in mock-vasp."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before file."""
        return (
            init_settings,
            env_settings,
            YamlConfigSettingsSource(settings_cls, yaml_file=settings_file()),
        )


def open_store_file() -> str | None:
    """Return one line if others can read the file with the store, or write to it; None else."""
    try:
        store = read_settings().store
        mode = store.expanduser().stat().st_mode & 0o777 if store is not None else 0
    except (InputError, OSError):
        return None  # said by whatever needs them
    if not mode & 0o077:
        return None
    return (
        f"{store}: others can read or write it (mode {mode:03o}), and it may hold credentials: "
        f"chmod 600 {store}"
    )


def read_settings() -> Settings:
    """Return the settings of this machine as they are now.

    Raises
    ------
    InputError
        If a variable or the file holds something else than expected.
    """
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise InputError(
            f"{settings_file()} or {PREFIX}{key.upper()}: "
            f"found {short(problem['input'])}, {problem['msg']}"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError) as error:
        # not the error's own text: it quotes the file, which may hold what nobody shall see
        reason = getattr(error, "strerror", None) or type(error).__name__
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{settings_file()}: cannot be read ({reason}{line}), expected YAML with a value for "
            "each setting"
        ) from None
