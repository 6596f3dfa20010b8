"""Prompts: which tokens of the input are kept, as a mask over codec frames."""

from __future__ import annotations

from vampnet.prompt.prompt import Prompt

__all__ = ["Prompt"]
