"""`larder bench`, the load generator of everything here: run to its end, or beside something else."""

import csv
import io
import subprocess

from servers import Missing


class Loader:
    """Runs it on its CPU. What it sends is said by its own options."""

    def __init__(self, build, cpu):
        self.program = build / "larder"
        self.cpu = cpu
        if not self.program.exists():
            raise Missing(f"{self.program} is not built: run make")

    def command(self, server, *more):
        pin = ["--cpu", self.cpu] if self.cpu is not None else []
        return list(map(str, [self.program, "bench", "-p", server.port, "--protocol", server.protocol, "--quiet", *pin,
                              "--output", "csv", *more]))  # fmt: skip

    def start(self, server, *more):
        """In the background; finish() has the result."""
        return subprocess.Popen(self.command(server, *more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)  # fmt: skip

    def finish(self, server, process, may_err=False):
        """The row about all requests together. Error replies end the run, unless they may be."""
        out, err = process.communicate()
        rows = list(csv.DictReader(io.StringIO(out)))
        erred = may_err and process.returncode == 1 and rows and int(rows[0]["errors"]) > 0
        if process.returncode and not erred:
            raise RuntimeError(f"{server.name}: {' '.join(process.args)}\n{out}{err}")
        return rows[0]

    def run(self, server, *more, may_err=False):
        return self.finish(server, self.start(server, *more), may_err)
