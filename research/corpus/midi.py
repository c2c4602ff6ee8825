"""Random scores, as Standard MIDI Files (https://midi.org/standard-midi-files): phrases of an instrument, and drums."""

import struct

import numpy as np


TICKS = 480  # to a quarter note
DRUM_CHANNEL = 9
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10))  # semitones


def random_phrase(rng: np.random.Generator) -> tuple[str, bytes]:
    """Compose a melody or chords for one of General MIDI's 128 instruments; return its name and the file."""
    program, scale, root = int(rng.integers(128)), SCALES[rng.integers(len(SCALES))], int(rng.integers(36, 76))
    notes, time, chords = [], 0, rng.random() < 0.3
    step = int(TICKS * rng.choice([0.25, 0.5, 1, 2]))
    for _ in range(rng.integers(4, 24)):
        degree, velocity, length = int(rng.integers(0, 12)), int(rng.integers(40, 127)), step * rng.uniform(0.3, 1.5)
        for third in (0, 2, 4) if chords else (0,):
            octave, place = divmod(degree + third, len(scale))
            notes.append((time, int(length), root + 12 * octave + scale[place], velocity))
        time += step * int(rng.choice([1, 1, 1, 2]))
    return f"program {program}", write_score(notes, rng.uniform(60, 180), 0, program)


def random_drums(rng: np.random.Generator) -> tuple[str, bytes]:
    """Compose single hits or a pattern of General MIDI's percussion; return its name and the file."""
    keys = rng.integers(35, 82, rng.integers(1, 5))
    if rng.random() < 0.5:
        notes = [(2 * TICKS * place, TICKS, int(key), int(rng.integers(30, 127))) for place, key in enumerate(keys)]
    else:
        steps = [(place, key) for place in range(32) for key in keys if rng.random() < 0.35] or [(0, keys[0])]
        notes = [(TICKS // 4 * place, TICKS // 4, int(key), int(rng.integers(30, 127))) for place, key in steps]
    kit = int(rng.choice([0, 8, 16, 24, 25, 32, 40, 48]))  # Roland's kits, where a font has them
    return f"kit {kit}", write_score(notes, rng.uniform(70, 160), DRUM_CHANNEL, kit)


def write_score(notes: list[tuple[int, int, int, int]], tempo: float, channel: int, program: int) -> bytes:
    """Write notes (start and length in ticks, key, velocity), at so many quarter notes a minute, as a MIDI file."""
    events = [(0, b"\xff\x51\x03" + round(6e7 / tempo).to_bytes(3, "big")), (0, bytes([0xC0 | channel, program]))]
    for start, length, key, velocity in notes:
        key = min(key, 127)
        events += [(start, bytes([0x90 | channel, key, velocity])), (start + length, bytes([0x80 | channel, key, 0]))]
    events.sort(key=lambda event: event[0])
    track, before = b"", 0
    for time, event in [*events, (events[-1][0] + TICKS, b"\xff\x2f\x00")]:
        track += variable_length(time - before) + event
        before = time
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS)
    return header + b"MTrk" + struct.pack(">I", len(track)) + track


def variable_length(value: int) -> bytes:
    """Write a number seven bits at a time, most significant first, as MIDI files do."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))
