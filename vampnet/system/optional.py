"""Optional packages: checked in one place, with the extra that installs them."""

from __future__ import annotations

from importlib.util import find_spec

from vampnet.system.errors import UserError


def require(*modules: str, extra: str, purpose: str) -> None:
    """Check that optional packages are installed, without importing them.

    Args:
        modules: top-level import names.
        extra: the extra of this package that installs them.
        purpose: what needs them; begins the message.

    Raises:
        UserError: names the missing packages and the command that installs them.
    """
    missing = [name for name in modules if not _installed(name)]
    if missing:
        raise UserError(
            f"{purpose} needs {' and '.join(missing)}, not installed; "
            f'install with: pip install "vampnet-harp[{extra}]"'
        )


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # hidden by the environment; a module without a spec
        return False
