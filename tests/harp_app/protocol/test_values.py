"""Sessions that HARP kept from another version of the endpoint, with other controls."""

from __future__ import annotations

import pytest
from harp_client import shown_error
from sound_files import clip

FORMER = ["loop-variation", -1, 0, -5, -1, 0, 0, 0, "", "", "default", True, True]


@pytest.mark.parametrize("values", [FORMER, FORMER[:5], [*FORMER, 1, 2, 3], []])
def test_another_number_of_values_gets_one_clear_sentence(client, tmp_path, values):
    text = shown_error(client.outcome, client.start(client.upload(clip(tmp_path)), values))
    assert text == (
        f"This HARP session was made with older controls ({len(values)} values, 9 now); "
        "load the address again."
    )
    assert len(client.process(clip(tmp_path))[0]) == 1
