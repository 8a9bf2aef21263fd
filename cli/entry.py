"""The `vyris` command's first lines: Ctrl-C ends it quietly even while the rest is still being imported."""

from __future__ import annotations

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main() -> None:
    """Import the commands and run one."""
    try:
        from cli.main import app  # noqa: PLC0415 - the import is what may be interrupted

        app()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
