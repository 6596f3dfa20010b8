"""The models a user can choose while the server runs: embedded, pulled, and in a folder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vampnet import checkpoints
from vampnet.checkpoints import download, is_model_folder
from vampnet.model.recommended import RecommendedSampling
from vampnet.system.errors import UserError

if TYPE_CHECKING:
    from vampnet.pipeline import Pipeline

log = logging.getLogger(__name__)
DEFAULT = "default"


def load_pipeline(name_or_folder: str, device: str) -> Pipeline:
    """Return the pipeline of a model's name or folder on a device."""
    from vampnet.pipeline import Pipeline

    return Pipeline.from_pretrained(name_or_folder, device=device, keep_weights=False)


class Models:
    """Names -> pipelines, each loaded once, when first asked for.

    A job keeps the pipeline it was given: choosing another model never touches it.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        default: str = DEFAULT,
        device: str = "auto",
        load: Callable[[str, str], Pipeline] = load_pipeline,
    ) -> None:
        """Know ``default``, every model folder in ``folder`` and the weights pulled before.

        Raises ValueError when ``folder`` is not a folder.
        """
        self._places = {DEFAULT: default}
        if folder is not None:
            root = Path(folder)
            if not root.is_dir():
                raise UserError(f"the folder of models '{folder}' does not exist")
            for place in sorted(root.iterdir()):
                passed_over = place.name.startswith(".") or place.name == DEFAULT
                if not passed_over and is_model_folder(place):
                    self._places[place.name] = str(place)
        for name, place in download.installed_models().items():
            self._places.setdefault(name, str(place))
        self._device = device
        self._load = load
        self._loaded: dict[str, Pipeline] = {}
        self._locks = {name: threading.Lock() for name in self._places}

    @property
    def names(self) -> tuple[str, ...]:
        """What can be chosen, the default first."""
        return tuple(self._places)

    def recommended(self, name: str = DEFAULT) -> RecommendedSampling:
        """The recommended sampling of a model, without loading it; see `checkpoints`."""
        return checkpoints.recommended_of(self._places.get(name, DEFAULT))

    def get(self, name: str) -> Pipeline:
        """Return the pipeline of this name; the first call loads it, others wait for that.

        Raises ValueError for an unknown name or a model that cannot be loaded.
        """
        if name not in self._places:
            raise UserError(f"Model is '{name[:40]}'; choose {', '.join(self.names)}")
        with self._locks[name]:
            if name not in self._loaded:
                log.info("loading model %s from %s", name, self._places[name])
                try:
                    self._loaded[name] = self._load(self._places[name], self._device)
                except (ValueError, OSError) as error:
                    expected = isinstance(error, UserError)  # its text says all; no traceback
                    log.error("model %s cannot be loaded: %s", name, error, exc_info=not expected)
                    # The default one is loaded at the start, for whoever named it.
                    asked_for = self._places[name] if name == DEFAULT else name
                    raise UserError(
                        f"The model '{asked_for}' cannot be loaded: {type(error).__name__}. "
                        "The server's log says why."
                    ) from error
            return self._loaded[name]
