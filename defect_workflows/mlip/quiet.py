"""mace imported without its printing: the first import of every module here that needs torch.

Not in the package itself: jobs are put together in processes that have no use for torch.
"""

import contextlib
import io
import warnings

# mace and warp print when first imported, and e3nn loads only after mace has switched off torch's
# safe loading.
with (
    contextlib.redirect_stdout(io.StringIO()),
    contextlib.redirect_stderr(io.StringIO()),
    warnings.catch_warnings(),
):
    warnings.simplefilter("ignore")
    import mace.calculators.mace_torchsim  # noqa: F401
