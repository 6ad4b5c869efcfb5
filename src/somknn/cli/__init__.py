"""The `somknn` command. Each subcommand lives in a module of its own, imported when it is asked for."""

from typing import Any

from somknn.cli import signals


class _Somknn:
    """The entry of the console script: signals are answered before anything is imported that takes time, click included.

    `main.main(...)` is click's own way to call a command, which leaves the signals of a process alone.
    """

    name = "somknn"

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        signals.answer()
        try:
            return self.main(*arguments, **options)
        except SystemExit as done:
            if not done.code:
                signals.ignore()
            raise

    def main(self, *arguments: Any, **options: Any) -> Any:
        from somknn.cli.commands import group

        return group.main(*arguments, **options)


main = _Somknn()
