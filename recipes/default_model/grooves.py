"""Drum grooves as tables: which General-MIDI drum sounds on which step of a bar.

In a pattern ``X`` is an accent, ``x`` a hit, ``o`` a soft one, ``?`` a hit with probability 1/2,
``.`` a rest; spaces separate the beats and are ignored. A pattern may last several bars.
"""

from __future__ import annotations

from dataclasses import dataclass

KICK, RIM, SNARE, CLAP, CLOSED_HAT, PEDAL_HAT, OPEN_HAT = 36, 37, 38, 39, 42, 44, 46
FLOOR_TOM, LOW_TOM, MIDDLE_TOM, HIGH_TOM = 41, 45, 47, 50
CRASH, RIDE, RIDE_BELL, TAMBOURINE, COWBELL = 49, 51, 53, 54, 56
HIGH_BONGO, LOW_BONGO, MUTED_CONGA, OPEN_CONGA, LOW_CONGA = 60, 61, 62, 63, 64
TIMBALE, HIGH_AGOGO, LOW_AGOGO, CABASA, MARACAS, CLAVES = 65, 67, 68, 69, 70, 75

VELOCITIES = {"X": 118, "x": 96, "o": 52, "?": 70}
STANDARD, ROOM, POWER, ELECTRONIC, DRUM_MACHINE, JAZZ, BRUSH = 0, 8, 16, 24, 25, 32, 40
ACOUSTIC, MACHINES = (STANDARD, ROOM, POWER), (ELECTRONIC, DRUM_MACHINE)


@dataclass(frozen=True)
class Groove:
    """A drum style.

    Attributes:
        name: of the style.
        steps_per_bar, steps_per_beat: resolution of the patterns.
        bpm: tempo range in beats per minute.
        kits: General-MIDI drum kits.
        parts: drum -> pattern.
        swings: whether off-beat steps may be delayed.
    """

    name: str
    steps_per_bar: int
    steps_per_beat: int
    bpm: tuple[int, int]
    kits: tuple[int, ...]
    parts: dict[int, str]
    swings: bool = True

    def hits(self, drum: int) -> str:
        """Return the pattern of a drum without its spaces."""
        return self.parts[drum].replace(" ", "")


def _four(name: str, bpm: tuple[int, int], kits: tuple[int, ...], **parts: str) -> Groove:
    return Groove(name, 16, 4, bpm, kits, {globals()[k.upper()]: v for k, v in parts.items()})


def _other(
    name: str, bar: int, beat: int, bpm: tuple[int, int], kits: tuple[int, ...], **parts: str
) -> Groove:
    table = {globals()[k.upper()]: v for k, v in parts.items()}
    return Groove(name, bar, beat, bpm, kits, table, swings=False)


GROOVES = (
    _four("house", (116, 130), MACHINES,
          kick="X... x... X... x...", clap=".... X... .... X...",
          open_hat="..x. ..x. ..x. ..x.", closed_hat="xo.o xo.o xo.o xo.o"),
    _four("techno", (124, 142), MACHINES,
          kick="X... X... X... X...", closed_hat="..x. ..x. ..xo ..x.",
          rim="...? ..x. ...x ..?.", open_hat=".... ..x. .... ..x."),
    _four("disco", (108, 128), ACOUSTIC,
          kick="X... x... X... x...", snare=".... X... .... X.o.",
          open_hat="..x. ..x. ..x. ..x.", closed_hat="x..o x..o x..o x..o"),
    _four("electro", (104, 132), MACHINES,
          kick="X..x ..x. ..x. ....", snare=".... X... .... X..?",
          closed_hat="x.x. x.xx x.x. x.x.", cowbell="..?. .... ?... ..x."),
    _four("trance", (130, 146), MACHINES,
          kick="X... X... X... X...", clap=".... x... .... x...",
          open_hat="..X. ..X. ..X. ..X.", closed_hat="xxox xxox xxox xxox"),
    _four("rock", (86, 138), ACOUSTIC,
          kick="X... ..x. X... ....", snare=".... X... .... X...",
          closed_hat="X.x. X.x. X.x. X.x."),
    _four("rock driving", (110, 165), ACOUSTIC,
          kick="X.x. ..x. X.x. ..?.", snare=".... X... .... X...",
          ride="X.x. X.x. X.x. X.x."),
    _four("ballad", (60, 82), ACOUSTIC,
          kick="X... .... x.x. ....", snare=".... X... .... X...",
          closed_hat="x.o. x.o. x.o. x.o."),
    _four("half time", (120, 170), (POWER, ROOM),
          kick="X... ...x .... ..x.", snare=".... .... X... ....",
          open_hat="x... x... x... x..."),
    _four("punk", (150, 180), ACOUSTIC,
          kick="X... x... X..x x...", snare="..X. ..X. ..X. ..X.",
          ride="x.x. x.x. x.x. x.x."),
    _four("metal", (120, 180), (POWER,),
          kick="XxXx XxXx XxXx XxXx", snare=".... X... .... X...",
          crash="x... .... .... ....", ride_bell="x... x... x... x..."),
    _four("motown", (96, 132), ACOUSTIC,
          kick="X... ..x. x... ..x.", snare="X... X... X... X...",
          tambourine="x.o. X.o. x.o. X.o."),
    _four("boom bap", (80, 98), (STANDARD, ROOM, DRUM_MACHINE),
          kick="X..x .... ..x. ....", snare=".... X..o .o.. X...",
          closed_hat="x.x. x.x. x.x. x.xo"),
    _four("hip-hop lazy", (68, 92), (STANDARD, ELECTRONIC, DRUM_MACHINE),
          kick="X... ..?x ..x. .?..", snare=".... X... .... X..o",
          closed_hat="x.xo x.x. x.xo x.x."),
    _four("trap", (64, 80), (DRUM_MACHINE,),
          kick="X... ..x. .x.. ..?.", clap=".... X... .... X...",
          closed_hat="xxxx xx?x xxxx x?xx", open_hat=".... .... .... ..x."),
    _four("funk", (88, 118), ACOUSTIC,
          kick="X.x. ..x. ..x. .x..", snare=".... X..o .o.o X..o",
          closed_hat="xoxo xoxo xoxo xo.o", open_hat=".... .... .... ..x."),
    _four("funk linear", (84, 112), ACOUSTIC,
          kick="X..x ..x. ..x. ..?.", snare="..o. X.o. .o.. X..o",
          closed_hat=".x.. .x.x x..x .x.."),
    _four("break", (100, 138), ACOUSTIC,
          kick="X.x. .... ..xx ....X.x. .... ..x. .x..",
          snare=".... X..o .o.. X..o.... X..o .o.. ..X.",
          closed_hat="x.x. x.x. x.x. x.x.x.x. x.x. x.x. x.x."),
    _four("drum'n'bass", (160, 180), ACOUSTIC + MACHINES,
          kick="X... .... ..x. ....", snare=".... X... .... X...",
          closed_hat="x.x. x.xo x.x. x.x.", ride="?.?. ?... ?.?. ?..."),
    _four("jungle", (154, 176), ACOUSTIC,
          kick="X.x. .... ..x. ....", snare=".... X..o .o.o X..x",
          ride="x.x. x.x. x.x. x.x."),
    _four("two-step", (126, 138), MACHINES,
          kick="X... .... ..x. ....", snare=".... X... .... X...",
          closed_hat="..xo .x.x ..xo .x.x", rim="...o .... .o.. ...?"),
    _four("dubstep", (134, 146), MACHINES,
          kick="X... .... .... ..x.", snare=".... .... X... ....",
          closed_hat="x..x ..x. .?x. .x.x"),
    _four("reggae one drop", (66, 92), (ROOM, STANDARD),
          kick=".... .... X... ....", rim=".... .... X... ....",
          closed_hat="x.xo x.x. x.xo x.x."),
    _four("reggaeton", (86, 104), MACHINES + (STANDARD,),
          kick="X... x... X... x...", snare="...x ..x. ...x ..x.",
          closed_hat="x.x. x.x. x.x. x.x."),
    _four("bossa nova", (108, 148), (JAZZ, BRUSH, STANDARD),
          kick="X..x x..x X..x x..x", rim="x..x ..x. ..x. x...",
          closed_hat="xoxo xoxo xoxo xoxo"),
    _four("samba", (92, 118), (STANDARD, JAZZ),
          kick="x..x X..x x..x X..x", snare="xo.x o.xo .xo. xo.o",
          high_agogo="x.x. .x.. x... .x..", low_agogo=".... x..x ..x. x...",
          cabasa="xoox xoox xoox xoox"),
    _four("son", (88, 112), (STANDARD,),
          claves="x..x ..x. ..x. x...", open_conga=".... ..xx .... ..xx",
          muted_conga="x.xo x... x.xo x...", cowbell="X.x. x.x. X.x. x.x.",
          kick="...x ..x. ...x ..x."),
    _four("afrobeat", (98, 122), (STANDARD, ROOM),
          kick="X..x ..x. x... .x..", snare="..o. o..x ..o. x.o.",
          closed_hat="x.xx x.xx x.xx x.xx", maracas="xoxo xoxo xoxo xoxo"),
    _four("bongos", (80, 126), (STANDARD,),
          high_bongo="Xo.o xo.o Xo.x xo.o", low_bongo="..x. ..x. ..x. ..xx",
          maracas="x.o. x.o. x.o. x.o."),
    _four("march", (96, 124), (STANDARD, ROOM),
          kick="X... x... X... x...", snare="..xo xxo. ..xo xxxx", crash="o... .... .... ...."),
    _other("shuffle", 12, 3, (84, 140), ACOUSTIC,
           kick="X.. ... x.x ...", snare="... X.. ... X..", closed_hat="x.x x.x x.x x.x"),
    _other("half-time shuffle", 12, 3, (76, 104), ACOUSTIC,
           kick="X.. ..x ..x ...", snare=".o. .o. Xo. .o.", closed_hat="x.x x.x x.x x.x"),
    _other("slow blues", 12, 3, (60, 80), ACOUSTIC,
           kick="X.. ..x X.. ...", snare="... X.. ... X..", ride="xxx xxx xxx xxx"),
    _other("swing", 12, 3, (104, 180), (JAZZ, BRUSH),
           ride="X.. x.x X.. x.x", pedal_hat="... x.. ... x..", kick="o.. o.. o.. o..",
           snare="..? ... ..o .?."),
    _other("six eight", 6, 3, (60, 96), ACOUSTIC,
           kick="X.. ..?", snare="... X..", closed_hat="xox xox"),
    _other("afro six", 12, 3, (84, 126), (STANDARD,),
           high_agogo="x.x .xx .x. x.x", low_conga="..x ..x ..x ..x",
           open_conga=".x. .x. .x. .xx", kick="X.. x.. X.. x.."),
    _other("waltz", 12, 4, (84, 168), (JAZZ, BRUSH, STANDARD),
           kick="X... .... ....", snare=".... x... x...", ride="x... x.o. x.o."),
    _other("rock in three", 12, 4, (90, 150), ACOUSTIC,
           kick="X... ..x. ....", snare=".... .... X...", closed_hat="x.x. x.x. x.x."),
    _other("five four", 20, 4, (96, 168), (STANDARD, JAZZ),
           kick="X... ..x. .... X... ....", snare=".... X... .... .... X...",
           ride="x.x. x.x. x.x. x.x. x.x."),
    _other("seven eight", 14, 4, (90, 150), ACOUSTIC,
           kick="X... X... X..x ..", snare="..x. ..x. .... X.", closed_hat="x.x. x.x. x.x. x."),
    _other("nine eight", 18, 4, (90, 140), ACOUSTIC,
           kick="X... x... x... x..x ..", snare="..x. ..x. ..x. .... X.",
           closed_hat="x.x. x.x. x.x. x.x. x."),
)  # fmt: skip
