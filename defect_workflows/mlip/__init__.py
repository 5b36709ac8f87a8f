"""The potential: MACE with two fidelities and the charge."""

import contextlib
import io
import warnings

# Here, before all other modules of this folder: mace and warp print when first imported, and e3nn
# loads only after mace has switched off torch's safe loading.
with (
    contextlib.redirect_stdout(io.StringIO()),
    contextlib.redirect_stderr(io.StringIO()),
    warnings.catch_warnings(),
):
    warnings.simplefilter("ignore")
    import mace.calculators.mace_torchsim  # noqa: F401
