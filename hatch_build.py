"""Build a platform wheel, which carries compiled kernels, if `SOMKNN_PREBUILD` asks for one.

SOMKNN_PREBUILD=all, or names of levels separated by commas; docs/how-to/compiled-kernels.md says how. Without it the
wheel is pure Python, whatever lies in the checkout.
"""

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

    def _levels(self) -> list[str] | None:
        """The levels that are asked for, none of them meaning all; None if nothing is asked for."""
        asked = os.environ.get("SOMKNN_PREBUILD", "")
        if not asked or self.target_name != "wheel":
            return None
        return [] if asked == "all" else asked.replace(",", " ").split()

    def dependencies(self) -> list[str]:
        """Compiling runs the library: the build needs what its users need."""
        return [] if self._levels() is None else list(self.metadata.core.dependencies)

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        levels = self._levels()
        if levels is None or version == "editable":
            return
        self._scratch = tempfile.TemporaryDirectory()
        command = [sys.executable, "-m", "somknn_kernels.prebuild", "--folder", self._scratch.name, *levels]
        path = os.pathsep.join(os.path.join(self.root, part) for part in ("src", "kernels"))
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
        if not os.listdir(self._scratch.name):
            raise RuntimeError("SOMKNN_PREBUILD: this machine can build none of the levels")
        build_data["pure_python"] = False
        build_data["tag"] = platform_tag()
        build_data["force_include"][self._scratch.name] = "somknn_kernels/prebuilt"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()


def platform_tag() -> str:
    """The wheel's tag: kernels are of one Python, and of one operating system and family of processors."""
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return f"{python}-{python}{getattr(sys, 'abiflags', '')}-{platform}"
