"""Imports that a command will need later, while its kernels run and leave the interpreter free."""

import contextlib
import importlib
import threading

# What pictures and the report need; matplotlib takes 0.4 s.
PICTURES = ("somknn.plots.evaluation", "matplotlib.backends.backend_svg", "PIL.PngImagePlugin")


def import_ahead(*modules: str) -> None:
    """Import `modules` in a thread. One that is missing is left to whoever asks for it."""

    def work() -> None:
        for module in modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)

    threading.Thread(target=work, name="somknn-imports").start()
