"""The potential: MACE with two fidelities and the charge."""

# first of all imports here: e3nn loads only after mace has switched off torch's safe loading
import mace  # noqa: F401
