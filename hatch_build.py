"""Build a platform wheel, which carries compiled kernels, if `SOMKNN_PREBUILD` asks for one.

SOMKNN_PREBUILD=all, or names of levels separated by commas, or a folder that `python -m somknn_kernels.prebuild` has
filled from the same sources, perhaps on several machines. docs/how-to/kernel-cache.md says how. Without it the wheel is
pure Python, whatever lies in the checkout.
"""

import glob
import os
import subprocess
import sys
import sysconfig
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PrebuiltKernels(BuildHookInterface):
    """Compiles the kernels into a folder of its own, which goes into the wheel beside the package's files."""

    PLUGIN_NAME = "custom"

    @property
    def _asked(self) -> str:
        return os.environ.get("SOMKNN_PREBUILD", "") if self.target_name == "wheel" else ""

    def dependencies(self) -> list[str]:
        """Compiling runs the library: the build needs what its users need."""
        compiles = self._asked and os.sep not in self._asked
        return list(self.metadata.core.dependencies) if compiles else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._asked or version == "editable":
            return
        folder = os.path.abspath(self._asked) if os.sep in self._asked else self._compiled()
        if not glob.glob(os.path.join(folder, "*", "manifest.json")):
            raise RuntimeError(f"SOMKNN_PREBUILD={self._asked}: there are no kernels for the wheel in {folder}")
        build_data["pure_python"] = False
        build_data["tag"] = platform_tag()
        build_data["force_include"][folder] = "somknn_kernels/prebuilt"

    def _compiled(self) -> str:
        """A folder of the levels that are asked for, or of all that this machine can build."""
        self._scratch = tempfile.TemporaryDirectory()
        levels = [] if self._asked == "all" else self._asked.replace(",", " ").split()
        command = [sys.executable, "-m", "somknn_kernels.prebuild", "--folder", self._scratch.name, *levels]
        path = os.pathsep.join(os.path.join(self.root, part) for part in ("src", "kernels"))
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
        return self._scratch.name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()


def platform_tag() -> str:
    """The wheel's tag: kernels are of one Python, and of one operating system and family of processors."""
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return f"{python}-{python}{getattr(sys, 'abiflags', '')}-{platform}"
