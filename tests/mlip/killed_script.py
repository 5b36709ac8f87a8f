"""Train once in peace, and once being killed at every epoch; both models are written to files.

Argument: a folder. Beside `peaceful.json` and `killed.json` it then holds a file for each death.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from defect_workflows.campaign import PotentialSettings
from defect_workflows.mlip import checkpoint, train
from mlip.solid import TINY, make_labels


class Deadly(checkpoint.Checkpoint):
    """Kills its process, in turn after a checkpoint and in the middle of writing one."""

    def save(self, state) -> None:
        number = len(list(self.path.parent.glob("death*")))
        if number % 3 == 2:
            checkpoint.os.replace = lambda *_: self.die(number)
        super().save(state)
        self.die(number)

    def die(self, number: int) -> None:
        (self.path.parent / f"death{number}").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, name: str, kind: type[checkpoint.Checkpoint]) -> None:
    settings = PotentialSettings(preset="small", device="cpu", test_share=0.2, epochs=4)
    saved = kind(folder / f"{name}.pt", "a name", interval=0.0)
    labels = make_labels(geometries=4, bulk=2, expensive=2)
    member = train.train_member(labels, settings, 1, None, folder, TINY, checkpoint=saved)
    (folder / f"{name}.json").write_text(member.model_dump_json())


if __name__ == "__main__":
    for name, kind in (("peaceful", checkpoint.Checkpoint), ("killed", Deadly)):
        ended = False
        while not ended:
            # a fork spares each run the import of torch; nothing has used torch's threads before
            child = os.fork()
            if child == 0:
                main(Path(sys.argv[1]), name, kind)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            ended = not os.WIFSIGNALED(status)
        if code := os.waitstatus_to_exitcode(status):
            sys.exit(code)
