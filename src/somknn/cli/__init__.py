"""The `somknn` command. Each subcommand is in its own module, which is imported when the subcommand is used."""

from typing import Any

from somknn.cli import signals


class _Somknn:
    """The entry point of the console script: it handles signals before any slow import, click included.

    `main.main(...)` is click's usual way to call a command; it leaves the signals of the process alone.
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
